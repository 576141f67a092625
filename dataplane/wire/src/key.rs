//! Names of connections, and time.

/// Monotonic time in nanoseconds since the process's workers started; the same clock for all of them, as they share rate limits.
pub type Nanos = u64;
/// One microsecond.
pub const MICROS: Nanos = 1_000;
/// One millisecond.
pub const MILLIS: Nanos = 1_000_000;
/// One second.
pub const SECONDS: Nanos = 1_000_000_000;

/// A connection of one worker: a slot in its arrays and the generation of that slot.
///
/// Slots are reused, keys are not: whatever arrives late for a connection that is gone (a reply, a plan, a timer) carries the old
/// generation and falls on the floor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Key {
    /// Index into arrays by connection slot; small and dense.
    pub slot: u32,
    /// How many connections had this slot before.
    pub generation: u32,
}

impl Key {
    /// No connection: the key of timers and events that concern the whole protocol object.
    pub const NONE: Key = Key { slot: u32::MAX, generation: u32::MAX };

    /// The slot as an array index.
    pub fn index(self) -> usize {
        self.slot as usize
    }
}

/// Values by connection, in an array by slot; a value is seen only under the full key that it was put under.
#[derive(Debug)]
pub struct Slab<T> {
    rows: Vec<Option<(u32, T)>>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { rows: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    /// Puts a value under `key`; what an older generation left in the slot is dropped.
    pub fn insert(&mut self, key: Key, value: T) {
        if key == Key::NONE {
            return;
        }
        if self.rows.len() <= key.index() {
            self.rows.resize_with(key.index() + 1, || None);
        }
        if self.rows[key.index()].replace((key.generation, value)).is_none() {
            self.len += 1;
        }
    }

    /// The value under `key`.
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.rows.get(key.index()) {
            Some(Some((generation, value))) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value under `key`, to change.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.rows.get_mut(key.index()) {
            Some(Some((generation, value))) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// Takes the value under `key` out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let row = self.rows.get_mut(key.index())?;
        match row {
            Some((generation, _)) if *generation == key.generation => {
                self.len -= 1;
                row.take().map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All values with their keys, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.rows
            .iter()
            .enumerate()
            .filter_map(|(slot, row)| row.as_ref().map(|(generation, value)| (Key { slot: slot as u32, generation: *generation }, value)))
    }

    /// All keys, by slot; a copy, so that the values may change while it is walked.
    pub fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_generation_sees_nothing() {
        let mut slab = Slab::default();
        let old = Key { slot: 3, generation: 1 };
        let new = Key { slot: 3, generation: 2 };
        slab.insert(old, "old");
        slab.insert(new, "new");
        assert_eq!(slab.get(old), None);
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.get(new), Some(&"new"));
        assert_eq!(slab.len(), 1);
        assert_eq!(slab.remove(new), Some("new"));
        assert!(slab.is_empty());
    }
}
