//! The database's own order and equality of values, for the types where they are known.

use super::decimal::Decimal;
use super::row::{self, Field};
use super::spec::OrderKey;
use super::{decimal, time};
use crate::canonical::{binary_integer, oid, parse_integer};
use crate::refusal::Refusal;
use config::proto::midstream::sql::v1::Compare;
use std::borrow::Cow;
use std::cmp::Ordering;

/// A result column as the shards send it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Column {
    /// Of RowDescription.
    pub type_oid: u32,
    /// Its format code is 1.
    pub binary: bool,
}

/// `name`, whose collation is always C.
const NAME: u32 = 19;
const TIME: u32 = 1083;

/// A value ready to be compared.
#[derive(Clone, Debug)]
pub(super) enum Sortable<'a> {
    Number(i128),
    Float(f64),
    Bytes(&'a [u8]),
    Decimal(Cow<'a, [u8]>),
}

/// ORDER BY over several columns.
#[derive(Clone, Debug)]
pub(super) struct Order {
    keys: Vec<(OrderKey, Column)>,
}

impl Order {
    pub(super) fn new(keys: &[OrderKey], columns: &[Column]) -> Result<Order, Refusal> {
        let keys = keys.iter().map(|key| Ok((*key, checked(key.column, key.compare, columns)?)));
        Ok(Order { keys: keys.collect::<Result<_, Refusal>>()? })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How row `a` lies to row `b`.
    pub(super) fn compare(&self, a: &[u8], b: &[u8]) -> Result<Ordering, Refusal> {
        for (key, column) in &self.keys {
            let (x, y) = (row::field(a, key.column)?, row::field(b, key.column)?);
            let ordering = match (x, y) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => nulls(key.nulls_first),
                (Some(_), None) => nulls(key.nulls_first).reverse(),
                (Some(x), Some(y)) => {
                    let ordering = values(x, y, key.compare, *column)?;
                    if key.descending { ordering.reverse() } else { ordering }
                }
            };
            if ordering.is_ne() {
                return Ok(ordering);
            }
        }
        Ok(Ordering::Equal)
    }
}

fn nulls(first: bool) -> Ordering {
    if first { Ordering::Less } else { Ordering::Greater }
}

/// The column, if its type is one that `compare` is the order of.
pub(super) fn checked(index: usize, compare: Compare, columns: &[Column]) -> Result<Column, Refusal> {
    let column = columns.get(index).ok_or_else(|| row::malformed("the plan compares a column that is not there"))?;
    let types: &[u32] = match compare {
        Compare::IntegerOrder => &[oid::INT2, oid::INT4, oid::INT8],
        Compare::BytesOrder => &[oid::TEXT, oid::VARCHAR, oid::BYTEA, oid::UUID, NAME],
        Compare::TimestampOrder => &[oid::TIMESTAMP, oid::TIMESTAMPTZ, oid::DATE, TIME],
        Compare::NumericOrder => &[oid::NUMERIC],
        Compare::FloatOrder => &[oid::FLOAT4, oid::FLOAT8],
        Compare::BoolOrder => &[oid::BOOL],
        Compare::Unspecified => &[],
    };
    if types.contains(&column.type_oid) {
        return Ok(*column);
    }
    let message = format!("merge: column {} came with type {}, which is not what the plan compares", index + 1, column.type_oid);
    Err(Refusal::unproven(message, "the schema may have changed; run the statement again"))
}

/// Refuses a column whose equal values can have different bytes.
pub(super) fn equal_as_bytes(column: &Column) -> Result<(), Refusal> {
    let exact = [
        oid::BOOL,
        oid::BYTEA,
        oid::INT2,
        oid::INT4,
        oid::INT8,
        oid::TEXT,
        oid::VARCHAR,
        oid::DATE,
        oid::TIMESTAMP,
        oid::TIMESTAMPTZ,
        oid::UUID,
        NAME,
        TIME,
    ];
    if exact.contains(&column.type_oid) {
        return Ok(());
    }
    let message = format!("DISTINCT or GROUP BY over several shards: equal values of type {} can look different", column.type_oid);
    Err(Refusal::unproven(message, "cast the column to text, integer or timestamp, or restrict the statement to one value of the sharding key"))
}

/// How two values that are not NULL lie to each other.
pub(super) fn values(a: &[u8], b: &[u8], compare: Compare, column: Column) -> Result<Ordering, Refusal> {
    let (x, y) = (sortable(a, compare, column)?, sortable(b, compare, column)?);
    let ordering = match (&x, &y) {
        (Sortable::Number(x), Sortable::Number(y)) => Some(x.cmp(y)),
        (Sortable::Bytes(x), Sortable::Bytes(y)) => Some(x.cmp(y)),
        (Sortable::Float(x), Sortable::Float(y)) => Some(floats(*x, *y)),
        (Sortable::Decimal(x), Sortable::Decimal(y)) => Decimal::parse(x).zip(Decimal::parse(y)).map(|(x, y)| x.compare(&y)),
        _ => None,
    };
    ordering.ok_or_else(|| unreadable(column))
}

/// NaN is greater than all, zeros are equal: PostgreSQL's order of floats.
fn floats(x: f64, y: f64) -> Ordering {
    x.partial_cmp(&y).unwrap_or_else(|| x.is_nan().cmp(&y.is_nan()))
}

fn unreadable(column: Column) -> Refusal {
    let message = format!("merge: a value of type {} is not in the format that can be ordered", column.type_oid);
    Refusal::unproven(message, "use DateStyle ISO and bytea_output hex, which are the defaults")
}

fn sortable(bytes: &[u8], compare: Compare, column: Column) -> Result<Sortable<'_>, Refusal> {
    let value = match compare {
        Compare::BytesOrder if column.type_oid == oid::BYTEA && !column.binary => bytes.starts_with(b"\\x").then_some(Sortable::Bytes(bytes)),
        Compare::BytesOrder | Compare::BoolOrder => Some(Sortable::Bytes(bytes)),
        Compare::IntegerOrder if column.binary => binary_integer(bytes).map(|value| Sortable::Number(value.into())),
        Compare::IntegerOrder => parse_integer(bytes).map(|value| Sortable::Number(value.into())),
        Compare::TimestampOrder if column.binary => binary_integer(bytes).map(|value| Sortable::Number(value.into())),
        Compare::TimestampOrder => time::instant(bytes).map(Sortable::Number),
        Compare::NumericOrder if column.binary => decimal::from_binary(bytes).map(|text| Sortable::Decimal(Cow::Owned(text))),
        Compare::NumericOrder => Some(Sortable::Decimal(Cow::Borrowed(bytes))),
        Compare::FloatOrder if column.binary => binary_float(bytes).map(Sortable::Float),
        Compare::FloatOrder => std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).map(Sortable::Float),
        Compare::Unspecified => None,
    };
    value.ok_or_else(|| unreadable(column))
}

fn binary_float(bytes: &[u8]) -> Option<f64> {
    match bytes.len() {
        4 => bytes.try_into().ok().map(|bytes| f64::from(f32::from_be_bytes(bytes))),
        _ => bytes.try_into().ok().map(f64::from_be_bytes),
    }
}

/// The larger or the smaller of two fields; NULL counts for nothing.
pub(super) fn extreme<'a>(a: Field<'a>, b: Field<'a>, wanted: Ordering, compare: Compare, column: Column) -> Result<Field<'a>, Refusal> {
    match (a, b) {
        (Some(x), Some(y)) => Ok(Some(if values(y, x, compare, column)? == wanted { y } else { x })),
        _ => Ok(a.or(b)),
    }
}
