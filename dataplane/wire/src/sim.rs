//! An engine without sockets, threads or clock: a test plays the clients, the servers, the brain and the time.
//!
//! It keeps the contract of [`Io`] as the real engine does (tails, `forward`, `skip`, `want`, `pause`, `link`), so that what a machine
//! does here it does there. Bytes can be delivered whole, or one at a time ([`Sim::dribble`]), which is how a protocol is shown not to
//! depend on where the network cuts its messages.

use crate::io::{Close, Io, Peer, STREAM, Target, TlsStart, Upcall};
use crate::key::{Key, Nanos};
use crate::limits;
use crate::protocol::{Conf, Event, Opened, Protocol, Side, Why};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

/// What a protocol did besides writing bytes, in order. The fields are those of the calls.
#[allow(missing_docs)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Did {
    /// `dial` to host:port.
    Dial { key: Key, to: String, tag: u64 },
    /// `close`.
    Close { key: Key, how: Close },
    /// `finish`.
    Finish { key: Key },
    /// `start_tls`; true as the server.
    StartTls { key: Key, accept: bool },
    /// `upcall`.
    Upcall { key: Key, number: u64, call: Upcall },
    /// `mail`.
    Mail { worker: usize, body: Vec<u8> },
    /// `data` returned a fault; the connection is closed.
    Fault { key: Key, fault: crate::fault::Fault },
}

#[derive(Debug)]
struct Conn {
    side: Side,
    up: bool,
    tail: Vec<u8>,
    out: Vec<u8>,
    want: usize,
    paused: bool,
    link: Option<Key>,
    forward: Option<(Option<Key>, u64)>,
    tag: u64,
    peer: Peer,
}

/// The part that a protocol sees.
#[derive(Default)]
pub struct World {
    now: Nanos,
    dice: u64,
    conns: BTreeMap<Key, Conn>,
    next_slot: u32,
    timers: BTreeMap<(Key, u32), Nanos>,
    did: Vec<Did>,
    next_call: u64,
    nowhere: Vec<u8>,
    /// What connections that are gone had still to send: `take` finds it after a close.
    last_words: BTreeMap<Key, Vec<u8>>,
}

/// A protocol object in a simulated worker.
pub struct Sim {
    protocol: Box<dyn Protocol>,
    /// The world it acts on.
    pub world: World,
}

impl Sim {
    /// A worker with `conf` in force.
    pub fn new(protocol: Box<dyn Protocol>, conf: Conf) -> Sim {
        let mut sim = Sim { protocol, world: World { dice: 1, ..World::default() } };
        sim.configure(conf);
        sim
    }

    /// Puts another configuration in force.
    pub fn configure(&mut self, conf: Conf) {
        self.protocol.configure(&mut self.world, conf);
        self.turn();
    }

    /// A client connects to a listener's own address.
    pub fn connect(&mut self, listener: &str) -> Key {
        self.connect_facet(listener, 0, None)
    }

    /// A client connects to a facet of a listener; with TLS when it asks for a name (SNI).
    pub fn connect_facet(&mut self, listener: &str, facet: u32, server_name: Option<&str>) -> Key {
        let key = self.world.add(Side::Client, true, 0);
        if let Some(conn) = self.world.conns.get_mut(&key).filter(|_| server_name.is_some()) {
            (conn.peer.tls, conn.peer.server_name) = (true, server_name.map(Into::into));
        }
        self.protocol.open(&mut self.world, key, Opened::Client { listener, facet });
        self.turn();
        key
    }

    /// The server side accepts a `dial`.
    pub fn accept(&mut self, key: Key) {
        let Some(conn) = self.world.conns.get_mut(&key) else { return };
        conn.up = true;
        let tag = conn.tag;
        self.protocol.open(&mut self.world, key, Opened::Server { tag });
        self.turn();
    }

    /// The server side refuses a `dial`.
    pub fn refuse(&mut self, key: Key) {
        self.closed(key, Why::Refused("connection refused".into()));
    }

    /// The peer of `key` sends bytes.
    pub fn send(&mut self, key: Key, bytes: &[u8]) {
        if let Some(conn) = self.world.conns.get_mut(&key) {
            conn.tail.extend_from_slice(bytes);
        }
        self.turn();
    }

    /// The peer of `key` sends bytes, which arrive one by one.
    pub fn dribble(&mut self, key: Key, bytes: &[u8]) {
        for byte in bytes {
            self.send(key, std::slice::from_ref(byte));
        }
    }

    /// Takes what was sent to the peer of `key` since the last call.
    pub fn take(&mut self, key: Key) -> Vec<u8> {
        let taken = match self.world.conns.get_mut(&key) {
            Some(conn) => std::mem::take(&mut conn.out),
            None => self.world.last_words.remove(&key).unwrap_or_default(),
        };
        self.turn();
        taken
    }

    /// The client sends no more.
    pub fn half_close(&mut self, key: Key) {
        self.event(key, Event::HalfClosed);
    }

    /// The connection of `key` breaks or ends.
    pub fn closed(&mut self, key: Key, why: Why) {
        let Some(conn) = self.world.conns.remove(&key) else { return };
        self.world.timers.retain(|(of, _), _| *of != key);
        self.world.last_words.insert(key, conn.out);
        self.protocol.event(&mut self.world, key, conn.side, Event::Closed(why));
        self.turn();
    }

    /// TLS is up after `start_tls`.
    pub fn secured(&mut self, key: Key) {
        if let Some(conn) = self.world.conns.get_mut(&key) {
            conn.peer.tls = true;
        }
        self.event(key, Event::Secured);
    }

    /// The brain answers an upcall.
    pub fn answer(&mut self, key: Key, number: u64, body: Option<&[u8]>) {
        self.event(key, Event::Answer { number, body });
    }

    /// Delivers any event.
    pub fn event(&mut self, key: Key, event: Event<'_>) {
        let side = match self.world.conns.get(&key) {
            Some(conn) => conn.side,
            None if key == Key::NONE => Side::Client,
            None => return,
        };
        self.protocol.event(&mut self.world, key, side, event);
        self.turn();
    }

    /// Time passes; timers fire in their order.
    pub fn advance(&mut self, by: Nanos) {
        let end = self.world.now + by;
        while let Some((&(key, timer), &at)) = self.world.timers.iter().filter(|(_, at)| **at <= end).min_by_key(|(_, at)| **at) {
            self.world.now = self.world.now.max(at);
            self.world.timers.remove(&(key, timer));
            self.event(key, Event::Timer(timer));
        }
        self.world.now = end;
    }

    /// Takes what the protocol did since the last call.
    pub fn did(&mut self) -> Vec<Did> {
        std::mem::take(&mut self.world.did)
    }

    /// The keys of the dials since the last call of `did`, which this is a form of.
    pub fn dials(&mut self) -> Vec<Key> {
        self.did().into_iter().filter_map(|did| if let Did::Dial { key, .. } = did { Some(key) } else { None }).collect()
    }

    /// Whether the connection is open.
    pub fn is_open(&self, key: Key) -> bool {
        self.world.conns.contains_key(&key)
    }

    /// Whether the engine would read from the connection now.
    pub fn is_read(&self, key: Key) -> bool {
        self.world.is_read(key)
    }

    /// Gives every connection that may be read what it has, until nothing moves.
    fn turn(&mut self) {
        let mut moved = true;
        while moved {
            moved = false;
            for key in self.world.conns.keys().copied().collect::<Vec<_>>() {
                moved |= self.feed(key);
            }
        }
    }

    fn feed(&mut self, key: Key) -> bool {
        let forwarded = self.world.run_forward(key);
        if !self.world.is_read(key) {
            return forwarded;
        }
        let Some(conn) = self.world.conns.get_mut(&key) else { return forwarded };
        if !conn.up || conn.forward.is_some() || conn.tail.is_empty() || conn.tail.len() < conn.want {
            return forwarded;
        }
        let side = conn.side;
        let tail = std::mem::take(&mut conn.tail);
        conn.want = 0;
        match self.protocol.data(&mut self.world, key, side, &tail) {
            Ok(consumed) => {
                assert!(consumed <= tail.len(), "the protocol consumed more than there was");
                if let Some(conn) = self.world.conns.get_mut(&key) {
                    let newer = std::mem::replace(&mut conn.tail, tail[consumed..].to_vec());
                    conn.tail.extend(newer);
                    if consumed == 0 && conn.forward.is_none() {
                        conn.want = conn.want.max(tail.len() + 1);
                        return forwarded;
                    }
                }
                true
            }
            Err(fault) => {
                self.world.did.push(Did::Fault { key, fault });
                self.closed(key, Why::Fault);
                true
            }
        }
    }
}

impl World {
    /// The output that has not been taken, without taking it.
    pub fn unsent(&self, key: Key) -> &[u8] {
        self.conns.get(&key).map_or(&[], |conn| &conn.out)
    }

    fn add(&mut self, side: Side, up: bool, tag: u64) -> Key {
        let key = Key { slot: self.next_slot, generation: 0 };
        self.next_slot += 1;
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let peer = Peer::plain(local, local);
        let conn = Conn { side, up, tail: vec![], out: vec![], want: 0, paused: false, link: None, forward: None, tag, peer };
        self.conns.insert(key, conn);
        key
    }

    fn is_read(&self, key: Key) -> bool {
        let Some(conn) = self.conns.get(&key) else { return false };
        let blocked = |of: Key| self.conns.get(&of).is_some_and(|conn| conn.out.len() > limits::HIGH_WATER);
        !conn.paused && !blocked(key) && !conn.link.is_some_and(blocked)
    }

    fn run_forward(&mut self, key: Key) -> bool {
        let Some(conn) = self.conns.get_mut(&key) else { return false };
        let Some((to, left)) = conn.forward else { return false };
        let n = left.min(conn.tail.len() as u64) as usize;
        let bytes: Vec<u8> = conn.tail.drain(..n).collect();
        let rest = if left == STREAM { STREAM } else { left - n as u64 };
        conn.forward = (rest > 0).then_some((to, rest));
        let done = conn.forward.is_none();
        if let Some(target) = to.and_then(|to| self.conns.get_mut(&to)) {
            target.out.extend(bytes);
        }
        n > 0 || done
    }
}

impl Io for World {
    fn now(&self) -> Nanos {
        self.now
    }

    fn random(&mut self) -> u64 {
        self.dice = self.dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.dice >> 16
    }

    fn out(&mut self, to: Key) -> &mut Vec<u8> {
        self.nowhere.clear();
        self.conns.get_mut(&to).map_or(&mut self.nowhere, |conn| &mut conn.out)
    }

    fn backlog(&self, of: Key) -> usize {
        self.conns.get(&of).map_or(0, |conn| conn.out.len())
    }

    fn forward(&mut self, from: Key, to: Key, n: u64) {
        if let Some(conn) = self.conns.get_mut(&from) {
            conn.forward = (n > 0).then_some((Some(to), n));
        }
    }

    fn skip(&mut self, from: Key, n: u64) {
        if let Some(conn) = self.conns.get_mut(&from) {
            conn.forward = (n > 0).then_some((None, n));
        }
    }

    fn want(&mut self, from: Key, n: usize) {
        if let Some(conn) = self.conns.get_mut(&from) {
            conn.want = n;
        }
    }

    fn link(&mut self, from: Key, to: Key) {
        if let Some(conn) = self.conns.get_mut(&from) {
            conn.link = Some(to);
        }
    }

    fn unlink(&mut self, from: Key) {
        if let Some(conn) = self.conns.get_mut(&from) {
            conn.link = None;
        }
    }

    fn pause(&mut self, key: Key, paused: bool) {
        if let Some(conn) = self.conns.get_mut(&key) {
            conn.paused = paused;
            conn.want = 0;
        }
    }

    fn unread(&mut self, key: Key, bytes: &[u8]) {
        if let Some(conn) = self.conns.get_mut(&key) {
            conn.tail.splice(..0, bytes.iter().copied());
            conn.want = 0;
        }
    }

    fn dial(&mut self, target: &Target, tag: u64) -> Key {
        let key = self.add(Side::Server, false, tag);
        self.did.push(Did::Dial { key, to: format!("{}:{}", target.host, target.port), tag });
        key
    }

    fn start_tls(&mut self, key: Key, start: TlsStart) {
        self.did.push(Did::StartTls { key, accept: matches!(start, TlsStart::Accept(_)) });
    }

    fn arm(&mut self, key: Key, timer: u32, at: Nanos) {
        self.timers.insert((key, timer), at);
    }

    fn disarm(&mut self, key: Key, timer: u32) {
        self.timers.remove(&(key, timer));
    }

    fn upcall(&mut self, key: Key, call: Upcall) -> u64 {
        self.next_call += 1;
        self.did.push(Did::Upcall { key, number: self.next_call, call });
        self.next_call
    }

    fn finish(&mut self, key: Key) {
        self.did.push(Did::Finish { key });
    }

    fn close(&mut self, key: Key, how: Close) {
        self.timers.retain(|(of, _), _| *of != key);
        if let Some(conn) = self.conns.remove(&key) {
            self.last_words.insert(key, conn.out);
            self.did.push(Did::Close { key, how });
        }
    }

    fn mail(&mut self, worker: usize, body: Vec<u8>) {
        self.did.push(Did::Mail { worker, body });
    }

    fn peer(&self, key: Key) -> Option<&Peer> {
        self.conns.get(&key).filter(|conn| conn.up).map(|conn| &conn.peer)
    }
}
