//! What one operation costs in user code alone: the machine on an [`Io`] that only keeps buffers. No sockets, no system calls; CPU time,
//! which repeats on a shared machine.
//!
//!     cargo run --release -p proto-redis --example inmemory

#![allow(clippy::unwrap_used)]

use proto_redis::routes::{Route, Routes};
use proto_redis::{ClusterConf, Conf, ListenerConf, Redis};
use std::sync::Arc;
use wire::{Close, Io, Key, Nanos, Opened, Peer, Protocol, Side, Target, TlsStart, Upcall, Worker};

/// Buffers by connection; everything else does nothing.
#[derive(Default)]
struct Buffers {
    out: Vec<Vec<u8>>,
}

impl Io for Buffers {
    fn now(&self) -> Nanos {
        1
    }
    fn random(&mut self) -> u64 {
        4
    }
    fn out(&mut self, to: Key) -> &mut Vec<u8> {
        &mut self.out[to.index()]
    }
    fn backlog(&self, of: Key) -> usize {
        self.out[of.index()].len()
    }
    fn dial(&mut self, _: &Target, _: u64) -> Key {
        self.out.push(Vec::new());
        Key { slot: self.out.len() as u32 - 1, generation: 0 }
    }
    fn forward(&mut self, _: Key, _: Key, _: u64) {}
    fn skip(&mut self, _: Key, _: u64) {}
    fn want(&mut self, _: Key, _: usize) {}
    fn link(&mut self, _: Key, _: Key) {}
    fn unlink(&mut self, _: Key) {}
    fn pause(&mut self, _: Key, _: bool) {}
    fn unread(&mut self, _: Key, _: &[u8]) {}
    fn start_tls(&mut self, _: Key, _: TlsStart) {}
    fn arm(&mut self, _: Key, _: u32, _: Nanos) {}
    fn disarm(&mut self, _: Key, _: u32) {}
    fn upcall(&mut self, _: Key, _: Upcall) -> u64 {
        0
    }
    fn close(&mut self, _: Key, _: Close) {}
    fn finish(&mut self, _: Key) {}
    fn mail(&mut self, _: usize, _: Vec<u8>) {}
    fn peer(&self, _: Key) -> Option<&Peer> {
        None
    }
}

const ROUNDS: usize = 200_000;

fn main() {
    measure("", None);
    let own: Arc<str> = "cache".into();
    let route = |number: usize| Route::new(format!("prefix{number}:").as_bytes(), None, &own, false);
    measure("100 routes, ", Some(Routes::new((0..100).map(route).collect(), &own)));
    measure("renamed, ", Some(Routes::new(vec![Route::new(b"key:", Some(b"tenant:key:"), &own, false)], &own)));
}

fn measure(name: &str, routes: Option<Routes>) {
    let cluster = ClusterConf::new("cache", &[("127.0.0.1", 7001)]);
    let routes = routes.map(Arc::new);
    let listener = ListenerConf { name: "cache".into(), cluster: "cache".into(), users: vec![], chain: None, routes, key_stats: None, mirror: None };
    let conf = Conf { listeners: vec![Arc::new(listener)], clusters: vec![Arc::new(cluster)], migrations: vec![] };
    let mut io = Buffers::default();
    let mut redis = Redis::new(Worker { index: 0, count: 1, metrics: Arc::default() });
    redis.configure(&mut io, Arc::new(conf));
    let server = Key { slot: 0, generation: 0 };
    redis.open(&mut io, server, Opened::Server { tag: 0 });
    redis.data(&mut io, server, Side::Server, b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:7001\r\n").unwrap();
    io.out.push(Vec::new());
    let client = Key { slot: 1, generation: 0 };
    redis.open(&mut io, client, Opened::Client { listener: "cache", facet: 0 });

    let get = b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000012345\r\n".to_vec();
    let value = [&b"$64\r\n"[..], &[b'x'; 64], b"\r\n"].concat();
    run(&format!("{name}GET"), 1, &mut redis, &mut io, (client, server), (&get, &value));
    run(&format!("{name}GET, pipeline 16"), 16, &mut redis, &mut io, (client, server), (&get.repeat(16), &value.repeat(16)));
    let mget = [b"*11\r\n$4\r\nMGET\r\n".to_vec(), (0..10).flat_map(|key| format!("$5\r\nkey:{key}\r\n").into_bytes()).collect()].concat();
    run(&format!("{name}MGET of 10 slots"), 1, &mut redis, &mut io, (client, server), (&mget, &[&b"*1\r\n"[..], &value].concat().repeat(10)));
}

fn run(name: &str, operations: usize, redis: &mut Redis, io: &mut Buffers, keys: (Key, Key), bytes: (&[u8], &[u8])) {
    let start = cpu_ns();
    for _ in 0..ROUNDS {
        assert_eq!(redis.data(io, keys.0, Side::Client, bytes.0).unwrap(), bytes.0.len());
        io.out[keys.1.index()].clear();
        assert_eq!(redis.data(io, keys.1, Side::Server, bytes.1).unwrap(), bytes.1.len());
        assert!(!io.out[keys.0.index()].is_empty());
        io.out[keys.0.index()].clear();
    }
    println!("{name}: {} ns per operation", (cpu_ns() - start) / ROUNDS as u64 / operations as u64);
}

/// CPU time of this process so far, as Linux counts it.
fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}
