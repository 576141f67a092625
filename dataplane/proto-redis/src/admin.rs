//! Commands for administrators, where a back end's `admin` says so: what changes the settings or the users of a server is done on every node,
//! replicas included, since each keeps its own and any may become a master. What nodes have logged is shown as one log.
//!
//! Users are either the Listener's or the nodes': ACL commands are refused where the Listener has some, as they would be about others than those
//! that clients log in as.

use crate::action::Merge;
use crate::errand::{Ask, Errand, Next, Round};
use crate::frame::Frame;
use crate::machine::{Redis, Step};
use crate::merge::{self, array};
use crate::pipe::To;
use crate::table::Command;
use crate::value::{elements, integer_of, is_error, text};
use wire::{Io, Key};

/// How a command for administrators is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admin {
    /// On every node; how their replies become one.
    EveryNode(Merge),
    /// By any master: all have the same.
    Any,
    /// ACL LOG.
    Log,
}

/// Why such a command is refused by default.
pub(crate) const REFUSED: &str = "it changes all nodes behind Midstream; `admin: everywhere` of the RedisCluster allows it";
const OF_LISTENER: &str = "users are those of the Listener, rules those of its AccessPolicies";
const ROUTED: &str = "the listener has routes to several back ends, whose nodes are not one server's";
const OF_EACH_NODE: &str = "the setting is of each node by itself, another on each; change it there";

/// Settings that differ from node to node: where it listens, what it is called, where its files are.
const SETTINGS_OF_EACH_NODE: &[&str] = &[
    "bind",
    "port",
    "tls-port",
    "unixsocket",
    "dir",
    "dbfilename",
    "appenddirname",
    "appendfilename",
    "logfile",
    "pidfile",
    "aclfile",
    "cluster-port",
    "availability-zone",
];
/// See [`SETTINGS_OF_EACH_NODE`].
const SETTINGS_BY_PREFIX: &[&str] = &["cluster-announce-", "replica-announce-", "slave-announce-"];

/// How many entries of a log are shown where nothing is said: the server's own default.
const DEFAULT_ENTRIES: usize = 10;

impl Redis {
    /// A command for administrators: on all nodes, or refused.
    pub(crate) fn administer(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &'static Command, how: Admin) -> Step {
        let names_node = command.name == "config|set" && (2..frame.len()).step_by(2).any(|index| is_of_each_node(frame.word(index)));
        let refusal = self.may_not_administer(key, command).or(names_node.then_some(OF_EACH_NODE));
        if let Some(why) = refusal {
            self.refuse(io, key, command, why);
            return Step::Taken;
        }
        match how {
            Admin::EveryNode(merge) => self.on_every_node(io, key, frame, merge),
            Admin::Log if frame.is(2, "reset") => self.on_every_node(io, key, frame, Merge::Same),
            Admin::Log => self.newest(io, key, frame),
            Admin::Any => {
                self.ask_for(io, key, frame.bytes, To::Any, true);
                Step::Taken
            }
        }
    }

    /// Why the client may not; `None`: it may.
    fn may_not_administer(&self, key: Key, command: &Command) -> Option<&'static str> {
        let client = self.clients.get(key)?;
        let listener = self.listeners.get(client.listener)?.as_ref()?;
        let about_users = command.name.starts_with("acl|");
        match () {
            () if about_users && !listener.conf.users.is_empty() => Some(OF_LISTENER),
            () if !self.is_administrable(key) => Some(if about_users { OF_LISTENER } else { REFUSED }),
            () if listener.conf.routes.is_some() => Some(ROUTED),
            () => None,
        }
    }

    /// Whether the client's back end says `admin: everywhere`.
    pub(crate) fn is_administrable(&self, key: Key) -> bool {
        let cluster = self.clients.get(key).and_then(|client| self.clusters.get(client.cluster));
        matches!(cluster, Some(Some(cluster)) if cluster.conf.administrable)
    }

    fn on_every_node(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, merge: Merge) -> Step {
        let cluster = self.clients.get(key).and_then(|client| self.clusters.get(client.cluster)).and_then(Option::as_ref);
        let masters = cluster.map(|cluster| cluster.masters.as_slice()).unwrap_or_default();
        let mut nodes = Vec::new();
        for master in masters {
            let replicas = cluster.and_then(|cluster| cluster.nodes.get(usize::from(*master))).map(|node| node.replicas.as_slice());
            nodes.extend([*master].iter().chain(replicas.unwrap_or_default()).map(|node| To::Itself(*node)));
        }
        self.run(io, key, Box::new(Survey::new(nodes, frame, Fold::Merged(merge))))
    }

    /// SLOWLOG GET, COMMANDLOG GET, ACL LOG: the newest entries of all masters.
    pub(crate) fn newest(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>) -> Step {
        let cluster = self.clients.get(key).and_then(|client| self.clusters.get(client.cluster)).and_then(Option::as_ref);
        let nodes = cluster.map(|cluster| cluster.masters.iter().map(|node| To::Node(*node)).collect()).unwrap_or_default();
        let number = std::str::from_utf8(frame.word(2)).ok().and_then(|count| count.parse::<i64>().ok());
        let count = number.map_or(DEFAULT_ENTRIES, |count| usize::try_from(count).unwrap_or(usize::MAX));
        self.run(io, key, Box::new(Survey::new(nodes, frame, Fold::Newest(count))))
    }
}

fn is_of_each_node(setting: &[u8]) -> bool {
    let name = String::from_utf8_lossy(setting).to_ascii_lowercase();
    SETTINGS_OF_EACH_NODE.contains(&name.as_str()) || SETTINGS_BY_PREFIX.iter().any(|prefix| name.starts_with(prefix))
}

/// How the replies of the nodes become one.
#[derive(Debug)]
enum Fold {
    Merged(Merge),
    Newest(usize),
}

/// The same command for several nodes, at once.
#[derive(Debug)]
struct Survey {
    nodes: Vec<To>,
    bytes: Vec<u8>,
    fold: Fold,
}

impl Survey {
    fn new(mut nodes: Vec<To>, frame: &Frame<'_>, fold: Fold) -> Survey {
        if nodes.is_empty() {
            nodes.push(To::Any); // no node is known yet: the first that is
        }
        Survey { nodes, bytes: frame.bytes.to_vec(), fold }
    }

    /// What a node refused, others may have done: the client is told.
    fn failed(&self, round: &Round<'_>) -> Option<Vec<u8>> {
        let refused = |reply: &&Vec<u8>| is_error(reply);
        let error = round.error()?;
        let failures = round.replies.iter().filter(refused).count();
        let whose = round.replies.iter().position(|reply| is_error(reply)).and_then(|at| self.nodes.get(at));
        let address = match (whose, round.cluster) {
            (Some(To::Itself(node) | To::Node(node)), Some(cluster)) => cluster.address(*node),
            _ => String::new(),
        };
        if failures == round.replies.len() {
            return Some(error.clone());
        }
        let said = String::from_utf8_lossy(error).trim_start_matches('-').trim_end().to_owned();
        Some(format!("-ERR midstream: {} of {} nodes did it; {address} said: {said}\r\n", round.replies.len() - failures, round.replies.len()).into())
    }
}

impl Errand for Survey {
    fn next(&mut self, round: &Round<'_>) -> Next {
        if round.replies.is_empty() {
            return Next::Ask(self.nodes.iter().map(|node| Ask::of(*node, self.bytes.clone(), true)).collect());
        }
        if let Some(error) = self.failed(round) {
            return Next::Answer(error);
        }
        let mut out = Vec::new();
        match self.fold {
            Fold::Merged(merge) => merge::write(merge, round.replies.iter().map(Vec::as_slice), &mut out),
            Fold::Newest(count) => newest_of(round.replies, count, &mut out),
        }
        Next::Answer(out)
    }

    fn too_large(&self, limit: usize) -> String {
        format!("ERR midstream: the nodes' replies are over {limit} bytes (crossSlotBytes of the RedisCluster)")
    }
}

/// The newest entries of several logs. Nodes number their own entries only and tell the time in seconds: within one second it counts how many
/// have been logged since.
fn newest_of(logs: &[Vec<u8>], count: usize, out: &mut Vec<u8>) {
    let mut entries: Vec<(f64, usize, &[u8])> = Vec::new();
    for log in logs {
        let found = elements(log).unwrap_or_default();
        let length = found.len();
        entries.extend(found.into_iter().enumerate().map(|(at, entry)| (age_of(entry), at.wrapping_sub(length), entry)));
    }
    // Of two of one second, the one that more entries of its node are older than is the newer.
    entries.sort_by(|(age, from_oldest, _), (other, other_from_oldest, _)| age.total_cmp(other).then(from_oldest.cmp(other_from_oldest)));
    entries.truncate(count);
    array(out, entries.len());
    entries.iter().for_each(|(.., entry)| out.extend_from_slice(entry));
}

/// Smaller is newer: an entry of ACL LOG tells its age, one of SLOWLOG when it was, in second place.
fn age_of(entry: &[u8]) -> f64 {
    let fields = elements(entry).unwrap_or_default();
    if let Some(at) = fields.iter().position(|field| text(field) == Some(b"age-seconds")) {
        let value = fields.get(at + 1).copied().unwrap_or_default();
        let digits = text(value).or_else(|| value.strip_prefix(b",").and_then(|value| value.strip_suffix(b"\r\n")));
        return digits.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|digits| digits.parse().ok()).unwrap_or(f64::MAX);
    }
    fields.get(1).and_then(|time| integer_of(time)).map_or(f64::MAX, |time| -(time as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_become_one_by_time() {
        let entry = |id: u32, time: u32, name: &str| format!("*3\r\n:{id}\r\n:{time}\r\n$1\r\n{name}\r\n");
        let log = |entries: &[String]| format!("*{}\r\n{}", entries.len(), entries.concat()).into_bytes();
        let one = log(&[entry(9, 7, "d"), entry(8, 5, "a")]);
        let other = log(&[entry(3, 7, "e"), entry(2, 7, "c"), entry(1, 6, "b")]);
        let order = |count| {
            let mut out = Vec::new();
            newest_of(&[one.clone(), other.clone()], count, &mut out);
            let name = |entry: &&[u8]| text(elements(entry).unwrap()[2]).map(|name| String::from_utf8_lossy(name).into_owned());
            elements(&out).unwrap().iter().filter_map(name).collect::<String>()
        };
        assert_eq!(order(usize::MAX), "edcba");
        assert_eq!(order(2), "ed");
        let mut out = Vec::new();
        let acl = |age: &str| format!("*1\r\n*4\r\n$5\r\ncount\r\n:1\r\n$11\r\nage-seconds\r\n${}\r\n{age}\r\n", age.len()).into_bytes();
        newest_of(&[acl("2.5"), acl("0.25")], 1, &mut out);
        assert_eq!(out, acl("0.25"));
    }

    #[test]
    fn settings_of_one_node_are_known() {
        assert!(is_of_each_node(b"Port") && is_of_each_node(b"cluster-announce-ip") && !is_of_each_node(b"maxmemory"));
    }
}
