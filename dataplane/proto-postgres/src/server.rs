//! A server connection: what it is, whose it is, and which answers it still owes.
//!
//! ```text
//! Dialling --up--> AskedTls --S--> Securing --> Login --ReadyForQuery--> Ready: idle <-> leased -> reset -> idle
//!             `-------- without TLS ---------^     `--> Asked (is it the primary?) --^   ^
//!                                                         `--> Watching (a standby) -----' promoted
//! ```

use crate::auth::Login;
use crate::conf::Endpoint;
use crate::error::Error;
use crate::message::parameter_status;
use crate::pids::Owner;
use crate::position::Position;
use crate::replay::Kept;
use crate::replication::Relay;
use crate::sequence::Sequences;
use crate::session::{Asked, Found};
use crate::settings::Settings;
use crate::stale::Telling;
use crate::statement::{Handle, OnServer, Prepared};
use sql::effect::State;
use std::collections::VecDeque;
use std::rc::Rc;
use wire::pool::Term;
use wire::{Key, Nanos};

/// How far a connection is.
pub enum Phase {
    /// Not up yet.
    Dialling,
    /// SSLRequest is sent.
    AskedTls,
    /// TLS is being set up.
    Securing,
    /// The startup message is sent.
    Login(Login),
    /// It has been asked whether it is a standby.
    Asked,
    /// It is a standby: kept to see its promotion, see `failover`.
    Watching,
    /// It can be leased, or is.
    Ready,
    /// Nobody looks at what it carries, see [`crate::replication`].
    Relaying,
    /// It carries a CancelRequest for that connection, and nothing else.
    Cancel {
        /// The connection whose statement is to be cancelled; it is not given on before this one is closed.
        of: Key,
        /// Its true process id.
        pid: u32,
        /// Its true secret.
        secret: u32,
    },
}

/// What undoes a change of the client's statement names when the message that made it turns out to be skipped.
pub struct Undo {
    /// The client's name.
    pub name: Box<[u8]>,
    /// What was there before.
    pub before: Option<Handle>,
}

/// One of our own simple queries, whose answer the client does not see.
pub enum Quiet {
    /// The client's settings.
    Settings(Rc<Settings>),
    /// A Sync that ends a batch in which nothing was executed.
    Sync,
    /// ROLLBACK of what a client left open.
    Rollback,
    /// DISCARD ALL.
    Discard,
    /// What a client that went has left, part by part.
    Clean,
    /// DISCARD SEQUENCES.
    Sequences,
    /// What of the session is suspect.
    Ask(Box<Asked>),
    /// The client's own BEGIN, answered already.
    Begin,
    /// A statement that fails for certain, see `refuse`.
    Fail,
    /// Where its log is; asked at that time.
    Position(Nanos),
}

/// What is owed next: by the server, or by us in its place, in the order of the client's messages.
pub enum Expect {
    /// A simple query or a function call: everything up to ReadyForQuery is the client's.
    Query,
    /// The same; its error is replaced by ours.
    RefusedQuery(Box<Error>),
    /// A query of ours that completes a RESET of the client's: it hears ParameterStatus and ReadyForQuery.
    Restore,
    /// Everything up to ReadyForQuery is ours.
    Quiet(Quiet),
    /// ParseComplete; `undo`: the client hears it.
    Parse {
        /// What was sent under its content name; `None`: the unnamed statement.
        named: Option<Rc<Prepared>>,
        /// See above.
        undo: Option<Box<Undo>>,
    },
    /// BindComplete.
    Bind,
    /// ParameterDescription, RowDescription or NoData; what the client learns by it.
    Describe(Option<Box<Telling>>),
    /// The same of a copy, unheard by the client, see [`crate::stale`].
    Look(Rc<Prepared>),
    /// Rows up to CommandComplete, EmptyQueryResponse or PortalSuspended; or a COPY.
    Execute,
    /// CloseComplete of a portal.
    Close,
    /// CloseComplete of a statement that is parsed again, or had to make room (`true`).
    CloseQuiet(bool),
    /// An error, which is replaced by ours.
    Refused(Box<Error>),
    /// ReadyForQuery.
    Sync,
    /// Nothing from the server: these bytes are the answer.
    Say(&'static [u8], Option<Box<Undo>>),
}

impl Expect {
    /// Whether the client sees none of it.
    pub fn is_quiet(&self) -> bool {
        matches!(self, Expect::Quiet(_) | Expect::Restore | Expect::CloseQuiet(_) | Expect::Look(_) | Expect::Parse { undo: None, .. })
    }
}

/// Name and value of a ParameterStatus.
pub type Parameter = (Box<[u8]>, Box<[u8]>);

/// See the module.
pub struct Server {
    /// Its connection.
    pub key: Key,
    /// Its pool.
    pub backend: usize,
    /// The turn at which it was dialled, see `failover::Seek`.
    pub turn: usize,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Its pool is a replica's.
    pub is_replica: bool,
    /// What a replica has replayed, at least.
    pub replayed: Option<Position>,
    /// The answer to [`Quiet::Position`].
    pub position: Option<Position>,
    /// See [`Phase`].
    pub phase: Phase,
    /// TLS began with the first byte.
    pub is_direct: bool,
    /// It is no pooled connection.
    pub relay: Option<Box<Relay>>,
    /// The client that it is leased to.
    pub owner: Option<Key>,
    /// In the pool, for anybody.
    pub is_idle: bool,
    /// What is owed.
    pub expect: VecDeque<Expect>,
    /// Statements under their content names.
    pub statements: OnServer,
    /// What its unnamed statement is.
    pub unnamed: Option<u128>,
    /// What was set on it; `None`: unknown.
    pub settings: Option<Rc<Settings>>,
    /// What ParameterStatus told.
    pub parameters: Vec<Parameter>,
    /// For CancelRequest.
    pub pid: u32,
    /// For CancelRequest.
    pub secret: u32,
    /// Whose it is, as a process id for other clients.
    pub owner_pid: Owner,
    /// Of the last ReadyForQuery.
    pub status: u8,
    /// It reads CopyData; it ignores Sync meanwhile.
    pub is_copy_in: bool,
    /// The error of one of our own queries.
    pub quiet_error: Option<Vec<u8>>,
    /// A client left state in its session: DISCARD ALL before anybody else has it.
    pub is_dirty: bool,
    /// What of it a client left, where that is known.
    pub left: State,
    /// Rows of an answer to our question.
    pub found: Vec<Found>,
    /// Whose currval() it may know.
    pub sequences: Sequences,
    /// Not to be given on: it ended itself, the pool is gone.
    pub is_doomed: bool,
    /// Bytes stand behind the answer that was the last one owed. They belong to nobody: it is not given on with them.
    pub has_unread: bool,
    /// It said that its server shuts down or restarts.
    pub is_stopping: bool,
    /// How often it was asked whether it was promoted, and whether it has still to answer.
    pub watched: u32,
    /// See above.
    pub is_asked: bool,
    /// What it answered last.
    pub is_standby: bool,
    /// The client's request as it was sent, for another connection should this one be lost.
    pub kept: Kept,
    /// We closed it; it is not put back.
    pub is_closed: bool,
    /// An admin wants another in its place: closed when it is free.
    pub is_outdated: bool,
    /// It was idle for long and is asked whether it is alive.
    pub is_checking: bool,
    /// What its times are reckoned from.
    pub term: Term,
    /// CancelRequests under way for it.
    pub cancels: u32,
}

impl Server {
    /// A connection that is being dialled.
    pub fn new(key: Key, backend: usize, turn: usize, endpoint: Endpoint, phase: Phase) -> Server {
        Server {
            key,
            backend,
            turn,
            endpoint,
            is_replica: false,
            replayed: None,
            position: None,
            phase,
            is_direct: false,
            relay: None,
            owner: None,
            is_idle: false,
            expect: VecDeque::new(),
            statements: OnServer::default(),
            unnamed: None,
            settings: Some(Rc::default()),
            parameters: Vec::new(),
            pid: 0,
            secret: 0,
            owner_pid: Owner::default(),
            status: b'I',
            is_copy_in: false,
            quiet_error: None,
            is_dirty: false,
            left: State::NONE,
            found: Vec::new(),
            sequences: Sequences::default(),
            is_doomed: false,
            has_unread: false,
            is_stopping: false,
            watched: 0,
            is_asked: false,
            is_standby: false,
            kept: Kept::default(),
            is_closed: false,
            is_outdated: false,
            is_checking: false,
            term: Term::default(),
            cancels: 0,
        }
    }

    /// Whether the client sees what comes next. Rows are the bulk of what comes, so this is asked once per message and not more.
    pub fn is_heard(&self) -> bool {
        self.owner.is_some() && !self.expect.front().is_some_and(Expect::is_quiet)
    }

    /// Whether a row is the client's: one that nobody asked for is not.
    pub fn is_row_heard(&self) -> bool {
        self.owner.is_some() && self.expect.front().is_some_and(|expect| !expect.is_quiet())
    }

    /// One of our own queries was sent. Like any simple query it costs the server its unnamed statement.
    pub fn push_quiet(&mut self, quiet: Quiet) {
        self.unnamed = None;
        self.expect.push_back(Expect::Quiet(quiet));
    }

    /// Whether a ReadyForQuery comes without another word of the client: not where it reads CopyData, nor for a batch without Sync.
    pub fn will_be_ready(&self) -> bool {
        let ends = |expect: &Expect| matches!(expect, Expect::Query | Expect::RefusedQuery(_) | Expect::Quiet(_) | Expect::Sync);
        !self.is_copy_in && self.expect.iter().any(ends)
    }

    /// Whether it is encrypted, or is about to be: it is not used otherwise.
    pub fn is_tls(&self) -> bool {
        self.is_direct || self.endpoint.tls.is_some()
    }

    /// What it says of itself, as a client is greeted with it.
    pub fn greeting(&self) -> Vec<u8> {
        let mut greeting = Vec::new();
        for (name, value) in &self.parameters {
            parameter_status(&mut greeting, name, value);
        }
        greeting
    }

    /// The value of a parameter that it reports.
    pub fn reported(&self, name: &[u8]) -> Option<&[u8]> {
        self.parameters.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }

    /// Remembers a ParameterStatus.
    pub fn parameter(&mut self, name: &[u8], value: &[u8]) {
        let is_full = self.parameters.len() >= MAX_PARAMETERS;
        match self.parameters.iter_mut().find(|(known, _)| **known == *name) {
            Some((_, old)) => *old = value.into(),
            None if !is_full => self.parameters.push((name.into(), value.into())),
            None => {}
        }
    }
}

/// PostgreSQL 18 reports 16 parameters; extensions may add some.
const MAX_PARAMETERS: usize = 64;
