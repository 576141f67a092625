//! Errands: commands that take several steps on several nodes, run to the end before their client's next command is looked at.
//!
//! ```text
//!  command ──> Errand::next ──Ask──> a request to each of some slots ──all replies──> Errand::next ──> ... ──Answer──> client
//!                    └────────Wait──> a pause ────────────────────────────────────────────┘
//! ```
//! An errand is a small pure machine: the replies of a round in, the next round out. What it asks are entries of the client's ring behind
//! the errand's own, so redirects, retries, lost connections and their deadline are those of every command. It starts when the client is
//! owed nothing, and while it runs the client is not read: so it sees what the client wrote before, and not what it writes after.

use crate::client::{Client, Wait};
use crate::cluster::Cluster;
use crate::lease::Purpose;
use crate::machine::{Redis, Step};
use crate::near::Mark;
use crate::pipe::{Caching, Owner, Pending, To};
use crate::ring::Kind;
use crate::value;
use std::fmt::Debug;
use wire::{Io, Key, MILLIS, Nanos};

/// The timer of a client's errand.
pub(crate) const TIMER_ERRAND: u32 = 1;

/// How soon it is looked again whether another errand that moves data has ended.
const LOOK_AGAIN: Nanos = 2 * MILLIS;

/// One request of a round.
#[derive(Debug)]
pub(crate) struct Ask {
    /// Where to.
    pub to: To,
    /// As it goes out: one command, or MULTI, commands and EXEC.
    pub bytes: Vec<u8>,
    /// Replies before the one that counts.
    pub skip: u32,
    /// May be sent again when nobody knows whether it ran.
    pub repeatable: bool,
    /// Another back end than that of the client's command.
    pub cluster: Option<usize>,
    /// It may block: on a connection of the client's own.
    pub leased: bool,
    /// As the sidecar, whatever user of the nodes its client is.
    pub as_sidecar: bool,
}

impl Ask {
    /// A command as it is.
    pub fn of(to: To, bytes: Vec<u8>, repeatable: bool) -> Ask {
        Ask { to, bytes, skip: 0, repeatable, cluster: None, leased: false, as_sidecar: false }
    }

    /// One command to a slot.
    pub fn one<W: AsRef<[u8]>>(slot: u16, words: &[W], repeatable: bool) -> Ask {
        Ask::of(To::Slot(slot), value::command(words), repeatable)
    }

    /// Commands that a slot's node runs with nothing between them; the reply is EXEC's.
    pub fn batch(slot: u16, commands: &[Vec<u8>], repeatable: bool) -> Ask {
        let bytes = [b"*1\r\n$5\r\nMULTI\r\n", commands.concat().as_slice(), b"*1\r\n$4\r\nEXEC\r\n"].concat();
        Ask { skip: commands.len() as u32 + 1, ..Ask::of(To::Slot(slot), bytes, repeatable) }
    }
}

/// What an errand wants.
#[derive(Debug)]
pub(crate) enum Next {
    /// All of these are answered.
    Ask(Vec<Ask>),
    /// So much time has passed.
    Wait(Nanos),
    /// Nothing more: the client's reply.
    Answer(Vec<u8>),
    /// Nothing more: a node let the client in, who asked by that command ([`crate::session`]).
    Enter(Vec<u8>),
    /// Nothing more: it did not; the reply.
    Stay(Vec<u8>),
    /// Nothing more: its user may, and this command goes its way ([`crate::vet`]).
    Permitted(Vec<u8>),
    /// Nothing more: the client sees from now on what others ask ([`crate::monitor`]). When the worker's time began, in microseconds.
    Watch(u64),
}

impl Next {
    /// The client is told an error.
    pub fn fail(error: &str) -> Next {
        Next::Answer(format!("-{error}\r\n").into_bytes())
    }
}

/// What an errand is given.
pub(crate) struct Round<'a> {
    /// Of what it asked, in that order; nothing at the start and after a pause.
    pub replies: &'a [Vec<u8>],
    /// The time.
    pub now: Nanos,
    /// The client's RESP version, which is that of the replies.
    pub resp: u8,
    /// Who has which slot.
    pub cluster: Option<&'a Cluster>,
}

impl Round<'_> {
    /// The first reply that is an error.
    pub fn error(&self) -> Option<&Vec<u8>> {
        self.replies.iter().find(|reply| value::is_error(reply))
    }

    /// The only reply of a round with one request.
    pub fn reply(&self) -> &[u8] {
        self.replies.first().map(Vec::as_slice).unwrap_or_default()
    }

    /// Null in the place of an array.
    pub fn null_array(&self) -> Vec<u8> {
        if self.resp == 3 { b"_\r\n".to_vec() } else { b"*-1\r\n".to_vec() }
    }

    /// Null in the place of a string.
    pub fn null(&self) -> Vec<u8> {
        if self.resp == 3 { b"_\r\n".to_vec() } else { b"$-1\r\n".to_vec() }
    }
}

/// A command in several steps.
pub(crate) trait Errand: Debug {
    /// The next step.
    fn next(&mut self, round: &Round<'_>) -> Next;

    /// Whether it carries data from node to node through this process, of which few do at a time.
    fn is_heavy(&self) -> bool {
        false
    }

    /// What the replies of a round may take, in bytes; `limit` is the back end's `crossSlotBytes`.
    fn room(&self, limit: usize) -> usize {
        limit
    }

    /// What the client is told when they take more.
    fn too_large(&self, limit: usize) -> String {
        format!(
            "ERR midstream: the keys are in several slots, and what has to be read of them is over {limit} bytes (crossSlotBytes of the \
             RedisCluster); nothing was changed"
        )
    }

    /// The keys to one of which something is to come; none: it waits for nothing.
    fn waits_for(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// How CLIENT UNBLOCK ends it; `None`: it waits for nothing. `error`: with one.
    fn unblock(&mut self, _error: bool) -> Option<Vec<u8>> {
        None
    }
}

/// An errand under way.
#[derive(Debug)]
pub(crate) struct Running {
    errand: Box<dyn Errand>,
    seq: u64,
    /// The next round is due when the timer fires.
    pausing: bool,
    /// What it ends with instead of the next pause: CLIENT UNBLOCK came in the middle of a round, which may just have got something.
    unblocked: Option<Vec<u8>>,
}

impl Running {
    /// The place of its command in the client's ring.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether it waits for something to come, with nothing under way.
    pub fn is_waiting(&self) -> bool {
        self.pausing && !self.errand.waits_for().is_empty()
    }

    /// See [`Errand::waits_for`].
    pub fn waits_for(&self) -> Vec<Vec<u8>> {
        self.errand.waits_for()
    }
}

impl Redis {
    /// Runs an errand for the command that is being looked at, once its client is owed nothing.
    pub(crate) fn run(&mut self, io: &mut dyn Io, key: Key, errand: Box<dyn Errand>) -> Step {
        if self.must_empty_ring(key) {
            return self.wait_for_ring(io, key);
        }
        if errand.is_heavy() {
            if self.heavy_errands >= crate::limits::MAX_HEAVY_ERRANDS {
                return self.hold(io, key, LOOK_AGAIN);
            }
            self.heavy_errands += 1;
        }
        if let Some((_, Pending { owner: Owner::Client(_, seq), .. })) = self.owe(io, key, Kind::Errand { left: 0 }, To::Any, false)
            && let Some(client) = self.clients.get_mut(key)
        {
            client.errand = Some(Box::new(Running { errand, seq, pausing: false, unblocked: None }));
            self.advance_errand(io, key, &[]);
        }
        Step::Taken
    }

    /// A reply has come: if it was the last of its round, the errand goes on.
    pub(crate) fn errand_heard(&mut self, io: &mut dyn Io, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.errand.as_ref().is_none_or(|running| running.pausing) || !client.ring.is_round_over() {
            return;
        }
        let (replies, too_large) = client.ring.take_round();
        if too_large && let Some(running) = &client.errand {
            let limit = self.clusters.get(client.cluster).and_then(Option::as_ref).map_or(0, |known| known.conf.cross_slot_bytes);
            let error = format!("-{}\r\n", running.errand.too_large(limit));
            return self.end_errand(io, key, error.as_bytes());
        }
        self.advance_errand(io, key, &replies);
    }

    /// A pause is over.
    pub(crate) fn errand_timer(&mut self, io: &mut dyn Io, key: Key) {
        if self.has_migrations && self.is_errand_fenced(key) {
            io.arm(key, TIMER_ERRAND, io.now() + LOOK_AGAIN);
        } else if let Some(running) = self.clients.get_mut(key).and_then(|client| client.errand.as_mut())
            && std::mem::take(&mut running.pausing)
        {
            self.advance_errand(io, key, &[]);
        }
    }

    fn advance_errand(&mut self, io: &mut dyn Io, key: Key, replies: &[Vec<u8>]) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let resp = client.resp;
        let cluster = self.clusters.get(client.cluster).and_then(Option::as_ref);
        let Some(running) = client.errand.as_mut() else { return };
        match running.errand.next(&Round { replies, now: io.now(), resp, cluster }) {
            Next::Ask(asks) => self.ask_round(io, key, asks),
            Next::Wait(pause) => match running.unblocked.take() {
                Some(reply) => self.end_errand(io, key, &reply),
                None => {
                    running.pausing = true;
                    io.arm(key, TIMER_ERRAND, io.now() + pause);
                }
            },
            Next::Answer(reply) => self.end_errand(io, key, &reply),
            Next::Enter(command) => self.entered(io, key, &command),
            Next::Stay(reply) => self.stayed(io, key, &reply),
            Next::Permitted(command) => self.permitted(io, key, &command),
            Next::Watch(epoch) => {
                self.end_errand(io, key, b"+OK\r\n");
                self.watch_listener(io, key, epoch);
            }
        }
    }

    fn ask_round(&mut self, io: &mut dyn Io, key: Key, asks: Vec<Ask>) {
        let now = io.now();
        let Some(client) = self.clients.get_mut(key) else { return };
        let (cluster, resp) = (client.cluster, client.resp);
        let limit = self.clusters.get(cluster).and_then(Option::as_ref).map_or(0, |known| known.conf.cross_slot_bytes);
        let room = client.errand.as_ref().map_or(limit, |running| running.errand.room(limit));
        client.ring.begin_round(asks.len() as u32, room);
        for (number, ask) in asks.into_iter().enumerate() {
            // A reply that is there at once (no node, no time left) may have ended it.
            let Some(client) = self.clients.get_mut(key).filter(|client| client.errand.is_some()) else { return };
            let seq = client.ring.push(Kind::Part(number as u32 + 1), ask.to.slot(), now, None);
            if ask.leased {
                client.blocks_since = now;
                client.wait = Wait::Barrier;
                client.purpose = Purpose::Block;
            }
            let cluster = ask.cluster.unwrap_or(cluster);
            let deadline = self.deadline(cluster, now);
            let near = if self.has_near { Mark::Writes } else { Mark::None };
            let caching = self.clients.get(key).and_then(|client| client.tracking.as_ref()).map_or(Caching::AsItIs, |tracking| tracking.of_errand());
            let own = Pending { caching, leased: ask.leased, ..Pending::of(key, seq, ask.to, resp) };
            let part = Pending { skip: ask.skip, batch: ask.skip, repeatable: ask.repeatable, ..own };
            let pending = Pending { deadline, near, ..part };
            let session = self.clients.get_mut(key).filter(|_| ask.as_sidecar).and_then(|client| client.session.take());
            self.send(io, cluster, &ask.bytes, pending);
            if let Some(client) = self.clients.get_mut(key).filter(|_| session.is_some()) {
                client.session = session;
            }
        }
    }

    /// Ends a client's errand with that reply.
    pub(crate) fn end_errand(&mut self, io: &mut dyn Io, key: Key, reply: &[u8]) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(running) = client.errand.take() else { return };
        io.disarm(key, TIMER_ERRAND);
        client.ring.end_errand();
        self.heavy_errands -= usize::from(running.errand.is_heavy());
        self.deliver(io, key, running.seq, reply, true);
        self.resume(io, key);
    }

    /// The client is gone, and its errand with it.
    pub(crate) fn drop_errand(&mut self, client: &mut Client) {
        if let Some(running) = client.errand.take() {
            self.heavy_errands -= usize::from(running.errand.is_heavy());
        }
    }

    /// Ends a client's errand that waits for something to come. Whether there was one.
    pub(crate) fn unblock_errand(&mut self, io: &mut dyn Io, key: Key, error: bool) -> bool {
        let Some(running) = self.clients.get_mut(key).and_then(|client| client.errand.as_mut()) else { return false };
        let Some(reply) = running.errand.unblock(error) else { return false };
        if running.pausing {
            self.end_errand(io, key, &reply);
        } else {
            running.unblocked = Some(reply);
        }
        true
    }
}
