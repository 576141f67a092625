//! Subscriptions, on a connection of the client's own: messages are passed on as they come, between replies, never inside one.
//! Source: <https://redis.io/docs/latest/develop/interact/pubsub/>.

use crate::frame::{Frame, number};
use crate::lease::Purpose;
use crate::limits;
use crate::machine::{Redis, Step};
use crate::merge::{bulk, integer};
use crate::pipe::To;
use crate::table::Command;
use std::collections::BTreeSet;
use wire::{Close, Io, Key};

/// Where channels and patterns are subscribed, and messages published: where slot 0 is. Nodes pass messages on to each other, but in no common
/// order, and count the receivers of their own; on one node messages keep their order and PUBLISH answers all receivers, as on one server.
pub(crate) const SUBSCRIPTIONS: To = To::Slot(0);

/// What a client has subscribed to.
#[derive(Default, Debug)]
pub struct Subscriptions {
    /// SUBSCRIBE, PSUBSCRIBE or SSUBSCRIBE by the first letter of the kind, and the channel or pattern.
    active: BTreeSet<(u8, Vec<u8>)>,
    /// Channels that were asked for and not confirmed yet: what is asked behind the last UNSUBSCRIBE still comes on this connection.
    asked: usize,
    /// Channels that were given up by name, not confirmed yet.
    given_up: usize,
    /// Messages that wait for the end of a reply under way.
    waiting: Vec<u8>,
    /// The beginning of a message that is not complete.
    partial: Vec<u8>,
}

impl Subscriptions {
    /// Whether anything is subscribed.
    pub fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// Whether messages wait.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Notes what a command will be answered with.
    fn told(&mut self, command: &Command, channels: usize) {
        let count = if command.name.contains("unsubscribe") { &mut self.given_up } else { &mut self.asked };
        *count = count.saturating_add(channels);
    }

    /// A confirmation changes what is subscribed; whether nothing is left, and nothing to come.
    fn confirmed(&mut self, message: &[u8]) -> bool {
        if message.first() == Some(&b'-') {
            // Refused as a whole; which one of several cannot be told.
            (self.asked, self.given_up) = (0, 0);
            return self.active.is_empty();
        }
        let Some((kind, channel)) = confirmation(message) else { return false };
        let (letter, unsubscribed) = match kind {
            b"subscribe" => (b'c', false),
            b"psubscribe" => (b'p', false),
            b"ssubscribe" => (b's', false),
            b"unsubscribe" => (b'c', true),
            b"punsubscribe" => (b'p', true),
            b"sunsubscribe" => (b's', true),
            _ => return false,
        };
        if unsubscribed {
            self.active.remove(&(letter, channel.to_vec()));
            self.given_up = self.given_up.saturating_sub(1);
        } else {
            self.asked = self.asked.saturating_sub(1);
            self.active.insert((letter, channel.to_vec()));
        }
        unsubscribed && self.active.is_empty() && self.asked == 0 && self.given_up == 0
    }
}

/// Kind and channel of a message of three elements.
fn confirmation(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let (3, next) = number(message, 1, "").ok()?? else { return None };
    let (kind, next) = text(message, next)?;
    let (channel, _) = text(message, next)?;
    Some((kind, channel))
}

fn text(message: &[u8], at: usize) -> Option<(&[u8], usize)> {
    if message.get(at) == Some(&b'_') {
        return Some((b"", at + 3));
    }
    let (length, start) = number(message, at + 1, "").ok()??;
    let Ok(length) = usize::try_from(length) else { return Some((b"", start)) };
    Some((message.get(start..start.checked_add(length)?)?, start + length + 2))
}

impl Redis {
    /// Whether a RESP2 client has subscribed and may not use the command; it is answered then.
    pub(crate) fn is_subscribed_only(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command) -> bool {
        let subscribed = self.clients.get(key).and_then(|client| client.lease).is_some_and(|lease| lease.purpose == Purpose::Subscribe);
        if !subscribed
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
        let Some(client) = self.clients.get_mut(key) else { return Step::Taken };
        let (cluster, lease) = (client.cluster, client.lease);
        match lease {
            Some(lease) if lease.purpose != Purpose::Subscribe => {
                self.fail(io, key, "ERR midstream: WATCH and subscriptions need a connection each; use two clients");
                return Step::Taken;
            }
            None if command.name.contains("unsubscribe") => {
                self.nothing_subscribed(io, key, frame, command);
                return Step::Taken;
            }
            _ => {}
        }
        let to = match self.place(key, frame) {
            Ok(to) if command.name == "ssubscribe" => to,
            Ok(_) => SUBSCRIPTIONS,
            Err(error) => {
                self.fail(io, key, error);
                return Step::Taken;
            }
        };
        let node = self.clusters.get_mut(cluster).and_then(Option::as_mut).map_or(crate::cluster::NOBODY, |known| known.pick(to, io.now()));
        if let Some(client) = self.clients.get_mut(key) {
            client.purpose = Purpose::Subscribe;
        }
        let Some(pipe) = lease.map(|lease| lease.pipe).or_else(|| self.lease(io, key, cluster, node)) else {
            self.fail(io, key, "CLUSTERDOWN midstream: no node could be reached to subscribe on");
            return Step::Taken;
        };
        let Some(connection) = self.pipes.get_mut(pipe) else { return Step::Taken };
        if command.name == "ssubscribe" && connection.node != node && lease.is_some() {
            self.fail(io, key, "CROSSSLOT midstream: the shard channels of one connection must be on one node; use a client per node");
            return Step::Taken;
        }
        connection.subscriber = true;
        connection.tell(io, pipe, frame.bytes);
        if let Some(client) = self.clients.get_mut(key) {
            client.subscriptions.told(command, frame.len() - 1);
        }
        Step::Taken
    }

    /// Unsubscribing from what was never subscribed is confirmed all the same.
    fn nothing_subscribed(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command) {
        let resp = self.clients.get(key).map_or(2, |client| client.resp);
        let mut reply = Vec::new();
        for index in 1..frame.len().max(2) {
            reply.extend_from_slice(if resp == 3 { b">3\r\n" } else { b"*3\r\n" });
            bulk(&mut reply, command.name.as_bytes());
            match (frame.len(), resp) {
                (1, 3) => reply.extend_from_slice(b"_\r\n"),
                (1, _) => reply.extend_from_slice(b"$-1\r\n"),
                _ => bulk(&mut reply, frame.word(index)),
            }
            integer(&mut reply, 0);
        }
        self.answer(io, key, &reply);
    }

    /// A message, or a piece of one. On a shared connection nobody asked for it.
    pub(crate) fn message(&mut self, io: &mut dyn Io, pipe: Key, piece: &[u8], done: bool) {
        let Some(connection) = self.pipes.get_mut(pipe) else { return };
        connection.pushing = !done;
        if connection.lease.is_none() {
            return self.near_push(pipe, piece, done);
        }
        let Some(key) = connection.lease.filter(|_| connection.subscriber) else { return };
        let Some(client) = self.clients.get_mut(key) else { return };
        let subscriptions = &mut client.subscriptions;
        if !done || !subscriptions.partial.is_empty() {
            subscriptions.partial.extend_from_slice(piece);
        }
        if subscriptions.partial.len() + subscriptions.waiting.len() > limits::MAX_MESSAGES {
            return self.close_client(io, key, Close::Abort);
        }
        if !done {
            return;
        }
        let whole = std::mem::take(&mut subscriptions.partial);
        let message = if whole.is_empty() { piece } else { &whole };
        let left = subscriptions.confirmed(message);
        if client.ring.is_mid_reply() {
            client.subscriptions.waiting.extend_from_slice(message);
        } else {
            io.out(key).extend_from_slice(message);
        }
        if left {
            self.give_back(io, key);
        } else if io.backlog(key) > limits::MAX_MESSAGES {
            self.close_client(io, key, Close::Abort);
        }
    }

    /// The reply under way is complete: what waited for that goes out.
    pub(crate) fn send_messages(&mut self, io: &mut dyn Io, key: Key) {
        if let Some(client) = self.clients.get_mut(key)
            && !client.ring.is_mid_reply()
        {
            io.out(key).extend_from_slice(&std::mem::take(&mut client.subscriptions.waiting));
        }
    }
}
