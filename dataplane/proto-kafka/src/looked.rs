//! Requests and responses whose records a rule looks into.
//!
//! ```text
//! Produce, one topic without a rule:   passes unread, as without rules
//! Produce with others:                 held whole; refused partitions travel empty, under numbers that no partition has, and get their own
//!                                      number and the error in the response
//! Produce that is too large to hold:   passes; its topics with rules are masked (mask.rs) with MESSAGE_TOO_LARGE
//! Fetch of topics with a rule:         asks for no more than is held; its response is held, its records mapped
//! ```
//! In Kafka's messages the number of a partition stands right before its error, in responses, and before its records, in Produce.

use crate::edit::{Mark, Splice, apply, elements, marks};
use crate::filtered::{Named, Request};
use crate::frame::client_id;
use crate::produce::survey;
use crate::records::{CORRUPT_MESSAGE, Change, Client, Closed, RecordRules, Refused, Traces, Unreadable, map, read_traces};
use crate::requests::{FETCH, PRODUCE};
use crate::session::Session;
use crate::shared::Shared;
use crate::table::Shape;
use crate::tables::interest;
use crate::walk::Malformed;
use crate::way::SHARE_FETCH;
use std::sync::Arc;
use wire::Nanos;

/// The longest Produce request that is held: clients send 1 MiB unless told otherwise (`max.request.size`).
pub const MAX_PRODUCE: u64 = 16 * 1024 * 1024;

/// What a Fetch of topics with a rule may ask for. A response exceeds it by a batch at most, and is held up to 32 MiB.
const MAX_FETCH: i32 = 8 * 1024 * 1024;

/// POLICY_VIOLATION.
pub const POLICY_VIOLATION: i16 = 44;
const UNKNOWN_SERVER_ERROR: i16 = -1;
const UNSUPPORTED_FOR_MESSAGE_FORMAT: i16 = 43;
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;

/// From its error on to the record errors of a partition in a Produce response: error, base offset, append time, log start offset.
const TO_RECORD_ERRORS: usize = 2 + 8 + 8 + 8;

/// What the rules want with a Produce request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Look {
    /// More bytes, to say it.
    Need,
    /// Nothing.
    Nowhere,
    /// To hold it.
    Into,
    /// To hold it, but it is too large.
    TooLarge,
}

/// What a response has to know of its request.
#[derive(Default, Debug)]
pub struct Looked {
    /// Partitions of a Produce that were refused.
    refused: Vec<RefusedPartition>,
    /// The client id of a Fetch.
    client_id: Vec<u8>,
}

#[derive(Debug)]
struct RefusedPartition {
    /// The number that travels.
    travels: i32,
    /// Its own.
    real: i32,
    why: Refused,
}

impl Looked {
    /// Kafka's name for the first error, for the access log.
    pub fn error(&self) -> &'static str {
        match self.refused.first().map(|refused| refused.why.code) {
            None => "",
            Some(2) => "CORRUPT_MESSAGE",
            Some(10) => "MESSAGE_TOO_LARGE",
            Some(21) => "INVALID_REQUIRED_ACKS",
            Some(76) => "UNSUPPORTED_COMPRESSION_TYPE",
            Some(87) => "INVALID_RECORD",
            Some(_) => "POLICY_VIOLATION",
        }
    }
}

impl Session {
    /// Whether any rule of the listener looks into the records of such requests.
    pub(crate) fn looks_into(&self, key: i16) -> bool {
        self.listener.records.as_ref().is_some_and(|rules| match key {
            PRODUCE => rules.has_produce(),
            FETCH | SHARE_FETCH => rules.has_fetch(),
            _ => false,
        })
    }

    /// What the rules want with a Produce request: its first topic decides, if it is the only one.
    pub(crate) fn look(&mut self, shared: &mut Shared, request: &Request<'_>) -> Result<Look, Malformed> {
        let Some(rules) = self.listener.records.clone().filter(|rules| rules.has_produce()) else { return Ok(Look::Nowhere) };
        let Some(first) = survey(request)? else { return Ok(Look::Need) };
        let is_untouched = first.topics <= 1
            && match self.named(shared, None, request.api, first.interest, first.name) {
                Some(Named::Passes(name)) => !rules.is_produced(&name),
                Some(Named::Denied(..)) | None => true,
                Some(Named::Unknown) => false,
            };
        Ok(match is_untouched {
            true => Look::Nowhere,
            false if request.head.frame() > MAX_PRODUCE => Look::TooLarge,
            false => Look::Into,
        })
    }

    /// Looks into a held request. Topics in `denied` are not looked into.
    pub(crate) fn look_into_request(
        &mut self,
        shared: &mut Shared,
        now: Nanos,
        request: &Request<'_>,
        marks: &[Mark],
        denied: &[(Mark, i16, String, &'static str)],
        splices: &mut Vec<Splice>,
    ) -> Option<Looked> {
        if !self.looks_into(request.api.key) {
            return None;
        }
        let body = request.held();
        let is_denied = |mark: &Mark| denied.iter().any(|(denied, ..)| denied.at == mark.at);
        match request.api.key {
            PRODUCE => self.look_into_produce(shared, now, body, marks, &is_denied, splices),
            _ => self.look_into_fetch(shared, request, body, marks, splices),
        }
    }

    /// The name of a topic as the client has it.
    fn client_name(&mut self, shared: &mut Shared, key: i16, body: &[u8], mark: &Mark) -> Option<Arc<[u8]>> {
        let name = if mark.interest == interest::TOPIC_ID { mark.bytes(body) } else { mark.text(body) };
        match self.named(shared, None, crate::table::api(key)?, mark.interest, name)? {
            Named::Passes(name) => Some(name),
            Named::Denied(..) | Named::Unknown => None,
        }
    }

    fn look_into_produce(
        &mut self,
        shared: &mut Shared,
        now: Nanos,
        body: &[u8],
        marks: &[Mark],
        is_denied: &dyn Fn(&Mark) -> bool,
        splices: &mut Vec<Splice>,
    ) -> Option<Looked> {
        let rules = self.listener.records.clone()?;
        let acks = marks.iter().find(|mark| mark.is(interest::ACKS)).map_or(1, |acks| acks.int(body) as i16);
        let mut looked = Looked::default();
        for (inside, _) in elements(marks, interest::TOPICS) {
            let inside = &marks[inside];
            let topic = inside.iter().find(|mark| is_topic(mark)).filter(|topic| !is_denied(topic));
            let Some(name) = topic.and_then(|topic| self.client_name(shared, PRODUCE, body, topic)) else { continue };
            for records in inside.iter().filter(|mark| mark.is(interest::RECORDS)) {
                let why = match self.judge(shared, now, &rules, &name, acks, records.records(body)) {
                    Ok(None) => continue,
                    Ok(Some(sealed)) => {
                        splices.push(records.with_records(&sealed));
                        continue;
                    }
                    Err(why) => why,
                };
                let (Some(at), Ok(number)) = (records.at.checked_sub(4), i32::try_from(looked.refused.len())) else { continue };
                let travels = i32::MAX - number;
                splices.push(Splice { at, len: 4, with: travels.to_be_bytes().to_vec() });
                splices.push(records.with_records(&[]));
                looked.refused.push(RefusedPartition { travels, real: int(body, at), why });
                shared.meters(&self.listener.name).error("record_policy");
            }
        }
        (!looked.refused.is_empty()).then_some(looked)
    }

    /// What a partition's records become, if they may be written.
    fn judge(
        &mut self,
        shared: &mut Shared,
        now: Nanos,
        rules: &RecordRules,
        topic: &[u8],
        acks: i16,
        records: &[u8],
    ) -> Result<Option<Vec<u8>>, Refused> {
        if let Some(why) = rules.judge(topic, acks, records, &self.listener.name) {
            return Err(why);
        }
        let traced = self.begin_traces(shared, rules, topic, records)?;
        let Some(rule) = rules.encryption(topic) else { return Ok(traced) };
        let records = traced.as_deref().unwrap_or(records);
        let sealed = shared.data_keys.of(rule).seal(rule, topic, records, now, &mut shared.entropy);
        let sealed = sealed.map_err(|error| {
            let why = Refused::from(error);
            Refused { message: format!("KafkaRecordPolicy/{} on listener {}: {}", rule.policy, self.listener.name, why.message), ..why }
        })?;
        Ok(sealed.or(traced))
    }

    /// Gives records a trace that have none, and tells the access log of all.
    fn begin_traces(&mut self, shared: &mut Shared, rules: &RecordRules, topic: &[u8], records: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
        let Some(tracing) = rules.tracing(topic) else { return Ok(None) };
        let mut untold = Traces::default();
        let traces = self.decided.as_mut().map_or(&mut untold, |decided| &mut decided.traces);
        tracing.begin(records, &mut shared.entropy, traces).map_err(Refused::from)
    }

    /// A Fetch that names topics with a rule, or goes on with a session that has some, asks for no more than can be held.
    fn look_into_fetch(
        &mut self,
        shared: &mut Shared,
        request: &Request<'_>,
        body: &[u8],
        marks: &[Mark],
        splices: &mut Vec<Splice>,
    ) -> Option<Looked> {
        let rules = self.listener.records.clone()?;
        let topics = marks.iter().filter(|mark| is_topic(mark));
        let names: Vec<_> = topics.map(|topic| self.client_name(shared, FETCH, body, topic)).collect();
        let names_some = names.into_iter().flatten().any(|name| rules.is_fetched(&name));
        let goes_on = marks.iter().find(|mark| mark.is(interest::FETCH_EPOCH)).is_some_and(|epoch| epoch.int(body) > 0);
        self.is_looked_into = names_some || goes_on && self.is_looked_into;
        if !self.is_looked_into {
            return None;
        }
        let most = marks.iter().find(|mark| mark.is(interest::MAX_BYTES)).filter(|most| most.int(body) > MAX_FETCH);
        splices.extend(most.map(|most| most.with_int(MAX_FETCH)));
        Some(Looked { refused: vec![], client_id: client_id(request.bytes).to_vec() })
    }

    /// Looks into a held response, which has the client's names already.
    pub(crate) fn look_into_response(&mut self, shared: &mut Shared, looked: &Looked, shape: &Shape, body: Vec<u8>) -> Result<Vec<u8>, Malformed> {
        let marks = marks(shape.response, &body)?;
        let mut splices = Vec::new();
        if looked.refused.is_empty() {
            self.map_fetched(shared, looked, &body, &marks, &mut splices);
        } else {
            tell_refused(&body, &marks, &looked.refused, &mut splices);
        }
        if splices.is_empty() {
            return Ok(body);
        }
        let mut out = Vec::with_capacity(body.len());
        apply(&body, &mut splices, &mut out);
        Ok(out)
    }

    fn map_fetched(&mut self, shared: &mut Shared, looked: &Looked, body: &[u8], marks: &[Mark], splices: &mut Vec<Splice>) {
        let Some(rules) = self.listener.records.clone() else { return };
        for (inside, _) in elements(marks, interest::TOPICS) {
            let inside = &marks[inside];
            let Some(topic) = inside.iter().find(|mark| is_topic(mark)) else { continue };
            let Some(name) = self.client_name(shared, FETCH, body, topic) else { continue };
            let mut error = None;
            for mark in inside {
                if mark.is(interest::ERROR) {
                    error = Some(mark);
                }
                if !mark.is(interest::RECORDS) {
                    continue;
                }
                match self.shown(shared, looked, &rules, &name, mark.records(body)) {
                    Ok(None) => {}
                    Ok(Some(records)) => splices.push(mark.with_records(&records)),
                    Err(why) => {
                        let (code, kind) = code(why);
                        splices.push(mark.with_records(&[]));
                        splices.extend(error.map(|error| error.with_int(i32::from(code))));
                        shared.meters(&self.listener.name).error(kind);
                    }
                }
            }
        }
    }

    /// What a consumer sees of a partition's records; `None`: all of them, as they are.
    fn shown(&mut self, shared: &mut Shared, looked: &Looked, rules: &RecordRules, topic: &[u8], records: &[u8]) -> Result<Option<Vec<u8>>, Closed> {
        if rules.tracing(topic).is_some_and(|tracing| tracing.fetched) {
            let decided = self.ring.front_mut().and_then(|pending| pending.tapped.as_mut());
            decided.map_or(Ok(()), |decided| read_traces(records, &mut decided.traces))?;
        }
        let (lanes, encryption) = (rules.lanes(topic), rules.encryption(topic));
        if lanes.is_none() && encryption.is_none() {
            return Ok(None);
        }
        let client = Client { listener: &self.listener.name, identity: &self.identity, client_id: &looked.client_id };
        let lane = lanes.and_then(|lanes| lanes.of(&client));
        map(records, &mut |_, record| match encryption {
            _ if lanes.is_some_and(|lanes| !lanes.shows(lane, record)) => Ok(Change::Drop),
            Some(rule) => shared.data_keys.of(rule).open(rule, record),
            None => Ok(Change::Keep),
        })
    }
}

/// What a consumer is told of records that cannot be looked into, and the metric's word. Every client shows 29 to its application.
fn code(why: Closed) -> (i16, &'static str) {
    match why {
        Closed::NoKey => (TOPIC_AUTHORIZATION_FAILED, "no_key"),
        Closed::Forged | Closed::Unreadable(Unreadable::Corrupt) => (CORRUPT_MESSAGE, "corrupt_records"),
        Closed::Unreadable(Unreadable::Malformed(_)) => (UNSUPPORTED_FOR_MESSAGE_FORMAT, "unreadable_records"),
        Closed::Unreadable(Unreadable::TooLarge) => (UNKNOWN_SERVER_ERROR, "unreadable_records"),
    }
}

/// Puts the numbers and errors of refused partitions where the broker has written that it does not know them.
fn tell_refused(body: &[u8], marks: &[Mark], refused: &[RefusedPartition], splices: &mut Vec<Splice>) {
    for (place, error) in marks.iter().enumerate().filter(|(_, mark)| mark.is(interest::ERROR)) {
        let Some(at) = error.at.checked_sub(4) else { continue };
        let Some(one) = refused.iter().find(|one| one.travels == int(body, at)) else { continue };
        splices.push(Splice { at, len: 4, with: one.real.to_be_bytes().to_vec() });
        splices.push(error.with_int(i32::from(one.why.code)));
        let message = marks[place + 1..].iter().take_while(|mark| !mark.is(interest::ERROR)).find(|mark| mark.is(interest::ERROR_MESSAGE));
        let Some(message) = message else { continue };
        splices.push(message.with_text(one.why.message.as_bytes()));
        let from = error.at + TO_RECORD_ERRORS;
        splices.push(Splice { at: from, len: message.at.saturating_sub(from), with: record_errors(&one.why.records, message.compact) });
    }
}

fn record_errors(records: &[(i32, String)], compact: bool) -> Vec<u8> {
    let mut out = crate::codec::count(compact, u32::try_from(records.len()).unwrap_or(0));
    for (index, what) in records {
        out.extend(index.to_be_bytes());
        out.extend(crate::codec::string(compact, what.as_bytes()));
        out.extend(compact.then_some(0u8));
    }
    out
}

fn is_topic(mark: &Mark) -> bool {
    mark.is(interest::TOPIC) || mark.is(interest::TOPIC_ID)
}

fn int(body: &[u8], at: usize) -> i32 {
    body.get(at..at + 4).map_or(0, |bytes| bytes.iter().fold(0, |n, byte| n << 8 | i32::from(*byte)))
}
