//! A configuration with a listener of each family, as it would come over xDS, and rules that some requests meet.

use config::proto::midstream::kafka::v1::{KafkaCluster, KafkaProxy, KafkaVirtualCluster};
use config::proto::midstream::policy::v1::{AccessPolicy, Class, Fault, Match, RateLimit, Rule, rule::Effect};
use config::proto::midstream::redis::v1::{RedisCluster, RedisProxy};
use config::proto::midstream::sql::v1::{BucketRun, Database, Engine, Hash, KeyType, Pool, Shard, Sharding, SqlProxy, Table, table::Placement};
use config::proto::skeleton::{self, Listener};
use config::{Absent, Compiled, Context, Raw, Set, types};
use prost::Message;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::sim::Sim;
use wire::{Chain, Family, Worker};

/// A machine of `family` with the scene in force.
pub fn compile(family: &dyn Family, compile: fn(&Context<'_>) -> Compiled) -> Sim {
    let (set, refusals) = Set::decode(&raws());
    assert!(refusals.is_empty(), "{refusals:?}");
    let compiled = context(&set, compile);
    assert!(compiled.refusals.is_empty(), "{:?}", compiled.refusals);
    let worker = Worker { index: 0, count: 1, metrics: Arc::default() };
    Sim::new(family.build(worker), compiled.conf)
}

/// Compiles a set for a family, with its filters and without secrets.
pub fn context(set: &Set, compile: fn(&Context<'_>) -> Compiled) -> Compiled {
    let (queue, _lines) = filters::tap_queue();
    let chains: BTreeMap<String, Arc<dyn Chain>> = filters::Filters::new(Arc::new(queue)).compile(set).chains;
    compile(&Context::new(set, &chains, &Absent))
}

fn raws() -> Vec<Raw> {
    let cache = RedisCluster { name: "cache".into(), cluster: "redis/cache".into(), ..RedisCluster::default() };
    let events = KafkaCluster { name: "events".into(), cluster: "kafka/events".into(), ..KafkaCluster::default() };
    let kafka = KafkaProxy { backend: "events".into(), broker_port_first: 9100, broker_port_last: 9109, ..KafkaProxy::default() };
    let tenant = KafkaVirtualCluster {
        name: "tenant".into(),
        cluster: "events".into(),
        prefix: "t-".into(),
        cluster_id: "virtual".into(),
        topics: [("orders".to_string(), "legacy".to_string())].into(),
        ..KafkaVirtualCluster::default()
    };
    let virtually = KafkaProxy { virtual_cluster: "tenant".into(), broker_port_first: 9200, broker_port_last: 9209, ..kafka.clone() };
    let postgres = SqlProxy { engine: Engine::Postgres as i32, database: "shop".into(), ..SqlProxy::default() };
    let mut raws = vec![
        raw(types::ENDPOINTS, "redis/cache", &endpoints("redis/cache", 7001)),
        raw(types::REDIS_CLUSTER, "cache", &cache),
        listener("redis", 6379, types::REDIS_PROXY, &RedisProxy { backend: "cache".into(), ..RedisProxy::default() }),
        raw(types::ENDPOINTS, "kafka/events", &endpoints("kafka/events", 19092)),
        raw(types::KAFKA_CLUSTER, "events", &events),
        listener("kafka", 9092, types::KAFKA_PROXY, &kafka),
        raw(types::KAFKA_VIRTUAL_CLUSTER, "tenant", &tenant),
        listener("kafka_virtual", 9192, types::KAFKA_PROXY, &virtually),
        raw(types::ENDPOINTS, "sql/s0", &endpoints("sql/s0", 5441)),
        raw(types::ENDPOINTS, "sql/s1", &endpoints("sql/s1", 5442)),
        raw(types::DATABASE, "shop", &database()),
        raw(types::SHARDING, "shop", &sharding()),
        listener("postgres", 5432, types::SQL_PROXY, &postgres),
    ];
    raws.extend(policies());
    raws
}

fn database() -> Database {
    let shard = |name: &str| Shard { name: name.into(), cluster: format!("sql/{name}"), database: "shop".into() };
    let pool = Pool { size: 2, wait_timeout_ms: 1_000, connect_timeout_ms: 1_000, ..Pool::default() };
    let shards = vec![shard("s0"), shard("s1")];
    Database { name: "shop".into(), engine: Engine::Postgres as i32, pool: Some(pool), shards, ..Database::default() }
}

fn sharding() -> Sharding {
    let run = |first, last, shard: &str| BucketRun { first, last, shard: shard.into() };
    let runs = vec![run(0, 8191, "s0"), run(8192, 16383, "s1")];
    let (key, key_type) = ("customer_id".into(), KeyType::Integer as i32);
    let orders = Table { name: "orders".into(), key, key_type, placement: Some(Placement::Hash(Hash { runs })) };
    Sharding { name: "shop".into(), database: "shop".into(), home: "s0".into(), tables: vec![orders], gather_bytes: 1 << 20 }
}

fn policies() -> [Raw; 3] {
    let secret = Rule { effect: Effect::Deny as i32, resources: vec!["secret*".into()], ..Rule::default() };
    let rest = Rule { effect: Effect::Allow as i32, ..Rule::default() };
    let access = AccessPolicy { name: "access".into(), listeners: vec!["*".into()], identities: vec![], rules: vec![secret, rest] };
    let limited = Match { resources: vec!["limited*".into()], ..Match::default() };
    let limit = RateLimit { name: "limit".into(), listeners: vec!["*".into()], r#match: Some(limited), requests: 1, period_ms: 1_000, burst: 1, ..RateLimit::default() };
    let admin = Match { classes: vec![Class::Admin as i32], ..Match::default() };
    let slow = Fault { name: "slow".into(), listeners: vec!["*".into()], r#match: Some(admin), percent: 50.0, delay_ms: 20, ..Fault::default() };
    [raw(types::ACCESS_POLICY, "access", &access), raw(types::RATE_LIMIT, "limit", &limit), raw(types::FAULT, "slow", &slow)]
}

fn raw(type_url: &str, name: &str, message: &impl Message) -> Raw {
    Raw { type_url: type_url.into(), name: name.into(), version: "1".into(), body: message.encode_to_vec() }
}

fn listener(name: &str, port: u32, type_url: &str, filter: &impl Message) -> Raw {
    let typed = skeleton::Any { type_url: type_url.into(), value: filter.encode_to_vec() };
    let filter = skeleton::Filter { name: name.into(), typed_config: Some(typed) };
    let chain = skeleton::FilterChain { filters: vec![filter] };
    let listener = Listener { name: name.into(), address: Some(address(port)), filter_chains: vec![chain], ..Listener::default() };
    raw(types::LISTENER, name, &listener)
}

fn endpoints(cluster: &str, port: u32) -> skeleton::ClusterLoadAssignment {
    let endpoint = skeleton::Endpoint { address: Some(address(port)) };
    let one = skeleton::LbEndpoint { endpoint: Some(endpoint), ..skeleton::LbEndpoint::default() };
    let locality = skeleton::LocalityLbEndpoints { lb_endpoints: vec![one], ..skeleton::LocalityLbEndpoints::default() };
    skeleton::ClusterLoadAssignment { cluster_name: cluster.into(), endpoints: vec![locality] }
}

fn address(port: u32) -> skeleton::Address {
    let socket = skeleton::SocketAddress { address: "127.0.0.1".into(), port_value: port, ..skeleton::SocketAddress::default() };
    skeleton::Address { address: Some(skeleton::address::Address::SocketAddress(socket)) }
}
