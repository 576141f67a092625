//! What waits for another attempt: with its client, in the client's order.
//!
//! A client that waits is not read on, so that its later commands do not overtake the earlier ones; and of those that wait, one is sent only
//! when its turn has come ([`crate::order`]). It is tried when an earlier one is answered, and, with all others of the back end, every tick,
//! when the slot table changes and when a node comes up.

use crate::client::Wait;
use crate::cluster::{Parked, Reason};
use crate::limits;
use crate::machine::Redis;
use crate::pipe::{Owner, Pending, To};
use crate::upstream::{TICK, TIMER_TICK, TIMERS, printable};
use wire::{Io, Key, Nanos, SECONDS};

/// What becomes of a command that waits.
enum Turn {
    /// It goes on waiting.
    NotYet,
    /// It is sent.
    Now,
    /// On a connection of the client's own.
    Paced,
    /// Its time is over.
    Over,
}

impl Redis {
    /// Keeps a request for later; not before `due`.
    pub(crate) fn park(&mut self, io: &mut dyn Io, cluster: usize, bytes: &[u8], pending: Pending, due: Nanos, reason: Reason) {
        let Owner::Client(key, seq) = pending.owner else {
            match pending.owner {
                Owner::Topology => self.topology_failed(io, cluster),
                Owner::Functions(target) => self.functions_told(io, cluster, target, None),
                Owner::Mirror(number) => {
                    self.mirror_failed(number);
                    self.refresh(io, cluster);
                }
                Owner::Copy(number) => {
                    self.copy_failed(io, number, true, false);
                    self.refresh(io, cluster);
                }
                _ => {}
            }
            if let (Owner::Position, To::Node(node)) = (pending.owner, pending.to) {
                self.no_position(cluster, node);
            }
            return;
        };
        let Some(client) = self.clients.get_mut(key).filter(|client| client.ring.owes(seq)) else { return };
        let home = self.listeners.get(client.listener).and_then(Option::as_ref).and_then(|listener| listener.home(cluster));
        let Some(cluster) = home else { return self.give_up(io, cluster, pending, &reason) };
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return self.give_up(io, cluster, pending, &reason) };
        let is_paced = matches!(reason, Reason::Paced);
        if (io.now() >= pending.deadline && !is_paced) || known.waiting.bytes + bytes.len() > limits::MAX_PARKED {
            return self.give_up(io, cluster, pending, &reason);
        }
        if known.waiting.commands == 0 {
            io.arm(Key::NONE, cluster as u32 * TIMERS + TIMER_TICK, io.now() + TICK);
        }
        let parked = Parked { cluster, pending, bytes: bytes.to_vec(), due, reason };
        known.waiting.add(&parked);
        known.meters.waiting.set(known.waiting.commands as u64);
        if !client.waits_at.contains(&cluster) {
            client.waits_at.push(cluster);
            known.waiting.clients.push(key);
        }
        client.ring.retry(seq);
        let at = client.retries.partition_point(|other| other.seq() < seq);
        client.retries.insert(at, parked);
        if !is_paced {
            self.refresh(io, cluster);
        }
    }

    /// Sends what waits for a back end and can be sent.
    pub(crate) fn unpark(&mut self, io: &mut dyn Io, cluster: usize) {
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return };
        for key in std::mem::take(&mut known.waiting.clients) {
            let Some(client) = self.clients.get_mut(key) else { continue };
            client.waits_at.retain(|at| *at != cluster);
            self.advance(io, key);
            let Some(client) = self.clients.get_mut(key).filter(|client| client.waits_for(cluster)) else { continue };
            if client.waits_at.contains(&cluster) {
                continue;
            }
            client.waits_at.push(cluster);
            if let Some(Some(known)) = self.clusters.get_mut(cluster) {
                known.waiting.clients.push(key);
            }
        }
    }

    /// Sends what a client waits for, as far as its turn has come.
    pub(crate) fn advance(&mut self, io: &mut dyn Io, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.retries.is_empty() || std::mem::replace(&mut client.is_advancing, true) {
            return; // giving up the first answers it, which comes back here: the loop below goes on
        }
        let mut from = 0;
        while let Some(seq) = self.next_retry(key, from) {
            from = seq + 1;
            let turn = self.turn(io.now(), key, seq);
            if matches!(turn, Turn::NotYet) {
                continue;
            }
            let Some((cluster, parked)) = self.take_retry(key, seq) else { continue };
            match turn {
                Turn::NotYet => {}
                Turn::Over => self.give_up(io, cluster, parked.pending, &parked.reason),
                Turn::Paced => self.send_paced(io, cluster, parked),
                Turn::Now => {
                    if let Some(Some(known)) = self.clusters.get(cluster) {
                        known.meters.retried.add(1);
                    }
                    self.send(io, cluster, &parked.bytes, parked.pending);
                }
            }
        }
        if let Some(client) = self.clients.get_mut(key) {
            client.is_advancing = false;
        }
    }

    fn next_retry(&self, key: Key, from: u64) -> Option<u64> {
        let retries = &self.clients.get(key)?.retries;
        Some(retries.get(retries.partition_point(|parked| parked.seq() < from))?.seq())
    }

    fn turn(&self, now: Nanos, key: Key, seq: u64) -> Turn {
        let Some(client) = self.clients.get(key) else { return Turn::NotYet };
        let Some(parked) = client.retry_at(seq).and_then(|at| client.retries.get(at)) else { return Turn::NotYet };
        let pending = parked.pending;
        match parked.reason {
            Reason::Paced if client.lease.is_none() && client.ring.is_front(seq) => Turn::Paced,
            Reason::Paced => Turn::NotYet,
            _ if now >= pending.deadline || self.is_refused(parked.cluster, pending.to, now) => Turn::Over,
            _ if self.has_migrations && self.is_fenced(key, seq, pending.leased) => Turn::NotYet,
            _ if parked.due > now || !client.ring.may_retry(seq) || self.is_down(parked.cluster, pending.to, now) => Turn::NotYet,
            _ => Turn::Now,
        }
    }

    fn take_retry(&mut self, key: Key, seq: u64) -> Option<(usize, Parked)> {
        let client = self.clients.get_mut(key)?;
        let at = client.retry_at(seq)?;
        let parked = client.retries.remove(at)?;
        if let Some(Some(known)) = self.clusters.get_mut(parked.cluster) {
            known.waiting.remove(&parked);
            known.meters.waiting.set(known.waiting.commands as u64);
        }
        Some((parked.cluster, parked))
    }

    /// What a client waits for is no longer wanted: it is gone.
    pub(crate) fn drop_retries(&mut self, key: Key) {
        while let Some(seq) = self.next_retry(key, 0) {
            self.take_retry(key, seq);
        }
    }

    /// What a client waits for goes to its listener's back end from now on, if the one it waited for is none of the listener's any more.
    pub(crate) fn move_retries(&mut self, io: &mut dyn Io, key: Key) {
        let mut retries = Vec::new();
        while let Some((_, parked)) = self.next_retry(key, 0).and_then(|seq| self.take_retry(key, seq)) {
            retries.push(parked);
        }
        if let Some(client) = self.clients.get_mut(key) {
            client.waits_at.clear();
        }
        for parked in retries {
            self.park(io, parked.cluster, &parked.bytes, parked.pending, 0, parked.reason);
        }
    }

    /// One command that a client waits for goes to another back end.
    pub(crate) fn move_retry(&mut self, io: &mut dyn Io, key: Key, seq: u64, cluster: usize) {
        let Some((_, parked)) = self.take_retry(key, seq) else { return };
        self.park(io, cluster, &parked.bytes, parked.pending, 0, parked.reason);
    }

    /// Whether commands fail at once that would go there.
    fn is_refused(&self, cluster: usize, to: To, now: Nanos) -> bool {
        let known = self.clusters.get(cluster).and_then(Option::as_ref).filter(|known| known.opened);
        known.and_then(|known| known.only(to)).is_some_and(|node| self.refusal(cluster, node, now).is_some())
    }

    /// Whether trying now is in vain.
    fn is_down(&self, cluster: usize, to: To, now: Nanos) -> bool {
        let Some(Some(known)) = self.clusters.get(cluster) else { return false };
        let Some(node) = known.only(to) else { return false };
        known.nodes.get(usize::from(node)).is_none_or(|node| node.down_until > now)
    }

    /// The time is over: the client gets the error that says why.
    pub(crate) fn give_up(&mut self, io: &mut dyn Io, cluster: usize, pending: Pending, reason: &Reason) {
        if let Owner::Copy(number) = pending.owner {
            return self.copy_failed(io, number, false, false);
        }
        let Owner::Client(client, seq) = pending.owner else { return };
        self.meters_of(client, |meters| meters.failed.add(1));
        if let Some(client) = self.clients.get_mut(client).filter(|client| pending.leased && client.wait == Wait::Barrier) {
            client.wait = Wait::No;
        }
        let known = self.clusters.get(cluster).and_then(Option::as_ref);
        let (name, deadline) = known.map_or(("?", 0), |known| (&*known.conf.name, known.conf.retry_deadline));
        let within = format!("RedisCluster/{name} within {} s", deadline as f64 / SECONDS as f64);
        let error = match reason {
            Reason::NoTopology if known.is_some_and(|known| known.conf.sentinel.is_some()) => {
                format!(
                    "-CLUSTERDOWN midstream: no sentinel of {within} named its master; are they up, and are their addresses, the master's name and the credentials right?\r\n"
                )
            }
            Reason::NoTopology if known.is_some_and(|known| known.conf.single) => {
                format!(
                    "-CLUSTERDOWN midstream: no server of {within} said that it is the master; are they up, and are address and credentials right?\r\n"
                )
            }
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
