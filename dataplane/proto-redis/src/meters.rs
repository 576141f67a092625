//! Handles of the family's counters, looked up once per listener and back end.

use wire::metrics::{Counter, Gauge, Histogram, Registry};

/// Of one listener.
#[derive(Default, Debug)]
pub struct ListenerMeters {
    /// Requests by class: read, write, admin.
    pub requests: [Counter; 3],
    /// From the command to its reply.
    pub seconds: Histogram,
    /// Broken protocol.
    pub protocol: Counter,
    /// Wrong or missing logins.
    pub auth: Counter,
    /// Filters' denials.
    pub denied: Counter,
    /// Commands that midstream refuses.
    pub refused: Counter,
    /// Commands that ended with an error of ours: deadline, lost connection.
    pub failed: Counter,
}

impl ListenerMeters {
    /// The counters of the listener `name`.
    pub fn new(registry: &Registry, name: &str) -> ListenerMeters {
        let listener = || vec![("family", "redis".to_owned()), ("listener", name.to_owned())];
        let with = |label: &'static str, value: &str| [listener(), vec![(label, value.to_owned())]].concat();
        let error = |kind: &str| registry.counter("midstream_errors_total", with("kind", kind));
        ListenerMeters {
            requests: ["read", "write", "admin"].map(|class| registry.counter("midstream_requests_total", with("class", class))),
            seconds: registry.histogram("midstream_request_seconds", listener()),
            protocol: error("protocol"),
            auth: error("auth"),
            denied: error("denied"),
            refused: error("refused"),
            failed: error("backend"),
        }
    }
}

/// Of one back end.
#[derive(Default, Debug)]
pub struct ClusterMeters {
    /// Refused or failed dials.
    pub refused: Counter,
    /// Lost connections.
    pub lost: Counter,
    /// Nodes that did not take our login.
    pub login: Counter,
    /// MOVED and ASK.
    pub redirected: Counter,
    /// Commands that were sent again.
    pub retried: Counter,
    /// Connections in use, idle leases, connections being made.
    pub active: Gauge,
    /// See `active`.
    pub idle: Gauge,
    /// See `active`.
    pub connecting: Gauge,
    /// Commands that wait for a node.
    pub waiting: Gauge,
}

impl ClusterMeters {
    /// The counters of the back end `name`.
    pub fn new(registry: &Registry, name: &str) -> ClusterMeters {
        let backend = || vec![("family", "redis".to_owned()), ("backend", name.to_owned())];
        let with = |label: &'static str, value: &str| [backend(), vec![(label, value.to_owned())]].concat();
        let error = |kind: &str| registry.counter("midstream_backend_errors_total", with("kind", kind));
        let connections = |state: &str| registry.gauge("midstream_pool_connections", with("state", state));
        ClusterMeters {
            refused: error("refused"),
            lost: error("lost"),
            login: error("login"),
            redirected: registry.counter("midstream_redis_redirects_total", backend()),
            retried: registry.counter("midstream_redis_retries_total", backend()),
            active: connections("active"),
            idle: connections("idle"),
            connecting: connections("connecting"),
            waiting: registry.gauge("midstream_pool_waiting", backend()),
        }
    }
}
