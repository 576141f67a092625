//! `BEGIN ... READ ONLY`, word by word: what begins a transaction that a standby runs as a primary does.

use crate::lexer::Lexed;

/// What such a BEGIN says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadOnly {
    /// An isolation level; otherwise the session's default holds.
    pub has_level: bool,
}

/// Reads a BEGIN that says READ ONLY, and nothing that only a primary does (SERIALIZABLE, DEFERRABLE). `None`: it is another statement.
pub fn read_only(lexed: &Lexed) -> Option<ReadOnly> {
    let tokens = tokens(lexed.normalised());
    let mut modes = match tokens.as_slice() {
        [b"begin", b"work" | b"transaction", modes @ ..] | [b"start", b"transaction", modes @ ..] | [b"begin", modes @ ..] => modes,
        _ => return None,
    };
    let (mut is_read_only, mut has_level) = (false, false);
    loop {
        modes = match modes {
            [b"read", b"only", rest @ ..] => {
                is_read_only = true;
                rest
            }
            [b"isolation", b"level", b"read", b"committed" | b"uncommitted", rest @ ..]
            | [b"isolation", b"level", b"repeatable", b"read", rest @ ..] => {
                has_level = true;
                rest
            }
            _ => return None,
        };
        modes = match modes {
            [] => return is_read_only.then_some(ReadOnly { has_level }),
            [b",", rest @ ..] => rest,
            rest => rest,
        };
    }
}

/// Words and commas; whatever else there is stays in its word, and is no mode then.
fn tokens(text: &[u8]) -> Vec<&[u8]> {
    let mut tokens = Vec::new();
    for part in text.split(|byte| *byte == b' ').filter(|part| !part.is_empty()) {
        for (nth, word) in part.split(|byte| *byte == b',').enumerate() {
            if nth > 0 {
                tokens.push(&b","[..]);
            }
            if !word.is_empty() {
                tokens.push(word);
            }
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::{Lexer, Settings};

    fn read(sql: &str) -> Option<bool> {
        read_only(Lexer::default().scan(sql.as_bytes(), Settings::default()).unwrap()).map(|begin| begin.has_level)
    }

    #[test]
    fn what_drivers_say() {
        for (sql, has_level) in [
            ("BEGIN READ ONLY;", false),
            ("begin transaction read only", false),
            ("START TRANSACTION READ ONLY", false),
            ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;", true),
            ("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY", true),
            ("BEGIN ISOLATION LEVEL READ COMMITTED, READ ONLY", true),
            ("begin work /* x */ read only , isolation level read uncommitted", true),
        ] {
            assert_eq!(read(sql), Some(has_level), "{sql}");
        }
    }

    #[test]
    fn whatever_says_more_or_less_is_another_statement() {
        for sql in [
            "begin",
            "start transaction",
            "begin isolation level repeatable read",
            "begin read write",
            "begin read only read write",
            "begin isolation level serializable read only",
            "begin read only deferrable",
            "begin , read only",
            "begin read only,",
            "begin read only x",
            "begin \"read\" only",
            "begin read only :p1",
            "start read only",
            "set transaction read only",
            "",
        ] {
            assert_eq!(read(sql), None, "{sql}");
        }
    }
}
