//! Reading CLUSTER SLOTS.
//! Source: <https://redis.io/docs/latest/commands/cluster-slots/>.

use crate::frame::number;

/// Where a node is. An empty host, or `?`, is the host that was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Its availability zone, as it says itself; else empty.
    pub zone: String,
}

impl Place {
    /// Whether it is that host and port, or that port of whoever was asked.
    pub fn is(&self, (host, port): (&str, u16)) -> bool {
        self.port == port && (self.host == host || matches!(self.host.as_str(), "" | "?"))
    }
}

/// A run of slots, its master, and who has copies of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Range {
    /// First slot.
    pub first: u16,
    /// Last slot.
    pub last: u16,
    /// Who takes its writes.
    pub master: Place,
    /// Who follows.
    pub replicas: Vec<Place>,
}

/// The ranges of a reply to CLUSTER SLOTS, of either version; `None` if it is something else.
pub fn ranges(reply: &[u8]) -> Option<Vec<Range>> {
    let mut reader = Reader::new(reply);
    let count = reader.header(b'*')?;
    let mut ranges = Vec::new();
    for _ in 0..count {
        let fields = reader.header(b'*').filter(|fields| *fields >= 3)?;
        let (first, last) = (reader.header(b':')?, reader.header(b':')?);
        let master = reader.place()?;
        let replicas = (3..fields).map(|_| reader.place()).collect::<Option<Vec<Place>>>()?;
        if !(0..=last).contains(&first) || last >= crate::slot::SLOTS as i64 {
            return None;
        }
        ranges.push(Range { first: first as u16, last: last as u16, master, replicas });
    }
    Some(ranges)
}

/// Reads the values of a reply.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// From the beginning of a reply.
    pub(crate) fn new(reply: &'a [u8]) -> Reader<'a> {
        Reader { rest: reply }
    }

    /// How many names with values follow: a map, or in RESP2 an array of both.
    pub(crate) fn pairs(&mut self) -> Option<i64> {
        match self.rest.first()? {
            b'%' => self.header(b'%'),
            _ => Some(self.header(b'*')? / 2),
        }
    }

    /// The number after a type's letter.
    pub(crate) fn header(&mut self, kind: u8) -> Option<i64> {
        if self.rest.first() != Some(&kind) {
            return None;
        }
        let (value, next) = number(self.rest, 1, "").ok()??;
        self.rest = &self.rest[next..];
        Some(value)
    }

    /// A bulk string; empty for null.
    pub(crate) fn text(&mut self) -> Option<String> {
        if let Some(rest) = self.rest.strip_prefix(b"_\r\n") {
            self.rest = rest;
            return Some(String::new());
        }
        let length = self.header(b'$')?;
        let Ok(length) = usize::try_from(length) else { return Some(String::new()) };
        let text = String::from_utf8_lossy(self.rest.get(..length)?).into_owned();
        self.rest = self.rest.get(length + 2..)?;
        Some(text)
    }

    /// A node: host, port, and what else there is.
    fn place(&mut self) -> Option<Place> {
        let fields = self.header(b'*').filter(|fields| *fields >= 2)?;
        let host = self.text()?;
        let port = u16::try_from(self.header(b':')?).ok()?;
        let mut zone = String::new();
        for _ in 2..fields {
            match self.rest.first() {
                Some(b'*' | b'%') => zone = self.zone()?,
                _ => self.skip(0)?,
            }
        }
        Some(Place { host, port, zone })
    }

    /// The zone among the names and values that are known of a node.
    fn zone(&mut self) -> Option<String> {
        let mut zone = String::new();
        for _ in 0..self.pairs()? {
            let (name, value) = (self.text()?, self.text()?);
            if name == "availability-zone" {
                zone = value;
            }
        }
        Some(zone)
    }

    /// Passes over one value; metadata of a node is nested once.
    fn skip(&mut self, depth: usize) -> Option<()> {
        match self.rest.first()? {
            kind @ (b'*' | b'%') if depth < 4 => {
                let (kind, each) = (*kind, if *kind == b'%' { 2 } else { 1 });
                for _ in 0..self.header(kind)?.checked_mul(each)? {
                    self.skip(depth + 1)?;
                }
                Some(())
            }
            b'$' | b'_' => self.text().map(|_| ()),
            b':' => self.header(b':').map(|_| ()),
            _ => None,
        }
    }
}

/// What `MOVED 3999 127.0.0.1:6381` and `ASK ...` say: the slot, the host (empty: the one that was asked) and the port.
pub fn redirect(error: &[u8]) -> Option<(u16, String, u16)> {
    let text = std::str::from_utf8(error).ok()?;
    let mut words = text.split_ascii_whitespace().skip(1);
    let slot: u16 = words.next()?.parse().ok().filter(|slot| usize::from(*slot) < crate::slot::SLOTS)?;
    let (host, port) = words.next()?.rsplit_once(':')?;
    Some((slot, host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_with_replicas_and_metadata() {
        let known = "*4\r\n$8\r\nhostname\r\n$1\r\nh\r\n$17\r\navailability-zone\r\n$1\r\nz\r\n";
        let node = |port: u16| format!("*4\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$2\r\nid\r\n{known}");
        let reply = format!("*2\r\n*4\r\n:0\r\n:5460\r\n{}{}*3\r\n:5461\r\n:16383\r\n*3\r\n$-1\r\n:7002\r\n$2\r\nid\r\n", node(7001), node(7004));
        let found = ranges(reply.as_bytes()).unwrap();
        let place = |host: &str, port, zone: &str| Place { host: host.into(), port, zone: zone.into() };
        assert_eq!(found[0], Range { first: 0, last: 5460, master: place("127.0.0.1", 7001, "z"), replicas: vec![place("127.0.0.1", 7004, "z")] });
        assert_eq!(found[1], Range { first: 5461, last: 16383, master: place("", 7002, ""), replicas: vec![] });
        for cut in 0..reply.len() {
            assert_eq!(ranges(&reply.as_bytes()[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn redirects() {
        assert_eq!(redirect(b"-MOVED 3999 127.0.0.1:6381\r\n"), Some((3999, "127.0.0.1".into(), 6381)));
        assert_eq!(redirect(b"-ASK 1 ::1:6381\r\n"), Some((1, "::1".into(), 6381)));
        assert_eq!(redirect(b"-MOVED 1 :6381\r\n"), Some((1, String::new(), 6381)));
        assert_eq!(redirect(b"-MOVED 99999 a:1\r\n"), None);
    }
}
