//! What a transaction has queued, by slot, and a transaction over several slots, where the back end's `transactions: bySlot` says so: one
//! transaction for each slot, all at once, their replies put together in the order of the commands.
//!
//! Each slot's part is all or nothing and nothing comes between its commands; the whole is not: other clients may see one slot's part without
//! another's, and when one part is discarded (its node is out of memory, say) the others have run, which the error says. It is not offered with
//! WATCH: between the check in one slot and the writes in another anybody may write, so a lost update could not be ruled out.

use crate::errand::{Ask, Errand, Next, Round};
use crate::limits;
use crate::merge::array;
use crate::pipe::To;
use crate::value::{elements, is_error};

/// What is queued for one slot.
#[derive(Default, Debug)]
pub(crate) struct Part {
    /// Of its keys; `None`: it has none yet.
    place: Option<To>,
    queued: Vec<u8>,
    count: u32,
    /// SCRIPT LOAD of what its EVALSHAs are about: within MULTI a node could only say that it does not know them.
    loads: Vec<u8>,
    loaded: u32,
}

impl Part {
    /// Replies before that of EXEC.
    pub fn skip(&self) -> u32 {
        self.loaded + self.count + 1
    }

    /// As it goes to the node.
    pub fn batch(&self) -> Vec<u8> {
        [self.loads.as_slice(), b"*1\r\n$5\r\nMULTI\r\n", &self.queued, b"*1\r\n$4\r\nEXEC\r\n"].concat()
    }
}

/// What is queued between MULTI and EXEC.
#[derive(Default, Debug)]
pub(crate) struct Queued {
    parts: Vec<Part>,
    /// Of each command the number of its part.
    order: Vec<u16>,
    bytes: usize,
}

impl Queued {
    /// How many commands.
    pub fn len(&self) -> u32 {
        self.order.len() as u32
    }

    /// The commands, slot by slot.
    pub fn commands(&self) -> Vec<u8> {
        self.parts.iter().flat_map(|part| part.queued.iter().copied()).collect()
    }

    /// Whether it goes to several slots.
    pub fn is_several(&self) -> bool {
        self.parts.len() > 1
    }

    /// Where the only part, or the first, goes.
    pub fn place(&self) -> Option<To> {
        self.parts.first()?.place
    }

    /// A key in that slot, too, of a server that has all slots.
    pub fn spread(&mut self, place: To) {
        if let Some(first) = self.parts.first_mut().filter(|first| matches!(place, To::Slot(_)) && first.place.is_some_and(|known| known != place)) {
            first.place = Some(To::Any);
        }
    }

    /// Whether so many bytes more are too many.
    pub fn is_full(&self, more: usize) -> bool {
        self.bytes.saturating_add(more) > limits::MAX_TRANSACTION
    }

    /// One command more, and what has to be loaded for it. False: it would be in too many slots, which without `several` is more than one.
    pub fn push(&mut self, place: To, command: &[u8], load: Option<&[u8]>, several: bool) -> bool {
        let last = self.order.last().copied().unwrap_or(0);
        let number = match place {
            To::Slot(_) => match self.parts.iter().position(|part| part.place == Some(place) || part.place.is_none()) {
                Some(known) => known,
                None if !several && !self.parts.is_empty() => return false,
                None => self.parts.len(),
            },
            // Without keys it runs wherever the one before it runs.
            _ => usize::from(last),
        };
        if number >= limits::MAX_TRANSACTION_SLOTS {
            return false;
        }
        if number >= self.parts.len() {
            self.parts.push(Part::default());
        }
        let part = &mut self.parts[number];
        if let To::Slot(_) = place {
            part.place = Some(place);
        }
        if let Some(load) = load {
            part.loads.extend_from_slice(load);
            part.loaded += 1;
            self.bytes += load.len();
        }
        part.queued.extend_from_slice(command);
        part.count += 1;
        self.bytes += command.len();
        self.order.push(number as u16);
        true
    }

    /// The only part.
    pub fn into_one(mut self) -> Part {
        self.parts.pop().unwrap_or_default()
    }
}

/// EXEC of a transaction over several slots.
#[derive(Debug)]
pub(crate) struct BySlot {
    asks: Option<Vec<Ask>>,
    order: Vec<u16>,
}

impl BySlot {
    /// Of what is queued.
    pub fn new(queued: &Queued) -> BySlot {
        let ask = |part: &Part| Ask { skip: part.skip(), ..Ask::of(part.place.unwrap_or(To::Any), part.batch(), false) };
        BySlot { asks: Some(queued.parts.iter().map(ask).collect()), order: queued.order.clone() }
    }

    /// Some parts did not run, or it is not known whether.
    fn failed(replies: &[Vec<u8>], error: &[u8]) -> Next {
        let ran = replies.iter().filter(|reply| !is_error(reply)).count();
        let said = String::from_utf8_lossy(error).trim_start_matches('-').trim_end().to_owned();
        Next::fail(&format!("EXECABORT midstream: of {} transactions by slot {ran} ran, others did not or may not have: {said}", replies.len()))
    }
}

impl Errand for BySlot {
    fn next(&mut self, round: &Round<'_>) -> Next {
        if let Some(asks) = self.asks.take() {
            return Next::Ask(asks);
        }
        if let Some(error) = round.error() {
            return BySlot::failed(round.replies, error);
        }
        let parts: Option<Vec<_>> = round.replies.iter().map(|reply| Some(elements(reply)?.into_iter())).collect();
        let Some(mut parts) = parts else { return Next::fail("ERR midstream: a reply to EXEC is no array; the transaction ran") };
        let mut out = Vec::new();
        array(&mut out, self.order.len());
        for part in &self.order {
            match parts.get_mut(usize::from(*part)).and_then(Iterator::next) {
                Some(reply) => out.extend_from_slice(reply),
                None => return Next::fail("ERR midstream: a reply to EXEC has too few elements; the transaction ran"),
            }
        }
        Next::Answer(out)
    }

    fn too_large(&self, limit: usize) -> String {
        format!("ERR midstream: the transaction ran, but its replies are over {limit} bytes (crossSlotBytes of the RedisCluster)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_queued_by_slot_and_their_replies_come_in_their_order() {
        let mut queued = Queued::default();
        for (slot, command) in [(None, "ping "), (Some(1), "a "), (Some(2), "b "), (None, "echo "), (Some(1), "c ")] {
            assert!(queued.push(slot.map_or(To::Any, To::Slot), command.as_bytes(), None, true));
        }
        let batches: Vec<String> = queued.parts.iter().map(|part| String::from_utf8_lossy(&part.queued).into_owned()).collect();
        assert_eq!((batches.join("|").as_str(), &*queued.order), ("ping a c |b echo ", &[0, 0, 1, 1, 0][..]));
        let mut errand = BySlot::new(&queued);
        let mut next = |replies: &[Vec<u8>]| errand.next(&Round { replies, now: 0, resp: 2, cluster: None });
        assert!(matches!(next(&[]), Next::Ask(asks) if asks.len() == 2 && asks[0].skip == 4));
        let replies = [b"*3\r\n:1\r\n:2\r\n:5\r\n".to_vec(), b"*2\r\n:3\r\n:4\r\n".to_vec()];
        assert!(matches!(next(&replies), Next::Answer(reply) if reply == b"*5\r\n:1\r\n:2\r\n:3\r\n:4\r\n:5\r\n"));
        let failed = [b"*0\r\n".to_vec(), b"-EXECABORT no\r\n".to_vec()];
        assert!(matches!(next(&failed), Next::Answer(reply) if reply.starts_with(b"-EXECABORT midstream: of 2 transactions by slot 1 ran")));
    }

    #[test]
    fn one_slot_is_one_slot() {
        let mut queued = Queued::default();
        assert!(queued.push(To::Slot(1), b"a", None, false) && queued.push(To::Slot(1), b"b", Some(b"load "), false));
        assert!(!queued.push(To::Slot(2), b"c", None, false));
        assert!(!queued.is_several() && queued.len() == 2);
        assert_eq!(queued.into_one().batch(), b"load *1\r\n$5\r\nMULTI\r\nab*1\r\n$4\r\nEXEC\r\n");
    }
}
