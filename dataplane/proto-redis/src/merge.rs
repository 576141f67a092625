//! How the replies of several nodes become the reply of one server.

use crate::action::Merge;
use crate::frame::number;
use crate::info;
use crate::latency;
use crate::packing;
use std::collections::BTreeSet;

/// Appends the merged reply. An error of any part is the reply.
pub fn write<'a>(merge: Merge, parts: impl Iterator<Item = &'a [u8]> + Clone, out: &mut Vec<u8>) {
    let is_error = |part: &&[u8]| part.first() == Some(&b'-');
    let decides = merge != Merge::Succeeded || parts.clone().all(|part| is_error(&part));
    if let Some(error) = parts.clone().find(is_error).filter(|_| decides) {
        out.extend_from_slice(error);
        return;
    }
    let merged = match merge {
        Merge::Elements | Merge::Concat => concat(parts, out),
        Merge::Union => union(parts, out),
        Merge::Counts => counts(parts, out),
        Merge::Sum => sum(parts, out),
        Merge::Highest => highest(parts, out),
        Merge::And => and(parts, out),
        Merge::Same => parts.take(1).map(|part| out.extend_from_slice(part)).next(),
        Merge::NotNull => not_null(parts, out),
        Merge::Succeeded => parts.filter(|part| !is_error(part)).take(1).map(|part| out.extend_from_slice(part)).next(),
        Merge::Info => info::merge(parts, out),
        Merge::Latencies => latency::merge(parts, out),
        Merge::Unpacked(shape) => packing::merge(shape, parts, out),
    };
    if merged.is_none() {
        out.extend_from_slice(b"-ERR midstream: the nodes' replies do not fit together; is one of them not a Redis server of the same version?\r\n");
    }
}

/// The header's number and the bytes after it.
fn header(part: &[u8], kind: u8) -> Option<(i64, &[u8])> {
    if part.first() != Some(&kind) {
        return None;
    }
    let (count, next) = number(part, 1, "").ok()??;
    Some((count, &part[next..]))
}

fn concat<'a>(parts: impl Iterator<Item = &'a [u8]> + Clone, out: &mut Vec<u8>) -> Option<()> {
    let mut count = 0i64;
    for part in parts.clone() {
        count = count.checked_add(header(part, b'*')?.0)?;
    }
    array(out, usize::try_from(count).ok()?);
    parts.filter_map(|part| header(part, b'*')).for_each(|(_, elements)| out.extend_from_slice(elements));
    Some(())
}

fn sum<'a>(parts: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) -> Option<()> {
    let mut sum = 0i64;
    for part in parts {
        sum = sum.checked_add(header(part, b':')?.0)?;
    }
    integer(out, sum);
    Some(())
}

fn highest<'a>(parts: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) -> Option<()> {
    let numbers: Option<Vec<i64>> = parts.map(|part| Some(header(part, b':')?.0)).collect();
    integer(out, numbers?.into_iter().max()?);
    Some(())
}

/// The strings of an array of strings, or what stands at every second place of one with numbers between them.
fn strings(part: &[u8]) -> Option<Vec<(&[u8], i64)>> {
    let (_, mut rest) = header(part, b'*')?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (length, text) = header(rest, b'$')?;
        let length = usize::try_from(length).ok()?;
        rest = text.get(length.checked_add(2)?..)?;
        let number = header(rest, b':');
        rest = number.map_or(rest, |(_, next)| next);
        found.push((text.get(..length)?, number.map_or(0, |(number, _)| number)));
    }
    Some(found)
}

fn union<'a>(parts: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) -> Option<()> {
    let mut all = BTreeSet::new();
    for part in parts {
        all.extend(strings(part)?.into_iter().map(|(text, _)| text));
    }
    array(out, all.len());
    all.into_iter().for_each(|text| bulk(out, text));
    Some(())
}

/// Every node answers for the same channels in the same order.
fn counts<'a>(mut parts: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) -> Option<()> {
    let mut all = strings(parts.next()?)?;
    for part in parts {
        all.iter_mut().zip(strings(part)?).for_each(|(sum, (_, more))| sum.1 = sum.1.saturating_add(more));
    }
    array(out, all.len() * 2);
    for (text, count) in all {
        bulk(out, text);
        integer(out, count);
    }
    Some(())
}

fn and<'a>(parts: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) -> Option<()> {
    let mut lowest: Option<Vec<i64>> = None;
    for part in parts {
        let (_, mut rest) = header(part, b'*')?;
        let mut row = Vec::new();
        while !rest.is_empty() {
            let (value, next) = header(rest, b':')?;
            row.push(value);
            rest = next;
        }
        lowest = Some(match lowest {
            None => row,
            Some(before) => before.into_iter().zip(row).map(|(a, b)| a.min(b)).collect(),
        });
    }
    let lowest = lowest?;
    array(out, lowest.len());
    lowest.into_iter().for_each(|value| integer(out, value));
    Some(())
}

fn not_null<'a>(parts: impl Iterator<Item = &'a [u8]> + Clone, out: &mut Vec<u8>) -> Option<()> {
    let is_null = |part: &[u8]| part.starts_with(b"$-1") || part.starts_with(b"_");
    let part = parts.clone().find(|part| !is_null(part)).or_else(|| parts.clone().next())?;
    out.extend_from_slice(part);
    Some(())
}

/// The first word of an error reply: `WRONGTYPE`.
pub fn error_code(reply: &[u8]) -> String {
    let line = reply.strip_prefix(b"-").unwrap_or(reply);
    String::from_utf8_lossy(line.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default()).into_owned()
}

/// Appends a bulk string.
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'$');
    decimal(out, bytes.len() as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends the header of an array.
pub fn array(out: &mut Vec<u8>, count: usize) {
    out.push(b'*');
    decimal(out, count as u64);
    out.extend_from_slice(b"\r\n");
}

/// Appends an integer reply.
pub fn integer(out: &mut Vec<u8>, value: i64) {
    out.push(b':');
    if value < 0 {
        out.push(b'-');
    }
    decimal(out, value.unsigned_abs());
    out.extend_from_slice(b"\r\n");
}

/// Appends a number without the formatting machinery: it runs once per part of a split command.
pub fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(merge: Merge, parts: &[&str]) -> String {
        let mut out = Vec::new();
        write(merge, parts.iter().map(|part| part.as_bytes()), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn merges() {
        assert_eq!(merged(Merge::Sum, &[":1\r\n", ":-3\r\n"]), ":-2\r\n");
        assert_eq!(merged(Merge::Highest, &[":1\r\n", ":3\r\n"]), ":3\r\n");
        assert_eq!(merged(Merge::Concat, &["*1\r\n$1\r\na\r\n", "*0\r\n", "*2\r\n:1\r\n:2\r\n"]), "*3\r\n$1\r\na\r\n:1\r\n:2\r\n");
        assert_eq!(merged(Merge::And, &["*2\r\n:1\r\n:0\r\n", "*2\r\n:1\r\n:1\r\n"]), "*2\r\n:1\r\n:0\r\n");
        assert_eq!(merged(Merge::Same, &["+OK\r\n", "+OK\r\n"]), "+OK\r\n");
        assert_eq!(merged(Merge::NotNull, &["$-1\r\n", "$1\r\nk\r\n"]), "$1\r\nk\r\n");
        assert_eq!(merged(Merge::Sum, &[":1\r\n", "-NOPERM x\r\n"]), "-NOPERM x\r\n");
        assert_eq!(merged(Merge::Union, &["*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*0\r\n", "*1\r\n$1\r\na\r\n"]), "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
        assert_eq!(
            merged(Merge::Counts, &["*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:0\r\n", "*4\r\n$1\r\na\r\n:2\r\n$1\r\nb\r\n:5\r\n"]),
            "*4\r\n$1\r\na\r\n:3\r\n$1\r\nb\r\n:5\r\n"
        );
        assert!(merged(Merge::Counts, &["*2\r\n$9\r\na\r\n"]).starts_with("-ERR midstream"));
        assert_eq!(merged(Merge::Succeeded, &["-NOTBUSY x\r\n", "+OK\r\n"]), "+OK\r\n");
        assert_eq!(merged(Merge::Succeeded, &["-NOTBUSY x\r\n", "-NOTBUSY x\r\n"]), "-NOTBUSY x\r\n");
        assert!(merged(Merge::Sum, &[":1\r\n", "+OK\r\n"]).starts_with("-ERR midstream"));
    }
}
