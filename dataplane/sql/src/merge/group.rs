//! Groups of partial aggregates: one row per group and shard comes in, one row per group goes out.

use super::compare::{self, Column, Order};
use super::decimal;
use super::row::{self, Field};
use super::spec::Spec;
use crate::canonical::{binary_integer, oid, parse_integer};
use crate::refusal::Refusal;
use config::proto::midstream::sql::v1::{Compare, aggregate::Function};
use hashbrown::HashMap;
use std::cmp::Ordering;

/// Rows by group, within a budget; sorted at the end where the statement has an order.
pub(super) struct Groups {
    aggregates: Vec<(usize, Function, Compare, Column)>,
    group: Vec<usize>,
    order: Order,
    index: HashMap<Vec<u8>, usize>,
    rows: Vec<Vec<u8>>,
    bytes: usize,
    budget: usize,
}

impl Groups {
    pub(super) fn new(spec: &Spec, columns: &[Column], order: Order, budget: usize) -> Result<Groups, Refusal> {
        for index in &spec.group {
            compare::equal_as_bytes(columns.get(*index).ok_or_else(|| row::malformed("the plan groups by a column that is not there"))?)?;
        }
        let aggregates = spec.aggregates.iter().map(|(index, function, compare)| {
            let compare = if *function == Function::Count { Compare::IntegerOrder } else { *compare };
            let column = compare::checked(*index, compare, columns)?;
            if matches!(function, Function::Count | Function::Sum) && !matches!(column.type_oid, oid::INT8 | oid::NUMERIC) {
                return Err(row::malformed("a sum that is neither bigint nor numeric"));
            }
            Ok((*index, *function, compare, column))
        });
        let aggregates = aggregates.collect::<Result<_, Refusal>>()?;
        Ok(Groups { aggregates, group: spec.group.clone(), order, index: HashMap::new(), rows: Vec::new(), bytes: 0, budget })
    }

    /// Takes one row of partial results.
    pub(super) fn add(&mut self, body: &[u8]) -> Result<(), Refusal> {
        let key = self.key(body)?;
        let Some(at) = self.index.get(&key).copied() else {
            self.charge(row::kept(body.len()) + row::kept(key.len()))?;
            self.index.insert(key, self.rows.len());
            self.rows.push(body.to_vec());
            return Ok(());
        };
        let combined = self.combine(&self.rows[at], body)?;
        self.charge(combined.len().saturating_sub(self.rows[at].len()))?;
        self.rows[at] = combined;
        Ok(())
    }

    /// All groups, in the statement's order.
    pub(super) fn finish(&mut self) -> Result<Vec<Vec<u8>>, Refusal> {
        self.index.clear();
        let mut rows = std::mem::take(&mut self.rows);
        if self.order.is_empty() {
            return Ok(rows);
        }
        let mut failed = None;
        rows.sort_by(|a, b| {
            self.order.compare(a, b).unwrap_or_else(|refusal| {
                failed = Some(refusal);
                Ordering::Equal
            })
        });
        failed.map_or(Ok(rows), Err)
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.bytes += bytes;
        if self.bytes > self.budget { Err(row::over_budget("GROUP BY", self.budget)) } else { Ok(()) }
    }

    fn key(&self, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut key = Vec::new();
        for column in &self.group {
            match row::field(body, *column)? {
                None => key.extend_from_slice(&u32::MAX.to_le_bytes()),
                Some(bytes) => {
                    key.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                    key.extend_from_slice(bytes);
                }
            }
        }
        Ok(key)
    }

    fn combine(&self, a: &[u8], b: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut fields: Vec<Field<'_>> = Vec::new();
        row::fields(a, |_, field| {
            fields.push(field);
            true
        })?;
        let mut sums: Vec<(usize, Vec<u8>)> = Vec::new();
        for (index, function, compare, column) in &self.aggregates {
            let (x, y) = (row::field(a, *index)?, row::field(b, *index)?);
            let target = fields.get_mut(*index).ok_or_else(|| row::malformed("a row with fewer fields than the plan needs"))?;
            match (function, x, y) {
                (Function::Min, ..) => *target = compare::extreme(x, y, Ordering::Less, *compare, *column)?,
                (Function::Max, ..) => *target = compare::extreme(x, y, Ordering::Greater, *compare, *column)?,
                (_, Some(x), Some(y)) => sums.push((*index, add(x, y, *column)?)),
                _ => *target = x.or(y),
            }
        }
        for (index, sum) in &sums {
            fields[*index] = Some(sum);
        }
        Ok(row::body(fields.into_iter()))
    }
}

/// The sum of two partial sums or counts, in the column's format.
fn add(a: &[u8], b: &[u8], column: Column) -> Result<Vec<u8>, Refusal> {
    let unreadable = || row::malformed("a partial sum that is no number");
    if column.type_oid == oid::NUMERIC {
        return if column.binary { binary_numeric(a, b) } else { decimal::add(a, b) }.ok_or_else(unreadable);
    }
    let read = if column.binary { binary_integer } else { parse_integer };
    let (x, y) = (read(a).ok_or_else(unreadable)?, read(b).ok_or_else(unreadable)?);
    let sum = x.checked_add(y).ok_or_else(|| Refusal::new("22003", "bigint out of range", ""))?;
    Ok(if column.binary { sum.to_be_bytes().to_vec() } else { sum.to_string().into_bytes() })
}

fn binary_numeric(a: &[u8], b: &[u8]) -> Option<Vec<u8>> {
    decimal::to_binary(&decimal::add(&decimal::from_binary(a)?, &decimal::from_binary(b)?)?)
}
