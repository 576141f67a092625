//! Canonical bytes of a sharding key: what the hash is taken of, equal for values that the database holds equal.
//!
//! * integers, whatever their SQL width: 8 bytes, big-endian, two's complement
//! * text and bytea: as they are (UTF-8)
//! * uuid: 16 bytes
//!
//! Only conversions that PostgreSQL itself would make, and would make to the same value, are made; the rest is `None`, "not provable".

use crate::value::Value;
use config::proto::midstream::sql::v1::KeyType;
use std::borrow::Cow;

/// Type OIDs (pg_type.dat).
pub(crate) mod oid {
    pub const BOOL: u32 = 16;
    pub const BYTEA: u32 = 17;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const TEXT: u32 = 25;
    pub const FLOAT4: u32 = 700;
    pub const FLOAT8: u32 = 701;
    pub const UNKNOWN: u32 = 705;
    pub const VARCHAR: u32 = 1043;
    pub const DATE: u32 = 1082;
    pub const TIMESTAMP: u32 = 1114;
    pub const TIMESTAMPTZ: u32 = 1184;
    pub const NUMERIC: u32 = 1700;
    pub const UUID: u32 = 2950;
    /// Arrays of key types: (array, element).
    pub const ARRAYS: [(u32, u32); 7] = [(1005, INT2), (1007, INT4), (1016, INT8), (1009, TEXT), (1015, VARCHAR), (1001, BYTEA), (2951, UUID)];
}

/// A key: NULL, or its canonical bytes.
pub(crate) type Key<'a> = Option<Cow<'a, [u8]>>;

/// The canonical bytes of a value compared with, or assigned to, a key column of type `key`.
/// `inferred` is the type the server gives to an undeclared parameter there (0: not known). `None`: not provable.
pub(crate) fn canonical<'a>(value: Value<'a>, key: KeyType, inferred: u32, negated: bool) -> Option<Key<'a>> {
    let bytes = match value {
        Value::Null => return Some(None),
        Value::Opaque => return None,
        Value::Text(text, declared) => from_text(text, known(declared, inferred), key, negated)?,
        Value::Binary(bytes, declared) if !negated => from_binary(bytes, known(declared, inferred), key)?,
        Value::Binary(..) => return None,
    };
    Some(Some(bytes))
}

/// The canonical bytes of a key that a rule or a plan writes as text.
pub(crate) fn of_constant(text: &str, key: KeyType, negated: bool) -> Option<Cow<'_, [u8]>> {
    from_text(Cow::Borrowed(text.as_bytes()), type_of(key), key, negated)
}

pub(crate) fn integer(value: i64) -> Cow<'static, [u8]> {
    Cow::Owned(value.to_be_bytes().to_vec())
}

/// A whole number as PostgreSQL's integer input reads it: white space around, a sign, decimal digits.
pub(crate) fn parse_integer(text: &[u8]) -> Option<i64> {
    let trimmed = text.trim_ascii();
    let digits = trimmed.strip_prefix(b"-").or_else(|| trimmed.strip_prefix(b"+")).unwrap_or(trimmed);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(trimmed).ok()?.parse().ok()
}

fn known(declared: u32, inferred: u32) -> u32 {
    if matches!(declared, 0 | oid::UNKNOWN) { inferred } else { declared }
}

fn type_of(key: KeyType) -> u32 {
    match key {
        KeyType::Integer => oid::INT8,
        KeyType::Text => oid::TEXT,
        KeyType::Bytes => oid::BYTEA,
        KeyType::Uuid => oid::UUID,
        KeyType::Unspecified => 0,
    }
}

/// Whether equality and assignment between the type and the key's are those of the canonical bytes.
fn fits(type_oid: u32, key: KeyType) -> bool {
    match key {
        KeyType::Integer => matches!(type_oid, oid::INT2 | oid::INT4 | oid::INT8),
        KeyType::Text => matches!(type_oid, oid::TEXT | oid::VARCHAR),
        KeyType::Bytes => type_oid == oid::BYTEA,
        KeyType::Uuid => type_oid == oid::UUID,
        KeyType::Unspecified => false,
    }
}

fn from_text<'a>(text: Cow<'a, [u8]>, type_oid: u32, key: KeyType, negated: bool) -> Option<Cow<'a, [u8]>> {
    // A whole number is the same number under any numeric type, so an integer key needs no known type.
    if key == KeyType::Integer && (type_oid == 0 || fits(type_oid, key)) {
        let value = parse_integer(&text)?;
        return Some(integer(if negated { value.checked_neg()? } else { value }));
    }
    if negated || !fits(type_oid, key) {
        return None;
    }
    match key {
        KeyType::Text => std::str::from_utf8(&text).is_ok().then_some(text),
        KeyType::Bytes => bytea(&text).map(Cow::Owned),
        KeyType::Uuid => uuid(&text).map(|bytes| Cow::Owned(bytes.to_vec())),
        _ => None,
    }
}

fn from_binary(bytes: &[u8], type_oid: u32, key: KeyType) -> Option<Cow<'_, [u8]>> {
    if !fits(type_oid, key) {
        return None;
    }
    match key {
        KeyType::Integer => binary_integer(bytes).map(integer),
        KeyType::Text => std::str::from_utf8(bytes).is_ok().then_some(Cow::Borrowed(bytes)),
        KeyType::Uuid => (bytes.len() == 16).then_some(Cow::Borrowed(bytes)),
        _ => Some(Cow::Borrowed(bytes)),
    }
}

/// smallint, integer or bigint in binary format.
pub(crate) fn binary_integer(bytes: &[u8]) -> Option<i64> {
    match *bytes {
        [a, b] => Some(i64::from(i16::from_be_bytes([a, b]))),
        [a, b, c, d] => Some(i64::from(i32::from_be_bytes([a, b, c, d]))),
        [..] => bytes.try_into().ok().map(i64::from_be_bytes),
    }
}

/// `\x` and hexadecimal digits; the historical escape format is not read.
fn bytea(text: &[u8]) -> Option<Vec<u8>> {
    hex(text.strip_prefix(b"\\x")?)
}

/// 32 hexadecimal digits, in the standard grouping or without hyphens, in braces or not.
fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let inner = text.strip_prefix(b"{").and_then(|inner| inner.strip_suffix(b"}")).unwrap_or(text);
    let grouped = inner.len() == 36 && [8, 13, 18, 23].iter().all(|at| inner[*at] == b'-');
    let digits: Vec<u8> = if grouped { inner.iter().copied().filter(|byte| *byte != b'-').collect() } else { inner.to_vec() };
    hex(&digits)?.try_into().ok()
}

fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
        _ => None,
    });
    pairs.collect()
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str, type_oid: u32, key: KeyType) -> Option<Vec<u8>> {
        from_text(Cow::Borrowed(value.as_bytes()), type_oid, key, false).map(Cow::into_owned)
    }

    #[test]
    fn integers_are_eight_bytes_whatever_their_width_and_format() {
        let five = 5i64.to_be_bytes().to_vec();
        assert_eq!(text(" +5 ", 0, KeyType::Integer), Some(five.clone()));
        assert_eq!(from_binary(&5i16.to_be_bytes(), oid::INT2, KeyType::Integer).unwrap(), five);
        assert_eq!(from_binary(&5i32.to_be_bytes(), oid::INT4, KeyType::Integer).unwrap(), five);
        assert_eq!(from_binary(&5i64.to_be_bytes(), oid::INT8, KeyType::Integer).unwrap(), five);
        let minus = from_text(Cow::Borrowed(b"5"), oid::INT4, KeyType::Integer, true).unwrap();
        assert_eq!(*minus, (-5i64).to_be_bytes());
    }

    #[test]
    fn what_the_server_might_read_otherwise_is_not_provable() {
        for value in ["5.0", "0x1f", "1_000", "", "-", "99999999999999999999", "5e0"] {
            assert_eq!(text(value, 0, KeyType::Integer), None, "{value}");
        }
        assert_eq!(text("5", oid::NUMERIC, KeyType::Integer), None);
        assert_eq!(text("a", 0, KeyType::Text), None, "it might be char(n), which ignores trailing spaces");
        assert_eq!(text("\\134", oid::BYTEA, KeyType::Bytes), None);
        assert_eq!(from_binary(&[0; 8], 0, KeyType::Integer), None, "eight zero bytes may be the numeric 0");
        assert_eq!(from_binary(b"\xff", oid::TEXT, KeyType::Text), None);
    }

    #[test]
    fn uuids_are_sixteen_bytes_in_every_spelling() {
        let expected = Some((0..16).map(|n| n * 17).collect::<Vec<u8>>());
        for spelling in ["00112233-4455-6677-8899-AABBCCDDEEFF", "{00112233-4455-6677-8899-aabbccddeeff}", "00112233445566778899aabbccddeeff"] {
            assert_eq!(text(spelling, oid::UUID, KeyType::Uuid), expected, "{spelling}");
        }
        assert_eq!(text("0011-2233445566778899aabbccddeeff", oid::UUID, KeyType::Uuid), None);
    }
}
