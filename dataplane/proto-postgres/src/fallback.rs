//! The fallback executor: where no merge is proven, the database itself is the executor.
//!
//! ```text
//! every shard but home:  BEGIN READ ONLY; COPY fragment TO STDOUT; ...; COMMIT      (one snapshot each)
//!                           | CopyData, one fragment after the other
//! home:  BEGIN; CREATE TEMPORARY TABLE ... AS its own part; COPY ... FROM STDIN; ...  -> the client's statement -> ROLLBACK
//! ```
//! The statement runs once, on one server, over all rows that can matter: its answer is that of one database whatever it says. Its connection
//! comes back by ROLLBACK, or is closed, so that no temporary table is ever left. A shard that is ahead is not read, nor is any while the
//! gathering connection takes no more: what passes is never held here.

use crate::client::Client;
use crate::error::Error;
use crate::leg::Leg;
use crate::machine::Postgres;
use crate::memory::parameter;
use crate::message::{self, frame};
use crate::owed::broken;
use crate::scatter::Scatter;
use crate::server::{Expect, Server};
use sql::{Scripts, ShardId};
use std::borrow::Cow;
use wire::{Fault, Io, Key};

/// The gathering half of a statement.
pub struct Fallback {
    /// The connection that gathers, and answers then.
    to: Key,
    from: Vec<Source>,
    /// Fragments that are there, of so many.
    complete: usize,
    count: usize,
    /// It reads CopyData of the next one.
    is_open: bool,
    /// The statement is sent: what comes from `to` is its answer.
    is_over: bool,
    /// What may still come.
    budget: u64,
    statement: Vec<u8>,
}

struct Source {
    key: Key,
    /// Fragments that it has sent.
    sent: usize,
    /// It is ahead, and not read.
    is_waiting: bool,
}

/// The shards of a statement; home is one of them where rows are gathered there.
pub fn shards<'a>(client: &Client, shards: &'a [ShardId], gathers: bool) -> Cow<'a, [ShardId]> {
    let home = client.listener.database.rules.home();
    if !gathers || shards.contains(&home) {
        return Cow::Borrowed(shards);
    }
    let mut all = [shards, &[home]].concat();
    all.sort_unstable();
    Cow::Owned(all)
}

/// Whether what this connection says is of the gathering.
pub fn gathers(client: &Client, server: &Server) -> bool {
    let fallback = client.scatter.as_deref().and_then(|scatter| scatter.fallback.as_deref());
    fallback.is_some_and(|fallback| fallback.to != server.key || !fallback.is_over)
}

/// The statement has failed: who reads CopyData does not listen to a cancel request, but to this.
pub fn stop(io: &mut dyn Io, client: &mut Client) {
    let Some(fallback) = client.scatter.as_deref_mut().and_then(|scatter| scatter.fallback.as_deref_mut()) else { return };
    if std::mem::take(&mut fallback.is_open) {
        copy_fail(io.out(fallback.to));
    }
}

fn copy_fail(out: &mut Vec<u8>) {
    frame(out, b'f', |out| out.extend_from_slice(b"midstream: the statement has failed on another shard\0"));
}

impl Postgres {
    /// Sends the scripts: home's to the connection that gathers, the other to all others.
    pub(crate) fn start_fallback(&mut self, io: &mut dyn Io, client: &Client, scatter: &mut Scatter, scripts: &Scripts, statement: &[u8]) {
        let home = client.listener.database.rules.home();
        let is_home = |key: &Key| {
            let backend = self.servers.get(*key).and_then(|server| self.backends.get(server.backend));
            backend.is_some_and(|backend| backend.shard == home)
        };
        let Some(to) = client.legs.iter().copied().find(is_home) else { return };
        let mut from = Vec::new();
        let [mut gather, mut give] = [Vec::new(), Vec::new()];
        message::query(&mut gather, &scripts.gather);
        message::query(&mut give, &scripts.give);
        self.send(io, to, &gather, Expect::Query);
        for key in client.legs.iter().copied().filter(|key| *key != to) {
            self.send(io, key, &give, Expect::Query);
            io.link(key, to);
            from.push(Source { key, sent: 0, is_waiting: false });
        }
        scatter.legs = vec![to];
        let (complete, count, statement) = (0, scripts.count, statement.to_vec());
        let budget = client.listener.database.rules.gather_bytes();
        scatter.fallback = Some(Box::new(Fallback { to, from, complete, count, is_open: false, is_over: false, budget, statement }));
    }

    /// A message of a connection that gathers or gives.
    pub(crate) fn gathered(&mut self, io: &mut dyn Io, server: &mut Server, client: &mut Client, tag: u8, body: &[u8]) -> Result<Leg, Fault> {
        let Some(scatter) = client.scatter.as_deref_mut() else { return Ok(Leg::On) };
        let is_failed = scatter.is_failed;
        let Some(fallback) = scatter.fallback.as_deref_mut() else { return Ok(Leg::On) };
        match tag {
            b'Z' => {
                server.status = body.first().copied().unwrap_or(b'I');
                server.expect.pop_front();
                if fallback.to != server.key || is_failed {
                    return Ok(Leg::Ready);
                }
                fallback.is_over = true;
                io.out(server.key).append(&mut fallback.statement);
                server.expect.push_back(Expect::Query);
            }
            b'G' if is_failed => copy_fail(io.out(server.key)),
            b'G' => {
                fallback.is_open = true;
                fallback.advance(io);
            }
            b'd' if is_failed => {}
            b'd' => return Ok(self.pass_on(io, server, client, body)),
            b'c' => {
                fallback.from.iter_mut().filter(|source| source.key == server.key).for_each(|source| source.sent += 1);
                if !is_failed {
                    fallback.advance(io);
                }
            }
            b'E' if !is_failed => {
                // Whoever says so reads no CopyData any more.
                fallback.is_open &= fallback.to != server.key;
                self.fail_scatter(io, server, client, &Error::of_server(body));
            }
            b'S' => parameter(server, body),
            // Notices are of our own statements, as are the command tags.
            b'H' | b'C' | b'E' | b'N' | b'A' => {}
            other => return Err(broken(other, "it does not belong to a COPY")),
        }
        Ok(Leg::On)
    }

    /// A row: to the connection that gathers, when that is at this fragment.
    fn pass_on(&mut self, io: &mut dyn Io, server: &Server, client: &mut Client, body: &[u8]) -> Leg {
        let Some(fallback) = client.scatter.as_deref_mut().and_then(|scatter| scatter.fallback.as_deref_mut()) else { return Leg::On };
        let Some(source) = fallback.from.iter_mut().find(|source| source.key == server.key) else { return Leg::On };
        if !fallback.is_open || source.sent != fallback.complete {
            source.is_waiting = true;
            io.pause(server.key, true);
            return Leg::Wait;
        }
        let Some(left) = fallback.budget.checked_sub(body.len() as u64) else {
            self.fail_scatter(io, server, client, &over_budget(client));
            return Leg::On;
        };
        fallback.budget = left;
        frame(io.out(fallback.to), b'd', |out| out.extend_from_slice(body));
        Leg::On
    }
}

fn over_budget(client: &Client) -> Error {
    let database = &client.listener.database;
    Error::statement("54000", format!("this statement needs more than {} bytes of other shards' rows at home", database.rules.gather_bytes()))
        .detail(format!(
            "Rule: what cannot be merged is gathered on the home shard of Database {}, up to gatherBytes of its Sharding.",
            database.name
        ))
        .hint("Restrict the sharded tables by their keys or by comparisons with literals, or ask for less in one statement.")
}

impl Fallback {
    /// Completes the fragment that all have sent, or has those read that are at it.
    fn advance(&mut self, io: &mut dyn Io) {
        if self.is_open && self.from.iter().all(|source| source.sent > self.complete) {
            frame(io.out(self.to), b'c', |_| {});
            self.complete += 1;
            self.is_open = false;
        }
        if !self.is_open || self.complete >= self.count {
            return;
        }
        for source in self.from.iter_mut().filter(|source| source.is_waiting && source.sent == self.complete) {
            source.is_waiting = false;
            io.pause(source.key, false);
        }
    }
}
