//! Cancel requests. Clients have virtual keys: the process id tells worker and connection slot, the secret is random. A key that fits is
//! answered by a CancelRequest with the server's true key, to the server that runs the client's statement at that moment.

use crate::client::Phase as ClientPhase;
use crate::error::Error;
use crate::machine::Postgres;
use crate::mail;
use crate::server::{Phase, Server};
use subtle::ConstantTimeEq;
use wire::{Cursor, Io, Key};

/// As many random bytes as PostgreSQL 18 gives.
const LONG: usize = 32;
/// In protocol 3.0.
const SHORT: usize = 4;

/// The secret of a cancel key.
#[derive(Default)]
pub struct Secret {
    bytes: [u8; LONG],
    length: usize,
}

impl Secret {
    /// Made of random bytes.
    pub fn new(bytes: [u8; LONG], is_long: bool) -> Secret {
        Secret { bytes, length: if is_long { LONG } else { SHORT } }
    }

    /// As BackendKeyData has it.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The slot's part of a process id; the rest names the worker. 8 million connections and 128 workers.
const SLOT_BITS: u32 = 23;
/// What tells ours from a server's, which Linux numbers up to 2^22: `pg_terminate_backend` of one of ours must not end anybody else, and a
/// notification of somebody beside Midstream must not look like one of a client's own.
const OURS: u32 = 1 << 30;

impl Postgres {
    /// The process id that a client is told.
    pub(crate) fn cancel_pid(&self, client: Key) -> u32 {
        let worker = (self.worker.index as u32 & 0x7f) << SLOT_BITS;
        OURS | worker | (client.slot.wrapping_add(1) & ((1 << SLOT_BITS) - 1))
    }

    /// A CancelRequest came; it is for this worker or another one.
    pub(crate) fn cancel_request(&mut self, io: &mut dyn Io, pid: u32, secret: &[u8]) {
        let worker = (pid >> SLOT_BITS & 0x7f) as usize;
        if worker == self.worker.index {
            self.cancel(io, pid, secret);
        } else if worker < self.worker.count {
            io.mail(worker, [&[mail::CANCEL][..], &pid.to_be_bytes(), secret].concat());
        }
    }

    /// One that came to another worker.
    pub(crate) fn cancel_mail(&mut self, io: &mut dyn Io, body: &[u8]) {
        let mut cursor = Cursor::new(body);
        if let Ok(pid) = cursor.u32() {
            self.cancel(io, pid, cursor.rest());
        }
    }

    fn cancel(&mut self, io: &mut dyn Io, pid: u32, secret: &[u8]) {
        let Some(key) = self.cancel_keys.get(&pid).copied() else { return };
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.secret.bytes().is_empty() || !bool::from(client.secret.bytes().ct_eq(secret)) {
            return;
        }
        if let Some(index) = client.waits.take() {
            if matches!(client.phase, ClientPhase::Ready) {
                client.refused =
                    Some(Error::statement("57014", "canceling statement due to user request").detail("It was waiting for a server connection."));
                io.pause(key, false);
            }
            if let Some(backend) = self.backends.get_mut(index) {
                backend.pool.forget(key);
            }
            return;
        }
        let relay = if let ClientPhase::Relaying(server) = client.phase { Some(server) } else { None };
        let servers: Vec<Key> = client.server.iter().chain(&client.legs).chain(&relay).copied().collect();
        for server in servers {
            self.cancel_on(io, server);
        }
    }

    /// Opens a connection to the same server for the CancelRequest.
    pub(crate) fn cancel_on(&mut self, io: &mut dyn Io, of: Key) {
        let is_busy = |server: &Server| match server.phase {
            Phase::Ready => !server.expect.is_empty(),
            Phase::Relaying => true,
            _ => false,
        };
        let Some(server) = self.servers.get_mut(of).filter(|server| is_busy(server)) else { return };
        server.cancels += 1;
        let phase = Phase::Cancel { of, pid: server.pid, secret: server.secret };
        let (index, turn, endpoint) = (server.backend, server.turn, server.endpoint.clone());
        let key = io.dial(&endpoint.target, index as u64);
        self.servers.insert(key, Box::new(Server::new(key, index, turn, endpoint, phase)));
    }

    /// The server has closed the connection of a CancelRequest: the signal is sent, and the connection it was for may be given on.
    pub(crate) fn cancel_done(&mut self, io: &mut dyn Io, of: Key) {
        let Some(mut server) = self.servers.remove(of) else { return };
        server.cancels = server.cancels.saturating_sub(1);
        if server.cancels == 0 && server.relay.is_none() && server.owner.is_none() && !server.is_idle && server.expect.is_empty() {
            self.free(io, &mut server);
        }
        self.put_back(server);
    }
}
