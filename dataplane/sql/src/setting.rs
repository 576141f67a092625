//! Which parameters a statement sets: SET, RESET, and calls of set_config, from their words.

use crate::lexer::Lexed;

/// The longest name that is told; PostgreSQL's own have up to 40 characters.
const MAX_NAME: usize = 128;

/// One parameter, or all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// That one gets a value; names are in lower case.
    Set(String),
    /// That one goes back to its default.
    Reset {
        /// The name.
        name: String,
        /// SET LOCAL ... TO DEFAULT: until the transaction's end.
        local: bool,
    },
    /// RESET ALL.
    ResetAll,
    /// Some that are not told by the text.
    Unknown,
}

/// What a statement does to the session's parameters; SET LOCAL to a value is nothing, since the server takes it back by itself.
pub fn changes(lexed: &Lexed) -> Vec<Change> {
    let text = lexed.normalised();
    let mut words = Text(text);
    if words.take("set") {
        return set(&mut words);
    }
    if words.take("reset") {
        return vec![reset(&mut words)];
    }
    set_config(text)
}

fn set(words: &mut Text<'_>) -> Vec<Change> {
    let local = words.take("local");
    if words.take("session") && words.take("characteristics") {
        let names = ["default_transaction_isolation", "default_transaction_read_only", "default_transaction_deferrable"];
        return names.map(|name| Change::Set(name.into())).into();
    }
    if words.take("transaction") || words.take("constraints") {
        return Vec::new();
    }
    let (name, is_special) = match () {
        () if words.take("time") && words.take("zone") => (Some("timezone".into()), true),
        () if words.take("names") => (Some("client_encoding".into()), true),
        () if words.take("schema") => (Some("search_path".into()), true),
        () if words.take("xml") && words.take("option") => (Some("xmloption".into()), true),
        () => (words.name(), false),
    };
    let Some(name) = name else { return vec![Change::Unknown] };
    let has_value = is_special || words.take("to") || words.symbol(b'=') || name == "role";
    if !has_value {
        // FROM CURRENT, and what the server will refuse.
        return vec![Change::Set(name)];
    }
    let is_default = words.is_at("default") || (name == "timezone" && is_special && words.is_at("local")) || (is_special && words.is_done());
    match (is_default, local) {
        (true, local) => vec![Change::Reset { name, local }],
        (false, true) => Vec::new(),
        (false, false) => vec![Change::Set(name)],
    }
}

fn reset(words: &mut Text<'_>) -> Change {
    if words.is_at("all") {
        return Change::ResetAll;
    }
    let name = if words.take("time") && words.take("zone") { Some("timezone".into()) } else { words.name() };
    name.map_or(Change::Unknown, |name| Change::Reset { name, local: false })
}

/// The names that stand as plain strings in calls of set_config; a call for the transaction only (`true` as it stands) is nothing.
pub fn set_config(text: &[u8]) -> Vec<Change> {
    const CALL: &[u8] = b"set_config";
    let mut changes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(CALL.len()).position(|window| window.eq_ignore_ascii_case(CALL)) {
        rest = rest.get(at + CALL.len()..).unwrap_or_default();
        let behind = rest.strip_prefix(b"\"").unwrap_or(rest).trim_ascii_start();
        let arguments = behind.strip_prefix(b"(").map(arguments).unwrap_or_default();
        let [name, _, is_local] = arguments.as_slice() else {
            changes.push(Change::Unknown);
            continue;
        };
        let change = literal(name).and_then(name_of).map_or(Change::Unknown, Change::Set);
        if !is_local.eq_ignore_ascii_case(b"true") && !changes.contains(&change) {
            changes.push(change);
        }
    }
    changes
}

/// What stands between the commas up to the closing parenthesis.
fn arguments(text: &[u8]) -> Vec<&[u8]> {
    let (mut depth, mut from, mut quote) = (0, 0, None);
    let mut arguments = Vec::new();
    for (at, byte) in text.iter().enumerate() {
        match (quote, byte) {
            (Some(open), byte) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'(' | b'[') => depth += 1,
            (None, b',') if depth == 0 => {
                arguments.push(text[from..at].trim_ascii());
                from = at + 1;
            }
            (None, b')') if depth == 0 => {
                arguments.push(text[from..at].trim_ascii());
                return arguments;
            }
            (None, b')' | b']') => depth -= 1,
            _ => {}
        }
    }
    Vec::new()
}

fn literal(argument: &[u8]) -> Option<&[u8]> {
    argument.strip_prefix(b"'")?.strip_suffix(b"'")
}

fn name_of(name: &[u8]) -> Option<String> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$');
    let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(|byte| is_name(&byte)))?;
    Some(name.to_ascii_lowercase())
}

/// What is left of a statement that is read word by word.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn is_at(&self, word: &str) -> bool {
        let text = self.0.trim_ascii_start();
        let end = text.iter().position(|byte| !is_in_word(*byte)).unwrap_or(text.len());
        text[..end].eq_ignore_ascii_case(word.as_bytes())
    }

    fn is_done(&self) -> bool {
        self.0.trim_ascii_start().is_empty()
    }

    fn take(&mut self, word: &str) -> bool {
        let is_at = self.is_at(word);
        if is_at {
            self.0 = self.0.trim_ascii_start().get(word.len()..).unwrap_or_default();
        }
        is_at
    }

    fn symbol(&mut self, byte: u8) -> bool {
        let rest = self.0.trim_ascii_start().strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// `a`, `a.b`, `"A"."b"`.
    fn name(&mut self) -> Option<String> {
        let mut name = Vec::new();
        loop {
            let text = self.0.trim_ascii_start();
            let (part, rest) = match text.strip_prefix(b"\"") {
                Some(quoted) => {
                    let end = quoted.iter().position(|byte| *byte == b'"')?;
                    (quoted.get(..end)?, quoted.get(end + 1..)?)
                }
                None => text.split_at(text.iter().position(|byte| !is_in_word(*byte)).unwrap_or(text.len())),
            };
            name.extend_from_slice(part);
            self.0 = rest;
            if !self.symbol(b'.') {
                return name_of(&name);
            }
            name.push(b'.');
        }
    }
}

fn is_in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::Lexer;

    fn of(sql: &str) -> Vec<Change> {
        changes(Lexer::default().scan(sql.as_bytes(), Default::default()).unwrap())
    }

    fn set(name: &str) -> Vec<Change> {
        vec![Change::Set(name.into())]
    }

    fn reset(name: &str, local: bool) -> Vec<Change> {
        vec![Change::Reset { name: name.into(), local }]
    }

    #[test]
    fn names_of_set() {
        for (sql, name) in [
            ("SET Work_Mem = '1MB'", "work_mem"),
            ("set session search_path to a, \"B\"", "search_path"),
            ("set \"My\".\"Var\" = 1", "my.var"),
            ("set my . var = 1", "my.var"),
            ("set time zone 'UTC'", "timezone"),
            ("set time zone interval '1' hour to minute", "timezone"),
            ("set names 'latin1'", "client_encoding"),
            ("set schema 'x'", "search_path"),
            ("set role none", "role"),
            ("set session role to x", "role"),
            ("set xml option document", "xmloption"),
            ("set work_mem from current", "work_mem"),
        ] {
            assert_eq!(of(sql), set(name), "{sql}");
        }
        assert_eq!(of("set session characteristics as transaction read only").len(), 3);
        for sql in ["set local work_mem = 1", "set transaction read only", "set constraints all deferred", "set local time zone 'UTC'", "select 1"] {
            assert_eq!(of(sql), [], "{sql}");
        }
    }

    #[test]
    fn resets() {
        assert_eq!(of("RESET ALL"), [Change::ResetAll]);
        assert_eq!(of("reset work_mem"), reset("work_mem", false));
        assert_eq!(of("reset time zone"), reset("timezone", false));
        assert_eq!(of("reset a.b"), reset("a.b", false));
        assert_eq!(of("set work_mem to default"), reset("work_mem", false));
        assert_eq!(of("set local work_mem = DEFAULT"), reset("work_mem", true));
        assert_eq!(of("set time zone local"), reset("timezone", false));
        assert_eq!(of("set names default"), reset("client_encoding", false));
        assert_eq!(of("reset \"\u{e9}\""), [Change::Unknown]);
    }

    #[test]
    fn calls_of_set_config() {
        assert_eq!(of("select set_config('Work_mem', $1, false)"), set("work_mem"));
        assert_eq!(of("select pg_catalog.set_config ( 'a.b', f(1, ')'), $1)"), set("a.b"));
        assert_eq!(of("select set_config('a.b', 'x', TRUE), set_config($1, $2, true)"), []);
        for sql in ["select set_config($1, $2, false)", "select \"set_config\"('a.b', 'x', false)", "select set_config(a => 1, b => 2)"] {
            assert_eq!(of(sql), [Change::Unknown], "{sql}");
        }
        assert_eq!(of("select set_config('a', '1', false), set_config('b', '2', false)").len(), 2);
        assert_eq!(of("do $$ begin perform set_config('a.b', '1', false); end $$"), set("a.b"));
    }
}
