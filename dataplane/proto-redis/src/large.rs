//! Commands with a value that is too long to be held: it streams from the client to the node.
//!
//! ```text
//!            earlier replies are out        the node takes the key      the last byte is out
//!  head ──> queued ──────────────> asking ──────────────────> ready ──> tail ─────────────> an ordinary reply is awaited
//!                                     │ MOVED, ASK, lost, down: asked again, until the deadline          (on the leased connection)
//!                                     └─ no node: the error, and the rest is thrown away
//! ```
//! The head is what comes before the long word: the command and its only key, so that rules and slots are known. It waits, unread, until
//! the node has been asked about the key (EXISTS), because what streams cannot be sent a second time. Then the long word is forwarded
//! untouched by the engine, on a connection of the client's own: a client that sends slowly holds up nobody, and the client is read only
//! as fast as the node reads. A node runs nothing before it has the whole command: what breaks in the middle has not run.

use crate::action::{Action, Writes};
use crate::client::Wait;
use crate::cluster::Reason;
use crate::frame::{self, Frame, LongWord, Wrong};
use crate::lease::Purpose;
use crate::limits;
use crate::machine::{Redis, Step};
use crate::merge::{array, bulk};
use crate::near::Mark;
use crate::pipe::{Owner, Pending, To};
use crate::rename::{Tells, tells};
use crate::replies::ASKING;
use crate::ring::Kind;
use crate::slot::slot_of;
use crate::table::Command;
use crate::upstream::printable;
use crate::value;
use wire::{Close, Io, Key};

/// Where such a command is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Replies before it are outstanding.
    Queued,
    /// The node is being asked whether it takes the key.
    Asking,
    /// It does.
    Ready,
    /// The head is out; so many words come behind the one on its way.
    Tail(i64),
}

/// A command on its way through.
#[derive(Debug)]
pub(crate) struct Large {
    phase: Phase,
    pending: Pending,
    cluster: usize,
    /// What the back end calls its key.
    name: Vec<u8>,
}

impl Large {
    fn new(phase: Phase) -> Large {
        Large { phase, pending: Pending::internal(Owner::Nobody, 0, 2), cluster: 0, name: Vec::new() }
    }

    fn seq(&self) -> Option<u64> {
        if let Owner::Client(_, seq) = self.pending.owner { Some(seq) } else { None }
    }
}

/// What becomes of a command with a long word.
pub(crate) enum Course {
    /// It is to be read whole.
    Whole,
    /// It is to be presented again.
    Held,
    /// So many bytes of it are read; the rest goes its own way.
    Begun(usize),
}

impl crate::client::Client {
    /// Whether the rest of a command streams.
    pub(crate) fn is_mid_large(&self) -> bool {
        self.large.as_ref().is_some_and(|large| matches!(large.phase, Phase::Tail(_)))
    }

    /// Whether its long command has to wait.
    pub(crate) fn is_large_stalled(&self) -> bool {
        self.large.as_ref().is_some_and(|large| match large.phase {
            Phase::Queued => !self.ring.is_empty(),
            Phase::Asking => large.seq().is_some_and(|seq| self.ring.owes(seq)),
            Phase::Ready | Phase::Tail(_) => false,
        })
    }

    /// Whether a long command is to be finished before anything else, even while the process ends.
    pub(crate) fn has_begun_large(&self) -> bool {
        self.large.as_ref().is_some_and(|large| large.phase != Phase::Queued)
    }
}

impl Redis {
    /// A command whose next word is long. `head` has the words before it.
    pub(crate) fn large(&mut self, io: &mut dyn Io, key: Key, head: &Frame<'_>, word: LongWord) -> Course {
        let Some(client) = self.clients.get_mut(key) else { return Course::Held };
        match client.large.as_ref().map(|large| large.phase) {
            Some(Phase::Ready) => return self.begin_large(io, key, head, word),
            Some(Phase::Asking) => return self.skip_large(io, key, word), // it was given up
            _ => client.large = None,
        }
        let Some(command) = self.streams(key, head, head.len() + 1 + word.left as usize) else { return Course::Whole };
        if self.must_empty_ring(key) {
            return self.hold_large(io, key, Large::new(Phase::Queued));
        }
        self.keys.clear();
        self.keys.push(1);
        let size = usize::try_from(word.start as u64 + word.length).unwrap_or(usize::MAX);
        match self.admit(io, key, head, command, size) {
            None => {}
            Some(Step::Taken) => return self.skip_large(io, key, word),
            Some(Step::Held) => return Course::Held,
        }
        if !self.watchers.is_empty() {
            self.show(io, key, head, command);
        }
        self.ask_about(io, key, head, command)
    }

    /// The command, if it may stream: its only key is known, and nobody but the node needs the value.
    fn streams(&self, key: Key, head: &Frame<'_>, words: usize) -> Option<&'static Command> {
        let client = self.clients.get(key)?;
        let listener = self.listeners.get(client.listener)?.as_ref()?;
        let command = self.table.find(head.word(0))?;
        let is_plain = command.action == Action::Keyed && command.first_word_is_key && head.len() > 1 && command.takes(words);
        let is_free = client.lease.is_none() && client.tracking.is_none() && client.subscriptions.is_none() && !client.transaction.is_open();
        let route = listener.conf.routes.as_ref().map(|routes| routes.get(routes.find(head.word(1))));
        let is_packed = route.is_some_and(|route| route.compression.is_some());
        let is_renamed = route.is_some_and(|route| route.rewrite.is_some());
        let is_blind = listener.mirror.is_none() && !is_packed && !(is_renamed && tells(command) != Tells::Nothing);
        // What is on its way to another back end is copied there whole.
        let moves = self.has_migrations && is_plain && self.is_migrating(key, head.word(1));
        (is_plain && is_free && is_blind && !moves && !command.is_script).then_some(command)
    }

    fn hold_large(&mut self, io: &mut dyn Io, key: Key, large: Large) -> Course {
        if let Some(client) = self.clients.get_mut(key) {
            client.large = Some(Box::new(large));
            client.paused = true;
            io.pause(key, true);
        }
        Course::Held
    }

    /// Asks the node of the key whether it takes it, on the connection that the command will use.
    fn ask_about(&mut self, io: &mut dyn Io, key: Key, head: &Frame<'_>, command: &'static Command) -> Course {
        let name = self.place_large(key, head.word(1));
        if self.replicas_read {
            self.note_write(key, head, command);
        }
        let is_near = self.has_near && command.writes != Writes::Nothing;
        self.mark = if is_near { Mark::Writes } else { Mark::None };
        let owed = self.owe(io, key, Kind::Plain, To::Slot(slot_of(&name)), false);
        self.mark = Mark::None;
        let Some((cluster, pending)) = owed else { return Course::Held };
        let large = Large { phase: Phase::Asking, pending: Pending { leased: true, ..pending }, cluster, name };
        self.hold_large(io, key, large);
        self.probe_large(io, key);
        Course::Held
    }

    /// Sets the client's back end; what that calls the key.
    fn place_large(&mut self, key: Key, name: &[u8]) -> Vec<u8> {
        let listener = self.clients.get(key).and_then(|client| self.listeners.get(client.listener)).and_then(Option::as_ref);
        let Some((listener, routes)) = listener.and_then(|listener| Some((listener, listener.conf.routes.as_ref()?))) else { return name.to_vec() };
        let number = routes.find(name);
        let cluster = listener.routed.get(usize::from(number)).copied().unwrap_or(listener.cluster);
        let mut behind = Vec::new();
        routes.get(number).push_behind(name, &mut behind);
        if let Some(client) = self.clients.get_mut(key) {
            client.cluster = cluster;
        }
        behind
    }

    fn probe_large(&mut self, io: &mut dyn Io, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(large) = &mut client.large else { return };
        large.phase = Phase::Asking;
        client.purpose = Purpose::Stream;
        let (cluster, pending, probe) = (large.cluster, large.pending, value::command(&[&b"EXISTS"[..], &large.name]));
        self.send(io, cluster, &probe, pending);
    }

    /// Whether that was the node's answer about a key; whatever it says, it takes it.
    pub(crate) fn large_answered(&mut self, io: &mut dyn Io, pipe: Key, key: Key) -> bool {
        let Some(client) = self.clients.get_mut(key) else { return false };
        let Some(large) = client.large.as_mut().filter(|large| large.phase == Phase::Asking) else { return false };
        large.phase = Phase::Ready;
        client.wait = Wait::No;
        if let Some(connection) = self.pipes.get_mut(pipe) {
            connection.drop_front();
        }
        self.resume(io, key);
        true
    }

    /// Sends the head; the engine forwards what follows.
    fn begin_large(&mut self, io: &mut dyn Io, key: Key, head: &Frame<'_>, word: LongWord) -> Course {
        let Some(client) = self.clients.get_mut(key) else { return Course::Held };
        let Some(large) = &mut client.large else { return Course::Held };
        let Some((lease, connection)) = client.lease.and_then(|lease| Some((lease, self.pipes.get_mut(lease.pipe)?))) else {
            // It was lost since.
            client.paused = true;
            io.pause(key, true);
            self.probe_large(io, key);
            return Course::Held;
        };
        let mut bytes = Vec::new();
        array(&mut bytes, head.len() + 1 + word.left as usize);
        bulk(&mut bytes, head.word(0));
        bulk(&mut bytes, &large.name);
        (2..head.len()).for_each(|index| bulk(&mut bytes, head.word(index)));
        bytes.extend_from_slice(format!("${}\r\n", word.length).as_bytes());
        large.phase = Phase::Tail(word.left);
        if lease.asking {
            connection.ask(io, lease.pipe, ASKING, Pending::internal(Owner::Nobody, connection.node, connection.resp));
        }
        connection.begin(io, lease.pipe, &bytes, large.pending);
        io.link(key, lease.pipe);
        io.forward(key, lease.pipe, word.length);
        Course::Begun(word.start)
    }

    /// Throws the rest of the command away: it is answered.
    fn skip_large(&mut self, io: &mut dyn Io, key: Key, word: LongWord) -> Course {
        if let Some(client) = self.clients.get_mut(key) {
            client.large = Some(Box::new(Large::new(Phase::Tail(word.left))));
            client.wait = Wait::No;
            io.skip(key, word.length);
        }
        Course::Begun(word.start)
    }

    /// What comes behind a word of a command that streams: the next one, or the command's end. How many bytes that took.
    pub(crate) fn large_tail(&mut self, io: &mut dyn Io, key: Key, bytes: &[u8]) -> usize {
        let Some(client) = self.clients.get_mut(key) else { return bytes.len() };
        let Some((Phase::Tail(left), seq)) = client.large.as_ref().map(|large| (large.phase, large.seq())) else { return 0 };
        let to = client.lease.filter(|lease| lease.purpose == Purpose::Stream).map(|lease| lease.pipe);
        match next_word(bytes, left) {
            Err(wrong) => self.break_large(io, key, seq, &wrong, bytes.len()),
            Ok(Next::More) if client.half_closed => self.abandon_large(io, key, bytes.len()),
            Ok(Next::More) => {
                io.want(key, bytes.len() + 1);
                0
            }
            Ok(Next::End) => {
                client.large = None;
                io.unlink(key);
                if seq.is_some_and(|seq| client.ring.owes(seq)) {
                    client.wait = Wait::Barrier;
                }
                if let Some(to) = to {
                    io.out(to).extend_from_slice(b"\r\n");
                }
                2
            }
            Ok(Next::Word(start, length)) => {
                if client.half_closed && length > (bytes.len() - start) as u64 {
                    return self.abandon_large(io, key, bytes.len());
                }
                client.large = client.large.take().map(|large| Box::new(Large { phase: Phase::Tail(left - 1), ..*large }));
                match to {
                    Some(to) => {
                        io.out(to).extend_from_slice(format!("\r\n${length}\r\n").as_bytes());
                        io.forward(key, to, length);
                    }
                    None => io.skip(key, length),
                }
                start
            }
        }
    }

    /// The client went in the middle of a command, which therefore never runs.
    pub(crate) fn abandon_large(&mut self, io: &mut dyn Io, key: Key, all: usize) -> usize {
        self.close_client(io, key, Close::Abort);
        all
    }

    /// The client broke the protocol in the middle of a command, which therefore never runs.
    fn break_large(&mut self, io: &mut dyn Io, key: Key, seq: Option<u64>, wrong: &str, all: usize) -> usize {
        self.meters_of(key, |meters| meters.protocol.add(1));
        self.give_back(io, key);
        let Some(client) = self.clients.get_mut(key) else { return all };
        (client.large, client.closing) = (None, true);
        let error = format!("-ERR Protocol error: {wrong}\r\n");
        match seq.filter(|seq| client.ring.owes(*seq)) {
            Some(seq) => self.deliver(io, key, seq, error.as_bytes(), true),
            None => self.answer(io, key, error.as_bytes()),
        }
        all
    }

    /// The connection on which a command streams, or was to, is lost.
    pub(crate) fn orphan_of_large(&mut self, io: &mut dyn Io, pending: Pending, bytes: &[u8], cluster: usize, why: &str) {
        let Owner::Client(key, seq) = pending.owner else { return };
        let Some(client) = self.clients.get_mut(key) else { return };
        let phase = client.large.as_ref().map(|large| large.phase);
        if phase == Some(Phase::Asking) {
            client.lease = None;
            return self.park(io, cluster, bytes, pending, 0, Reason::NodeDown(why.to_owned()));
        }
        self.meters_of(key, |meters| meters.failed.add(1));
        let why = printable(why);
        let error = match phase {
            Some(_) => {
                format!("-TRYAGAIN midstream: the connection to the cache node was lost before it had the whole command ({why}); it did not run\r\n")
            }
            None => {
                format!("-ERR midstream: the connection to the cache node was lost after the command was sent ({why}); whether it ran is unknown\r\n")
            }
        };
        self.deliver(io, key, seq, error.as_bytes(), true);
    }
}

/// What stands behind a word.
enum Next {
    /// It is not all there.
    More,
    /// The command's end.
    End,
    /// A word of that length, which begins there.
    Word(usize, u64),
}

fn next_word(bytes: &[u8], left: i64) -> Result<Next, Wrong> {
    let rest = match bytes {
        [] | [b'\r'] => return Ok(Next::More),
        [b'\r', b'\n', rest @ ..] => rest,
        _ => return Err("expected CRLF after a bulk".into()),
    };
    match rest.first() {
        _ if left == 0 => Ok(Next::End),
        None => Ok(Next::More),
        Some(b'$') => match frame::number(bytes, 3, frame::BULK_LENGTH)? {
            None => Ok(Next::More),
            Some((length, start)) if (0..=limits::MAX_STREAMED_WORD).contains(&length) => Ok(Next::Word(start, length as u64)),
            Some(_) => Err(frame::BULK_LENGTH.into()),
        },
        Some(other) => Err(format!("expected '$', got '{}'", frame::printable(*other)).into()),
    }
}
