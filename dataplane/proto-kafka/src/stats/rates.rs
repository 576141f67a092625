//! What was sent and fetched, by identity, topic and partition. The names are bounded; what comes later is counted as `other`.

use hashbrown::HashMap;
use std::sync::Arc;
use wire::metrics::{Counter, Labels, Registry};

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// Produce.
    Produce,
    /// Fetch.
    Fetch,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Direction::Produce => "produce",
            Direction::Fetch => "fetch",
        }
    }
}

/// Whose records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Whose<'a> {
    /// The client's identity.
    pub identity: &'a str,
    /// The topic, as it calls it.
    pub topic: &'a str,
    /// The partition, and which way they go.
    pub at: (i32, Direction),
}

/// What is added to a partition's counters.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Amount {
    /// Of records as they travel, compressed.
    pub bytes: u64,
    /// As their producers or their offsets count them.
    pub records: u64,
    /// Requests that had records of the partition, or responses.
    pub requests: u64,
}

#[derive(Debug)]
struct Rate {
    bytes: Counter,
    records: Counter,
    requests: Counter,
}

impl Rate {
    fn new(registry: &Registry, listener: &str, [identity, topic, partition]: [&str; 3], direction: Direction) -> Rate {
        let pairs = [("listener", listener), ("identity", identity), ("topic", topic), ("partition", partition), ("direction", direction.name())];
        let labels: Labels = std::iter::once(("family", "kafka")).chain(pairs).map(|(name, value)| (name, value.to_string())).collect();
        Rate {
            bytes: registry.counter("midstream_kafka_partition_bytes_total", labels.clone()),
            records: registry.counter("midstream_kafka_partition_records_total", labels.clone()),
            requests: registry.counter("midstream_kafka_partition_requests_total", labels),
        }
    }

    fn add(&self, amount: Amount) {
        self.bytes.add(amount.bytes);
        self.records.add(amount.records);
        self.requests.add(amount.requests);
    }
}

type ByPartition = HashMap<(i32, Direction), Rate>;

/// Of one listener on one worker.
#[derive(Default, Debug)]
pub struct Rates {
    named: HashMap<Arc<str>, HashMap<Arc<str>, ByPartition>>,
    series: usize,
    other: HashMap<Direction, Rate>,
}

impl Rates {
    /// Adds to what an identity has sent to a partition or fetched from it, while there are less than `most` of them.
    pub fn add(&mut self, registry: &Registry, listener: &str, most: usize, whose: Whose<'_>, amount: Amount) {
        let Whose { identity, topic, at } = whose;
        if let Some(rate) = self.named.get(identity).and_then(|topics| topics.get(topic)).and_then(|partitions| partitions.get(&at)) {
            return rate.add(amount);
        }
        if self.series >= most {
            let rate = self.other.entry(at.1).or_insert_with(|| Rate::new(registry, listener, ["other"; 3], at.1));
            return rate.add(amount);
        }
        self.series += 1;
        let rate = Rate::new(registry, listener, [identity, topic, &at.0.to_string()], at.1);
        rate.add(amount);
        self.named.entry_ref(identity).or_default().entry_ref(topic).or_default().insert(at, rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::metrics::render;

    #[test]
    fn what_has_no_name_of_its_own_is_other() {
        let registry: Arc<Registry> = Arc::default();
        let mut rates = Rates::default();
        for (topic, bytes) in [("a", 1), ("b", 2), ("c", 4), ("a", 8), ("d", 16)] {
            let amount = Amount { bytes, records: 1, requests: 1 };
            rates.add(&registry, "events", 2, Whose { identity: "user:ann", topic, at: (3, Direction::Fetch) }, amount);
        }
        let text = render(&[registry]);
        let line = |identity: &str, topic: &str, partition: &str, bytes: u64| {
            let labels =
                format!(r#"family="kafka",listener="events",identity="{identity}",topic="{topic}",partition="{partition}",direction="fetch""#);
            assert!(text.contains(&format!("midstream_kafka_partition_bytes_total{{{labels}}} {bytes}\n")), "{text}");
        };
        line("user:ann", "a", "3", 9);
        line("user:ann", "b", "3", 2);
        line("other", "other", "other", 20);
    }
}
