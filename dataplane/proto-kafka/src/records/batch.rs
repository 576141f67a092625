//! Record batches of version 2 (KIP-98), and what else stands beside them in a log.
//!
//! | at | field | | at | field |
//! |---|---|---|---|---|
//! | 0 | base offset | | 27 | base timestamp |
//! | 8 | length of what follows | | 35 | greatest timestamp |
//! | 12 | leader epoch | | 43 | producer id |
//! | 16 | magic: 2 | | 51 | producer epoch |
//! | 17 | CRC32C of what follows | | 53 | first sequence number |
//! | 21 | attributes | | 57 | count |
//! | 23 | last offset - base offset | | 61 | records, compressed as the attributes say |

use super::compress::{Codec, decompress};
use super::{Records, Unreadable};
use crate::walk::Malformed;
use std::borrow::Cow;

/// Bytes in front of the records.
pub const HEADER: usize = 61;

/// Base offset and length, which the length does not count.
const OVERHEAD: usize = 12;

/// A message of version 0 or 1 has at least its CRC, magic and attributes.
const MIN_OLD: usize = 18;

const CODEC_MASK: i16 = 7;
const CONTROL: i16 = 1 << 5;

/// What a partition's bytes hold, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece<'a> {
    /// A batch.
    Batch(Batch<'a>),
    /// A message of version 0 or 1, which has no headers.
    Old(&'a [u8]),
    /// The beginning of a batch that a broker has cut off. Clients pass over it.
    Partial(&'a [u8]),
}

/// A whole batch of version 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Batch<'a> {
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// All of it.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The offset of its first record, as it was written.
    pub fn base_offset(&self) -> i64 {
        i64::from_be_bytes(self.field(0))
    }

    /// The distance to the offset of its last record, as it was written: compaction does not change it.
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.field(23))
    }

    /// Compression, kind of timestamps, transaction, control.
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.field(21))
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// By no codec that Kafka has.
    pub fn codec(&self) -> Result<Codec, Malformed> {
        Codec::of(self.attributes() & CODEC_MASK)
    }

    /// Whether it ends a transaction, and holds nothing of an application's.
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL != 0
    }

    /// How many records it says it has.
    pub fn count(&self) -> i32 {
        i32::from_be_bytes(self.field(57))
    }

    /// Whether its checksum is right.
    pub fn is_intact(&self) -> bool {
        crc32c::crc32c(&self.bytes[21..]) == u32::from_be_bytes(self.field(17))
    }

    /// The records without compression, of at most `most` bytes.
    ///
    /// # Errors
    /// The checksum is wrong, they don't decompress, or they are longer.
    pub fn inflate(&self, most: usize) -> Result<Cow<'a, [u8]>, Unreadable> {
        if !self.is_intact() {
            return Err(Unreadable::Corrupt);
        }
        decompress(self.codec()?, &self.bytes[HEADER..], most)
    }

    /// Its records in what [`Batch::inflate`] gave.
    ///
    /// # Errors
    /// The count is negative.
    pub fn records<'p>(&self, payload: &'p [u8]) -> Result<Records<'p>, Malformed> {
        u32::try_from(self.count()).map(|count| Records::new(payload, count)).map_err(|_| Malformed("has less than no records"))
    }

    /// The same batch with other records, already compressed as it says. Without any left it says that it is not compressed, as brokers
    /// do with batches that compaction has emptied.
    ///
    /// # Errors
    /// It would be longer than its length can say.
    pub fn with(&self, count: u32, payload: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let length = i32::try_from(HEADER - OVERHEAD + payload.len()).map_err(|_| Unreadable::TooLarge)?;
        let mut out = Vec::with_capacity(HEADER + payload.len());
        out.extend_from_slice(&self.bytes[..HEADER]);
        out.extend_from_slice(payload);
        out[8..12].copy_from_slice(&length.to_be_bytes());
        out[57..61].copy_from_slice(&count.to_be_bytes());
        if count == 0 {
            out[21..23].copy_from_slice(&(self.attributes() & !CODEC_MASK).to_be_bytes());
        }
        let crc = crc32c::crc32c(&out[21..]);
        out[17..21].copy_from_slice(&crc.to_be_bytes());
        Ok(out)
    }

    /// A field within the header, which is there.
    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.bytes[at..at + N]);
        field
    }
}

/// The pieces of a partition's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Pieces<'a> {
    rest: &'a [u8],
}

impl<'a> Pieces<'a> {
    /// From the front of the bytes.
    pub fn new(bytes: &'a [u8]) -> Pieces<'a> {
        Pieces { rest: bytes }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<Piece<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() {
            return None;
        }
        let (Some(length), Some(magic)) = (rest.get(8..OVERHEAD), rest.get(16)) else { return Some(Ok(Piece::Partial(rest))) };
        let length = length.iter().fold(0u32, |length, byte| length << 8 | u32::from(*byte));
        let whole = match i32::try_from(length).ok().and_then(|length| OVERHEAD.checked_add(usize::try_from(length).ok()?)) {
            Some(whole) if whole >= MIN_OLD => whole,
            _ => return Some(Err(Malformed("claims a length that no batch has"))),
        };
        let Some((piece, after)) = rest.split_at_checked(whole) else { return Some(Ok(Piece::Partial(rest))) };
        let piece = match magic {
            2 if whole >= HEADER => Piece::Batch(Batch { bytes: piece }),
            2 => return Some(Err(Malformed("is shorter than its header"))),
            0 | 1 => Piece::Old(piece),
            _ => return Some(Err(Malformed("has a magic above 2"))),
        };
        self.rest = after;
        Some(Ok(piece))
    }
}
