//! Tap: an access log of matching requests, one JSON object per line, sampled.
//!
//! The workers never wait for it: lines go into a bounded queue, and what does not fit is dropped and counted.

use crate::fault::Share;
use crate::select::Selector;
use config::Invalid;
use config::proto::midstream::policy::v1 as policy;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{SystemTime, UNIX_EPOCH};
use wire::{Outcome, Request};

/// Lines that wait for the reader: a second of 4,000 sampled requests. Usually 4,096 x 300 B = 1.2 MB; 4,096 x 13 KB = 52 MB when every
/// line has all its names and every byte of them is a control character, which JSON writes in six.
const MAX_WAITING: usize = 4096;

/// Resources that a line names; an MGET may have thousands. `resources_total` tells how many there were.
const MAX_RESOURCES: usize = 16;

/// How much of a resource's name a line holds.
const MAX_NAME: usize = 128;

/// Where lines go. Must not block: it is called by the workers.
pub trait TapSink: Send + Sync {
    /// Takes a JSON object, without line end, or drops it.
    fn offer(&self, line: String);
}

/// The writing end of the queue.
#[derive(Debug)]
pub struct TapQueue {
    lines: SyncSender<String>,
    dropped: AtomicU64,
}

/// The reading end of the queue.
#[derive(Debug)]
pub struct TapLines(Receiver<String>);

/// A bounded queue from the workers to whoever writes the access log.
pub fn tap_queue() -> (TapQueue, TapLines) {
    let (sender, receiver) = sync_channel(MAX_WAITING);
    (TapQueue { lines: sender, dropped: AtomicU64::new(0) }, TapLines(receiver))
}

impl TapQueue {
    /// How many lines did not fit, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

impl TapSink for TapQueue {
    fn offer(&self, line: String) {
        if self.lines.try_send(stamped(&line)).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

impl TapLines {
    /// The lines that wait, oldest first.
    pub fn take(&self) -> Vec<String> {
        self.0.try_iter().take(MAX_WAITING).collect()
    }
}

/// The line with `time`, seconds since 1970, as its first field.
fn stamped(line: &str) -> String {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{{\"time\":{}.{:06},{}", time.as_secs(), time.subsec_micros(), line.strip_prefix('{').unwrap_or(line))
}

/// A compiled Tap of one listener.
pub struct Tap {
    name: String,
    listener: Arc<str>,
    selector: Selector,
    share: Share,
    seen: AtomicU64,
    sink: Arc<dyn TapSink>,
}

impl Tap {
    /// Compiles the tap called `name` for a listener.
    pub fn new(name: &str, listener: Arc<str>, tap: &policy::Tap, sink: Arc<dyn TapSink>) -> Result<Tap, Invalid> {
        let selector = Selector::new(tap.r#match.as_ref())?;
        Ok(Tap { name: name.into(), listener, selector, share: Share::new(tap.percent)?, seen: AtomicU64::new(0), sink })
    }

    pub fn matches(&self, request: &Request<'_>) -> bool {
        self.selector.matches(request)
    }

    /// Logs a matching request, if it is of the sample.
    pub fn done(&self, request: &Request<'_>, outcome: &Outcome<'_>) {
        if self.matches(request) && self.share.has(spread(self.seen.fetch_add(1, Relaxed))) {
            self.sink.offer(self.line(request, outcome));
        }
    }

    fn line(&self, request: &Request<'_>, outcome: &Outcome<'_>) -> String {
        let mut line = String::with_capacity(256);
        field(&mut line, "{", "tap", self.name.as_bytes());
        field(&mut line, ",", "listener", self.listener.as_bytes());
        field(&mut line, ",", "identity", request.identity.as_bytes());
        field(&mut line, ",", "class", request.class.as_str().as_bytes());
        field(&mut line, ",", "verb", request.verb.as_bytes());
        resources(&mut line, request.resources);
        let _ = write!(line, ",\"bytes\":{},\"took_us\":{}", request.bytes, outcome.took / 1_000);
        if request.fingerprint != 0 {
            let _ = write!(line, ",\"fingerprint\":\"{:032x}\"", request.fingerprint);
        }
        if !outcome.error.is_empty() {
            field(&mut line, ",", "error", outcome.error.as_bytes());
        }
        if !outcome.backend.is_empty() {
            field(&mut line, ",", "backend", outcome.backend.as_bytes());
        }
        traces(&mut line, outcome.traces);
        line.push('}');
        line
    }
}

/// The n-th dice of an even spread: multiples of the golden ratio fill the circle with the smallest gaps (Knuth, volume 3, 6.4), so
/// that a sample of 5 % is every 20th request or so, never a run of them.
fn spread(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn field(line: &mut String, before: &str, name: &str, value: &[u8]) {
    let _ = write!(line, "{before}\"{name}\":");
    quote(line, value);
}

fn traces(line: &mut String, ids: &[[u8; 16]]) {
    for (index, id) in ids.iter().enumerate() {
        let _ = write!(line, "{}\"{:032x}\"", if index == 0 { ",\"traces\":[" } else { "," }, u128::from_be_bytes(*id));
    }
    line.push_str(if ids.is_empty() { "" } else { "]" });
}

fn resources(line: &mut String, resources: &[&[u8]]) {
    line.push_str(",\"resources\":[");
    for (index, resource) in resources.iter().take(MAX_RESOURCES).enumerate() {
        if index > 0 {
            line.push(',');
        }
        quote(line, resource.get(..MAX_NAME).unwrap_or(resource));
    }
    line.push(']');
    if resources.len() > MAX_RESOURCES {
        let _ = write!(line, ",\"resources_total\":{}", resources.len());
    }
}

/// A JSON string (RFC 8259 section 7); bytes that are not UTF-8 become U+FFFD.
fn quote(line: &mut String, bytes: &[u8]) {
    line.push('"');
    for character in String::from_utf8_lossy(bytes).chars() {
        match character {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            control if u32::from(control) < 0x20 => {
                let _ = write!(line, "\\u{:04x}", u32::from(control));
            }
            other => line.push(other),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Class;

    fn tap(percent: f64) -> (Tap, TapLines, Arc<TapQueue>) {
        let (queue, lines) = tap_queue();
        let queue = Arc::new(queue);
        let tap = policy::Tap { name: "log".into(), listeners: vec!["*".into()], r#match: None, percent };
        (Tap::new("log", "shop".into(), &tap, queue.clone()).unwrap(), lines, queue)
    }

    const REQUEST: Request<'static> =
        Request { identity: "user:a", class: Class::Read, verb: "GET", groups: &[], resources: &[b"k\"\n\xff"], bytes: 9, fingerprint: 255 };
    const OUTCOME: Outcome<'static> = Outcome { took: 1_234_567, error: "", backend: "127.0.0.1:7001", traces: &[[0x0a; 16], [1; 16]] };

    #[test]
    fn a_line_is_one_json_object() {
        let (tap, lines, _) = tap(100.0);
        tap.done(&REQUEST, &OUTCOME);
        let line = lines.take().remove(0);
        let (time, rest) = line.split_once(",\"tap\"").unwrap();
        assert!(time.starts_with("{\"time\":1") || time.starts_with("{\"time\":2"), "{line}");
        assert_eq!(
            rest,
            ":\"log\",\"listener\":\"shop\",\"identity\":\"user:a\",\"class\":\"read\",\"verb\":\"GET\",\"resources\":[\"k\\\"\\u000a\u{fffd}\"],\
             \"bytes\":9,\"took_us\":1234,\"fingerprint\":\"000000000000000000000000000000ff\",\"backend\":\"127.0.0.1:7001\",\
             \"traces\":[\"0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a\",\"01010101010101010101010101010101\"]}"
        );
    }

    #[test]
    fn a_sample_is_spread_evenly() {
        let (tap, lines, _) = tap(5.0);
        for _ in 0..1_000 {
            tap.done(&REQUEST, &OUTCOME);
        }
        let sampled = lines.take().len();
        assert!((48..=52).contains(&sampled), "{sampled}");
    }

    #[test]
    fn what_the_reader_does_not_take_is_dropped_and_counted() {
        let (tap, lines, queue) = tap(100.0);
        for _ in 0..MAX_WAITING + 3 {
            tap.done(&REQUEST, &OUTCOME);
        }
        assert_eq!((lines.take().len(), queue.dropped()), (MAX_WAITING, 3));
    }

    #[test]
    fn a_long_request_makes_a_short_line() {
        let (tap, lines, _) = tap(100.0);
        let long = vec![b'k'; 10_000];
        let many = vec![long.as_slice(); 1_000];
        tap.done(&Request { resources: &many, ..REQUEST }, &OUTCOME);
        let line = lines.take().remove(0);
        assert!(line.len() < 5 * 1024, "{}", line.len());
        assert!(line.contains("\"resources_total\":1000"), "{line}");
    }
}
