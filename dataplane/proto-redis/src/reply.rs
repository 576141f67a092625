//! Where a server's replies end, in RESP2 and RESP3, in whatever pieces they come.
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use crate::frame::{Wrong, number};
use crate::limits;

/// The scan of one reply; keeps its place between pieces.
#[derive(Debug)]
pub struct Scan {
    /// Bytes of a bulk that are still to come, its CRLF included.
    skip: u64,
    /// Elements still to come of each open aggregate, outermost first.
    open: Vec<u64>,
}

impl Default for Scan {
    fn default() -> Self {
        Scan { skip: 0, open: Vec::with_capacity(4) }
    }
}

impl Scan {
    /// The next reply starts at its front.
    pub fn reset(&mut self) {
        self.skip = 0;
        self.open.clear();
    }

    /// Bytes of the present bulk that are still to come.
    pub fn announced(&self) -> u64 {
        self.skip
    }

    /// How many of `bytes` belong to the reply, and whether it ends there. What is not consumed of an unfinished reply (a header line that
    /// is not complete) is to be presented again.
    ///
    /// # Errors
    /// What this is not is RESP, or it is over a limit.
    #[inline]
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(usize, bool), Wrong> {
        let mut at = 0;
        loop {
            if self.skip > 0 {
                let step = self.skip.min((bytes.len() - at) as u64);
                self.skip -= step;
                at += step as usize;
                if self.skip > 0 {
                    return Ok((at, false));
                }
                if self.close_one() {
                    return Ok((at, true));
                }
            }
            let Some(next) = self.element(bytes, at)? else { return Ok((at, false)) };
            at = next;
            if self.skip == 0 && self.open.is_empty() {
                return Ok((at, true));
            }
        }
    }

    /// An element is complete, and with it perhaps aggregates around it. Whether that was all.
    #[inline]
    fn close_one(&mut self) -> bool {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return false;
            }
            self.open.pop();
        }
        true
    }

    /// Reads a header; where the bytes after it start. `None`: it is not complete.
    #[inline]
    fn element(&mut self, bytes: &[u8], at: usize) -> Result<Option<usize>, Wrong> {
        let Some(kind) = bytes.get(at) else { return Ok(None) };
        match kind {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {
                let next = line_end(bytes, at)?;
                if next.is_some() {
                    self.close_one();
                }
                Ok(next)
            }
            b'$' | b'=' | b'!' => {
                let Some((length, next)) = number(bytes, at + 1, "bulk length")? else { return Ok(None) };
                if length < 0 {
                    self.close_one();
                } else {
                    self.skip = length as u64 + 2;
                }
                Ok(Some(next))
            }
            b'*' | b'%' | b'~' | b'>' | b'|' => self.aggregate(*kind, bytes, at),
            other => Err(format!("unknown type byte 0x{other:02x}").into()),
        }
    }

    fn aggregate(&mut self, kind: u8, bytes: &[u8], at: usize) -> Result<Option<usize>, Wrong> {
        let Some((count, next)) = number(bytes, at + 1, "aggregate length")? else { return Ok(None) };
        let pairs = if matches!(kind, b'%' | b'|') { 2 } else { 1 };
        let count = u64::try_from(count).unwrap_or(0).checked_mul(pairs).ok_or("aggregate length")?;
        // Attributes come before the element they describe and do not count as one.
        let count = if kind == b'|' { count + 1 } else { count };
        if count == 0 {
            self.close_one();
        } else if self.open.len() >= limits::MAX_DEPTH {
            return Err("nested too deeply".into());
        } else {
            self.open.push(count);
        }
        Ok(Some(next))
    }
}

fn line_end(bytes: &[u8], at: usize) -> Result<Option<usize>, Wrong> {
    match memchr::memchr(b'\n', &bytes[at..]) {
        Some(length) if length > limits::MAX_LINE => Err("line too long".into()),
        Some(length) => Ok(Some(at + length + 1)),
        None if bytes.len() - at > limits::MAX_LINE => Err("line too long".into()),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLIES: &[&[u8]] = &[
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"$0\r\n\r\n",
        b"$5\r\nab\r\nc\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n",
        b"%2\r\n+a\r\n:1\r\n+b\r\n*0\r\n",
        b"~1\r\n,1.5\r\n",
        b"|1\r\n+k\r\n+v\r\n:7\r\n",
        b">2\r\n+pubsub\r\n_\r\n",
        b"=7\r\ntxt:abc\r\n",
    ];

    #[test]
    fn every_reply_ends_where_it_ends_however_it_is_cut() {
        for reply in REPLIES {
            let mut scan = Scan::default();
            assert_eq!(scan.feed(&[reply, &b"+next\r\n"[..]].concat()), Ok((reply.len(), true)), "{reply:?}");
            for cut in 0..reply.len() {
                scan.reset();
                let (consumed, done) = scan.feed(&reply[..cut]).unwrap();
                assert!(!done, "{reply:?} at {cut}");
                assert_eq!(scan.feed(&reply[consumed..]), Ok((reply.len() - consumed, true)), "{reply:?} at {cut}");
            }
        }
    }

    #[test]
    fn garbage_and_depth_are_errors() {
        assert!(Scan::default().feed(b"hello\r\n").is_err());
        assert!(Scan::default().feed(b"$x\r\n").is_err());
        assert!(Scan::default().feed(&b"*1\r\n".repeat(limits::MAX_DEPTH + 1)).is_err());
    }
}
