//! Which of a client's commands may be sent again.
//!
//! Commands for one slot are executed in the client's order: on one connection that is the connection's doing. Once one of them has to be
//! sent again (its slot moved, its connection broke), those behind it may come back as well, from another node and in any order; so from
//! then on, until the client is owed nothing, a command is sent again only when all earlier ones for its slot are answered.

use std::collections::{HashMap, VecDeque};

/// In place of a slot: a command that keeps no order with others. It has no key, or goes to several nodes.
pub const NO_SLOT: u16 = u16::MAX;

/// The numbers of unanswered commands by slot, oldest first.
#[derive(Default, Debug)]
pub struct Order {
    slots: HashMap<u16, VecDeque<u64>>,
}

impl Order {
    /// Notes a command; in the order of their numbers.
    pub fn push(&mut self, slot: u16, seq: u64) {
        if slot != NO_SLOT {
            self.slots.entry(slot).or_default().push_back(seq);
        }
    }

    /// A command is answered.
    pub fn done(&mut self, slot: u16, seq: u64) {
        let Some(waiting) = self.slots.get_mut(&slot) else { return };
        if let Ok(index) = waiting.binary_search(&seq) {
            waiting.remove(index);
        }
    }

    /// Whether no earlier command of its slot is unanswered.
    pub fn is_oldest(&self, slot: u16, seq: u64) -> bool {
        self.slots.get(&slot).and_then(VecDeque::front).is_none_or(|oldest| *oldest >= seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_each_slot_goes_first() {
        let mut order = Order::default();
        [(7, 1), (9, 2), (7, 3), (NO_SLOT, 4), (7, 5)].into_iter().for_each(|(slot, seq)| order.push(slot, seq));
        assert!(order.is_oldest(7, 1) && order.is_oldest(9, 2) && order.is_oldest(NO_SLOT, 4));
        assert!(!order.is_oldest(7, 3));
        order.done(7, 3);
        assert!(!order.is_oldest(7, 5));
        order.done(7, 1);
        assert!(order.is_oldest(7, 5));
    }
}
