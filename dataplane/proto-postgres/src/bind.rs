//! `Bind`: where a prepared statement's execution goes, and its way there.

use crate::client::{Begun, Client, LocalPortal};
use crate::error::Error;
use crate::extended::{PARSE_COMPLETE, no_statement};
use crate::front::Step;
use crate::hello::fatal;
use crate::machine::Postgres;
use crate::message::{self, BindNames};
use crate::parameters::parameters;
use crate::query::{UNREAD, absorb, at_hand, in_failed_transaction, is_local, is_utf8, scatter_in_transaction, scatter_of_state};
use crate::route::Known;
use crate::server::{Expect, Quiet};
use crate::stale::Telling;
use crate::statement::{Handle, Prepared};
use sql::effect::{State, Transaction};
use sql::plan::Target;
use sql::{Flow, ShardId, Values, Verb};
use std::rc::Rc;
use wire::{Fault, Io, Key, Nanos};

const BIND_COMPLETE: &[u8] = b"2\0\0\0\x04";
/// `ms_` and 32 digits.
const SERVER_NAME: i64 = 35;

/// Where a Bind goes.
enum Bound {
    To(Option<ShardId>),
    Scatter(Rc<Flow>, Vec<ShardId>),
    Local(Transaction),
}

impl Postgres {
    /// A `Bind` message, or its front when the rest is streamed.
    pub(crate) fn bind(&mut self, io: &mut dyn Io, client: &mut Client, whole: &[u8], body: &[u8]) -> Result<Step, Fault> {
        let Some(names) = BindNames::read(body) else { return Err(fatal(io, client, &Error::protocol("malformed Bind message"), "Bind")) };
        if self.is_doubtful(io, client, names.statement) {
            return Ok(Step::Parked);
        }
        let Some(handle) = client.statement(names.statement).cloned() else {
            self.refuse(io, client, b'B', no_statement(names.statement));
            return Ok(Step::Done);
        };
        let prepared = &handle.prepared;
        let routed = self.route_bind(io, client, prepared, body.get(names.rest..).unwrap_or_default());
        match routed {
            Known::Parked => return Ok(Step::Parked),
            Known::Refused(error) => self.refuse(io, client, b'B', error),
            Known::Yes(Bound::Local(transaction)) => self.bind_here(io, client, transaction, prepared, names.portal),
            Known::Yes(Bound::Scatter(..)) if !self.move_away(io, client) => return Ok(Step::Parked),
            Known::Yes(Bound::To(Some(shard))) if client.shard != shard && !self.move_away(io, client) => return Ok(Step::Parked),
            Known::Yes(Bound::Scatter(flow, shards)) => return Ok(self.scatter_bind(io, client, &flow, &shards, prepared, body)),
            Known::Yes(Bound::To(shard)) => {
                let Some(server) = self.connection(io, client, shard) else { return Ok(Step::Parked) };
                if client.session.reads_sequence
                    && let Err(error) = self.reads_sequence(io, client, server)
                {
                    self.refuse(io, client, b'B', error);
                    return Ok(Step::Done);
                }
                self.release_parses(io, client, server);
                if let Err(step) = self.provide(io, client, server, b'B', &handle, !names.statement.is_empty()) {
                    return Ok(step);
                }
                if prepared.effect.as_ref().is_some_and(|effect| effect.verb == Verb::Execute) {
                    self.provide_executed(io, client, server, prepared);
                }
                self.bind_on(io, client, server, handle, whole, names);
            }
        }
        Ok(Step::Done)
    }

    /// Gives a connection back that was only asked to describe: the statement belongs to another shard. False: parked until it has
    /// answered.
    fn move_away(&mut self, io: &mut dyn Io, client: &mut Client) -> bool {
        let Some(before) = client.virgin else { return true };
        let Some(mut server) = client.server.and_then(|key| self.servers.remove(key)) else { return true };
        if !server.expect.is_empty() {
            io.out(server.key).extend_from_slice(message::FLUSH);
            client.is_moving = true;
            io.pause(client.key, true);
            self.put_back(server);
            return false;
        }
        if std::mem::take(&mut client.is_in_batch) {
            io.out(server.key).extend_from_slice(message::SYNC);
            server.expect.push_back(Expect::Quiet(Quiet::Sync));
        }
        (client.server, client.virgin, client.begun) = (None, None, before);
        io.unlink(client.key);
        self.give_back(io, &mut server);
        self.put_back(server);
        true
    }

    fn bind_on(&mut self, io: &mut dyn Io, client: &mut Client, key: Key, handle: Handle, whole: &[u8], names: BindNames<'_>) {
        client.is_in_batch = true;
        client.local_portal = None;
        client.virgin = None;
        client.advances();
        let Some(server) = self.servers.get_mut(key) else { return };
        let is_named = !names.statement.is_empty();
        let out = io.out(key);
        let grown = if is_named { SERVER_NAME - names.statement.len() as i64 } else { 0 };
        let length = whole.get(1..5).map_or(0, |length| length.iter().fold(0i64, |sum, byte| sum << 8 | i64::from(*byte))) + grown;
        out.push(b'B');
        out.extend_from_slice(&(length as u32).to_be_bytes());
        message::c_string(out, names.portal);
        if is_named {
            handle.prepared.name(out);
        }
        out.push(0);
        out.extend_from_slice(whole.get(message::HEADER + names.rest..).unwrap_or_default());
        server.expect.push_back(Expect::Bind);
        let is_news = is_named && handle.told == 0;
        client.telling = is_news.then(|| Box::new(Telling { name: names.statement.into(), portal: Some(names.portal.into()), handle }));
    }

    fn route_bind(&mut self, io: &mut dyn Io, client: &mut Client, prepared: &Prepared, values: &[u8]) -> Known<Bound> {
        if !client.listener.is_planned() {
            // What cannot be lexed cannot be told from what changes the session.
            match prepared.effect.as_ref().zip(prepared.lexed.as_ref()) {
                Some((effect, lexed)) => absorb(client, effect, lexed, io.now()),
                None => client.suspect(UNREAD),
            }
            return Known::Yes(Bound::To(None));
        }
        if let Err(error) = client.is_plannable(&prepared.sql) {
            return Known::Refused(error);
        }
        let Some(lexed) = &prepared.lexed else {
            return Known::Refused(Error::statement("42601", "the statement has a quote or comment without end, or is more than one statement"));
        };
        let flow = match self.flow(io, client, lexed, &prepared.oids) {
            Known::Yes(flow) => flow,
            Known::Parked => return Known::Parked,
            Known::Refused(error) => return Known::Refused(error),
        };
        match self.judge(io, client, &flow, lexed.fingerprint, 0, prepared.sql.len() + values.len()) {
            Known::Yes(()) => {}
            Known::Parked => return Known::Parked,
            Known::Refused(error) => return Known::Refused(error),
        }
        place(client, &flow, prepared, lexed, values, io.now()).map_or_else(Known::Refused, Known::Yes)
    }

    /// BEGIN, COMMIT or ROLLBACK without a server: the answers to the messages that are held, and to this one.
    fn bind_here(&mut self, io: &mut dyn Io, client: &mut Client, transaction: Transaction, prepared: &Prepared, portal: &[u8]) {
        let out = io.out(client.key);
        for _ in client.parses.drain(..) {
            out.extend_from_slice(PARSE_COMPLETE);
        }
        out.extend_from_slice(BIND_COMPLETE);
        client.local_portal = Some(LocalPortal { name: portal.into(), transaction, sql: prepared.sql.clone() });
    }
}

fn place(client: &mut Client, flow: &Rc<Flow>, prepared: &Prepared, lexed: &sql::Lexed, values: &[u8], now: Nanos) -> Result<Bound, Error> {
    if let Some(transaction) = is_local(client, &flow.effect) {
        return Ok(Bound::Local(transaction));
    }
    in_failed_transaction(client)?;
    absorb(client, &flow.effect, lexed, now);
    if !flow.effect.needs_plan() || !client.listener.database.rules.is_sharded() {
        return Ok(Bound::To(None));
    }
    let read = parameters(values, &prepared.oids).ok_or_else(|| Error::statement("08P01", "malformed Bind message: its parameters do not add up"))?;
    let values = Values { sql: &prepared.sql, lexed, parameters: read.as_slice(), utf8: is_utf8(client) };
    match Postgres::target(client, flow, &values)? {
        Target::Any => Ok(Bound::To(None)),
        Target::One(shard) => at_hand(client, shard, None).map(|()| Bound::To(Some(shard))),
        Target::Many(_) if client.is_bound() || client.begun != Begun::No => Err(scatter_in_transaction(client)),
        Target::Many(_) if !flow.effect.touches.without(State::CALLS).is_none() => Err(scatter_of_state()),
        Target::Many(shards) => Ok(Bound::Scatter(flow.clone(), shards)),
    }
}
