//! The settings that a client gave in its startup message, as a server connection has to have them.
//!
//! They cannot be given in our own startup message: that would make them the session's defaults, which RESET returns to.

use crate::message::query;

/// By name, in the client's order.
#[derive(Clone, PartialEq, Eq, Default, Debug, Hash)]
pub struct Settings(Vec<(String, String)>);

impl Settings {
    /// Of a startup message, names in lower case.
    pub fn new(settings: Vec<(String, String)>) -> Settings {
        Settings(settings)
    }

    /// Whether the server's own defaults are meant.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Appends the `Query` that takes a session from `before` (`None`: unknown) to this, as one transaction: all or nothing.
    pub fn apply(&self, before: Option<&Settings>, out: &mut Vec<u8>) {
        let mut sql = String::new();
        if before.is_none_or(|before| !before.is_empty()) {
            sql.push_str("RESET ALL;");
        }
        for (index, (name, value)) in self.0.iter().enumerate() {
            sql.push_str(if index == 0 { "SELECT " } else { "," });
            // set_config takes the value as the startup packet does: lists stay lists.
            sql.push_str("pg_catalog.set_config(");
            literal(&mut sql, name);
            sql.push(',');
            literal(&mut sql, value);
            sql.push_str(",false)");
        }
        query(out, sql.as_bytes());
    }
}

/// `E'...'` means the same whatever standard_conforming_strings is.
fn literal(sql: &mut String, text: &str) {
    sql.push_str(" E'");
    for character in text.chars() {
        if matches!(character, '\'' | '\\') {
            sql.push(character);
        }
        sql.push(character);
    }
    sql.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_values() {
        let settings = Settings::new(vec![("search_path".into(), "a', \\b".into()), ("timezone".into(), "UTC".into())]);
        let mut out = Vec::new();
        settings.apply(Some(&Settings::default()), &mut out);
        let sql = String::from_utf8(out[5..out.len() - 1].to_vec()).unwrap();
        assert_eq!(sql, "SELECT pg_catalog.set_config( E'search_path', E'a'', \\\\b',false),pg_catalog.set_config( E'timezone', E'UTC',false)");
        let mut out = Vec::new();
        Settings::default().apply(Some(&settings), &mut out);
        assert_eq!(&out[5..], b"RESET ALL;\0");
    }
}
