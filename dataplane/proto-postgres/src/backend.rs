//! Pools: who gets which server connection, when to dial, and what happens to a connection that comes back.

use crate::auth::Credentials;
use crate::client::{Begun, Client, Phase as ClientPhase};
use crate::code;
use crate::conf::{Database, Shard};
use crate::error::Error;
use crate::failover::Seek;
use crate::machine::{Postgres, timer};
use crate::message::{SYNC, query};
use crate::meter::PoolMeter;
use crate::pool_conf::Mode;
use crate::position::{Pace, Samples};
use crate::refuse::FAILS;
use crate::sequence;
use crate::server::{Expect, Phase, Quiet, Server};
use crate::settings::Settings;
use hashbrown::HashMap;
use sql::ShardId;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wire::pool::{Acquired, Pool};
use wire::{Close, Io, Key, MILLIS, Nanos};

/// Greetings that are kept per pool: as many as there are different startup messages among its clients, which are few.
const MAX_WELCOMES: usize = 64;

/// A pool's timer is never set to less than this from now, whatever the pool says.
const MIN_PAUSE: Nanos = 10 * MILLIS;

/// One pool and what it connects to.
pub struct Backend {
    /// The database that it belongs to, of the configuration in force.
    pub database: Arc<Database>,
    /// Which shard.
    pub shard: ShardId,
    /// The client's user, where the Database has no credentials.
    pub user: Rc<str>,
    /// The pool.
    pub pool: Pool,
    /// When its timer fires: it is moved only to fire sooner, and looks again when it finds nothing to do.
    pub alarm: Nanos,
    /// Which of the shard's servers is dialled.
    pub seek: Seek,
    /// Why the last dial or login failed, for people.
    pub last_error: String,
    /// ParameterStatus messages by the client's settings.
    pub welcomes: HashMap<Rc<Settings>, Rc<[u8]>>,
    /// Functions that cannot change a session.
    pub harmless: code::Shared,
    /// No longer configured: what comes back is closed.
    pub is_retired: bool,
    /// Where the primary's log was, for reads on replicas.
    pub samples: Samples,
    /// The pools of its replicas, where they are read.
    pub replicas: Vec<usize>,
    /// How a replica keeps up.
    pub pace: Pace,
    /// Bytes of its servers.
    pub received: u64,
    /// Gauges.
    pub meter: PoolMeter,
}

impl Backend {
    /// Its shard; `None` for a retired one.
    pub fn shard(&self) -> Option<&Shard> {
        self.database.shards.get(usize::from(self.shard))
    }

    /// `shop/s0`: what messages call it.
    pub fn name(&self) -> String {
        format!("{}/{}", self.database.name, self.shard().map_or("", |shard| &shard.name))
    }

    /// Who we are to its servers.
    pub fn credentials(&self) -> Credentials {
        let of_client = || Credentials { user: self.user.to_string(), password: config::Secret::default() };
        self.database.credentials.clone().unwrap_or_else(of_client)
    }

    /// Keeps a greeting.
    pub fn keep_welcome(&mut self, settings: &Rc<Settings>, welcome: Rc<[u8]>) {
        if self.welcomes.len() >= MAX_WELCOMES {
            self.welcomes.clear();
        }
        self.welcomes.insert(settings.clone(), welcome);
    }

    /// Sees to it that the pool is looked at by then.
    fn wake(&mut self, io: &mut dyn Io, index: usize, at: Nanos) {
        if at < self.alarm {
            self.alarm = at;
            io.arm(Key::NONE, index as u32, at.max(io.now() + MIN_PAUSE));
        }
    }

    /// A connection of the pool that was not idle is gone.
    pub fn lose(&mut self, server: &Server) {
        if server.is_checking { self.pool.lost_check() } else { self.pool.lost() }
    }

    /// The error of a client whose wait was in vain.
    fn timed_out(&self) -> Error {
        let [active, _, connecting, waiting] = self.pool.census();
        let limits = self.pool.limits();
        let seconds = limits.wait as f64 / 1e9;
        let name = self.name();
        if self.pool.is_failing() {
            return Error::statement("08006", format!("no connection to {name} within {seconds} s: {}", self.last_error))
                .hint("The database does not answer Midstream; see whether it runs and accepts connections.");
        }
        Error::statement("53300", format!("no server connection of pool {name} became free within {seconds} s"))
            .detail(format!("{active} of {} connections of this worker are in use, {connecting} connecting, {waiting} clients wait.", limits.size))
            .hint("Raise the Database's pool.size, shorten transactions, or raise pool.waitTimeout.")
    }
}

impl Postgres {
    /// The connection that serves the client's next statement on `shard`; `None`: the client is paused until there is one.
    pub(crate) fn lease(&mut self, io: &mut dyn Io, client: &mut Client, shard: ShardId) -> Option<Key> {
        if client.server.is_some() {
            return client.server;
        }
        let server = self.acquire(io, client, shard)?;
        let mut taken = self.servers.remove(server)?;
        client.shard = shard;
        self.attach(io, &mut taken, client);
        self.put_back(taken);
        client.server
    }

    /// Ends the work on a connection that was taken out of its array.
    pub(crate) fn put_back(&mut self, server: Box<Server>) {
        if !server.is_closed {
            self.servers.insert(server.key, server);
        }
    }

    /// A connection of a shard's pool that is nobody's yet; `None`: the client stands in its queue.
    pub(crate) fn acquire(&mut self, io: &mut dyn Io, client: &mut Client, shard: ShardId) -> Option<Key> {
        let index = *client.backends.get(usize::from(shard))?;
        if client.session.reads_sequence
            && let Some(own) = self.own_sequences(client, index)
        {
            return Some(own);
        }
        client.shard = shard;
        self.acquire_of(io, client, index)
    }

    /// The same of that pool.
    pub(crate) fn acquire_of(&mut self, io: &mut dyn Io, client: &mut Client, index: usize) -> Option<Key> {
        let backend = self.backends.get_mut(index)?;
        match backend.pool.acquire(client.key, io.now()) {
            Acquired::Leased(server) => {
                backend.meter.census(backend.pool.census());
                return Some(server);
            }
            Acquired::Check(server) => self.check(io, server),
            Acquired::Queued => {}
        }
        if self.backends.get(index).is_some_and(|backend| backend.pool.is_paused()) {
            // It would wait with what others have to give back.
            self.let_go_of_legs(io, client);
        }
        client.waits = Some(index);
        io.pause(client.key, true);
        self.pump(io, index);
        None
    }

    /// Makes the connection the client's, and the session on it the client's session; with the client's own BEGIN, if that was held back.
    pub(crate) fn attach(&mut self, io: &mut dyn Io, server: &mut Server, client: &mut Client) {
        server.owner = Some(client.key);
        server.is_idle = false;
        server.owner_pid.store(self.cancel_pid(client.key), Ordering::Relaxed);
        server.kept.reset();
        client.server = Some(server.key);
        client.last_server = Some(server.key);
        client.waits = None;
        io.link(server.key, client.key);
        io.link(client.key, server.key);
        self.prepare_session(io, server, client);
        server.sequences.enter(client.key);
        if client.session.keeps_sequences && !server.sequences.is_of(client.key) {
            sequence::discard(io, server);
        }
        client.virgin = Some(client.begun);
        if client.begun != Begun::No && !server.is_replica {
            let was = std::mem::replace(&mut client.begun, Begun::No);
            query(io.out(server.key), &client.begin);
            server.push_quiet(Quiet::Begin);
            if was == Begun::Failed {
                // What its client takes for failed has to fail there too.
                query(io.out(server.key), FAILS);
                server.push_quiet(Quiet::Fail);
            }
        }
    }

    /// Gives the session the client's settings.
    pub(crate) fn prepare_session(&mut self, io: &mut dyn Io, server: &mut Server, client: &Client) {
        if server.settings.as_ref() != Some(&client.settings) {
            client.settings.apply(server.settings.as_deref(), io.out(server.key));
            server.settings = None;
            server.push_quiet(Quiet::Settings(client.settings.clone()));
        }
    }

    /// Dials what the pool wants, and sees to it that it is asked again in time.
    pub(crate) fn pump(&mut self, io: &mut dyn Io, index: usize) {
        self.dial_wanted(io, index);
        self.pump_siblings(io, index);
        let Some(backend) = self.backends.get_mut(index).filter(|backend| !backend.is_retired) else { return };
        if let Some(at) = backend.pool.next() {
            backend.wake(io, index, at);
        }
        backend.meter.census(backend.pool.census());
    }

    pub(crate) fn dial_wanted(&mut self, io: &mut dyn Io, index: usize) {
        let is_wanting = |one: &Postgres, now| one.backends.get(index).is_some_and(|backend| !backend.is_retired && backend.pool.wants(now));
        while is_wanting(self, io.now()) && self.has_room(io, index) {
            let Some(backend) = self.backends.get_mut(index) else { return };
            let Some(endpoint) = backend.candidate().cloned() else { return };
            if !backend.pool.dial(io.now()) {
                return;
            }
            let key = io.dial(&endpoint.target, index as u64);
            io.arm(key, timer::LOGIN, io.now() + backend.database.pool_of(&backend.user).connect);
            let mut server = Server::new(key, index, backend.seek.turn, endpoint, Phase::Dialling);
            server.is_direct = server.endpoint.target.tls.is_some();
            server.is_replica = backend.is_replica();
            self.servers.insert(key, Box::new(server));
        }
    }

    /// Asks a connection that was idle for long whether it is alive; the client that needs it waits for the answer.
    fn check(&mut self, io: &mut dyn Io, key: Key) {
        let Some(server) = self.servers.get_mut(key) else { return };
        let connect = self.backends.get(server.backend).map_or(0, |backend| backend.database.pool_of(&backend.user).connect);
        server.is_idle = false;
        server.is_checking = true;
        io.out(key).extend_from_slice(SYNC);
        server.expect.push_back(Expect::Quiet(Quiet::Sync));
        io.arm(key, timer::CHECK, io.now() + connect);
    }

    /// A pool's timer: waiters whose time is up, connections that nobody needs, another attempt to connect.
    pub(crate) fn backend_timer(&mut self, io: &mut dyn Io, index: usize) {
        while let Some(waiter) = self.backends.get_mut(index).and_then(|backend| backend.pool.expired(io.now())) {
            let Some(backend) = self.backends.get_mut(index) else { return };
            if backend.is_replica() {
                self.place_anew(io, waiter);
                continue;
            }
            let error = backend.timed_out();
            self.fail_waiter(io, waiter, error);
        }
        while let Some(stale) = self.backends.get_mut(index).and_then(|backend| backend.pool.stale(io.now())) {
            self.close_server(io, stale);
        }
        if let Some(backend) = self.backends.get_mut(index) {
            backend.alarm = Nanos::MAX;
        }
        self.pump(io, index);
    }

    /// The waiter's message is answered with an error instead.
    pub(crate) fn fail_waiter(&mut self, io: &mut dyn Io, waiter: Key, mut error: Error) {
        let Some(mut client) = self.clients.remove(waiter) else { return };
        client.waits = None;
        if matches!(client.phase, ClientPhase::Ready) {
            client.refused = Some(error);
            self.clients.insert(waiter, client);
            return io.pause(waiter, false);
        }
        error.is_fatal = true;
        client.meter.error(&error.code);
        error.write(io.out(waiter));
        self.end_client(io, client, Close::Flush);
    }

    /// The client needs the connection no more. It is cleaned, and then free for the next one.
    pub(crate) fn give_back(&mut self, io: &mut dyn Io, server: &mut Server) {
        server.owner = None;
        io.unlink(server.key);
        if server.status != b'I' {
            query(io.out(server.key), b"ROLLBACK");
            server.push_quiet(Quiet::Rollback);
        }
        self.clean(io, server);
        if server.expect.is_empty() && !server.is_closed {
            self.free(io, server);
        }
    }

    /// A clean connection without owner goes to the longest waiter, or idles; or is closed, where it must not be used again.
    pub(crate) fn free(&mut self, io: &mut dyn Io, server: &mut Server) {
        if server.cancels > 0 && !server.is_doomed {
            return; // a cancel under way could hit the next client's statement: comes back here when it is done
        }
        let is_needed_elsewhere = self.is_needed_elsewhere(server.backend);
        let Some(backend) = self.backends.get_mut(server.backend) else { return };
        let now = io.now();
        if is_needed_elsewhere
            || server.is_doomed
            || server.has_unread
            || server.is_outdated
            || backend.is_retired
            || backend.pool.is_paused()
            || backend.pool.is_over(server.term, now)
        {
            server.is_closed = true;
            backend.lose(server);
            io.close(server.key, Close::Flush);
            return self.pump(io, server.backend);
        }
        let next = if std::mem::take(&mut server.is_checking) {
            io.disarm(server.key, timer::CHECK);
            backend.pool.checked(server.key, server.term, now)
        } else {
            backend.pool.release(server.key, server.term, now)
        };
        self.hand_over(io, server, next);
    }

    /// To the waiter that the pool chose, or into idleness. A waiter that is gone meanwhile is passed over.
    pub(crate) fn hand_over(&mut self, io: &mut dyn Io, server: &mut Server, mut next: Option<Key>) {
        while let Some(waiter) = next {
            if let Some(mut client) = self.clients.remove(waiter) {
                self.granted(io, server, &mut client);
                self.clients.insert(waiter, client);
                break;
            }
            next = self.backends.get_mut(server.backend).and_then(|backend| backend.pool.release(server.key, server.term, io.now()));
        }
        server.is_idle = next.is_none();
        let Some(backend) = self.backends.get_mut(server.backend) else { return };
        backend.meter.census(backend.pool.census());
        if server.is_idle {
            let at = backend.pool.last_idle_ends();
            backend.wake(io, server.backend, at);
        }
    }

    /// A client that waited has its connection.
    fn granted(&mut self, io: &mut dyn Io, server: &mut Server, client: &mut Client) {
        if client.is_gathering {
            client.waits = None;
            self.attach_leg(io, server, client);
            return io.pause(client.key, false);
        }
        self.attach(io, server, client);
        match client.phase {
            ClientPhase::Welcome => self.welcome_with(io, server, client),
            _ => io.pause(client.key, false),
        }
    }

    /// Whether the client keeps its connection after the transaction.
    pub(crate) fn keeps(client: &Client) -> bool {
        client.pinned.is_some() || client.mode == Mode::Session
    }
}
