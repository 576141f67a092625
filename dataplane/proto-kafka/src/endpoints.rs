//! NodeEndpoints (KIP-951) at the tail of a Produce, Fetch, ShareFetch or ShareAcknowledge response.
//!
//! Such a response may bear 100 MB of records, so it is relayed while it comes, and its size has been sent long before its tail is seen:
//! the tail must keep its length. New addresses are spliced in; where they are shorter, an unknown tagged field of zeros at the very end
//! fills up, which every client passes over. Where they are longer and don't fit, the endpoints are left out and filled up whole: the
//! client then asks for Metadata, as it did before KIP-951. No byte of a broker's address is left in either case.

use crate::address::Facade;
use crate::codec::{put_uvarint, put_uvarint_wide, uvarint_size};
use crate::edit::{Mark, Splice, apply, growth, marks};
use crate::tables::interest;
use crate::walk::{Malformed, Part};

/// The longest tail that is held: 16,000 endpoints of 64 bytes.
pub const MAX_TAIL: u64 = 1024 * 1024;

/// The tag of the filler; Kafka numbers its tags from 0 and has never passed 10.
const FILLER_TAG: u32 = 127;

/// Rewrites a tail in place of its length; `program` is what follows the `TAIL` word. Returns it and how many brokers were out of range.
///
/// # Errors
/// The tail is not of its program's shape.
pub fn rewrite(program: u32, tail: &[u8], facade: &Facade<'_>) -> Result<(Vec<u8>, u64), Malformed> {
    let marks = marks(program, tail)?;
    let tags = marks.iter().find(|mark| mark.interest == interest::TAIL_TAGS && mark.part == Part::Count).ok_or(Malformed("has no tags"))?;
    let (splices, outside) = facade.splices(tail, &marks);
    if splices.is_empty() {
        return Ok((tail.to_vec(), 0));
    }
    if outside == 0 {
        let mut kept = splices;
        resize_tag(tail, &marks, &mut kept);
        if let Some(out) = fill(tail, tags, tags.count(tail), kept) {
            return Ok((out, 0));
        }
    }
    let (removed, left) = without(tail, &marks, tags);
    fill(tail, tags, left, removed).map(|out| (out, outside)).ok_or(Malformed("has no room for a tag"))
}

/// Tagged endpoints have their size in front.
fn resize_tag(tail: &[u8], marks: &[Mark], splices: &mut Vec<Splice>) {
    let Some((tag, size)) = tag_of(tail, marks) else { return };
    let size = size as isize + growth(splices);
    let mut head = vec![];
    put_uvarint(&mut head, 0);
    put_uvarint(&mut head, u32::try_from(size).unwrap_or(u32::MAX));
    splices.push(tag.with(head));
}

/// Where the endpoints are a tagged field: its head and its size. Known tags are under 128: one byte.
fn tag_of<'a>(tail: &[u8], marks: &'a [Mark]) -> Option<(&'a Mark, u32)> {
    let tag = marks.iter().find(|mark| mark.part == Part::Tag)?;
    let size = crate::walk::uvarint(tag.bytes(tail).get(1..)?).ok().flatten()?.1;
    Some((tag, size))
}

/// Leaves the endpoints out: the whole tagged field, or all elements. Returns how many tags are left.
fn without(tail: &[u8], marks: &[Mark], tags: &Mark) -> (Vec<Splice>, u32) {
    let count = tags.count(tail);
    if let Some((tag, size)) = tag_of(tail, marks) {
        return (vec![Splice { at: tag.at, len: tag.len + size as usize, with: vec![] }], count.saturating_sub(1));
    }
    let part = |part: Part| marks.iter().find(|mark| mark.interest == interest::NODES && mark.part == part);
    match (part(Part::Count), part(Part::End)) {
        (Some(first), Some(end)) => (vec![Splice { at: first.at, len: end.at - first.at, with: vec![1] }], count),
        _ => (vec![], count),
    }
}

/// Applies the splices and fills up to the old length; `None` where the result is longer.
fn fill(tail: &[u8], tags: &Mark, count: u32, mut splices: Vec<Splice>) -> Option<Vec<u8>> {
    let mut head = vec![];
    put_uvarint(&mut head, count);
    let shrunk = usize::try_from(-(growth(&splices) + head.len() as isize - tags.len as isize)).ok()?;
    let grown_head = uvarint_size(count + 1);
    let filler = shrunk.checked_sub(grown_head - head.len()).filter(|filler| *filler >= 2);
    match filler {
        _ if shrunk == 0 => splices.push(tags.with(head)),
        Some(_) => {
            let mut head = vec![];
            put_uvarint(&mut head, count + 1);
            splices.push(tags.with(head));
        }
        // One or two bytes: too few for a tag and its size; the count itself takes them, as a longer varint.
        None => {
            let mut wide = vec![];
            put_uvarint_wide(&mut wide, count, head.len() + shrunk);
            splices.push(tags.with(wide));
        }
    }
    let mut out = Vec::with_capacity(tail.len());
    apply(tail, &mut splices, &mut out);
    if let Some(filler) = filler {
        put_filler(&mut out, filler);
    }
    (out.len() == tail.len()).then_some(out)
}

/// A tagged field of exactly `n` bytes, at least 2, which everybody passes over.
pub fn put_filler(out: &mut Vec<u8>, n: usize) {
    let end = out.len() + n;
    put_uvarint(out, FILLER_TAG);
    let width = (1..=5).find(|width| n - 1 - width < 1 << (7 * width)).unwrap_or(5);
    put_uvarint_wide(out, (n - 1 - width) as u32, width);
    out.resize(end, 0);
}
