//! Elements of DER (X.690, 8.1), as far as certificates need them: definite lengths of up to two bytes.

use crate::cursor::Cursor;

/// SEQUENCE.
pub const SEQUENCE: u8 = 0x30;
/// SET.
pub const SET: u8 = 0x31;
/// OBJECT IDENTIFIER.
pub const OBJECT_ID: u8 = 0x06;

/// The contents of the next element, which must have that tag.
pub fn value<'a>(from: &mut Cursor<'a>, tag: u8) -> Option<&'a [u8]> {
    element(from).filter(|(found, _)| *found == tag).map(|(_, contents)| contents)
}

/// The next element: its tag and contents.
pub fn element<'a>(from: &mut Cursor<'a>) -> Option<(u8, &'a [u8])> {
    let tag = from.u8().ok()?;
    let length = match from.u8().ok()? {
        short @ 0..=0x7f => usize::from(short),
        0x81 => usize::from(from.u8().ok()?),
        0x82 => usize::from(from.u16().ok()?),
        _ => return None,
    };
    Some((tag, from.take(length).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_one_two_and_three_bytes() {
        let mut long = vec![SET, 0x82, 1, 0];
        long.extend_from_slice(&[7; 256]);
        assert_eq!(value(&mut Cursor::new(b"\x06\x02ab"), OBJECT_ID), Some(&b"ab"[..]));
        assert_eq!(element(&mut Cursor::new(b"\x30\x81\x01a")), Some((SEQUENCE, &b"a"[..])));
        assert_eq!(element(&mut Cursor::new(&long)), Some((SET, &[7; 256][..])));
    }

    #[test]
    fn what_is_cut_or_endless_is_nothing() {
        for bytes in [&b"\x30"[..], b"\x30\x02a", b"\x30\x80a\0\0", b"\x30\x84\xff\xff\xff\xff"] {
            assert_eq!(element(&mut Cursor::new(bytes)), None, "{bytes:?}");
        }
        assert_eq!(value(&mut Cursor::new(b"\x31\x01a"), SEQUENCE), None);
    }
}
