//! The few words that decide what a literal after them is.

/// What a word means to the lexer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keyword {
    /// A name, a type, or a keyword of no interest: a literal right behind it belongs to it.
    Other,
    /// An expression may follow: a literal right behind it is a value.
    Operand,
    /// ORDER and GROUP, when BY follows.
    Sorts,
    /// BY: as `Operand`, but integers are ordinals up to `Ends`.
    By,
    /// Ends ORDER BY or GROUP BY; an expression may follow.
    Ends,
    /// AS: a type name may follow.
    As,
    /// MATERIALIZED between AS and a parenthesis: no type name.
    Materialized,
    /// A type that takes a precision without `::` or AS: `timestamp(3) '...'`.
    Type,
    /// `set_config`: the name of the setting stays in the text, since what the call does to the session depends on it.
    Setting,
    /// DISTINCT: as `Operand`, and ON may follow.
    Distinct,
    /// ON: as `Operand`.
    On,
    Begin,
    Atomic,
    /// CASE: as `Operand`; opens what END closes.
    Case,
    End,
}

/// Classifies a word in lower case.
pub(super) fn keyword(word: &[u8]) -> Keyword {
    use Keyword::*;
    match word {
        b"select" | b"limit" | b"offset" | b"having" | b"for" | b"returning" | b"union" | b"intersect" | b"except" | b"window" | b"rows"
        | b"range" | b"groups" | b"fetch" => Ends,
        b"where" | b"and" | b"or" | b"not" | b"in" | b"like" | b"ilike" | b"between" | b"symmetric" | b"then" | b"else" | b"when" | b"values"
        | b"all" | b"from" | b"to" | b"escape" | b"using" | b"placing" | b"set" | b"is" => Operand,
        b"order" | b"group" => Sorts,
        b"by" => By,
        b"as" => As,
        b"materialized" => Materialized,
        b"timestamp" | b"timestamptz" | b"time" | b"timetz" | b"interval" => Type,
        b"set_config" => Setting,
        b"distinct" => Distinct,
        b"on" => On,
        b"begin" => Begin,
        b"atomic" => Atomic,
        b"case" => Case,
        b"end" => End,
        _ => Other,
    }
}

/// Whether literals are lifted in a statement that begins with this word. In the others (SET, CREATE, COPY, ...) they are part of what
/// the statement is.
pub(super) fn lifts(first: &[u8]) -> bool {
    matches!(first, b"select" | b"insert" | b"update" | b"delete" | b"with" | b"values" | b"merge" | b"explain" | b"execute" | b"table" | b"call")
}

pub(super) fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

pub(super) fn in_word(byte: u8) -> bool {
    starts_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

/// The words of a normalised text.
pub(super) struct Words<'a> {
    text: &'a [u8],
    at: usize,
    /// A backslash escapes in every string, not only behind E.
    escapes: bool,
}

impl<'a> Words<'a> {
    pub(super) fn new(text: &'a [u8], escapes: bool) -> Self {
        Words { text, at: 0, escapes }
    }

    /// The byte behind the last word, one space aside; 0: none.
    pub(super) fn behind(&self) -> u8 {
        let byte = |at: usize| self.text.get(at).copied().unwrap_or(0);
        if byte(self.at) == b' ' { byte(self.at + 1) } else { byte(self.at) }
    }

    /// Passes a quoted token; returns where its content ends.
    fn quoted(&mut self, quote: u8, escapes: bool) -> usize {
        while let Some(byte) = self.text.get(self.at) {
            self.at += 1;
            if escapes && *byte == b'\\' {
                self.at += 1;
            } else if *byte == quote {
                if self.text.get(self.at) != Some(&quote) {
                    return self.at - 1;
                }
                self.at += 1;
            }
        }
        self.at.min(self.text.len())
    }

    fn rest_of_word(&mut self) {
        while self.text.get(self.at).is_some_and(|byte| in_word(*byte)) {
            self.at += 1;
        }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while let Some(byte) = self.text.get(self.at).copied() {
            let start = self.at;
            self.at += 1;
            match byte {
                b'"' => {
                    let end = self.quoted(b'"', false);
                    return self.text.get(start + 1..end);
                }
                b'\'' => {
                    self.quoted(b'\'', self.escapes);
                }
                b'e' if self.text.get(self.at) == Some(&b'\'') => {
                    self.at += 1;
                    self.quoted(b'\'', true);
                }
                _ if starts_word(byte) => {
                    self.rest_of_word();
                    return self.text.get(start..self.at);
                }
                b':' | b'0'..=b'9' => self.rest_of_word(),
                _ => {}
            }
        }
        None
    }
}
