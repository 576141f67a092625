//! The connection on which a node tells of changed keys: the shared pipe of RESP3, so that what it tells and what it answers there come in
//! the order in which they happened. It is asked once a second whether it is there and whether its cluster works; while either is in
//! doubt, nothing of its slots is served or kept, and what is kept is dropped.

use super::Ask;
use crate::machine::Redis;
use crate::merge::{array, bulk};
use crate::node::Lane;
use crate::pipe::{Owner, Pending, State};
use crate::refresh::SILENCE;
use memchr::memmem;
use wire::{Io, Key};

impl Redis {
    /// Replies of that node's keys could be kept, if it told of changes: opens the connection on which it does.
    pub(super) fn want_tracker(&mut self, io: &mut dyn Io, cluster: usize, node: u16) {
        let known = self.clusters.get(cluster).and_then(Option::as_ref).and_then(|known| known.nodes.get(usize::from(node)));
        if known.is_some_and(|node| node.pipes[1].is_none()) {
            self.dial_shared(io, cluster, node, Lane::of(3, false));
        }
    }

    /// A shared connection of RESP3 is ready: from now on it tells of changes.
    pub(crate) fn track(&mut self, io: &mut dyn Io, key: Key) {
        let Some(pipe) = self.pipes.get_mut(key).filter(|pipe| pipe.resp == 3 && pipe.lease.is_none()) else { return };
        let near = self.clusters.get(pipe.cluster).and_then(Option::as_ref).and_then(|known| known.near.as_ref());
        let Some(near) = near else { return };
        let mut command = Vec::new();
        array(&mut command, 4 + 2 * near.conf.prefixes.len());
        [&b"CLIENT"[..], b"TRACKING", b"ON", b"BCAST"].iter().for_each(|word| bulk(&mut command, word));
        for prefix in &near.conf.prefixes {
            bulk(&mut command, b"PREFIX");
            bulk(&mut command, prefix);
        }
        pipe.ask(io, key, &command, Pending::internal(Owner::Near(Ask::Track), pipe.node, 3));
    }

    /// A node's answer to a question of the near cache.
    pub(crate) fn near_answer(&mut self, io: &mut dyn Io, key: Key, ask: Ask, reply: &[u8]) {
        match ask {
            Ask::Track => {
                if let Some(pipe) = self.pipes.get_mut(key) {
                    pipe.tracks = reply.starts_with(b"+OK");
                }
                self.trust(key, true);
            }
            Ask::Alive(sent) => {
                if let Some(near) = self.pipes.get(key).and_then(|pipe| self.clusters.get(pipe.cluster)?.as_ref()?.near.as_ref()) {
                    near.meters.tracker_seconds.record(io.now().saturating_sub(sent));
                }
                self.trust(key, memmem::find(reply, b"cluster_state:fail").is_none());
            }
        }
    }

    /// What that connection tells of changes is all there is, or is in doubt.
    fn trust(&mut self, key: Key, trusted: bool) {
        let Some(pipe) = self.pipes.get(key).filter(|pipe| pipe.tracks) else { return };
        let Some(Some(known)) = self.clusters.get_mut(pipe.cluster) else { return };
        let Some(node) = known.nodes.get_mut(usize::from(pipe.node)).filter(|node| node.pipes[1] == Some(key)) else { return };
        let before = node.tracker;
        node.tracker = Some(key).filter(|_| trusted);
        if before.is_some()
            && !trusted
            && let Some(near) = &mut known.near
        {
            near.wipe_all();
        }
        known.count_trackers();
    }

    /// Asks all trackers of a back end whether they are there; one that owes answers for long is not trusted.
    pub(crate) fn watch_trackers(&mut self, io: &mut dyn Io, cluster: usize) {
        let Some(Some(known)) = self.clusters.get(cluster) else { return };
        if known.near.is_none() {
            return;
        }
        let question: &[u8] = if known.conf.single { b"*1\r\n$4\r\nPING\r\n" } else { b"*2\r\n$7\r\nCLUSTER\r\n$4\r\nINFO\r\n" };
        let now = io.now();
        for key in known.nodes.iter().filter_map(|node| node.pipes[1]).collect::<Vec<Key>>() {
            let Some(pipe) = self.pipes.get_mut(key).filter(|pipe| pipe.tracks && pipe.state == State::Ready) else { continue };
            if pipe.is_silent(now, SILENCE) {
                self.trust(key, false);
            } else {
                pipe.ask(io, key, question, Pending::internal(Owner::Near(Ask::Alive(now)), pipe.node, 3));
            }
        }
    }
}
