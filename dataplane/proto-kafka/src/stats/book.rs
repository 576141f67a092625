//! What one worker has seen of partitions and of those who read them.
//!
//! Each worker writes into a book of its own, and only the tick of the first worker reads them all: a lock is taken, and nobody waits for it
//! but for the moment of that tick.

use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wire::{Nanos, SECONDS};

/// Answers of several connections overtake each other by less than this: until then the greater offset counts, after it the later one
/// (a topic was made anew, a log was cut off).
pub const SETTLE: Nanos = 10 * SECONDS;

/// A group that has committed nothing for so long, and a partition that nobody has touched, are forgotten.
const KEPT: Nanos = 24 * 3600 * SECONDS;

/// Points of a partition's past that are kept: 1 KiB.
const MAX_PAST: usize = 64;

/// The books of all workers.
#[derive(Default)]
pub struct Books(Mutex<Vec<Arc<Mutex<Book>>>>);

impl Books {
    /// A new book.
    pub fn open(&self) -> Arc<Mutex<Book>> {
        let book = Arc::new(Mutex::new(Book::default()));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&book));
        book
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Mutex<Book>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Opens a book; what a panicking worker has left of it is as good as before.
pub fn open(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A topic and the number of a partition, with the cluster in front.
pub type Place = (Arc<str>, Arc<str>, i32);

/// Who reads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Reads {
    /// A consumer group, by what it commits.
    Group,
    /// A client id, by what it fetches.
    Client,
}

/// An offset, and when it was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The offset.
    pub offset: i64,
    /// When.
    pub at: Nanos,
}

/// Of one worker.
#[derive(Default)]
pub struct Book {
    partitions: BTreeMap<Place, Partition>,
    /// Partitions and readers.
    entries: HashMap<Arc<str>, usize>,
    /// What had no room, by cluster.
    pub left_out: HashMap<Arc<str>, u64>,
}

/// What is known of a partition.
#[derive(Default, Debug)]
pub struct Partition {
    /// The offset of the next record.
    pub end: Option<Seen>,
    /// Where the first open transaction begins.
    pub stable: Option<Seen>,
    /// Whoever reads it: their next record.
    pub readers: HashMap<(Reads, Arc<str>), Seen>,
    /// What lies before an offset was written by then, in seconds since 1970; by offset.
    past: Vec<(i64, u64)>,
    touched: Nanos,
}

impl Book {
    /// A partition, while there is room for it among `series`.
    pub fn partition(&mut self, place: &Place, series: usize, now: Nanos) -> Option<&mut Partition> {
        if !self.partitions.contains_key(place) {
            if !self.has_room(&place.0, series) {
                return None;
            }
            self.partitions.insert(place.clone(), Partition::default());
        }
        let partition = self.partitions.get_mut(place)?;
        partition.touched = now;
        Some(partition)
    }

    /// Somebody has come to an offset.
    pub fn read(&mut self, place: &Place, reads: Reads, who: &Arc<str>, offset: i64, series: usize, now: Nanos) {
        let key = (reads, Arc::clone(who));
        let is_known = self.partition(place, series, now).is_some_and(|partition| partition.readers.contains_key(&key));
        if !self.partitions.contains_key(place) || !is_known && !self.has_room(&place.0, series) {
            return;
        }
        if let Some(partition) = self.partitions.get_mut(place) {
            partition.readers.insert(key, Seen { offset, at: now });
        }
    }

    /// Somebody reads it no more.
    pub fn leave(&mut self, place: &Place, reads: Reads, who: &Arc<str>) {
        let left = self.partitions.get_mut(place).and_then(|partition| partition.readers.remove(&(reads, Arc::clone(who))));
        if left.is_some() {
            self.give_back(&place.0, 1);
        }
    }

    /// A known partition.
    pub fn get(&self, place: &Place) -> Option<&Partition> {
        self.partitions.get(place)
    }

    /// The known partitions.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.partitions.keys()
    }

    /// Forgets what is old.
    pub fn prune(&mut self, now: Nanos) {
        let is_old = |at: Nanos| at.saturating_add(KEPT) < now;
        let mut gone = Vec::new();
        self.partitions.retain(|place, partition| {
            let before = partition.readers.len();
            partition.readers.retain(|(reads, _), seen| *reads == Reads::Client || !is_old(seen.at));
            let stays = !partition.readers.is_empty() || !is_old(partition.touched);
            gone.push((Arc::clone(&place.0), before - partition.readers.len() + usize::from(!stays)));
            stays
        });
        gone.iter().for_each(|(cluster, entries)| self.give_back(cluster, *entries));
    }

    fn has_room(&mut self, cluster: &Arc<str>, series: usize) -> bool {
        let entries = self.entries.entry_ref(&**cluster).or_default();
        if *entries >= series {
            *self.left_out.entry_ref(&**cluster).or_default() += 1;
            return false;
        }
        *entries += 1;
        true
    }

    fn give_back(&mut self, cluster: &Arc<str>, entries: usize) {
        if let Some(held) = self.entries.get_mut(cluster) {
            *held = held.saturating_sub(entries);
        }
    }
}

impl Partition {
    /// Its end is there, at a time in seconds since 1970.
    pub fn ends(&mut self, offset: i64, now: Nanos, unix: u64) {
        if offset >= 0 {
            raise(&mut self.end, offset, now);
            self.written(offset, unix);
        }
    }

    /// Its first open transaction begins there, or it ends there.
    pub fn is_stable(&mut self, offset: i64, now: Nanos) {
        if offset >= 0 {
            raise(&mut self.stable, offset, now);
        }
    }

    /// What lies before `end` was written by then. Of two times for one offset the earlier is nearer to the truth.
    pub fn written(&mut self, end: i64, unix: u64) {
        let at = self.past.partition_point(|(offset, _)| *offset < end);
        if let Some((_, known)) = self.past.get_mut(at).filter(|(offset, _)| *offset == end) {
            *known = (*known).min(unix);
            return;
        }
        if self.past.len() >= MAX_PAST {
            let mut index = 0;
            let last = self.past.len() - 1;
            self.past.retain(|_| {
                index += 1;
                index % 2 == 0 || index > last
            });
        }
        let at = self.past.partition_point(|(offset, _)| *offset < end);
        self.past.insert(at, (end, unix));
    }

    /// By when the record at an offset was written, as far as is known.
    pub fn written_by(&self, offset: i64) -> Option<u64> {
        let at = self.past.partition_point(|(end, _)| *end <= offset);
        self.past.get(at..)?.iter().map(|(_, unix)| *unix).min()
    }
}

fn raise(held: &mut Option<Seen>, offset: i64, now: Nanos) {
    if held.is_none_or(|held| offset >= held.offset || held.at.saturating_add(SETTLE) < now) {
        *held = Some(Seen { offset, at: now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: i32) -> Place {
        ("c".into(), "t".into(), partition)
    }

    #[test]
    fn the_greater_end_counts_until_it_is_old() {
        let mut partition = Partition::default();
        partition.ends(10, 1, 100);
        partition.ends(8, 2, 100);
        partition.ends(-1, 3, 100);
        assert_eq!(partition.end, Some(Seen { offset: 10, at: 1 }));
        partition.ends(3, 2 + SETTLE, 100);
        assert_eq!(partition.end.map(|end| end.offset), Some(3));
    }

    #[test]
    fn a_record_is_as_old_as_the_earliest_thing_known_behind_it() {
        let mut partition = Partition::default();
        [(10, 1000), (20, 2000), (30, 3000), (20, 1500)].into_iter().for_each(|(end, unix)| partition.written(end, unix));
        assert_eq!([0, 9, 10, 25, 30].map(|offset| partition.written_by(offset)), [Some(1000), Some(1000), Some(1500), Some(3000), None]);
        (31..2000).for_each(|end| partition.written(end, 3000 + end as u64));
        assert!(partition.past.len() <= MAX_PAST && partition.written_by(1998) == Some(3000 + 1999), "{partition:?}");
    }

    #[test]
    fn there_is_room_for_so_many_and_what_goes_makes_room() {
        let mut book = Book::default();
        let who: Arc<str> = "g".into();
        book.read(&place(0), Reads::Client, &who, 5, 3, 1);
        book.read(&place(1), Reads::Group, &who, 5, 3, 1);
        assert_eq!(book.places().count(), 2);
        assert_eq!(book.get(&place(1)).map(|partition| partition.readers.len()), Some(0));
        assert_eq!(book.left_out.get("c"), Some(&1));
        book.leave(&place(0), Reads::Client, &who);
        book.read(&place(1), Reads::Group, &who, 6, 3, 1);
        assert_eq!(book.get(&place(1)).map(|partition| partition.readers.len()), Some(1));
        book.prune(2 + KEPT);
        assert_eq!(book.places().count(), 0);
        assert!(book.partition(&place(7), 1, 1).is_some());
    }
}
