//! One application's connection.

use crate::cluster::Parked;
use crate::errand::Running;
use crate::frame;
use crate::large::Large;
use crate::lease::{Lease, Purpose};
use crate::limits;
use crate::pours::Pours;
use crate::reads::Wrote;
use crate::ring::{Ring, Tap};
use crate::subscriptions::Subscriptions;
use crate::tracking::Tracking;
use crate::transaction::Transaction;
use std::collections::VecDeque;
use std::sync::Arc;

/// Who has proven nothing.
pub const ANONYMOUS: &str = "anonymous";

/// What a client may have in flight before its first reply shows how large its replies are: 32 of these fill
/// [`limits::MAX_OUTSTANDING`].
const FIRST_ESTIMATE: u32 = 32 * 1024;

/// Why a client's next command is not looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    /// It is.
    No,
    /// The command before it must be answered first (WATCH, a blocking command).
    Barrier,
    /// All replies before it must be out first (it may block, or changes what replies are).
    Ring,
    /// What the client subscribed to before must be confirmed first; nothing was done with it.
    Confirmed,
    /// A filter delays it.
    Delay,
    /// CLIENT PAUSE is in force.
    Paused,
    /// It writes what is between two stages of a migration; the filters have had their say.
    Fence,
    /// It was delayed or paused; the filters have had their say.
    Delayed,
}

/// The state of a client.
#[derive(Debug)]
pub(crate) struct Client {
    /// Index of its listener.
    pub listener: usize,
    /// Index of the back end of its present command; later, of its next one that does not say where it goes.
    pub cluster: usize,
    /// 2 or 3.
    pub resp: u8,
    /// As in CLIENT ID.
    pub id: u64,
    /// As in CLIENT SETNAME.
    pub name: Vec<u8>,
    /// Library name and version, as in CLIENT SETINFO.
    pub library: [Vec<u8>; 2],
    /// Whether it may use commands.
    pub known: bool,
    /// As filters see it: `user:NAME` or `anonymous`.
    pub identity: Arc<str>,
    /// What it is owed.
    pub ring: Ring,
    /// What is mirrored of what it is owed: places in the ring and numbers of twins.
    pub mirrored: Vec<(u64, u32)>,
    /// Commands that wait for another attempt, oldest first.
    pub retries: VecDeque<Parked>,
    /// The back ends among whose clients that wait it stands.
    pub waits_at: Vec<usize>,
    /// It is being tried again just now.
    pub is_advancing: bool,
    /// See [`Wait`].
    pub wait: Wait,
    /// Whether the engine was told not to read it.
    pub paused: bool,
    /// Whether bytes of it were left unread.
    pub unread: bool,
    /// It sends no more.
    pub half_closed: bool,
    /// It is closed when its ring is empty; what it still sends is thrown away.
    pub closing: bool,
    /// A long command of which only the beginning is there.
    pub partial: Option<Box<frame::Scan>>,
    /// A command of which a word streams.
    pub large: Option<Box<Large>>,
    /// The longest reply it got lately, in bytes.
    estimate: u32,
    /// Bytes of the reply under way.
    streamed: u32,
    /// What is still to come of large replies that have begun, several at a time when they come from several nodes.
    pub expected: u64,
    /// Its commands whose replies cannot be asked for again, if it has had any.
    pub pours: Option<Box<Pours>>,
    /// Behind the place in the ring of its last write: until that is answered, nothing is read from the near cache.
    pub wrote: u64,
    /// Behind the place of its last read that waits for another's reply and may yet have to be sent: until then it writes nothing.
    pub joined: u64,
    /// CLIENT TRACKING, if it is on.
    pub tracking: Option<Box<Tracking>>,
    /// What it is to be told of changed keys behind the replies that are held.
    pub told: Vec<u8>,
    /// Commands to the end of time: total of CLIENT INFO.
    pub commands: u64,
    /// The last of them, by name; empty: there was none.
    pub last: &'static str,
    /// MULTI, WATCH.
    pub transaction: Transaction,
    /// READONLY or READWRITE, if it said one of them.
    pub reads_replicas: Option<bool>,
    /// What it wrote to lately, where replicas are read.
    pub written: Option<Box<Wrote>>,
    /// As whom and where its commands run, where that is not as usual ([`crate::session`]).
    pub session: Option<u16>,
    /// What that was before, while a node is asked.
    pub former: Option<u16>,
    /// Its leased connection and what for.
    pub lease: Option<Lease>,
    /// What a connection is being leased for.
    pub purpose: Purpose,
    /// Since when the node has known its command that may block.
    pub blocks_since: wire::Nanos,
    /// Its subscriptions.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// What the access log wants to hear of the command that waits for the replies before it.
    pub held_tap: Option<Box<Tap>>,
    /// The command in several steps that runs for it.
    pub errand: Option<Box<Running>>,
    /// When it came, in nanoseconds of the worker.
    pub since: wire::Nanos,
}

impl Client {
    /// A client that just connected.
    pub fn new(listener: usize, cluster: usize, id: u64, known: bool, now: wire::Nanos) -> Client {
        Client {
            listener,
            cluster,
            resp: 2,
            id,
            name: Vec::new(),
            library: Default::default(),
            known,
            identity: ANONYMOUS.into(),
            ring: Ring::default(),
            mirrored: Vec::new(),
            retries: VecDeque::new(),
            waits_at: Vec::new(),
            is_advancing: false,
            wait: Wait::No,
            paused: false,
            unread: false,
            half_closed: false,
            closing: false,
            partial: None,
            large: None,
            estimate: FIRST_ESTIMATE,
            streamed: 0,
            expected: 0,
            pours: None,
            tracking: None,
            told: Vec::new(),
            wrote: 0,
            joined: 0,
            commands: 0,
            last: "",
            transaction: Transaction::default(),
            reads_replicas: None,
            written: None,
            session: None,
            former: None,
            lease: None,
            purpose: Purpose::Block,
            blocks_since: 0,
            subscriptions: None,
            held_tap: None,
            errand: None,
            since: now,
        }
    }

    /// Whether its next command has to wait. What is retried is not overtaken, and what its replies may cost is bounded.
    #[inline]
    pub fn is_stalled(&self) -> bool {
        if self.large.is_some() {
            return self.is_large_stalled();
        }
        let waiting = self.ring.len();
        waiting >= limits::MAX_IN_FLIGHT
            || self.ring.unsettled
            || self.errand.is_some()
            || matches!(self.wait, Wait::Barrier | Wait::Delay | Wait::Paused | Wait::Fence)
            || (waiting > 0 && self.wait == Wait::Ring)
            || (self.wait == Wait::Confirmed && self.owes_confirmations())
            || (waiting > 0 && waiting as u64 * u64::from(self.estimate) > limits::MAX_OUTSTANDING)
    }

    /// Whether a stalled client may go on: later than it stalls, so that it does not flap.
    pub fn may_resume(&self) -> bool {
        !self.is_stalled() && self.ring.len() <= limits::MAX_IN_FLIGHT / 2
    }

    /// Whether a command waits for that back end.
    pub fn waits_for(&self, cluster: usize) -> bool {
        self.retries.iter().any(|parked| parked.cluster == cluster)
    }

    /// Whether a command of it runs that may block.
    pub fn is_blocked(&self) -> bool {
        self.lease.is_some_and(|lease| lease.purpose == Purpose::Block)
    }

    /// Where among its retries that command stands.
    pub fn retry_at(&self, seq: u64) -> Option<usize> {
        self.retries.binary_search_by_key(&seq, Parked::seq).ok()
    }

    /// Whether messages wait for the end of a reply.
    pub fn has_messages(&self) -> bool {
        self.subscriptions.as_ref().is_some_and(|all| !all.waiting.is_empty())
    }

    /// Whether it is still to hear that it has subscribed to something, or no longer.
    pub fn owes_confirmations(&self) -> bool {
        self.subscriptions.as_ref().is_some_and(|all| all.is_expecting())
    }

    /// Whether it has subscribed to anything.
    pub fn is_subscriber(&self) -> bool {
        self.subscriptions.as_ref().is_some_and(|all| all.is_active())
    }

    /// Whether something besides its output follows from an answer.
    #[inline]
    pub fn needs_attention(&self) -> bool {
        self.paused
            || self.errand.is_some()
            || self.half_closed
            || self.closing
            || !self.told.is_empty()
            || !self.ring.tapped.is_empty()
            || self.has_messages()
            || !self.retries.is_empty()
    }

    /// Learns how long its replies are: at once when they grow, slowly when they shrink.
    #[inline]
    pub fn learn(&mut self, length: usize, last: bool) {
        self.streamed = self.streamed.saturating_add(length as u32);
        if last {
            self.estimate = self.streamed.max(self.estimate - self.estimate / 16);
            self.streamed = 0;
        }
    }
}
