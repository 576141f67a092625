//! Sending commands to nodes, and keeping those that cannot be sent until they can.
//!
//! ```text
//!            ┌─ node known and up ──> its pipe ──reply──> the client's ring
//!  send ─────┤                          │ MOVED, ASK, TRYAGAIN, LOADING, CLUSTERDOWN, READONLY, connection lost
//!            └─ no node, or down ──> parked <──┘
//!                                      │ every tick, a new slot table, a node that came up: send again
//!                                      └─ after the retry deadline: the error that says why
//! ```
//! How what is parked goes on is in [`crate::retry`].

use crate::cluster::{NOBODY, Reason};
use crate::machine::Redis;
use crate::node::Lane;
use crate::pipe::{Caching, Owner, Pending, Pipe, State, To};
use wire::{Close, Io, Key, MILLIS, Nanos, SECONDS};

/// How often what is parked is tried again: a fraction of a failover, many times a connect.
pub(crate) const TICK: Nanos = 50 * MILLIS;
/// What was on its way to a node that hung until it was given up has one more attempt, even where its deadline is over: nobody had one yet.
const ONE_MORE: Nanos = SECONDS;

/// Timers of `Key::NONE`: of each back end.
pub(crate) const TIMERS: u32 = 5;
pub(crate) const TIMER_TICK: u32 = 0;
pub(crate) const TIMER_REFRESH: u32 = 1;
pub(crate) const TIMER_WATCH: u32 = 2;
pub(crate) const TIMER_COPY: u32 = 3;
pub(crate) const TIMER_OUTLIERS: u32 = 4;

impl Redis {
    /// Sends a command to where it belongs, or parks it.
    #[inline]
    pub(crate) fn send(&mut self, io: &mut dyn Io, cluster: usize, bytes: &[u8], pending: Pending) {
        if let To::Read(slot) = pending.to
            && !pending.leased
            && let Some(replica) = self.replica(io, cluster, slot, pending.resp)
        {
            return self.send_on(io, cluster, replica, Lane::of(pending.resp, true), bytes, pending);
        }
        let Some(Some(known)) = self.clusters.get_mut(cluster) else {
            return self.give_up(io, cluster, pending, &Reason::NoTopology);
        };
        let node = known.pick(pending.to, if pending.to == To::Any { io.now() } else { 0 });
        if node == NOBODY {
            let reason = if known.is_known() { Reason::NotServed } else { Reason::NoTopology };
            return self.park(io, cluster, bytes, pending, 0, reason);
        }
        if known.opened
            && let Owner::Client(..) = pending.owner
            && let Some(reason) = self.refusal(cluster, node, io.now())
        {
            return self.give_up(io, cluster, pending, &reason);
        }
        if pending.leased {
            return self.send_leased(io, cluster, node, bytes, pending);
        }
        self.send_to(io, cluster, node, bytes, pending);
    }

    /// Sends a command to that node, or parks it.
    #[inline]
    pub(crate) fn send_to(&mut self, io: &mut dyn Io, cluster: usize, node: u16, bytes: &[u8], pending: Pending) {
        self.send_on(io, cluster, node, Lane::of(pending.resp, false), bytes, pending);
    }

    /// Sends a command on that shared pipe of a node, or parks it.
    #[inline]
    pub(crate) fn send_on(&mut self, io: &mut dyn Io, cluster: usize, node: u16, lane: Lane, bytes: &[u8], pending: Pending) {
        let known = self.clusters.get(cluster).and_then(Option::as_ref);
        let shared = known.and_then(|known| known.nodes.get(usize::from(node))).and_then(|node| node.pipes[lane.index()]);
        let has_own = self.trackers > 0 || !self.sessions.is_empty();
        let own = if has_own { self.pipe_apart(io, pending.owner, cluster, node) } else { None };
        let pipe = own.unwrap_or_else(|| shared.or_else(|| self.dial_shared(io, cluster, node, lane)));
        let Some(key) = pipe else {
            return self.park(io, cluster, bytes, pending, 0, Reason::NodeDown("it refused the last connection".into()));
        };
        if let Some(pipe) = self.pipes.get_mut(key) {
            if pending.caching != Caching::AsItIs && pipe.tells.is_some() {
                pipe.ask(io, key, pending.caching.command(), Pending::internal(Owner::Nobody, node, pending.resp));
            }
            pipe.ask(io, key, bytes, pending);
        }
    }

    /// Where a request of a client goes that tracks, is another user or in another database. `None`: to the shared connections.
    fn pipe_apart(&mut self, io: &mut dyn Io, owner: Owner, cluster: usize, node: u16) -> Option<Option<Key>> {
        self.own_pipe_of(io, owner, cluster, node).or_else(|| self.session_pipe(io, owner, cluster, node))
    }

    /// Sends a command to that node with another one before it on the same connection, which nobody waits for.
    pub(crate) fn send_behind(&mut self, io: &mut dyn Io, cluster: usize, node: u16, before: &[u8], bytes: &[u8], pending: Pending) {
        let apart = self.pipe_apart(io, pending.owner, cluster, node);
        let lane = Lane::of(pending.resp, false);
        let shared = self.clusters.get(cluster).and_then(Option::as_ref).and_then(|known| known.nodes.get(usize::from(node)));
        let shared = shared.and_then(|node| node.pipes[lane.index()]);
        if let Some(key) = apart.unwrap_or_else(|| shared.or_else(|| self.dial_shared(io, cluster, node, lane)))
            && let Some(pipe) = self.pipes.get_mut(key)
        {
            pipe.ask(io, key, before, Pending::internal(Owner::Nobody, node, pending.resp));
        }
        self.send_to(io, cluster, node, bytes, pending);
    }

    /// A connection is gone, or never came up. What was not sent is asked again; what was sent is asked again where that is harmless.
    pub(crate) fn lost(&mut self, io: &mut dyn Io, key: Key, why: &str) {
        let Some(mut pipe) = self.pipes.remove(key) else { return };
        self.near_forgotten(&pipe);
        let dice = io.random();
        self.unhook(key, &pipe);
        let Some(Some(known)) = self.clusters.get_mut(pipe.cluster) else { return };
        let address = known.address(pipe.node);
        let node = &mut known.nodes[usize::from(pipe.node)];
        if pipe.readonly {
            node.replication.fresh = None;
        }
        let sent = pipe.state == State::Ready;
        if sent {
            known.meters.lost.add(1);
        } else {
            node.failed(io.now(), dice);
            known.meters.refused.add(1);
        }
        self.count_connections(pipe.cluster);
        let mut cut = pipe.streaming;
        while let Some((mut pending, mut bytes)) = pipe.take_front() {
            self.near_over(io, pipe.cluster, &mut pending, &mut bytes);
            if !std::mem::take(&mut cut) || self.take_back(pending) {
                self.orphan(io, &pipe, pending, &bytes, &format!("{address}: {why}"));
            } else {
                self.cut(io, pending);
            }
        }
        if let Some(client) = pipe.lease {
            self.lease_lost(io, client, key);
            if let Some(listener) = pipe.tells {
                self.untold(io, client, key, listener);
            }
        }
        self.refresh(io, pipe.cluster);
        if sent {
            // It may have been the connection only: one dial tells.
            self.unpark(io, pipe.cluster);
        }
    }

    /// Its node does not know a connection any more.
    pub(crate) fn unhook(&mut self, key: Key, pipe: &Pipe) {
        let Some(Some(known)) = self.clusters.get_mut(pipe.cluster) else { return };
        let node = &mut known.nodes[usize::from(pipe.node)];
        for shared in &mut node.pipes {
            *shared = shared.filter(|shared| *shared != key);
        }
        node.sessions.retain(|(.., shared)| *shared != key);
        node.tracker = node.tracker.filter(|tracker| *tracker != key);
        node.idle.iter_mut().for_each(|idle| idle.retain(|idle| *idle != key));
        node.leases -= usize::from(pipe.lease.is_some());
        known.count_trackers();
    }

    /// Whether of the reply that has begun nothing is with the client: it can be asked for again, or told.
    fn take_back(&mut self, pending: Pending) -> bool {
        let Owner::Client(key, seq) = pending.owner else { return true };
        self.clients.get_mut(key).is_none_or(|client| client.ring.take_back(seq))
    }

    /// Half of a reply is with the client: nothing can be put right on that connection.
    fn cut(&mut self, io: &mut dyn Io, pending: Pending) {
        if let Owner::Client(client, _) = pending.owner {
            self.close_client(io, client, Close::Abort);
        }
    }

    /// A request whose connection is gone.
    fn orphan(&mut self, io: &mut dyn Io, pipe: &Pipe, pending: Pending, bytes: &[u8], why: &str) {
        if let (true, State::Ready, Owner::Client(client, _)) = (self.has_migrations, pipe.state, pending.owner) {
            self.doubt_notes(client);
        }
        match pending.owner {
            Owner::Topology => self.topology_failed(io, pipe.cluster),
            Owner::Functions(target) => self.functions_told(io, pipe.cluster, target, None),
            Owner::Mirror(number) => self.mirror_failed(number),
            Owner::Copy(number) => self.copy_failed(io, number, true, pipe.state == State::Ready),
            Owner::Position => self.no_position(pipe.cluster, pipe.node),
            Owner::Login | Owner::Probe | Owner::Near(_) | Owner::Tracks(_) | Owner::Identity | Owner::Nobody | Owner::TopologyPart => {}
            Owner::Client(..) if pending.leased => self.orphan_of_lease(io, pending, bytes, pipe, why),
            Owner::Client(..) if pipe.state == State::Connecting || (pending.repeatable && pending.kept > 0) => {
                let deadline = pending.deadline.max(io.now() + ONE_MORE);
                self.park(io, pipe.cluster, bytes, Pending { deadline, ..pending }, 0, Reason::NodeDown(why.to_owned()));
            }
            Owner::Client(client, seq) => {
                self.meters_of(client, |meters| meters.failed.add(1));
                let error = format!(
                    "-ERR midstream: the connection to the cache node was lost after the command was sent ({}); whether it ran is unknown\r\n",
                    printable(why)
                );
                self.deliver(io, client, seq, error.as_bytes(), true);
            }
        }
    }
}

/// Error lines of RESP end at the first line break.
pub(crate) fn printable(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}
