//! LATENCY HISTOGRAM of all masters as that of one server: the calls of each command are added up, and so are its buckets, which count all
//! calls up to their limit.
//! Source: <https://redis.io/docs/latest/commands/latency-histogram/>.

use crate::local::map;
use crate::merge::{bulk, integer};
use crate::value::{elements, integer_of, text};
use std::collections::{BTreeMap, BTreeSet};

/// Of one command on one server: its calls, and how many took at most so many microseconds.
type Histogram = (i64, BTreeMap<i64, i64>);

/// Appends the merged reply. `None`: one of them is something else.
pub fn merge<'a>(parts: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) -> Option<()> {
    let mut all: BTreeMap<&[u8], Vec<Histogram>> = BTreeMap::new();
    let mut resp = 2;
    for part in parts {
        resp = if part.first() == Some(&b'%') { 3 } else { resp };
        for pair in elements(part)?.chunks_exact(2) {
            all.entry(text(pair[0])?).or_default().push(histogram(pair[1])?);
        }
    }
    map(out, resp, all.len());
    for (name, histograms) in all {
        bulk(out, name);
        map(out, resp, 2);
        bulk(out, b"calls");
        integer(out, histograms.iter().map(|(calls, _)| calls).sum());
        bulk(out, b"histogram_usec");
        let limits: BTreeSet<i64> = histograms.iter().flat_map(|(_, buckets)| buckets.keys().copied()).collect();
        map(out, resp, limits.len());
        for limit in limits {
            integer(out, limit);
            // Behind a server's last bucket are as many as in it.
            integer(out, histograms.iter().filter_map(|(_, buckets)| buckets.range(..=limit).next_back()).map(|(_, count)| count).sum());
        }
    }
    Some(())
}

fn histogram(value: &[u8]) -> Option<Histogram> {
    let mut found = Histogram::default();
    for pair in elements(value)?.chunks_exact(2) {
        match text(pair[0])? {
            b"calls" => found.0 = integer_of(pair[1])?,
            _ => {
                for bucket in elements(pair[1])?.chunks_exact(2) {
                    found.1.insert(integer_of(bucket[0])?, integer_of(bucket[1])?);
                }
            }
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_buckets_are_added_up() {
        let one = b"*2\r\n$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:7\r\n$14\r\nhistogram_usec\r\n*4\r\n:1\r\n:5\r\n:2\r\n:7\r\n";
        let other = b"*4\r\n$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:10\r\n$14\r\nhistogram_usec\r\n*4\r\n:2\r\n:3\r\n:4\r\n:10\r\n$3\r\nset\r\n*4\r\n$5\r\ncalls\r\n:1\r\n$14\r\nhistogram_usec\r\n*0\r\n";
        let mut out = Vec::new();
        merge([&one[..], other].into_iter(), &mut out).unwrap();
        let get = "*4\r\n$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:17\r\n$14\r\nhistogram_usec\r\n*6\r\n:1\r\n:5\r\n:2\r\n:10\r\n:4\r\n:17\r\n";
        let set = "$3\r\nset\r\n*4\r\n$5\r\ncalls\r\n:1\r\n$14\r\nhistogram_usec\r\n*0\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), [get, set].concat());
        assert_eq!(merge([&b":1\r\n"[..]].into_iter(), &mut Vec::new()), None);
    }
}
