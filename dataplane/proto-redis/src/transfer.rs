//! RENAME, RENAMENX, COPY, SMOVE, MSETNX and MSETEX from slot to slot, in steps of which none loses anything: the new is there before the old goes.
//! What another client does to the keys between two steps is found out where it would be lost, and the step is done again or undone.

use crate::dispatch::CROSSSLOT;
use crate::errand::{Ask, Errand, Next, Round};
use crate::frame::Frame;
use crate::slot::slot_of;
use crate::table::Command;
use crate::value::{command, elements, integer_of, is_error, is_null, text};

/// How often a key that changes while it is moved is moved again.
const MOST_PASSES: u8 = 8;

/// Takes a key away that is still what it was when it was read. 2: it is gone already.
const TAKE_AWAY: &str = "local d = redis.call('DUMP', KEYS[1]) \
    if not d then return 2 end \
    if d ~= ARGV[1] then return 0 end \
    redis.call('UNLINK', KEYS[1]) return 1";
/// COPY to another database; a script, as it stops where there is none.
const RESTORE_IN: &str = "redis.call('SELECT', ARGV[1]) return redis.call('RESTORE', KEYS[1], unpack(ARGV, 2))";
/// Undoes a SET of ours.
const UNSET: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 0";

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Task {
    Rename,
    RenameNx,
    Copy {
        replace: bool,
        database: Option<u32>,
    },
    Smove,
    MsetNx,
    /// Whether only where none of the keys is there.
    MsetEx(bool),
}

/// How far it is.
#[derive(Debug)]
enum State {
    Start,
    /// The source with its time to live is being read.
    Read,
    /// The destination is being written, from this.
    Write(Vec<u8>),
    /// The source is being taken away.
    TakeAway,
    /// SMOVE: looked at both; added; removed; undone.
    Look,
    Add,
    Remove {
        added: bool,
    },
    /// MSETNX, MSETEX: looked at all; set all.
    LookAtAll,
    SetAll,
    /// An undo is under way; then this is the answer.
    Answer(&'static [u8]),
}

/// A transfer between slots.
#[derive(Debug)]
pub(crate) struct Transfer {
    task: Task,
    state: State,
    words: Vec<Vec<u8>>,
    /// MSETEX: the words behind the keys and values.
    options: Vec<Vec<u8>>,
    passes: u8,
}

const YES: &[u8] = b":1\r\n";
const NO: &[u8] = b":0\r\n";

impl Transfer {
    /// Of a command.
    ///
    /// # Errors
    /// Its words make no sense; in the server's words.
    pub fn of(frame: &Frame<'_>, row: &Command) -> Result<Transfer, &'static str> {
        let task = match row.name {
            "rename" => Task::Rename,
            "renamenx" => Task::RenameNx,
            "copy" => copy(frame)?,
            "smove" => Task::Smove,
            "msetex" => return Transfer::of_msetex(frame),
            _ if frame.len() % 2 == 0 => return Err("ERR wrong number of arguments for 'msetnx' command"),
            _ => Task::MsetNx,
        };
        let words = (0..frame.len()).map(|index| frame.word(index).to_vec()).collect();
        Ok(Transfer { task, state: State::Start, words, options: Vec::new(), passes: 0 })
    }

    /// `MSETEX count key value ... [NX | XX] [a time to live]`. What XX has overwritten could not be put back, if another key is gone meanwhile.
    fn of_msetex(frame: &Frame<'_>) -> Result<Transfer, &'static str> {
        let count = std::str::from_utf8(frame.word(1)).ok().and_then(|count| count.parse::<usize>().ok()).ok_or("ERR invalid numkeys value")?;
        let end = count.saturating_mul(2).saturating_add(2);
        if end > frame.len() {
            return Err("ERR wrong number of key-value pairs");
        }
        if (end..frame.len()).any(|index| frame.is(index, "xx")) {
            return Err(CROSSSLOT);
        }
        let words = [0].into_iter().chain(2..end).map(|index| frame.word(index).to_vec()).collect();
        let options = (end..frame.len()).map(|index| frame.word(index).to_vec()).collect();
        let only_new = (end..frame.len()).any(|index| frame.is(index, "nx"));
        Ok(Transfer { task: Task::MsetEx(only_new), state: State::Start, words, options, passes: 0 })
    }

    fn word(&self, index: usize) -> &[u8] {
        self.words.get(index).map(Vec::as_slice).unwrap_or_default()
    }

    fn ask<W: AsRef<[u8]>>(&self, key: usize, words: &[W], repeatable: bool) -> Ask {
        Ask::one(slot_of(self.word(key)), words, repeatable)
    }

    fn start(&mut self) -> Next {
        match self.task {
            Task::Rename | Task::RenameNx | Task::Copy { .. } => {
                self.state = State::Read;
                let commands = [&b"DUMP"[..], b"PEXPIRETIME"].map(|name| command(&[name, self.word(1)]));
                Next::Ask(vec![Ask::batch(slot_of(self.word(1)), &commands, true)])
            }
            Task::Smove => {
                self.state = State::Look;
                let (source, destination, member) = (self.word(1), self.word(2), self.word(3));
                let looks = [
                    self.ask(1, &[b"SISMEMBER", source, member], true),
                    self.ask(1, &[b"EXISTS", source], true),
                    self.ask(2, &[b"SCARD", destination], true),
                ];
                Next::Ask(looks.into())
            }
            Task::MsetEx(false) => self.set_each(),
            Task::MsetNx | Task::MsetEx(true) => {
                self.state = State::LookAtAll;
                Next::Ask(self.settings().map(|(key, _)| self.ask(key, &[b"EXISTS", self.word(key)], true)).collect())
            }
        }
    }

    fn read(&mut self, reply: &[u8]) -> Next {
        if is_error(reply) {
            return Next::Answer(reply.to_vec());
        }
        let parts = elements(reply).unwrap_or_default();
        let (Some(dump), Some(expires)) = (parts.first(), parts.get(1).and_then(|part| integer_of(part))) else {
            return Next::fail("ERR midstream: the node does not tell a key's time to live; redis 7 or later is needed to move keys between slots");
        };
        let Some(dump) = text(dump) else {
            let missing: &[u8] = if matches!(self.task, Task::Copy { .. }) { NO } else { b"-ERR no such key\r\n" };
            return Next::Answer(missing.to_vec());
        };
        let lives_until = expires.max(0).to_string();
        let mut words = vec![&b"RESTORE"[..], self.word(2), lives_until.as_bytes(), dump, b"ABSTTL"];
        // At a second pass the destination is what the first has written.
        let replaces = matches!(self.task, Task::Rename | Task::Copy { replace: true, .. }) || self.passes > 0;
        words.extend(replaces.then_some(&b"REPLACE"[..]));
        let database = if let Task::Copy { database: Some(database), .. } = self.task { database.to_string() } else { String::new() };
        if !database.is_empty() {
            words.splice(..2, [&b"EVAL"[..], RESTORE_IN.as_bytes(), b"1", self.word(2), database.as_bytes()]);
        }
        let ask = self.ask(2, &words, replaces);
        self.state = State::Write(dump.to_vec());
        self.passes += 1;
        Next::Ask(vec![ask])
    }

    fn written(&mut self, dump: &[u8], reply: &[u8]) -> Next {
        if reply.starts_with(b"-BUSYKEY") {
            return Next::Answer(NO.to_vec());
        }
        if matches!(self.task, Task::Copy { database: Some(_), .. }) && (has(reply, b"index is out of range") || has(reply, b"in cluster mode")) {
            return Next::fail("ERR DB index is out of range");
        }
        if is_error(reply) {
            return Next::Answer(reply.to_vec());
        }
        if let Task::Copy { .. } = self.task {
            return Next::Answer(YES.to_vec());
        }
        self.state = State::TakeAway;
        Next::Ask(vec![self.ask(1, &[&b"EVAL"[..], TAKE_AWAY.as_bytes(), b"1", self.word(1), dump], true)])
    }

    fn taken_away(&mut self, reply: &[u8]) -> Next {
        match integer_of(reply) {
            None => Next::Answer(reply.to_vec()),
            Some(0) if self.passes < MOST_PASSES => self.start(),
            Some(0) if self.task == Task::RenameNx => {
                self.state =
                    State::Answer(b"-TRYAGAIN midstream: the key changes faster than it can be moved to another slot; nothing was changed\r\n");
                Next::Ask(vec![self.ask(2, &[&b"UNLINK"[..], self.word(2)], true)])
            }
            Some(0) => Next::fail("TRYAGAIN midstream: the key changes faster than it can be moved to another slot; a copy is under the new name"),
            Some(_) if self.task == Task::Rename => Next::Answer(b"+OK\r\n".to_vec()),
            Some(_) => Next::Answer(YES.to_vec()),
        }
    }

    /// SMOVE looked at both sets.
    fn looked(&mut self, round: &Round<'_>) -> Next {
        let [is_member, exists, card] = round.replies else { return Next::fail("ERR midstream: a reply is missing") };
        if is_error(is_member) || integer_of(exists) == Some(0) {
            return Next::Answer(if is_error(is_member) { is_member.clone() } else { NO.to_vec() });
        }
        if is_error(card) || integer_of(is_member) != Some(1) {
            return Next::Answer(if is_error(card) { card.clone() } else { NO.to_vec() });
        }
        self.state = State::Add;
        Next::Ask(vec![self.ask(2, &[&b"SADD"[..], self.word(2), self.word(3)], true)])
    }

    fn added(&mut self, reply: &[u8]) -> Next {
        let Some(added) = integer_of(reply) else { return Next::Answer(reply.to_vec()) };
        self.state = State::Remove { added: added > 0 };
        Next::Ask(vec![self.ask(1, &[&b"SREM"[..], self.word(1), self.word(3)], false)])
    }

    fn removed(&mut self, added: bool, reply: &[u8]) -> Next {
        match integer_of(reply) {
            None => Next::Answer(reply.to_vec()),
            // Another client was first.
            Some(0) if added => {
                self.state = State::Answer(NO);
                Next::Ask(vec![self.ask(2, &[&b"SREM"[..], self.word(2), self.word(3)], false)])
            }
            Some(0) => Next::Answer(NO.to_vec()),
            Some(_) => Next::Answer(YES.to_vec()),
        }
    }

    /// The words of each key and of its value; of a key that is named twice the last.
    fn settings(&self) -> impl Iterator<Item = (usize, usize)> {
        let is_last = |key: &usize| !(key + 2..self.words.len()).step_by(2).any(|later| self.word(later) == self.word(*key));
        (1..self.words.len()).step_by(2).filter(is_last).map(|key| (key, key + 1))
    }

    fn set_all(&mut self, round: &Round<'_>) -> Next {
        if round.replies.iter().any(|reply| integer_of(reply) == Some(1)) {
            return Next::Answer(NO.to_vec());
        }
        self.set_each()
    }

    fn set_each(&mut self) -> Next {
        let set = |(key, value)| {
            if self.task == Task::MsetNx {
                return self.ask(key, &[b"SET", self.word(key), self.word(value), b"NX"], false);
            }
            let words = [&b"MSETEX"[..], b"1", self.word(key), self.word(value)].into_iter().chain(self.options.iter().map(Vec::as_slice));
            self.ask(key, &words.collect::<Vec<_>>(), false)
        };
        let asks = self.settings().map(set).collect();
        self.state = State::SetAll;
        Next::Ask(asks)
    }

    /// Another client may have set one of them meanwhile: then ours go.
    fn all_set(&mut self, round: &Round<'_>) -> Next {
        let is_set = |reply: &Vec<u8>| !is_null(reply) && integer_of(reply) != Some(0);
        if round.replies.iter().all(is_set) {
            return Next::Answer(YES.to_vec());
        }
        let ours = self.settings().zip(round.replies).filter(|(_, reply)| is_set(reply));
        let undo: Vec<Ask> =
            ours.map(|((key, value), _)| self.ask(key, &[&b"EVAL"[..], UNSET.as_bytes(), b"1", self.word(key), self.word(value)], true)).collect();
        if undo.is_empty() {
            return Next::Answer(NO.to_vec());
        }
        self.state = State::Answer(NO);
        Next::Ask(undo)
    }
}

/// `COPY source destination [DB database] [REPLACE]`.
fn copy(frame: &Frame<'_>) -> Result<Task, &'static str> {
    let (mut replace, mut database) = (false, None);
    let mut at = 3;
    while at < frame.len() {
        if frame.is(at, "replace") {
            replace = true;
        } else if frame.is(at, "db") && at + 1 < frame.len() {
            at += 1;
            match std::str::from_utf8(frame.word(at)).ok().and_then(|text| text.parse::<i64>().ok()) {
                Some(number) => database = Some(u32::try_from(number).map_err(|_| "ERR DB index is out of range")?),
                None => return Err("ERR value is not an integer or out of range"),
            }
        } else {
            return Err("ERR syntax error");
        }
        at += 1;
    }
    Ok(Task::Copy { replace, database })
}

fn has(reply: &[u8], text: &[u8]) -> bool {
    is_error(reply) && reply.windows(text.len()).any(|window| window == text)
}

impl Errand for Transfer {
    fn next(&mut self, round: &Round<'_>) -> Next {
        match std::mem::replace(&mut self.state, State::Start) {
            State::Start => self.start(),
            State::Read => self.read(round.reply()),
            State::Write(dump) => self.written(&dump, round.reply()),
            State::TakeAway => self.taken_away(round.reply()),
            State::Look => self.looked(round),
            State::Add => self.added(round.reply()),
            State::Remove { added } => self.removed(added, round.reply()),
            State::LookAtAll | State::SetAll if round.error().is_some() => Next::Answer(round.error().cloned().unwrap_or_default()),
            State::LookAtAll => self.set_all(round),
            State::SetAll => self.all_set(round),
            State::Answer(reply) => Next::Answer(reply.to_vec()),
        }
    }

    fn is_heavy(&self) -> bool {
        matches!(self.task, Task::Rename | Task::RenameNx | Task::Copy { .. })
    }
}
