//! Connections to nodes: made, logged in, counted, retired.

use crate::discovery::WATCH_SENTINEL;
use crate::machine::Redis;
use crate::node::{LANES, Lane};
use crate::pipe::{Owner, Pending, Pipe, State};
use wire::{Close, Io, Key};

/// Said on connections that read what a node of a cluster has as a replica.
const READONLY: &[u8] = b"*1\r\n$8\r\nREADONLY\r\n";

impl Redis {
    pub(crate) fn dial_shared(&mut self, io: &mut dyn Io, cluster: usize, node: u16, lane: Lane) -> Option<Key> {
        let key = self.dial(io, cluster, node, lane.resp, None)?;
        self.pipes.get_mut(key)?.readonly = lane.readonly;
        self.clusters[cluster].as_mut()?.nodes[usize::from(node)].pipes[lane.index()] = Some(key);
        Some(key)
    }

    /// Opens a connection to a node unless it is known to be down.
    pub(crate) fn dial(&mut self, io: &mut dyn Io, cluster: usize, node: u16, resp: u8, lease: Option<Key>) -> Option<Key> {
        let known = self.clusters.get(cluster)?.as_ref()?;
        if known.nodes.get(usize::from(node))?.down_until > io.now() {
            return None;
        }
        let key = io.dial(&known.target(node)?, cluster as u64);
        let session = lease.and_then(|client| self.clients.get(client)).and_then(|client| client.session);
        self.pipes.insert(key, Pipe { session, ..Pipe::new(cluster, node, resp, lease) });
        self.count_connections(cluster);
        Some(key)
    }

    /// A connection is up: it logs in, or is ready at once.
    pub(crate) fn pipe_open(&mut self, io: &mut dyn Io, key: Key) {
        let Some(pipe) = self.pipes.get_mut(key) else {
            io.close(key, Close::Abort);
            return;
        };
        let (node, resp, session) = (pipe.node, pipe.resp, pipe.session);
        let known = self.clusters.get(pipe.cluster).and_then(Option::as_ref);
        let credentials = known.and_then(|known| known.credentials(node));
        let (login, replies) = match session {
            Some(session) => self.session_login(session, credentials, resp),
            None => crate::login::words(credentials, resp).map_or((Vec::new(), 0), |login| (login, 1)),
        };
        if replies == 0 {
            return self.pipe_ready(io, key);
        }
        io.out(key).extend_from_slice(&login);
        if let Some(pipe) = self.pipes.get_mut(key) {
            (0..replies).for_each(|_| pipe.fifo.push_front(Pending::internal(Owner::Login, node, resp)));
        }
    }

    /// A connection is up and logged in: what has waited for it goes out.
    pub(crate) fn pipe_ready(&mut self, io: &mut dyn Io, key: Key) {
        let Some(pipe) = self.pipes.get_mut(key) else { return };
        let (cluster, node) = (pipe.cluster, pipe.node);
        let single = self.clusters[cluster].as_ref().is_some_and(|known| known.conf.single);
        if pipe.readonly && !single {
            io.out(key).extend_from_slice(READONLY);
            pipe.fifo.push_front(Pending::internal(Owner::Nobody, node, pipe.resp));
        }
        if self.clusters[cluster].as_ref().is_some_and(|known| known.is_sentinel(node)) {
            io.out(key).extend_from_slice(WATCH_SENTINEL);
        }
        pipe.ready(io, key);
        if let Some(known) = self.clusters[cluster].as_mut() {
            known.nodes[usize::from(node)].works();
        }
        self.count_connections(cluster);
        self.track(io, key);
        self.unpark(io, cluster);
    }

    /// The gauges of a back end's connections.
    pub(crate) fn count_connections(&self, cluster: usize) {
        let Some(Some(known)) = self.clusters.get(cluster) else { return };
        let of_cluster = || self.pipes.iter().filter(|(_, pipe)| pipe.cluster == cluster);
        let connecting = of_cluster().filter(|(_, pipe)| pipe.state == State::Connecting).count();
        let idle = of_cluster().filter(|(_, pipe)| pipe.lease == Some(Key::NONE)).count();
        known.meters.connecting.set(connecting as u64);
        known.meters.idle.set(idle as u64);
        known.meters.active.set((of_cluster().count() - connecting - idle) as u64);
    }

    /// New requests take new connections; these end with their last reply.
    pub(crate) fn retire_pipes(&mut self, io: &mut dyn Io, name: &str) {
        let Some(cluster) = self.clusters.iter().position(|known| known.as_ref().is_some_and(|known| &*known.conf.name == name)) else { return };
        if let Some(known) = self.clusters[cluster].as_mut() {
            for node in &mut known.nodes {
                node.pipes = [None; LANES];
                node.sessions.clear();
                node.tracker = None;
                node.idle = Default::default();
            }
        }
        for key in self.pipes.keys() {
            let Some(pipe) = self.pipes.get_mut(key).filter(|pipe| pipe.cluster == cluster) else { continue };
            pipe.retired = true;
            if pipe.fifo.is_empty() && pipe.lease.is_none_or(|client| client == Key::NONE) {
                self.close_pipe(io, key);
            }
        }
    }

    /// Closes all connections of a back end that is no longer configured; what they owe goes to the clients' new one, or is said to be unknown.
    pub(crate) fn close_pipes(&mut self, io: &mut dyn Io, cluster: usize) {
        for key in self.pipes.keys() {
            if self.pipes.get(key).is_some_and(|pipe| pipe.cluster == cluster) {
                io.close(key, Close::Abort);
                self.lost(io, key, "its RedisCluster was removed");
            }
        }
    }

    /// Closes a connection on which nothing is outstanding.
    pub(crate) fn close_pipe(&mut self, io: &mut dyn Io, key: Key) {
        let Some(pipe) = self.pipes.remove(key) else { return };
        self.near_forgotten(&pipe);
        io.close(key, Close::Flush);
        self.unhook(key, &pipe);
        self.count_connections(pipe.cluster);
    }
}
