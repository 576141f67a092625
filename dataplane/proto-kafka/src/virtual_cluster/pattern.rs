//! Regular expressions that brokers match against whole names (RE2): a client's pattern, made to match behind a prefix only.
//!
//! The result is `prefix(?:pattern)`. What would look over the seam is taken care of: anchors at the beginning go, since the whole name is
//! matched anyway; anchors elsewhere, which could not match or would mean something else, are refused, and so is a parenthesis that would
//! close ours.

const AFTER_PREFIX: &[u8] = b"(?:";

/// A pattern that matches `prefix` followed by what `pattern` matches.
///
/// # Errors
/// Says what in the pattern can't be confined.
pub fn physical(prefix: &[u8], pattern: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut scan = Scan { rest: pattern, out: quote(prefix), groups: vec![], at_start: true, is_word: prefix.last().is_some_and(is_word) };
    scan.out.extend(AFTER_PREFIX);
    while let Some((first, rest)) = scan.rest.split_first() {
        scan.rest = rest;
        scan.step(*first)?;
    }
    if !scan.groups.is_empty() {
        return Err("a parenthesis is not closed");
    }
    scan.out.push(b')');
    Ok(scan.out)
}

/// The client's pattern in a physical one; `None` when it is not of the shape that `physical` gives.
pub fn client<'a>(prefix: &[u8], physical: &'a [u8]) -> Option<&'a [u8]> {
    physical.strip_prefix(&*quote(prefix))?.strip_prefix(AFTER_PREFIX)?.strip_suffix(b")")
}

/// A prefix has letters, digits, dots, underscores and hyphens.
fn quote(prefix: &[u8]) -> Vec<u8> {
    prefix.iter().flat_map(|byte| (*byte == b'.').then_some(b'\\').into_iter().chain([*byte])).collect()
}

fn is_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'_'
}

struct Scan<'a> {
    rest: &'a [u8],
    out: Vec<u8>,
    /// Of each open group, whether it began at the beginning of the name.
    groups: Vec<bool>,
    /// Nothing can have been matched before this place.
    at_start: bool,
    /// The prefix ends with a word's character.
    is_word: bool,
}

impl Scan<'_> {
    fn step(&mut self, first: u8) -> Result<(), &'static str> {
        match first {
            b'\\' => return self.escape(),
            b'[' => return self.class(),
            b'(' => return self.open(),
            b'^' => return self.anchor(),
            b')' => {
                self.groups.pop().ok_or("a parenthesis is closed that was not opened")?;
                self.at_start = false;
            }
            b'|' => self.at_start = self.groups.last().copied().unwrap_or(true),
            b'$' => {}
            _ => self.at_start = false,
        }
        self.out.push(first);
        Ok(())
    }

    fn anchor(&mut self) -> Result<(), &'static str> {
        if !self.at_start {
            return Err("an anchor stands elsewhere than at the beginning");
        }
        if self.rest.first().is_some_and(|next| b"*+?{".contains(next)) {
            return Err("an anchor is repeated");
        }
        Ok(())
    }

    /// Passes the next `n` bytes.
    fn pass(&mut self, n: usize) {
        let (passed, rest) = self.rest.split_at(n.min(self.rest.len()));
        self.out.extend(passed);
        self.rest = rest;
    }

    fn escape(&mut self) -> Result<(), &'static str> {
        let next = *self.rest.first().ok_or("it ends with a backslash")?;
        match next {
            b'A' => {
                self.rest = &self.rest[1..];
                return self.anchor();
            }
            b'b' | b'B' if self.at_start && self.is_word => return Err("a border of words stands where the prefix ends"),
            b'Q' => {
                let end = self.rest.windows(2).position(|two| two == b"\\E");
                self.out.push(b'\\');
                self.pass(end.map_or(self.rest.len(), |end| end + 2));
                self.out.extend(if end.is_none() { &b"\\E"[..] } else { b"" });
            }
            _ => {
                self.out.push(b'\\');
                self.pass(1);
            }
        }
        self.at_start &= matches!(next, b'b' | b'B');
        Ok(())
    }

    fn class(&mut self) -> Result<(), &'static str> {
        let negated = usize::from(self.rest.first() == Some(&b'^'));
        // A bracket right at the beginning is a member.
        let mut at = negated + usize::from(self.rest.get(negated) == Some(&b']'));
        loop {
            match self.rest.get(at) {
                None => return Err("a bracket is not closed"),
                Some(b'\\') => at += 2,
                Some(b'[') if self.rest.get(at + 1) == Some(&b':') => {
                    let named = self.rest.get(at..).unwrap_or_default();
                    at += named.windows(2).position(|two| two == b":]").map_or(1, |end| end + 2);
                }
                Some(b']') => break,
                Some(_) => at += 1,
            }
        }
        self.out.push(b'[');
        self.pass(at + 1);
        self.at_start = false;
        Ok(())
    }

    /// A group, or flags for the rest of one.
    fn open(&mut self) -> Result<(), &'static str> {
        self.out.push(b'(');
        let mut is_group = true;
        if self.rest.first() == Some(&b'?') {
            let head = self.rest.iter().position(|byte| b":>)".contains(byte)).ok_or("a parenthesis is not closed")?;
            is_group = self.rest.get(head) != Some(&b')');
            self.pass(head + 1);
        }
        if is_group {
            self.groups.push(self.at_start);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(pattern: &str) -> Result<String, &'static str> {
        physical(b"a.", pattern.as_bytes()).map(|out| String::from_utf8(out).unwrap())
    }

    #[test]
    fn patterns_are_confined_to_the_prefix() {
        for (pattern, inner) in [
            ("orders.*", "orders.*"),
            ("^orders$", "orders$"),
            ("^a|^b", "a|b"),
            ("(^a|(?:^b))c", "(a|(?:b))c"),
            ("(?i)^x", "(?i)x"),
            ("[]^(]x[^]|]", "[]^(]x[^]|]"),
            ("[[:alpha:]]+\\^\\)", "[[:alpha:]]+\\^\\)"),
            ("\\Qa)|b", "\\Qa)|b\\E"),
            ("\\Q(\\E(b)", "\\Q(\\E(b)"),
            ("\\Ax\\z", "x\\z"),
            ("", ""),
        ] {
            assert_eq!(there(pattern), Ok(format!("a\\.(?:{inner})")), "{pattern}");
            assert_eq!(client(b"a.", there(pattern).unwrap().as_bytes()), Some(inner.as_bytes()));
        }
        assert_eq!(client(b"b.", b"a\\.(?:x)"), None);
    }

    #[test]
    fn what_would_reach_out_of_it_is_refused() {
        for pattern in ["x)|(?:.*", "x|y)", "(x", "[x", "x\\", "a*^b", "^*x", "(?x", "[]"] {
            assert!(there(pattern).is_err(), "{pattern}");
        }
        assert!(physical(b"a_", b"\\bx").is_err());
        assert!(physical(b"a.", b"\\bx").is_ok());
    }
}
