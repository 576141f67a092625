//! The simple protocol.

use crate::client::{Begun, Client};
use crate::error::Error;
use crate::extended::say_now;
use crate::front::Step;
use crate::hello::fatal;
use crate::machine::Postgres;
use crate::message;
use crate::names::deallocated;
use crate::route::Known;
use crate::server::{Expect, Undo};
use sql::effect::glance::is_plain_select;
use sql::effect::{State, Transaction};
use sql::plan::Target;
use sql::{Effect, Flow, Lexed, Lexer, Settings, ShardId, Values};
use std::rc::Rc;
use wire::{Class, Fault, Io, Nanos};

/// What a statement may do that cannot be read.
pub const UNREAD: State = State::ANY.with(State::NAMELESS).with(State::SEED);
/// The functions behind libpq's `lo_*`: they leave descriptors that end with the transaction.
const LARGE_OBJECTS: [u32; 13] = [715, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172];

/// What a query text came to.
enum Routed {
    /// To that shard, or to the connection at hand, or home.
    To(Option<ShardId>),
    /// To these shards, merged.
    Scatter(Rc<Flow>, Vec<ShardId>),
    /// The transaction's begin or end without a server: answered here.
    Local(Transaction),
}

impl Postgres {
    /// A `Query` message.
    pub(crate) fn query(&mut self, io: &mut dyn Io, client: &mut Client, frame: &[u8], body: &[u8]) -> Result<Step, Fault> {
        let Some(sql) = body.strip_suffix(b"\0") else {
            return Err(fatal(io, client, &Error::protocol("invalid string in message: a query has no end"), "Query"));
        };
        // Taken, so that its buffers can be read while everything else changes.
        let mut lexer = std::mem::take(&mut self.lexer);
        if let Some(name) = deallocated(client, &mut lexer, sql) {
            let step = self.deallocate(io, client, name);
            self.lexer = lexer;
            return Ok(step);
        }
        let routed = if let Some(transaction) = client.here.take() {
            Known::Yes(Routed::Local(transaction))
        } else if client.listener.is_planned() {
            self.route_query(io, client, &mut lexer, sql)
        } else {
            read_effects(client, &mut lexer, sql, io.now());
            Known::Yes(Routed::To(None))
        };
        let step = match routed {
            Known::Parked => Step::Parked,
            Known::Refused(error) => {
                self.refuse(io, client, b'Q', error);
                Step::Done
            }
            Known::Yes(Routed::To(shard)) => self.query_to(io, client, shard, frame),
            Known::Yes(Routed::Local(transaction)) => self.query_here(io, client, transaction, sql),
            Known::Yes(Routed::Scatter(flow, shards)) => self.scatter_query(io, client, &flow, &shards, &mut lexer, sql),
        };
        self.lexer = lexer;
        Ok(step)
    }

    /// The front of a query that is too long to be held; only where nothing has to be known of it.
    pub(crate) fn long_query(&mut self, io: &mut dyn Io, client: &mut Client, front: &[u8]) -> Step {
        client.class = Class::Write;
        client.suspect(UNREAD);
        self.query_to(io, client, None, front)
    }

    pub(crate) fn query_to(&mut self, io: &mut dyn Io, client: &mut Client, shard: Option<ShardId>, frame: &[u8]) -> Step {
        let Some(server) = self.connection(io, client, shard) else { return Step::Parked };
        if client.session.reads_sequence
            && let Err(error) = self.reads_sequence(io, client, server)
        {
            self.refuse(io, client, b'Q', error);
            return Step::Done;
        }
        let before = client.unnamed.take();
        client.virgin = None;
        client.advances();
        if let Some(server) = self.servers.get_mut(server) {
            if before.is_some() && client.is_in_batch {
                // Behind a batch without Sync, which may fail: then the server skips the query.
                client.doubts.change(b"");
                server.expect.push_back(Expect::Say(b"", Some(Box::new(Undo { name: Box::default(), before }))));
                say_now(io, server, client.key);
            }
            server.unnamed = None;
        }
        self.send(io, server, frame, Expect::Query);
        Step::Done
    }

    /// The connection at hand, or one of that shard (home, where none is given). `None`: parked.
    pub(crate) fn connection(&mut self, io: &mut dyn Io, client: &mut Client, shard: Option<ShardId>) -> Option<wire::Key> {
        self.lease(io, client, shard.unwrap_or(client.listener.database.rules.home()))
    }

    fn route_query(&mut self, io: &mut dyn Io, client: &mut Client, lexer: &mut Lexer, sql: &[u8]) -> Known<Routed> {
        let (mut at, mut nth) = (0, 0);
        let mut to: Option<ShardId> = None;
        if let Err(error) = client.is_plannable(sql) {
            return Known::Refused(error);
        }
        loop {
            let rest = sql.get(at..).unwrap_or_default();
            let lexed = match lexer.scan(rest, Settings::default()) {
                Ok(lexed) => lexed,
                Err(refusal) => return Known::Refused(refusal.into()),
            };
            at += lexed.end;
            if lexed.is_empty() {
                if at >= sql.len() {
                    return Known::Yes(Routed::To(to));
                }
                continue;
            }
            let flow = match self.flow(io, client, lexed, &[]) {
                Known::Yes(flow) => flow,
                Known::Parked => return Known::Parked,
                Known::Refused(error) => return Known::Refused(error),
            };
            match self.judge(io, client, &flow, lexed.fingerprint, nth, sql.len()) {
                Known::Yes(()) => {}
                Known::Parked => return Known::Parked,
                Known::Refused(error) => return Known::Refused(error),
            }
            let is_only = nth == 0 && sql.get(at..).unwrap_or_default().iter().all(u8::is_ascii_whitespace);
            match place(client, &flow, lexed, rest, is_only, to, io.now()) {
                Ok(Routed::To(shard)) => to = shard.or(to),
                Ok(other) => return Known::Yes(other),
                Err(error) => return Known::Refused(error),
            }
            nth += 1;
        }
    }

    /// BEGIN, COMMIT or ROLLBACK of a transaction that no server knows of.
    fn query_here(&mut self, io: &mut dyn Io, client: &mut Client, transaction: Transaction, sql: &[u8]) -> Step {
        let tag = local(client, transaction, sql);
        let out = io.out(client.key);
        message::complete(out, tag);
        message::ready(out, client.local_status());
        self.answered_request(io, client);
        Step::Done
    }

    /// A `FunctionCall`: like a simple query, of a function that only its OID names.
    pub(crate) fn function_call(&mut self, io: &mut dyn Io, client: &mut Client, frame: &[u8]) -> Step {
        if client.listener.is_planned() {
            let error = Error::statement("0A000", "FunctionCall messages cannot be checked against filters or sharding rules")
                .hint("Call the function by SELECT.");
            self.refuse(io, client, b'F', error);
            return Step::Done;
        }
        let Some(server) = self.connection(io, client, None) else { return Step::Parked };
        client.virgin = None;
        let oid = frame.get(message::HEADER..message::HEADER + 4).map_or(0, |oid| oid.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)));
        if !LARGE_OBJECTS.contains(&oid) {
            // Nothing tells what it does: advisory locks are functions as well.
            client.suspect(UNREAD);
        }
        self.send(io, server, frame, Expect::Query);
        Step::Done
    }
}

/// Whether a transaction's begin is held back: only where its first statement chooses a shard.
fn is_lazy(client: &Client) -> bool {
    client.listener.database.rules.is_sharded() && client.listener.database.shards.len() > 1 && client.server.is_none()
}

/// Where a statement can be answered without a server: the transaction that it begins or ends is known to none.
pub fn is_local(client: &Client, effect: &Effect) -> Option<Transaction> {
    match effect.transaction? {
        Transaction::Begin if is_lazy(client) && client.begun == Begun::No => Some(Transaction::Begin),
        end @ (Transaction::Commit | Transaction::Rollback) if client.begun != Begun::No => Some(end),
        _ => None,
    }
}

/// Does what a local statement does; the command tag.
pub fn local(client: &mut Client, transaction: Transaction, sql: &[u8]) -> &'static [u8] {
    match transaction {
        Transaction::Begin => {
            client.begun = Begun::Open;
            client.begin.clear();
            client.begin.extend_from_slice(sql);
            b"BEGIN"
        }
        end => {
            let was = std::mem::replace(&mut client.begun, Begun::No);
            if end == Transaction::Commit && was == Begun::Open { b"COMMIT" } else { b"ROLLBACK" }
        }
    }
}

/// The error of everything but ROLLBACK in a failed transaction.
pub fn in_failed_transaction(client: &Client) -> Result<(), Error> {
    if client.begun == Begun::Failed {
        return Err(Error::statement("25P02", "current transaction is aborted, commands ignored until end of transaction block"));
    }
    Ok(())
}

/// One statement of a query: its place, which has to be that of those before it.
fn place(
    client: &mut Client,
    flow: &Rc<Flow>,
    lexed: &Lexed,
    sql: &[u8],
    is_only: bool,
    so_far: Option<ShardId>,
    now: Nanos,
) -> Result<Routed, Error> {
    if let Some(transaction) = is_local(client, &flow.effect).filter(|_| is_only) {
        return Ok(Routed::Local(transaction));
    }
    in_failed_transaction(client)?;
    absorb(client, &flow.effect, lexed, now);
    let values = Values { sql, lexed, parameters: &[], utf8: is_utf8(client) };
    match Postgres::target(client, flow, &values)? {
        Target::Any => Ok(Routed::To(None)),
        Target::One(shard) => at_hand(client, shard, so_far).map(|()| Routed::To(Some(shard))),
        Target::Many(_) if !is_only => {
            Err(Error::statement("0A000", "a statement over several shards cannot be one of several statements in a query")
                .hint("Send each statement in a query of its own."))
        }
        Target::Many(_) if client.is_bound() || client.begun != Begun::No => Err(scatter_in_transaction(client)),
        Target::Many(_) if !flow.effect.touches.without(State::CALLS).is_none() => Err(scatter_of_state()),
        Target::Many(shards) => Ok(Routed::Scatter(flow.clone(), shards)),
    }
}

/// A statement over several shards where the session is on one.
pub fn scatter_in_transaction(client: &Client) -> Error {
    let why = client.pinned.map_or("a transaction".into(), |state| format!("session state ({state})"));
    Error::statement("0A000", format!("this statement needs several shards, and {why} holds the session on one"))
        .detail(format!("Rule: a transaction of Database {} stays on one shard.", client.listener.database.name))
        .hint("Run it outside of the transaction.")
}

/// A statement over several shards that reads or changes session state, of which each shard's connection would have its own.
pub fn scatter_of_state() -> Error {
    Error::statement("0A000", "a statement over several shards cannot use session state (set_config, advisory locks, currval, temporary objects)")
        .hint("Call the function in a statement of its own.")
}

/// A statement's shard against the one that the session is on already.
pub fn at_hand(client: &Client, shard: ShardId, so_far: Option<ShardId>) -> Result<(), Error> {
    let Some(here) = client.is_bound().then_some(client.shard).or(so_far).filter(|here| *here != shard) else { return Ok(()) };
    let name = |shard: ShardId| client.listener.database.shards.get(usize::from(shard)).map_or("?", |shard| &shard.name).to_string();
    let why = client.pinned.map_or("its transaction or batch".into(), |state| format!("session state ({state})"));
    Err(Error::statement("0A000", format!("this statement belongs to shard {}, and {why} is on shard {}", name(shard), name(here)))
        .detail(format!("Rule: a transaction of Database {} stays on one shard.", client.listener.database.name))
        .hint("Use one transaction per shard."))
}

/// What a statement does to the session, for the session.
pub fn absorb(client: &mut Client, effect: &Effect, lexed: &Lexed, now: Nanos) {
    client.class = effect.class;
    if !effect.touches.is_none() {
        client.touch(effect, lexed, now);
    }
}

/// Whether the text of keys can be taken as UTF-8.
pub fn is_utf8(client: &Client) -> bool {
    client.settings.get("client_encoding").is_none_or(|encoding| matches!(encoding.to_ascii_lowercase().as_str(), "utf8" | "utf-8" | "unicode"))
}

/// Without filters and shards: only what the statements do to the session.
fn read_effects(client: &mut Client, lexer: &mut Lexer, sql: &[u8], now: Nanos) {
    let mut at = 0;
    client.class = Class::Read;
    if is_plain_select(sql) {
        return;
    }
    while at < sql.len() {
        let rest = sql.get(at..).unwrap_or_default();
        let Some(lexed) = client.lex(lexer, rest) else {
            // The server will judge it; what it may do to the session cannot be told.
            client.suspect(UNREAD);
            return;
        };
        at += lexed.end.max(1);
        if !lexed.is_empty() {
            absorb(client, &Effect::of(lexed), lexed, now);
        }
    }
}
