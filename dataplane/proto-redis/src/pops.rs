//! Pops from the first of several keys that has something, where the keys are in several slots: those of one slot are tried by the server's
//! own command, one slot after the other in the order of the keys, and never is a second try under way before the first is answered: so
//! one request pops once. A key that gets something after its turn is found at the next round. Blocking commands do not block within
//! MULTI: that is how they are tried.

use crate::errand::{Ask, Errand, Next, Round};
use crate::frame::Frame;
use crate::patience::{Patience, timeout_of};
use crate::slot::slot_of;
use crate::table::{Command, Find, Keys};
use crate::value::{command, elements, is_error, is_null};

/// A pop over several slots.
#[derive(Debug)]
pub(crate) struct Pops {
    /// The command for the keys of each slot, in order.
    tries: Vec<(u16, Vec<u8>)>,
    next: usize,
    keys: Vec<Vec<u8>>,
    /// How a command that blocks waits; `None`: it does not.
    patience: Option<Patience>,
    resp: u8,
}

impl Pops {
    /// Of a command and its keys.
    pub fn new(frame: &Frame<'_>, keys: &[u32], row: &Command) -> Pops {
        let counted = matches!(row.keys.as_slice(), [Keys { find: Find::Count { .. }, .. }]);
        let mut groups: Vec<(u16, Vec<&[u8]>)> = Vec::new();
        for index in keys {
            let key = frame.word(*index as usize);
            match groups.last_mut() {
                Some((slot, group)) if *slot == slot_of(key) => group.push(key),
                _ => groups.push((slot_of(key), vec![key])),
            }
        }
        let first = keys.first().map_or(1, |index| *index as usize);
        let after = keys.last().map_or(1, |index| *index as usize + 1);
        let tries = groups.into_iter().map(|(slot, group)| {
            let count = group.len().to_string();
            let mut words: Vec<&[u8]> = (0..first).map(|index| frame.word(index)).collect();
            if counted && let Some(word) = words.last_mut() {
                *word = count.as_bytes();
            }
            words.extend(group);
            words.extend((after..frame.len()).map(|index| frame.word(index)));
            (slot, command(&words))
        });
        let timeout = timeout_of(row, frame).unwrap_or_default();
        // A timeout that is none is refused by the server, at the first try.
        let patience = row.has("blocking").then(|| Patience::seconds(frame, timeout).unwrap_or_else(|_| Patience::new(1)));
        let keys = keys.iter().map(|index| frame.word(*index as usize).to_vec()).collect();
        Pops { tries: tries.collect(), next: 0, keys, patience, resp: 2 }
    }

    fn attempt(&mut self) -> Next {
        let Some((slot, bytes)) = self.tries.get(self.next) else { return Next::fail("ERR midstream: no key to pop from") };
        self.next += 1;
        Next::Ask(vec![match self.patience {
            Some(_) => Ask::batch(*slot, std::slice::from_ref(bytes), false),
            None => Ask::of(crate::pipe::To::Slot(*slot), bytes.clone(), false),
        }])
    }
}

impl Errand for Pops {
    fn next(&mut self, round: &Round<'_>) -> Next {
        self.resp = round.resp;
        if let Some(patience) = &mut self.patience {
            patience.begin(round.now);
        }
        let Some(reply) = round.replies.first() else { return self.attempt() };
        let reply = match self.patience {
            Some(_) if !is_error(reply) => elements(reply).and_then(|replies| replies.first().copied()).unwrap_or(b"-ERR midstream: no reply\r\n"),
            _ => reply,
        };
        if !is_null(reply) {
            return Next::Answer(reply.to_vec());
        }
        if self.next < self.tries.len() {
            return self.attempt();
        }
        self.next = 0;
        self.patience.as_mut().and_then(|patience| patience.pause(round.now)).unwrap_or_else(|| Next::Answer(round.null_array()))
    }

    fn waits_for(&self) -> Vec<Vec<u8>> {
        self.keys.clone()
    }

    fn unblock(&mut self, error: bool) -> Option<Vec<u8>> {
        self.patience.as_ref().map(|_| unblocked(self.resp, error))
    }
}

/// What a client hears that another one unblocked.
pub(crate) fn unblocked(resp: u8, error: bool) -> Vec<u8> {
    match (error, resp) {
        (true, _) => b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n".to_vec(),
        (_, 3) => b"_\r\n".to_vec(),
        _ => b"*-1\r\n".to_vec(),
    }
}
