//! Walks a message by its lengths, with a skip program; stops wherever the bytes end and goes on when more come.
//!
//! The walker keeps no bytes. It says what comes next: a marked field, which is presented whole, or a run of bytes that nobody needs to
//! see, which may be longer than what is there: the caller forwards it unread. Every length is checked against what is left of the frame,
//! so a hostile length ends in [`Malformed`], never in memory.

use crate::table::Api;
use crate::tables::{self, interest};
use std::fmt;

/// The longest marked field: a topic or a group is at most 249 or 32,767 bytes.
pub const MAX_VALUE: u64 = 64 * 1024;

/// The longest marked run of bytes: the leader of a group assigns 100,000 partitions by names of topics in one. Only messages that are held
/// bear such marks.
pub const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Levels of nesting: the deepest schema (AlterPartitionReassignments in a transaction's topics) has 5; a table with more fails its test.
const MAX_DEPTH: usize = 10;

/// The message is not what its API and version say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What a marked place is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// A field: a value, or a string with its length in front.
    Value,
    /// The count of a marked array, or of the tags in a message's tail.
    Count,
    /// An element of a marked array begins; no bytes.
    Element,
    /// A marked array is over; no bytes.
    End,
    /// Tag and size of a known tagged field.
    Tag,
}

/// A marked place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen<'a> {
    /// One of [`interest`].
    pub interest: u8,
    /// What of it.
    pub part: Part,
    /// Its bytes on the wire, lengths included.
    pub bytes: &'a [u8],
    /// Lengths are varints.
    pub compact: bool,
}

impl Seen<'_> {
    /// The number of elements of a marked array; null as 0.
    pub fn count(&self) -> u32 {
        if self.compact {
            return uvarint(self.bytes).ok().flatten().map_or(0, |(_, n)| n.saturating_sub(1));
        }
        self.bytes.try_into().map_or(0, |bytes| u32::try_from(i32::from_be_bytes(bytes)).unwrap_or(0))
    }
}

/// What comes next in the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    /// The next field is longer than the bytes that are there.
    Need,
    /// A marked place.
    Seen(Seen<'a>),
    /// This many bytes that no rule asks for.
    Run(u64),
    /// The same of records, their length in front included; whether that is a varint.
    Records(u64, bool),
    /// What is left of the frame may hold NodeEndpoints.
    Tail,
    /// The message is over.
    Done,
}

#[derive(Clone, Copy, Debug)]
enum Level {
    /// Elements of an array: `left` more of the body from `start` to `end`.
    Loop { start: u32, end: u32, left: u64, interest: u8 },
    /// `left` more tagged fields; entries of the known ones from `first` to `end`.
    Tags { first: u32, end: u32, left: u64 },
    /// Inside a known tagged field, until `left` bytes of the frame are left.
    Tagged { end: u32, left: u64 },
}

/// A place in a message.
#[derive(Clone, Debug)]
pub struct Walk {
    pc: u32,
    left: u64,
    levels: [Level; MAX_DEPTH],
    depth: usize,
}

impl Walk {
    /// At the front of a message body of `length` bytes.
    pub fn new(program: u32, length: u64) -> Walk {
        Walk { pc: program, left: length, levels: [Level::Tagged { end: 0, left: 0 }; MAX_DEPTH], depth: 0 }
    }

    /// How many bytes of the body are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The program from here on.
    pub fn program(&self) -> u32 {
        self.pc
    }

    /// The next step over `bytes`, which begin where the last step ended.
    ///
    /// # Errors
    /// A length exceeds its frame, or the frame is longer than its message.
    pub fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, Malformed> {
        let bytes = &bytes[..bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX))];
        loop {
            match self.level() {
                Some(Level::Loop { start, end, left, interest }) if self.pc == end => {
                    if let Some(step) = self.turn(start, left, interest) {
                        return Ok(step);
                    }
                }
                Some(Level::Tagged { end, left }) if self.pc == end => {
                    if self.left != left {
                        return Err(Malformed("a tagged field's size is not that of its value"));
                    }
                    self.depth -= 1;
                }
                Some(Level::Tags { first, end, left }) => match self.tag(bytes, first, end, left)? {
                    Some(step) => return Ok(step),
                    None => continue,
                },
                _ => {
                    if let Some(step) = self.operation(bytes)? {
                        return Ok(step);
                    }
                }
            }
        }
    }

    fn level(&self) -> Option<Level> {
        self.depth.checked_sub(1).and_then(|top| self.levels.get(top)).copied()
    }

    fn push(&mut self, level: Level) -> Result<(), Malformed> {
        let slot = self.levels.get_mut(self.depth).ok_or(Malformed("is nested deeper than any schema"))?;
        *slot = level;
        self.depth += 1;
        Ok(())
    }

    fn turn(&mut self, start: u32, left: u64, interest: u8) -> Option<Step<'static>> {
        let part = match left.checked_sub(1) {
            None => {
                self.depth -= 1;
                Part::End
            }
            Some(fewer) => {
                if let Some(Level::Loop { left, .. }) = self.levels.get_mut(self.depth - 1) {
                    *left = fewer;
                }
                self.pc = start;
                Part::Element
            }
        };
        (interest != interest::NONE).then_some(Step::Seen(Seen { interest, part, bytes: &[], compact: false }))
    }

    fn operation<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<Step<'a>>, Malformed> {
        let word = tables::CODE.get(self.pc as usize).copied().ok_or(Malformed("has no program"))?;
        let (op, interest, arg) = ((word >> 24) as u8, (word >> 16) as u8, word & 0xffff);
        match op {
            tables::END if self.left == 0 => Ok(Some(Step::Done)),
            tables::END if arg == 1 => Ok(Some(Step::Run(std::mem::take(&mut self.left)))),
            tables::END => Err(Malformed("is longer than its schema")),
            tables::SKIP => self.run(u64::from(arg)).map(Some),
            tables::VALUE => self.value(bytes, interest, arg as usize),
            tables::STRING => self.string(bytes, interest, arg == 1, false),
            tables::BYTES => self.string(bytes, interest, arg == 1, true),
            tables::ARRAY => self.array(bytes, interest, arg),
            tables::OPTION => {
                let Some(flag) = self.take(bytes, 1)? else { return Ok(Some(Step::Need)) };
                self.pc += 1 + if flag[0] >= 0x80 { arg } else { 0 };
                Ok(Some(Step::Run(1)))
            }
            tables::TAGS => self.tags(bytes, interest, arg),
            tables::TAIL => {
                self.pc += 1;
                Ok(Some(Step::Tail))
            }
            _ => Err(Malformed("has a program of unknown words")),
        }
    }

    fn run(&mut self, n: u64) -> Result<Step<'static>, Malformed> {
        self.left = self.left.checked_sub(n).ok_or(Malformed("a length exceeds its frame"))?;
        self.pc += 1;
        Ok(Step::Run(n))
    }

    /// The next `n` bytes, passed; `None` when they are not there yet.
    fn take<'a>(&mut self, bytes: &'a [u8], n: usize) -> Result<Option<&'a [u8]>, Malformed> {
        if n as u64 > self.left {
            return Err(Malformed("a length exceeds its frame"));
        }
        let Some(taken) = bytes.get(..n) else { return Ok(None) };
        self.left -= n as u64;
        Ok(Some(taken))
    }

    fn value<'a>(&mut self, bytes: &'a [u8], interest: u8, n: usize) -> Result<Option<Step<'a>>, Malformed> {
        let Some(bytes) = self.take(bytes, n)? else { return Ok(Some(Step::Need)) };
        self.pc += 1;
        Ok(Some(Step::Seen(Seen { interest, part: Part::Value, bytes, compact: false })))
    }

    fn string<'a>(&mut self, bytes: &'a [u8], interest: u8, compact: bool, long: bool) -> Result<Option<Step<'a>>, Malformed> {
        let Some((head, length)) = self.length(bytes, compact, if long { 4 } else { 2 })? else { return Ok(Some(Step::Need)) };
        let whole = head as u64 + length;
        if interest == interest::RECORDS {
            self.run(whole)?;
            return Ok(Some(Step::Records(whole, compact)));
        }
        if interest == interest::NONE {
            return self.run(whole).map(Some);
        }
        if whole > if long { MAX_BYTES } else { MAX_VALUE } {
            return Err(Malformed("a name exceeds 64 KiB, or bytes exceed 32 MiB"));
        }
        let Some(bytes) = self.take(bytes, whole as usize)? else { return Ok(Some(Step::Need)) };
        self.pc += 1;
        Ok(Some(Step::Seen(Seen { interest, part: Part::Value, bytes, compact })))
    }

    /// The size of a length field and the length in it, null as 0; nothing is passed.
    fn length(&self, bytes: &[u8], compact: bool, fixed: usize) -> Result<Option<(usize, u64)>, Malformed> {
        let read = if compact {
            uvarint(bytes)?.map(|(size, n)| (size, u64::from(n).saturating_sub(1)))
        } else {
            bytes.get(..fixed).map(|head| {
                let n = head.iter().fold(0i64, |n, byte| n << 8 | i64::from(*byte));
                let null = head[0] >= 0x80;
                (fixed, if null { 0 } else { n as u64 })
            })
        };
        match read {
            None if bytes.len() as u64 >= self.left => Err(Malformed("ends before its fields do")),
            Some((size, n)) if size as u64 + n > self.left => Err(Malformed("a length exceeds its frame")),
            read => Ok(read),
        }
    }

    fn array<'a>(&mut self, bytes: &'a [u8], interest: u8, arg: u32) -> Result<Option<Step<'a>>, Malformed> {
        let compact = arg & 1 == 1;
        let Some((head, count)) = self.length(bytes, compact, 4)? else { return Ok(Some(Step::Need)) };
        let start = self.pc + 1;
        let end = start + (arg >> 1);
        let body = tables::CODE.get(start as usize).copied().unwrap_or(0);
        if end == start + 1 && (body >> 24) as u8 == tables::SKIP {
            let whole = head as u64 + count * u64::from(body & 0xffff);
            let step = if interest == interest::NONE { self.run(whole)? } else { self.numbers(bytes, interest, compact, whole)? };
            self.pc = if matches!(step, Step::Need) { self.pc } else { end };
            return Ok(Some(step));
        }
        let Some(bytes) = self.take(bytes, head)? else { return Ok(Some(Step::Need)) };
        self.push(Level::Loop { start, end, left: count, interest })?;
        self.pc = end;
        if interest == interest::NONE {
            return Ok(Some(Step::Run(head as u64)));
        }
        Ok(Some(Step::Seen(Seen { interest, part: Part::Count, bytes, compact })))
    }

    /// A marked array of numbers, seen as one.
    fn numbers<'a>(&mut self, bytes: &'a [u8], interest: u8, compact: bool, whole: u64) -> Result<Step<'a>, Malformed> {
        if whole > MAX_VALUE {
            return Err(Malformed("a list of brokers exceeds 64 KiB"));
        }
        Ok(self.take(bytes, whole as usize)?.map_or(Step::Need, |bytes| Step::Seen(Seen { interest, part: Part::Value, bytes, compact })))
    }

    fn tags<'a>(&mut self, bytes: &'a [u8], interest: u8, arg: u32) -> Result<Option<Step<'a>>, Malformed> {
        let Some((head, count)) = self.varint(bytes)? else { return Ok(Some(Step::Need)) };
        let Some(bytes) = self.take(bytes, head)? else { return Ok(Some(Step::Need)) };
        let first = self.pc + 1;
        let end = first + arg;
        self.pc = end;
        if count > 0 {
            self.push(Level::Tags { first, end, left: count })?;
        }
        if interest == interest::NONE {
            return Ok(Some(Step::Run(head as u64)));
        }
        Ok(Some(Step::Seen(Seen { interest, part: Part::Count, bytes, compact: true })))
    }

    fn tag<'a>(&mut self, bytes: &'a [u8], first: u32, end: u32, left: u64) -> Result<Option<Step<'a>>, Malformed> {
        let Some(fewer) = left.checked_sub(1) else {
            self.depth -= 1;
            self.pc = end;
            return Ok(None);
        };
        let Some((tag_head, tag)) = self.varint(bytes)? else { return Ok(Some(Step::Need)) };
        let rest = bytes.get(tag_head..).unwrap_or_default();
        let Some((size_head, size)) = self.varint(rest)? else { return Ok(Some(Step::Need)) };
        let head = tag_head + size_head;
        if head as u64 + size > self.left {
            return Err(Malformed("a tagged field exceeds its frame"));
        }
        if let Some(Level::Tags { left, .. }) = self.levels.get_mut(self.depth - 1) {
            *left = fewer;
        }
        let Some((body, body_end)) = known(first, end, tag) else {
            let step = self.run(head as u64 + size)?;
            return Ok(Some(step));
        };
        let Some(bytes) = self.take(bytes, head)? else { return Ok(Some(Step::Need)) };
        self.push(Level::Tagged { end: body_end, left: self.left - size })?;
        self.pc = body;
        Ok(Some(Step::Seen(Seen { interest: interest::TAIL_TAGS, part: Part::Tag, bytes, compact: true })))
    }

    fn varint(&self, bytes: &[u8]) -> Result<Option<(usize, u64)>, Malformed> {
        match uvarint(bytes)? {
            None if bytes.len() as u64 >= self.left => Err(Malformed("ends before its tags do")),
            read => Ok(read.map(|(size, n)| (size, u64::from(n)))),
        }
    }
}

/// The body of a known tag among the entries from `first` to `end`.
fn known(first: u32, end: u32, tag: u64) -> Option<(u32, u32)> {
    let mut at = first;
    while at < end {
        let entry = tables::CODE.get(at as usize).copied()?;
        let body_end = at + 1 + (entry & 0xffff);
        if u64::from(entry >> 16) == tag {
            return Some((at + 1, body_end));
        }
        at = body_end;
    }
    None
}

/// An unsigned varint: its size and value; `None` when it goes on beyond the bytes.
///
/// # Errors
/// It is longer than five bytes or than 32 bits.
pub fn uvarint(bytes: &[u8]) -> Result<Option<(usize, u32)>, Malformed> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).map_err(|_| Malformed("a varint exceeds 32 bits"))?;
            return Ok(Some((at + 1, value)));
        }
    }
    if bytes.len() < 5 { Ok(None) } else { Err(Malformed("a varint exceeds 32 bits")) }
}

/// Walks a whole message body of an API's version; calls `see` with every marked place and its offset. For tests and fuzzers.
///
/// # Errors
/// The body is not of that shape, or ends early.
pub fn walk_whole(api: &Api, version: i16, response: bool, body: &[u8], mut see: impl FnMut(usize, Seen<'_>)) -> Result<(), Malformed> {
    let shape = api.shape(version).ok_or(Malformed("has no such version"))?;
    let mut walk = Walk::new(if response { shape.response } else { shape.request }, body.len() as u64);
    loop {
        let at = body.len() - walk.left() as usize;
        match walk.step(&body[at..])? {
            Step::Need => return Err(Malformed("ends before its fields do")),
            Step::Seen(seen) => see(at, seen),
            Step::Run(_) | Step::Records(..) | Step::Tail => {}
            Step::Done => return Ok(()),
        }
    }
}
