//! Bytes of a server connection, for one owner after the other: what they mean is told by its phase, see [`crate::back`] for a ready one.

use crate::back::Turn;
use crate::machine::Postgres;
use crate::server::{Phase, Server};
use wire::{Close, Fault, Io, Key};

impl Postgres {
    /// Bytes of a server.
    ///
    /// # Errors
    /// It broke the protocol.
    pub(crate) fn server_data(&mut self, io: &mut dyn Io, key: Key, bytes: &[u8]) -> Result<usize, Fault> {
        let Some(mut server) = self.servers.remove(key) else { return Ok(bytes.len()) };
        let result = match server.phase {
            Phase::Ready => self.ready_data(io, &mut server, bytes),
            Phase::Cancel { .. } | Phase::Relaying => Ok(bytes.len()),
            _ => self.login_data(io, &mut server, bytes),
        };
        self.put_back(server);
        result
    }

    /// Works the bytes off for one owner after the other: a released connection may belong to the next client before they end.
    fn ready_data(&mut self, io: &mut dyn Io, server: &mut Server, bytes: &[u8]) -> Result<usize, Fault> {
        let mut at = 0;
        while at < bytes.len() && !server.is_closed {
            let mut client = server.owner.and_then(|owner| self.clients.remove(owner));
            let rest = &bytes[at..];
            let (consumed, turn) = match client.as_deref_mut() {
                Some(client) if client.legs.contains(&server.key) => self.leg_data(io, server, client, rest),
                _ => self.run(io, server, client.as_deref_mut(), rest),
            };
            at += consumed;
            let is_ended = matches!(turn, Ok(Turn::ClientEnded(_)));
            match (client, &turn) {
                (Some(client), Ok(Turn::ClientEnded(how))) => self.end_client_on(io, client, server, *how),
                (Some(client), _) => self.clients.insert(client.key, client),
                _ => {}
            }
            turn?;
            if consumed == 0 && !is_ended {
                break;
            }
        }
        if let Some(backend) = self.backends.get_mut(server.backend) {
            backend.received = backend.received.saturating_add(at as u64);
        }
        if server.is_doomed && server.is_idle && !server.is_closed {
            // It said that it ends itself: nobody gets it any more.
            self.backends.get_mut(server.backend).map(|backend| backend.pool.lost_idle(server.key));
            server.is_closed = true;
            io.close(server.key, Close::Flush);
            self.pump(io, server.backend);
        }
        Ok(at)
    }
}
