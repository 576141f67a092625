//! Subscriptions follow the slots: when a master is lost or slots move, what was subscribed there is subscribed where it belongs now.
//!
//! The client does not notice, as on one server that was busy for a moment. If that cannot be had within the back end's deadline, the client
//! is closed. Where the old node still lives, both are heard for a moment: what is published at one comes to the other through the cluster.

use crate::cluster::NOBODY;
use crate::machine::Redis;
use crate::pubsub::{SUBSCRIPTIONS, is_key_space, may_mean_key_space};
use crate::slot::slot_of;
use crate::subscriptions::{Kind, Name};
use wire::{Close, Io, Key, MILLIS, Nanos, SECONDS};

/// The timer of a client whose subscriptions have no node, or are to leave one.
pub(crate) const TIMER_REHOME: u32 = 2;
/// How often a node is looked for.
const REHOME_EVERY: Nanos = 50 * MILLIS;
/// How long the node that is left is heard: longer than publishers take to learn of the other, and nodes to pass a message on.
const BOTH: Nanos = 2 * SECONDS;

/// Whether other nodes have copies of its messages. Key space events each node tells of its own keys only.
fn has_copies((kind, name): &Name) -> bool {
    match kind {
        Kind::Channel => !is_key_space(name),
        Kind::Pattern => !may_mean_key_space(name),
        Kind::Shard => true,
    }
}

impl Redis {
    /// The nodes where it is heard.
    pub(crate) fn homes(&self, cluster: usize, (kind, name): &Name) -> Vec<u16> {
        let Some(Some(known)) = self.clusters.get(cluster) else { return Vec::new() };
        let slot = match kind {
            Kind::Channel if is_key_space(name) => return known.masters.clone(),
            Kind::Pattern if may_mean_key_space(name) => return known.masters.clone(),
            Kind::Channel | Kind::Pattern => SUBSCRIPTIONS,
            Kind::Shard => slot_of(name),
        };
        Some(known.owner(slot)).filter(|owner| *owner != NOBODY).into_iter().collect()
    }

    /// The node that is heard when others have copies.
    pub(crate) fn owner_of_subscriptions(&self, cluster: usize) -> Option<u16> {
        let known = self.clusters.get(cluster)?.as_ref()?;
        Some(known.owner(SUBSCRIPTIONS)).filter(|owner| *owner != NOBODY)
    }

    /// A feed is gone; whether it was one.
    pub(crate) fn feed_lost(&mut self, io: &mut dyn Io, key: Key, pipe: Key) -> bool {
        let all = self.clients.get_mut(key).and_then(|client| client.subscriptions.as_mut());
        if !all.is_some_and(|all| all.lose(pipe)) {
            return false;
        }
        self.tell_confirmations(io, key);
        self.homeless(io, key);
        true
    }

    /// Something may be subscribed nowhere: a node is looked for, soon.
    pub(crate) fn homeless(&mut self, io: &mut dyn Io, key: Key) {
        let now = io.now();
        if let Some(all) = self.clients.get_mut(key).and_then(|client| client.subscriptions.as_mut()) {
            all.homeless.get_or_insert(now);
            io.arm(key, TIMER_REHOME, now + REHOME_EVERY);
        }
    }

    /// Who has which slot has changed.
    pub(crate) fn rehome_all(&mut self, io: &mut dyn Io, cluster: usize) {
        for key in self.clients.keys() {
            if self.clients.get(key).is_some_and(|client| client.subscriptions.is_some()) && self.base_of(key) == cluster {
                self.rehome(io, key);
            }
        }
    }

    /// Subscribes what is wanted where it belongs, and no longer where it does not.
    pub(crate) fn rehome(&mut self, io: &mut dyn Io, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        let (cluster, Some(all)) = (self.base_of(key), client.subscriptions.as_ref()) else { return };
        let (since, wanted, now) = (all.homeless, all.wanted.clone(), io.now());
        self.follow_owner(key, cluster, now);
        let mut complete = true;
        for (name, nodes) in wanted {
            let homes = self.homes(cluster, &name);
            complete &= !homes.is_empty();
            let mut owed = nodes.is_empty().then(|| self.owed(key, &name)).flatten();
            for node in homes.iter().filter(|node| !nodes.contains(node)) {
                match self.feed_of(io, key, *node) {
                    Some(pipe) => {
                        self.ask_feed(io, key, pipe, &name, true, owed.take());
                        self.note_home(key, &name, *node, true);
                    }
                    None => complete = false,
                }
            }
            for node in nodes.iter().filter(|node| !homes.is_empty() && !homes.contains(node)) {
                if has_copies(&name) && self.hears_both(key, now) {
                    continue;
                }
                if let Some(pipe) = self.feed_of(io, key, *node) {
                    self.ask_feed(io, key, pipe, &name, false, None);
                }
                self.note_home(key, &name, *node, false);
            }
        }
        let deadline = self.deadline(cluster, since.unwrap_or(now));
        self.end_move(io, key, now);
        let Some(all) = self.clients.get_mut(key).and_then(|client| client.subscriptions.as_mut()) else { return };
        if complete {
            all.homeless = None;
        } else if now >= deadline {
            self.close_client(io, key, Close::Flush);
        } else {
            self.homeless(io, key);
            self.refresh(io, cluster);
        }
    }

    /// Another node may be the one that is heard.
    fn follow_owner(&mut self, key: Key, cluster: usize, now: Nanos) {
        let owner = self.owner_of_subscriptions(cluster);
        let Some(all) = self.clients.get_mut(key).and_then(|client| client.subscriptions.as_mut()) else { return };
        if owner.is_some() && all.heard.is_some() && owner != all.heard {
            all.moving = Some(now);
        }
        all.heard = owner.or(all.heard);
    }

    /// Whether the node that is left is heard still.
    fn hears_both(&mut self, key: Key, now: Nanos) -> bool {
        let all = self.clients.get_mut(key).and_then(|client| client.subscriptions.as_mut());
        all.is_some_and(|all| now < all.moving.get_or_insert(now).saturating_add(BOTH))
    }

    /// Both have been heard for long enough, or the end of that is awaited.
    fn end_move(&mut self, io: &mut dyn Io, key: Key, now: Nanos) {
        let Some(all) = self.clients.get_mut(key).and_then(|client| client.subscriptions.as_mut()) else { return };
        let Some(until) = all.moving.map(|since| since.saturating_add(BOTH)) else { return };
        if now < until {
            return io.arm(key, TIMER_REHOME, until);
        }
        all.moving = None;
        all.copies.clear();
    }

    fn owed(&self, key: Key, name: &Name) -> Option<u64> {
        self.clients.get(key)?.subscriptions.as_ref()?.owed(name)
    }

    fn note_home(&mut self, key: Key, name: &Name, node: u16, is_home: bool) {
        let all = self.clients.get_mut(key).and_then(|client| client.subscriptions.as_mut());
        let Some(nodes) = all.and_then(|all| all.wanted.get_mut(name)) else { return };
        nodes.retain(|known| *known != node);
        nodes.extend(is_home.then_some(node));
    }
}
