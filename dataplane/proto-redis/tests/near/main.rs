//! Readers and writers before a sidecar with a near cache, strangers who write to the nodes, connections that deliver late and break, keys
//! that end, slots that move: nobody reads what an invalidation that was heard, an acknowledged write, his own write or the clock has
//! made old. A model of the servers, with the history of every key, is the oracle.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod servers;

use proto_redis::{ClusterConf, Conf, ListenerConf, NearConf, Redis, Tracking};
use servers::{Dice, History, KEYS, Servers, name, sim_now};
use std::collections::VecDeque;
use std::sync::Arc;
use wire::metrics::{Registry, render};
use wire::sim::Sim;
use wire::{Key, MILLIS, Nanos, SECONDS, Worker};

/// What a client waits for.
enum Waits {
    Other,
    Read { key: usize, least: usize, at: Nanos },
    Write { key: usize, value: u64 },
}

struct Client {
    key: Key,
    waits: VecDeque<Waits>,
    received: Vec<u8>,
    /// By key, the event of its last acknowledged write.
    own: [usize; KEYS],
}

impl Client {
    fn ask(&mut self, sim: &mut Sim, servers: &mut Servers, dice: &mut Dice) {
        let key = dice.roll(KEYS as u64) as usize;
        let name = name(key);
        servers.next += 1;
        let value = servers.next;
        let write = match dice.roll(80) {
            0 => Some(format!("SET {name} {value}\r\n")),
            1 => Some(format!("SET {name} {value} PX {}\r\n", 1 + dice.roll(300))),
            2 => Some(format!("EVAL script 1 {name} {value}\r\n")),
            3 => Some(format!("MULTI\r\nSET {name} {value}\r\nEXEC\r\n")),
            _ => None,
        };
        match write {
            Some(text) => {
                (0..text.matches("\r\n").count() - 1).for_each(|_| self.waits.push_back(Waits::Other));
                self.waits.push_back(Waits::Write { key, value });
                sim.send(self.key, text.as_bytes());
            }
            None => {
                let read = ["GET {}", "GETRANGE {} 0 -1", "HGET {} f"][dice.roll(3) as usize].replace("{}", &name);
                self.waits.push_back(Waits::Read { key, least: servers.keys[key].known, at: sim_now(sim) });
                sim.send(self.key, format!("{read}\r\n").as_bytes());
            }
        }
    }

    fn check(&mut self, sim: &mut Sim, servers: &mut Servers) -> usize {
        self.received.extend(sim.take(self.key));
        let mut reads = 0;
        while let Some((value, next)) = reply(&self.received) {
            match self.waits.pop_front().expect("a reply that nobody asked for") {
                Waits::Other => {}
                Waits::Write { key, value: written } => {
                    let events = &servers.keys[key].events;
                    // A write whose fate is unknown is not acknowledged.
                    if let Some(event) = events.iter().rposition(|event| *event == Some(written)).filter(|_| value != Value::Error) {
                        servers.keys[key].known = servers.keys[key].known.max(event);
                        self.own[key] = event;
                    }
                }
                Waits::Read { key, least, at } => {
                    let Value::Read(value) = value else { panic!("a read failed: {}", String::from_utf8_lossy(&self.received)) };
                    let events = &servers.keys[key].events;
                    let least = least.max(self.own[key]);
                    assert!(events[least..].contains(&value), "{key}: {value:?}, of {:?}", &events[least..]);
                    let ended = servers.keys[key].ended.iter().find(|(other, _)| Some(*other) == value);
                    assert!(ended.is_none_or(|(_, ends)| *ends > at), "{key}: {value:?} was read at {at}, {ended:?}");
                    reads += 1;
                }
            }
            self.received.drain(..next);
        }
        reads
    }
}

#[derive(PartialEq, Debug)]
enum Value {
    Error,
    Other,
    Read(Option<u64>),
}

/// What a reply says, and where the next starts.
fn reply(bytes: &[u8]) -> Option<(Value, usize)> {
    let mut scan = proto_redis::reply::Scan::default();
    let (length, done) = scan.feed(bytes).unwrap();
    if !done {
        return None;
    }
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    let value = match text.as_bytes()[0] {
        b'-' => Value::Error,
        b'_' => Value::Read(None),
        b'$' if text.starts_with("$-1") => Value::Read(None),
        b'$' => Value::Read(text.split("\r\n").nth(1).unwrap().parse().ok()),
        _ => Value::Other,
    };
    Some((value, length))
}

fn story(seed: u64, tracking: Tracking, registry: &Arc<Registry>) -> usize {
    let mut dice = Dice(seed);
    let mut conf = ClusterConf::new("cache", &[("127.0.0.1", 7001), ("127.0.0.1", 7002)]);
    conf.retry_deadline = 1000 * SECONDS;
    conf.near = Some(NearConf { prefixes: vec![b"near:"[..].into()], tracking, max_bytes: 100_000, max_entry_bytes: 1000, max_age: 2 * SECONDS });
    let listener =
        ListenerConf { name: "cache".into(), cluster: "cache".into(), users: vec![], chain: None, routes: None, key_stats: None, mirror: None };
    let conf = Conf { listeners: vec![Arc::new(listener)], clusters: vec![Arc::new(conf)], migrations: vec![] };
    let worker = Worker { index: 0, count: 1, metrics: Arc::clone(registry) };
    let mut sim = Sim::new(Box::new(Redis::new(worker)), Arc::new(conf));
    let keys = (0..KEYS).map(|_| History { events: vec![None], ..History::default() }).collect();
    let mut servers = Servers { keys, ..Servers::default() };
    let mut clients: Vec<Client> =
        (0..4).map(|_| Client { key: sim.connect("cache"), waits: VecDeque::new(), received: vec![], own: [0; KEYS] }).collect();
    for client in clients.iter_mut().take(2) {
        sim.send(client.key, b"HELLO 3\r\n");
        client.waits.push_back(Waits::Other);
    }
    let mut reads = 0;
    for _ in 0..3_000 {
        match dice.roll(16) {
            0..=4 => {
                let client = &mut clients[dice.roll(4) as usize];
                let count = if client.waits.len() < 8 { 1 + dice.roll(3) } else { 0 };
                (0..count).for_each(|_| client.ask(&mut sim, &mut servers, &mut dice));
            }
            5 if dice.roll(4) == 0 => {
                let (key, ends) = (dice.roll(KEYS as u64) as usize, dice.roll(200) * MILLIS);
                servers.next += 1;
                let (value, now) = (servers.next, sim_now(&sim));
                let event = servers.change(key, Some(value), (dice.roll(3) == 0).then_some(now + ends + MILLIS));
                servers.told_late.push((key, event));
            }
            6 => servers.tell_late(),
            7 if dice.roll(2) == 0 => sim.advance(dice.roll(40) * MILLIS),
            8 if dice.roll(30) == 0 => {
                // Not while what a former move redirected is on its way: see crate::replies.
                servers.tell_late();
                for _ in 0..20_000 {
                    if clients.iter().all(|client| client.waits.is_empty()) {
                        break;
                    }
                    reads += turn(&mut sim, &mut servers, &mut clients, &mut dice);
                }
                assert!(clients.iter().all(|client| client.waits.is_empty()), "somebody waits for ever");
                servers.wander();
            }
            9 if dice.roll(25) == 0 && !servers.connections.is_empty() => {
                let at = dice.roll(servers.connections.len() as u64) as usize;
                servers.break_one(&mut sim, at);
            }
            _ => {}
        }
        reads += turn(&mut sim, &mut servers, &mut clients, &mut dice);
    }
    reads
}

/// A node works, a connection delivers, a little time passes; how many reads were answered.
fn turn(sim: &mut Sim, servers: &mut Servers, clients: &mut [Client], dice: &mut Dice) -> usize {
    servers.expire(sim_now(sim));
    for _ in 0..if servers.connections.is_empty() { 0 } else { 1 + dice.roll(6) } {
        let count = servers.connections.len() as u64;
        let (works, delivers) = (dice.roll(count) as usize, dice.roll(count) as usize);
        servers.serve(sim, dice, works);
        servers.arrive(sim, dice, delivers);
    }
    sim.advance(dice.roll(3) * MILLIS);
    servers.meet(sim);
    clients.iter_mut().map(|client| client.check(sim, servers)).sum()
}

#[test]
fn nobody_reads_what_is_known_to_be_old() {
    check(Tracking::Broadcast);
}

#[test]
fn nobody_does_where_nodes_tell_of_what_was_read_only() {
    check(Tracking::OptIn);
}

fn check(tracking: Tracking) {
    let registry = Arc::<Registry>::default();
    let stories: u64 = std::env::var("STORIES").ok().map_or(20, |count| count.parse().unwrap());
    let reads: usize = (1..=stories).map(|seed| story(seed * 0x9e37_79b9, tracking, &registry)).sum();
    let metrics = render(&[registry]);
    let count = |name: &str| metrics.lines().find(|line| line.starts_with(name)).map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap());
    let hits: u64 =
        metrics.lines().filter(|line| line.contains("result=\"hit\"")).map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert!(hits > reads as u64 / 20, "{hits} hits of {reads} reads: the story is not about a cache\n{metrics}");
    assert!(count("midstream_near_cache_poisoned_total") > 0 && count("midstream_near_cache_joined_total") > 0, "{metrics}");
}
