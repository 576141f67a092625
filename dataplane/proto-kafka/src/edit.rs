//! Edits of a message that is held whole: its marked places, and splices that replace bytes.

use crate::codec;
use crate::tables::interest;
use crate::walk::{Malformed, Part, Seen, Step, Walk, uvarint};

/// Marks of one held body, 24 bytes each: Metadata of 100,000 partitions has 120,000. A body of the smallest elements would have a mark
/// per byte.
const MAX_MARKS: usize = 2_000_000;

/// A marked place of a held body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// One of [`interest`].
    pub interest: u8,
    /// What of it.
    pub part: Part,
    /// Offset of its first byte.
    pub at: usize,
    /// Its bytes on the wire, lengths included.
    pub len: usize,
    /// Lengths are varints.
    pub compact: bool,
}

impl Mark {
    /// Whether it is a field of that interest.
    pub fn is(&self, interest: u8) -> bool {
        self.interest == interest && self.part == Part::Value
    }

    /// Its bytes on the wire.
    pub fn bytes<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        body.get(self.at..self.at + self.len).unwrap_or_default()
    }

    /// The text of a marked string, without its length; null as empty.
    pub fn text<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        text(self.bytes(body), self.compact)
    }

    /// Whether a marked string, or the array whose count this is, is null.
    pub fn is_null(&self, body: &[u8]) -> bool {
        let first = self.bytes(body).first().copied().unwrap_or(0);
        if self.compact { first == 0 } else { first >= 0x80 }
    }

    /// The content of marked bytes, without their length; null as empty.
    pub fn blob<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        if self.compact { self.text(body) } else { self.bytes(body).get(4..).unwrap_or_default() }
    }

    /// A marked byte.
    pub fn byte(&self, body: &[u8]) -> u8 {
        self.bytes(body).first().copied().unwrap_or(0)
    }

    /// Marked records, without their length; null as empty.
    pub fn records<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        if self.compact { self.text(body) } else { self.bytes(body).get(4..).unwrap_or_default() }
    }

    /// Replaces marked records.
    pub fn with_records(&self, records: &[u8]) -> Splice {
        let length = u32::try_from(records.len()).unwrap_or(u32::MAX - 1);
        let mut with = Vec::with_capacity(records.len() + 5);
        if self.compact {
            codec::put_uvarint(&mut with, length.saturating_add(1));
        } else {
            with.extend(length.to_be_bytes());
        }
        with.extend_from_slice(records);
        self.with(with)
    }

    /// A marked integer of 2 or 4 bytes.
    pub fn int(&self, body: &[u8]) -> i32 {
        match *self.bytes(body) {
            [a, b] => i32::from(i16::from_be_bytes([a, b])),
            [a, b, c, d] => i32::from_be_bytes([a, b, c, d]),
            _ => 0,
        }
    }

    /// The count of a marked array; null as 0.
    pub fn count(&self, body: &[u8]) -> u32 {
        let bytes = self.bytes(body);
        if self.compact {
            let n = uvarint(bytes).ok().flatten().map_or(0, |(_, n)| n);
            return if self.interest == interest::TAIL_TAGS { n } else { n.saturating_sub(1) };
        }
        u32::try_from(self.int(body)).unwrap_or(0)
    }

    /// Replaces the place.
    pub fn with(&self, with: impl Into<Vec<u8>>) -> Splice {
        Splice { at: self.at, len: self.len, with: with.into() }
    }

    /// Replaces the text of a marked string.
    pub fn with_text(&self, text: &[u8]) -> Splice {
        self.with(codec::string(self.compact, text))
    }

    /// Replaces the content of marked bytes.
    pub fn with_blob(&self, blob: &[u8]) -> Splice {
        let length = u32::try_from(blob.len()).unwrap_or(u32::MAX - 1);
        let mut with = codec::count(self.compact, length);
        with.extend(blob);
        self.with(with)
    }

    /// Replaces a marked integer.
    pub fn with_int(&self, value: i32) -> Splice {
        let bytes = value.to_be_bytes();
        self.with(&bytes[4 - self.len.min(4)..])
    }
}

/// The text in a string's bytes on the wire.
pub fn text(bytes: &[u8], compact: bool) -> &[u8] {
    let head = if compact { uvarint(bytes).ok().flatten().map_or(bytes.len(), |(size, _)| size) } else { 2 };
    bytes.get(head..).unwrap_or_default()
}

/// The marked places of a whole body.
///
/// # Errors
/// The body is not of its program's shape.
pub fn marks(program: u32, body: &[u8]) -> Result<Vec<Mark>, Malformed> {
    let mut walk = Walk::new(program, body.len() as u64);
    let mut marks = Vec::new();
    loop {
        let at = body.len() - walk.left() as usize;
        match walk.step(&body[at..])? {
            Step::Need => return Err(Malformed("ends before its fields do")),
            Step::Run(_) | Step::Tail => {}
            Step::Done => return Ok(marks),
            // Only where clusters share a listener anybody asks for them (`brokers`), and Metadata has seven per partition.
            Step::Seen(Seen { interest: interest::BROKER_ID | interest::BROKER_IDS, .. }) => {}
            Step::Seen(_) | Step::Records(..) if marks.len() >= MAX_MARKS => return Err(Malformed("has more elements than 2,000,000")),
            Step::Seen(seen) => {
                marks.push(Mark { interest: seen.interest, part: seen.part, at, len: seen.bytes.len(), compact: seen.compact });
            }
            Step::Records(n, compact) => {
                let len = usize::try_from(n).unwrap_or(usize::MAX);
                marks.push(Mark { interest: interest::RECORDS, part: Part::Value, at, len, compact });
            }
        }
    }
}

/// The marked ids of brokers that have no address beside them: single ones, and lists that are one mark each.
///
/// # Errors
/// The body is not of its program's shape.
pub fn brokers(program: u32, body: &[u8], mut see: impl FnMut(Mark)) -> Result<(), Malformed> {
    let mut walk = Walk::new(program, body.len() as u64);
    loop {
        let at = body.len() - walk.left() as usize;
        match walk.step(&body[at..])? {
            Step::Need => return Err(Malformed("ends before its fields do")),
            Step::Done => return Ok(()),
            Step::Seen(Seen { interest: interest @ (interest::BROKER_ID | interest::BROKER_IDS), part, bytes, compact }) => {
                see(Mark { interest, part, at, len: bytes.len(), compact });
            }
            Step::Seen(_) | Step::Run(_) | Step::Records(..) | Step::Tail => {}
        }
    }
}

/// Bytes that take the place of others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Splice {
    /// Offset of the first byte that goes.
    pub at: usize,
    /// How many go.
    pub len: usize,
    /// What comes instead.
    pub with: Vec<u8>,
}

/// Appends `body` with its splices; they are sorted here and must not overlap.
pub fn apply(body: &[u8], splices: &mut [Splice], out: &mut Vec<u8>) {
    splices.sort_by_key(|splice| splice.at);
    let mut at = 0;
    for splice in splices {
        out.extend_from_slice(body.get(at..splice.at).unwrap_or_default());
        out.extend_from_slice(&splice.with);
        at = splice.at + splice.len;
    }
    out.extend_from_slice(body.get(at..).unwrap_or_default());
}

/// How much longer a body is with its splices.
pub fn growth(splices: &[Splice]) -> isize {
    splices.iter().map(|splice| splice.with.len() as isize - splice.len as isize).sum()
}

/// The elements of the marked arrays of one interest: each as the range of its marks and the range of its bytes.
pub fn elements(marks: &[Mark], interest: u8) -> impl Iterator<Item = (std::ops::Range<usize>, std::ops::Range<usize>)> + '_ {
    let borders = marks.iter().enumerate().filter(move |(_, mark)| mark.interest == interest && matches!(mark.part, Part::Element | Part::End));
    let ends = borders.clone().skip(1);
    borders.zip(ends).filter(|((_, from), _)| from.part == Part::Element).map(|((first, from), (last, to))| (first + 1..last, from.at..to.at))
}
