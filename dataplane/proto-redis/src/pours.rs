//! Replies that cannot be asked for again, of commands that change data and answer with some: GETDEL, LPOP, EVAL, EXEC ...
//!
//! What a node answers on a shared connection has to be taken. A large reply to a read is thrown away and fetched again at its client's pace
//! ([`crate::lane`]); these cannot be. So it is bounded before they are sent what may come:
//! * the first of a client goes alone, as nobody knows what it brings;
//! * then so many are on their way at once as replies of the size that was seen lately fill [`limits::MAX_OUTSTANDING`], and no more than
//!   [`MOST`];
//! * where one such reply is more than that, each goes alone on a leased connection, which is read only as fast as the client reads.
//!
//! So a client that does not read costs one such reply and 1 MiB. Not bounded so: replies that were small and become large all at once
//! ([`MOST`] of them are on their way), and those of clients that watch keys or track.

use crate::frame::Frame;
use crate::limits;
use crate::machine::Redis;
use crate::pipe::{Owner, Pending};
use crate::ring::Ring;
use crate::table::Command;
use std::collections::VecDeque;
use wire::Key;

/// Commands of one client on their way at once: replies that were never seen to be large are taken to be of 32 KiB.
const MOST: usize = 32;

/// Replies for which the last large one is remembered.
const JUDGED: u8 = 64;

const NAMES: &[&str] = &[
    "getdel",
    "getex",
    "getset",
    "set",
    "hgetdel",
    "hgetex",
    "lpop",
    "rpop",
    "lmove",
    "rpoplpush",
    "lmpop",
    "spop",
    "zpopmin",
    "zpopmax",
    "zmpop",
    "xreadgroup",
    "xclaim",
    "xautoclaim",
    "georadius",
    "georadiusbymember",
    "eval",
    "evalsha",
    "fcall",
];

/// Whether a command of that name may.
pub(crate) fn pours(name: &str) -> bool {
    NAMES.contains(&name)
}

/// How such a command goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// As any other.
    Shared,
    /// When the client is owed nothing.
    Later,
    /// On a connection of its own.
    Alone,
}

/// Those of a client.
#[derive(Default, Debug)]
pub(crate) struct Pours {
    /// Places in the ring of those that are not answered, oldest first.
    open: VecDeque<u64>,
    /// Whether one was answered.
    is_known: bool,
    /// The size of the last large reply.
    size: u64,
    /// Replies for which it is still remembered.
    judged: u8,
}

impl Pours {
    /// How the next one goes; it is noted if it goes now.
    fn turn(&mut self, ring: &Ring, may_lease: bool) -> Turn {
        while self.open.front().is_some_and(|seq| ring.is_past(*seq + 1)) {
            self.open.pop_front();
            self.is_known = true;
            self.judged = self.judged.saturating_sub(1);
        }
        let size = if self.judged > 0 { self.size } else { 0 };
        let is_large = size > limits::MAX_OUTSTANDING;
        let room = match limits::MAX_OUTSTANDING.checked_div(size) {
            _ if !self.is_known || is_large => 1,
            Some(room) => MOST.min(room as usize),
            None => MOST,
        };
        if self.open.len() >= room || (is_large && !ring.is_empty()) {
            return Turn::Later;
        }
        self.open.push_back(ring.next());
        if is_large && may_lease { Turn::Alone } else { Turn::Shared }
    }

    /// A reply was large.
    fn note(&mut self, size: u64) {
        if size >= self.size || self.judged == 0 {
            self.size = size;
        }
        self.judged = JUDGED;
    }
}

impl Redis {
    /// How a command goes whose reply may not be asked for again.
    #[inline]
    pub(crate) fn pour_turn(&mut self, key: Key, frame: &Frame<'_>, command: &Command) -> Turn {
        if !command.pours || (command.name == "set" && (3..frame.len()).all(|index| !frame.is(index, "get"))) {
            return Turn::Shared;
        }
        self.turn_of_pours(key)
    }

    /// How the client's next one goes.
    pub(crate) fn turn_of_pours(&mut self, key: Key) -> Turn {
        let may_lease = !self.has_migrations;
        let Some(client) = self.clients.get_mut(key) else { return Turn::Shared };
        let may_lease = may_lease && client.lease.is_none() && client.tracking.is_none();
        client.pours.get_or_insert_default().turn(&client.ring, may_lease)
    }

    /// A large reply that was whole or came in pieces.
    pub(crate) fn note_pour(&mut self, pending: Pending, size: usize) {
        let Owner::Client(key, _) = pending.owner else { return };
        if let Some(pours) = self.clients.get_mut(key).filter(|_| !pending.repeatable).and_then(|client| client.pours.as_mut()) {
            pours.note(size as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::NO_SLOT;
    use crate::ring::Kind;
    use wire::metrics::Histogram;

    /// Asks until one has to wait; how many went, and how.
    fn burst(pours: &mut Pours, ring: &mut Ring) -> (usize, Turn) {
        let mut last = Turn::Later;
        for count in 0.. {
            match pours.turn(ring, true) {
                Turn::Later => return (count, last),
                turn => last = turn,
            }
            ring.push(Kind::Plain, NO_SLOT, 0, None);
        }
        unreachable!()
    }

    fn answer(ring: &mut Ring) {
        for seq in 0..ring.next() {
            ring.fill(seq, b"+OK\r\n", true, &mut Vec::new(), 0, &Histogram::default());
        }
    }

    #[test]
    fn so_many_go_at_once_as_may_be_taken() {
        let (mut pours, mut ring) = (Pours::default(), Ring::default());
        assert_eq!(burst(&mut pours, &mut ring), (1, Turn::Shared), "nobody knows");
        answer(&mut ring);
        assert_eq!(burst(&mut pours, &mut ring), (MOST, Turn::Shared));
        answer(&mut ring);
        pours.note(limits::MAX_OUTSTANDING / 4);
        assert_eq!(burst(&mut pours, &mut ring), (4, Turn::Shared));
        answer(&mut ring);
        pours.note(limits::MAX_OUTSTANDING + 1);
        for _ in 0..JUDGED - 4 {
            assert_eq!(burst(&mut pours, &mut ring), (1, Turn::Alone));
            answer(&mut ring);
        }
        assert_eq!(burst(&mut pours, &mut ring), (MOST, Turn::Shared), "forgotten");
    }
}
