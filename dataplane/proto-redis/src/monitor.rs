//! MONITOR: what the clients of a listener ask, on all workers of this sidecar, as a server shows it. What other sidecars ask is not here.
//!
//! A line is made only while somebody watches, and goes to watchers of other workers by mail. Passwords are never shown. A watcher that does
//! not read, or a mailbox that is full, misses lines: what is asked never waits for those who watch.
//! Source: <https://redis.io/docs/latest/commands/monitor/>.

use crate::errand::{Ask, Errand, Next, Round};
use crate::frame::Frame;
use crate::limits;
use crate::machine::Redis;
use crate::pipe::To;
use crate::table::Command;
use crate::value::{command, elements, text};
use std::fmt::Write as _;
use wire::{Io, Key, MICROS, Nanos, SECONDS};

/// Who watches.
#[derive(Default, Debug)]
pub(crate) struct Watchers {
    /// Clients of this worker.
    here: Vec<Key>,
    /// Workers with watchers, and of which listener.
    elsewhere: Vec<(usize, String)>,
    /// Microseconds since 1970 at the beginning of the worker's time.
    epoch: u64,
}

impl Watchers {
    /// Whether nobody watches: the only question on the way of every command.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.here.is_empty() && self.elsewhere.is_empty()
    }
}

/// MONITOR asks a node for the time of day, which nobody else here knows, and then watches.
#[derive(Debug)]
pub(crate) struct Begin;

impl Errand for Begin {
    fn next(&mut self, round: &Round<'_>) -> Next {
        let Some(reply) = round.replies.first() else {
            return Next::Ask(vec![Ask::of(To::Any, command(&["TIME"]), true)]);
        };
        let number = |part: &&[u8]| std::str::from_utf8(text(part)?).ok()?.parse::<u64>().ok();
        let parts: Option<Vec<u64>> = elements(reply).unwrap_or_default().iter().map(number).collect();
        match parts.as_deref() {
            Some([seconds, micros]) => Next::Watch(seconds.saturating_mul(1_000_000).saturating_add(*micros).saturating_sub(round.now / MICROS)),
            _ => Next::Answer(reply.clone()),
        }
    }
}

/// The first byte of mail to other workers: watchers of a listener, no more, a line for them.
const BEGIN: u8 = b'w';
const END: u8 = b'u';
const LINE: u8 = b'l';

impl Redis {
    /// A client watches from now on.
    pub(crate) fn watch_listener(&mut self, io: &mut dyn Io, key: Key, epoch: u64) {
        self.watchers.epoch = epoch;
        if !self.watchers.here.contains(&key) {
            self.watchers.here.push(key);
        }
        if let Some(name) = self.listener_name(key) {
            let body = [&[BEGIN], epoch.to_be_bytes().as_slice(), name.as_bytes()].concat();
            self.mail_all(io, &body);
        }
    }

    /// A client watches no more.
    pub(crate) fn unwatch_listener(&mut self, io: &mut dyn Io, key: Key) {
        let Some(at) = self.watchers.here.iter().position(|watcher| *watcher == key) else { return };
        let Some(name) = self.listener_name(key) else { return };
        self.watchers.here.swap_remove(at);
        let others = self.watchers.here.iter().any(|watcher| self.listener_name(*watcher).as_ref() == Some(&name));
        if !others {
            self.mail_all(io, &[&[END], name.as_bytes()].concat());
        }
    }

    fn listener_name(&self, key: Key) -> Option<String> {
        let listener = self.listeners.get(self.clients.get(key)?.listener)?.as_ref()?;
        Some(listener.conf.name.to_string())
    }

    fn mail_all(&self, io: &mut dyn Io, body: &[u8]) {
        // Watchers are named by the worker they are on.
        let mut body = body.to_vec();
        body.insert(1, self.worker.index as u8);
        (0..self.worker.count).filter(|worker| *worker != self.worker.index).for_each(|worker| io.mail(worker, body.clone()));
    }

    /// From another worker.
    pub(crate) fn mail_of_watchers(&mut self, io: &mut dyn Io, body: &[u8]) {
        let [kind, worker, rest @ ..] = body else { return };
        let worker = usize::from(*worker);
        match *kind {
            BEGIN => {
                let Some((epoch, name)) = rest.split_first_chunk::<8>() else { return };
                self.watchers.epoch = u64::from_be_bytes(*epoch);
                let watcher = (worker, String::from_utf8_lossy(name).into_owned());
                if !self.watchers.elsewhere.contains(&watcher) {
                    self.watchers.elsewhere.push(watcher);
                }
            }
            END => self.watchers.elsewhere.retain(|(of, name)| (*of, name.as_bytes()) != (worker, rest)),
            LINE => {
                let Some((length, rest)) = rest.split_first() else { return };
                let Some((name, line)) = rest.split_at_checked(usize::from(*length)) else { return };
                self.tell_watchers(io, name, line);
            }
            _ => {}
        }
    }

    /// Shows a command to those who watch its client's listener.
    pub(crate) fn show(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, row: &Command) {
        if row.has("admin") || row.name == "monitor" {
            return;
        }
        let Some(name) = self.listener_name(key) else { return };
        let elsewhere: Vec<usize> = self.watchers.elsewhere.iter().filter(|(_, of)| *of == name).map(|(worker, _)| *worker).collect();
        let from = io.peer(key).map_or_else(|| "?".to_owned(), |peer| peer.remote.to_string());
        let from = format!("{} {from}", self.database(key));
        let line = line(self.watchers.epoch, io.now(), &from, frame, row);
        self.tell_watchers(io, name.as_bytes(), line.as_bytes());
        if !elsewhere.is_empty() {
            let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
            let body = [&[LINE, self.worker.index as u8, length], name.as_bytes(), line.as_bytes()].concat();
            elsewhere.into_iter().for_each(|worker| io.mail(worker, body.clone()));
        }
    }

    fn tell_watchers(&mut self, io: &mut dyn Io, listener: &[u8], line: &[u8]) {
        for watcher in self.watchers.here.clone() {
            let is_of = self.listener_name(watcher).is_some_and(|name| name.as_bytes() == listener);
            let is_silent = self.clients.get(watcher).is_some_and(|client| client.ring.silence.is_off());
            if is_of && !is_silent && io.backlog(watcher) + io.out(watcher).len() < limits::MAX_MONITOR_BACKLOG {
                self.push(io, watcher, line);
            }
        }
    }
}

/// `+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`.
fn line(epoch: u64, now: Nanos, from: &str, frame: &Frame<'_>, row: &Command) -> String {
    let micros = epoch + now / MICROS;
    let mut line = format!("+{}.{:06} [{from}]", micros / (SECONDS / MICROS), micros % (SECONDS / MICROS));
    let mut secret = if row.name == "auth" { frame.len() } else { 0 };
    for index in 0..frame.len() {
        if line.len() > limits::MAX_MONITOR_LINE {
            line += " ...";
            break;
        }
        if index > 0 && secret > 0 {
            secret -= 1;
            line += " \"(redacted)\"";
            continue;
        }
        quote(&mut line, frame.word(index));
        // HELLO 3 AUTH name password
        secret = if index > 0 && row.name == "hello" && frame.is(index, "auth") { 2 } else { secret };
    }
    line + "\r\n"
}

fn quote(line: &mut String, word: &[u8]) {
    line.push_str(" \"");
    for byte in word.iter().take(limits::MAX_MONITOR_LINE) {
        match byte {
            b'\\' | b'"' => line.extend(['\\', char::from(*byte)]),
            b'\n' => line.push_str("\\n"),
            b'\r' => line.push_str("\\r"),
            b'\t' => line.push_str("\\t"),
            0x07 => line.push_str("\\a"),
            0x08 => line.push_str("\\b"),
            b' '..=b'~' => line.push(char::from(*byte)),
            _ => _ = write!(line, "\\x{byte:02x}"),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Scan;
    use crate::table::Table;

    #[test]
    fn lines_show_what_was_asked_but_no_password() {
        for (command, shown) in [
            ("get foo", r#"+7.000001 [0 me] "get" "foo""#),
            (r#"set "a\"\x92\n" b"#, r#"+7.000001 [0 me] "set" "a\"\x92\n" "b""#),
            ("AUTH name secret", r#"+7.000001 [0 me] "AUTH" "(redacted)" "(redacted)""#),
            ("HELLO 3 AUTH name secret SETNAME x", r#"+7.000001 [0 me] "HELLO" "3" "AUTH" "(redacted)" "(redacted)" "SETNAME" "x""#),
        ] {
            let mut scan = Scan::default();
            scan.command(format!("{command}\r\n").as_bytes(), true).unwrap();
            let frame = Frame { bytes: &scan.rewritten, words: &scan.words };
            let row = Table::get().find(frame.word(0)).unwrap();
            assert_eq!(line(7_000_000, MICROS, "0 me", &frame, row), format!("{shown}\r\n"));
        }
    }
}
