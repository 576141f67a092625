//! Counters. See `wire::metrics` for the names that every family has.

use std::cell::Cell;
use std::sync::Arc;
use wire::metrics::{Counter, Gauge, Histogram, Registry};
use wire::{Class, Nanos};

/// Of one listener.
pub struct ListenerMeter {
    registry: Arc<Registry>,
    listener: String,
    requests: [Counter; 3],
    seconds: Histogram,
    reads: [Counter; 2],
    transactions: Cell<(u64, Nanos)>,
    received: Cell<u64>,
}

impl ListenerMeter {
    /// Handles; made once, since making them takes a lock.
    pub fn new(registry: &Arc<Registry>, listener: &str) -> ListenerMeter {
        let labels = || vec![("family", "postgres".into()), ("listener", listener.to_string())];
        let requests = [Class::Read, Class::Write, Class::Admin].map(|class| {
            let mut labels = labels();
            labels.push(("class", class.as_str().into()));
            registry.counter("midstream_requests_total", labels)
        });
        let seconds = registry.histogram("midstream_request_seconds", labels());
        let reads = ["primary", "replica"].map(|role| {
            let mut labels = labels();
            labels.push(("role", role.into()));
            registry.counter("midstream_sql_reads_total", labels)
        });
        let (transactions, received) = Default::default();
        ListenerMeter { transactions, received, reads, registry: registry.clone(), listener: listener.into(), requests, seconds }
    }

    /// A request was answered.
    pub fn request(&self, class: Class, took: Nanos) {
        let index = match class {
            Class::Read => 0,
            Class::Write => 1,
            Class::Admin => 2,
        };
        self.requests[index].add(1);
        self.seconds.record(took);
    }

    /// Requests, and how long they took together.
    pub fn totals(&self) -> (u64, Nanos) {
        (self.requests.iter().map(Counter::get).sum(), self.seconds.sum())
    }

    /// A transaction has ended.
    #[inline]
    pub fn transaction(&self, took: Nanos) {
        let (count, sum) = self.transactions.get();
        self.transactions.set((count.wrapping_add(1), sum.saturating_add(took)));
    }

    /// Transactions, and how long they took together.
    pub fn transactions(&self) -> (u64, Nanos) {
        self.transactions.get()
    }

    /// Bytes of a client were worked off.
    #[inline]
    pub fn receive(&self, bytes: u64) {
        self.received.set(self.received.get().saturating_add(bytes));
    }

    /// Bytes of clients.
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    /// Where a read went that may go to a replica.
    pub fn read(&self, is_replica: bool) {
        self.reads[usize::from(is_replica)].add(1);
    }

    /// A request was run again after its server was lost.
    pub fn replayed(&self) {
        let labels = vec![("family", "postgres".into()), ("listener", self.listener.clone())];
        self.registry.counter("midstream_replayed_requests_total", labels).add(1);
    }

    /// A client was told an error of ours. `kind` is its SQLSTATE.
    pub fn error(&self, kind: &str) {
        let labels = vec![("family", "postgres".into()), ("listener", self.listener.clone()), ("kind", kind.to_string())];
        self.registry.counter("midstream_errors_total", labels).add(1);
    }
}

/// Of one pool.
pub struct PoolMeter {
    registry: Arc<Registry>,
    backend: String,
    gauges: [Gauge; 4],
    /// What this pool has added to them: several pools may have the same name.
    last: [u64; 4],
}

impl PoolMeter {
    /// `backend`: database and shard, `shop/s0`.
    pub fn new(registry: &Arc<Registry>, backend: &str) -> PoolMeter {
        let labels = || vec![("family", "postgres".into()), ("backend", backend.to_string())];
        let state = |state: &str| {
            let mut labels = labels();
            labels.push(("state", state.into()));
            registry.gauge("midstream_pool_connections", labels)
        };
        let gauges = [state("active"), state("idle"), state("connecting"), registry.gauge("midstream_pool_waiting", labels())];
        PoolMeter { registry: registry.clone(), backend: backend.into(), gauges, last: [0; 4] }
    }

    /// The pool's census.
    pub fn census(&mut self, census: [usize; 4]) {
        for ((gauge, last), value) in self.gauges.iter().zip(&mut self.last).zip(census) {
            gauge.set(gauge.get().wrapping_sub(*last).wrapping_add(value as u64));
            *last = value as u64;
        }
    }

    /// Another server of the shard is the primary now.
    pub fn failed_over(&self) {
        let labels = vec![("family", "postgres".into()), ("backend", self.backend.clone())];
        self.registry.counter("midstream_failovers_total", labels).add(1);
    }

    /// A connection was refused, lost or broke the protocol.
    pub fn error(&self, kind: &str) {
        let labels = vec![("family", "postgres".into()), ("backend", self.backend.clone()), ("kind", kind.to_string())];
        self.registry.counter("midstream_backend_errors_total", labels).add(1);
    }
}
