//! How the keys of one table, and of those colocated with it, lie on the shards.

use super::{Names, ShardId};
use crate::canonical::{integer, of_constant, parse_integer};
use config::Invalid;
use config::proto::midstream::sql::v1::{BucketRun, Hash, KeyType, List, Range};
use hashbrown::HashMap;
use std::cmp::Ordering;
use xxhash_rust::xxh64::xxh64;

/// Virtual buckets between key and shard, so that a shard can take some of another's later. Fixed for ever: data lie by it.
pub const BUCKETS: u32 = 16384;

const KEY_TYPES: [KeyType; 4] = [KeyType::Integer, KeyType::Text, KeyType::Bytes, KeyType::Uuid];

/// From canonical bytes to a shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Placement {
    /// The shard of each bucket.
    Hash(Vec<ShardId>),
    /// Ordered and disjoint.
    Range(Vec<Span>),
    List {
        /// Canonical values under each type of key that all of them can have.
        values: HashMap<KeyType, HashMap<Vec<u8>, ShardId>>,
        otherwise: Option<ShardId>,
    },
}

/// from <= key < to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    from: Option<Bound>,
    to: Option<Bound>,
    shard: ShardId,
}

/// A bound as text, and as an integer where it is one.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Bound {
    text: Vec<u8>,
    number: Option<i64>,
}

impl Placement {
    pub(super) fn hash(hash: &Hash, shards: ShardId, names: &Names<'_>) -> Result<Placement, Invalid> {
        if hash.runs.is_empty() {
            let shard = |bucket: u32| (0..shards).rev().find(|shard| first_bucket(*shard, shards) <= bucket).unwrap_or(0);
            return Ok(Placement::Hash((0..BUCKETS).map(shard).collect()));
        }
        let mut buckets = Vec::with_capacity(BUCKETS as usize);
        for (index, run) in hash.runs.iter().enumerate() {
            extend(&mut buckets, run, names).map_err(|invalid| invalid.within(&format!("runs[{index}]")))?;
        }
        if buckets.len() != BUCKETS as usize {
            let reason = format!("buckets {} to {} have no shard", buckets.len(), BUCKETS - 1);
            return Err(Invalid::new("runs", reason));
        }
        Ok(Placement::Hash(buckets))
    }

    pub(super) fn range(range: &Range, key: KeyType, names: &Names<'_>) -> Result<Placement, Invalid> {
        let mut spans = Vec::with_capacity(range.spans.len());
        for (index, span) in range.spans.iter().enumerate() {
            let at = |field: &str| format!("spans[{index}].{field}");
            let bound = |text: &Option<String>, field: &str| text.as_ref().map(|text| Bound::new(text, key, &at(field))).transpose();
            let shard = names.find(&span.shard, &at("shard"))?;
            spans.push(Span { from: bound(&span.from, "from")?, to: bound(&span.to, "to")?, shard });
        }
        if spans.is_empty() {
            return Err(Invalid::new("spans", "no span: no key would have a shard"));
        }
        disjoint(&spans, key)?;
        Ok(Placement::Range(spans))
    }

    pub(super) fn list(list: &List, key: KeyType, names: &Names<'_>) -> Result<Placement, Invalid> {
        let otherwise = if list.otherwise.is_empty() { None } else { Some(names.find(&list.otherwise, "otherwise")?) };
        let types = if key == KeyType::Unspecified { &KEY_TYPES[..] } else { &[key] };
        let mut values = HashMap::new();
        for key_type in types {
            let mut by_value = HashMap::new();
            match fill(&mut by_value, list, *key_type, names) {
                Ok(()) => values.insert(*key_type, by_value),
                Err(invalid) if key != KeyType::Unspecified || *key_type == KeyType::Text => return Err(invalid),
                Err(_) => continue,
            };
        }
        Ok(Placement::List { values, otherwise })
    }

    /// The shard of a key; `None` when no span or value has it.
    pub(crate) fn shard(&self, canonical: &[u8], key: KeyType) -> Option<ShardId> {
        match self {
            Placement::Hash(buckets) => buckets.get(bucket(canonical) as usize).copied(),
            Placement::Range(spans) => spans.iter().find(|span| span.holds(canonical, key)).map(|span| span.shard),
            Placement::List { values, otherwise } => values.get(&key)?.get(canonical).copied().or(*otherwise),
        }
    }
}

/// The bucket of a key: xxh64 with seed 0 of its canonical bytes, modulo [`BUCKETS`].
///
/// For instance: integer 0 -> 7099, 1 -> 2010, 42 -> 7135, -1 -> 1737; text "" -> 10649, "a" -> 11867, "Zürich" -> 633;
/// uuid 00112233-4455-6677-8899-aabbccddeeff -> 3986.
pub(crate) fn bucket(canonical: &[u8]) -> u32 {
    (xxh64(canonical, 0) % u64::from(BUCKETS)) as u32
}

/// Where a shard's run begins when nobody said: equal contiguous runs in listed order.
fn first_bucket(shard: ShardId, shards: ShardId) -> u32 {
    u32::from(shard) * BUCKETS / u32::from(shards)
}

fn extend(buckets: &mut Vec<ShardId>, run: &BucketRun, names: &Names<'_>) -> Result<(), Invalid> {
    let shard = names.find(&run.shard, "shard")?;
    if run.first as usize != buckets.len() {
        return Err(Invalid::new(
            "first",
            format!("is {}; the runs before end at {}, and runs must be complete and ordered", run.first, buckets.len()),
        ));
    }
    if run.last < run.first || run.last >= BUCKETS {
        return Err(Invalid::new("last", format!("is {}; it must lie between first and {}", run.last, BUCKETS - 1)));
    }
    buckets.resize(run.last as usize + 1, shard);
    Ok(())
}

fn fill(by_value: &mut HashMap<Vec<u8>, ShardId>, list: &List, key: KeyType, names: &Names<'_>) -> Result<(), Invalid> {
    for (index, values) in list.values.iter().enumerate() {
        let shard = names.find(&values.shard, &format!("values[{index}].shard"))?;
        for (position, value) in values.values.iter().enumerate() {
            let field = || format!("values[{index}].values[{position}]");
            let canonical = of_constant(value, key, false);
            let canonical = canonical.ok_or_else(|| Invalid::new(field(), format!("{value:?} is not a key of type {}", key.as_str_name())))?;
            if by_value.insert(canonical.into_owned(), shard).is_some() {
                return Err(Invalid::new(field(), format!("{value:?} is listed twice")));
            }
        }
    }
    Ok(())
}

impl Bound {
    fn new(text: &str, key: KeyType, field: &str) -> Result<Bound, Invalid> {
        let number = parse_integer(text.as_bytes());
        if key == KeyType::Integer && number.is_none() {
            return Err(Invalid::new(field, format!("{text:?} is not a whole number of 64 bits")));
        }
        if matches!(key, KeyType::Uuid | KeyType::Bytes) {
            return Err(Invalid::new(field, "ranges are for integer and text keys"));
        }
        Ok(Bound { text: text.as_bytes().to_vec(), number })
    }

    /// How a key lies to the bound; `None` where they do not compare.
    fn compare(&self, canonical: &[u8], key: KeyType) -> Option<Ordering> {
        match key {
            KeyType::Integer => Some(i64::from_be_bytes(canonical.try_into().ok()?).cmp(&self.number?)),
            KeyType::Text => Some(canonical.cmp(&self.text)),
            _ => None,
        }
    }

    fn canonical(&self, key: KeyType) -> Vec<u8> {
        match (key, self.number) {
            (KeyType::Integer, Some(number)) => integer(number).into_owned(),
            _ => self.text.clone(),
        }
    }
}

impl Span {
    fn holds(&self, canonical: &[u8], key: KeyType) -> bool {
        let above = self.from.as_ref().is_none_or(|from| from.compare(canonical, key).is_some_and(Ordering::is_ge));
        let below = self.to.as_ref().is_none_or(|to| to.compare(canonical, key).is_some_and(Ordering::is_lt));
        above && below && matches!(key, KeyType::Integer | KeyType::Text)
    }
}

/// Refuses spans that are empty, overlap, or stand out of order.
fn disjoint(spans: &[Span], key: KeyType) -> Result<(), Invalid> {
    let numeric = spans.iter().flat_map(|span| [&span.from, &span.to]).flatten().all(|bound| bound.number.is_some());
    let key = if key == KeyType::Unspecified && numeric {
        KeyType::Integer
    } else if key == KeyType::Unspecified {
        KeyType::Text
    } else {
        key
    };
    for (index, span) in spans.iter().enumerate() {
        if let (Some(from), Some(to)) = (&span.from, &span.to) {
            if from.compare(&to.canonical(key), key) != Some(Ordering::Greater) {
                return Err(Invalid::new(format!("spans[{index}]"), "is empty: from must be less than to"));
            }
        }
        let Some(next) = spans.get(index + 1) else { continue };
        let ordered = match (&span.to, &next.from) {
            (Some(to), Some(from)) => to.compare(&from.canonical(key), key).is_some_and(Ordering::is_ge),
            _ => false,
        };
        if !ordered {
            return Err(Invalid::new(format!("spans[{}]", index + 1), "overlaps the span before it, or stands before it; order spans by from"));
        }
    }
    Ok(())
}
