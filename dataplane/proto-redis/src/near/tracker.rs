//! The connection on which a node tells of changed keys: the shared pipe of RESP3, so that what it tells and what it answers there come in
//! the order in which they happened. It is asked once a second whether it is there and whether its cluster works; while either is in
//! doubt, nothing of its slots is served or kept, and what is kept is dropped.

use super::Ask;
use super::telling::ask_redirected;
use crate::machine::Redis;
use crate::node::Lane;
use crate::pipe::{Owner, Pending, Pipe, State};
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
        if near.telling.opt_in && pipe.id.is_none() {
            pipe.ask(io, key, b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n", Pending::internal(Owner::Identity, pipe.node, 3));
        }
        let (command, skip) = near.telling.ask_tracker(&near.conf.prefixes);
        pipe.ask(io, key, &command, Pending { skip, batch: skip, ..Pending::internal(Owner::Near(Ask::Track(near.telling.turn)), pipe.node, 3) });
    }

    /// The nodes of a back end are to tell of changes in the other way.
    fn track_otherwise(&mut self, io: &mut dyn Io, cluster: usize) {
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return };
        if let Some(near) = &mut known.near {
            near.wipe_all();
        }
        known.nodes.iter_mut().for_each(|node| node.tracker = None);
        known.count_trackers();
        for key in known.nodes.iter().filter_map(|node| node.pipes[1]).collect::<Vec<Key>>() {
            if let Some(pipe) = self.pipes.get_mut(key).filter(|pipe| pipe.state == State::Ready) {
                pipe.tracks = false;
                self.track(io, key);
            }
        }
    }

    /// Whether that connection's reads are told of on the tracker; if not, it is asked to do so.
    pub(super) fn is_told_of(&mut self, io: &mut dyn Io, key: Key, tracker: Key) -> bool {
        let id = self.pipes.get(tracker).and_then(|tracker| tracker.id);
        let (Some(pipe), Some(id)) = (self.pipes.get_mut(key), id) else { return false };
        if key == tracker || pipe.told_on == Some((tracker, true)) {
            return true;
        }
        if pipe.told_on.is_none_or(|(other, _)| other != tracker) && pipe.state == State::Ready {
            pipe.told_on = Some((tracker, false));
            let (command, skip) = ask_redirected(id);
            let pending = Pending::internal(Owner::Near(Ask::Redirect(tracker)), pipe.node, pipe.resp);
            pipe.ask(io, key, &command, Pending { skip, batch: skip, ..pending });
        }
        false
    }

    /// A connection is gone, and with it the node's memory of what was read on it.
    pub(crate) fn near_forgotten(&mut self, pipe: &Pipe) {
        if pipe.told_on.is_some()
            && let Some(near) = self.clusters.get_mut(pipe.cluster).and_then(Option::as_mut).and_then(|known| known.near.as_mut())
        {
            near.wipe_all();
        }
    }

    /// A node's answer to a question of the near cache.
    pub(crate) fn near_answer(&mut self, io: &mut dyn Io, key: Key, ask: Ask, reply: &[u8]) {
        match ask {
            Ask::Track(turn) => {
                let known = self.pipes.get(key).and_then(|pipe| self.clusters.get(pipe.cluster)?.as_ref());
                if known.and_then(|known| known.near.as_ref()).is_none_or(|near| near.telling.turn != turn) {
                    return; // it is asked to tell in another way by now
                }
                if let Some(pipe) = self.pipes.get_mut(key) {
                    pipe.tracks = reply.starts_with(b"+OK");
                }
                self.trust(key, true);
            }
            Ask::Redirect(tracker) => {
                if let Some(pipe) = self.pipes.get_mut(key).filter(|pipe| pipe.told_on == Some((tracker, false))) {
                    pipe.told_on = Some((tracker, reply.starts_with(b"+OK")));
                }
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
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return };
        let now = io.now();
        let Some(near) = &mut known.near else { return };
        if near.telling.turns(now) {
            return self.track_otherwise(io, cluster);
        }
        let question: &[u8] = if known.conf.single { b"*1\r\n$4\r\nPING\r\n" } else { b"*2\r\n$7\r\nCLUSTER\r\n$4\r\nINFO\r\n" };
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
