//! Who is asked where things are, and what the answers mean.
//!
//! | back end | asked | words | newest by |
//! |---|---|---|---|
//! | a cluster | any of its nodes | CLUSTER SLOTS | (MOVED corrects what is old) |
//! | a master with sentinels | the sentinels | SENTINEL MASTER, GET-MASTER-ADDR-BY-NAME | its configuration epoch |
//! | servers of which one is the master | all of them | ROLE | whether it has replicas, and the length of its log |
//! | one server | nobody | | |

use crate::merge::{array, bulk};
use crate::slot::SLOTS;
use crate::topology::{Place, Range, Reader};
use std::sync::Arc;

/// What is said to a sentinel first: it tells of a new master by itself.
pub const WATCH_SENTINEL: &[u8] = b"*2\r\n$9\r\nSUBSCRIBE\r\n$14\r\n+switch-master\r\n";

/// How a back end's nodes are found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Discovery {
    /// By the slots of a cluster.
    Slots,
    /// By sentinels, which know the master under that name.
    Sentinel(Arc<str>),
    /// By what each server says that it is.
    Roles,
    /// There is but one.
    Fixed,
}

/// Where things are, as somebody sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Of two views the one with the higher is newer.
    pub epoch: u64,
    /// The slots; those of one server are all slots.
    pub ranges: Vec<Range>,
}

impl Discovery {
    /// The questions, of which the last one's answer comes with those before it. A sentinel is asked twice: the first answer has the epoch, but
    /// the one that leads a failover still names the old master there while the second names the new one.
    pub fn questions(&self) -> Vec<Vec<u8>> {
        match self {
            Discovery::Slots => vec![command(&[b"CLUSTER", b"SLOTS"])],
            Discovery::Sentinel(master) => {
                ["MASTER", "GET-MASTER-ADDR-BY-NAME"].map(|what| command(&[b"SENTINEL", what.as_bytes(), master.as_bytes()])).into()
            }
            Discovery::Roles => vec![command(&[b"ROLE"])],
            Discovery::Fixed => vec![],
        }
    }

    /// The version of RESP that the question is asked in: only with 3 does a sentinel answer on the connection on which it tells of new masters.
    pub fn resp(&self) -> u8 {
        if matches!(self, Discovery::Sentinel(_)) { 3 } else { 2 }
    }

    /// What an answer says; `None` if nothing.
    pub fn view(&self, answer: &[u8]) -> Option<View> {
        match self {
            Discovery::Slots => crate::topology::ranges(answer).filter(|ranges| !ranges.is_empty()).map(|ranges| View { epoch: 0, ranges }),
            Discovery::Sentinel(_) => sentinel(answer),
            Discovery::Roles => role(answer),
            Discovery::Fixed => None,
        }
    }
}

fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    array(&mut out, words.len());
    words.iter().for_each(|word| bulk(&mut out, word));
    out
}

fn all_slots(master: Place) -> Vec<Range> {
    vec![Range { first: 0, last: SLOTS as u16 - 1, master, replicas: Vec::new() }]
}

/// SENTINEL MASTER: names and values; then the address.
fn sentinel(answer: &[u8]) -> Option<View> {
    let mut reader = Reader::new(answer);
    let fields = reader.pairs()?;
    let mut epoch = 0;
    for _ in 0..fields {
        let (name, value) = (reader.text()?, reader.text()?);
        if name == "config-epoch" {
            epoch = value.parse().ok()?;
        }
    }
    reader.header(b'*').filter(|fields| *fields == 2)?;
    let (host, port) = (reader.text()?, reader.text()?.parse().ok()?);
    Some(View { epoch, ranges: all_slots(Place { host, port, zone: String::new() }) })
}

/// ROLE of a master: its offset and its replicas. The place without a host and port is that of the server that was asked.
fn role(answer: &[u8]) -> Option<View> {
    let mut reader = Reader::new(answer);
    reader.header(b'*').filter(|fields| *fields >= 3)?;
    if reader.text()? != "master" {
        return None;
    }
    let offset = u64::try_from(reader.header(b':')?).ok()?;
    let has_replicas = reader.header(b'*')? > 0;
    let epoch = u64::from(has_replicas) << 63 | offset;
    Some(View { epoch, ranges: all_slots(Place { host: String::new(), port: 0, zone: String::new() }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentinel_names_the_master_and_its_epoch() {
        let discovery = Discovery::Sentinel("main".into());
        assert_eq!(discovery.questions()[0], b"*3\r\n$8\r\nSENTINEL\r\n$6\r\nMASTER\r\n$4\r\nmain\r\n");
        let fields = "$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$4\r\n7009\r\n$12\r\nconfig-epoch\r\n$1\r\n4\r\n";
        let address = "*2\r\n$9\r\n127.0.0.1\r\n$4\r\n7001\r\n";
        for answer in [format!("%3\r\n{fields}{address}"), format!("*6\r\n{fields}{address}")] {
            let view = discovery.view(answer.as_bytes()).unwrap();
            assert_eq!((view.epoch, view.ranges[0].last), (4, 16383));
            assert_eq!(view.ranges[0].master, Place { host: "127.0.0.1".into(), port: 7001, zone: String::new() });
            for cut in 0..answer.len() {
                assert_eq!(discovery.view(&answer.as_bytes()[..cut]), None);
            }
        }
        assert_eq!(discovery.view(b"-ERR No such master with that name\r\n"), None);
    }

    #[test]
    fn of_two_masters_the_one_with_replicas_counts_then_the_longer_log() {
        let epoch = |answer: &[u8]| Discovery::Roles.view(answer).map(|view| view.epoch);
        let followed = epoch(b"*3\r\n$6\r\nmaster\r\n:5\r\n*1\r\n*3\r\n$9\r\n127.0.0.1\r\n$4\r\n7002\r\n$1\r\n5\r\n");
        assert!(followed > epoch(b"*3\r\n$6\r\nmaster\r\n:900\r\n*0\r\n"));
        assert!(epoch(b"*3\r\n$6\r\nmaster\r\n:900\r\n*0\r\n") > epoch(b"*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n"));
        assert_eq!(epoch(b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:7001\r\n$9\r\nconnected\r\n:5\r\n"), None);
    }
}
