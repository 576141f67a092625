//! Merges against the naive computation over random rows, and each rule by hand.

use super::*;
use crate::canonical::oid;
use config::proto::midstream::sql::v1::{self as proto, Bound, Compare, aggregate::Function, bound};

/// A row of optional texts.
type Row = Vec<Option<String>>;

fn text(type_oid: u32) -> Column {
    Column { type_oid, binary: false }
}

fn body(row: &Row) -> Vec<u8> {
    row::body(row.iter().map(|field| field.as_ref().map(|text| text.as_bytes())))
}

/// The rows in a run of DataRow messages.
fn rows(mut out: &[u8]) -> Vec<Row> {
    let mut found = Vec::new();
    while let [b'D', rest @ ..] = out {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        let mut row = Vec::new();
        row::fields(&rest[4..length], |_, field| {
            row.push(field.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()));
            true
        })
        .unwrap();
        found.push(row);
        out = &rest[length..];
    }
    assert!(out.is_empty());
    found
}

fn key(column: u32, compare: Compare, descending: bool) -> proto::OrderKey {
    proto::OrderKey { column, descending, nulls_first: descending, compare: compare.into() }
}

fn aggregate(column: u32, function: Function, compare: Compare) -> proto::Aggregate {
    proto::Aggregate { column, function: function.into(), compare: compare.into() }
}

fn merger(merge: proto::Merge, columns: &[Column], sources: usize, bounds: Bounds) -> Merger {
    Merger::new(&Arc::new(Spec::compile(merge).unwrap()), columns, sources, bounds, 1 << 20).unwrap()
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % sides
    }
}

/// Feeds the sources in random turns, as far as the merger wants rows, and returns what comes out.
fn run(merger: &mut Merger, sources: &[Vec<Row>], dice: &mut Dice) -> Result<Vec<Row>, Refusal> {
    let (mut at, mut ended, mut out) = (vec![0; sources.len()], vec![false; sources.len()], Vec::new());
    while !ended.iter().all(|ended| *ended) {
        let source = dice.roll(sources.len());
        if ended[source] || !merger.wants(source) {
            assert!((0..sources.len()).any(|other| !ended[other] && merger.wants(other)), "everybody waits");
            continue;
        }
        match sources[source].get(at[source]) {
            Some(row) => merger.row(source, &body(row), &mut out)?,
            None => {
                merger.end(source, &mut out)?;
                ended[source] = true;
            }
        }
        at[source] += 1;
    }
    assert!(merger.is_done());
    let rows = rows(&out);
    assert_eq!(merger.rows(), rows.len() as u64);
    Ok(rows)
}

/// (nullable small integer, text), deterministic.
fn random_sources(dice: &mut Dice, sources: usize, rows: usize) -> Vec<Vec<Row>> {
    let mut row = || {
        let number = if dice.roll(8) == 0 { None } else { Some((dice.roll(20) as i64 - 10).to_string()) };
        vec![number, Some(format!("t{}", dice.roll(5)))]
    };
    (0..sources).map(|_| (0..rows).map(|_| row()).collect()).collect()
}

fn number(field: &Option<String>) -> Option<i64> {
    field.as_ref().map(|text| text.parse().unwrap())
}

#[test]
fn an_ordered_merge_is_the_sort_of_all_rows_with_offset_and_limit() {
    let mut dice = Dice(1);
    for round in 0..300 {
        let descending = round % 2 == 0;
        let mut sources = random_sources(&mut dice, 1 + round % 4, 1 + round % 17);
        // NULLs first when descending, last when ascending: PostgreSQL's defaults.
        let sort = |rows: &mut Vec<Row>| {
            rows.sort_by_key(|row| (number(&row[0]).is_none(), number(&row[0])));
            if descending {
                rows.reverse();
            }
        };
        sources.iter_mut().for_each(sort);
        let bounds = Bounds { limit: (round % 3 == 0).then_some(dice.roll(20) as u64), offset: dice.roll(6) as u64 };
        let merge = proto::Merge { order: vec![key(0, Compare::IntegerOrder, descending)], ..Default::default() };
        let found = run(&mut merger(merge, &[text(oid::INT4), text(oid::TEXT)], sources.len(), bounds), &sources, &mut dice).unwrap();
        let mut all: Vec<Row> = sources.concat();
        sort(&mut all);
        let limit = bounds.limit.map_or(usize::MAX, |limit| limit as usize);
        let expected: Vec<_> = all.iter().skip(bounds.offset as usize).take(limit).map(|row| &row[0]).collect();
        assert_eq!(found.iter().map(|row| &row[0]).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn partial_aggregates_combine_to_those_of_all_rows() {
    let mut dice = Dice(2);
    for _ in 0..200 {
        let sources = random_sources(&mut dice, 3, 12);
        let partial = |rows: &[Row]| -> Vec<Row> {
            let mut groups: Vec<String> = rows.iter().map(|row| row[1].clone().unwrap()).collect();
            groups.sort();
            groups.dedup();
            let of = |group: &String| {
                let values: Vec<i64> = rows.iter().filter(|row| row[1].as_ref() == Some(group)).filter_map(|row| number(&row[0])).collect();
                let sum = (!values.is_empty()).then(|| values.iter().sum::<i64>().to_string());
                let (least, most) = (values.iter().min().map(i64::to_string), values.iter().max().map(i64::to_string));
                vec![Some(group.clone()), Some(values.len().to_string()), sum, least, most]
            };
            groups.iter().map(of).collect()
        };
        let merge = proto::Merge {
            group: vec![0],
            order: vec![key(0, Compare::BytesOrder, false)],
            aggregates: vec![
                aggregate(1, Function::Count, Compare::IntegerOrder),
                aggregate(2, Function::Sum, Compare::IntegerOrder),
                aggregate(3, Function::Min, Compare::IntegerOrder),
                aggregate(4, Function::Max, Compare::IntegerOrder),
            ],
            ..Default::default()
        };
        let columns = [text(oid::TEXT), text(oid::INT8), text(oid::INT8), text(oid::INT4), text(oid::INT4)];
        let parts: Vec<Vec<Row>> = sources.iter().map(|rows| partial(rows)).collect();
        let found = run(&mut merger(merge, &columns, 3, Bounds::default()), &parts, &mut dice).unwrap();
        assert_eq!(found, partial(&sources.concat()));
    }
}

#[test]
fn distinct_lets_each_row_through_once() {
    let mut dice = Dice(3);
    let sources = random_sources(&mut dice, 3, 200);
    let merge = proto::Merge { distinct: true, ..Default::default() };
    let mut found = run(&mut merger(merge, &[text(oid::INT4), text(oid::TEXT)], 3, Bounds::default()), &sources, &mut dice).unwrap();
    let mut expected = sources.concat();
    expected.sort();
    expected.dedup();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn hidden_columns_are_cut_from_rows_and_description() {
    let merge = proto::Merge { order: vec![key(65536, Compare::IntegerOrder, false)], hidden: 1, ..Default::default() };
    let rows = [vec![vec![Some("b".into()), Some("2".into())]], vec![vec![Some("a".into()), Some("1".into())]]];
    let mut merger = merger(merge.clone(), &[text(oid::TEXT), text(oid::INT4)], 2, Bounds::default());
    let found = run(&mut merger, &rows, &mut Dice(4)).unwrap();
    assert_eq!(found, [[Some("a".to_string())], [Some("b".to_string())]]);

    let spec = Spec::compile(merge).unwrap();
    let field = |name: &str| [name.as_bytes(), b"\0", &[0u8; 18]].concat();
    let description = [&2u16.to_be_bytes()[..], &field("name"), &field("order")].concat();
    let mut out = Vec::new();
    spec.describe(&description, &mut out).unwrap();
    let expected = [&1u16.to_be_bytes()[..], &field("name")].concat();
    assert_eq!(out[5..], expected);
    assert_eq!(u32::from_be_bytes(out[1..5].try_into().unwrap()) as usize, expected.len() + 4);
    assert!(spec.describe(&description[..9], &mut out).is_err());
    assert_eq!(spec.result_formats(&[1], 3), [1], "one code is for all columns");
    assert_eq!(spec.result_formats(&[1, 0], 3), [1, 0, 0]);
    assert_eq!(spec.result_formats(&[], 3), [0i16; 0]);
}

#[test]
fn a_sum_that_overflows_is_the_databases_error_and_a_numeric_one_is_exact() {
    let merge = |compare| proto::Merge { aggregates: vec![aggregate(0, Function::Sum, compare)], ..Default::default() };
    let rows = [vec![vec![Some(i64::MAX.to_string())]], vec![vec![Some("1".to_string())]]];
    let mut of_bigint = merger(merge(Compare::IntegerOrder), &[text(oid::INT8)], 2, Bounds::default());
    assert_eq!(run(&mut of_bigint, &rows, &mut Dice(5)).unwrap_err().sqlstate, "22003");
    let mut of_numeric = merger(merge(Compare::NumericOrder), &[text(oid::NUMERIC)], 2, Bounds::default());
    assert_eq!(run(&mut of_numeric, &rows, &mut Dice(5)).unwrap(), [[Some("9223372036854775808".to_string())]]);
}

#[test]
fn binary_sums_and_orders() {
    let columns = [Column { type_oid: oid::NUMERIC, binary: true }, Column { type_oid: oid::INT8, binary: true }];
    let merge = proto::Merge {
        aggregates: vec![aggregate(0, Function::Sum, Compare::NumericOrder), aggregate(1, Function::Count, Compare::IntegerOrder)],
        ..Default::default()
    };
    let mut merger = merger(merge, &columns, 2, Bounds::default());
    let mut out = Vec::new();
    for (source, (sum, count)) in [("1.50", 2i64), ("-3", 5)].into_iter().enumerate() {
        let sum = decimal::to_binary(sum.as_bytes()).unwrap();
        let row = row::body([Some(&sum[..]), Some(&count.to_be_bytes()[..])].into_iter());
        merger.row(source, &row, &mut out).unwrap();
    }
    merger.end(0, &mut out).unwrap();
    merger.end(1, &mut out).unwrap();
    let expected = row::body([Some(&decimal::to_binary(b"-1.50").unwrap()[..]), Some(&7i64.to_be_bytes()[..])].into_iter());
    assert_eq!(out[5..], expected);
}

#[test]
fn what_cannot_be_compared_is_refused_before_the_first_row() {
    let refused = |merge: proto::Merge, columns: &[Column]| {
        let spec = Arc::new(Spec::compile(merge).unwrap());
        Merger::new(&spec, columns, 2, Bounds::default(), 1 << 20).err().map(|refusal| refusal.sqlstate)
    };
    let ordered = proto::Merge { order: vec![key(0, Compare::IntegerOrder, false)], ..Default::default() };
    assert_eq!(refused(ordered.clone(), &[text(oid::TEXT)]).as_deref(), Some("0A000"), "the schema changed under the plan");
    assert_eq!(refused(ordered.clone(), &[]).as_deref(), Some("58000"));
    assert_eq!(refused(ordered, &[text(oid::INT8)]), None);
    let distinct = proto::Merge { distinct: true, ..Default::default() };
    assert_eq!(refused(distinct, &[text(oid::NUMERIC)]).as_deref(), Some("0A000"), "1.0 and 1.00 are equal");
    let grouped = proto::Merge { group: vec![0], ..Default::default() };
    assert_eq!(refused(grouped, &[text(oid::FLOAT8)]).as_deref(), Some("0A000"));
}

#[test]
fn groups_stay_in_their_budget() {
    let spec = Arc::new(Spec::compile(proto::Merge { group: vec![0], ..Default::default() }).unwrap());
    let mut merger = Merger::new(&spec, &[text(oid::TEXT)], 2, Bounds::default(), 10_000).unwrap();
    let mut out = Vec::new();
    let result = (0..1000).try_for_each(|group| merger.row(0, &body(&vec![Some(format!("group {group}"))]), &mut out));
    assert_eq!(result.unwrap_err().sqlstate, "54000");
}

#[test]
fn a_source_far_ahead_is_asked_to_wait() {
    let merge = proto::Merge { order: vec![key(0, Compare::IntegerOrder, false)], ..Default::default() };
    let mut merger = merger(merge, &[text(oid::INT4)], 2, Bounds::default());
    let (mut out, mut taken) = (Vec::new(), 0);
    while merger.wants(0) {
        merger.row(0, &body(&vec![Some(taken.to_string())]), &mut out).unwrap();
        taken += 1;
    }
    assert!((1000..10_000).contains(&taken) && out.is_empty() && merger.wants(1));
    merger.end(1, &mut out).unwrap();
    assert_eq!(rows(&out).len(), taken);
    assert!(merger.wants(0));
}

#[test]
fn bounds_come_from_slots() {
    use crate::lexer::Lexer;
    use crate::value::{Parameter, Values};
    let sql = b"select a from t limit $1 offset 5";
    let mut lexer = Lexer::default();
    let lexed = lexer.scan(sql, Default::default()).unwrap();
    let slot = |n| Some(Bound { value: Some(bound::Value::Slot(n)) });
    let spec = Spec::compile(proto::Merge { limit: slot(1), offset: slot(2), ..Default::default() }).unwrap();
    let bounds = |value: Option<&[u8]>, binary| {
        let parameters = [Parameter { value, binary, type_oid: 20 }];
        spec.bounds(&Values { sql, lexed, parameters: &parameters, utf8: true })
    };
    assert_eq!(bounds(Some(b"10"), false), Ok(Bounds { limit: Some(10), offset: 5 }));
    assert_eq!(bounds(Some(&7i64.to_be_bytes()), true), Ok(Bounds { limit: Some(7), offset: 5 }));
    assert_eq!(bounds(None, false), Ok(Bounds { limit: None, offset: 5 }), "LIMIT NULL is no limit");
    assert_eq!(bounds(Some(b"-1"), false).unwrap_err().sqlstate, "2201W");
    assert_eq!(bounds(Some(b"1.5"), false).unwrap_err().sqlstate, "0A000");
}
