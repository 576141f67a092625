//! A statement is answered with an error of ours, and the session goes on as if the server had sent it.
//!
//! Inside a transaction, or behind messages of the same batch, the server must hear of it too: otherwise it would commit what the client
//! believes failed. It is sent a statement that fails for certain, and the text of its error is replaced by ours.

use crate::client::{Begun, Client};
use crate::error::Error;
use crate::machine::Postgres;
use crate::message::{self, c_string, frame};
use crate::server::Expect;
use wire::Io;

/// What the server's log shows: it tells whoever reads it where to look.
pub const FAILS: &[u8] = b"refused by midstream: the client was told why";

impl Postgres {
    /// Answers the message at the front, of that type, with the error.
    pub(crate) fn refuse(&mut self, io: &mut dyn Io, client: &mut Client, tag: u8, mut error: Error) {
        error.is_fatal = false;
        client.meter.error(&error.code);
        client.failed = Some(error.code.clone());
        client.session.refused();
        self.let_go_of_legs(io, client);
        let is_simple = matches!(tag, b'Q' | b'F');
        let server = client.server.and_then(|key| self.servers.get_mut(key));
        match server.filter(|server| server.status != b'I' || client.is_in_batch || !server.expect.is_empty()) {
            Some(server) if is_simple => {
                message::query(io.out(server.key), FAILS);
                server.expect.push_back(Expect::RefusedQuery(Box::new(error)));
            }
            Some(server) => {
                frame(io.out(server.key), b'P', |out| {
                    out.push(0);
                    c_string(out, FAILS);
                    out.extend_from_slice(&[0, 0]);
                });
                // The error stops the server from reading on to a Sync; a Flush makes it come at once.
                io.out(server.key).extend_from_slice(message::FLUSH);
                server.unnamed = None;
                server.expect.push_back(Expect::Refused(Box::new(error)));
                client.is_in_batch = true;
            }
            None => self.refuse_here(io, client, is_simple, &error),
        }
    }

    /// No server has anything of the client's under way.
    fn refuse_here(&mut self, io: &mut dyn Io, client: &mut Client, is_simple: bool, error: &Error) {
        if client.begun == Begun::Open {
            client.begun = Begun::Failed;
        }
        let out = io.out(client.key);
        error.write(out);
        if is_simple {
            message::ready(out, client.local_status());
            self.answered_request(io, client);
        } else {
            client.is_skipping = true;
        }
    }
}
