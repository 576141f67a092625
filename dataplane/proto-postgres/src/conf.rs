//! What a configuration means to this protocol: compiled once, shared by all workers, immutable.

use crate::auth::{Credentials, Entropy, Method, User};
use crate::pool_conf::PoolConf;
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
    /// What salts are made of, the same on all workers, so that a user who does not exist has one salt, as one who does.
    pub salts: Arc<Entropy>,
    /// Who is let in; not looked at when `method` is trust or certificate.
    pub users: HashMap<String, User>,
    /// The database names that clients may ask for; empty: any.
    pub databases: Vec<String>,
    /// Who may see the admin database; empty: there is none.
    pub admins: Vec<String>,
    /// What that is called.
    pub admin_database: String,
    /// For clients that ask for TLS.
    pub tls: Option<TlsServer>,
    /// What SCRAM binds a login over TLS to: the hash of our certificate, see `auth::end_point`.
    pub end_point: Option<Arc<[u8]>>,
    /// Clients must ask for it.
    pub is_tls_required: bool,
    /// What it leads to.
    pub database: Arc<Database>,
    /// Its filters.
    pub chain: Option<Arc<dyn Chain>>,
}

impl Listener {
    /// Whether a client that asks for a database of that name wants to see the admin database.
    pub fn is_admin_database(&self, name: &str) -> bool {
        !self.admins.is_empty() && name == self.admin_database
    }

    /// Whether statements have to be looked up in the flow table: filters want to know their tables, or tables lie on shards.
    pub fn is_planned(&self) -> bool {
        self.chain.is_some() || self.database.rules.is_sharded()
    }
}

/// A back end.
pub struct Database {
    /// Of the resource.
    pub name: Arc<str>,
    /// Sizes and times of each shard's pool, and when a connection goes back to it.
    pub pool: PoolConf,
    /// The same for users who have pools of their own.
    pub users: BTreeMap<String, PoolConf>,
    /// Server connections at most, per process and shard, over all its pools; 0: what the pools have.
    pub max_servers: usize,
    /// For the servers; without them each client's own name is used, and pools are per user.
    pub credentials: Option<Credentials>,
    /// Reads may go to replicas.
    pub reads: Option<Reads>,
    /// Positions are told to clients, and taken from them.
    pub has_tokens: bool,
    /// Some shard has more than one server.
    pub has_standbys: bool,
    /// In the order of the resource: a `ShardId` is an index.
    pub shards: Vec<Shard>,
    /// How tables lie on them.
    pub rules: Rules,
    /// Of the rules, for the planner.
    pub rules_version: String,
}

impl Database {
    /// How a user's connections are pooled.
    pub fn pool_of(&self, user: &str) -> &PoolConf {
        self.users.get(user).unwrap_or(&self.pool)
    }

    /// Whose pools a user's connections come from: its own, where it has settings of its own or its name is what the servers know it by;
    /// else those of everybody, who is called "".
    pub fn owner<'a>(&self, user: &'a str) -> &'a str {
        if self.credentials.is_some() && !self.users.contains_key(user) { "" } else { user }
    }
}

/// `midstream.sql.v1.Reads` with its defaults filled in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reads {
    /// A replica that is not proven to be nearer is not read.
    pub max_lag: Nanos,
    /// How long a read waits for a replica to replay what its session wrote.
    pub wait: Nanos,
}

/// One shard.
pub struct Shard {
    /// Of the resource.
    pub name: Arc<str>,
    /// The server's own name of the database.
    pub database: String,
    /// All its servers. The one that is said to be the primary stands first; which one is, it says itself when we log in.
    pub targets: Vec<Endpoint>,
}

/// A server.
#[derive(Clone)]
pub struct Endpoint {
    /// Where; its `tls` is set only where TLS begins with the first byte.
    pub target: Target,
    /// What to negotiate on a plain connection.
    pub tls: Option<TlsClient>,
    /// False when the prober found it dead.
    pub is_healthy: bool,
}

impl Endpoint {
    /// Host and port.
    pub fn address(&self) -> String {
        format!("{}:{}", self.target.host, self.target.port)
    }

    /// What tells it from the others: connections to it stay when the configuration changes.
    pub fn place(&self) -> Place {
        let security = [self.tls.is_some(), self.target.tls.is_some()];
        Place { host: self.target.host.clone(), port: self.target.port, security }
    }
}

/// A server's address and the way there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    host: Arc<str>,
    port: u16,
    /// TLS is negotiated, begins with the first byte.
    security: [bool; 2],
}
