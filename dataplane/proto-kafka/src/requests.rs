//! The way there: a request's header is read, its place in the ring taken, and the rest passes without being looked at, unless filters
//! are in force.

use crate::filtered::Request;
use crate::frame::{self, API_VERSIONS, RequestHead, SASL_AUTHENTICATE, SASL_HANDSHAKE, request_head};
use crate::relay::{COPY_MAX, Ran};
use crate::sasl::MAX_SASL;
use crate::session::{Passing, Pending, Session};
use crate::shared::Shared;
use crate::stats;
use crate::table::{Api, Shape};
use crate::tables::interest;
use crate::versions;
use crate::virtual_cluster::Stretch;
use crate::walk::{Malformed, Part, Seen, Step, Walk};
use wire::{Fault, Io};

pub(crate) const PRODUCE: i16 = 0;
pub(crate) const FETCH: i16 = 1;
const UNSUPPORTED_SASL_MECHANISM: i16 = 33;

/// What became of a request's front.
pub(crate) enum Began {
    /// This many unconsumed bytes are needed.
    Need(usize),
    /// It waits for a timer or an answer.
    Parked,
    /// This many bytes are consumed.
    Took(usize),
    /// This many bytes go on unread.
    Forward(u64),
}

impl Session {
    /// Bytes of the client. Returns how many were consumed.
    pub fn requests(&mut self, io: &mut dyn Io, shared: &mut Shared, bytes: &[u8]) -> Result<usize, Fault> {
        let mut at = 0;
        loop {
            if self.request.is_some() {
                let (used, ran) = self.relay_request(io, shared, &bytes[at..])?;
                at += used;
                match ran {
                    Ran::Need(n) => io.want(self.client, n),
                    Ran::Forwarded => {}
                    Ran::Done => {
                        self.request = None;
                        continue;
                    }
                }
                return Ok(at);
            }
            if self.is_full || self.is_waiting || self.muted_until > 0 {
                return Ok(at);
            }
            let rest = &bytes[at..];
            let Some(head) = request_head(rest).map_err(|error| self.broken_request(shared, None, error))? else {
                io.want(self.client, if rest.len() < 4 { 4 } else { 12 });
                return Ok(at);
            };
            match self.begin_request(io, shared, &head, rest)? {
                Began::Took(n) => at += n,
                Began::Parked => return Ok(at),
                Began::Need(n) => {
                    io.want(self.client, n);
                    return Ok(at);
                }
                Began::Forward(n) => {
                    io.forward(self.client, self.server, n);
                    return Ok(at);
                }
            }
        }
    }

    /// The client broke the protocol.
    pub(crate) fn broken_request(&self, shared: &mut Shared, api: Option<&Api>, error: Malformed) -> Fault {
        let name = api.map_or("", |api| api.name);
        self.fault(shared, "client_protocol", Fault::client("Kafka request", format!("the request {name} {error}")))
    }

    fn begin_request(&mut self, io: &mut dyn Io, shared: &mut Shared, head: &RequestHead, bytes: &[u8]) -> Result<Began, Fault> {
        if self.auth.as_ref().is_some_and(|auth| auth.due <= io.now()) {
            if let Some(began) = self.gate(io, shared, head, bytes)? {
                return Ok(began);
            }
        }
        let Some((mut api, mut shape)) = head.shape() else { return self.stranger(io, shared, head, bytes) };
        let is_measured = self.listener.stats.is_some();
        if is_measured {
            (api, shape) = crate::table::measured(api.key).and_then(|api| Some((api, api.shape(head.version)?))).unwrap_or((api, shape));
        }
        let body = match frame::request_body(bytes, head, api.is_flexible(head.version)) {
            Ok(Some(body)) => body,
            Ok(None) => return Ok(Began::Need(bytes.len() + 1)),
            Err(error) => return Err(self.broken_request(shared, Some(api), error)),
        };
        if is_measured {
            if let Some(began) = self.measure_request(io, shared, &Request { head, api, shape, bytes, body })? {
                return Ok(began);
            }
        }
        match api.key {
            SASL_HANDSHAKE | SASL_AUTHENTICATE => self.sasl_request(io, shared, &Request { head, api, shape, bytes, body }),
            API_VERSIONS => Ok(self.pass(io, shared, head, api, bytes, true)),
            PRODUCE if is_measured => {
                let chain = self.listener.chain.clone();
                self.filtered(io, shared, &Request { head, api, shape, bytes, body }, chain.as_deref())
            }
            _ if self.listener.chain.is_some() || self.listener.has_names() || self.looks_into(api.key) => {
                let chain = self.listener.chain.clone();
                self.filtered(io, shared, &Request { head, api, shape, bytes, body }, chain.as_deref())
            }
            PRODUCE => self.pass_produce(io, shared, &Request { head, api, shape, bytes, body }),
            _ => Ok(self.pass(io, shared, head, api, bytes, true)),
        }
    }

    /// A Produce request that nobody looks into, but for its acks.
    pub(crate) fn pass_produce(&mut self, io: &mut dyn Io, shared: &mut Shared, request: &Request<'_>) -> Result<Began, Fault> {
        let Request { head, api, shape, bytes, body } = *request;
        match acks(shape, head, &bytes[body..], body) {
            Ok(None) => Ok(Began::Need(bytes.len() + 1)),
            Ok(Some(acks)) => Ok(self.pass(io, shared, head, api, bytes, acks != 0)),
            Err(error) => Err(self.broken_request(shared, Some(api), error)),
        }
    }

    /// A request that nobody looks into.
    pub(crate) fn pass(
        &mut self,
        io: &mut dyn Io,
        shared: &mut Shared,
        head: &RequestHead,
        api: &'static Api,
        bytes: &[u8],
        is_answered: bool,
    ) -> Began {
        shared.meters(&self.listener.name).request(api.key, api.name);
        if is_answered {
            let pending = pending(head, Some(api), io.now());
            self.expect(io, pending);
        }
        self.pass_frame(io, head, bytes)
    }

    fn pass_frame(&mut self, io: &mut dyn Io, head: &RequestHead, bytes: &[u8]) -> Began {
        let frame = head.frame();
        if frame < COPY_MAX && frame <= bytes.len() as u64 {
            io.out(self.server).extend_from_slice(&bytes[..frame as usize]);
            return Began::Took(frame as usize);
        }
        Began::Forward(frame)
    }

    /// A request that the tables don't have.
    fn stranger(&mut self, io: &mut dyn Io, shared: &mut Shared, head: &RequestHead, bytes: &[u8]) -> Result<Began, Fault> {
        let RequestHead { key, version, .. } = *head;
        if key == API_VERSIONS {
            return self.answer_instead(io, shared, head, bytes, &versions::unsupported());
        }
        if let Some(api) = crate::table::api(key) {
            let what = format!("{} version {version} is not one of {} to {}, which ApiVersions offered", api.name, api.min, api.max);
            return Err(self.fault(shared, "unsupported_version", Fault::client("Kafka request", what)));
        }
        if self.listener.chain.is_some() || self.listener.has_names() || key < 0 {
            let what = format!("API {key} is unknown here, and rules are in force on this listener, so it is refused");
            return Err(self.fault(shared, "unknown_api", Fault::client("Kafka request", what)));
        }
        shared.meters(&self.listener.name).request(-1, "unknown");
        let pending = pending(head, None, io.now());
        self.expect(io, pending);
        Ok(self.pass_frame(io, head, bytes))
    }

    /// Answers a small request by ourselves; it never reaches the broker.
    fn answer_instead(&mut self, io: &mut dyn Io, shared: &mut Shared, head: &RequestHead, bytes: &[u8], body: &[u8]) -> Result<Began, Fault> {
        let frame = head.frame();
        if frame > frame::MAX_HEADER as u64 {
            return Err(self.broken_request(shared, crate::table::api(head.key), Malformed("exceeds 40 KiB")));
        }
        if frame > bytes.len() as u64 {
            return Ok(Began::Need(frame as usize));
        }
        // The shape of version 0, which has no tags in its header.
        let pending = Pending { version: 0, ..pending(head, crate::table::api(head.key), io.now()) };
        self.answer(io, shared, pending, body);
        Ok(Began::Took(frame as usize))
    }

    fn sasl_request(&mut self, io: &mut dyn Io, shared: &mut Shared, request: &Request<'_>) -> Result<Began, Fault> {
        let Request { head, api, shape, bytes, body } = *request;
        if self.auth.is_none() && self.listener.member.is_some() {
            // The clusters that are asked beside this one could not be told the client's credentials. UNSUPPORTED_SASL_MECHANISM, and none.
            let refusal = [&UNSUPPORTED_SASL_MECHANISM.to_be_bytes()[..], &[0; 4]].concat();
            shared.meters(&self.listener.name).error("sasl_through_federation");
            return self.answer_instead(io, shared, head, bytes, &refusal);
        }
        if api.key == SASL_HANDSHAKE && head.version == 0 {
            // Its tokens would come without frames. UNSUPPORTED_VERSION and no mechanisms, in the shape of version 0.
            let mut refusal = versions::UNSUPPORTED_VERSION.to_be_bytes().to_vec();
            refusal.extend([0; 4]);
            shared.meters(&self.listener.name).error("sasl_handshake_v0");
            return self.answer_instead(io, shared, head, bytes, &refusal);
        }
        if head.frame() > MAX_SASL {
            return Err(self.broken_request(shared, Some(api), Malformed("exceeds 512 KiB")));
        }
        let frame = head.frame() as usize;
        let Some(whole) = bytes.get(body..frame) else { return Ok(Began::Need(frame)) };
        let marks = crate::edit::marks(shape.request, whole).map_err(|error| self.broken_request(shared, Some(api), error))?;
        if self.auth.is_some() {
            return self.sasl_here(io, shared, request, whole, &marks);
        }
        for mark in &marks {
            match mark.interest {
                interest::MECHANISM => self.sasl.begin(mark.text(whole)),
                interest::AUTH_BYTES if mark.compact => self.sasl.token(mark.text(whole)),
                interest::AUTH_BYTES => self.sasl.token(mark.bytes(whole).get(4..).unwrap_or_default()),
                _ => {}
            }
        }
        Ok(self.pass(io, shared, head, api, bytes, true))
    }

    fn relay_request(&mut self, io: &mut dyn Io, shared: &mut Shared, bytes: &[u8]) -> Result<(usize, Ran), Fault> {
        let Some(mut passing) = self.request.take() else { return Ok((0, Ran::Done)) };
        let listener = std::sync::Arc::clone(&self.listener);
        let facade = listener.facade("");
        let Passing { relay, masks, all, stretch, meter, scan, .. } = &mut passing;
        let ran = relay.run(io, bytes, &facade, &mut 0, &mut |seen, records| {
            if seen.part == Part::Value && stats::note(scan.as_deref_mut(), seen.interest, seen.bytes, seen.compact) {
                return Ok(None);
            }
            meter.iter_mut().for_each(|meter| meter.see(seen, records));
            let masked = self.mask_seen(shared, &listener, masks, all.as_ref(), seen)?;
            let Some(stretch) = stretch.as_mut() else { return Ok(masked) };
            stretch.patch(&Seen { bytes: masked.as_deref().unwrap_or(seen.bytes), ..*seen }).map(|renamed| renamed.or(masked))
        });
        let ran = match ran {
            Ok((used, Ran::Done)) => stretch.as_ref().map_or(Ok(()), Stretch::end).map(|()| (used, Ran::Done)),
            ran => ran,
        };
        let ran = ran.map_err(|error| self.broken_request(shared, crate::table::api(PRODUCE), error))?;
        if !passing.masks.is_empty() && shared.directory(&listener.backend.name).has_wanted() {
            shared.ask(io, &listener.backend);
        }
        if ran.1 != Ran::Done {
            self.request = Some(passing);
            return Ok(ran);
        }
        if let (Some(meter), Some(api)) = (passing.meter.take(), crate::table::api(PRODUCE)) {
            let time = self.charge_topics(io, shared, api, false, meter, passing.relay.records());
            passing.charge = passing.charge.and(time);
        }
        if let Some(scan) = &passing.scan {
            self.measure_produce(io, shared, scan);
        }
        match self.ring.back_mut().filter(|_| passing.is_answered) {
            // Its place is the last: nothing else was read from the client before its frame was over.
            Some(pending) => {
                pending.charge = passing.charge;
                pending.measured = passing.scan;
                pending.masks = (!passing.masks.is_empty()).then(|| Box::new(passing.masks));
            }
            None => self.pay(io, passing.charge),
        }
        Ok(ran)
    }
}

/// A ring entry.
pub(crate) fn pending(head: &RequestHead, api: Option<&'static Api>, now: wire::Nanos) -> Pending {
    Pending { api, version: head.version, correlation: head.correlation, ..Pending::new(now) }
}

/// The acks of a Produce request; `None` when more bytes are needed.
pub(crate) fn acks(shape: &Shape, head: &RequestHead, bytes: &[u8], body: usize) -> Result<Option<i16>, Malformed> {
    let mut walk = Walk::new(shape.request, head.frame().saturating_sub(body as u64));
    let mut at = 0;
    loop {
        match walk.step(bytes.get(at..).unwrap_or_default())? {
            Step::Need => return Ok(None),
            Step::Run(n) | Step::Records(n, _) => at += usize::try_from(n).unwrap_or(usize::MAX),
            Step::Tail => {}
            Step::Done => return Err(Malformed("has no acks")),
            Step::Seen(seen) => {
                if seen.interest == interest::ACKS && seen.part == Part::Value {
                    return Ok(seen.bytes.try_into().ok().map(i16::from_be_bytes));
                }
                at += seen.bytes.len();
            }
        }
    }
}
