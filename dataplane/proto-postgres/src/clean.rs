//! What a client that went has left in a server's session is taken away, and no more than that: prepared statements of the protocol and
//! plans stay for the next one.

use crate::machine::Postgres;
use crate::message::query;
use crate::server::{Quiet, Server};
use crate::settings::Settings;
use sql::effect::State;
use wire::Io;

impl Postgres {
    /// Sends what makes the session clean; closes it, where nothing does.
    pub(crate) fn clean(&mut self, io: &mut dyn Io, server: &mut Server) {
        let left = std::mem::take(&mut server.left);
        if left.has(State::OTHER.with(State::UNASKED)) {
            return self.abandon(io, server);
        }
        if left.has(State::SETTINGS.with(State::ANY_SETTING).with(State::NAMELESS)) {
            server.settings = None;
        }
        // DEALLOCATE by name would need the names; and what is left of a session that nobody looked into may be anything.
        if server.is_dirty || left.has(State::PREPARED) {
            query(io.out(server.key), b"DISCARD ALL");
            server.push_quiet(Quiet::Discard);
        }
        let sql = by_part(left, io);
        if !sql.is_empty() {
            query(io.out(server.key), sql.as_bytes());
            server.push_quiet(Quiet::Clean);
        }
        if server.settings.as_ref().is_some_and(|settings| settings.is_hasty()) {
            Settings::default().apply(server.settings.as_deref(), io.out(server.key));
            server.settings = None;
            server.push_quiet(Quiet::Settings(Default::default()));
        }
    }
}

fn by_part(left: State, io: &mut dyn Io) -> String {
    const PARTS: [(State, &str); 5] = [
        (State::CURSORS, "CLOSE ALL;"),
        (State::LISTENS, "UNLISTEN *;"),
        (State::LOCKS, "SELECT pg_catalog.pg_advisory_unlock_all();"),
        (State::TEMPORARY, "DISCARD TEMP;"),
        (State::SEQUENCES, "DISCARD SEQUENCES;"),
    ];
    let mut sql = String::new();
    PARTS.iter().filter(|(part, _)| left.has(*part)).for_each(|(_, text)| sql.push_str(text));
    if left.has(State::SEED) {
        // The sequence of random() that the client chose goes on for nobody.
        let seed = (io.random() >> 12) as f64 / (1u64 << 52) as f64;
        sql.push_str(&format!("SELECT pg_catalog.setseed({seed});"));
    }
    sql
}
