//! The consumer protocol inside of the classic groups' opaque bytes: topics in subscriptions and assignments.
//!
//! ```text
//! subscription: version, [topic], user data, from 1: [topic, [partition]], from 2: generation, from 3: rack
//! assignment:   version, [topic, [partition]], user data
//! ```
//! Later versions append fields, which are kept as they are. User data is the assignor's own; the clients of one group write and read it
//! under their own names, and brokers never do.

use wire::Cursor;

/// What a topic's name becomes; `None`: it is left out.
pub type Rename<'a> = &'a mut dyn FnMut(&[u8]) -> Option<Vec<u8>>;

/// The last version whose fields are known here.
const KNOWN_VERSION: i16 = 3;

/// A subscription under other names; `None` when the bytes are none.
pub fn subscription(bytes: &[u8], rename: Rename<'_>) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(bytes);
    let version = version(&mut cursor)?;
    let mut out = version.to_be_bytes().to_vec();
    topics(&mut cursor, &mut out, rename, false)?;
    user_data(&mut cursor, &mut out)?;
    if version >= 1 {
        topics(&mut cursor, &mut out, rename, true)?;
    }
    out.extend(cursor.rest());
    Some(out)
}

/// An assignment under other names; `None` when the bytes are none.
pub fn assignment(bytes: &[u8], rename: Rename<'_>) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(bytes);
    let version = version(&mut cursor)?;
    let mut out = version.to_be_bytes().to_vec();
    topics(&mut cursor, &mut out, rename, true)?;
    user_data(&mut cursor, &mut out)?;
    out.extend(cursor.rest());
    (version > KNOWN_VERSION || cursor.rest().is_empty()).then_some(out)
}

fn version(cursor: &mut Cursor<'_>) -> Option<i16> {
    cursor.i16().ok().filter(|version| *version >= 0)
}

fn topics(cursor: &mut Cursor<'_>, out: &mut Vec<u8>, rename: Rename<'_>, has_partitions: bool) -> Option<()> {
    let count = cursor.u32().ok()?;
    let at = out.len();
    out.extend([0; 4]);
    let mut kept = 0u32;
    for _ in 0..count {
        let length = cursor.u16().ok()?;
        let name = cursor.take(usize::from(length)).ok()?;
        let partitions = if has_partitions { partitions(cursor)? } else { &[] };
        let Some(name) = rename(name) else { continue };
        out.extend(u16::try_from(name.len()).ok()?.to_be_bytes());
        out.extend(name);
        out.extend(partitions);
        kept += 1;
    }
    out.get_mut(at..at + 4)?.copy_from_slice(&kept.to_be_bytes());
    Some(())
}

fn partitions<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let front = cursor.rest();
    let count = cursor.u32().ok()? as usize;
    let size = count.checked_mul(4)?;
    cursor.skip(size).ok()?;
    front.get(..4 + size)
}

fn user_data(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Option<()> {
    let front = cursor.rest();
    let length = cursor.i32().ok()?;
    let size = usize::try_from(length).unwrap_or(0);
    cursor.skip(size).ok()?;
    out.extend(front.get(..4 + size)?);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBSCRIPTION: &[u8] = b"\0\x03\0\0\0\x02\0\x01x\0\x02yy\0\0\0\x03abc\0\0\0\x01\0\x01x\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\x07\0\x01r";
    const ASSIGNMENT: &[u8] = b"\0\0\0\0\0\x01\0\x01x\0\0\0\x01\0\0\0\x05\xff\xff\xff\xff";

    fn prefixed(name: &[u8]) -> Option<Vec<u8>> {
        Some([b"p.", name].concat())
    }

    fn bare(name: &[u8]) -> Option<Vec<u8>> {
        name.strip_prefix(b"p.").map(<[u8]>::to_vec)
    }

    #[test]
    fn topics_are_renamed_there_and_back_and_all_else_stays() {
        let there = subscription(SUBSCRIPTION, &mut prefixed).unwrap();
        assert_eq!(there.len(), SUBSCRIPTION.len() + 6);
        assert_eq!(subscription(&there, &mut bare).unwrap(), SUBSCRIPTION);
        let there = assignment(ASSIGNMENT, &mut prefixed).unwrap();
        assert_eq!(assignment(&there, &mut bare).unwrap(), ASSIGNMENT);
    }

    #[test]
    fn a_foreign_topic_is_left_out() {
        let left = subscription(SUBSCRIPTION, &mut |name| (name == b"yy").then(|| name.to_vec())).unwrap();
        assert_eq!(left, b"\0\x03\0\0\0\x01\0\x02yy\0\0\0\x03abc\0\0\0\0\0\0\0\x07\0\x01r");
    }

    #[test]
    fn other_bytes_are_left_alone() {
        for cut in 0..ASSIGNMENT.len() {
            assert_eq!(assignment(&ASSIGNMENT[..cut], &mut prefixed), None);
        }
        assert_eq!(assignment(&[ASSIGNMENT, b"x"].concat(), &mut prefixed), None);
        let of_connect = b"\0\x01\0\0\0\x08worker-1\0\x15http://worker-1:8083/\0\0\0\0\0\0\0\x01\0\0\0\0";
        assert_eq!(assignment(of_connect, &mut prefixed), None);
    }
}
