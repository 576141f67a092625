//! One client and the one broker connection that is its own.
//!
//! ```text
//!  Idle --needed--> Wanted --> Locating --address known--> Dialing --up--> Up --closed by either side--> gone
//!  (SASL ends here)               | (broker ports only)       | refused: the next bootstrap broker, else gone
//! ```
//! A client that has to prove to us who it is begins at Idle and gets a broker connection when it needs one; all others begin at Locating.
//! Kafka answers in order on a connection, and SASL makes a connection its user's, so nothing is pooled and nothing is shared. What each
//! response is (API, version, masks) stands in the ring, oldest in front; a request that we answer ourselves has its place there too.

use crate::auth::SessionAuth;
use crate::conf::Listener;
use crate::federation::Errands;
use crate::looked::Looked;
use crate::mask::Masks;
use crate::policy::{Decided, Park};
use crate::quota::{Charge, Meter};
use crate::relay::Relay;
use crate::sasl::Sasl;
use crate::shared::Shared;
use crate::stats::{Positions, Scan};
use crate::table::Api;
use crate::virtual_cluster::{Asked, Stretch};
use std::collections::VecDeque;
use std::sync::Arc;
use wire::{Fault, Io, Key, Nanos};

/// Requests under way on one connection. Java clients send 5, librdkafka as many as there are; 64 bytes each, so 64 KiB.
pub const MAX_IN_FLIGHT: usize = 1024;

/// Where a session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// The client has yet to prove who it is, and has not asked what only the broker can answer.
    Idle,
    /// The broker is to be located now.
    Wanted,
    /// The broker's address is being asked for.
    Locating,
    /// The broker connection comes up.
    Dialing,
    /// Requests flow.
    Up,
}

/// A request that has no answer yet.
pub struct Pending {
    /// The API; `None`: not in the tables.
    pub api: Option<&'static Api>,
    /// Its version.
    pub version: i16,
    /// The client's number.
    pub correlation: i32,
    /// When it came.
    pub since: Nanos,
    /// The whole response, where it is ours.
    pub local: Option<Vec<u8>>,
    /// Its denied topics.
    pub masks: Option<Box<Masks>>,
    /// What the access log wants to hear.
    pub tapped: Option<Box<Decided>>,
    /// A checked Fetch that opens a session: its id stands in the response.
    pub opens_session: bool,
    /// What its response has to know of it where rules look into records.
    pub looked: Option<Box<Looked>>,
    /// What its response has to know of it where names change.
    pub asked: Asked,
    /// It is a request of ours, and the client hears nothing of it.
    pub is_own: bool,
    /// What it costs.
    pub charge: Charge,
    /// What it said of partitions, where its response is measured.
    pub measured: Option<Box<Scan>>,
    /// It is this cluster's part of a request that several answer.
    pub is_part: bool,
}

impl Pending {
    /// That nothing is known of yet.
    pub fn new(since: Nanos) -> Pending {
        Pending {
            api: None,
            version: 0,
            correlation: 0,
            since,
            local: None,
            masks: None,
            tapped: None,
            opens_session: false,
            looked: None,
            asked: Asked::default(),
            is_own: false,
            charge: Charge::Free,
            measured: None,
            is_part: false,
        }
    }
}

/// A Produce request that passes while it comes.
pub struct Passing {
    /// Its way.
    pub relay: Relay,
    /// Its denied topics so far.
    pub masks: Masks,
    /// Error code, sentence and metric's word, when all of its topics are denied.
    pub all: Option<(i16, String, &'static str)>,
    /// Whether it has a place in the ring.
    pub is_answered: bool,
    /// Its topics, where each is charged.
    pub meter: Option<Meter>,
    /// What it owes as a whole.
    pub charge: Charge,
    /// How its names change its size, on the way to a virtual cluster.
    pub stretch: Option<Stretch>,
    /// What it says of partitions, where that is measured.
    pub scan: Option<Box<Scan>>,
}

/// A client connection.
pub struct Session {
    /// The client's key.
    pub client: Key,
    /// The broker's; `NONE` before the first dial.
    pub server: Key,
    /// Where it came in.
    pub listener: Arc<Listener>,
    /// The broker it wants, by node id; `None` at the bootstrap address.
    pub node: Option<i32>,
    /// Where it stands.
    pub link: Link,
    /// Which bootstrap brokers were tried.
    pub tried: usize,
    /// How many of them were not there.
    pub refused: usize,
    /// What it calls us.
    pub host: Arc<str>,
    /// Who it is.
    pub identity: Arc<str>,
    /// Its authentication, where it passes through.
    pub sasl: Sasl,
    /// Its authentication, where it ends here.
    pub auth: Option<Box<SessionAuth>>,
    /// Requests without an answer.
    pub ring: VecDeque<Pending>,
    /// A request that passes while it comes.
    pub request: Option<Passing>,
    /// A response that passes while it comes.
    pub response: Option<Relay>,
    /// How its names change its size, on the way from a virtual cluster.
    pub stretch: Option<Stretch>,
    /// The error code for the rest of the present topic of that response.
    pub patching: Option<i16>,
    /// What it says of partitions, where that is measured.
    pub scan: Option<Box<Scan>>,
    /// What the request at hand says of them.
    pub measured: Option<Box<Scan>>,
    /// Where its consumer is, where that is measured.
    pub positions: Option<Box<Positions>>,
    /// Why the request in front waited; kept until it has passed.
    pub park: Option<Park>,
    /// It waits now.
    pub is_waiting: bool,
    /// It is not read until then: it has used more than it may.
    pub muted_until: Nanos,
    /// What it calls itself, where that is asked for.
    pub client_id: Arc<str>,
    /// The topics of a response that passes, where each is charged.
    pub meter: Option<Meter>,
    /// It waits for the names of topic ids.
    pub waits_for_names: bool,
    /// Its unknown topic ids were asked for.
    pub has_asked: bool,
    /// What the access log wants to hear of it.
    pub decided: Option<Box<Decided>>,
    /// The ring is full: not read.
    pub is_full: bool,
    /// The one fetch session of the broker whose list was checked: its id, and the rules it was checked against.
    pub fetch_session: Option<(i32, u64)>,
    /// Whether that list names topics whose records are looked into.
    pub is_looked_into: bool,
    /// The client sends no more, or the process ends: closed when nothing is owed.
    pub is_leaving: bool,
    /// What other clusters of a federation are asked for it.
    pub errands: Option<Box<Errands>>,
    /// Access decisions, see `policy`.
    pub cache: crate::policy::Cache,
}

impl Session {
    /// A client that has just come.
    pub fn new(client: Key, listener: Arc<Listener>, node: Option<i32>, host: Arc<str>, identity: Arc<str>) -> Session {
        Session {
            client,
            server: Key::NONE,
            listener,
            node,
            link: Link::Locating,
            tried: 0,
            refused: 0,
            host,
            identity,
            sasl: Sasl::default(),
            auth: None,
            ring: VecDeque::new(),
            request: None,
            response: None,
            stretch: None,
            patching: None,
            scan: None,
            measured: None,
            positions: None,
            park: None,
            is_waiting: false,
            muted_until: 0,
            client_id: "".into(),
            meter: None,
            waits_for_names: false,
            has_asked: false,
            decided: None,
            is_full: false,
            fetch_session: None,
            is_looked_into: false,
            is_leaving: false,
            errands: None,
            cache: crate::policy::Cache::default(),
        }
    }

    /// Whether nothing is owed to the client.
    pub fn is_idle(&self) -> bool {
        let is_busy = self.errands.as_ref().is_some_and(|errands| errands.is_busy());
        self.ring.is_empty() && self.request.is_none() && self.response.is_none() && !is_busy
    }

    /// Puts a request into the ring.
    pub fn expect(&mut self, io: &mut dyn Io, mut pending: Pending) {
        pending.measured = self.measured.take().filter(|_| pending.local.is_none());
        self.ring.push_back(pending);
        if self.ring.len() >= MAX_IN_FLIGHT {
            self.is_full = true;
            self.repause(io);
        }
    }

    /// Whether the client is read.
    pub fn repause(&self, io: &mut dyn Io) {
        let is_muted = self.muted_until > 0;
        io.pause(self.client, self.is_full || self.is_waiting || is_muted || !matches!(self.link, Link::Idle | Link::Up));
    }

    /// The request in front is looked at again.
    pub fn resume(&mut self, io: &mut dyn Io) {
        self.is_waiting = false;
        self.waits_for_names = false;
        self.repause(io);
    }

    /// Answers the request by ourselves, when its turn comes.
    pub fn answer(&mut self, io: &mut dyn Io, shared: &mut Shared, mut pending: Pending, body: &[u8]) {
        let has_tags = pending.api.is_some_and(|api| crate::frame::response_has_tags(api, pending.version));
        let size = 4 + usize::from(has_tags) + body.len();
        let mut frame = Vec::with_capacity(4 + size);
        frame.extend((size as u32).to_be_bytes());
        frame.extend(pending.correlation.to_be_bytes());
        frame.extend(has_tags.then_some(0u8));
        frame.extend(body);
        pending.local = Some(frame);
        self.expect(io, pending);
        self.send_local(io, shared);
    }

    /// Sends our own responses whose turn it is.
    pub fn send_local(&mut self, io: &mut dyn Io, shared: &mut Shared) {
        while self.response.is_none() {
            let Some(local) = self.ring.front_mut().and_then(|pending| pending.local.take()) else { return };
            io.out(self.client).extend_from_slice(&local);
            self.answered(io, shared, "");
        }
    }

    /// The request in front has its whole answer.
    pub fn answered(&mut self, io: &mut dyn Io, shared: &mut Shared, error: &str) {
        let Some(pending) = self.ring.pop_front() else { return };
        self.pay(io, pending.charge);
        let took = io.now().saturating_sub(pending.since);
        shared.meters(&self.listener.name).seconds.record(took);
        if let (Some(decided), Some(chain)) = (pending.tapped, &self.listener.chain) {
            decided.tell(&**chain, &self.identity, took, error, &self.listener.backend.name);
        }
        if self.is_full && self.ring.len() <= MAX_IN_FLIGHT / 2 {
            self.is_full = false;
            self.repause(io);
        }
    }

    /// Counts an error that ends the connection, and makes the fault of it.
    pub fn fault(&self, shared: &mut Shared, kind: &'static str, fault: Fault) -> Fault {
        shared.meters(&self.listener.name).error(kind);
        fault
    }
}
