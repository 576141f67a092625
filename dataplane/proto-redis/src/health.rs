//! How well a node answers, and how long it is out of use if it does not: the bookkeeping of [`crate::outliers`].

use wire::{MILLIS, Nanos, SECONDS};

/// When a node is an outlier, and what follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HealthConf {
    /// A node that owes an answer and says nothing for that long is one.
    pub answer_within: Nanos,
    /// One with so many errors within [`WINDOW`] is one; 0: none is.
    pub errors: u32,
    /// One that takes so many times as long as its peers is one; 0: none is.
    pub slower_than: u32,
    /// How long it is out of use the first time.
    pub ejection: Nanos,
    /// The longest time.
    pub max_ejection: Nanos,
    /// At most so many replicas in a hundred are out of use, and always one may be.
    pub max_ejected: u32,
    /// Whether commands for a master that is an outlier fail at once; else they wait for it, or for its successor.
    pub fail_masters: bool,
}

impl Default for HealthConf {
    fn default() -> HealthConf {
        HealthConf {
            answer_within: 500 * MILLIS,
            errors: 5,
            slower_than: 0,
            ejection: SECONDS,
            max_ejection: 60 * SECONDS,
            max_ejected: 50,
            fail_masters: false,
        }
    }
}

/// Errors count together that come within this.
const WINDOW: Nanos = 10 * SECONDS;
/// Answers before a node's latency means anything.
const SAMPLES: u32 = 4;
/// The weight of one answer in the average is 1 / 2^this.
const WEIGHT: u32 = 2;

/// Why a node is out of use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// It owes answers.
    Silence,
    /// Lost connections, refused ones, errors that say that it is of no use now.
    Errors,
    /// It is slower than its peers.
    Slow,
}

/// What is known of a node.
#[derive(Default, Debug)]
pub struct Health {
    /// Out of use until then; 0: it is in use, and as a master it was seen to answer.
    pub until: Nanos,
    /// It is being asked whether it is back.
    pub probing: bool,
    errors: u32,
    since: Nanos,
    /// How often in a row it was put out of use.
    times: u32,
    average: Nanos,
    samples: u32,
}

impl Health {
    /// Puts the node out of use, for longer each time; whether it was not before, or was being asked. One that held out for as long as the longest time begins
    /// anew. `dice` moves the end by up to a quarter, so that sidecars which lost a node together do not come back together.
    pub fn eject(&mut self, conf: &HealthConf, why: Why, now: Nanos, dice: u64) -> bool {
        let is_new = self.until <= now;
        if !self.probing && (!is_new || (why == Why::Errors && !self.is_last_straw(conf, now))) {
            return false;
        }
        let held_out = self.until > 0 && now.saturating_sub(self.until) > conf.max_ejection;
        self.times = if held_out { 0 } else { self.times };
        let time = conf.ejection.checked_shl(self.times).unwrap_or(conf.max_ejection).clamp(MILLIS, conf.max_ejection.max(MILLIS));
        self.times = (self.times + 1).min(32);
        self.until = now + time - dice % (time / 4).max(1);
        (self.samples, self.errors, self.probing) = (0, 0, false);
        true
    }

    fn is_last_straw(&mut self, conf: &HealthConf, now: Nanos) -> bool {
        if now.saturating_sub(self.since) > WINDOW {
            (self.since, self.errors) = (now, 0);
        }
        self.errors += 1;
        conf.errors > 0 && self.errors >= conf.errors
    }

    /// Takes in how long an answer took; the average, if there were enough.
    pub fn took(&mut self, took: Nanos) -> Option<Nanos> {
        self.average = if self.samples == 0 { took } else { self.average - (self.average >> WEIGHT) + (took >> WEIGHT) };
        self.samples = (self.samples + 1).min(SAMPLES);
        self.latency()
    }

    /// How long its answers take.
    pub fn latency(&self) -> Option<Nanos> {
        (self.samples >= SAMPLES).then_some(self.average)
    }
}

/// The middle one; `None`: there is none.
pub fn median(mut all: Vec<Nanos>) -> Option<Nanos> {
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_out_of_use_for_longer_each_time_up_to_a_bound() {
        let (conf, mut health, mut now) = (HealthConf::default(), Health::default(), SECONDS);
        let mut times = Vec::new();
        for _ in 0..8 {
            assert!(health.eject(&conf, Why::Silence, now, 0));
            times.push((health.until - now) / SECONDS);
            now = health.until;
        }
        assert_eq!(times, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(health.eject(&conf, Why::Silence, now, 7 * SECONDS));
        assert_eq!((health.until - now) / SECONDS, 53);
        now = health.until + conf.max_ejection + 1;
        assert!(health.eject(&conf, Why::Silence, now, 0));
        assert_eq!((health.until - now) / SECONDS, 1);
    }

    #[test]
    fn errors_count_if_they_come_together() {
        let (conf, mut health) = (HealthConf { errors: 3, ..HealthConf::default() }, Health::default());
        let mut at = |now| health.eject(&conf, Why::Errors, now * SECONDS, 0);
        assert_eq!([1, 2, 13, 14, 15].map(&mut at), [false, false, false, false, true]);
        assert!(!at(15), "it is out of use already");
    }

    #[test]
    fn an_average_takes_some_answers() {
        let mut health = Health::default();
        assert_eq!([100, 100, 100, 200, 200].map(|took| health.took(took)), [None, None, None, Some(125), Some(144)]);
        assert_eq!((median(vec![]), median(vec![3, 1, 2]), median(vec![4, 1])), (None, Some(2), Some(4)));
    }
}
