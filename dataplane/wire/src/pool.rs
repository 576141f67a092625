//! A pool of server connections as a pure machine: it says who gets which connection and when to dial; it dials nothing itself.
//!
//! ```text
//! acquire --idle one (LIFO)--> Leased           release --longest waiter--> hand-off, else idle
//!         |--idle for long---> Check: queued, and the connection is asked --checked--^
//!         \--none----------> Queued (FIFO) ---- ready ------------------^
//!                             `-- deadline passed: expired
//! ```
//!
//! LIFO over idle connections lets the ones that are not needed grow old and be closed; FIFO over waiters keeps the tail flat; the
//! direct hand-off means that a newcomer never overtakes a waiter. Connections whose dial failed are tried again with a growing pause,
//! and waiters keep their place meanwhile. Every time of a connection is jittered, so that what was opened together does not end together.

#[cfg(test)]
mod chaos;
mod limits;
#[cfg(test)]
mod tests;

pub use limits::{CHECK_AFTER, Limits, Term};

use crate::key::{Key, MILLIS, Nanos, SECONDS};
use limits::Dice;
use std::collections::VecDeque;

/// The pause after the first failed dial; doubles with each further one.
const BACKOFF_FIRST: Nanos = 50 * MILLIS;
/// The longest pause: a back end that returns is found within this time.
const BACKOFF_MAX: Nanos = 2 * SECONDS;

/// The answer to [`Pool::acquire`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acquired {
    /// Take this connection.
    Leased(Key),
    /// Wait, as with `Queued`, and ask this connection whether it is alive: [`Pool::checked`] or [`Pool::lost_check`] when it is known.
    Check(Key),
    /// Wait; it will be handed over by [`Pool::ready`] or [`Pool::release`], or [`Pool::expired`] names the waiter.
    Queued,
}

#[derive(Clone, Copy, Debug)]
struct Idle {
    server: Key,
    since: Nanos,
    term: Term,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    who: Key,
    since: Nanos,
    deadline: Nanos,
}

/// See the module.
#[derive(Debug)]
pub struct Pool {
    limits: Limits,
    dice: Dice,
    idle: VecDeque<Idle>,
    waiters: VecDeque<Waiter>,
    dialling: usize,
    /// Leased, being cleaned, being checked.
    active: usize,
    /// Of those, how many are being checked for a waiter.
    checking: usize,
    /// Nobody gets a connection, and none is dialled.
    is_paused: bool,
    /// The last dial failed.
    is_failing: bool,
    /// Pauses since the last one that succeeded.
    pauses: u32,
    not_before: Nanos,
    leases: u64,
    waited: Nanos,
}

impl Pool {
    /// An empty pool. `seed` makes its jitter: the same each time for the same seed.
    pub fn new(limits: Limits, seed: u64) -> Pool {
        let (idle, waiters) = (VecDeque::new(), VecDeque::new());
        let (is_paused, is_failing, pauses) = (false, false, 0);
        let (dialling, active, checking) = (0, 0, 0);
        Pool {
            limits,
            dice: Dice(seed),
            idle,
            waiters,
            dialling,
            active,
            checking,
            is_paused,
            is_failing,
            pauses,
            not_before: 0,
            leases: 0,
            waited: 0,
        }
    }

    /// Other limits from now on; a pool that is too large shrinks as its connections come back.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Its limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// A connection for `who`, who must not wait already, or a place in the queue. After `Queued` ask [`Pool::dial`] and [`Pool::next`].
    pub fn acquire(&mut self, who: Key, now: Nanos) -> Acquired {
        debug_assert!(!self.waiters.iter().any(|waiter| waiter.who == who), "one place per client");
        let found = if self.is_paused { None } else { self.idle.pop_back() };
        self.active += usize::from(found.is_some());
        match found {
            Some(idle) if now.saturating_sub(idle.since) < CHECK_AFTER && self.waiters.is_empty() => {
                self.leases += 1;
                return Acquired::Leased(idle.server);
            }
            _ => self.waiters.push_back(Waiter { who, since: now, deadline: now.saturating_add(self.limits.wait) }),
        }
        self.checking += usize::from(found.is_some());
        found.map_or(Acquired::Queued, |idle| Acquired::Check(idle.server))
    }

    /// Everybody waits from now on, and for as long as it takes; connections that come back are to be closed.
    pub fn pause(&mut self) {
        self.is_paused = true;
    }

    /// Whether it is paused.
    #[inline]
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// The pause is over; who waited through it waits from now on. Ask [`Pool::dial`] and [`Pool::next`].
    pub fn resume(&mut self, now: Nanos) {
        if std::mem::take(&mut self.is_paused) {
            let deadline = now.saturating_add(self.limits.wait);
            self.waiters.iter_mut().for_each(|waiter| waiter.deadline = deadline);
        }
    }

    /// Leases that idle connection; false: it is not idle, or others wait.
    pub fn take(&mut self, server: Key) -> bool {
        let is_taken = !self.is_paused && self.waiters.is_empty() && self.lost_idle(server);
        self.active += usize::from(is_taken);
        is_taken
    }

    /// Whether one more connection is to be dialled now: call until it says no, and dial each time it says yes.
    pub fn dial(&mut self, now: Nanos) -> bool {
        let dial = self.wants(now);
        self.dialling += usize::from(dial);
        dial
    }

    /// What [`Pool::dial`] would say, for who has conditions of its own.
    pub fn wants(&self, now: Nanos) -> bool {
        now >= self.not_before && self.dial_at().is_some_and(|at| at <= now)
    }

    /// From when on another connection is wanted, but for the pause after a failure.
    fn dial_at(&self) -> Option<Nanos> {
        // While the back end refuses, one attempt at a time; and nobody waits for those that are dialled ahead and in reserve.
        let is_alone = self.dialling == 0;
        if self.is_paused || self.is_failing && !is_alone {
            return None;
        }
        let size = self.limits.size.max(1);
        let is_wanted = self.waiters.len() > self.dialling + self.checking;
        match self.waiters.front().filter(|_| is_wanted) {
            Some(_) if self.len() < size => Some(0),
            Some(first) if is_alone && self.len() < size.saturating_add(self.limits.reserve) => {
                Some(first.since.saturating_add(self.limits.reserve_after))
            }
            _ => (is_alone && self.len() < self.limits.min.min(size)).then_some(0),
        }
    }

    /// A dialled connection is ready for use: what its times are reckoned from, and the waiter that it is leased to; without one it is idle.
    pub fn ready(&mut self, server: Key, now: Nanos) -> (Term, Option<Key>) {
        self.dialling = self.dialling.saturating_sub(1);
        (self.is_failing, self.pauses) = (false, 0);
        self.not_before = 0;
        self.active += 1;
        let term = Term { born: now, dice: self.dice.roll() };
        (term, self.release(server, term, now))
    }

    /// A dialled connection never became ready. `dice` is a random number: up to a quarter is added to the pause, so that those who lost
    /// a back end together do not return together.
    pub fn refused(&mut self, now: Nanos, dice: u64) {
        self.dialling = self.dialling.saturating_sub(1);
        if self.is_failing && now < self.not_before {
            return; // one of several that were dialled side by side: they have failed once, together
        }
        let pause = BACKOFF_FIRST.saturating_mul(1 << self.pauses.min(16)).min(BACKOFF_MAX);
        self.is_failing = true;
        self.pauses = self.pauses.saturating_add(1);
        self.not_before = now.saturating_add(pause).saturating_add(dice % (pause / 4));
    }

    /// The same, where another server is to be asked at once.
    pub fn passed_over(&mut self, now: Nanos) {
        self.dialling = self.dialling.saturating_sub(1);
        self.is_failing = true;
        self.not_before = self.not_before.max(now);
    }

    /// A connection that was not dialled for this pool becomes one of it: say [`Pool::ready`] next.
    pub fn adopt(&mut self) {
        self.dialling += 1;
    }

    /// Takes all waiters out of the queue.
    pub fn dismiss(&mut self) -> Vec<Key> {
        self.waiters.drain(..).map(|waiter| waiter.who).collect()
    }

    /// A leased connection is clean and free again: it goes straight to the waiter that is returned, or idle.
    #[inline]
    pub fn release(&mut self, server: Key, term: Term, now: Nanos) -> Option<Key> {
        if !self.is_paused
            && let Some(waiter) = self.waiters.pop_front()
        {
            self.leases += 1;
            self.waited = self.waited.saturating_add(now.saturating_sub(waiter.since));
            return Some(waiter.who);
        }
        self.active = self.active.saturating_sub(1);
        self.idle.push_back(Idle { server, since: now, term });
        None
    }

    /// A connection that was to be checked is alive: as [`Pool::release`].
    pub fn checked(&mut self, server: Key, term: Term, now: Nanos) -> Option<Key> {
        self.checking = self.checking.saturating_sub(1);
        self.release(server, term, now)
    }

    /// Whether a connection that comes back is to be closed: it is too old, or one too many.
    #[inline]
    pub fn is_over(&self, term: Term, now: Nanos) -> bool {
        let surplus = self.len().saturating_sub(self.limits.size.max(1));
        // What was opened in reserve stays while somebody waits.
        let is_surplus = surplus > if self.waiters.is_empty() { 0 } else { self.limits.reserve };
        is_surplus || self.limits.ends(term) <= now
    }

    /// A leased connection is gone.
    pub fn lost(&mut self) {
        self.active = self.active.saturating_sub(1);
    }

    /// A connection that was to be checked is gone.
    pub fn lost_check(&mut self) {
        self.checking = self.checking.saturating_sub(1);
        self.lost();
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
        self.waiters.front().filter(|waiter| !self.is_paused && waiter.deadline <= now)?;
        self.waiters.pop_front().map(|waiter| waiter.who)
    }

    /// The next idle connection that is too old, or that nobody needed for too long; it has left the pool and is to be closed.
    pub fn stale(&mut self, now: Nanos) -> Option<Key> {
        let at = self.idle.iter().position(|idle| self.idle_ends(idle) <= now)?;
        self.idle.remove(at).map(|idle| idle.server)
    }

    fn idle_ends(&self, idle: &Idle) -> Nanos {
        let unneeded = if self.len() > self.limits.min { self.limits.idle_until(idle.term, idle.since) } else { Nanos::MAX };
        unneeded.min(self.limits.ends(idle.term))
    }

    /// When the connection that became idle last is to be looked at: cheaper than [`Pool::next`], for the hot path.
    #[inline]
    pub fn last_idle_ends(&self) -> Nanos {
        self.idle.back().map_or(Nanos::MAX, |idle| self.idle_ends(idle))
    }

    /// The connection that is idle for longest.
    pub fn oldest_idle(&self) -> Option<Key> {
        self.idle.front().map(|idle| idle.server)
    }

    /// Takes the longest idle connection out, to close it.
    pub fn evict(&mut self) -> Option<Key> {
        self.idle.pop_front().map(|idle| idle.server)
    }

    /// When [`Pool::dial`], [`Pool::expired`] or [`Pool::stale`] may have something to say next.
    pub fn next(&self) -> Option<Nanos> {
        let deadline = self.waiters.front().filter(|_| !self.is_paused).map(|waiter| waiter.deadline);
        let dial = self.dial_at().map(|at| at.max(self.not_before)).filter(|at| *at > 0);
        let stale = self.idle.iter().map(|idle| self.idle_ends(idle)).min().filter(|at| *at < Nanos::MAX);
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

    /// How long the one that waits longest has waited.
    pub fn longest_wait(&self, now: Nanos) -> Nanos {
        self.waiters.front().map_or(0, |waiter| now.saturating_sub(waiter.since))
    }

    /// Who waits, and since when.
    pub fn waiting(&self) -> impl Iterator<Item = (Key, Nanos)> {
        self.waiters.iter().map(|waiter| (waiter.who, waiter.since))
    }

    /// How many leases there were, and how long those who waited for theirs have waited together.
    pub fn totals(&self) -> (u64, Nanos) {
        (self.leases, self.waited)
    }

    /// Whether the last dial failed: for the message to a waiter whose time is up.
    pub fn is_failing(&self) -> bool {
        self.is_failing
    }
}
