//! From resources to [`Conf`]: every reference and field that this protocol depends on is checked here.

use crate::access;
use crate::compile_routes::{self, Known};
use crate::conf::{
    ClusterConf, Conf, Credentials, DEFAULT_CONNECT_TIMEOUT, DEFAULT_MAX_LAG, DEFAULT_NEAR_AGE, DEFAULT_NEAR_BYTES, DEFAULT_NEAR_ENTRY_BYTES,
    DEFAULT_RETRY_DEADLINE, From, ListenerConf, NearConf, Reads, Sentinel, TlsConf, User, Zone,
};
use crate::health::HealthConf;
use crate::key_stats::KeyStatsConf;
use crate::limits;
use crate::migration::compile as migrations;
use crate::mirror::MirrorConf;
use crate::near::Tracking;
use config::proto::midstream::core::v1::downstream_tls::Mode;
use config::proto::midstream::policy::v1 as policy;
use config::proto::midstream::redis::v1::redis_cluster::near_cache::Tracking as TrackingValue;
use config::proto::midstream::redis::v1::{RedisCluster, RedisKeyStats, RedisMirror, RedisProxy, redis_cluster, redis_cluster::NearCache};
use config::{Compiled, Context, Endpoint, Entry, Invalid, ListenerOf, Role, types};
use std::collections::BTreeSet;
use std::sync::Arc;
use wire::{Bind, MILLIS};

/// Compiles the Redis part of a set.
pub fn compile(context: &Context<'_>) -> Compiled {
    let (listeners, mut refusals) = context.listeners::<RedisProxy>(types::REDIS_PROXY);
    let mut conf = Conf::default();
    let mut binds = Vec::new();
    for entry in context.set.redis_clusters.values() {
        match cluster(context, entry) {
            Ok(cluster) => conf.clusters.push(Arc::new(cluster)),
            Err(invalid) => refusals.push(entry.refuse(invalid)),
        }
    }
    let usable: BTreeSet<Arc<str>> = conf.clusters.iter().map(|cluster| cluster.name.clone()).collect();
    let own = listeners.iter().map(|of| (of.entry.name.as_str(), of.filter.backend.as_str())).collect();
    let (mut routes, refused) = compile_routes::compile(&Known { context, clusters: &usable, listeners: own });
    refusals.extend(refused);
    refusals.extend(access::unknown_groups(context.set));
    let mut mirrors = Vec::new();
    for entry in context.set.redis_mirrors.values() {
        let packs = routes.iter().find(|(listener, routes)| routes.packs && names(&entry.value.listeners, listener)).map(|(listener, _)| listener);
        match mirror(&entry.value, &usable, packs) {
            Ok(mirror) => mirrors.push((entry, mirror)),
            Err(invalid) => refusals.push(entry.refuse(invalid)),
        }
    }
    let (migrating, refused) = migrations::compile(context, &usable);
    refusals.extend(refused);
    migrations::settle_reads(&migrating, &mut conf.clusters);
    for of in &listeners {
        match listener(context, of, &usable) {
            Ok((mut listener, bind)) => {
                (listener.cluster, listener.routes) = migrations::serve(&migrating, &listener.cluster, routes.remove(&of.entry.name));
                listener.key_stats = key_stats(context, &of.entry.name);
                listener.mirror = mirrors.iter().find(|(entry, _)| names(&entry.value.listeners, &of.entry.name)).map(|(_, mirror)| mirror.clone());
                conf.listeners.push(Arc::new(listener));
                binds.push(bind);
            }
            Err(invalid) => refusals.push(of.entry.refuse(invalid)),
        }
    }
    conf.migrations = migrating;
    Compiled { conf: Arc::new(conf), binds, refusals }
}

fn cluster(context: &Context<'_>, entry: &Entry<RedisCluster>) -> Result<ClusterConf, Invalid> {
    let value = &entry.value;
    let endpoints = context
        .endpoints(&value.cluster)
        .ok_or_else(|| Invalid::new("cluster", format!("there is no ClusterLoadAssignment {}; add it or mend the name", value.cluster)))?;
    let single = value.mode() != redis_cluster::Mode::Cluster;
    let mut seeds: Vec<&Endpoint> = endpoints.iter().filter(|endpoint| !single || endpoint.role == Role::Primary).collect();
    if seeds.is_empty() {
        return Err(Invalid::new("cluster", format!("{} has no node; name at least one", value.cluster)));
    }
    seeds.sort_by_key(|endpoint| !endpoint.healthy);
    let credentials = context.credentials(value.credentials.as_ref())?.filter(|(user, password)| !user.is_empty() || !password.expose().is_empty());
    let given = |ms: u32, default| if ms == 0 { default } else { u64::from(ms) * MILLIS };
    Ok(ClusterConf {
        name: entry.name.as_str().into(),
        single,
        credentials: credentials.map(|(user, password)| Credentials { user, password: password.expose().to_vec() }),
        tls: tls(context, value, seeds[0])?,
        reads: reads(context, value)?,
        sentinel: sentinel(context, value)?,
        seeds: seeds.iter().map(|endpoint| (endpoint.host.clone(), endpoint.port)).collect(),
        retry_deadline: given(value.retry_deadline_ms, DEFAULT_RETRY_DEADLINE),
        connect_timeout: given(value.connect_timeout_ms, DEFAULT_CONNECT_TIMEOUT),
        refuse_cross_slot: value.cross_slot() == redis_cluster::CrossSlot::Refuse,
        cross_slot_bytes: match value.cross_slot_bytes {
            0 => limits::DEFAULT_CROSS_SLOT_BYTES,
            bytes => bytes as usize,
        },
        near: value.near_cache.as_ref().map(near_cache).transpose()?,
        transactions_by_slot: value.transactions() == redis_cluster::Transactions::BySlot,
        health: health(value),
        administrable: value.admin() == redis_cluster::Admin::Everywhere,
    })
}

fn health(value: &RedisCluster) -> HealthConf {
    let default = HealthConf::default();
    let Some(health) = &value.health else { return default };
    let time = |ms: u32, default| if ms == 0 { default } else { u64::from(ms) * MILLIS };
    HealthConf {
        answer_within: time(health.answer_within_ms, default.answer_within),
        errors: health.errors,
        slower_than: health.slower_than,
        ejection: time(health.ejection_ms, default.ejection),
        max_ejection: time(health.max_ejection_ms, default.max_ejection),
        max_ejected: health.max_ejected_percent.min(100),
        fail_masters: health.masters() == redis_cluster::health::Masters::Fail,
    }
}

fn near_cache(value: &NearCache) -> Result<NearConf, Invalid> {
    let prefixes: Vec<Box<[u8]>> = value.prefixes.iter().map(|prefix| prefix.as_bytes().into()).collect();
    let overlaps = |prefix: &str| value.prefixes.iter().filter(|other| other.starts_with(prefix)).count() > 1;
    if let Some(prefix) = value.prefixes.iter().find(|prefix| overlaps(prefix)) {
        return Err(Invalid::new("near_cache.prefixes", format!("another prefix begins with {prefix:?}; keep the shorter one only")));
    }
    let given = |bytes: u64, default| if bytes == 0 { default } else { usize::try_from(bytes).unwrap_or(usize::MAX) };
    let near = NearConf {
        prefixes,
        tracking: match value.tracking() {
            TrackingValue::Auto => Tracking::Auto,
            TrackingValue::Broadcast => Tracking::Broadcast,
            TrackingValue::Optin => Tracking::OptIn,
        },
        max_bytes: given(value.max_bytes, DEFAULT_NEAR_BYTES),
        max_entry_bytes: given(value.max_entry_bytes, DEFAULT_NEAR_ENTRY_BYTES),
        max_age: if value.max_age_ms == 0 { DEFAULT_NEAR_AGE } else { u64::from(value.max_age_ms) * MILLIS },
    };
    Ok(near)
}

fn sentinel(context: &Context<'_>, value: &RedisCluster) -> Result<Option<Sentinel>, Invalid> {
    if value.mode() != redis_cluster::Mode::Sentinel {
        return Ok(None);
    }
    if value.master.is_empty() {
        return Err(Invalid::new("master", "is missing; say under which name the sentinels know the master"));
    }
    let credentials = context.credentials(value.sentinel_credentials.as_ref())?;
    let credentials = credentials.filter(|(user, password)| !user.is_empty() || !password.expose().is_empty());
    let credentials = credentials.map(|(user, password)| Credentials { user, password: password.expose().to_vec() });
    Ok(Some(Sentinel { master: value.master.as_str().into(), credentials }))
}

fn reads(context: &Context<'_>, value: &RedisCluster) -> Result<Option<Reads>, Invalid> {
    let Some(reads) = &value.reads else { return Ok(None) };
    let from = match reads.from() {
        redis_cluster::reads::From::Primary => return Ok(None),
        redis_cluster::reads::From::Replicas => From::Replicas,
        redis_cluster::reads::From::Nearest => From::Nearest,
    };
    let zone = |(place, zone): (&String, &String)| {
        let (host, port) = place.rsplit_once(':')?;
        Some(Zone { host: host.trim_matches(['[', ']']).into(), port: port.parse().ok()?, name: zone.as_str().into() })
    };
    let zones: Option<Vec<_>> = reads.zones.iter().map(zone).collect();
    Ok(Some(Reads {
        from,
        max_lag: if reads.max_lag_ms == 0 { DEFAULT_MAX_LAG } else { u64::from(reads.max_lag_ms) * MILLIS },
        on_request: reads.clients() == redis_cluster::reads::Clients::Readonly,
        zone: if reads.zone.is_empty() { context.zone().into() } else { reads.zone.as_str().into() },
        zones: zones.ok_or_else(|| Invalid::new("reads.zones", "a key is not HOST:PORT"))?,
    }))
}

fn tls(context: &Context<'_>, value: &RedisCluster, first: &Endpoint) -> Result<Option<TlsConf>, Invalid> {
    let Some(client) = context.tls_client(value.tls.as_ref(), &first.host)? else { return Ok(None) };
    let given = value.tls.as_ref().map(|tls| tls.server_name.as_str()).filter(|name| !name.is_empty());
    let secrets = value.tls.iter().flat_map(|tls| [&tls.ca_secret, &tls.certificate_secret]);
    let versions: Vec<&str> = secrets.filter_map(|name| context.set.secrets.get(name)).map(|secret| secret.version.as_str()).collect();
    Ok(Some(TlsConf { config: client.config, server_name: given.map(Arc::from), identity: format!("{:?} {versions:?}", value.tls) }))
}

fn listener(context: &Context<'_>, of: &ListenerOf<RedisProxy>, usable: &BTreeSet<Arc<str>>) -> Result<(ListenerConf, Bind), Invalid> {
    let filter = &of.filter;
    let Some(cluster) = usable.get(filter.backend.as_str()) else {
        let reason = if context.set.redis_clusters.contains_key(&filter.backend) {
            format!("RedisCluster {} is refused; see its own refusal", filter.backend)
        } else {
            format!("there is no RedisCluster {}; add it or mend the name", filter.backend)
        };
        return Err(Invalid::new("backend", reason));
    };
    if filter.tls.as_ref().is_some_and(|tls| tls.mode() == Mode::Optional) {
        return Err(Invalid::new("tls.mode", "Redis clients do not negotiate TLS; choose required or disabled"));
    }
    let users = context.users(&filter.users)?.into_iter().map(|(name, password)| User {
        name: name.into(),
        password: Some(Arc::<[u8]>::from(password.expose())).filter(|password| !password.is_empty()),
    });
    let name: Arc<str> = of.entry.name.as_str().into();
    let bind = Bind { listener: name.clone(), facet: 0, address: of.address.clone(), tls: context.tls_server(filter.tls.as_ref())? };
    let chain = context.chain(&name);
    Ok((ListenerConf { name, cluster: cluster.clone(), users: users.collect(), chain, routes: None, key_stats: None, mirror: None }, bind))
}

/// What is asked for of a listener's keys; of several objects the first by name.
fn key_stats(context: &Context<'_>, listener: &str) -> Option<KeyStatsConf> {
    let named = |entry: &&Entry<RedisKeyStats>| names(&entry.value.listeners, listener);
    let value = &context.set.redis_key_stats.values().find(named)?.value;
    Some(KeyStatsConf {
        top: value.top.clamp(1, limits::MAX_TOP) as usize,
        sample: value.sample.max(1),
        big_bytes: usize::try_from(value.big_bytes.max(1)).unwrap_or(usize::MAX - 1),
        window: value.window_ms.clamp(1_000, 3_600_000) * MILLIS,
    })
}

fn names(listeners: &[String], listener: &str) -> bool {
    listeners.iter().any(|name| name == "*" || name == listener)
}

fn mirror(value: &RedisMirror, usable: &BTreeSet<Arc<str>>, packs: Option<&String>) -> Result<MirrorConf, Invalid> {
    if let Some(listener) = packs {
        let reason = format!("routes of Listener {listener} compress values, and replies could not be compared; leave it out");
        return Err(Invalid::new("listeners", reason));
    }
    let Some(cluster) = usable.get(value.backend.as_str()) else {
        return Err(Invalid::new("backend", format!("there is no RedisCluster {} that is in force; add it or mend the name", value.backend)));
    };
    if !(0.0..=100.0).contains(&value.percent) {
        return Err(Invalid::new("percent", format!("{} is not between 0 and 100", value.percent)));
    }
    let has = |class: policy::Class| value.classes.contains(&(class as i32));
    Ok(MirrorConf {
        cluster: cluster.clone(),
        share: (value.percent / 100.0 * (1u64 << 32) as f64) as u64,
        classes: [has(policy::Class::Read) || value.classes.is_empty(), has(policy::Class::Write)],
        prefixes: value.prefixes.iter().map(|prefix| prefix.as_bytes().to_vec()).collect(),
    })
}
