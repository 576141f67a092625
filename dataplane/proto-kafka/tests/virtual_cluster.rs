//! Renaming over random messages of every API and version (`messages.txt`): names come back, no physical one is seen, records are untouched.

#![allow(clippy::unwrap_used)]

use proto_kafka::fuzz::{Asked, Part, Refusal, Seen, Stretch, interest, request, response, support, table, text, walk_whole};
use proto_kafka::{Names, VirtualCluster};
use std::sync::Arc;

const PREFIX: &str = "tenant~";
const FOREIGN: &str = "others~";
/// What messages.txt is allowed to be refused for: its pattern types and resource types are random numbers, and its patterns random words.
const REFUSED: [&str; 8] =
    ["DescribeAcls", "CreateAcls", "DeleteAcls", "AlterConfigs", "IncrementalAlterConfigs", "ElectLeaders", "FindCoordinator", "Produce"];

fn cluster(aliases: &[(&str, &str)]) -> Arc<VirtualCluster> {
    let names = || Names::new(PREFIX, []).unwrap();
    let aliases: Vec<(String, String)> = aliases.iter().map(|(client, physical)| (client.to_string(), physical.to_string())).collect();
    let topics = Names::new(PREFIX, aliases.iter().map(|(client, physical)| (client, physical))).unwrap();
    Arc::new(VirtualCluster { name: "a".into(), topics, groups: names(), transactions: names(), cluster_id: "virtual-id".into() })
}

struct Message {
    api: &'static table::Api,
    version: i16,
    is_response: bool,
    body: Vec<u8>,
}

impl Message {
    fn what(&self) -> String {
        format!("{} v{} {}", self.api.name, self.version, if self.is_response { "response" } else { "request" })
    }
}

fn messages(is_response: bool) -> Vec<Message> {
    let unhex = |hex: &str| (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
    let parse = |line: &str| {
        let columns: Vec<&str> = line.split(' ').collect();
        let (api, version) = (table::api(columns[0].parse().ok()?)?, columns[1].parse().ok()?);
        api.shape(version)?;
        let body = if columns[3] == "-" { vec![] } else { unhex(columns[3]) };
        Some(Message { api, version, is_response: columns[2] == "response", body })
    };
    let all = include_str!("messages.txt").lines().skip(1).filter_map(parse);
    all.filter(|message| message.is_response == is_response && support::offers(&cluster(&[]), message.api.key)).collect()
}

fn names(message: &Message, body: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = vec![];
    walk_whole(message.api, message.version, message.is_response, body, |_, seen| {
        if seen.part == Part::Value && is_name(&seen) {
            found.push((seen.interest, text(seen.bytes, seen.compact).to_vec()));
        }
    })
    .unwrap();
    found
}

fn is_name(seen: &Seen<'_>) -> bool {
    matches!(seen.interest, interest::TOPIC | interest::GROUP | interest::TRANSACTIONAL_ID) && !is_null(seen)
}

fn is_null(seen: &Seen<'_>) -> bool {
    if seen.compact { seen.bytes[0] == 0 } else { seen.bytes[0] >= 0x80 }
}

/// The message with another text in each of its names.
fn with_names(message: &Message, mut rename: impl FnMut(u8, &[u8]) -> Vec<u8>) -> Vec<u8> {
    let (mut out, mut copied) = (vec![], 0);
    walk_whole(message.api, message.version, message.is_response, &message.body, |at, seen| {
        if seen.part == Part::Value && is_name(&seen) {
            let name = rename(seen.interest, text(seen.bytes, seen.compact));
            out.extend(&message.body[copied..at]);
            put(&mut out, seen.compact, &name);
            copied = at + seen.bytes.len();
        }
    })
    .unwrap();
    out.extend(&message.body[copied..]);
    out
}

fn put(out: &mut Vec<u8>, compact: bool, name: &[u8]) {
    let length = name.len() + usize::from(compact);
    match (compact, length) {
        (false, _) => out.extend((length as i16).to_be_bytes()),
        (true, 0..=127) => out.push(length as u8),
        (true, _) => out.extend([length as u8 | 0x80, (length >> 7) as u8]),
    }
    out.extend(name);
}

fn contains(bytes: &[u8], what: &str) -> bool {
    bytes.windows(what.len()).any(|window| window == what.as_bytes())
}

#[test]
fn requests_name_physical_things_only() {
    let cluster = cluster(&[]);
    let (mut renamed, mut refused) = (0, 0);
    for message in messages(false) {
        match request(&cluster, message.api, message.version, &message.body) {
            Ok(sent) => {
                let (before, after) = (names(&message, &message.body), names(&message, &sent.body));
                // A list of all topics begins at the prefix, which adds a name.
                let added = after.len() - before.len();
                assert!(added == 0 || message.api.name == "DescribeTopicPartitions", "{}", message.what());
                for ((_, name), (_, physical)) in before.iter().zip(&after) {
                    assert_eq!(*physical, [PREFIX.as_bytes(), name].concat(), "{}", message.what());
                }
                renamed += before.len();
            }
            Err(Refusal::Refused(..)) if REFUSED.contains(&message.api.name) || message.api.name.ends_with("Heartbeat") => refused += 1,
            Err(error) => panic!("{}: {error:?}", message.what()),
        }
    }
    assert!(renamed > 300 && refused < 40, "{renamed} {refused}");
}

/// Brokers refuse these, and a tenant must not get the prefix alone for one.
#[test]
fn what_is_no_name_stays_none() {
    let cluster = cluster(&[]);
    let sent = |api: &str, none: &[u8]| {
        let message = messages(false).into_iter().find(|message| message.api.name == api && !names(message, &message.body).is_empty()).unwrap();
        let body = with_names(&message, |_, _| none.to_vec());
        let body = request(&cluster, message.api, message.version, &body).unwrap().body;
        names(&message, &body).into_iter().map(|(_, name)| name).next().unwrap()
    };
    for (api, none) in [("CreateTopics", ".."), ("CreateTopics", ""), ("Metadata", "."), ("JoinGroup", ""), ("InitProducerId", "")] {
        assert_eq!(sent(api, none.as_bytes()), none.as_bytes(), "{api}");
    }
    assert_eq!(sent("OffsetDelete", b""), PREFIX.as_bytes());
}

#[test]
fn responses_come_back_under_the_clients_names() {
    let cluster = cluster(&[]);
    let mut same = 0;
    for message in messages(true) {
        // Cluster ids, patterns and kinds of resources in these are random, and what can't be the tenant's is left out.
        if matches!(message.api.key, 3 | 10 | 29 | 31..=33 | 44 | 60 | 69 | 74) {
            continue;
        }
        let physical = with_names(&message, |_, name| [PREFIX.as_bytes(), name].concat());
        let back = response(&cluster, message.api.key, Asked::default(), message.api.shape(message.version).unwrap().response, &physical).unwrap();
        assert!(back == message.body, "{}", message.what());
        same += usize::from(physical != message.body);
    }
    assert!(same > 80, "{same}");
}

#[test]
fn what_is_another_tenants_is_left_out_everywhere() {
    let cluster = cluster(&[]);
    for message in messages(true) {
        let mut at = 0;
        let mixed = with_names(&message, |_, name| {
            at += 1;
            let prefix = if at % 2 == 0 { PREFIX } else { FOREIGN };
            [prefix.as_bytes(), name].concat()
        });
        let shape = message.api.shape(message.version).unwrap();
        // Where nothing can be left out, the connection ends.
        let Ok(back) = response(&cluster, message.api.key, Asked::default(), shape.response, &mixed) else { continue };
        walk_whole(message.api, message.version, true, &back, |_, _| {}).unwrap();
        assert!(!contains(&back, FOREIGN) && !contains(&back, PREFIX), "{}", message.what());
    }
}

/// What a message with records becomes on its way, patched field by field.
fn streamed(cluster: &Arc<VirtualCluster>, message: &Message, body: &[u8]) -> Vec<u8> {
    let program = message.api.shape(message.version).unwrap();
    let program = if message.is_response { program.response } else { program.request };
    let is_flexible = message.api.is_flexible(message.version);
    let mut stretch = Stretch::begin(cluster, program, is_flexible, message.is_response, body, body.len() as u64).unwrap().unwrap();
    let announced = stretch.announced(body.len() as u32).unwrap();
    let (mut out, mut copied) = (vec![], 0);
    walk_whole(message.api, message.version, message.is_response, body, |at, seen| {
        if let Some(with) = stretch.patch(&seen).unwrap() {
            out.extend(&body[copied..at]);
            out.extend(with);
            copied = at + seen.bytes.len();
        }
    })
    .unwrap();
    out.extend(&body[copied..]);
    stretch.end().unwrap();
    assert_eq!(out.len(), announced as usize, "{}", message.what());
    out
}

const LONG_ALIAS: &str = "a-long-alias-of-something";
const LONG_TARGET: &str = "a-much-longer-name-than-its-alias-has";

/// Every third topic is one alias, every third the other: names in front and behind.
fn aliased(at: usize, name: &[u8]) -> (Vec<u8>, Vec<u8>) {
    match at % 3 {
        0 => (b"x".to_vec(), LONG_TARGET.into()),
        1 => (LONG_ALIAS.into(), b"y".to_vec()),
        _ => prefixed(name),
    }
}

fn prefixed(name: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (name.to_vec(), [PREFIX.as_bytes(), name].concat())
}

#[test]
fn messages_with_records_have_the_size_that_was_announced() {
    for has_aliases in [false, true] {
        let cluster = cluster(if has_aliases { &[("x", LONG_TARGET), (LONG_ALIAS, "y")] } else { &[] });
        let bearing = messages(false).into_iter().filter(|message| message.api.name == "Produce");
        let bearing = bearing.chain(messages(true).into_iter().filter(|message| message.api.name == "Fetch"));
        let mut checked = 0;
        for message in bearing.filter(|message| !has_aliases || message.api.is_flexible(message.version)) {
            let both = |at: usize, kind: u8, name: &[u8]| if has_aliases && kind == interest::TOPIC { aliased(at, name) } else { prefixed(name) };
            let (mut at, mut under) = (0, 0);
            let in_front = with_names(&message, |kind, name| {
                at += 1;
                both(at, kind, name).0
            });
            let behind = with_names(&message, |kind, name| {
                under += 1;
                both(under, kind, name).1
            });
            let (given, expected) = if message.is_response { (behind, in_front) } else { (in_front, behind) };
            let out = streamed(&cluster, &message, &given);
            assert!(names(&message, &out) == names(&message, &expected), "{}", message.what());
            checked += 1;
        }
        assert!(checked >= 10, "{checked}");
    }
}

/// DescribeTopicPartitions v0: a list of topics, page by page, in the order of the brokers' names.
mod pages {
    use super::*;

    const PAGES: i16 = 75;

    fn string(text: &str) -> Vec<u8> {
        let mut out = vec![];
        put(&mut out, true, text.as_bytes());
        out
    }

    /// A topic without partitions: error, name, id, internal, partitions, operations, tags.
    fn topic(name: &str) -> Vec<u8> {
        [&[0, 0][..], &string(name), &[7; 16], &[0, 1, 0, 0, 0, 0, 0]].concat()
    }

    fn page(topics: &[&str], cursor: Option<&str>) -> Vec<u8> {
        let cursor = cursor.map_or(vec![0xff], |name| [&[1][..], &string(name), &[0, 0, 0, 3, 0]].concat());
        let topics: Vec<Vec<u8>> = topics.iter().map(|name| topic(name)).collect();
        [&[0, 0, 0, 0, topics.len() as u8 + 1][..], &topics.concat(), &cursor, &[0]].concat()
    }

    fn shown(topics: &[&str], cursor: Option<&str>) -> Vec<u8> {
        let program = table::api(PAGES).unwrap().shape(0).unwrap().response;
        response(&cluster(&[]), PAGES, Asked::default(), program, &page(topics, cursor)).unwrap()
    }

    #[test]
    fn the_first_page_begins_at_the_tenants_first_topic() {
        let first = |body: &[u8]| request(&cluster(&[]), table::api(PAGES).unwrap(), 0, body).unwrap().body;
        // No topics named, at most 9 partitions, no cursor.
        assert_eq!(first(&[1, 0, 0, 0, 9, 0xff, 0]), [&[1, 0, 0, 0, 9, 1][..], &string(PREFIX), &[0, 0, 0, 0, 0, 0]].concat());
        let next = |name: &str| [&[1, 0, 0, 0, 9, 1][..], &string(name), &[0, 0, 0, 3, 0, 0]].concat();
        assert_eq!(first(&next("x")), next("tenant~x"));
    }

    #[test]
    fn a_page_ends_where_the_tenants_topics_do() {
        assert_eq!(shown(&["tenant~a", "tenant~b"], Some("tenant~c")), page(&["a", "b"], Some("c")));
        assert_eq!(shown(&["tenant~a", "tenant~b"], Some("unlike")), page(&["a", "b"], None));
        assert_eq!(shown(&["tenant~a", "unlike"], None), page(&["a"], None));
    }
}
