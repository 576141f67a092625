//! Quotas: requests and bytes are charged when they have passed. The response says how long the client is to wait (`throttle_time_ms`), and
//! meanwhile its connection is not read (KIP-219), whether it knows that or not. Produce pays for its request, Fetch for its response.
//!
//! What a Fetch owes for its topics is known when its records have passed, and its wait stands in front of them: unless the response is held, it
//! is not told, only waited for.

use crate::edit::Mark;
use crate::filtered::Request;
use crate::policy::class;
use crate::requests::{FETCH, PRODUCE};
use crate::session::{Pending, Session};
use crate::shared::Shared;
use crate::table::Api;
use crate::tables::interest;
use crate::walk::Seen;
use crate::way::SHARE_FETCH;
use std::sync::Arc;
use wire::{Charges, Cursor, Io, MILLIS, Nanos, SECONDS, Usage};

/// The timer of a connection that is not read.
pub const TIMER_MUTE: u32 = 5;

/// The longest that a connection is not read at a time: half of the clients' own request timeout (30 s), so that none of them gives up.
const MAX_MUTE: Nanos = 15 * SECONDS;

/// Topics whose bytes are told apart in one message; those behind them are not charged.
const MAX_TOPICS: usize = 10_000;

/// What a request or its response costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Charge {
    /// Nothing.
    Free,
    /// Its response will be charged.
    Due,
    /// So long a wait.
    Owed(Nanos),
}

impl Charge {
    /// Whether its response has to be looked at.
    pub fn is_some(self) -> bool {
        self != Charge::Free
    }

    fn owed(self) -> Nanos {
        if let Charge::Owed(time) = self { time } else { 0 }
    }

    /// The time in its response, where that says less.
    pub fn throttle_ms(self, told: i32) -> Option<i32> {
        let Charge::Owed(time) = self else { return None };
        let owed = i32::try_from(time.min(MAX_MUTE).div_ceil(MILLIS)).unwrap_or(i32::MAX);
        (owed > told).then_some(owed)
    }

    /// With another wait, at the same time.
    pub fn and(self, more: Nanos) -> Charge {
        match self {
            Charge::Owed(time) => Charge::Owed(time.max(more)),
            _ if more == 0 => self,
            Charge::Free | Charge::Due => Charge::Owed(more),
        }
    }
}

/// The topics of a message, each with the record bytes before it.
#[derive(Default)]
pub struct Meter(Vec<(u8, Vec<u8>, u64)>);

impl Meter {
    /// A marked field passes, behind so many bytes of records.
    pub fn see(&mut self, seen: &Seen<'_>, records: u64) {
        if matches!(seen.interest, interest::TOPIC | interest::TOPIC_ID) && self.0.len() < MAX_TOPICS {
            let name = if seen.interest == interest::TOPIC { crate::edit::text(seen.bytes, seen.compact) } else { seen.bytes };
            self.0.push((seen.interest, name.to_vec(), records));
        }
    }

    /// Those of a held message, and all its record bytes.
    pub fn of(body: &[u8], marks: &[Mark]) -> (Meter, u64) {
        let (mut meter, mut records) = (Meter::default(), 0);
        for mark in marks {
            match mark.interest {
                _ if meter.0.len() >= MAX_TOPICS => {}
                interest::TOPIC => meter.0.push((mark.interest, mark.text(body).to_vec(), records)),
                interest::TOPIC_ID => meter.0.push((mark.interest, mark.bytes(body).to_vec(), records)),
                interest::RECORDS => records = records.saturating_add(mark.records(body).len() as u64),
                _ => {}
            }
        }
        (meter, records)
    }
}

impl Session {
    /// Keeps what the client calls itself, for its charges.
    pub(crate) fn meet(&mut self, bytes: &[u8]) {
        let mut cursor = Cursor::new(bytes);
        let name = cursor.skip(12).ok().and_then(|()| cursor.i16().ok()).and_then(|n| cursor.take(usize::try_from(n).ok()?).ok()).unwrap_or_default();
        if self.client_id.as_bytes() != name {
            self.client_id = String::from_utf8_lossy(name).into();
        }
    }

    /// Which limits are charged here: by the whole, and by topic.
    pub(crate) fn charges(&self) -> Charges {
        self.listener.chain.as_ref().map_or_else(Charges::default, |chain| chain.charges())
    }

    /// Charges bytes of the whole, or of a topic; how long the client has to wait.
    pub(crate) fn charge(&self, io: &dyn Io, api: &Api, topic: Option<&[u8]>, bytes: u64) -> Nanos {
        let Some(chain) = &self.listener.chain else { return 0 };
        let (identity, client) = (&*self.identity, &*self.client_id);
        chain.charge(&Usage { identity, client, class: class(api.key), verb: api.name, resource: topic, bytes }, io.now())
    }

    /// What a request costs as a whole. A Fetch pays for its response.
    pub(crate) fn charge_request(&self, io: &dyn Io, request: &Request<'_>) -> Charge {
        let charges = self.charges();
        match request.api.key {
            _ if !charges.any() => Charge::Free,
            FETCH | SHARE_FETCH => Charge::Due,
            PRODUCE if charges.whole => Charge::Owed(self.charge(io, request.api, None, request.head.frame())),
            PRODUCE => Charge::Owed(0),
            _ if charges.whole => match self.charge(io, request.api, None, 0) {
                0 => Charge::Free,
                time => Charge::Owed(time),
            },
            _ => Charge::Free,
        }
    }

    /// Charges the topics of a held message.
    pub(crate) fn charge_held(&self, io: &dyn Io, shared: &mut Shared, api: &Api, is_response: bool, body: &[u8], marks: &[Mark]) -> Nanos {
        let records_are_paid = if is_response { matches!(api.key, FETCH | SHARE_FETCH) } else { api.key == PRODUCE };
        if !records_are_paid || !self.charges().resources {
            return 0;
        }
        let (meter, records) = Meter::of(body, marks);
        self.charge_topics(io, shared, api, is_response, meter, records)
    }

    /// Charges the topics of a message with the records that each of them had.
    pub(crate) fn charge_topics(&self, io: &dyn Io, shared: &mut Shared, api: &Api, is_response: bool, meter: Meter, records: u64) -> Nanos {
        let cluster = self.listener.virtual_cluster.as_deref();
        let ends = meter.0.iter().skip(1).map(|(_, _, begin)| *begin).chain([records]).collect::<Vec<_>>();
        let mut longest = 0;
        for ((interest, name, begin), end) in meter.0.into_iter().zip(ends) {
            let is_physical = cluster.is_some() && (is_response || interest == interest::TOPIC_ID);
            let name: Option<Arc<[u8]>> = match interest {
                interest::TOPIC => Some(name.into()),
                _ => name.try_into().ok().and_then(|id| shared.directory(&self.listener.backend.name).topic(&id).map(|name| name.as_bytes().into())),
            };
            let name = match (name, cluster) {
                (Some(name), Some(cluster)) if is_physical => cluster.topics.client(&name).map(|name| name.into()),
                (name, _) => name,
            };
            if let Some(name) = name.filter(|_| end > begin) {
                longest = longest.max(self.charge(io, api, Some(&name), end - begin));
            }
        }
        longest
    }

    /// Adds to what the request in front owes.
    pub(crate) fn owe(&mut self, more: Nanos) {
        if let Some(pending) = self.ring.front_mut() {
            pending.charge = Charge::Owed(more).and(pending.charge.owed());
        }
    }

    /// What is owed is waited for.
    pub(crate) fn pay(&mut self, io: &mut dyn Io, charge: Charge) {
        if let Charge::Owed(time) = charge {
            self.mute(io, time);
        }
    }

    /// The client is not read for a time.
    fn mute(&mut self, io: &mut dyn Io, time: Nanos) {
        let until = io.now().saturating_add(time.min(MAX_MUTE));
        if time > 0 && until > self.muted_until {
            self.muted_until = until;
            io.arm(self.client, TIMER_MUTE, until);
            self.repause(io);
        }
    }

    /// The time is over.
    pub(crate) fn unmute(&mut self, io: &mut dyn Io) {
        self.muted_until = 0;
        self.repause(io);
    }
}

/// What tells topics apart in a response that is charged by them.
pub(crate) fn metered(pending: &Pending) -> Option<Meter> {
    pending.api.filter(|api| matches!(api.key, FETCH | SHARE_FETCH)).map(|_| Meter::default())
}

/// The client's own wait in place of a shorter one.
pub(crate) fn throttled(charge: Charge, told: &[u8]) -> Option<Vec<u8>> {
    let told = told.try_into().map_or(0, i32::from_be_bytes);
    charge.throttle_ms(told).map(|time| time.to_be_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_wait_is_told() {
        assert_eq!((Charge::Free.and(0), Charge::Due.and(0)), (Charge::Free, Charge::Due));
        assert_eq!(Charge::Free.throttle_ms(0), None);
        assert_eq!(Charge::Owed(1).throttle_ms(0), Some(1));
        assert_eq!(Charge::Owed(5 * MILLIS).throttle_ms(7), None);
        assert_eq!(Charge::Owed(60 * SECONDS).throttle_ms(7), Some(15_000));
    }
}
