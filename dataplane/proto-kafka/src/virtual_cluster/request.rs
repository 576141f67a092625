//! A held request under the physical names.

use super::{Asked, Names, VirtualCluster, acls, consumer, pattern};
use crate::codec;
use crate::edit::{Mark, Splice, apply, marks};
use crate::table::Api;
use crate::tables::interest;
use crate::walk::{Malformed, Part};

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const ALTER_CONFIGS: i16 = 33;
const ELECT_LEADERS: i16 = 43;
const INCREMENTAL_ALTER_CONFIGS: i16 = 44;
const DESCRIBE_TOPIC_PARTITIONS: i16 = 75;

/// Who wants a group with a name: JoinGroup to SyncGroup; heartbeats and descriptions of the newer kinds of groups, ShareFetch and ShareAcknowledge.
const NEED_GROUP: [i16; 12] = [11, 12, 13, 14, 68, 69, 76, 77, 78, 79, 88, 89];

/// CLUSTER_AUTHORIZATION_FAILED.
pub const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
/// INVALID_REQUEST.
pub const INVALID_REQUEST: i16 = 42;
/// INVALID_REGULAR_EXPRESSION.
const INVALID_REGULAR_EXPRESSION: i16 = 128;

/// What an old Fetch may bring where its response has to be held, because aliases change its length and nothing in it can make up for that.
const MAX_HELD_FETCH: i32 = 4 * 1024 * 1024;

/// A request as brokers are to see it.
#[derive(Debug)]
pub struct Renamed {
    /// Its body.
    pub body: Vec<u8>,
    /// What its response has to know.
    pub asked: Asked,
}

/// Why a request does not go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It is not of its shape.
    Malformed(Malformed),
    /// It can't be confined to the tenant: error code and sentence.
    Refused(i16, String),
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Refusal {
        Refusal::Malformed(malformed)
    }
}

/// Renames a whole request.
///
/// # Errors
/// See [`Refusal`].
pub fn request(cluster: &VirtualCluster, api: &Api, version: i16, body: &[u8]) -> Result<Renamed, Refusal> {
    let key = api.key;
    let marks = marks(api.shape(version).ok_or(Malformed("has no such version"))?.request, body)?;
    let key_type = marks.iter().find(|mark| mark.is(interest::KEY_TYPE)).map_or(0, |mark| mark.byte(body));
    let mut pass = Pass { cluster, key, body, splices: vec![], asked: Asked { key_type, is_consumer: None }, resource_type: 0, acl_type: 0 };
    if key == FETCH && !super::is_streamed(cluster, api, version) {
        pass.splices.extend(marks.iter().find(|mark| mark.is(interest::MAX_BYTES)).map(|mark| mark.with_int(mark.int(body).min(MAX_HELD_FETCH))));
    }
    for (at, mark) in marks.iter().enumerate() {
        match mark.part {
            Part::Value => pass.field(mark, marks.get(at + 1))?,
            Part::Count if key == ELECT_LEADERS && mark.interest == interest::TOPICS && mark.is_null(body) => {
                return Err(cluster.beyond("an election in all topics"));
            }
            _ => {}
        }
    }
    let (mut splices, asked) = (pass.splices, pass.asked);
    splices.extend((key == DESCRIBE_TOPIC_PARTITIONS).then(|| first_page(cluster, body)).flatten());
    let mut out = Vec::with_capacity(body.len() + 256);
    apply(body, &mut splices, &mut out);
    Ok(Renamed { body: out, asked })
}

impl VirtualCluster {
    /// A refusal of what concerns more than the tenant.
    pub(super) fn beyond(&self, what: &str) -> Refusal {
        let sentence = format!("KafkaVirtualCluster/{}: {what} concerns more than this virtual cluster", self.name);
        Refusal::Refused(CLUSTER_AUTHORIZATION_FAILED, sentence)
    }

    /// The names of a resource of the configuration APIs; `None` where it is the cluster's.
    pub(super) fn resource(&self, resource_type: u8) -> Option<&Names> {
        match resource_type {
            2 => Some(&self.topics),
            32 => Some(&self.groups),
            _ => None,
        }
    }

    /// The names that FindCoordinator asks about.
    fn coordinated(&self, key_type: u8) -> Option<&Names> {
        match key_type {
            0 => Some(&self.groups),
            1 => Some(&self.transactions),
            _ => None,
        }
    }

    /// A coordinator's key, in one direction or the other; `None` for a kind of key that is unknown, and for another tenant's.
    pub(super) fn coordinator_key(&self, key_type: u8, key: &[u8], rename: impl Fn(&Names, &[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
        if let Some(names) = self.coordinated(key_type) {
            return rename(names, key);
        }
        // A share partition: group:topic id:partition, and a group may hold colons.
        let mut from_the_right = key.rsplitn(3, |byte| *byte == b':');
        let (partition, topic, group) = (from_the_right.next()?, from_the_right.next()?, from_the_right.next()?);
        let group = rename(&self.groups, group).filter(|_| key_type == 2)?;
        Some([&group, &b":"[..], topic, b":", partition].concat())
    }
}

/// Whether a text is no name at all: brokers refuse it, and behind the prefix it would be one. So it stays what it is. (Produce and Fetch
/// name topics that exist, and such a one cannot; a cursor may be before all names. Offsets may be kept under an empty group, so each
/// tenant has one there.)
pub fn is_no_name(key: i16, mark: &Mark, body: &[u8]) -> bool {
    match mark.interest {
        interest::TOPIC => !matches!(key, PRODUCE | FETCH | DESCRIBE_TOPIC_PARTITIONS) && matches!(mark.text(body), b"" | b"." | b".."),
        interest::GROUP => NEED_GROUP.contains(&key) && mark.text(body).is_empty(),
        interest::TRANSACTIONAL_ID => key != PRODUCE && mark.text(body).is_empty(),
        _ => false,
    }
}

/// A list of all topics begins with the tenant's first: brokers list them in the order of their names.
fn first_page(cluster: &VirtualCluster, body: &[u8]) -> Option<Splice> {
    let [1, _, _, _, _, 0xff, ..] = body else { return None };
    let mut cursor = vec![1];
    cursor.extend(codec::string(true, cluster.topics.prefix()));
    cursor.extend([0; 5]);
    Some(Splice { at: 5, len: 1, with: cursor })
}

struct Pass<'a> {
    cluster: &'a VirtualCluster,
    key: i16,
    body: &'a [u8],
    splices: Vec<Splice>,
    asked: Asked,
    resource_type: u8,
    acl_type: u8,
}

impl Pass<'_> {
    fn field(&mut self, mark: &Mark, next: Option<&Mark>) -> Result<(), Refusal> {
        let cluster = self.cluster;
        match mark.interest {
            _ if is_no_name(self.key, mark, self.body) => Ok(()),
            interest::TOPIC => self.name(mark, &cluster.topics),
            interest::GROUP => self.name(mark, &cluster.groups),
            interest::TRANSACTIONAL_ID => self.name(mark, &cluster.transactions),
            interest::COORDINATOR_KEY => self.coordinator(mark),
            interest::PROTOCOL_TYPE => {
                self.asked.is_consumer = (!mark.is_null(self.body)).then(|| mark.text(self.body) == b"consumer");
                Ok(())
            }
            interest::SUBSCRIPTION | interest::ASSIGNMENT => {
                self.consumer_bytes(mark);
                Ok(())
            }
            interest::TOPIC_REGEX if cluster.topics.has_aliases() && !mark.text(self.body).is_empty() => Err(Refusal::Refused(
                INVALID_REGULAR_EXPRESSION,
                format!("KafkaVirtualCluster/{} has topic aliases, which brokers' patterns do not know: subscribe by names", cluster.name),
            )),
            interest::TOPIC_REGEX => self.regex(mark, &cluster.topics),
            interest::TRANSACTION_REGEX if cluster.transactions.has_aliases() && !mark.text(self.body).is_empty() => Err(Refusal::Refused(
                INVALID_REGULAR_EXPRESSION,
                format!("KafkaVirtualCluster/{} has aliases of transactional ids, which brokers' patterns do not know: list all", cluster.name),
            )),
            interest::TRANSACTION_REGEX => self.regex(mark, &cluster.transactions),
            interest::RESOURCE_TYPE => {
                self.resource_type = mark.byte(self.body);
                Ok(())
            }
            interest::RESOURCE_NAME => self.resource(mark),
            interest::ACL_TYPE => {
                self.acl_type = mark.byte(self.body);
                Ok(())
            }
            interest::ACL_NAME => {
                let pattern = next.ok_or(Malformed("has no pattern type"))?;
                let splices = acls::request(cluster, self.key, self.acl_type, self.body, mark, pattern)?;
                self.splices.extend(splices);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn name(&mut self, mark: &Mark, names: &Names) -> Result<(), Refusal> {
        if mark.is_null(self.body) {
            return Ok(());
        }
        let physical = names.physical(mark.text(self.body));
        self.put(mark, &physical)
    }

    fn put(&mut self, mark: &Mark, text: &[u8]) -> Result<(), Refusal> {
        if text.len() > i16::MAX as usize {
            return Err(Refusal::Refused(INVALID_REQUEST, "a name is longer than 32,767 bytes with the virtual cluster's prefix".into()));
        }
        self.splices.push(mark.with_text(text));
        Ok(())
    }

    fn coordinator(&mut self, mark: &Mark) -> Result<(), Refusal> {
        let key = mark.text(self.body);
        let renamed = self.cluster.coordinator_key(self.asked.key_type, key, |names, name| Some(names.physical(name)));
        match renamed {
            Some(renamed) => self.put(mark, &renamed),
            None => Err(Refusal::Refused(INVALID_REQUEST, format!("a coordinator's key of type {} has another shape", self.asked.key_type))),
        }
    }

    fn consumer_bytes(&mut self, mark: &Mark) {
        let blob = mark.blob(self.body);
        let mut rename = |name: &[u8]| Some(self.cluster.topics.physical(name));
        let renamed = match (self.asked.is_consumer, mark.interest) {
            (Some(false), _) => None,
            (_, interest::ASSIGNMENT) => consumer::assignment(blob, &mut rename),
            _ => consumer::subscription(blob, &mut rename),
        };
        self.splices.extend(renamed.map(|renamed| mark.with_blob(&renamed)));
    }

    fn regex(&mut self, mark: &Mark, names: &Names) -> Result<(), Refusal> {
        let pattern = mark.text(self.body);
        if pattern.is_empty() {
            return Ok(());
        }
        let physical = pattern::physical(names.prefix(), pattern).map_err(|why| {
            Refusal::Refused(INVALID_REGULAR_EXPRESSION, format!("KafkaVirtualCluster/{}: in the pattern {why}", self.cluster.name))
        })?;
        self.put(mark, &physical)
    }

    fn resource(&mut self, mark: &Mark) -> Result<(), Refusal> {
        match self.cluster.resource(self.resource_type) {
            Some(names) => self.name(mark, names),
            None if matches!(self.key, ALTER_CONFIGS | INCREMENTAL_ALTER_CONFIGS) => {
                Err(self.cluster.beyond("a configuration of something else than topics and groups"))
            }
            // Brokers are called by their ids. What else there is (client metrics) is the cluster's: asked for by a name that is nobody's.
            None if matches!(self.resource_type, 4 | 8) => Ok(()),
            None => self.name(mark, &self.cluster.topics),
        }
    }
}
