//! The shortest of looks: whether a text is one SELECT that plainly changes nothing.
//!
//! Most statements of most applications are, and for a listener without filters and shards nothing else has to be known of them. Whatever
//! could call a function, quote, comment or hide a second statement is left to the lexer.

/// Words that make a SELECT write or lock, or name what is the session's.
const WORDS: [&[u8]; 12] =
    [b"nextval", b"setval", b"into", b"insert", b"update", b"delete", b"merge", b"share", b"pg_temp", b"currval", b"lastval", b"temp"];

/// Whether `sql` is one SELECT without a call, a quote, a comment and any of the words by which one changes something. `false` says nothing.
pub fn is_plain_select(sql: &[u8]) -> bool {
    let Some((verb, rest)) = sql.split_at_checked(6) else { return false };
    if !verb.eq_ignore_ascii_case(b"select") || !rest.first().is_some_and(u8::is_ascii_whitespace) {
        return false;
    }
    let rest = rest.strip_suffix(b";").unwrap_or(rest);
    let mut from = 0;
    for (at, byte) in rest.iter().enumerate() {
        match KINDS[usize::from(*byte)] {
            Kind::Word => {}
            Kind::Between => {
                if is_listed(&rest[from..at]) {
                    return false;
                }
                from = at + 1;
            }
            Kind::Other => return false,
        }
    }
    !is_listed(&rest[from..])
}

#[inline]
fn is_listed(word: &[u8]) -> bool {
    // None is shorter, and none begins with another letter: most words end here.
    word.len() >= 4
        && matches!(word[0] | 0x20, b'i' | b'u' | b'd' | b'm' | b's' | b'p' | b'c' | b'l' | b't' | b'n')
        && WORDS.iter().any(|listed| word.eq_ignore_ascii_case(listed))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Between,
    Other,
}

/// By byte.
const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => Kind::Word,
            b' ' | b'\t' | b'\n' | b'\r' | b',' | b'.' | b'=' | b'<' | b'>' | b'+' | b'*' => Kind::Between,
            _ => Kind::Other,
        };
        byte += 1;
    }
    kinds
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::Effect;
    use crate::{Lexer, Settings};
    use proptest::prelude::*;
    use wire::Class;

    #[test]
    fn plain_and_not() {
        assert!(is_plain_select(b"SELECT abalance FROM pgbench_accounts WHERE aid = 123;"));
        assert!(is_plain_select(b"select t.* from a.t where x >= 1 and y < 2 limit 5"));
        for not in [
            "select f()",
            "select 1; set x = 1",
            "select 1 into t",
            "select * from t for update",
            "select 'a'",
            "select \"f\"",
            "select 1 -- x",
            "select /* x */ 1",
            "selected",
            "select",
            "selec",
            "",
            "table t",
            "select * from pg_temp.t",
            "select $1",
            "select U&x",
            "select * from t for no key update",
            "SELECT * FROM t FOR SHARE",
            "select 1 INTO TEMP t",
            "set x = 1",
        ] {
            assert!(!is_plain_select(not.as_bytes()), "{not}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_for_plain_does_nothing(words in prop::collection::vec(
            prop::sample::select(vec![
                "a", "from", "into", "t", ";", "(", ")", "set", "for", "update", "temp", "'x'", "pg_temp", ".", ",", "1", "u&x", "--", "\n", "insert",
                "nextval", "lastval", "set_config(", "begin", "values", "with", "share", "only", "listen",
            ]), 0..8), end in prop::bool::ANY)
        {
            let sql = format!("select {}{}", words.join(" "), if end { ";" } else { "" });
            if is_plain_select(sql.as_bytes()) {
                let mut lexer = Lexer::default();
                let lexed = lexer.scan(sql.as_bytes(), Settings::default()).unwrap();
                prop_assert!(lexed.end >= sql.trim_end().len());
                let effect = Effect::of(lexed);
                prop_assert!(effect.touches.is_none() && effect.transaction.is_none() && effect.copy.is_none());
                prop_assert_eq!(effect.class, Class::Read);
            }
        }
    }
}
