//! Patterns of KEYS and SCAN MATCH, as servers read them: `*`, `?`, `[abc]`, `[^a-z]`, and `\` before what stands for itself.
//! Source: <https://redis.io/docs/latest/commands/keys/>; of what that leaves open, `stringmatchlen` in the server's util.c.

/// Whether the whole of `text` matches. Only the last `*` is ever gone back to, so that the time is at most the product of the lengths.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, seen));
            continue;
        }
        match (text.get(seen), pattern.get(at)) {
            (None, None) => return true,
            (Some(byte), Some(_)) => {
                let (fits, length) = one(&pattern[at..], *byte);
                if fits {
                    (at, seen) = (at + length, seen + 1);
                    continue;
                }
            }
            (None, Some(_)) => return false,
            (Some(_), None) => {}
        }
        let Some((after, from)) = star else { return false };
        star = Some((after, from + 1));
        (at, seen) = (after, from + 1);
        if seen > text.len() {
            return false;
        }
    }
}

/// Whether a byte fits the front of a pattern that is not empty, and how long that front is.
fn one(pattern: &[u8], byte: u8) -> (bool, usize) {
    match pattern {
        [b'?', ..] => (true, 1),
        [b'\\', escaped, ..] => (*escaped == byte, 2),
        [b'[', ..] => class(pattern, byte),
        [literal, ..] => (*literal == byte, 1),
        [] => (false, 0),
    }
}

/// `[...]`; one that is not closed ends with the pattern.
fn class(pattern: &[u8], byte: u8) -> (bool, usize) {
    let not = pattern.get(1) == Some(&b'^');
    let mut at = if not { 2 } else { 1 };
    let mut found = false;
    loop {
        match pattern.get(at..).unwrap_or_default() {
            [] => return (found != not, pattern.len()),
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [b']', ..] => return (found != not, at + 1),
            [first, b'-', last, ..] => {
                found |= (*first.min(last)..=*first.max(last)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= *literal == byte;
                at += 1;
            }
        }
    }
}

/// What every text that matches begins with.
pub fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let end = pattern.iter().position(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\')).unwrap_or(pattern.len());
    &pattern[..end]
}

/// Appends a text as a pattern that matches nothing else.
pub fn push_escaped(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^' | b'-') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_server_matches() {
        // Each asked of a server: SET text, KEYS pattern.
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("h?llo", "hello", true),
            ("h*llo", "heeeello", true),
            ("h*llo", "hell", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hello", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxbxx", false),
            ("a*", "a", true),
            ("[a", "a", true),
            ("[]a]", "]a]", false),
            ("[\\]a]", "]", true),
            ("a\\", "a\\", true),
            ("*ab", "aab", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn many_stars_take_no_longer_than_the_lengths_say() {
        assert!(!matches(&b"a*".repeat(200), &b"a".repeat(20_000).iter().copied().chain(*b"b").rev().collect::<Vec<u8>>()));
    }

    #[test]
    fn a_text_as_a_pattern_matches_itself() {
        for text in ["a", "*", "a[b]c", "\\", "?-^]"] {
            let mut pattern = Vec::new();
            push_escaped(text.as_bytes(), &mut pattern);
            assert!(matches(&pattern, text.as_bytes()), "{text}");
            assert!(!matches(&pattern, b"zz"), "{text}");
        }
        assert_eq!(literal_prefix(b"user:*"), b"user:");
        assert_eq!(literal_prefix(b"user"), b"user");
    }
}
