//! RateLimit: a token bucket per sidecar process.
//!
//! The bucket is kept as GCRA (ITU-T I.371 annex A, the virtual scheduling algorithm): one number, the theoretical arrival time at which
//! the bucket would be full again. It is one atomic shared by all workers, so that the limit is the process', and it needs no timer.

use crate::authz::quoted;
use crate::each::Each;
use crate::select::{Selector, named};
use config::Invalid;
use config::proto::midstream::policy::v1 as policy;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use wire::{Denial, DenialKind, MILLIS, Nanos, Request, SECONDS};

/// An empty bucket must be full again within this: beyond it the words "per period" mean nothing, and the arithmetic stays far from 2^64.
const MAX_REFILL: Nanos = 366 * 24 * 3600 * SECONDS;

/// What is used beyond a limit is remembered up to this, so that one huge answer does not stop its user for an hour.
const MAX_DEBT: Nanos = 60 * SECONDS;

/// The tokens of one limit; all times in nanoseconds of one clock for the whole process.
#[derive(Debug)]
pub struct Bucket {
    /// When the bucket is full again, if nothing more is taken.
    full_at: AtomicU64,
    /// How long a token takes to come back.
    interval: Nanos,
    /// The same as a fraction: `period / requests`, for many tokens at once.
    period: Nanos,
    requests: u64,
    /// How far ahead of now `full_at` may be for one more token to be there.
    tolerance: Nanos,
}

impl Bucket {
    /// `requests` tokens come back per `period_ms`; `burst` of them fit in, 0: as many as `requests`.
    ///
    /// # Errors
    /// A number is zero or out of range; the field is named as in RateLimit.
    pub fn new(requests: u64, period_ms: u64, burst: u64) -> Result<Bucket, Invalid> {
        if requests == 0 {
            return Err(Invalid::new("requests", "is 0, which no request could pass; use an AccessPolicy to deny"));
        }
        let period = period_ms.checked_mul(MILLIS).filter(|period| (1..=MAX_REFILL).contains(period));
        let period = period.ok_or_else(|| Invalid::new("period_ms", format!("{period_ms} is not between 1 ms and a year")))?;
        if requests > period {
            return Err(Invalid::new("requests", format!("{requests} per {period_ms} ms is more than one per nanosecond; lower it")));
        }
        let interval = period.div_ceil(requests);
        let burst = if burst == 0 { requests } else { burst };
        let tolerance = (burst - 1).checked_mul(interval).filter(|tolerance| *tolerance <= 2 * MAX_REFILL);
        let tolerance = tolerance.ok_or_else(|| Invalid::new("burst", format!("{burst} would take more than a year to refill; lower it")))?;
        Ok(Bucket { full_at: AtomicU64::new(0), interval, period, requests, tolerance })
    }

    /// Takes a token if there is one.
    pub fn take(&self, now: Nanos) -> bool {
        let next = |full_at: Nanos| {
            let from = full_at.max(now);
            (from - now <= self.tolerance).then_some(from.saturating_add(self.interval))
        };
        self.full_at.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    /// Takes tokens that need not be there yet; how long until they are.
    pub fn charge(&self, tokens: u64, now: Nanos) -> Nanos {
        let burst = now.saturating_add(self.tolerance).saturating_add(self.interval);
        let most = burst.saturating_add(MAX_DEBT);
        let takes = Nanos::try_from(u128::from(tokens) * u128::from(self.period) / u128::from(self.requests)).unwrap_or(Nanos::MAX);
        let after = |full_at: Nanos| full_at.max(now).saturating_add(takes).min(most);
        let before = self.full_at.fetch_update(Relaxed, Relaxed, |full_at| Some(after(full_at))).unwrap_or(now);
        after(before).saturating_sub(burst)
    }

    /// Whether nothing of it is taken.
    pub fn is_full(&self, now: Nanos) -> bool {
        self.full_at.load(Relaxed) <= now
    }

    /// A full one of the same kind.
    pub fn another(&self) -> Bucket {
        Bucket { full_at: AtomicU64::new(0), ..*self }
    }

    /// Puts a token back that was taken for a request which another limit then stopped.
    pub fn give_back(&self) {
        self.full_at.fetch_sub(self.interval, Relaxed);
    }
}

/// The tokens of one RateLimit, which outlive a push that leaves it as it is.
#[derive(Debug)]
pub enum Tokens {
    /// Of all requests together.
    All(Bucket),
    /// Of each identity.
    Each(Each),
}

impl Tokens {
    fn take(&self, identity: &str, now: Nanos) -> bool {
        match self {
            Tokens::All(bucket) => bucket.take(now),
            Tokens::Each(each) => each.of(identity, now).take(now),
        }
    }

    /// [`Bucket::charge`] for one of its users.
    pub fn charge(&self, owner: &str, tokens: u64, now: Nanos) -> Nanos {
        match self {
            Tokens::All(bucket) => bucket.charge(tokens, now),
            Tokens::Each(each) => each.of(owner, now).charge(tokens, now),
        }
    }

    fn give_back(&self, identity: &str) {
        match self {
            Tokens::All(bucket) => bucket.give_back(),
            Tokens::Each(each) => each.known(identity).give_back(),
        }
    }
}

/// A compiled RateLimit.
#[derive(Debug)]
pub struct Limit {
    object: Arc<str>,
    selector: Selector,
    tokens: Arc<Tokens>,
    rate: String,
}

impl Limit {
    /// Compiles the limit called `name`; `tokens` are asked for only when the rest is well.
    pub fn new(name: &str, limit: &policy::RateLimit, tokens: impl FnOnce() -> Result<Arc<Tokens>, Invalid>) -> Result<Limit, Invalid> {
        if matches!(limit.each(), policy::rate_limit::Each::Client | policy::rate_limit::Each::Resource) {
            return Err(Invalid::new("each", "client and resource are for limits that throttle; write process or identity"));
        }
        let selector = Selector::new(limit.r#match.as_ref())?;
        let each = if limit.each() == policy::rate_limit::Each::Identity { " and identity" } else { "" };
        let rate = format!("{} requests per {} ms{each}", limit.requests, limit.period_ms);
        Ok(Limit { object: format!("RateLimit/{name}").into(), selector, tokens: tokens()?, rate })
    }

    pub fn matches(&self, request: &Request<'_>) -> bool {
        self.selector.matches(request)
    }

    pub fn take(&self, request: &Request<'_>, now: Nanos) -> bool {
        self.tokens.take(request.identity, now)
    }

    pub fn give_back(&self, request: &Request<'_>) {
        self.tokens.give_back(request.identity);
    }

    pub fn denial(&self, request: &Request<'_>) -> Denial {
        let Limit { object, rate, .. } = self;
        let (verb, identity, what) = (request.verb, request.identity, quoted(named(request).first().copied().unwrap_or_default()));
        let message = format!("{object} allows {rate}, which {verb} of {what} by {identity} goes over; retry later or raise the limit");
        Denial { kind: DenialKind::RateLimited, rule: object.clone(), message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_passes_at_once_and_then_one_per_interval() {
        let bucket = Bucket::new(10, 1_000, 3).unwrap();
        let now = 5 * SECONDS;
        assert_eq!((0..5).filter(|_| bucket.take(now)).count(), 3);
        assert!(!bucket.take(now + 99 * MILLIS));
        assert!(bucket.take(now + 100 * MILLIS));
        assert!(!bucket.take(now + 199 * MILLIS));
        assert_eq!((0..5).filter(|_| bucket.take(now + 60 * SECONDS)).count(), 3, "an idle bucket holds its burst, not more");
    }

    #[test]
    fn the_burst_is_the_requests_of_a_period_unless_given() {
        let bucket = Bucket::new(1_000, 60_000, 0).unwrap();
        assert_eq!((0..2_000).filter(|_| bucket.take(SECONDS)).count(), 1_000);
    }

    #[test]
    fn a_token_given_back_can_be_taken_again() {
        let bucket = Bucket::new(1, 1_000, 1).unwrap();
        assert!(bucket.take(SECONDS) && !bucket.take(SECONDS));
        bucket.give_back();
        assert!(bucket.take(SECONDS) && !bucket.take(SECONDS));
    }

    #[test]
    fn what_is_used_beyond_the_limit_is_waited_for() {
        let bucket = Bucket::new(1_000, 1_000, 500).unwrap();
        assert_eq!(bucket.charge(500, SECONDS), 0, "a burst is there at once");
        assert_eq!(bucket.charge(2_000, SECONDS) / MILLIS, 2_000);
        assert_eq!(bucket.charge(0, 2 * SECONDS) / MILLIS, 1_000, "waiting pays");
        assert_eq!(bucket.charge(u64::MAX, 2 * SECONDS), MAX_DEBT);
        assert_eq!(bucket.charge(1, 100 * SECONDS), 0);
    }

    #[test]
    fn numbers_that_mean_nothing_are_refused() {
        let bad = |requests, period_ms, burst| Bucket::new(requests, period_ms, burst).unwrap_err().field;
        assert_eq!(bad(0, 1_000, 0), "requests");
        assert_eq!(bad(1_000_001, 1, 0), "requests");
        assert_eq!(bad(1, 0, 0), "period_ms");
        assert_eq!(bad(1, u64::MAX, 0), "period_ms");
        assert_eq!(bad(1, 1_000, u64::MAX), "burst");
    }

    #[test]
    fn four_threads_together_get_no_more_than_one_would() {
        let (requests, period_ms, burst) = (1_000, 1_000, 50);
        let bucket = Bucket::new(requests, period_ms, burst).unwrap();
        let last = 2 * SECONDS;
        let worker = |first: u64| {
            let bucket = &bucket;
            // Every 4th tick of 10 us each: about 50 times what the limit allows.
            move || (first..last / 10_000).step_by(4).filter(|tick| bucket.take(SECONDS + tick * 10_000)).count() as u64
        };
        let taken: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|first| scope.spawn(worker(first))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(taken <= burst + requests * last / SECONDS, "{taken}");
        assert!(taken >= burst, "{taken}");
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_the_rate(
            requests in 1u64..5_000, period_ms in 1u64..10_000, burst in 0u64..100,
            gaps in proptest::collection::vec(0u64..50 * MILLIS, 1..400),
        ) {
            let bucket = Bucket::new(requests, period_ms, burst).unwrap();
            let start = SECONDS;
            let (mut now, mut taken) = (start, 0u64);
            for gap in gaps {
                now += gap;
                taken += u64::from(bucket.take(now));
                let earned = u128::from(requests) * u128::from(now - start) / u128::from(period_ms * MILLIS);
                let capacity = if burst == 0 { requests } else { burst };
                prop_assert!(u128::from(taken) <= u128::from(capacity) + earned);
            }
        }
    }
}
