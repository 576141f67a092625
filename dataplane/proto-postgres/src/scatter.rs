//! A SELECT over several shards: the same text to each, their rows merged as they come.
//!
//! ```text
//! collect a connection per shard (in shard order: two such statements cannot hold what the other waits for)
//!   -> send -> RowDescription of the first -> rows through the merger -> all ReadyForQuery -> CommandComplete
//! ```
//! Where no merge is proven, the rows are gathered on one of them first, which then answers alone ([`crate::fallback`]).
//! A shard whose rows are not wanted yet (an ordered merge waits for another one's) is not read; all are not read while the client is slow.

use crate::client::Client;
use crate::error::Error;
use crate::extended::PARSE_COMPLETE;
use crate::fallback::{self, Fallback};
use crate::front::Step;
use crate::machine::Postgres;
use crate::message::{self, c_string, frame};
use crate::parameters::parameters;
use crate::query::is_utf8;
use crate::server::{Expect, Server};
use crate::statement::Prepared;
use sql::merge::{Bounds, Merger, Spec};
use sql::{Flow, Lexer, Scripts, Settings, ShardId, Values};
use std::rc::Rc;
use std::sync::Arc;
use wire::{Io, Key};

/// What groups and DISTINCT of one statement may keep in memory: a million small groups.
pub const MERGE_BUDGET: usize = 64 * 1024 * 1024;

/// A statement under way on several shards.
pub struct Scatter {
    /// How their rows become one answer.
    pub spec: Arc<Spec>,
    /// LIMIT and OFFSET.
    pub bounds: Bounds,
    /// Of Execute; included in `bounds`.
    pub max_rows: Option<u64>,
    /// Made with the first RowDescription.
    pub merger: Option<Merger>,
    /// The column types of that: all shards must agree.
    pub columns: Vec<u32>,
    /// The connections, in shard order.
    pub legs: Vec<Key>,
    /// Those that are not read, by their place in `legs`: their rows are not wanted yet.
    pub unread: Vec<usize>,
    /// Those whose ReadyForQuery is to come.
    pub running: usize,
    /// The client hears the RowDescription.
    pub is_described: bool,
    /// ReadyForQuery ends it: the simple protocol. Otherwise the client's Sync is answered for itself.
    pub is_simple: bool,
    /// It was told an error; the rest is thrown away.
    pub is_failed: bool,
    /// Rows are gathered on one of the connections first.
    pub fallback: Option<Box<Fallback>>,
}

/// A bound portal over several shards: it runs when it is executed.
pub struct Portal {
    /// The client's name of it.
    pub name: Box<[u8]>,
    spec: Arc<Spec>,
    bounds: Bounds,
    shards: Vec<ShardId>,
    /// What each shard is sent: Parse and Bind, both unnamed.
    messages: Vec<u8>,
    scripts: Option<Scripts>,
    is_described: bool,
}

impl Postgres {
    /// A `Query` over several shards.
    pub(crate) fn scatter_query(
        &mut self,
        io: &mut dyn Io,
        client: &mut Client,
        flow: &Rc<Flow>,
        shards: &[ShardId],
        lexer: &mut Lexer,
        sql: &[u8],
    ) -> Step {
        let mut messages = Vec::new();
        let prepared = lexer.scan(sql, Settings::default()).map_err(Error::from).and_then(|lexed| {
            let values = Values { sql, lexed, parameters: &[], utf8: is_utf8(client) };
            let (spec, bounds) = merge_of(flow, &values)?;
            let mut text = Vec::new();
            flow.plan.text(lexed, sql, &mut text);
            message::query(&mut messages, &text);
            Ok((spec, bounds, flow.plan.scripts(lexed, sql)))
        });
        let (spec, bounds, scripts) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                self.refuse(io, client, b'Q', error);
                return Step::Done;
            }
        };
        let shards = fallback::shards(client, shards, scripts.is_some());
        if !self.gather(io, client, &shards) {
            return Step::Parked;
        }
        client.unnamed = None;
        self.start_scatter(io, client, &messages, scripts.as_ref(), Scatter::new(spec, bounds, true, true));
        Step::Done
    }

    /// A `Bind` over several shards: remembered until Execute.
    pub(crate) fn scatter_bind(
        &mut self,
        io: &mut dyn Io,
        client: &mut Client,
        flow: &Rc<Flow>,
        shards: &[ShardId],
        prepared: &Prepared,
        body: &[u8],
    ) -> Step {
        match portal(client, flow, shards, prepared, body) {
            Ok(portal) => {
                let out = io.out(client.key);
                client.parses.drain(..).for_each(|_| out.extend_from_slice(PARSE_COMPLETE));
                out.extend_from_slice(b"2\0\0\0\x04");
                client.portal = Some(Box::new(portal));
            }
            Err(error) => self.refuse(io, client, b'B', error),
        }
        Step::Done
    }

    /// `Describe` of such a portal: answered with the first row, since drivers send Execute in the same breath.
    pub(crate) fn describe_portal(client: &mut Client) {
        if let Some(portal) = &mut client.portal {
            portal.is_described = true;
        }
    }

    /// `Execute` of such a portal. With a row limit it is suspended when so many rows have come, and cannot be resumed: what is left of
    /// the shards' rows has been thrown away by then.
    pub(crate) fn execute_portal(&mut self, io: &mut dyn Io, client: &mut Client, max_rows: u32) -> Step {
        let Some(portal) = client.portal.take() else { return Step::Done };
        if !self.gather(io, client, &portal.shards) {
            client.portal = Some(portal);
            return Step::Parked;
        }
        let mut scatter = Scatter::new(portal.spec, portal.bounds, portal.is_described, false);
        if max_rows > 0 {
            scatter.max_rows = Some(u64::from(max_rows));
            scatter.bounds.limit = Some(scatter.bounds.limit.map_or(u64::from(max_rows), |limit| limit.min(u64::from(max_rows))));
        }
        self.start_scatter(io, client, &portal.messages, portal.scripts.as_ref(), scatter);
        Step::Done
    }

    /// One connection per shard, in order; false: parked until the next one is there.
    fn gather(&mut self, io: &mut dyn Io, client: &mut Client, shards: &[ShardId]) -> bool {
        client.is_gathering = true;
        while let Some(shard) = shards.get(client.legs.len()) {
            let Some(key) = self.acquire(io, client, *shard) else { return false };
            let Some(mut server) = self.servers.remove(key) else { return false };
            self.attach_leg(io, &mut server, client);
            self.put_back(server);
        }
        client.is_gathering = false;
        true
    }

    /// Makes a connection one of the client's legs.
    pub(crate) fn attach_leg(&mut self, io: &mut dyn Io, server: &mut Server, client: &mut Client) {
        server.owner = Some(client.key);
        server.is_idle = false;
        io.link(server.key, client.key);
        client.legs.push(server.key);
        self.prepare_session(io, server, client);
    }

    fn start_scatter(&mut self, io: &mut dyn Io, client: &mut Client, messages: &[u8], scripts: Option<&Scripts>, mut scatter: Scatter) {
        scatter.legs.clone_from(&client.legs);
        scatter.running = client.legs.len();
        match scripts {
            Some(scripts) => self.start_fallback(io, client, &mut scatter, scripts, messages),
            None => client.legs.iter().for_each(|leg| self.send(io, *leg, messages, Expect::Query)),
        }
        for leg in &client.legs {
            if let Some(server) = self.servers.get_mut(*leg) {
                server.unnamed = None;
            }
        }
        client.scatter = Some(Box::new(scatter));
        io.pause(client.key, true);
    }

    /// Gives back what was collected for a statement that is not run, or cuts off what runs.
    pub(crate) fn let_go_of_legs(&mut self, io: &mut dyn Io, client: &mut Client) {
        client.is_gathering = false;
        client.portal = None;
        client.scatter = None;
        for leg in std::mem::take(&mut client.legs) {
            let Some(mut server) = self.servers.remove(leg).filter(|server| server.owner == Some(client.key)) else { continue };
            let is_running = server.expect.iter().any(|expect| matches!(expect, Expect::Query));
            server.owner = None;
            io.unlink(leg);
            if is_running {
                self.abandon(io, &mut server);
            } else {
                self.give_back(io, &mut server);
            }
            self.put_back(server);
        }
    }
}

impl Scatter {
    fn new(spec: Arc<Spec>, bounds: Bounds, is_described: bool, is_simple: bool) -> Scatter {
        let (columns, legs, unread) = (Vec::new(), Vec::new(), Vec::new());
        Scatter {
            spec,
            bounds,
            max_rows: None,
            merger: None,
            columns,
            legs,
            unread,
            running: 0,
            is_described,
            is_simple,
            is_failed: false,
            fallback: None,
        }
    }
}

fn merge_of(flow: &Flow, values: &Values<'_>) -> Result<(Arc<Spec>, Bounds), Error> {
    let spec = flow
        .plan
        .merge
        .clone()
        .ok_or_else(|| Error::statement("XX000", "a plan over several shards without a merge").hint("This is a defect of Midstream."))?;
    let bounds = spec.bounds(values)?;
    Ok((spec, bounds))
}

/// Parse, Bind, Describe, Execute and Sync for each shard.
fn portal(client: &Client, flow: &Flow, shards: &[ShardId], prepared: &Prepared, body: &[u8]) -> Result<Portal, Error> {
    let malformed = || Error::statement("08P01", "malformed Bind message: its parameters do not add up");
    let names = message::BindNames::read(body).ok_or_else(malformed)?;
    let rest = body.get(names.rest..).unwrap_or_default();
    let read = parameters(rest, &prepared.oids).ok_or_else(malformed)?;
    let lexed = prepared.lexed.as_ref().ok_or_else(malformed)?;
    let values = Values { sql: &prepared.sql, lexed, parameters: read.as_slice(), utf8: is_utf8(client) };
    let (spec, bounds) = merge_of(flow, &values)?;
    let formats = spec.result_formats(read.formats(), usize::MAX);
    let formats_at = rest.len() - 2 * (read.formats().len() + 1);
    let mut text = Vec::new();
    flow.plan.text(lexed, &prepared.sql, &mut text);
    let mut messages = Vec::new();
    frame(&mut messages, b'P', |out| {
        out.push(0);
        c_string(out, &text);
        out.extend_from_slice(&(prepared.oids.len() as u16).to_be_bytes());
        out.extend_from_slice(&prepared.types);
    });
    frame(&mut messages, b'B', |out| {
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(rest.get(..formats_at).unwrap_or_default());
        out.extend_from_slice(&(formats.len() as u16).to_be_bytes());
        formats.iter().for_each(|format| out.extend_from_slice(&format.to_be_bytes()));
    });
    messages.extend_from_slice(b"D\0\0\0\x06P\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04");
    let scripts = flow.plan.scripts(lexed, &prepared.sql);
    let shards = fallback::shards(client, shards, scripts.is_some()).into_owned();
    Ok(Portal { name: names.portal.into(), spec, bounds, shards, messages, scripts, is_described: false })
}
