//! The tables and the walker against an independent codec: `messages.txt` holds its random messages (see `generate_messages.py`).

#![allow(clippy::unwrap_used)]

use proto_kafka::fuzz::{Part, interest, table, text, walk_whole};

struct Expected<'a> {
    hosts: &'a str,
    topics: &'a str,
    ids: &'a str,
    errors: &'a str,
    groups: &'a str,
    transactions: &'a str,
}

#[derive(Default)]
struct Found {
    hosts: Vec<String>,
    topics: Vec<String>,
    ids: Vec<String>,
    errors: Vec<String>,
    groups: Vec<String>,
    transactions: Vec<String>,
}

fn unhex(hex: &str) -> Vec<u8> {
    if hex == "-" {
        return vec![];
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn column(found: &[String]) -> String {
    if found.is_empty() { "-".into() } else { found.join(",") }
}

fn check(key: i16, version: i16, response: bool, body: &[u8], expected: &Expected<'_>) -> bool {
    let apis = [table::api(key), table::measured(key)].into_iter().flatten().filter(|api| api.shape(version).is_some());
    apis.map(|api| check_api(api, version, response, body, expected)).count() > 0
}

fn check_api(api: &table::Api, version: i16, response: bool, body: &[u8], expected: &Expected<'_>) {
    let what = format!("{} v{version} {}", api.name, if response { "response" } else { "request" });
    let mut found = Found::default();
    let walked = walk_whole(api, version, response, body, |_, seen| {
        if seen.part != Part::Value {
            return;
        }
        let name = || String::from_utf8_lossy(text(seen.bytes, seen.compact)).into_owned();
        match seen.interest {
            interest::HOST => found.hosts.push(name()),
            interest::TOPIC if !name().is_empty() => found.topics.push(name()),
            interest::GROUP if !name().is_empty() => found.groups.push(name()),
            interest::TRANSACTIONAL_ID if !name().is_empty() => found.transactions.push(name()),
            interest::TOPIC_ID => found.ids.push(seen.bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
            interest::ERROR => found.errors.push(i16::from_be_bytes([seen.bytes[0], seen.bytes[1]]).to_string()),
            _ => {}
        }
    });
    assert_eq!(walked, Ok(()), "{what}");
    assert_eq!(column(&found.hosts), expected.hosts, "hosts of {what}");
    assert_eq!(column(&found.topics), expected.topics, "topics of {what}");
    assert_eq!(column(&found.groups), expected.groups, "groups of {what}");
    assert_eq!(column(&found.transactions), expected.transactions, "transactional ids of {what}");
    found.ids.retain(|id| id.bytes().any(|byte| byte != b'0'));
    assert_eq!(column(&found.ids), expected.ids, "topic ids of {what}");
    if response {
        assert_eq!(column(&found.errors), expected.errors, "errors of {what}");
    }
    for cut in 0..body.len() {
        assert!(walk_whole(api, version, response, &body[..cut], |_, _| {}).is_err(), "{what} cut at {cut}");
    }
}

#[test]
fn every_message_of_an_independent_codec_is_walked_exactly() {
    let mut checked = 0;
    for line in include_str!("messages.txt").lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split(' ').collect();
        let [key, version, direction, body, hosts, topics, ids, errors, groups, transactions] = columns[..] else { panic!("{line}") };
        let expected = Expected { hosts, topics, ids, errors, groups, transactions };
        let response = direction == "response";
        checked += usize::from(check(key.parse().unwrap(), version.parse().unwrap(), response, &unhex(body), &expected));
    }
    assert!(checked > 500, "only {checked} messages were of APIs in the tables");
}
