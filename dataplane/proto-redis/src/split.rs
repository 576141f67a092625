//! Commands for several nodes: a part for each, one reply.

use crate::action::Merge;
use crate::dispatch::is_repeatable;
use crate::frame::Frame;
use crate::limits;
use crate::machine::Redis;
use crate::merge::{LAST_NODE, NODE_BITS, array, bulk};
use crate::pipe::{Owner, Pending, To};
use crate::ring::Kind;
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
            return self.ask_for(io, key, frame.bytes, to, repeatable);
        }
        let parts = (frame.len() - 1) / step;
        if parts > limits::MAX_SPLIT {
            let error =
                format!("ERR midstream: {} keys over several slots are more than {} in one command; send them in several", parts, limits::MAX_SPLIT);
            return self.fail(io, key, &error);
        }
        let Some((cluster, head)) = self.owe_head(io, key, merge, parts, repeatable) else { return };
        let mut part = std::mem::take(&mut self.part);
        for number in 0..parts {
            let words = 1 + number * step..1 + (number + 1) * step;
            let slot = slot_of(frame.word(words.start));
            part.clear();
            array(&mut part, 1 + step);
            bulk(&mut part, command.name.as_bytes());
            words.for_each(|index| bulk(&mut part, frame.word(index)));
            let Some(pending) = self.owe_part(io, key, head, number, To::Slot(slot)) else { break };
            self.send(io, cluster, &part, pending);
        }
        part.shrink_to(limits::MAX_KEPT);
        self.part = part;
    }

    /// The head of a split command in the client's ring; what its parts have in common.
    fn owe_head(&mut self, io: &dyn Io, key: Key, merge: Merge, parts: usize, repeatable: bool) -> Option<(usize, Pending)> {
        self.owe(io, key, Kind::Head { merge, parts: parts as u32, left: parts as u32 }, To::Any, repeatable)
    }

    /// One of its parts behind it, counted from 0.
    fn owe_part(&mut self, io: &dyn Io, key: Key, head: Pending, number: usize, to: To) -> Option<Pending> {
        let seq = self.clients.get_mut(key)?.ring.push(Kind::Part(number as u32 + 1), to.slot(), io.now(), None);
        Some(Pending { owner: Owner::Client(key, seq), to, ..head })
    }

    /// DBSIZE, FLUSHALL, KEYS, SCRIPT LOAD ...: to every master.
    pub(crate) fn everywhere(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command, merge: Merge) {
        let repeatable = is_repeatable(command, frame);
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

    fn masters(&self, key: Key) -> Vec<u16> {
        let cluster = self.clients.get(key).and_then(|client| self.clusters.get(client.cluster));
        cluster.and_then(Option::as_ref).map(|cluster| cluster.masters.clone()).unwrap_or_default()
    }

    /// SCAN: the client's cursor names the node and that node's own cursor; see [`crate::merge::rewrite_cursor`].
    pub(crate) fn scan_nodes(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>) {
        let masters = self.masters(key);
        if masters.len() <= 1 {
            return self.ask_for(io, key, frame.bytes, To::Any, true);
        }
        let cursor: Option<u64> = std::str::from_utf8(frame.word(1)).ok().and_then(|text| text.parse().ok());
        let Some(cursor) = cursor else { return self.fail(io, key, "ERR invalid cursor") };
        let place = (cursor & ((1 << NODE_BITS) - 1)) as usize;
        // A cluster that shrank meanwhile has no such node: the scan is over.
        let Some(master) = masters.get(place).copied() else { return self.answer(io, key, b"*2\r\n$1\r\n0\r\n*0\r\n") };
        let last = if place + 1 == masters.len() { LAST_NODE } else { 0 };
        let kind = Kind::Scan { node: place as u16 | last };
        let Some((cluster, pending)) = self.owe(io, key, kind, To::Node(master), true) else { return };
        let mut bytes = Vec::new();
        array(&mut bytes, frame.len());
        bulk(&mut bytes, frame.word(0));
        bulk(&mut bytes, (cursor >> NODE_BITS).to_string().as_bytes());
        (2..frame.len()).for_each(|index| bulk(&mut bytes, frame.word(index)));
        self.send(io, cluster, &bytes, pending);
    }
}
