//! How far a replica is behind its master: what both say of the master's log, and since when the one is known to have what the other had.
//!
//! A replica that has reached the offset which its master had at a moment has all that was written before that moment, so what it answers is
//! no older. Offsets compare within one history of the log only (its replication id), which a promotion ends.
//! Source: <https://redis.io/docs/latest/operate/oss_and_stack/management/replication/>, "How Redis replication works".

use crate::topology::Place;
use wire::Nanos;

/// The question.
pub const INFO: &[u8] = b"*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n";

/// A place in a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// The history that the offset counts in.
    id: [u8; 40],
    /// Bytes.
    offset: u64,
    /// As a replica: whether its master's.
    pub is_replica: bool,
}

/// What is known of a node's log. A master's last two answers are kept: a replica answers at about the same moment, and has the older one surely.
#[derive(Default, Debug)]
pub struct Replication {
    /// As a master: positions and when they were asked for, the newest first.
    had: [Option<(Position, Nanos)>; 2],
    /// As a master: when its position was asked for last.
    asked: Option<Nanos>,
    /// As a master: the answer is outstanding. Never two, or an answer would be taken for the later question's.
    out: bool,
    /// As a replica: it has what its master had then.
    pub fresh: Option<Nanos>,
}

impl Replication {
    /// Whether a master is to be asked again; it is noted then.
    pub fn asks(&mut self, now: Nanos, every: Nanos) -> bool {
        if self.out || self.asked.is_some_and(|asked| now < asked + every) {
            return false;
        }
        (self.asked, self.out) = (Some(now), true);
        true
    }

    /// As a master: when it and its replicas were asked last.
    pub fn asked(&self) -> Option<Nanos> {
        self.asked
    }

    /// A master will not answer: its connection is gone.
    pub fn gone(&mut self) {
        self.out = false;
    }

    /// A master told its position.
    pub fn told(&mut self, position: Position) {
        if let (true, Some(asked), false) = (std::mem::take(&mut self.out), self.asked, position.is_replica) {
            self.had = [Some((position, asked)), self.had[0]];
        }
    }

    /// Slots have moved: what a replica has of its master's log says nothing of what its master had before.
    pub fn forget(&mut self) {
        self.had = [None; 2];
        self.fresh = None;
        self.asked = None; // an answer that is still out is of before, too
    }

    /// Since when a replica at that position has all, if it ever had.
    pub fn has_since(&self, replica: Position) -> Option<Nanos> {
        let reached = |had: &&(Position, Nanos)| replica.is_replica && had.0.id == replica.id && replica.offset >= had.0.offset;
        self.had.iter().flatten().find(reached).map(|(_, asked)| *asked)
    }

    /// Whether what a replica answers now is surely no older than that.
    #[inline]
    pub fn is_fresh(&self, now: Nanos, max_lag: Nanos) -> bool {
        self.fresh.is_some_and(|fresh| now.saturating_sub(fresh) <= max_lag)
    }
}

/// Reads an answer to [`INFO`].
pub fn position(reply: &[u8]) -> Option<Position> {
    let text = std::str::from_utf8(reply).ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let is_replica = field("role")? == "slave";
    let offset = field(if is_replica { "slave_repl_offset" } else { "master_repl_offset" })?.parse().ok()?;
    Some(Position { id: field("master_replid")?.as_bytes().try_into().ok()?, offset, is_replica })
}

/// The replicas that a master names in its answer to [`INFO`].
pub fn replicas(reply: &[u8]) -> Vec<Place> {
    let text = std::str::from_utf8(reply).unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with("slave") && line.contains("state=online"));
    let field = |line: &str, name: &str| line.split([':', ',']).find_map(|field| field.strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
    lines.filter_map(|line| Some(Place { host: field(line, "ip")?, port: field(line, "port")?.parse().ok()?, zone: String::new() })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(role: &str, id: char, offset: u64) -> Position {
        let id: String = std::iter::repeat_n(id, 40).collect();
        let name = if role == "slave" { "slave_repl_offset" } else { "master_repl_offset" };
        position(format!("$99\r\n# Replication\r\nrole:{role}\r\n{name}:{offset}\r\nmaster_replid:{id}\r\n\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn a_replica_is_as_fresh_as_the_position_it_has_reached() {
        let mut master = Replication::default();
        for (asked, offset) in [(10, 100), (20, 200)] {
            assert!(master.asks(asked, 5) && !master.asks(asked + 5, 5));
            master.told(told("master", 'a', offset));
        }
        assert_eq!(master.has_since(told("slave", 'a', 99)), None);
        assert_eq!(master.has_since(told("slave", 'a', 150)), Some(10));
        assert_eq!(master.has_since(told("slave", 'a', 200)), Some(20));
        // Another history, and one that is no replica any more.
        assert_eq!(master.has_since(told("slave", 'b', 999)), None);
        assert_eq!(master.has_since(told("master", 'a', 999)), None);
        let replica = Replication { fresh: Some(10), ..Replication::default() };
        assert!(replica.is_fresh(15, 5) && !replica.is_fresh(16, 5) && !master.is_fresh(0, 5));
        assert!(position(b"-NOPERM\r\n").is_none());
        let told = "role:master\r\nslave0:ip=10.0.0.1,port=6380,state=online,offset=0\r\nslave1:ip=10.0.0.2,port=1,state=wait_bgsave,offset=0\r\n";
        assert_eq!(replicas(told.as_bytes()), [Place { host: "10.0.0.1".into(), port: 6380, zone: String::new() }]);
    }
}
