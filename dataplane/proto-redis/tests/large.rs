//! A command with a large value streams to its node: held nowhere, in nobody's way, and never half done.

#![allow(clippy::unwrap_used, missing_docs)]

use proto_redis::routes::{Route, Routes};
use proto_redis::{ClusterConf, Conf, ListenerConf, Redis};
use std::sync::Arc;
use wire::limits::HIGH_WATER;
use wire::sim::{Did, Sim};
use wire::{Chain, Denial, DenialKind, Flow, Key, Outcome, Request, SECONDS, Verdict, Why, Worker};

/// All slots at 7001; a second node has none yet.
const SLOTS: &[u8] = b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:7001\r\n";
const VALUE: usize = 3 * 1024 * 1024;
const PIECE: usize = 100_000;

/// Denies what names the key `denied`.
struct Rules;

impl Chain for Rules {
    fn bind(&self, _: &Request<'_>) -> Flow {
        Flow::default()
    }

    fn run(&self, _: &Flow, request: &Request<'_>, _: u64, _: u64) -> Verdict {
        assert!(request.bytes > VALUE as u64);
        if request.resources.contains(&&b"denied"[..]) {
            return Verdict::Deny(Box::new(Denial { kind: DenialKind::Unauthorized, rule: "r".into(), message: "no".into() }));
        }
        Verdict::Pass
    }

    fn done(&self, _: &Request<'_>, _: &Outcome<'_>) {}
}

struct Scene {
    sim: Sim,
    shared: Key,
    client: Key,
    lane: Option<Key>,
}

impl Scene {
    fn new() -> Scene {
        Scene::with(None, None)
    }

    fn with(chain: Option<Arc<dyn Chain>>, routes: Option<Arc<Routes>>) -> Scene {
        let mut cluster = ClusterConf::new("cache", &[("127.0.0.1", 7001)]);
        cluster.retry_deadline = SECONDS;
        let listener = ListenerConf { name: "cache".into(), cluster: "cache".into(), users: vec![], chain, routes, key_stats: None, mirror: None };
        let conf = Conf { listeners: vec![Arc::new(listener)], clusters: vec![Arc::new(cluster)], migrations: vec![] };
        let mut sim = Sim::new(Box::new(Redis::new(Worker { index: 0, count: 1, metrics: Arc::default() })), Arc::new(conf));
        let shared = sim.dials()[0];
        sim.accept(shared);
        sim.take(shared);
        sim.send(shared, SLOTS);
        let client = sim.connect("cache");
        Scene { sim, shared, client, lane: None }
    }

    fn dialled(&mut self) -> Key {
        self.sim.did().into_iter().find_map(|did| if let Did::Dial { key, .. } = did { Some(key) } else { None }).unwrap()
    }

    /// The beginning of the command; the node is asked about the key and says what `answer` is.
    fn begin(&mut self, head: &[u8], answer: &[u8]) -> Key {
        self.sim.send(self.client, head);
        let lane = match self.lane {
            Some(lane) => lane,
            None => {
                let lane = self.dialled();
                self.sim.accept(lane);
                lane
            }
        };
        self.lane = Some(lane);
        assert_eq!(self.sim.take(lane), b"*2\r\n$6\r\nEXISTS\r\n$1\r\nk\r\n");
        assert!(!self.sim.is_read(self.client), "nothing more is read before the node takes it");
        self.sim.send(lane, answer);
        lane
    }

    /// The rest, as fast as the proxy reads it; what the node got.
    fn stream(&mut self, lane: Key, bytes: &[u8]) -> Vec<u8> {
        let (mut at, mut got) = (0, Vec::new());
        while at < bytes.len() {
            while at < bytes.len() && self.sim.is_read(self.client) {
                let end = (at + PIECE).min(bytes.len());
                self.sim.send(self.client, &bytes[at..end]);
                at = end;
            }
            assert!(self.sim.world.unsent(lane).len() <= HIGH_WATER + PIECE + 64, "it is held back");
            got.extend(self.sim.take(lane));
        }
        got.extend(self.sim.take(lane));
        got
    }

    fn ping(&mut self) {
        self.sim.send(self.client, b"PING\r\n");
        assert_eq!(self.sim.take(self.client), b"+PONG\r\n");
    }
}

fn head(words: usize) -> Vec<u8> {
    format!("*{words}\r\n$3\r\nSET\r\n$1\r\nk\r\n${VALUE}\r\n").into_bytes()
}

#[test]
fn a_value_goes_through_in_pieces_and_holds_up_nobody() {
    let mut scene = Scene::new();
    let lane = scene.begin(&head(5), b":0\r\n");
    let rest = [&vec![b'v'; VALUE], &b"\r\n$2\r\nEX\r\n$2\r\n10\r\n"[..]].concat();
    let half = VALUE / 2;
    let mut got = scene.stream(lane, &rest[..half]);
    // Another client uses the node meanwhile.
    let other = scene.sim.connect("cache");
    scene.sim.send(other, b"GET k\r\n");
    assert_eq!(scene.sim.take(scene.shared), b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    scene.sim.send(scene.shared, b"$1\r\no\r\n");
    assert_eq!(scene.sim.take(other), b"$1\r\no\r\n");
    got.extend(scene.stream(lane, &rest[half..]));
    assert!(got == [head(5), rest].concat());
    // What comes behind waits for the reply.
    scene.sim.send(scene.client, b"GET k\r\n");
    assert_eq!(scene.sim.take(scene.shared), b"");
    scene.sim.send(lane, b"+OK\r\n");
    assert_eq!(scene.sim.take(scene.client), b"+OK\r\n");
    assert_eq!(scene.sim.take(scene.shared), b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    scene.sim.send(scene.shared, b"$1\r\nv\r\n");
    assert_eq!(scene.sim.take(scene.client), b"$1\r\nv\r\n");
    // The connection is used again, byte by byte.
    scene.begin(&head(3), b":1\r\n");
    let rest = [&vec![b'w'; VALUE], &b"\r\n"[..]].concat();
    let mut got = scene.stream(lane, &rest[..VALUE - 3]);
    scene.sim.dribble(scene.client, &rest[VALUE - 3..]);
    got.extend(scene.sim.take(lane));
    assert!(got == [head(3), rest].concat());
    scene.sim.send(lane, b"+OK\r\n");
    assert_eq!(scene.sim.take(scene.client), b"+OK\r\n");
}

#[test]
fn it_waits_for_the_replies_before_it() {
    let mut scene = Scene::new();
    scene.sim.send(scene.client, &[b"GET k\r\n", head(3).as_slice()].concat());
    assert!(scene.sim.dials().is_empty() && !scene.sim.is_read(scene.client));
    scene.sim.take(scene.shared);
    scene.sim.send(scene.shared, b"$1\r\nv\r\n");
    assert_eq!(scene.sim.take(scene.client), b"$1\r\nv\r\n");
    scene.begin(b"", b":1\r\n");
}

#[test]
fn what_breaks_in_the_middle_did_not_run_and_what_was_sent_may_have() {
    let mut scene = Scene::new();
    let rest = [&vec![b'v'; VALUE], &b"\r\n"[..]].concat();
    let lane = scene.begin(&head(3), b":0\r\n");
    scene.stream(lane, &rest[..VALUE / 2]);
    scene.sim.closed(lane, Why::Eof);
    scene.sim.send(scene.client, &rest[VALUE / 2..]);
    let error = String::from_utf8(scene.sim.take(scene.client)).unwrap();
    assert!(error.starts_with("-TRYAGAIN midstream: ") && error.ends_with("it did not run\r\n"), "{error}");
    scene.ping();

    scene.lane = None;
    let lane = scene.begin(&head(3), b":0\r\n");
    scene.stream(lane, &rest);
    scene.sim.closed(lane, Why::Eof);
    let error = String::from_utf8(scene.sim.take(scene.client)).unwrap();
    assert!(error.starts_with("-ERR midstream: ") && error.ends_with("whether it ran is unknown\r\n"), "{error}");
    scene.ping();
}

#[test]
fn the_node_may_answer_before_it_has_all() {
    let mut scene = Scene::new();
    let rest = [&vec![b'v'; VALUE], &b"\r\n"[..]].concat();
    let lane = scene.begin(&head(3), b":0\r\n");
    scene.stream(lane, &rest[..VALUE / 2]);
    scene.sim.send(lane, b"-ERR Protocol error: invalid bulk length\r\n");
    assert_eq!(scene.sim.take(scene.client), b"-ERR Protocol error: invalid bulk length\r\n");
    assert!(!scene.sim.is_open(lane), "half a command is on it");
    scene.sim.send(scene.client, &rest[VALUE / 2..]);
    scene.ping();
}

#[test]
fn it_follows_its_slot_before_it_is_sent() {
    let mut scene = Scene::new();
    let rest = [&vec![b'v'; VALUE], &b"\r\n"[..]].concat();
    scene.begin(&head(3), b"-ASK 7629 127.0.0.1:7002\r\n");
    let second = scene.dialled();
    scene.sim.accept(second);
    assert_eq!(scene.sim.take(second), b"*1\r\n$6\r\nASKING\r\n*2\r\n$6\r\nEXISTS\r\n$1\r\nk\r\n");
    scene.sim.send(second, b"+OK\r\n:0\r\n");
    let got = scene.stream(second, &rest);
    assert!(got == [b"*1\r\n$6\r\nASKING\r\n", head(3).as_slice(), &rest].concat());
    scene.sim.send(second, b"+OK\r\n+OK\r\n");
    assert_eq!(scene.sim.take(scene.client), b"+OK\r\n");
    // It moves while the value is on its way: the client is asked to send it again.
    let lane = scene.begin(&head(3), b":1\r\n");
    scene.stream(lane, &rest);
    scene.sim.send(lane, b"-MOVED 7629 127.0.0.1:7002\r\n");
    let error = String::from_utf8(scene.sim.take(scene.client)).unwrap();
    assert!(error.starts_with("-TRYAGAIN midstream: the node did not take the command (MOVED)"), "{error}");
    scene.ping();
}

#[test]
fn a_node_that_does_not_come_is_said_at_the_deadline() {
    let mut scene = Scene::new();
    scene.sim.send(scene.client, &head(3));
    for _ in 0..100 {
        for lane in scene.sim.dials() {
            scene.sim.refuse(lane);
        }
        scene.sim.advance(SECONDS / 50);
    }
    let error = String::from_utf8(scene.sim.take(scene.client)).unwrap();
    assert!(error.starts_with("-CLUSTERDOWN midstream: the node of this key"), "{error}");
    scene.sim.send(scene.client, &vec![b'v'; VALUE]);
    scene.sim.send(scene.client, b"\r\n");
    scene.ping();
}

#[test]
fn a_client_that_goes_or_breaks_the_protocol_leaves_nothing_half_done() {
    for rest in [&b"\r\n"[..], b"!!$2\r\nEX\r\n"] {
        let mut scene = Scene::new();
        let lane = scene.begin(&head(5), b":0\r\n");
        scene.stream(lane, &vec![b'v'; VALUE]);
        scene.sim.send(scene.client, rest);
        scene.sim.half_close(scene.client);
        assert!(!scene.sim.is_open(lane) && !scene.sim.is_open(scene.client));
    }
}

#[test]
fn rules_see_it_before_its_value() {
    let mut scene = Scene::with(Some(Arc::new(Rules)), None);
    scene.sim.send(scene.client, format!("*3\r\n$3\r\nSET\r\n$6\r\ndenied\r\n${VALUE}\r\n").as_bytes());
    assert_eq!(scene.sim.take(scene.client), b"-NOPERM no\r\n");
    scene.sim.send(scene.client, &vec![b'v'; VALUE]);
    scene.sim.send(scene.client, b"\r\n");
    assert!(scene.sim.dials().is_empty());
    scene.begin(&head(3), b":0\r\n");
}

#[test]
fn keys_are_renamed_on_the_way() {
    let routes = Routes::new(vec![Route::new(b"u:", Some(b"t7:"), &"cache".into(), false)], &"cache".into());
    let mut scene = Scene::with(None, Some(Arc::new(routes)));
    scene.sim.send(scene.client, format!("*3\r\n$6\r\nAPPEND\r\n$3\r\nu:k\r\n${VALUE}\r\n").as_bytes());
    let lane = scene.dialled();
    scene.sim.accept(lane);
    assert_eq!(scene.sim.take(lane), b"*2\r\n$6\r\nEXISTS\r\n$4\r\nt7:k\r\n");
    scene.sim.send(lane, b":0\r\n");
    assert_eq!(scene.sim.take(lane), format!("*3\r\n$6\r\nAPPEND\r\n$4\r\nt7:k\r\n${VALUE}\r\n").as_bytes());
}

#[test]
fn what_cannot_stream_is_held_whole_up_to_a_bound() {
    let mut scene = Scene::new();
    scene.sim.send(scene.client, b"MULTI\r\n");
    scene.sim.send(scene.client, &head(3));
    scene.sim.send(scene.client, &vec![b'v'; VALUE]);
    scene.sim.send(scene.client, b"\r\nEXEC\r\n");
    assert_eq!(scene.sim.take(scene.client), b"+OK\r\n+QUEUED\r\n");
    assert!(scene.sim.take(scene.shared).len() > VALUE);
    scene.sim.send(scene.shared, b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    assert_eq!(scene.sim.take(scene.client), b"*1\r\n+OK\r\n");
    scene.sim.send(scene.client, b"MULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000000\r\n");
    let error = String::from_utf8(scene.sim.take(scene.client)).unwrap();
    assert!(error.starts_with("+OK\r\n-ERR Protocol error: invalid bulk length: 100000000 is over midstream's limit"), "{error}");
}
