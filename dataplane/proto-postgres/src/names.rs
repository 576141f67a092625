//! A server knows prepared statements by names of ours: in what it says of them the client has to find its own, and what the client says of
//! them in SQL has to be done here.

use crate::client::Client;
use crate::extended::add_parse;
use crate::front::Step;
use crate::machine::Postgres;
use crate::message::{c_string, frame, query};
use crate::query::{UNREAD, absorb};
use crate::server::Expect;
use crate::statement::{Fit, Handle, Prepared};
use sql::Lexer;
use wire::{Io, Key};

const PREFIX: &[u8] = b"\"ms_";
/// 128 bits.
const DIGITS: usize = 32;

/// The ErrorResponse with the client's name of the statement in the place of ours; `None`: it names none.
pub fn reword(client: &Client, body: &[u8]) -> Option<Vec<u8>> {
    let at = body.windows(PREFIX.len()).position(|window| window == PREFIX)? + 1;
    let end = at + PREFIX.len() - 1 + DIGITS;
    let digits = std::str::from_utf8(body.get(end - DIGITS..end)?).ok()?;
    let id = u128::from_str_radix(digits, 16).ok()?;
    let (name, _) = client.statements.iter().find(|(_, statement)| statement.prepared.id == id)?;
    Some([&body[..at], name, &body[end..]].concat())
}

/// A name that no client's statement has on a server, nor any content.
const GONE: &[u8] = b"ms_gone";

/// The statement of the protocol that a query deallocates, as drivers do where their libpq has no Close (psycopg on libpq before 17).
pub fn deallocated<'a>(client: &Client, lexer: &'a mut Lexer, sql: &[u8]) -> Option<&'a [u8]> {
    // Asked for each query, so the first byte decides as a rule.
    if client.statements.is_empty() || !matches!(sql.first(), Some(b'd' | b'D')) {
        return None;
    }
    let lexed = lexer.scan(sql, sql::Settings::default()).ok()?;
    if lexed.end < sql.len() {
        return None;
    }
    let mut words = lexed.words().skip_while(|word| *word == b"deallocate").filter(|word| *word != b"prepare");
    let is_deallocate = lexed.words().next() == Some(b"deallocate");
    let name = words.next().filter(|_| is_deallocate)?;
    client.statements.contains_key(name).then_some(name)
}

/// `EXECUTE` of a statement that the protocol prepared, in the words that a server understands. `None`: it is none.
pub fn executing(client: &Client, sql: &[u8]) -> Option<Vec<u8>> {
    if client.statements.is_empty() || !matches!(sql.first(), Some(b'e' | b'E')) {
        return None;
    }
    let (verb, rest) = sql.split_at_checked(EXECUTE.len())?;
    let name = rest.trim_ascii_start();
    if !verb.eq_ignore_ascii_case(EXECUTE) || (name.len() == rest.len() && !rest.starts_with(b"\"")) {
        return None;
    }
    let (name, rest) = match name.strip_prefix(b"\"") {
        Some(quoted) => {
            let end = quoted.iter().position(|byte| *byte == b'"')?;
            (quoted[..end].to_vec(), &quoted[end + 1..])
        }
        None => {
            let end = name.iter().position(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'_' | b'$' | 0x80..)).unwrap_or(name.len());
            (name[..end].to_ascii_lowercase(), &name[end..])
        }
    };
    let mut out = b"EXECUTE ".to_vec();
    client.statements.get(&*name)?.prepared.name(&mut out);
    out.extend_from_slice(rest);
    Some(out)
}

const EXECUTE: &[u8] = b"execute";

/// The client's statement that one made by [`executing`] executes.
fn executed(client: &Client, sql: &[u8]) -> Option<Handle> {
    let digits = sql.get(b"EXECUTE ms_".len()..)?.get(..DIGITS)?;
    let id = u128::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    client.statements.values().find(|handle| handle.prepared.id == id).cloned()
}

impl Postgres {
    /// Before a Bind of an EXECUTE: what it executes has to be there, and does to the session what it does.
    pub(crate) fn provide_executed(&mut self, io: &mut dyn Io, client: &mut Client, key: Key, execute: &Prepared) {
        let Some(handle) = executed(client, &execute.sql) else { return };
        match handle.prepared.effect.as_ref().zip(handle.prepared.lexed.as_ref()) {
            Some((effect, lexed)) => absorb(client, effect, lexed, io.now()),
            None => client.suspect(UNREAD),
        }
        let now = self.interned.now();
        let Some(server) = self.servers.get_mut(key) else { return };
        if server.statements.fit(&handle) != Fit::Good {
            add_parse(io, server, &handle.prepared, true, None, now);
        }
    }

    /// The client forgets its statement; the server keeps it, for others, and deallocates an empty one in its place: so the answer is the
    /// server's own, whatever the state of the transaction.
    pub(crate) fn deallocate(&mut self, io: &mut dyn Io, client: &mut Client, name: &[u8]) -> Step {
        if self.is_doubtful(io, client, name) {
            return Step::Parked;
        }
        let Some(key) = self.connection(io, client, None) else { return Step::Parked };
        self.release_parses(io, client, key);
        let Some(server) = self.servers.get_mut(key) else { return Step::Done };
        let out = io.out(key);
        frame(out, b'C', |out| {
            out.push(b'S');
            c_string(out, GONE);
        });
        frame(out, b'P', |out| {
            c_string(out, GONE);
            out.extend_from_slice(&[0, 0, 0]);
        });
        server.expect.push_back(Expect::CloseQuiet(false));
        server.expect.push_back(Expect::Parse { named: None, undo: None });
        client.statements.remove(name);
        let mut deallocate = Vec::new();
        query(&mut deallocate, b"DEALLOCATE ms_gone");
        self.query_to(io, client, None, &deallocate)
    }
}
