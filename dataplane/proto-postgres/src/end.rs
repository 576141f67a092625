//! Ends: of requests, clients, servers, configurations, and of the process.

use crate::client::{Begun, Client, Phase};
use crate::conf::Conf;
use crate::error::Error;
use crate::machine::Postgres;
use crate::pool_conf::Mode;
use crate::server::Server;
use crate::split;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::pool::Limits;
use wire::{Close, Io};

impl Postgres {
    /// The oldest request of the client is answered.
    pub(crate) fn answered_request(&self, io: &dyn Io, client: &mut Client) {
        if client.started > 0 {
            let took = io.now().saturating_sub(client.started);
            client.meter.request(client.class, took);
            client.started = 0;
            client.is_repeated = false;
            self.log(client, took);
        }
        if client.server.is_none() && client.begun == Begun::No {
            client.ended_transaction(io.now());
        }
    }

    /// The client is gone or told to go.
    pub(crate) fn end_client(&mut self, io: &mut dyn Io, mut client: Box<Client>, how: Close) {
        if let Some(mut server) = client.server.and_then(|key| self.servers.remove(key)) {
            self.leave(io, &client, &mut server);
            self.put_back(server);
        }
        self.forget_client(io, &mut client, how);
    }

    /// The same, while the server that is leased to it is being worked on.
    pub(crate) fn end_client_on(&mut self, io: &mut dyn Io, mut client: Box<Client>, server: &mut Server, how: Close) {
        if client.server == Some(server.key) {
            self.leave(io, &client, server);
        }
        self.forget_client(io, &mut client, how);
    }

    fn forget_client(&mut self, io: &mut dyn Io, client: &mut Client, how: Close) {
        self.let_go_of_legs(io, client);
        self.leave_relay(io, client);
        if let Some(backend) = client.waits.and_then(|index| self.backends.get_mut(index)) {
            backend.pool.forget(client.key);
        }
        let pid = self.cancel_pid(client.key);
        if self.cancel_keys.get(&pid) == Some(&client.key) {
            self.cancel_keys.remove(&pid);
        }
        io.close(client.key, how);
    }

    /// A lease without its client: cleaned; or closed, where an answer is still under way, which nobody could tell from the next one's,
    /// or a batch without its Sync, which must not be committed.
    fn leave(&mut self, io: &mut dyn Io, client: &Client, server: &mut Server) {
        let is_answered = server.expect.is_empty() || split::is_unharmed(client, server);
        if is_answered && !server.is_copy_in && !server.is_doomed && !client.is_in_batch {
            server.left = client.session.left();
            // In session mode nothing is asked for: a client's end is rare enough to be thorough.
            server.is_dirty |= client.mode == Mode::Session;
            return self.give_back(io, server);
        }
        server.owner = None;
        self.abandon(io, server);
    }

    /// Whether the client is gone, and what it has begun will never be ended: a COPY, a batch.
    pub(crate) fn is_deserted(&self, client: &Client, server: &Server) -> bool {
        client.is_leaving && !self.is_draining && !client.is_moving && !server.will_be_ready()
    }

    /// Closes a leased connection.
    pub(crate) fn abandon(&mut self, io: &mut dyn Io, server: &mut Server) {
        server.is_closed = true;
        io.close(server.key, Close::Abort);
        if let Some(backend) = self.backends.get_mut(server.backend) {
            backend.lose(server);
        }
        self.pump(io, server.backend);
    }

    /// The client's connection to its server broke: its session is gone, as it would be on a direct connection.
    pub(crate) fn lost_server(&mut self, io: &mut dyn Io, mut client: Box<Client>, server: &mut Server, reason: &str) {
        if self.replay(io, &mut client, server) {
            return self.clients.insert(client.key, client);
        }
        client.server = None;
        client.legs.retain(|leg| *leg != server.key);
        let name = self.backends.get(server.backend).map_or_else(String::new, |backend| backend.name());
        let error = Error::fatal("08006", format!("the connection to {name} was lost: {reason}"))
            .detail(
                "What was under way may or may not have been done; the transaction, if there was one, was not committed unless COMMIT was answered.",
            )
            .hint("Reconnect and look.");
        // A server that ended on purpose has said why itself.
        if !server.is_doomed {
            client.meter.error(&error.code);
            error.write(io.out(client.key));
        }
        self.forget_client(io, &mut client, Close::Flush);
    }

    /// Another configuration is in force.
    pub(crate) fn reconfigure(&mut self, io: &mut dyn Io, conf: Arc<Conf>) {
        self.conf = conf;
        self.begin_stats(io);
        self.flows.clear();
        self.move_backends(io);
        for key in self.clients.keys() {
            let Some(mut client) = self.clients.remove(key) else { continue };
            match self.conf.listeners.get(&client.listener.name).cloned() {
                None => {
                    if !matches!(client.phase, Phase::Relaying(_)) {
                        Error::fatal("57P01", "this listener was removed from Midstream's configuration").write(io.out(key));
                    }
                    self.end_client(io, client, Close::Flush);
                }
                Some(listener) if matches!(client.phase, Phase::Admin) && !listener.admins.contains(&client.user.to_string()) => {
                    Error::fatal("57P01", format!("user \"{}\" is no admin of this listener any more", client.user)).write(io.out(key));
                    self.end_client(io, client, Close::Flush);
                }
                Some(listener) => {
                    client.listener = listener.clone();
                    if matches!(client.phase, Phase::Welcome | Phase::Ready) {
                        self.move_client(io, &mut client);
                    }
                    self.clients.insert(key, client);
                }
            }
        }
    }

    /// A session goes on; what it does next follows the new rules.
    fn move_client(&mut self, io: &mut dyn Io, client: &mut Client) {
        let listener = client.listener.clone();
        self.settle_in(client, &listener);
        if client.seat.as_ref().is_some_and(|seat| !seat.is_of(&listener.database)) {
            client.seat = Some(self.seats.keep(&listener.database, &client.user));
        }
        let is_void = client.wanted.forget();
        let waited = client.waits.take();
        if let Some(backend) = waited.and_then(|index| self.backends.get_mut(index)) {
            backend.pool.forget(client.key);
        }
        if is_void || waited.is_some() {
            self.let_go_of_legs(io, client);
            match client.phase {
                Phase::Welcome => self.welcome(io, client),
                _ => io.pause(client.key, false),
            }
        }
    }

    /// Pools that lead to the same place stay; the others retire.
    fn move_backends(&mut self, io: &mut dyn Io) {
        let databases: BTreeMap<_, _> =
            self.conf.listeners.values().map(|listener| (listener.database.name.clone(), listener.database.clone())).collect();
        self.paused.retain(|name| databases.contains_key(name));
        for index in 0..self.backends.len() {
            let backend = &self.backends[index];
            let new = databases.get(&backend.database.name).filter(|new| is_same(backend, new)).cloned();
            match new {
                Some(database) => {
                    let backend = &mut self.backends[index];
                    backend.pool.limit(database.pool_of(&backend.user).limits(&self.worker));
                    backend.database = database;
                    self.move_servers(io, index);
                }
                None => self.retire(io, index),
            }
        }
        (0..self.backends.len()).for_each(|index| self.add_replicas(index));
        let retired = |index: &usize| self.backends.get(*index).is_none_or(|backend| backend.is_retired);
        let sizes: BTreeMap<_, _> = databases.iter().map(|(name, database)| (name.clone(), database.shards.len())).collect();
        self.groups.retain(|(name, _), group| !group.iter().any(retired) && sizes.get(name) == Some(&group.len()));
        self.warm(io);
        (0..self.backends.len()).for_each(|index| self.pump(io, index));
    }

    fn retire(&mut self, io: &mut dyn Io, index: usize) {
        let backend = &mut self.backends[index];
        backend.is_retired = true;
        backend.meter.census([0; 4]);
        if backend.is_replica() {
            self.give_up_replica(io, index);
        }
        while let Some(key) = self.backends[index].pool.evict() {
            self.close_server(io, key);
        }
    }

    /// What a client hears that ends because the process does.
    pub(crate) fn last_word(&self, io: &mut dyn Io, client: &Client) {
        if self.is_draining {
            shutting_down(io, client);
        }
    }

    /// The process ends: idle clients are told, the others when they are idle.
    pub(crate) fn drain(&mut self, io: &mut dyn Io) {
        self.is_draining = true;
        for backend in &mut self.backends {
            backend.pool.limit(Limits { min: 0, ..backend.pool.limits() });
        }
        for key in self.clients.keys() {
            let Some(mut client) = self.clients.remove(key) else { continue };
            let is_idle =
                client.server.is_none_or(|key| self.servers.get(key).is_none_or(|server| server.status == b'I' && server.expect.is_empty()));
            if is_idle && client.waits.is_none() && !client.wanted.is_pending() && client.scatter.is_none() {
                shutting_down(io, &client);
                self.end_client(io, client, Close::Flush);
            } else {
                client.is_leaving = true;
                self.clients.insert(key, client);
            }
        }
    }
}

/// As a server says it when it is told to stop.
fn shutting_down(io: &mut dyn Io, client: &Client) {
    if matches!(client.phase, Phase::Relaying(_)) {
        return; // it would stand in the middle of whatever is passing
    }
    Error::fatal("57P01", "terminating connection: Midstream is shutting down").hint("Reconnect.").write(io.out(client.key));
}

fn is_same(backend: &crate::backend::Backend, new: &crate::conf::Database) -> bool {
    let Some((old_shard, new_shard)) = backend.shard().zip(new.shards.get(usize::from(backend.shard))) else { return false };
    !backend.is_retired
        && old_shard.name == new_shard.name
        && old_shard.database == new_shard.database
        && backend.database.credentials == new.credentials
        && is_still_replica(backend, new)
        && new.owner(&backend.user) == &*backend.user
}

/// Of a pool for reads: whether its server is still one that is read.
fn is_still_replica(backend: &crate::backend::Backend, new: &crate::conf::Database) -> bool {
    let is_there = |place: &crate::conf::Place| new.shards.iter().any(|shard| shard.targets.iter().any(|target| target.place() == *place));
    !backend.is_replica() || new.reads.is_some() && backend.place().is_some_and(is_there)
}
