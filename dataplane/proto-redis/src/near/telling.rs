//! Of which keys a node tells that they changed: of all with the prefixes, or of those that were read to be kept.
//!
//! Broadcasting costs nothing per read and a message for each write. Opting in costs a word for each read that is kept and a place in the
//! node's own table, and spares the messages about keys that nobody here reads. `auto` begins with the first, counts what it hears in vain,
//! and changes when that is more than it keeps. While it opts in it cannot see what it is spared, so it looks again from time to time.
//! Source: <https://redis.io/docs/latest/develop/reference/client-side-caching/>.

use crate::merge::{array, bulk};
use wire::{Nanos, SECONDS};

/// How long it counts before it judges.
const WINDOW: Nanos = 10 * SECONDS;
/// How long it opts in before it looks again.
const REPOSE: Nanos = 300 * SECONDS;
/// Messages in vain that are too few to care, per window.
const BEARABLE: u64 = 1000;

/// How a back end's nodes are to tell.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Tracking {
    /// Whatever costs less.
    #[default]
    Auto,
    /// Of all keys with the prefixes.
    Broadcast,
    /// Of what was read to be kept.
    OptIn,
}

/// How they tell now.
#[derive(Debug)]
pub(super) struct Telling {
    wanted: Tracking,
    /// Of what was read to be kept only.
    pub opt_in: bool,
    /// How often that has changed (and wraps).
    pub turn: u8,
    /// Reads whose replies were to be kept.
    pub fills: u64,
    /// Keys named of which nothing was kept.
    pub in_vain: u64,
    since: Option<Nanos>,
}

impl Telling {
    pub fn new(wanted: Tracking) -> Telling {
        Telling { wanted, opt_in: wanted == Tracking::OptIn, turn: 0, fills: 0, in_vain: 0, since: None }
    }

    /// Looks at what was counted. Whether the nodes are to tell in the other way from now on.
    pub fn turns(&mut self, now: Nanos) -> bool {
        let since = *self.since.get_or_insert(now);
        let span = if self.opt_in { REPOSE } else { WINDOW };
        if self.wanted != Tracking::Auto || now < since.saturating_add(span) {
            return false;
        }
        let turns = self.opt_in || self.in_vain > BEARABLE.max(self.fills.saturating_mul(2));
        let turn = self.turn.wrapping_add(u8::from(turns));
        *self = Telling { opt_in: self.opt_in != turns, turn, since: Some(now), ..Telling::new(self.wanted) };
        turns
    }

    /// What a tracker is asked, and how many answers come before the one that tells whether it was understood.
    pub fn ask_tracker(&self, prefixes: &[Box<[u8]>]) -> (Vec<u8>, u32) {
        if self.opt_in {
            return ask(&[OFF, &[b"CLIENT", b"TRACKING", b"ON", b"OPTIN"], CACHING]);
        }
        let mut words: Vec<&[u8]> = vec![b"CLIENT", b"TRACKING", b"ON", b"BCAST"];
        prefixes.iter().for_each(|prefix| words.extend([&b"PREFIX"[..], prefix]));
        ask(&[OFF, &words])
    }
}

/// What a connection of RESP2 is asked, whose reads that tracker is to tell of.
pub(super) fn ask_redirected(tracker: i64) -> (Vec<u8>, u32) {
    let id = tracker.to_string();
    ask(&[OFF, &[b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", id.as_bytes(), b"OPTIN"], CACHING])
}

/// Nodes refuse to change from one way to the other without it.
const OFF: &[&[u8]] = &[b"CLIENT", b"TRACKING", b"OFF"];
/// Fails where the command before it failed.
const CACHING: &[&[u8]] = &[b"CLIENT", b"CACHING", b"YES"];

fn ask(commands: &[&[&[u8]]]) -> (Vec<u8>, u32) {
    let mut bytes = Vec::new();
    for words in commands {
        array(&mut bytes, words.len());
        words.iter().for_each(|word| bulk(&mut bytes, word));
    }
    (bytes, commands.len() as u32 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_turns_when_it_hears_more_in_vain_than_it_keeps() {
        let mut telling = Telling::new(Tracking::Auto);
        assert!(!telling.turns(0) && !telling.opt_in);
        (telling.fills, telling.in_vain) = (5000, 9000);
        assert!(!telling.turns(WINDOW), "what is kept is worth it");
        (telling.fills, telling.in_vain) = (1, BEARABLE);
        assert!(!telling.turns(2 * WINDOW), "too few to care");
        (telling.fills, telling.in_vain) = (1000, 2001);
        assert!(!telling.turns(3 * WINDOW - 1), "not yet");
        assert!(telling.turns(3 * WINDOW) && telling.opt_in);
        assert!(!telling.turns(3 * WINDOW + REPOSE - 1));
        assert!(telling.turns(3 * WINDOW + REPOSE) && !telling.opt_in, "it looks again");
        assert_eq!((telling.fills, telling.in_vain), (0, 0));
    }

    #[test]
    fn who_was_told_how_does_so_for_ever() {
        for wanted in [Tracking::Broadcast, Tracking::OptIn] {
            let mut telling = Telling::new(wanted);
            telling.in_vain = 1_000_000;
            assert!(!telling.turns(0) && !telling.turns(10 * REPOSE));
            assert_eq!(telling.opt_in, wanted == Tracking::OptIn);
        }
    }
}
