//! The near cache: replies of reads that are kept here, for as long as nobody can have changed what they tell.
//!
//! ```text
//!  read ──> kept and valid? ──yes──> the client's ring
//!             │ no
//!             ├─ the same read is on its way, and still valid? ──> waits for that one's reply
//!             └─ MULTI PTTL read EXEC ──> the node ──reply──> waiters; kept, if nothing happened to the key meanwhile
//!  write ──> invalidates when it is answered, before the reply goes out; until then its client is served nothing from here
//!  node ──invalidate──> the key's replies are dropped, reads of its slot that are on their way will not be kept
//! ```
//! **The rule.** A reply that a read asked for at time `s` is served at time `t` only if, from `s` to `t`, the *tracker* of its slot's
//! node was one and the same connection, on which the node tells of every changed key (CLIENT TRACKING), and neither it nor a write of
//! ours named the key, and the key's own lifetime, counted from `s`, is not over.
//!
//! Why that suffices: what the read returned was true at some moment after `s`. If the key changed later, the node told its tracker, and
//! that was either heard by `t`, or was on its way: no answer older than an invalidation that was heard is served. One that was heard
//! before the reply came is counted against the slot, so the reply is not kept. ARCHITECTURE.md has the proof at length.
//!
//! There is one cache for each worker and back end, with its share of the budget: workers share nothing, a connection lives on one
//! worker, and so a client sees its own writes without a lock; writes by way of other workers are the node's to tell, as those of strangers are.

mod flight;
mod push;
mod serve;
mod store;
mod telling;
mod tracker;

pub(crate) use flight::Flights;
pub use telling::Tracking;

use crate::conf::NearConf;
use crate::meters::NearMeters;
use crate::slot::{SLOTS, slot_of};
use store::Store;
use telling::Telling;
use wire::{Io, Key, Nanos};

/// What a request in a pipe means to the near cache.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Mark {
    /// Nothing.
    #[default]
    None,
    /// Its reply is to be kept, and others wait for it: the flight's number.
    Fill(u32),
    /// It may change its keys.
    Writes,
}

/// A question of the near cache itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Tell of changes from now on; which way of telling was asked for.
    Track(u8),
    /// Tell that tracker of changes of what is read here, from now on.
    Redirect(Key),
    /// Are you there, and does your cluster work? Sent at that time.
    Alive(Nanos),
}

/// What happened to the keys of a slot; numbers that only grow (and wrap after four thousand millions).
#[derive(Clone, Copy, Default, Debug)]
struct Slot {
    /// A key was changed, perhaps: replies on their way are not kept.
    changed: u32,
    /// Nobody knows which keys were changed: replies that are kept are not served, either.
    wiped: u32,
}

/// The cache of one back end on one worker.
#[derive(Debug)]
pub struct Near {
    conf: NearConf,
    store: Store,
    slots: Box<[Slot]>,
    telling: Telling,
    meters: NearMeters,
}

impl Near {
    /// An empty one; `workers` share the budget.
    pub fn new(conf: NearConf, meters: NearMeters, workers: usize) -> Near {
        let store = Store::new(conf.max_bytes / workers.max(1));
        let telling = Telling::new(conf.tracking);
        Near { conf, store, slots: vec![Slot::default(); SLOTS].into_boxed_slice(), telling, meters }
    }

    /// What it was made of.
    pub fn conf(&self) -> &NearConf {
        &self.conf
    }

    /// Whether replies about the key are kept.
    #[inline]
    fn concerns(&self, key: &[u8]) -> bool {
        self.conf.prefixes.is_empty() || self.conf.prefixes.iter().any(|prefix| key.starts_with(prefix))
    }

    /// The reply to that command, if it is kept and valid.
    #[inline]
    fn find(&mut self, key: &[u8], slot: u16, resp: u8, command: &[u8], tracker: Key, io: &dyn Io) -> Option<&[u8]> {
        let wiped = self.slot(slot).wiped;
        let entry = self.store.find(key, resp, command)?;
        let is_alive = io.now() < entry.expires && (!entry.is_mortal || io.clock() < entry.expires);
        (entry.tracker == tracker && entry.wiped == wiped && is_alive).then_some(&entry.reply)
    }

    fn slot(&self, slot: u16) -> Slot {
        self.slots.get(usize::from(slot)).copied().unwrap_or_default()
    }

    /// The key was changed, or may have been. Whether anything of it was kept.
    fn invalidate(&mut self, key: &[u8]) -> bool {
        let mut kept = false;
        if self.concerns(key) {
            kept = self.store.remove(key);
            let slot = &mut self.slots[usize::from(slot_of(key))];
            slot.changed = slot.changed.wrapping_add(1);
        }
        kept
    }

    /// Any key of the slot may have been changed.
    fn wipe(&mut self, slot: u16) {
        if let Some(slot) = self.slots.get_mut(usize::from(slot)) {
            slot.changed = slot.changed.wrapping_add(1);
            slot.wiped = slot.wiped.wrapping_add(1);
        }
    }

    /// Any key may have been changed.
    fn wipe_all(&mut self) {
        self.store.clear();
        for slot in &mut self.slots {
            slot.changed = slot.changed.wrapping_add(1);
        }
        self.show_size();
    }

    /// How many nodes tell of changes.
    pub fn show_trackers(&self, count: usize) {
        self.meters.trackers.set(count as u64);
    }

    fn show_size(&self) {
        let (bytes, entries) = self.store.size();
        self.meters.bytes.set(bytes as u64);
        self.meters.entries.set(entries as u64);
    }
}
