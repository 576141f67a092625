//! The filter chain's view of a request, and what its verdicts become.
//!
//! * Class: Produce and transactions write, administration is admin, everything else reads. Verb: the API's name. Resources: topics, `group:NAME`, `transaction:NAME`.
//! * Access is decided per topic, once, and kept; limits and faults are run once per request, over the topics that pass.
//! * Metadata and DescribeTopicPartitions show a topic to whom may read *or* write it: a producer needs them too.
//! * Groups and transactional ids are resources, too (see `owners`). Requests that name nothing are no matter of access rules, unless they
//!   administrate; limits and faults hold for them.
//! * A denied topic is masked (see `mask`) where the API has an error per topic, else the whole request is answered with its own error code,
//!   and where it has none the connection is closed, with the reason in the log.
//! * Over a limit a request waits, as brokers let clients wait for quotas (KIP-219), and is refused with THROTTLING_QUOTA_EXCEEDED, which
//!   clients retry, when that takes too long.

use crate::records::Traces;
use crate::session::Session;
use crate::table::Api;
use hashbrown::HashMap;
use std::sync::Arc;
use wire::{Chain, Class, Denial, DenialKind, MILLIS, Nanos, Outcome, Request, SECONDS, Verdict};

/// CLUSTER_AUTHORIZATION_FAILED.
pub const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
/// UNKNOWN_TOPIC_ID: the client refreshes its metadata and retries.
pub const UNKNOWN_TOPIC_ID: i16 = 100;
/// TOPIC_AUTHORIZATION_FAILED.
pub const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
const THROTTLING_QUOTA_EXCEEDED: i16 = 89;
const UNKNOWN_SERVER_ERROR: i16 = -1;

/// The longest a request over its limit waits: a sixth of the clients' own request timeout (30 s), so that it can be retried in time.
const MAX_PARK: Nanos = 5 * SECONDS;
/// How often it tries again. Buckets refill evenly; clients see latency in steps of this.
const RETRY: Nanos = 25 * MILLIS;

/// Access decisions kept per session; a consumer of more topics decides some of them again.
const MAX_CACHE: usize = 1024;

/// Access decisions by API key and topic; emptied when rules or identity change.
#[derive(Default)]
pub struct Cache {
    generation: u64,
    denials: HashMap<Vec<u8>, Option<Arc<Denial>>>,
    scratch: Vec<u8>,
}

impl Cache {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.denials.clear();
    }

    /// Forgets what older rules decided.
    pub fn renew(&mut self, generation: u64) {
        if self.generation != generation {
            self.generation = generation;
            self.denials.clear();
        }
    }
}

/// A request that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Park {
    /// Since then over its limit.
    Limited {
        /// When it came.
        since: Nanos,
    },
    /// Until the timer; it has passed the filters.
    Delayed,
}

/// What the filters made of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ruling {
    /// It goes on.
    Pass,
    /// It waits, and is looked at again.
    Wait(Park, Nanos),
    /// All of it is refused: error code, sentence, kind for the metric.
    Refuse(i16, String, &'static str),
}

/// A request as the access log wants it.
#[derive(Clone, Debug)]
pub struct Decided {
    class: Class,
    verb: &'static str,
    topics: Vec<Vec<u8>>,
    bytes: u64,
    /// Of its records, where a rule reads them.
    pub traces: Traces,
}

impl Decided {
    /// Tells the access log.
    pub fn tell(&self, chain: &dyn Chain, identity: &str, took: Nanos, error: &str, backend: &str) {
        let resources: Vec<&[u8]> = self.topics.iter().map(Vec::as_slice).collect();
        let request = Request { identity, class: self.class, verb: self.verb, groups: &[], resources: &resources, bytes: self.bytes, fingerprint: 0 };
        chain.done(&request, &Outcome { took, error, backend, traces: self.traces.ids() });
    }
}

/// What an API does to its topics.
pub fn class(key: i16) -> Class {
    match key {
        0 | 22 | 24..=27 => Class::Write,
        19..=21 | 29..=35 | 37..=51 | 55 | 57 | 61 | 64..=66 | 74 | 80 | 81 | 83..=87 | 91 | 92 => Class::Admin,
        _ => Class::Read,
    }
}

/// Whether a response of this API has an error beside each topic that its request names. Not so: heartbeats of the new group protocols
/// (the subscription as a whole is refused), share fetches (their sessions would keep a mask), ListPartitionReassignments.
pub fn is_maskable(key: i16) -> bool {
    !matches!(key, 46 | 68 | 76 | 78 | 79 | 88)
}

/// The Kafka error for a denial of a topic, and the metric's word.
pub fn code(kind: DenialKind) -> (i16, &'static str) {
    match kind {
        DenialKind::Unauthorized => (TOPIC_AUTHORIZATION_FAILED, "denied"),
        DenialKind::RateLimited => (THROTTLING_QUOTA_EXCEEDED, "rate_limited"),
        DenialKind::Injected => (UNKNOWN_SERVER_ERROR, "injected"),
    }
}

impl Session {
    /// Why this client may not use a topic with this API; `None` when it may.
    pub fn denial(&mut self, chain: &dyn Chain, key: i16, topic: &[u8]) -> Option<Arc<Denial>> {
        let cache = &mut self.cache;
        cache.scratch.clear();
        cache.scratch.extend(key.to_be_bytes());
        cache.scratch.extend_from_slice(topic);
        if let Some(known) = cache.denials.get(cache.scratch.as_slice()) {
            return known.clone();
        }
        let denial = decide_access(chain, &self.identity, key, topic);
        if cache.denials.len() >= MAX_CACHE {
            cache.denials.clear();
        }
        cache.denials.insert(cache.scratch.clone(), denial.clone());
        denial
    }

    /// Runs limits and faults, and, where no topic is named, what access rules say of administration. `topics` are those that pass.
    pub fn rule(
        &mut self,
        chain: &dyn Chain,
        api: &'static Api,
        topics: &[&[u8]],
        bytes: u64,
        now: Nanos,
        dice: u64,
    ) -> (Ruling, Option<Box<Decided>>) {
        let class = class(api.key);
        let request = Request { identity: &self.identity, class, verb: api.name, groups: &[], resources: topics, bytes, fingerprint: 0 };
        let mut flow = chain.bind(&request);
        if topics.is_empty() && class != Class::Admin && flow.denied.take().is_some() {
            return (Ruling::Pass, None);
        }
        let decided = flow.tapped.then(|| {
            let topics = topics.iter().map(|topic| topic.to_vec()).collect();
            Box::new(Decided { class, verb: api.name, topics, bytes, traces: Traces::default() })
        });
        // Metadata's topics were decided under either class; what is left are counters.
        flow.denied.take_if(|_| !topics.is_empty());
        let ruling = match chain.run(&flow, &request, now, dice) {
            Verdict::Pass => Ruling::Pass,
            Verdict::Delay(time) => Ruling::Wait(Park::Delayed, time),
            Verdict::Deny(denial) => self.refusal(&denial, topics.is_empty(), now),
        };
        (ruling, decided)
    }

    fn refusal(&self, denial: &Denial, is_nameless: bool, now: Nanos) -> Ruling {
        let (code, kind) = code(denial.kind);
        if denial.kind == DenialKind::RateLimited {
            let since = match self.park {
                Some(Park::Limited { since }) => since,
                _ => now,
            };
            if now.saturating_sub(since) < MAX_PARK {
                return Ruling::Wait(Park::Limited { since }, RETRY);
            }
        }
        let code = if is_nameless && denial.kind == DenialKind::Unauthorized { CLUSTER_AUTHORIZATION_FAILED } else { code };
        Ruling::Refuse(code, denial.message.clone(), kind)
    }
}

fn decide_access(chain: &dyn Chain, identity: &str, key: i16, topic: &[u8]) -> Option<Arc<Denial>> {
    let verb = crate::table::api(key).map_or("", |api| api.name);
    let bind = |class: Class| {
        let request = Request { identity, class, verb, groups: &[], resources: &[topic], bytes: 0, fingerprint: 0 };
        chain.bind(&request).denied
    };
    let denial = bind(class(key))?;
    if matches!(key, 3 | 75) {
        bind(Class::Write)?;
    }
    Some(denial)
}
