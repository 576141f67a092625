//! Trace context in record headers (W3C Trace Context, `traceparent`): read, and begun where a record has none.
//!
//! ```text
//! 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
//! version, trace id, id of the span that sent it, flags (1: sampled)
//! ```
//! A value that is there and right stays as it is: between a producer and its broker nothing happens that would be a span of its own. One
//! that is wrong counts as absent, as the recommendation says, and `tracestate` goes with it.

use super::rewrite::{Change, map};
use super::{MAX_INFLATED, Piece, Pieces, Unreadable};
use filters::Share;
use identity::Entropy;
use std::borrow::Cow;

/// A trace's id.
pub type TraceId = [u8; 16];

/// Traces of one request that the access log is told of; it may have thousands.
pub const MAX_TRACES: usize = 16;

const PARENT: &[u8] = b"traceparent";
const STATE: &[u8] = b"tracestate";

/// Of one policy.
#[derive(Clone, Debug)]
pub struct Tracing {
    /// Which of the traces that begin here are sampled.
    pub sampled: Share,
    /// Whether what consumers fetch is read too, for the access log.
    pub fetched: bool,
}

/// Different traces in the order in which they came.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Traces(Vec<TraceId>);

impl Traces {
    fn add(&mut self, id: TraceId) {
        if self.0.len() < MAX_TRACES && !self.0.contains(&id) {
            self.0.push(id);
        }
    }

    /// All of them.
    pub fn ids(&self) -> &[TraceId] {
        &self.0
    }
}

impl Tracing {
    /// Gives every record of a partition's bytes a trace that has none; `None` where all have one. Notes which there are.
    ///
    /// # Errors
    /// A batch cannot be looked into.
    pub fn begin(&self, records: &[u8], entropy: &mut Entropy, traces: &mut Traces) -> Result<Option<Vec<u8>>, Unreadable> {
        map(records, &mut |_, record| {
            if let Some(id) = record.headers.get(PARENT).and_then(trace_id) {
                traces.add(id);
                return Ok(Change::Keep);
            }
            let (id, parent) = self.new_parent(entropy);
            traces.add(id);
            let others = record.headers.iter().filter(|(name, _)| *name != PARENT && *name != STATE);
            let mut headers: Vec<_> = others.map(|(name, value)| (name.into(), value.map(Cow::from))).collect();
            headers.push((PARENT.into(), Some(parent.into())));
            Ok(Change::Set(record.value.map(<[u8]>::to_vec), headers))
        })
    }

    fn new_parent(&self, entropy: &mut Entropy) -> (TraceId, Vec<u8>) {
        let random = entropy.draw();
        let (id, rest) = random.split_first_chunk::<16>().map_or(([1; 16], &random[..]), |(id, rest)| (*id, rest));
        let (span, dice) = rest.split_at(8);
        let flags = u8::from(self.sampled.has(dice.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))));
        // Ids of zeros only are invalid; one in 2^64 would be.
        let span = if span.iter().all(|byte| *byte == 0) { &[1; 8][..] } else { span };
        let id = if id == [0; 16] { [1; 16] } else { id };
        (id, format!("00-{}-{}-{flags:02x}", hex(&id), hex(span)).into_bytes())
    }
}

/// Notes the traces of a partition's bytes.
///
/// # Errors
/// A batch cannot be looked into.
pub fn read(records: &[u8], traces: &mut Traces) -> Result<(), Unreadable> {
    for piece in Pieces::new(records) {
        let Piece::Batch(batch) = piece? else { continue };
        if batch.is_control() {
            continue;
        }
        let payload = batch.inflate(MAX_INFLATED)?;
        for record in batch.records(&payload)? {
            record?.headers.get(PARENT).and_then(trace_id).into_iter().for_each(|id| traces.add(id));
        }
    }
    Ok(())
}

/// The trace id of a `traceparent`; `None` where it is not one.
fn trace_id(value: &[u8]) -> Option<TraceId> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.split('-');
    let [version, trace, span, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    // Later versions may have more behind the flags, the first has not.
    let is_known = version != "ff" && (version != "00" || parts.next().is_none());
    let sizes = [(version, 2), (trace, 32), (span, 16), (flags, 2)];
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_known || !sizes.iter().all(|(part, size)| part.len() == *size && is_hex(part)) || span.bytes().all(|byte| byte == b'0') {
        return None;
    }
    let id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
    Some(id.to_be_bytes())
}

/// In lower case, as the recommendation has it.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_w3c_says() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let good = [format!("00-{id}-b7ad6b7169203331-01"), format!("cc-{id}-b7ad6b7169203331-00-later")];
        assert!(good.iter().all(|value| trace_id(value.as_bytes()).map(|found| hex(&found)).as_deref() == Some(id)));
        let bad = [
            format!("00-{id}-b7ad6b7169203331"),
            format!("00-{id}-b7ad6b7169203331-01-more"),
            format!("ff-{id}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", id.to_uppercase()),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{id}-0000000000000000-01"),
            format!("00-{id}-b7ad6b7169203331-1"),
            "é".repeat(28),
            String::new(),
        ];
        for value in bad {
            assert_eq!(trace_id(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn what_begins_here_is_a_trace_of_its_own_and_sampled_by_chance() {
        let mut entropy = Entropy::from_seed([3; 32]);
        for (percent, flags) in [(0.0, "00"), (100.0, "01")] {
            let tracing = Tracing { sampled: Share::new(percent).unwrap(), fetched: false };
            let (id, parent) = tracing.new_parent(&mut entropy);
            assert_eq!(trace_id(&parent), Some(id));
            assert!(parent.ends_with(flags.as_bytes()));
            assert_ne!(tracing.new_parent(&mut entropy).0, id);
        }
    }

    #[test]
    fn the_log_hears_of_so_many() {
        let mut traces = Traces::default();
        (0..100u8).chain(0..100).for_each(|number| traces.add([number; 16]));
        assert_eq!(traces.ids().len(), MAX_TRACES);
    }
}
