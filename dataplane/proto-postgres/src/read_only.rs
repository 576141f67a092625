//! READ ONLY transactions on replicas.
//!
//! ```text
//! BEGIN READ ONLY --answered here--> Begun::Open --a statement proven to read--> a replica that has what the session must see: BEGIN, and it
//!                                        |                                          `-- cannot run it, and nothing was heard: the primary does
//!                                        `--any other statement--> the primary: BEGIN, and it
//! ```
//! Behind its first answer a transaction stays where it is: neither its snapshot nor its now() can move. So on a replica it is given proven
//! reads and the words of transactions only. Anything else is refused with 40001, which says that the transaction can be run again; its
//! first statement is remembered, and transactions that begin with it run on the primary.

use crate::client::{Begun, Client};
use crate::error::Error;
use crate::machine::Postgres;
use crate::message::{BindNames, HEADER, query};
use crate::names::deallocated;
use crate::server::{Quiet, Server};
use crate::split::{MAX_LEARNED, is_free, wait_for_answers};
use sql::effect::Transaction;
use sql::reads::only_reads;
use sql::{Effect, Lexed, Lexer};
use wire::Io;

impl Postgres {
    /// Whether the message at the front is a BEGIN that no server needs to know of yet, or ends such a transaction: what it is then stands in
    /// `Client::here`.
    pub(crate) fn is_answered_here(&mut self, client: &mut Client, tag: u8, bytes: &[u8]) -> bool {
        client.here = None;
        let body = bytes.get(1..5).and_then(|length| bytes.get(HEADER..1 + length.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte))));
        let sql = body.filter(|_| tag == b'Q' && !client.listener.is_planned()).and_then(|body| body.strip_suffix(b"\0"));
        let Some(sql) = sql.filter(|sql| client.begun != Begun::No || may_begin(sql)) else { return false };
        let mut lexer = std::mem::take(&mut self.lexer);
        client.here = client.lex(&mut lexer, sql).filter(|lexed| lexed.end >= sql.trim_ascii_end().len()).and_then(|lexed| here(client, lexed));
        self.lexer = lexer;
        client.here.is_some()
    }

    /// The first statement of the transaction needs the primary, as one that began with it has shown.
    pub(crate) fn needs_primary(&self, client: &Client) -> bool {
        client.begun == Begun::Open && self.mixed.contains(&first(client))
    }

    /// A READ ONLY transaction begins on the replica at hand.
    pub(crate) fn begin_on_replica(&self, io: &mut dyn Io, client: &mut Client, server: &mut Server) {
        if client.begun == Begun::Open {
            client.begun = Begun::No;
            client.read_only = Some(first(client));
            query(io.out(server.key), &client.begin);
            server.push_quiet(Quiet::Begin);
        }
    }

    /// Before a message of a READ ONLY transaction that runs on a replica. False: it waits for what is still to be answered, since the
    /// primary may have to answer it.
    pub(crate) fn is_on_replica(&mut self, io: &mut dyn Io, client: &mut Client, tag: u8, bytes: &[u8]) -> bool {
        if !client.is_in_batch {
            if client.server.and_then(|key| self.servers.get(key)).is_some_and(|server| !server.expect.is_empty()) {
                return wait_for_answers(io, client);
            }
            client.reading = None;
        }
        let mut lexer = std::mem::take(&mut self.lexer);
        let is_fit = self.is_fit(client, &mut lexer, tag, bytes);
        self.lexer = lexer;
        if !is_fit {
            self.needs_primary_next_time(client);
            client.refused = Some(refusal());
        }
        true
    }

    /// What a transaction needed a replica does not have: the next one that begins as this one did runs on the primary.
    pub(crate) fn needs_primary_next_time(&mut self, client: &Client) {
        let Some(first) = client.read_only else { return };
        if self.mixed.len() >= MAX_LEARNED {
            self.mixed.clear();
        }
        self.mixed.insert(first);
    }

    fn is_fit(&self, client: &Client, lexer: &mut Lexer, tag: u8, bytes: &[u8]) -> bool {
        let is_fit = |lexed: &Lexed| only_reads(lexed) && !self.impure.contains(&lexed.fingerprint) || is_of_transactions(lexed);
        let body = bytes.get(HEADER..).unwrap_or_default();
        match tag {
            b'Q' => {
                let Some(sql) = body.iter().position(|byte| *byte == 0).and_then(|end| body.get(..end)) else { return false };
                client.all_statements(sql, lexer, is_fit) || deallocated(client, lexer, sql).is_some()
            }
            // Where there is no such statement, the client is told.
            b'B' => BindNames::read(body)
                .and_then(|names| client.statement(names.statement))
                .is_none_or(|handle| handle.prepared.lexed.as_ref().is_some_and(is_fit)),
            b'F' => false,
            _ => true,
        }
    }
}

/// A transaction of several statements at once has no first one.
fn first(client: &Client) -> u128 {
    client.reading.unwrap_or_default()
}

/// Whether it is worth a closer look: asked for every query.
fn may_begin(sql: &[u8]) -> bool {
    match sql {
        [b's' | b'S', b't' | b'T', ..] | [b'b' | b'B', ..] => true,
        [first, ..] => first.is_ascii_whitespace() || matches!(first, b'/' | b'-'),
        [] => false,
    }
}

fn here(client: &Client, lexed: &Lexed) -> Option<Transaction> {
    if client.begun == Begun::No {
        let is_serializable = client.settings.get("default_transaction_isolation") == Some("serializable");
        let begin = sql::begin::read_only(lexed).filter(|begin| begin.has_level || !is_serializable);
        return begin.filter(|_| is_free(client)).map(|_| Transaction::Begin);
    }
    let is_end = |transaction: &Transaction| matches!(transaction, Transaction::Commit | Transaction::Rollback);
    Effect::of(lexed).transaction.filter(is_end).filter(|_| !lexed.words().any(|word| word == b"chain"))
}

/// Savepoints, and the end.
fn is_of_transactions(lexed: &Lexed) -> bool {
    use Transaction::{Commit, Release, Rollback, RollbackTo, Savepoint};
    let transaction = Effect::of(lexed).transaction;
    transaction.is_some_and(|one| matches!(one, Commit | Rollback | Savepoint | Release | RollbackTo)) && !lexed.words().any(|word| word == b"chain")
}

fn refusal() -> Error {
    Error::statement("40001", "this READ ONLY transaction runs on a replica, which may not run this statement as the primary does")
        .detail("Its first statement is remembered: transactions that begin with it run on the primary from now on.")
        .hint("Run the transaction again. To have it on the primary from the beginning, begin it without READ ONLY.")
}
