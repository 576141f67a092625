//! The record policies of a listener, compiled.

use super::Codec;
use super::kms::LocalKeys;
use super::lanes::{Lanes, Who};
use super::produce::{ProducePolicy, Refused};
use super::schema::{self, Schema};
use super::seal::Encryption;
use super::trace::Tracing;
use config::proto::midstream::kafka::v1::{self as proto, KafkaRecordPolicy, Lane, LaneRule, ProduceRule};
use config::{Context, Invalid, Refusal};
use filters::{Patterns, Share};
use std::sync::Arc;
use wire::{MILLIS, Nanos};

/// The header that says a record's lane, unless a policy names another.
const LANE_HEADER: &str = "x-lane";

/// How long a data key is used: a key that leaks tells no more than this.
const ROTATE_AFTER_MS: u32 = 3_600_000;
/// And for how many bytes: far below what AES-GCM bears (64 GiB per nonce, 2^32 of them).
const ROTATE_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// One policy.
#[derive(Debug)]
pub struct Policy {
    /// The object's name.
    pub name: Arc<str>,
    listeners: Vec<String>,
    topics: Patterns,
    /// What producers have to keep to.
    pub produce: Option<ProducePolicy>,
    /// Who sees which records.
    pub lanes: Option<Lanes>,
    /// What values are encrypted with.
    pub encryption: Option<Encryption>,
    /// How traces begin.
    pub tracing: Option<Tracing>,
}

impl Policy {
    fn is_produced(&self) -> bool {
        self.produce.is_some() || self.encryption.is_some() || self.tracing.is_some()
    }

    fn is_fetched(&self) -> bool {
        self.lanes.is_some() || self.encryption.is_some() || self.tracing.as_ref().is_some_and(|tracing| tracing.fetched)
    }
}

/// The policies of one listener, by name.
#[derive(Clone, Debug)]
pub struct RecordRules(Vec<Arc<Policy>>);

impl RecordRules {
    /// Whether there is a rule about what is produced, to whatever topic.
    pub fn has_produce(&self) -> bool {
        self.0.iter().any(|policy| policy.is_produced())
    }

    /// Whether there is a rule about what is fetched, from whatever topic.
    pub fn has_fetch(&self) -> bool {
        self.0.iter().any(|policy| policy.is_fetched())
    }

    /// Whether there is a rule for producers of a topic.
    pub fn is_produced(&self, topic: &[u8]) -> bool {
        self.about(topic).any(Policy::is_produced)
    }

    /// Whether there is a rule for consumers of a topic.
    pub fn is_fetched(&self, topic: &[u8]) -> bool {
        self.about(topic).any(Policy::is_fetched)
    }

    /// What a topic's values are encrypted with.
    pub fn encryption(&self, topic: &[u8]) -> Option<&Encryption> {
        self.about(topic).find_map(|policy| policy.encryption.as_ref())
    }

    /// How traces of a topic's records begin.
    pub fn tracing(&self, topic: &[u8]) -> Option<&Tracing> {
        self.about(topic).find_map(|policy| policy.tracing.as_ref())
    }

    /// Why a partition's records may not be written; `None` when they may. `listener` is for the sentence.
    pub fn judge(&self, topic: &[u8], acks: i16, records: &[u8], listener: &str) -> Option<Refused> {
        self.about(topic).find_map(|policy| {
            let mut why = policy.produce.as_ref()?.judge(acks, records).err()?;
            why.message = format!("KafkaRecordPolicy/{} on listener {listener}: {}", policy.name, why.message);
            Some(why)
        })
    }

    /// The lanes of a topic.
    pub fn lanes(&self, topic: &[u8]) -> Option<&Lanes> {
        self.about(topic).find_map(|policy| policy.lanes.as_ref())
    }

    fn about<'a, 't>(&'a self, topic: &'t [u8]) -> impl Iterator<Item = &'a Policy> + use<'a, 't> {
        self.0.iter().map(|policy| &**policy).filter(|policy| policy.topics.matches(topic))
    }
}

/// All policies of the set.
pub struct Policies(Vec<Arc<Policy>>);

impl Policies {
    /// Compiles them; the bad ones are refused.
    pub fn compile(context: &Context<'_>, refusals: &mut Vec<Refusal>) -> Policies {
        let mut found = Vec::new();
        for entry in context.set.kafka_record_policies.values() {
            match policy(context, &entry.name, &entry.value) {
                Ok(policy) => found.push(Arc::new(policy)),
                Err(invalid) => refusals.push(entry.refuse(invalid)),
            }
        }
        Policies(found)
    }

    /// Those of a listener; `None` where there are none.
    pub fn of(&self, listener: &str) -> Option<Arc<RecordRules>> {
        let names = |policy: &&Arc<Policy>| policy.listeners.iter().any(|name| name == "*" || name == listener);
        let policies: Vec<_> = self.0.iter().filter(names).cloned().collect();
        (!policies.is_empty()).then(|| Arc::new(RecordRules(policies)))
    }
}

fn policy(context: &Context<'_>, name: &str, value: &KafkaRecordPolicy) -> Result<Policy, Invalid> {
    if value.topics.is_empty() {
        return Err(Invalid::new("topics", "names none; give at least one pattern, \"*\" is all"));
    }
    if value.produce.is_none() && value.lanes.is_none() && value.encryption.is_none() && value.tracing.is_none() {
        return Err(Invalid::new("", "has no rule; add produce, lanes, encryption or tracing, or remove it"));
    }
    Ok(Policy {
        name: name.into(),
        listeners: value.listeners.clone(),
        topics: Patterns::new(&value.topics, "topics")?,
        produce: value.produce.as_ref().map(|rule| produce(context, rule)).transpose().map_err(|invalid| invalid.within("produce"))?,
        lanes: value.lanes.as_ref().map(lanes).transpose().map_err(|invalid| invalid.within("lanes"))?,
        encryption: encryption(context, name, value.encryption.as_ref()).map_err(|invalid| invalid.within("encryption"))?,
        tracing: value.tracing.as_ref().map(tracing).transpose().map_err(|invalid| invalid.within("tracing"))?,
    })
}

/// `None` on the control plane as well, which has no keys.
fn encryption(context: &Context<'_>, name: &str, value: Option<&proto::Encryption>) -> Result<Option<Encryption>, Invalid> {
    let Some(value) = value else { return Ok(None) };
    let at = |reason| Invalid::new("keys_secret", reason);
    let secret = context.secret(&value.keys_secret).map_err(|invalid| invalid.within("keys_secret"))?;
    if !context.is_real() {
        return Ok(None);
    }
    let rotate_after_ms = if value.rotate_after_ms == 0 { ROTATE_AFTER_MS } else { value.rotate_after_ms };
    Ok(Some(Encryption {
        policy: name.into(),
        kms: Arc::new(LocalKeys::read(&secret).map_err(at)?),
        rotate_after: Nanos::from(rotate_after_ms) * MILLIS,
        rotate_bytes: if value.rotate_bytes == 0 { ROTATE_BYTES } else { value.rotate_bytes },
    }))
}

/// What keys or values have to be. The control plane does not read Secrets, and takes what stands in them as well.
fn schema(context: &Context<'_>, field: &str, value: Option<&proto::Schema>) -> Result<Option<Schema>, Invalid> {
    let text = |name: &str| context.secret(name).map(|secret| context.is_real().then(|| secret.expose().to_vec()));
    value.map(|value| schema::compile(value, text)).transpose().map_err(|invalid| invalid.within(field))
}

fn produce(context: &Context<'_>, value: &ProduceRule) -> Result<ProducePolicy, Invalid> {
    let codec = |(index, name): (usize, &String)| {
        let known = Codec::ALL.into_iter().find(|codec| codec.name() == name);
        known.ok_or_else(|| Invalid::new(format!("compression[{index}]"), format!("{name:?} is none of none, gzip, snappy, lz4, zstd")))
    };
    let size = |bytes: u32| (bytes > 0).then_some(bytes as usize);
    Ok(ProducePolicy {
        acks: value.acks(),
        compression: value.compression.iter().enumerate().map(codec).collect::<Result<_, _>>()?,
        max_batch: size(value.max_batch_bytes),
        max_record: size(value.max_record_bytes),
        key: value.require_key,
        headers: value.require_headers.clone(),
        key_schema: schema(context, "key", value.key.as_ref())?,
        value_schema: schema(context, "value", value.value.as_ref())?,
    })
}

fn lanes(value: &LaneRule) -> Result<Lanes, Invalid> {
    let header = if value.header.is_empty() { LANE_HEADER } else { &value.header };
    let lanes = value.lanes.iter().enumerate().map(|(index, one)| lane(one).map_err(|invalid| invalid.within(&format!("lanes[{index}]"))));
    Ok(Lanes { header: header.as_bytes().into(), lanes: lanes.collect::<Result<_, _>>()? })
}

fn tracing(value: &proto::Tracing) -> Result<Tracing, Invalid> {
    let sampled = Share::new(value.sampled_percent).map_err(|invalid| Invalid::new("sampled_percent", invalid.reason))?;
    Ok(Tracing { sampled, fetched: value.fetched })
}

fn lane(value: &Lane) -> Result<Who, Invalid> {
    if value.name.is_empty() {
        return Err(Invalid::new("name", "is missing; it is the header's value"));
    }
    if value.listeners.is_empty() && value.identities.is_empty() && value.client_ids.is_empty() {
        return Err(Invalid::new("", "fits every client; say whose lane it is: listeners, identities or client ids"));
    }
    Ok(Who {
        name: value.name.as_bytes().into(),
        listeners: Patterns::new(&value.listeners, "listeners")?,
        identities: Patterns::new(&value.identities, "identities")?,
        client_ids: Patterns::new(&value.client_ids, "client_ids")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{Absent, Set};
    use std::collections::BTreeMap;

    fn compiled(name: &str, value: &KafkaRecordPolicy) -> Result<Policy, Invalid> {
        let (set, chains) = (Set::default(), BTreeMap::new());
        policy(&Context::new(&set, &chains, &Absent), name, value)
    }

    fn bad(value: KafkaRecordPolicy) -> String {
        compiled("p", &value).unwrap_err().field
    }

    #[test]
    fn a_wrong_field_is_named() {
        let topics = vec!["*".to_string()];
        let produce = |compression: &str| Some(ProduceRule { compression: vec![compression.into()], ..ProduceRule::default() });
        let lane = |lane: Lane| Some(LaneRule { lanes: vec![lane], ..LaneRule::default() });
        assert_eq!(bad(KafkaRecordPolicy { produce: produce("zstd"), ..KafkaRecordPolicy::default() }), "topics");
        let with = |produce, lanes| KafkaRecordPolicy { topics: topics.clone(), produce, lanes, ..KafkaRecordPolicy::default() };
        assert_eq!(bad(with(None, None)), "");
        assert_eq!(bad(with(produce("lzo"), None)), "produce.compression[0]");
        assert_eq!(bad(with(None, lane(Lane { client_ids: vec!["x".into()], ..Lane::default() }))), "lanes.lanes[0].name");
        assert_eq!(bad(with(None, lane(Lane { name: "blue".into(), ..Lane::default() }))), "lanes.lanes[0]");
        assert!(compiled("p", &with(produce("zstd"), None)).is_ok());
        let encryption = Some(proto::Encryption { keys_secret: "none".into(), ..Default::default() });
        assert_eq!(bad(KafkaRecordPolicy { encryption, ..with(None, None) }), "encryption.keys_secret");
    }

    #[test]
    fn the_first_lanes_and_all_rules_for_producers_are_about_a_topic() {
        let one = |name: &str, topics: &str| {
            let lanes = LaneRule { header: name.into(), lanes: vec![] };
            let value =
                KafkaRecordPolicy { topics: vec![topics.into()], produce: Some(ProduceRule::default()), lanes: Some(lanes), ..Default::default() };
            Arc::new(compiled(name, &value).unwrap())
        };
        let rules = RecordRules(vec![one("a", "orders-*"), one("b", "*")]);
        assert_eq!(rules.about(b"orders-eu").count(), 2);
        assert_eq!(rules.about(b"carts").count(), 1);
        assert_eq!(&*rules.lanes(b"orders-eu").unwrap().header, b"a");
        assert_eq!(&*rules.lanes(b"carts").unwrap().header, b"b");
    }
}
