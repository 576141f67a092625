//! What a configuration means to this protocol: compiled once, shared by all workers, immutable.

use crate::auth::{Credentials, Method, User};
use sql::Rules;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use wire::{Chain, Nanos, Target, TlsClient, TlsServer};

/// All listeners and databases in force.
#[derive(Default)]
pub struct Conf {
    /// By name.
    pub listeners: BTreeMap<Arc<str>, Arc<Listener>>,
}

/// Where clients connect.
pub struct Listener {
    /// Of the resource.
    pub name: Arc<str>,
    /// How clients prove who they are.
    pub method: Method,
    /// Who is let in; not looked at when `method` is trust or certificate.
    pub users: HashMap<String, User>,
    /// The database names that clients may ask for; empty: any.
    pub databases: Vec<String>,
    /// For clients that ask for TLS.
    pub tls: Option<TlsServer>,
    /// Clients must ask for it.
    pub is_tls_required: bool,
    /// What it leads to.
    pub database: Arc<Database>,
    /// Its filters.
    pub chain: Option<Arc<dyn Chain>>,
}

impl Listener {
    /// Whether statements have to be looked up in the flow table: filters want to know their tables, or tables lie on shards.
    pub fn is_planned(&self) -> bool {
        self.chain.is_some() || self.database.rules.is_sharded()
    }
}

/// When a server connection goes back to its pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// When the transaction ends.
    Transaction,
    /// When the client ends.
    Session,
}

/// A back end.
pub struct Database {
    /// Of the resource.
    pub name: Arc<str>,
    /// See [`Mode`].
    pub mode: Mode,
    /// Sizes and times of each shard's pool.
    pub pool: PoolConf,
    /// For the servers; without them each client's own name is used, and pools are per user.
    pub credentials: Option<Credentials>,
    /// In the order of the resource: a `ShardId` is an index.
    pub shards: Vec<Shard>,
    /// How tables lie on them.
    pub rules: Rules,
    /// Of the rules, for the planner.
    pub rules_version: String,
}

/// `midstream.sql.v1.Pool` with its defaults filled in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolConf {
    /// Per process and shard.
    pub size: usize,
    /// See `wire::pool::Limits`.
    pub wait: Nanos,
    /// See `wire::pool::Limits`.
    pub idle: Nanos,
    /// A connection is closed when it is free and older; 0: never.
    pub lifetime: Nanos,
    /// For connecting and logging in.
    pub connect: Nanos,
}

/// One shard.
pub struct Shard {
    /// Of the resource.
    pub name: Arc<str>,
    /// The server's own name of the database.
    pub database: String,
    /// Its primaries, the healthy ones first.
    pub targets: Vec<Endpoint>,
}

/// A server.
#[derive(Clone)]
pub struct Endpoint {
    /// Where; its `tls` is unset, since PostgreSQL negotiates TLS on a plain connection.
    pub target: Target,
    /// What to negotiate.
    pub tls: Option<TlsClient>,
}

impl Endpoint {
    /// The same place: connections to it stay when the configuration changes.
    pub fn is_same_place(&self, other: &Endpoint) -> bool {
        self.target.host == other.target.host && self.target.port == other.target.port && self.tls.is_some() == other.tls.is_some()
    }
}
