//! Words of an inline command, with the quoting of the server's `sdssplitargs`.

/// The words of a line; `None` where quotes do not balance.
pub fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        if at >= line.len() {
            return Some(words);
        }
        let (word, next) = word(line, at)?;
        words.push(word);
        at = next;
    }
}

fn word(line: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let mut word = Vec::new();
    while let Some(byte) = line.get(at) {
        match byte {
            b'"' | b'\'' => {
                at = quoted(line, at + 1, *byte, &mut word)?;
                let ended = line.get(at).is_none_or(u8::is_ascii_whitespace);
                return ended.then_some((word, at));
            }
            byte if byte.is_ascii_whitespace() => break,
            byte => word.push(*byte),
        }
        at += 1;
    }
    Some((word, at))
}

/// Copies up to the closing quote; where the bytes after it start.
fn quoted(line: &[u8], mut at: usize, quote: u8, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        match (*line.get(at)?, line.get(at + 1)) {
            (b'\\', Some(b'x')) if quote == b'"' && hex(line, at + 2).is_some() => {
                word.push(hex(line, at + 2)?);
                at += 4;
            }
            (b'\\', Some(escaped)) if quote == b'"' => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                at += 2;
            }
            (b'\\', Some(b'\'')) if quote == b'\'' => {
                word.push(b'\'');
                at += 2;
            }
            (byte, _) if byte == quote => return Some(at + 1),
            (byte, _) => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

fn hex(line: &[u8], at: usize) -> Option<u8> {
    let digits = std::str::from_utf8(line.get(at..at + 2)?).ok()?;
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_the_server_does() {
        let words =
            |line: &str| split(line.as_bytes()).map(|words| words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>());
        assert_eq!(words("  set a  b "), Some(vec!["set".into(), "a".into(), "b".into()]));
        assert_eq!(words(r#"set a "x \x41\n\"" "#), Some(vec!["set".into(), "a".into(), "x A\n\"".into()]));
        assert_eq!(words(r"set 'it\'s'"), Some(vec!["set".into(), "it's".into()]));
        assert_eq!(words(r#"set "a"b"#), None);
        assert_eq!(words(r#"set "a"#), None);
        assert_eq!(words(""), Some(vec![]));
    }
}
