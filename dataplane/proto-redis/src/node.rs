//! One server behind us: its connections, whether it may be dialled, and what is known of its place in replication.

use crate::functions::Fetch;
use crate::health::Health;
use crate::replication::Replication;
use std::sync::Arc;
use wire::{Key, MILLIS, Nanos};

/// First and longest pause before a node that refused is dialled again.
const BACKOFF_FIRST: Nanos = 50 * MILLIS;
const BACKOFF_LONGEST: Nanos = 1000 * MILLIS;

/// One of a node's shared pipes.
#[derive(Clone, Copy, Debug)]
pub struct Lane {
    /// Its RESP version, 2 or 3.
    pub resp: u8,
    /// Whether it reads what the node has as a replica. Others must not: a master that was deposed refuses there what it may not answer.
    pub readonly: bool,
}

impl Lane {
    /// The lane of a version and a use.
    #[inline]
    pub fn of(resp: u8, readonly: bool) -> Lane {
        Lane { resp, readonly }
    }

    /// Its place among the node's pipes.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.resp == 3) | usize::from(self.readonly) << 1
    }
}

/// How many lanes there are.
pub const LANES: usize = 4;

/// One node.
#[derive(Debug)]
pub struct Node {
    /// Its host.
    pub host: Arc<str>,
    /// Its port.
    pub port: u16,
    /// The shared pipes, by [`Lane::index`].
    pub pipes: [Option<Key>; LANES],
    /// The connection on which it tells of changed keys, while that can be relied upon ([`crate::near`]).
    pub tracker: Option<Key>,
    /// Shared pipes of clients in other databases or as other users: session, RESP version, key ([`crate::session`]).
    pub sessions: Vec<(u16, u8, Key)>,
    /// Leased connections that nobody has now, RESP2 and RESP3.
    pub idle: [Vec<Key>; 2],
    /// How many leased connections there are.
    pub leases: usize,
    /// Not dialled before.
    pub down_until: Nanos,
    /// Whether it is no server but one that looks after some.
    pub sentinel: bool,
    /// Who has its data, too, and serves reads of it.
    pub replicas: Vec<u16>,
    /// How well it answers.
    pub health: Health,
    /// How far it is in replication.
    pub replication: Replication,
    /// Whether it is being given functions.
    pub functions: Fetch,
    /// Where it stands; empty where nobody says.
    pub zone: Arc<str>,
    /// Who has what was its, since it has no slots any more.
    pub successor: Option<u16>,
    backoff: Nanos,
}

impl Node {
    /// A node that nothing is known of but where it is.
    pub fn new(host: &str, port: u16) -> Node {
        Node {
            host: host.into(),
            port,
            pipes: [None; LANES],
            tracker: None,
            sessions: Vec::new(),
            idle: Default::default(),
            leases: 0,
            down_until: 0,
            sentinel: false,
            replicas: Vec::new(),
            health: Health::default(),
            replication: Replication::default(),
            functions: Fetch::default(),
            zone: Arc::default(),
            successor: None,
            backoff: 0,
        }
    }

    /// A dial failed: the next one may be made after a pause, which grows with each failure in a row. That one dial is the probe: what
    /// wants the node meanwhile waits for it. `dice` moves the pause by up to a quarter, so that sidecars which lost a node together do not
    /// come back together.
    pub fn failed(&mut self, now: Nanos, dice: u64) {
        self.backoff = (self.backoff * 2).clamp(BACKOFF_FIRST, BACKOFF_LONGEST);
        self.down_until = now + self.backoff - dice % (self.backoff / 4);
    }

    /// Whether it may be asked.
    pub fn is_up(&self, now: Nanos) -> bool {
        self.down_until <= now && self.health.until <= now
    }

    /// It answers.
    pub fn works(&mut self) {
        self.backoff = 0;
        self.down_until = 0;
    }

    /// Whether nothing of ours is there.
    pub fn is_unused(&self) -> bool {
        self.pipes == [None; LANES] && self.sessions.is_empty() && self.leases == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let mut node = Node::new("a", 1);
        let mut pause = |dice| {
            node.failed(0, dice);
            node.down_until / MILLIS
        };
        assert_eq!([pause(0), pause(0), pause(0), pause(0), pause(0), pause(0), pause(0)], [50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(pause(200 * MILLIS), 800);
        node.works();
        assert_eq!(node.down_until, 0);
    }
}
