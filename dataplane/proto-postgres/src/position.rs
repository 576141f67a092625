//! Positions in the write-ahead log: how far a primary has written, and a replica has replayed.

use std::collections::VecDeque;
use wire::Nanos;

/// Asks a primary. Not the flushed position: a commit that was not waited for (`synchronous_commit = off`) is beyond that.
pub const OF_PRIMARY: &str = "SELECT pg_catalog.pg_walfile_name(lsn) || '/' || lsn FROM pg_catalog.pg_current_wal_insert_lsn() AS lsn";

/// The same, for clients: a token.
pub const OF_PRIMARY_FOR_CLIENTS: &str = "SELECT pg_catalog.substr(pg_catalog.pg_walfile_name(lsn), 1, 8) || '/' || lsn AS \"midstream.position\" \
                                          FROM pg_catalog.pg_current_wal_insert_lsn() AS lsn";

/// Asks a replica. The timeline is that of its last restartpoint: right behind a failover it may be named too old, never too new.
pub const OF_REPLICA: &str = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.lpad(pg_catalog.to_hex(timeline_id), 8, '0') \
                              || '/' || pg_catalog.pg_last_wal_replay_lsn() END FROM pg_catalog.pg_control_checkpoint()";

/// The same a little later.
pub const OF_REPLICA_SOON: &str = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.lpad(pg_catalog.to_hex(timeline_id), 8, '0') \
                                   || '/' || pg_catalog.pg_last_wal_replay_lsn() END \
                                   FROM pg_catalog.pg_sleep(0.002), pg_catalog.pg_control_checkpoint()";

/// Enough that the oldest one inside of the lag bound is not much younger than the bound.
const MAX_SAMPLES: usize = 8;

/// A byte of the log of a timeline: another primary's log is another log from where it was promoted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// Counts promotions.
    pub timeline: u32,
    /// As `pg_lsn`.
    pub lsn: u64,
}

impl Position {
    /// Reads `0000000100000016000000B3/16/B374D848`, of which eight digits are the timeline, from the only column of a DataRow.
    pub fn read(row: &[u8]) -> Option<Position> {
        let text = std::str::from_utf8(row.get(6..)?).ok()?;
        let (file, lsn) = text.split_once('/')?;
        let (high, low) = lsn.split_once('/')?;
        let number = |digits| u32::from_str_radix(digits, 16).ok();
        Some(Position { timeline: number(file.get(..8)?)?, lsn: u64::from(number(high)?) << 32 | u64::from(number(low)?) })
    }

    /// Reads what a client took from [`OF_PRIMARY_FOR_CLIENTS`].
    pub fn of_token(token: &[u8]) -> Option<Position> {
        let mut parts = token.split(|byte| *byte == b'/');
        let mut number = |digits: std::ops::RangeInclusive<usize>| {
            let part = parts.next().filter(|part| digits.contains(&part.len()) && part.iter().all(u8::is_ascii_hexdigit))?;
            u32::from_str_radix(std::str::from_utf8(part).ok()?, 16).ok()
        };
        let (timeline, high, low) = (number(8..=8)?, number(1..=8)?, number(1..=8)?);
        parts.next().is_none().then(|| Position { timeline, lsn: u64::from(high) << 32 | u64::from(low) })
    }

    /// Whether who has replayed this has replayed that.
    pub fn covers(self, other: Position) -> bool {
        self.timeline == other.timeline && self.lsn >= other.lsn
    }
}

/// What a session must see of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Written {
    /// It has not written.
    #[default]
    Nothing,
    /// Up to there.
    At(Position),
    /// It may have written, and where is not known yet: only the primary has that for certain.
    Unknown,
}

/// Where a primary was, and when.
#[derive(Default)]
pub struct Samples(VecDeque<(Nanos, Position)>);

impl Samples {
    /// The primary was there no earlier than at that time.
    pub fn add(&mut self, asked: Nanos, position: Position, max_lag: Nanos) {
        if self.0.back().is_some_and(|(_, last)| last.timeline != position.timeline) {
            self.0.clear();
        }
        if self.0.back().is_some_and(|(last, _)| asked < last.saturating_add(max_lag / MAX_SAMPLES as u64)) {
            return;
        }
        if self.0.len() >= MAX_SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back((asked, position));
    }

    /// A replica that has replayed this lags at most `max_lag`; `None`: nothing is known of that time.
    pub fn bound(&self, now: Nanos, max_lag: Nanos) -> Option<Position> {
        self.0.iter().find(|(asked, _)| asked.saturating_add(max_lag) >= now).map(|(_, position)| *position)
    }

    /// Whether the primary should be asked again, so that the bound never ends.
    pub fn is_due(&self, now: Nanos, max_lag: Nanos) -> bool {
        self.0.back().is_none_or(|(asked, _)| asked.saturating_add(max_lag / 2) < now)
    }

    /// What a replica must have replayed for a session that wrote; `None`: nothing proves a replica good enough.
    pub fn needed(&self, now: Nanos, max_lag: Nanos, written: Written) -> Option<Position> {
        let bound = self.bound(now, max_lag)?;
        match written {
            Written::Nothing => Some(bound),
            // What survived of an older timeline lies before this one.
            Written::At(own) if own.timeline < bound.timeline => Some(bound),
            Written::At(own) if own.timeline == bound.timeline => Some(if own.lsn > bound.lsn { own } else { bound }),
            Written::At(_) | Written::Unknown => None,
        }
    }

    /// Another server is the primary.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// How a replica keeps up: what it has replayed, and when it may be asked again where it had not replayed enough.
#[derive(Default)]
pub struct Pace {
    replayed: Option<Position>,
    misses: u32,
    not_before: Nanos,
}

impl Pace {
    /// One of its connections has replayed that.
    pub fn replayed(&mut self, position: Position) {
        if self.replayed.is_none_or(|before| before.timeline != position.timeline || before.lsn < position.lsn) {
            self.replayed = Some(position);
        }
    }

    /// A read was given up after waiting that long. Asked again after a sixteenth of it; whoever never keeps up, after all of it, so that
    /// at most half of the time is spent in waiting.
    pub fn missed(&mut self, now: Nanos, waited: Nanos) {
        let pause = waited >> 4u32.saturating_sub(self.misses);
        self.misses = self.misses.saturating_add(1);
        self.not_before = now.saturating_add(pause);
    }

    /// It had what a read needed.
    pub fn kept_up(&mut self) {
        (self.misses, self.not_before) = (0, 0);
    }

    /// It cannot be reached; what it was is no longer known.
    pub fn is_away(&mut self, until: Nanos) {
        *self = Pace { not_before: until, ..Pace::default() };
    }

    /// Whether it is worth asking for that.
    pub fn may_have(&self, needed: Position, now: Nanos) -> bool {
        self.not_before <= now || self.replayed.is_some_and(|replayed| replayed.covers(needed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::SECONDS;

    const LAG: Nanos = 10 * SECONDS;

    fn at(timeline: u32, lsn: u64) -> Position {
        Position { timeline, lsn }
    }

    #[test]
    fn a_replica_that_missed_is_asked_again_soon_and_less_often_the_more_it_misses() {
        let mut pace = Pace::default();
        pace.replayed(at(1, 100));
        pace.missed(1000, 160);
        assert!(!pace.may_have(at(1, 101), 1009) && pace.may_have(at(1, 101), 1010));
        assert!(pace.may_have(at(1, 100), 1000), "that much it has");
        (0..10).for_each(|_| pace.missed(2000, 160));
        assert!(!pace.may_have(at(1, 101), 2159) && pace.may_have(at(1, 101), 2160));
        pace.kept_up();
        assert!(pace.may_have(at(1, 101), 0));
        pace.is_away(3000);
        assert!(!pace.may_have(at(1, 100), 2999));
    }

    #[test]
    fn positions_are_read_from_a_row() {
        assert_eq!(Position::read(b"\0\x01\0\0\0\x240000000200000016000000B3/16/B374D848"), Some(at(2, 0x16_B374_D848)));
        assert_eq!(Position::read(b"\0\x01\0\0\0\x0c0000000a/0/0"), Some(at(10, 0)));
        assert_eq!(Position::read(b"\0\x01\xff\xff\xff\xff"), None, "NULL: it is no standby");
        assert_eq!(Position::read(b"\0\x01\0\0\0\x0c0000000a/1/G"), None);
    }

    #[test]
    fn a_bound_is_the_oldest_sample_that_is_young_enough() {
        let mut samples = Samples::default();
        assert!(samples.is_due(0, LAG));
        assert_eq!(samples.bound(0, LAG), None);
        for second in 0..20 {
            samples.add(second * SECONDS, at(1, 100 + second), LAG);
        }
        // One in two is kept, eight of them: the others would not be asked for.
        assert_eq!(samples.bound(20 * SECONDS, LAG), Some(at(1, 110)));
        assert!(!samples.is_due(20 * SECONDS, LAG));
        assert_eq!(samples.bound(40 * SECONDS, LAG), None);
    }

    #[test]
    fn a_session_needs_what_it_wrote() {
        let mut samples = Samples::default();
        assert_eq!(samples.needed(0, LAG, Written::Nothing), None);
        samples.add(0, at(2, 100), LAG);
        assert_eq!(samples.needed(0, LAG, Written::Nothing), Some(at(2, 100)));
        assert_eq!(samples.needed(0, LAG, Written::At(at(2, 150))), Some(at(2, 150)));
        assert_eq!(samples.needed(0, LAG, Written::At(at(2, 50))), Some(at(2, 100)));
        assert_eq!(samples.needed(0, LAG, Written::At(at(1, 900))), Some(at(2, 100)));
        assert_eq!(samples.needed(0, LAG, Written::At(at(3, 10))), None);
        assert_eq!(samples.needed(0, LAG, Written::Unknown), None);
        assert!(!at(1, 900).covers(at(2, 100)), "it went its own way before the other was promoted");
    }
}
