//! What waits for something to come, or for a node, when a fence goes up: it is taken back, and goes to the new back end when writes pass again.
//!
//! A command that blocks on a node is unblocked there: the node says that it popped nothing, or its reply is already on the way. One that
//! tries again and again (over several slots) pauses, and one that is parked stays so.

use super::Note;
use crate::asks::Asks;
use crate::cluster::Parked;
use crate::conf::Conf;
use crate::machine::Redis;
use crate::pipe::{Owner, Pending};
use wire::{Close, Io, Key, MILLIS, Nanos};

/// How soon it is looked again for what blocks: a command may have been on its way when it was to be unblocked.
pub(super) const LOOK_AGAIN: Nanos = 20 * MILLIS;

/// How a command that was unblocked ends; its client does not see it.
const UNBLOCKED: &[u8] = b"-UNBLOCKED client unblocked";

impl Redis {
    /// Whether a command that is not under way stays so: writes of its keys wait. `leased`: it is one that may block.
    pub(crate) fn is_fenced(&self, key: Key, seq: u64, leased: bool) -> bool {
        let errand = self.clients.get(key).and_then(|client| client.errand.as_ref()).filter(|_| leased).map(|running| running.seq());
        let Some(notes) = self.migrations.notes.get(&key) else { return false };
        let note = notes.iter().find(|note| note.seq == seq || Some(note.seq) == errand);
        // What may have run is repeated where that was.
        note.is_some_and(|note| !note.unsure && self.migrations.holding(&note.keys).is_some())
    }

    /// A node says that a command ended which blocked: if that is because we took it back, it waits at the fence. Whether it does.
    pub(crate) fn take_to_fence(&mut self, io: &mut dyn Io, pipe: Key, pending: Pending, error: &[u8]) -> bool {
        let Owner::Client(key, seq) = pending.owner else { return false };
        if !error.starts_with(UNBLOCKED) || !self.is_fenced(key, seq, true) {
            return false;
        }
        let error = error.to_vec();
        self.solve_leased(io, pipe, &error, Asks::Refresh)
    }

    /// Whether an errand waits at a fence, with nothing of it under way or half done.
    pub(crate) fn is_errand_fenced(&self, key: Key) -> bool {
        let Some(running) = self.clients.get(key).and_then(|client| client.errand.as_ref()) else { return false };
        running.is_waiting() && self.is_fenced(key, running.seq(), true)
    }

    /// Whether a noted command is neither under way nor may have run.
    pub(super) fn rests(&self, key: Key, note: &Note) -> bool {
        let Some(client) = self.clients.get(key) else { return false };
        let parked = |parked: &Parked| parked.seq() == note.seq || (parked.pending.leased && client.errand.is_some());
        let rests = client.retries.iter().any(parked) || client.errand.as_ref().is_some_and(|running| running.is_waiting());
        rests && self.is_fenced(key, note.seq, true)
    }

    /// Takes back what blocks at a fence; it is looked again until nothing does ([`LOOK_AGAIN`]).
    pub(super) fn take_back_blocked(&mut self, io: &mut dyn Io, at: usize) {
        if !self.migrations.all.get(at).is_some_and(|migration| migration.conf.holds()) {
            return;
        }
        let fenced = |key: &Key| {
            let client = self.clients.get(*key).filter(|client| client.is_blocked());
            client.is_some() && self.migrations.notes.get(key).is_some_and(|notes| notes.iter().any(|note| self.is_fenced(*key, note.seq, true)))
        };
        let blocked: Vec<Key> = self.migrations.notes.keys().copied().filter(fenced).collect();
        for key in blocked {
            self.unblock_leased(io, key, true);
        }
    }

    /// Before clients leave back ends that are none of theirs any more: what waits at a fence goes where keys are served now.
    pub(crate) fn follow_switches(&mut self, io: &mut dyn Io, conf: &Conf) {
        for wanted in &conf.migrations {
            let known = self.migrations.all.iter().find(|known| known.conf.name == wanted.name && known.conf.is_same(wanted));
            let Some((from, to)) = known.filter(|known| known.conf.serving() != wanted.serving()).map(|known| (known.serving, known.other)) else {
                continue;
            };
            let moved = |name: &[u8]| wanted.takes(name);
            for key in self.clients.keys() {
                self.follow_switch(io, key, (from, to), wanted.prefixes.is_empty());
                self.requeue(key, (from, to), &moved);
                if wanted.prefixes.is_empty() {
                    self.leave_back_end(io, key, from);
                }
            }
        }
    }

    /// What a client has queued goes with the keys, if it is about no others. What it watched there, nobody will ask for.
    fn requeue(&mut self, key: Key, (from, to): (usize, usize), moved: &dyn Fn(&[u8]) -> bool) {
        let Some(client) = self.clients.get(key) else { return };
        let transaction = &client.transaction;
        let has_begun = transaction.is_open() || transaction.is_watching();
        if !has_begun || transaction.cluster.unwrap_or(client.cluster) != from {
            return;
        }
        let names = self.keys_of(&transaction.queued_bytes(), false).unwrap_or_default();
        let (all, any) = (names.iter().all(|name| moved(name)), names.iter().any(|name| moved(name)));
        let Some(client) = self.clients.get_mut(key) else { return };
        let transaction = &mut client.transaction;
        match (all, any) {
            _ if transaction.is_watching() => (transaction.broken, transaction.cluster) = (true, None),
            (true, true) => transaction.cluster = Some(to),
            (false, true) => transaction.fail(),
            (_, false) => {}
        }
    }

    /// Connections of a client's own that a node tells it something on: there is nothing to be heard there any more.
    fn leave_back_end(&mut self, io: &mut dyn Io, key: Key, from: usize) {
        let Some(client) = self.clients.get(key) else { return };
        let feeds = client.subscriptions.iter().flat_map(|all| all.feeds.iter().map(|feed| feed.pipe));
        let tracking = client.tracking.iter().flat_map(|tracking| tracking.connections());
        let own: Vec<Key> = feeds.chain(tracking).filter(|pipe| self.pipes.get(*pipe).is_some_and(|pipe| pipe.cluster == from)).collect();
        for pipe in own {
            io.close(pipe, Close::Abort);
            self.lost(io, pipe, "another back end serves its keys");
        }
    }

    fn follow_switch(&mut self, io: &mut dyn Io, key: Key, (from, to): (usize, usize), all: bool) {
        // Without prefixes, reads that are parked go, too.
        let mut noted = Vec::new();
        for note in self.migrations.notes.get_mut(&key).into_iter().flatten() {
            for (cluster, _) in note.keys.iter_mut().filter(|(cluster, _)| *cluster == from) {
                *cluster = to;
                noted.push(note.seq);
            }
        }
        let Some(client) = self.clients.get_mut(key) else { return };
        let errand = client.errand.as_ref().map(|running| running.seq());
        let is_errands = errand.is_some_and(|seq| noted.contains(&seq));
        if client.cluster == from && is_errands {
            client.cluster = to;
        }
        let goes = |seq: u64| all || is_errands || noted.contains(&seq);
        let waiting: Vec<u64> =
            client.retries.iter().filter(|parked| parked.cluster == from && goes(parked.seq())).map(|parked| parked.seq()).collect();
        for seq in waiting {
            self.move_retry(io, key, seq, to);
        }
    }
}
