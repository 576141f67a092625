//! Denied topics of a request that goes on: they travel under names that cannot exist, of the same length.
//!
//! A Produce request's size is sent before its second topic is seen, and its records pass unread, so nothing can be cut out of it. But a
//! name can be changed in place: the broker knows no such topic, writes nothing and says so in that topic's own entry, where the real name
//! and the real reason are put back. The other topics of the request are untouched. The same holds for every API with an error per topic.
//! The masks hold characters that no topic name may have, ids that no broker makes (all ones in front), so a mask never meets a topic.

use crate::tables::interest;
use crate::walk::Seen;

/// Denied topics of one request. Clients name what they were told of, and denied topics are not listed; each is searched for in a response.
const MAX_MASKS: usize = 1024;

/// Characters that Kafka's topic names may not have, one byte each.
const ALPHABET: &[u8] = b"~!@#$%^&*()+=[]{}|;:,<>?/ ";

/// A denied topic or topic id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mask {
    /// What travels, without a length.
    pub mask: Vec<u8>,
    /// What the client wrote.
    pub real: Vec<u8>,
    /// The error that its entries get.
    pub code: i16,
    /// The sentence beside it, where the response has one.
    pub message: String,
}

/// The masks of one request.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Masks(Vec<Mask>);

impl Masks {
    /// The bytes that travel instead of `real`; `None` when there are too many.
    pub fn add(&mut self, real: &[u8], is_id: bool, code: i16, message: &str) -> Option<Vec<u8>> {
        if let Some(known) = self.0.iter().find(|mask| mask.real == real) {
            return Some(known.mask.clone());
        }
        if self.0.len() >= MAX_MASKS {
            return None;
        }
        let mask = if is_id { id(self.0.len(), real.len()) } else { name(self.0.len(), real.len())? };
        self.0.push(Mask { mask: mask.clone(), real: real.to_vec(), code, message: message.to_string() });
        Some(mask)
    }

    /// Kafka's name for the error of the first, for the access log.
    pub fn error(&self) -> &'static str {
        match self.0.first().map(|mask| mask.code) {
            None => "",
            Some(29) => "TOPIC_AUTHORIZATION_FAILED",
            Some(89) => "THROTTLING_QUOTA_EXCEEDED",
            Some(100) => "UNKNOWN_TOPIC_ID",
            Some(_) => "UNKNOWN_SERVER_ERROR",
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The denied topic that travels as `mask`.
    pub fn of(&self, mask: &[u8]) -> Option<&Mask> {
        self.0.iter().find(|one| one.mask == mask)
    }

    /// The denied topic that `seen` names, in a response.
    pub fn seen(&self, seen: &Seen<'_>) -> Option<&Mask> {
        match seen.interest {
            interest::TOPIC | interest::RESOURCE_NAME => self.of(crate::edit::text(seen.bytes, seen.compact)),
            interest::TOPIC_ID => self.of(seen.bytes),
            _ => None,
        }
    }
}

fn name(mut index: usize, len: usize) -> Option<Vec<u8>> {
    let mut name = vec![ALPHABET[0]; len];
    for byte in name.iter_mut().rev() {
        *byte = ALPHABET[index % ALPHABET.len()];
        index /= ALPHABET.len();
    }
    (index == 0).then_some(name)
}

fn id(index: usize, len: usize) -> Vec<u8> {
    let mut id = vec![0xff; len];
    let index = (index as u32).to_be_bytes();
    let at = len.saturating_sub(index.len());
    id[at..].copy_from_slice(&index[index.len() - (len - at)..]);
    id
}

/// A field with a mask in place of its name, as long as it was.
pub(crate) fn mask(masks: &mut Masks, interest: u8, field: &[u8], compact: bool, code: i16, message: &str) -> Option<Vec<u8>> {
    let is_id = interest == interest::TOPIC_ID;
    let real = if is_id { field } else { crate::edit::text(field, compact) };
    let mask = masks.add(real, is_id, code, message)?;
    let mut bytes = field.to_vec();
    let head = bytes.len() - mask.len();
    bytes[head..].copy_from_slice(&mask);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_distinct_as_long_as_the_names_and_found_again() {
        let mut masks = Masks::default();
        let names = ["a", "b", "orders", "orders2"];
        let made: Vec<_> = names.iter().map(|name| masks.add(name.as_bytes(), false, 29, "no").unwrap()).collect();
        for (name, mask) in names.iter().zip(&made) {
            assert_eq!(mask.len(), name.len());
            assert!(mask.iter().all(|byte| !byte.is_ascii_alphanumeric() && !b"._-".contains(byte)));
            assert_eq!(masks.of(mask).unwrap().real, name.as_bytes());
        }
        assert_eq!(masks.add(b"a", false, 29, "no").unwrap(), made[0]);
        let id = masks.add(&[7; 16], true, 29, "no").unwrap();
        assert_eq!(masks.of(&id).unwrap().real, [7; 16]);
    }

    #[test]
    fn more_denied_names_of_one_letter_than_masks_is_said() {
        let mut masks = Masks::default();
        let added = (b'a'..=b'z').chain([b'.']).filter(|byte| masks.add(&[*byte], false, 29, "").is_some()).count();
        assert_eq!(added, ALPHABET.len());
    }
}
