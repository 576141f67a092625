//! Rates by partition and consumers' lag, where a KafkaStats asks for them: known from what passes, no broker is asked anything.
//!
//! ```text
//! Produce   request: partitions, sizes, the first batch's header     response: base offsets, so the partitions' ends
//! Fetch     request: positions                                       response: ends, stable ends, sizes, the first batch's header
//! OffsetCommit, TxnOffsetCommit                                      when the response says that they hold
//! OffsetFetch                                                        response: what a group has committed
//!        \__ scan.rs reads marks as they pass __/ session.rs notes them in rates.rs (counters) and in the worker's book.rs
//!                                                 once a second the first worker puts all books together      tick.rs
//! ```
//! The messages are walked by programs of their own (`tables::MEASURED`), so that other listeners pay one branch. Of records nothing is read
//! but the header of the first batch of a partition, where it lies; the records pass as they do without.

mod book;
mod rates;
mod scan;
mod session;
mod tick;

pub use book::{Book, Books};
pub use rates::Rates;
pub use scan::Scan;
pub use session::Positions;
pub(crate) use session::note;
pub use tick::{Shown, TIMER_STATS};

use config::Context;
use std::sync::Arc;

/// Partitions of identities and of consumers with numbers of their own, unless a KafkaStats says otherwise: some 300 bytes each.
const SERIES: u32 = 1000;
const MAX_SERIES: u32 = 100_000;

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stats {
    /// What the listener leads to, by the name that people gave it: a KafkaCluster or a KafkaVirtualCluster.
    pub cluster: Arc<str>,
    /// Series of their own, per worker.
    pub series: usize,
}

impl Stats {
    /// Of a listener; of several objects the first by name counts.
    pub fn of(context: &Context<'_>, listener: &str, cluster: &str) -> Option<Arc<Stats>> {
        let mut named = context.set.kafka_stats.values().map(|entry| &entry.value);
        let value = named.find(|value| value.listeners.iter().any(|name| name == "*" || name == listener))?;
        let series = if value.series == 0 { SERIES } else { value.series.min(MAX_SERIES) };
        Some(Arc::new(Stats { cluster: cluster.into(), series: series as usize }))
    }
}
