//! A client's session.
//!
//! ```text
//! Startup --SSLRequest--> Securing --> Startup --StartupMessage--> Auth --> Welcome --> Ready
//!    `-- CancelRequest: forwarded, closed                            |-- FATAL   `-- waits for a server's parameters
//!                                                                    `--> Admin, see `admin`
//! ```

use crate::admin::Admin;
use crate::auth::Check;
use crate::cancel::Secret;
use crate::code;
use crate::conf::Listener;
use crate::doubt::Doubts;
use crate::error::Error;
use crate::extended::Held;
use crate::meter::ListenerMeter;
use crate::pool_conf::Mode;
use crate::position::Written;
use crate::route::Wanted;
use crate::scatter::{Portal, Scatter};
use crate::seats::Seat;
use crate::session::Session;
use crate::settings::Settings;
use crate::stale::Telling;
use crate::statement::Handle;
use hashbrown::HashMap;
use sql::effect::Transaction;
use sql::flow::Context;
use sql::{Flow, ShardId};
use std::rc::Rc;
use std::sync::Arc;
use wire::{Class, Key, Nanos};
use xxhash_rust::xxh3::xxh3_64;

/// How far a client is.
pub enum Phase {
    /// Its first packet is to come.
    Startup,
    /// TLS is being set up.
    Securing {
        /// From the first byte on, without an SSLRequest.
        is_direct: bool,
    },
    /// It proves who it is.
    Auth(Box<Check>),
    /// It is who it says; the server's parameters are needed to greet it.
    Welcome,
    /// Statements flow.
    Ready,
    /// It is an admin, and asks of the sidecar itself.
    Admin,
    /// It has that server connection to itself, see [`crate::replication`].
    Relaying(Key),
}

/// A transaction that the client has begun and no server knows of yet: which shard it is on is decided by its first statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begun {
    /// None: the server's status is the truth.
    No,
    /// BEGIN was answered; its text is in `Client::begin`.
    Open,
    /// A statement failed before a shard was chosen.
    Failed,
}

/// A portal of BEGIN, COMMIT or ROLLBACK that is executed here.
pub struct LocalPortal {
    /// The client's name of it.
    pub name: Box<[u8]>,
    /// What it does.
    pub transaction: Transaction,
    /// Its text.
    pub sql: Box<[u8]>,
}

/// See the module.
pub struct Client {
    /// Its connection.
    pub key: Key,
    /// Where it connected.
    pub listener: Arc<Listener>,
    /// See [`Phase`].
    pub phase: Phase,
    /// Its name; empty before the startup message.
    pub user: Rc<str>,
    /// `user:NAME`, for filters.
    pub identity: Rc<str>,
    /// The database that it asked for; empty when it is let in.
    pub database: Box<str>,
    /// Its session, if it is an admin's.
    pub admin: Option<Box<Admin>>,
    /// When it connected.
    pub since: Nanos,
    /// What its startup message set.
    pub startup: Rc<Settings>,
    /// What it has set by now.
    pub settings: Rc<Settings>,
    /// What else its session has.
    pub session: Session,
    /// Functions that its statements may call without being asked about.
    pub harmless: code::Shared,
    /// Its part of a flow's key.
    pub context: Context,
    /// The pools it uses, by shard.
    pub backends: Rc<[usize]>,
    /// When its connection goes back to them.
    pub mode: Mode,
    /// What counts it; from its login on.
    pub seat: Option<Seat>,
    /// Its named statements.
    pub statements: HashMap<Box<[u8]>, Handle>,
    /// Its unnamed one.
    pub unnamed: Option<Handle>,
    /// The latest Bind was of a statement that it was told nothing of; a Describe of the portal will tell.
    pub telling: Option<Box<Telling>>,
    /// The message at the front waited until its statement was looked at once more, see [`crate::stale`].
    pub looked_at: bool,
    /// Which names of them are not settled yet.
    pub doubts: Doubts,
    /// Parse messages whose server is not known yet.
    pub parses: Vec<Held>,
    /// See [`LocalPortal`].
    pub local_portal: Option<LocalPortal>,
    /// A bound portal over several shards.
    pub portal: Option<Box<Portal>>,
    /// The connection leased to it.
    pub server: Option<Key>,
    /// The one that was leased to it last; it may be gone.
    pub last_server: Option<Key>,
    /// That one has only been asked to describe statements so far, and may still be exchanged for one of another shard; what `begun` was.
    pub virgin: Option<Begun>,
    /// It waits for the answers that its connection still owes: to exchange it, or to see what a statement has become.
    pub is_moving: bool,
    /// The shard of that.
    pub shard: ShardId,
    /// The pool in whose queue it stands; it is paused meanwhile.
    pub waits: Option<usize>,
    /// What is asked of the brain, or was answered, for the message at the front.
    pub wanted: Wanted,
    /// What the message at the front gets instead of being executed: its wait was in vain, it was cancelled.
    pub refused: Option<Error>,
    /// Messages are thrown away up to Sync.
    pub is_skipping: bool,
    /// Messages of the extended protocol went to the server since the last Sync.
    pub is_in_batch: bool,
    /// Why the server must stay with it after the transaction, told by its session's pins.
    pub pinned: Option<&'static str>,
    /// See [`Begun`].
    pub begun: Begun,
    /// The text of that BEGIN.
    pub begin: Vec<u8>,
    /// It collects connections for a statement over several shards.
    pub is_gathering: bool,
    /// Those it has.
    pub legs: Vec<Key>,
    /// A statement over several shards under way on them.
    pub scatter: Option<Box<Scatter>>,
    /// What its reads must see, where replicas are read.
    pub written: Written,
    /// The only statement of the latest request that was found to read, by its fingerprint.
    pub reading: Option<u128>,
    /// A READ ONLY transaction of its runs on a replica: the fingerprint of its first statement, see [`crate::read_only`].
    pub read_only: Option<u128>,
    /// The message at the front begins or ends a transaction that no server knows of.
    pub here: Option<Transaction>,
    /// A read waits for a replica to prove itself, until then.
    pub placing: Option<Nanos>,
    /// It has been asked once at least.
    pub is_replica_asked: bool,
    /// Its request was run again once already, see `replay`.
    pub is_repeated: bool,
    /// It sends no more: end when everything is answered.
    pub is_leaving: bool,
    /// The kind of replication connection that it asked for.
    pub replication: Option<Rc<str>>,
    /// It has not said anything yet.
    pub is_new: bool,
    /// It speaks a protocol in which cancel keys may be long.
    pub has_long_key: bool,
    /// The secret of its cancel key; the process id is made of worker and slot.
    pub secret: Secret,
    /// What the access log wants to hear of when it is answered: the flow, its fingerprint and size.
    pub tapped: Option<(Rc<Flow>, u128, usize)>,
    /// The SQLSTATE of the latest error since the last answer.
    pub failed: Option<String>,
    /// When the oldest unanswered request began; 0: none.
    pub started: Nanos,
    /// When the transaction of that began; 0: none has.
    pub began: Nanos,
    /// The class of the latest request.
    pub class: Class,
    /// Its listener's counters.
    pub meter: Rc<ListenerMeter>,
}

impl Client {
    /// A client that just connected.
    pub fn new(key: Key, listener: Arc<Listener>, meter: Rc<ListenerMeter>) -> Client {
        Client {
            key,
            listener,
            phase: Phase::Startup,
            user: "".into(),
            identity: "".into(),
            database: "".into(),
            admin: None,
            since: 0,
            startup: Rc::default(),
            settings: Rc::default(),
            session: Session::default(),
            harmless: code::Shared::default(),
            context: Context::default(),
            backends: Rc::new([]),
            mode: Mode::default(),
            seat: None,
            statements: HashMap::new(),
            unnamed: None,
            telling: None,
            looked_at: false,
            doubts: Doubts::default(),
            parses: Vec::new(),
            local_portal: None,
            portal: None,
            server: None,
            last_server: None,
            virgin: None,
            is_moving: false,
            shard: 0,
            waits: None,
            wanted: Wanted::default(),
            refused: None,
            is_skipping: false,
            is_in_batch: false,
            pinned: None,
            begun: Begun::No,
            begin: Vec::new(),
            is_gathering: false,
            legs: Vec::new(),
            scatter: None,
            written: Written::default(),
            reading: None,
            read_only: None,
            here: None,
            placing: None,
            is_replica_asked: false,
            is_repeated: false,
            is_leaving: false,
            replication: None,
            is_new: true,
            has_long_key: false,
            secret: Secret::default(),
            tapped: None,
            failed: None,
            started: 0,
            began: 0,
            class: Class::Read,
            meter,
        }
    }

    /// The statement of that name.
    pub fn statement(&self, name: &[u8]) -> Option<&Handle> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.statements.get(name) }
    }

    /// Puts a statement under a name; what was there before.
    pub fn put(&mut self, name: &[u8], handle: Option<Handle>) -> Option<Handle> {
        if name.is_empty() {
            return std::mem::replace(&mut self.unnamed, handle);
        }
        match handle {
            Some(handle) => self.statements.insert(name.into(), handle),
            None => self.statements.remove(name),
        }
    }

    /// What the meaning of a text depends on: the search_path, and in a session with state of its own (a temporary table may hide another
    /// one) everything. Statements of one scope share their copies on servers.
    pub fn scope(&self) -> u64 {
        if self.pinned.is_some() || !self.session.suspects.is_none() {
            return u64::from(self.key.slot) << 32 | u64::from(self.key.generation) | 1 << 63;
        }
        self.settings.get("search_path").map_or(0, |path| xxh3_64(path.as_bytes()) >> 1)
    }

    /// Whether its transaction, batch or session state binds it to the shard of its connection.
    pub fn is_bound(&self) -> bool {
        self.server.is_some() && self.virgin.is_none()
    }

    /// Whether its reads may go to replicas, or one is at work for it yet.
    #[inline]
    pub fn splits(&self) -> bool {
        self.listener.database.reads.is_some() || self.placing.is_some()
    }

    /// Its transaction is over, and counted.
    #[inline]
    pub fn ended_transaction(&mut self, now: Nanos) {
        if self.began > 0 {
            self.meter.transaction(now.saturating_sub(self.began));
            self.began = 0;
        }
    }

    /// What ReadyForQuery says while no server is leased.
    pub fn local_status(&self) -> u8 {
        match self.begun {
            Begun::No => b'I',
            Begun::Open => b'T',
            Begun::Failed => b'E',
        }
    }
}
