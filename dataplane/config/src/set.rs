//! A whole configuration, decoded.

use crate::proto::midstream::{kafka, policy, redis, sql};
use crate::proto::skeleton;
use crate::{Invalid, Refusal, types};
use prost::Message;
use std::collections::BTreeMap;

/// A resource as it came over xDS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Raw {
    /// Which message it is.
    pub type_url: String,
    /// Unique within its type.
    pub name: String,
    /// Content hash.
    pub version: String,
    /// The message's bytes.
    pub body: Vec<u8>,
}

impl Raw {
    /// A refusal of the whole resource.
    pub fn refuse(&self, invalid: Invalid) -> Refusal {
        Refusal {
            type_url: self.type_url.clone(),
            name: self.name.clone(),
            version: self.version.clone(),
            field: invalid.field,
            reason: invalid.reason,
        }
    }
}

/// A decoded resource.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    /// Which message it is.
    pub type_url: &'static str,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The message.
    pub value: T,
}

impl<T> Entry<T> {
    /// A refusal on account of one field.
    pub fn refuse(&self, invalid: Invalid) -> Refusal {
        Refusal {
            type_url: self.type_url.into(),
            name: self.name.clone(),
            version: self.version.clone(),
            field: invalid.field,
            reason: invalid.reason,
        }
    }
}

/// Resources of one type by name.
pub type Named<T> = BTreeMap<String, Entry<T>>;

/// All resources that are to be in force together.
#[derive(Clone, Default, Debug)]
pub struct Set {
    /// Where clients connect.
    pub listeners: Named<skeleton::Listener>,
    /// Names of groups of endpoints; kept for references only.
    pub clusters: Named<skeleton::Cluster>,
    /// Their endpoints.
    pub endpoints: Named<skeleton::ClusterLoadAssignment>,
    /// Passwords, keys, certificates by reference.
    pub secrets: Named<skeleton::Secret>,
    /// PostgreSQL and MySQL back ends.
    pub databases: Named<sql::v1::Database>,
    /// How tables lie on shards.
    pub shardings: Named<sql::v1::Sharding>,
    /// Redis back ends.
    pub redis_clusters: Named<redis::v1::RedisCluster>,
    /// Which keys go to which of them.
    pub redis_routes: Named<redis::v1::RedisRoutes>,
    /// Where a share of commands goes, too.
    pub redis_mirrors: Named<redis::v1::RedisMirror>,
    /// Which keys are on their way to another back end.
    pub redis_migrations: Named<redis::v1::RedisMigration>,
    /// Whose hot and big keys are listed.
    pub redis_key_stats: Named<redis::v1::RedisKeyStats>,
    /// Kafka back ends.
    pub kafka_clusters: Named<kafka::v1::KafkaCluster>,
    /// Tenants on them.
    pub kafka_virtual_clusters: Named<kafka::v1::KafkaVirtualCluster>,
    /// Several of them as one.
    pub kafka_federations: Named<kafka::v1::KafkaFederation>,
    /// What is asked of records, and done with them.
    pub kafka_record_policies: Named<kafka::v1::KafkaRecordPolicy>,
    /// Whose partitions and consumers have numbers in the metrics.
    pub kafka_stats: Named<kafka::v1::KafkaStats>,
    /// Who may do what.
    pub access_policies: Named<policy::v1::AccessPolicy>,
    /// How often.
    pub rate_limits: Named<policy::v1::RateLimit>,
    /// Injected faults.
    pub faults: Named<policy::v1::Fault>,
    /// Access logs.
    pub taps: Named<policy::v1::Tap>,
}

impl Set {
    /// Decodes what it can; the rest is refused.
    pub fn decode(raws: &[Raw]) -> (Set, Vec<Refusal>) {
        let mut set = Set::default();
        let mut refusals = Vec::new();
        for raw in raws {
            if let Err(invalid) = set.add(raw) {
                refusals.push(raw.refuse(invalid));
            }
        }
        (set, refusals)
    }

    fn add(&mut self, raw: &Raw) -> Result<(), Invalid> {
        match raw.type_url.as_str() {
            types::LISTENER => put(&mut self.listeners, types::LISTENER, raw),
            types::CLUSTER => put(&mut self.clusters, types::CLUSTER, raw),
            types::ENDPOINTS => put(&mut self.endpoints, types::ENDPOINTS, raw),
            types::SECRET => put(&mut self.secrets, types::SECRET, raw),
            types::DATABASE => put(&mut self.databases, types::DATABASE, raw),
            types::SHARDING => put(&mut self.shardings, types::SHARDING, raw),
            types::REDIS_CLUSTER => put(&mut self.redis_clusters, types::REDIS_CLUSTER, raw),
            types::REDIS_ROUTES => put(&mut self.redis_routes, types::REDIS_ROUTES, raw),
            types::REDIS_KEY_STATS => put(&mut self.redis_key_stats, types::REDIS_KEY_STATS, raw),
            types::REDIS_MIRROR => put(&mut self.redis_mirrors, types::REDIS_MIRROR, raw),
            types::REDIS_MIGRATION => put(&mut self.redis_migrations, types::REDIS_MIGRATION, raw),
            types::KAFKA_CLUSTER => put(&mut self.kafka_clusters, types::KAFKA_CLUSTER, raw),
            types::KAFKA_VIRTUAL_CLUSTER => put(&mut self.kafka_virtual_clusters, types::KAFKA_VIRTUAL_CLUSTER, raw),
            types::KAFKA_FEDERATION => put(&mut self.kafka_federations, types::KAFKA_FEDERATION, raw),
            types::KAFKA_RECORD_POLICY => put(&mut self.kafka_record_policies, types::KAFKA_RECORD_POLICY, raw),
            types::KAFKA_STATS => put(&mut self.kafka_stats, types::KAFKA_STATS, raw),
            types::ACCESS_POLICY => put(&mut self.access_policies, types::ACCESS_POLICY, raw),
            types::RATE_LIMIT => put(&mut self.rate_limits, types::RATE_LIMIT, raw),
            types::FAULT => put(&mut self.faults, types::FAULT, raw),
            types::TAP => put(&mut self.taps, types::TAP, raw),
            other => Err(Invalid::new("", format!("this sidecar does not know resources of type {other}; is it older than its control plane?"))),
        }
    }
}

fn put<T: Message + Default>(into: &mut Named<T>, type_url: &'static str, raw: &Raw) -> Result<(), Invalid> {
    let value = T::decode(raw.body.as_slice()).map_err(|error| Invalid::new("", format!("not a message of its type: {error}")))?;
    let entry = Entry { type_url, name: raw.name.clone(), version: raw.version.clone(), value };
    match into.insert(raw.name.clone(), entry) {
        None => Ok(()),
        Some(_) => Err(Invalid::new("name", "two resources of this type have this name; rename one")),
    }
}
