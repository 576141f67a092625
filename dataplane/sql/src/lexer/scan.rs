//! The pass over the bytes.
//!
//! Three outcomes per byte run: a token copied, a token lifted, a gap. The state is small: what stood before (may a value stand here?),
//! in which parentheses we are, and in which of them integers are ordinals or parts of a type name.

use super::bytes::{continued, decimal, find, integer_type, line_end, operator};
use super::keyword::{Keyword, in_word, keyword, lifts, starts_word};
use super::{Lexed, Settings, Slot, SlotKind, Unterminated};

/// Deeper parentheses count as this depth: nothing is lifted wrongly, since a mark there is only ever cleared too late.
const MAX_DEPTH: u32 = 63;

/// What stood before a token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// A value may stand here.
    Operator,
    /// A name or a type: a literal behind it is part of it.
    Name,
    /// An opening bracket behind a name: a subscript.
    Subscript,
}

/// A reader of one token.
type Token<S> = fn(&mut S) -> Result<(), Unterminated>;

struct Scan<'a, 'b> {
    sql: &'a [u8],
    at: usize,
    lexed: &'b mut Lexed,
    escapes: bool,
    lifting: bool,
    before: Before,
    word: Keyword,
    /// The last word was an `array` constructor, whose brackets are no subscript.
    array: bool,
    depth: u32,
    /// Bit n: at depth n integers are ordinals.
    ordinals: u64,
    /// Depth of the parentheses whose numbers belong to a type name or to DISTINCT ON; 0: none.
    fixed: u32,
    /// A type name may be under way: behind `::` or `AS`.
    typed: bool,
    /// Open BEGIN ATOMIC and CASE inside it: semicolons there end nothing.
    atomic: u32,
    /// Difference of offsets at the last anchor, to see when the next is due.
    step: i64,
}

pub(super) fn run(sql: &[u8], settings: Settings, lexed: &mut Lexed) -> Result<(), Unterminated> {
    let mut scan = Scan {
        sql,
        at: 0,
        lexed,
        escapes: !settings.standard_conforming_strings,
        lifting: true,
        before: Before::Operator,
        word: Keyword::Other,
        array: false,
        depth: 0,
        ordinals: 0,
        fixed: 0,
        typed: false,
        atomic: 0,
        step: i64::MIN,
    };
    scan.statement()?;
    scan.lexed.end = scan.at;
    Ok(())
}

impl Scan<'_, '_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.sql.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn statement(&mut self) -> Result<(), Unterminated> {
        loop {
            let gap = self.gap()?;
            if self.at >= self.sql.len() {
                return Ok(());
            }
            if self.peek(0) == b';' && self.depth == 0 && self.atomic == 0 {
                self.at += 1;
                return Ok(());
            }
            if self.lexed.normalised.is_empty() {
                self.lexed.start = self.at;
            } else if gap {
                self.lexed.normalised.push(b' ');
            }
            self.anchor(self.at);
            self.token()?;
            self.lexed.stop = self.at;
        }
    }

    /// Passes white space and comments; tells whether there were any.
    fn gap(&mut self) -> Result<bool, Unterminated> {
        let start = self.at;
        loop {
            match (self.peek(0), self.peek(1)) {
                (b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, _) => self.at += 1,
                (b'-', b'-') => self.at = line_end(self.sql, self.at),
                (b'/', b'*') => self.block_comment()?,
                _ => return Ok(self.at > start),
            }
        }
    }

    fn block_comment(&mut self) -> Result<(), Unterminated> {
        let start = self.at;
        let mut open = 0usize;
        while self.at < self.sql.len() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => (open, self.at) = (open + 1, self.at + 2),
                (b'*', b'/') => {
                    (open, self.at) = (open - 1, self.at + 2);
                    if open == 0 {
                        return Ok(());
                    }
                }
                _ => self.at += 1,
            }
        }
        Err(Unterminated { what: "/* comment", at: start..self.sql.len() })
    }

    fn token(&mut self) -> Result<(), Unterminated> {
        let byte = self.peek(0);
        match byte {
            b'\'' => self.string(self.at, SlotKind::String { escapes: self.escapes }),
            b'"' => self.identifier(self.at),
            b'$' => self.dollar(),
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_ascii_digit() && self.before == Before::Operator => self.number(),
            _ if starts_word(byte) => self.word(),
            _ => {
                self.sign(byte);
                Ok(())
            }
        }
    }

    /// A parenthesis, bracket, comma, point or a run of operator characters.
    fn sign(&mut self, byte: u8) {
        let start = self.at;
        self.at += 1;
        match byte {
            b'(' => {
                self.depth += 1;
                if self.fixed == 0 && (self.typed || self.word == Keyword::On && self.before == Before::Name) {
                    self.fixed = self.depth;
                }
                self.before = if self.word == Keyword::Setting { Before::Name } else { Before::Operator };
                self.typed = false;
            }
            b')' => self.close(),
            b'[' => self.before = if self.before == Before::Name && !self.array { Before::Subscript } else { Before::Operator },
            b']' => self.before = Before::Name,
            b',' | b';' => (self.before, self.typed) = (Before::Operator, false),
            b'.' => self.before = Before::Name,
            b':' if self.peek(0) == b':' => {
                self.at += 1;
                (self.before, self.typed) = (Before::Name, true);
            }
            _ => {
                while operator(self.peek(0)) && !matches!((self.peek(0), self.peek(1)), (b'-', b'-') | (b'/', b'*')) {
                    self.at += 1;
                }
                (self.before, self.typed) = (Before::Operator, false);
            }
        }
        (self.word, self.array) = (Keyword::Other, false);
        self.copy(start);
        if byte == b':' && self.at == start + 1 {
            // A slice's bound; and `a[b:p1]` must not look like a slot.
            self.before = Before::Subscript;
            self.lexed.normalised.push(b' ');
            self.anchor(self.at);
        }
    }

    fn close(&mut self) {
        self.ordinals &= !self.bit();
        if self.fixed == self.depth {
            self.fixed = 0;
        }
        self.depth = self.depth.saturating_sub(1);
        (self.before, self.typed) = (Before::Name, false);
    }

    fn bit(&self) -> u64 {
        1 << self.depth.min(MAX_DEPTH)
    }

    fn word(&mut self) -> Result<(), Unterminated> {
        if let Some(prefix) = self.prefix() {
            return prefix(self);
        }
        let start = self.at;
        while in_word(self.peek(0)) {
            self.at += 1;
        }
        let from = self.lexed.normalised.len();
        self.copy(start);
        let dotted = from > 0 && self.lexed.normalised[from - 1] == b'.';
        let word = &mut self.lexed.normalised[from..];
        word.make_ascii_lowercase();
        if from == 0 {
            self.lifting = lifts(word);
        }
        self.array = word == b"array";
        let kind = keyword(word);
        let kind = if dotted && kind != Keyword::Setting { Keyword::Other } else { kind };
        self.enter(kind);
        Ok(())
    }

    /// The quote prefixes E, N, B, X, U&.
    fn prefix(&self) -> Option<Token<Self>> {
        match (self.peek(0) | 0x20, self.peek(1), self.peek(2)) {
            (b'e', b'\'', _) => Some(|scan| scan.string(scan.at + 1, SlotKind::String { escapes: true })),
            (b'n', b'\'', _) => Some(|scan| scan.string(scan.at + 1, SlotKind::String { escapes: scan.escapes })),
            (b'b' | b'x', b'\'', _) => Some(|scan| scan.string(scan.at + 1, SlotKind::Bits)),
            (b'u', b'&', b'\'') => Some(|scan| scan.string(scan.at + 2, SlotKind::String { escapes: false })),
            (b'u', b'&', b'"') => Some(|scan| scan.identifier(scan.at + 2)),
            _ => None,
        }
    }

    /// What a keyword does to the state.
    fn enter(&mut self, kind: Keyword) {
        use Keyword::*;
        let last = std::mem::replace(&mut self.word, kind);
        self.before = match kind {
            Operand | Ends | By | Distinct | Case => Before::Operator,
            On if last != Distinct => Before::Operator,
            _ => Before::Name,
        };
        match kind {
            By if last == Sorts => self.ordinals |= self.bit(),
            Ends => self.ordinals &= !self.bit(),
            Atomic if last == Begin => self.atomic += 1,
            Case if self.atomic > 0 => self.atomic += 1,
            End => self.atomic = self.atomic.saturating_sub(1),
            _ => {}
        }
        // A type name is one or more plain words behind `::` or AS, then perhaps a parenthesis.
        self.typed = match kind {
            As => false,
            Other => self.typed || last == As,
            Type => true,
            _ => false,
        };
    }

    fn identifier(&mut self, quote: usize) -> Result<(), Unterminated> {
        let start = self.at;
        self.at = quote;
        self.quoted(b'"', false).ok_or(Unterminated { what: "quoted identifier", at: start..self.sql.len() })?;
        self.copy(start);
        self.enter(Keyword::Other);
        Ok(())
    }

    /// Passes from an opening quote to behind the closing one; a doubled quote stands for one.
    fn quoted(&mut self, quote: u8, escapes: bool) -> Option<()> {
        self.at += 1;
        loop {
            let byte = *self.sql.get(self.at)?;
            self.at += 1;
            if byte == b'\\' && escapes {
                self.at += 1;
            } else if byte == quote {
                if self.peek(0) != quote {
                    return Some(());
                }
                self.at += 1;
            }
        }
    }

    fn string(&mut self, quote: usize, kind: SlotKind) -> Result<(), Unterminated> {
        let start = self.at;
        self.at = quote;
        let escapes = kind == SlotKind::String { escapes: true };
        loop {
            self.quoted(b'\'', escapes).ok_or(Unterminated { what: "quoted string", at: start..self.sql.len() })?;
            // Strings on following lines continue this one.
            match continued(self.sql, self.at) {
                Some(next) => self.at = next,
                None => break,
            }
        }
        let type_oid = if kind == SlotKind::Bits { 1560 } else { 0 };
        self.literal(start, kind, type_oid, self.before == Before::Operator);
        Ok(())
    }

    /// `$1`, or `$tag$...$tag$`; a tag never begins with a digit.
    fn dollar(&mut self) -> Result<(), Unterminated> {
        let start = self.at;
        self.at += 1;
        if self.peek(0).is_ascii_digit() {
            return self.parameter(start);
        }
        while in_word(self.peek(0)) && self.peek(0) != b'$' {
            self.at += 1;
        }
        if self.peek(0) != b'$' {
            self.copy(start);
            return Ok(());
        }
        self.at += 1;
        let tag = &self.sql[start..self.at];
        let body = &self.sql[self.at..];
        let length = find(body, tag).ok_or(Unterminated { what: "dollar-quoted string", at: start..self.sql.len() })?;
        self.at += length + tag.len();
        self.literal(start, SlotKind::String { escapes: false }, 0, self.before == Before::Operator);
        Ok(())
    }

    fn parameter(&mut self, start: usize) -> Result<(), Unterminated> {
        let mut number = 0u32;
        while self.peek(0).is_ascii_digit() {
            number = number.saturating_mul(10).saturating_add(u32::from(self.peek(0) - b'0'));
            self.at += 1;
        }
        match u16::try_from(number) {
            // The protocol counts parameters with 16 bits; the class of a slot needs one of them.
            Ok(n) if n < 0x8000 => self.literal(start, SlotKind::Parameter(n), 0, true),
            _ => self.copy(start),
        }
        self.before = Before::Name;
        Ok(())
    }

    fn number(&mut self) -> Result<(), Unterminated> {
        let start = self.at;
        let plain = self.digits();
        let mut whole = plain;
        if self.peek(0) == b'.' && self.peek(1) != b'.' {
            self.at += 1;
            self.digits();
            whole = false;
        }
        let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
        if matches!(self.peek(0), b'e' | b'E') && self.peek(1 + sign).is_ascii_digit() {
            self.at += 1 + sign;
            self.digits();
            whole = false;
        }
        let text = &self.sql[start..self.at];
        // 0x1F, 1_000: their meaning changes with the server's version, so they stay in the text.
        let odd = in_word(self.peek(0));
        while in_word(self.peek(0)) {
            self.at += 1;
        }
        let type_oid = if whole { integer_type(text) } else { 1700 };
        let ordinal = whole && self.ordinals != 0;
        self.literal(start, SlotKind::Number, type_oid, self.before == Before::Operator && self.fixed == 0 && !ordinal && !odd);
        Ok(())
    }

    fn digits(&mut self) -> bool {
        let start = self.at;
        while self.peek(0).is_ascii_digit() {
            self.at += 1;
        }
        self.at > start
    }

    /// Lifts the token from `start` into a slot, or copies it.
    fn literal(&mut self, start: usize, kind: SlotKind, type_oid: u32, lift: bool) {
        let lift = lift && (self.lifting || matches!(kind, SlotKind::Parameter(_)));
        (self.before, self.word, self.typed, self.array) = (Before::Name, Keyword::Other, false, false);
        if !lift {
            self.copy(start);
            return;
        }
        self.lexed.slots.push(Slot { kind, type_oid, start: start as u32, end: self.at as u32 });
        self.lexed.normalised.extend_from_slice(b":p");
        decimal(self.lexed.slots.len(), &mut self.lexed.normalised);
        if in_word(self.peek(0)) {
            self.anchor(self.at);
            self.lexed.normalised.push(b' ');
        }
        self.anchor(self.at);
    }

    fn copy(&mut self, start: usize) {
        self.lexed.normalised.extend_from_slice(&self.sql[start..self.at]);
    }

    /// Notes where the normalised text and the client's part ways.
    fn anchor(&mut self, own: usize) {
        let at = self.lexed.normalised.len();
        let step = own as i64 - at as i64;
        if step != self.step {
            self.step = step;
            self.lexed.anchors.push((at as u32, own as u32));
        }
    }
}
