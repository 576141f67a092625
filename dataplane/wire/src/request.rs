//! What the filters see of a request, and what they say to it; blind to the protocol.

use crate::key::Nanos;
use std::sync::Arc;

/// What a request does to its resources.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// Changes nothing.
    Read,
    /// Changes data.
    Write,
    /// Changes or shows the system itself: schema, configuration, topology.
    Admin,
}

impl Class {
    /// The word in configuration, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Read => "read",
            Class::Write => "write",
            Class::Admin => "admin",
        }
    }
}

/// One request as every family describes it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks: `user:NAME`, later `spiffe://...`; `anonymous` where nothing was proven.
    pub identity: &'a str,
    /// What it does.
    pub class: Class,
    /// `SELECT`, `Produce`, `GET`: the protocol's own word.
    pub verb: &'a str,
    /// Groups that the protocol itself puts the verb in: `@dangerous`. Empty where it has none.
    pub groups: &'a [&'a str],
    /// Tables, topics, keys: what it names. Empty where it names none.
    pub resources: &'a [&'a [u8]],
    /// Size of the request on the wire.
    pub bytes: u64,
    /// Of a statement; 0 elsewhere.
    pub fingerprint: u128,
}

/// Why a filter stops a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DenialKind {
    /// Not allowed to this identity: SQLSTATE 42501, `-NOPERM`, TOPIC_AUTHORIZATION_FAILED.
    Unauthorized,
    /// Over a limit: SQLSTATE 53400, `-ERR rate limit`, THROTTLING_QUOTA_EXCEEDED.
    RateLimited,
    /// An injected fault: SQLSTATE 58000, `-ERR`, UNKNOWN_SERVER_ERROR.
    Injected,
}

/// A filter's no.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denial {
    /// What kind; the protocol maps it to its own code.
    pub kind: DenialKind,
    /// The object that decided: `AccessPolicy/read-only-reports`.
    pub rule: Arc<str>,
    /// A sentence for the developer, naming the rule and the resource.
    pub message: String,
}

/// What becomes of one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It goes on after this time; the session is parked, nobody else is.
    Delay(Nanos),
    /// It is answered with the protocol's own error.
    Deny(Box<Denial>),
}

/// What holds for every request of one shape (identity, class, verb, resources), decided once and kept with the flow.
#[derive(Clone, Default, Debug)]
pub struct Flow {
    /// The answer is no, whatever the counters say.
    pub denied: Option<Arc<Denial>>,
    /// The filters with counters or dice that each request has still to pass, as indices into their chain.
    pub counted: Vec<u16>,
    /// Whether `done` wants to hear of each request.
    pub tapped: bool,
}

/// How a request ended, for the access log.
#[derive(Clone, Copy, Default, Debug)]
pub struct Outcome<'a> {
    /// From the first byte of the request to the last of its answer.
    pub took: Nanos,
    /// The protocol's error code, or empty.
    pub error: &'a str,
    /// The back end that answered, or empty.
    pub backend: &'a str,
    /// The ids of the traces (W3C Trace Context) that were read in it.
    pub traces: &'a [[u8; 16]],
}

/// Which limits are charged afterwards.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Charges {
    /// Those about requests as a whole.
    pub whole: bool,
    /// Those about single resources.
    pub resources: bool,
}

impl Charges {
    /// Whether there is any.
    pub fn any(self) -> bool {
        self.whole || self.resources
    }
}

/// What a request or its response has moved, for limits that are charged afterwards.
#[derive(Clone, Copy, Debug)]
pub struct Usage<'a> {
    /// As in [`Request`].
    pub identity: &'a str,
    /// What the client calls itself.
    pub client: &'a str,
    /// As in [`Request`].
    pub class: Class,
    /// As in [`Request`].
    pub verb: &'a str,
    /// Of which of its resources; `None`: of all of it.
    pub resource: Option<&'a [u8]>,
    /// How many.
    pub bytes: u64,
}

/// The filters of one listener, compiled. Listeners without any have none, and pay nothing.
pub trait Chain: Send + Sync {
    /// Decides all that does not depend on counters, time or dice.
    fn bind(&self, request: &Request<'_>) -> Flow;

    /// Runs the rest for one request of that flow. `dice` is a fresh random number.
    fn run(&self, flow: &Flow, request: &Request<'_>, now: Nanos, dice: u64) -> Verdict;

    /// Which limits are charged afterwards.
    fn charges(&self) -> Charges {
        Charges::default()
    }

    /// Charges them; how long whoever used it has to wait.
    fn charge(&self, _usage: &Usage<'_>, _now: Nanos) -> Nanos {
        0
    }

    /// Tells the access log; called only for flows that are `tapped`.
    fn done(&self, request: &Request<'_>, outcome: &Outcome<'_>);

    /// `bind` and `run` at once, for protocols that keep no flows.
    fn decide(&self, request: &Request<'_>, now: Nanos, dice: u64) -> Verdict {
        let flow = self.bind(request);
        self.run(&flow, request, now, dice)
    }
}
