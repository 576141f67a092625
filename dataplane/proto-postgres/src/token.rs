//! Causal tokens: what one session has seen, another one is to see too, be it of this sidecar or of another (`reads.tokens`).
//!
//! ```text
//! SHOW midstream.position                         00000001/0/16B3748: whatever this session wrote or read is there
//! SET midstream.after = '00000001/0/16B3748'      from here on this session's reads are no older than that
//! /* midstream after=00000001/0/16B3748 */ ...    the same, in front of any statement
//! ```
//! The position is asked of the primary, since what was read on a replica may be ahead of what that replica had replayed when it was asked.

use crate::client::{Begun, Client};
use crate::error::Error;
use crate::message::{self, Parse, c_string, frame};
use crate::position::{OF_PRIMARY_FOR_CLIENTS, Position, Written};
use wire::Io;

/// No command of ours is longer.
const MAX_COMMAND: usize = 256;
/// What a server is told of a token, so that the answer stands in its place among the others.
const NOTED: &[u8] = b"SET midstream.after = ''";

/// What a text says of tokens.
#[derive(PartialEq, Eq, Debug)]
enum Said {
    Nothing,
    /// In a comment in front of a statement.
    Before(Position),
    Set(Position),
    Show,
}

/// What becomes of the message.
pub enum Heeded {
    /// It goes its way.
    AsIs,
    /// This message goes in its place.
    Instead(Vec<u8>),
    /// It is answered.
    Answered,
}

/// Heeds what a query or Parse says of tokens.
///
/// # Errors
/// 22023: it is none.
pub fn heed(io: &mut dyn Io, client: &mut Client, tag: u8, body: &[u8]) -> Result<Heeded, Error> {
    let parse = (tag == b'P').then(|| Parse::read(body)).flatten();
    let sql = match (tag, &parse) {
        (b'Q', _) => body.strip_suffix(b"\0").unwrap_or_default(),
        (_, Some(parse)) => parse.sql,
        _ => return Ok(Heeded::AsIs),
    };
    let text = match read(sql)? {
        Said::Nothing => return Ok(Heeded::AsIs),
        Said::Before(position) => {
            client.written = client.written.and(position);
            return Ok(Heeded::AsIs);
        }
        Said::Set(position) => {
            client.written = client.written.and(position);
            if tag == b'Q' && client.server.is_none() && client.begun != Begun::Failed {
                let out = io.out(client.key);
                message::complete(out, b"SET");
                message::ready(out, client.local_status());
                return Ok(Heeded::Answered);
            }
            NOTED
        }
        Said::Show => OF_PRIMARY_FOR_CLIENTS.as_bytes(),
    };
    let mut instead = Vec::new();
    frame(&mut instead, tag, |out| match &parse {
        None => c_string(out, text),
        Some(parse) => {
            c_string(out, parse.name);
            c_string(out, text);
            out.extend_from_slice(&((parse.types.len() / 4) as u16).to_be_bytes());
            out.extend_from_slice(parse.types);
        }
    });
    Ok(Heeded::Instead(instead))
}

impl Written {
    /// This, and that as well.
    fn and(self, other: Position) -> Written {
        match self {
            Written::Nothing => Written::At(other),
            Written::At(own) if (own.timeline, own.lsn) < (other.timeline, other.lsn) => Written::At(other),
            // The primary is asked later than the token was made, and so is beyond it.
            Written::At(_) | Written::Unknown => self,
        }
    }
}

fn read(sql: &[u8]) -> Result<Said, Error> {
    let text = sql.trim_ascii_start();
    if let Some(comment) = text.strip_prefix(b"/*") {
        return before(comment);
    }
    if !matches!(text.first(), Some(b's' | b'S')) || text.len() > MAX_COMMAND {
        return Ok(Said::Nothing);
    }
    let text = text.trim_ascii_end().to_ascii_lowercase();
    let text = text.strip_suffix(b";").unwrap_or(&text).trim_ascii_end();
    if let Some(name) = word(text, b"show") {
        return Ok(if name == b"midstream.position" { Said::Show } else { Said::Nothing });
    }
    let Some(rest) = word(text, b"set") else { return Ok(Said::Nothing) };
    let rest = word(rest, b"session").unwrap_or(rest);
    let is_local = word(rest, b"local").is_some_and(|rest| rest.starts_with(b"midstream.after"));
    let value = rest.strip_prefix(b"midstream.after").map(<[u8]>::trim_ascii_start);
    let value = value.and_then(|rest| rest.strip_prefix(b"=").or_else(|| word(rest, b"to"))).map(<[u8]>::trim_ascii_start);
    match value {
        None if is_local => Err(malformed(text)),
        None => Ok(Said::Nothing),
        Some(value) => {
            let token = value.strip_prefix(b"'").and_then(|rest| rest.strip_suffix(b"'"));
            token.and_then(Position::of_token).map(Said::Set).ok_or_else(|| malformed(value))
        }
    }
}

/// A comment's content and what follows it.
fn before(comment: &[u8]) -> Result<Said, Error> {
    let Some(said) = word(comment.trim_ascii_start(), b"midstream") else { return Ok(Said::Nothing) };
    let said = said.get(..MAX_COMMAND).unwrap_or(said);
    let end = said.windows(2).position(|end| end == b"*/").unwrap_or(said.len());
    let said = said.get(..end).unwrap_or_default().trim_ascii();
    said.strip_prefix(b"after=").and_then(Position::of_token).map(Said::Before).ok_or_else(|| malformed(said))
}

/// What follows the word and a space.
fn word<'a>(text: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let rest = text.strip_prefix(word)?;
    rest.first().filter(|byte| byte.is_ascii_whitespace())?;
    Some(rest.trim_ascii_start())
}

fn malformed(said: &[u8]) -> Error {
    Error::statement("22023", format!("this is no position for midstream.after: {}", String::from_utf8_lossy(said)))
        .detail("A position is what SHOW midstream.position answers: 8 digits of the timeline and a position in its log, as 00000001/0/16B3748.")
        .hint("Say SET midstream.after = '00000001/0/16B3748' or /* midstream after=00000001/0/16B3748 */; SET LOCAL is not possible.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_where_they_stand() {
        let position = || Position { timeline: 1, lsn: 0x16_B374_D848 };
        for (sql, said) in [
            ("SHOW midstream.position", Said::Show),
            (" show  Midstream.Position ; ", Said::Show),
            ("SET midstream.after = '00000001/16/B374D848'", Said::Set(position())),
            ("set session midstream.after to '00000001/16/b374d848';", Said::Set(position())),
            ("SET midstream.after='00000001/16/B374D848'", Said::Set(position())),
            ("/* midstream after=00000001/16/B374D848 */ select 1", Said::Before(position())),
            ("\n/*midstream after=00000001/16/B374D848*/begin", Said::Before(position())),
            ("select 1 /* midstream after=x */", Said::Nothing),
            ("/* other */ select 1", Said::Nothing),
            ("/* midstreams */ select 1", Said::Nothing),
            ("show midstream.positions", Said::Nothing),
            ("set midstream.afterwards = 1", Said::Nothing),
            ("select 1", Said::Nothing),
            ("", Said::Nothing),
        ] {
            assert_eq!(read(sql.as_bytes()).unwrap(), said, "{sql}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for sql in [
            "SET midstream.after = ''",
            "SET midstream.after = 5",
            "SET midstream.after TO DEFAULT",
            "SET LOCAL midstream.after = '00000001/16/B374D848'",
            "SET midstream.after = '1/16/B374D848'",
            "SET midstream.after = '00000001/16'",
            "SET midstream.after = '00000001/16/B374D8480'",
            "SET midstream.after = '+0000001/16/B374D848'",
            "SET midstream.after = '00000001/+16/B374D848'",
            "/* midstream after=x */ select 1",
            "/* midstream */ select 1",
            "/* midstream after=00000001/16/B374D848 select 1",
        ] {
            assert_eq!(read(sql.as_bytes()).map_err(|error| error.code), Err("22023".into()), "{sql}");
        }
    }

    #[test]
    fn the_later_of_two_positions_counts() {
        let at = |timeline, lsn| Position { timeline, lsn };
        assert_eq!(Written::Nothing.and(at(1, 5)), Written::At(at(1, 5)));
        assert_eq!(Written::At(at(1, 7)).and(at(1, 5)), Written::At(at(1, 7)));
        assert_eq!(Written::At(at(1, 7)).and(at(2, 5)), Written::At(at(2, 5)));
        assert_eq!(Written::Unknown.and(at(2, 5)), Written::Unknown);
    }
}
