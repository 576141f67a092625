//! Prepared statements and DDL.
//!
//! On a connection of its own a client that executes a statement whose result has changed since its Parse gets "cached plan must not change
//! result type" until it parses anew; one that parses after the change gets the new result. Here servers hold copies that clients share,
//! each parsed at some time. So that both see what they would see alone, whoever changed the schema, and whether we saw it or not:
//!
//! - A client's Parse is always parsed by a server.
//! - A copy serves a client only if it is not older than the client's own Parse; an older one is parsed again first.
//! - What a client was told of the result (a RowDescription of the statement, or of its portal) is remembered as a hash. A copy serves the
//!   client only if it is known to have the same result; if not, it is parsed and described once more, and where that still differs the
//!   client gets the error that the server would give.
//!
//! All three cost something at a client's first execution on a server only. The unnamed statement lives for a moment and is left out.

use crate::client::Client;
use crate::error::Error;
use crate::front::Step;
use crate::message::{self, frame};
use crate::server::{Expect, Server};
use crate::statement::{Fit, Handle, Prepared};
use crate::{extended::add_parse, machine::Postgres};
use std::rc::Rc;
use wire::{Cursor, Io, Key};
use xxhash_rust::xxh3::xxh3_64;

/// The shape of a statement that returns no rows.
const NO_ROWS: u64 = 1;

/// A description that tells the client something it has not been told yet.
pub struct Telling {
    /// The client's name of the statement.
    pub name: Box<[u8]>,
    /// The portal that is described; `None`: the statement itself.
    pub portal: Option<Box<[u8]>>,
    /// The statement.
    pub handle: Handle,
}

impl Postgres {
    /// Sees to it that the server has the named statement as the client knows it, unheard by the client. `Err`: the message is parked
    /// until the server has answered, or is refused.
    pub(crate) fn vouch(&mut self, io: &mut dyn Io, client: &mut Client, key: Key, tag: u8, handle: &Handle) -> Result<(), Step> {
        let now = self.interned.now();
        let Some(server) = self.servers.get_mut(key) else { return Err(Step::Done) };
        match server.statements.fit(handle) {
            Fit::Good => {
                client.looked_at = false;
                return Ok(());
            }
            Fit::Missing if handle.told == 0 => {
                add_parse(io, server, &handle.prepared, true, None, now);
                return Ok(());
            }
            Fit::Doubtful if client.looked_at => {
                client.looked_at = false;
                self.refuse(io, client, tag, changed());
                return Err(Step::Done);
            }
            _ => look(io, server, &handle.prepared, now),
        }
        client.looked_at = true;
        client.is_in_batch = true;
        client.is_moving = true;
        io.pause(client.key, true);
        Err(Step::Parked)
    }
}

/// Parses and describes the statement, unheard by the client.
fn look(io: &mut dyn Io, server: &mut Server, prepared: &Rc<Prepared>, now: u64) {
    add_parse(io, server, prepared, true, None, now);
    let out = io.out(server.key);
    frame(out, b'D', |out| {
        out.push(b'S');
        prepared.name(out);
        out.push(0);
    });
    out.extend_from_slice(message::FLUSH);
    server.expect.push_back(Expect::Look(prepared.clone()));
}

/// A RowDescription or NoData came: whoever waits to know learns it.
pub fn described(server: &mut Server, client: Option<&mut Client>, tag: u8, body: &[u8]) {
    match server.expect.front() {
        Some(Expect::Look(prepared)) => server.statements.described(prepared.id, shape(tag, body)),
        Some(Expect::Describe(Some(telling))) => {
            let shape = shape(tag, body);
            server.statements.described(telling.handle.prepared.id, shape);
            let known = client.and_then(|client| client.statements.get_mut(&telling.name));
            if let Some(known) = known.filter(|known| known.parsed_at == telling.handle.parsed_at) {
                known.told = shape;
            }
        }
        _ => {}
    }
}

/// What the server compares (`equalRowTypes`), as far as it can be seen from here: names, types, type modifiers. Never 0.
fn shape(tag: u8, body: &[u8]) -> u64 {
    if tag == b'n' {
        return NO_ROWS;
    }
    let mut compared = Vec::with_capacity(body.len());
    let mut cursor = Cursor::new(body);
    let _count = cursor.u16();
    while let Ok(name) = cursor.c_string() {
        // Table and column number (6), type (4), its length (2), modifier (4), format (2).
        let Ok(rest) = cursor.take(18) else { break };
        compared.extend_from_slice(name);
        compared.push(0);
        compared.extend_from_slice(rest.get(6..10).unwrap_or_default());
        compared.extend_from_slice(rest.get(12..16).unwrap_or_default());
    }
    xxh3_64(&compared) | 2
}

/// The server's own words: drivers know them by the routine's name, parse anew and try again.
fn changed() -> Error {
    let mut error = Error::statement("0A000", "cached plan must not change result type");
    error.routine = "RevalidateCachedQuery";
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(column: &str, type_oid: u32, table: u32, format: u8) -> Vec<u8> {
        let mut body = vec![0, 1];
        body.extend_from_slice(column.as_bytes());
        body.push(0);
        body.extend_from_slice(&table.to_be_bytes());
        body.extend_from_slice(&[0, 1]);
        body.extend_from_slice(&type_oid.to_be_bytes());
        body.extend_from_slice(&[0, 4, 0xff, 0xff, 0xff, 0xff, 0, format]);
        body
    }

    #[test]
    fn a_result_is_its_names_and_types() {
        let of = |row: Vec<u8>| shape(b'T', &row);
        assert_eq!(of(row("id", 23, 7, 0)), of(row("id", 23, 8, 1)), "where it lies and how it is sent does not count");
        assert_ne!(of(row("id", 23, 7, 0)), of(row("id", 20, 7, 0)));
        assert_ne!(of(row("id", 23, 7, 0)), of(row("no", 23, 7, 0)));
        assert!(shape(b'T', b"") > NO_ROWS && shape(b'n', b"") == NO_ROWS, "and never 0");
    }
}
