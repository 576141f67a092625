//! A new configuration: back ends and listeners keep their places and their connections where nothing about those changed.

use crate::cluster::Cluster;
use crate::conf::Conf;
use crate::listener::Listener;
use crate::machine::Redis;
use crate::meters::{ClusterMeters, ListenerMeters, NearMeters};
use crate::near::Near;
use std::sync::Arc;
use wire::{Close, Io, Key};

impl Redis {
    /// Puts `conf` in force.
    pub(crate) fn apply(&mut self, io: &mut dyn Io, conf: &Conf) {
        for wanted in &conf.clusters {
            let known = self.clusters.iter_mut().flatten().find(|cluster| cluster.conf.name == wanted.name);
            match known {
                Some(cluster) => {
                    let keep = cluster.conf.same_connections(wanted);
                    cluster.conf = Arc::clone(wanted);
                    cluster.adopt_seeds();
                    if !keep {
                        self.retire_pipes(io, &wanted.name);
                    }
                }
                None => {
                    let meters = ClusterMeters::new(&self.worker.metrics, &wanted.name);
                    place(&mut self.clusters, Cluster::new(Arc::clone(wanted), meters));
                }
            }
        }
        self.apply_near();
        self.replicas_read = conf.clusters.iter().any(|cluster| cluster.reads.is_some());
        self.apply_listeners(conf);
        self.configure_key_stats();
        self.configure_mirrors();
        self.has_routes = self.listeners.iter().flatten().any(|listener| listener.conf.routes.is_some());
        self.follow_switches(io, conf);
        self.drop_what_is_gone(io, conf);
        self.configure_migrations(io, conf);
        for cluster in 0..self.clusters.len() {
            self.refresh(io, cluster);
            self.arm_watch(io, cluster);
            self.watch_masters(io, cluster);
        }
    }

    /// Near caches as they are wanted; one whose configuration is another begins empty.
    fn apply_near(&mut self) {
        let (workers, registry) = (self.worker.count, &self.worker.metrics);
        for cluster in self.clusters.iter_mut().flatten() {
            if cluster.near.as_ref().map(|near| near.conf()) != cluster.conf.near.as_ref() {
                let make = |conf: &crate::conf::NearConf| Near::new(conf.clone(), NearMeters::new(registry, &cluster.conf.name), workers);
                cluster.near = cluster.conf.near.as_ref().map(make).map(Box::new);
            }
        }
        self.has_near = self.clusters.iter().flatten().any(|cluster| cluster.near.is_some());
    }

    fn apply_listeners(&mut self, conf: &Conf) {
        for wanted in &conf.listeners {
            let named = |name: &Arc<str>| self.clusters.iter().position(|known| known.as_ref().is_some_and(|known| known.conf.name == *name));
            let Some(cluster) = named(&wanted.cluster) else { continue };
            let routes = wanted.routes.iter().flat_map(|routes| routes.all());
            let Some(routed) = routes.map(|route| named(&route.cluster)).collect::<Option<Vec<usize>>>() else { continue };
            match self.listeners.iter_mut().flatten().find(|listener| listener.conf.name == wanted.name) {
                Some(listener) => {
                    listener.conf = Arc::clone(wanted);
                    listener.cluster = cluster;
                    listener.routed = routed;
                }
                None => {
                    let meters = ListenerMeters::new(&self.worker.metrics, &wanted.name);
                    place(&mut self.listeners, Listener { conf: Arc::clone(wanted), cluster, routed, meters, key_stats: None, mirror: None });
                }
            }
        }
    }

    fn drop_what_is_gone(&mut self, io: &mut dyn Io, conf: &Conf) {
        for listener in &mut self.listeners {
            if listener.as_ref().is_some_and(|listener| !conf.listeners.iter().any(|wanted| wanted.name == listener.conf.name)) {
                *listener = None;
            }
        }
        self.clients.keys().into_iter().for_each(|key| self.move_client(io, key));
        for cluster in 0..self.clusters.len() {
            let gone = self.clusters[cluster].as_ref().is_some_and(|known| !conf.clusters.iter().any(|wanted| wanted.name == known.conf.name));
            if gone {
                self.close_pipes(io, cluster);
                self.clusters[cluster] = None;
            }
        }
    }
}

impl Redis {
    /// A client whose back ends may be its listener's no more. What runs on a connection of its own ends there.
    fn move_client(&mut self, io: &mut dyn Io, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(listener) = self.listeners.get(client.listener).and_then(Option::as_ref) else {
            return self.close_client(io, key, Close::Flush);
        };
        let is_home = |cluster: usize| listener.home(cluster) == Some(cluster);
        let leased = client.lease.and_then(|lease| self.pipes.get(lease.pipe)).map(|pipe| pipe.cluster);
        let transaction = &mut client.transaction;
        if leased.is_some_and(|cluster| !is_home(cluster)) && transaction.is_watching() {
            transaction.broken = true; // nobody will ask there any more whether a key was changed
        }
        if transaction.cluster.is_some_and(|cluster| !is_home(cluster)) {
            transaction.cluster = None;
            transaction.fail();
        }
        if !is_home(client.cluster) || client.retries.iter().any(|parked| !is_home(parked.cluster)) {
            client.cluster = listener.home(client.cluster).unwrap_or(listener.cluster);
            self.move_retries(io, key);
        }
    }
}

/// Into the first free place, so that indices stay.
fn place<T>(places: &mut Vec<Option<T>>, value: T) {
    match places.iter_mut().find(|place| place.is_none()) {
        Some(free) => *free = Some(value),
        None => places.push(Some(value)),
    }
}
