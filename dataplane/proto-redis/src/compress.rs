//! Values compressed: what stands in front of one, and how it is read again.
//!
//! ```text
//!  FF 4D 5A 01 │ algorithm (1) │ length of the value (4) │ bytes        0: as they are; 1: one LZ4 block
//! ```
//! A value is itself unless it begins with those four bytes; one that a client wrote so is marked, too, so that it is never taken for ours.
//! What looks like a number is never touched: servers count in it.

use crate::limits;
use std::borrow::Cow;

const MAGIC: &[u8] = b"\xffMZ\x01";
const HEADER: usize = MAGIC.len() + 1 + 4;
const STORED: u8 = 0;
const LZ4: u8 = 1;

/// How values of a route are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compression {
    /// Values from this length on; `None`: none are, any more.
    pub from: Option<usize>,
}

/// A value that says that it is compressed, and is not.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Broken;

/// What a node is given in place of a value.
pub(crate) fn pack(value: &[u8], compression: Compression) -> Cow<'_, [u8]> {
    if compression.from.is_some_and(|from| value.len() >= from) && !is_numeric(value) {
        let packed = head(LZ4, value.len()).map(|head| [head.as_slice(), &lz4_flex::block::compress(value)].concat());
        if let Some(packed) = packed.filter(|packed| packed.len() < value.len()) {
            return Cow::Owned(packed);
        }
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
        LZ4 if length <= room.min(limits::MAX_WORD as usize) => {
            let value = lz4_flex::block::decompress(bytes, length).map_err(|_| Broken)?;
            if value.len() == length { Ok(Cow::Owned(value)) } else { Err(Broken) }
        }
        _ => Err(Broken),
    }
}

/// How much longer a value may become that is not compressed.
pub(crate) const OVERHEAD: usize = HEADER;

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Compression = Compression { from: Some(64) };

    fn back(value: &[u8], compression: Compression) -> usize {
        let packed = pack(value, compression).into_owned();
        assert_eq!(unpack(&packed, usize::MAX).unwrap(), value);
        packed.len()
    }

    #[test]
    fn values_come_back_as_they_were() {
        assert!(back(&b"text ".repeat(1000), SMALL) < 100);
        assert_eq!(back(b"text text", SMALL), 9);
        assert_eq!(back(&b"text ".repeat(1000), Compression { from: None }), 5000);
        assert_eq!(back(&b"0123456789".repeat(100), SMALL), 1000, "a number");
        let noise: Vec<u8> = (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert!(back(&noise, SMALL) <= noise.len());
        back(&[MAGIC, &noise].concat(), SMALL);
        // What begins as ours and stays as it is, is marked.
        for value in [MAGIC, &[MAGIC, b"\x01\0\0\0\x05abc"].concat()] {
            assert_eq!(back(value, SMALL), value.len() + OVERHEAD);
        }
    }

    #[test]
    fn what_is_damaged_or_a_bomb_is_an_error() {
        let packed = pack(&b"text ".repeat(1000), SMALL).into_owned();
        for at in 0..packed.len() {
            let mut damaged = packed.clone();
            damaged[at] ^= 0x40;
            let _ = unpack(&damaged, usize::MAX);
            let _ = unpack(&packed[..at], usize::MAX);
        }
        assert_eq!(unpack(&packed[..packed.len() - 1], usize::MAX), Err(Broken));
        assert_eq!(unpack(&packed, 4999), Err(Broken));
        let bomb = [MAGIC, b"\x01\xff\xff\xff\xff", &packed[HEADER..]].concat();
        assert_eq!(unpack(&bomb, usize::MAX), Err(Broken));
    }
}
