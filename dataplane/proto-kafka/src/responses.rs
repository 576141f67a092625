//! The way back: each response is matched with its request, and passes opaque, walked, or held and edited.

use crate::address::Facade;
use crate::conf::Listener;
use crate::directory::METADATA;
use crate::edit::{Mark, Splice, apply, brokers, elements, marks};
use crate::federation;
use crate::frame::{self, API_VERSIONS, SASL_AUTHENTICATE, response_head};
use crate::lists::hideable;
use crate::mask::Masks;
use crate::private;
use crate::quota::{Charge, metered, throttled};
use crate::relay::{COPY_MAX, Ran, Relay};
use crate::sasl::MAX_SASL;
use crate::session::{Pending, Session};
use crate::shared::Shared;
use crate::stats;
use crate::table::{Api, Shape};
use crate::tables::interest;
use crate::versions;
use crate::virtual_cluster::{self, Asked};
use crate::walk::{Malformed, Part, Seen, Walk};
use crate::way::{DESCRIBE_CONFIGS, DESCRIBE_QUORUM, Way, way};
use std::sync::Arc;
use wire::{Fault, Io};

/// The largest response that is held to be edited: Metadata of 100,000 partitions with three replicas is 6 MB.
const MAX_HELD_RESPONSE: u32 = 32 * 1024 * 1024;

impl Session {
    /// Bytes of the broker. Returns how many were consumed.
    pub fn responses(&mut self, io: &mut dyn Io, shared: &mut Shared, bytes: &[u8]) -> Result<usize, Fault> {
        let mut at = 0;
        loop {
            if self.response.is_some() {
                let (used, ran) = self.relay_response(io, shared, &bytes[at..])?;
                at += used;
                match ran {
                    Ran::Need(n) => io.want(self.server, n),
                    Ran::Forwarded => {}
                    Ran::Done => {
                        self.charge_response(io, shared);
                        self.response = None;
                        self.patching = None;
                        if let Some(scan) = self.scan.take() {
                            self.measure_response(io, shared, &scan);
                        }
                        let error = self.ring.front().and_then(|pending| pending.masks.as_ref()).map_or("", |masks| masks.error());
                        self.answered(io, shared, error);
                        self.send_local(io, shared);
                        continue;
                    }
                }
                return Ok(at);
            }
            match self.begin_response(io, shared, &bytes[at..]).map_err(|error| self.broken_response(shared, error))? {
                Began::Need(n) => {
                    io.want(self.server, n);
                    return Ok(at);
                }
                Began::Took(n) => at += n,
            }
        }
    }

    fn broken_response(&self, shared: &mut Shared, error: Malformed) -> Fault {
        let name = self.ring.front().and_then(|pending| pending.api).map_or("no request of ours", |api| api.name);
        shared.backend(&self.listener.backend.name).error("protocol");
        self.fault(shared, "server_protocol", Fault::server("Kafka response", format!("the response to {name} {error}")))
    }

    fn relay_response(&mut self, io: &mut dyn Io, shared: &mut Shared, bytes: &[u8]) -> Result<(usize, Ran), Fault> {
        let Some(relay) = &mut self.response else { return Ok((0, Ran::Done)) };
        let masks = self.ring.front().and_then(|pending| pending.masks.as_deref());
        let opens_session = self.ring.front().is_some_and(|pending| pending.opens_session);
        let charge = self.ring.front().map_or(Charge::Free, |pending| pending.charge);
        let meter = &mut self.meter;
        let (fetch_session, generation) = (&mut self.fetch_session, shared.generation);
        let (patching, stretch, scan) = (&mut self.patching, &mut self.stretch, &mut self.scan);
        let facade = self.listener.facade(&self.host);
        let member = self.listener.member.as_ref();
        let mut outside = 0;
        let ran = relay.run(io, bytes, &facade, &mut outside, &mut |seen, records| {
            meter.iter_mut().for_each(|meter| meter.see(seen, records));
            if seen.interest == interest::THROTTLE {
                return Ok(throttled(charge, seen.bytes));
            }
            if opens_session && seen.interest == interest::FETCH_SESSION {
                *fetch_session = seen.bytes.try_into().ok().map(|id| (i32::from_be_bytes(id), generation));
            }
            if let Some(member) = member.filter(|_| seen.interest == interest::BROKER_ID) {
                return Ok(Some(member.brokers(seen.interest, seen.bytes, seen.compact)));
            }
            let renamed = stretch.as_mut().map(|stretch| stretch.patch(seen)).transpose()?.flatten();
            let real = unmask(masks, patching, &Seen { bytes: renamed.as_deref().unwrap_or(seen.bytes), ..*seen });
            let told = real.or(renamed);
            if seen.part == Part::Value {
                stats::note(scan.as_deref_mut(), seen.interest, told.as_deref().unwrap_or(seen.bytes), seen.compact);
            }
            Ok(told)
        });
        let ran = match ran {
            Ok((used, Ran::Done)) => self.stretch.take().map_or(Ok(()), |stretch| stretch.end()).map(|()| (used, Ran::Done)),
            ran => ran,
        };
        if outside > 0 {
            shared.meters(&self.listener.name).error("node_outside_of_broker_ports");
        }
        ran.map_err(|error| self.broken_response(shared, error))
    }

    fn begin_response(&mut self, io: &mut dyn Io, shared: &mut Shared, bytes: &[u8]) -> Result<Began, Malformed> {
        let Some((size, correlation)) = response_head(bytes)? else { return Ok(Began::Need(8)) };
        let pending = self.ring.front().ok_or(Malformed("comes without a request"))?;
        if pending.correlation != correlation || pending.local.is_some() {
            return Err(Malformed("has the number of another request"));
        }
        let frame = 4 + size as usize;
        if pending.is_own {
            return self.begin_own(io, shared, bytes, frame);
        }
        if pending.is_part {
            return self.begin_part(io, shared, bytes, frame);
        }
        if pending.charge == Charge::Due {
            let time = pending.api.map_or(0, |api| self.charge(io, api, None, frame as u64));
            self.owe(time);
        }
        let pending = self.ring.front().ok_or(Malformed("comes without a request"))?;
        let way = way(pending, &self.listener);
        match way {
            Way::Opaque if bytes.len() >= frame && (frame as u64) < COPY_MAX => {
                io.out(self.client).extend_from_slice(&bytes[..frame]);
                self.answered(io, shared, "");
                self.send_local(io, shared);
                Ok(Began::Took(frame))
            }
            Way::Opaque => {
                self.response = Some(Relay::opaque(self.server, self.client, frame as u64));
                Ok(Began::Took(0))
            }
            Way::Walk(program) => {
                let whole = &bytes[..bytes.len().min(frame)];
                let Some(head) = header(pending, whole)? else {
                    return if whole.len() < frame { Ok(Began::Need(bytes.len() + 1)) } else { Err(Malformed("is shorter than its header")) };
                };
                let Some(announced) = self.stretch_response(program, size, head, whole)? else { return Ok(Began::Need(bytes.len() + 1)) };
                io.out(self.client).extend(announced.to_be_bytes());
                io.out(self.client).extend_from_slice(&whole[4..head]);
                self.meter = self.ring.front().filter(|pending| pending.charge.is_some() && self.charges().resources).and_then(metered);
                let walk = Walk::new(program, (frame - head) as u64);
                let is_measured = self.ring.front().is_some_and(|pending| pending.measured.is_some());
                self.scan = is_measured.then(Box::default);
                self.response = Some(Relay::walked(self.server, self.client, walk).peeking(is_measured));
                Ok(Began::Took(head))
            }
            Way::Hold(_) if size > MAX_HELD_RESPONSE => Err(Malformed("exceeds 32 MiB and would have to be held")),
            Way::Hold(_) if bytes.len() < frame => Ok(Began::Need(frame)),
            Way::Hold(shape) => {
                let error = self.edit(io, shared, shape, &bytes[..frame])?;
                self.answered(io, shared, error);
                self.send_local(io, shared);
                Ok(Began::Took(frame))
            }
        }
    }

    /// Charges the topics of a response that has passed.
    fn charge_response(&mut self, io: &mut dyn Io, shared: &mut Shared) {
        let records = self.response.as_ref().map_or(0, Relay::records);
        let api = self.ring.front().and_then(|pending| pending.api);
        if let (Some(meter), Some(api)) = (self.meter.take(), api) {
            let time = self.charge_topics(io, shared, api, true, meter, records);
            self.owe(time);
        }
    }

    /// The answer to a request of ours.
    fn begin_own(&mut self, io: &mut dyn Io, shared: &mut Shared, bytes: &[u8], frame: usize) -> Result<Began, Malformed> {
        if frame as u64 > MAX_SASL {
            return Err(Malformed("exceeds 512 KiB"));
        }
        let Some(body) = bytes.get(8..frame) else { return Ok(Began::Need(frame)) };
        self.own_answer(io, shared, body);
        Ok(Began::Took(frame))
    }

    /// The answer of this cluster to what several are asked.
    fn begin_part(&mut self, io: &mut dyn Io, shared: &mut Shared, bytes: &[u8], frame: usize) -> Result<Began, Malformed> {
        if frame as u64 > u64::from(MAX_HELD_RESPONSE) {
            return Err(Malformed("exceeds 32 MiB and would have to be held"));
        }
        let Some(whole) = bytes.get(..frame) else { return Ok(Began::Need(frame)) };
        self.own_part(io, shared, whole);
        Ok(Began::Took(frame))
    }

    /// Edits a held response and sends it. Returns the error in it, for the access log.
    fn edit(&mut self, io: &mut dyn Io, shared: &mut Shared, shape: &'static Shape, frame: &[u8]) -> Result<&'static str, Malformed> {
        let Some(pending) = self.ring.front_mut() else { return Err(Malformed("comes without a request")) };
        let masks = pending.masks.take();
        let looked = pending.looked.take();
        let (api, version, opens_session) = (pending.api, pending.version, pending.opens_session);
        let head = header(pending, frame)?.ok_or(Malformed("is shorter than its header"))?;
        let body = &frame[head..];
        let edited = match api.map(|api| api.key) {
            Some(API_VERSIONS) => {
                self.note_versions(io, shared, version, body);
                versions::clamp(version, body, &self.listener)?
            }
            key => {
                let listener = Arc::clone(&self.listener);
                self.edited_body(io, shared, &listener, key.unwrap_or(-1), version, shape, body, masks.as_deref())?
            }
        };
        let edited = match &looked {
            Some(looked) => self.look_into_response(shared, looked, shape, edited)?,
            None => edited,
        };
        self.measure_held_response(io, shared, shape, &edited)?;
        if opens_session {
            self.fetch_session =
                marks(shape.response, &edited)?.iter().find(|mark| mark.is(interest::FETCH_SESSION)).map(|id| (id.int(&edited), shared.generation));
        }
        let out = io.out(self.client);
        out.reserve(head + edited.len());
        out.extend(((head - 4 + edited.len()) as u32).to_be_bytes());
        out.extend_from_slice(&frame[4..head]);
        out.extend_from_slice(&edited);
        Ok(masks.map_or_else(|| looked.map_or("", |looked| looked.error()), |masks| masks.error()))
    }

    /// A response's body as the client is to see it; `listener` leads to the cluster that it comes from.
    #[allow(clippy::too_many_arguments)] // two call sites; a struct of them would be named after it
    pub(crate) fn edited_body(
        &mut self,
        io: &mut dyn Io,
        shared: &mut Shared,
        listener: &Listener,
        key: i16,
        version: i16,
        shape: &'static Shape,
        body: &[u8],
        masks: Option<&Masks>,
    ) -> Result<Vec<u8>, Malformed> {
        let cluster = listener.virtual_cluster.clone();
        let asked = self.ring.front().map_or_else(Asked::default, |pending| pending.asked);
        let told = marks(shape.response, body)?;
        if let Some(api) = crate::table::api(key) {
            let time = self.charge_held(io, shared, api, true, body, &told);
            self.owe(time);
        }
        if key == METADATA && shared.directory(&listener.backend.name).learn_marks(body, &told) && shared.worker.count > 1 {
            shared.tell(io, &listener.backend.name, version, body);
        }
        if key == SASL_AUTHENTICATE {
            let error = told.iter().find(|mark| mark.is(interest::ERROR)).map_or(-1, |mark| mark.int(body) as i16);
            if let Some(identity) = self.sasl.answer(error) {
                self.identity = identity;
                self.cache.clear();
            }
        }
        let renamed = cluster.map(|cluster| virtual_cluster::response(&cluster, key, asked, shape.response, body)).transpose()?;
        let (marks, body) = match &renamed {
            Some(body) => (marks(shape.response, body)?, &body[..]),
            None => (told, body),
        };
        let mut splices = Vec::new();
        let host = Arc::clone(&self.host);
        let facade = listener.facade(&host);
        private::texts(body, &marks, &facade, &listener.backend, shared, &mut splices);
        if key == DESCRIBE_QUORUM {
            private::listeners(&marks, &mut splices);
        } else if key == DESCRIBE_CONFIGS {
            private::settings(body, &marks, &mut splices);
        } else if let Some(tail) = tail_splice(shape, body, &facade)? {
            splices.push(tail);
        } else {
            let (addresses, outside) = facade.splices(body, &marks);
            splices.extend(addresses);
            if outside > 0 {
                shared.meters(&listener.name).error("node_outside_of_broker_ports");
            }
        }
        // What several clusters are asked was charged as a request.
        let is_part = listener.member.is_some() && federation::support::is_split(key);
        let charge = self.ring.front().filter(|_| !is_part).map_or(Charge::Free, |pending| pending.charge);
        let throttle = marks.iter().find(|mark| mark.is(interest::THROTTLE));
        splices.extend(throttle.and_then(|mark| charge.throttle_ms(mark.int(body)).map(|time| mark.with_int(time))));
        if let Some(member) = &listener.member {
            brokers(shape.response, body, |mark| splices.push(member.broker_splice(body, &mark)))?;
        }
        masks.into_iter().for_each(|masks| unmask_held(body, &marks, masks, &mut splices));
        if hideable(key).is_some() {
            self.hide(listener, body, &marks, key, masks, &mut splices);
        }
        let mut out = Vec::with_capacity(body.len() + 64);
        apply(body, &mut splices, &mut out);
        Ok(out)
    }
}

enum Began {
    Need(usize),
    Took(usize),
}

/// Where the body of a response begins; `None` when more bytes are needed.
fn header(pending: &Pending, frame: &[u8]) -> Result<Option<usize>, Malformed> {
    let has_tags = pending.api.is_some_and(|api: &Api| frame::response_has_tags(api, pending.version));
    let tags = if has_tags { frame::tags(frame.get(8..).unwrap_or_default())? } else { Some(0) };
    Ok(tags.map(|tags| 8 + tags))
}

/// The real name of a masked topic, and the real error in what follows it.
fn unmask(masks: Option<&Masks>, patching: &mut Option<i16>, seen: &Seen<'_>) -> Option<Vec<u8>> {
    let masks = masks?;
    if seen.interest == interest::TOPICS {
        *patching = None;
        return None;
    }
    if seen.interest == interest::ERROR {
        return patching.map(|code| code.to_be_bytes().to_vec());
    }
    let mask = masks.seen(seen)?;
    *patching = Some(mask.code);
    let mut bytes = seen.bytes.to_vec();
    let head = bytes.len() - mask.real.len();
    bytes[head..].copy_from_slice(&mask.real);
    Some(bytes)
}

/// The same for a held response, where errors may stand before the name, and messages may be as long as they are.
fn unmask_held(body: &[u8], marks: &[Mark], masks: &Masks, splices: &mut Vec<Splice>) {
    for (inside, _) in elements(marks, interest::TOPICS) {
        let inside = &marks[inside];
        let named = |mark: &Mark| match mark.interest {
            interest::TOPIC | interest::RESOURCE_NAME => masks.of(mark.text(body)),
            interest::TOPIC_ID => masks.of(mark.bytes(body)),
            _ => None,
        };
        let Some(mask) = inside.iter().find_map(named) else { continue };
        splices.extend(inside.iter().filter_map(|mark| match mark.interest {
            interest::TOPIC | interest::RESOURCE_NAME if mark.text(body) == mask.mask => Some(mark.with_text(&mask.real)),
            interest::TOPIC_ID if mark.bytes(body) == mask.mask => Some(mark.with(mask.real.clone())),
            interest::ERROR => Some(mark.with_int(i32::from(mask.code))),
            interest::ERROR_MESSAGE => Some(mark.with_text(mask.message.as_bytes())),
            _ => None,
        }));
    }
}

/// The rewritten tail of a held response that has one; elsewhere addresses are spliced where they stand.
fn tail_splice(shape: &Shape, body: &[u8], facade: &Facade<'_>) -> Result<Option<Splice>, Malformed> {
    if !Shape::bears(shape.response, interest::TAIL_TAGS) {
        return Ok(None);
    }
    let mut walk = Walk::new(shape.response, body.len() as u64);
    loop {
        let at = body.len() - walk.left() as usize;
        match walk.step(&body[at..])? {
            crate::walk::Step::Tail => {
                let (with, _) = crate::endpoints::rewrite(walk.program(), &body[at..], facade)?;
                return Ok(Some(Splice { at, len: body.len() - at, with }));
            }
            crate::walk::Step::Need | crate::walk::Step::Done => return Ok(None),
            _ => {}
        }
    }
}
