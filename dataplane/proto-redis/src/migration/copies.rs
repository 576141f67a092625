//! What is to be copied from one back end to the other, and how far each copy is: a pure machine.
//!
//! ```text
//!  touch ──> waiting ──> read ──value──> put ──> read again ──same──> done
//!               ^          |               ^         |
//!               └──failed──┘               └─changed─┘
//! ```
//! Why both end up the same: let a put be the last of a key at the other back end, whoever made it. Its maker read the key again
//! afterwards, and it was what had been put, else there would be a later put. What changes the key after that reading touches it when it is
//! answered, and touching ends in a put. So when nothing is left to copy, anywhere, the last put is what the key is.

use crate::limits::{MAX_COPIED, MAX_COPY, MAX_COPYING, MAX_DIRTY, MAX_DIRTY_BYTES};
use crate::value::{self, elements, integer_of, is_null, text};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use wire::{MILLIS, Nanos, SECONDS};
use xxhash_rust::xxh3::xxh3_128;

/// A copy that failed because slots or nodes are on the move.
const SOON: Nanos = 20 * MILLIS;
/// A copy that failed for a reason that will not pass by itself so soon.
const LATER: Nanos = 500 * MILLIS;
/// What may have been under way on a connection that broke has run by then, or never will.
const SETTLED: Nanos = 10 * SECONDS;
/// A key that changes all the time gives way to others after so many puts.
const ROUNDS: u8 = 4;

type Name = Arc<[u8]>;

/// What a key is: its value's checksum and when it ends.
type Print = (u128, i64);

#[derive(Debug)]
enum State {
    /// It will be read.
    Waiting,
    /// It is being copied; whether it was touched since.
    Running(bool),
}

#[derive(Debug)]
struct Copy {
    key: Name,
    /// What was put.
    put: Option<Print>,
    /// Whether that is not answered.
    is_putting: bool,
    rounds: u8,
    heard: Vec<u8>,
    /// What comes does not fit.
    over: bool,
}

/// What follows from a reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// This goes to the other back end.
    Put(Name, Vec<u8>),
    /// This copy has ended.
    Done,
    /// As it came, it cannot be put.
    Wrong,
    /// The value is too long.
    TooLong,
}

/// See the module.
#[derive(Default, Debug)]
pub(crate) struct Copies {
    states: HashMap<Name, State>,
    ready: VecDeque<Name>,
    /// Failed ones, by when they are tried again.
    later: BTreeSet<(Nanos, Name)>,
    running: HashMap<u32, Copy>,
    /// Keys that may change once more by what was under way on a broken connection, by when it has run.
    unsure: VecDeque<(Nanos, Name)>,
    /// Bytes of the names of all keys that are not copied yet.
    bytes: usize,
    /// Copies that failed since what is due was last looked at: while a node is away, each copy fails as soon as it begins.
    failures: usize,
    /// Bytes of replies that are here in part.
    heard: usize,
}

impl Copies {
    /// Keys that are not copied yet.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Keys that will be copied once more.
    pub fn unsure(&self) -> usize {
        self.unsure.len()
    }

    /// A key may have changed. `false`: there is no room to remember it.
    pub fn touch(&mut self, key: &[u8], unsure: bool, now: Nanos) -> bool {
        let known = self.states.get_key_value(key).map(|(name, _)| Arc::clone(name));
        if let Some(State::Running(again)) = self.states.get_mut(key) {
            *again = true;
        }
        if known.is_none() && (self.states.len() >= MAX_DIRTY || self.bytes + key.len() > MAX_DIRTY_BYTES) {
            return false;
        }
        let name = known.unwrap_or_else(|| self.add(key));
        if unsure {
            return self.doubt(name, now);
        }
        true
    }

    fn add(&mut self, key: &[u8]) -> Name {
        let name: Name = key.into();
        self.bytes += key.len();
        self.states.insert(Arc::clone(&name), State::Waiting);
        self.ready.push_back(Arc::clone(&name));
        name
    }

    /// A key will be looked at once more.
    fn doubt(&mut self, name: Name, now: Nanos) -> bool {
        let has_room = self.unsure.len() < MAX_DIRTY;
        if has_room {
            self.unsure.push_back((now + SETTLED, name));
        }
        has_room
    }

    /// When something is due that waits for its time.
    pub fn due(&self) -> Option<Nanos> {
        let later = self.later.first().map(|(due, _)| *due);
        let unsure = self.unsure.front().map(|(due, _)| *due);
        later.into_iter().chain(unsure).min()
    }

    /// What has waited long enough is ready.
    pub fn wake(&mut self, now: Nanos) {
        self.failures = 0;
        while self.later.first().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, key)) = self.later.pop_first() {
                self.ready.push_back(key);
            }
        }
        while self.unsure.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, key)) = self.unsure.pop_front() {
                self.touch(&key, false, now);
            }
        }
    }

    /// Begins a copy under that number: the key to be read.
    pub fn begin(&mut self, number: u32) -> Option<Name> {
        if self.running.len() >= MAX_COPYING || self.failures >= MAX_COPYING || self.heard >= MAX_COPIED / 2 {
            return None;
        }
        let key = self.ready.pop_front()?;
        self.states.insert(Arc::clone(&key), State::Running(false));
        self.running.insert(number, Copy { key: Arc::clone(&key), put: None, is_putting: false, rounds: 0, heard: Vec::new(), over: false });
        Some(key)
    }

    /// Whether that copy runs.
    pub fn has(&self, number: u32) -> bool {
        self.running.contains_key(&number)
    }

    /// Whether it waits for what it reads, not for what it has put.
    pub fn is_reading(&self, number: u32) -> bool {
        self.running.get(&number).is_some_and(|copy| !copy.is_putting)
    }

    /// A piece of what was read.
    pub fn hear(&mut self, number: u32, piece: &[u8]) {
        let Some(copy) = self.running.get_mut(&number) else { return };
        if copy.over || self.heard + piece.len() > MAX_COPIED || copy.heard.len() + piece.len() > MAX_COPY {
            copy.over = true;
            self.heard -= copy.heard.len();
            copy.heard = Vec::new();
        } else {
            self.heard += piece.len();
            copy.heard.extend_from_slice(piece);
        }
    }

    /// What was read is here: EXEC's reply to DUMP and PEXPIRETIME.
    pub fn read(&mut self, number: u32) -> Then {
        let Some(copy) = self.running.get_mut(&number) else { return Then::Done };
        let reply = std::mem::take(&mut copy.heard);
        self.heard -= reply.len();
        if copy.over {
            copy.over = false;
            return Then::TooLong;
        }
        let parts = elements(&reply).unwrap_or_default();
        let [dump, ends] = parts.as_slice() else { return Then::Wrong };
        let (payload, ends) = match (is_null(dump), text(dump), integer_of(ends)) {
            (true, _, _) => (None, 0),
            (false, Some(payload), Some(ends)) => (Some(payload), ends.max(0)),
            _ => return Then::Wrong,
        };
        let print = (payload.map_or(0, xxh3_128), ends);
        if copy.put.replace(print) == Some(print) {
            self.end(number);
            return Then::Done;
        }
        copy.rounds += 1;
        copy.is_putting = true;
        let key = Arc::clone(&copy.key);
        let command = match payload {
            Some(payload) => value::command(&[b"RESTORE", &*key, ends.to_string().as_bytes(), payload, b"REPLACE", b"ABSTTL"]),
            None => value::command(&[b"UNLINK".as_slice(), &key]),
        };
        Then::Put(key, command)
    }

    /// What was read was put: the key to be read again, unless others have their turn first.
    pub fn written(&mut self, number: u32) -> Option<Name> {
        let copy = self.running.get_mut(&number)?;
        copy.is_putting = false;
        if copy.rounds < ROUNDS || self.ready.is_empty() {
            return Some(Arc::clone(&copy.key));
        }
        let key = self.take(number)?;
        self.ready.push_back(key);
        None
    }

    /// A copy failed, and is tried again. `unsure`: what was put may yet arrive. `false`: there is no room to remember that.
    pub fn failed(&mut self, number: u32, now: Nanos, soon: bool, unsure: bool) -> bool {
        let Some(key) = self.take(number) else { return true };
        self.failures += 1;
        self.later.insert((now + if soon { SOON } else { LATER }, Arc::clone(&key)));
        !unsure || self.doubt(key, now)
    }

    /// A copy that is to begin anew; its key waits.
    fn take(&mut self, number: u32) -> Option<Name> {
        let copy = self.running.remove(&number)?;
        self.heard -= copy.heard.len();
        self.states.insert(Arc::clone(&copy.key), State::Waiting);
        Some(copy.key)
    }

    fn end(&mut self, number: u32) {
        let Some(copy) = self.running.remove(&number) else { return };
        self.heard -= copy.heard.len();
        if let Some(state @ State::Running(true)) = self.states.get_mut(&copy.key) {
            *state = State::Waiting;
            self.ready.push_back(copy.key);
        } else {
            self.states.remove(&copy.key);
            self.bytes -= copy.key.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Scan;

    type Data = HashMap<Vec<u8>, (Vec<u8>, i64)>;

    /// One who copies, and what of it is on its way.
    #[derive(Default)]
    struct Copier {
        copies: Copies,
        next: u32,
        asks: Vec<(u32, Name)>,
        puts: Vec<(u32, Vec<u8>)>,
    }

    fn said(data: &Data, key: &[u8]) -> Vec<u8> {
        match data.get(key) {
            Some((value, ends)) => format!("*2\r\n${}\r\n{}\r\n:{ends}\r\n", value.len(), String::from_utf8_lossy(value)).into_bytes(),
            None => b"*2\r\n$-1\r\n:-2\r\n".to_vec(),
        }
    }

    fn put(data: &mut Data, command: &[u8]) {
        let mut scan = Scan::default();
        scan.command(command, true).unwrap();
        let words: Vec<Vec<u8>> = scan.words.iter().map(|word| command[word.start as usize..word.end as usize].to_vec()).collect();
        if words[0] == b"UNLINK" {
            data.remove(&words[1]);
        } else {
            data.insert(words[1].clone(), (words[3].clone(), String::from_utf8_lossy(&words[2]).parse().unwrap()));
        }
    }

    impl Copier {
        /// One step of those that may come next. False: there is none.
        fn step(&mut self, dice: u64, source: &Data, target: &mut Data, now: Nanos) -> bool {
            self.copies.wake(now);
            let which = (dice >> 8) as usize;
            match dice % 3 {
                0 => {
                    let begun = self.copies.begin(self.next);
                    self.asks.extend(begun.map(|name| (self.next, name)));
                    self.next += 1;
                }
                1 if !self.asks.is_empty() => {
                    let (number, name) = self.asks.swap_remove(which % self.asks.len());
                    self.copies.hear(number, &said(source, &name));
                    match self.copies.read(number) {
                        Then::Put(_, command) => self.puts.push((number, command)),
                        then => assert_eq!(then, Then::Done),
                    }
                }
                2 if !self.puts.is_empty() => {
                    let (number, command) = self.puts.swap_remove(which % self.puts.len());
                    if which % 7 == 0 {
                        self.copies.failed(number, now, true, false);
                    } else {
                        put(target, &command);
                        let again = self.copies.written(number);
                        self.asks.extend(again.map(|name| (number, name)));
                    }
                }
                _ => {}
            }
            self.copies.len() > 0
        }
    }

    /// Two who copy, and writes of three keys by way of either, in any order: when nothing is left, both sides are the same.
    #[test]
    fn however_copies_interleave_both_end_up_the_same() {
        for seed in 1..400u64 {
            let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut roll = || {
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                dice
            };
            let (mut source, mut target) = (Data::new(), Data::new());
            let mut copiers = [Copier::default(), Copier::default()];
            let mut now = 0;
            for _ in 0..60 {
                let which = roll();
                let key = vec![b'a' + (which % 3) as u8];
                if which % 5 == 0 {
                    source.remove(&key);
                } else {
                    source.insert(key.clone(), (which.to_string().into_bytes(), (which % 2) as i64));
                }
                assert!(copiers[(which % 2) as usize].copies.touch(&key, which % 11 == 0, now));
                for _ in 0..roll() % 8 {
                    let (which, step) = (roll(), roll());
                    copiers[(which % 2) as usize].step(step, &source, &mut target, now);
                    now += MILLIS;
                }
            }
            while copiers.iter_mut().any(|copier| copier.step(roll(), &source, &mut target, now)) {
                now += MILLIS;
            }
            assert_eq!(source, target, "seed {seed}");
            assert!(copiers.iter().all(|copier| copier.copies.bytes == 0 && copier.copies.heard == 0 && copier.copies.running.is_empty()));
        }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let mut copies = Copies::default();
        let long = vec![b'x'; MAX_DIRTY_BYTES / 2];
        assert!(copies.touch(&long, false, 0) && copies.touch(&long, false, 0));
        assert!(!copies.touch(&[b'y'; MAX_DIRTY_BYTES / 2 + 1], false, 0));
        let name = copies.begin(1).unwrap();
        copies.hear(1, &vec![0; MAX_COPY]);
        copies.hear(1, b"x");
        assert_eq!((copies.read(1), &*name), (Then::TooLong, long.as_slice()));
        assert!(copies.failed(1, 0, false, true));
        assert_eq!((copies.len(), copies.unsure(), copies.due()), (1, 1, Some(LATER)));
        copies.wake(LATER);
        assert!(copies.begin(2).is_some());
    }
}
