//! The kept replies: by key, so that an invalidation finds all that were read from it; within a budget of bytes.
//!
//! What has not been asked for since the last look goes first (CLOCK): one queue of keys in the order they came, and a mark per key that a
//! hit sets and the look takes away.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use wire::{Key, Nanos};

/// One reply.
#[derive(Debug)]
pub struct Entry {
    /// 2 or 3: the protocol version it is written in.
    pub resp: u8,
    /// The command's bytes, as the client sent them.
    pub command: Box<[u8]>,
    /// The reply's bytes.
    pub reply: Box<[u8]>,
    /// The connection that told of changes since the reply was asked for.
    pub tracker: Key,
    /// See [`super::Slot::wiped`].
    pub wiped: u32,
    /// Not served from then on.
    pub expires: Nanos,
    /// Because the key ends then: the clock decides, to the moment.
    pub is_mortal: bool,
}

#[derive(Debug)]
struct Keyed {
    entries: Vec<Entry>,
    bytes: usize,
    asked: bool,
    stamp: u64,
}

/// The entries of one back end on one worker.
#[derive(Debug)]
pub struct Store {
    keys: HashMap<Arc<[u8]>, Keyed>,
    order: VecDeque<(Arc<[u8]>, u64)>,
    stamp: u64,
    bytes: usize,
    entries: usize,
    max_bytes: usize,
}

/// What an entry costs besides its bytes: three allocations and its places in map and queue, rounded up.
const OVERHEAD: usize = 224;
/// Replies kept of one key: HGET of every field of a large hash must not make its invalidation slow.
const MAX_ENTRIES: usize = 64;
/// The queue may hold that many keys that are gone, besides as many as there are.
const SLACK: usize = 1024;

impl Store {
    /// An empty one.
    pub fn new(max_bytes: usize) -> Store {
        Store { keys: HashMap::new(), order: VecDeque::new(), stamp: 0, bytes: 0, entries: 0, max_bytes }
    }

    /// What is kept of that command, valid or not.
    #[inline]
    pub fn find(&mut self, key: &[u8], resp: u8, command: &[u8]) -> Option<&Entry> {
        let keyed = self.keys.get_mut(key)?;
        keyed.asked = true;
        keyed.entries.iter().find(|entry| entry.resp == resp && *entry.command == *command)
    }

    /// Keeps a reply; how many others had to go for it.
    pub fn insert(&mut self, key: &[u8], entry: Entry) -> u64 {
        let cost = cost(&entry) + key.len();
        if cost > self.max_bytes {
            return 0;
        }
        self.take(key, entry.resp, &entry.command);
        if !self.keys.contains_key(key) {
            self.stamp += 1;
            let name: Arc<[u8]> = key.into();
            self.order.push_back((Arc::clone(&name), self.stamp));
            self.keys.insert(name, Keyed { entries: Vec::new(), bytes: 0, asked: false, stamp: self.stamp });
        }
        if let Some(keyed) = self.keys.get_mut(key) {
            keyed.entries.push(entry);
            keyed.bytes += cost;
            self.bytes += cost;
            self.entries += 1;
        }
        let mut evicted = 0;
        while self.bytes > self.max_bytes {
            let Some(count) = self.evict() else { break };
            evicted += count;
        }
        self.compact();
        evicted
    }

    /// Takes one reply away: it is replaced, or no longer valid. So it does with the oldest of too many.
    fn take(&mut self, key: &[u8], resp: u8, command: &[u8]) {
        let Some(keyed) = self.keys.get_mut(key) else { return };
        let same = keyed.entries.iter().position(|entry| entry.resp == resp && *entry.command == *command);
        let Some(at) = same.or((keyed.entries.len() >= MAX_ENTRIES).then_some(0)) else { return };
        let cost = cost(&keyed.entries.remove(at)) + key.len();
        keyed.bytes -= cost;
        self.bytes -= cost;
        self.entries -= 1;
    }

    /// The key has changed: nothing that was read from it is kept. Whether anything was.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let Some(keyed) = self.keys.remove(key) else { return false };
        self.bytes -= keyed.bytes;
        self.entries -= keyed.entries.len();
        true
    }

    /// Nothing is kept.
    pub fn clear(&mut self) {
        *self = Store { stamp: self.stamp, ..Store::new(self.max_bytes) };
    }

    /// Bytes and entries kept.
    pub fn size(&self) -> (usize, usize) {
        (self.bytes, self.entries)
    }

    /// The first in the queue that was not asked for goes; how many entries it had. `None`: there is none.
    fn evict(&mut self) -> Option<u64> {
        loop {
            let (name, stamp) = self.order.pop_front()?;
            let Some(keyed) = self.keys.get_mut(&name).filter(|keyed| keyed.stamp == stamp) else { continue };
            if std::mem::take(&mut keyed.asked) {
                self.order.push_back((name, stamp));
                continue;
            }
            let count = keyed.entries.len() as u64;
            self.remove(&name);
            return Some(count);
        }
    }

    /// Keys that are gone leave the queue, once they are the larger part of it.
    fn compact(&mut self) {
        if self.order.len() > 2 * self.keys.len() + SLACK {
            let keys = &self.keys;
            self.order.retain(|(name, stamp)| keys.get(name).is_some_and(|keyed| keyed.stamp == *stamp));
        }
    }
}

fn cost(entry: &Entry) -> usize {
    entry.command.len() + entry.reply.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(command: &str, reply: usize) -> Entry {
        Entry {
            resp: 2,
            command: command.as_bytes().into(),
            reply: vec![b'x'; reply].into(),
            tracker: Key { slot: 1, generation: 1 },
            wiped: 0,
            expires: 0,
            is_mortal: false,
        }
    }

    #[test]
    fn a_key_takes_all_its_replies_with_it() {
        let mut store = Store::new(1 << 20);
        store.insert(b"h", entry("hget h a", 10));
        store.insert(b"h", entry("hget h b", 10));
        store.insert(b"h", entry("hget h a", 20));
        store.insert(b"k", entry("get k", 10));
        assert_eq!(store.size().1, 3);
        assert_eq!(store.find(b"h", 2, b"hget h a").unwrap().reply.len(), 20);
        assert!(store.find(b"h", 3, b"hget h a").is_none());
        store.remove(b"h");
        assert!(store.find(b"h", 2, b"hget h b").is_none());
        store.remove(b"k");
        assert_eq!(store.size(), (0, 0));
    }

    #[test]
    fn the_budget_holds_and_what_is_asked_for_stays() {
        let mut store = Store::new(100_000);
        let mut evicted = 0;
        for number in 0..10_000 {
            let key = format!("k{number}");
            evicted += store.insert(key.as_bytes(), entry(&key, 100));
            store.find(b"k7", 2, b"k7");
            assert!(store.size().0 <= 100_000);
            assert!(store.order.len() <= 2 * store.keys.len() + SLACK);
        }
        assert!(store.find(b"k7", 2, b"k7").is_some());
        assert_eq!(evicted as usize + store.size().1, 10_000);
        assert_eq!(store.insert(b"big", entry("big", 200_000)), 0);
        assert!(store.find(b"big", 2, b"big").is_none());
    }

    #[test]
    fn keys_that_come_and_go_leave_nothing_behind() {
        let mut store = Store::new(1 << 20);
        for _ in 0..10_000 {
            store.insert(b"k", entry("get k", 10));
            store.remove(b"k");
        }
        assert!(store.order.len() <= SLACK + 2);
        (0..2 * MAX_ENTRIES).for_each(|number| {
            store.insert(b"h", entry(&format!("hget h {number}"), 1));
        });
        assert_eq!(store.size().1, MAX_ENTRIES);
    }
}
