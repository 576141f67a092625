//! The admin database: what people ask and order a pooler, in the words of PgBouncer.
//!
//! A listener with `admins` has a database `midstream` that no server has: any client program connects to it, logs in as to any other, and is
//! let in when its user is one of the admins. What it asks is answered here, by both protocols. An admin's session lives on one worker; it asks
//! the others by mail and is paused until they have answered (see `gather`): its message stays unread meanwhile, as everywhere.

mod command;
mod gather;
mod order;
mod report;
mod stats;
mod table;

use crate::client::{Client, Phase};
use crate::error::Error;
use crate::hello::{Next, fatal};
use crate::machine::Postgres;
use crate::message::{self, BindNames, HEADER, Head, frame, head, kind_and_name};
use crate::startup::MAX_NAME;
use command::Command;
use gather::Pending;
use hashbrown::HashMap;
pub use stats::Stats;
use table::{Row, Table, data_row, describe};
use wire::{Cursor, Fault, Io};

/// What the database is called where the listener does not say: PgBouncer's is "pgbouncer".
pub const DEFAULT_NAME: &str = "midstream";
/// Longer messages than any command.
const MAX_MESSAGE: usize = 8 * 1024;
/// Statements and portals of a session: more than any driver's cache holds.
const MAX_NAMED: usize = 256;
/// Drivers take their abilities from the version, so it is the one whose protocol this is.
const PARAMETERS: [(&str, &str); 7] = [
    ("server_version", concat!("18.0 (Midstream ", env!("CARGO_PKG_VERSION"), ")")),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("TimeZone", "UTC"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
];

struct Portal {
    command: Command,
    formats: Vec<u16>,
    /// Those that a row limit has left, the next one last.
    left: Option<Vec<Row>>,
}

/// An admin's session.
#[derive(Default)]
pub struct Admin {
    statements: HashMap<Box<[u8]>, Command>,
    portals: HashMap<Box<[u8]>, Portal>,
    questions: u32,
    pending: Option<Pending>,
    /// To the message at the front.
    answer: Option<Table>,
    is_skipping: bool,
}

enum Outcome {
    Done,
    /// The message stays.
    Parked,
}

impl Postgres {
    /// Greets an admin; or refuses who is none.
    ///
    /// # Errors
    /// 42501, for the client.
    pub(crate) fn welcome_admin(&mut self, io: &mut dyn Io, client: &mut Client) -> Result<(), Error> {
        if !client.listener.admins.iter().any(|admin| **admin == *client.user) {
            let why = format!("user \"{}\" may not see the admin database of listener {}", client.user, client.listener.name);
            return Err(Error::fatal("42501", why).hint("Those who may are listed in the Listener's admins."));
        }
        client.admin = Some(Box::default());
        client.phase = Phase::Admin;
        let (pid, secret) = (self.cancel_pid(client.key), self.entropy.next_u32());
        let out = io.out(client.key);
        for (name, value) in PARAMETERS {
            message::parameter_status(out, name.as_bytes(), value.as_bytes());
        }
        frame(out, b'K', |out| {
            out.extend_from_slice(&pid.to_be_bytes());
            out.extend_from_slice(&secret.to_be_bytes());
        });
        message::ready(out, b'I');
        Ok(())
    }

    /// Bytes of an admin.
    ///
    /// # Errors
    /// It broke the protocol, and has been told.
    pub(crate) fn admin_data(&mut self, io: &mut dyn Io, client: &mut Client, bytes: &[u8]) -> Result<Next, Fault> {
        let (tag, total) = match head(bytes, message::frontend_limit) {
            Head::Short => return Ok(Next::More),
            Head::Frame { tag, total } if total <= MAX_MESSAGE => (tag, total),
            _ => return Err(fatal(io, client, &Error::protocol("invalid message, or one that is too long for the admin database"), "Admin")),
        };
        let Some(body) = bytes.get(HEADER..total) else { return Ok(Next::More) };
        if tag == b'X' {
            return Ok(Next::End);
        }
        let Some(mut admin) = client.admin.take() else { return Ok(Next::End) };
        let result = match tag {
            b'S' => {
                admin.is_skipping = false;
                message::ready(io.out(client.key), b'I');
                Ok(Outcome::Done)
            }
            _ if admin.is_skipping => Ok(Outcome::Done),
            b'Q' => self.admin_query(io, client, &mut admin, body),
            _ => self.admin_extended(io, client, &mut admin, tag, body),
        };
        if let Err(error) = &result {
            client.meter.error(&error.code);
            error.write(io.out(client.key));
            if tag == b'Q' { message::ready(io.out(client.key), b'I') } else { admin.is_skipping = true }
        }
        client.admin = Some(admin);
        Ok(if matches!(result, Ok(Outcome::Parked)) { Next::More } else { Next::On(total) })
    }

    fn admin_query(&mut self, io: &mut dyn Io, client: &Client, admin: &mut Admin, body: &[u8]) -> Result<Outcome, Error> {
        let command = Command::read(&text(body.strip_suffix(b"\0").unwrap_or(body)))?;
        let Some(table) = self.admin_answered(io, client, admin, &command)? else { return Ok(Outcome::Parked) };
        let out = io.out(client.key);
        warn(&table, out);
        if !command.columns().is_empty() {
            describe(command.columns(), &[], out);
        }
        table.rows.iter().for_each(|row| data_row(row, &[], out));
        complete(&command, out);
        message::ready(out, b'I');
        Ok(Outcome::Done)
    }

    fn admin_extended(&mut self, io: &mut dyn Io, client: &Client, admin: &mut Admin, tag: u8, body: &[u8]) -> Result<Outcome, Error> {
        match tag {
            b'P' => parse(admin, body, io.out(client.key))?,
            b'B' => bind(admin, body, io.out(client.key))?,
            b'D' => describe_one(admin, body, io.out(client.key))?,
            b'C' => {
                match kind_and_name(body).ok_or_else(malformed)? {
                    (b'S', name) => drop(admin.statements.remove(name)),
                    (_, name) => drop(admin.portals.remove(name)),
                }
                io.out(client.key).extend_from_slice(b"3\0\0\0\x04");
            }
            b'E' => return self.admin_execute(io, client, admin, body),
            b'H' => {}
            _ => return Err(Error::statement("0A000", "the admin database takes commands only, no copies and function calls")),
        }
        Ok(Outcome::Done)
    }

    fn admin_execute(&mut self, io: &mut dyn Io, client: &Client, admin: &mut Admin, body: &[u8]) -> Result<Outcome, Error> {
        let mut cursor = Cursor::new(body);
        let name: Box<[u8]> = cursor.c_string().map_err(|_| malformed())?.into();
        let limit = cursor.u32().map_err(|_| malformed())? as usize;
        let unknown = || Error::statement("34000", format!("portal \"{}\" does not exist", text(&name)));
        let mut portal = admin.portals.remove(&name).ok_or_else(unknown)?;
        if portal.left.is_none() {
            let Some(table) = self.admin_answered(io, client, admin, &portal.command)? else {
                admin.portals.insert(name, portal);
                return Ok(Outcome::Parked);
            };
            warn(&table, io.out(client.key));
            portal.left = Some(table.rows.into_iter().rev().collect());
        }
        let out = io.out(client.key);
        let left = portal.left.get_or_insert_default();
        let shown = if limit == 0 { left.len() } else { limit.min(left.len()) };
        left.split_off(left.len() - shown).iter().rev().for_each(|row| data_row(row, &portal.formats, out));
        if left.is_empty() {
            complete(&portal.command, out)
        } else {
            out.extend_from_slice(b"s\0\0\0\x04")
        }
        admin.portals.insert(name, portal);
        Ok(Outcome::Done)
    }

    /// The answer to the message at the front; `None`: the other workers are being asked.
    fn admin_answered(&mut self, io: &mut dyn Io, client: &Client, admin: &mut Admin, command: &Command) -> Result<Option<Table>, Error> {
        if let Some(table) = admin.answer.take() {
            return Ok(Some(table));
        }
        if let Command::Order(_, database) = command {
            self.is_known(database)?;
        }
        admin.questions = admin.questions.wrapping_add(1);
        match self.ask_all(io, client, command, admin.questions) {
            Ok(table) => Ok(Some(table)),
            Err(pending) => {
                admin.pending = Some(pending);
                io.pause(client.key, true);
                Ok(None)
            }
        }
    }
}

fn parse(admin: &mut Admin, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let parse = message::Parse::read(body).ok_or_else(malformed)?;
    let command = Command::read(&text(parse.sql))?;
    if parse.name.len() > MAX_NAME || admin.statements.len() >= MAX_NAMED {
        return Err(Error::statement("54000", format!("the admin database keeps {MAX_NAMED} statements of names of {MAX_NAME} bytes")));
    }
    admin.statements.insert(parse.name.into(), command);
    out.extend_from_slice(b"1\0\0\0\x04");
    Ok(())
}

fn bind(admin: &mut Admin, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let names = BindNames::read(body).ok_or_else(malformed)?;
    let command = admin.statements.get(names.statement).ok_or_else(|| crate::extended::no_statement(names.statement))?.clone();
    let formats = formats(body.get(names.rest..).unwrap_or_default()).ok_or_else(malformed)?;
    if names.portal.len() > MAX_NAME || admin.portals.len() >= MAX_NAMED {
        return Err(Error::statement("54000", format!("the admin database keeps {MAX_NAMED} portals of names of {MAX_NAME} bytes")));
    }
    admin.portals.insert(names.portal.into(), Portal { command, formats, left: None });
    out.extend_from_slice(b"2\0\0\0\x04");
    Ok(())
}

/// The result formats of a Bind without parameters.
fn formats(rest: &[u8]) -> Option<Vec<u16>> {
    let mut cursor = Cursor::new(rest);
    let count = usize::from(cursor.u16().ok()?);
    cursor.skip(2 * count).ok()?;
    if cursor.u16().ok()? != 0 {
        return None;
    }
    (0..cursor.u16().ok()?).map(|_| cursor.u16().ok()).collect()
}

fn describe_one(admin: &Admin, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let (kind, name) = kind_and_name(body).ok_or_else(malformed)?;
    if kind == b'S' {
        let command = admin.statements.get(name).ok_or_else(|| crate::extended::no_statement(name))?;
        out.extend_from_slice(b"t\0\0\0\x06\0\0");
        describe(command.columns(), &[], out);
    } else {
        let unknown = || Error::statement("34000", format!("portal \"{}\" does not exist", text(name)));
        let portal = admin.portals.get(name).ok_or_else(unknown)?;
        describe(portal.command.columns(), &portal.formats, out);
    }
    Ok(())
}

fn complete(command: &Command, out: &mut Vec<u8>) {
    match command {
        Command::Empty => out.extend_from_slice(b"I\0\0\0\x04"),
        _ => message::complete(out, command.tag().as_bytes()),
    }
}

fn warn(table: &Table, out: &mut Vec<u8>) {
    for warning in &table.warnings {
        frame(out, b'N', |out| {
            for (kind, text) in [(b'S', "WARNING"), (b'V', "WARNING"), (b'C', "01000"), (b'M', warning.as_str())] {
                out.push(kind);
                message::c_string(out, text.as_bytes());
            }
            out.push(0);
        });
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn malformed() -> Error {
    Error::statement("08P01", "malformed message")
}
