//! What keys and values have to be: JSON that fits a JSON Schema.
//!
//! A schema is compiled once, when the configuration is taken. It has no network: `$ref` leads to its own parts only. Patterns are matched in
//! linear time, so that no value can make a worker busy. What is said of a value never repeats it, since errors end in logs.

use config::Invalid;
use config::proto::midstream::kafka::v1 as proto;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// The longest schema.
const MAX_SCHEMA: usize = 1024 * 1024;

/// What one pattern of a schema may take when it is compiled.
const MAX_PATTERN: usize = 1024 * 1024;

/// The longest sentence about a record.
const MAX_REASON: usize = 300;

/// A compiled schema.
#[derive(Debug)]
pub struct Schema(Validator);

impl Schema {
    /// Compiles a JSON Schema; the draft is that of its `$schema`, else 2020-12.
    ///
    /// # Errors
    /// It is none; the field is the path in it.
    pub fn json(text: &[u8]) -> Result<Schema, Invalid> {
        if text.len() > MAX_SCHEMA {
            return Err(Invalid::new("", format!("has {} bytes, and at most {MAX_SCHEMA} may be", text.len())));
        }
        let schema: Value = serde_json::from_slice(text).map_err(|error| Invalid::new("", format!("is not JSON: {error}")))?;
        let patterns = PatternOptions::regex().size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN);
        let built = jsonschema::options().with_pattern_options(patterns).build(&schema);
        built.map(Schema).map_err(|error| {
            let path = error.instance_path().to_string().trim_start_matches('/').replace('/', ".");
            Invalid::new(path, format!("is no JSON Schema: {error}"))
        })
    }

    /// What is wrong with bytes; `None` when they fit.
    pub fn refuses(&self, bytes: &[u8]) -> Option<String> {
        let value: Value = match serde_json::from_slice(bytes) {
            Ok(value) => value,
            Err(error) => return Some(format!("that is not JSON ({})", place(&error))),
        };
        if self.0.is_valid(&value) {
            return None;
        }
        let error = self.0.iter_errors(&value).next()?;
        let path = error.instance_path().to_string();
        let at = if path.is_empty() { "its schema refuses: ".to_string() } else { format!("its schema refuses at {path}: ") };
        let reason: String = error.masked().to_string().chars().take(MAX_REASON).collect();
        Some(at + &reason)
    }
}

/// Where JSON breaks off, without what stands there.
fn place(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

/// What the keys or values of a topic have to be.
pub fn compile(value: &proto::Schema, text: impl FnOnce(&str) -> Result<Option<Vec<u8>>, Invalid>) -> Result<Option<Schema>, Invalid> {
    let text = match (value.json_schema.is_empty(), value.json_schema_secret.is_empty()) {
        (false, false) => return Err(Invalid::new("json_schema_secret", "stands beside json_schema; give one of the two")),
        (true, true) => return Err(Invalid::new("", "names no schema; give json_schema or json_schema_secret")),
        (false, true) => return Schema::json(value.json_schema.as_bytes()).map(Some).map_err(|invalid| invalid.within("json_schema")),
        (true, false) => text(&value.json_schema_secret).map_err(|invalid| invalid.within("json_schema_secret"))?,
    };
    text.map(|text| Schema::json(&text)).transpose().map_err(|invalid| Invalid::new("json_schema_secret", invalid.reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &[u8] = br#"{"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}, "note": {"pattern": "^(a+)+$"}}}"#;

    #[test]
    fn a_value_that_does_not_fit_is_told_without_repeating_it() {
        let schema = Schema::json(ORDER).unwrap();
        assert_eq!(schema.refuses(br#"{"id": 7}"#), None);
        let said = schema.refuses(br#"{"id": "4711-secret"}"#).unwrap();
        assert!(said.contains("at /id") && !said.contains("4711"), "{said}");
        assert!(schema.refuses(b"{}").unwrap().contains("id"));
        assert_eq!(schema.refuses(b"{\"id\": 1").unwrap(), "that is not JSON (line 1, column 8)");
        assert!(schema.refuses(b"").is_some());
        let hostile = format!("{{\"id\": 1, \"note\": \"{}b\"}}", "a".repeat(100_000));
        assert!(schema.refuses(hostile.as_bytes()).unwrap().len() < 2 * MAX_REASON);
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        assert!(schema.refuses(&deep).unwrap().contains("not JSON"));
    }

    #[test]
    fn what_is_no_schema_is_refused_at_its_place() {
        let bad = |text: &str| Schema::json(text.as_bytes()).unwrap_err().field;
        assert_eq!(bad("{"), "");
        assert_eq!(bad(r#"{"properties": {"id": {"type": "number of things"}}}"#), "properties.id.type");
        Schema::json(br#"{"$ref": "https://example.com/schema.json"}"#).unwrap_err();
        Schema::json(br#"{"$ref": "file:///etc/passwd"}"#).unwrap_err();
        assert!(Schema::json(&vec![b' '; MAX_SCHEMA + 1]).unwrap_err().reason.contains("bytes"));
    }
}
