//! Sending commands to nodes, and keeping those that cannot be sent until they can.
//!
//! ```text
//!            ┌─ node known and up ──> its pipe ──reply──> the client's ring
//!  send ─────┤                          │ MOVED, ASK, TRYAGAIN, LOADING, CLUSTERDOWN, READONLY, connection lost
//!            └─ no node, or down ──> parked <──┘
//!                                      │ every tick, a new slot table, a node that came up: send again
//!                                      └─ after the retry deadline: the error that says why
//! ```
//! A client with a parked command is not read on, so that its later commands do not overtake it.

use crate::cluster::{NOBODY, Parked, Reason};
use crate::limits;
use crate::machine::Redis;
use crate::pipe::{Owner, Pending, Pipe, State, To};
use wire::{Close, Io, Key, MILLIS, Nanos, SECONDS};

/// How often what is parked is tried again: a fraction of a failover, many times a connect.
pub(crate) const TICK: Nanos = 50 * MILLIS;
/// What was on its way to a node that hung until it was given up has one more attempt, even where its deadline is over: nobody had one yet.
const ONE_MORE: Nanos = SECONDS;

/// Timers of `Key::NONE`: of each back end.
pub(crate) const TIMERS: u32 = 3;
pub(crate) const TIMER_TICK: u32 = 0;
pub(crate) const TIMER_REFRESH: u32 = 1;
pub(crate) const TIMER_WATCH: u32 = 2;

impl Redis {
    /// Sends a command to where it belongs, or parks it.
    #[inline]
    pub(crate) fn send(&mut self, io: &mut dyn Io, cluster: usize, bytes: &[u8], pending: Pending) {
        let Some(Some(known)) = self.clusters.get_mut(cluster) else {
            return self.give_up(io, cluster, pending, &Reason::NoTopology);
        };
        let node = known.pick(pending.to, if pending.to == To::Any { io.now() } else { 0 });
        if node == NOBODY {
            let reason = if known.is_known() { Reason::NotServed } else { Reason::NoTopology };
            return self.park(io, cluster, bytes, pending, 0, reason);
        }
        if pending.leased {
            return self.send_leased(io, cluster, node, bytes, pending);
        }
        self.send_to(io, cluster, node, bytes, pending);
    }

    /// Sends a command to that node, or parks it.
    #[inline]
    pub(crate) fn send_to(&mut self, io: &mut dyn Io, cluster: usize, node: u16, bytes: &[u8], pending: Pending) {
        let known = self.clusters.get(cluster).and_then(Option::as_ref);
        let shared = known.and_then(|known| known.nodes.get(usize::from(node))).and_then(|node| node.pipes[usize::from(pending.resp == 3)]);
        let Some(key) = shared.or_else(|| self.dial_shared(io, cluster, node, pending.resp)) else {
            return self.park(io, cluster, bytes, pending, 0, Reason::NodeDown("it refused the last connection".into()));
        };
        if let Some(pipe) = self.pipes.get_mut(key) {
            pipe.ask(io, key, bytes, pending);
        }
    }

    /// A connection is gone, or never came up. What was not sent is asked again; what was sent is asked again where that is harmless.
    pub(crate) fn lost(&mut self, io: &mut dyn Io, key: Key, why: &str) {
        let Some(mut pipe) = self.pipes.remove(key) else { return };
        let Some(Some(known)) = self.clusters.get_mut(pipe.cluster) else { return };
        let address = known.address(pipe.node);
        let node = &mut known.nodes[usize::from(pipe.node)];
        for shared in &mut node.pipes {
            *shared = shared.filter(|shared| *shared != key);
        }
        node.idle.iter_mut().for_each(|idle| idle.retain(|idle| *idle != key));
        node.leases -= usize::from(pipe.lease.is_some());
        let sent = pipe.state == State::Ready;
        if sent {
            known.meters.lost.add(1);
        } else {
            node.failed(io.now());
            known.meters.refused.add(1);
        }
        self.count_connections(pipe.cluster);
        let mut cut = pipe.streaming;
        while let Some((pending, bytes)) = pipe.take_front() {
            if std::mem::take(&mut cut) {
                self.cut(io, pending);
            } else {
                self.orphan(io, &pipe, pending, &bytes, &format!("{address}: {why}"));
            }
        }
        if let Some(client) = pipe.lease {
            self.lease_lost(io, client, key);
        }
        self.refresh(io, pipe.cluster);
        if sent {
            // It may have been the connection only: one dial tells.
            self.unpark(io, pipe.cluster);
        }
    }

    /// Half of a reply is with the client: nothing can be put right on that connection.
    fn cut(&mut self, io: &mut dyn Io, pending: Pending) {
        if let Owner::Client(client, _) = pending.owner {
            self.close_client(io, client, Close::Abort);
        }
    }

    /// A request whose connection is gone.
    fn orphan(&mut self, io: &mut dyn Io, pipe: &Pipe, pending: Pending, bytes: &[u8], why: &str) {
        match pending.owner {
            Owner::Topology => self.topology_failed(io, pipe.cluster),
            Owner::Login | Owner::Nobody => {}
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

    /// Keeps a request for later; not before `due`.
    pub(crate) fn park(&mut self, io: &mut dyn Io, cluster: usize, bytes: &[u8], pending: Pending, due: Nanos, reason: Reason) {
        let Owner::Client(client, seq) = pending.owner else {
            if pending.owner == Owner::Topology {
                self.topology_failed(io, cluster);
            }
            return;
        };
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return self.give_up(io, cluster, pending, &reason) };
        let now = io.now();
        let paced = matches!(reason, Reason::Paced);
        if (now >= pending.deadline && !paced) || known.parked_bytes + bytes.len() > limits::MAX_PARKED {
            return self.give_up(io, cluster, pending, &reason);
        }
        let Some(owner) = self.clients.get_mut(client).filter(|owner| owner.ring.owes(seq)) else { return };
        owner.ring.retry(seq);
        owner.ring.parked += u32::from(!paced);
        if known.parked.is_empty() {
            io.arm(Key::NONE, cluster as u32 * TIMERS + TIMER_TICK, now + TICK);
        }
        known.parked_bytes += bytes.len();
        known.parked.push_back(Parked { pending, bytes: bytes.to_vec(), due, reason });
        known.meters.waiting.set(known.parked.len() as u64);
        if !paced {
            self.refresh(io, cluster);
        }
    }

    /// Sends what is parked and due; what cannot be sent is parked again, in the same order.
    pub(crate) fn unpark(&mut self, io: &mut dyn Io, cluster: usize) {
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return };
        if known.parked.is_empty() {
            return;
        }
        let now = io.now();
        let waiting = std::mem::take(&mut known.parked);
        known.parked_bytes = 0;
        for parked in waiting.iter().filter(|parked| !matches!(parked.reason, Reason::Paced)) {
            if let Owner::Client(client, _) = parked.pending.owner
                && let Some(client) = self.clients.get_mut(client)
            {
                client.ring.parked -= 1;
            }
        }
        for parked in waiting {
            if matches!(parked.reason, Reason::Paced) {
                self.send_paced(io, cluster, parked);
            } else if now >= parked.pending.deadline {
                self.give_up(io, cluster, parked.pending, &parked.reason);
            } else if parked.due > now || self.waits_behind(parked.pending) || self.is_down(cluster, parked.pending.to, now) {
                self.park(io, cluster, &parked.bytes, parked.pending, parked.due, parked.reason);
            } else {
                self.count_retry(cluster);
                self.send(io, cluster, &parked.bytes, parked.pending);
            }
        }
        if let Some(Some(known)) = self.clusters.get(cluster) {
            known.meters.waiting.set(known.parked.len() as u64);
        }
    }

    /// Whether earlier commands of the same client are parked: it must not overtake them.
    pub(crate) fn waits_behind(&self, pending: Pending) -> bool {
        let Owner::Client(client, _) = pending.owner else { return false };
        self.clients.get(client).is_some_and(|client| client.ring.parked > 0)
    }

    /// Whether trying now is in vain.
    fn is_down(&self, cluster: usize, to: To, now: Nanos) -> bool {
        let Some(Some(known)) = self.clusters.get(cluster) else { return false };
        let node = match to {
            To::Slot(slot) => known.owner(slot),
            To::Node(node) => node,
            To::Any => return false,
        };
        known.nodes.get(usize::from(node)).is_none_or(|node| node.down_until > now)
    }

    fn count_retry(&self, cluster: usize) {
        if let Some(Some(known)) = self.clusters.get(cluster) {
            known.meters.retried.add(1);
        }
    }

    /// The time is over: the client gets the error that says why.
    fn give_up(&mut self, io: &mut dyn Io, cluster: usize, pending: Pending, reason: &Reason) {
        let Owner::Client(client, seq) = pending.owner else { return };
        self.meters_of(client, |meters| meters.failed.add(1));
        let known = self.clusters.get(cluster).and_then(Option::as_ref);
        let (name, deadline) = known.map_or(("?", 0), |known| (&*known.conf.name, known.conf.retry_deadline));
        let within = format!("RedisCluster/{name} within {} s", deadline as f64 / SECONDS as f64);
        let error = match reason {
            Reason::NoTopology => {
                format!("-CLUSTERDOWN midstream: no node of {within} told its slots; are the nodes up, and are address and credentials right?\r\n")
            }
            Reason::NotServed => format!("-CLUSTERDOWN midstream: no node of {within} served the slot of this key\r\n"),
            Reason::NodeDown(why) => format!("-CLUSTERDOWN midstream: the node of this key in {within} was not reachable: {}\r\n", printable(why)),
            Reason::Said(error) => String::from_utf8_lossy(error).into_owned(),
            Reason::Paced => format!("-ERR midstream: too much waits for slow readers of {within}\r\n"),
        };
        self.deliver(io, client, seq, error.as_bytes(), true);
    }
}

/// Error lines of RESP end at the first line break.
pub(crate) fn printable(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}
