//! Pools: who gets which server connection, when to dial, and what happens to a connection that comes back.

use crate::auth::Credentials;
use crate::client::{Begun, Client, Phase as ClientPhase};
use crate::conf::{Database, Endpoint, Mode, Shard};
use crate::error::Error;
use crate::machine::{Postgres, timer};
use crate::message::query;
use crate::meter::PoolMeter;
use crate::server::{Expect, Phase, Quiet, Server};
use crate::settings::Settings;
use hashbrown::{HashMap, HashSet};
use sql::ShardId;
use std::rc::Rc;
use std::sync::Arc;
use wire::pool::{Acquired, Limits, Pool};
use wire::{Close, Io, Key};

/// Greetings that are kept per pool: as many as there are different startup messages among its clients, which are few.
const MAX_WELCOMES: usize = 64;

/// Statements that are known to be taken, per pool; beyond that they are learned again.
const MAX_VERIFIED: usize = 4096;

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
    /// Which of the shard's servers is dialled next.
    pub next: usize,
    /// Why the last dial or login failed, for people.
    pub last_error: String,
    /// ParameterStatus messages by the client's settings.
    pub welcomes: HashMap<Rc<Settings>, Rc<[u8]>>,
    /// Statements that one of its servers has taken: another client's Parse of the same is answered without a connection.
    pub verified: HashSet<u128>,
    /// No longer configured: what comes back is closed.
    pub is_retired: bool,
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

    /// One of its servers has taken a statement.
    pub fn verify(&mut self, id: u128) {
        if self.verified.len() >= MAX_VERIFIED {
            self.verified.clear();
        }
        self.verified.insert(id);
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        let targets = &self.shard()?.targets;
        targets.get(self.next % targets.len().max(1))
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
        let backend = self.backends.get_mut(index)?;
        let acquired = backend.pool.acquire(client.key, io.now());
        if let Acquired::Leased(server) = acquired {
            backend.meter.census(backend.pool.census());
            return Some(server);
        }
        client.waits = Some(index);
        client.shard = shard;
        io.pause(client.key, true);
        self.pump(io, index);
        None
    }

    /// Makes the connection the client's, and the session on it the client's session; with the client's own BEGIN, if that was held back.
    pub(crate) fn attach(&mut self, io: &mut dyn Io, server: &mut Server, client: &mut Client) {
        server.owner = Some(client.key);
        server.is_idle = false;
        client.server = Some(server.key);
        client.waits = None;
        io.link(server.key, client.key);
        io.link(client.key, server.key);
        self.prepare_session(io, server, client);
        client.virgin = Some(client.begun);
        if client.begun == Begun::Open {
            client.begun = Begun::No;
            query(io.out(server.key), &client.begin);
            server.expect.push_back(Expect::Quiet(Quiet::Begin));
        }
    }

    /// Gives the session the client's settings.
    pub(crate) fn prepare_session(&mut self, io: &mut dyn Io, server: &mut Server, client: &Client) {
        if server.settings.as_ref() != Some(&client.settings) {
            client.settings.apply(server.settings.as_deref(), io.out(server.key));
            server.settings = None;
            server.expect.push_back(Expect::Quiet(Quiet::Settings(client.settings.clone())));
        }
    }

    /// Dials what the pool wants, and sees to it that it is asked again in time.
    pub(crate) fn pump(&mut self, io: &mut dyn Io, index: usize) {
        let Some(backend) = self.backends.get_mut(index) else { return };
        while backend.pool.dial(io.now()) {
            let Some(endpoint) = backend.endpoint().cloned() else { break };
            let key = io.dial(&endpoint.target, index as u64);
            io.arm(key, timer::LOGIN, io.now() + backend.database.pool.connect);
            self.servers.insert(key, Box::new(Server::new(key, index, backend.next, Phase::Dialling, endpoint.tls)));
        }
        match backend.pool.next() {
            Some(at) => io.arm(Key::NONE, index as u32, at),
            None => io.disarm(Key::NONE, index as u32),
        }
        backend.meter.census(backend.pool.census());
    }

    /// A pool's timer: waiters whose time is up, connections that nobody needs, another attempt to connect.
    pub(crate) fn backend_timer(&mut self, io: &mut dyn Io, index: usize) {
        while let Some(waiter) = self.backends.get_mut(index).and_then(|backend| backend.pool.expired(io.now())) {
            let Some(error) = self.backends.get(index).map(Backend::timed_out) else { return };
            self.fail_waiter(io, waiter, error);
        }
        while let Some(stale) = self.backends.get_mut(index).and_then(|backend| backend.pool.stale(io.now())) {
            self.close_server(io, stale);
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
            server.expect.push_back(Expect::Quiet(Quiet::Rollback));
        }
        if server.is_dirty {
            query(io.out(server.key), b"DISCARD ALL");
            server.expect.push_back(Expect::Quiet(Quiet::Discard));
        }
        if server.expect.is_empty() {
            self.free(io, server);
        }
    }

    /// A clean connection without owner goes to the longest waiter, or idles; or is closed, where it must not be used again.
    pub(crate) fn free(&mut self, io: &mut dyn Io, server: &mut Server) {
        if server.cancels > 0 && !server.is_doomed {
            return; // a cancel under way could hit the next client's statement: comes back here when it is done
        }
        let Some(backend) = self.backends.get_mut(server.backend) else { return };
        let now = io.now();
        let lifetime = backend.database.pool.lifetime;
        let is_old = lifetime > 0 && now.saturating_sub(server.born) > lifetime;
        if server.is_doomed || backend.is_retired || is_old || backend.pool.is_over() {
            server.is_closed = true;
            backend.pool.lost();
            io.close(server.key, Close::Flush);
            return self.pump(io, server.backend);
        }
        let next = backend.pool.release(server.key, now);
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
            next = self.backends.get_mut(server.backend).and_then(|backend| backend.pool.release(server.key, io.now()));
        }
        server.is_idle = next.is_none();
        let Some(backend) = self.backends.get_mut(server.backend) else { return };
        backend.meter.census(backend.pool.census());
        if server.is_idle
            && let Some(at) = backend.pool.next()
        {
            io.arm(Key::NONE, server.backend as u32, at);
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

    /// The pools of a database for a user, by shard; made when they are first asked for.
    pub(crate) fn group(&mut self, database: &Arc<Database>, user: &Rc<str>) -> Rc<[usize]> {
        let user: Rc<str> = if database.credentials.is_some() { "".into() } else { user.clone() };
        let key = (database.name.clone(), user.clone());
        if let Some(group) = self.groups.get(&key) {
            return group.clone();
        }
        let group: Rc<[usize]> = (0..database.shards.len()).map(|shard| self.add_backend(database, shard as ShardId, &user)).collect();
        self.groups.insert(key, group.clone());
        group
    }

    fn add_backend(&mut self, database: &Arc<Database>, shard: ShardId, user: &Rc<str>) -> usize {
        let shard_name = database.shards.get(usize::from(shard)).map_or("", |shard| &shard.name);
        let of_user = if user.is_empty() { String::new() } else { format!("/{user}") };
        let backend = Backend {
            database: database.clone(),
            shard,
            user: user.clone(),
            pool: Pool::new(self.limits(database)),
            next: 0,
            last_error: String::new(),
            welcomes: HashMap::new(),
            verified: HashSet::new(),
            is_retired: false,
            meter: PoolMeter::new(&self.worker.metrics, &format!("{}/{shard_name}{of_user}", database.name)),
        };
        let free = self.backends.iter().position(|backend| backend.is_retired && backend.pool.is_empty());
        match free {
            Some(index) => {
                self.backends[index] = backend;
                index
            }
            None => {
                self.backends.push(backend);
                self.backends.len() - 1
            }
        }
    }

    /// This worker's share of a database's pool.
    pub(crate) fn limits(&self, database: &Database) -> Limits {
        let size = Limits::share(database.pool.size, self.worker.index, self.worker.count);
        Limits { size, wait: database.pool.wait, idle: database.pool.idle }
    }

    /// Whether the client keeps its connection after the transaction.
    pub(crate) fn keeps(client: &Client) -> bool {
        client.pinned.is_some() || client.listener.database.mode == Mode::Session
    }
}
