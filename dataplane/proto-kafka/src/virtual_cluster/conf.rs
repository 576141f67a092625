//! Virtual clusters from their resources.

use super::{MAX_TOPIC, Names, VirtualCluster};
use config::proto::midstream::kafka::v1::{KafkaProxy, KafkaVirtualCluster};
use config::{Context, Invalid, Refusal};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The virtual clusters of a set: each with the name of the KafkaCluster that it is on.
pub struct Tenants(BTreeMap<String, (String, Arc<VirtualCluster>)>);

impl Tenants {
    /// Compiles them all; what can't be is refused.
    pub fn compile(context: &Context<'_>, refusals: &mut Vec<Refusal>) -> Tenants {
        let mut found = BTreeMap::new();
        for entry in context.set.kafka_virtual_clusters.values() {
            match virtual_cluster(&entry.name, &entry.value) {
                Ok(compiled) => {
                    found.insert(entry.name.clone(), (entry.value.cluster.clone(), Arc::new(compiled)));
                }
                Err(invalid) => refusals.push(entry.refuse(invalid)),
            }
        }
        Tenants(found)
    }

    /// The one that a listener leads to, where it leads to one.
    pub fn of(&self, filter: &KafkaProxy) -> Result<Option<Arc<VirtualCluster>>, Invalid> {
        let name = &filter.virtual_cluster;
        if name.is_empty() {
            return Ok(None);
        }
        let invalid = |reason: String| Invalid::new("virtual_cluster", reason);
        let (cluster, found) =
            self.0.get(name).ok_or_else(|| invalid(format!("there is no KafkaVirtualCluster {name:?} in force; add it or mend it")))?;
        if *cluster != filter.backend {
            return Err(invalid(format!("KafkaVirtualCluster {name:?} is on {cluster:?}, not on {:?}", filter.backend)));
        }
        Ok(Some(Arc::clone(found)))
    }
}

fn virtual_cluster(name: &str, from: &KafkaVirtualCluster) -> Result<VirtualCluster, Invalid> {
    if from.prefix.is_empty() || from.prefix.len() >= MAX_TOPIC || !is_name(&from.prefix) {
        let said = "is to be letters, digits, dots, underscores and hyphens, at least one, and to leave topics some of their 249 characters";
        return Err(Invalid::new("prefix", said));
    }
    if from.cluster_id.is_empty() {
        return Err(Invalid::new("cluster_id", "is empty; clients are told one"));
    }
    for (client, physical) in &from.topics {
        if !is_name(client) || !is_name(physical) || client.is_empty() || physical.is_empty() || physical.len() > MAX_TOPIC {
            return Err(Invalid::new("topics", format!("{client:?} for {physical:?}: one of them can be no topic's name")));
        }
    }
    let names = |field: &str, aliases: &HashMap<String, String>| Names::new(&from.prefix, aliases).map_err(|reason| Invalid::new(field, reason));
    Ok(VirtualCluster {
        name: name.into(),
        topics: names("topics", &from.topics)?,
        groups: names("groups", &from.groups)?,
        transactions: names("transactional_ids", &from.transactional_ids)?,
        cluster_id: from.cluster_id.as_str().into(),
    })
}

/// Characters that topics' names may have; in sentences they tell names from what stands around them.
fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(prefix: &str, topics: &[(&str, &str)]) -> KafkaVirtualCluster {
        let topics = topics.iter().map(|(client, physical)| (client.to_string(), physical.to_string())).collect();
        KafkaVirtualCluster { cluster: "events".into(), prefix: prefix.into(), cluster_id: "x".into(), topics, ..KafkaVirtualCluster::default() }
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused_with_its_field() {
        assert!(virtual_cluster("a", &tenant("a.", &[("x", "y")])).is_ok());
        for (prefix, topics, field) in [
            ("", &[][..], "prefix"),
            ("a b", &[], "prefix"),
            ("a.", &[("x", "a.y")], "topics"),
            ("a.", &[("x", "y"), ("z", "y")], "topics"),
            ("a.", &[("x", "y z")], "topics"),
        ] {
            assert_eq!(virtual_cluster("a", &tenant(prefix, topics)).unwrap_err().field, field, "{prefix:?} {topics:?}");
        }
    }

    #[test]
    fn a_listener_leads_to_a_tenant_of_its_own_cluster() {
        let compiled = Arc::new(virtual_cluster("a", &tenant("a.", &[])).unwrap());
        let tenants = Tenants([("a".to_string(), ("events".to_string(), compiled))].into());
        let of = |backend: &str, name: &str| {
            tenants.of(&KafkaProxy { backend: backend.into(), virtual_cluster: name.into(), ..KafkaProxy::default() }).map(|found| found.is_some())
        };
        assert_eq!(of("events", ""), Ok(false));
        assert_eq!(of("events", "a"), Ok(true));
        assert!(of("others", "a").is_err());
        assert!(of("events", "b").is_err());
    }
}
