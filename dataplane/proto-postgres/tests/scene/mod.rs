//! One worker with a listener "shop", as the words of a transcript want it.
//!
//! `scram`, `md5`: how clients log in (user ann, password secret); `session`: the pool's mode; `login`: the Database has credentials;
//! `two`: a pool of two connections instead of one; `min`, `reserve`, `few`, `quota`: one connection is kept, one is in reserve for who
//! waits for 100 ms, two clients are let in, there is one connection over all pools; `users`: bob has a pool of his own, in session mode,
//! for one client; `patient`: clients wait for 5 s; `admin`: ann is an admin; `deaf`: there is another worker, which never answers; `shards`: two shards, the table orders lies on both by customer_id; `rules`: a filter
//! that denies the table `secret` and delays `slow`; `standby`: a second server at the port + 10, said to be a replica;
//! `reads`: it is read.

use config::proto::midstream::core::v1::{Credentials, User};
use config::proto::midstream::sql::v1::{
    Database, Engine, Hash, KeyType, Pool, PoolUser, Reads, Shard, Sharding, SqlProxy, Table, pool, reads, sql_proxy, table,
};
use config::proto::skeleton;
use config::{Context, Local, Raw, Set, types};
use prost::Message;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::sim::Sim;
use wire::{Chain, Denial, DenialKind, Flow, MILLIS, Outcome, Request, Verdict, Worker};

/// Denies what names the table `secret`, delays `slow`.
struct Rules;

impl Chain for Rules {
    fn bind(&self, request: &Request<'_>) -> Flow {
        let is_secret = request.resources.contains(&&b"secret"[..]);
        let message = || format!("AccessPolicy/test denies {} of secret to {}", request.verb, request.identity);
        let denial = || Arc::new(Denial { kind: DenialKind::Unauthorized, rule: "AccessPolicy/test".into(), message: message() });
        Flow { denied: is_secret.then(denial), counted: vec![0], ..Flow::default() }
    }

    fn run(&self, _: &Flow, request: &Request<'_>, _: u64, _: u64) -> Verdict {
        if request.resources.contains(&&b"slow"[..]) { Verdict::Delay(100 * MILLIS) } else { Verdict::Pass }
    }

    fn done(&self, _: &Request<'_>, _: &Outcome<'_>) {}
}

pub fn worker(with: &str) -> Sim {
    let words: Vec<&str> = with.split_whitespace().collect();
    let has = |word: &str| words.contains(&word);
    let (set, refusals) = Set::decode(&raws(&has));
    assert!(refusals.is_empty(), "{refusals:?}");
    let mut chains: BTreeMap<String, Arc<dyn Chain>> = BTreeMap::new();
    if has("rules") {
        chains.insert("shop".into(), Arc::new(Rules));
    }
    let compiled = proto_postgres::compile(&Context::new(&set, &chains, &Local));
    assert!(compiled.refusals.is_empty(), "{:?}", compiled.refusals);
    Sim::new(proto_postgres::machine(Worker { index: 0, count: if has("deaf") { 2 } else { 1 }, metrics: Arc::default() }, [7; 32]), compiled.conf)
}

fn raws(has: &dyn Fn(&str) -> bool) -> Vec<Raw> {
    let shards: &[(&str, u32)] = if has("shards") { &[("s0", 5441), ("s1", 5442)] } else { &[("s0", 5441)] };
    let database = Database {
        reads: has("reads").then(|| Reads { from: reads::From::Replicas.into(), max_lag_ms: 10_000, wait_ms: 100, tokens: true }),
        name: "shop".into(),
        engine: Engine::Postgres.into(),
        credentials: has("login").then(|| Credentials { user: "app".into(), password_secret: "app".into() }),
        pool: Some(pool(has)),
        shards: shards.iter().map(|(name, _)| Shard { name: (*name).into(), cluster: format!("shop/{name}"), database: "shop".into() }).collect(),
        tls: None,
        users: if has("users") { vec![bob()] } else { vec![] },
    };
    let mut raws = vec![raw(types::DATABASE, "shop", &database), secret("ann", "secret"), secret("app", "pencil"), listener(has)];
    raws.extend(shards.iter().map(|(name, port)| raw(types::ENDPOINTS, &format!("shop/{name}"), &endpoints(has, *port))));
    if has("shards") {
        raws.push(raw(types::SHARDING, "shop", &sharding()));
    }
    raws
}

fn pool(has: &dyn Fn(&str) -> bool) -> Pool {
    let one_if = |word| u32::from(has(word));
    Pool {
        mode: if has("session") { pool::Mode::Session } else { pool::Mode::Transaction }.into(),
        size: 1 + one_if("two"),
        min_size: one_if("min"),
        reserve_size: one_if("reserve"),
        reserve_timeout_ms: 100,
        max_clients: 2 * one_if("few"),
        max_servers: one_if("quota"),
        wait_timeout_ms: if has("patient") { 5_000 } else { 1_000 },
        idle_timeout_ms: 600_000,
        max_lifetime_ms: 3_600_000,
        connect_timeout_ms: 1_000,
    }
}

fn bob() -> PoolUser {
    let session = Pool { mode: pool::Mode::Session.into(), size: 1, max_clients: 1, wait_timeout_ms: 1_000, ..Pool::default() };
    PoolUser { name: "bob".into(), pool: Some(session) }
}

fn sharding() -> Sharding {
    let orders = Table {
        name: "orders".into(),
        key: "customer_id".into(),
        key_type: KeyType::Integer.into(),
        placement: Some(table::Placement::Hash(Hash::default())),
    };
    Sharding { name: "shop".into(), database: "shop".into(), home: "s0".into(), tables: vec![orders], gather_bytes: 16 }
}

fn listener(has: &dyn Fn(&str) -> bool) -> Raw {
    let auth = match () {
        () if has("scram") => sql_proxy::Auth::ScramSha256,
        () if has("md5") => sql_proxy::Auth::Md5,
        () => sql_proxy::Auth::Trust,
    };
    let users = vec![User { name: "ann".into(), password_secret: "ann".into() }];
    let admins = if has("admin") { vec!["ann".into()] } else { vec![] };
    let proxy = SqlProxy { engine: Engine::Postgres.into(), database: "shop".into(), auth: auth.into(), users, admins, ..SqlProxy::default() };
    let any = skeleton::Any { type_url: types::SQL_PROXY.into(), value: proxy.encode_to_vec() };
    let filter = skeleton::Filter { name: "sql".into(), typed_config: Some(any) };
    let chain = skeleton::FilterChain { filters: vec![filter] };
    let value = skeleton::Listener { name: "shop".into(), address: address(5432), filter_chains: vec![chain] };
    raw(types::LISTENER, "shop", &value)
}

fn endpoints(has: &dyn Fn(&str) -> bool, port: u32) -> skeleton::ClusterLoadAssignment {
    let mut servers = vec![server(port, "primary")];
    if has("standby") {
        servers.push(server(port + 10, "replica"));
    }
    let locality = skeleton::LocalityLbEndpoints { lb_endpoints: servers, ..Default::default() };
    skeleton::ClusterLoadAssignment { endpoints: vec![locality], ..Default::default() }
}

fn server(port: u32, role: &str) -> skeleton::LbEndpoint {
    let role = skeleton::Value { kind: Some(skeleton::value::Kind::StringValue(role.into())) };
    let fields = skeleton::Struct { fields: [("role".to_string(), role)].into() };
    let metadata = skeleton::Metadata { filter_metadata: [("midstream".to_string(), fields)].into() };
    let endpoint = Some(skeleton::Endpoint { address: address(port) });
    skeleton::LbEndpoint { endpoint, metadata: Some(metadata), ..Default::default() }
}

fn address(port: u32) -> Option<skeleton::Address> {
    let socket = skeleton::SocketAddress { address: "127.0.0.1".into(), port_value: port };
    Some(skeleton::Address { address: Some(skeleton::address::Address::SocketAddress(socket)) })
}

fn secret(name: &str, value: &str) -> Raw {
    let source = skeleton::DataSource { specifier: Some(skeleton::data_source::Specifier::InlineString(value.into())) };
    let generic = skeleton::GenericSecret { secret: Some(source) };
    let secret = skeleton::Secret { name: name.into(), r#type: Some(skeleton::secret::Type::GenericSecret(generic)) };
    raw(types::SECRET, name, &secret)
}

fn raw(type_url: &str, name: &str, message: &impl Message) -> Raw {
    Raw { type_url: type_url.into(), name: name.into(), version: "1".into(), body: message.encode_to_vec() }
}
