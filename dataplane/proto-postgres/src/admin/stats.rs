//! SHOW STATS: what was done for each Database since the sidecar started, and on average in the last minute that is over.
//!
//! Workers tell sums only: an average over all of them is made of the sums of all, see [`finish`].

use super::table::{Row, Value};
use crate::machine::{Postgres, timer};
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::{Io, Key, MICROS, Nanos, SECONDS};

/// Averages are taken over this.
const PERIOD: Nanos = 60 * SECONDS;

/// Assignments, transactions, queries, bytes of clients, bytes of servers; microseconds of transactions, of queries, of waiting.
const SUMS: usize = 8;

/// By Database.
type Sums = BTreeMap<Arc<str>, [u64; SUMS]>;

/// What was at the end of the last periods.
#[derive(Default)]
pub struct Stats {
    /// When the timer was first set; 0: never.
    began: Nanos,
    last: Sums,
    /// What was done in the last whole period.
    period: Option<Sums>,
}

impl Postgres {
    /// Sees to it that periods end; called with each configuration.
    pub(crate) fn begin_stats(&mut self, io: &mut dyn Io) {
        if self.stats.began == 0 {
            self.stats.began = io.now().max(1);
            io.arm(Key::NONE, timer::STATS, io.now().saturating_add(PERIOD));
        }
    }

    /// A period is over.
    pub(crate) fn roll_stats(&mut self, io: &mut dyn Io) {
        io.arm(Key::NONE, timer::STATS, io.now().saturating_add(PERIOD));
        let now = self.sums();
        self.stats.period = Some(now.iter().map(|(name, sums)| (name.clone(), since(self.stats.last.get(name), sums))).collect());
        self.stats.last = now;
    }

    /// This worker's rows, with sums where averages are to be.
    pub(super) fn stats(&self, now: Nanos) -> Vec<Row> {
        let sums = self.sums();
        let whole = self.stats.period.as_ref();
        let length = whole.map_or(now.saturating_sub(self.stats.began), |_| PERIOD);
        let row = |(name, total): (&Arc<str>, &[u64; SUMS])| {
            let period = whole.map_or(*total, |period| period.get(name).copied().unwrap_or_default());
            let numbers = total.iter().chain(&period).copied().chain([length / MICROS]);
            [Value::from(&**name)].into_iter().chain(numbers.map(Value::from)).collect()
        };
        sums.iter().map(row).collect()
    }

    fn sums(&self) -> Sums {
        let mut sums: Sums = self.databases().into_keys().map(|name| (name, [0; SUMS])).collect();
        for backend in &self.backends {
            let Some(sum) = sums.get_mut(&backend.database.name) else { continue };
            let (leases, waited) = backend.pool.totals();
            sum[0] += leases;
            sum[4] += backend.received;
            sum[7] += waited / MICROS;
        }
        for (name, meter) in &self.meters {
            let Some(listener) = self.conf.listeners.get(name) else { continue };
            let Some(sum) = sums.get_mut(&listener.database.name) else { continue };
            let (queries, took) = meter.totals();
            let (transactions, took_transactions) = meter.transactions();
            sum[1] += transactions;
            sum[2] += queries;
            sum[3] += meter.received();
            sum[5] += took_transactions / MICROS;
            sum[6] += took / MICROS;
        }
        sums
    }
}

/// A Database that was made anew begins at 0 again.
fn since(before: Option<&[u64; SUMS]>, now: &[u64; SUMS]) -> [u64; SUMS] {
    let before = before.copied().unwrap_or_default();
    std::array::from_fn(|index| now[index].saturating_sub(before[index]))
}

/// Makes averages of the sums of all workers: counts and bytes per second, times per transaction, query and assignment.
pub fn finish(rows: &mut [Row]) {
    for row in rows {
        let numbers: Vec<i64> = row.iter().skip(1).filter_map(|value| if let Value::Number(number) = value { Some(*number) } else { None }).collect();
        let Some((sums, [period])) = numbers.split_at_checked(2 * SUMS) else { continue };
        let done = &sums[SUMS..];
        let per = |sum: i64, of: i64, scale: i64| sum.saturating_mul(scale).checked_div(of).unwrap_or(0);
        let averages = done.iter().enumerate().map(|(index, sum)| match index {
            5 => per(*sum, done[1], 1),
            6 => per(*sum, done[2], 1),
            7 => per(*sum, done[0], 1),
            _ => per(*sum, *period, 1_000_000),
        });
        for (value, average) in row.iter_mut().skip(1 + SUMS).zip(averages) {
            *value = Value::Number(average);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_made_of_sums() {
        let numbers = [9, 9, 9, 9, 9, 9, 9, 9, 120, 60, 600, 6000, 60000, 3000, 1200, 240, 60_000_000u64];
        let mut rows = vec![[Value::from("shop")].into_iter().chain(numbers.map(Value::from)).collect::<Row>()];
        finish(&mut rows);
        let expected = [9, 9, 9, 9, 9, 9, 9, 9, 2, 1, 10, 100, 1000, 50, 2, 2, 60_000_000u64].map(Value::from);
        assert_eq!(rows[0][1..], expected);
    }

    #[test]
    fn nothing_done_is_no_average() {
        let mut rows = vec![[Value::from("shop")].into_iter().chain([0u64; 17].map(Value::from)).collect::<Row>()];
        finish(&mut rows);
        assert_eq!(rows[0][1..], [0u64; 17].map(Value::from));
    }
}
