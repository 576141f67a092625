//! DataRow messages: a count of 16 bits, then per field a length of 32 bits (-1: NULL) and that many bytes.

use crate::refusal::Refusal;
use wire::{Cursor, Short};

/// A field of a row; `None`: NULL.
pub(super) type Field<'a> = Option<&'a [u8]>;

pub(super) fn malformed(what: &str) -> Refusal {
    Refusal::new("58000", format!("a shard's answer cannot be merged: {what}"), "the shards' schemas may differ; compare them")
}

pub(super) fn over_budget(what: &str, budget: usize) -> Refusal {
    let message = format!("{what} over several shards needs more than its {budget} bytes of memory");
    Refusal::new("54000", message, "restrict the statement, for instance to one value of the sharding key")
}

/// What keeping so many bytes costs, about: the bytes and their places in tables.
pub(super) fn kept(bytes: usize) -> usize {
    bytes + 64
}

/// Calls `each` with every field until it returns false.
pub(super) fn fields<'a>(body: &'a [u8], mut each: impl FnMut(usize, Field<'a>) -> bool) -> Result<(), Refusal> {
    let mut cursor = Cursor::new(body);
    let mut walk = |cursor: &mut Cursor<'a>| -> Result<(), Short> {
        for index in 0..usize::from(cursor.u16()?) {
            if !each(index, next(cursor)?) {
                return Ok(());
            }
        }
        Ok(())
    };
    walk(&mut cursor).map_err(|_| malformed("a row that ends before its fields do"))
}

fn next<'a>(cursor: &mut Cursor<'a>) -> Result<Field<'a>, Short> {
    match cursor.i32()? {
        -1 => Ok(None),
        length => cursor.take(usize::try_from(length).map_err(|_| Short)?).map(Some),
    }
}

/// One field.
pub(super) fn field(body: &[u8], column: usize) -> Result<Field<'_>, Refusal> {
    let mut found = None;
    fields(body, |index, field| {
        if index == column {
            found = Some(field);
        }
        index < column
    })?;
    found.ok_or_else(|| malformed("a row with fewer fields than the plan needs"))
}

/// Appends a DataRow with this body.
pub(super) fn write(body: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let length = u32::try_from(body.len() + 4).map_err(|_| malformed("a row of more than 4 GB"))?;
    out.push(b'D');
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body);
    Ok(())
}

/// Appends a DataRow with only the first `visible` fields.
pub(super) fn write_cut(body: &[u8], visible: usize, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let mut end = 2;
    fields(body, |index, field| {
        if index < visible {
            end += 4 + field.map_or(0, <[u8]>::len);
        }
        index < visible
    })?;
    let length = u32::try_from(end + 4).map_err(|_| malformed("a row of more than 4 GB"))?;
    let count = u16::try_from(visible).map_err(|_| malformed("more columns than the protocol can count"))?;
    out.push(b'D');
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(body.get(2..end).unwrap_or_default());
    Ok(())
}

/// The body of a DataRow with these fields.
pub(super) fn body<'a>(fields: impl ExactSizeIterator<Item = Field<'a>>) -> Vec<u8> {
    let mut body = Vec::with_capacity(2 + fields.len() * 12);
    body.extend_from_slice(&(fields.len() as u16).to_be_bytes());
    for field in fields {
        match field {
            None => body.extend_from_slice(&(-1i32).to_be_bytes()),
            Some(bytes) => {
                body.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
                body.extend_from_slice(bytes);
            }
        }
    }
    body
}
