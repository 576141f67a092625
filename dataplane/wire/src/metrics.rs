//! Counters and histograms.
//!
//! Every worker has a [`Registry`] of its own, and only that worker writes to it: an increment is a plain load and store, no lock, no
//! locked instruction. A scrape reads all workers' registries and adds them up ([`render`]).
//!
//! Series that every family has, so that one dashboard fits all:
//! * `midstream_requests_total{family,listener,class}`, `midstream_errors_total{family,listener,kind}`
//! * `midstream_request_seconds{family,listener}` histogram, first byte of the request to last byte of the answer
//! * `midstream_backend_errors_total{family,backend,kind}`
//! * `midstream_pool_connections{family,backend,state}` with state active, idle, connecting; `midstream_pool_waiting{family,backend}`

use crate::key::Nanos;
use crate::top::Top;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Label names and values, in the order of output.
pub type Labels = Vec<(&'static str, String)>;

/// A value that only grows.
#[derive(Clone, Default, Debug)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds `n`; only the worker that owns the registry may call it.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A value that goes up and down.
#[derive(Clone, Default, Debug)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets it.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Four buckets to a doubling from 1 us (2^10 ns) up to 2^36 ns, about 69 s: an error of at most 19 %.
const STEPS: usize = 4;
const FIRST_POWER: u32 = 10;
const LAST_POWER: u32 = 36;
const BUCKETS: usize = (LAST_POWER - FIRST_POWER) as usize * STEPS + 2;

/// A distribution of durations.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<HistogramCells>);

#[derive(Debug)]
struct HistogramCells {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram(Arc::new(HistogramCells { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum: AtomicU64::new(0) }))
    }
}

impl Histogram {
    /// Records one duration; only the worker that owns the registry may call it.
    #[inline]
    pub fn record(&self, took: Nanos) {
        let cell = &self.0.buckets[bucket_of(took)];
        cell.store(cell.load(Relaxed) + 1, Relaxed);
        self.0.sum.store(self.0.sum.load(Relaxed).wrapping_add(took), Relaxed);
    }

    /// All durations together.
    pub fn sum(&self) -> Nanos {
        self.0.sum.load(Relaxed)
    }

    /// How many durations were recorded.
    pub fn count(&self) -> u64 {
        self.0.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }
}

#[inline]
fn bucket_of(took: Nanos) -> usize {
    let power = 63 - (took | 1).leading_zeros();
    if power < FIRST_POWER {
        return 0;
    }
    if power >= LAST_POWER {
        return BUCKETS - 1;
    }
    let step = (took >> (power - 2)) & 3;
    1 + (power - FIRST_POWER) as usize * STEPS + step as usize
}

/// The upper bound of a bucket in nanoseconds; `None` for the last.
fn bucket_end(bucket: usize) -> Option<Nanos> {
    if bucket == 0 {
        return Some(1 << FIRST_POWER);
    }
    if bucket == BUCKETS - 1 {
        return None;
    }
    let power = FIRST_POWER + ((bucket - 1) / STEPS) as u32;
    let step = ((bucket - 1) % STEPS) as u64;
    Some((5 + step) << (power - 2))
}

#[derive(Clone, Debug)]
enum Series {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
    Top(Top),
}

/// The series of one worker.
#[derive(Default, Debug)]
pub struct Registry {
    series: Mutex<BTreeMap<(&'static str, Labels), Series>>,
}

impl Registry {
    /// The counter of that name and those labels, made on first use. Keep the handle; this takes a lock.
    pub fn counter(&self, name: &'static str, labels: Labels) -> Counter {
        match self.series_of(name, labels, || Series::Counter(Counter::default())) {
            Series::Counter(counter) => counter,
            _ => Counter::default(),
        }
    }

    /// The gauge of that name and those labels, made on first use.
    pub fn gauge(&self, name: &'static str, labels: Labels) -> Gauge {
        match self.series_of(name, labels, || Series::Gauge(Gauge::default())) {
            Series::Gauge(gauge) => gauge,
            _ => Gauge::default(),
        }
    }

    /// The histogram of that name and those labels, made on first use.
    pub fn histogram(&self, name: &'static str, labels: Labels) -> Histogram {
        match self.series_of(name, labels, || Series::Histogram(Histogram::default())) {
            Series::Histogram(histogram) => histogram,
            _ => Histogram::default(),
        }
    }

    /// A list of the heaviest names, in place of one of that name and those labels; each name becomes a series with the label `key`.
    pub fn top(&self, name: &'static str, labels: Labels, top: Top) {
        self.series.lock().unwrap_or_else(PoisonError::into_inner).insert((name, labels), Series::Top(top));
    }

    /// Removes a series, or a list of them.
    pub fn remove(&self, name: &'static str, labels: Labels) {
        self.series.lock().unwrap_or_else(PoisonError::into_inner).remove(&(name, labels));
    }

    fn series_of(&self, name: &'static str, labels: Labels, new: impl FnOnce() -> Series) -> Series {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.entry((name, labels)).or_insert_with(new).clone()
    }
}

/// Prometheus text exposition of the sum over `registries`. Histogram bounds are those of every second doubling.
pub fn render(registries: &[Arc<Registry>]) -> String {
    let mut sums: BTreeMap<(&'static str, Labels), Sum> = BTreeMap::new();
    for registry in registries {
        let series = registry.series.lock().unwrap_or_else(PoisonError::into_inner);
        for (identity, one) in series.iter() {
            sums.entry(identity.clone()).or_default().add(one);
        }
    }
    let mut text = String::new();
    let mut last = "";
    for ((name, labels), sum) in &sums {
        if *name != last {
            let _ = writeln!(text, "# TYPE {name} {}", sum.kind);
            last = name;
        }
        sum.write(&mut text, name, labels);
    }
    text
}

#[derive(Default)]
struct Sum {
    kind: &'static str,
    value: u64,
    buckets: Vec<u64>,
    /// Of a list.
    names: Option<Vec<(Box<[u8]>, u64)>>,
}

impl Sum {
    fn add(&mut self, series: &Series) {
        match series {
            Series::Counter(counter) => {
                self.kind = "counter";
                self.value = self.value.wrapping_add(counter.get());
            }
            Series::Gauge(gauge) => {
                self.kind = "gauge";
                self.value = self.value.wrapping_add(gauge.get());
            }
            Series::Top(top) => {
                self.kind = "gauge";
                top.collect(self.names.get_or_insert_default());
            }
            Series::Histogram(Histogram(cells)) => {
                self.kind = "histogram";
                self.value = self.value.wrapping_add(cells.sum.load(Relaxed));
                self.buckets.resize(BUCKETS, 0);
                for (sum, bucket) in self.buckets.iter_mut().zip(&cells.buckets) {
                    *sum += bucket.load(Relaxed);
                }
            }
        }
    }

    fn write(&self, text: &mut String, name: &str, labels: &Labels) {
        if let Some(names) = &self.names {
            for (key, weight) in names {
                let labels = [labels.clone(), vec![("key", key.escape_ascii().to_string())]].concat();
                let _ = writeln!(text, "{name}{} {weight}", braces(&labels, None));
            }
            return;
        }
        if self.kind != "histogram" {
            let _ = writeln!(text, "{name}{} {}", braces(labels, None), self.value);
            return;
        }
        let mut below = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            below += count;
            let Some(end) = bucket_end(bucket) else { continue };
            if end.is_power_of_two() && end.trailing_zeros() % 2 == 0 {
                let bound = format!("{}", end as f64 / 1e9);
                let _ = writeln!(text, "{name}_bucket{} {below}", braces(labels, Some(&bound)));
            }
        }
        let _ = writeln!(text, "{name}_bucket{} {below}", braces(labels, Some("+Inf")));
        let _ = writeln!(text, "{name}_sum{} {}", braces(labels, None), self.value as f64 / 1e9);
        let _ = writeln!(text, "{name}_count{} {below}", braces(labels, None));
    }
}

fn braces(labels: &Labels, bound: Option<&str>) -> String {
    let mut parts: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    parts.extend(bound.map(|bound| format!("le=\"{bound}\"")));
    if parts.is_empty() { String::new() } else { format!("{{{}}}", parts.join(",")) }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_falls_into_the_bucket_that_ends_after_it() {
        for took in [0, 1, 1023, 1024, 1279, 1280, 5_000, 1_000_000, 68_000_000_000, u64::MAX] {
            let bucket = bucket_of(took);
            assert!(bucket_end(bucket).is_none_or(|end| took < end), "{took}");
            assert!(bucket == 0 || bucket_end(bucket - 1).unwrap() <= took, "{took}");
        }
    }

    #[test]
    fn a_scrape_adds_the_workers_up() {
        let workers = [Arc::new(Registry::default()), Arc::new(Registry::default())];
        for registry in &workers {
            registry.counter("requests_total", vec![("family", "redis".into())]).add(2);
            registry.histogram("seconds", vec![]).record(3_000);
        }
        let text = render(&workers);
        assert!(text.contains("# TYPE requests_total counter\nrequests_total{family=\"redis\"} 4\n"), "{text}");
        assert!(text.contains("seconds_bucket{le=\"0.000001024\"} 0\nseconds_bucket{le=\"0.000004096\"} 2\n"), "{text}");
        let top = Top::new(crate::top::Weighs::Count, 1, 1);
        workers[1].top("hot", vec![("listener", "cache".into())], top.clone());
        top.add(b"a\"\n", 3);
        top.tick(1);
        let listed = render(&workers);
        assert!(listed.contains("# TYPE hot gauge\nhot{listener=\"cache\",key=\"a\\\\\\\"\\\\n\"} 3\n"), "{listed}");
        workers[1].remove("hot", vec![("listener", "cache".into())]);
        assert!(!render(&workers).contains("hot"));
        assert!(text.contains("seconds_sum 0.000006\nseconds_count 2\n"), "{text}");
    }
}
