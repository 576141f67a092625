//! Resources of any bytes are taken or refused, and what is taken compiles again.
#![no_main]

use config::{Raw, Set, settle, types};
use libfuzzer_sys::fuzz_target;

const TYPES: &[&str] = &[
    types::LISTENER,
    types::CLUSTER,
    types::ENDPOINTS,
    types::SECRET,
    types::DATABASE,
    types::SHARDING,
    types::REDIS_CLUSTER,
    types::REDIS_ROUTES,
    types::REDIS_MIRROR,
    types::REDIS_KEY_STATS,
    types::REDIS_MIGRATION,
    types::KAFKA_CLUSTER,
    types::KAFKA_VIRTUAL_CLUSTER,
    types::KAFKA_FEDERATION,
    types::KAFKA_RECORD_POLICY,
    types::KAFKA_STATS,
    types::ACCESS_POLICY,
    types::RATE_LIMIT,
    types::FAULT,
    types::TAP,
];

fuzz_target!(|data: &[u8]| {
    let raws: Vec<Raw> = data.split(|byte| *byte == 0xff).filter_map(raw).collect();
    let settled = settle(&raws, &[], &mut compile);
    assert!(compile(&settled.set).is_empty(), "what is in force has a refusal");
    assert_eq!(settled.refusals.is_empty(), settled.raws.len() == raws.len());
});

/// The first byte says the type, the rest is the message; names differ by their place.
fn raw(part: &[u8]) -> Option<Raw> {
    let (which, body) = part.split_first()?;
    let type_url = TYPES[usize::from(*which) % TYPES.len()];
    Some(Raw { type_url: type_url.into(), name: format!("{which}"), version: "1".into(), body: body.to_vec() })
}

fn compile(set: &Set) -> Vec<config::Refusal> {
    let (queue, _lines) = filters::tap_queue();
    let mut refusals = filters::Filters::new(std::sync::Arc::new(queue)).compile(set).refusals;
    refusals.extend(filters::unknown_listeners(set));
    for family in [proto_redis::compile, proto_kafka::compile, proto_postgres::compile] {
        refusals.extend(fuzz::context(set, family).refusals);
    }
    refusals
}
