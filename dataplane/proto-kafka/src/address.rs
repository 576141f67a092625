//! What clients are told instead of the brokers' addresses.

use crate::edit::{Mark, Splice};
use crate::tables::interest;

/// The addresses of one listener as one client sees them.
#[derive(Clone, Copy, Debug)]
pub struct Facade<'a> {
    /// The host that every broker has.
    pub host: &'a str,
    /// The port of broker 0.
    pub first: u16,
    /// The last port of the range, inclusive.
    pub last: u16,
}

/// The port that goes with the host name of a broker outside of the range; nothing can be reached there (RFC 2606, `.invalid`).
const NOWHERE_PORT: i32 = 1;

impl Facade<'_> {
    /// The port of a broker; `None` when its id is outside of the range.
    pub fn port(&self, node: i32) -> Option<u16> {
        let port = i32::from(self.first).checked_add(node)?;
        u16::try_from(port).ok().filter(|port| (self.first..=self.last).contains(port))
    }

    /// The host and port that a client gets for a broker.
    ///
    /// A broker outside of the range keeps its place in the lists, where dropping it would make its partitions look leaderless, but gets
    /// a host name that can't be resolved and says what to do: it stands in the client's own error message.
    pub fn place(&self, node: i32) -> (String, i32) {
        match self.port(node) {
            Some(port) => (self.host.to_string(), i32::from(port)),
            None => (format!("widen-brokerPorts-to-hold-node-{node}.invalid"), NOWHERE_PORT),
        }
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
                outside += u64::from(node >= 0 && self.port(node).is_none());
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

    const FACADE: Facade<'_> = Facade { host: "localhost", first: 9100, last: 9199 };

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

    #[test]
    fn brokers_get_their_ports_and_a_foreign_one_a_name_that_says_why() {
        let body = describe_cluster(&[(1, b"kafka-1.internal", 9092), (700, b"far", 9093)]);
        let program = api(60).unwrap().shape(0).unwrap().response;
        let (mut splices, outside) = FACADE.splices(&body, &marks(program, &body).unwrap());
        let mut out = vec![];
        apply(&body, &mut splices, &mut out);
        assert_eq!(outside, 1);
        assert_eq!(out, describe_cluster(&[(1, b"localhost", 9101), (700, b"widen-brokerPorts-to-hold-node-700.invalid", 1)]));
    }
}
