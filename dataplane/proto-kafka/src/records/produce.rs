//! What producers have to keep to, partition by partition, in Kafka's own errors.

use super::schema::Schema;
use super::{Batch, Codec, MAX_INFLATED, Piece, Pieces, Record, Unreadable};
use config::proto::midstream::kafka::v1::produce_rule::Acks;

/// CORRUPT_MESSAGE: producers send the batch again.
pub const CORRUPT_MESSAGE: i16 = 2;
/// MESSAGE_TOO_LARGE: the Java producer halves the batch and tries again.
pub const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_REQUIRED_ACKS: i16 = 21;
const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
const INVALID_RECORD: i16 = 87;

/// Records of one batch that are named in its error; the others are as wrong, and the batch is refused as a whole.
const MAX_NAMED: usize = 100;

/// One policy's rules for producers.
#[derive(Debug)]
pub struct ProducePolicy {
    /// Which acknowledgements have to be asked for.
    pub acks: Acks,
    /// Which compressions may be used; empty: any.
    pub compression: Vec<Codec>,
    /// The longest batch, as it is sent.
    pub max_batch: Option<usize>,
    /// The longest record, without compression.
    pub max_record: Option<usize>,
    /// Whether records need a key.
    pub key: bool,
    /// The headers that records need.
    pub headers: Vec<String>,
    /// What keys have to be, where there is one.
    pub key_schema: Option<Schema>,
    /// What values have to be that are no tombstones.
    pub value_schema: Option<Schema>,
}

/// Why a partition's records are not written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Kafka's error.
    pub code: i16,
    /// What is wrong; who says so is put in front.
    pub message: String,
    /// The records that are wrong, by their place in the batch, and what is wrong with each.
    pub records: Vec<(i32, String)>,
}

impl Refused {
    fn whole(code: i16, message: String) -> Refused {
        Refused { code, message, records: vec![] }
    }
}

impl From<Unreadable> for Refused {
    fn from(error: Unreadable) -> Refused {
        let code = match error {
            Unreadable::TooLarge => MESSAGE_TOO_LARGE,
            Unreadable::Corrupt => CORRUPT_MESSAGE,
            Unreadable::Malformed(_) => INVALID_RECORD,
        };
        Refused::whole(code, error.to_string())
    }
}

impl ProducePolicy {
    /// Whether a partition's records may be written.
    ///
    /// # Errors
    /// They may not.
    pub fn judge(&self, acks: i16, records: &[u8]) -> Result<(), Refused> {
        let wanted = match self.acks {
            Acks::All if acks != -1 => Some("all"),
            Acks::Leader if acks == 0 => Some("1 or all"),
            _ => None,
        };
        if let Some(wanted) = wanted {
            return Err(Refused::whole(INVALID_REQUIRED_ACKS, format!("acks={acks}, and {wanted} is required")));
        }
        for piece in Pieces::new(records) {
            match piece.map_err(Unreadable::from)? {
                Piece::Batch(batch) => self.judge_batch(&batch)?,
                Piece::Old(_) => return Err(Refused::whole(INVALID_RECORD, "the records are of a version below 2".into())),
                Piece::Partial(_) => return Err(Refused::whole(INVALID_RECORD, "the record batch is cut off".into())),
            }
        }
        Ok(())
    }

    fn judge_batch(&self, batch: &Batch<'_>) -> Result<(), Refused> {
        let codec = batch.codec().map_err(Unreadable::from)?;
        if !self.compression.is_empty() && !self.compression.contains(&codec) {
            let allowed: Vec<_> = self.compression.iter().map(|codec| codec.name()).collect();
            let message = format!("compression {} is not one of {}", codec.name(), allowed.join(", "));
            return Err(Refused::whole(UNSUPPORTED_COMPRESSION_TYPE, message));
        }
        if let Some(most) = self.max_batch.filter(|most| batch.bytes().len() > *most) {
            return Err(Refused::whole(MESSAGE_TOO_LARGE, format!("the batch has {} bytes, and at most {most} may be", batch.bytes().len())));
        }
        let has_schema = self.key_schema.is_some() || self.value_schema.is_some();
        if self.max_record.is_none() && !self.key && self.headers.is_empty() && !has_schema {
            return Ok(());
        }
        self.judge_records(batch)
    }

    fn judge_records(&self, batch: &Batch<'_>) -> Result<(), Refused> {
        let payload = batch.inflate(MAX_INFLATED)?;
        let mut wrong: Vec<(i32, String)> = Vec::new();
        for (index, record) in (0i32..).zip(batch.records(&payload).map_err(Unreadable::from)?) {
            let record = record.map_err(Unreadable::from)?;
            if let Some(most) = self.max_record.filter(|most| record.raw.len() > *most) {
                return Err(Refused::whole(MESSAGE_TOO_LARGE, format!("a record has {} bytes, and at most {most} may be", record.raw.len())));
            }
            if wrong.len() < MAX_NAMED {
                wrong.extend(self.lack(&record).map(|what| (index, what)));
            }
        }
        match wrong.first() {
            None => Ok(()),
            Some((index, what)) => Err(Refused { code: INVALID_RECORD, message: format!("record {index} of the batch {what}"), records: wrong }),
        }
    }

    fn lack(&self, record: &Record<'_>) -> Option<String> {
        if self.key && record.key.is_none() {
            return Some("has no key".into());
        }
        if let Some(name) = self.headers.iter().find(|name| record.headers.get(name.as_bytes()).is_none()) {
            return Some(format!("has no header {name}"));
        }
        let refuses = |schema: &Option<Schema>, bytes: Option<&[u8]>| schema.as_ref().zip(bytes).and_then(|(schema, bytes)| schema.refuses(bytes));
        let key = refuses(&self.key_schema, record.key).map(|why| format!("has a key {why}"));
        key.or_else(|| refuses(&self.value_schema, record.value).map(|why| format!("has a value {why}")))
    }
}
