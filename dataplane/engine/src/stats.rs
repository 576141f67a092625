//! The engine's own counters, by worker; the families' are in `wire::metrics`.

use std::sync::Arc;
use wire::Side;
use wire::metrics::{Counter, Gauge, Labels, Registry};

/// Series of one worker.
pub(crate) struct Stats {
    pub connections: [Gauge; 2],
    pub accepted: Counter,
    pub bytes_in: [Counter; 2],
    pub bytes_out: [Counter; 2],
    pub spliced: Counter,
    pub turns: Counter,
    pub dials: Counter,
    pub dial_failures: Counter,
    pub tls_handshakes: Counter,
    pub tls_failures: Counter,
    pub upcalls: Counter,
    pub upcalls_refused: Counter,
    pub upcalls_late: Counter,
    pub mail_dropped: Counter,
    pub faults: [Counter; 3],
    pub panics: Counter,
}

/// Index into the pairs by side.
pub(crate) fn of(side: Side) -> usize {
    side as usize
}

impl Stats {
    pub fn new(registry: &Arc<Registry>) -> Stats {
        let by_side = |name: &'static str| {
            [Side::Client, Side::Server].map(|side| {
                let side = if side == Side::Client { "client" } else { "server" };
                registry.counter(name, vec![("side", side.into())])
            })
        };
        let plain = |name: &'static str| registry.counter(name, Labels::new());
        let with = |name: &'static str, label: &'static str, value: &str| registry.counter(name, vec![(label, value.into())]);
        Stats {
            connections: ["client", "server"].map(|side| registry.gauge("midstream_connections", vec![("side", side.into())])),
            accepted: plain("midstream_accepted_total"),
            bytes_in: by_side("midstream_received_bytes_total"),
            bytes_out: by_side("midstream_sent_bytes_total"),
            spliced: plain("midstream_spliced_bytes_total"),
            turns: plain("midstream_loop_turns_total"),
            dials: plain("midstream_dials_total"),
            dial_failures: plain("midstream_dial_failures_total"),
            tls_handshakes: plain("midstream_tls_handshakes_total"),
            tls_failures: plain("midstream_tls_failures_total"),
            upcalls: plain("midstream_upcalls_total"),
            upcalls_refused: with("midstream_upcalls_unanswered_total", "reason", "queue full"),
            upcalls_late: with("midstream_upcalls_unanswered_total", "reason", "timeout"),
            mail_dropped: plain("midstream_mail_dropped_total"),
            faults: ["client", "server", "ours"].map(|whose| with("midstream_faults_total", "whose", whose)),
            panics: plain("midstream_panics_total"),
        }
    }
}
