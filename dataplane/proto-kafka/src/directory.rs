//! What is known of one physical cluster: its brokers' addresses and its topics' ids, learned from every Metadata response that passes,
//! from our own questions, and from the other workers.

use crate::auth::Login;
use crate::codec;
use crate::edit::{Mark, elements, marks};
use crate::table;
use crate::tables::interest;
use crate::walk::Malformed;
use hashbrown::HashMap;
use std::sync::Arc;
use wire::{Cursor, Key, Nanos, SECONDS};

/// Metadata.
pub const METADATA: i16 = 3;

/// Brokers remembered per cluster; the largest public clusters have a few thousand.
const MAX_BROKERS: usize = 10_000;

/// Topic ids remembered per cluster: 100 bytes each, and a cluster has at most some hundred thousand topics. Beyond it all are forgotten,
/// and learned again as they are used.
const MAX_TOPICS: usize = 200_000;

/// The largest Metadata response that is passed on to the other workers; they ask for themselves otherwise.
const MAX_MAIL: usize = 256 * 1024;

/// ApiVersions responses remembered per cluster, of half a KiB each. Beyond it all are forgotten.
const MAX_VERSIONS: usize = 1024;

/// How long what a broker has told of its versions and features is taken for true.
const VERSIONS_AGE: Nanos = 60 * SECONDS;

/// A topic's id.
pub type TopicId = [u8; 16];

/// A broker's host and port.
pub type Place = (Arc<str>, u16);

/// An answer, and when it came.
type Told = (Nanos, Box<[u8]>);

/// One cluster as one worker knows it.
#[derive(Default)]
pub struct Directory {
    brokers: HashMap<i32, Place>,
    topics: HashMap<TopicId, Arc<str>>,
    /// The connection of our own question, while one is under way.
    pub asking: Option<Key>,
    /// The login that comes before it.
    pub login: Option<Login>,
    /// Ids that the next question is about.
    wanted: Vec<TopicId>,
    /// ApiVersions responses by address and version, and when they came.
    versions: HashMap<(Place, i16), Told>,
}

impl Directory {
    /// A broker's address.
    pub fn broker(&self, node: i32) -> Option<&Place> {
        self.brokers.get(&node)
    }

    /// The broker at an address.
    pub fn broker_at(&self, host: &str, port: u16) -> Option<i32> {
        self.brokers.iter().find(|(_, known)| &*known.0 == host && known.1 == port).map(|(node, _)| *node)
    }

    /// Whether some broker has this host name.
    pub fn has_host(&self, host: &str) -> bool {
        self.brokers.values().any(|known| &*known.0 == host)
    }

    /// A broker that was not there: the next client's question is asked anew.
    pub fn forget(&mut self, node: i32) {
        self.brokers.remove(&node);
    }

    /// The cluster is found elsewhere now.
    pub fn forget_all(&mut self) {
        self.brokers.clear();
        self.topics.clear();
        self.versions.clear();
    }

    /// What the broker at `place` has lately answered to ApiVersions of this version.
    pub fn versions(&self, place: &Place, version: i16, now: Nanos) -> Option<&[u8]> {
        let (since, body) = self.versions.get(&(place.clone(), version))?;
        (now.saturating_sub(*since) < VERSIONS_AGE).then_some(body)
    }

    /// Remembers such an answer, unless it is an error.
    pub fn note_versions(&mut self, place: Place, version: i16, now: Nanos, body: &[u8]) {
        if !body.starts_with(&[0, 0]) {
            return;
        }
        if self.versions.len() >= MAX_VERSIONS {
            self.versions.clear();
        }
        self.versions.insert((place, version), (now, body.into()));
    }

    /// The broker at `place` has closed a connection: when it is back, it may be another release.
    pub fn forget_versions(&mut self, place: &Place) {
        self.versions.retain(|(known, _), _| known != place);
    }

    /// The topic with this id.
    pub fn topic(&self, id: &TopicId) -> Option<&Arc<str>> {
        self.topics.get(id)
    }

    /// The next question is about this id too.
    pub fn want(&mut self, id: TopicId) {
        if !self.wanted.contains(&id) && self.wanted.len() < 1024 {
            self.wanted.push(id);
        }
    }

    /// Whether a question is due.
    pub fn has_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Reads a Metadata response. Returns whether it told anything new.
    ///
    /// # Errors
    /// The body is not one.
    pub fn learn(&mut self, version: i16, body: &[u8]) -> Result<bool, Malformed> {
        let shape = table::api(METADATA).and_then(|api| api.shape(version)).ok_or(Malformed("has no table"))?;
        let marks = marks(shape.response, body)?;
        Ok(self.learn_marks(body, &marks))
    }

    /// The same, of a response whose marks are there.
    pub fn learn_marks(&mut self, body: &[u8], marks: &[Mark]) -> bool {
        let mut news = false;
        for (inside, _) in elements(marks, interest::NODES) {
            news |= self.learn_broker(body, &marks[inside]).unwrap_or(false);
        }
        for (inside, _) in elements(marks, interest::TOPICS) {
            news |= self.learn_topic(body, &marks[inside]).unwrap_or(false);
        }
        news
    }

    fn learn_broker(&mut self, body: &[u8], marks: &[Mark]) -> Option<bool> {
        let find = |interest| marks.iter().find(|mark| mark.is(interest));
        let node = find(interest::NODE_ID)?.int(body);
        let host = std::str::from_utf8(find(interest::HOST)?.text(body)).ok()?;
        let port = u16::try_from(find(interest::PORT)?.int(body)).ok()?;
        if self.brokers.get(&node).is_some_and(|known| &*known.0 == host && known.1 == port) || self.brokers.len() >= MAX_BROKERS {
            return Some(false);
        }
        self.brokers.insert(node, (host.into(), port));
        Some(true)
    }

    fn learn_topic(&mut self, body: &[u8], marks: &[Mark]) -> Option<bool> {
        let find = |interest| marks.iter().find(|mark| mark.is(interest));
        let id = TopicId::try_from(find(interest::TOPIC_ID)?.bytes(body)).ok()?;
        let name = std::str::from_utf8(find(interest::TOPIC)?.text(body)).ok()?;
        if name.is_empty() || id == [0; 16] || self.topics.get(&id).is_some_and(|known| &**known == name) {
            return Some(false);
        }
        if self.topics.len() >= MAX_TOPICS {
            self.topics.clear();
        }
        self.topics.insert(id, name.into());
        Some(true)
    }

    /// The same as [`Directory::question`], with a place for the version.
    pub fn ask(&mut self, version: &mut i16) -> Vec<u8> {
        let (asked, frame) = self.question();
        *version = asked;
        frame
    }

    /// Our own Metadata request, with the version whose answer it gets: brokers only, or with the topics of the wanted ids.
    pub fn question(&mut self) -> (i16, Vec<u8>) {
        let wanted = std::mem::take(&mut self.wanted);
        // Version 1 with an empty list: no topics, understood by every broker since 0.10. Version 12 asks by id (KIP-516).
        let version = if wanted.is_empty() { 1 } else { 12 };
        let mut frame = vec![0; 4];
        [METADATA, version, 0, 0].iter().for_each(|value| frame.extend(value.to_be_bytes()));
        frame.extend(codec::string(false, b"midstream"));
        if wanted.is_empty() {
            frame.extend(0u32.to_be_bytes());
        } else {
            frame.push(0);
            frame.extend(codec::count(true, wanted.len() as u32));
            wanted.iter().for_each(|id| frame.extend(id.iter().chain(&[0, 0])));
            frame.extend([0, 0, 0]);
        }
        let size = frame.len() as u32 - 4;
        frame[..4].copy_from_slice(&size.to_be_bytes());
        (version, frame)
    }
}

/// The body of our own response, behind size and header.
///
/// # Errors
/// The frame is too short.
pub fn answer(version: i16, frame: &[u8]) -> Result<&[u8], Malformed> {
    let head = if version == 12 { 9 } else { 8 };
    frame.get(head..).ok_or(Malformed("is shorter than its header"))
}

/// News for the other workers; `None` when they are too long for their boxes.
pub fn mail(backend: &str, version: i16, body: &[u8]) -> Option<Vec<u8>> {
    (body.len() <= MAX_MAIL).then(|| {
        let mut mail = codec::string(false, backend.as_bytes());
        mail.extend(version.to_be_bytes());
        mail.extend(body);
        mail
    })
}

/// Reads such news: the cluster, the version and the Metadata body.
pub fn read_mail(mail: &[u8]) -> Option<(&str, i16, &[u8])> {
    let mut cursor = Cursor::new(mail);
    let length = cursor.u16().ok()?;
    let backend = std::str::from_utf8(cursor.take(usize::from(length)).ok()?).ok()?;
    let version = cursor.i16().ok()?;
    Some((backend, version, cursor.rest()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::walk_whole;

    #[test]
    fn our_questions_are_well_formed() {
        for ids in [0, 3] {
            let mut directory = Directory::default();
            (0..ids).for_each(|n| directory.want([n + 1; 16]));
            let (version, frame) = directory.question();
            let body = 4 + 8 + 11 + usize::from(version == 12);
            let mut found = 0;
            walk_whole(table::api(3).unwrap(), version, false, &frame[body..], |_, seen| {
                found += u8::from(seen.interest == interest::TOPIC_ID);
            })
            .unwrap();
            assert_eq!(found, ids);
        }
    }

    #[test]
    fn mail_comes_back() {
        let mail = mail("events", 12, b"body").unwrap();
        assert_eq!(read_mail(&mail), Some(("events", 12, &b"body"[..])));
        assert_eq!(read_mail(&mail[..3]), None);
    }
}
