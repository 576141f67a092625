//! Patterns over bytes: `*` is any run, `?` any one byte, all else itself. There is no escape.
//!
//! A pattern is cut at its stars into pieces once; matching finds the pieces one after the other, each at its leftmost place, which is
//! enough because what lies between them is free. A piece without `?` is found by memmem, one with `?` by shift-and over one machine word:
//! both pass over the text once, so no pattern makes a request expensive.

use memchr::memmem;
use std::fmt;

/// Longest pattern: the longest names that the protocols have (Kafka topics 249, PostgreSQL identifiers 63) and room for Redis prefixes.
const MAX_PATTERN: usize = 1024;

/// Longest piece with a `?` in it: one bit of a word for each of its bytes.
const MAX_MASKED: usize = u64::BITS as usize;

/// A pattern over a bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is too long: a pattern has at most {MAX_PATTERN} bytes, and at most {MAX_MASKED} between two stars where there is a `?`")
    }
}

impl std::error::Error for TooLong {}

/// A compiled pattern.
#[derive(Debug)]
pub struct Pattern {
    /// Before the first star.
    head: Vec<u8>,
    /// Between and after the stars; `None`: there is no star, and the head is the whole.
    stars: Option<Stars>,
}

#[derive(Debug)]
struct Stars {
    pieces: Vec<Piece>,
    tail: Vec<u8>,
}

#[derive(Debug)]
enum Piece {
    Literal(Box<memmem::Finder<'static>>),
    Masked(Box<Masked>),
}

/// Shift-and: bit i of `places[byte]` says that the piece has `byte` (or `?`) at i.
#[derive(Debug)]
struct Masked {
    places: [u64; 256],
    length: usize,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// It is longer than what matching can bound.
    pub fn new(text: &str) -> Result<Pattern, TooLong> {
        if text.len() > MAX_PATTERN {
            return Err(TooLong);
        }
        let mut parts: Vec<&[u8]> = text.as_bytes().split(|byte| *byte == b'*').collect();
        let tail = parts.pop().unwrap_or_default();
        if parts.is_empty() {
            return Ok(Pattern { head: tail.to_vec(), stars: None });
        }
        let head = parts.remove(0).to_vec();
        let pieces = parts.into_iter().filter(|part| !part.is_empty()).map(Piece::new).collect::<Result<_, _>>()?;
        Ok(Pattern { head, stars: Some(Stars { pieces, tail: tail.to_vec() }) })
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        let Some(stars) = &self.stars else { return same(&self.head, text) };
        let Some(rest) = text.split_at_checked(self.head.len()).filter(|(start, _)| same(&self.head, start)).map(|(_, rest)| rest) else {
            return false;
        };
        let Some((mut middle, end)) = rest.len().checked_sub(stars.tail.len()).map(|at| rest.split_at(at)) else { return false };
        if !same(&stars.tail, end) {
            return false;
        }
        for piece in &stars.pieces {
            let Some(after) = piece.find_end(middle) else { return false };
            middle = &middle[after..];
        }
        true
    }
}

/// Equal but for `?`.
fn same(pattern: &[u8], text: &[u8]) -> bool {
    pattern.len() == text.len() && pattern.iter().zip(text).all(|(wanted, byte)| *wanted == b'?' || wanted == byte)
}

impl Piece {
    fn new(part: &[u8]) -> Result<Piece, TooLong> {
        if !part.contains(&b'?') {
            return Ok(Piece::Literal(Box::new(memmem::Finder::new(part).into_owned())));
        }
        if part.len() > MAX_MASKED {
            return Err(TooLong);
        }
        let mut places = [0u64; 256];
        for (at, wanted) in part.iter().enumerate() {
            match wanted {
                b'?' => places.iter_mut().for_each(|place| *place |= 1 << at),
                byte => places[usize::from(*byte)] |= 1 << at,
            }
        }
        Ok(Piece::Masked(Box::new(Masked { places, length: part.len() })))
    }

    /// Where the leftmost occurrence ends.
    fn find_end(&self, text: &[u8]) -> Option<usize> {
        match self {
            Piece::Literal(finder) => finder.find(text).map(|at| at + finder.needle().len()),
            Piece::Masked(masked) => masked.find_end(text),
        }
    }
}

impl Masked {
    fn find_end(&self, text: &[u8]) -> Option<usize> {
        let last = 1u64 << (self.length - 1);
        let mut state = 0u64;
        for (at, byte) in text.iter().enumerate() {
            state = ((state << 1) | 1) & self.places[usize::from(*byte)];
            if state & last != 0 {
                return Some(at + 1);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|at| naive(rest, &text[at..])),
            Some((wanted, rest)) => text.split_first().is_some_and(|(byte, after)| (*wanted == b'?' || wanted == byte) && naive(rest, after)),
        }
    }

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("orders", "orders", true),
            ("orders", "orders_2026", false),
            ("order_*", "order_lines", true),
            ("order_*", "order", false),
            ("*:session", "eu:1:session", true),
            ("a*b?d*e", "aXbcdYe", true),
            ("a*a", "a", false),
            ("??", "ab", true),
            ("??", "abc", false),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().matches(text.as_bytes()), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn what_matching_cannot_bound_is_refused() {
        assert!(Pattern::new(&"a".repeat(MAX_PATTERN)).is_ok());
        assert_eq!(Pattern::new(&"a".repeat(MAX_PATTERN + 1)).unwrap_err(), TooLong);
        assert!(Pattern::new(&format!("*{}*", "?".repeat(MAX_MASKED))).unwrap().matches(&[b'x'; MAX_MASKED]));
        assert_eq!(Pattern::new(&format!("*{}*", "?".repeat(MAX_MASKED + 1))).unwrap_err(), TooLong);
    }

    proptest! {
        #[test]
        fn as_the_naive_matcher_says(pattern in "[ab?*]{0,8}", text in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(0xff)], 0..10)) {
            prop_assert_eq!(Pattern::new(&pattern).unwrap().matches(&text), naive(pattern.as_bytes(), &text));
        }
    }
}
