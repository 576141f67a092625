//! Addresses that nobody is to connect to, and that are told beside the brokers' own: the controllers', those in brokers' settings, and
//! those in the texts of errors. They are left out, as there is no place of ours that they could be replaced by.

use crate::address::Facade;
use crate::conf::Backend;
use crate::edit::{Mark, Splice};
use crate::shared::Shared;
use crate::tables::interest;
use crate::walk::Part;

/// Settings whose values are addresses; those that end in `.bootstrap.servers` are as well.
const ADDRESSED: [&[u8]; 5] =
    [b"advertised.listeners", b"listeners", b"controller.quorum.bootstrap.servers", b"controller.quorum.voters", b"zookeeper.connect"];

/// What stands in a text for an address that is no broker's.
const HIDDEN: &str = "(address hidden)";

/// Takes the listeners of the quorum's nodes out of a DescribeQuorum response: they are the controllers', which have no place here.
pub fn listeners(marks: &[Mark], splices: &mut Vec<Splice>) {
    let borders = |part: Part| marks.iter().filter(move |mark| mark.interest == interest::NODES && mark.part == part);
    for (count, end) in borders(Part::Count).zip(borders(Part::End)) {
        splices.push(Splice { at: count.at, len: end.at - count.at, with: crate::codec::count(count.compact, 0) });
    }
}

/// Hides the values of settings that are addresses, as brokers hide passwords: null, and said to be sensitive.
pub fn settings(body: &[u8], marks: &[Mark], splices: &mut Vec<Splice>) {
    let (mut is_address, mut is_hidden) = (false, false);
    for mark in marks.iter().filter(|mark| mark.part == Part::Value) {
        match mark.interest {
            interest::CONFIG_NAME => {
                let name = mark.text(body);
                is_address = ADDRESSED.contains(&name) || name.ends_with(b".bootstrap.servers");
                is_hidden = false;
            }
            interest::CONFIG_VALUE | interest::SYNONYM_VALUE if is_address && !mark.text(body).is_empty() => {
                is_hidden = true;
                splices.push(mark.with(if mark.compact { vec![0] } else { vec![0xff, 0xff] }));
            }
            interest::SENSITIVE if is_hidden => splices.push(mark.with([1])),
            _ => {}
        }
    }
}

/// Puts our addresses in place of the brokers' in the texts of errors, and hides others.
pub fn texts(body: &[u8], marks: &[Mark], facade: &Facade<'_>, backend: &Backend, shared: &mut Shared, splices: &mut Vec<Splice>) {
    let directory = shared.directory(&backend.name);
    let ours = |is_endpoint: bool, host: &str, port: u16| match directory.broker_at(host, port) {
        Some(node) => {
            let (host, port) = facade.place(node);
            Some(format!("{host}:{port}"))
        }
        None => {
            let is_known = is_endpoint || directory.has_host(host) || backend.bootstrap.iter().any(|(known, _)| **known == *host);
            is_known.then(|| HIDDEN.to_string())
        }
    };
    for mark in marks.iter().filter(|mark| mark.is(interest::ERROR_MESSAGE)) {
        let Ok(text) = std::str::from_utf8(mark.text(body)) else { continue };
        splices.extend(replaced(text, ours).map(|text| mark.with_text(text.as_bytes())));
    }
}

/// A text with every HOST:PORT as `ours` has it, which is told whether `//` stands before it; `None` where nothing changes.
fn replaced(text: &str, ours: impl Fn(bool, &str, u16) -> Option<String>) -> Option<String> {
    let mut out = String::new();
    let mut copied = 0;
    for (colon, _) in text.match_indices(':') {
        let digits = text[colon + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let end = colon + 1 + digits;
        let Ok(port) = text[colon + 1..end].parse() else { continue };
        let before = text.get(copied..colon).unwrap_or_default();
        let bare = before.strip_suffix(']').and_then(|inner| Some((inner.rfind('[')?, inner)));
        let (at, host) = match bare {
            Some((open, inner)) => (copied + open, &inner[open + 1..]),
            None => {
                let length = before.bytes().rev().take_while(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(byte)).count();
                (colon - length, &text[colon - length..colon])
            }
        };
        let with = if host.is_empty() { None } else { ours(text[..at].ends_with("//"), host, port) };
        if let Some(with) = with {
            out.push_str(&text[copied..at]);
            out.push_str(&with);
            copied = end;
        }
    }
    out.push_str(&text[copied..]);
    (copied > 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::{apply, marks};
    use crate::table::api;

    #[test]
    fn addresses_in_texts_are_ours_or_hidden() {
        let ours = |is_endpoint: bool, host: &str, port: u16| match (host, port) {
            ("kafka-1.internal" | "fe80::1", 9092) => Some("localhost:9101".to_string()),
            _ => (is_endpoint || host == "kafka-1.internal").then(|| HIDDEN.to_string()),
        };
        for (text, expected) in [
            ("at kafka-1.internal:9092: no", Some("at localhost:9101: no")),
            ("[fe80::1]:9092", Some("localhost:9101")),
            ("'PLAIN://kafka-1.internal:9092,CTL://10.0.0.7:9093'", Some("'PLAIN://localhost:9101,CTL://(address hidden)'")),
            ("kafka-1.internal:99", Some("(address hidden)")),
            ("since 12:30, orders:7 and a: b", None),
            ("überall:1 :2 ]:3", None),
        ] {
            assert_eq!(replaced(text, ours).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn settings_that_are_addresses_are_hidden_as_passwords_are() {
        // DescribeConfigs v1: throttle, results: error, message, type, name, configs: name, value, read only, source, sensitive, synonyms.
        let setting = |name: &str, value: Option<&str>, sensitive: u8| {
            let string = |text: &str| crate::codec::string(false, text.as_bytes());
            let value = || value.map_or(vec![0xff, 0xff], string);
            [string(name), value(), vec![1, 4, sensitive], vec![0, 0, 0, 1], string(name), value(), vec![4]].concat()
        };
        let body = |settings: [Vec<u8>; 3]| [b"\0\0\0\0\0\0\0\x01\0\0\xff\xff\x04\0\x011\0\0\0\x03".to_vec(), settings.concat()].concat();
        let told = body([
            setting("listeners", Some("PLAIN://kafka-1.internal:9092"), 0),
            setting("num.partitions", Some("4"), 0),
            setting("rlmm.bootstrap.servers", Some("x:1"), 0),
        ]);
        let mut splices = vec![];
        settings(&told, &marks(api(32).unwrap().shape(1).unwrap().response, &told).unwrap(), &mut splices);
        let mut out = vec![];
        apply(&told, &mut splices, &mut out);
        let hidden = |name| setting(name, None, 1);
        assert_eq!(out, body([hidden("listeners"), setting("num.partitions", Some("4"), 0), hidden("rlmm.bootstrap.servers")]));
    }

    #[test]
    fn the_quorums_nodes_keep_their_ids_only() {
        let listener = [&[11][..], b"CONTROLLER", &[9], b"10.0.0.7", &[0x23, 0x85, 0]].concat();
        // Error, message null, no topics, two nodes with a listener each, tags.
        let node = |id: u8, listeners: &[&[u8]]| [&[0, 0, 0, id, listeners.len() as u8 + 1][..], &listeners.concat(), &[0]].concat();
        let body = |listeners: &[&[u8]]| [&[0, 0, 0, 1, 3][..], &node(1, listeners), &node(2, listeners), &[0]].concat();
        let told = body(&[&listener]);
        let mut splices = vec![];
        super::listeners(&marks(api(55).unwrap().shape(2).unwrap().response, &told).unwrap(), &mut splices);
        let mut out = vec![];
        apply(&told, &mut splices, &mut out);
        assert_eq!(out, body(&[]));
    }
}
