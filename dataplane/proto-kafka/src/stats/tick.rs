//! Once a second the books of all workers become the lag in the metrics of the first one.

use super::book::{Book, Partition, Place, Reads, SETTLE, Seen, open};
use crate::machine::Kafka;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::metrics::{Gauge, Labels, Registry};
use wire::{Io, Key, Nanos, SECONDS};

/// The timer of the first worker, of no connection.
pub const TIMER_STATS: u32 = 20;
const EVERY: Nanos = SECONDS;

/// The gauges that are shown, and in which round each was set last.
#[derive(Default)]
pub struct Shown {
    gauges: HashMap<(&'static str, Labels), (Gauge, u64)>,
    round: u64,
    is_armed: bool,
}

impl Shown {
    fn set(&mut self, registry: &Registry, name: &'static str, labels: Labels, value: u64) {
        let round = self.round;
        let (gauge, last) = self.gauges.entry((name, labels)).or_insert_with_key(|(name, labels)| (registry.gauge(name, labels.clone()), round));
        gauge.set(value);
        *last = round;
    }

    /// Takes away what was not set in this round.
    fn sweep(&mut self, registry: &Registry) {
        self.gauges.retain(|(name, labels), (_, round)| {
            let stays = *round == self.round;
            if !stays {
                registry.remove(name, labels.clone());
            }
            stays
        });
    }
}

impl Kafka {
    /// Arms the tick where it is needed.
    pub(crate) fn arm_stats(&mut self, io: &mut dyn Io) {
        let is_wanted = self.shared.conf.listeners.values().any(|listener| listener.stats.is_some());
        if self.shared.worker.index == 0 && !self.shown.is_armed && (is_wanted || !self.shown.gauges.is_empty()) {
            self.shown.is_armed = true;
            io.arm(Key::NONE, TIMER_STATS, io.now().saturating_add(EVERY));
        }
    }

    /// Shows what is known now.
    pub(crate) fn tick_stats(&mut self, io: &mut dyn Io) {
        let wanted: BTreeSet<Arc<str>> =
            self.shared.conf.listeners.values().filter_map(|listener| listener.stats.as_ref()).map(|stats| Arc::clone(&stats.cluster)).collect();
        let registry = Arc::clone(&self.shared.worker.metrics);
        self.shown.round += 1;
        let books = self.shared.books.all();
        let mut books: Vec<_> = books.iter().map(|book| open(book)).collect();
        books.iter_mut().for_each(|book| book.prune(io.now()));
        let books: Vec<&Book> = books.iter().map(|book| &**book).collect();
        let places: BTreeSet<&Place> = books.iter().flat_map(|book| book.places()).filter(|place| wanted.contains(&place.0)).collect();
        for place in places {
            let parts: Vec<&Partition> = books.iter().filter_map(|book| book.get(place)).collect();
            show(&mut self.shown, &registry, place, &parts, io.unix_time());
        }
        for cluster in &wanted {
            let left_out = books.iter().filter_map(|book| book.left_out.get(cluster)).sum();
            let labels = vec![("family", "kafka".to_string()), ("cluster", cluster.to_string())];
            self.shown.set(&registry, "midstream_kafka_stats_left_out", labels, left_out);
        }
        self.shown.sweep(&registry);
        self.shown.is_armed = false;
        self.arm_stats(io);
    }
}

fn show(shown: &mut Shown, registry: &Registry, (cluster, topic, partition): &Place, parts: &[&Partition], unix: u64) {
    let labels = |who: Option<(&'static str, &Arc<str>)>| -> Labels {
        let mut labels = vec![("family", "kafka".to_string()), ("cluster", cluster.to_string())];
        labels.extend(who.map(|(name, who)| (name, who.to_string())));
        labels.extend([("topic", topic.to_string()), ("partition", partition.to_string())]);
        labels
    };
    let unsigned = |offset: i64| u64::try_from(offset).unwrap_or(0);
    if let Some(stable) = join(parts.iter().filter_map(|part| part.stable)) {
        shown.set(registry, "midstream_kafka_partition_stable_offset", labels(None), unsigned(stable));
    }
    let Some(end) = join(parts.iter().filter_map(|part| part.end)) else { return };
    shown.set(registry, "midstream_kafka_partition_end_offset", labels(None), unsigned(end));
    for ((reads, who), seen) in latest(parts) {
        let (label, lag, seconds) = match reads {
            Reads::Group => ("group", "midstream_kafka_consumer_lag", "midstream_kafka_consumer_lag_seconds"),
            Reads::Client => ("client", "midstream_kafka_fetch_lag", "midstream_kafka_fetch_lag_seconds"),
        };
        let behind = unsigned(end.saturating_sub(seen.offset));
        shown.set(registry, lag, labels(Some((label, who))), behind);
        let written = parts.iter().filter_map(|part| part.written_by(seen.offset)).min();
        if let Some(age) = if behind == 0 { Some(0) } else { written.map(|written| unix.saturating_sub(written)) } {
            shown.set(registry, seconds, labels(Some((label, who))), age);
        }
    }
}

/// What several have seen of one offset: of those who have seen it lately the greatest.
fn join(seen: impl Iterator<Item = Seen> + Clone) -> Option<i64> {
    let newest = seen.clone().map(|seen| seen.at).max()?;
    seen.filter(|seen| seen.at.saturating_add(SETTLE) >= newest).map(|seen| seen.offset).max()
}

/// Everybody's latest position.
fn latest<'a>(parts: &[&'a Partition]) -> BTreeMap<(Reads, &'a Arc<str>), Seen> {
    let mut found: BTreeMap<(Reads, &Arc<str>), Seen> = BTreeMap::new();
    for ((reads, who), seen) in parts.iter().flat_map(|part| &part.readers) {
        let held = found.entry((*reads, who)).or_insert(*seen);
        if seen.at > held.at {
            *held = *seen;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_lately_counts_and_of_that_the_most() {
        let seen = |offset, at| Seen { offset, at };
        assert_eq!(join([seen(5, 1), seen(9, 2), seen(7, 3)].into_iter()), Some(9));
        assert_eq!(join([seen(90, 1), seen(7, 2 + SETTLE)].into_iter()), Some(7));
        assert_eq!(join([].into_iter()), None);
    }
}
