//! Frames: a tag, a length that counts itself, a body. Source: PostgreSQL documentation, "Message Formats".

use wire::Cursor;

/// The longest body that a server allocates for (`MaxAllocSize`): no honest peer sends more.
pub const MAX_LARGE: usize = 0x3fff_ffff;
/// The longest of the messages that carry no data (`PQ_SMALL_MESSAGE_LIMIT`).
pub const MAX_SMALL: usize = 10_000;
/// The longest password or SASL message (`PG_MAX_AUTH_TOKEN_LENGTH`).
pub const MAX_AUTH: usize = 65_535;
/// A message that must be seen whole is held up to this: a statement of a client, an error of a server. A bulk INSERT with a thousand
/// rows of a kilobyte has one megabyte.
pub const MAX_HELD: usize = 16 * 1024 * 1024;
/// Tag and length.
pub const HEADER: usize = 5;

/// What stands at the front of the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Head {
    /// Less than a header.
    Short,
    /// A frame of `total` bytes, header included; maybe not all there.
    Frame {
        /// The message type.
        tag: u8,
        /// Header and body.
        total: usize,
    },
    /// A length that no honest peer sends.
    Bad {
        /// The message type.
        tag: u8,
        /// What stands there as its length.
        length: u32,
    },
}

/// Looks at a header; `limit` gives the longest body for a tag, `None` for a tag that does not exist.
#[inline]
pub fn head(bytes: &[u8], limit: fn(u8) -> Option<usize>) -> Head {
    let [tag, a, b, c, d, ..] = *bytes else { return Head::Short };
    let length = u32::from_be_bytes([a, b, c, d]);
    match limit(tag) {
        Some(limit) if length >= 4 && length as usize - 4 <= limit => Head::Frame { tag, total: length as usize + 1 },
        _ => Head::Bad { tag, length },
    }
}

/// The longest body of a frontend message.
#[inline]
pub fn frontend_limit(tag: u8) -> Option<usize> {
    match tag {
        b'Q' | b'P' | b'B' | b'F' | b'd' => Some(MAX_LARGE),
        b'E' | b'D' | b'C' | b'H' | b'S' | b'X' | b'c' | b'f' => Some(MAX_SMALL),
        b'p' => Some(MAX_AUTH),
        _ => None,
    }
}

/// The longest body of a backend message; those that are not rows must fit what is held.
#[inline]
pub fn backend_limit(tag: u8) -> Option<usize> {
    match tag {
        b'D' | b'd' | b'V' => Some(MAX_LARGE),
        b'T' | b'E' | b'N' | b'A' | b't' | b'S' | b'R' | b'v' | b'G' | b'H' | b'W' | b'C' => Some(MAX_HELD),
        b'1' | b'2' | b'3' | b'I' | b'n' | b's' | b'c' | b'K' | b'Z' => Some(MAX_SMALL),
        _ => None,
    }
}

/// Appends a message: header now, length patched when the body is written.
pub fn frame(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = (out.len() - at) as u32;
    if let Some(field) = out.get_mut(at..at + 4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends a NUL-terminated string. What holds a NUL would become two strings, so it ends there.
pub fn c_string(out: &mut Vec<u8>, text: &[u8]) {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    out.extend_from_slice(&text[..end]);
    out.push(0);
}

/// `Query`.
pub fn query(out: &mut Vec<u8>, sql: &[u8]) {
    frame(out, b'Q', |out| c_string(out, sql));
}

/// `Sync`.
pub const SYNC: &[u8] = b"S\0\0\0\x04";

/// `Flush`.
pub const FLUSH: &[u8] = b"H\0\0\0\x04";

/// `CommandComplete`.
pub fn complete(out: &mut Vec<u8>, tag: &[u8]) {
    frame(out, b'C', |out| c_string(out, tag));
}

/// `ReadyForQuery`: `I` idle, `T` in a transaction, `E` in a failed one.
pub fn ready(out: &mut Vec<u8>, status: u8) {
    out.extend_from_slice(&[b'Z', 0, 0, 0, 5, status]);
}

/// `ParameterStatus`.
pub fn parameter_status(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    frame(out, b'S', |out| {
        c_string(out, name);
        c_string(out, value);
    });
}

/// A `Parse` taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parse<'a> {
    /// The client's name of the statement; empty: the unnamed one.
    pub name: &'a [u8],
    /// Its text.
    pub sql: &'a [u8],
    /// The parameter types as they stand on the wire: OIDs of four bytes.
    pub types: &'a [u8],
}

impl<'a> Parse<'a> {
    /// From the body; `None` when it is malformed.
    pub fn read(body: &'a [u8]) -> Option<Parse<'a>> {
        let mut cursor = Cursor::new(body);
        let name = cursor.c_string().ok()?;
        let sql = cursor.c_string().ok()?;
        let count = usize::from(cursor.u16().ok()?);
        let types = cursor.take(count.checked_mul(4)?).ok()?;
        cursor.is_done().then_some(Parse { name, sql, types })
    }

    /// The declared type of each parameter; 0: not declared.
    pub fn oids(&self) -> impl Iterator<Item = u32> + 'a {
        self.types.chunks_exact(4).map(|oid| oid.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)))
    }
}

/// The front of a `Bind`: portal and statement. `rest` is the offset in the body of what follows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BindNames<'a> {
    /// Destination portal.
    pub portal: &'a [u8],
    /// Source statement.
    pub statement: &'a [u8],
    /// Where the formats begin.
    pub rest: usize,
}

impl<'a> BindNames<'a> {
    /// From the body or the beginning of one; `None` when the names do not end in it.
    pub fn read(body: &'a [u8]) -> Option<BindNames<'a>> {
        let mut cursor = Cursor::new(body);
        let portal = cursor.c_string().ok()?;
        let statement = cursor.c_string().ok()?;
        Some(BindNames { portal, statement, rest: cursor.at() })
    }
}

/// The body of `Describe` and `Close`: what (`S` or `P`) and its name.
pub fn kind_and_name(body: &[u8]) -> Option<(u8, &[u8])> {
    let mut cursor = Cursor::new(body);
    let kind = cursor.u8().ok()?;
    let name = cursor.c_string().ok()?;
    (cursor.is_done() && matches!(kind, b'S' | b'P')).then_some((kind, name))
}

/// The SQLSTATE of an `ErrorResponse` body.
pub fn sqlstate(body: &[u8]) -> &[u8] {
    field(body, b'C').unwrap_or(b"XX000")
}

/// One field of an `ErrorResponse` or `NoticeResponse` body.
pub fn field(body: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut cursor = Cursor::new(body);
    loop {
        let kind = cursor.u8().ok().filter(|kind| *kind != 0)?;
        let value = cursor.c_string().ok()?;
        if kind == wanted {
            return Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_short_then_whole() {
        assert_eq!(head(b"Q\0\0\0", frontend_limit), Head::Short);
        assert_eq!(head(b"Q\0\0\0\x05\0", frontend_limit), Head::Frame { tag: b'Q', total: 6 });
    }

    #[test]
    fn four_gigabytes_are_not_believed() {
        for bytes in [b"Q\xff\xff\xff\xff", b"Q\0\0\0\x03", b"E\0\0\x40\0", b"?\0\0\0\x05"] {
            assert!(matches!(head(bytes, frontend_limit), Head::Bad { .. }), "{bytes:?}");
        }
    }

    #[test]
    fn a_parse_that_claims_more_types_than_it_has_is_malformed() {
        assert!(Parse::read(b"s\0select $1\0\0\x01\0\0\0\x17").is_some());
        assert_eq!(Parse::read(b"s\0select $1\0\xff\xff\0\0\0\x17"), None);
        assert_eq!(Parse::read(b"s\0select $1"), None);
    }

    #[test]
    fn fields_of_an_error_are_found() {
        assert_eq!(sqlstate(b"SERROR\0C42601\0Mbad\0\0"), b"42601");
        assert_eq!(field(b"SERROR\0C42601", b'C'), None);
    }
}
