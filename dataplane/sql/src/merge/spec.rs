//! What a plan says of the merge, and the messages that depend on it.

use crate::canonical::{binary_integer, parse_integer};
use crate::refusal::Refusal;
use crate::value::{Value, Values};
use config::proto::midstream::sql::v1::{self as proto, Compare, aggregate::Function, bound};
use wire::{Cursor, Short};

use super::row::malformed;

/// Numbers of columns from here on mean hidden ones: behind a `*` the planner does not know how many columns there are.
const HIDDEN: usize = 1 << 16;

/// OFFSET and LIMIT of one execution.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Bounds {
    /// `None`: no limit.
    pub limit: Option<u64>,
    /// Rows to leave out first.
    pub offset: u64,
}

/// How the rows of several shards become one answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Spec {
    pub(super) order: Vec<OrderKey>,
    pub(super) aggregates: Vec<(usize, Function, Compare)>,
    pub(super) group: Vec<usize>,
    pub(super) hidden: usize,
    pub(super) distinct: bool,
    limit: Option<bound::Value>,
    offset: Option<bound::Value>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct OrderKey {
    pub(super) column: usize,
    pub(super) descending: bool,
    pub(super) nulls_first: bool,
    pub(super) compare: Compare,
}

impl Spec {
    /// Checks and compiles the planner's message.
    ///
    /// # Errors
    /// 58000: it is malformed.
    pub(crate) fn compile(merge: proto::Merge) -> Result<Spec, Refusal> {
        let order = merge.order.iter().map(|key| OrderKey {
            column: key.column as usize,
            descending: key.descending,
            nulls_first: key.nulls_first,
            compare: key.compare(),
        });
        let order: Vec<OrderKey> = order.collect();
        let aggregates = merge.aggregates.iter().map(|one| (one.column as usize, one.function(), one.compare()));
        let aggregates: Vec<_> = aggregates.collect();
        if order.iter().any(|key| key.compare == Compare::Unspecified) || aggregates.iter().any(|(_, function, _)| *function == Function::Unspecified)
        {
            return Err(malformed("the plan's merge names no comparison or function"));
        }
        Ok(Spec {
            order,
            aggregates,
            group: merge.group.iter().map(|column| *column as usize).collect(),
            hidden: merge.hidden as usize,
            distinct: merge.distinct,
            limit: merge.limit.and_then(|bound| bound.value),
            offset: merge.offset.and_then(|bound| bound.value),
        })
    }

    /// LIMIT and OFFSET of one execution.
    ///
    /// # Errors
    /// 2201W, 2201X: negative, as the database says it. 0A000: not a whole number.
    pub fn bounds(&self, values: &Values<'_>) -> Result<Bounds, Refusal> {
        let limit = amount(self.limit.as_ref(), values, "LIMIT", "2201W")?;
        let offset = amount(self.offset.as_ref(), values, "OFFSET", "2201X")?;
        Ok(Bounds { limit, offset: offset.unwrap_or(0) })
    }

    /// Appends the RowDescription message that the client sees of a shard's: without the hidden columns.
    ///
    /// # Errors
    /// 58000: the message is malformed.
    pub fn describe(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        let (count, end) = self.visible_fields(body).map_err(|_| malformed("a row description that ends before its fields do"))?;
        out.push(b'T');
        out.extend_from_slice(&(end as u32 + 4).to_be_bytes());
        out.extend_from_slice(&count.to_be_bytes());
        out.extend_from_slice(body.get(2..end).unwrap_or_default());
        Ok(())
    }

    /// The result format codes for a shard's Bind: the client's, and one more per hidden column where the client gave one per column.
    /// `columns` counts the hidden ones too.
    pub fn result_formats(&self, formats: &[i16], columns: usize) -> Vec<i16> {
        let mut all = formats.to_vec();
        if formats.len() > 1 || (formats.len() == 1 && columns.saturating_sub(self.hidden) == 1) {
            all.extend(std::iter::repeat_n(0, self.hidden));
        }
        all
    }

    /// The sort keys with their columns' places among `columns`: hidden ones are counted from the end.
    pub(super) fn order_within(&self, columns: usize) -> Vec<OrderKey> {
        let place = |key: &OrderKey| match key.column.checked_sub(HIDDEN) {
            Some(nth) => OrderKey { column: columns.saturating_sub(self.hidden).saturating_add(nth), ..*key },
            None => *key,
        };
        self.order.iter().map(place).collect()
    }

    pub(super) fn is_grouped(&self) -> bool {
        !self.aggregates.is_empty() || !self.group.is_empty()
    }

    fn visible_fields(&self, body: &[u8]) -> Result<(u16, usize), Short> {
        /// Table, column, type, length, modifier, format.
        const FIXED: usize = 4 + 2 + 4 + 2 + 4 + 2;
        let mut cursor = Cursor::new(body);
        let visible = usize::from(cursor.u16()?).checked_sub(self.hidden).ok_or(Short)?;
        for _ in 0..visible {
            cursor.c_string()?;
            cursor.skip(FIXED)?;
        }
        Ok((u16::try_from(visible).map_err(|_| Short)?, cursor.at()))
    }
}

fn amount(bound: Option<&bound::Value>, values: &Values<'_>, clause: &str, negative: &str) -> Result<Option<u64>, Refusal> {
    let number = match bound {
        None => return Ok(None),
        Some(bound::Value::Constant(number)) => return Ok(Some(*number)),
        Some(bound::Value::Slot(slot)) => match values.slot(*slot) {
            Value::Null => return Ok(None),
            Value::Text(text, _) => parse_integer(&text),
            Value::Binary(bytes, _) => binary_integer(bytes),
            Value::Opaque => None,
        },
    };
    let unproven = || Refusal::unproven(format!("{clause} over several shards: its value is not a plain whole number"), "pass it as bigint");
    let number = number.ok_or_else(unproven)?;
    let amount = u64::try_from(number).map_err(|_| Refusal::new(negative, format!("{clause} must not be negative"), ""))?;
    Ok(Some(amount))
}
