//! Several physical clusters behind one listener: a federation.
//!
//! ```text
//! a topic, group or transactional id --Routes--> one cluster; what no rule names belongs to the first, the home cluster
//! broker n of a cluster              --nodes---> that cluster's first node + n, in front
//! client at the listener's address   --> its own connection to a bootstrap broker of the home cluster
//! client at a broker's port or name  --> its own connection to that broker of that cluster
//! ```
//! A connection is one cluster's, as everywhere: what it is asked about other clusters' topics it answers as a broker does that leads none of
//! them. Only what clients ask any broker for (`support.rs`: metadata, coordinators, topics' administration) is split by cluster (`split.rs`),
//! asked beside (`errand.rs`, `side.rs`) and merged (`merge.rs`). Nothing is remembered between requests and nothing agreed on between
//! sidecars: all of it follows from the object.

mod conf;
mod errand;
mod merge;
mod route;
mod rules;
mod side;
mod split;
pub mod support;

pub use conf::Federations;
pub use errand::Errands;
pub use route::{Kind, Routes};
pub use side::TIMER_SIDE;
pub use split::{Part, split};

use crate::edit::{Mark, Splice};
use crate::tables::interest;
use std::sync::Arc;

/// The clusters of a listener, and what belongs to which.
#[derive(Debug)]
pub struct Federation {
    /// The KafkaFederation's name.
    pub name: Arc<str>,
    /// What clients are told instead of the physical clusters' ids.
    pub cluster_id: Arc<str>,
    /// The KafkaClusters' names.
    pub clusters: Vec<String>,
    /// By cluster, ascending: what its broker 0 is called in front. The first is the home cluster's.
    pub first_nodes: Vec<i32>,
    /// Topics.
    pub topics: Routes,
    /// Groups of all kinds.
    pub groups: Routes,
    /// Transactional ids.
    pub transactions: Routes,
    /// What is added to the ids of producers without a transactional id, see `merge`.
    pub producer_base: i64,
}

/// One cluster of a federation.
#[derive(Clone, Debug)]
pub struct Member {
    /// All of it.
    pub federation: Arc<Federation>,
    /// Which one.
    pub ordinal: usize,
}

impl Federation {
    /// The cluster and the broker that a node in front is.
    pub fn place(&self, node: i32) -> (usize, i32) {
        let ordinal = self.first_nodes.partition_point(|first| *first <= node).saturating_sub(1);
        (ordinal, node - self.first_nodes.get(ordinal).copied().unwrap_or(0))
    }

    /// What a cluster's broker is called in front; one whose id would be another cluster's gets one that leads nowhere.
    pub fn node(&self, ordinal: usize, node: i32) -> i32 {
        let Some(told) = self.first_nodes.get(ordinal).and_then(|first| first.checked_add(node)).filter(|_| node >= 0) else { return node };
        let is_free = self.first_nodes.get(ordinal + 1).is_none_or(|next| told < *next);
        if is_free { told } else { i32::MAX - node }
    }

    /// The cluster that something belongs to.
    pub fn owner(&self, kind: Kind, name: &[u8]) -> usize {
        match kind {
            Kind::Topic => self.topics.of(name),
            Kind::Group => self.groups.of(name),
            Kind::Transaction => self.transactions.of(name),
        }
    }
}

impl Member {
    /// Whether something is this cluster's.
    pub fn owns(&self, kind: Kind, name: &[u8]) -> bool {
        self.federation.owner(kind, name) == self.ordinal
    }

    /// What a broker of this cluster is called in front.
    pub fn node(&self, node: i32) -> i32 {
        self.federation.node(self.ordinal, node)
    }

    /// A marked id of a broker, or a list of them, as they are in front.
    pub fn brokers(&self, interest: u8, bytes: &[u8], compact: bool) -> Vec<u8> {
        let head = if interest == interest::BROKER_ID { 0 } else { list_head(bytes, compact) };
        let mut out = bytes.get(..head).unwrap_or_default().to_vec();
        numbers(bytes.get(head..)).for_each(|id| out.extend(self.node(id).to_be_bytes()));
        out
    }

    /// The splices that put these ids in place of a held response's.
    pub fn broker_splice(&self, body: &[u8], mark: &Mark) -> Splice {
        mark.with(self.brokers(mark.interest, mark.bytes(body), mark.compact))
    }

    /// A list of brokers in a request, as this cluster calls them; one of another cluster becomes none.
    pub fn physical_brokers(&self, body: &[u8], mark: &Mark) -> Splice {
        let bytes = mark.bytes(body);
        let head = list_head(bytes, mark.compact);
        let mut out = bytes.get(..head).unwrap_or_default().to_vec();
        for id in numbers(bytes.get(head..)) {
            let (ordinal, node) = self.federation.place(id);
            out.extend(if ordinal == self.ordinal { node } else { i32::MAX }.to_be_bytes());
        }
        mark.with(out)
    }
}

fn numbers(bytes: Option<&[u8]>) -> impl Iterator<Item = i32> + '_ {
    bytes.unwrap_or_default().chunks_exact(4).filter_map(|id| id.try_into().ok().map(i32::from_be_bytes))
}

fn list_head(bytes: &[u8], compact: bool) -> usize {
    if compact { crate::walk::uvarint(bytes).ok().flatten().map_or(0, |(size, _)| size) } else { 4 }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Home has the nodes from 0 on, the other from 100 on: topics `b.*` but `b.home`, groups and transactional ids `b*`.
    pub fn federation() -> Arc<Federation> {
        let routes = |pairs: &[(&str, usize)]| Routes::new(pairs.iter().map(|(pattern, to)| (*pattern, *to))).unwrap();
        Arc::new(Federation {
            name: "all".into(),
            cluster_id: "id-of-all".into(),
            clusters: vec!["home".into(), "other".into()],
            first_nodes: vec![0, 100],
            topics: routes(&[("b.*", 1), ("b.home", 0)]),
            groups: routes(&[("b*", 1)]),
            transactions: routes(&[("b*", 1)]),
            producer_base: 1 << 62,
        })
    }

    #[test]
    fn nodes_lead_there_and_back() {
        let federation = federation();
        for (ordinal, node, told) in [(0, 0, 0), (0, 99, 99), (1, 0, 100), (1, 5000, 5100)] {
            assert_eq!((federation.node(ordinal, node), federation.place(told)), (told, (ordinal, node)));
        }
        assert_eq!(federation.node(1, -1), -1);
        assert_eq!(federation.node(0, 100), i32::MAX - 100);
    }

    #[test]
    fn lists_of_brokers_are_one_mark() {
        let member = |ordinal| Member { federation: federation(), ordinal };
        assert_eq!(member(1).brokers(interest::BROKER_ID, &[0, 0, 0, 2], false), [0, 0, 0, 102]);
        assert_eq!(member(1).brokers(interest::BROKER_IDS, &[0, 0, 0, 1, 0, 0, 0, 2], false), [0, 0, 0, 1, 0, 0, 0, 102]);
        assert_eq!(member(1).brokers(interest::BROKER_IDS, &[2, 0xff, 0xff, 0xff, 0xff], true), [2, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(member(1).brokers(interest::BROKER_IDS, &[0], true), [0]);
    }
}
