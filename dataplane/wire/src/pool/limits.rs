//! Sizes and times of a pool, and when a connection is to go.

use crate::key::{Nanos, SECONDS};

/// A connection that nobody used for this long has to answer a question before it is leased: routers and firewalls forget idle
/// connections without a word, the shortest of them after a minute or so, and a server that died with its machine says nothing either.
pub const CHECK_AFTER: Nanos = 30 * SECONDS;

/// The part of a time that is diced: a limit of ten minutes ends a connection after eight to ten. What 5,000 sidecars opened in one
/// second (a server came back) they then close and open again over two minutes, and after some rounds at any time.
const JITTER: u64 = 5;

/// Sizes and times of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections at most, those being dialled included; at least one.
    pub size: usize,
    /// Connections that are opened before anybody asks, and not closed for being idle.
    pub min: usize,
    /// Connections beyond `size` while somebody has waited for `reserve_after`.
    pub reserve: usize,
    /// See `reserve`.
    pub reserve_after: Nanos,
    /// How long a waiter waits.
    pub wait: Nanos,
    /// An idle connection is given up after this; 0: never.
    pub idle: Nanos,
    /// A connection is given up after this, when it is free; 0: never.
    pub lifetime: Nanos,
}

impl Limits {
    /// One worker's share of a size that holds for the process, at least one.
    pub fn share(size: usize, worker: usize, workers: usize) -> usize {
        Limits::part(size, worker, workers).max(1)
    }

    /// One worker's share of a number that holds for the process; may be none.
    pub fn part(number: usize, worker: usize, workers: usize) -> usize {
        let workers = workers.max(1);
        number / workers + usize::from(worker < number % workers)
    }

    /// When a connection is too old.
    pub(super) fn ends(&self, term: Term) -> Nanos {
        if self.lifetime == 0 { Nanos::MAX } else { term.born.saturating_add(term.diced(self.lifetime)) }
    }

    /// When a connection that is idle since then is given up for it.
    pub(super) fn idle_until(&self, term: Term, since: Nanos) -> Nanos {
        if self.idle == 0 { Nanos::MAX } else { since.saturating_add(term.diced(self.idle)) }
    }
}

/// What the times of one connection are reckoned from. Limits may change during its life.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Term {
    /// When it became ready.
    pub born: Nanos,
    /// Its share of the jitter, of 65,536.
    pub(super) dice: u16,
}

impl Term {
    /// Of the time, between four fifths and all.
    pub(super) fn diced(self, time: Nanos) -> Nanos {
        time - time / JITTER / (1 << 16) * u64::from(self.dice)
    }
}

/// Random numbers that depend on the seed alone (splitmix64): enough to spread things in time.
#[derive(Debug)]
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u16 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 48) as u16
    }
}
