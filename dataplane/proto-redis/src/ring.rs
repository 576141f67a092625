//! The reply ring of a client: what it is owed, in the order it asked.
//!
//! Replies come from many nodes in any order. The one at the front goes straight to the client's output; what comes before its turn is
//! held. A command that was split has a head and a part per node command behind it; the ring is the merge: when the last part is in,
//! the head becomes one reply. Parts are held until then, because an error of one part is the error of the whole command, as it would
//! be on one server. Buffers of held replies are reused.

use crate::action::Merge;
use crate::client_reply::Silence;
use crate::merge;
use crate::order::Order;
use std::collections::VecDeque;
use wire::{Class, Nanos, metrics::Histogram};

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One command, one reply, passed on as it comes.
    Plain,
    /// A split command; its parts are the next entries.
    Head {
        /// How their replies become one.
        merge: Merge,
        /// How many there are.
        parts: u32,
        /// How many are still out.
        left: u32,
    },
    /// The part of a head, or of an errand's round, that many entries before.
    Part(u32),
    /// A command in several steps ([`crate::errand`]), alone in the ring with what it asks.
    Errand {
        /// How many replies of its round are still out.
        left: u32,
    },
}

/// What the access log wants to hear of a command when it is done.
#[derive(Debug)]
pub struct Tap {
    /// The command.
    pub verb: &'static str,
    /// Its ACL categories.
    pub groups: &'static [&'static str],
    /// What it was.
    pub class: Class,
    /// Its keys.
    pub keys: Vec<Vec<u8>>,
    /// Its size.
    pub bytes: u64,
    /// When it came.
    pub started: Nanos,
    /// The first word of an error reply.
    pub error: String,
}

#[derive(Debug)]
struct Entry {
    kind: Kind,
    done: bool,
    /// Its client does not want the reply.
    silent: bool,
    slot: u16,
    started: Nanos,
    held: Vec<u8>,
    tap: Option<Box<Tap>>,
}

/// The ring.
#[derive(Default, Debug)]
pub struct Ring {
    entries: VecDeque<Entry>,
    base: u64,
    spare: Vec<Vec<u8>>,
    mid: bool,
    /// What CLIENT REPLY said.
    pub silence: Silence,
    /// Bytes of replies that wait for their turn.
    pub held: usize,
    /// A command in here is sent a second time. Until all are answered nothing new may be sent: what is still in flight may be redirected,
    /// too, and a later command would overtake it.
    pub unsettled: bool,
    /// Since one is sent a second time.
    order: Option<Box<Order>>,
    /// Taps of commands that are answered.
    pub tapped: Vec<Tap>,
    /// What the replies of an errand's round may still take; `None`: no errand runs.
    room: Option<usize>,
}

/// Held buffers kept for reuse: their number and how large one may have become.
const SPARES: usize = 16;
const SPARE_SIZE: usize = 4096;

impl Ring {
    /// How many entries wait, parts included.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is owed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Owes one more; the number by which the reply finds its place.
    #[inline]
    pub fn push(&mut self, kind: Kind, slot: u16, started: Nanos, tap: Option<Box<Tap>>) -> u64 {
        let seq = self.next();
        if let Some(order) = &mut self.order {
            order.push(slot, seq);
        }
        // What an errand or a merge needs is kept.
        let silent = self.silence.holds() && !matches!(kind, Kind::Part(_));
        self.entries.push_back(Entry { kind, done: false, silent, slot, started, held: Vec::new(), tap });
        seq
    }

    /// The number that the next entry gets.
    #[inline]
    pub fn next(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// The number of the entry that was pushed last.
    pub fn last(&self) -> u64 {
        self.next().saturating_sub(1)
    }

    /// Whether that is plain and nothing of its reply is here.
    pub fn is_last_open(&self) -> bool {
        !self.entries.is_empty() && self.is_plain(self.last())
    }

    /// Whether the reply at the front is out in part only.
    pub fn is_mid_reply(&self) -> bool {
        self.mid
    }

    /// Whether `seq` is next to go out, and goes out as it comes.
    pub fn is_front(&self, seq: u64) -> bool {
        seq == self.base && self.is_plain(seq)
    }

    /// Whether the reply to `seq` is passed on as it comes, none of it yet here.
    pub fn is_plain(&self, seq: u64) -> bool {
        self.index(seq).is_some_and(|index| self.entries[index].kind == Kind::Plain && self.entries[index].held.is_empty())
    }

    /// Whether the client does not want the reply to `seq`.
    pub fn is_silent(&self, seq: u64) -> bool {
        self.index(seq).is_some_and(|index| self.entries[index].silent)
    }

    /// Forgets the beginning of a reply that came and will not be whole. False: the client has part of it.
    pub fn take_back(&mut self, seq: u64) -> bool {
        let Some(index) = self.index(seq) else { return true };
        let entry = &mut self.entries[index];
        self.held -= entry.held.len();
        entry.held.clear();
        index > 0 || entry.kind != Kind::Plain || !self.mid
    }

    /// Whether all before `seq` are answered.
    #[inline]
    pub fn is_past(&self, seq: u64) -> bool {
        self.base >= seq
    }

    /// Whether `seq` is still owed.
    pub fn owes(&self, seq: u64) -> bool {
        self.index(seq).is_some()
    }

    /// Notes that `seq` has to be sent again.
    pub fn retry(&mut self, seq: u64) {
        if !self.owes(seq) {
            return;
        }
        self.unsettled = true;
        if self.order.is_none() {
            let mut order = Box::<Order>::default();
            let unanswered = self.entries.iter().zip(self.base..).filter(|(entry, _)| !entry.done);
            unanswered.for_each(|(entry, seq)| order.push(entry.slot, seq));
            self.order = Some(order);
        }
    }

    /// Whether `seq` may be sent again now: what came before it for the same slot is answered.
    pub fn may_retry(&self, seq: u64) -> bool {
        let Some((order, index)) = self.order.as_ref().zip(self.index(seq)) else { return true };
        order.is_oldest(self.entries[index].slot, seq)
    }

    /// A piece of the reply to `seq`, `last` or not. What can go out goes to `out`.
    #[inline]
    pub fn fill(&mut self, seq: u64, bytes: &[u8], last: bool, out: &mut Vec<u8>, now: Nanos, seconds: &Histogram) {
        let Some(index) = self.index(seq) else { return };
        let entry = &mut self.entries[index];
        if let Some(order) = self.order.as_mut().filter(|_| last) {
            order.done(entry.slot, seq);
        }
        if let Some(tap) = &mut entry.tap
            && bytes.first() == Some(&b'-')
        {
            tap.error = merge::error_code(bytes);
        }
        if entry.silent {
            return self.fill_silent(index, last, out, now, seconds);
        }
        if index == 0 && entry.kind == Kind::Plain {
            out.extend_from_slice(bytes);
            self.mid = true;
            if last {
                self.pop(now, seconds);
                self.flush(out, now, seconds);
            }
            return;
        }
        self.hold(index, bytes);
        if last {
            self.finish(index);
            self.flush(out, now, seconds);
        }
    }

    /// A piece of a reply that its client does not want.
    #[cold]
    fn fill_silent(&mut self, index: usize, last: bool, out: &mut Vec<u8>, now: Nanos, seconds: &Histogram) {
        if last {
            self.finish(index);
            self.flush(out, now, seconds);
        }
    }

    fn index(&self, seq: u64) -> Option<usize> {
        let index = usize::try_from(seq.checked_sub(self.base)?).ok()?;
        (index < self.entries.len() && !self.entries[index].done).then_some(index)
    }

    /// An errand asks for so many replies, of `room` bytes in all.
    pub fn begin_round(&mut self, parts: u32, room: usize) {
        self.room = Some(room);
        if let Some(Entry { kind: Kind::Errand { left }, .. }) = self.entries.front_mut() {
            *left = parts;
        }
    }

    /// Whether all that an errand asked for is here.
    pub fn is_round_over(&self) -> bool {
        matches!(self.entries.front(), Some(Entry { kind: Kind::Errand { left: 0 }, .. }))
    }

    /// Takes the replies of a round; whether there were more bytes than it had room for (then they are not whole).
    pub fn take_round(&mut self) -> (Vec<Vec<u8>>, bool) {
        let replies: Vec<Vec<u8>> = self.entries.drain(1..).map(|entry| entry.held).collect();
        let size: usize = replies.iter().map(Vec::len).sum();
        self.held = self.held.saturating_sub(size);
        (replies, self.room.is_some_and(|room| size > room))
    }

    /// The errand is about to be answered, as a plain command is.
    pub fn end_errand(&mut self) {
        self.room = None;
        self.entries.truncate(1);
        self.held = 0;
        if let Some(front) = self.entries.front_mut() {
            front.kind = Kind::Plain;
        }
    }

    fn hold(&mut self, index: usize, bytes: &[u8]) {
        if self.room.is_some_and(|room| self.held > room) {
            return; // over its room by at most one piece, which says so
        }
        let entry = &mut self.entries[index];
        if entry.held.capacity() == 0
            && let Some(spare) = self.spare.pop()
        {
            entry.held = spare;
        }
        entry.held.extend_from_slice(bytes);
        self.held += bytes.len();
    }

    fn finish(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        entry.done = true;
        match entry.kind {
            Kind::Part(back) => {
                let head = &mut self.entries[index - back as usize];
                match &mut head.kind {
                    Kind::Head { left, .. } => {
                        *left -= 1;
                        head.done = *left == 0;
                    }
                    Kind::Errand { left } => *left -= 1,
                    _ => {}
                }
            }
            Kind::Plain | Kind::Head { .. } | Kind::Errand { .. } => {}
        }
    }

    /// Sends what is complete at the front, and the beginning of what has begun there.
    fn flush(&mut self, out: &mut Vec<u8>, now: Nanos, seconds: &Histogram) {
        while let Some(front) = self.entries.front_mut() {
            match (front.kind, front.done) {
                (Kind::Head { merge, parts, .. }, true) => self.flush_head(merge, parts as usize, out, now, seconds),
                (_, true) => {
                    out.extend_from_slice(&front.held);
                    self.pop(now, seconds);
                }
                (Kind::Plain, false) => {
                    out.extend_from_slice(&front.held);
                    self.mid = !front.held.is_empty();
                    self.held -= front.held.len();
                    front.held.clear();
                    return;
                }
                _ => return,
            }
        }
    }

    fn flush_head(&mut self, merge: Merge, parts: usize, out: &mut Vec<u8>, now: Nanos, seconds: &Histogram) {
        let start = out.len();
        merge::write(merge, self.entries.range(1..=parts).map(|entry| entry.held.as_slice()), out);
        if self.entries.front().is_some_and(|head| head.silent) {
            out.truncate(start);
        }
        if let Some(tap) = self.entries.front_mut().and_then(|head| head.tap.as_mut())
            && out.get(start) == Some(&b'-')
        {
            tap.error = merge::error_code(&out[start..]);
        }
        for _ in 0..=parts {
            self.pop(now, seconds);
        }
    }

    #[inline]
    fn pop(&mut self, now: Nanos, seconds: &Histogram) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.base += 1;
        self.mid = false;
        if self.entries.is_empty() {
            self.unsettled = false;
            self.order = None;
        }
        if !matches!(entry.kind, Kind::Part(_)) {
            seconds.record(now.saturating_sub(entry.started));
        }
        self.tapped.extend(entry.tap.map(|tap| *tap));
        let mut held = entry.held;
        self.held = self.held.saturating_sub(held.len());
        if held.capacity() > 0 && held.capacity() <= SPARE_SIZE && self.spare.len() < SPARES {
            held.clear();
            self.spare.push(held);
        }
        if self.entries.is_empty() && self.entries.capacity() > SHRINK_FROM {
            self.entries.shrink_to(SHRINK_TO);
            self.spare.clear();
        }
    }
}

/// An idle client that once had a long pipeline gives the memory back.
const SHRINK_FROM: usize = 256;
const SHRINK_TO: usize = 16;

#[cfg(test)]
mod tests;
