//! From resources to [`Conf`]: every reference and field that this protocol depends on is checked here.

use crate::auth::{Credentials, Entropy, HASH, Method, User, end_point, scram};
use crate::conf::{Conf, Database, Endpoint, Listener, Reads, Shard};
use crate::login::ALPN;
use crate::pool_conf::PoolConf;
use config::proto::midstream::core::v1::{downstream_tls, upstream_tls};
use config::proto::midstream::sql::v1::{self as proto, Engine, reads, sql_proxy};
use config::{Compiled, Context, Entry, Invalid, ListenerOf, Refusal, Role, types};
use rustls::{ClientConfig, ServerConfig};
use sql::Rules;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use wire::{Bind, MILLIS, Target, TlsClient};

/// Replication is usually within a second; an application that reads from replicas at all bears this.
const DEFAULT_MAX_LAG_MS: u32 = 10_000;

/// Compiles the PostgreSQL part of a set.
pub fn compile(context: &Context<'_>) -> Compiled {
    let (listeners, mut refusals) = context.listeners::<proto::SqlProxy>(types::SQL_PROXY);
    let databases = databases(context, &mut refusals);
    let mut conf = Conf::default();
    let mut binds = Vec::new();
    for of in listeners.iter().filter(|of| of.filter.engine() != Engine::Mysql) {
        match listener(context, of, &databases) {
            Ok(listener) => {
                let bind = Bind { listener: listener.name.clone(), facet: 0, address: of.address.clone(), tls: None };
                binds.push(bind);
                conf.listeners.insert(listener.name.clone(), Arc::new(listener));
            }
            Err(invalid) => refusals.push(of.entry.refuse(invalid)),
        }
    }
    Compiled { conf: Arc::new(conf), binds, refusals }
}

fn databases(context: &Context<'_>, refusals: &mut Vec<Refusal>) -> BTreeMap<String, Arc<Database>> {
    let mut databases = BTreeMap::new();
    for entry in context.set.databases.values().filter(|entry| entry.value.engine() != Engine::Mysql) {
        match database(context, entry, refusals) {
            Ok(Some(database)) => drop(databases.insert(entry.name.clone(), Arc::new(database))),
            Ok(None) => {}
            Err(invalid) => refusals.push(entry.refuse(invalid)),
        }
    }
    for sharding in context.set.shardings.values().filter(|sharding| !context.set.databases.contains_key(&sharding.value.database)) {
        let reason = format!("there is no Database {}; add it or mend the name", sharding.value.database);
        refusals.push(sharding.refuse(Invalid::new("database", reason)));
    }
    databases
}

/// `None`: its Sharding was refused, and the refusal says so.
fn database(context: &Context<'_>, entry: &Entry<proto::Database>, refusals: &mut Vec<Refusal>) -> Result<Option<Database>, Invalid> {
    let value = &entry.value;
    let names: Vec<String> = value.shards.iter().map(|shard| shard.name.clone()).collect();
    if let Some((index, name)) = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
        return Err(Invalid::new(format!("shards[{index}].name"), format!("two shards are named {name}; rename one")));
    }
    let sharding: Vec<_> = context.set.shardings.values().filter(|sharding| sharding.value.database == entry.name).collect();
    if let [first, second, ..] = sharding[..] {
        let reason = format!("Sharding {} is for Database {} already; put the tables into one object", first.name, entry.name);
        refusals.push(second.refuse(Invalid::new("database", reason)));
    }
    let sharding = sharding.first();
    let rules = match Rules::compile(sharding.map(|sharding| &sharding.value), &names) {
        Ok(rules) => rules,
        Err(invalids) => {
            let refuse =
                |invalid| sharding.map_or_else(|| entry.refuse(Invalid::clone(&invalid)), |sharding| sharding.refuse(Invalid::clone(&invalid)));
            refusals.extend(invalids.into_iter().map(refuse));
            return Ok(None);
        }
    };
    let credentials = context.credentials(value.credentials.as_ref())?.map(|(user, password)| Credentials { user, password });
    let pool = PoolConf::new(value.pool.as_ref()).map_err(|invalid| invalid.within("pool"))?;
    let shards = value
        .shards
        .iter()
        .enumerate()
        .map(|(index, one)| shard(context, value, one, &pool).map_err(|invalid| invalid.within(&format!("shards[{index}]"))));
    let shards = shards.collect::<Result<Vec<_>, _>>()?;
    let reads = value.reads.as_ref().filter(|reads| reads.from() == reads::From::Replicas).map(reads_conf);
    if reads.is_some() && shards.len() > 1 {
        return Err(Invalid::new("reads.from", "replicas of several shards are not read; remove it"));
    }
    Ok(Some(Database {
        name: entry.name.as_str().into(),
        pool,
        users: users_pools(value)?,
        max_servers: value.pool.as_ref().map_or(0, |pool| pool.max_servers) as usize,
        credentials,
        reads,
        has_tokens: value.reads.as_ref().is_some_and(|reads| reads.tokens),
        has_standbys: shards.iter().any(|shard| shard.targets.len() > 1),
        shards,
        rules,
        rules_version: sharding.map(|sharding| sharding.version.clone()).unwrap_or_default(),
    }))
}

fn reads_conf(reads: &proto::Reads) -> Reads {
    let max_lag = if reads.max_lag_ms == 0 { DEFAULT_MAX_LAG_MS } else { reads.max_lag_ms };
    Reads { max_lag: u64::from(max_lag) * MILLIS, wait: u64::from(reads.wait_ms) * MILLIS }
}

fn users_pools(database: &proto::Database) -> Result<BTreeMap<String, PoolConf>, Invalid> {
    let pool_of = |(index, user): (usize, &proto::PoolUser)| {
        let within = |invalid: Invalid| invalid.within(&format!("users[{index}].pool"));
        Ok((user.name.clone(), PoolConf::new(user.pool.as_ref()).map_err(within)?))
    };
    database.users.iter().enumerate().map(pool_of).collect()
}

fn shard(context: &Context<'_>, database: &proto::Database, shard: &proto::Shard, pool: &PoolConf) -> Result<Shard, Invalid> {
    let endpoints = context
        .endpoints(&shard.cluster)
        .ok_or_else(|| Invalid::new("cluster", format!("there is no ClusterLoadAssignment {}; add it or mend the name", shard.cluster)))?;
    if !endpoints.iter().any(|endpoint| endpoint.role == Role::Primary) {
        return Err(Invalid::new("cluster", format!("{} has no primary; name one", shard.cluster)));
    }
    let mut servers: Vec<_> = endpoints.into_iter().filter(|endpoint| endpoint.role != Role::Deposed).collect();
    servers.sort_by_key(|endpoint| (!endpoint.healthy, endpoint.role != Role::Primary));
    let targets = servers.into_iter().map(|endpoint| {
        let tls = context.tls_client(database.tls.as_ref(), &endpoint.host)?;
        let is_direct = database.tls.as_ref().is_some_and(|tls| tls.negotiation() == upstream_tls::Negotiation::Direct);
        let (now, later) = if is_direct { (tls.map(with_alpn), None) } else { (None, tls) };
        let target = Target { host: endpoint.host, port: endpoint.port, tls: now, connect_timeout: pool.connect };
        Ok(Endpoint { target, tls: later, is_healthy: endpoint.healthy })
    });
    Ok(Shard { name: shard.name.as_str().into(), database: shard.database.clone(), targets: targets.collect::<Result<_, Invalid>>()? })
}

fn with_alpn(tls: TlsClient) -> TlsClient {
    let mut config = ClientConfig::clone(&tls.config);
    config.alpn_protocols = vec![ALPN.to_vec()];
    TlsClient { config: Arc::new(config), ..tls }
}

fn listener(context: &Context<'_>, of: &ListenerOf<proto::SqlProxy>, databases: &BTreeMap<String, Arc<Database>>) -> Result<Listener, Invalid> {
    let filter = &of.filter;
    let database = databases.get(&filter.database).ok_or_else(|| {
        let reason = if context.set.databases.contains_key(&filter.database) {
            format!("Database {} is refused or is of another engine; see its own refusal", filter.database)
        } else {
            format!("there is no Database {}; add it or mend the name", filter.database)
        };
        Invalid::new("database", reason)
    })?;
    let method = match filter.auth() {
        sql_proxy::Auth::Trust => Method::Trust,
        sql_proxy::Auth::Password => Method::Password,
        sql_proxy::Auth::Md5 => Method::Md5,
        sql_proxy::Auth::ScramSha256 => Method::Scram,
        sql_proxy::Auth::Certificate => Method::Certificate,
    };
    let salts = Arc::new(Entropy::from_system());
    let tls = context.tls_server(filter.tls.as_ref())?.map(|tls| {
        let mut tls = ServerConfig::clone(&tls);
        tls.alpn_protocols = vec![ALPN.to_vec()];
        Arc::new(tls)
    });
    let end_point = context.certificate(filter.tls.as_ref())?.and_then(|certificate| end_point(&certificate));
    let tls_mode = filter.tls.as_ref().map_or(downstream_tls::Mode::Disabled, |tls| tls.mode());
    if matches!(method, Method::Password | Method::Certificate) && tls_mode == downstream_tls::Mode::Disabled {
        return Err(Invalid::new("auth", "passwords in clear text and certificates need TLS on the listener; set tls or choose scram"));
    }
    if method == Method::Certificate && filter.tls.as_ref().is_none_or(|tls| tls.client_ca_secret.is_empty()) {
        return Err(Invalid::new("tls.client_ca_secret", "is missing: without it no client certificate can be verified"));
    }
    Ok(Listener {
        name: of.entry.name.as_str().into(),
        method,
        users: users(context, filter, method, &salts)?,
        salts,
        databases: filter.databases.clone(),
        admins: filter.admins.clone(),
        admin_database: if filter.admin_database.is_empty() { crate::admin::DEFAULT_NAME.into() } else { filter.admin_database.clone() },
        tls,
        end_point: end_point.map(Arc::from),
        is_tls_required: tls_mode == downstream_tls::Mode::Required,
        database: database.clone(),
        chain: context.chain(&of.entry.name),
    })
}

fn users(context: &Context<'_>, filter: &proto::SqlProxy, method: Method, salts: &Entropy) -> Result<HashMap<String, User>, Invalid> {
    let needed = matches!(method, Method::Password | Method::Md5 | Method::Scram);
    if needed && filter.users.is_empty() {
        return Err(Invalid::new("users", "is empty: with this auth nobody could log in; name the users and their passwords"));
    }
    let named = context.users(&filter.users)?;
    Ok(named
        .into_iter()
        .map(|(name, password)| {
            let is_scram = method == Method::Scram && !password.expose().is_empty();
            let salt = salts.derive(scram::SALT, name.as_bytes());
            let keys = is_scram.then(|| scram::Keys::derive(HASH, &scram::prepared(password.expose()), &salt[..16], scram::ITERATIONS));
            (name, User { password, keys })
        })
        .collect())
}
