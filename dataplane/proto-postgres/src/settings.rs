//! The parameters that a client's session has beyond the server's defaults, as a server connection has to have them: those of its startup
//! message, and what it has set since.
//!
//! They cannot be given in our own startup message: that would make them the defaults of a connection that others use as well.

use crate::message::query;
use std::fmt::Write;

/// What they take together, names and values: beyond it a session is pinned, since each client keeps its own.
pub const MAX_BYTES: usize = 64 * 1024;
/// Below this, in milliseconds, a client's statement_timeout could end our own queries on the next client's behalf.
const HASTY: u64 = 1000;

/// By name, sorted: equal sets are equal. SET ROLE comes last, as it may take away the right to set others.
#[derive(Clone, PartialEq, Eq, Default, Debug, Hash)]
pub struct Settings {
    list: Vec<(String, String)>,
    is_hasty: bool,
}

impl Settings {
    /// Of a startup message, names in lower case.
    pub fn new(settings: Vec<(String, String)>) -> Settings {
        let mut sorted = Settings::default();
        settings.into_iter().for_each(|(name, value)| sorted.set(&name, value));
        sorted
    }

    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.place(name).ok().and_then(|at| self.list.get(at)).map(|(_, value)| value.as_str())
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Another value of one.
    pub fn set(&mut self, name: &str, value: String) {
        match self.place(name) {
            Ok(at) => self.list[at].1 = value,
            Err(at) => self.list.insert(at, (name.into(), value)),
        }
        self.look();
    }

    /// The default of one.
    pub fn remove(&mut self, name: &str) {
        if let Ok(at) = self.place(name) {
            self.list.remove(at);
            self.look();
        }
    }

    fn look(&mut self) {
        let is_hasty = self.iter().any(is_hasty);
        self.is_hasty = is_hasty;
    }

    /// Names and values.
    pub fn bytes(&self) -> usize {
        self.list.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Whether a session with these would not leave our own queries the time they need.
    pub fn is_hasty(&self) -> bool {
        self.is_hasty
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.list.binary_search_by_key(&(name == "role", name), |(known, _)| (known == "role", known.as_str()))
    }

    /// Appends the `Query` that takes a session from `before` (`None`: unknown) to this, as one transaction: all or nothing.
    pub fn apply(&self, before: Option<&Settings>, out: &mut Vec<u8>) {
        let mut sql = String::new();
        if before.is_none() {
            // The first also ends SET ROLE, which RESET ALL does not.
            sql.push_str("SET SESSION AUTHORIZATION DEFAULT;RESET ALL;");
        }
        let mut list = List::new(&mut sql);
        let known = |name: &str| before.and_then(|before| before.get(name));
        // A role may have less rights to reset the others, so it goes first.
        if known("role").is_some_and(|role| self.get("role") != Some(role)) {
            list.reset("role");
        }
        for (name, _) in before.into_iter().flat_map(Settings::iter).filter(|(name, _)| *name != "role" && self.get(name).is_none()) {
            list.reset(name);
        }
        for (name, value) in self.iter().filter(|(name, value)| known(name) != Some(value)) {
            list.set(name, value, false);
        }
        query(out, sql.as_bytes());
    }
}

fn is_hasty((name, value): (&str, &str)) -> bool {
    let is_short = match value.strip_suffix("ms").unwrap_or(value).trim().parse::<u64>() {
        Ok(milliseconds) => milliseconds > 0 && milliseconds < HASTY,
        Err(_) => value.ends_with("us"),
    };
    is_short && matches!(name, "statement_timeout" | "transaction_timeout" | "idle_session_timeout")
}

/// `SELECT set_config(...), ...`: takes values as the startup packet does, lists stay lists; and NULL for the default.
pub struct List<'a> {
    sql: &'a mut String,
    is_begun: bool,
}

impl<'a> List<'a> {
    /// Appends to the text.
    pub fn new(sql: &'a mut String) -> List<'a> {
        List { sql, is_begun: false }
    }

    /// To a value; `is_local`: until the transaction ends.
    pub fn set(&mut self, name: &str, value: &str, is_local: bool) {
        self.call(name);
        literal(self.sql, value);
        self.sql.push_str(if is_local { ",true)" } else { ",false)" });
    }

    /// To the default.
    pub fn reset(&mut self, name: &str) {
        self.call(name);
        // The role has no default in this sense.
        self.sql.push_str(if name == "role" { "'none',false)" } else { "NULL,false)" });
    }

    fn call(&mut self, name: &str) {
        self.sql.push_str(if self.is_begun { "," } else { "SELECT " });
        self.is_begun = true;
        self.sql.push_str("pg_catalog.set_config(");
        literal(self.sql, name);
        self.sql.push(',');
    }
}

/// `E'...'` means the same whatever standard_conforming_strings is, and ASCII whatever client_encoding is.
pub fn literal(sql: &mut String, text: &str) {
    sql.push_str(" E'");
    for character in text.chars() {
        match character {
            '\'' | '\\' => sql.extend([character, character]),
            _ if character.is_ascii() => sql.push(character),
            _ => drop(write!(sql, "\\U{:08X}", u32::from(character))),
        }
    }
    sql.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(list: &[(&str, &str)]) -> Settings {
        Settings::new(list.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    fn applied(after: &Settings, before: Option<&Settings>) -> String {
        let mut out = Vec::new();
        after.apply(before, &mut out);
        String::from_utf8(out[5..out.len() - 1].to_vec()).unwrap()
    }

    #[test]
    fn values_stay_values() {
        let after = settings(&[("timezone", "UTC"), ("search_path", "a', \\b\u{e9}")]);
        assert_eq!(
            applied(&after, Some(&Settings::default())),
            "SELECT pg_catalog.set_config( E'search_path', E'a'', \\\\b\\U000000E9',false),pg_catalog.set_config( E'timezone', E'UTC',false)"
        );
    }

    #[test]
    fn only_the_difference_is_applied() {
        let before = settings(&[("role", "x"), ("work_mem", "1MB"), ("a.b", "1")]);
        let after = settings(&[("role", "y"), ("work_mem", "1MB"), ("timezone", "UTC")]);
        assert_eq!(
            applied(&after, Some(&before)),
            "SELECT pg_catalog.set_config( E'role','none',false),pg_catalog.set_config( E'a.b',NULL,false),\
             pg_catalog.set_config( E'timezone', E'UTC',false),pg_catalog.set_config( E'role', E'y',false)"
        );
        assert_eq!(applied(&Settings::default(), Some(&settings(&[("role", "x")]))), "SELECT pg_catalog.set_config( E'role','none',false)");
        assert_eq!(applied(&Settings::default(), None), "SET SESSION AUTHORIZATION DEFAULT;RESET ALL;");
    }

    #[test]
    fn timeouts_that_our_own_queries_might_not_keep() {
        for (value, hasty) in [("10", true), ("999ms", true), ("500us", true), ("0", false), ("5s", false), ("5000", false)] {
            assert_eq!(settings(&[("statement_timeout", value)]).is_hasty(), hasty, "{value}");
        }
    }
}
