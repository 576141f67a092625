//! Values compressed: what stands in front of one, and how it is read again.
//!
//! ```text
//!  FF 4D 5A 01 │ algorithm (1) │ length of the value (4) │ bytes        0: as they are; 1: one LZ4 block; 2: one zstd frame
//! ```
//! A value is itself unless it begins with those four bytes; one that a client wrote so is marked, too, so that it is never taken for ours.
//! What looks like a number is never touched: servers count in it.

use crate::limits;
use std::borrow::Cow;

const MAGIC: &[u8] = b"\xffMZ\x01";
const HEADER: usize = MAGIC.len() + 1 + 4;
const STORED: u8 = 0;

/// zstd's own default: beyond it a value costs several times as long and is a few hundredths shorter.
const ZSTD_LEVEL: i32 = 3;

/// Who compresses; as the number that stands in front.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Codec {
    /// Blocks of LZ4: the least time.
    Lz4 = 1,
    /// Frames of zstd: the least room.
    Zstd = 2,
}

impl Codec {
    const ALL: [Codec; 2] = [Codec::Lz4, Codec::Zstd];

    fn compress(self, value: &[u8]) -> Option<Vec<u8>> {
        match self {
            Codec::Lz4 => Some(lz4_flex::block::compress(value)),
            Codec::Zstd => zstd::bulk::compress(value, ZSTD_LEVEL).ok(),
        }
    }

    /// The value, if it has that length; never more is written.
    fn decompress(self, bytes: &[u8], length: usize) -> Option<Vec<u8>> {
        let value = match self {
            Codec::Lz4 => lz4_flex::block::decompress(bytes, length).ok()?,
            Codec::Zstd => zstd::bulk::decompress(bytes, length).ok()?,
        };
        (value.len() == length).then_some(value)
    }
}

/// How values of a route are compressed. What is there is read, whoever compressed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compression {
    /// By whom; `None`: nothing is, any more.
    pub codec: Option<Codec>,
    /// Values from this length on.
    pub from: usize,
}

/// A value that says that it is compressed, and is not.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Broken;

/// What a node is given in place of a value.
pub(crate) fn pack(value: &[u8], compression: Compression) -> Cow<'_, [u8]> {
    if let Some(codec) = compression.codec
        && value.len() >= compression.from
        && !is_numeric(value)
        && let (Some(head), Some(body)) = (head(codec as u8, value.len()), codec.compress(value))
        && head.len() + body.len() < value.len()
    {
        return Cow::Owned([head, body].concat());
    }
    match head(STORED, value.len()) {
        Some(head) if value.starts_with(MAGIC) => Cow::Owned([head.as_slice(), value].concat()),
        _ => Cow::Borrowed(value),
    }
}

fn head(algorithm: u8, length: usize) -> Option<Vec<u8>> {
    let length = u32::try_from(length).ok()?;
    Some([MAGIC, &[algorithm], &length.to_be_bytes()].concat())
}

/// Whether it may be what INCRBYFLOAT and its kin take for a number, however long.
fn is_numeric(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'+' | b'-' | b'.' | b'x' | b'X' | b'p' | b'P'))
}

/// The value of what a node has, of `room` bytes at most.
///
/// # Errors
/// It is damaged, was never ours, or is longer.
pub(crate) fn unpack(stored: &[u8], room: usize) -> Result<Cow<'_, [u8]>, Broken> {
    let Some(rest) = stored.strip_prefix(MAGIC) else { return Ok(Cow::Borrowed(stored)) };
    let (algorithm, rest) = rest.split_first().ok_or(Broken)?;
    let (length, bytes) = rest.split_first_chunk::<4>().ok_or(Broken)?;
    let length = u32::from_be_bytes(*length) as usize;
    match *algorithm {
        STORED if bytes.len() == length => Ok(Cow::Borrowed(bytes)),
        number if length <= room.min(limits::MAX_WORD as usize) => {
            let codec = Codec::ALL.into_iter().find(|codec| *codec as u8 == number).ok_or(Broken)?;
            codec.decompress(bytes, length).map(Cow::Owned).ok_or(Broken)
        }
        _ => Err(Broken),
    }
}

/// How much longer a value may become that is not compressed.
pub(crate) const OVERHEAD: usize = HEADER;

#[cfg(test)]
mod tests {
    use super::*;

    fn small(codec: Codec) -> Compression {
        Compression { codec: Some(codec), from: 64 }
    }

    fn back(value: &[u8], compression: Compression) -> usize {
        let packed = pack(value, compression).into_owned();
        assert_eq!(unpack(&packed, usize::MAX).unwrap(), value);
        packed.len()
    }

    #[test]
    fn values_come_back_as_they_were() {
        let text = b"text ".repeat(1000);
        let noise: Vec<u8> = (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for small in Codec::ALL.map(small) {
            assert!(back(&text, small) < 100);
            assert_eq!(back(b"text text", small), 9);
            assert_eq!(back(&b"0123456789".repeat(100), small), 1000, "a number");
            assert!(back(&noise, small) <= noise.len());
            back(&[MAGIC, &noise].concat(), small);
            // What begins as ours and stays as it is, is marked.
            for value in [MAGIC, &[MAGIC, b"\x01\0\0\0\x05abc"].concat()] {
                assert_eq!(back(value, small), value.len() + OVERHEAD);
            }
        }
        assert_eq!(back(&text, Compression { codec: None, from: 0 }), 5000);
    }

    #[test]
    fn what_is_damaged_or_a_bomb_is_an_error() {
        for codec in Codec::ALL {
            let packed = pack(&b"text ".repeat(1000), small(codec)).into_owned();
            for at in 0..packed.len() {
                let mut damaged = packed.clone();
                damaged[at] ^= 0x40;
                let _ = unpack(&damaged, usize::MAX);
                let _ = unpack(&packed[..at], usize::MAX);
            }
            assert_eq!(unpack(&packed[..packed.len() - 1], usize::MAX), Err(Broken));
            assert_eq!(unpack(&packed, 4999), Err(Broken));
            // More comes out than the head says, or less.
            for length in [b"\xff\xff\xff\xff", b"\x00\x00\x13\x87", b"\x00\x00\x13\x89"] {
                let bomb = [&packed[..MAGIC.len() + 1], length, &packed[HEADER..]].concat();
                assert_eq!(unpack(&bomb, usize::MAX), Err(Broken), "{codec:?} {length:?}");
            }
            let unknown = [MAGIC, b"\x03", &packed[MAGIC.len() + 1..]].concat();
            assert_eq!(unpack(&unknown, usize::MAX), Err(Broken));
        }
    }
}
