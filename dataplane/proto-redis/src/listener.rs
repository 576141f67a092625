//! A listener as one worker knows it.

use crate::conf::ListenerConf;
use crate::key_stats::KeyStats;
use crate::meters::ListenerMeters;
use crate::mirror::Mirror;
use std::sync::Arc;

/// A listener in force.
#[derive(Debug)]
pub(crate) struct Listener {
    pub conf: Arc<ListenerConf>,
    pub cluster: usize,
    /// The back end of each route.
    pub routed: Vec<usize>,
    pub meters: ListenerMeters,
    /// Where a share of its commands goes, too.
    pub mirror: Option<Box<Mirror>>,
    /// Its hot and big keys, if they are asked for.
    pub key_stats: Option<Box<KeyStats>>,
}

impl Listener {
    /// The back end itself if it is one of the listener's, else the one that has taken its place. None: a route's, which nothing replaces.
    pub fn home(&self, cluster: usize) -> Option<usize> {
        match cluster == self.cluster || self.routed.contains(&cluster) {
            true => Some(cluster),
            false => self.routed.is_empty().then_some(self.cluster),
        }
    }
}
