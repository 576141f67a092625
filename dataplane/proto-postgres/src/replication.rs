//! Replication connections (`replication=true` or `database` in the startup message): physical streaming, base backups, logical decoding.
//!
//! They are no sessions that anybody could share: each has a server connection of its own, outside of the pool, which lives as long as the
//! client's. From the greeting on the bytes pass through untouched, both ways, with the engine's back-pressure. What runs on them cannot
//! be held against filters or sharding rules, so listeners with either refuse them.

use crate::client::{Client, Phase as ClientPhase};
use crate::conf::Listener;
use crate::error::Error;
use crate::machine::{Postgres, timer};
use crate::message::frame;
use crate::server::{Phase, Server};
use crate::settings::Settings;
use std::rc::Rc;
use wire::{Close, Io, Key, STREAM};

/// A server connection that belongs to one client for good.
pub struct Relay {
    /// Whose it is.
    pub client: Key,
    /// As the client asked for it: `true`, `database`.
    pub kind: Rc<str>,
    /// What else its startup message said: here it can be said to the server in the same way.
    pub settings: Rc<Settings>,
    /// The server has said why it does not want to.
    pub is_refused: bool,
}

/// Whether a listener carries such connections.
///
/// # Errors
/// Why it does not.
pub fn allow(listener: &Listener, kind: &str) -> Result<(), Error> {
    let refused = |message: &str| Err(Error::fatal("0A000", message).hint("Connect to the database server itself, or to a listener for this."));
    if listener.chain.is_some() {
        return refused("replication connections cannot be checked against the policies of this listener");
    }
    if listener.database.rules.is_sharded() {
        return refused("a replication connection is to one server, and the tables of this listener lie on several");
    }
    if kind != "database" && !listener.databases.is_empty() {
        return refused("physical replication carries all databases of the server, and this listener serves some");
    }
    Ok(())
}

impl Postgres {
    /// The client is who it says: it gets a server connection of its own.
    pub(crate) fn replicate(&mut self, io: &mut dyn Io, client: &mut Client, kind: Rc<str>) {
        let home = usize::from(client.listener.database.rules.home());
        let index = client.backends.get(home).copied();
        let Some((index, backend)) = index.and_then(|index| Some((index, self.backends.get(index)?))) else { return };
        let Some(endpoint) = backend.candidate().cloned() else { return };
        let key = io.dial(&endpoint.target, index as u64);
        io.arm(key, timer::LOGIN, io.now() + backend.database.pool_of(&backend.user).connect);
        let mut server = Server::new(key, index, backend.seek.turn, endpoint, Phase::Dialling);
        server.is_direct = server.endpoint.target.tls.is_some();
        server.relay = Some(Box::new(Relay { client: client.key, kind, settings: client.settings.clone(), is_refused: false }));
        self.servers.insert(key, Box::new(server));
        client.phase = ClientPhase::Relaying(key);
        io.pause(client.key, true);
    }

    /// The server is ready: the client is greeted, and from here on nobody looks.
    pub(crate) fn relay(&mut self, io: &mut dyn Io, server: &mut Server) {
        let Some(mut client) = server.relay.as_ref().and_then(|relay| self.clients.remove(relay.client)) else { return };
        server.phase = Phase::Relaying;
        io.disarm(server.key, timer::LOGIN);
        let welcome = server.greeting();
        self.greet(io, &mut client, &welcome);
        client.phase = ClientPhase::Relaying(server.key);
        io.forward(server.key, client.key, STREAM);
        io.forward(client.key, server.key, STREAM);
        io.pause(client.key, false);
        self.clients.insert(client.key, client);
    }

    /// The server has refused the login: in its own words.
    pub(crate) fn relay_error(&mut self, io: &mut dyn Io, server: &mut Server, body: &[u8]) {
        if let Some(relay) = server.relay.as_deref_mut() {
            relay.is_refused = true;
            frame(io.out(relay.client), b'E', |out| out.extend_from_slice(body));
        }
    }

    /// The server connection did not come about, or is gone: the client's ends with it. False: it is no such connection.
    pub(crate) fn relay_gone(&mut self, io: &mut dyn Io, server: &Server, why: &str) -> bool {
        let Some(relay) = &server.relay else { return false };
        let Some(client) = self.clients.remove(relay.client) else { return true };
        if !relay.is_refused && !matches!(server.phase, Phase::Relaying) {
            let name = self.backends.get(server.backend).map_or_else(String::new, |backend| backend.name());
            client.meter.error("08006");
            Error::fatal("08006", format!("no connection to {name}: {why}")).write(io.out(client.key));
        }
        self.end_client(io, client, Close::Flush);
        true
    }

    /// The client is gone: so is its server connection, after what the client has sent.
    pub(crate) fn leave_relay(&mut self, io: &mut dyn Io, client: &Client) {
        if let ClientPhase::Relaying(server) = client.phase
            && self.servers.remove(server).is_some()
        {
            io.close(server, Close::Flush);
        }
    }
}
