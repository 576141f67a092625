use super::placement::bucket;
use super::*;
use crate::canonical::integer;
use config::proto::midstream::sql::v1::{BucketRun, Colocate, Hash, List, Range, Reference, Span, Values};

fn shards(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

fn table(name: &str, key_type: KeyType, placement: table::Placement) -> Table {
    Table { name: name.into(), key: "k".into(), key_type: key_type.into(), placement: Some(placement) }
}

fn sharding(tables: Vec<Table>) -> Sharding {
    Sharding { name: "shop".into(), database: "shop".into(), home: "s0".into(), tables, gather_bytes: 0 }
}

fn compile(tables: Vec<Table>) -> Result<Rules, Vec<Invalid>> {
    Rules::compile(Some(&sharding(tables)), &shards(&["s0", "s1", "s2"]))
}

fn hash() -> table::Placement {
    table::Placement::Hash(Hash { runs: vec![] })
}

fn shard(rules: &Rules, table: &str, key: &[u8], key_type: KeyType) -> Option<ShardId> {
    rules.table(table).unwrap().placement.as_ref().unwrap().shard(key, key_type)
}

/// Data lie by these numbers, so they never change. Taken from the reference implementation of xxh64, not from ours.
#[test]
fn the_hash_is_the_documented_one() {
    for (key, expected) in [(0i64, 7099), (1, 2010), (42, 7135), (-1, 1737), (i64::MAX, 6548)] {
        assert_eq!(bucket(&integer(key)), expected, "{key}");
    }
    for (key, expected) in [("", 10649), ("a", 11867), ("alice@example.com", 286), ("Zürich", 633)] {
        assert_eq!(bucket(key.as_bytes()), expected, "{key}");
    }
}

#[test]
fn buckets_lie_in_equal_contiguous_runs() {
    let rules = compile(vec![table("t", KeyType::Integer, hash())]).unwrap();
    let Placement::Hash(buckets) = rules.table("t").unwrap().placement.as_deref().unwrap() else { panic!() };
    assert_eq!(buckets.len(), 16384);
    assert!(buckets.windows(2).all(|pair| pair[0] <= pair[1]));
    let count = |shard| buckets.iter().filter(|of| **of == shard).count();
    assert_eq!((count(0), count(1), count(2)), (5461, 5461, 5462));
}

#[test]
fn ranges_and_lists_find_their_shard() {
    let span = |from: Option<&str>, to: Option<&str>, shard: &str| Span { from: from.map(Into::into), to: to.map(Into::into), shard: shard.into() };
    let range = Range { spans: vec![span(None, Some("-5"), "s2"), span(Some("-5"), Some("100"), "s0"), span(Some("100"), None, "s1")] };
    let list = List { values: vec![Values { values: vec!["de".into(), "at".into()], shard: "s1".into() }], otherwise: "s2".into() };
    let rules =
        compile(vec![table("r", KeyType::Integer, table::Placement::Range(range)), table("l", KeyType::Text, table::Placement::List(list))]).unwrap();
    let of = |key| shard(&rules, "r", &integer(key), KeyType::Integer);
    assert_eq!([of(-6), of(-5), of(99), of(100)], [Some(2), Some(0), Some(0), Some(1)]);
    let of = |key: &str| shard(&rules, "l", key.as_bytes(), KeyType::Text);
    assert_eq!([of("de"), of("at"), of("fr")], [Some(1), Some(1), Some(2)]);
}

#[test]
fn colocated_tables_share_the_placement_and_references_have_none() {
    let colocate = |target: &str| table::Placement::Colocate(Colocate { table: target.into() });
    let mut reference = table("c", KeyType::Unspecified, table::Placement::Reference(Reference {}));
    reference.key.clear();
    let rules = compile(vec![table("b", KeyType::Unspecified, colocate("a")), table("a", KeyType::Integer, hash()), reference]).unwrap();
    for key in 0..100 {
        assert_eq!(shard(&rules, "a", &integer(key), KeyType::Integer), shard(&rules, "b", &integer(key), KeyType::Integer));
    }
    assert_eq!(rules.table("b").unwrap().key_type, KeyType::Integer);
    assert!(rules.table("c").unwrap().placement.is_none());
}

#[test]
fn what_is_wrong_is_told_by_field() {
    let fields = |tables: Vec<Table>| -> Vec<String> { compile(tables).unwrap_err().into_iter().map(|invalid| invalid.field).collect() };
    let run = |first, last, shard: &str| BucketRun { first, last, shard: shard.into() };
    let runs = |runs: Vec<BucketRun>| table("t", KeyType::Integer, table::Placement::Hash(Hash { runs }));
    assert_eq!(fields(vec![runs(vec![run(0, 16383, "s9")])]), ["tables[0].hash.runs[0].shard"]);
    assert_eq!(fields(vec![runs(vec![run(0, 5, "s0"), run(5, 16383, "s1")])]), ["tables[0].hash.runs[1].first"]);
    assert_eq!(fields(vec![runs(vec![run(0, 16384, "s0")])]), ["tables[0].hash.runs[0].last"]);
    assert_eq!(fields(vec![runs(vec![run(0, 7, "s0")])]), ["tables[0].hash.runs"]);
    let colocate = |target: &str| table::Placement::Colocate(Colocate { table: target.into() });
    assert_eq!(fields(vec![table("t", KeyType::Integer, colocate("x"))]), ["tables[0].colocate"]);
    assert_eq!(fields(vec![table("t", KeyType::Integer, colocate("t"))]), ["tables[0].colocate"]);
    assert_eq!(fields(vec![Table { key: String::new(), ..table("t", KeyType::Integer, hash()) }]), ["tables[0].key"]);
    assert_eq!(fields(vec![table("t", KeyType::Integer, hash()), table("t", KeyType::Integer, hash())]), ["tables[1].name"]);
    let span = |from: &str, to: &str| Span { from: Some(from.into()), to: Some(to.into()), shard: "s0".into() };
    let ranges = |spans: Vec<Span>| table("t", KeyType::Integer, table::Placement::Range(Range { spans }));
    assert_eq!(fields(vec![ranges(vec![span("1", "5"), span("4", "9")])]), ["tables[0].range.spans[1]"]);
    assert_eq!(fields(vec![ranges(vec![span("5", "1")])]), ["tables[0].range.spans[0]"]);
    assert_eq!(fields(vec![ranges(vec![span("a", "b")])]), ["tables[0].range.spans[0].from"]);
    let list = |values: &[&str]| {
        let values = vec![Values { values: values.iter().map(|value| value.to_string()).collect(), shard: "s0".into() }];
        table("t", KeyType::Integer, table::Placement::List(List { values, otherwise: String::new() }))
    };
    assert_eq!(fields(vec![list(&["1", "1"])]), ["tables[0].list.values[0].values[1]"]);
    assert_eq!(fields(vec![list(&["x"])]), ["tables[0].list.values[0].values[0]"]);
    let wrong_home = Sharding { home: "nowhere".into(), ..sharding(vec![]) };
    assert_eq!(Rules::compile(Some(&wrong_home), &shards(&["s0"])).unwrap_err()[0].field, "home");
    assert!(Rules::compile(None, &[]).is_err());
}
