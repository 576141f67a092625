//! What the SQL half of the hot path costs per statement, without sockets: lexer with fingerprint, flow look-up, route, ordered merge.
//!
//!     cargo run --release -p sql --example nanoseconds

use config::proto::midstream::sql::v1 as proto;
use prost::Message;
use sql::flow::Context;
use sql::merge::{Column, Merger};
use sql::{Effect, Flow, FlowKey, FlowTable, Lexer, Parameter, Plan, Rules, Settings, Values};
use std::hint::black_box;
use std::rc::Rc;
use std::time::Instant;

const ROUNDS: u32 = 1_000_000;
const SIMPLE: &[u8] = b"SELECT abalance FROM pgbench_accounts WHERE aid = 4711;";
const PREPARED: &[u8] = b"SELECT id, total FROM orders WHERE customer_id = $1 AND placed_at > $2 ORDER BY id LIMIT $3";

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let rules = rules()?;
    let plan = Plan::decode(&point_query().encode_to_vec(), &rules)?;
    let mut lexer = Lexer::default();
    report("lexer and fingerprint, 55 bytes", || lexer.scan(black_box(SIMPLE), Settings::default()).map(|lexed| lexed.fingerprint));
    report("lexer and fingerprint, 92 bytes", || lexer.scan(black_box(PREPARED), Settings::default()).map(|lexed| lexed.fingerprint));

    let lexed = lexer.scan(SIMPLE, Settings::default())?.clone();
    let context = Context::of(&[b"shop", b"app", b"public"]);
    let flow = Rc::new(Flow { plan, effect: Effect::of(&lexed), filter: wire::Flow::default() });
    let mut table = FlowTable::new(64 << 20);
    (0..10_000u128).for_each(|other| table.insert(FlowKey::new(other, context, &[]), Rc::clone(&flow)));
    table.insert(FlowKey::new(lexed.fingerprint, context, &[]), Rc::clone(&flow));
    report("flow look-up among 10,000", || table.get(FlowKey::new(black_box(lexed.fingerprint), context, &[])).is_some());

    let key = 4711i64.to_be_bytes();
    let parameters = [Parameter { value: Some(&key), binary: true, type_oid: 20 }];
    let values = Values { sql: SIMPLE, lexed: &lexed, parameters: &parameters, utf8: true };
    report("route by key", || flow.plan.target(&rules, black_box(&values)));
    merge(&rules)
}

fn report<T>(what: &str, mut work: impl FnMut() -> T) {
    (0..ROUNDS / 10).for_each(|_| drop(black_box(work())));
    let start = Instant::now();
    (0..ROUNDS).for_each(|_| drop(black_box(work())));
    println!("{what:<36} {:>6} ns", start.elapsed().as_nanos() / u128::from(ROUNDS));
}

/// Four ordered sources of 100,000 rows.
fn merge(rules: &Rules) -> Result<(), Failure> {
    let order = vec![proto::OrderKey { compare: proto::Compare::IntegerOrder.into(), ..Default::default() }];
    let route = proto::Route { to: Some(proto::route::To::All(proto::All {})) };
    let plan = proto::Plan { route: Some(route), merge: Some(proto::Merge { order, ..Default::default() }), ..Default::default() };
    let plan = Plan::decode(&plan.encode_to_vec(), rules)?;
    let spec = plan.merge.ok_or("no merge")?;
    let mut merger = Merger::new(&spec, &[Column { type_oid: 20, binary: true }], 4, Default::default(), 1 << 20)?;
    let (mut out, mut next) = (Vec::new(), [0u64; 4]);
    let start = Instant::now();
    while !merger.is_done() {
        for (source, next) in next.iter_mut().enumerate() {
            while merger.wants(source) && *next < 100_000 {
                let body = [&[0, 1, 0, 0, 0, 8][..], &(*next * 4 + source as u64).to_be_bytes()].concat();
                merger.row(source, &body, &mut out)?;
                *next += 1;
            }
            if *next == 100_000 {
                merger.end(source, &mut out)?;
            }
            out.clear();
        }
    }
    println!("{:<36} {:>6} ns a row", "ordered merge of 4 x 100,000", start.elapsed().as_nanos() / u128::from(merger.rows()));
    Ok(())
}

fn point_query() -> proto::Plan {
    let key = proto::KeySource { source: Some(proto::key_source::Source::Slot(1)), ..Default::default() };
    let by_key = proto::ByKey { table: "accounts".into(), keys: vec![key], ..Default::default() };
    proto::Plan { route: Some(proto::Route { to: Some(proto::route::To::ByKey(by_key)) }), cacheable: true, ..Default::default() }
}

fn rules() -> Result<Rules, Failure> {
    let table = proto::Table {
        name: "accounts".into(),
        key: "aid".into(),
        key_type: proto::KeyType::Integer.into(),
        placement: Some(proto::table::Placement::Hash(proto::Hash::default())),
    };
    let sharding = proto::Sharding { tables: vec![table], ..Default::default() };
    let shards = ["s0".to_string(), "s1".to_string()];
    Rules::compile(Some(&sharding), &shards).map_err(|wrong| format!("{wrong:?}").into())
}
