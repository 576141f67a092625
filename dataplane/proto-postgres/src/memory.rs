//! What answers tell of a server's session, remembered for whoever has it next.

use crate::client::Client;
use crate::position::Position;
use crate::question;
use crate::server::{Expect, Quiet, Server};
use sql::effect::State;
use wire::Cursor;

/// Keeps a row that answers our question.
pub fn found(server: &mut Server, body: &[u8]) {
    if let Some(Expect::Quiet(Quiet::Ask(_))) = server.expect.front() {
        server.found.extend(question::row(body));
    } else if let Some(Expect::Quiet(Quiet::Position(_))) = server.expect.front() {
        server.position = Position::read(body);
    }
}

/// Remembers a ParameterStatus.
pub fn parameter(server: &mut Server, body: &[u8]) {
    let mut cursor = Cursor::new(body);
    if let (Ok(name), Ok(value)) = (cursor.c_string(), cursor.c_string()) {
        server.parameter(name, value);
    }
}

/// Statements that change what we remember of a session, told by their command tags: then they have happened.
pub fn forget(server: &mut Server, client: Option<&mut Client>, tag: &[u8]) {
    match tag {
        b"DEALLOCATE ALL\0" | b"DISCARD ALL\0" => {
            server.statements.clear();
            server.unnamed = None;
            let Some(client) = client else { return };
            client.statements.clear();
            client.unnamed = None;
            if tag == b"DISCARD ALL\0" {
                // What a later message has made suspect is asked for; what cannot be asked for is not discarded either.
                server.settings = Some(Default::default());
                server.is_dirty = false;
                server.sequences.discard();
                client.settings = client.startup.clone();
                client.unpin(State::ANY.with(State::SEQUENCES).with(State::NAMELESS));
            }
        }
        // Which parameters are explicit is no longer told by the statements.
        b"ROLLBACK\0" => client.into_iter().for_each(|client| client.session.is_rolled_back = true),
        b"DISCARD SEQUENCES\0" => {
            server.sequences.discard();
            if let Some(client) = client {
                client.unpin(State::SEQUENCES);
            }
        }
        _ => {}
    }
}
