//! Reads on replicas, where a RedisCluster asks for them.
//!
//! ```text
//!  read ──┬─ the client wrote to that slot lately ────────────────────────> master
//!         ├─ a replica that is surely no older than `maxLag`, of the zone ─> replica ──MOVED, LOADING, MASTERDOWN...──> master
//!         └─ none ─────────────────────────────────────────────────────────> master
//! ```
//! Masters and replicas are asked for their positions while reads come, a few times per `maxLag`, never per read ([`crate::replication`]).
//! So both are bounds and not estimates: what others wrote is seen after `maxLag`, and what the client itself wrote is seen always, on
//! its own connection: for `maxLag` after its write the slot is read on the master.

use crate::action::{Action, NearRead, Writes};
use crate::cluster::{Cluster, NOBODY};

use crate::conf::{From, Reads};
use crate::frame::Frame;
use crate::machine::Redis;
use crate::node::Lane;
use crate::pipe::{Owner, Pending, To};
use crate::replication::{self, INFO};
use crate::slot::slot_of;
use crate::table::Command;
use crate::topology::Place;
use wire::{Io, Key, Nanos};

/// Positions are asked for so many times per `maxLag`: a replica that keeps up is fresh all the time.
const PER_LAG: Nanos = 4;

/// Places for the slots that a client wrote to. Two that share one are both read on the master for a while, which costs nothing but that.
const PLACES: usize = 64;
/// Written, and not known to be answered.
const OUT: Nanos = Nanos::MAX;

/// Until when a client's reads of a slot stay with the master, by the slot's place.
#[derive(Debug)]
pub struct Wrote([Nanos; PLACES]);

impl Redis {
    /// Notes what a client writes to, where replicas are read.
    pub(crate) fn note_write(&mut self, key: Key, frame: &Frame<'_>, command: &Command) {
        // What EXEC writes was noted when it was queued.
        if command.writes == Writes::Nothing || command.action == Action::Transaction {
            return;
        }
        let Some(client) = self.clients.get_mut(key) else { return };
        let wrote = client.written.get_or_insert_with(|| Box::new(Wrote([0; PLACES])));
        if self.keys.is_empty() || command.writes == Writes::Anything {
            wrote.0.fill(OUT);
        }
        for index in &self.keys {
            wrote.0[usize::from(slot_of(frame.word(*index as usize))) % PLACES] = OUT;
        }
    }

    /// Notes that a part of a command writes to a slot, where replicas are read.
    pub(crate) fn note_slot(&mut self, key: Key, command: &Command, slot: u16) {
        if !self.replicas_read || command.writes == Writes::Nothing {
            return;
        }
        if let Some(client) = self.clients.get_mut(key) {
            client.written.get_or_insert_with(|| Box::new(Wrote([0; PLACES]))).0[usize::from(slot) % PLACES] = OUT;
        }
    }

    /// Whether the replicas of a client's back end are read.
    pub(crate) fn has_replicas(&self, key: Key) -> bool {
        let cluster = self.clients.get(key).and_then(|client| self.clusters.get(client.cluster));
        matches!(cluster, Some(Some(cluster)) if cluster.conf.reads.is_some())
    }

    /// Before the parts of a read over several slots: what is written is answered, if nothing is owed.
    pub(crate) fn settle_writes(&mut self, now: Nanos, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(Some(known)) = self.clusters.get(client.cluster) else { return };
        if let (Some(wrote), Some(reads), true) = (&mut client.written, &known.conf.reads, client.ring.is_empty()) {
            wrote.0.iter_mut().filter(|until| **until == OUT).for_each(|until| *until = now + reads.max_lag);
        }
    }

    /// Where a command goes that would go to `to`: a read may go to a replica.
    pub(crate) fn read_place(&mut self, now: Nanos, key: Key, command: &Command, to: To) -> To {
        let To::Slot(slot) = to else { return to };
        if !command.reads {
            return to;
        }
        let Some(client) = self.clients.get_mut(key) else { return to };
        let Some(Some(known)) = self.clusters.get(client.cluster) else { return to };
        let Some(reads) = &known.conf.reads else { return to };
        if known.near.is_some() && command.near != NearRead::Never {
            return to; // what is kept near is what masters tell of
        }
        if client.session.is_some() || !client.reads_replicas.unwrap_or(!reads.on_request) {
            return to;
        }
        if let Some(wrote) = &mut client.written {
            let until = &mut wrote.0[usize::from(slot) % PLACES];
            if *until == OUT && client.ring.is_empty() {
                // It is answered, at the latest now: from here on replicas have the time that they may take.
                *until = now + reads.max_lag;
            }
            if *until > now {
                return to;
            }
        }
        To::Read(slot)
    }

    /// The replica that a read of the slot goes to, if one is fit for it.
    pub(crate) fn replica(&mut self, io: &mut dyn Io, cluster: usize, slot: u16, resp: u8) -> Option<u16> {
        let now = io.now();
        let known = self.clusters.get_mut(cluster)?.as_mut()?;
        let every = known.conf.reads.as_ref()?.max_lag / PER_LAG;
        let master = known.owner(slot);
        let found = known.replica(master, now);
        self.watch_outliers(io, cluster);
        let known = self.clusters.get_mut(cluster)?.as_mut()?;
        if known.nodes.get_mut(usize::from(master))?.replication.asks(now, every) {
            self.ask_positions(io, cluster, master, resp);
        }
        found
    }

    /// Asks a master and its replicas how far they are.
    fn ask_positions(&mut self, io: &mut dyn Io, cluster: usize, master: u16, resp: u8) {
        let now = io.now();
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return };
        let Some(node) = known.nodes.get_mut(usize::from(master)) else { return };
        let all = node.replicas.clone();
        if all.is_empty() && !known.conf.single {
            // Nodes name a replica once it has begun to follow; one that came since is not in the table yet.
            self.no_position(cluster, master);
            return self.refresh(io, cluster);
        }
        let replicas: Vec<u16> = all.into_iter().filter(|replica| known.is_up(*replica, now)).collect();
        if replicas.is_empty() && !known.conf.single {
            return self.no_position(cluster, master);
        }
        self.send_on(io, cluster, master, Lane::of(resp, false), INFO, Pending::internal(Owner::Position, master, resp));
        for replica in replicas {
            self.send_on(io, cluster, replica, Lane::of(resp, true), INFO, Pending::internal(Owner::Position, replica, resp));
        }
    }

    /// An answer to the question for a position.
    pub(crate) fn told_position(&mut self, io: &mut dyn Io, pipe: Key, reply: &[u8]) {
        let Some(connection) = self.pipes.get_mut(pipe) else { return };
        connection.drop_front();
        let (cluster, node, is_replica) = (connection.cluster, connection.node, connection.readonly);
        self.position(cluster, node, reply);
        let known = self.clusters.get(cluster).and_then(Option::as_ref);
        let master = known.and_then(|known| known.nodes.iter().find(|master| master.replicas.contains(&node)));
        if let Some(asked) = master.and_then(|master| master.replication.asked()).filter(|_| is_replica) {
            let took = io.now().saturating_sub(asked);
            self.took(io, cluster, node, took);
        }
    }

    /// A node told its position, or would not.
    fn position(&mut self, cluster: usize, node: u16, reply: &[u8]) {
        let Some(position) = replication::position(reply) else { return self.no_position(cluster, node) };
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return };
        if known.conf.single && !position.is_replica {
            known.name_replicas(node, &replication::replicas(reply));
        }
        if let Some(node) = known.nodes.get_mut(usize::from(node)) {
            node.replication.told(position);
        }
        let since =
            known.nodes.iter().filter(|master| master.replicas.contains(&node)).filter_map(|master| master.replication.has_since(position)).max();
        if let Some(replica) = known.nodes.get_mut(usize::from(node)).filter(|_| since.is_some()) {
            replica.replication.fresh = replica.replication.fresh.max(since);
        }
    }

    /// A node will not tell its position.
    pub(crate) fn no_position(&mut self, cluster: usize, node: u16) {
        if let Some(node) = self.clusters.get_mut(cluster).and_then(Option::as_mut).and_then(|known| known.nodes.get_mut(usize::from(node))) {
            node.replication.gone();
        }
    }

    /// A replica did not answer a read: the master will, and the replica is fit again when it has told its position anew.
    pub(crate) fn unfit(&mut self, cluster: usize, node: u16) {
        if let Some(node) = self.clusters.get_mut(cluster).and_then(Option::as_mut).and_then(|known| known.nodes.get_mut(usize::from(node))) {
            node.replication.fresh = None;
        }
    }
}

impl Cluster {
    /// A fit replica of a master, in turn; those of the sidecar's own zone before others. `None`: the master reads.
    fn replica(&mut self, master: u16, now: Nanos) -> Option<u16> {
        let Cluster { conf, nodes, turn, .. } = self;
        let reads = conf.reads.as_ref()?;
        let is_near = |node: u16| nodes.get(usize::from(node)).is_some_and(|node| reads.is_near(&node.zone));
        let is_fit = |node: u16| nodes.get(usize::from(node)).is_some_and(|node| node.is_up(now) && node.replication.is_fresh(now, reads.max_lag));
        let replicas = nodes.get(usize::from(master))?.replicas.iter().copied().filter(|replica| is_fit(*replica));
        let near = replicas.clone().filter(|replica| is_near(*replica)).count();
        let master_is_near = reads.from == From::Nearest && is_near(master);
        let only_near = near > 0 || master_is_near;
        let count = if only_near { near } else { replicas.clone().count() };
        if count == 0 {
            return None;
        }
        *turn = turn.wrapping_add(1);
        // Nearest: the master takes its turn among its equals.
        let master_too = reads.from == From::Nearest && (master_is_near || !only_near);
        replicas.filter(|replica| !only_near || is_near(*replica)).nth(*turn % (count + usize::from(master_too)))
    }

    /// A master outside of clusters names its replicas itself.
    fn name_replicas(&mut self, master: u16, places: &[Place]) {
        let replicas: Vec<u16> = places.iter().map(|place| self.placed(place, master)).filter(|replica| *replica != NOBODY).collect();
        if let Some(node) = self.nodes.get_mut(usize::from(master)) {
            node.replicas = replicas;
        }
    }

    fn is_up(&self, node: u16, now: Nanos) -> bool {
        node != NOBODY && self.nodes.get(usize::from(node)).is_some_and(|node| node.is_up(now))
    }
}

impl Reads {
    /// Whether a node of that zone is near.
    fn is_near(&self, zone: &str) -> bool {
        !self.zone.is_empty() && *self.zone == *zone
    }
}
