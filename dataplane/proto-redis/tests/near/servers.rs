//! Two nodes with the histories of their keys, and the connections on which they answer and tell of changes.

use proto_redis::frame::{Found, Frame, Scan};
use std::collections::VecDeque;
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

/// A connection between the sidecar and a node: what came, and what goes.
pub struct Connection {
    pub key: Key,
    pub node: u16,
    pub resp: u8,
    pub tracks: bool,
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

    /// The owner tells all that track.
    pub fn tell(&mut self, key: usize, event: usize) {
        let name = name(key);
        let push = format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{name}\r\n", name.len()).into_bytes();
        let owner = self.owner;
        for connection in self.connections.iter_mut().filter(|connection| connection.tracks && connection.node == owner) {
            connection.answers.push_back((push.clone(), Some((key, event))));
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
            ("CLIENT", _) => {
                self.connections[at].tracks = true;
                return "+OK\r\n".into();
            }
            _ => {}
        }
        if self.connections[at].node != self.owner {
            return format!("-MOVED 1 127.0.0.1:{owner}\r\n");
        }
        match word(0).as_str() {
            "MULTI" => {
                *batch = Some(vec![]);
                return "+OK\r\n".into();
            }
            "EXEC" => return batch.take().map_or("*0\r\n".into(), |replies| format!("*{}\r\n{}", replies.len(), replies.concat())),
            _ => {}
        }
        let reply = if word(0) == "INFO" { "$34\r\ndb0:keys=1,expires=0,subexpiry=0\r\n\r\n".into() } else { self.on_key(at, frame, now) };
        match batch {
            Some(replies) => {
                replies.push(reply);
                "+QUEUED\r\n".into()
            }
            None => reply,
        }
    }

    pub fn on_key(&mut self, at: usize, frame: &Frame<'_>, now: Nanos) -> String {
        let text = |index: usize| String::from_utf8_lossy(frame.word(index)).into_owned();
        let place = if frame.is(0, "eval") { 3 } else { 1 };
        let key: usize = text(place).rsplit(':').next().unwrap().parse().unwrap();
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
            let cut = dice.roll(message.len() as u64) as usize;
            sim.send(self.connections[at].key, &message[..cut]);
            sim.send(self.connections[at].key, &message[cut..]);
            if let Some((key, event)) = told {
                self.keys[key].known = self.keys[key].known.max(event);
            }
        }
    }

    /// A connection breaks. What its node was to tell is lost, so all that was written counts as known once that is noticed.
    pub fn break_one(&mut self, sim: &mut Sim, at: usize) {
        let connection = self.connections.swap_remove(at);
        sim.closed(connection.key, Why::Broken("reset".into()));
        if connection.tracks && connection.node == self.owner {
            self.keys.iter_mut().for_each(|history| history.known = history.events.len() - 1);
        }
    }

    pub fn meet(&mut self, sim: &mut Sim) {
        for did in sim.did() {
            match did {
                Did::Dial { key, to, .. } => {
                    sim.accept(key);
                    let node = to.rsplit_once(':').unwrap().1.parse::<u16>().unwrap() - 7001;
                    self.connections.push(Connection { key, node, resp: 2, tracks: false, asked: vec![], answers: VecDeque::new() });
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

pub fn sim_now(sim: &Sim) -> Nanos {
    wire::Io::now(&sim.world)
}
