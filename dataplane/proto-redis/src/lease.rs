//! Connections that belong to one client for a while: for WATCH until EXEC, for a blocking command until its reply, for subscriptions
//! until the last is gone. They come from the node's idle ones and go back there; what a client might have left on one is undone first.

use crate::asks::Asks;
use crate::client::Wait;
use crate::cluster::Reason;
use crate::frame::Frame;
use crate::limits;
use crate::machine::{Redis, Step};
use crate::patience;
use crate::pipe::{Owner, Pending, Pipe, State, To};
use crate::replies::ASKING;
use crate::ring::Kind;
use crate::table::Command;
use crate::topology;
use crate::upstream::printable;
use crate::value;
use wire::{Io, Key, MILLIS, Nanos};

/// The pause before a leased command follows a slot that moves.
const FOLLOW_AFTER: Nanos = 20 * MILLIS;

/// What a connection is leased for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Keys are watched on it.
    Watch,
    /// The transaction runs on it.
    Exec,
    /// A command may block on it.
    Block,
    /// A large reply comes on it, no faster than the client reads.
    Pace,
    /// A reply that is likely large and cannot be asked for again comes on it ([`crate::pours`]).
    Pour,
    /// A large command goes out on it, as the client sends it ([`crate::large`]).
    Stream,
}

/// A client's leased connection.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// Which.
    pub pipe: Key,
    /// What for.
    pub purpose: Purpose,
    /// The slot is on its way to that node: each command says ASKING first.
    pub asking: bool,
}

/// Forgets what is watched on a connection.
const UNWATCH: &[u8] = b"*1\r\n$7\r\nUNWATCH\r\n";

impl Redis {
    /// Runs a command that may block on a connection of its own.
    pub(crate) fn blocking(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &'static Command) -> Step {
        if self.must_empty_ring(key) {
            return self.wait_for_ring(io, key);
        }
        let Some(client) = self.clients.get(key) else { return Step::Taken };
        if client.lease.is_some() {
            self.fail(io, key, "ERR midstream: a blocking command while keys are watched needs a second client");
            return Step::Taken;
        }
        match self.place(key, frame) {
            Ok(to) => self.ask_leased(io, key, frame.bytes, to, Purpose::Block),
            Err(_) => return self.cross_slot(io, key, frame, command),
        }
        Step::Taken
    }

    /// Whether replies are outstanding that must come first.
    pub(crate) fn must_empty_ring(&self, key: Key) -> bool {
        self.clients.get(key).is_some_and(|client| !client.ring.is_empty())
    }

    /// Leaves the command until all replies before it are out.
    pub(crate) fn wait_for_ring(&mut self, io: &mut dyn Io, key: Key) -> Step {
        let tap = self.tap.take();
        if let Some(client) = self.clients.get_mut(key) {
            client.wait = Wait::Ring;
            client.held_tap = tap;
            client.paused = true;
            io.pause(key, true);
        }
        Step::Held
    }

    /// Sends a command on the client's leased connection; its later commands wait for the reply.
    pub(crate) fn ask_leased(&mut self, io: &mut dyn Io, key: Key, bytes: &[u8], to: To, purpose: Purpose) {
        let Some((cluster, mut pending)) = self.owe(io, key, Kind::Plain, to, false) else { return };
        pending.leased = true;
        let now = io.now();
        if let Some(client) = self.clients.get_mut(key) {
            client.blocks_since = now;
            client.wait = Wait::Barrier;
            client.purpose = purpose;
        }
        self.send(io, cluster, bytes, pending);
    }

    /// Sends on the client's leased connection, leasing one if it has none.
    pub(crate) fn send_leased(&mut self, io: &mut dyn Io, cluster: usize, node: u16, bytes: &[u8], pending: Pending) {
        let Owner::Client(key, _) = pending.owner else { return };
        let Some(pipe) = self.leased(key).or_else(|| self.lease(io, key, cluster, node)) else {
            let why = format!("no connection of its own could be had ({} at most per node and worker)", limits::MAX_LEASES);
            return self.park(io, cluster, bytes, pending, 0, Reason::NodeDown(why));
        };
        let mut asking = false;
        let blocks = self.clients.get(key).is_some_and(|client| client.purpose == Purpose::Block);
        if let Some(client) = self.clients.get_mut(key) {
            client.wait = Wait::Barrier;
            asking = client.lease.is_some_and(|lease| lease.asking);
        }
        if let Some(connection) = self.pipes.get_mut(pipe) {
            if connection.tells.is_none() {
                io.link(pipe, key); // whatever the reply is, it comes no faster than the client reads
            }
            if blocks && connection.id.is_none() {
                connection.ask(io, pipe, b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n", Pending::internal(Owner::Identity, connection.node, pending.resp));
            }
            if asking {
                connection.ask(io, pipe, ASKING, Pending::internal(Owner::Nobody, connection.node, pending.resp));
            }
            connection.ask(io, pipe, bytes, pending);
        }
    }

    /// Has the node unblock a client that it blocks. Whether it does; the client's reply comes from there.
    pub(crate) fn unblock_leased(&mut self, io: &mut dyn Io, key: Key, error: bool) -> bool {
        let Some(client) = self.clients.get(key).filter(|client| client.is_blocked()) else { return false };
        let Some(pipe) = client.lease.and_then(|lease| self.pipes.get(lease.pipe)) else { return false };
        let (cluster, node, resp, Some(id)) = (pipe.cluster, pipe.node, pipe.resp, pipe.id) else { return false };
        let words = value::command(&["CLIENT", "UNBLOCK", &id.to_string(), if error { "ERROR" } else { "TIMEOUT" }]);
        self.send_to(io, cluster, node, &words, Pending::internal(Owner::Nobody, node, resp));
        true
    }

    fn leased(&self, key: Key) -> Option<Key> {
        self.clients.get(key)?.lease.map(|lease| lease.pipe)
    }

    /// Leases a connection to a node: an idle one, else a new one.
    pub(crate) fn lease(&mut self, io: &mut dyn Io, key: Key, cluster: usize, node: u16) -> Option<Key> {
        let client = self.clients.get(key)?;
        let (resp, purpose, is_usual) = (client.resp, client.purpose, client.session.is_none());
        let owner = Owner::Client(key, 0);
        let own = if purpose == Purpose::Watch { self.own_pipe_of(io, owner, cluster, node).flatten() } else { None };
        let known = self.clusters.get_mut(cluster)?.as_mut()?.nodes.get_mut(usize::from(node))?;
        let mut idle = || if is_usual { known.idle[usize::from(resp == 3)].pop() } else { None };
        let pipe = match own.or_else(&mut idle) {
            Some(known) => known,
            None if known.leases >= limits::MAX_LEASES => return None,
            None => {
                let new = self.dial(io, cluster, node, resp, Some(key))?;
                self.clusters.get_mut(cluster)?.as_mut()?.nodes.get_mut(usize::from(node))?.leases += 1;
                new
            }
        };
        if let Some(connection) = self.pipes.get_mut(pipe) {
            connection.lease = Some(key);
        }
        if let Some(client) = self.clients.get_mut(key) {
            client.lease = Some(Lease { pipe, purpose, asking: false });
        }
        self.count_connections(cluster);
        Some(pipe)
    }

    /// Ends a client's lease. A connection on which nothing is outstanding is kept, after what was watched on it is forgotten.
    pub(crate) fn give_back(&mut self, io: &mut dyn Io, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(lease) = client.lease.take() else { return };
        let is_cut = client.is_mid_large();
        io.unlink(lease.pipe);
        let Some(pipe) = self.pipes.get_mut(lease.pipe) else { return };
        if pipe.tells.is_some() {
            // A tracking client's own stays with it.
            pipe.ask(io, lease.pipe, UNWATCH, Pending::internal(Owner::Nobody, pipe.node, pipe.resp));
            return;
        }
        let clean = !is_cut && pipe.fifo.is_empty() && pipe.state == State::Ready && !pipe.retired && pipe.session.is_none();
        let (cluster, node, resp) = (pipe.cluster, pipe.node, pipe.resp);
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return };
        let idle = &mut known.nodes[usize::from(node)].idle[usize::from(resp == 3)];
        if !clean || idle.len() >= limits::MAX_IDLE_LEASES {
            return self.close_pipe(io, lease.pipe);
        }
        pipe.lease = Some(Key::NONE);
        if lease.purpose == Purpose::Watch {
            pipe.ask(io, lease.pipe, UNWATCH, Pending::internal(Owner::Nobody, node, resp));
        }
        idle.push(lease.pipe);
        self.count_connections(cluster);
    }

    /// A command on a leased connection is answered.
    pub(crate) fn lease_answered(&mut self, io: &mut dyn Io, pipe: Key, key: Key, reply: &[u8]) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(lease) = client.lease.filter(|lease| lease.pipe == pipe) else { return };
        client.wait = Wait::No;
        let watching = lease.purpose == Purpose::Watch && reply.first() != Some(&b'-');
        if watching {
            client.transaction.confirmed += 1;
        } else {
            self.give_back(io, key);
        }
        self.resume(io, key);
        if lease.purpose == Purpose::Pace {
            self.advance(io, key);
        }
    }

    /// A node did not take a command on a leased connection because the slot is elsewhere or not served. Whether it is solved.
    pub(crate) fn solve_leased(&mut self, io: &mut dyn Io, pipe: Key, error: &[u8], asks: Asks) -> bool {
        let Some(connection) = self.pipes.get_mut(pipe) else { return false };
        let (cluster, from) = (connection.cluster, connection.node);
        let Some((mut pending, bytes)) = connection.take_front() else { return false };
        let Owner::Client(key, seq) = pending.owner else { return false };
        if pending.kept == 0 {
            return self.lost_turn(io, key, pending, error);
        }
        let target = self.redirected_to(cluster, from, error).filter(|_| matches!(asks, Asks::Moved | Asks::Ask));
        if let (Asks::Moved, Some(node), Some((slot, ..)), Some(Some(known))) =
            (asks, target, topology::redirect(error), self.clusters.get_mut(cluster))
        {
            known.moved(slot, node);
        }
        if asks != Asks::Ask {
            self.refresh(io, cluster);
        }
        let now = io.now();
        if now >= pending.deadline {
            // The node has kept it that long before it said so; from here on it counts anew.
            pending.deadline = self.deadline(cluster, now);
        }
        let Some(client) = self.clients.get_mut(key) else { return true };
        let purpose = client.lease.map(|lease| lease.purpose);
        if purpose == Some(Purpose::Exec) {
            self.aborted(io, key, seq);
        } else if client.transaction.confirmed > 0 {
            client.transaction.broken = true;
            client.wait = Wait::No;
            self.give_back(io, key);
            self.deliver(io, key, seq, b"+OK\r\n", true);
        } else {
            let passed = now.saturating_sub(std::mem::replace(&mut client.blocks_since, now));
            let bytes = if purpose == Some(Purpose::Block) { patience::less(&bytes, passed).unwrap_or(bytes) } else { bytes };
            self.give_back(io, key);
            let follow = target.filter(|_| asks == Asks::Ask && pending.redirects < limits::MAX_REDIRECTS);
            pending.redirects = if follow.is_some() { pending.redirects + 1 } else { 0 };
            match follow.filter(|node| self.lease_asking(io, key, cluster, *node)) {
                Some(node) => self.send_leased(io, cluster, node, &bytes, pending),
                None => self.park(io, cluster, &bytes, pending, now + FOLLOW_AFTER, Reason::Said(error.to_vec())),
            }
        }
        true
    }

    /// A node did not take a command that is not here any more.
    fn lost_turn(&mut self, io: &mut dyn Io, key: Key, pending: Pending, error: &[u8]) -> bool {
        self.give_back(io, key);
        if let Some(client) = self.clients.get_mut(key) {
            client.wait = Wait::No;
        }
        self.too_long_to_repeat(io, pending, error);
        true
    }

    /// Leases a connection to the node that is to have the slot, for commands after ASKING.
    fn lease_asking(&mut self, io: &mut dyn Io, key: Key, cluster: usize, node: u16) -> bool {
        if self.lease(io, key, cluster, node).is_none() {
            return false;
        }
        if let Some(lease) = self.clients.get_mut(key).and_then(|client| client.lease.as_mut()) {
            lease.asking = true;
        }
        true
    }

    /// What was watched cannot be vouched for any more: EXEC's null.
    fn aborted(&mut self, io: &mut dyn Io, key: Key, seq: u64) {
        self.give_back(io, key);
        let Some(client) = self.clients.get_mut(key) else { return };
        client.wait = Wait::No;
        let null: &[u8] = if client.resp == 3 { b"_\r\n" } else { b"*-1\r\n" };
        self.deliver(io, key, seq, null, true);
        self.resume(io, key);
    }

    /// A leased connection broke with a command on it.
    pub(crate) fn orphan_of_lease(&mut self, io: &mut dyn Io, pending: Pending, bytes: &[u8], pipe: &Pipe, why: &str) {
        let Owner::Client(key, seq) = pending.owner else { return };
        let Some(client) = self.clients.get_mut(key) else { return };
        let purpose = client.lease.map_or(client.purpose, |lease| lease.purpose);
        let sent = pipe.state == State::Ready;
        match purpose {
            Purpose::Exec if !sent => self.aborted(io, key, seq),
            Purpose::Stream => self.orphan_of_large(io, pending, bytes, pipe.cluster, why),
            Purpose::Pace => {
                client.lease = None;
                self.park(io, pipe.cluster, bytes, Pending { leased: false, ..pending }, 0, Reason::Paced);
            }
            _ if !sent => {
                client.lease = None;
                self.park(io, pipe.cluster, bytes, pending, 0, Reason::NodeDown(why.to_owned()));
            }
            Purpose::Watch => {
                client.transaction.broken = true;
                self.deliver(io, key, seq, b"+OK\r\n", true);
            }
            _ => {
                self.meters_of(key, |meters| meters.failed.add(1));
                let error = format!(
                    "-ERR midstream: the connection to the cache node was lost while the command ran ({}); whether it took effect is unknown\r\n",
                    printable(why)
                );
                self.deliver(io, key, seq, error.as_bytes(), true);
            }
        }
    }

    /// A leased connection is gone.
    pub(crate) fn lease_lost(&mut self, io: &mut dyn Io, key: Key, pipe: Key) {
        if self.feed_lost(io, key, pipe) {
            return;
        }
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(lease) = client.lease.filter(|lease| lease.pipe == pipe) else { return };
        client.lease = None;
        client.wait = Wait::No;
        match lease.purpose {
            Purpose::Watch => client.transaction.broken = client.transaction.is_watching(),
            Purpose::Exec | Purpose::Block | Purpose::Pace | Purpose::Pour | Purpose::Stream => {}
        }
        self.resume(io, key);
    }
}
