//! Text to tokens in one pass: normalised text, slots, fingerprint.
//!
//! The normalised text is the statement with every lifted literal and parameter written `:p1`, `:p2`, ..., unquoted words in lower case,
//! and comments and white space as one space. Two statements with one fingerprint have one normalised text, slots of one lexical class
//! each, and so one plan. What would change the meaning is not lifted and stays in the text:
//!
//! * integers in ORDER BY, GROUP BY and DISTINCT ON (they are ordinals there),
//! * strings of type constructors (`INTERVAL '1 day'`, `DATE '2026-01-01'`) and numbers in type names (`numeric(10,2)`),
//! * subscripts, and everything in statements that are not DML.
//!
//! Source of the rules: PostgreSQL's manual, "Lexical Structure".

mod bytes;
mod keyword;
mod scan;

use crate::refusal::Refusal;
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_128;

/// PostgreSQL's own bound on a statement is 1 GB; offsets here are 32 bits wide.
const MAX_STATEMENT: usize = 1 << 30;

/// What the meaning of quotes depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Off: a backslash escapes in `'...'` too, as in `E'...'`.
    pub standard_conforming_strings: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { standard_conforming_strings: true }
    }
}

/// What stands in a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotKind {
    /// `'...'`, `E'...'`, `U&'...'`, `N'...'`, `$tag$...$tag$`.
    String {
        /// A backslash escapes in it.
        escapes: bool,
    },
    /// Digits, with point or exponent or without; never a sign.
    Number,
    /// `B'...'` or `X'...'`.
    Bits,
    /// The client's `$n`.
    Parameter(u16),
}

/// A value position of the statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Its lexical class.
    pub kind: SlotKind,
    /// Of a number as PostgreSQL types it: 23 (integer), 20 (bigint) or 1700 (numeric); of bits 1560; otherwise 0.
    pub type_oid: u32,
    /// Where its text begins in the text that was scanned.
    pub start: u32,
    /// Where it ends, exclusive.
    pub end: u32,
}

impl Slot {
    /// The client's own text of the slot. Empty when `sql` is not the text that was scanned.
    pub fn text<'a>(&self, sql: &'a [u8]) -> &'a [u8] {
        sql.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// What the fingerprint takes of it: values do not count, classes do.
    fn class(&self) -> [u8; 2] {
        match self.kind {
            SlotKind::String { .. } => [b's', 0],
            SlotKind::Bits => [b'b', 0],
            SlotKind::Number => [
                b'n',
                if self.type_oid == 23 {
                    4
                } else if self.type_oid == 20 {
                    8
                } else {
                    0
                },
            ],
            SlotKind::Parameter(n) => [(n & 0xff) as u8, 0x80 | (n >> 8) as u8],
        }
    }
}

/// A statement after the lexer.
#[derive(Clone, Default, Debug)]
pub struct Lexed {
    /// 128 bits over the normalised text and the classes of the slots (xxh3).
    pub fingerprint: u128,
    /// Where its first token begins in the text that was scanned.
    pub start: usize,
    /// Just behind its last token, without the semicolon.
    pub stop: usize,
    /// Just behind its semicolon: the next statement of the text begins here. The length of the text when there is no more.
    pub end: usize,
    normalised: Vec<u8>,
    slots: Vec<Slot>,
    /// (normalised, client's own) offsets: behind an anchor both run in step up to the next one.
    anchors: Vec<(u32, u32)>,
    /// As scanned: a backslash escapes in every string.
    escapes: bool,
}

impl Lexed {
    /// The normalised text. UTF-8 when the statement was.
    pub fn normalised(&self) -> &[u8] {
        &self.normalised
    }

    /// The slots in order: `slots()[0]` is `:p1`.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Whether it holds no token: only white space and comments.
    pub fn is_empty(&self) -> bool {
        self.normalised.is_empty()
    }

    /// The client's own text of this statement. Empty when `sql` is not the text that was scanned.
    pub fn statement<'a>(&self, sql: &'a [u8]) -> &'a [u8] {
        sql.get(self.start..self.stop).unwrap_or_default()
    }

    /// The words outside of quotes, in lower case, and quoted identifiers without their quotes.
    pub fn words(&self) -> impl Iterator<Item = &[u8]> {
        keyword::Words::new(&self.normalised, self.escapes)
    }

    /// The same, each with the byte behind it, spaces aside; 0: none.
    pub fn words_and_next(&self) -> impl Iterator<Item = (&[u8], u8)> {
        let mut words = keyword::Words::new(&self.normalised, self.escapes);
        std::iter::from_fn(move || words.next().map(|word| (word, words.behind())))
    }

    /// The offset in the client's own text of a token boundary of the normalised text.
    pub(crate) fn origin(&self, normalised: u32) -> usize {
        let after = self.anchors.partition_point(|(at, _)| *at <= normalised);
        match after.checked_sub(1).and_then(|index| self.anchors.get(index)) {
            Some((at, own)) => (*own as usize).saturating_add((normalised - at) as usize),
            None => self.start,
        }
    }

    /// Memory it holds, for budgets.
    pub fn bytes(&self) -> usize {
        self.normalised.len() + self.slots.len() * size_of::<Slot>() + self.anchors.len() * 8 + size_of::<Lexed>()
    }

    fn clear(&mut self) {
        self.normalised.clear();
        self.slots.clear();
        self.anchors.clear();
        (self.start, self.stop, self.end, self.fingerprint) = (0, 0, 0, 0);
    }

    fn seal(&mut self) {
        let text = self.normalised.len();
        self.normalised.push(0);
        for slot in &self.slots {
            self.normalised.extend_from_slice(&slot.class());
        }
        self.fingerprint = xxh3_128(&self.normalised);
        self.normalised.truncate(text);
    }
}

/// The lexer of one worker; its buffers are used again for every statement.
#[derive(Default, Debug)]
pub struct Lexer {
    lexed: Lexed,
}

impl Lexer {
    /// Scans the first statement of `sql`, up to a semicolon or the end. The next one begins at [`Lexed::end`].
    ///
    /// # Errors
    /// 42601: a quote or a comment is not closed. 54000: the text is longer than 1 GB.
    pub fn scan(&mut self, sql: &[u8], settings: Settings) -> Result<&Lexed, Refusal> {
        if sql.len() > MAX_STATEMENT {
            return Err(Refusal::new("54000", "the statement is longer than 1 GB", "send it in parts"));
        }
        self.lexed.clear();
        self.lexed.escapes = !settings.standard_conforming_strings;
        scan::run(sql, settings, &mut self.lexed).map_err(|broken| broken.refusal(sql))?;
        self.lexed.seal();
        Ok(&self.lexed)
    }
}

/// A quote or comment without end.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Unterminated {
    what: &'static str,
    at: Range<usize>,
}

impl Unterminated {
    fn refusal(&self, sql: &[u8]) -> Refusal {
        /// Enough of the text to find the place in a log.
        const SHOWN: usize = 40;
        let near = &sql[self.at.start..self.at.end.min(self.at.start + SHOWN)];
        let message = format!("unterminated {} at or near \"{}\"", self.what, String::from_utf8_lossy(near));
        Refusal::new("42601", message, "close it, or escape the quote inside it")
    }
}

#[cfg(test)]
mod tests;
