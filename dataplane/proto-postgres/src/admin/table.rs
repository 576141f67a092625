//! Rows of an answer: what one worker knows, added up over all of them, and written for a client or for another worker.

use crate::message::{c_string, frame};
use std::collections::BTreeMap;
use wire::Cursor;

/// Rows of one worker's report. 10,000 connections of 200 bytes are 2 MB of mail.
pub const MAX_ROWS: usize = 10_000;

/// The types of the two kinds of columns.
const TEXT: (u32, i16) = (25, -1);
const INT8: (u32, i16) = (20, 8);

/// What becomes of a column where several workers have the same row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Merge {
    /// It tells rows apart.
    Key,
    /// It is added up.
    Sum,
    /// The largest counts.
    Max,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// `int8`, or else `text`.
    pub is_number: bool,
    /// See [`Merge`].
    pub merge: Merge,
}

/// A field of a row.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Value {
    /// Unknown.
    Null,
    /// Of a text column.
    Text(String),
    /// Of a number column.
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Value {
        Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// One row; as many fields as there are columns.
pub type Row = Vec<Value>;

/// The answer so far.
#[derive(Clone, Default, Debug)]
pub struct Table {
    /// Its rows.
    pub rows: Vec<Row>,
    /// What the reader has to know of it.
    pub warnings: Vec<String>,
}

impl Table {
    /// Of one worker.
    pub fn new(mut rows: Vec<Row>) -> Table {
        let mut warnings = Vec::new();
        if rows.len() > MAX_ROWS {
            warnings.push(format!("a worker has {} rows; its first {MAX_ROWS} are shown", rows.len()));
            rows.truncate(MAX_ROWS);
        }
        Table { rows, warnings }
    }

    /// Rows with the same keys become one.
    pub fn merge(&mut self, columns: &[Column]) {
        let mut merged: BTreeMap<Row, Row> = BTreeMap::new();
        for row in self.rows.drain(..) {
            let is_key = |(value, column): (&Value, &Column)| (column.merge == Merge::Key).then(|| value.clone());
            let key: Row = row.iter().zip(columns).filter_map(is_key).collect();
            match merged.get_mut(&key) {
                Some(sum) => add(sum, &row, columns),
                None => drop(merged.insert(key, row)),
            }
        }
        self.rows.extend(merged.into_values());
    }

    /// Appends it for another worker.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let text = |out: &mut Vec<u8>, text: &str| {
            out.extend_from_slice(&(text.len() as u32).to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        };
        out.extend_from_slice(&(self.warnings.len() as u32).to_be_bytes());
        self.warnings.iter().for_each(|warning| text(out, warning));
        for value in self.rows.iter().flatten() {
            match value {
                Value::Null => out.push(0),
                Value::Text(value) => {
                    out.push(1);
                    text(out, value);
                }
                Value::Number(number) => {
                    out.push(2);
                    out.extend_from_slice(&number.to_be_bytes());
                }
            }
        }
    }

    /// What [`Table::encode`] wrote; `None` where it did not.
    pub fn decode(bytes: &[u8], columns: &[Column]) -> Option<Table> {
        let mut cursor = Cursor::new(bytes);
        let text = |cursor: &mut Cursor<'_>| {
            let length = cursor.u32().ok()? as usize;
            Some(String::from_utf8_lossy(cursor.take(length).ok()?).into_owned())
        };
        let mut table = Table::default();
        for _ in 0..cursor.u32().ok()? {
            table.warnings.push(text(&mut cursor)?);
        }
        let mut values = Vec::new();
        while !cursor.is_done() {
            values.push(match cursor.u8().ok()? {
                0 => Value::Null,
                1 => Value::Text(text(&mut cursor)?),
                _ => Value::Number(i64::from_be_bytes(cursor.take(8).ok()?.try_into().ok()?)),
            });
        }
        table.rows = values.chunks(columns.len().max(1)).map(<[Value]>::to_vec).collect();
        Some(table)
    }
}

fn add(sum: &mut Row, row: &Row, columns: &[Column]) {
    for ((sum, value), column) in sum.iter_mut().zip(row).zip(columns) {
        if let (Value::Number(sum), Value::Number(value)) = (sum, value) {
            match column.merge {
                Merge::Key => {}
                Merge::Sum => *sum = sum.saturating_add(*value),
                Merge::Max => *sum = (*sum).max(*value),
            }
        }
    }
}

/// Appends the RowDescription; `formats` as in Bind.
pub fn describe(columns: &[Column], formats: &[u16], out: &mut Vec<u8>) {
    if columns.is_empty() {
        return out.extend_from_slice(b"n\0\0\0\x04");
    }
    frame(out, b'T', |out| {
        out.extend_from_slice(&(columns.len() as u16).to_be_bytes());
        for (index, column) in columns.iter().enumerate() {
            let (oid, size) = if column.is_number { INT8 } else { TEXT };
            c_string(out, column.name.as_bytes());
            out.extend_from_slice(&[0; 6]); // of no table
            out.extend_from_slice(&oid.to_be_bytes());
            out.extend_from_slice(&size.to_be_bytes());
            out.extend_from_slice(&(-1i32).to_be_bytes());
            out.extend_from_slice(&format(formats, index).to_be_bytes());
        }
    });
}

/// Appends a DataRow.
pub fn data_row(row: &Row, formats: &[u16], out: &mut Vec<u8>) {
    let field = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        out.extend_from_slice(bytes);
    };
    frame(out, b'D', |out| {
        out.extend_from_slice(&(row.len() as u16).to_be_bytes());
        for (index, value) in row.iter().enumerate() {
            match value {
                Value::Null => out.extend_from_slice(&(-1i32).to_be_bytes()),
                Value::Text(text) => field(out, text.as_bytes()),
                Value::Number(number) if format(formats, index) == 1 => field(out, &number.to_be_bytes()),
                Value::Number(number) => field(out, number.to_string().as_bytes()),
            }
        }
    });
}

/// As Bind means it: none are text, one is for all.
fn format(formats: &[u16], index: usize) -> u16 {
    match formats {
        [] => 0,
        [all] => *all,
        each => each.get(index).copied().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::command::Topic;

    #[test]
    fn the_rows_of_workers_are_added_up_by_their_keys() {
        let columns = Topic::Lists.columns();
        let row = |name: &str, n: usize| vec![name.into(), n.into()];
        let mut table = Table::new(vec![row("shop", 1), row("other", 5)]);
        let mut mail = Vec::new();
        Table { rows: vec![row("shop", 2)], warnings: vec!["mind".into()] }.encode(&mut mail);
        let theirs = Table::decode(&mail, columns).unwrap();
        assert_eq!(theirs.warnings, ["mind"]);
        table.rows.extend(theirs.rows);
        table.merge(columns);
        assert_eq!(table.rows, [row("other", 5), row("shop", 3)]);
        assert!((0..mail.len()).all(|end| Table::decode(&mail[..end], columns).is_none_or(|table| table.rows.len() <= 1)));
    }
}
