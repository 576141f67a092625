//! The compiled configuration of the family.

use crate::discovery::Discovery;
use crate::health::HealthConf;
use crate::key_stats::KeyStatsConf;
use crate::limits;
use crate::migration::MigrationConf;
use crate::mirror::MirrorConf;
use crate::near::Tracking;
use crate::routes::Routes;
use std::fmt;
use std::sync::Arc;
use wire::{Chain, Nanos, SECONDS};

/// All Redis listeners and the back ends they name.
#[derive(Default, Debug)]
pub struct Conf {
    /// By name, each once.
    pub listeners: Vec<Arc<ListenerConf>>,
    /// By name, each once.
    pub clusters: Vec<Arc<ClusterConf>>,
    /// By name, each once.
    pub migrations: Vec<Arc<MigrationConf>>,
}

/// One Listener.
pub struct ListenerConf {
    /// Its name.
    pub name: Arc<str>,
    /// The back end's name.
    pub cluster: Arc<str>,
    /// Who may log in; empty: nobody has to.
    pub users: Vec<User>,
    /// Its filters, if it has any.
    pub chain: Option<Arc<dyn Chain>>,
    /// Where keys go that do not go to `cluster`, or that go there under another name; `None`: there are none.
    pub routes: Option<Arc<Routes>>,
    /// Where a share of its commands goes, too.
    pub mirror: Option<MirrorConf>,
    /// Whether its hot and big keys are listed, and how.
    pub key_stats: Option<KeyStatsConf>,
}

impl fmt::Debug for ListenerConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerConf")
            .field("name", &self.name)
            .field("cluster", &self.cluster)
            .field("users", &self.users.len())
            .finish_non_exhaustive()
    }
}

/// A user of a listener.
#[derive(Clone)]
pub struct User {
    /// As in AUTH; `default` also answers AUTH without a name.
    pub name: Arc<str>,
    /// Any password where `None`.
    pub password: Option<Arc<[u8]>>,
}

/// What we log in with.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Empty: the default user.
    pub user: String,
    /// The password.
    pub password: Vec<u8>,
}

/// TLS to the nodes.
#[derive(Clone, Debug)]
pub struct TlsConf {
    /// Roots and certificates.
    pub config: Arc<rustls::ClientConfig>,
    /// The name to verify; `None`: each node's own host.
    pub server_name: Option<Arc<str>>,
    /// Says of two configurations whether they are the same: what they were made from.
    pub identity: String,
}

/// One back end.
#[derive(Clone)]
pub struct ClusterConf {
    /// Its name.
    pub name: Arc<str>,
    /// One server instead of a cluster: no slots, no splitting.
    pub single: bool,
    /// The sentinels of a master: the seeds are those then.
    pub sentinel: Option<Sentinel>,
    /// Where the topology is first asked for.
    pub seeds: Vec<(Arc<str>, u16)>,
    /// How to log in.
    pub credentials: Option<Credentials>,
    /// TLS, if any.
    pub tls: Option<TlsConf>,
    /// Reads on replicas; `None`: masters read.
    pub reads: Option<Reads>,
    /// Redirects and retries of one command end here.
    pub retry_deadline: Nanos,
    /// A node that does not answer a dial within this is taken for down.
    pub connect_timeout: Nanos,
    /// Whether commands with keys in several slots are refused, as the nodes refuse them.
    pub refuse_cross_slot: bool,
    /// What one command over several slots may read from nodes at a time, in bytes.
    pub cross_slot_bytes: usize,
    /// Replies kept near the clients; `None`: none.
    pub near: Option<NearConf>,
    /// When nodes are outliers, and what follows.
    pub health: HealthConf,
    /// Whether clients may change the settings and users of all nodes.
    pub administrable: bool,
    /// Whether a transaction with keys in several slots runs as one for each.
    pub transactions_by_slot: bool,
}

/// What is kept near the clients, and how much of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NearConf {
    /// Of which keys; none: of all. None begins with another.
    pub prefixes: Vec<Box<[u8]>>,
    /// Of which keys the nodes tell that they changed.
    pub tracking: Tracking,
    /// Of all workers together.
    pub max_bytes: usize,
    /// Of one reply.
    pub max_entry_bytes: usize,
    /// The longest that a reply is served without being asked for again.
    pub max_age: Nanos,
}

/// Sentinels, and what they look after.
#[derive(Clone, PartialEq, Eq)]
pub struct Sentinel {
    /// As they know the master.
    pub master: Arc<str>,
    /// How to log in to them.
    pub credentials: Option<Credentials>,
}

/// Who reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    /// Replicas, while one is fit.
    Replicas,
    /// Masters and replicas in turn, those of the sidecar's own zone before others.
    Nearest,
}

/// Where a node stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Zone {
    /// Its host.
    pub host: Arc<str>,
    /// Its port.
    pub port: u16,
    /// The zone.
    pub name: Arc<str>,
}

/// Reads on replicas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reads {
    /// Who reads.
    pub from: From,
    /// No answer is older.
    pub max_lag: Nanos,
    /// Only for clients that say READONLY.
    pub on_request: bool,
    /// Where this sidecar stands; empty: nowhere in particular.
    pub zone: Arc<str>,
    /// Where nodes stand that do not say so themselves.
    pub zones: Vec<Zone>,
}

impl Reads {
    /// The configured zone of a node.
    pub fn zone_of(&self, host: &str, port: u16) -> Option<&str> {
        self.zones.iter().find(|zone| &*zone.host == host && zone.port == port).map(|zone| &*zone.name)
    }
}

/// Longer than a failover of a cluster with the usual node timeout of 5 s (detection, election, announcement: about 7 s).
pub const DEFAULT_RETRY_DEADLINE: Nanos = 10 * SECONDS;

/// Replicas that keep up are milliseconds behind; one that is behind for longer does not keep up.
pub const DEFAULT_MAX_LAG: Nanos = 5 * SECONDS;

/// Nodes are near; a longer silence is a dead one.
pub const DEFAULT_CONNECT_TIMEOUT: Nanos = SECONDS;

/// Half of what a sidecar that carries Redis only may take, 64 MiB.
pub const DEFAULT_NEAR_BYTES: usize = 32 * 1024 * 1024;

/// Longer replies gain little: their bytes cost more than the way to the node.
pub const DEFAULT_NEAR_ENTRY_BYTES: usize = 64 * 1024;

/// Changes are told by the nodes; this bounds what a fault that nobody thought of may cost.
pub const DEFAULT_NEAR_AGE: Nanos = 60 * SECONDS;

impl ClusterConf {
    /// A cluster with the defaults.
    pub fn new(name: &str, seeds: &[(&str, u16)]) -> ClusterConf {
        ClusterConf {
            name: name.into(),
            single: false,
            sentinel: None,
            seeds: seeds.iter().map(|(host, port)| (Arc::from(*host), *port)).collect(),
            credentials: None,
            tls: None,
            reads: None,
            retry_deadline: DEFAULT_RETRY_DEADLINE,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            refuse_cross_slot: false,
            cross_slot_bytes: limits::DEFAULT_CROSS_SLOT_BYTES,
            near: None,
            health: HealthConf::default(),
            administrable: false,
            transactions_by_slot: false,
        }
    }

    /// How its nodes are found.
    pub fn discovery(&self) -> Discovery {
        match &self.sentinel {
            Some(sentinel) => Discovery::Sentinel(Arc::clone(&sentinel.master)),
            None if !self.single => Discovery::Slots,
            None if self.seeds.len() > 1 => Discovery::Roles,
            None => Discovery::Fixed,
        }
    }

    /// Whether connections made under `other` serve this one, too.
    pub fn same_connections(&self, other: &ClusterConf) -> bool {
        let tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(a), Some(b)) => a.identity == b.identity,
            _ => false,
        };
        let nodes = self.sentinel == other.sentinel && self.single == other.single;
        tls && nodes && self.credentials == other.credentials && self.near == other.near
    }
}

impl fmt::Debug for ClusterConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterConf").field("name", &self.name).field("single", &self.single).field("seeds", &self.seeds).finish_non_exhaustive()
    }
}
