//! The elements of an array parameter that holds sharding keys: `key = ANY($1)`.

use crate::canonical::{Key, canonical, oid};
use crate::value::Value;
use config::proto::midstream::sql::v1::KeyType;
use std::borrow::Cow;
use wire::Cursor;

/// More keys than this are not routed one by one.
const MAX_KEYS: i32 = 65_536;

/// The canonical keys in an array of one dimension, without NULLs (they match nothing); `None`: not provable.
/// A NULL array is an empty one: it matches nothing either.
pub(crate) fn elements<'a>(value: &'a Value<'_>, key: KeyType, inferred: u32) -> Option<Vec<Key<'a>>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Opaque => None,
        Value::Text(text, declared) => textual(text, key, element_type(if *declared == 0 { inferred } else { *declared })?),
        Value::Binary(bytes, declared) => binary(bytes, key, element_type(if *declared == 0 { inferred } else { *declared })?),
    }
}

fn element_type(array: u32) -> Option<u32> {
    oid::ARRAYS.iter().find(|(of, _)| *of == array).map(|(_, element)| *element)
}

fn binary<'a>(bytes: &'a [u8], key: KeyType, expected: u32) -> Option<Vec<Key<'a>>> {
    let mut cursor = Cursor::new(bytes);
    let dimensions = cursor.i32().ok()?;
    cursor.skip(4).ok()?;
    if cursor.u32().ok()? != expected {
        return None;
    }
    if dimensions == 0 {
        return Some(Vec::new());
    }
    let length = cursor.i32().ok()?;
    cursor.skip(4).ok()?;
    if dimensions != 1 || !(0..=MAX_KEYS).contains(&length) {
        return None;
    }
    let mut keys = Vec::new();
    for _ in 0..length {
        let size = cursor.i32().ok()?;
        if size >= 0 {
            let element = cursor.take(usize::try_from(size).ok()?).ok()?;
            keys.push(canonical(Value::Binary(element, expected), key, expected, false)?);
        }
    }
    cursor.is_done().then_some(keys)
}

/// `{1,2,3}` and `{a,"b c"}`; escapes and nested braces are not read.
fn textual<'a>(text: &'a [u8], key: KeyType, expected: u32) -> Option<Vec<Key<'a>>> {
    let inner = text.strip_prefix(b"{")?.strip_suffix(b"}")?;
    if inner.is_empty() {
        return Some(Vec::new());
    }
    if inner.iter().any(|byte| matches!(byte, b'\\' | b'{' | b'}')) || (inner.contains(&b'"') && inner.windows(2).any(|pair| pair == b"\"\"")) {
        return None;
    }
    let mut keys = Vec::new();
    for element in split(inner)? {
        if element.eq_ignore_ascii_case(b"null") {
            continue;
        }
        let quoted = element.strip_prefix(b"\"").map(|rest| rest.strip_suffix(b"\""));
        let plain = match quoted {
            Some(inside) => inside?,
            None if element.contains(&b'"') || element.trim_ascii().len() != element.len() || element.is_empty() => return None,
            None => element,
        };
        keys.push(canonical(Value::Text(Cow::Borrowed(plain), expected), key, expected, false)?);
    }
    Some(keys)
}

/// Splits at commas outside of quotes; `None` when a quote is not closed.
fn split(inner: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut parts, mut start, mut quoted) = (Vec::new(), 0, false);
    for (at, byte) in inner.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    (!quoted && parts.len() <= MAX_KEYS as usize).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str, array: u32, key: KeyType) -> Option<Vec<Vec<u8>>> {
        let value = Value::Text(Cow::Borrowed(text.as_bytes()), 0);
        let keys = elements(&value, key, array)?;
        Some(keys.into_iter().map(|key| key.unwrap().into_owned()).collect())
    }

    #[test]
    fn elements_of_both_formats() {
        assert_eq!(texts("{1,NULL,-2}", 1016, KeyType::Integer), Some(vec![1i64.to_be_bytes().to_vec(), (-2i64).to_be_bytes().to_vec()]));
        assert_eq!(texts("{a,\"b,c\"}", 1009, KeyType::Text), Some(vec![b"a".to_vec(), b"b,c".to_vec()]));
        assert_eq!(texts("{}", 1009, KeyType::Text), Some(vec![]));
        let mut bytes = Vec::new();
        for word in [1u32, 0, oid::INT4, 2, 1, 4, 7, u32::MAX] {
            bytes.extend(word.to_be_bytes());
        }
        let value = Value::Binary(&bytes, 1007);
        assert_eq!(elements(&value, KeyType::Integer, 0), Some(vec![Some(Cow::Owned(7i64.to_be_bytes().to_vec()))]));
        bytes.push(0);
        assert_eq!(elements(&Value::Binary(&bytes, 1007), KeyType::Integer, 0), None);
    }

    #[test]
    fn odd_spellings_are_not_provable() {
        for text in ["{{1},{2}}", "{\"a\\\"b\"}", "{a, b}", "1,2", "{\"a}", "[0:1]={1,2}"] {
            assert_eq!(texts(text, 1009, KeyType::Text), None, "{text}");
        }
    }
}
