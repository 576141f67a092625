//! A back end as one worker knows it: its nodes, who has which slot, what waits for a node to come back.

use crate::conf::{ClusterConf, Credentials};
use crate::discovery::Discovery;
use crate::health::Health;
use crate::limits;
use crate::meters::ClusterMeters;
use crate::near::Near;
use crate::node::Node;
use crate::pipe::{Owner, Pending, To};
use crate::refresh::Refresh;
use crate::slot::SLOTS;
use crate::topology::{Place, Range};
use std::sync::Arc;
use wire::{Key, Nanos, Target, TlsClient};

/// No node.
pub const NOBODY: u16 = u16::MAX;

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
    /// Index of its back end.
    pub cluster: usize,
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

/// One back end.
#[derive(Debug)]
pub struct Cluster {
    /// What it was configured as.
    pub conf: Arc<ClusterConf>,
    /// How its nodes are found.
    pub discovery: Discovery,
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
    /// Whether somebody is about to look for outliers.
    pub watched: bool,
    /// Whether commands for any master fail at once.
    pub opened: bool,
    /// The near cache, where the configuration asks for one.
    pub near: Option<Box<Near>>,
    pub(crate) turn: usize,
}

impl Cluster {
    /// A back end nothing is known of but its seeds.
    pub fn new(conf: Arc<ClusterConf>, meters: ClusterMeters) -> Cluster {
        let mut cluster = Cluster {
            discovery: conf.discovery(),
            conf,
            nodes: Vec::new(),
            slots: vec![NOBODY; SLOTS].into_boxed_slice(),
            masters: Vec::new(),
            waiting: Waiting::default(),
            refresh: Refresh::default(),
            meters,
            watched: false,
            opened: false,
            near: None,
            turn: 0,
        };
        cluster.adopt_seeds();
        cluster
    }

    /// The configured nodes are known; a single server has all slots.
    pub fn adopt_seeds(&mut self) {
        let conf = Arc::clone(&self.conf);
        let seeds: Vec<u16> = conf.seeds.iter().map(|(host, port)| self.node(host, *port)).collect();
        self.discovery = conf.discovery();
        if matches!(self.discovery, Discovery::Sentinel(_)) {
            seeds.iter().for_each(|seed| self.nodes[usize::from(*seed)].sentinel = true);
        }
        if self.discovery == Discovery::Fixed {
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
        let new = Node::new(host, port);
        if self.nodes.len() < limits::MAX_NODES {
            self.nodes.push(new);
            return self.nodes.len() as u16 - 1;
        }
        // Addresses change for years where nodes are containers: one that is of no use any more gives way.
        let Some(free) = (0..limits::MAX_NODES).find(|index| self.is_forgotten(*index)) else { return NOBODY };
        self.nodes[free] = new;
        free as u16
    }

    /// Whether a node neither has slots, nor copies of any, nor connections, nor a place in the configuration.
    fn is_forgotten(&self, index: usize) -> bool {
        let (Some(node), number) = (self.nodes.get(index), index as u16) else { return false };
        node.is_unused()
            && !self.masters.contains(&number)
            && !self.nodes.iter().any(|other| other.replicas.contains(&number) || other.successor == Some(number))
            && !self.conf.seeds.iter().any(|(host, port)| *host == node.host && *port == node.port)
    }

    /// The node that has the slot.
    #[inline]
    pub fn owner(&self, slot: u16) -> u16 {
        self.slots.get(usize::from(slot)).copied().unwrap_or(NOBODY)
    }

    /// The connection on which the slot's node tells of changed keys.
    #[inline]
    pub fn tracker(&self, slot: u16) -> Option<Key> {
        self.nodes.get(usize::from(self.owner(slot)))?.tracker
    }

    /// The gauge of those connections.
    pub fn count_trackers(&self) {
        if let Some(near) = &self.near {
            near.show_trackers(self.nodes.iter().filter(|node| node.tracker.is_some()).count());
        }
    }

    /// Whether any slot has a node.
    pub fn is_known(&self) -> bool {
        !self.masters.is_empty()
    }

    /// The node that a command goes to or waits for, if there is but one.
    #[inline]
    pub fn only(&self, to: To) -> Option<u16> {
        match to {
            To::Slot(slot) | To::Read(slot) => Some(self.owner(slot)),
            To::Node(node) => Some(self.successor(node)),
            To::Itself(node) => Some(node),
            To::Any => None,
        }
    }

    /// The node a command goes to now.
    #[inline]
    pub fn pick(&mut self, to: To, now: Nanos) -> u16 {
        self.only(to).unwrap_or_else(|| self.any(now))
    }

    /// Whether a node is a sentinel.
    pub fn is_sentinel(&self, node: u16) -> bool {
        self.nodes.get(usize::from(node)).is_some_and(|node| node.sentinel)
    }

    /// How to log in to a node.
    pub fn credentials(&self, node: u16) -> Option<&Credentials> {
        match &self.conf.sentinel {
            Some(sentinel) if self.is_sentinel(node) => sentinel.credentials.as_ref(),
            _ => self.conf.credentials.as_ref(),
        }
    }

    /// Whether requests go to a node; to a replica, for reads only.
    pub fn is_in_use(&self, node: u16, readonly: bool) -> bool {
        self.is_sentinel(node) || self.masters.contains(&node) || (readonly && self.nodes.iter().any(|master| master.replicas.contains(&node)))
    }

    /// The node, or who took its place.
    pub fn successor(&self, node: u16) -> u16 {
        let mut at = node;
        // Successors have slots when they are noted, and may have lost them since: as many steps as there are nodes lead anywhere.
        for _ in 0..self.nodes.len() {
            match self.nodes.get(usize::from(at)).and_then(|node| node.successor) {
                Some(next) => at = next,
                None => break,
            }
        }
        at
    }

    /// A master that is not known to be down, in turn.
    fn any(&mut self, now: Nanos) -> u16 {
        self.turn = self.turn.wrapping_add(1);
        let count = self.masters.len();
        let in_turn = (0..count).filter_map(|step| self.masters.get((self.turn.wrapping_add(step)) % count).copied());
        let mut first = NOBODY;
        for master in in_turn {
            let node = &self.nodes[usize::from(master)];
            if node.down_until <= now && node.health.until == 0 {
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
        let replicas = self.nodes.get(usize::from(node)).map(|node| node.replicas.clone()).unwrap_or_default();
        for number in replicas.into_iter().chain([node]) {
            if let Some(node) = self.nodes.get_mut(usize::from(number)) {
                node.replication.forget();
            }
        }
        if !self.masters.contains(&node) {
            self.find_masters();
        }
    }

    /// A new slot table; whether it differs. `asked` is the node that answered, for places without a host.
    pub fn apply(&mut self, ranges: &[Range], asked: u16) -> bool {
        let mut slots = vec![NOBODY; SLOTS].into_boxed_slice();
        if !self.conf.single {
            self.nodes.iter_mut().for_each(|node| node.replicas.clear());
        }
        for range in ranges {
            let master = self.placed(&range.master, asked);
            slots[usize::from(range.first)..=usize::from(range.last)].fill(master);
            for place in &range.replicas {
                let replica = self.placed(place, asked);
                if let Some(master) = self.nodes.get_mut(usize::from(master))
                    && replica != NOBODY
                    && !master.replicas.contains(&replica)
                {
                    master.replicas.push(replica);
                }
            }
        }
        if slots == self.slots {
            return false;
        }
        let old = std::mem::replace(&mut self.slots, slots);
        self.nodes.iter_mut().for_each(|node| node.replication.forget());
        self.find_masters();
        self.find_successors(&old);
        true
    }

    /// The node at a place that `asked` told.
    pub(crate) fn placed(&mut self, place: &Place, asked: u16) -> u16 {
        let (own_host, own_port) = self.nodes.get(usize::from(asked)).map(|node| (Arc::clone(&node.host), node.port)).unwrap_or_default();
        let host = if matches!(place.host.as_str(), "" | "?") { &*own_host } else { place.host.as_str() };
        let port = if place.port == 0 { own_port } else { place.port };
        let number = self.node(host, port);
        let zone = self.conf.reads.as_ref().and_then(|reads| reads.zone_of(host, port)).unwrap_or(&place.zone);
        if let Some(node) = self.nodes.get_mut(usize::from(number)).filter(|node| *node.zone != *zone) {
            node.zone = zone.into();
        }
        number
    }

    /// Whoever has lost all its slots is followed by the one that has the first of them now.
    fn find_successors(&mut self, old: &[u16]) {
        let mut last = NOBODY;
        for (before, after) in old.iter().zip(&self.slots) {
            if *before != last && *before != NOBODY && *after != NOBODY && !self.masters.contains(before) {
                if let Some(node) = self.nodes.get_mut(usize::from(*before)) {
                    node.successor.get_or_insert(*after);
                }
            }
            last = *before;
        }
        for master in &self.masters {
            if let Some(node) = self.nodes.get_mut(usize::from(*master)) {
                node.successor = None;
            }
        }
    }

    fn find_masters(&mut self) {
        let before = std::mem::take(&mut self.masters);
        let mut last = NOBODY;
        for owner in &self.slots {
            if *owner != last && *owner != NOBODY && !self.masters.contains(owner) {
                self.masters.push(*owner);
            }
            last = *owner;
        }
        for master in self.masters.iter().filter(|master| !before.contains(master)) {
            self.nodes[usize::from(*master)].health = Health::default();
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
        let range =
            |first, last, host: &str, port| Range { first, last, master: Place { host: host.into(), port, zone: String::new() }, replicas: vec![] };
        assert!(cluster.apply(&[range(0, 99, "", 1), range(100, 16383, "b", 2)], 0));
        assert!(!cluster.apply(&[range(0, 99, "a", 1), range(100, 16383, "b", 2)], 0));
        assert_eq!((cluster.owner(99), cluster.owner(100)), (0, 1));
        let c = cluster.node("c", 3);
        cluster.moved(99, c);
        assert_eq!(cluster.masters, vec![0, 2, 1]);
        cluster.nodes[0].failed(10, 0);
        assert_eq!((0..3).filter(|_| cluster.pick(To::Any, 10) == 0).count(), 0);
    }
}
