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

/// Of one back end's near cache.
#[derive(Default, Debug)]
pub struct NearMeters {
    /// Reads answered from it.
    pub hits: Counter,
    /// Reads of keys it is for that were not.
    pub misses: Counter,
    /// Misses that waited for another's reply.
    pub joined: Counter,
    /// Misses whose reply was to be kept.
    pub fills: Counter,
    /// Replies not kept, because something happened to the key while they were on their way.
    pub poisoned: Counter,
    /// Keys that nodes named as changed.
    pub invalidations: Counter,
    /// Replies that had to go for others.
    pub evictions: Counter,
    /// What is kept.
    pub bytes: Gauge,
    /// See `bytes`.
    pub entries: Gauge,
    /// Connections that tell of changes, and can be relied upon.
    pub trackers: Gauge,
    /// Question and answer on those connections: how long an invalidation may be on its way.
    pub tracker_seconds: Histogram,
}

impl NearMeters {
    /// The counters of the near cache of the back end `name`.
    pub fn new(registry: &Registry, name: &str) -> NearMeters {
        let backend = || vec![("family", "redis".to_owned()), ("backend", name.to_owned())];
        let reads = |result: &str| registry.counter("midstream_near_cache_reads_total", [backend(), vec![("result", result.to_owned())]].concat());
        NearMeters {
            hits: reads("hit"),
            misses: reads("miss"),
            joined: registry.counter("midstream_near_cache_joined_total", backend()),
            fills: registry.counter("midstream_near_cache_fills_total", backend()),
            poisoned: registry.counter("midstream_near_cache_poisoned_total", backend()),
            invalidations: registry.counter("midstream_near_cache_invalidations_total", backend()),
            evictions: registry.counter("midstream_near_cache_evictions_total", backend()),
            bytes: registry.gauge("midstream_near_cache_bytes", backend()),
            entries: registry.gauge("midstream_near_cache_entries", backend()),
            trackers: registry.gauge("midstream_near_cache_trackers", backend()),
            tracker_seconds: registry.histogram("midstream_near_cache_tracker_seconds", backend()),
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
    /// Nodes put out of use: for silence, errors, slowness.
    pub ejections: [Counter; 3],
    /// Nodes that are.
    pub ejected: Gauge,
    /// Reads that a replica had not answered in time and another node was asked for.
    pub moved: Counter,
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
            ejections: ["silence", "errors", "slow"].map(|why| registry.counter("midstream_redis_ejections_total", with("kind", why))),
            ejected: registry.gauge("midstream_redis_nodes_ejected", backend()),
            moved: registry.counter("midstream_redis_reads_moved_total", backend()),
        }
    }
}
