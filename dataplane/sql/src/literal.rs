//! The value that a string literal stands for.

use std::borrow::Cow;

/// The bytes of `'...'`, `E'...'`, `N'...'` or `$tag$...$tag$` as the server would read them; `None` where that depends on more than
/// the literal itself (`U&'...'` with its UESCAPE, escapes beyond ASCII).
pub(crate) fn string(text: &[u8], escapes: bool) -> Option<Cow<'_, [u8]>> {
    match text.first()? {
        b'$' => {
            let tag = text.get(1..)?.iter().position(|byte| *byte == b'$')? + 2;
            text.get(tag..text.len().checked_sub(tag)?).map(Cow::Borrowed)
        }
        b'\'' => quoted(text, escapes),
        b'e' | b'E' | b'n' | b'N' => quoted(text.get(1..)?, escapes),
        _ => None,
    }
}

fn quoted(text: &[u8], escapes: bool) -> Option<Cow<'_, [u8]>> {
    let inner = text.get(1..text.len().checked_sub(1)?)?;
    let plain = |byte: &u8| *byte != b'\'' && (*byte != b'\\' || !escapes);
    if inner.iter().all(plain) {
        return Some(Cow::Borrowed(inner));
    }
    let mut value = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((byte, after)) = rest.split_first() {
        rest = match byte {
            // A doubled quote; a single one ends this part of a string that goes on in the next line.
            b'\'' => {
                value.push(b'\'');
                after.strip_prefix(b"'")?
            }
            b'\\' if escapes => {
                let (escaped, after) = escape(after)?;
                value.push(escaped);
                after
            }
            _ => {
                value.push(*byte);
                after
            }
        };
    }
    Some(Cow::Owned(value))
}

/// One escape behind its backslash; only those that give one ASCII byte.
fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let (byte, after) = text.split_first()?;
    let plain = match byte {
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'x' | b'u' | b'U' | b'0'..=b'7' => return None,
        other => *other,
    };
    Some((plain, after))
}

#[cfg(test)]
mod tests {
    use super::string;

    fn value(text: &str, escapes: bool) -> Option<String> {
        string(text.as_bytes(), escapes).map(|value| String::from_utf8(value.into_owned()).unwrap())
    }

    #[test]
    fn quotes_and_escapes_are_undone() {
        assert_eq!(value("'it''s'", false).as_deref(), Some("it's"));
        assert_eq!(value(r"'a\n'", false).as_deref(), Some(r"a\n"));
        assert_eq!(value(r"E'a\n\'\\'", true).as_deref(), Some("a\n'\\"));
        assert_eq!(value("$t$it's$t$", false).as_deref(), Some("it's"));
        assert_eq!(value("$$$$", false).as_deref(), Some(""));
        assert_eq!(value("N'x'", false).as_deref(), Some("x"));
        assert_eq!(value("''", false).as_deref(), Some(""));
    }

    #[test]
    fn what_depends_on_more_is_not_guessed() {
        for text in [r"E'\x41'", r"E'\u0041'", r"E'\101'"] {
            assert_eq!(value(text, true), None, "{text}");
        }
        assert_eq!(value("U&'a'", false), None);
        assert_eq!(value("'a'\n'b'", false), None);
    }
}
