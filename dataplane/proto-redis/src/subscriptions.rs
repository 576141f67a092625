//! What one client has subscribed to, where, and what it is still to hear of that.
//!
//! A client has a feed, a connection of its own, to each node that its subscriptions need. Confirmations go out in the order of what was
//! asked, each when all nodes that were asked have confirmed, with the counts of one server.

use crate::copies::Copies;
use crate::merge::{bulk, integer};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::{Key, Nanos};

/// Of what kind a subscription is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    /// SUBSCRIBE.
    Channel,
    /// PSUBSCRIBE.
    Pattern,
    /// SSUBSCRIBE.
    Shard,
}

impl Kind {
    /// As commands and confirmations name it.
    pub fn word(self, subscribe: bool) -> &'static str {
        match (self, subscribe) {
            (Kind::Channel, true) => "subscribe",
            (Kind::Pattern, true) => "psubscribe",
            (Kind::Shard, true) => "ssubscribe",
            (Kind::Channel, false) => "unsubscribe",
            (Kind::Pattern, false) => "punsubscribe",
            (Kind::Shard, false) => "sunsubscribe",
        }
    }

    /// What a word names, and whether it subscribes.
    pub fn of(word: &[u8]) -> Option<(Kind, bool)> {
        let kinds = [Kind::Channel, Kind::Pattern, Kind::Shard];
        kinds.into_iter().flat_map(|kind| [(kind, true), (kind, false)]).find(|(kind, subscribe)| kind.word(*subscribe).as_bytes() == word)
    }
}

/// A channel or pattern.
pub(crate) type Name = (Kind, Vec<u8>);

/// A confirmation that is to come.
#[derive(Debug)]
struct Expected {
    kind: Kind,
    /// `None`: there was nothing to unsubscribe from.
    name: Option<Vec<u8>>,
    subscribe: bool,
    /// Nodes that have not confirmed.
    left: usize,
    error: Option<Vec<u8>>,
    /// The client wants to hear of no error (CLIENT REPLY).
    silent: bool,
}

/// A connection to a node.
#[derive(Debug)]
pub(crate) struct Feed {
    /// Which node.
    pub node: u16,
    /// The connection.
    pub pipe: Key,
    /// What was asked on it, in order: the number of the confirmation, or `None` for what the client does not wait for.
    asked: VecDeque<(Name, bool, Option<u64>)>,
    /// The beginning of a message.
    pub partial: Vec<u8>,
}

/// The subscriptions of a client.
#[derive(Default, Debug)]
pub(crate) struct Subscriptions {
    /// What is wanted, and the nodes that were asked for it.
    pub wanted: BTreeMap<Name, Vec<u16>>,
    /// What the client knows to be subscribed.
    confirmed: BTreeSet<Name>,
    /// How many of those are shard channels.
    shards: usize,
    expected: VecDeque<Expected>,
    base: u64,
    /// What is asked now is not answered, where it is an error.
    pub silent: bool,
    /// Its connections.
    pub feeds: Vec<Feed>,
    /// Messages that wait for the end of a reply under way.
    pub waiting: Vec<u8>,
    /// Since when something has no node.
    pub homeless: Option<Nanos>,
    /// The node that is heard when others have copies.
    pub heard: Option<u16>,
    /// Since when that moves from one node to another, and both are heard.
    pub moving: Option<Nanos>,
    /// What nodes have told.
    pub copies: Copies,
}

impl Subscriptions {
    /// Whether only commands about subscriptions may be used in RESP2.
    pub fn is_active(&self) -> bool {
        !self.wanted.is_empty() || !self.confirmed.is_empty()
    }

    /// Whether the client knows that channel to be subscribed.
    pub fn has_channel(&self, channel: &[u8]) -> bool {
        self.confirmed.contains(&(Kind::Channel, channel.to_vec()))
    }

    /// How many channels, patterns and shard channels are subscribed.
    pub fn counts(&self) -> [usize; 3] {
        [Kind::Channel, Kind::Pattern, Kind::Shard].map(|kind| self.confirmed.iter().filter(|(of, _)| *of == kind).count())
    }

    /// Whether confirmations are to come.
    pub fn is_expecting(&self) -> bool {
        !self.expected.is_empty()
    }

    /// Whether nothing is subscribed and nothing to come.
    pub fn is_over(&self) -> bool {
        !self.is_active() && self.expected.is_empty()
    }

    /// The feed of a connection.
    pub fn feed(&mut self, pipe: Key) -> Option<&mut Feed> {
        self.feeds.iter_mut().find(|feed| feed.pipe == pipe)
    }

    /// The client is to hear of something once so many nodes have confirmed it; its number.
    pub fn expect(&mut self, kind: Kind, name: Option<&[u8]>, subscribe: bool, nodes: usize) -> u64 {
        self.expected.push_back(Expected { kind, name: name.map(<[u8]>::to_vec), subscribe, left: nodes, error: None, silent: self.silent });
        self.base + self.expected.len() as u64 - 1
    }

    /// A connection to a node is there for it.
    pub fn add_feed(&mut self, node: u16, pipe: Key) {
        self.feeds.push(Feed { node, pipe, asked: VecDeque::new(), partial: Vec::new() });
    }

    /// The confirmation of a subscription that nobody could be asked for yet.
    pub fn owed(&self, (kind, name): &Name) -> Option<u64> {
        let waits = |expected: &Expected| expected.left > 0 && expected.subscribe && expected.kind == *kind && expected.name.as_ref() == Some(name);
        self.expected.iter().zip(self.base..).find(|(expected, _)| waits(expected)).map(|(_, number)| number)
    }

    /// Something was asked on a feed.
    pub fn asked(&mut self, pipe: Key, name: &Name, subscribe: bool, number: Option<u64>) {
        if let Some(feed) = self.feed(pipe) {
            feed.asked.push_back((name.clone(), subscribe, number));
        }
    }

    /// A node confirms, or refuses, what comes next on its feed. False: it says so on its own account.
    pub fn confirm(&mut self, pipe: Key, said: Option<(&Name, bool)>, error: Option<&[u8]>) -> bool {
        let Some(feed) = self.feed(pipe) else { return false };
        let fits = feed.asked.front().is_some_and(|(name, subscribe, _)| said.is_none_or(|(said, how)| said == name && how == *subscribe));
        let Some((name, _, number)) = fits.then(|| feed.asked.pop_front()).flatten() else { return false };
        if error.is_some() {
            self.wanted.remove(&name);
        }
        self.heard(number, error);
        true
    }

    fn heard(&mut self, number: Option<u64>, error: Option<&[u8]>) {
        let index = number.and_then(|number| usize::try_from(number.checked_sub(self.base)?).ok());
        if let Some(expected) = index.and_then(|index| self.expected.get_mut(index)) {
            expected.left = expected.left.saturating_sub(1);
            expected.error = expected.error.take().or(error.map(<[u8]>::to_vec));
        }
    }

    /// Whether a message of which other nodes have copies is passed on.
    pub fn is_heard(&mut self, node: u16, of_shard: bool, message: &[u8]) -> bool {
        if self.moving.is_some() {
            return self.copies.is_first(node, message);
        }
        let is_heard = of_shard || self.heard.is_none_or(|heard| heard == node);
        if is_heard {
            self.copies.note(node, message);
        }
        is_heard
    }

    /// A feed is gone: what was wanted there has no node, what was asked there is not waited for.
    pub fn lose(&mut self, pipe: Key) -> bool {
        let Some(at) = self.feeds.iter().position(|feed| feed.pipe == pipe) else { return false };
        let feed = self.feeds.swap_remove(at);
        self.copies.forget(feed.node);
        self.wanted.values_mut().for_each(|nodes| nodes.retain(|node| *node != feed.node));
        feed.asked.into_iter().for_each(|(_, _, number)| self.heard(number, None));
        true
    }

    fn complete(&mut self) -> Option<Expected> {
        self.expected.front().filter(|expected| expected.left == 0)?;
        self.expected.pop_front()
    }

    /// The confirmations that are complete, in their order.
    pub fn confirmations(&mut self, resp: u8) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(expected) = self.complete() {
            self.base += 1;
            if let Some(error) = expected.error {
                out.extend_from_slice(if expected.silent { b"" } else { &error });
                continue;
            }
            if let Some(name) = &expected.name {
                let name = (expected.kind, name.clone());
                let changed = if expected.subscribe { self.confirmed.insert(name) } else { self.confirmed.remove(&name) };
                if changed && expected.kind == Kind::Shard {
                    self.shards = if expected.subscribe { self.shards + 1 } else { self.shards - 1 };
                }
            }
            let count = if expected.kind == Kind::Shard { self.shards } else { self.confirmed.len() - self.shards };
            confirmation(&mut out, resp, expected.kind.word(expected.subscribe), expected.name.as_deref(), count);
        }
        out
    }
}

fn confirmation(out: &mut Vec<u8>, resp: u8, word: &str, name: Option<&[u8]>, count: usize) {
    out.extend_from_slice(if resp == 3 { b">3\r\n" } else { b"*3\r\n" });
    bulk(out, word.as_bytes());
    match (name, resp) {
        (Some(name), _) => bulk(out, name),
        (None, 3) => out.extend_from_slice(b"_\r\n"),
        (None, _) => out.extend_from_slice(b"$-1\r\n"),
    }
    integer(out, count as i64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirmations_come_in_order_with_the_counts_of_one_server() {
        let mut all = Subscriptions::default();
        let pipes = [1, 2].map(|slot| Key { slot, generation: 0 });
        pipes.iter().for_each(|pipe| all.add_feed(pipe.slot as u16, *pipe));
        let [a, b, s] = [(Kind::Channel, b"a".to_vec()), (Kind::Pattern, b"b*".to_vec()), (Kind::Shard, b"s".to_vec())];
        for (name, nodes) in [(&a, &pipes[..1]), (&b, &pipes[..]), (&s, &pipes[1..])] {
            let number = all.expect(name.0, Some(&name.1), true, nodes.len());
            nodes.iter().for_each(|pipe| all.asked(*pipe, name, true, Some(number)));
        }
        assert!(all.confirm(pipes[1], Some((&b, true)), None));
        assert!(!all.confirm(pipes[1], Some((&a, false)), None), "nobody asked for that");
        assert!(all.confirm(pipes[1], Some((&s, true)), None));
        assert_eq!(all.confirmations(2), b"");
        assert!(all.confirm(pipes[0], Some((&a, true)), None));
        assert_eq!(all.confirmations(2), b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
        assert!(all.lose(pipes[0]), "what it had still to confirm is not waited for");
        let rest = b"*3\r\n$10\r\npsubscribe\r\n$2\r\nb*\r\n:2\r\n*3\r\n$10\r\nssubscribe\r\n$1\r\ns\r\n:1\r\n";
        assert_eq!(all.confirmations(2), rest);
    }
}
