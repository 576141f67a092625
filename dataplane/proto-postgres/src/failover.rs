//! Which of a shard's servers is the primary: whoever says so when we log in, whatever the configuration thinks.
//!
//! ```text
//! dial a server --refused--------------> the next one at once; a pause when all have been asked
//!        \--in_hot_standby=on----------> the next one; the connection is kept and asks the standby until it is promoted
//!         \--a primary-----------------> into the pool; connections that stand elsewhere are dropped
//! ```
//! PostgreSQL 14 and later reports `in_hot_standby` at login; older ones are asked. A shard with one server is taken as it is, as a direct
//! connection would.

use crate::backend::Backend;
use crate::conf::{Endpoint, Place};
use crate::machine::{Postgres, timer};
use crate::message::{self, Head, head, query};
use crate::server::{Phase, Server};
use wire::{Close, Fault, Io, Key, MILLIS, Nanos};

/// The first pause between two questions to a standby that may be promoted; grows by half each time.
const WATCH_FIRST: Nanos = 25 * MILLIS;
/// The longest: a promotion is seen within it. A thousand sidecars of two workers ask a standby 8,000 trivial questions a second.
const WATCH_MAX: Nanos = 250 * MILLIS;

/// Where a pool looks for its server.
#[derive(Default)]
pub struct Seek {
    /// The server to dial, modulo their number.
    pub turn: usize,
    /// The turn that found the last one: a whole round has failed when all were asked since.
    base: usize,
    /// Servers of this round that refused for good.
    lasting: usize,
    /// Where the pool's connections stand.
    place: Option<Place>,
    /// The only one, for a replica's pool.
    only: Option<Place>,
    /// Connections to standbys that may be promoted.
    watched: Vec<Key>,
}

impl Seek {
    /// For a pool of that server alone.
    pub fn only(endpoint: &Endpoint) -> Seek {
        Seek { only: Some(endpoint.place()), ..Seek::default() }
    }
}

impl Backend {
    /// Whether it is a replica's, for reads.
    pub fn is_replica(&self) -> bool {
        self.seek.only.is_some()
    }

    /// Where its connections stand.
    pub fn place(&self) -> Option<&Place> {
        self.seek.only.as_ref().or(self.seek.place.as_ref())
    }

    /// The server to dial.
    pub fn candidate(&self) -> Option<&Endpoint> {
        if let Some(only) = &self.seek.only {
            return self.shard()?.targets.iter().find(|target| target.place() == *only);
        }
        let targets = &self.shard()?.targets;
        targets.get(self.seek.turn % targets.len().max(1))
    }

    fn has(&self, place: &Place) -> bool {
        self.shard().is_some_and(|shard| shard.targets.iter().any(|target| target.place() == *place))
    }

    /// Whether the server has to prove that it is the primary.
    fn is_choosy(&self) -> bool {
        !self.is_replica() && self.shard().is_some_and(|shard| shard.targets.len() > 1)
    }

    /// The server of that turn is not to be had. True: none is, for reasons that waiting does not mend.
    pub fn missed(&mut self, turn: usize, is_lasting: bool, now: Nanos, dice: u64) -> bool {
        let servers = if self.is_choosy() { self.shard().map_or(1, |shard| shard.targets.len()) } else { 1 };
        if turn != self.seek.turn {
            self.pool.passed_over(now); // dialled side by side with one that has been counted
            return false;
        }
        self.seek.turn = turn.wrapping_add(1);
        self.seek.lasting += usize::from(is_lasting);
        if self.seek.turn.wrapping_sub(self.seek.base) % servers != 0 {
            self.pool.passed_over(now);
            return false;
        }
        self.pool.refused(now, dice);
        std::mem::take(&mut self.seek.lasting) == servers
    }
}

impl Postgres {
    /// A login has ended well.
    pub(crate) fn logged_in(&mut self, io: &mut dyn Io, server: &mut Server) {
        let Some(backend) = self.backends.get(server.backend) else { return };
        if !backend.has(&server.endpoint.place()) {
            self.dial_failed(io, server, "it is configured no more", false);
            server.is_closed = true;
            return io.close(server.key, Close::Flush);
        }
        if !backend.is_choosy() {
            return self.found(io, server);
        }
        match server.reported(b"in_hot_standby") {
            Some(b"off") => self.found(io, server),
            Some(_) => self.is_standby(io, server),
            None => {
                ask(io, server);
                server.phase = Phase::Asked;
            }
        }
    }

    /// Answers of a server that was asked whether it is a standby.
    pub(crate) fn role_data(&mut self, io: &mut dyn Io, server: &mut Server, bytes: &[u8]) -> Result<usize, Fault> {
        let mut at = 0;
        while matches!(server.phase, Phase::Asked | Phase::Watching) {
            let rest = &bytes[at..];
            let (tag, total) = match head(rest, message::backend_limit) {
                Head::Short => break,
                Head::Frame { tag, total } => (tag, total),
                Head::Bad { .. } => return Err(Fault::server("backend message", "a length that cannot be")),
            };
            let Some(body) = rest.get(message::HEADER..total) else {
                io.want(server.key, total);
                break;
            };
            at += total;
            match tag {
                b'D' => server.is_standby = body.last() != Some(&b'f'),
                b'S' => crate::memory::parameter(server, body),
                b'Z' => self.role_known(io, server),
                _ => {}
            }
        }
        Ok(at)
    }

    fn role_known(&mut self, io: &mut dyn Io, server: &mut Server) {
        server.is_asked = false;
        match (&server.phase, server.is_standby) {
            (Phase::Asked, true) => self.is_standby(io, server),
            (Phase::Asked, false) => self.found(io, server),
            (_, true) => {
                let dice = io.random();
                io.arm(server.key, timer::WATCH, io.now().saturating_add(watch_pause(server.watched, dice)));
            }
            (_, false) => {
                self.unwatch(server);
                if let Some(backend) = self.backends.get_mut(server.backend) {
                    backend.pool.adopt();
                }
                self.found(io, server);
            }
        }
    }

    /// A server for the pool. Connections that stand elsewhere lead to a server that is the primary no more.
    fn found(&mut self, io: &mut dyn Io, server: &mut Server) {
        let Some(backend) = self.backends.get_mut(server.backend) else { return };
        let place = server.endpoint.place();
        let seek = &mut backend.seek;
        (seek.turn, seek.base, seek.lasting) = (server.turn, server.turn, 0);
        let before = seek.place.replace(place.clone()).filter(|before| *before != place);
        let watched = std::mem::take(&mut seek.watched);
        if before.is_some() {
            backend.meter.failed_over();
            backend.samples.clear();
        }
        for key in watched {
            self.close_server(io, key);
        }
        self.server_ready(io, server);
        if before.is_some() {
            self.drop_servers(io, server.backend, |other| *other != place);
        }
    }

    /// It cannot serve now, but perhaps soon.
    fn is_standby(&mut self, io: &mut dyn Io, server: &mut Server) {
        server.phase = Phase::Watching;
        server.is_standby = true;
        io.disarm(server.key, timer::LOGIN);
        self.dial_failed(io, server, "it is a standby, and no server of the shard is the primary", false);
        let Some(backend) = self.backends.get_mut(server.backend) else { return };
        let place = server.endpoint.place();
        let is_known = backend.seek.watched.iter().any(|key| self.servers.get(*key).is_some_and(|other| other.endpoint.place() == place));
        if is_known || backend.is_retired {
            server.is_closed = true;
            return io.close(server.key, Close::Flush);
        }
        backend.seek.watched.push(server.key);
        let dice = io.random();
        io.arm(server.key, timer::WATCH, io.now().saturating_add(watch_pause(0, dice)));
    }

    /// A standby's timer: it is asked once more, or let go when nobody waits or it does not answer.
    pub(crate) fn watch(&mut self, io: &mut dyn Io, mut server: Box<Server>) {
        let is_waited_for = |backend: &Backend| backend.pool.census()[3] > 0 && backend.has(&server.endpoint.place());
        let is_wanted = self.backends.get(server.backend).is_some_and(|backend| !backend.is_retired && is_waited_for(backend));
        if !is_wanted || server.is_asked {
            self.unwatch(&server);
            return io.close(server.key, Close::Abort);
        }
        server.watched = server.watched.saturating_add(1);
        ask(io, &mut server);
        let patience = self.backends.get(server.backend).map_or(WATCH_MAX, |backend| backend.database.pool_of(&backend.user).connect);
        io.arm(server.key, timer::WATCH, io.now().saturating_add(patience));
        self.put_back(server);
    }

    /// It is watched no more.
    pub(crate) fn unwatch(&mut self, server: &Server) {
        if let Some(backend) = self.backends.get_mut(server.backend) {
            backend.seek.watched.retain(|key| *key != server.key);
        }
    }

    /// A server was lost: the pool's idle connections to it are likely dead too, and a client that is given one would pay for finding out.
    pub(crate) fn suspect(&mut self, io: &mut dyn Io, server: &Server) {
        if server.is_doomed && !server.is_stopping {
            return; // it ended this one session, and said why
        }
        let place = server.endpoint.place();
        let idle = |other: &Server| other.is_idle && other.endpoint.place() == place;
        let keys: Vec<Key> = self.servers.iter().filter(|(_, other)| other.backend == server.backend && idle(other)).map(|(key, _)| key).collect();
        for key in keys {
            if let Some(backend) = self.backends.get_mut(server.backend) {
                backend.pool.lost_idle(key);
            }
            self.close_server(io, key);
        }
    }

    /// Drops a pool's connections to places that are not its server's: idle ones in silence, clients are told.
    fn drop_servers(&mut self, io: &mut dyn Io, index: usize, is_wrong: impl Fn(&Place) -> bool) {
        let wrong = |server: &Server| server.backend == index && matches!(server.phase, Phase::Ready) && is_wrong(&server.endpoint.place());
        let keys: Vec<Key> = self.servers.iter().filter(|(_, server)| wrong(server)).map(|(key, _)| key).collect();
        for key in keys {
            let Some(mut server) = self.servers.remove(key) else { continue };
            io.close(key, Close::Abort);
            self.ready_server_gone(io, &mut server, "another server is the primary now");
        }
    }

    /// The shard's servers are other ones, or in another order. Connections to those that stayed stay.
    pub(crate) fn move_servers(&mut self, io: &mut dyn Io, index: usize) {
        let Some(backend) = self.backends.get_mut(index).filter(|backend| !backend.is_replica()) else { return };
        let targets = backend.shard().map(|shard| shard.targets.clone()).unwrap_or_default();
        let is_hopeful = targets.iter().any(|target| target.is_healthy);
        let is_good = |place: &Place| targets.iter().any(|target| target.place() == *place && (target.is_healthy || !is_hopeful));
        let at = targets.iter().position(|target| backend.seek.place.as_ref() == Some(&target.place()));
        let stays = backend.seek.place.as_ref().is_some_and(is_good);
        (backend.seek.turn, backend.seek.base) = if stays { (at.unwrap_or(0), at.unwrap_or(0)) } else { (0, 0) };
        self.drop_servers(io, index, |place| !is_good(place));
    }
}

fn ask(io: &mut dyn Io, server: &mut Server) {
    server.is_asked = true;
    server.is_standby = true;
    query(io.out(server.key), b"SELECT pg_catalog.pg_is_in_recovery()");
}

/// With up to a quarter more, so that sidecars do not ask in step.
fn watch_pause(nth: u32, dice: u64) -> Nanos {
    let pause = (0..nth.min(16)).fold(WATCH_FIRST, |pause, _| (pause + pause / 2).min(WATCH_MAX));
    pause + dice % (pause / 4)
}
