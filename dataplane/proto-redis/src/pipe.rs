//! A connection to a node: what was asked on it, in order, and what it takes to ask again.
//!
//! ```text
//!  dial ──> connecting ──open──> login ──+OK──> ready ──> (closed)
//!             │ refused             │ -ERR
//!             └── nothing was sent: all that waits here is asked again ──┘
//! ```
//! A shared pipe carries the commands of many clients; a leased one belongs to a client for a while.

use crate::frame::Wrong;
use crate::limits;
use crate::near::{Ask, Mark};
use crate::order::NO_SLOT;
use crate::reply::Scan;
use std::collections::VecDeque;
use wire::{Io, Key, Nanos};

/// Where a command goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum To {
    /// To the master of the slot.
    Slot(u16),
    /// To a replica of the slot's master that is fit for it, else to the master.
    Read(u16),
    /// To any master.
    Any,
    /// To that node, or who took its place.
    Node(u16),
    /// To that very node, master or replica.
    Itself(u16),
}

impl To {
    /// The slot whose commands it keeps in order.
    #[inline]
    pub fn slot(self) -> u16 {
        match self {
            To::Slot(slot) | To::Read(slot) => slot,
            To::Any | To::Node(_) | To::Itself(_) => NO_SLOT,
        }
    }
}

/// Who waits for a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// A client, at that place of its ring.
    Client(Key, u64),
    /// The login of the connection itself.
    Login,
    /// The slot table.
    Topology,
    /// The near cache.
    Near(Ask),
    /// What the node calls this connection, by which it can be unblocked.
    Identity,
    /// The beginning of the answer that a later question of this kind completes.
    TopologyPart,
    /// How far a master or replica is.
    Position,
    /// Whether a master that was out of use is there.
    Probe,
    /// A tracking client's connection to its node: the answer to CLIENT TRACKING.
    Tracks(Key),
    /// Whoever compares: a command's copy, by its number.
    Mirror(u32),
    /// A key's copy to the back end it goes to, by its number.
    Copy(u32),
    /// Another node, which is being given functions: what a master has of them, or whether it takes them ([`crate::functions`]).
    Functions(u16),
    /// Nobody: ASKING, UNWATCH on behalf of a client that is gone.
    Nobody,
}

/// One request whose reply is outstanding.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// Who waits.
    pub owner: Owner,
    /// Where it belongs.
    pub to: To,
    /// When we give up trying again.
    pub deadline: Nanos,
    /// Its length in the pipe's copy; 0: not kept.
    pub kept: u32,
    /// Replies before the one that counts (MULTI and what it queued).
    pub skip: u32,
    /// What `skip` is when it is sent again.
    pub batch: u32,
    /// How often it was redirected.
    pub redirects: u8,
    /// Of the client: 2 or 3.
    pub resp: u8,
    /// May be sent again when nobody knows whether it ran.
    pub repeatable: bool,
    /// On the client's leased connection only.
    pub leased: bool,
    /// Its reply is thrown away: it will be fetched again at the client's pace.
    pub discard: bool,
    /// What it means to the near cache.
    pub near: Mark,
    /// What CLIENT CACHING said of it.
    pub caching: Caching,
}

/// What CLIENT CACHING said of a command.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Caching {
    /// Nothing.
    #[default]
    AsItIs,
    /// Its client is to be told of changes.
    Yes,
    /// Its client is not to be told.
    No,
}

impl Caching {
    /// As it goes to a node.
    pub fn command(self) -> &'static [u8] {
        match self {
            Caching::No => b"*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$2\r\nNO\r\n",
            Caching::Yes | Caching::AsItIs => b"*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$3\r\nYES\r\n",
        }
    }
}

impl Pending {
    /// A client's request, to be had at that place of its ring.
    pub fn of(key: Key, seq: u64, to: To, resp: u8) -> Pending {
        Pending { owner: Owner::Client(key, seq), to, ..Pending::internal(Owner::Nobody, 0, resp) }
    }

    /// A request of our own to that node.
    pub fn internal(owner: Owner, node: u16, resp: u8) -> Pending {
        Pending {
            owner,
            to: To::Node(node),
            deadline: 0,
            kept: 0,
            skip: 0,
            batch: 0,
            redirects: 0,
            resp,
            repeatable: false,
            leased: false,
            discard: false,
            near: Mark::None,
            caching: Caching::AsItIs,
        }
    }
}

/// A FIFO of bytes in one buffer.
#[derive(Default, Debug)]
pub struct Kept {
    bytes: Vec<u8>,
    head: usize,
}

impl Kept {
    /// All bytes.
    pub fn all(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Drops the first `n`.
    #[inline]
    pub fn pop(&mut self, n: usize) {
        self.head = self.head.saturating_add(n);
        if self.head >= self.bytes.len() {
            self.bytes.clear();
            self.head = 0;
            if self.bytes.capacity() > limits::MAX_KEPT {
                self.bytes.shrink_to(KEPT_IDLE);
            }
        } else if self.head > COMPACT_FROM && self.head > self.bytes.len() / 2 {
            self.bytes.drain(..self.head);
            self.head = 0;
        }
    }
}

/// Moving the rest to the front pays once that much is in front of it.
const COMPACT_FROM: usize = 64 * 1024;
/// What an idle pipe keeps of its buffer.
const KEPT_IDLE: usize = 64 * 1024;

/// The state of a pipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Not up yet, or not logged in yet: nothing of what waits was sent.
    Connecting,
    /// Requests go out at once.
    Ready,
}

/// One connection to a node.
#[derive(Debug)]
pub struct Pipe {
    /// Index of the cluster.
    pub cluster: usize,
    /// Index of the node in it.
    pub node: u16,
    /// Of the connection: 2 or 3.
    pub resp: u8,
    /// See [`State`].
    pub state: State,
    /// Reads what the node has as a replica.
    pub readonly: bool,
    /// As whom it logs in and what it selects ([`crate::session`]); `None`: as the sidecar.
    pub session: Option<u16>,
    /// The client that leased it, if it is no shared one; `Key::NONE` while it is idle.
    pub lease: Option<Key>,
    /// No new requests; closed when the last reply is in.
    pub retired: bool,
    /// What is outstanding.
    pub fifo: VecDeque<Pending>,
    /// The bytes of what is outstanding, as far as kept.
    pub kept: Kept,
    /// The reply being read.
    pub scan: Scan,
    /// Whether that reply is passed on in pieces.
    pub streaming: bool,
    /// Bytes of it that came in pieces.
    pub streamed: usize,
    /// The first error among the skipped replies of the transaction at the front.
    pub queue_error: Vec<u8>,
    /// A reply to CLUSTER SLOTS that comes in pieces.
    pub topology: Vec<u8>,
    /// When the node last said something, or was asked after it had answered all.
    pub heard: Nanos,
    /// A subscriber's: all it sends are messages, none an answer to a request.
    pub subscriber: bool,
    /// Whether a push message is being read in pieces.
    pub pushing: bool,
    /// A push message that comes in pieces.
    pub push: Vec<u8>,
    /// It was told to tell of changed keys.
    pub tracks: bool,
    /// The tracker on which the node tells of what is read here, and whether it has agreed ([`crate::near`]).
    pub told_on: Option<(Key, bool)>,
    /// What the node calls it (CLIENT ID); `None`: it was not asked, or has not said.
    pub id: Option<i64>,
    /// The client whom it tells of them, if it is a tracking client's own ([`crate::tracking`]).
    pub tells: Option<Key>,
}

impl Pipe {
    /// A connection that was just dialled.
    pub fn new(cluster: usize, node: u16, resp: u8, lease: Option<Key>) -> Pipe {
        Pipe {
            cluster,
            node,
            resp,
            state: State::Connecting,
            readonly: false,
            session: None,
            lease,
            retired: false,
            fifo: VecDeque::new(),
            kept: Kept::default(),
            scan: Scan::default(),
            streaming: false,
            streamed: 0,
            queue_error: Vec::new(),
            topology: Vec::new(),
            heard: 0,
            subscriber: false,
            pushing: false,
            push: Vec::new(),
            tracks: false,
            told_on: None,
            id: None,
            tells: None,
        }
    }

    /// Asks, or, while the connection is not ready, notes what is to be asked.
    #[inline]
    pub fn ask(&mut self, io: &mut dyn Io, key: Key, bytes: &[u8], mut pending: Pending) {
        let ready = self.state == State::Ready;
        pending.kept = 0;
        if self.fifo.is_empty() {
            self.heard = io.now();
        }
        if !ready || bytes.len() <= limits::MAX_KEPT {
            self.kept.push(bytes);
            pending.kept = bytes.len() as u32;
        }
        if ready {
            io.out(key).extend_from_slice(bytes);
        }
        self.fifo.push_back(pending);
    }

    /// Asks with a command that is not whole; what is missing follows in the connection's output.
    pub fn begin(&mut self, io: &mut dyn Io, key: Key, head: &[u8], pending: Pending) {
        io.out(key).extend_from_slice(head);
        self.fifo.push_back(Pending { kept: 0, ..pending });
    }

    /// Says what is answered with messages only (SUBSCRIBE).
    pub fn tell(&mut self, io: &mut dyn Io, key: Key, bytes: &[u8]) {
        if self.state == State::Ready {
            io.out(key).extend_from_slice(bytes);
        } else {
            self.kept.push(bytes);
        }
    }

    /// The connection is up and logged in: sends what has waited.
    pub fn ready(&mut self, io: &mut dyn Io, key: Key) {
        self.state = State::Ready;
        io.out(key).extend_from_slice(self.kept.all());
        if self.subscriber {
            self.kept.pop(usize::MAX);
        }
    }

    /// Whether a shared, ready connection owes an answer for that long.
    pub fn is_silent(&self, now: Nanos, patience: Nanos) -> bool {
        self.lease.is_none() && self.state == State::Ready && !self.fifo.is_empty() && now.saturating_sub(self.heard) > patience
    }

    /// Takes the request at the front with its bytes out.
    pub fn take_front(&mut self) -> Option<(Pending, Vec<u8>)> {
        let mut pending = self.fifo.pop_front()?;
        pending.skip = pending.batch;
        let kept = pending.kept as usize;
        let bytes = self.kept.all().get(..kept).unwrap_or_default().to_vec();
        self.kept.pop(kept);
        Some((pending, bytes))
    }

    /// Drops the request at the front: it is answered.
    #[inline]
    pub fn drop_front(&mut self) {
        if let Some(pending) = self.fifo.pop_front() {
            self.kept.pop(pending.kept as usize);
        }
    }

    /// The next piece of the reply at the front of `bytes`: its length and whether the reply ends with it. `None`: more bytes are
    /// needed, at least so many in all.
    ///
    /// # Errors
    /// What comes is not RESP.
    #[inline]
    pub fn piece(&mut self, bytes: &[u8]) -> Result<Result<(usize, bool), usize>, Wrong> {
        let (length, done) = self.scan.feed(bytes)?;
        if done {
            self.streaming = false;
            return Ok(Ok((length, true)));
        }
        if self.streaming || bytes.len() >= limits::STREAM_FROM {
            if length == 0 {
                return Ok(Err(bytes.len() + 1));
            }
            self.streaming = true;
            return Ok(Ok((length, false)));
        }
        self.scan.reset();
        Ok(Err(bytes.len() + 1))
    }
}
