//! Nodes that answer late, wrongly or not at all, where another node could answer.
//!
//! ```text
//!            silent for `answer_within`                        its time is over, and it tells its position
//!  replica ──errors in a row of seconds──> ejected ──────────────────────────────────────────────────────> read again
//!            slower than its peers             └─ its reads that can go elsewhere do, at once
//!  master  ──silent, or errors──> open (only with `masters: fail`) ──its time is over──> PING ──answered──> in use again
//!                                   └─ its commands fail at once                            └─ not: open again, for longer
//! ```
//! A reply that is long in coming may be the command's own doing: a read that is known to be slow (the server's `@slow`) and stands at the
//! front of its connection is let be, or what keeps a replica busy would keep its master busy next. Those behind it need not wait for it.
//! Each worker judges by what it sees itself.

use crate::cluster::{Cluster, Reason};
use crate::health::{Why, median};
use crate::machine::Redis;
use crate::node::Lane;
use crate::pipe::{Owner, Pending, Pipe, State, To};
use crate::refresh::SILENCE;
use crate::table::Table;
use crate::upstream::{TIMER_OUTLIERS, TIMERS};
use wire::{Close, Io, Key, MILLIS, Nanos};

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
/// Nodes that answer within this are not called slow, whatever their peers do.
const QUICK: Nanos = 10 * MILLIS;

impl Redis {
    /// A read went to a replica: somebody looks whether it is answered.
    #[inline]
    pub(crate) fn watch_outliers(&mut self, io: &mut dyn Io, cluster: usize) {
        if let Some(Some(known)) = self.clusters.get_mut(cluster)
            && !known.watched
        {
            known.watched = true;
            io.arm(Key::NONE, cluster as u32 * TIMERS + TIMER_OUTLIERS, io.now() + known.conf.health.answer_within);
        }
    }

    /// Where commands for masters that are outliers are to fail, somebody always looks.
    pub(crate) fn watch_masters(&mut self, io: &mut dyn Io, cluster: usize) {
        if self.clusters.get(cluster).and_then(Option::as_ref).is_some_and(|known| known.conf.health.fail_masters) {
            self.watch_outliers(io, cluster);
        }
    }

    /// Looks for connections that owe answers for too long, and again while any owes some.
    pub(crate) fn look_for_outliers(&mut self, io: &mut dyn Io, cluster: usize) {
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return };
        known.watched = false;
        let health = known.conf.health;
        let now = io.now();
        let mut next = None;
        for key in self.pipes.keys() {
            let Some(pipe) = self.pipes.get(key).filter(|pipe| pipe.cluster == cluster && pipe.lease.is_none() && !pipe.fifo.is_empty()) else {
                continue;
            };
            let concerns = pipe.readonly || (health.fail_masters && pipe.is_awaited());
            if !concerns {
                continue;
            }
            let due = pipe.heard + health.answer_within;
            if due > now {
                next = Some(next.map_or(due, |next: Nanos| next.min(due)));
            } else {
                next = Some(next.unwrap_or(now + health.answer_within));
                self.silent(io, cluster, key);
            }
        }
        self.probe_masters(io, cluster);
        let always = health.fail_masters.then_some(now + health.answer_within / 2);
        if let (Some(at), Some(Some(known))) = (next.into_iter().chain(always).min(), self.clusters.get_mut(cluster)) {
            known.watched = true;
            io.arm(Key::NONE, cluster as u32 * TIMERS + TIMER_OUTLIERS, at.max(now + MILLIS));
        }
        self.show_outliers(cluster, now);
    }

    /// A connection owes an answer for too long.
    fn silent(&mut self, io: &mut dyn Io, cluster: usize, key: Key) {
        let Some(pipe) = self.pipes.get(key) else { return };
        let (node, readonly, heard, connecting) = (pipe.node, pipe.readonly, pipe.heard, pipe.state == State::Connecting);
        let within = self.clusters.get(cluster).and_then(Option::as_ref).map_or(0, |known| known.conf.health.answer_within);
        let why = format!("it has not answered for {} ms", within / MILLIS);
        if !readonly {
            self.outlier(io, cluster, node, Why::Silence);
            io.close(key, Close::Abort);
            return self.lost(io, key, &why);
        }
        self.outlier(io, cluster, node, Why::Silence);
        self.unfit(cluster, node);
        self.move_reads(io, cluster, key, &format!("{}: {why}", self.address(cluster, node)));
        if connecting || io.now().saturating_sub(heard) > SILENCE.max(2 * within) {
            io.close(key, Close::Abort);
            self.lost(io, key, &why);
        }
        self.unpark(io, cluster);
    }

    /// The reads on a replica's connection that another node can answer go there; its own answers to them will be thrown away.
    fn move_reads(&mut self, io: &mut dyn Io, cluster: usize, key: Key, why: &str) {
        for (pending, bytes) in self.pipes.get_mut(key).map(|pipe| pipe.take_reads(self.table)).unwrap_or_default() {
            let Owner::Client(client, seq) = pending.owner else { continue };
            if self.clients.get(client).is_some_and(|client| client.ring.owes(seq)) {
                if let Some(Some(known)) = self.clusters.get(cluster) {
                    known.meters.moved.add(1);
                }
                self.park(io, cluster, &bytes, pending, 0, Reason::NodeDown(why.to_owned()));
            }
        }
    }

    /// A connection ended by itself: where something was to be answered on it, that is an error of its node.
    pub(crate) fn note_loss(&mut self, io: &mut dyn Io, key: Key) {
        if let Some(pipe) = self.pipes.get(key).filter(|pipe| !pipe.fifo.is_empty()) {
            let (cluster, node) = (pipe.cluster, pipe.node);
            self.outlier(io, cluster, node, Why::Errors);
        }
    }

    /// Something is wrong with a node: it may be ejected, or its circuit opened.
    pub(crate) fn outlier(&mut self, io: &mut dyn Io, cluster: usize, node: u16, why: Why) {
        let now = io.now();
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return };
        if !known.may_eject(node, now) {
            return;
        }
        let dice = io.random();
        let conf = known.conf.health;
        let is_master = known.masters.contains(&node);
        let Some(node) = known.nodes.get_mut(usize::from(node)) else { return };
        if !node.health.eject(&conf, why, now, dice) {
            return;
        }
        known.meters.ejections[why as usize].add(1);
        known.opened |= is_master;
        self.watch_outliers(io, cluster);
        self.show_outliers(cluster, now);
        if is_master {
            self.unpark(io, cluster);
        }
    }

    /// Whether commands for a master fail at once, and why.
    pub(crate) fn refusal(&self, cluster: usize, node: u16, now: Nanos) -> Option<Reason> {
        let known = self.clusters.get(cluster)?.as_ref()?;
        let health = &known.nodes.get(usize::from(node))?.health;
        if health.until == 0 || !known.masters.contains(&node) {
            return None;
        }
        let left = health.until.saturating_sub(now) / MILLIS;
        Some(Reason::NodeDown(format!("the circuit of {} is open; it is asked whether it answers in {left} ms", known.address(node))))
    }

    /// Masters whose time is over are asked whether they are there; meanwhile they stay out of use.
    fn probe_masters(&mut self, io: &mut dyn Io, cluster: usize) {
        let now = io.now();
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return };
        if !known.opened {
            return;
        }
        let within = known.conf.health.answer_within;
        let (mut due, mut open) = (Vec::new(), false);
        for (number, node) in known.nodes.iter_mut().enumerate() {
            let number = number as u16;
            if node.health.until == 0 || !known.masters.contains(&number) {
                continue;
            }
            open = true;
            if node.health.until <= now {
                node.health.until = now + within + within / 2;
                node.health.probing = true;
                due.push(number);
            }
        }
        known.opened = open;
        for node in due {
            self.send_on(io, cluster, node, Lane::of(2, false), PING, Pending::internal(Owner::Probe, node, 2));
        }
    }

    /// A master that was out of use answers.
    pub(crate) fn probed(&mut self, io: &mut dyn Io, cluster: usize, node: u16) {
        let now = io.now();
        if let Some(Some(known)) = self.clusters.get_mut(cluster)
            && let Some(node) = known.nodes.get_mut(usize::from(node))
        {
            (node.health.until, node.health.probing) = (0, false);
        }
        self.show_outliers(cluster, now);
        self.unpark(io, cluster);
    }

    /// A replica has answered after that time, in its turn among its reads: is it slower than the others?
    pub(crate) fn took(&mut self, io: &mut dyn Io, cluster: usize, node: u16, took: Nanos) {
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return };
        let factor = u64::from(known.conf.health.slower_than);
        if factor == 0 {
            return;
        }
        let Some(own) = known.nodes.get_mut(usize::from(node)).and_then(|node| node.health.took(took)) else { return };
        let others = (0..known.nodes.len()).filter(|other| *other != usize::from(node)).filter_map(|other| known.nodes[other].health.latency());
        let Some(peers) = median(others.collect()) else { return };
        if own > peers.saturating_mul(factor) && own > QUICK {
            self.outlier(io, cluster, node, Why::Slow);
            self.unfit(cluster, node);
        }
    }

    fn show_outliers(&self, cluster: usize, now: Nanos) {
        if let Some(Some(known)) = self.clusters.get(cluster) {
            let ejected = known.nodes.iter().filter(|node| node.health.until > now).count();
            known.meters.ejected.set(ejected as u64);
        }
    }

    fn address(&self, cluster: usize, node: u16) -> String {
        self.clusters.get(cluster).and_then(Option::as_ref).map(|known| known.address(node)).unwrap_or_default()
    }
}

impl Cluster {
    /// Whether a node may be put out of use: a master only where commands are to fail for it, a replica while not too many are.
    fn may_eject(&self, node: u16, now: Nanos) -> bool {
        if self.masters.contains(&node) {
            return self.conf.health.fail_masters;
        }
        let is_replica = |number: usize| self.nodes.iter().any(|master| master.replicas.contains(&(number as u16)));
        let replicas: Vec<usize> = (0..self.nodes.len()).filter(|number| is_replica(*number)).collect();
        let out = replicas.iter().filter(|number| self.nodes[**number].health.until > now).count();
        let share = replicas.len() * self.conf.health.max_ejected as usize / 100;
        replicas.contains(&usize::from(node)) && out < share.max(1)
    }
}

impl Pipe {
    /// Whether anybody waits for it: the slot table can be had elsewhere.
    fn is_awaited(&self) -> bool {
        self.fifo.iter().any(|pending| matches!(pending.owner, Owner::Client(..) | Owner::Probe))
    }

    /// Takes the reads out that another node can answer, with their bytes. Their replies, should they come, are nobody's.
    fn take_reads(&mut self, table: &Table) -> Vec<(Pending, Vec<u8>)> {
        let mut taken = Vec::new();
        let mut start = 0;
        let is_busy = self.streaming || self.state == State::Ready && is_slow(table, self.kept.all());
        for (at, pending) in self.fifo.iter_mut().enumerate() {
            let end = start + pending.kept as usize;
            let may = matches!((pending.owner, pending.to), (Owner::Client(..), To::Read(_))) && pending.kept > 0 && pending.skip == pending.batch;
            if may && !(at == 0 && is_busy) {
                let bytes = self.kept.all().get(start..end).unwrap_or_default().to_vec();
                taken.push((*pending, bytes));
                pending.owner = Owner::Nobody;
            }
            start = end;
        }
        taken
    }
}

/// Whether the command at the front of those bytes is one that may take long by itself.
fn is_slow(table: &Table, bytes: &[u8]) -> bool {
    let mut scan = crate::frame::Scan::default();
    let Ok(crate::frame::Found::Command(_)) = scan.command(bytes, true) else { return false };
    let frame = crate::frame::Frame { bytes, words: &scan.words };
    table.find(frame.word(0)).is_some_and(|command| !command.acl.contains(&"@fast"))
}
