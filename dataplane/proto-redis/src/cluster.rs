//! A back end as one worker knows it: its nodes, who has which slot, what waits for a node to come back.

use crate::conf::ClusterConf;
use crate::limits;
use crate::meters::ClusterMeters;
use crate::pipe::{Owner, Pending, To};
use crate::slot::SLOTS;
use crate::topology::Range;
use std::sync::Arc;
use wire::{Key, MILLIS, Nanos, Target, TlsClient};

/// No node.
pub const NOBODY: u16 = u16::MAX;

/// First and longest pause before a node that refused is dialled again.
const BACKOFF_FIRST: Nanos = 50 * MILLIS;
const BACKOFF_LONGEST: Nanos = 1000 * MILLIS;

/// One node.
#[derive(Debug)]
pub struct Node {
    /// Its host.
    pub host: Arc<str>,
    /// Its port.
    pub port: u16,
    /// The shared pipe of RESP2 and of RESP3.
    pub pipes: [Option<Key>; 2],
    /// Leased connections that nobody has now, RESP2 and RESP3.
    pub idle: [Vec<Key>; 2],
    /// How many leased connections there are.
    pub leases: usize,
    /// Not dialled before.
    pub down_until: Nanos,
    backoff: Nanos,
}

impl Node {
    /// A dial failed or a connection was lost.
    pub fn failed(&mut self, now: Nanos) {
        self.backoff = (self.backoff * 2).clamp(BACKOFF_FIRST, BACKOFF_LONGEST);
        self.down_until = now + self.backoff;
    }

    /// It answers.
    pub fn works(&mut self) {
        self.backoff = 0;
        self.down_until = 0;
    }
}

/// Why a command waits; becomes the error if it waits too long.
#[derive(Clone, Debug)]
pub enum Reason {
    /// No node ever said who has which slot.
    NoTopology,
    /// Nobody has the slot.
    NotServed,
    /// The node refuses connections or lost them.
    NodeDown(String),
    /// The server's own error.
    Said(Vec<u8>),
    /// Nothing is wrong: its client reads slowly, and it is not its turn yet ([`crate::lane`]).
    Paced,
}

/// A command that waits for another attempt.
#[derive(Debug)]
pub struct Parked {
    /// Whose and where to.
    pub pending: Pending,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Not before.
    pub due: Nanos,
    /// Why.
    pub reason: Reason,
}

impl Parked {
    /// Its place in the client's ring.
    pub fn seq(&self) -> u64 {
        match self.pending.owner {
            Owner::Client(_, seq) => seq,
            _ => 0,
        }
    }
}

/// The clients whose commands wait, and what that costs.
#[derive(Default, Debug)]
pub struct Waiting {
    /// Whose; one that is gone meanwhile is passed over.
    pub clients: Vec<Key>,
    /// How many commands.
    pub commands: usize,
    /// How many of them for nothing but their slow reader.
    pub paced: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl Waiting {
    /// One more.
    pub fn add(&mut self, parked: &Parked) {
        self.commands += 1;
        self.paced += usize::from(matches!(parked.reason, Reason::Paced));
        self.bytes += parked.bytes.len();
    }

    /// One less.
    pub fn remove(&mut self, parked: &Parked) {
        self.commands = self.commands.saturating_sub(1);
        self.paced = self.paced.saturating_sub(usize::from(matches!(parked.reason, Reason::Paced)));
        self.bytes = self.bytes.saturating_sub(parked.bytes.len());
    }
}

/// The state of the question who has which slot.
#[derive(Default, Debug)]
pub struct Refresh {
    /// Asked, not answered.
    pub running: bool,
    /// Not asked again before.
    pub not_before: Nanos,
    /// The node asked first next time.
    pub next: usize,
}

/// One back end.
#[derive(Debug)]
pub struct Cluster {
    /// What it was configured as.
    pub conf: Arc<ClusterConf>,
    /// All nodes ever heard of; indices stay.
    pub nodes: Vec<Node>,
    slots: Box<[u16]>,
    /// The nodes that have slots, by their lowest slot.
    pub masters: Vec<u16>,
    /// What waits.
    pub waiting: Waiting,
    /// See [`Refresh`].
    pub refresh: Refresh,
    /// Counters.
    pub meters: ClusterMeters,
    turn: usize,
}

impl Cluster {
    /// A back end nothing is known of but its seeds.
    pub fn new(conf: Arc<ClusterConf>, meters: ClusterMeters) -> Cluster {
        let mut cluster = Cluster {
            conf,
            nodes: Vec::new(),
            slots: vec![NOBODY; SLOTS].into_boxed_slice(),
            masters: Vec::new(),
            waiting: Waiting::default(),
            refresh: Refresh::default(),
            meters,
            turn: 0,
        };
        cluster.adopt_seeds();
        cluster
    }

    /// The configured nodes are known; a single server has all slots.
    pub fn adopt_seeds(&mut self) {
        let conf = Arc::clone(&self.conf);
        let seeds: Vec<u16> = conf.seeds.iter().map(|(host, port)| self.node(host, *port)).collect();
        if conf.single {
            let only = seeds.first().copied().unwrap_or(NOBODY);
            self.slots.fill(only);
            self.find_masters();
        }
    }

    /// The node at that address, new or known; `NOBODY` when there are too many.
    pub fn node(&mut self, host: &str, port: u16) -> u16 {
        if let Some(known) = self.nodes.iter().position(|node| node.port == port && &*node.host == host) {
            return known as u16;
        }
        if self.nodes.len() >= limits::MAX_NODES {
            return NOBODY;
        }
        self.nodes.push(Node { host: host.into(), port, pipes: [None; 2], idle: Default::default(), leases: 0, down_until: 0, backoff: 0 });
        self.nodes.len() as u16 - 1
    }

    /// The node that has the slot.
    #[inline]
    pub fn owner(&self, slot: u16) -> u16 {
        self.slots.get(usize::from(slot)).copied().unwrap_or(NOBODY)
    }

    /// Whether any slot has a node.
    pub fn is_known(&self) -> bool {
        !self.masters.is_empty()
    }

    /// The node a command goes to now.
    #[inline]
    pub fn pick(&mut self, to: To, now: Nanos) -> u16 {
        match to {
            To::Slot(slot) => self.owner(slot),
            To::Node(node) => node,
            To::Any => self.any(now),
        }
    }

    /// A master that is not known to be down, in turn.
    fn any(&mut self, now: Nanos) -> u16 {
        self.turn = self.turn.wrapping_add(1);
        let count = self.masters.len();
        let in_turn = (0..count).filter_map(|step| self.masters.get((self.turn.wrapping_add(step)) % count).copied());
        let mut first = NOBODY;
        for master in in_turn {
            if self.nodes[usize::from(master)].down_until <= now {
                return master;
            }
            if first == NOBODY {
                first = master;
            }
        }
        first
    }

    /// One slot has moved: MOVED is truer than any table.
    pub fn moved(&mut self, slot: u16, node: u16) {
        if let Some(owner) = self.slots.get_mut(usize::from(slot)) {
            *owner = node;
        }
        if !self.masters.contains(&node) {
            self.find_masters();
        }
    }

    /// A new slot table; whether it differs. `asked` is the node that answered, for ranges without a host.
    pub fn apply(&mut self, ranges: &[Range], asked: u16) -> bool {
        let mut slots = vec![NOBODY; SLOTS].into_boxed_slice();
        let own = self.nodes.get(usize::from(asked)).map(|node| Arc::clone(&node.host)).unwrap_or_default();
        for range in ranges {
            let host = if matches!(range.host.as_str(), "" | "?") { &*own } else { range.host.as_str() };
            let node = self.node(host, range.port);
            slots[usize::from(range.first)..=usize::from(range.last)].fill(node);
        }
        if slots == self.slots {
            return false;
        }
        self.slots = slots;
        self.find_masters();
        true
    }

    fn find_masters(&mut self) {
        self.masters.clear();
        let mut last = NOBODY;
        for owner in &self.slots {
            if *owner != last && *owner != NOBODY && !self.masters.contains(owner) {
                self.masters.push(*owner);
            }
            last = *owner;
        }
    }

    /// The address of a node to dial.
    pub fn target(&self, node: u16) -> Option<Target> {
        let node = self.nodes.get(usize::from(node))?;
        let tls = self.conf.tls.as_ref().and_then(|tls| {
            let name = tls.server_name.as_deref().unwrap_or(&node.host).to_owned();
            Some(TlsClient { config: Arc::clone(&tls.config), name: rustls::pki_types::ServerName::try_from(name).ok()? })
        });
        Some(Target { host: Arc::clone(&node.host), port: node.port, tls, connect_timeout: self.conf.connect_timeout })
    }

    /// How people know a node.
    pub fn address(&self, node: u16) -> String {
        self.nodes.get(usize::from(node)).map_or_else(String::new, |node| format!("{}:{}", node.host, node.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_follow_the_table_and_moved() {
        let mut cluster = Cluster::new(Arc::new(ClusterConf::new("c", &[("a", 1)])), ClusterMeters::default());
        assert_eq!(cluster.pick(To::Any, 0), NOBODY);
        let range = |first, last, host: &str, port| Range { first, last, host: host.into(), port };
        assert!(cluster.apply(&[range(0, 99, "", 1), range(100, 16383, "b", 2)], 0));
        assert!(!cluster.apply(&[range(0, 99, "a", 1), range(100, 16383, "b", 2)], 0));
        assert_eq!((cluster.owner(99), cluster.owner(100)), (0, 1));
        let c = cluster.node("c", 3);
        cluster.moved(99, c);
        assert_eq!(cluster.masters, vec![0, 2, 1]);
        cluster.nodes[0].failed(10);
        assert_eq!((0..3).filter(|_| cluster.pick(To::Any, 10) == 0).count(), 0);
    }
}
