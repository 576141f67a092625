//! Keys whose replies were large lately: reads of them go to the slow lane ([`crate::lane`]) at once.
//!
//! So a large reply costs its node two only when it comes as a surprise, and what others wait for on the shared connection is not behind it.
//! There is a place for one key of each slot, so that a command of any other slot pays one look: 128 KiB, once there is any. A key is
//! forgotten after some reads: one whose value has shrunk is read on the shared connection again, and one that has not is learnt anew.

use crate::cluster::Reason;
use crate::frame::Frame;
use crate::keys;
use crate::lease::Purpose;
use crate::limits;
use crate::machine::Redis;
use crate::pipe::{Pending, To};
use crate::ring::Kind;
use crate::slot::SLOTS;
use std::hash::{DefaultHasher, Hash, Hasher};
use wire::{Io, Key};

/// A reply from this size on is one.
pub(crate) const HEAVY: usize = limits::MAX_OUTSTANDING as usize;

/// Reads after which one is forgotten.
const READS: u8 = 64;

#[derive(Clone, Copy, Default, Debug)]
struct Place {
    hash: u32,
    reads: u8,
}

/// What is remembered.
#[derive(Default, Debug)]
pub(crate) struct Heavy(Vec<Place>);

impl Heavy {
    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, cluster: usize, slot: u16, key: &[u8]) {
        self.0.resize(SLOTS, Place::default());
        self.0[usize::from(slot) % SLOTS] = Place { reads: READS, hash: hash(cluster, key) };
    }

    /// Whether a key is one of them; each answer counts as a read.
    fn has(&mut self, cluster: usize, slot: u16, key: &[u8]) -> bool {
        let Some(place) = self.0.get_mut(usize::from(slot)) else { return false };
        if place.reads == 0 || place.hash != hash(cluster, key) {
            return false;
        }
        place.reads -= 1;
        true
    }
}

fn hash(cluster: usize, key: &[u8]) -> u32 {
    let mut hasher = DefaultHasher::new();
    (cluster, key).hash(&mut hasher);
    hasher.finish() as u32
}

impl Redis {
    /// The reply to what stands at the front of a node's connection is large.
    pub(crate) fn note_heavy(&mut self, pipe: Key, pending: Pending) {
        let (To::Slot(slot) | To::Read(slot)) = pending.to else { return };
        let Some(connection) = self.pipes.get(pipe).filter(|_| pending.repeatable && pending.batch == 0) else { return };
        let Some(name) = keys::only(self.table, connection.kept.all().get(..pending.kept as usize).unwrap_or_default()) else { return };
        self.heavy.add(connection.cluster, slot, &name);
    }

    /// Sends a read at its client's pace, if its reply is likely large. Whether it was.
    pub(crate) fn ask_heavy(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, to: To) -> bool {
        let Some(client) = self.clients.get(key) else { return false };
        let is_free = client.lease.is_none_or(|lease| lease.purpose == Purpose::Pace) && client.tracking.is_none();
        let (To::Slot(slot) | To::Read(slot), &[only]) = (to, self.keys.as_slice()) else { return false };
        if !is_free || !self.heavy.has(client.cluster, slot, frame.word(only as usize)) {
            return false;
        }
        if let Some((cluster, pending)) = self.owe(io, key, Kind::Plain, to, true) {
            self.park(io, cluster, frame.bytes, pending, 0, Reason::Paced);
            self.advance(io, key);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_key_is_known_for_a_while() {
        let mut heavy = Heavy::default();
        assert!(heavy.is_empty() && !heavy.has(0, 0, b""));
        heavy.add(0, 7, b"big");
        assert!(!heavy.has(0, 7, b"other") && !heavy.has(1, 7, b"big") && !heavy.has(0, 8, b"big"));
        assert_eq!((0..100).filter(|_| heavy.has(0, 7, b"big")).count(), usize::from(READS));
    }
}
