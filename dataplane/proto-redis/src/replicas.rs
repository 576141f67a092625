//! WAIT and WAITAOF over all masters: each is asked in turn, on a connection of the client's own, and the lowest count is the answer.
//!
//! What a client wrote went over connections that it shares with others, and a server waits for what its connection wrote. So on each master
//! a mark is written first, a key that is gone after a millisecond: what replicas have of it, they have of all that was written before.
//! Source: <https://redis.io/docs/latest/commands/wait/>.

use crate::cluster::Cluster;
use crate::errand::{Ask, Errand, Next, Round};
use crate::frame::Frame;
use crate::merge::{array, integer};
use crate::pipe::To;
use crate::slot::SLOTS;
use crate::tag::tag_of_slot;
use crate::value::{command, elements, integer_of, is_error};
use wire::{MILLIS, Nanos};

/// One WAIT.
#[derive(Debug)]
pub(crate) struct Replicas {
    /// The words but the timeout.
    words: Vec<Vec<u8>>,
    timeout: Nanos,
    until: Option<Nanos>,
    /// A slot of each master that was not asked.
    slots: Option<Vec<u16>>,
    lowest: Vec<i64>,
}

impl Replicas {
    /// Of a command.
    ///
    /// # Errors
    /// Its words are no numbers; in the server's words.
    pub fn new(frame: &Frame<'_>) -> Result<Replicas, &'static str> {
        let last = frame.len() - 1;
        let number = |index: usize| std::str::from_utf8(frame.word(index)).ok().and_then(|text| text.parse::<i64>().ok());
        if (1..last).any(|index| number(index).is_none()) {
            return Err("ERR value is not an integer or out of range");
        }
        let timeout = number(last).ok_or("ERR timeout is not an integer or out of range")?;
        let timeout = u64::try_from(timeout).map_err(|_| "ERR timeout is negative")?;
        let words = (0..last).map(|index| frame.word(index).to_vec()).collect();
        Ok(Replicas { words, timeout: timeout.saturating_mul(MILLIS), until: None, slots: None, lowest: Vec::new() })
    }

    fn ask(&self, slot: u16, now: Nanos) -> Next {
        let mark = format!("midstream:{{{}}}:wait", tag_of_slot(slot));
        let left = self.until.map_or(0, |until| (until.saturating_sub(now) / MILLIS).max(1));
        let mut words = self.words.clone();
        words.push(left.to_string().into_bytes());
        let bytes = [command(&["SET", &mark, "1", "PX", "1"]), command(&words)].concat();
        Next::Ask(vec![Ask { skip: 1, leased: true, ..Ask::of(To::Slot(slot), bytes, false) }])
    }

    fn take(&mut self, reply: &[u8]) -> Option<()> {
        let counts: Vec<i64> = match elements(reply) {
            Some(parts) => parts.iter().map(|part| integer_of(part)).collect::<Option<_>>()?,
            None => vec![integer_of(reply)?],
        };
        if self.lowest.is_empty() {
            self.lowest = counts;
        } else {
            self.lowest.iter_mut().zip(counts).for_each(|(lowest, count)| *lowest = count.min(*lowest));
        }
        Some(())
    }

    fn answer(&self) -> Next {
        let mut reply = Vec::new();
        if self.lowest.len() > 1 {
            array(&mut reply, self.lowest.len());
        }
        self.lowest.iter().for_each(|count| integer(&mut reply, *count));
        Next::Answer(reply)
    }
}

/// The lowest slot of each master.
fn first_slots(cluster: &Cluster) -> Vec<u16> {
    let of = |master: &u16| (0..SLOTS as u16).find(|slot| cluster.owner(*slot) == *master);
    cluster.masters.iter().filter_map(of).collect()
}

impl Errand for Replicas {
    fn next(&mut self, round: &Round<'_>) -> Next {
        if self.slots.is_none() {
            self.until = Some(self.timeout).filter(|timeout| *timeout > 0).map(|timeout| round.now.saturating_add(timeout));
        }
        if let Some(reply) = round.replies.first() {
            if is_error(reply) {
                return Next::Answer(reply.clone());
            }
            if self.take(reply).is_none() {
                return Next::fail("ERR midstream: the node's answer to WAIT is not understood");
            }
        }
        let slots = self.slots.get_or_insert_with(|| round.cluster.map(first_slots).unwrap_or_default());
        match slots.pop() {
            Some(slot) => self.ask(slot, round.now),
            None if self.lowest.is_empty() => Next::fail("CLUSTERDOWN midstream: no master is known"),
            None => self.answer(),
        }
    }
}
