//! Requests on a listener that has filters: topics are found, decided, and masked where they are denied.

use crate::conf::Listener;
use crate::directory::TopicId;
use crate::edit::{Mark, Splice, apply, marks};
use crate::frame::RequestHead;
use crate::mask::Masks;
use crate::policy::{Park, Ruling, UNKNOWN_TOPIC_ID, code, is_maskable};
use crate::relay::Relay;
use crate::requests::{Began, FETCH, PRODUCE, pending};
use crate::session::{Passing, Session};
use crate::shared::Shared;
use crate::table::{Api, Shape};
use crate::tables::interest;
use crate::walk::{Malformed, Part, Seen, Step, Walk};
use std::sync::Arc;
use wire::{Chain, Fault, Io};

/// The timer of a request that waits.
pub const TIMER_PARK: u32 = 1;

/// The longest request other than Produce that is held to be decided: a list of 10,000 topics with long names. Records are never held.
const MAX_HELD_REQUEST: u64 = 1024 * 1024;

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
    fn body_len(&self) -> u64 {
        self.head.frame().saturating_sub(self.body as u64)
    }
}

/// A topic that a request names.
enum Named {
    /// By a name that may be used.
    Passes(Arc<[u8]>),
    /// Not to be used: error code, sentence, the metric's word.
    Denied(i16, String, &'static str),
    /// By an id that nobody has told us the name of.
    Unknown,
}

impl Session {
    pub(crate) fn filtered(&mut self, io: &mut dyn Io, shared: &mut Shared, request: &Request<'_>, chain: &dyn Chain) -> Result<Began, Fault> {
        self.cache.renew(shared.generation);
        if request.api.key == PRODUCE {
            return self.filtered_produce(io, shared, request, chain);
        }
        let names_topics = [interest::TOPIC, interest::TOPIC_ID, interest::RESOURCE_NAME];
        if names_topics.iter().any(|interest| Shape::bears(request.shape.request, *interest)) {
            return self.filtered_whole(io, shared, request, chain);
        }
        match self.admit(io, chain, request, &[]) {
            Ruling::Pass => {
                let began = self.pass(io, shared, request.head, request.api, request.bytes, true);
                self.tap_last();
                Ok(began)
            }
            Ruling::Wait(park, time) => Ok(self.wait(io, park, time)),
            Ruling::Refuse(code, message, kind) => self.refuse(io, shared, request, code, &message, kind),
        }
    }

    /// Limits and faults, unless the request has passed them already.
    fn admit(&mut self, io: &mut dyn Io, chain: &dyn Chain, request: &Request<'_>, topics: &[&[u8]]) -> Ruling {
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

    fn tap_last(&mut self) {
        if let Some(pending) = self.ring.back_mut() {
            pending.tapped = self.decided.take();
        }
    }

    fn wait(&mut self, io: &mut dyn Io, park: Park, time: wire::Nanos) -> Began {
        self.park = Some(park);
        self.is_waiting = true;
        self.repause(io);
        io.arm(self.client, TIMER_PARK, io.now().saturating_add(time));
        Began::Parked
    }

    /// Waits for the names of topic ids, once per request; false when that was done.
    fn wait_for_names(&mut self, io: &mut dyn Io, shared: &mut Shared, ids: &[TopicId]) -> bool {
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

    fn named(&mut self, shared: &mut Shared, chain: &dyn Chain, api: &Api, interest: u8, name: &[u8]) -> Option<Named> {
        let name: Arc<[u8]> = if interest == interest::TOPIC_ID {
            let id = TopicId::try_from(name).ok().filter(|id| *id != [0; 16])?;
            match shared.directory(&self.listener.backend.name).topic(&id) {
                Some(name) => name.as_bytes().into(),
                None => return Some(Named::Unknown),
            }
        } else if name.is_empty() {
            return None;
        } else {
            name.into()
        };
        Some(match self.denial(chain, api.key, &name) {
            None => Named::Passes(name),
            Some(denial) => {
                let (code, kind) = code(denial.kind);
                Named::Denied(code, denial.message.clone(), kind)
            }
        })
    }

    /// Every API but Produce: the request is held, all its topics are decided.
    fn filtered_whole(&mut self, io: &mut dyn Io, shared: &mut Shared, request: &Request<'_>, chain: &dyn Chain) -> Result<Began, Fault> {
        let broken = |session: &Session, shared: &mut Shared, error| session.broken_request(shared, Some(request.api), error);
        if request.head.frame() > MAX_HELD_REQUEST {
            return Err(broken(self, shared, Malformed("exceeds 1 MiB and would have to be held")));
        }
        let frame = request.head.frame() as usize;
        let Some(body) = request.bytes.get(request.body..frame) else { return Ok(Began::Need(frame)) };
        let marks = marks(request.shape.request, body).map_err(|error| broken(self, shared, error))?;
        let topics = topic_marks(body, &marks);
        let mut passing = Vec::new();
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
        let body = request.bytes.get(request.body..frame).unwrap_or_default();
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
        let mut masks = Masks::default();
        for (mark, code, message, kind) in &denied {
            let Some(with) = mask(&mut masks, mark.interest, mark.bytes(body), mark.compact, *code, message) else {
                return Err(self.broken_request(shared, Some(request.api), Malformed("names too many denied topics")));
            };
            splices.push(mark.with(with));
            shared.meters(&self.listener.name).error(kind);
        }
        shared.meters(&self.listener.name).request(request.api.key, request.api.name);
        let mut pending = pending(request.head, Some(request.api), io.now());
        pending.opens_session = opens_session;
        pending.masks = (!masks.is_empty()).then(|| Box::new(masks));
        pending.tapped = self.decided.take();
        self.expect(io, pending);
        let out = io.out(self.server);
        out.extend_from_slice(&request.bytes[..request.body]);
        apply(body, &mut splices, out);
        Ok(Began::Took(frame))
    }

    /// Produce: decided topic by topic while it passes; limits and faults by its first topic, before anything is sent.
    fn filtered_produce(&mut self, io: &mut dyn Io, shared: &mut Shared, request: &Request<'_>, chain: &dyn Chain) -> Result<Began, Fault> {
        let survey = survey(request).map_err(|error| self.broken_request(shared, Some(request.api), error))?;
        let Some((acks, interest, first)) = survey else { return Ok(Began::Need(request.bytes.len() + 1)) };
        let ruling = match self.named(shared, chain, request.api, interest, first) {
            Some(Named::Unknown) if self.wait_for_names(io, shared, &TopicId::try_from(first).into_iter().collect::<Vec<_>>()) => {
                return Ok(Began::Parked);
            }
            Some(Named::Passes(name)) => self.admit(io, chain, request, &[&name]),
            _ => Ruling::Pass,
        };
        let all = match ruling {
            Ruling::Wait(park, time) => return Ok(self.wait(io, park, time)),
            Ruling::Refuse(code, message, kind) => Some((code, message, kind)),
            Ruling::Pass => None,
        };
        self.has_asked = false;
        shared.meters(&self.listener.name).request(request.api.key, request.api.name);
        let is_answered = acks != 0;
        if is_answered {
            let mut pending = pending(request.head, Some(request.api), io.now());
            pending.tapped = self.decided.take();
            self.expect(io, pending);
        }
        io.out(self.server).extend_from_slice(&request.bytes[..request.body]);
        let walk = Walk::new(request.shape.request, request.body_len());
        let relay = Relay::walked(self.client, self.server, walk, false);
        self.request = Some(Passing { relay, masks: Masks::default(), all, is_answered });
        Ok(Began::Took(request.body))
    }

    /// What travels in place of a field of a Produce request that passes.
    pub(crate) fn mask_seen(
        &mut self,
        shared: &mut Shared,
        listener: &Listener,
        masks: &mut Masks,
        all: Option<&(i16, String, &'static str)>,
        seen: &Seen<'_>,
    ) -> Result<Option<Vec<u8>>, Malformed> {
        let Some(api) = crate::table::api(PRODUCE).filter(|_| matches!(seen.interest, interest::TOPIC | interest::TOPIC_ID)) else { return Ok(None) };
        let name = if seen.interest == interest::TOPIC_ID { seen.bytes } else { crate::edit::text(seen.bytes, seen.compact) };
        let named = match (all, &listener.chain) {
            (Some((code, message, kind)), _) => Some(Named::Denied(*code, message.clone(), kind)),
            (None, Some(chain)) => self.named(shared, &**chain, api, seen.interest, name),
            (None, None) => None,
        };
        let (code, message, kind) = match named {
            None | Some(Named::Passes(_)) => return Ok(None),
            Some(Named::Denied(code, message, kind)) => (code, message, kind),
            Some(Named::Unknown) => (UNKNOWN_TOPIC_ID, "the topic id is unknown".into(), "unknown_topic_id"),
        };
        shared.meters(&listener.name).error(kind);
        mask(masks, seen.interest, seen.bytes, seen.compact, code, &message).map(Some).ok_or(Malformed("names too many denied topics"))
    }

    /// Answers a whole request with an error of its own; where its response has none, the connection ends.
    fn refuse(
        &mut self,
        io: &mut dyn Io,
        shared: &mut Shared,
        request: &Request<'_>,
        code: i16,
        message: &str,
        kind: &'static str,
    ) -> Result<Began, Fault> {
        let Some(body) = request.shape.error_body(code) else {
            let what = format!("{} is refused, and its response has no place for an error {code}: {message}", request.api.name);
            return Err(self.fault(shared, kind, Fault::client("Kafka request", what)));
        };
        shared.meters(&self.listener.name).request(request.api.key, request.api.name);
        shared.meters(&self.listener.name).error(kind);
        let mut pending = pending(request.head, Some(request.api), io.now());
        pending.tapped = self.decided.take();
        self.answer(io, shared, pending, &body);
        let frame = request.head.frame();
        let there = request.bytes.len() as u64;
        if frame > there {
            io.skip(self.client, frame - there);
        }
        Ok(Began::Took(frame.min(there) as usize))
    }
}

/// Acks and first topic of a Produce request: interest and bytes of its name, empty when there is none.
type Survey<'a> = (i16, u8, &'a [u8]);

/// Looks for the first topic; `None` when more bytes are needed.
fn survey<'a>(request: &Request<'a>) -> Result<Option<Survey<'a>>, Malformed> {
    let mut walk = Walk::new(request.shape.request, request.body_len());
    let mut at = request.body;
    let mut acks = 1;
    loop {
        match walk.step(request.bytes.get(at..).unwrap_or_default())? {
            Step::Need => return Ok(None),
            Step::Run(n) => at = at.saturating_add(usize::try_from(n).unwrap_or(usize::MAX)),
            Step::Tail => {}
            Step::Done => return Ok(Some((acks, interest::NONE, &[]))),
            Step::Seen(seen) => {
                match seen.interest {
                    interest::ACKS => acks = seen.bytes.try_into().map(i16::from_be_bytes).unwrap_or(1),
                    interest::TOPIC => return Ok(Some((acks, seen.interest, crate::edit::text(seen.bytes, seen.compact)))),
                    interest::TOPIC_ID => return Ok(Some((acks, seen.interest, seen.bytes))),
                    _ => {}
                }
                at += seen.bytes.len();
            }
        }
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

/// A field with a mask in place of its name, as long as it was.
fn mask(masks: &mut Masks, interest: u8, field: &[u8], compact: bool, code: i16, message: &str) -> Option<Vec<u8>> {
    let is_id = interest == interest::TOPIC_ID;
    let real = if is_id { field } else { crate::edit::text(field, compact) };
    let mask = masks.add(real, is_id, code, message)?;
    let mut bytes = field.to_vec();
    let head = bytes.len() - mask.len();
    bytes[head..].copy_from_slice(&mask);
    Some(bytes)
}
