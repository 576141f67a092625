//! Requests on a listener that has filters or leads to a virtual cluster or a federation: topics are found, decided, masked where they are denied, and
//! go on under their physical names.

use crate::directory::TopicId;
use crate::edit::{Mark, Splice, apply, marks};
use crate::federation;
use crate::frame::RequestHead;
use crate::looked::{Look, POLICY_VIOLATION};
use crate::mask::{Masks, mask};
use crate::owners::owners;
use crate::policy::{CLUSTER_AUTHORIZATION_FAILED, Park, Ruling, UNKNOWN_TOPIC_ID, code, is_maskable};
use crate::refused;
use crate::requests::{Began, FETCH, PRODUCE, pending};
use crate::session::Session;
use crate::shared::Shared;
use crate::table::{Api, Shape};
use crate::tables::interest;
use crate::virtual_cluster::{self, Refusal, is_streamed, support};
use crate::walk::{Malformed, Part};
use crate::way::SHARE_FETCH;
use std::sync::Arc;
use wire::{Chain, Fault, Io};

/// The timer of a request that waits.
pub const TIMER_PARK: u32 = 1;

/// The longest request other than Produce that is held to be decided: a list of 10,000 topics with long names. Records are never held.
const MAX_HELD_REQUEST: u64 = 1024 * 1024;

/// The longest that bears what the leader of a group assigns: 100,000 partitions.
const MAX_HELD_GROUP: u64 = 8 * 1024 * 1024;

/// The longest Produce request of an old version on a virtual cluster with aliases. Clients send 1 MiB unless told otherwise.
const MAX_HELD_PRODUCE: u64 = 32 * 1024 * 1024;

const JOIN_GROUP: i16 = 11;
const SYNC_GROUP: i16 = 14;

/// Heartbeats repeat the ids that the client was told to own. That they are the tenant's own is seen when they are used.
const IS_TOLD: [i16; 3] = [68, 76, 88];

/// The rules of a listener, where it has some.
pub(crate) type Rules<'a> = Option<&'a dyn Chain>;

/// What a request names that rules decide on.
const DECIDED: [u8; 6] =
    [interest::TOPIC, interest::TOPIC_ID, interest::RESOURCE_NAME, interest::GROUP, interest::TRANSACTIONAL_ID, interest::COORDINATOR_KEY];

/// The resource type of a topic in the configuration APIs.
const TOPIC_RESOURCE: u8 = 2;
/// The broker's fetch session is over; the client begins another with its whole list.
const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
/// A Fetch with its whole list that wants no session.
const SESSIONLESS: i32 = -1;

/// A request at hand.
pub(crate) struct Request<'a> {
    pub head: &'a RequestHead,
    pub api: &'static Api,
    pub shape: &'static Shape,
    /// From the front of the frame; more or less than it.
    pub bytes: &'a [u8],
    /// Where the body begins.
    pub body: usize,
}

impl Request<'_> {
    /// The body of a request that is here whole.
    pub(crate) fn held(&self) -> &[u8] {
        let frame = usize::try_from(self.head.frame()).unwrap_or(usize::MAX);
        self.bytes.get(self.body..frame).unwrap_or_default()
    }

    pub(crate) fn body_len(&self) -> u64 {
        self.head.frame().saturating_sub(self.body as u64)
    }
}

/// A topic that a request names.
pub(crate) enum Named {
    /// By a name that may be used.
    Passes(Arc<[u8]>),
    /// Not to be used: error code, sentence, the metric's word.
    Denied(i16, String, &'static str),
    /// By an id that nobody has told us the name of.
    Unknown,
}

impl Session {
    pub(crate) fn filtered(&mut self, io: &mut dyn Io, shared: &mut Shared, request: &Request<'_>, chain: Rules<'_>) -> Result<Began, Fault> {
        self.cache.renew(shared.generation);
        if self.charges().any() {
            self.meet(request.bytes);
        }
        let cluster = self.listener.virtual_cluster.as_deref();
        if let Some(cluster) = cluster.filter(|cluster| !support::offers(cluster, request.api.key)) {
            let what = format!("KafkaVirtualCluster/{} has no {}", cluster.name, request.api.name);
            return self.refuse(io, shared, request, CLUSTER_AUTHORIZATION_FAILED, &what, "not_in_virtual_cluster");
        }
        let member = self.listener.member.as_ref();
        if let Some(member) = member.filter(|_| !federation::support::offers(request.api.key)) {
            let what = format!("KafkaFederation/{} has no {}", member.federation.name, request.api.name);
            return self.refuse(io, shared, request, CLUSTER_AUTHORIZATION_FAILED, &what, "not_in_federation");
        }
        let is_split = member.is_some() && federation::support::is_split(request.api.key);
        if request.api.key == PRODUCE {
            let (is_virtual, is_streamed) =
                (self.listener.has_names(), cluster.is_none_or(|cluster| is_streamed(cluster, request.api, request.head.version)));
            match self.look(shared, request).map_err(|error| self.broken_request(shared, Some(request.api), error))? {
                Look::Need => return Ok(Began::Need(request.bytes.len() + 1)),
                Look::Nowhere if chain.is_none() && !is_virtual && self.listener.stats.is_none() => return self.pass_produce(io, shared, request),
                Look::Nowhere | Look::TooLarge if is_streamed => return self.filtered_produce(io, shared, request, chain),
                _ => {}
            }
        }
        if request.api.key == SHARE_FETCH && self.looks_into(SHARE_FETCH) {
            let what = "topics of this listener have lanes or encrypted values, which share groups cannot have";
            return self.refuse(io, shared, request, POLICY_VIOLATION, what, "share_fetch_with_record_policy");
        }
        let is_renamed = self.listener.virtual_cluster.is_some() && support::is_renamed(request.shape.request);
        if is_renamed || is_split || DECIDED.iter().any(|interest| Shape::bears(request.shape.request, *interest)) {
            return self.filtered_whole(io, shared, request, chain);
        }
        match self.admit(io, chain, request, &[]) {
            Ruling::Pass => {
                let began = self.pass(io, shared, request.head, request.api, request.bytes, true);
                self.note_last(io, request);
                Ok(began)
            }
            Ruling::Wait(park, time) => Ok(self.wait(io, park, time)),
            Ruling::Refuse(code, message, kind) => self.refuse(io, shared, request, code, &message, kind),
        }
    }

    /// Limits and faults, unless the request has passed them already.
    pub(crate) fn admit(&mut self, io: &mut dyn Io, chain: Rules<'_>, request: &Request<'_>, topics: &[&[u8]]) -> Ruling {
        let Some(chain) = chain else { return Ruling::Pass };
        if self.park.take_if(|park| *park == Park::Delayed).is_some() {
            return Ruling::Pass;
        }
        let (now, dice) = (io.now(), io.random());
        let (ruling, decided) = self.rule(chain, request.api, topics, request.head.frame(), now, dice);
        self.decided = decided;
        if !matches!(ruling, Ruling::Wait(..)) {
            self.park = None;
        }
        ruling
    }

    fn note_last(&mut self, io: &dyn Io, request: &Request<'_>) {
        let charge = self.charge_request(io, request);
        if let Some(pending) = self.ring.back_mut() {
            pending.tapped = self.decided.take();
            pending.charge = charge;
        }
    }

    pub(crate) fn wait(&mut self, io: &mut dyn Io, park: Park, time: wire::Nanos) -> Began {
        self.park = Some(park);
        self.is_waiting = true;
        self.repause(io);
        io.arm(self.client, TIMER_PARK, io.now().saturating_add(time));
        Began::Parked
    }

    /// Waits for the names of topic ids, once per request; false when that was done.
    pub(crate) fn wait_for_names(&mut self, io: &mut dyn Io, shared: &mut Shared, ids: &[TopicId]) -> bool {
        if self.has_asked {
            return false;
        }
        self.has_asked = true;
        self.is_waiting = true;
        self.waits_for_names = true;
        self.repause(io);
        ids.iter().for_each(|id| shared.directory(&self.listener.backend.name).want(*id));
        shared.ask(io, &self.listener.backend);
        true
    }

    pub(crate) fn named(&mut self, shared: &mut Shared, chain: Rules<'_>, api: &Api, interest: u8, name: &[u8]) -> Option<Named> {
        let cluster = self.listener.virtual_cluster.as_deref();
        if chain.is_none() && self.listener.member.is_some() && federation::support::is_split(api.key) {
            return None;
        }
        let name: Arc<[u8]> = if interest == interest::TOPIC_ID {
            if chain.is_none() && IS_TOLD.contains(&api.key) {
                return None;
            }
            let id = TopicId::try_from(name).ok().filter(|id| *id != [0; 16])?;
            let physical = shared.directory(&self.listener.backend.name).topic(&id);
            match (physical, cluster) {
                (None, _) => return Some(Named::Unknown),
                (Some(name), None) => name.as_bytes().into(),
                (Some(name), Some(cluster)) => match cluster.topics.client(name.as_bytes()) {
                    Some(name) => name.into(),
                    None => return Some(Named::Denied(UNKNOWN_TOPIC_ID, "the topic id is unknown".into(), "unknown_topic_id")),
                },
            }
        } else if name.is_empty() {
            return None;
        } else {
            name.into()
        };
        if let Some((code, message, kind)) = self.listener.member.as_ref().and_then(|member| member.misplaced_topic(api.key, &name)) {
            return Some(Named::Denied(code, message, kind));
        }
        let Some(chain) = chain else { return Some(Named::Passes(name)) };
        Some(match self.denial(chain, api.key, &name) {
            None => Named::Passes(name),
            Some(denial) => {
                let (code, kind) = code(denial.kind);
                Named::Denied(code, denial.message.clone(), kind)
            }
        })
    }

    /// Every API but Produce: the request is held, all that it names is decided.
    fn filtered_whole(&mut self, io: &mut dyn Io, shared: &mut Shared, request: &Request<'_>, chain: Rules<'_>) -> Result<Began, Fault> {
        let broken = |session: &Session, shared: &mut Shared, error| session.broken_request(shared, Some(request.api), error);
        if request.head.frame() > most_held(request.api.key) {
            return Err(broken(self, shared, Malformed("is longer than what is held to be decided or renamed")));
        }
        let frame = request.head.frame() as usize;
        let Some(body) = request.bytes.get(request.body..frame) else { return Ok(Began::Need(frame)) };
        let marks = marks(request.shape.request, body).map_err(|error| broken(self, shared, error))?;
        let topics = topic_marks(body, &marks);
        let owners = if chain.is_some() || self.listener.member.is_some() { owners(body, &marks) } else { Vec::new() };
        let disowned = chain.and_then(|chain| self.disowned(chain, request, &owners));
        let misplaced = || self.listener.member.as_ref()?.misplaced_owners(request, &owners);
        if let Some((code, message, kind)) = disowned.or_else(misplaced) {
            let names: Vec<&[u8]> = owners.iter().map(|owner| owner.name).collect();
            let each = request.shape.error_body(code).or_else(|| refused::each(request.api, request.head.version, &names, code, &message));
            return match each {
                None if is_maskable(request.api.key) && !topics.is_empty() => {
                    let denied = topics.iter().map(|mark| (**mark, code, message.clone(), kind)).collect();
                    self.send_masked(io, shared, request, &marks, denied)
                }
                body => self.refuse_with(io, shared, request, body, code, &message, kind),
            };
        }
        let mut passing: Vec<Arc<[u8]>> = owners.into_iter().map(|owner| owner.resource.into()).collect();
        let mut denied = Vec::new();
        let mut unknown = Vec::new();
        for mark in &topics {
            let name = topic_bytes(body, mark);
            match self.named(shared, chain, request.api, mark.interest, name) {
                None => {}
                Some(Named::Passes(name)) => passing.push(name),
                Some(Named::Denied(code, message, kind)) => denied.push((**mark, code, message, kind)),
                Some(Named::Unknown) => {
                    unknown.extend(TopicId::try_from(name));
                    denied.push((**mark, UNKNOWN_TOPIC_ID, "the topic id is unknown".into(), "unknown_topic_id"));
                }
            }
        }
        if !unknown.is_empty() && self.wait_for_names(io, shared, &unknown) {
            return Ok(Began::Parked);
        }
        let names: Vec<&[u8]> = passing.iter().map(|name| &**name).collect();
        let ruling = if names.is_empty() && !denied.is_empty() { Ruling::Pass } else { self.admit(io, chain, request, &names) };
        match ruling {
            Ruling::Wait(park, time) => return Ok(self.wait(io, park, time)),
            Ruling::Refuse(code, message, kind) if is_maskable(request.api.key) && !topics.is_empty() => {
                denied = topics.iter().map(|mark| (**mark, code, message.clone(), kind)).collect();
            }
            Ruling::Refuse(code, message, kind) => return self.refuse(io, shared, request, code, &message, kind),
            Ruling::Pass => {}
        }
        self.has_asked = false;
        if let Some((_, code, message, kind)) = denied.first().filter(|_| !is_maskable(request.api.key)) {
            return self.refuse(io, shared, request, *code, message, kind);
        }
        self.send_masked(io, shared, request, &marks, denied)
    }

    /// Sends a held request, its denied topics under their masks.
    fn send_masked(
        &mut self,
        io: &mut dyn Io,
        shared: &mut Shared,
        request: &Request<'_>,
        marks: &[Mark],
        denied: Vec<(Mark, i16, String, &'static str)>,
    ) -> Result<Began, Fault> {
        let frame = request.head.frame() as usize;
        let body = request.held();
        let find = |interest| marks.iter().find(|mark| mark.is(interest) && request.api.key == FETCH);
        let mut splices: Vec<Splice> = Vec::new();
        let mut opens_session = false;
        if let (Some(id), Some(epoch)) = (find(interest::FETCH_SESSION), find(interest::FETCH_EPOCH)) {
            // The broker keeps the list of an incremental fetch session. It must be one that was checked against the present rules, and one
            // without masks: a list with denied topics stays outside of sessions.
            let is_checked = self.fetch_session == Some((id.int(body), shared.generation));
            if epoch.int(body) > 0 && (!is_checked || !denied.is_empty()) {
                self.fetch_session = None;
                return self.refuse(io, shared, request, FETCH_SESSION_ID_NOT_FOUND, "", "fetch_session_reset");
            }
            opens_session = epoch.int(body) == 0 && denied.is_empty();
            splices.extend((!denied.is_empty()).then(|| epoch.with_int(SESSIONLESS)));
        }
        let looked = self.look_into_request(shared, io.now(), request, marks, &denied, &mut splices);
        let mut masks = Masks::default();
        for (mark, code, message, kind) in &denied {
            let Some(with) = mask(&mut masks, mark.interest, mark.bytes(body), mark.compact, *code, message) else {
                return Err(self.broken_request(shared, Some(request.api), Malformed("names too many denied topics")));
            };
            splices.push(mark.with(with));
            shared.meters(&self.listener.name).error(kind);
        }
        self.measure_held_request(io, shared, request, marks);
        let mut pending = pending(request.head, Some(request.api), io.now());
        let mut front = request.bytes[..request.body].to_vec();
        let mut sent = Vec::with_capacity(body.len());
        apply(body, &mut splices, &mut sent);
        if let Some(cluster) = self.listener.virtual_cluster.clone() {
            match virtual_cluster::request(&cluster, request.api, request.head.version, &sent) {
                Ok(renamed) => {
                    (sent, pending.asked) = (renamed.body, renamed.asked);
                }
                Err(Refusal::Malformed(error)) => return Err(self.broken_request(shared, Some(request.api), error)),
                Err(Refusal::Refused(code, message)) => return self.refuse(io, shared, request, code, &message, "not_in_virtual_cluster"),
            }
        }
        if let Some(parts) = self.parts(shared, request, &sent)? {
            pending.masks = (!masks.is_empty()).then(|| Box::new(masks));
            pending.tapped = self.decided.take();
            return Ok(self.begin_errand(io, shared, request, &front, parts, pending));
        }
        shared.meters(&self.listener.name).request(request.api.key, request.api.name);
        let size = u32::try_from(request.body - 4 + sent.len()).unwrap_or(u32::MAX);
        front[..4].copy_from_slice(&size.to_be_bytes());
        pending.looked = looked.map(Box::new);
        pending.opens_session = opens_session;
        pending.masks = (!masks.is_empty()).then(|| Box::new(masks));
        pending.tapped = self.decided.take();
        pending.charge = self.charge_request(io, request).and(self.charge_held(io, shared, request.api, false, body, marks));
        if marks.iter().find(|mark| mark.is(interest::ACKS)).is_none_or(|acks| acks.int(body) != 0) {
            self.expect(io, pending);
        } else {
            self.pay(io, pending.charge);
        }
        let out = io.out(self.server);
        out.extend_from_slice(&front);
        out.extend_from_slice(&sent);
        Ok(Began::Took(frame))
    }
}

fn most_held(key: i16) -> u64 {
    match key {
        JOIN_GROUP | SYNC_GROUP => MAX_HELD_GROUP,
        PRODUCE => MAX_HELD_PRODUCE,
        _ => MAX_HELD_REQUEST,
    }
}

/// The marks that name topics.
fn topic_marks<'a>(body: &[u8], marks: &'a [Mark]) -> Vec<&'a Mark> {
    let mut is_topic = false;
    let mut found = Vec::new();
    for mark in marks.iter().filter(|mark| mark.part == Part::Value) {
        match mark.interest {
            interest::RESOURCE_TYPE => is_topic = mark.bytes(body) == [TOPIC_RESOURCE],
            interest::RESOURCE_NAME if is_topic => found.push(mark),
            interest::TOPIC | interest::TOPIC_ID => found.push(mark),
            _ => {}
        }
    }
    found
}

fn topic_bytes<'a>(body: &'a [u8], mark: &Mark) -> &'a [u8] {
    if mark.interest == interest::TOPIC_ID { mark.bytes(body) } else { mark.text(body) }
}
