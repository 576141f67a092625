//! Maps the records of a partition's bytes.
//!
//! What is not changed keeps its bytes. A batch of which records are dropped keeps its header's offsets, its attributes and its producer,
//! as compaction does it: the offsets of what is left are what they were, and clients go on behind the batch's last offset even when
//! nothing is left of it. Control batches are never touched.

use super::batch::{Batch, Piece, Pieces};
use super::compress::compress;
use super::record::{Record, put};
use super::{MAX_INFLATED, Unreadable};
use crate::walk::Malformed;
use std::borrow::Cow;

/// What becomes of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change<'r> {
    /// It stays as it is.
    Keep,
    /// It goes.
    Drop,
    /// It has another value and these headers.
    Set(Option<Vec<u8>>, Vec<NewHeader<'r>>),
}

/// A header's name, and its value where it has one.
pub type NewHeader<'r> = (Cow<'r, [u8]>, Option<Cow<'r, [u8]>>);

/// Says what becomes of each record; `E` is its own error.
pub type Decide<'a, E> = &'a mut dyn for<'r> FnMut(&Batch<'_>, &Record<'r>) -> Result<Change<'r>, E>;

/// Maps every record of a partition's bytes; `None` where all of them stay. What a broker has cut off stays cut off.
///
/// # Errors
/// A batch cannot be looked into, has an old version, or `decide` says no.
pub fn map<E: From<Unreadable>>(bytes: &[u8], decide: Decide<'_, E>) -> Result<Option<Vec<u8>>, E> {
    let mut out = Vec::new();
    let mut copied = 0;
    let mut at = 0;
    for piece in Pieces::new(bytes) {
        let batch = match piece.map_err(Unreadable::from)? {
            Piece::Batch(batch) => batch,
            Piece::Old(_) => return Err(Unreadable::Malformed(Malformed("has a version below 2, which has no headers")).into()),
            Piece::Partial(_) => break,
        };
        let from = at;
        at += batch.bytes().len();
        let changed = if batch.is_control() { None } else { one(&batch, decide)? };
        if let Some(changed) = changed {
            out.extend_from_slice(&bytes[copied..from]);
            out.extend_from_slice(&changed);
            copied = at;
        }
    }
    if copied == 0 {
        return Ok(None);
    }
    out.extend_from_slice(&bytes[copied..]);
    Ok(Some(out))
}

/// One batch, where any of its records changes.
fn one<E: From<Unreadable>>(batch: &Batch<'_>, decide: Decide<'_, E>) -> Result<Option<Vec<u8>>, E> {
    let payload = batch.inflate(MAX_INFLATED)?;
    let mut out = Vec::new();
    let mut left = 0u32;
    let (mut at, mut copied) = (0, 0);
    let mut is_changed = false;
    for record in batch.records(&payload).map_err(Unreadable::from)? {
        let record = record.map_err(Unreadable::from)?;
        let from = at;
        at += record.raw.len();
        let change = decide(batch, &record)?;
        left += u32::from(change != Change::Drop);
        if change == Change::Keep {
            continue;
        }
        is_changed = true;
        out.extend_from_slice(&payload[copied..from]);
        copied = at;
        if let Change::Set(value, headers) = change {
            let headers: Vec<_> = headers.iter().map(|(key, value)| (&**key, value.as_deref())).collect();
            put(&mut out, &record, value.as_deref(), &headers);
        }
    }
    if !is_changed {
        return Ok(None);
    }
    out.extend_from_slice(&payload[copied..]);
    let packed = if left == 0 { Cow::Borrowed(&[][..]) } else { compress(batch.codec().map_err(Unreadable::from)?, &out)? };
    Ok(Some(batch.with(left, &packed)?))
}
