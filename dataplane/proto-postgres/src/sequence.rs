//! currval() and lastval(): what they tell lies in the server's session, and nothing tells whether it is this client's own.
//!
//! A server connection knows whose statements it has run since the last DISCARD SEQUENCES. A client that asks gets the connection that it
//! used last, if nobody else has; otherwise one on which the past is discarded first, so that the server says "not yet defined" as in a
//! fresh session: never another client's value. Clients of the same user and startup message are remembered: from then on each of them
//! begins on a connection without a past, and keeps it once it has written.

use crate::client::Client;
use crate::error::Error;
use crate::machine::Postgres;
use crate::message::query;
use crate::server::{Quiet, Server};
use sql::effect::State;
use wire::{Class, Io, Key};

/// Different users and startup messages whose clients ask for sequences' values; beyond it they are learned again.
const MAX_READERS: usize = 256;

/// Whose sequence values a server's session may hold.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sequences {
    owner: Option<Key>,
    is_mixed: bool,
}

impl Sequences {
    /// That client's statements run now.
    #[inline]
    pub fn enter(&mut self, client: Key) {
        if self.owner != Some(client) {
            self.is_mixed |= self.owner.is_some();
            self.owner = Some(client);
        }
    }

    /// Nobody else's.
    pub fn is_of(&self, client: Key) -> bool {
        self.owner == Some(client) && !self.is_mixed
    }

    /// They are discarded.
    pub fn discard(&mut self) {
        self.is_mixed = false;
    }
}

impl Postgres {
    /// The connection that the client used last, if it can still be asked for the client's own values.
    pub(crate) fn own_sequences(&mut self, client: &Client, backend: usize) -> Option<Key> {
        let last = client.last_server?;
        let server = self.servers.get(last)?;
        let is_own = server.is_idle && server.backend == backend && server.sequences.is_of(client.key);
        (is_own && self.backends.get_mut(backend)?.pool.take(last)).then_some(last)
    }

    /// The client's next statement on this connection reads a sequence's last value.
    ///
    /// # Errors
    /// 55000: it may not be its own, and what runs already forbids to discard it.
    pub(crate) fn reads_sequence(&mut self, io: &mut dyn Io, client: &mut Client, key: Key) -> Result<(), Error> {
        client.session.reads_sequence = false;
        client.session.keeps_sequences = true;
        if self.sequence_readers.len() >= MAX_READERS {
            self.sequence_readers.clear();
        }
        self.sequence_readers.insert((client.listener.name.clone(), client.user.clone(), client.startup.clone()));
        let Some(server) = self.servers.get_mut(key) else { return Ok(()) };
        if server.sequences.is_of(client.key) {
            return Ok(());
        }
        if client.is_in_batch {
            return Err(Error::statement(
                "55000",
                "currval and lastval are not defined: another client's sequences may be what this connection knows",
            )
            .hint("Midstream has learned that this client asks for them; the next session of this kind keeps its connection."));
        }
        discard(io, server);
        Ok(())
    }

    /// Whether clients like this one have asked before.
    pub(crate) fn is_sequence_reader(&self, client: &Client) -> bool {
        !self.sequence_readers.is_empty()
            && self.sequence_readers.contains(&(client.listener.name.clone(), client.user.clone(), client.startup.clone()))
    }
}

impl Client {
    /// A statement of its goes to the server.
    #[inline]
    pub(crate) fn advances(&mut self) {
        if self.session.keeps_sequences && self.class != Class::Read {
            self.pin(State::SEQUENCES);
        }
    }
}

/// Forgets all sequences' values on a connection.
pub fn discard(io: &mut dyn Io, server: &mut Server) {
    query(io.out(server.key), b"DISCARD SEQUENCES");
    server.push_quiet(Quiet::Sequences);
    server.sequences.discard();
}
