//! Two nodes with the histories of their keys, and the connections on which they answer and tell of changes.

use proto_redis::frame::{Found, Frame, Scan};
use std::collections::{BTreeSet, VecDeque};
use wire::sim::{Did, Sim};
use wire::{Key, MILLIS, Nanos, Why};

pub const KEYS: usize = 4;

/// xorshift: the same story in every run of one seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// What a key was, in order; a value is never used twice.
#[derive(Default)]
pub struct History {
    pub events: Vec<Option<u64>>,
    /// When the present value ends.
    pub ends: Option<Nanos>,
    /// Values that the clock ended, with the time.
    pub ended: Vec<(u64, Nanos)>,
    /// The latest event that everybody before the sidecar must know of.
    pub known: usize,
}

/// What a node sends, and the event of a key that it tells of.
pub type Answer = (Vec<u8>, Option<(usize, usize)>);

/// How a node tells of changes on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tracks {
    No,
    All,
    /// Of what is read, on the connection with that CLIENT ID.
    Read(usize),
}

/// A connection between the sidecar and a node: what came, and what goes.
pub struct Connection {
    pub key: Key,
    pub node: u16,
    pub resp: u8,
    /// CLIENT TRACKING: nothing, of all keys, or of those read behind CLIENT CACHING YES.
    pub tracks: Tracks,
    /// What it read since, of which its node tells.
    pub read: BTreeSet<usize>,
    /// Reads are to be told of: CLIENT CACHING YES was the last command, or is that of the transaction.
    caching: bool,
    pub asked: Vec<u8>,
    pub answers: VecDeque<Answer>,
}

#[derive(Default)]
pub struct Servers {
    pub keys: Vec<History>,
    pub owner: u16,
    pub connections: Vec<Connection>,
    pub next: u64,
    /// A stranger's write is told at once, or when the node's turn is over.
    pub told_late: Vec<(usize, usize)>,
}

pub fn name(key: usize) -> String {
    format!("near:{{k}}:{key}")
}

impl Servers {
    pub fn change(&mut self, key: usize, value: Option<u64>, ends: Option<Nanos>) -> usize {
        let history = &mut self.keys[key];
        history.ended.retain(|(other, _)| Some(*other) != value); // a write that is repeated lives again
        history.events.push(value);
        history.ends = ends;
        history.events.len() - 1
    }

    /// The owner tells all that track. Who has not read the key is told nothing, and knows what there was to know all the same once it would
    /// have come: an empty message.
    pub fn tell(&mut self, key: usize, event: usize) {
        let name = name(key);
        let push = format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{name}\r\n", name.len()).into_bytes();
        let owner = self.owner;
        let mut told = BTreeSet::new();
        for connection in self.connections.iter_mut().filter(|connection| connection.node == owner) {
            match connection.tracks {
                Tracks::Read(id) if connection.read.remove(&key) => drop(told.insert(id)),
                Tracks::All => drop(told.insert(id_of(connection.key))),
                _ => {}
            }
        }
        for connection in self.connections.iter_mut().filter(|connection| connection.node == owner && connection.resp == 3) {
            let push = if told.contains(&id_of(connection.key)) { push.clone() } else { Vec::new() };
            connection.answers.push_back((push, Some((key, event))));
        }
    }

    /// The clock ends keys; of some it is told late or when they are looked at.
    pub fn expire(&mut self, now: Nanos) {
        for key in 0..KEYS {
            if let Some(ends) = self.keys[key].ends.filter(|ends| *ends <= now) {
                let value = self.keys[key].events.last().unwrap().unwrap();
                self.keys[key].ended.push((value, ends));
                let event = self.change(key, None, None);
                self.told_late.push((key, event));
            }
        }
    }

    pub fn tell_late(&mut self) {
        for (key, event) in std::mem::take(&mut self.told_late) {
            self.tell(key, event);
        }
    }

    pub fn execute(&mut self, at: usize, frame: &Frame<'_>, now: Nanos, batch: &mut Option<Vec<String>>) -> String {
        let word = |index: usize| String::from_utf8_lossy(frame.word(index)).to_ascii_uppercase();
        let owner = 7001 + self.owner;
        match (word(0).as_str(), word(1).as_str()) {
            ("HELLO", _) => {
                self.connections[at].resp = 3;
                return "%1\r\n+proto\r\n:3\r\n".into();
            }
            ("CLUSTER", "SLOTS") => return format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{owner}\r\n"),
            ("CLUSTER", _) => return "$16\r\ncluster_state:ok\r\n".into(),
            ("CLIENT", "ID") => return format!(":{}\r\n", id_of(self.connections[at].key)),
            ("CLIENT", "CACHING") => {
                self.connections[at].caching = matches!(self.connections[at].tracks, Tracks::Read(_));
                return if self.connections[at].caching { "+OK\r\n".into() } else { "-ERR not in OPTIN mode\r\n".into() };
            }
            ("CLIENT", _) => return self.track(at, frame),
            _ => {}
        }
        let caching = std::mem::take(&mut self.connections[at].caching);
        if self.connections[at].node != self.owner {
            return format!("-MOVED 1 127.0.0.1:{owner}\r\n");
        }
        match word(0).as_str() {
            "MULTI" => {
                *batch = Some(vec![]);
                self.connections[at].caching = caching;
                return "+OK\r\n".into();
            }
            "EXEC" => return batch.take().map_or("*0\r\n".into(), |replies| format!("*{}\r\n{}", replies.len(), replies.concat())),
            _ => {}
        }
        if caching && matches!(word(0).as_str(), "GET" | "GETRANGE" | "HGET" | "PTTL") {
            self.connections[at].read.insert(key_of(frame, 1));
        }
        let reply = if word(0) == "INFO" { "$34\r\ndb0:keys=1,expires=0,subexpiry=0\r\n\r\n".into() } else { self.on_key(at, frame, now) };
        match batch {
            Some(replies) => {
                replies.push(reply);
                self.connections[at].caching = caching;
                "+QUEUED\r\n".into()
            }
            None => reply,
        }
    }

    /// CLIENT TRACKING OFF, ON BCAST ..., ON [REDIRECT id] OPTIN.
    fn track(&mut self, at: usize, frame: &Frame<'_>) -> String {
        let target = if frame.is(3, "redirect") { String::from_utf8_lossy(frame.word(4)).parse().unwrap() } else { id_of(self.connections[at].key) };
        if !self.connections.iter().any(|connection| id_of(connection.key) == target) {
            return "-ERR The client ID you want redirect to does not exist\r\n".into();
        }
        let connection = &mut self.connections[at];
        (connection.caching, connection.read) = (false, BTreeSet::new());
        connection.tracks = match (frame.is(2, "on"), frame.is(3, "bcast")) {
            (false, _) => Tracks::No,
            (true, true) => Tracks::All,
            (true, false) => Tracks::Read(target),
        };
        "+OK\r\n".into()
    }

    pub fn on_key(&mut self, at: usize, frame: &Frame<'_>, now: Nanos) -> String {
        let text = |index: usize| String::from_utf8_lossy(frame.word(index)).into_owned();
        let place = if frame.is(0, "eval") { 3 } else { 1 };
        let key = key_of(frame, place);
        let history = &self.keys[key];
        match text(0).to_ascii_lowercase().as_str() {
            "pttl" => match (history.ends, history.events.last().unwrap()) {
                (_, None) => ":-2\r\n".into(),
                (None, _) => ":-1\r\n".into(),
                (Some(ends), _) => format!(":{}\r\n", (ends - now) / MILLIS),
            },
            "set" | "eval" => {
                let ends = frame.is(3, "px").then(|| now + text(4).parse::<u64>().unwrap() * MILLIS);
                let value = text(if frame.is(0, "eval") { 4 } else { 2 }).parse().unwrap();
                let event = self.change(key, Some(value), ends);
                self.tell(key, event);
                "+OK\r\n".into()
            }
            _ => match history.events.last().unwrap() {
                Some(value) => format!("${}\r\n{value}\r\n", value.to_string().len()),
                None if self.connections[at].resp == 3 => "_\r\n".into(),
                None => "$-1\r\n".into(),
            },
        }
    }

    /// A node reads what it was asked and answers; the answers are on their way from then on.
    pub fn serve(&mut self, sim: &mut Sim, dice: &mut Dice, at: usize) {
        let key = self.connections[at].key;
        let mut asked = std::mem::take(&mut self.connections[at].asked);
        asked.extend(sim.take(key));
        let (mut scan, mut done, mut batch) = (Scan::default(), 0, None);
        while let Ok(Found::Command(length)) = scan.command(&asked[done..], true) {
            let answer = self.execute(at, &Frame { bytes: &asked[done..done + length], words: &scan.words }, sim_now(sim), &mut batch);
            self.connections[at].answers.push_back((answer.into_bytes(), None));
            scan.reset();
            done += length;
            if batch.is_none() && dice.roll(4) == 0 {
                break;
            }
        }
        self.connections[at].asked = asked[done..].to_vec();
    }

    /// Some of what is on its way arrives, cut anywhere.
    pub fn arrive(&mut self, sim: &mut Sim, dice: &mut Dice, at: usize) {
        for _ in 0..dice.roll(4) {
            let Some((message, told)) = self.connections[at].answers.pop_front() else { return };
            if !message.is_empty() {
                let cut = dice.roll(message.len() as u64) as usize;
                sim.send(self.connections[at].key, &message[..cut]);
                sim.send(self.connections[at].key, &message[cut..]);
            }
            if let Some((key, event)) = told {
                self.keys[key].known = self.keys[key].known.max(event);
            }
        }
    }

    /// A connection breaks. What its node was to tell is lost, so all that was written counts as known once that is noticed.
    pub fn break_one(&mut self, sim: &mut Sim, at: usize) {
        let connection = self.connections.swap_remove(at);
        sim.closed(connection.key, Why::Broken("reset".into()));
        if connection.resp == 3 && connection.node == self.owner {
            self.keys.iter_mut().for_each(|history| history.known = history.events.len() - 1);
        }
    }

    pub fn meet(&mut self, sim: &mut Sim) {
        for did in sim.did() {
            match did {
                Did::Dial { key, to, .. } => {
                    sim.accept(key);
                    let node = to.rsplit_once(':').unwrap().1.parse::<u16>().unwrap() - 7001;
                    self.connections.push(Connection {
                        key,
                        node,
                        resp: 2,
                        tracks: Tracks::No,
                        read: BTreeSet::new(),
                        caching: false,
                        asked: vec![],
                        answers: VecDeque::new(),
                    });
                }
                Did::Close { key, .. } => self.connections.retain(|connection| connection.key != key),
                Did::Fault { fault, .. } => panic!("{fault:?}"),
                _ => {}
            }
        }
    }

    /// All slots go to the other node; the one that gives them away tells of the keys that it no longer has.
    pub fn wander(&mut self) {
        for key in 0..KEYS {
            let event = self.keys[key].events.len() - 1;
            self.tell(key, event);
        }
        self.owner = 1 - self.owner;
    }
}

/// CLIENT ID.
fn id_of(key: Key) -> usize {
    (key.generation as usize) << 16 | key.slot as usize
}

fn key_of(frame: &Frame<'_>, place: usize) -> usize {
    String::from_utf8_lossy(frame.word(place)).rsplit(':').next().unwrap().parse().unwrap()
}

pub fn sim_now(sim: &Sim) -> Nanos {
    wire::Io::now(&sim.world)
}
