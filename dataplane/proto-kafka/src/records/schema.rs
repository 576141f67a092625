//! What keys and values have to be: JSON that fits a JSON Schema.
//!
//! A schema is compiled once, when the configuration is taken. It has no network: `$ref` leads to its own parts only. Patterns are matched in
//! linear time, so that no value can make a worker busy. What is said of a value never repeats it, since errors end in logs.

use config::Invalid;
use config::proto::midstream::kafka::v1 as proto;
use config::proto::midstream::kafka::v1::schema::Framing;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// The longest schema.
const MAX_SCHEMA: usize = 1024 * 1024;

/// What one pattern of a schema may take when it is compiled.
const MAX_PATTERN: usize = 1024 * 1024;

/// The longest sentence about a record.
const MAX_REASON: usize = 300;

/// In front of what schema registries' serialisers write: a zero and the schema's id.
const FRAME: usize = 5;

/// What bytes have to be.
#[derive(Debug)]
pub struct Schema {
    /// They stand in the frame of schema registries.
    is_framed: bool,
    /// The ids that may be in the frame; empty: any.
    ids: Vec<u32>,
    json: Option<Validator>,
}

impl Schema {
    /// What is wrong with bytes; `None` when they fit.
    pub fn refuses(&self, bytes: &[u8]) -> Option<String> {
        let bytes = if self.is_framed {
            match self.unframed(bytes) {
                Ok(bytes) => bytes,
                Err(why) => return Some(why),
            }
        } else {
            bytes
        };
        self.json.as_ref().and_then(|schema| misfit(schema, bytes))
    }

    /// What stands in the frame.
    fn unframed<'b>(&self, bytes: &'b [u8]) -> Result<&'b [u8], String> {
        let Some((&[0, a, b, c, d], rest)) = bytes.split_first_chunk::<FRAME>() else {
            return Err("without the id of a schema in front (a zero byte and four of the id)".into());
        };
        let id = u32::from_be_bytes([a, b, c, d]);
        if self.ids.is_empty() || self.ids.contains(&id) {
            Ok(rest)
        } else {
            Err(format!("of schema {id}, which is not one of those that the policy names"))
        }
    }
}

/// Compiles a JSON Schema; the draft is that of its `$schema`, else 2020-12. The field of the error is the path in it.
fn json(text: &[u8]) -> Result<Validator, Invalid> {
    if text.len() > MAX_SCHEMA {
        return Err(Invalid::new("", format!("has {} bytes, and at most {MAX_SCHEMA} may be", text.len())));
    }
    let schema: Value = serde_json::from_slice(text).map_err(|error| Invalid::new("", format!("is not JSON: {error}")))?;
    let patterns = PatternOptions::regex().size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN);
    jsonschema::options().with_pattern_options(patterns).build(&schema).map_err(|error| {
        let path = error.instance_path().to_string().trim_start_matches('/').replace('/', ".");
        Invalid::new(path, format!("is no JSON Schema: {error}"))
    })
}

/// What is wrong with JSON; `None` when it fits.
fn misfit(schema: &Validator, bytes: &[u8]) -> Option<String> {
    let value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(error) => return Some(format!("that is not JSON ({})", place(&error))),
    };
    if schema.is_valid(&value) {
        return None;
    }
    let error = schema.iter_errors(&value).next()?;
    let path = error.instance_path().to_string();
    let at = if path.is_empty() { "that its schema refuses: ".to_string() } else { format!("that its schema refuses at {path}: ") };
    let reason: String = error.masked().to_string().chars().take(MAX_REASON).collect();
    Some(at + &reason)
}

/// Where JSON breaks off, without what stands there.
fn place(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

/// Compiles what keys or values have to be. `text` finds what a Secret holds; where it has nothing to read, JSON is not checked.
///
/// # Errors
/// A field is wrong.
pub fn compile(value: &proto::Schema, text: impl FnOnce(&str) -> Result<Option<Vec<u8>>, Invalid>) -> Result<Schema, Invalid> {
    let framing = value.framing();
    if framing == Framing::Plain && !value.ids.is_empty() {
        return Err(Invalid::new("ids", "are those in the frames of schema registries; write framing: confluent"));
    }
    let json = match (value.json_schema.is_empty(), value.json_schema_secret.is_empty()) {
        (false, false) => return Err(Invalid::new("json_schema_secret", "stands beside json_schema; give one of the two")),
        (true, true) if framing == Framing::Plain => {
            return Err(Invalid::new("", "asks for nothing; give json_schema, json_schema_secret or framing"));
        }
        (true, true) => None,
        (false, true) => Some(json(value.json_schema.as_bytes()).map_err(|invalid| invalid.within("json_schema"))?),
        (true, false) => {
            let text = text(&value.json_schema_secret).map_err(|invalid| invalid.within("json_schema_secret"))?;
            text.map(|text| json(&text)).transpose().map_err(|invalid| Invalid::new("json_schema_secret", invalid.reason))?
        }
    };
    Ok(Schema { is_framed: framing == Framing::Confluent, ids: value.ids.clone(), json })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &[u8] = br#"{"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}, "note": {"pattern": "^(a+)+$"}}}"#;

    fn of(value: &proto::Schema) -> Result<Schema, Invalid> {
        compile(value, |name| Ok((name == "order").then(|| ORDER.to_vec())))
    }

    #[test]
    fn a_value_that_does_not_fit_is_told_without_repeating_it() {
        let schema = of(&proto::Schema { json_schema_secret: "order".into(), ..Default::default() }).unwrap();
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
        let bad = |text: &str| json(text.as_bytes()).unwrap_err().field;
        assert_eq!(bad("{"), "");
        assert_eq!(bad(r#"{"properties": {"id": {"type": "number of things"}}}"#), "properties.id.type");
        json(br#"{"$ref": "https://example.com/schema.json"}"#).unwrap_err();
        json(br#"{"$ref": "file:///etc/passwd"}"#).unwrap_err();
        assert!(json(&vec![b' '; MAX_SCHEMA + 1]).unwrap_err().reason.contains("bytes"));
    }
    #[test]
    fn the_frame_of_registries_is_looked_at_and_what_it_holds_is_json() {
        let value = proto::Schema {
            framing: Framing::Confluent as i32,
            ids: vec![7, 1 << 31],
            json_schema: r#"{"type": "integer"}"#.into(),
            ..Default::default()
        };
        let schema = of(&value).unwrap();
        assert_eq!(schema.refuses(b"\0\0\0\0\x075"), None);
        assert_eq!(schema.refuses(b"\0\x80\0\0\x005"), None);
        assert!(schema.refuses(b"\0\0\0\0\x07x").unwrap().contains("not JSON"));
        assert!(schema.refuses(b"\0\0\0\0\x085").unwrap().contains("of schema 8"));
        assert!(schema.refuses(b"\x01\0\0\0\x075").unwrap().contains("in front"));
        assert!(schema.refuses(b"\0\0\0\0").unwrap().contains("in front"));
        let opaque = of(&proto::Schema { json_schema: String::new(), ids: vec![], ..value.clone() }).unwrap();
        assert_eq!(opaque.refuses(b"\0\0\0\0\x09anything"), None);
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_refused() {
        let bad = |value: &proto::Schema| of(value).unwrap_err().field;
        assert_eq!(bad(&proto::Schema::default()), "");
        assert_eq!(bad(&proto::Schema { ids: vec![1], ..Default::default() }), "ids");
        assert_eq!(bad(&proto::Schema { json_schema: "{}".into(), json_schema_secret: "order".into(), ..Default::default() }), "json_schema_secret");
    }
}
