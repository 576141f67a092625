//! A session's connection to another cluster, for what is asked of several.
//!
//! ```text
//! Dialing --up--> [Login] --> Ready --closed or too slow--> gone; dialled again when it is needed
//! ```
//! Its requests are the client's own, and it logs in as the client's own connection does. One request is under way on it at most.

use crate::auth::{Login, Next};
use crate::frame::{MAX_RESPONSE, response_head};
use crate::machine::{Kafka, Use};
use crate::session::Session;
use crate::shared::Shared;
use wire::{Close, Fault, Io, Key, Nanos, SECONDS};

/// The timer of a side.
pub const TIMER_SIDE: u32 = 7;

/// The longest response that is held to be merged: Metadata of 100,000 partitions with three replicas is 6 MB.
const MAX_SIDE_RESPONSE: u32 = 32 * 1024 * 1024;
const _: () = assert!(MAX_SIDE_RESPONSE < MAX_RESPONSE);

/// How long another cluster may take: as long as it may hang before clients of this one feel it; they wait 30 s for a request.
const SIDE_TIMEOUT: Nanos = 10 * SECONDS;

/// Bootstrap brokers that one request is offered to: with the time that a silent one takes, more would be felt.
const MAX_TRIES: usize = 2;

/// One connection.
pub struct Side {
    key: Key,
    ordinal: usize,
    /// Bootstrap brokers that were tried for the request at hand.
    tried: usize,
    is_up: bool,
    login: Option<Login>,
    /// When the broker wants to hear again who we are: then there is another connection.
    until: Nanos,
    /// The request at hand, until it is sent.
    frame: Option<Vec<u8>>,
}

impl Kafka {
    /// A connection to another cluster is there.
    pub(crate) fn side_up(&mut self, io: &mut dyn Io, key: Key, client: Key, ordinal: usize) {
        let Some(session) = self.sessions.get_mut(client) else { return io.close(key, Close::Abort) };
        session.side_up(io, &mut self.shared, key, ordinal);
        self.note_sides(io, client);
    }

    /// Takes notice of what a session has begun and ended with other clusters.
    pub(crate) fn note_sides(&mut self, io: &mut dyn Io, client: Key) {
        let Some(errands) = self.sessions.get_mut(client).and_then(|session| session.errands.as_mut()) else { return };
        for key in errands.gone.drain(..) {
            self.servers.remove(key);
        }
        for (key, ordinal) in errands.fresh.drain(..) {
            self.servers.insert(key, Use::Side(client, ordinal));
        }
        if errands.is_broken {
            self.drop_session(io, client, Close::Flush);
        }
    }

    /// A connection to another cluster is no more, or too slow.
    pub(crate) fn side_lost(&mut self, io: &mut dyn Io, key: Key, why: &str) {
        let Some(Use::Side(client, _)) = self.servers.get(key) else { return };
        let client = *client;
        if let Some(session) = self.sessions.get_mut(client) {
            session.side_lost(io, &mut self.shared, key, why);
        }
        self.note_sides(io, client);
        self.settle(io, client);
    }
}

impl Session {
    /// Sends a request to another cluster.
    pub(super) fn ask_beside(&mut self, io: &mut dyn Io, shared: &mut Shared, ordinal: usize, frame: Vec<u8>) {
        let Some(errands) = &mut self.errands else { return };
        match errands.sides.iter_mut().find(|side| side.ordinal == ordinal) {
            Some(side) if side.is_up && side.login.is_none() && io.now() < side.until => {
                io.out(side.key).extend_from_slice(&frame);
                io.arm(side.key, TIMER_SIDE, io.now().saturating_add(SIDE_TIMEOUT));
            }
            old => {
                if let Some(key) = old.map(|side| side.key) {
                    io.close(key, Close::Flush);
                    self.forget_side(shared, key);
                }
                self.dial_side(io, shared, ordinal, frame, 0);
            }
        }
    }

    fn dial_side(&mut self, io: &mut dyn Io, shared: &mut Shared, ordinal: usize, frame: Vec<u8>, tried: usize) {
        let backend = self.listener_of(shared, ordinal).map(|listener| std::sync::Arc::clone(&listener.backend));
        let Some(backend) = backend.filter(|backend| tried < backend.bootstrap.len().min(MAX_TRIES)) else {
            return self.part_failed(ordinal, "no bootstrap broker takes a connection");
        };
        let at = (self.tried + tried) % backend.bootstrap.len();
        let (host, port) = &backend.bootstrap[at];
        let key = io.dial(&backend.target(host, *port), 0);
        io.arm(key, TIMER_SIDE, io.now().saturating_add(SIDE_TIMEOUT));
        shared.backend(&backend.name).moved(1, 0);
        let errands = self.errands.get_or_insert_default();
        errands.sides.push(Side { key, ordinal, tried, is_up: false, login: None, until: Nanos::MAX, frame: Some(frame) });
        errands.fresh.push((key, ordinal));
    }

    /// The connection is up: we log in, where that is ours to do, or send the request.
    pub(crate) fn side_up(&mut self, io: &mut dyn Io, shared: &mut Shared, key: Key, ordinal: usize) {
        let listener = self.listener_of(shared, ordinal);
        let credential = listener.as_ref().filter(|_| self.auth.is_some()).and_then(|listener| listener.backend.credential(&self.identity));
        let random = shared.entropy.draw();
        if let Some(listener) = &listener {
            shared.backend(&listener.backend.name).moved(-1, 1);
        }
        let Some(side) = self.side(key) else { return };
        side.is_up = true;
        match credential {
            None => side.send(io),
            Some(who) => {
                let (login, frame) = Login::begin(who, random);
                side.login = Some(login);
                io.out(key).extend_from_slice(&frame);
            }
        }
    }

    /// Bytes of the other cluster's broker. Returns how many were consumed.
    pub(crate) fn side_data(&mut self, io: &mut dyn Io, shared: &mut Shared, key: Key, bytes: &[u8]) -> Result<usize, Fault> {
        let malformed = |what: String| Fault::server("Kafka response", what);
        let Some((size, _)) = response_head(bytes).map_err(|error| malformed(format!("a response of another cluster {error}")))? else {
            return Ok(0);
        };
        if size > MAX_SIDE_RESPONSE {
            return Err(malformed("a response of another cluster exceeds 32 MiB and would have to be held".into()));
        }
        let frame = 4 + size as usize;
        let Some(whole) = bytes.get(..frame) else {
            io.want(key, frame);
            return Ok(0);
        };
        let Some(side) = self.side(key) else { return Ok(bytes.len()) };
        if let Some(login) = &mut side.login {
            match login.answer(&whole[8..]) {
                Ok(Next::Send(next)) => io.out(key).extend_from_slice(&next),
                Ok(Next::Done(lifetime)) => {
                    side.until = lifetime.map_or(Nanos::MAX, |lifetime| io.now().saturating_add(lifetime / 100 * 85));
                    side.login = None;
                    side.send(io);
                }
                Err(reason) => return Err(Fault::server("Kafka login", reason)),
            }
            return Ok(frame);
        }
        let ordinal = side.ordinal;
        io.disarm(key, TIMER_SIDE);
        self.part_came(ordinal, whole);
        self.finish_errand(io, shared);
        Ok(frame)
    }

    /// The connection is no more, or too slow. What was never sent goes to the next bootstrap broker.
    pub(crate) fn side_lost(&mut self, io: &mut dyn Io, shared: &mut Shared, key: Key, why: &str) {
        let Some(side) = self.forget_side(shared, key) else { return };
        match side.frame.filter(|_| !side.is_up) {
            Some(frame) => self.dial_side(io, shared, side.ordinal, frame, side.tried + 1),
            None => self.part_failed(side.ordinal, why),
        }
        self.finish_errand(io, shared);
    }

    /// The client has gone.
    pub(crate) fn close_sides(&mut self, io: &mut dyn Io, shared: &mut Shared) -> Vec<Key> {
        let Some(mut errands) = self.errands.take() else { return vec![] };
        for side in &errands.sides {
            io.close(side.key, Close::Flush);
            self.count_lost(shared, side);
        }
        errands.gone.extend(errands.sides.iter().map(|side| side.key));
        errands.gone
    }

    fn forget_side(&mut self, shared: &mut Shared, key: Key) -> Option<Side> {
        let errands = self.errands.as_mut()?;
        let at = errands.sides.iter().position(|side| side.key == key)?;
        let side = errands.sides.swap_remove(at);
        errands.gone.push(key);
        self.count_lost(shared, &side);
        Some(side)
    }

    fn count_lost(&self, shared: &mut Shared, side: &Side) {
        if let Some(listener) = self.listener_of(shared, side.ordinal) {
            shared.backend(&listener.backend.name).moved(-i64::from(!side.is_up), -i64::from(side.is_up));
        }
    }

    fn side(&mut self, key: Key) -> Option<&mut Side> {
        self.errands.as_mut()?.sides.iter_mut().find(|side| side.key == key)
    }
}

impl Side {
    fn send(&mut self, io: &mut dyn Io) {
        if let Some(frame) = self.frame.take() {
            io.out(self.key).extend_from_slice(&frame);
        }
    }
}
