//! Subscriptions: messages are passed on as they come, between replies, never inside one.
//!
//! ```text
//!  a channel, a pattern  where slot 0 is, and there messages are published
//!  key space events      at every master, which tells of its own keys; also a pattern that may mean them
//!  a shard channel       at the master of its slot, as in every cluster
//! ```
//! When a master is lost or slots move, subscriptions follow ([`crate::rehome`]).
//! Source: <https://redis.io/docs/latest/develop/interact/pubsub/>.

use crate::action::Action;
use crate::client::{Client, Wait};
use crate::frame::{Frame, number};
use crate::limits;
use crate::machine::{Redis, Step};
use crate::merge::bulk;
use crate::rehome::TIMER_REHOME;
use crate::subscriptions::{Kind, Name};
use crate::table::Command;
use crate::value;
use wire::{Close, Io, Key};

/// The slot whose master has channels and patterns, and gets what is published. Nodes pass messages on to each other, but in no common order,
/// and count the receivers of their own; on one node messages keep their order and PUBLISH answers all receivers, as on one server.
pub(crate) const SUBSCRIPTIONS: u16 = 0;

const KEY_SPACE: &[u8] = b"__key";

/// Whether every node tells of its own keys on that channel.
pub(crate) fn is_key_space(channel: &[u8]) -> bool {
    channel.starts_with(KEY_SPACE)
}

/// Whether a pattern may mean key space channels.
pub(crate) fn may_mean_key_space(pattern: &[u8]) -> bool {
    let special = pattern.iter().position(|byte| b"*?[\\".contains(byte)).unwrap_or(pattern.len());
    let literal = &pattern[..special];
    KEY_SPACE.starts_with(literal) || literal.starts_with(KEY_SPACE)
}

/// A string of a message, and where the next begins.
fn text(message: &[u8], at: usize) -> Option<(&[u8], usize)> {
    if message.get(at) == Some(&b'_') {
        return Some((b"", at + 3));
    }
    let (length, start) = number(message, at + 1, "").ok()??;
    let Ok(length) = usize::try_from(length) else { return Some((b"", start)) };
    Some((message.get(start..start.checked_add(length)?)?, start + length + 2))
}

/// The kind of a message, what it names first, and what second.
fn parts(message: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (count, next) = number(message, 1, "").ok()??;
    let (kind, next) = text(message, next)?;
    let (first, next) = text(message, next)?;
    let second = if count > 3 { text(message, next)?.0 } else { b"" };
    Some((kind, first, second))
}

impl Redis {
    /// What a client that subscribes asks beside that: behind the confirmations of what it asked before; in RESP2 most of it not at all.
    pub(crate) fn amid_subscriptions(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command) -> Option<Step> {
        let client = self.clients.get_mut(key)?;
        if client.wait == Wait::Confirmed {
            client.wait = Wait::No;
        }
        if command.action != Action::Subscribe && client.owes_confirmations() {
            (client.wait, client.paused) = (Wait::Confirmed, true);
            io.pause(key, true);
            return Some(Step::Held);
        }
        (client.resp == 2 && self.is_subscribed_only(io, key, frame, command)).then_some(Step::Taken)
    }

    /// Whether a RESP2 client has subscribed and may not use the command; it is answered then.
    fn is_subscribed_only(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command) -> bool {
        if !self.clients.get(key).is_some_and(Client::is_subscriber)
            || matches!(command.name, "subscribe" | "psubscribe" | "ssubscribe" | "unsubscribe" | "punsubscribe" | "sunsubscribe" | "quit" | "reset")
        {
            return false;
        }
        if command.name == "ping" {
            let mut reply = b"*2\r\n$4\r\npong\r\n".to_vec();
            bulk(&mut reply, if frame.len() > 1 { frame.word(1) } else { b"" });
            self.answer(io, key, &reply);
            return true;
        }
        let name = command.name.replace('|', " ");
        self.fail(
            io,
            key,
            &format!("ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"),
        );
        true
    }

    /// SUBSCRIBE and its kin.
    pub(crate) fn subscribe(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command) -> Step {
        if self.must_empty_ring(key) {
            return self.wait_for_ring(io, key);
        }
        let Some((kind, subscribe)) = Kind::of(command.name.as_bytes()) else { return Step::Taken };
        let Some(client) = self.clients.get_mut(key) else { return Step::Taken };
        let all = client.subscriptions.get_or_insert_default();
        all.silent = client.ring.silence.holds();
        let mut names: Vec<Name> = (1..frame.len()).map(|index| (kind, frame.word(index).to_vec())).collect();
        if names.is_empty() {
            names.extend(all.wanted.keys().filter(|(of, _)| *of == kind).cloned());
        }
        if names.is_empty() {
            all.expect(kind, None, subscribe, 0);
        }
        for name in names {
            if subscribe {
                self.want(io, key, &name);
            } else {
                self.leave(io, key, &name);
            }
        }
        self.tell_confirmations(io, key);
        Step::Taken
    }

    /// Channels belong to the listener's own back end, whatever routes its keys have.
    pub(crate) fn base_of(&self, key: Key) -> usize {
        let listener = self.clients.get(key).and_then(|client| self.listeners.get(client.listener));
        listener.and_then(Option::as_ref).map_or(usize::MAX, |listener| listener.cluster)
    }

    fn want(&mut self, io: &mut dyn Io, key: Key, name: &Name) {
        let Some(client) = self.clients.get(key) else { return };
        let known = client.subscriptions.as_ref().is_some_and(|all| all.wanted.contains_key(name));
        let homes = if known { Vec::new() } else { self.homes(self.base_of(key), name) };
        let feeds: Vec<(u16, Key)> = homes.iter().filter_map(|node| Some((*node, self.feed_of(io, key, *node)?))).collect();
        let missing = !known && (feeds.is_empty() || feeds.len() < homes.len());
        let owner = self.owner_of_subscriptions(self.base_of(key));
        let Some(all) = self.clients.get_mut(key).and_then(|client| client.subscriptions.as_mut()) else { return };
        all.heard = all.heard.or(owner);
        let number = all.expect(name.0, Some(&name.1), true, feeds.len() + usize::from(missing && feeds.is_empty()));
        if !known {
            all.wanted.insert(name.clone(), feeds.iter().map(|(node, _)| *node).collect());
        }
        for (_, pipe) in feeds {
            self.ask_feed(io, key, pipe, name, true, Some(number));
        }
        if missing {
            self.homeless(io, key);
        }
    }

    fn leave(&mut self, io: &mut dyn Io, key: Key, name: &Name) {
        let Some(all) = self.clients.get_mut(key).and_then(|client| client.subscriptions.as_mut()) else { return };
        let nodes = all.wanted.remove(name).unwrap_or_default();
        let pipes: Vec<Key> = all.feeds.iter().filter(|feed| nodes.contains(&feed.node)).map(|feed| feed.pipe).collect();
        let number = all.expect(name.0, Some(&name.1), false, pipes.len());
        for pipe in pipes {
            self.ask_feed(io, key, pipe, name, false, Some(number));
        }
    }

    pub(crate) fn ask_feed(&mut self, io: &mut dyn Io, key: Key, pipe: Key, name: &Name, subscribe: bool, number: Option<u64>) {
        let words = [name.0.word(subscribe).to_ascii_uppercase().into_bytes(), name.1.clone()];
        if let Some(connection) = self.pipes.get_mut(pipe) {
            connection.tell(io, pipe, &value::command(&words));
        }
        if let Some(all) = self.clients.get_mut(key).and_then(|client| client.subscriptions.as_mut()) {
            all.asked(pipe, name, subscribe, number);
        }
    }

    /// The client's connection to a node, made if there is none.
    pub(crate) fn feed_of(&mut self, io: &mut dyn Io, key: Key, node: u16) -> Option<Key> {
        let client = self.clients.get(key)?;
        let (cluster, resp) = (self.base_of(key), client.resp);
        if let Some(feed) = client.subscriptions.as_ref()?.feeds.iter().find(|feed| feed.node == node) {
            return Some(feed.pipe);
        }
        let known = |redis: &Redis| redis.clusters.get(cluster)?.as_ref()?.nodes.get(usize::from(node)).map(|node| node.leases);
        if known(self)? >= limits::MAX_LEASES {
            return None;
        }
        let pipe = self.dial(io, cluster, node, resp, Some(key))?;
        self.clusters.get_mut(cluster)?.as_mut()?.nodes.get_mut(usize::from(node))?.leases += 1;
        self.pipes.get_mut(pipe)?.subscriber = true;
        self.clients.get_mut(key)?.subscriptions.as_mut()?.add_feed(node, pipe);
        self.count_connections(cluster);
        Some(pipe)
    }

    /// A message, or a piece of one. On a shared connection nobody asked for it.
    pub(crate) fn message(&mut self, io: &mut dyn Io, pipe: Key, piece: &[u8], done: bool) {
        let Some(connection) = self.pipes.get_mut(pipe) else { return };
        connection.pushing = !done;
        if connection.tells.is_some() {
            return self.told(io, pipe, piece, done);
        }
        if connection.lease.is_none() {
            let (cluster, node) = (connection.cluster, connection.node);
            // A sentinel tells of a new master.
            if self.clusters.get(cluster).and_then(Option::as_ref).is_some_and(|known| known.is_sentinel(node)) {
                return self.refresh(io, cluster);
            }
            return self.near_push(pipe, piece, done);
        }
        let node = connection.node;
        let Some(key) = connection.lease.filter(|_| connection.subscriber) else { return };
        let Some(all) = self.clients.get_mut(key).and_then(|client| client.subscriptions.as_mut()) else { return };
        let waiting = all.waiting.len();
        let Some(feed) = all.feed(pipe) else { return };
        if !done || !feed.partial.is_empty() {
            feed.partial.extend_from_slice(piece);
        }
        if feed.partial.len() + waiting > limits::MAX_MESSAGES {
            return self.close_client(io, key, Close::Abort);
        }
        if !done {
            return;
        }
        let whole = std::mem::take(&mut feed.partial);
        self.whole_message(io, key, pipe, node, if whole.is_empty() { piece } else { &whole });
    }

    fn whole_message(&mut self, io: &mut dyn Io, key: Key, pipe: Key, node: u16, message: &[u8]) {
        let cluster = self.base_of(key);
        let Some(all) = self.clients.get_mut(key).and_then(|client| client.subscriptions.as_mut()) else { return };
        if message.first() == Some(&b'-') {
            all.confirm(pipe, None, Some(message));
            return self.tell_confirmations(io, key);
        }
        let Some((word, first, second)) = parts(message) else { return };
        if let Some((kind, subscribe)) = Kind::of(word) {
            let name = (kind, first.to_vec());
            if all.confirm(pipe, Some((&name, subscribe)), None) {
                return self.tell_confirmations(io, key);
            }
            // The node gives the channel up: its slot is moving.
            if let Some(nodes) = all.wanted.get_mut(&name).filter(|_| !subscribe) {
                nodes.retain(|known| *known != node);
                self.refresh(io, cluster);
                self.homeless(io, key);
            }
            return;
        }
        let channel = if word == b"pmessage" { second } else { first };
        if is_key_space(channel) || all.is_heard(node, word == b"smessage", message) {
            self.push(io, key, message);
        }
    }

    pub(crate) fn tell_confirmations(&mut self, io: &mut dyn Io, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(all) = client.subscriptions.as_mut() else { return };
        let told = all.confirmations(client.resp);
        let over = all.is_over();
        if !told.is_empty() {
            self.push(io, key, &told);
        }
        if over {
            self.end_subscriptions(io, key);
        }
        self.resume(io, key);
    }

    /// Sends what is no reply, at once or at the end of the reply under way.
    pub(crate) fn push(&mut self, io: &mut dyn Io, key: Key, message: &[u8]) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.ring.is_mid_reply() {
            client.subscriptions.get_or_insert_default().waiting.extend_from_slice(message);
        } else {
            io.out(key).extend_from_slice(message);
            if io.backlog(key) > limits::MAX_MESSAGES {
                self.close_client(io, key, Close::Abort);
            }
        }
    }

    /// The reply under way is complete: what waited for that goes out.
    pub(crate) fn send_messages(&mut self, io: &mut dyn Io, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if !client.ring.is_mid_reply()
            && let Some(all) = &mut client.subscriptions
        {
            io.out(key).extend_from_slice(&std::mem::take(&mut all.waiting));
        }
    }

    /// Nothing is subscribed any more, or the client is gone.
    pub(crate) fn end_subscriptions(&mut self, io: &mut dyn Io, key: Key) {
        let Some(all) = self.clients.get_mut(key).and_then(|client| client.subscriptions.as_mut()) else { return };
        let ended = std::mem::take(&mut **all);
        all.waiting = ended.waiting;
        io.disarm(key, TIMER_REHOME);
        ended.feeds.into_iter().for_each(|feed| self.close_pipe(io, feed.pipe));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_may_mean_key_space_events() {
        for (pattern, may) in
            [("*", true), ("__key*", true), ("_?key*", true), ("__keyevent@0__:set", true), ("news*", false), ("_", true), ("__news*", false)]
        {
            assert_eq!(may_mean_key_space(pattern.as_bytes()), may, "{pattern}");
        }
    }
}
