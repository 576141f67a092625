//! Timers: a heap of wake-ups, with the truth beside the connection.
//!
//! A timer that is moved to a later time (every idle timeout, on every request) only changes its record; its old wake-up finds that and
//! goes back into the heap once. So arming on the hot path neither allocates nor sifts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use wire::{Key, Nanos};

const NEVER: Nanos = Nanos::MAX;

/// Whose timer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Timer {
    /// The protocol's own number.
    Protocol(u32),
    /// The present address of a dial has not answered.
    Connect,
    /// A TLS handshake takes too long.
    Handshake,
    /// A connection that is being closed has not taken its last bytes.
    Linger,
}

/// One timer of one connection.
#[derive(Debug)]
pub(crate) struct Armed {
    timer: Timer,
    at: Nanos,
    /// When the heap will look at it; never after `at`.
    queued: Nanos,
}

/// A wake-up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Due {
    pub at: Nanos,
    pub key: Key,
    pub timer: Timer,
}

/// A worker's wake-ups.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Due>>,
    records: usize,
}

impl Timers {
    /// Sets or moves a timer of the connection (or family) that owns `armed`.
    pub fn arm(&mut self, armed: &mut Vec<Armed>, key: Key, timer: Timer, at: Nanos) {
        let at = at.min(NEVER - 1);
        match armed.iter_mut().find(|one| one.timer == timer) {
            Some(one) => {
                one.at = at;
                if at >= one.queued {
                    return;
                }
                one.queued = at;
            }
            None => {
                armed.push(Armed { timer, at, queued: at });
                self.records += 1;
            }
        }
        self.heap.push(Reverse(Due { at, key, timer }));
    }

    /// Forgets a timer; its wake-up finds nothing to do.
    pub fn disarm(&mut self, armed: &mut [Armed], timer: Timer) {
        if let Some(one) = armed.iter_mut().find(|one| one.timer == timer) {
            one.at = NEVER;
        }
    }

    /// Forgets all timers of one owner.
    pub fn clear(&mut self, armed: &mut Vec<Armed>) {
        self.records -= armed.len();
        armed.clear();
    }

    /// When to look next.
    pub fn next(&self) -> Option<Nanos> {
        self.heap.peek().map(|due| due.0.at)
    }

    /// Takes a wake-up whose time has come.
    pub fn pop(&mut self, now: Nanos) -> Option<Due> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|due| due.0)
    }

    /// Compares a wake-up with the record; true if the timer fires, which ends it.
    pub fn fires(&mut self, armed: &mut Vec<Armed>, due: Due, now: Nanos) -> bool {
        let Some(index) = armed.iter().position(|one| one.timer == due.timer && one.queued == due.at) else { return false };
        let one = &mut armed[index];
        if one.at > now && one.at != NEVER {
            one.queued = one.at;
            self.heap.push(Reverse(Due { at: one.at, ..due }));
            return false;
        }
        let fires = one.at <= now;
        armed.swap_remove(index);
        self.records -= 1;
        fires
    }

    /// Whether wake-ups without a record are the most of the heap: time to `retain`.
    pub fn is_crowded(&self) -> bool {
        self.heap.len() > 1024 + 4 * self.records
    }

    /// Drops wake-ups that nobody waits for.
    pub fn retain(&mut self, mut is_wanted: impl FnMut(&Due) -> bool) {
        self.heap.retain(|due| is_wanted(&due.0));
    }
}

/// Whether the owner of `armed` still waits for this wake-up.
pub(crate) fn waits_for(armed: &[Armed], due: &Due) -> bool {
    armed.iter().any(|one| one.timer == due.timer && one.queued == due.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key { slot: 1, generation: 1 };
    const TIMER: Timer = Timer::Protocol(7);

    fn fired(timers: &mut Timers, armed: &mut Vec<Armed>, now: Nanos) -> usize {
        let mut fired = 0;
        while let Some(due) = timers.pop(now) {
            fired += usize::from(timers.fires(armed, due, now));
        }
        fired
    }

    #[test]
    fn a_timer_fires_once_at_its_last_time() {
        let (mut timers, mut armed) = (Timers::default(), Vec::new());
        for at in [10, 30, 20, 50] {
            timers.arm(&mut armed, KEY, TIMER, at);
        }
        assert_eq!(timers.heap.len(), 1, "moving a timer to later costs nothing");
        assert_eq!(fired(&mut timers, &mut armed, 49), 0);
        assert_eq!(fired(&mut timers, &mut armed, 50), 1);
        assert_eq!(fired(&mut timers, &mut armed, 500), 0);
        assert!(armed.is_empty() && timers.next().is_none());
    }

    #[test]
    fn a_timer_moves_to_earlier_and_can_be_forgotten() {
        let (mut timers, mut armed) = (Timers::default(), Vec::new());
        timers.arm(&mut armed, KEY, TIMER, 100);
        timers.arm(&mut armed, KEY, TIMER, 5);
        assert_eq!(fired(&mut timers, &mut armed, 5), 1);
        timers.arm(&mut armed, KEY, TIMER, 200);
        timers.disarm(&mut armed, TIMER);
        assert_eq!(fired(&mut timers, &mut armed, 1000), 0);
        assert!(armed.is_empty());
    }

    #[test]
    fn wake_ups_without_a_timer_are_noticed() {
        let (mut timers, mut armed) = (Timers::default(), Vec::new());
        for now in 0..5000 {
            timers.arm(&mut armed, KEY, TIMER, 1_000_000 + now);
            timers.arm(&mut armed, KEY, TIMER, now);
            assert_eq!(fired(&mut timers, &mut armed, now), 1);
            if timers.is_crowded() {
                timers.retain(|due| waits_for(&armed, due));
            }
        }
        assert!(timers.heap.len() <= 1025);
    }
}
