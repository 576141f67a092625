//! Mirrors: a share of a listener's commands goes to a second back end, too. What that answers is compared with what the client got, counted
//! and thrown away.
//!
//! ```text
//!  command ──> its back end ──reply──> client
//!      └─────> the mirror ───reply──> compared: equal, different, failed
//! ```
//! The client's own way is not touched: nothing waits for the mirror, nothing is sent to it twice, and when too much is out there, commands
//! are passed over. Commands of one key and node keep their order there, too, as far as they are mirrored. A reply may differ for no worse
//! reason than that another client's write came to the two in another order.

use crate::action::Action;
use crate::frame::Frame;
use crate::limits;
use crate::machine::Redis;
use crate::pipe::{Owner, Pending, To};
use crate::table::Command;
use crate::value::elements;
use std::collections::HashMap;
use std::sync::Arc;
use wire::metrics::{Counter, Registry};
use wire::{Class, Io, Key, Nanos, Outcome, Request, SECONDS};

/// A mirror as it is configured.
#[derive(Clone, PartialEq, Debug)]
pub struct MirrorConf {
    /// The back end's name.
    pub cluster: Arc<str>,
    /// Of 2^32 commands, so many.
    pub share: u64,
    /// Whether reads and writes are mirrored.
    pub classes: [bool; 2],
    /// What keys begin with, one of these; empty: anything.
    pub prefixes: Vec<Vec<u8>>,
}

/// A listener's mirror on one worker.
#[derive(Debug)]
pub(crate) struct Mirror {
    pub conf: MirrorConf,
    pub cluster: usize,
    meters: Meters,
    dice: u64,
}

#[derive(Debug)]
struct Meters {
    equal: Counter,
    different: Counter,
    failed: Counter,
    skipped: Counter,
}

impl Mirror {
    pub fn new(conf: MirrorConf, cluster: usize, registry: &Registry, listener: &str) -> Mirror {
        let counter = |result: &str| {
            let labels = [("family", "redis"), ("listener", listener), ("backend", &*conf.cluster), ("result", result)];
            registry.counter("midstream_redis_mirrored_total", labels.map(|(label, value)| (label, value.to_owned())).to_vec())
        };
        let meters = Meters { equal: counter("equal"), different: counter("different"), failed: counter("failed"), skipped: counter("skipped") };
        Mirror { conf, cluster, meters, dice: 0x9e37_79b9_7f4a_7c15 }
    }

    /// Whether a command is one of the share.
    fn takes(&mut self, command: &Command, frame: &Frame<'_>, keys: &[u32]) -> bool {
        let class = match command.class {
            Class::Read => 0,
            Class::Write => 1,
            Class::Admin => return false,
        };
        let is_plain = command.action == Action::Keyed && !command.has("noscript") && !command.acl.contains(&"@scripting");
        let by_chance = command.tips.contains(&"nondeterministic_output");
        if !self.conf.classes[class] || !is_plain || by_chance || keys.is_empty() {
            return false;
        }
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.dice >> 32 < self.conf.share
            && (self.conf.prefixes.is_empty()
                || keys.iter().all(|index| self.conf.prefixes.iter().any(|prefix| frame.word(*index as usize).starts_with(prefix))))
    }
}

/// A reply as it comes: its length, a checksum, and its bytes while they are few.
#[derive(Default, Debug)]
struct Heard {
    length: usize,
    sum: u64,
    bytes: Vec<u8>,
    done: bool,
}

impl Heard {
    fn add(&mut self, piece: &[u8], last: bool) {
        self.sum = piece.iter().fold(self.sum, |sum, byte| (sum.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(0x517c_c1b7_2722_0a95));
        self.length += piece.len();
        if self.length <= limits::MAX_MIRRORED_REPLY {
            self.bytes.extend_from_slice(piece);
        }
        self.done = last;
    }

    fn equals(&self, other: &Heard, unordered: bool) -> bool {
        if self.length == other.length && self.sum == other.sum {
            return true;
        }
        let sorted = |heard: &Heard| {
            let mut parts: Vec<Vec<u8>> = elements(&heard.bytes)?.into_iter().map(<[u8]>::to_vec).collect();
            parts.sort_unstable();
            Some(parts)
        };
        unordered && self.length == other.length && sorted(self).is_some_and(|parts| sorted(other).is_some_and(|others| parts == others))
    }
}

/// A command whose two replies are awaited.
#[derive(Debug)]
struct Twin {
    client: Key,
    listener: usize,
    command: &'static Command,
    key: Vec<u8>,
    size: usize,
    since: Nanos,
    own: Heard,
    mirrored: Heard,
}

/// All of a worker.
#[derive(Default, Debug)]
pub(crate) struct Twins {
    all: HashMap<u32, Twin>,
    next: u32,
    /// When the last difference was told to the access log.
    told: Nanos,
}

/// Of many differences one a tenth of a second is told.
const TELL_EVERY: Nanos = SECONDS / 10;

impl Redis {
    /// The mirrors of listeners, kept where they are the same as before.
    pub(crate) fn configure_mirrors(&mut self) {
        for listener in self.listeners.iter_mut().flatten() {
            let wanted = listener.conf.mirror.as_ref();
            let cluster = wanted
                .and_then(|wanted| self.clusters.iter().position(|known| known.as_ref().is_some_and(|known| known.conf.name == wanted.cluster)));
            let Some((wanted, cluster)) = wanted.zip(cluster) else {
                listener.mirror = None;
                continue;
            };
            if listener.mirror.as_ref().is_none_or(|mirror| mirror.conf != *wanted || mirror.cluster != cluster) {
                listener.mirror = Some(Box::new(Mirror::new(wanted.clone(), cluster, &self.worker.metrics, &listener.conf.name)));
            }
        }
        self.has_mirrors = self.listeners.iter().flatten().any(|listener| listener.mirror.is_some());
        if !self.has_mirrors {
            self.twins = Twins::default();
            for key in self.clients.keys() {
                if let Some(client) = self.clients.get_mut(key) {
                    client.mirrored.clear();
                }
            }
        }
    }

    /// Sends a command that was just sent to its back end to the mirror, too, if it is one of its share. Its keys are in `self.keys`.
    pub(crate) fn mirror(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &'static Command, to: To) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(listener) = self.listeners.get_mut(client.listener).and_then(Option::as_mut) else { return };
        let Some(mirror) = listener.mirror.as_mut() else { return };
        if !mirror.takes(command, frame, &self.keys) {
            return;
        }
        if self.twins.all.len() >= limits::MAX_MIRRORED || frame.bytes.len() > limits::MAX_MIRRORED_COMMAND || !client.ring.is_last_open() {
            return mirror.meters.skipped.add(1);
        }
        let (cluster, resp, seq) = (mirror.cluster, client.resp, client.ring.last());
        self.twins.next = self.twins.next.wrapping_add(1);
        let number = self.twins.next;
        client.mirrored.push((seq, number));
        let name = self.keys.first().map(|index| frame.word(*index as usize).to_vec()).unwrap_or_default();
        let (own, mirrored) = Default::default();
        let twin = Twin { client: key, listener: client.listener, command, key: name, size: frame.bytes.len(), since: io.now(), own, mirrored };
        self.twins.all.insert(number, twin);
        let pending = Pending { to, ..Pending::internal(Owner::Mirror(number), 0, resp) };
        self.send(io, cluster, frame.bytes, pending);
    }

    /// A piece of the reply that the client gets.
    pub(crate) fn mirror_own(&mut self, io: &dyn Io, key: Key, seq: u64, piece: &[u8], last: bool) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(at) = client.mirrored.iter().position(|(other, _)| *other == seq) else { return };
        let number = client.mirrored[at].1;
        if last {
            client.mirrored.swap_remove(at);
        }
        if let Some(twin) = self.twins.all.get_mut(&number) {
            twin.own.add(piece, last);
            self.compare(io.now(), number);
        }
    }

    /// A piece of the mirror's reply.
    pub(crate) fn mirror_piece(&mut self, io: &dyn Io, number: u32, piece: &[u8], last: bool) {
        if let Some(twin) = self.twins.all.get_mut(&number) {
            twin.mirrored.add(piece, last);
            self.compare(io.now(), number);
        }
    }

    /// The mirror did not answer, or not as the node of that key.
    pub(crate) fn mirror_failed(&mut self, number: u32) {
        let Some(twin) = self.twins.all.remove(&number) else { return };
        if let Some(client) = self.clients.get_mut(twin.client) {
            client.mirrored.retain(|(_, other)| *other != number);
        }
        if let Some(mirror) = self.listeners.get(twin.listener).and_then(Option::as_ref).and_then(|listener| listener.mirror.as_ref()) {
            mirror.meters.failed.add(1);
        }
    }

    /// A client is gone: what it was owed will not be heard.
    pub(crate) fn forget_twins(&mut self, mirrored: &[(u64, u32)]) {
        mirrored.iter().for_each(|(_, number)| drop(self.twins.all.remove(number)));
    }

    fn compare(&mut self, now: Nanos, number: u32) {
        if self.twins.all.get(&number).is_none_or(|twin| !twin.own.done || !twin.mirrored.done) {
            return;
        }
        let Some(twin) = self.twins.all.remove(&number) else { return };
        let Some(Some(listener)) = self.listeners.get(twin.listener) else { return };
        let Some(mirror) = &listener.mirror else { return };
        if twin.own.equals(&twin.mirrored, twin.command.tips.contains(&"nondeterministic_output_order")) {
            return mirror.meters.equal.add(1);
        }
        mirror.meters.different.add(1);
        let (Some(chain), Some(client)) = (&listener.conf.chain, self.clients.get(twin.client)) else { return };
        if now >= self.twins.told + TELL_EVERY {
            self.twins.told = now;
            let request = Request {
                identity: &client.identity,
                class: twin.command.class,
                verb: &twin.command.verb,
                groups: &twin.command.acl,
                resources: &[&twin.key],
                bytes: twin.size as u64,
                fingerprint: 0,
            };
            chain.done(
                &request,
                &Outcome { took: now.saturating_sub(twin.since), error: "MIRRORDIFF", backend: &mirror.conf.cluster, ..Outcome::default() },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(pieces: &[&str]) -> Heard {
        let mut heard = Heard::default();
        pieces.iter().enumerate().for_each(|(at, piece)| heard.add(piece.as_bytes(), at + 1 == pieces.len()));
        heard
    }

    #[test]
    fn replies_are_compared_however_they_come_in_pieces() {
        let (one, other) = ("*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*2\r\n$1\r\nb\r\n$1\r\na\r\n");
        assert!(heard(&[one]).equals(&heard(&["*2\r\n$1", "\r\na\r\n$1\r\nb\r\n"]), false));
        assert!(!heard(&[one]).equals(&heard(&[other]), false));
        assert!(heard(&[one]).equals(&heard(&[other]), true));
        assert!(!heard(&[one]).equals(&heard(&["*2\r\n$1\r\nb\r\n$1\r\nb\r\n"]), true));
        assert!(!heard(&["$-1\r\n"]).equals(&heard(&["+OK\r\n"]), true));
    }
}
