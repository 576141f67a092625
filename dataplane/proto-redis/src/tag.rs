//! A short hash tag for every slot: what makes a temporary key belong to a slot.

use crate::slot::{SLOTS, slot_of};
use std::sync::OnceLock;

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
/// With four digits every slot is met: the search below ends long before it has tried them all.
const LENGTH: usize = 4;

/// The tag of a slot: `{TAG}` in a key's name puts it there.
pub fn tag_of_slot(slot: u16) -> &'static str {
    static TAGS: OnceLock<Vec<[u8; LENGTH]>> = OnceLock::new();
    let tags = TAGS.get_or_init(search);
    tags.get(usize::from(slot)).and_then(|tag| std::str::from_utf8(tag).ok()).unwrap_or_default()
}

/// Tries tags in their order until each slot has one: some milliseconds, once per process that ever needs one.
fn search() -> Vec<[u8; LENGTH]> {
    let mut tags = vec![[0; LENGTH]; SLOTS];
    let mut left = SLOTS;
    for number in 0..DIGITS.len().pow(LENGTH as u32) {
        let mut rest = number;
        let tag = [0; LENGTH].map(|_: u8| {
            let digit = DIGITS[rest % DIGITS.len()];
            rest /= DIGITS.len();
            digit
        });
        let place = &mut tags[usize::from(slot_of(&tag))];
        if place[0] == 0 {
            *place = tag;
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_tag() {
        for slot in 0..SLOTS as u16 {
            assert_eq!(slot_of(format!("midstream:{{{}}}:1", tag_of_slot(slot)).as_bytes()), slot);
        }
    }
}
