//! A frame that passes while it comes: marked fields may be patched in place of their length, records are forwarded unread.

use crate::address::Facade;
use crate::endpoints;
use crate::tables::interest;
use crate::walk::{Malformed, Part, Seen, Step, Walk};
use wire::{Io, Key};

/// Up to this size bytes that are there are copied; from it on the engine forwards them, which it does without a copy.
pub const COPY_MAX: u64 = 32 * 1024;

/// How far a call came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ran {
    /// This many unconsumed bytes are needed before it goes on.
    Need(usize),
    /// The engine forwards; it goes on with what comes after.
    Forwarded,
    /// The frame has passed.
    Done,
}

/// The way of one frame.
#[derive(Debug)]
pub struct Relay {
    from: Key,
    to: Key,
    walk: Option<Walk>,
    /// Bytes of records so far.
    records: u64,
    /// Bytes that pass before the walk goes on.
    rest: u64,
    in_tail: bool,
    /// Whether the front of records is shown before they pass.
    peeks: bool,
    /// It is to be shown now; whether the length is a varint.
    peek: Option<bool>,
}

/// What is shown of records: their length, and the header of the first batch.
const PEEK: u64 = 5 + crate::records::HEADER as u64;

/// What may change a marked field, behind so many bytes of records: the bytes that take its place. They are as many as it had, unless another size was announced.
pub type Patch<'a> = &'a mut dyn FnMut(&Seen<'_>, u64) -> Result<Option<Vec<u8>>, Malformed>;

impl Relay {
    /// A frame of which `rest` bytes are still to come and nothing is looked at.
    pub fn opaque(from: Key, to: Key, rest: u64) -> Relay {
        Relay { from, to, walk: None, records: 0, rest, in_tail: false, peeks: false, peek: None }
    }

    /// A frame whose body is walked.
    pub fn walked(from: Key, to: Key, walk: Walk) -> Relay {
        Relay { from, to, walk: Some(walk), records: 0, rest: 0, in_tail: false, peeks: false, peek: None }
    }

    /// Shows the front of records, which is not changed.
    pub fn peeking(self, peeks: bool) -> Relay {
        Relay { peeks, ..self }
    }

    /// Passes what it can of `bytes`. Returns how many were consumed.
    ///
    /// # Errors
    /// The frame is not of its shape.
    pub fn run(
        &mut self,
        io: &mut dyn Io,
        bytes: &[u8],
        facade: &Facade<'_>,
        outside: &mut u64,
        patch: Patch<'_>,
    ) -> Result<(usize, Ran), Malformed> {
        let mut at = 0;
        let mut copied = 0;
        loop {
            if let Some(compact) = self.peek {
                let Some(front) = bytes.get(at..at + self.rest.min(PEEK) as usize) else {
                    io.out(self.to).extend_from_slice(&bytes[copied..at]);
                    return Ok((at, Ran::Need(self.rest.min(PEEK) as usize)));
                };
                patch(&Seen { interest: interest::RECORDS, part: Part::Value, bytes: front, compact }, self.records)?;
                self.peek = None;
            }
            if self.rest > 0 {
                let there = (bytes.len() - at) as u64;
                if self.rest <= there && self.rest < COPY_MAX {
                    at += self.rest as usize;
                    self.rest = 0;
                    continue;
                }
                io.out(self.to).extend_from_slice(&bytes[copied..at]);
                return Ok((at, self.forward(io)));
            }
            let Some(walk) = &mut self.walk else {
                io.out(self.to).extend_from_slice(&bytes[copied..at]);
                return Ok((at, Ran::Done));
            };
            if self.in_tail {
                io.out(self.to).extend_from_slice(&bytes[copied..at]);
                return self.tail(io, &bytes[at..], facade, outside).map(|(used, ran)| (at + used, ran));
            }
            match walk.step(&bytes[at..])? {
                Step::Need => {
                    io.out(self.to).extend_from_slice(&bytes[copied..at]);
                    return Ok((at, Ran::Need(bytes.len() - at + 1)));
                }
                Step::Run(n) => self.rest = n,
                Step::Records(n, compact) => {
                    self.records += n;
                    (self.rest, self.peek) = (n, self.peeks.then_some(compact));
                }
                Step::Tail => self.in_tail = true,
                Step::Done => self.walk = None,
                Step::Seen(seen) => {
                    let len = seen.bytes.len();
                    if let Some(with) = patch(&seen, self.records)? {
                        let out = io.out(self.to);
                        out.extend_from_slice(&bytes[copied..at]);
                        out.extend_from_slice(&with);
                        copied = at + len;
                    }
                    at += len;
                }
            }
        }
    }

    /// How many bytes of records have passed.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Hands the rest to the engine, up to a last byte, so that the end is seen.
    fn forward(&mut self, io: &mut dyn Io) -> Ran {
        let is_last = self.walk.as_ref().is_none_or(|walk| walk.left() == 0);
        let held = u64::from(is_last && self.rest > 1);
        if is_last && self.rest == 1 {
            return Ran::Need(1);
        }
        io.forward(self.from, self.to, self.rest - held);
        self.rest = held;
        Ran::Forwarded
    }

    fn tail(&mut self, io: &mut dyn Io, bytes: &[u8], facade: &Facade<'_>, outside: &mut u64) -> Result<(usize, Ran), Malformed> {
        let Some(walk) = &self.walk else { return Ok((0, Ran::Done)) };
        let left = walk.left();
        if left > endpoints::MAX_TAIL {
            return Err(Malformed("has endpoints of more than 1 MiB"));
        }
        let left = left as usize;
        let Some(tail) = bytes.get(..left) else { return Ok((0, Ran::Need(left))) };
        let (rewritten, out_of_range) = endpoints::rewrite(walk.program(), tail, facade)?;
        *outside += out_of_range;
        io.out(self.to).extend_from_slice(&rewritten);
        self.walk = None;
        Ok((left, Ran::Done))
    }
}
