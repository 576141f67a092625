//! The extended protocol.
//!
//! A `Parse` is answered by the server that will run the statement, and where tables lie on shards that is known at `Bind` only: so Parse
//! messages are held (`Client::parses`) until a Bind, or until a Describe, Flush or Sync wants their outcome, which then comes from home.

use crate::client::Client;
use crate::error::Error;
use crate::front::Step;
use crate::hello::fatal;
use crate::machine::Postgres;
use crate::message::{self, Parse, frame, kind_and_name};
use crate::names::executing;
use crate::query::{is_local, local};
use crate::server::{Expect, Server, Undo};
use crate::stale::Telling;
use crate::startup::MAX_NAME;
use crate::statement::{Handle, MAX_PER_CLIENT, Prepared};
use sql::effect::State;
use std::rc::Rc;
use wire::{Fault, Io, Key};

pub(crate) const PARSE_COMPLETE: &[u8] = b"1\0\0\0\x04";
const CLOSE_COMPLETE: &[u8] = b"3\0\0\0\x04";
const NO_DATA: &[u8] = b"n\0\0\0\x04";
/// No parameters.
const NO_PARAMETERS: &[u8] = b"t\0\0\0\x06\0\0";

/// A Parse whose server is not known yet.
pub struct Held {
    prepared: Rc<Prepared>,
    is_named: bool,
    undo: Box<Undo>,
}

impl Postgres {
    /// A `Parse` message.
    pub(crate) fn parse(&mut self, io: &mut dyn Io, client: &mut Client, body: &[u8]) -> Result<Step, Fault> {
        let Some(parse) = Parse::read(body) else { return Err(fatal(io, client, &Error::protocol("malformed Parse message"), "Parse")) };
        if !parse.name.is_empty() && self.is_doubtful(io, client, parse.name) {
            return Ok(Step::Parked);
        }
        if let Some(error) = refuse_name(client, &parse) {
            self.refuse(io, client, b'P', error);
            return Ok(Step::Done);
        }
        // Where tables lie on shards, or filters judge, nobody would look at what it executes.
        let executing = if client.listener.is_planned() { None } else { executing(client, parse.sql) };
        let parse = Parse { sql: executing.as_deref().unwrap_or(parse.sql), ..parse };
        let scope = if parse.name.is_empty() { 0 } else { client.scope() };
        let handle = self.interned.parse(&parse, scope, &mut self.lexer, client.lexing(parse.sql));
        let is_held = client.server.is_none() && client.listener.database.rules.is_sharded();
        if !is_held {
            let Some(server) = self.connection(io, client, None) else { return Ok(Step::Parked) };
            let reads_sequence = handle.prepared.effect.as_ref().is_some_and(|effect| effect.touches.has(State::SEQUENCES));
            // The last chance before the batch begins; a refusal is for Bind to tell.
            if reads_sequence && !client.is_in_batch {
                drop(self.reads_sequence(io, client, server));
            }
        }
        let prepared = handle.prepared.clone();
        let before = client.put(parse.name, Some(handle));
        let undo = Box::new(Undo { name: parse.name.into(), before });
        let held = Held { prepared, is_named: !parse.name.is_empty(), undo };
        match client.server {
            Some(server) => self.parse_on(io, client, server, held),
            None => client.parses.push(held),
        }
        Ok(Step::Done)
    }

    /// Sends a client's Parse to a server.
    fn parse_on(&mut self, io: &mut dyn Io, client: &mut Client, key: Key, held: Held) {
        client.is_in_batch = true;
        client.doubts.change(&held.undo.name);
        let Some(server) = self.servers.get_mut(key) else { return };
        add_parse(io, server, &held.prepared, held.is_named, Some(held.undo), self.interned.now());
    }

    /// Sends what is held to the connection at hand.
    pub(crate) fn release_parses(&mut self, io: &mut dyn Io, client: &mut Client, server: Key) {
        for held in std::mem::take(&mut client.parses) {
            let again = client.listener.database.has_standbys.then(|| (held.prepared.clone(), held.undo.name.clone()));
            self.parse_on(io, client, server, held);
            if let Some(((prepared, name), server)) = again.zip(self.servers.get_mut(server)) {
                server.kept.add_held(&prepared, &name);
            }
        }
    }

    /// A `Describe` or `Close`.
    pub(crate) fn describe_or_close(&mut self, io: &mut dyn Io, client: &mut Client, tag: u8, whole: &[u8], body: &[u8]) -> Result<Step, Fault> {
        let Some((kind, name)) = kind_and_name(body) else {
            return Err(fatal(io, client, &Error::protocol("malformed Describe or Close message"), "Describe"));
        };
        if kind == b'P' && client.local_portal.as_ref().is_some_and(|portal| *portal.name == *name) {
            io.out(client.key).extend_from_slice(if tag == b'D' { NO_DATA } else { CLOSE_COMPLETE });
            return Ok(Step::Done);
        }
        if kind == b'P' && client.portal.as_ref().is_some_and(|portal| *portal.name == *name) {
            if tag == b'D' {
                Self::describe_portal(client);
            } else {
                client.portal = None;
                io.out(client.key).extend_from_slice(CLOSE_COMPLETE);
            }
            return Ok(Step::Done);
        }
        if kind == b'S' && self.is_doubtful(io, client, name) {
            return Ok(Step::Parked);
        }
        match (tag, kind) {
            (b'C', b'S') => self.close_statement(io, client, name),
            (b'D', b'S') => return Ok(self.describe_statement(io, client, name)),
            _ => {
                let Some(server) = self.connection(io, client, None) else { return Ok(Step::Parked) };
                self.release_parses(io, client, server);
                client.is_in_batch = true;
                let telling = client.telling.take_if(|telling| tag == b'D' && telling.portal.as_deref() == Some(name));
                self.send(io, server, whole, if tag == b'D' { Expect::Describe(telling) } else { Expect::Close });
            }
        }
        Ok(Step::Done)
    }

    fn describe_statement(&mut self, io: &mut dyn Io, client: &mut Client, name: &[u8]) -> Step {
        let Some(handle) = client.statement(name).cloned() else {
            self.refuse(io, client, b'D', no_statement(name));
            return Step::Done;
        };
        let is_begin = handle.prepared.effect.as_ref().is_some_and(|effect| is_local(client, effect).is_some());
        if client.server.is_none() && is_begin {
            let out = io.out(client.key);
            client.parses.drain(..).for_each(|_| out.extend_from_slice(PARSE_COMPLETE));
            out.extend_from_slice(NO_PARAMETERS);
            out.extend_from_slice(NO_DATA);
            return Step::Done;
        }
        let Some(key) = self.connection(io, client, None) else { return Step::Parked };
        self.release_parses(io, client, key);
        client.is_in_batch = true;
        let is_named = !name.is_empty();
        if let Err(step) = self.provide(io, client, key, b'D', &handle, is_named) {
            return step;
        }
        let Some(server) = self.servers.get_mut(key) else { return Step::Done };
        frame(io.out(key), b'D', |out| {
            out.push(b'S');
            if is_named {
                handle.prepared.name(out);
            }
            out.push(0);
        });
        let is_news = is_named && handle.told == 0;
        let telling = is_news.then(|| Box::new(Telling { name: name.into(), portal: None, handle }));
        server.expect.push_back(Expect::Describe(telling));
        Step::Done
    }

    /// Sees to it that the server has the statement, unheard by the client. `Err`: the message waits for that, or is refused.
    pub(crate) fn provide(&mut self, io: &mut dyn Io, client: &mut Client, key: Key, tag: u8, handle: &Handle, is_named: bool) -> Result<(), Step> {
        if is_named {
            return self.vouch(io, client, key, tag, handle);
        }
        let now = self.interned.now();
        if let Some(server) = self.servers.get_mut(key).filter(|server| server.unnamed != Some(handle.prepared.id)) {
            add_parse(io, server, &handle.prepared, false, None, now);
        }
        Ok(())
    }

    /// The client forgets the statement; servers keep it, for others.
    fn close_statement(&mut self, io: &mut dyn Io, client: &mut Client, name: &[u8]) {
        if let Some(server) = client.server {
            self.release_parses(io, client, server);
        }
        let before = client.put(name, None);
        client.doubts.change(name);
        match client.server.and_then(|server| self.servers.get_mut(server)) {
            Some(server) => {
                server.expect.push_back(Expect::Say(CLOSE_COMPLETE, Some(Box::new(Undo { name: name.into(), before }))));
                say_now(io, server, client.key);
            }
            None => {
                // Held Parse messages come first; what they parse is closed right after.
                let out = io.out(client.key);
                client.parses.drain(..).for_each(|_| out.extend_from_slice(PARSE_COMPLETE));
                out.extend_from_slice(CLOSE_COMPLETE);
            }
        }
    }

    /// An `Execute`.
    pub(crate) fn execute(&mut self, io: &mut dyn Io, client: &mut Client, whole: &[u8], body: &[u8]) -> Result<Step, Fault> {
        let name = body.iter().position(|byte| *byte == 0).and_then(|end| body.get(..end));
        let Some(name) = name.filter(|name| body.len() == name.len() + 5) else {
            return Err(fatal(io, client, &Error::protocol("malformed Execute message"), "Execute"));
        };
        if let Some(portal) = client.local_portal.take_if(|portal| *portal.name == *name) {
            let tag = local(client, portal.transaction, &portal.sql);
            message::complete(io.out(client.key), tag);
            return Ok(Step::Done);
        }
        if client.portal.as_ref().is_some_and(|portal| *portal.name == *name) {
            let max_rows = body.get(name.len() + 1..).map_or(0, |rows| rows.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)));
            return Ok(self.execute_portal(io, client, max_rows));
        }
        let Some(server) = client.server else {
            let text = format!("portal \"{}\" does not exist", String::from_utf8_lossy(name));
            self.refuse(io, client, b'E', Error::statement("34000", text));
            return Ok(Step::Done);
        };
        self.send(io, server, whole, Expect::Execute);
        client.is_in_batch = true;
        Ok(Step::Done)
    }

    /// `Sync`.
    pub(crate) fn sync(&mut self, io: &mut dyn Io, client: &mut Client) -> Step {
        client.is_skipping = false;
        if !client.parses.is_empty() {
            let Some(server) = self.connection(io, client, None) else { return Step::Parked };
            self.release_parses(io, client, server);
        }
        match client.server {
            // During a COPY the server ignores it, as libpq relies on.
            Some(server) if self.servers.get(server).is_some_and(|server| server.is_copy_in) => {}
            Some(server) => {
                client.is_in_batch = false;
                client.doubts.end();
                self.send(io, server, message::SYNC, Expect::Sync);
            }
            None => {
                client.local_portal = None;
                message::ready(io.out(client.key), client.local_status());
                self.answered_request(io, client);
            }
        }
        Step::Done
    }

    /// `Flush`.
    pub(crate) fn flush(&mut self, io: &mut dyn Io, client: &mut Client, whole: &[u8]) -> Step {
        if !client.parses.is_empty() {
            let Some(server) = self.connection(io, client, None) else { return Step::Parked };
            self.release_parses(io, client, server);
        }
        if let Some(server) = client.server {
            io.out(server).extend_from_slice(whole);
        }
        Step::Done
    }
}

fn refuse_name(client: &Client, parse: &Parse<'_>) -> Option<Error> {
    let name = String::from_utf8_lossy(parse.name);
    if parse.name.is_empty() {
        None
    } else if parse.name.len() > MAX_NAME {
        Some(Error::statement("42622", format!("names of prepared statements have at most {MAX_NAME} bytes")))
    } else if client.statements.contains_key(parse.name) {
        Some(Error::statement("42P05", format!("prepared statement \"{name}\" already exists")))
    } else if client.statements.len() >= MAX_PER_CLIENT {
        Some(
            Error::statement("54000", format!("this connection has {MAX_PER_CLIENT} prepared statements already"))
                .hint("Close those that are not used."),
        )
    } else {
        None
    }
}

/// 26000.
pub fn no_statement(name: &[u8]) -> Error {
    match name {
        b"" => Error::statement("26000", "unnamed prepared statement does not exist"),
        name => Error::statement("26000", format!("prepared statement \"{}\" does not exist", String::from_utf8_lossy(name))),
    }
}

/// Parses the statement on the server, in the place of an older copy.
pub fn add_parse(io: &mut dyn Io, server: &mut Server, prepared: &Rc<Prepared>, is_named: bool, undo: Option<Box<Undo>>, now: u64) {
    let out = io.out(server.key);
    if !is_named {
        server.unnamed = Some(prepared.id);
    } else if let Some(gone) = server.statements.add(prepared.clone(), now) {
        gone.close(out);
        server.expect.push_back(Expect::CloseQuiet(gone.id != prepared.id));
    }
    prepared.parse(is_named, out);
    server.expect.push_back(Expect::Parse { named: is_named.then(|| prepared.clone()), undo });
}

/// Answers that need no server go out at once when nothing is owed before them.
pub fn say_now(io: &mut dyn Io, server: &mut Server, client: Key) {
    while let Some(Expect::Say(bytes, _)) = server.expect.front() {
        io.out(client).extend_from_slice(bytes);
        server.expect.pop_front();
        server.kept.said();
    }
}
