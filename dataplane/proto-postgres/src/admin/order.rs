//! What an admin orders: to stop a Database's pools and start them again, to close their connections, to end their clients.
//!
//! PAUSE and WAIT_CLOSE are answered when it is done. Every worker is asked again and again how much is left: transactions end when
//! their clients end them, and an admin who gives up waiting leaves nothing behind that would have to be taken back.

use super::command::Order;
use crate::backend::Backend;
use crate::client::Phase;
use crate::error::Error;
use crate::machine::Postgres;
use std::sync::Arc;
use wire::{Close, Io};

impl Postgres {
    /// Whether the order can be carried out.
    ///
    /// # Errors
    /// 3D000: there is no such Database.
    pub(super) fn is_known(&self, database: &str) -> Result<(), Error> {
        if database.is_empty() || self.conf.listeners.values().any(|listener| *listener.database.name == *database) {
            return Ok(());
        }
        Err(Error::statement("3D000", format!("there is no Database {database}")).hint("SHOW DATABASES lists them; without a name all are meant."))
    }

    /// Carries an order out on this worker; the number of connections that stand in its way. An empty name means all Databases.
    pub(super) fn obey(&mut self, io: &mut dyn Io, order: Order, database: &str) -> usize {
        match order {
            Order::Pause => self.pause(io, database),
            Order::Resume => self.resume(io, database),
            Order::Kill => self.kill(io, database),
            Order::Reconnect => self.reconnect(io, database),
            Order::WaitClose => {}
        }
        self.left(io, order, database)
    }

    /// How many connections stand in the way of its completion; what needs nobody's consent is closed.
    pub(super) fn left(&mut self, io: &mut dyn Io, order: Order, database: &str) -> usize {
        let meant = self.meant(database);
        match order {
            Order::Pause => {
                let paused: Vec<usize> = meant.into_iter().filter(|index| self.backends[*index].pool.is_paused()).collect();
                paused.iter().for_each(|index| self.close_idle(io, *index));
                paused.iter().map(|index| self.backends[*index].pool.len()).sum()
            }
            Order::WaitClose => self.servers.iter().filter(|(_, server)| server.is_outdated && meant.contains(&server.backend)).count(),
            Order::Resume | Order::Kill | Order::Reconnect => 0,
        }
    }

    fn meant(&self, database: &str) -> Vec<usize> {
        let is_meant = |backend: &Backend| !backend.is_retired && (database.is_empty() || *backend.database.name == *database);
        (0..self.backends.len()).filter(|index| is_meant(&self.backends[*index])).collect()
    }

    fn names(&self, database: &str) -> Vec<Arc<str>> {
        let names = self.conf.listeners.values().map(|listener| listener.database.name.clone());
        names.filter(|name| database.is_empty() || **name == *database).collect()
    }

    fn pause(&mut self, io: &mut dyn Io, database: &str) {
        self.paused.extend(self.names(database));
        for index in self.meant(database) {
            self.backends[index].pool.pause();
            self.close_idle(io, index);
        }
    }

    fn resume(&mut self, io: &mut dyn Io, database: &str) {
        for name in self.names(database) {
            self.paused.remove(&name);
        }
        for index in self.meant(database) {
            self.backends[index].pool.resume(io.now());
            self.pump(io, index);
        }
    }

    /// Ends all clients, with their connections; the pools are paused.
    fn kill(&mut self, io: &mut dyn Io, database: &str) {
        self.pause(io, database);
        let names = self.names(database);
        for key in self.clients.keys() {
            let Some(client) = self.clients.remove(key) else { continue };
            if client.admin.is_some() || !names.contains(&client.listener.database.name) {
                self.clients.insert(key, client);
                continue;
            }
            // It would stand in the middle of whatever a replication connection is passing.
            if !matches!(client.phase, Phase::Relaying(_)) {
                Error::fatal("57P01", "terminating connection: an admin of Midstream has killed this Database").write(io.out(key));
            }
            self.end_client(io, client, Close::Flush);
        }
    }

    /// Closes the server connections when they are free.
    fn reconnect(&mut self, io: &mut dyn Io, database: &str) {
        for index in self.meant(database) {
            self.close_idle(io, index);
            for key in self.servers.keys() {
                if let Some(server) = self.servers.get_mut(key).filter(|server| server.backend == index) {
                    server.is_outdated = true;
                }
            }
            self.pump(io, index);
        }
    }

    fn close_idle(&mut self, io: &mut dyn Io, index: usize) {
        while let Some(idle) = self.backends[index].pool.evict() {
            self.close_server(io, idle);
        }
    }
}
