//! What this worker knows for each SHOW.

use super::command::{Order, Topic};
use super::table::{Row, Value};
use crate::backend::Backend;
use crate::client::{Client, Phase as ClientPhase};
use crate::conf::{Database, Listener};
use crate::machine::Postgres;
use crate::pool_conf::PoolConf;
use crate::server::{Phase, Server};
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::{Io, Key, MICROS, Nanos, SECONDS};

/// The pool of all users who have none of their own.
const EVERYBODY: &str = "*";

impl Postgres {
    /// The rows of this worker.
    pub(super) fn report(&self, io: &dyn Io, topic: Topic, own: Option<&Client>) -> Vec<Row> {
        match topic {
            Topic::Pools => self.pools(io.now()),
            Topic::Clients => self.client_rows(io, own),
            Topic::Servers => self.servers.iter().filter_map(|(_, server)| self.server_row(io, server)).collect(),
            Topic::Stats => self.stats(io.now()),
            Topic::Databases => self.database_rows(),
            Topic::Lists => self.lists(own),
            Topic::Config => self.config_rows(),
            Topic::Version => vec![vec![concat!("Midstream ", env!("CARGO_PKG_VERSION")).into()]],
            Topic::Help => Topic::ALL.iter().map(|(_, name, what)| vec![format!("SHOW {name}").into(), (*what).into()]).chain(orders()).collect(),
        }
    }

    fn pools(&self, now: Nanos) -> Vec<Row> {
        let mut counts: Vec<[usize; 8]> = vec![[0; 8]; self.backends.len()];
        for (_, client) in self.clients.iter().filter(|(_, client)| is_served(client)) {
            let home = client.backends.get(usize::from(client.listener.database.rules.home())).copied();
            let linked = client.server.and_then(|server| self.servers.get(server)).map(|server| server.backend);
            let (index, column) = client.waits.map_or((linked.or(home), 0), |waits| (Some(waits), 1));
            index.and_then(|index| counts.get_mut(index)).into_iter().for_each(|count| count[column] += 1);
        }
        for (_, server) in self.servers.iter() {
            let Some(count) = counts.get_mut(server.backend) else { continue };
            count[column_of(server)] += 1;
        }
        let row = |(backend, count): (&Backend, &[usize; 8])| {
            let mut row: Row = pool_name(backend).to_vec();
            row.extend(count.iter().map(|number| Value::from(*number)));
            let wait = backend.pool.longest_wait(now);
            row.extend([(wait / SECONDS).into(), (wait % SECONDS / MICROS).into(), backend.database.pool_of(&backend.user).mode.as_str().into()]);
            row
        };
        self.backends.iter().zip(&counts).filter(|(backend, _)| !backend.is_retired).map(row).collect()
    }

    fn client_rows(&self, io: &dyn Io, own: Option<&Client>) -> Vec<Row> {
        let waits: HashMap<Key, Nanos> = self.backends.iter().flat_map(|backend| backend.pool.waiting()).collect();
        let now = io.now();
        let row = |client: &Client| self.client_row(io, client, waits.get(&client.key).map(|since| now.saturating_sub(*since)));
        self.everybody(own).map(row).collect()
    }

    fn everybody<'a>(&'a self, own: Option<&'a Client>) -> impl Iterator<Item = &'a Client> {
        self.clients.iter().map(|(_, client)| &**client).chain(own)
    }

    fn client_row(&self, io: &dyn Io, client: &Client, waits: Option<Nanos>) -> Row {
        let peer = io.peer(client.key);
        let state = match client.phase {
            ClientPhase::Ready | ClientPhase::Welcome if waits.is_some() => "waiting",
            ClientPhase::Relaying(_) => "active",
            ClientPhase::Ready if client.server.is_some() || !client.legs.is_empty() => "active",
            ClientPhase::Ready | ClientPhase::Admin => "idle",
            _ => "login",
        };
        let wait = waits.unwrap_or(0);
        vec![
            "C".into(),
            Value::from(&*client.user),
            if matches!(client.phase, ClientPhase::Admin) { client.listener.admin_database.as_str() } else { &*client.listener.database.name }.into(),
            Value::from(&*client.listener.name),
            state.into(),
            peer.map(|peer| peer.remote.ip().to_string()).into(),
            peer.map(|peer| usize::from(peer.remote.port())).into(),
            peer.map(|peer| peer.local.ip().to_string()).into(),
            peer.map(|peer| usize::from(peer.local.port())).into(),
            (io.now().saturating_sub(client.since) / SECONDS).into(),
            (wait / SECONDS).into(),
            (wait % SECONDS / MICROS).into(),
            self.id(client.key).into(),
            client.server.map_or(String::new(), |server| self.id(server)).into(),
            (self.cancel_pid(client.key) as usize).into(),
            tls(peer.is_some_and(|peer| peer.tls)).into(),
            client.settings.get("application_name").unwrap_or("").into(),
            client.statements.len().into(),
            client.pinned.unwrap_or("").into(),
        ]
    }

    fn server_row(&self, io: &dyn Io, server: &Server) -> Option<Row> {
        let backend = self.backends.get(server.backend)?;
        let peer = io.peer(server.key);
        let [database, user, shard] = pool_name(backend);
        let state = ["active", "active_cancel", "being_canceled", "idle", "tested", "login"].get(column_of(server).checked_sub(2)?)?;
        let is_up = matches!(server.phase, Phase::Ready);
        Some(vec![
            "S".into(),
            user,
            database,
            shard,
            (*state).into(),
            peer.map(|peer| peer.remote.ip().to_string()).into(),
            peer.map(|peer| usize::from(peer.remote.port())).into(),
            peer.map(|peer| peer.local.ip().to_string()).into(),
            peer.map(|peer| usize::from(peer.local.port())).into(),
            is_up.then(|| io.now().saturating_sub(server.term.born) / SECONDS).into(),
            self.id(server.key).into(),
            server.owner.map_or(String::new(), |client| self.id(client)).into(),
            (server.pid as usize).into(),
            tls(server.is_tls()).into(),
            server.statements.len().into(),
        ])
    }

    pub(super) fn databases(&self) -> BTreeMap<Arc<str>, Arc<Database>> {
        self.conf.listeners.values().map(|listener| (listener.database.name.clone(), listener.database.clone())).collect()
    }

    fn database_rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for database in self.databases().into_values() {
            for (index, shard) in database.shards.iter().enumerate() {
                let is_of = |backend: &&Backend| backend.database.name == database.name && usize::from(backend.shard) == index;
                let connections: usize = self.backends.iter().filter(is_of).map(|backend| backend.pool.len()).sum();
                let target = shard.targets.first().map(|endpoint| &endpoint.target);
                rows.push(vec![
                    Value::from(&*database.name),
                    Value::from(&*shard.name),
                    target.map(|target| &*target.host).into(),
                    target.map(|target| usize::from(target.port)).into(),
                    shard.database.as_str().into(),
                    database.credentials.as_ref().map(|credentials| credentials.user.as_str()).into(),
                    database.pool.size.into(),
                    database.pool.min.into(),
                    database.pool.reserve.into(),
                    (database.pool.lifetime / SECONDS).into(),
                    database.pool.mode.as_str().into(),
                    database.max_servers.into(),
                    connections.into(),
                    database.pool.max_clients.into(),
                    self.seats.taken(&database).into(),
                    usize::from(self.paused.contains(&database.name)).into(),
                ]);
            }
        }
        rows
    }

    fn lists(&self, own: Option<&Client>) -> Vec<Row> {
        let clients = |is: fn(&Client) -> bool| self.everybody(own).filter(|client| is(client)).count();
        let servers = |is: fn(&Server) -> bool| self.servers.iter().filter(|(_, server)| is(server)).count();
        // What all workers have is counted on one.
        let once = |number: usize| if self.worker.index == 0 { number } else { 0 };
        let is_up = |client: &Client| is_served(client) || matches!(client.phase, ClientPhase::Admin);
        [
            ("databases", once(self.databases().len())),
            ("listeners", once(self.conf.listeners.len())),
            ("workers", 1),
            ("pools", self.backends.iter().filter(|backend| !backend.is_retired).count()),
            ("free_clients", clients(|client| matches!(client.phase, ClientPhase::Ready) && client.server.is_none() && client.waits.is_none())),
            ("used_clients", clients(is_up)),
            ("login_clients", clients(|client| !is_served(client) && !matches!(client.phase, ClientPhase::Admin))),
            ("free_servers", servers(|server| server.is_idle)),
            ("used_servers", servers(|server| !server.is_idle && matches!(server.phase, Phase::Ready))),
            ("login_servers", servers(|server| !matches!(server.phase, Phase::Ready | Phase::Cancel { .. }))),
        ]
        .into_iter()
        .map(|(list, items)| vec![list.into(), items.into()])
        .collect()
    }

    fn config_rows(&self) -> Vec<Row> {
        let default = PoolConf::new(None).map(|pool| settings(&pool)).unwrap_or_default();
        let mut rows = Vec::new();
        for (name, database) in self.databases() {
            let own = database.users.iter().map(|(user, pool)| (format!("databases.{name}.users.{user}.pool"), pool));
            for (path, pool) in [(format!("databases.{name}.pool"), &database.pool)].into_iter().chain(own) {
                let row = |((key, value), (_, default)): ((&str, String), &(&str, String))| setting(&format!("{path}.{key}"), value, default);
                rows.extend(settings(pool).into_iter().zip(&default).map(row));
            }
        }
        rows.extend(self.conf.listeners.values().flat_map(|listener| listener_settings(listener)));
        rows
    }

    /// What tells a connection from all others of the process.
    fn id(&self, key: Key) -> String {
        format!("{}-{}-{}", self.worker.index, key.slot, key.generation)
    }
}

fn is_served(client: &Client) -> bool {
    matches!(client.phase, ClientPhase::Ready | ClientPhase::Welcome | ClientPhase::Relaying(_))
}

/// Which column of SHOW POOLS counts it, from `cl_active` on.
fn column_of(server: &Server) -> usize {
    match server.phase {
        Phase::Cancel { .. } => 3,
        Phase::Ready if server.cancels > 0 => 4,
        Phase::Ready if server.is_idle => 5,
        Phase::Ready if server.owner.is_some() => 2,
        Phase::Relaying => 2,
        Phase::Ready => 6, // cleaned, or asked whether it is alive
        _ => 7,
    }
}

fn pool_name(backend: &Backend) -> [Value; 3] {
    let user = if backend.user.is_empty() { EVERYBODY } else { &*backend.user };
    [Value::from(&*backend.database.name), user.into(), backend.shard().map(|shard| &*shard.name).into()]
}

fn tls(is_tls: bool) -> &'static str {
    if is_tls { "TLS" } else { "" }
}

fn orders() -> impl Iterator<Item = Row> {
    Order::ALL.into_iter().map(|(_, name, what)| vec![format!("{name} [database]").into(), what.into()])
}

/// The fields of a pool as objects name them.
fn settings(pool: &PoolConf) -> Vec<(&'static str, String)> {
    let ms = |time: Nanos| format!("{}ms", time / MICROS / 1000);
    vec![
        ("mode", pool.mode.as_str().into()),
        ("size", pool.size.to_string()),
        ("minimum", pool.min.to_string()),
        ("reserve", pool.reserve.to_string()),
        ("reserveTimeout", ms(pool.reserve_after)),
        ("waitTimeout", ms(pool.wait)),
        ("idleTimeout", ms(pool.idle)),
        ("maxLifetime", ms(pool.lifetime)),
        ("connectTimeout", ms(pool.connect)),
        ("maxClients", pool.max_clients.to_string()),
    ]
}

fn listener_settings(listener: &Listener) -> [Row; 3] {
    let path = |key: &str| format!("listeners.{}.{key}", listener.name);
    [
        setting(&path("backend"), listener.database.name.to_string(), ""),
        setting(&path("databases"), listener.databases.join(", "), ""),
        setting(&path("admins"), listener.admins.join(", "), ""),
    ]
}

/// Nothing can be changed here: objects are.
fn setting(key: &str, value: String, default: &str) -> Row {
    vec![key.into(), value.into(), default.into(), "no".into()]
}
