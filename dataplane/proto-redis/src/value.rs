//! Reading the replies to what the proxy asked on its own account: whole values, seldom, so that simplicity goes before speed.

use crate::frame::number;
use crate::merge::{array, bulk};
use crate::reply::Scan;

/// The elements of an array, set or map (keys and values in turn), each as it came. `None`: it is none of these, or null.
pub fn elements(value: &[u8]) -> Option<Vec<&[u8]>> {
    let kind = *value.first()?;
    if !matches!(kind, b'*' | b'~' | b'%') {
        return None;
    }
    let (count, next) = number(value, 1, "").ok()??;
    let count = usize::try_from(count).ok()?.checked_mul(if kind == b'%' { 2 } else { 1 })?;
    let mut rest = &value[next..];
    let mut found = Vec::new();
    for _ in 0..count {
        let (length, true) = Scan::default().feed(rest).ok()? else { return None };
        let (element, after) = rest.split_at_checked(length)?;
        found.push(element);
        rest = after;
    }
    Some(found)
}

/// What a bulk or simple string says. `None`: it is neither, or null.
pub fn text(value: &[u8]) -> Option<&[u8]> {
    match value.first()? {
        b'$' => {
            let (length, start) = number(value, 1, "").ok()??;
            value.get(start..start.checked_add(usize::try_from(length).ok()?)?)
        }
        b'+' => value[1..].strip_suffix(b"\r\n"),
        _ => None,
    }
}

/// An integer reply.
pub fn integer_of(value: &[u8]) -> Option<i64> {
    if value.first() != Some(&b':') {
        return None;
    }
    number(value, 1, "").ok()?.map(|(value, _)| value)
}

/// Whether it is null, of either version.
pub fn is_null(value: &[u8]) -> bool {
    value.starts_with(b"$-1") || value.starts_with(b"*-1") || value.starts_with(b"_")
}

/// Whether it is an error.
pub fn is_error(value: &[u8]) -> bool {
    matches!(value.first(), Some(b'-' | b'!'))
}

/// A command of these words.
pub fn command<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut out = Vec::with_capacity(words.iter().map(|word| word.as_ref().len() + 16).sum());
    array(&mut out, words.len());
    words.iter().for_each(|word| bulk(&mut out, word.as_ref()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_apart() {
        let value = b"*3\r\n$1\r\na\r\n*1\r\n:1\r\n_\r\n";
        let parts = elements(value).unwrap();
        assert_eq!(parts, [&b"$1\r\na\r\n"[..], b"*1\r\n:1\r\n", b"_\r\n"]);
        assert_eq!((text(parts[0]), integer_of(elements(parts[1]).unwrap()[0]), is_null(parts[2])), (Some(&b"a"[..]), Some(1), true));
        assert_eq!(elements(b"%1\r\n+a\r\n:1\r\n").unwrap().len(), 2);
        assert_eq!((elements(b"*-1\r\n"), elements(b"*1\r\n$3\r\na"), text(b"$-1\r\n")), (None, None, None));
        assert_eq!(command(&["GET", "a"]), b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
    }
}
