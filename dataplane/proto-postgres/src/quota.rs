//! Server connections of a Database over all its pools: `pool.maxServers`. Only where users have pools of their own do they add up.
//!
//! A pool that wants a connection when all are there gets the room of another pool's idle one; where none is idle, the next connection
//! that comes back is closed for it, unless somebody waits for that one as well. A pool without any connection goes before those who wait.

use crate::machine::Postgres;
use wire::Io;
use wire::pool::Limits;

impl Postgres {
    /// Whether the pool may have one more connection; an idle one of another pool makes room for it.
    pub(crate) fn has_room(&mut self, io: &mut dyn Io, index: usize) -> bool {
        if !self.is_full(index) {
            return true;
        }
        for other in self.siblings(index) {
            let Some(oldest) = self.backends.get(other).and_then(|backend| backend.pool.oldest_idle()) else { continue };
            // One that is just being worked on comes by `is_needed_elsewhere`.
            if self.servers.get(oldest).is_some() {
                self.backends[other].pool.lost_idle(oldest);
                self.close_server(io, oldest);
                return true;
            }
        }
        false
    }

    /// Whether a connection that comes back to the pool is to be closed for another pool's sake.
    pub(crate) fn is_needed_elsewhere(&self, index: usize) -> bool {
        let Some(backend) = self.backends.get(index).filter(|_| self.is_full(index)) else { return false };
        let is_wanted_here = backend.pool.census()[3] > 0;
        let wants = |other: usize| {
            let pool = &self.backends[other].pool;
            pool.census()[3] > pool.census()[2] && (!is_wanted_here || pool.is_empty())
        };
        self.siblings(index).into_iter().any(wants)
    }

    /// The pools that may have waited for the room that a connection of this one has left.
    pub(crate) fn pump_siblings(&mut self, io: &mut dyn Io, index: usize) {
        if self.max_servers(index) == 0 {
            return;
        }
        for other in self.siblings(index) {
            if self.backends[other].pool.census()[3] > 0 {
                self.dial_wanted(io, other);
            }
        }
    }

    fn max_servers(&self, index: usize) -> usize {
        let max = self.backends.get(index).map_or(0, |backend| backend.database.max_servers);
        if max > 0 { Limits::share(max, self.worker.index, self.worker.count) } else { 0 }
    }

    fn is_full(&self, index: usize) -> bool {
        let max = self.max_servers(index);
        let others = || self.siblings(index).into_iter().map(|other| self.backends[other].pool.len()).sum::<usize>();
        max > 0 && self.backends[index].pool.len() + others() >= max
    }

    /// The other pools of the same database and shard.
    fn siblings(&self, index: usize) -> Vec<usize> {
        let Some(own) = self.backends.get(index) else { return Vec::new() };
        let is_sibling = |other: &usize| {
            let backend = &self.backends[*other];
            *other != index && backend.shard == own.shard && backend.database.name == own.database.name
        };
        (0..self.backends.len()).filter(is_sibling).collect()
    }
}
