//! Produce requests on a listener whose rules look into them: topics are decided while they pass, records are never looked at.

use crate::conf::Listener;
use crate::directory::TopicId;
use crate::edit::text;
use crate::federation::Kind;
use crate::filtered::{Named, Request, Rules};
use crate::looked::MAX_PRODUCE;
use crate::mask::{Masks, mask};
use crate::owners::Owner;
use crate::policy::{Ruling, UNKNOWN_TOPIC_ID};
use crate::quota::Meter;
use crate::records::MESSAGE_TOO_LARGE;
use crate::relay::Relay;
use crate::requests::{Began, PRODUCE, pending};
use crate::session::{Passing, Session};
use crate::shared::Shared;
use crate::tables::interest;
use crate::virtual_cluster::Stretch;
use crate::walk::{Malformed, Part, Seen, Step, Walk};
use wire::{Fault, Io};

impl Session {
    /// Produce: decided topic by topic while it passes; limits and faults by its first topic, before anything is sent.
    pub(crate) fn filtered_produce(&mut self, io: &mut dyn Io, shared: &mut Shared, request: &Request<'_>, chain: Rules<'_>) -> Result<Began, Fault> {
        let survey = survey(request).map_err(|error| self.broken_request(shared, Some(request.api), error))?;
        let Some(Survey { acks, transaction, interest, name: first, .. }) = survey else { return Ok(Began::Need(request.bytes.len() + 1)) };
        let owner = [Owner::transaction(transaction)];
        let disowned = chain.filter(|_| !transaction.is_empty()).and_then(|chain| self.disowned(chain, request, &owner));
        let ruling = match self.named(shared, chain, request.api, interest, first) {
            Some(Named::Unknown) if self.wait_for_names(io, shared, &TopicId::try_from(first).into_iter().collect::<Vec<_>>()) => {
                return Ok(Began::Parked);
            }
            Some(Named::Passes(name)) => self.admit(io, chain, request, &[&name]),
            _ => Ruling::Pass,
        };
        let stretch = match self.stretch_request(request).map_err(|error| self.broken_request(shared, Some(request.api), error))? {
            Some(stretch) => stretch,
            None => return Ok(Began::Need(request.bytes.len() + 1)),
        };
        let all = match ruling {
            Ruling::Wait(park, time) => return Ok(self.wait(io, park, time)),
            Ruling::Refuse(code, message, kind) => Some((code, message, kind)),
            Ruling::Pass => disowned.or_else(|| self.misplaced_transaction(transaction)),
        };
        self.has_asked = false;
        shared.meters(&self.listener.name).request(request.api.key, request.api.name);
        let is_answered = acks != 0;
        let charge = self.charge_request(io, request);
        if is_answered {
            let mut pending = pending(request.head, Some(request.api), io.now());
            pending.tapped = self.decided.take();
            self.expect(io, pending);
        }
        let announced = stretch.as_ref().map_or(Ok(request.head.size), |stretch| stretch.announced(request.head.size));
        let announced = announced.map_err(|error| self.broken_request(shared, Some(request.api), error))?;
        io.out(self.server).extend(announced.to_be_bytes());
        io.out(self.server).extend_from_slice(&request.bytes[4..request.body]);
        let walk = Walk::new(request.shape.request, request.body_len());
        let scan = self.listener.stats.as_ref().map(|_| Box::default());
        let relay = Relay::walked(self.client, self.server, walk).peeking(scan.is_some());
        let meter = self.charges().resources.then(Meter::default);
        self.request = Some(Passing { relay, masks: Masks::default(), all, is_answered, meter, charge, stretch, scan });
        Ok(Began::Took(request.body))
    }

    /// Why a transaction does not write here, on a listener whose clusters are several.
    fn misplaced_transaction(&self, transaction: &[u8]) -> Option<(i16, String, &'static str)> {
        let member = self.listener.member.as_ref().filter(|member| !transaction.is_empty() && !member.owns(Kind::Transaction, transaction))?;
        Some(member.misplaced_transaction())
    }

    /// How the request's names change its size, on the way to a virtual cluster; `None` when more bytes are needed.
    #[allow(clippy::option_option)] // not here yet, or nothing to rename
    fn stretch_request(&self, request: &Request<'_>) -> Result<Option<Option<Stretch>>, Malformed> {
        let Some(cluster) = &self.listener.virtual_cluster else { return Ok(Some(None)) };
        let is_flexible = request.api.is_flexible(request.head.version);
        let body = request.bytes.get(request.body..).unwrap_or_default();
        Stretch::begin(cluster, request.shape.request, is_flexible, false, body, request.body_len()).map(|begun| begun.map(Some))
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
        let name = if seen.interest == interest::TOPIC_ID { seen.bytes } else { text(seen.bytes, seen.compact) };
        let named = match all {
            Some((code, message, kind)) => Some(Named::Denied(*code, message.clone(), kind)),
            None => self.named(shared, listener.chain.as_deref(), api, seen.interest, name),
        };
        let (code, message, kind) = match named {
            Some(Named::Passes(name)) if listener.records.as_ref().is_some_and(|rules| rules.is_produced(&name)) => {
                let message = format!("the request exceeds the {MAX_PRODUCE} bytes that listener {} holds to look into records", listener.name);
                (MESSAGE_TOO_LARGE, message, "record_policy")
            }
            None | Some(Named::Passes(_)) => return Ok(None),
            Some(Named::Denied(code, message, kind)) => (code, message, kind),
            Some(Named::Unknown) => {
                // Its records pass already, so it can't wait: the client's next attempt finds the name.
                TopicId::try_from(name).into_iter().for_each(|id| shared.directory(&listener.backend.name).want(id));
                (UNKNOWN_TOPIC_ID, "the topic id is unknown".into(), "unknown_topic_id")
            }
        };
        shared.meters(&listener.name).error(kind);
        mask(masks, seen.interest, seen.bytes, seen.compact, code, &message).map(Some).ok_or(Malformed("names too many denied topics"))
    }
}

/// The front of a Produce request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Survey<'a> {
    pub acks: i16,
    /// The transaction it is in; empty for none.
    pub transaction: &'a [u8],
    /// How many topics there are.
    pub topics: u32,
    /// How the first is named.
    pub interest: u8,
    /// Its name or id; empty when there is none.
    pub name: &'a [u8],
}

/// Looks for the first topic; `None` when more bytes are needed.
pub(crate) fn survey<'a>(request: &Request<'a>) -> Result<Option<Survey<'a>>, Malformed> {
    let mut walk = Walk::new(request.shape.request, request.body_len());
    let mut at = request.body;
    let mut found = Survey { acks: 1, transaction: &[], topics: 0, interest: interest::NONE, name: &[] };
    loop {
        match walk.step(request.bytes.get(at..).unwrap_or_default())? {
            Step::Need => return Ok(None),
            Step::Run(n) | Step::Records(n, _) => at = at.saturating_add(usize::try_from(n).unwrap_or(usize::MAX)),
            Step::Tail => {}
            Step::Done => return Ok(Some(found)),
            Step::Seen(seen) => {
                match (seen.interest, seen.part) {
                    (interest::ACKS, _) => found.acks = seen.bytes.try_into().map(i16::from_be_bytes).unwrap_or(1),
                    (interest::TRANSACTIONAL_ID, _) => found.transaction = text(seen.bytes, seen.compact),
                    (interest::TOPICS, Part::Count) => found.topics = seen.count(),
                    (interest::TOPIC, _) => return Ok(Some(Survey { interest: seen.interest, name: text(seen.bytes, seen.compact), ..found })),
                    (interest::TOPIC_ID, _) => return Ok(Some(Survey { interest: seen.interest, name: seen.bytes, ..found })),
                    _ => {}
                }
                at += seen.bytes.len();
            }
        }
    }
}
