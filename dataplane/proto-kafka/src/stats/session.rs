//! What a session notes of its requests and responses.

use super::Stats;
use super::book::{Book, Place, Reads, open};
use super::rates::{Amount, Direction, Whose};
use super::scan::{Item, Scan};
use crate::directory::{Directory, TopicId};
use crate::edit::{Mark, marks};
use crate::filtered::Request;
use crate::frame::client_id;
use crate::requests::{Began, FETCH, PRODUCE};
use crate::session::Session;
use crate::shared::Shared;
use crate::table::Shape;
use crate::tables::interest;
use crate::virtual_cluster::Names;
use crate::walk::Malformed;
use hashbrown::HashMap;
use std::sync::{Arc, Mutex};
use wire::{Fault, Io};

const OFFSET_COMMIT: i16 = 8;
const OFFSET_FETCH: i16 = 9;
const TXN_OFFSET_COMMIT: i16 = 28;

/// The longest request other than Produce that is held to be measured, as where rules are: a list of 10,000 partitions. Longer ones pass.
const MAX_MEASURED: u64 = 1024 * 1024;

/// The least that is the same on all connections: a batch's time in the future is a clock's fault.
const MILLIS_PER_SECOND: u64 = 1000;

/// Where the consumer of one connection is.
pub struct Positions {
    book: Arc<Mutex<Book>>,
    client: Arc<str>,
    /// The next offset, and whether records were fetched before it was asked for.
    at: HashMap<Place, (i64, bool)>,
}

impl Drop for Positions {
    fn drop(&mut self) {
        let mut book = open(&self.book);
        self.at.keys().for_each(|place| book.leave(place, Reads::Client, &self.client));
    }
}

impl Session {
    /// Reads what a request says of partitions. It waits until it is here whole.
    pub(crate) fn measure_request(&mut self, io: &mut dyn Io, shared: &mut Shared, request: &Request<'_>) -> Result<Option<Began>, Fault> {
        self.measured = None;
        let Some(stats) = self.listener.stats.clone() else { return Ok(None) };
        let is_measured = matches!(request.api.key, FETCH | OFFSET_COMMIT | OFFSET_FETCH | TXN_OFFSET_COMMIT);
        if !is_measured || request.head.frame() > MAX_MEASURED {
            return Ok(None);
        }
        let frame = request.head.frame() as usize;
        if request.bytes.len() < frame {
            return Ok(Some(Began::Need(frame)));
        }
        let body = request.held();
        let marks = marks(request.shape.request, body).map_err(|error| self.broken_request(shared, Some(request.api), error))?;
        let scan = Scan::of(body, &marks);
        if request.api.key == FETCH {
            let client = String::from_utf8_lossy(client_id(request.bytes)).into_owned();
            self.note_positions(io, shared, &stats, client, &scan);
        }
        self.measured = Some(Box::new(scan));
        Ok(None)
    }

    /// Where a Fetch goes on tells what the one before has brought.
    fn note_positions(&mut self, io: &mut dyn Io, shared: &mut Shared, stats: &Stats, client: String, scan: &Scan) {
        let places = self.places(io, shared, stats, &scan.items);
        let mut positions = match self.positions.take() {
            Some(positions) if *positions.client == *client => positions,
            _ => Box::new(Positions { book: Arc::clone(&shared.book), client: client.into(), at: HashMap::new() }),
        };
        // Without a session, or with a new one, the list is whole.
        let mut old = if scan.epoch > 0 { HashMap::new() } else { std::mem::take(&mut positions.at) };
        for (item, place) in scan.items.iter().zip(places) {
            let Some(place) = place else { continue };
            let before = old.remove(&place).or_else(|| positions.at.remove(&place));
            let Some(offset) = item.offset else {
                open(&shared.book).leave(&place, Reads::Client, &positions.client);
                continue;
            };
            let fetched = before.filter(|(before, has_fetched)| *has_fetched && *before <= offset);
            let records = fetched.map_or(0, |(before, _)| offset.abs_diff(before));
            self.count(shared, stats, &place, Direction::Fetch, Amount { records, ..Amount::default() });
            open(&shared.book).read(&place, Reads::Client, &positions.client, offset, stats.series, io.now());
            positions.at.insert(place, (offset, fetched.is_some() && records == 0));
        }
        old.keys().for_each(|place| open(&shared.book).leave(place, Reads::Client, &positions.client));
        self.positions = Some(positions);
    }

    /// A Produce has passed.
    pub(crate) fn measure_produce(&mut self, io: &mut dyn Io, shared: &mut Shared, scan: &Scan) {
        let Some(stats) = self.listener.stats.clone() else { return };
        let places = self.places(io, shared, &stats, &scan.items);
        for (item, place) in scan.items.iter().zip(places) {
            let Some(place) = place.filter(|_| item.bytes > 0) else { continue };
            let amount = Amount { bytes: item.bytes, records: item.front.map_or(0, |front| front.count), requests: 1 };
            self.count(shared, &stats, &place, Direction::Produce, amount);
        }
    }

    /// A Produce that was held goes out.
    pub(crate) fn measure_held_request(&mut self, io: &mut dyn Io, shared: &mut Shared, request: &Request<'_>, marks: &[Mark]) {
        if request.api.key == PRODUCE && self.listener.stats.is_some() {
            let scan = Box::new(Scan::of(request.held(), marks));
            self.measure_produce(io, shared, &scan);
            self.measured = Some(scan);
        }
    }

    /// A response that was held goes out.
    pub(crate) fn measure_held_response(&mut self, io: &mut dyn Io, shared: &mut Shared, shape: &Shape, body: &[u8]) -> Result<(), Malformed> {
        if self.ring.front().is_some_and(|pending| pending.measured.is_some()) {
            let scan = Scan::of(body, &marks(shape.response, body)?);
            self.measure_response(io, shared, &scan);
        }
        Ok(())
    }

    /// A response has passed; `told` is what it says.
    pub(crate) fn measure_response(&mut self, io: &mut dyn Io, shared: &mut Shared, told: &Scan) {
        let pending = self.ring.front_mut();
        let Some((asked, key)) = pending.and_then(|pending| Some((pending.measured.take()?, pending.api?.key))) else { return };
        let Some(stats) = self.listener.stats.clone() else { return };
        match key {
            PRODUCE => self.produced(io, shared, &stats, &asked, told),
            FETCH => self.fetched(io, shared, &stats, told),
            OFFSET_FETCH => self.committed(io, shared, &stats, asked.group.as_ref(), told.items.iter()),
            _ => {
                let failed = |item: &Item| told.items.iter().any(|other| other.error != 0 && is_of(other, item));
                self.committed(io, shared, &stats, asked.group.as_ref(), asked.items.iter().filter(|item| !failed(item)));
            }
        }
    }

    fn produced(&mut self, io: &mut dyn Io, shared: &mut Shared, stats: &Stats, asked: &Scan, told: &Scan) {
        let places = self.places(io, shared, stats, &told.items);
        let (now, unix) = (io.now(), io.unix_time());
        for (item, place) in told.items.iter().zip(places) {
            let sent = asked.items.iter().find(|sent| is_of(sent, item)).and_then(|sent| sent.front);
            let (Some(place), Some(base), Some(sent)) = (place, item.offset.filter(|base| *base >= 0), sent) else { continue };
            if let Some(partition) = open(&shared.book).partition(&place, stats.series, now).filter(|_| item.error == 0) {
                let end = base.saturating_add(sent.offsets);
                partition.ends(end, now, unix);
                partition.written(end, seconds(sent.timestamp, unix));
            }
        }
    }

    fn fetched(&mut self, io: &mut dyn Io, shared: &mut Shared, stats: &Stats, told: &Scan) {
        let places = self.places(io, shared, stats, &told.items);
        let (now, unix) = (io.now(), io.unix_time());
        for (item, place) in told.items.iter().zip(places) {
            let Some(place) = place else { continue };
            if let Some(partition) = open(&shared.book).partition(&place, stats.series, now) {
                item.end.into_iter().for_each(|end| partition.ends(end, now, unix));
                item.stable.into_iter().for_each(|stable| partition.is_stable(stable, now));
                if let Some(front) = item.front {
                    partition.written(front.base.saturating_add(front.offsets), seconds(front.timestamp, unix));
                }
            }
            if item.bytes > 0 {
                self.count(shared, stats, &place, Direction::Fetch, Amount { bytes: item.bytes, records: 0, requests: 1 });
                let position = self.positions.as_mut().and_then(|positions| positions.at.get_mut(&place));
                position.into_iter().for_each(|(_, has_fetched)| *has_fetched = true);
            }
        }
    }

    fn committed<'i>(
        &mut self,
        io: &mut dyn Io,
        shared: &mut Shared,
        stats: &Stats,
        group: Option<&Arc<[u8]>>,
        items: impl Iterator<Item = &'i Item> + Clone,
    ) {
        let places = self.places(io, shared, stats, items.clone());
        for (item, place) in items.zip(places) {
            let group = item.group.as_ref().or(group).and_then(|group| std::str::from_utf8(group).ok());
            let (Some(place), Some(group), Some(offset)) = (place, group, item.offset.filter(|offset| *offset >= 0)) else { continue };
            open(&shared.book).read(&place, Reads::Group, &group.into(), offset, stats.series, io.now());
        }
    }

    /// Where items belong, under the names that clients use; ids that nobody has told us the name of are asked for.
    fn places<'i>(&self, io: &mut dyn Io, shared: &mut Shared, stats: &Stats, items: impl IntoIterator<Item = &'i Item>) -> Vec<Option<Place>> {
        let backend = &self.listener.backend;
        let names = self.listener.virtual_cluster.as_ref().map(|cluster| &cluster.topics);
        let directory = shared.directory(&backend.name);
        // The partitions of a topic stand together.
        let mut topic: Option<&Arc<[u8]>> = None;
        let mut name = None;
        let mut places = Vec::new();
        for item in items {
            if topic.is_none_or(|topic| !Arc::ptr_eq(topic, &item.topic)) {
                topic = Some(&item.topic);
                name = if item.is_id { named(directory, names, &item.topic) } else { text(&item.topic) };
            }
            places.push(name.clone().map(|name| (Arc::clone(&stats.cluster), name, item.partition)));
        }
        if directory.has_wanted() {
            shared.ask(io, backend);
        }
        places
    }

    fn count(&self, shared: &mut Shared, stats: &Stats, place: &Place, direction: Direction, amount: Amount) {
        let rates = shared.rates.entry_ref(&*self.listener.name).or_default();
        let whose = Whose { identity: &self.identity, topic: &place.1, at: (place.2, direction) };
        rates.add(&shared.worker.metrics, &self.listener.name, stats.series, whose, amount);
    }
}

fn text(name: &[u8]) -> Option<Arc<str>> {
    std::str::from_utf8(name).ok().filter(|name| !name.is_empty()).map(Arc::from)
}

/// The name of a topic's id, as clients use it; one that is not known is asked for with the next question.
fn named(directory: &mut Directory, names: Option<&Names>, id: &[u8]) -> Option<Arc<str>> {
    let id = TopicId::try_from(id).ok().filter(|id| *id != [0; 16])?;
    let physical = directory.topic(&id).cloned();
    if physical.is_none() {
        directory.want(id);
    }
    match names {
        None => physical,
        Some(names) => text(names.client(physical?.as_bytes())?),
    }
}

/// What a field of a passing message adds; true when nothing else is to be done with it.
pub(crate) fn note(scan: Option<&mut Scan>, interest: u8, bytes: &[u8], compact: bool) -> bool {
    scan.into_iter().for_each(|scan| scan.see(interest, bytes, compact));
    interest == interest::RECORDS
}

fn is_of(one: &Item, other: &Item) -> bool {
    one.partition == other.partition && one.topic == other.topic
}

/// A batch's time in seconds, as far as it can be right.
fn seconds(timestamp: i64, unix: u64) -> u64 {
    u64::try_from(timestamp).map_or(unix, |millis| (millis / MILLIS_PER_SECOND).min(unix))
}
