//! Transcripts: what clients sent, what servers sent, what the proxy did, as text that is replayed on a protocol in the simulated engine.
//!
//! ```text
//! with auth                     # which configuration (the test's word); the first directive, or left out
//! connect c1 cache              # a client connects to the listener "cache"; `connect c1 events 2` to a facet of it;
//!                               # `connect c1 events as NAME` with TLS, asking for that name
//! c1> "PING\r\n"                # the peer c1 sends
//! c1< "+PONG\r\n"               # the peer c1 has received, since the last such line, exactly
//! dial s1 127.0.0.1:7001        # the proxy dialled that address; it is accepted, and is s1 from now on
//! dial s2 127.0.0.1:7002 refused
//! advance 10ms                  # time passes (ms, s)
//! half-close c1                 # the peer sends no more
//! close s1                      # the peer closes
//! closed c1                     # the proxy has closed it
//! secured c1                    # TLS is up after start_tls
//! upcall u1 plan                # the brain was asked
//! answer u1 "..."               # and answers; `answer u1 none`: it does not
//! ```
//! Strings know `\r \n \t \0 \\ \" \xNN`; several in a row, also on the lines that follow and begin with a blank, are one. Nothing may be
//! received that no line expects. With the environment variable `TRANSCRIPTS=write`, [`check`] writes what was received into the files
//! instead of comparing: review the diff.

use crate::key::{Key, MILLIS, Nanos, SECONDS};
use crate::protocol::Why;
use crate::sim::{Did, Sim};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// How the bytes of the peers arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// As the transcript sends them.
    Whole,
    /// One at a time.
    Bytes,
}

/// Replays all `*.txt` of a folder, whole and one byte at a time; `make` gives the worker for the word after `with` (or "").
///
/// # Panics
/// With the differences, if a transcript is not what happens.
pub fn check(folder: &Path, make: impl Fn(&str) -> Sim) {
    let write = std::env::var("TRANSCRIPTS").is_ok_and(|mode| mode == "write");
    let mut files: Vec<_> = std::fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let mut wrong = String::new();
    for path in &files {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        for cut in [Cut::Whole, Cut::Bytes] {
            match replay(&text, cut, &make) {
                Ok(actual) if actual == text => {}
                Ok(actual) if write && cut == Cut::Whole => {
                    let _ = std::fs::write(path, actual);
                    break;
                }
                Ok(actual) => _ = writeln!(wrong, "{} ({cut:?}):\n{}", path.display(), difference(&text, &actual)),
                Err(error) => _ = writeln!(wrong, "{} ({cut:?}): {error}", path.display()),
            }
        }
    }
    assert!(!files.is_empty(), "no transcripts in {}", folder.display());
    assert!(wrong.is_empty(), "{wrong}");
}

/// Replays one transcript; the same text with what was really received.
///
/// # Errors
/// The line that cannot be: a dial that was not made, a connection that is not closed.
pub fn replay(text: &str, cut: Cut, make: impl Fn(&str) -> Sim) -> Result<String, String> {
    let lines = join(text);
    let with = lines.iter().find_map(|line| line.text.strip_prefix("with ")).unwrap_or("").trim();
    let mut replay = Replay { sim: make(with), cut, names: BTreeMap::new(), did: Vec::new(), calls: BTreeMap::new() };
    let mut actual = String::new();
    for line in &lines {
        let written = replay.line(line.text).map_err(|error| format!("line {}: {error}", line.number))?;
        actual.push_str(&written.unwrap_or_else(|| line.source.to_owned()));
    }
    for (name, key) in replay.names.clone() {
        let left = replay.sim.take(key);
        if !left.is_empty() {
            let _ = writeln!(actual, "{name}< {}", quote(&left));
        }
    }
    Ok(actual)
}

struct Line<'a> {
    number: usize,
    /// Without comment and blanks around it; strings of continuation lines are read from `source`.
    text: &'a str,
    source: &'a str,
}

/// Lines with their continuations.
fn join(text: &str) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut at = 0;
    for (index, raw) in text.split_inclusive('\n').enumerate() {
        let continues = raw.starts_with([' ', '\t']) && raw.trim_start().starts_with('"');
        match lines.last_mut() {
            Some(last) if continues => {
                let start = last.source.as_ptr() as usize - text.as_ptr() as usize;
                last.source = &text[start..at + raw.len()];
                last.text = last.source.trim();
            }
            _ => lines.push(Line { number: index + 1, text: raw.trim(), source: raw }),
        }
        at += raw.len();
    }
    lines
}

struct Replay {
    sim: Sim,
    cut: Cut,
    names: BTreeMap<String, Key>,
    /// What the proxy did that no line has claimed.
    did: Vec<Did>,
    calls: BTreeMap<String, (Key, u64)>,
}

impl Replay {
    /// Runs a line; what it should have been, where that differs.
    fn line(&mut self, line: &str) -> Result<Option<String>, String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        if let Some(name) = verb.strip_suffix('>') {
            let key = self.key(name)?;
            let bytes = unquote(rest)?;
            match self.cut {
                Cut::Whole => self.sim.send(key, &bytes),
                Cut::Bytes => self.sim.dribble(key, &bytes),
            }
            return Ok(None);
        }
        if let Some(name) = verb.strip_suffix('<') {
            let key = self.key(name)?;
            let (expected, received) = (unquote(rest)?, self.sim.take(key));
            return Ok((expected != received).then(|| format!("{name}< {}\n", quote(&received))));
        }
        let words: Vec<&str> = rest.split('#').next().unwrap_or_default().split_whitespace().collect();
        self.directive(verb, &words, rest).map(|()| None)
    }

    fn directive(&mut self, verb: &str, words: &[&str], rest: &str) -> Result<(), String> {
        match (verb, words) {
            ("with", _) => {}
            ("connect", [name, listener]) => self.connected(name, |sim| sim.connect(listener)),
            ("connect", [name, listener, facet]) => {
                let facet = facet.parse().map_err(|_| "no facet")?;
                self.connected(name, |sim| sim.connect_facet(listener, facet, None));
            }
            ("connect", [name, listener, "as", server_name]) => self.connected(name, |sim| sim.connect_facet(listener, 0, Some(server_name))),
            ("dial", [name, address]) => {
                let key = self.dialled(name, address)?;
                self.sim.accept(key);
            }
            ("dial", [name, address, "refused"]) => {
                let key = self.dialled(name, address)?;
                self.sim.refuse(key);
            }
            ("advance", [time]) => self.sim.advance(duration(time)?),
            ("half-close", [name]) => {
                let key = self.key(name)?;
                self.sim.half_close(key);
            }
            ("close", [name]) => {
                let key = self.key(name)?;
                self.sim.closed(key, Why::Eof);
            }
            ("secured", [name]) => {
                let key = self.key(name)?;
                self.sim.secured(key);
            }
            ("closed", [name]) if self.sim.is_open(self.key(name)?) => return Err(format!("{name} is open")),
            ("closed", [_]) => {}
            ("upcall", [name, topic]) => self.upcall(name, topic)?,
            ("answer", [name, ..]) => {
                let (key, number) = *self.calls.get(*name).ok_or("no such upcall")?;
                let body = rest.split_once('"').map(|(_, body)| unquote(&format!("\"{body}"))).transpose()?;
                self.sim.answer(key, number, body.as_deref());
            }
            _ => return Err(format!("not a directive: {verb} {rest}")),
        }
        Ok(())
    }

    fn key(&self, name: &str) -> Result<Key, String> {
        self.names.get(name).copied().ok_or_else(|| format!("no connection {name}"))
    }

    fn connected(&mut self, name: &str, connect: impl FnOnce(&mut Sim) -> Key) {
        let key = connect(&mut self.sim);
        self.names.insert(name.to_owned(), key);
    }

    /// The first dial of that address that no line has claimed.
    fn dialled(&mut self, name: &str, address: &str) -> Result<Key, String> {
        self.did.extend(self.sim.did());
        let found = self.did.iter().position(|did| matches!(did, Did::Dial { to, .. } if to == address));
        let Some(Did::Dial { key, .. }) = found.map(|index| self.did.remove(index)) else {
            return Err(format!("{address} was not dialled; what was done: {:?}", self.did));
        };
        self.names.insert(name.to_owned(), key);
        Ok(key)
    }

    fn upcall(&mut self, name: &str, topic: &str) -> Result<(), String> {
        self.did.extend(self.sim.did());
        let found = self.did.iter().position(|did| matches!(did, Did::Upcall { call, .. } if call.topic == topic));
        let Some(Did::Upcall { key, number, .. }) = found.map(|index| self.did.remove(index)) else {
            return Err(format!("no upcall {topic}; what was done: {:?}", self.did));
        };
        self.calls.insert(name.to_owned(), (key, number));
        Ok(())
    }
}

fn duration(text: &str) -> Result<Nanos, String> {
    let (number, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, MILLIS),
        (None, Some(number)) => (number, SECONDS),
        _ => return Err(format!("not a time: {text}")),
    };
    number.parse::<u64>().map(|number| number * unit).map_err(|_| format!("not a time: {text}"))
}

/// The bytes of all strings of a line.
fn unquote(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut inside = false;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (inside, char) {
            (_, '"') => inside = !inside,
            (false, '#') => break,
            (false, char) if char.is_whitespace() => {}
            (false, char) => return Err(format!("outside of a string: {char}")),
            (true, '\\') => bytes.push(escaped(&mut chars)?),
            (true, char) => bytes.extend(char.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    if inside { Err("a string does not end".into()) } else { Ok(bytes) }
}

fn escaped(chars: &mut std::str::Chars<'_>) -> Result<u8, String> {
    match chars.next() {
        Some('r') => Ok(b'\r'),
        Some('n') => Ok(b'\n'),
        Some('t') => Ok(b'\t'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some('"') => Ok(b'"'),
        Some('x') => {
            let digits: String = chars.take(2).collect();
            u8::from_str_radix(&digits, 16).map_err(|_| format!("not two hex digits: {digits}"))
        }
        other => Err(format!("not an escape: {other:?}")),
    }
}

/// Longer strings are broken after each line feed, so that a diff shows which message changed.
const BREAK_FROM: usize = 100;

fn quote(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    let long = bytes.len() > BREAK_FROM;
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' if long && index + 1 < bytes.len() => text.push_str("\\n\"\n    \""),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            0 => text.push_str("\\0"),
            b'\\' => text.push_str("\\\\"),
            b'"' => text.push_str("\\\""),
            b' '..=b'~' => text.push(*byte as char),
            other => _ = write!(text, "\\x{other:02x}"),
        }
    }
    text.push('"');
    text
}

fn difference(expected: &str, actual: &str) -> String {
    let mut text = String::new();
    let mut wanted = expected.lines();
    for got in actual.lines() {
        match wanted.next() {
            Some(line) if line == got => {}
            Some(line) => _ = writeln!(text, "  - {line}\n  + {got}"),
            None => _ = writeln!(text, "  + {got}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_survive_both_ways() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(unquote(&quote(&bytes)).unwrap(), bytes);
        assert_eq!(unquote("\"a\\r\"\n   \"b\" # c").unwrap(), b"a\rb");
        assert!(unquote("\"a").is_err());
        assert!(unquote("x").is_err());
        assert_eq!(duration("10ms"), Ok(10 * MILLIS));
        assert_eq!(duration("2s"), Ok(2 * SECONDS));
    }
}
