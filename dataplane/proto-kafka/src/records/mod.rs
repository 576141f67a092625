//! What looks into records: the codec of record batches, and the rules that use it.
//!
//! ```text
//! bytes of a partition --batch--> batches --compress--> record bytes --record--> records --> kept, changed or dropped
//!                        rewrite: what has changed is written anew, with its offsets, attributes and producer as they were
//! ```
//! Only topics with a KafkaRecordPolicy come here. The codec is pure and knows no rule.

mod batch;
mod compress;
mod kms;
mod lanes;
mod produce;
mod record;
mod rewrite;
mod rules;
mod schema;
mod seal;
mod trace;

pub use batch::{Batch, HEADER, Piece, Pieces};
pub use compress::{Codec, compress, decompress};
pub use lanes::{Client, Lanes};
pub use produce::{CORRUPT_MESSAGE, MESSAGE_TOO_LARGE, ProducePolicy, Refused};
pub use record::{Header, Headers, Record, Records};
pub use rewrite::{Change, Decide, NewHeader, map};
pub use rules::{Policies, RecordRules};
pub use seal::{Closed, DataKeys};
pub use trace::{TraceId, Traces, read as read_traces};

use crate::walk::Malformed;
use std::fmt;

/// What the records of one batch may have without their compression: 64 times what brokers take with it (`message.max.bytes`, 1 MiB).
pub const MAX_INFLATED: usize = 64 * 1024 * 1024;

/// Why a batch cannot be looked into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// It is not what its headers say.
    Malformed(Malformed),
    /// Its records exceed [`MAX_INFLATED`], or the limit that was given.
    TooLarge,
    /// Its checksum is not that of its bytes.
    Corrupt,
}

impl From<Malformed> for Unreadable {
    fn from(error: Malformed) -> Unreadable {
        Unreadable::Malformed(error)
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Malformed(Malformed(what)) => write!(f, "the record batch {what}"),
            Unreadable::TooLarge => write!(f, "the record batch has more than {MAX_INFLATED} bytes without its compression"),
            Unreadable::Corrupt => f.write_str("the record batch has a wrong checksum"),
        }
    }
}
