//! Messages of which several nodes have a copy.
//!
//! In a cluster each node passes what is published on to all others. While subscriptions move from one node to another both are heard, so
//! that nothing falls between them, and a message counts when its first copy comes: the copy that makes its node the one that has told it
//! most often. Copies of one publisher keep their order on each node, and so do the first ones.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

/// Messages remembered, 8 bytes each: what comes while the slowest copy is on its way. Beyond it a copy may be heard twice.
const KEPT: usize = 512;

/// What the nodes have told a client lately.
#[derive(Default, Debug)]
pub(crate) struct Copies {
    /// A message's hash in the upper 48 bits, its node in the others.
    told: VecDeque<u64>,
    hasher: RandomState,
}

impl Copies {
    /// A message that is passed on whatever other nodes say.
    pub fn note(&mut self, node: u16, message: &[u8]) {
        if self.told.len() >= KEPT {
            self.told.pop_front();
        }
        self.told.push_back(self.hasher.hash_one(message) & !0xffff | u64::from(node));
    }

    /// Notes a message. Whether no other node has told it as often.
    pub fn is_first(&mut self, node: u16, message: &[u8]) -> bool {
        self.note(node, message);
        let Some(this) = self.told.back().copied() else { return true };
        let mut others: Vec<(u64, usize)> = Vec::new();
        let mut own = 0;
        for told in self.told.iter().copied().filter(|told| (told ^ this) >> 16 == 0) {
            if told == this {
                own += 1;
            } else if let Some((_, count)) = others.iter_mut().find(|(other, _)| *other == told) {
                *count += 1;
            } else {
                others.push((told, 1));
            }
        }
        others.iter().all(|(_, count)| own > *count)
    }

    /// A node is not heard any more: what it told says nothing about the copies of others.
    pub fn forget(&mut self, node: u16) {
        self.told.retain(|told| told & 0xffff != u64::from(node));
    }

    /// One node is heard, as before.
    pub fn clear(&mut self) {
        self.told.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client hears of messages, each from a node.
    fn heard<'a>(copies: &mut Copies, told: &[(u16, &'a str)]) -> Vec<&'a str> {
        told.iter().filter(|(node, message)| copies.is_first(*node, message.as_bytes())).map(|(_, message)| *message).collect()
    }

    #[test]
    fn each_message_is_heard_once_when_its_first_copy_comes() {
        let told = [(1, "a"), (1, "b"), (2, "a"), (2, "c"), (2, "b"), (1, "c"), (3, "c"), (3, "d")];
        assert_eq!(heard(&mut Copies::default(), &told), ["a", "b", "c", "d"]);
    }

    #[test]
    fn equal_messages_are_heard_as_often_as_they_were_published() {
        let told = [(1, "hi"), (1, "hi"), (2, "hi"), (2, "hi"), (2, "hi"), (1, "hi"), (1, "hi")];
        assert_eq!(heard(&mut Copies::default(), &told).len(), 4);
    }

    #[test]
    fn what_was_told_before_the_other_node_was_asked_takes_nothing_away() {
        // Node 2 has no copy of the first; the second is published there, and node 1 hears of it.
        assert_eq!(heard(&mut Copies::default(), &[(1, "hi"), (2, "hi"), (1, "hi")]).len(), 2);
        let mut copies = Copies::default();
        copies.note(1, b"hi");
        copies.forget(1);
        assert!(copies.is_first(2, b"hi"), "node 1 will not tell of it");
    }

    #[test]
    fn so_many_are_remembered() {
        let mut copies = Copies::default();
        (0..KEPT * 2).for_each(|n| copies.note(1, &n.to_be_bytes()));
        assert_eq!(copies.told.len(), KEPT);
        copies.clear();
        assert!(copies.is_first(2, &(KEPT * 2 - 1).to_be_bytes()));
    }
}
