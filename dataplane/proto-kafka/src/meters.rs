//! What is counted, with the handles that the hot path keeps.

use hashbrown::HashMap;
use std::sync::Arc;
use wire::metrics::{Counter, Gauge, Histogram, Registry};

/// The counters of one listener.
pub struct Meters {
    registry: Arc<Registry>,
    listener: String,
    requests: HashMap<i16, Counter>,
    errors: HashMap<&'static str, Counter>,
    /// From the first byte of a request to the last of its response; for one that is spliced, to its last byte but for the kernel's.
    pub seconds: Histogram,
}

impl Meters {
    /// The counters of a listener.
    pub fn new(registry: &Arc<Registry>, listener: &str) -> Meters {
        let labels = vec![("family", "kafka".into()), ("listener", listener.into())];
        Meters {
            registry: Arc::clone(registry),
            listener: listener.into(),
            requests: HashMap::new(),
            errors: HashMap::new(),
            seconds: registry.histogram("midstream_request_seconds", labels),
        }
    }

    /// A request of an API.
    pub fn request(&mut self, key: i16, name: &str) {
        let (registry, listener) = (&self.registry, &self.listener);
        let labels = || vec![("family", "kafka".into()), ("listener", listener.clone()), ("class", name.to_string())];
        self.requests.entry(key).or_insert_with(|| registry.counter("midstream_requests_total", labels())).add(1);
    }

    /// Something that went wrong.
    pub fn error(&mut self, kind: &'static str) {
        let (registry, listener) = (&self.registry, &self.listener);
        let labels = || vec![("family", "kafka".into()), ("listener", listener.clone()), ("kind", kind.to_string())];
        self.errors.entry(kind).or_insert_with(|| registry.counter("midstream_errors_total", labels())).add(1);
    }
}

/// The counters of one cluster.
pub struct BackendMeters {
    registry: Arc<Registry>,
    backend: String,
    active: Gauge,
    connecting: Gauge,
    counts: [u64; 2],
}

impl BackendMeters {
    /// The counters of a cluster.
    pub fn new(registry: &Arc<Registry>, backend: &str) -> BackendMeters {
        let gauge = |state: &str| {
            let labels = vec![("family", "kafka".into()), ("backend", backend.into()), ("state", state.into())];
            registry.gauge("midstream_pool_connections", labels)
        };
        BackendMeters {
            registry: Arc::clone(registry),
            backend: backend.into(),
            active: gauge("active"),
            connecting: gauge("connecting"),
            counts: [0, 0],
        }
    }

    /// Connections that came and went, by state: connecting, active.
    pub fn moved(&mut self, connecting: i64, active: i64) {
        let [waiting, up] = &mut self.counts;
        *waiting = waiting.saturating_add_signed(connecting);
        *up = up.saturating_add_signed(active);
        self.connecting.set(*waiting);
        self.active.set(*up);
    }

    /// A broker that could not be reached, or that broke off.
    pub fn error(&self, kind: &str) {
        let labels = vec![("family", "kafka".into()), ("backend", self.backend.clone()), ("kind", kind.to_string())];
        self.registry.counter("midstream_backend_errors_total", labels).add(1);
    }
}
