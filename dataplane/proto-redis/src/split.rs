//! Commands for several nodes: a part for each, one reply.

use crate::action::{Merge, NearRead};
use crate::dispatch::{CROSSSLOT, is_repeatable};
use crate::frame::Frame;
use crate::limits;
use crate::machine::{Redis, Step};
use crate::merge::{array, bulk};
use crate::pipe::{Owner, Pending, To};
use crate::ring::Kind;
use crate::scan::Scan;
use crate::slot::slot_of;
use crate::table::Command;
use wire::{Io, Key};

impl Redis {
    /// MGET, MSET, DEL ...: whole if all keys are in one slot, else in parts. Parts of one slot stay parts: keys of one MSET may repeat, and
    /// the order of replies is the order of keys.
    pub(crate) fn split(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command, merge: Merge, step: usize) {
        if (frame.len() - 1) % step != 0 {
            return self.fail(io, key, &format!("ERR wrong number of arguments for '{}' command", command.name));
        }
        let repeatable = is_repeatable(command, frame);
        if let Ok(to) = self.place(key, frame) {
            let to = if self.replicas_read { self.read_place(io.now(), key, command, to) } else { to };
            return self.ask_read(io, key, frame, command, to);
        }
        if self.refuses_cross_slot(key) {
            return self.fail(io, key, CROSSSLOT);
        }
        let parts = (frame.len() - 1) / step;
        if parts > limits::MAX_SPLIT {
            let error =
                format!("ERR midstream: {} keys over several slots are more than {} in one command; send them in several", parts, limits::MAX_SPLIT);
            return self.fail(io, key, &error);
        }
        if self.replicas_read {
            self.settle_writes(io.now(), key);
        }
        let Some((cluster, head)) = self.owe_head(io, key, merge, parts, repeatable) else { return };
        let mut part = std::mem::take(&mut self.part);
        for number in 0..parts {
            let words = 1 + number * step..1 + (number + 1) * step;
            let name = frame.word(words.start);
            let slot = slot_of(name);
            part.clear();
            array(&mut part, 1 + step);
            bulk(&mut part, command.name.as_bytes());
            words.for_each(|index| bulk(&mut part, frame.word(index)));
            let to = if self.replicas_read { self.read_place(io.now(), key, command, To::Slot(slot)) } else { To::Slot(slot) };
            let Some(pending) = self.owe_part(io, key, head, number, to) else { break };
            if self.has_near && command.near != NearRead::Never {
                self.ask_near(io, cluster, &part, name, command.near, pending);
            } else {
                self.send(io, cluster, &part, pending);
            }
        }
        part.shrink_to(limits::MAX_KEPT);
        self.part = part;
    }

    /// The head of a split command in the client's ring; what its parts have in common.
    pub(crate) fn owe_head(&mut self, io: &dyn Io, key: Key, merge: Merge, parts: usize, repeatable: bool) -> Option<(usize, Pending)> {
        self.owe(io, key, Kind::Head { merge, parts: parts as u32, left: parts as u32 }, To::Any, repeatable)
    }

    /// One of its parts behind it, counted from 0.
    pub(crate) fn owe_part(&mut self, io: &dyn Io, key: Key, head: Pending, number: usize, to: To) -> Option<Pending> {
        let seq = self.clients.get_mut(key)?.ring.push(Kind::Part(number as u32 + 1), to.slot(), io.now(), None);
        Some(Pending { owner: Owner::Client(key, seq), to, ..head })
    }

    /// DBSIZE, FLUSHALL, KEYS, SCRIPT LOAD ...: to every master.
    pub(crate) fn everywhere(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command, merge: Merge) {
        let repeatable = is_repeatable(command, frame);
        if command.name == "swapdb" && self.has_near_cache(key) {
            return self.refuse(io, key, command, "nodes do not tell the near cache of it");
        }
        let masters = self.masters(key);
        // INFO of one master of a cluster would still show the cluster.
        let as_it_is = merge != Merge::Info || self.is_single(key);
        if masters.is_empty() || (masters.len() == 1 && as_it_is) {
            return self.ask_for(io, key, frame.bytes, To::Any, repeatable);
        }
        let Some((cluster, head)) = self.owe_head(io, key, merge, masters.len(), repeatable) else { return };
        for (number, master) in masters.into_iter().enumerate() {
            let Some(pending) = self.owe_part(io, key, head, number, To::Node(master)) else { break };
            self.send(io, cluster, frame.bytes, pending);
        }
    }

    fn has_near_cache(&self, key: Key) -> bool {
        let cluster = self.clients.get(key).and_then(|client| self.clusters.get(client.cluster));
        matches!(cluster, Some(Some(cluster)) if cluster.near.is_some())
    }

    fn masters(&self, key: Key) -> Vec<u16> {
        let cluster = self.clients.get(key).and_then(|client| self.clusters.get(client.cluster));
        cluster.and_then(Option::as_ref).map(|cluster| cluster.masters.clone()).unwrap_or_default()
    }

    /// SCAN over all nodes; see [`crate::scan`].
    pub(crate) fn scan_cluster(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>) -> Step {
        if self.is_single(key) {
            self.ask_for(io, key, frame.bytes, To::Any, true);
            return Step::Taken;
        }
        match Scan::new(frame) {
            Ok(scan) => return self.run(io, key, Box::new(scan)),
            Err(error) => self.fail(io, key, error),
        }
        Step::Taken
    }
}
