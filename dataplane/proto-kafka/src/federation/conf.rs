//! Federations from their resources.

use super::{Federation, Member, Routes};
use crate::conf::{Backend, Listener};
use config::proto::midstream::kafka::v1::{KafkaFederation, KafkaProxy};
use config::{Context, Invalid, Refusal};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Clusters of one federation: every Metadata request is asked of all of them.
const MAX_CLUSTERS: usize = 16;

/// The federations of a set.
pub struct Federations(BTreeMap<String, Arc<Federation>>);

impl Federations {
    /// Compiles them all; what can't be is refused.
    pub fn compile(context: &Context<'_>, refusals: &mut Vec<Refusal>) -> Federations {
        let mut found = BTreeMap::new();
        for entry in context.set.kafka_federations.values() {
            match federation(&entry.name, &entry.value) {
                Ok(compiled) => {
                    found.insert(entry.name.clone(), Arc::new(compiled));
                }
                Err(invalid) => refusals.push(entry.refuse(invalid)),
            }
        }
        Federations(found)
    }

    /// The home cluster of the one that a listener leads to, where it leads to one.
    pub fn of(&self, filter: &KafkaProxy, backends: &BTreeMap<String, Arc<Backend>>) -> Result<Option<Member>, Invalid> {
        let name = &filter.federation;
        if name.is_empty() {
            return Ok(None);
        }
        let invalid = |reason: String| Invalid::new("federation", reason);
        let federation = self.0.get(name).ok_or_else(|| invalid(format!("there is no KafkaFederation {name:?} in force; add it or mend it")))?;
        let clusters = &federation.clusters;
        if clusters.first() != Some(&filter.backend) {
            return Err(invalid(format!("{:?} is not the first cluster of KafkaFederation {name:?}", filter.backend)));
        }
        let mut logins = Vec::new();
        for cluster in clusters {
            let backend =
                backends.get(cluster).ok_or_else(|| invalid(format!("there is no KafkaCluster {cluster:?} in force; add it or mend it")))?;
            logins.push(backend.credentials.is_some());
        }
        if logins.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(invalid("some of its clusters have credentials and some have none; give all of them some, or none".into()));
        }
        Ok(Some(Member { federation: Arc::clone(federation), ordinal: 0 }))
    }

    /// Adds what a listener is towards the other clusters of its federation.
    pub fn spread(&self, listener: &mut Listener, name: &str, backends: &BTreeMap<String, Arc<Backend>>) {
        let Some(federation) = self.0.get(name) else { return };
        let others = federation.clusters.iter().enumerate().skip(1).filter_map(|(ordinal, cluster)| {
            let member = Member { federation: Arc::clone(federation), ordinal };
            Some(Arc::new(Listener { backend: Arc::clone(backends.get(cluster)?), member: Some(member), others: vec![], ..listener.clone() }))
        });
        listener.others = others.collect();
    }
}

fn federation(name: &str, from: &KafkaFederation) -> Result<Federation, Invalid> {
    let clusters = &from.clusters;
    if !(1..=MAX_CLUSTERS).contains(&clusters.len()) {
        return Err(Invalid::new("clusters", format!("are {}; name 1 to {MAX_CLUSTERS}, the home cluster first", clusters.len())));
    }
    let mut first_nodes: Vec<i32> = Vec::new();
    for member in clusters {
        let first = i32::try_from(member.first_node).map_err(|_| Invalid::new("clusters", format!("{} is no node id", member.first_node)))?;
        if first_nodes.last().is_some_and(|before| *before >= first) {
            return Err(Invalid::new("clusters", format!("first_node {first} of {:?} is not above the one before", member.cluster)));
        }
        first_nodes.push(first);
    }
    if clusters.iter().enumerate().any(|(at, one)| clusters.iter().take(at).any(|other| other.cluster == one.cluster)) {
        return Err(Invalid::new("clusters", "name one cluster twice"));
    }
    if from.cluster_id.is_empty() {
        return Err(Invalid::new("cluster_id", "is empty; clients are told one"));
    }
    let routes = |field: &str, of: fn(&config::proto::midstream::kafka::v1::FederatedCluster) -> &Vec<String>| {
        let pairs = clusters.iter().enumerate().flat_map(|(ordinal, member)| of(member).iter().map(move |pattern| (pattern.as_str(), ordinal)));
        Routes::new(pairs).map_err(|reason| Invalid::new(field, reason))
    };
    Ok(Federation {
        name: name.into(),
        cluster_id: from.cluster_id.as_str().into(),
        clusters: clusters.iter().map(|member| member.cluster.clone()).collect(),
        first_nodes,
        topics: routes("topics", |member| &member.topics)?,
        groups: routes("groups", |member| &member.groups)?,
        transactions: routes("transactional_ids", |member| &member.transactional_ids)?,
        producer_base: producer_base(clusters.first().map_or("", |home| &home.cluster)),
    })
}

/// Clusters count the ids of producers from 0 on, in blocks of 1,000. Ids of one home cluster are lifted by 2^62 and by 20 bits of its name,
/// so that those of federations with different homes are apart in a cluster that both have.
fn producer_base(home: &str) -> i64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let hash = home.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)); // FNV-1a
    (1 << 62) | ((((hash ^ (hash >> 20) ^ (hash >> 40)) & 0xf_ffff) as i64) << 40)
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::proto::midstream::kafka::v1::FederatedCluster;

    fn member(cluster: &str, first_node: u32, topics: &[&str]) -> FederatedCluster {
        let topics = topics.iter().map(ToString::to_string).collect();
        FederatedCluster { cluster: cluster.into(), first_node, topics, ..FederatedCluster::default() }
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused_with_its_field() {
        let of = |clusters: Vec<FederatedCluster>| {
            federation("all", &KafkaFederation { name: "all".into(), cluster_id: "x".into(), clusters }).map(|federation| federation.first_nodes)
        };
        assert_eq!(of(vec![member("a", 0, &[]), member("b", 100, &["b.*"])]), Ok(vec![0, 100]));
        for (clusters, field) in [
            (vec![], "clusters"),
            (vec![member("a", 0, &[]), member("b", 0, &[])], "clusters"),
            (vec![member("a", 0, &[]), member("a", 10, &[])], "clusters"),
            (vec![member("a", u32::MAX, &[])], "clusters"),
            (vec![member("a", 0, &["b.*"]), member("b", 100, &["b.*"])], "topics"),
        ] {
            assert_eq!(of(clusters).unwrap_err().field, field);
        }
    }

    #[test]
    fn lifted_ids_are_beyond_any_cluster_and_apart_by_home() {
        let (a, b) = (producer_base("a"), producer_base("b"));
        assert!(a >= 1 << 62 && b >= 1 << 62 && a.checked_add(1 << 40).is_some());
        assert_ne!(a >> 40, b >> 40);
    }
}
