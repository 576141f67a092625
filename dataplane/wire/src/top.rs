//! The heaviest of very many names in bounded memory, by window of time: hot keys, big keys.
//!
//! Counts are kept by the space-saving algorithm (Metwally, Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k Elements in Data
//! Streams, 2005): a name without a place takes that of the least and inherits its count, so that none that is frequent is missed, and a
//! count is too high by at most what the least has. Sizes keep the largest seen.

use crate::key::Nanos;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Names that are kept for each one that is shown: the error of a count is at most this part of all.
const KEPT_PER_SHOWN: usize = 8;
/// How much of a name is kept.
const MAX_NAME: usize = 128;

/// What the number of a name is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weighs {
    /// How often it came.
    Count,
    /// The largest that it was.
    Size,
}

/// A list of one worker; only that worker writes to it, a scrape reads.
#[derive(Clone, Debug)]
pub struct Top(Arc<Mutex<Cells>>);

#[derive(Debug)]
struct Cells {
    weighs: Weighs,
    shown: usize,
    window: Nanos,
    since: Nanos,
    places: HashMap<Box<[u8]>, usize>,
    names: Vec<(Box<[u8]>, u64)>,
    /// Of the last whole window, the heaviest first.
    last: Vec<(Box<[u8]>, u64)>,
}

impl Top {
    /// A list of so many names.
    pub fn new(weighs: Weighs, shown: usize, window: Nanos) -> Top {
        let (places, names, last) = (HashMap::new(), Vec::new(), Vec::new());
        Top(Arc::new(Mutex::new(Cells { weighs, shown, window, since: 0, places, names, last })))
    }

    fn cells(&self) -> MutexGuard<'_, Cells> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name came: so many times, or of that size.
    pub fn add(&self, name: &[u8], weight: u64) {
        self.cells().add(name.get(..MAX_NAME).unwrap_or(name), weight);
    }

    /// Time passes: a window may be over.
    pub fn tick(&self, now: Nanos) {
        let mut cells = self.cells();
        if now >= cells.since.saturating_add(cells.window) {
            cells.since = now;
            cells.places.clear();
            let mut names = std::mem::take(&mut cells.names);
            names.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            names.truncate(cells.shown);
            cells.last = names;
        }
    }

    /// Adds the last window's names to those of other workers.
    pub(crate) fn collect(&self, into: &mut Vec<(Box<[u8]>, u64)>) {
        let cells = self.cells();
        for (name, weight) in &cells.last {
            match into.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) if cells.weighs == Weighs::Count => *sum = sum.saturating_add(*weight),
                Some((_, largest)) => *largest = (*largest).max(*weight),
                None => into.push((name.clone(), *weight)),
            }
        }
        into.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        into.truncate(cells.shown);
    }
}

impl Cells {
    fn add(&mut self, name: &[u8], weight: u64) {
        if let Some(place) = self.places.get(name) {
            let held = &mut self.names[*place].1;
            *held = if self.weighs == Weighs::Count { held.saturating_add(weight) } else { (*held).max(weight) };
            return;
        }
        if self.names.len() < self.shown.saturating_mul(KEPT_PER_SHOWN) {
            self.places.insert(name.into(), self.names.len());
            self.names.push((name.into(), weight));
            return;
        }
        let Some((place, least)) = self.names.iter().map(|(_, weight)| *weight).enumerate().min_by_key(|(_, weight)| *weight) else { return };
        let weight = match self.weighs {
            Weighs::Count => least.saturating_add(weight),
            Weighs::Size if weight <= least => return,
            Weighs::Size => weight,
        };
        self.places.remove(&self.names[place].0);
        self.places.insert(name.into(), place);
        self.names[place] = (name.into(), weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(tops: &[&Top]) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        tops.iter().for_each(|top| top.collect(&mut all));
        all.into_iter().map(|(name, weight)| (String::from_utf8(name.into()).unwrap(), weight)).collect()
    }

    #[test]
    fn what_is_frequent_among_very_many_is_found() {
        let top = Top::new(Weighs::Count, 2, 10);
        for number in 0..100_000u32 {
            top.add(format!("rare:{number}").as_bytes(), 1);
            if number % 5 == 0 {
                top.add(b"hot", 1);
            }
            if number % 10 == 0 {
                top.add(b"warm", 1);
            }
        }
        assert_eq!(shown(&[&top]), [], "a window is shown when it is over");
        top.tick(10);
        let names = shown(&[&top]);
        assert_eq!((names[0].0.as_str(), names[1].0.as_str()), ("hot", "warm"));
        let most = 20_000 + 130_000 / (2 * KEPT_PER_SHOWN as u64);
        assert!((20_000..=most).contains(&names[0].1), "{names:?}");
        top.tick(19);
        assert_eq!(shown(&[&top]).len(), 2);
        top.tick(20);
        assert_eq!(shown(&[&top]), []);
    }

    #[test]
    fn workers_add_up_and_the_largest_stays() {
        let [a, b] = [Top::new(Weighs::Count, 2, 1), Top::new(Weighs::Count, 2, 1)];
        [(&a, "x", 3), (&b, "x", 4), (&b, "y", 5), (&b, "z", 1)].into_iter().for_each(|(top, name, times)| top.add(name.as_bytes(), times));
        [&a, &b].into_iter().for_each(|top| top.tick(1));
        assert_eq!(shown(&[&a, &b]), [("x".into(), 7), ("y".into(), 5)]);
        let sizes = Top::new(Weighs::Size, 1, 1);
        (0..100u64).for_each(|size| sizes.add(format!("k{}", size % 50).as_bytes(), size));
        sizes.tick(1);
        assert_eq!(shown(&[&sizes]), [("k49".into(), 99)]);
    }
}
