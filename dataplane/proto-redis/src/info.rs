//! INFO of all masters as that of one standalone server: what counts is added up, what would show the cluster is said as a server alone
//! says it, and everything else is the first master's own line.
//! Source: <https://redis.io/docs/latest/commands/info/>; field names of redis 7 and Valkey 9.

use crate::merge::decimal;
use std::collections::HashMap;

/// Fields of which the nodes' sum is the server's; with a `*` at the end, all that begin so.
const SUMMED: &[&str] = &[
    "connected_clients",
    "maxclients",
    "blocked_clients",
    "tracking_clients",
    "pubsub_clients",
    "watching_clients",
    "clients_in_timeout_table",
    "total_*",
    "used_memory",
    "used_memory_rss",
    "used_memory_peak",
    "used_memory_overhead",
    "used_memory_startup",
    "used_memory_dataset",
    "used_memory_lua",
    "maxmemory",
    "lazyfree*",
    "rdb_changes_since_last_save",
    "instantaneous_ops_per_sec",
    "rejected_connections",
    "expired_keys",
    "expired_fields",
    "evicted_*",
    "keyspace_*",
    "acl_access_denied_*",
    "unexpected_error_replies",
    "io_threaded_*",
];
/// What begins like a sum and is none: it is of the machine.
const NOT_SUMMED: &[&str] = &["total_system_memory"];
/// Where every node has to be ready, and one that is not shows.
const HIGHEST: &[&str] = &["loading", "async_loading"];

/// One line, and the section that it stands in.
struct Line<'a> {
    section: &'a str,
    field: &'a str,
    value: &'a str,
}

/// Appends the reply for the masters' replies, each a bulk string (RESP2) or a verbatim string (RESP3). `None`: one of them is neither.
pub fn merge<'a>(parts: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) -> Option<()> {
    let mut texts = Vec::new();
    let mut verbatim = false;
    for part in parts {
        let (is_verbatim, text) = text_of(part)?;
        verbatim |= is_verbatim;
        texts.push(text);
    }
    let merged = merged(&texts);
    out.push(if verbatim { b'=' } else { b'$' });
    decimal(out, (merged.len() + if verbatim { 4 } else { 0 }) as u64);
    out.extend_from_slice(if verbatim { b"\r\ntxt:" } else { b"\r\n" });
    out.extend_from_slice(merged.as_bytes());
    out.extend_from_slice(b"\r\n");
    Some(())
}

fn text_of(part: &[u8]) -> Option<(bool, &str)> {
    let text = std::str::from_utf8(part).ok()?.strip_suffix("\r\n")?;
    let (header, text) = text.split_once("\r\n")?;
    match header.as_bytes().first()? {
        b'$' => Some((false, text)),
        b'=' => Some((true, text.strip_prefix("txt:")?)),
        _ => None,
    }
}

fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut section = "";
    text.split("\r\n").filter_map(move |line| {
        if let Some(name) = line.strip_prefix("# ") {
            section = name;
        }
        line.split_once(':').map(|(field, value)| Line { section, field, value })
    })
}

fn merged(texts: &[&str]) -> String {
    let Some((first, others)) = texts.split_first() else { return String::new() };
    let mut elsewhere: HashMap<&str, Vec<&str>> = HashMap::new();
    others.iter().flat_map(|text| lines(text)).for_each(|line| elsewhere.entry(line.field).or_default().push(line.value));
    let mut sum = 0;
    let mut out = String::with_capacity(first.len() + 256);
    let mut section = "";
    for line in first.split("\r\n") {
        if let Some(name) = line.strip_prefix("# ") {
            only_elsewhere(section, others, &mut elsewhere, &mut out);
            section = name;
        }
        let Some((field, value)) = line.split_once(':') else {
            out += line;
            out += "\r\n";
            continue;
        };
        let values = elsewhere.remove(field).unwrap_or_default();
        if let Some(value) = one(&Line { section, field, value }, &values, &mut sum) {
            push(&mut out, field, &value);
        }
    }
    only_elsewhere(section, others, &mut elsewhere, &mut out);
    let end = out.trim_end_matches("\r\n").len();
    out.truncate(end);
    if end > 0 {
        out += "\r\n";
    }
    out
}

/// Commands, errors and keys that the first master does not have.
fn only_elsewhere<'a>(section: &str, others: &[&'a str], elsewhere: &mut HashMap<&'a str, Vec<&'a str>>, out: &mut String) {
    if !matches!(section, "Commandstats" | "Errorstats" | "Keyspace") {
        return;
    }
    let has_blank = out.ends_with("\r\n\r\n");
    if has_blank {
        out.truncate(out.len() - 2);
    }
    for line in others.iter().flat_map(|text| lines(text)).filter(|line| line.section == section) {
        if let Some((value, others)) = elsewhere.remove(line.field).as_deref().and_then(<[&str]>::split_first)
            && let Some(value) = one(&Line { value, ..line }, others, &mut 0)
        {
            push(out, line.field, &value);
        }
    }
    if has_blank {
        *out += "\r\n";
    }
}

fn push(out: &mut String, field: &str, value: &str) {
    if field == "server_mode" {
        *out += "redis_mode:standalone\r\n"; // Valkey's name of it is not the one that clients look for
    }
    for piece in [field, ":", value, "\r\n"] {
        *out += piece;
    }
}

/// The value to show, or `None` for a line that a standalone server does not have. `sum` is the last sum, for the line that shows it to
/// people.
fn one(line: &Line<'_>, others: &[&str], sum: &mut u64) -> Option<String> {
    let Line { section, field, value } = *line;
    match field {
        "redis_mode" | "server_mode" => return Some("standalone".to_owned()),
        "cluster_enabled" | "connected_slaves" | "cluster_connections" => return Some("0".to_owned()),
        "role" => return Some("master".to_owned()),
        "used_memory_human" | "used_memory_rss_human" | "used_memory_peak_human" | "used_memory_lua_human" | "maxmemory_human" => {
            return Some(human(*sum));
        }
        _ => {}
    }
    match section {
        "Cluster" | "Cluster Info" => return None,
        "Replication" if is_replica(field) => return None,
        "Commandstats" | "Errorstats" | "Keyspace" => return Some(pairs(value, others)),
        _ => {}
    }
    let numbers = || std::iter::once(value).chain(others.iter().copied()).filter_map(|value| value.parse::<u64>().ok());
    if HIGHEST.contains(&field) {
        return numbers().max().map(|highest| highest.to_string());
    }
    if is_summed(field) && value.parse::<u64>().is_ok() {
        *sum = numbers().fold(0, u64::saturating_add);
        return Some(sum.to_string());
    }
    Some(value.to_owned())
}

fn is_summed(field: &str) -> bool {
    let fits = |name: &&str| name.strip_suffix('*').map_or(*name == field, |start| field.starts_with(start));
    SUMMED.iter().any(fits) && !NOT_SUMMED.contains(&field) && !field.ends_with("_human")
}

/// `slave0`.
fn is_replica(field: &str) -> bool {
    field.strip_prefix("slave").is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `calls=2,usec=10,usec_per_call=5.00`: sums of the whole numbers; the average follows from them, that of TTLs is the longest.
fn pairs(value: &str, others: &[&str]) -> String {
    let mut out = Vec::new();
    let find = |text: &str, name: &str| text.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok());
    let all = |name: &str| std::iter::once(value).chain(others.iter().copied()).filter_map(|text| find(text, name)).collect::<Vec<_>>();
    let sum = |name: &str| all(name).into_iter().fold(0, u64::saturating_add);
    for pair in value.split(',') {
        let Some((name, shown)) = pair.split_once('=') else { return value.to_owned() };
        out.push(match name {
            "usec_per_call" => format!("{name}={:.2}", sum("usec") as f64 / sum("calls").max(1) as f64),
            "avg_ttl" => format!("{name}={}", all(name).into_iter().max().unwrap_or_default()),
            _ if shown.parse::<u64>().is_ok() => format!("{name}={}", sum(name)),
            _ => pair.to_owned(),
        });
    }
    out.join(",")
}

/// As the server shows bytes to people: `1.08M`.
fn human(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "K", "M", "G", "T"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes}B") } else { format!("{value:.2}{unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.2}P")
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "# Server\r\nserver_mode:cluster\r\narch_bits:64\r\n\r\n# Clients\r\nconnected_clients:2\r\n\r\n# Memory\r\nused_memory:1536\r\nused_memory_human:1.50K\r\ntotal_system_memory:9\r\n\r\n\
        # Replication\r\nrole:master\r\nconnected_slaves:1\r\nslave0:ip=127.0.0.1\r\n\r\n# Commandstats\r\ncmdstat_get:calls=1,usec=4,usec_per_call=4.00\r\n\r\n# Cluster\r\ncluster_enabled:1\r\n\r\n\
        # Cluster Info\r\ncluster_state:ok\r\n\r\n# Keyspace\r\n";
    const B: &str = "# Server\r\nserver_mode:cluster\r\narch_bits:64\r\n\r\n# Clients\r\nconnected_clients:3\r\n\r\n# Memory\r\nused_memory:1536\r\nused_memory_human:1.50K\r\ntotal_system_memory:9\r\n\r\n\
        # Commandstats\r\ncmdstat_get:calls=3,usec=8,usec_per_call=2.66\r\ncmdstat_set:calls=1,usec=1,usec_per_call=1.00\r\n\r\n# Keyspace\r\ndb0:keys=2,expires=1,avg_ttl=7\r\n";

    #[test]
    fn the_masters_are_one_standalone_server() {
        assert_eq!(
            merged(&[A, B]),
            "# Server\r\nredis_mode:standalone\r\nserver_mode:standalone\r\narch_bits:64\r\n\r\n# Clients\r\nconnected_clients:5\r\n\r\n# Memory\r\nused_memory:3072\r\nused_memory_human:3.00K\r\ntotal_system_memory:9\r\n\r\n\
             # Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n# Commandstats\r\ncmdstat_get:calls=4,usec=12,usec_per_call=3.00\r\n\
             cmdstat_set:calls=1,usec=1,usec_per_call=1.00\r\n\r\n# Cluster\r\ncluster_enabled:0\r\n\r\n# Cluster Info\r\n\r\n# Keyspace\r\ndb0:keys=2,expires=1,avg_ttl=7\r\n"
        );
    }

    #[test]
    fn both_kinds_of_strings_are_read_and_written() {
        let reply = |part: &str| {
            let mut out = Vec::new();
            merge([part.as_bytes(), part.as_bytes()].into_iter(), &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        assert_eq!(reply("$16\r\n# X\r\nloading:1\r\n\r\n").as_deref(), Some("$16\r\n# X\r\nloading:1\r\n\r\n"));
        assert_eq!(reply("=20\r\ntxt:# X\r\nloading:1\r\n\r\n").as_deref(), Some("=20\r\ntxt:# X\r\nloading:1\r\n\r\n"));
        assert_eq!(reply("$0\r\n\r\n").as_deref(), Some("$0\r\n\r\n"));
        assert_eq!(reply(":1\r\n"), None);
    }
}
