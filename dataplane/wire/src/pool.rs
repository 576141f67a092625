//! A pool of server connections as a pure machine: it says who gets which connection and when to dial; it dials nothing itself.
//!
//! ```text
//! acquire --idle one (LIFO)--> Leased           release --longest waiter--> hand-off, else idle
//!         \--none----------> Queued (FIFO) ---- ready ------------------^
//!                             `-- deadline passed: expired
//! ```
//!
//! LIFO over idle connections lets the ones that are not needed grow old and be closed; FIFO over waiters keeps the tail flat; the
//! direct hand-off means that a newcomer never overtakes a waiter. Connections whose dial failed are tried again with a growing pause,
//! and waiters keep their place meanwhile.

use crate::key::{Key, MILLIS, Nanos, SECONDS};
use std::collections::VecDeque;

/// The pause after the first failed dial; doubles with each further one.
const BACKOFF_FIRST: Nanos = 50 * MILLIS;
/// The longest pause: a back end that returns is found within this time.
const BACKOFF_MAX: Nanos = 2 * SECONDS;

/// Sizes and times of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections at most, those being dialled included; at least one.
    pub size: usize,
    /// How long a waiter waits.
    pub wait: Nanos,
    /// An idle connection is given up after this; 0: never.
    pub idle: Nanos,
}

impl Limits {
    /// One worker's share of a size that holds for the process, at least one.
    pub fn share(size: usize, worker: usize, workers: usize) -> usize {
        let workers = workers.max(1);
        (size / workers + usize::from(worker < size % workers)).max(1)
    }
}

/// The answer to [`Pool::acquire`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acquired {
    /// Take this connection.
    Leased(Key),
    /// Wait; it will be handed over by [`Pool::ready`] or [`Pool::release`], or [`Pool::expired`] names the waiter.
    Queued,
}

#[derive(Clone, Copy, Debug)]
struct Idle {
    server: Key,
    since: Nanos,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    who: Key,
    deadline: Nanos,
}

/// See the module.
#[derive(Debug)]
pub struct Pool {
    limits: Limits,
    idle: VecDeque<Idle>,
    waiters: VecDeque<Waiter>,
    dialling: usize,
    active: usize,
    failures: u32,
    not_before: Nanos,
}

impl Pool {
    /// An empty pool.
    pub fn new(limits: Limits) -> Pool {
        Pool { limits, idle: VecDeque::new(), waiters: VecDeque::new(), dialling: 0, active: 0, failures: 0, not_before: 0 }
    }

    /// Other limits from now on; a pool that is too large shrinks as its connections come back.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Its limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// A connection for `who`, or a place in the queue. After `Queued` ask [`Pool::dial`] and [`Pool::next`].
    pub fn acquire(&mut self, who: Key, now: Nanos) -> Acquired {
        if self.waiters.is_empty()
            && let Some(idle) = self.idle.pop_back()
        {
            self.active += 1;
            return Acquired::Leased(idle.server);
        }
        if !self.waiters.iter().any(|waiter| waiter.who == who) {
            self.waiters.push_back(Waiter { who, deadline: now.saturating_add(self.limits.wait) });
        }
        Acquired::Queued
    }

    /// Whether one more connection is to be dialled now: call until it says no, and dial each time it says yes.
    pub fn dial(&mut self, now: Nanos) -> bool {
        let wanted = self.waiters.len() > self.dialling && self.len() < self.limits.size.max(1) && now >= self.not_before;
        // While the back end refuses, one attempt at a time.
        let dial = wanted && (self.failures == 0 || self.dialling == 0);
        self.dialling += usize::from(dial);
        dial
    }

    /// A dialled connection is ready for use: leased to the waiter that is returned, or idle.
    pub fn ready(&mut self, server: Key, now: Nanos) -> Option<Key> {
        self.dialling = self.dialling.saturating_sub(1);
        self.failures = 0;
        self.not_before = 0;
        self.active += 1;
        self.release(server, now)
    }

    /// A dialled connection never became ready.
    pub fn refused(&mut self, now: Nanos) {
        self.dialling = self.dialling.saturating_sub(1);
        let pause = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.saturating_add(pause);
    }

    /// A leased connection is clean and free again: it goes straight to the waiter that is returned, or idle.
    pub fn release(&mut self, server: Key, now: Nanos) -> Option<Key> {
        if let Some(waiter) = self.waiters.pop_front() {
            return Some(waiter.who);
        }
        self.active = self.active.saturating_sub(1);
        self.idle.push_back(Idle { server, since: now });
        None
    }

    /// Whether a returned connection is to be closed because the pool was made smaller.
    pub fn is_over(&self) -> bool {
        self.len() > self.limits.size.max(1)
    }

    /// A leased connection is gone.
    pub fn lost(&mut self) {
        self.active = self.active.saturating_sub(1);
    }

    /// An idle connection is gone. False if it was not idle.
    pub fn lost_idle(&mut self, server: Key) -> bool {
        let before = self.idle.len();
        self.idle.retain(|idle| idle.server != server);
        self.idle.len() < before
    }

    /// A waiter waits no more.
    pub fn forget(&mut self, who: Key) {
        self.waiters.retain(|waiter| waiter.who != who);
    }

    /// The next waiter whose time is up; it has left the queue.
    pub fn expired(&mut self, now: Nanos) -> Option<Key> {
        self.waiters.front().filter(|waiter| waiter.deadline <= now)?;
        self.waiters.pop_front().map(|waiter| waiter.who)
    }

    /// The next idle connection that nobody needed for `limits.idle`; it has left the pool and is to be closed.
    pub fn stale(&mut self, now: Nanos) -> Option<Key> {
        if self.limits.idle == 0 {
            return None;
        }
        self.idle.front().filter(|idle| idle.since.saturating_add(self.limits.idle) <= now)?;
        self.idle.pop_front().map(|idle| idle.server)
    }

    /// Takes all idle connections out, to close them.
    pub fn drain(&mut self) -> Vec<Key> {
        self.idle.drain(..).map(|idle| idle.server).collect()
    }

    /// When [`Pool::dial`], [`Pool::expired`] or [`Pool::stale`] may have something to say next.
    pub fn next(&self) -> Option<Nanos> {
        let deadline = self.waiters.front().map(|waiter| waiter.deadline);
        let dial = (self.waiters.len() > self.dialling && self.not_before > 0 && self.len() < self.limits.size.max(1)).then_some(self.not_before);
        let stale = self.idle.front().filter(|_| self.limits.idle > 0).map(|idle| idle.since.saturating_add(self.limits.idle));
        [deadline, dial, stale].into_iter().flatten().min()
    }

    /// Connections in all states.
    pub fn len(&self) -> usize {
        self.active + self.dialling + self.idle.len()
    }

    /// Whether it has no connection.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Leased, idle, being dialled, waiting: for the gauges.
    pub fn census(&self) -> [usize; 4] {
        [self.active, self.idle.len(), self.dialling, self.waiters.len()]
    }

    /// Whether the last dial failed: for the message to a waiter whose time is up.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: u32) -> Key {
        Key { slot, generation: 0 }
    }

    fn pool(size: usize) -> Pool {
        Pool::new(Limits { size, wait: SECONDS, idle: 10 * SECONDS })
    }

    /// A pool of `size` with all connections idle, keys 100, 101, ...
    fn filled(size: u32) -> Pool {
        let mut pool = pool(size as usize);
        for n in 0..size {
            pool.acquire(key(n), 0);
            assert!(pool.dial(0));
        }
        for n in 0..size {
            assert_eq!(pool.ready(key(100 + n), 0), Some(key(n)));
        }
        for n in 0..size {
            assert_eq!(pool.release(key(100 + n), u64::from(n)), None);
        }
        pool
    }

    #[test]
    fn the_last_one_back_is_the_first_one_out() {
        let mut pool = filled(2);
        assert_eq!(pool.acquire(key(1), 5), Acquired::Leased(key(101)));
        assert_eq!(pool.acquire(key(2), 5), Acquired::Leased(key(100)));
        assert_eq!(pool.census(), [2, 0, 0, 0]);
    }

    #[test]
    fn a_released_connection_goes_to_the_longest_waiter() {
        let mut pool = filled(1);
        assert_eq!(pool.acquire(key(1), 5), Acquired::Leased(key(100)));
        assert_eq!(pool.acquire(key(2), 6), Acquired::Queued);
        assert_eq!(pool.acquire(key(3), 7), Acquired::Queued);
        assert!(!pool.dial(7), "the pool is full");
        assert_eq!(pool.release(key(100), 8), Some(key(2)));
        pool.forget(key(3));
        assert_eq!(pool.release(key(100), 9), None);
    }

    #[test]
    fn asking_twice_keeps_one_place() {
        let mut pool = pool(5);
        pool.acquire(key(1), 0);
        pool.acquire(key(1), 0);
        assert!(pool.dial(0));
        assert!(!pool.dial(0));
        assert_eq!(pool.census(), [0, 0, 1, 1]);
    }

    #[test]
    fn a_waiter_whose_time_is_up_leaves() {
        let mut pool = filled(1);
        pool.acquire(key(1), 0);
        pool.acquire(key(2), 10);
        assert_eq!(pool.next(), Some(SECONDS + 10));
        assert_eq!(pool.expired(SECONDS), None);
        assert_eq!(pool.expired(SECONDS + 10), Some(key(2)));
        assert_eq!(pool.release(key(100), SECONDS + 11), None);
    }

    #[test]
    fn a_refusing_back_end_is_tried_one_dial_at_a_time_with_growing_pauses() {
        let mut pool = pool(5);
        for n in 0..3 {
            pool.acquire(key(n), 0);
        }
        assert!(pool.dial(0) && pool.dial(0) && pool.dial(0));
        for _ in 0..3 {
            pool.refused(0);
        }
        let again = pool.next().unwrap();
        assert_eq!(again, 4 * BACKOFF_FIRST);
        assert!(!pool.dial(again - 1));
        assert!(pool.dial(again));
        assert!(!pool.dial(again), "one at a time");
        assert_eq!(pool.ready(key(100), again), Some(key(0)));
        assert!(pool.dial(again), "and freely again");
    }

    #[test]
    fn what_nobody_needs_grows_stale_from_the_bottom() {
        let mut pool = filled(2);
        assert_eq!(pool.next(), Some(10 * SECONDS));
        assert_eq!(pool.stale(10 * SECONDS), Some(key(100)));
        assert_eq!(pool.stale(10 * SECONDS), None);
        assert_eq!(pool.len(), 1);
        assert!(pool.lost_idle(key(101)));
        assert!(pool.is_empty());
    }

    #[test]
    fn a_process_size_is_divided_among_workers() {
        let shares: Vec<usize> = (0..4).map(|worker| Limits::share(6, worker, 4)).collect();
        assert_eq!(shares, [2, 2, 1, 1]);
        assert_eq!(Limits::share(1, 3, 4), 1);
    }
}
