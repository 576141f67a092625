//! Clients that count, before a cluster whose slots wander and whose connections break at any byte: every command is answered once and in
//! order, no counter goes back, none is increased twice, and what may have happened is said, not hidden. A model of one server is the oracle.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use proto_redis::frame::{Found, Frame, Scan};
use proto_redis::{ClusterConf, Conf, ListenerConf, Redis};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use wire::sim::{Did, Sim};
use wire::{Key, MILLIS, SECONDS, Why, Worker};

/// xorshift: the same story in every run of one seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// One client's own key, what it waits for, and what its counter can be.
struct Counter {
    key: Key,
    name: String,
    waits: VecDeque<bool>,
    last: i64,
    /// Increments whose fate is unknown. Below zero: a read that was repeated has seen that many of the client's own later increments, which
    /// were sent before the connection broke; each of those must then be reported as unknown.
    unknown: i64,
    received: Vec<u8>,
}

impl Counter {
    /// Checks the replies that are complete.
    fn check(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
        while let Some((line, next)) = reply(&self.received) {
            let is_increment = self.waits.pop_front().expect("a reply that nobody asked for");
            if line.starts_with("-ERR midstream: the connection to the cache node was lost after") {
                assert!(is_increment, "a read has no unknown fate");
                self.unknown += 1;
            } else {
                let value: i64 = line.parse().unwrap_or_else(|_| panic!("{}: {line}", self.name));
                let least = self.last + i64::from(is_increment);
                let later = if is_increment { 0 } else { self.waits.iter().filter(|is_increment| **is_increment).count() as i64 };
                let most = least + self.unknown + later;
                assert!((least..=most).contains(&value), "{}: {value} after {} with {} unknown, {later} later", self.name, self.last, self.unknown);
                self.unknown -= value - least;
                self.last = value;
            }
            self.received.drain(..next);
        }
    }
}

/// The text of a reply without its framing, and where the next starts.
fn reply(bytes: &[u8]) -> Option<(String, usize)> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let end = text.find("\r\n")?;
    match text.as_bytes()[0] {
        b'$' if &text[1..end] == "-1" => Some(("0".into(), end + 2)),
        b'$' => {
            let length: usize = text[1..end].parse().unwrap();
            let value = text.get(end + 2..end + 2 + length)?;
            text.get(end + 2 + length..end + 4 + length)?;
            Some((value.to_owned(), end + 4 + length))
        }
        b':' => Some((text[1..end].to_owned(), end + 2)),
        _ => Some((text[..end].to_owned(), end + 2)),
    }
}

/// The cluster: all slots are with one of five nodes; what was executed, counts whoever executed it.
#[derive(Default)]
struct Cluster {
    owner: u16,
    values: HashMap<Vec<u8>, u64>,
    connections: Vec<(Key, u16, Vec<u8>)>,
}

impl Cluster {
    fn execute(&mut self, port: u16, frame: &Frame<'_>) -> String {
        let owner = 7001 + self.owner;
        match frame.word(0) {
            b"CLUSTER" => format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{owner}\r\n"),
            _ if port != owner => format!("-MOVED 1 127.0.0.1:{owner}\r\n"),
            b"INCR" => {
                let value = self.values.entry(frame.word(1).to_vec()).or_default();
                *value += 1;
                format!(":{value}\r\n")
            }
            _ => match self.values.get(frame.word(1)) {
                Some(value) => format!("${}\r\n{value}\r\n", value.to_string().len()),
                None => "$-1\r\n".into(),
            },
        }
    }

    /// A node reads and answers some of what it was asked, and may die in the middle of an answer.
    fn serve(&mut self, sim: &mut Sim, dice: &mut Dice, at: usize, calm: bool) {
        // The others keep their order, so that `wander` comes by all of them.
        let (key, port, mut asked) = self.connections.remove(at);
        asked.extend(sim.take(key));
        let mut scan = Scan::default();
        let (mut answers, mut done) = (Vec::new(), 0);
        while let Ok(Found::Command(length)) = scan.command(&asked[done..], true) {
            answers.extend(self.execute(port, &Frame { bytes: &asked[done..done + length], words: &scan.words }).into_bytes());
            scan.reset();
            done += length;
            if !calm && dice.roll(8) == 0 {
                break;
            }
        }
        asked.drain(..done);
        if !calm && dice.roll(40) == 0 {
            answers.truncate(dice.roll(answers.len() as u64 + 1) as usize);
            sim.send(key, &answers);
            sim.closed(key, Why::Broken("reset".into()));
        } else {
            sim.send(key, &answers);
            self.connections.push((key, port, asked));
        }
    }

    /// The slots go to the next node. Not twice within one round trip: what the first move redirected has arrived before the second.
    fn wander(&mut self, sim: &mut Sim, dice: &mut Dice) {
        for _ in 0..20 {
            (0..self.connections.len()).for_each(|_| self.serve(sim, dice, 0, true));
            self.meet(sim, dice, true);
        }
        self.owner = (self.owner + 1) % 5;
    }

    /// Dials are accepted, or, in bad times, refused.
    fn meet(&mut self, sim: &mut Sim, dice: &mut Dice, calm: bool) {
        for did in sim.did() {
            match did {
                Did::Dial { key, .. } if !calm && dice.roll(4) == 0 => sim.refuse(key),
                Did::Dial { key, to, .. } => {
                    sim.accept(key);
                    self.connections.push((key, to.rsplit_once(':').unwrap().1.parse().unwrap(), vec![]));
                }
                Did::Close { key, .. } => self.connections.retain(|(known, ..)| *known != key),
                _ => {}
            }
        }
    }
}

/// Says which story it was that failed.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("story {}: CHAOS_FROM={} CHAOS_STORIES=1 tells it again", self.0, self.0);
        }
    }
}

fn story(number: u64) {
    let _told = Told(number);
    let mut dice = Dice(number.wrapping_mul(0x9e37_79b9));
    let mut conf = ClusterConf::new("cache", &[("127.0.0.1", 7001)]);
    conf.retry_deadline = 1000 * SECONDS;
    let listener =
        ListenerConf { name: "cache".into(), cluster: "cache".into(), users: vec![], chain: None, routes: None, key_stats: None, mirror: None };
    let conf = Conf { listeners: vec![Arc::new(listener)], clusters: vec![Arc::new(conf)], migrations: vec![] };
    let mut sim = Sim::new(Box::new(Redis::new(Worker { index: 0, count: 1, metrics: Arc::default() })), Arc::new(conf));
    let mut cluster = Cluster::default();
    let mut counters: Vec<Counter> = (0..4)
        .map(|number| Counter {
            key: sim.connect("cache"),
            name: format!("c{number}"),
            waits: VecDeque::new(),
            last: 0,
            unknown: 0,
            received: vec![],
        })
        .collect();
    for step in 0..20_000 {
        let calm = step > 1_500;
        if calm && counters.iter().all(|counter| counter.waits.is_empty()) {
            break; // what is sent again goes one by one: how long that takes, is the dice's
        }
        match dice.roll(6) {
            0 | 1 if !calm => {
                let counter = &mut counters[dice.roll(4) as usize];
                for _ in 0..1 + dice.roll(5) {
                    let is_increment = dice.roll(2) == 0;
                    counter.waits.push_back(is_increment);
                    sim.send(counter.key, format!("{} {}\r\n", if is_increment { "INCR" } else { "GET" }, counter.name).as_bytes());
                }
            }
            2 if !calm && dice.roll(20) == 0 => cluster.wander(&mut sim, &mut dice),
            3 => sim.advance(dice.roll(60) * MILLIS),
            _ if !cluster.connections.is_empty() => {
                let at = dice.roll(cluster.connections.len() as u64) as usize;
                cluster.serve(&mut sim, &mut dice, at, calm);
            }
            _ => {}
        }
        cluster.meet(&mut sim, &mut dice, calm);
        for counter in &mut counters {
            let bytes = sim.take(counter.key);
            counter.check(&bytes);
        }
    }
    for counter in &counters {
        assert!(counter.waits.is_empty(), "{} still waits for {} replies", counter.name, counter.waits.len());
        let real = cluster.values.get(counter.name.as_bytes()).copied().unwrap_or(0) as i64;
        assert!((counter.last..=counter.last + counter.unknown).contains(&real), "{}: {real}", counter.name);
    }
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order() {
    let number = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let first = number("CHAOS_FROM", 1);
    (first..first + number("CHAOS_STORIES", 100)).for_each(story);
}
