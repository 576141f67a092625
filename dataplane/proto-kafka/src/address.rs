//! What clients are told instead of the brokers' addresses.

use crate::edit::{Mark, Splice};
use crate::federation::Member;
use crate::tables::interest;

/// What stands for a broker's id in a pattern of names.
pub const NODE: &str = "{node}";

/// Where the clients of a listener reach the brokers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Places {
    /// A port per broker.
    Ports {
        /// That of broker 0.
        first: u16,
        /// That of the last, inclusive.
        last: u16,
        /// The port of broker 0 as clients are told it; another than `first` behind a NAT.
        told: u16,
    },
    /// One port for all; the name that the client asks for when TLS begins (SNI) says which broker it wants.
    Names {
        /// What stands before the id in a name.
        before: Box<str>,
        /// What follows it.
        after: Box<str>,
        /// The port as clients are told it.
        told: u16,
    },
}

impl Places {
    /// The names of a pattern such as `b{node}.events.local`; `None` when it has not exactly one place for the id.
    pub fn names(pattern: &str, told: u16) -> Option<Places> {
        let (before, after) = pattern.split_once(NODE).filter(|(_, after)| !after.contains(NODE))?;
        Some(Places::Names { before: before.to_ascii_lowercase().into(), after: after.to_ascii_lowercase().into(), told })
    }

    /// Whether a broker with this id has a place.
    pub fn holds(&self, node: i32) -> bool {
        match self {
            Places::Ports { first, last, .. } => node >= 0 && node <= i32::from(*last) - i32::from(*first),
            Places::Names { .. } => node >= 0,
        }
    }

    /// The broker that has this name, written as we write it; any other name leads to the bootstrap brokers.
    pub fn node_of(&self, name: &str) -> Option<i32> {
        let Places::Names { before, after, .. } = self else { return None };
        let id = name.strip_prefix(&**before)?.strip_suffix(&**after)?;
        id.parse().ok().filter(|node: &i32| *node >= 0 && node.to_string() == id)
    }

    /// The name of a broker, where brokers have names.
    pub fn name_of(&self, node: i32) -> Option<String> {
        match self {
            Places::Ports { .. } => None,
            Places::Names { before, after, .. } => Some(format!("{before}{node}{after}")),
        }
    }
}

/// The addresses of one listener as one client sees them.
#[derive(Clone, Copy, Debug)]
pub struct Facade<'a> {
    /// The host that every broker has, where it is ports that differ.
    pub host: &'a str,
    /// Where they are.
    pub places: &'a Places,
    /// Whose brokers they are, where clusters share a listener.
    pub member: Option<&'a Member>,
}

/// The port that goes with the host name of a broker outside of the range; nothing can be reached there (RFC 2606, `.invalid`).
const NOWHERE_PORT: i32 = 1;

impl Facade<'_> {
    /// The host and port that a client gets for a broker.
    ///
    /// A broker outside of the range keeps its place in the lists, where dropping it would make its partitions look leaderless, but gets
    /// a host name that can't be resolved and says what to do: it stands in the client's own error message.
    pub fn place(&self, node: i32) -> (String, i32) {
        let node = self.node(node);
        match self.places {
            places if !places.holds(node) => (format!("widen-brokerPorts-to-hold-node-{node}.invalid"), NOWHERE_PORT),
            Places::Ports { told, .. } => (self.host.to_string(), i32::from(*told) + node),
            Places::Names { before, after, told } => (format!("{before}{node}{after}"), i32::from(*told)),
        }
    }

    /// Whether a broker has a place.
    pub fn holds(&self, node: i32) -> bool {
        self.places.holds(self.node(node))
    }

    /// What a broker is called in front.
    fn node(&self, node: i32) -> i32 {
        self.member.map_or(node, |member| member.node(node))
    }

    /// The splices that put these addresses in place of a message's, and how many brokers were outside of the range.
    ///
    /// A node id below 0 stands for "no broker" beside an error, and its empty address stays.
    pub fn splices(&self, body: &[u8], marks: &[Mark]) -> (Vec<Splice>, u64) {
        let mut splices = Vec::new();
        let mut outside = 0;
        let mut node = -1;
        let mut place = (String::new(), 0);
        for mark in marks {
            if mark.is(interest::NODE_ID) {
                node = mark.int(body);
                place = self.place(node);
                let told = self.node(node);
                outside += u64::from(node >= 0 && !self.holds(node));
                splices.extend((told != node).then(|| mark.with_int(told)));
            } else if node < 0 {
                continue;
            } else if mark.is(interest::HOST) {
                splices.push(mark.with_text(place.0.as_bytes()));
            } else if mark.is(interest::PORT) {
                splices.push(mark.with_int(place.1));
            }
        }
        (splices, outside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::{apply, marks};
    use crate::table::api;

    /// DescribeCluster v0: throttle, error, message, cluster id, controller, brokers, operations, tags.
    fn describe_cluster(nodes: &[(i32, &[u8], i32)]) -> Vec<u8> {
        let mut body = b"\0\0\0\0\0\0\0\x02c\0\0\0\x01".to_vec();
        body.push(nodes.len() as u8 + 1);
        for (node, host, port) in nodes {
            body.extend(node.to_be_bytes());
            body.push(host.len() as u8 + 1);
            body.extend(*host);
            body.extend(port.to_be_bytes());
            body.extend(b"\0\0"); // rack null, tags
        }
        body.extend(b"\0\0\0\0\0");
        body
    }

    fn rewritten(places: &Places, body: &[u8]) -> (Vec<u8>, u64) {
        let program = api(60).unwrap().shape(0).unwrap().response;
        let (mut splices, outside) = Facade { host: "localhost", places, member: None }.splices(body, &marks(program, body).unwrap());
        let mut out = vec![];
        apply(body, &mut splices, &mut out);
        (out, outside)
    }

    #[test]
    fn brokers_get_their_ports_and_a_foreign_one_a_name_that_says_why() {
        let body = describe_cluster(&[(1, b"kafka-1.internal", 9092), (700, b"far", 9093)]);
        let (out, outside) = rewritten(&Places::Ports { first: 9100, last: 9199, told: 9100 }, &body);
        assert_eq!(outside, 1);
        assert_eq!(out, describe_cluster(&[(1, b"localhost", 9101), (700, b"widen-brokerPorts-to-hold-node-700.invalid", 1)]));
    }

    #[test]
    fn behind_a_nat_clients_are_told_its_ports() {
        let body = describe_cluster(&[(1, b"kafka-1.internal", 9092)]);
        let (out, _) = rewritten(&Places::Ports { first: 9100, last: 9199, told: 65530 }, &body);
        assert_eq!(out, describe_cluster(&[(1, b"localhost", 65531)]));
    }

    #[test]
    fn brokers_get_their_names_and_names_lead_to_them() {
        let places = Places::names("B{node}.events.local", 443).unwrap();
        let body = describe_cluster(&[(1, b"kafka-1.internal", 9092), (4000, b"far", 9093)]);
        assert_eq!(rewritten(&places, &body), (describe_cluster(&[(1, b"b1.events.local", 443), (4000, b"b4000.events.local", 443)]), 0));
        assert_eq!(places.node_of("b1.events.local"), Some(1));
        for other in ["events.local", "b.events.local", "b01.events.local", "b-1.events.local", "b1.events.locally", "b99999999999.events.local"] {
            assert_eq!(places.node_of(other), None, "{other}");
        }
        assert_eq!(Places::names("b.events.local", 443), None);
        assert_eq!(Places::names("b{node}.{node}.local", 443), None);
    }
}
