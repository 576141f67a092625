//! A client that does not read costs a bounded amount, holds up nobody, and gets every byte in the end.

#![allow(clippy::unwrap_used, missing_docs)]

use proto_redis::{ClusterConf, Conf, ListenerConf, Redis};
use std::sync::Arc;
use wire::sim::{Did, Sim};
use wire::{Key, MILLIS, Worker};

const SLOTS: &[u8] = b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:7001\r\n";
const REPLY: usize = 3 * 512 * 1024;
const PIECE: usize = 128 * 1024;

fn started() -> (Sim, Key) {
    started_with(SLOTS)
}

fn started_with(slots: &[u8]) -> (Sim, Key) {
    let cluster = ClusterConf::new("cache", &[("127.0.0.1", 7001)]);
    let listener =
        ListenerConf { name: "cache".into(), cluster: "cache".into(), users: vec![], chain: None, routes: None, key_stats: None, mirror: None };
    let conf = Conf { listeners: vec![Arc::new(listener)], clusters: vec![Arc::new(cluster)], migrations: vec![] };
    let mut sim = Sim::new(Box::new(Redis::new(Worker { index: 0, count: 1, metrics: Arc::default() })), Arc::new(conf));
    let server = sim.dials()[0];
    sim.accept(server);
    sim.take(server);
    sim.send(server, slots);
    (sim, server)
}

fn reply(letter: u8) -> Vec<u8> {
    [format!("${REPLY}\r\n").as_bytes(), &vec![letter; REPLY], b"\r\n"].concat()
}

/// Sends as a socket does: in pieces, and no more while it is not read.
fn send(sim: &mut Sim, key: Key, bytes: &[u8], at: &mut usize) {
    while *at < bytes.len() && sim.is_read(key) {
        let end = (*at + PIECE).min(bytes.len());
        sim.send(key, &bytes[*at..end]);
        *at = end;
    }
}

/// A reply that comes as fast as the client reads.
fn paced(sim: &mut Sim, lane: Key, slow: Key, letter: u8) {
    let (bytes, mut at, mut received) = (reply(letter), 0, Vec::new());
    while at < bytes.len() {
        send(sim, lane, &bytes, &mut at);
        let waits = sim.world.unsent(slow).len();
        assert!(waits <= 2 * wire::limits::HIGH_WATER, "{waits} bytes wait for {}", letter as char);
        received.extend(sim.take(slow));
    }
    received.extend(sim.take(slow));
    assert!(received == bytes, "reply {}", letter as char);
}

/// The connection that was dialled last.
fn dialled(sim: &mut Sim) -> Key {
    let lane = sim.did().into_iter().find_map(|did| if let Did::Dial { key, .. } = did { Some(key) } else { None }).unwrap();
    sim.accept(lane);
    lane
}

#[test]
fn large_replies_wait_in_the_node_until_the_client_reads() {
    let (mut sim, shared) = started();
    let (slow, other) = (sim.connect("cache"), sim.connect("cache"));
    sim.send(slow, &b"GET a\r\n".repeat(10));
    let asked = sim.take(shared).len() / b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n".len();
    assert_eq!(asked, 10);
    for letter in b'a'..b'a' + 10 {
        send(&mut sim, shared, &reply(letter), &mut 0);
        assert!(sim.is_read(shared), "a shared pipe never stops");
    }
    assert_eq!(sim.world.unsent(slow).len(), reply(b'a').len(), "one reply, no more");

    sim.send(other, b"GET b\r\n");
    sim.take(shared);
    sim.send(shared, b"$1\r\nb\r\n");
    assert_eq!(sim.take(other), b"$1\r\nb\r\n");

    // The client reads: the others come one by one, on a connection that is read only as fast as the client reads.
    assert_eq!(sim.take(slow), reply(b'a'));
    let lane = dialled(&mut sim);
    for letter in b'b'..b'a' + 10 {
        assert_eq!(sim.take(lane), b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
        paced(&mut sim, lane, slow, letter);
    }
    // Then it is a client like any other.
    sim.send(slow, b"GET c\r\n");
    sim.advance(MILLIS);
    assert_eq!(sim.take(shared), b"*2\r\n$3\r\nGET\r\n$1\r\nc\r\n");
}

#[test]
fn large_replies_of_several_nodes_do_not_come_at_once() {
    // Two masters, and a key of each: a is in slot 15495, b in slot 3300.
    const TWO: &[u8] = b"*2\r\n*3\r\n:0\r\n:8191\r\n*2\r\n$9\r\n127.0.0.1\r\n:7001\r\n*3\r\n:8192\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:7002\r\n";
    let (mut sim, first) = started_with(TWO);
    let slow = sim.connect("cache");
    sim.send(slow, b"GET a\r\nGET b\r\n");
    let second = dialled(&mut sim);
    for server in [first, second] {
        assert!(sim.take(server).starts_with(b"*2\r\n$3\r\nGET\r\n"));
    }
    // Both begin before either is here.
    let (a, b) = (reply(b'a'), reply(b'b'));
    for at in (0..a.len()).step_by(PIECE) {
        for (server, bytes) in [(second, &a), (first, &b)] {
            sim.send(server, &bytes[at..(at + PIECE).min(bytes.len())]);
        }
    }
    assert_eq!(sim.take(slow), a);
    let lane = dialled(&mut sim);
    assert_eq!(sim.take(lane), b"*2\r\n$3\r\nGET\r\n$1\r\nb\r\n", "thrown away, and asked again in its turn");
    let (mut at, mut received) = (0, Vec::new());
    while at < b.len() {
        send(&mut sim, lane, &b, &mut at);
        received.extend(sim.take(slow));
    }
    assert!(received == b);
}

#[test]
fn one_client_has_a_bounded_number_of_commands_in_flight() {
    let (mut sim, shared) = started();
    let client = sim.connect("cache");
    sim.send(client, &b"GET a\r\n".repeat(10_000));
    let asked = sim.take(shared).len() / b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n".len();
    assert!(asked < 100 && !sim.is_read(client), "{asked}");
    // Small replies show that more may be outstanding; all are answered in the end.
    let (mut owed, mut answered) = (asked, 0);
    while owed > 0 {
        sim.send(shared, &b"$1\r\nx\r\n".repeat(owed));
        answered += sim.take(client).len() / b"$1\r\nx\r\n".len();
        owed = sim.take(shared).len() / b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n".len();
    }
    assert_eq!(answered, 10_000);
}

#[test]
fn a_very_large_reply_is_never_held() {
    let (mut sim, shared) = started();
    let client = sim.connect("cache");
    sim.send(client, b"GET a\r\n");
    sim.take(shared);
    let bytes = [format!("${}\r\n", 4 * REPLY).as_bytes(), &vec![b'a'; 4 * REPLY], b"\r\n"].concat();
    send(&mut sim, shared, &bytes, &mut 0);
    assert_eq!(sim.world.unsent(client), b"");
    let lane = dialled(&mut sim);
    assert_eq!(sim.take(lane), b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
}

#[test]
fn a_key_known_to_be_large_is_read_at_its_clients_pace_at_once() {
    let (mut sim, shared) = started();
    let client = sim.connect("cache");
    sim.send(client, b"GET a\r\n");
    sim.take(shared);
    sim.send(shared, &reply(b'a'));
    assert_eq!(sim.take(client), reply(b'a'));
    sim.send(client, b"GET b\r\nGET a\r\nGET c\r\n");
    assert_eq!(sim.take(shared), b"*2\r\n$3\r\nGET\r\n$1\r\nb\r\n", "what comes behind it waits for it");
    sim.send(shared, b"$1\r\nb\r\n");
    let lane = dialled(&mut sim);
    assert_eq!(sim.take(lane), b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
    let (bytes, mut at) = (reply(b'a'), 0);
    send(&mut sim, lane, &bytes, &mut at);
    assert!(at < bytes.len() && sim.world.unsent(client).len() <= 2 * wire::limits::HIGH_WATER);
    while at < bytes.len() {
        sim.take(client);
        send(&mut sim, lane, &bytes, &mut at);
    }
    assert_eq!(sim.take(shared), b"*2\r\n$3\r\nGET\r\n$1\r\nc\r\n");
}

#[test]
fn a_large_reply_to_a_blocking_command_is_read_at_its_clients_pace() {
    let (mut sim, _) = started();
    let client = sim.connect("cache");
    sim.send(client, b"BLPOP a 0\r\n");
    let lane = dialled(&mut sim);
    let (bytes, mut at) = ([b":1\r\n*2\r\n$1\r\na\r\n".as_slice(), &reply(b'a')].concat(), 0);
    send(&mut sim, lane, &bytes, &mut at);
    assert!(at < bytes.len() && sim.world.unsent(client).len() <= 2 * wire::limits::HIGH_WATER);
}

#[test]
fn large_replies_that_cannot_be_asked_for_again_come_one_by_one() {
    const GETDEL: &[u8] = b"*2\r\n$6\r\nGETDEL\r\n$1\r\na\r\n";
    const EXEC: &[u8] = b"*1\r\n$5\r\nMULTI\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nEXEC\r\n";
    let (mut sim, shared) = started();
    let slow = sim.connect("cache");
    sim.send(slow, &b"GETDEL a\r\n".repeat(10));
    assert_eq!(sim.take(shared), GETDEL, "the first shows what to expect");
    send(&mut sim, shared, &reply(b'a'), &mut 0);
    assert_eq!(sim.world.unsent(slow).len(), reply(b'a').len(), "one reply, no more");
    assert_eq!(sim.take(slow), reply(b'a'));
    let lane = dialled(&mut sim);
    for letter in b'b'..b'a' + 10 {
        assert_eq!((sim.take(lane).as_slice(), sim.take(shared).as_slice()), (GETDEL, &b""[..]));
        paced(&mut sim, lane, slow, letter);
    }
    sim.send(slow, b"MULTI\r\nGET a\r\nEXEC\r\nGETDEL a\r\n");
    assert_eq!(sim.take(slow), b"+OK\r\n+QUEUED\r\n");
    assert_eq!(sim.take(lane), EXEC);
    sim.send(lane, b"+OK\r\n+QUEUED\r\n*1\r\n$1\r\nx\r\n");
    assert_eq!(sim.take(slow), b"*1\r\n$1\r\nx\r\n");
    // It moved, was not run, and is asked where the slot is.
    assert_eq!(sim.take(lane), GETDEL);
    sim.send(lane, b"-MOVED 15495 127.0.0.1:7002\r\n");
    sim.advance(100 * MILLIS);
    let moved = dialled(&mut sim);
    assert_eq!(sim.take(moved), GETDEL);
    sim.send(moved, b"$-1\r\n");
    assert_eq!(sim.take(slow), b"$-1\r\n");
}
