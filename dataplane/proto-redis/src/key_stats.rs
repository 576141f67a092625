//! Hot keys and big keys, where RedisKeyStats ask for them: in the metrics, of the last whole window.
//!
//! Hot keys are counted as clients name them, one command in so many, chosen by dice so that no rhythm of a client hides from it. Big keys are
//! known by what is written and answered: a command or a reply from some size on.

use crate::frame::Frame;
use crate::fronts::name_in_front;
use crate::heavy::HEAVY;
use crate::keys;
use crate::listener::Listener;
use crate::machine::Redis;
use crate::pipe::{Owner, Pending};
use std::sync::Arc;
use wire::metrics::{Labels, Registry};
use wire::top::{Top, Weighs};
use wire::{Key, Nanos};

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyStatsConf {
    /// Keys in each list.
    pub top: usize,
    /// One command in so many.
    pub sample: u32,
    /// Commands and replies from this size on, in bytes.
    pub big_bytes: usize,
    /// Lists are of the last whole one.
    pub window: Nanos,
}

/// Keys of one command that are counted: an MGET of thousands would cost more than it tells.
const MOST_KEYS: usize = 16;

const HOT: &str = "midstream_redis_hot_key_commands";
const BIG: &str = "midstream_redis_big_key_bytes";

/// Of one listener on one worker.
#[derive(Debug)]
pub(crate) struct KeyStats {
    conf: KeyStatsConf,
    registry: Arc<Registry>,
    labels: Labels,
    hot: Top,
    big: Top,
    /// Commands until the next that is counted.
    left: u32,
    dice: u64,
}

impl KeyStats {
    pub fn new(conf: KeyStatsConf, registry: &Arc<Registry>, listener: &str) -> KeyStats {
        let labels: Labels = vec![("family", "redis".into()), ("listener", listener.into())];
        let (hot, big) = (Top::new(Weighs::Count, conf.top, conf.window), Top::new(Weighs::Size, conf.top, conf.window));
        registry.top(HOT, labels.clone(), hot.clone());
        registry.top(BIG, labels.clone(), big.clone());
        KeyStats { conf, registry: Arc::clone(registry), labels, hot, big, left: 1, dice: 0x9e37_79b9_7f4a_7c15 }
    }

    /// Whether this command is of the sample: on average one in `sample` is.
    #[inline]
    fn is_counted(&mut self) -> bool {
        self.left -= 1;
        if self.left > 0 {
            return false;
        }
        // xorshift; gaps from 1 to twice the mean less one.
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.left = 1 + (self.dice % u64::from(2 * self.conf.sample - 1)) as u32;
        true
    }
}

impl Drop for KeyStats {
    fn drop(&mut self) {
        self.registry.remove(HOT, self.labels.clone());
        self.registry.remove(BIG, self.labels.clone());
    }
}

impl Redis {
    /// What is asked for of a listener, kept where it is the same as before.
    pub(crate) fn configure_key_stats(&mut self) {
        (self.big_from, self.weigh_from) = (usize::MAX, HEAVY);
        for listener in self.listeners.iter_mut().flatten() {
            let wanted = listener.conf.key_stats;
            if listener.key_stats.as_ref().map(|stats| stats.conf) != wanted {
                listener.key_stats = None; // before its successor takes its name in the metrics
                listener.key_stats = wanted.map(|conf| Box::new(KeyStats::new(conf, &self.worker.metrics, &listener.conf.name)));
            }
            self.big_from = self.big_from.min(wanted.map_or(usize::MAX, |conf| conf.big_bytes));
        }
        self.weigh_from = self.weigh_from.min(self.big_from);
    }

    /// A command with keys, which are in `self.keys`.
    pub(crate) fn note_keys(&mut self, key: Key, frame: &Frame<'_>, size: usize) {
        let Some(listener) = self.clients.get(key).map(|client| client.listener) else { return };
        let Some(stats) = self.listeners.get_mut(listener).and_then(Option::as_mut).and_then(|listener| listener.key_stats.as_mut()) else { return };
        let names = || self.keys.iter().take(MOST_KEYS).map(|index| frame.word(*index as usize));
        if stats.is_counted() {
            names().for_each(|name| stats.hot.add(name, u64::from(stats.conf.sample)));
        }
        if size >= stats.conf.big_bytes && self.keys.len() == 1 {
            names().for_each(|name| stats.big.add(name, size as u64));
        }
    }

    /// The reply to a client's command is of that size; the command is still kept at the front of the node's connection.
    pub(crate) fn note_reply(&mut self, pipe: Key, pending: Pending, size: usize) {
        let (Owner::Client(key, _), Some(connection)) = (pending.owner, self.pipes.get(pipe)) else { return };
        let Some(Some(listener)) = self.clients.get(key).and_then(|client| self.listeners.get(client.listener)) else { return };
        let Some(stats) = listener.key_stats.as_ref().filter(|stats| size >= stats.conf.big_bytes) else { return };
        let bytes = connection.kept.all().get(..pending.kept as usize).unwrap_or_default();
        if let Some(name) = keys::only(self.table, bytes) {
            stats.big.add(&listener.front_of(connection.cluster, &name), size as u64);
        }
    }

    /// Time passes.
    pub(crate) fn tick_key_stats(&self, now: Nanos) {
        for stats in self.listeners.iter().flatten().filter_map(|listener| listener.key_stats.as_ref()) {
            stats.hot.tick(now);
            stats.big.tick(now);
        }
    }
}

impl Listener {
    /// What clients call a key of a back end.
    fn front_of(&self, cluster: usize, name: &[u8]) -> Vec<u8> {
        let front = self.conf.routes.as_ref().and_then(|routes| name_in_front(routes, &self.routed, cluster, name));
        front.unwrap_or_else(|| name.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many_is_counted() {
        let registry = Arc::default();
        for sample in [1, 16] {
            let mut stats = KeyStats::new(KeyStatsConf { top: 1, sample, big_bytes: 1, window: 1 }, &registry, "cache");
            let counted = (0..160_000).filter(|_| stats.is_counted()).count() as u32;
            assert!((150_000..=170_000).contains(&(counted * sample)), "{counted} of one in {sample}");
        }
    }
}
