//! Virtual clusters: several tenants on one physical cluster, each with names of its own.
//!
//! ```text
//! client's name --physical()--> alias' target, or prefix + name        (requests: request.rs)
//! client's name <--client()---  the same backwards, or nobody's        (responses: response.rs)
//! ```
//! The generated tables mark every field that holds a name; renaming is splices at these marks, so it knows no API but by the few whose
//! names need something read beside them. A name that leads nowhere back is another tenant's: in a list its element is left out.
//! Messages that bear records are renamed while they pass (`stream.rs`), all others are held. Topic ids stay the physical ones; that an id
//! is the tenant's own is seen by the directory (`filtered.rs`). What is not in `support.rs` is neither offered nor let through.

mod acls;
pub mod answers;
mod conf;
mod consumer;
mod pattern;
mod request;
mod response;
mod session;
mod stream;
pub mod support;
mod text;

pub use conf::Tenants;
pub use request::{Refusal, request};
pub use response::response;
pub use stream::{Stretch, is_streamed};

use hashbrown::HashMap;
use std::sync::Arc;

/// The longest topic name that brokers take.
pub const MAX_TOPIC: usize = 249;

/// One tenant's view of a physical cluster.
#[derive(PartialEq, Eq, Debug)]
pub struct VirtualCluster {
    /// The KafkaVirtualCluster's name.
    pub name: Arc<str>,
    /// Topics.
    pub topics: Names,
    /// Groups of all kinds.
    pub groups: Names,
    /// Transactional ids.
    pub transactions: Names,
    /// What clients are told instead of the physical cluster's id.
    pub cluster_id: Arc<str>,
}

/// What a response has to know of its request.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Asked {
    /// FindCoordinator: whose coordinator.
    pub key_type: u8,
    /// Groups: whether the members' bytes are the consumer protocol's; `None` where nothing says so.
    pub is_consumer: Option<bool>,
}

type Map = HashMap<Box<[u8]>, Box<[u8]>>;

/// The names of one kind: a client's and the physical ones, one to one.
#[derive(PartialEq, Eq, Debug)]
pub struct Names {
    prefix: Box<[u8]>,
    to_physical: Map,
    to_client: Map,
}

impl Names {
    /// Names with a prefix, but for the aliases, which are pairs of a client's name and a physical one.
    ///
    /// # Errors
    /// Two names would be one; the sentence says which.
    pub fn new<'a>(prefix: &str, aliases: impl IntoIterator<Item = (&'a String, &'a String)>) -> Result<Names, String> {
        let mut names = Names { prefix: prefix.as_bytes().into(), to_physical: Map::new(), to_client: Map::new() };
        for (client, physical) in aliases {
            if physical.starts_with(prefix) {
                return Err(format!("{client:?} is an alias of {physical:?}, which has the prefix: that name is a client's own already"));
            }
            if names.to_client.insert(physical.as_bytes().into(), client.as_bytes().into()).is_some() {
                return Err(format!("{physical:?} has two aliases, and a response can tell only one of them"));
            }
            names.to_physical.insert(client.as_bytes().into(), physical.as_bytes().into());
        }
        Ok(names)
    }

    /// What a client's name is called behind.
    pub fn physical(&self, name: &[u8]) -> Vec<u8> {
        match self.to_physical.get(name) {
            Some(target) => target.to_vec(),
            None => [&self.prefix, name].concat(),
        }
    }

    /// What a physical name is called in front; `None`: it is another tenant's, or hidden behind an alias.
    pub fn client<'a>(&'a self, physical: &'a [u8]) -> Option<&'a [u8]> {
        if let Some(alias) = self.to_client.get(physical) {
            return Some(alias);
        }
        physical.strip_prefix(&*self.prefix).filter(|name| !self.to_physical.contains_key(*name))
    }

    /// What names without an alias begin with.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Whether there are aliases.
    pub fn has_aliases(&self) -> bool {
        !self.to_physical.is_empty()
    }

    /// Pairs of a client's name and its physical one.
    pub fn aliases(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.to_physical.iter().map(|(client, physical)| (&**client, &**physical))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new("a.", [(&"orders".to_string(), &"legacy".to_string())]).unwrap()
    }

    /// With the prefix `a.`, and the topic `legacy` as `orders`.
    pub fn cluster() -> VirtualCluster {
        let plain = || Names::new("a.", []).unwrap();
        VirtualCluster { name: "a".into(), topics: names(), groups: plain(), transactions: plain(), cluster_id: "id-of-a".into() }
    }

    #[test]
    fn names_are_one_to_one() {
        let names = names();
        for client in ["x", "", "a.x", "legacy", "orders", "a."] {
            let physical = names.physical(client.as_bytes());
            assert_eq!(names.client(&physical), Some(client.as_bytes()), "{client}");
        }
        for foreign in ["b.x", "a", "", "a.orders", "__consumer_offsets"] {
            assert_eq!(names.client(foreign.as_bytes()), None, "{foreign}");
        }
    }

    #[test]
    fn aliases_that_would_make_two_names_one_are_refused() {
        let pair = |client: &str, physical: &str| (client.to_string(), physical.to_string());
        let refused = |pairs: &[(String, String)]| Names::new("a.", pairs.iter().map(|(client, physical)| (client, physical))).is_err();
        assert!(refused(&[pair("x", "a.y")]));
        assert!(refused(&[pair("x", "z"), pair("y", "z")]));
        assert!(!refused(&[pair("x", "y"), pair("y", "x")]));
    }
}
