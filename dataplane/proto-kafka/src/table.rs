//! What the generated tables say about an API, a version, a direction.
//!
//! A message's *skip program* is a run of words in `tables::CODE`: operation in the top 8 bits, interest in the next 8, argument in the
//! low 16. The lengths of bodies are in words.
//!
//! | operation | passes over | argument |
//! |---|---|---|
//! | `END` | nothing: the message is over | 1: what follows is passed over, as brokers do with requests (librdkafka leaves three bytes behind a null array) |
//! | `SKIP` | bytes without a mark | how many |
//! | `VALUE` | a marked fixed-size field | its size |
//! | `STRING`, `BYTES` | a length and that many bytes | 1: compact |
//! | `ARRAY` | a count and as many elements by the body that follows; where that is one `SKIP`, a mark is on the whole | body length * 2 + compact |
//! | `OPTION` | a byte, negative for null; else the body that follows | body length |
//! | `TAGS` | a section of tagged fields; entries for the known tags follow: `tag << 16 \| body length`, body | length of all entries |
//! | `TAIL` | nothing: from here to the end of the frame there are NodeEndpoints and tags | |

use crate::tables;

/// One API as Kafka's schemas have it.
#[derive(Debug)]
pub struct Api {
    /// The number on the wire.
    pub key: i16,
    /// The name in Kafka's documentation, without Request and Response.
    pub name: &'static str,
    /// The lowest version in the table.
    pub min: i16,
    /// The highest.
    pub max: i16,
    /// From this version on strings are compact and structs end with tags.
    pub flexible: i16,
    /// By version, from `min` on.
    pub shapes: &'static [Shape],
}

/// One version of an API.
#[derive(Debug)]
pub struct Shape {
    /// Where the request's program begins in the code.
    pub request: u32,
    /// Where the response's program begins.
    pub response: u32,
    /// An empty response with an error code of its own, where it has one.
    pub error: Option<Template>,
}

/// A response body in the generated templates.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// Its first byte.
    pub at: u32,
    /// How many.
    pub length: u32,
    /// Which of them begins the error code.
    pub error_at: u32,
}

/// The API with this key, when the tables have it.
pub fn api(key: i16) -> Option<&'static Api> {
    tables::APIS.binary_search_by_key(&key, |api| api.key).ok().and_then(|at| tables::APIS.get(at))
}

/// The same with marks at partitions and offsets, of the APIs that are measured.
pub fn measured(key: i16) -> Option<&'static Api> {
    tables::MEASURED.binary_search_by_key(&key, |api| api.key).ok().and_then(|at| tables::MEASURED.get(at))
}

impl Api {
    /// The shape of a version, when the tables have it.
    pub fn shape(&self, version: i16) -> Option<&'static Shape> {
        let at = version.checked_sub(self.min)?;
        self.shapes.get(usize::try_from(at).ok()?)
    }

    /// Whether messages of this version have compact lengths and tags.
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible
    }
}

impl Shape {
    /// The body of a response that says nothing but `code`; `None` where the response has no error code of its own.
    pub fn error_body(&self, code: i16) -> Option<Vec<u8>> {
        let template = self.error?;
        let at = template.at as usize;
        let mut body = tables::TEMPLATES.get(at..at + template.length as usize)?.to_vec();
        let error_at = template.error_at as usize;
        body.get_mut(error_at..error_at + 2)?.copy_from_slice(&code.to_be_bytes());
        Some(body)
    }

    /// Whether a program bears a mark of this interest.
    pub fn bears(program: u32, interest: u8) -> bool {
        let code = tables::CODE.get(program as usize..).unwrap_or_default();
        let mut at = 0;
        while let Some(word) = code.get(at).filter(|word| **word >> 24 != u32::from(tables::END)) {
            if (word >> 16) as u8 == interest {
                return true;
            }
            at += 1;
            if (word >> 24) as u8 == tables::TAGS && word & 0xffff != 0 {
                at += 1; // the first entry's header; the tables have no section with two known tags
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted_and_whole() {
        assert!(tables::APIS.windows(2).all(|pair| pair[0].key < pair[1].key));
        for api in &tables::APIS {
            assert_eq!(api.shapes.len(), (api.max - api.min + 1) as usize, "{}", api.name);
        }
        assert_eq!(api(3).map(|api| api.name), Some("Metadata"));
        assert!(api(4).is_none());
        assert!(api(3).unwrap().shape(-1).is_none());
    }

    #[test]
    fn addresses_are_where_the_responses_look_for_them() {
        // `way` holds 3, 10, 55 and 60 and walks 0, 1, 78 and 79; an API that joins them must be added there.
        let bearing: Vec<i16> = tables::APIS
            .iter()
            .filter(|api| api.shapes.iter().any(|shape| Shape::bears(shape.response, tables::interest::HOST)))
            .map(|api| api.key)
            .collect();
        assert_eq!(bearing, [0, 1, 3, 10, 55, 60, 78, 79]);
    }

    #[test]
    fn an_error_body_bears_its_code() {
        let heartbeat = api(68).unwrap().shape(0).unwrap().error_body(29).unwrap();
        assert_eq!(&heartbeat[..6], &[0, 0, 0, 0, 0, 29]);
        assert!(api(0).unwrap().shape(9).unwrap().error_body(29).is_none());
    }
}
