//! Where a client's commands begin and end. Words are byte ranges; nothing is copied or built.
//!
//! Three outcomes: a command, more bytes needed, an error of the client. The scan of a long command that is not complete yet goes on
//! where it stopped, so that an `MSET` of a million words which arrives in a thousand pieces is not read a thousand times.
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>; error texts are the server's own (networking.c).

use crate::limits;
use std::borrow::Cow;

/// One word of a command, as a range of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Word {
    /// First byte.
    pub start: u32,
    /// One past the last.
    pub end: u32,
}

/// A whole command: its bytes on the wire and its words.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// As it goes to the server.
    pub bytes: &'a [u8],
    /// At least one.
    pub words: &'a [Word],
}

impl<'a> Frame<'a> {
    /// The word at `index`; empty where there is none.
    #[inline]
    pub fn word(&self, index: usize) -> &'a [u8] {
        self.words.get(index).and_then(|word| self.bytes.get(word.start as usize..word.end as usize)).unwrap_or_default()
    }

    /// How many words, the command's name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Never, but clippy wants to know.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether the word at `index` is this one, in any case.
    pub fn is(&self, index: usize, word: &str) -> bool {
        self.word(index).eq_ignore_ascii_case(word.as_bytes())
    }
}

/// What a scan found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// A command of that many bytes; its words are in the scan.
    Command(usize),
    /// An inline command of that many bytes, rewritten as an array: bytes and words are in the scan.
    Inline(usize),
    /// That many bytes that say nothing (an empty line, `*0`).
    Nothing(usize),
    /// Not complete; that many bytes are needed at least.
    More(usize),
    /// The next word is long, and not to be waited for; those before it are in the scan.
    Long(LongWord),
}

/// A word that is too long to be waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LongWord {
    /// Where it begins.
    pub start: usize,
    /// Its bytes.
    pub length: u64,
    /// Words behind it.
    pub left: i64,
}

/// What a client did wrong; the text after `-ERR Protocol error: `.
pub type Wrong = Cow<'static, str>;

/// What a server says of a length that is none.
pub(crate) const BULK_LENGTH: &str = "invalid bulk length";

/// The state of one scan.
#[derive(Default, Debug)]
pub struct Scan {
    /// The words found so far.
    pub words: Vec<Word>,
    /// An inline command as an array.
    pub rewritten: Vec<u8>,
    /// Whether long words are told of instead of waited for.
    pub streams: bool,
    at: usize,
    left: i64,
}

impl Scan {
    /// Forgets what was found: the next call starts at the front of a command.
    pub fn reset(&mut self) {
        self.words.clear();
        self.streams = false;
        self.at = 0;
        self.left = 0;
    }

    /// How far an unfinished scan has come.
    pub fn progress(&self) -> usize {
        self.at
    }

    /// Scans `bytes`, which start where they started in the last call if that said `More`.
    ///
    /// # Errors
    /// The client broke the protocol or a limit.
    #[inline]
    pub fn command(&mut self, bytes: &[u8], known: bool) -> Result<Found, Wrong> {
        if self.at == 0 {
            match bytes.first() {
                None => return Ok(Found::More(1)),
                Some(b'*') => {}
                Some(_) => return self.inline(bytes),
            }
            let Some((count, next)) = number(bytes, 1, "invalid multibulk length")? else { return Ok(Found::More(bytes.len() + 1)) };
            if count > limits::MAX_WORDS {
                return Err("invalid multibulk length".into());
            }
            if count > limits::MAX_WORDS_UNAUTHENTICATED && !known {
                return Err("unauthenticated multibulk length".into());
            }
            if count <= 0 {
                return Ok(Found::Nothing(next));
            }
            self.words.clear();
            self.at = next;
            self.left = count;
        }
        while self.left > 0 {
            if let Some(found) = self.bulk(bytes, known)? {
                return Ok(found);
            }
        }
        let length = self.at;
        self.at = 0;
        Ok(Found::Command(length))
    }

    /// One word; what is found instead if it is not complete.
    #[inline]
    fn bulk(&mut self, bytes: &[u8], known: bool) -> Result<Option<Found>, Wrong> {
        match bytes.get(self.at) {
            None => return Ok(Some(Found::More(self.at + self.left as usize * 5))),
            Some(b'$') => {}
            Some(other) => return Err(format!("expected '$', got '{}'", printable(*other)).into()),
        }
        let Some((length, start)) = number(bytes, self.at + 1, BULK_LENGTH)? else { return Ok(Some(Found::More(bytes.len() + 1))) };
        if !(0..=limits::MAX_STREAMED_WORD).contains(&length) {
            return Err(BULK_LENGTH.into());
        }
        if length > limits::MAX_WORD_UNAUTHENTICATED && !known {
            return Err("unauthenticated bulk length".into());
        }
        if length > limits::MAX_HELD_WORD {
            if self.streams {
                return Ok(Some(Found::Long(LongWord { start, length: length as u64, left: self.left - 1 })));
            }
            if length > limits::MAX_WORD {
                let limit = limits::MAX_WORD;
                return Err(format!("{BULK_LENGTH}: {length} is over midstream's limit of {limit} bytes for what cannot stream").into());
            }
        }
        let end = start + length as usize;
        if end > limits::MAX_COMMAND {
            return Err(format!("the command is over midstream's limit of {} bytes", limits::MAX_COMMAND).into());
        }
        match bytes.get(end..end + 2) {
            None => Ok(Some(Found::More(end + 2))),
            Some(b"\r\n") => {
                self.words.push(Word { start: start as u32, end: end as u32 });
                self.at = end + 2;
                self.left -= 1;
                Ok(None)
            }
            Some(_) => Err("expected CRLF after a bulk".into()),
        }
    }

    /// A line of words, as typed into telnet.
    fn inline(&mut self, bytes: &[u8]) -> Result<Found, Wrong> {
        let Some(newline) = memchr::memchr(b'\n', bytes) else {
            return if bytes.len() > limits::MAX_INLINE { Err("too big inline request".into()) } else { Ok(Found::More(bytes.len() + 1)) };
        };
        if newline > limits::MAX_INLINE {
            return Err("too big inline request".into());
        }
        let line = bytes[..newline].strip_suffix(b"\r").unwrap_or(&bytes[..newline]);
        let words = crate::inline::split(line).ok_or("unbalanced quotes in request")?;
        if words.is_empty() {
            return Ok(Found::Nothing(newline + 1));
        }
        self.rewrite(&words);
        Ok(Found::Inline(newline + 1))
    }

    fn rewrite(&mut self, words: &[Vec<u8>]) {
        self.words.clear();
        self.rewritten.clear();
        self.rewritten.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            self.rewritten.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            let start = self.rewritten.len() as u32;
            self.rewritten.extend_from_slice(word);
            self.words.push(Word { start, end: start + word.len() as u32 });
            self.rewritten.extend_from_slice(b"\r\n");
        }
    }
}

/// The number from `at` to the next CRLF, and where the bytes after it start.
#[inline]
pub(crate) fn number(bytes: &[u8], at: usize, wrong: &'static str) -> Result<Option<(i64, usize)>, Wrong> {
    // Most have one digit or two.
    match bytes.get(at..) {
        Some([one @ b'0'..=b'9', b'\r', b'\n', ..]) => Ok(Some((i64::from(one - b'0'), at + 3))),
        Some([ten @ b'0'..=b'9', one @ b'0'..=b'9', b'\r', b'\n', ..]) => Ok(Some((i64::from(ten - b'0') * 10 + i64::from(one - b'0'), at + 4))),
        _ => long_number(bytes, at, wrong),
    }
}

fn long_number(bytes: &[u8], at: usize, wrong: &'static str) -> Result<Option<(i64, usize)>, Wrong> {
    let mut here = at;
    let negative = bytes.get(here) == Some(&b'-');
    here += usize::from(negative);
    let mut value = 0i64;
    let first = here;
    while let Some(byte) = bytes.get(here) {
        match byte {
            b'0'..=b'9' => {
                let digit = i64::from(byte - b'0');
                value = value.checked_mul(10).and_then(|value| value.checked_add(digit)).ok_or(wrong)?;
            }
            b'\r' if here > first => {
                return match bytes.get(here + 1) {
                    None => Ok(None),
                    Some(b'\n') => Ok(Some((if negative { -value } else { value }, here + 2))),
                    Some(_) => Err(wrong.into()),
                };
            }
            _ => return Err(wrong.into()),
        }
        here += 1;
        if here - at > limits::MAX_NUMBER {
            return Err(wrong.into());
        }
    }
    Ok(None)
}

pub(crate) fn printable(byte: u8) -> char {
    if byte.is_ascii_graphic() || byte == b' ' { byte as char } else { '?' }
}
