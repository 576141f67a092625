//! Questions to the brain: asked without waiting, answered by mail, given up after a while.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use wire::{Key, Nanos, SECONDS, Upcall};

/// After this a parked session is told that nobody answers. A plan takes well under a millisecond; the first one after a start or a change reads
/// the live schema, which on a busy machine takes seconds. Only a brain that hangs takes so long.
const TIMEOUT: Nanos = 10 * SECONDS;

/// A question on its way to the brain. The answer goes to `Engine::answer` with the same worker, key and number.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which worker asks.
    pub worker: usize,
    /// For which connection.
    pub key: Key,
    /// Which question of that worker.
    pub number: u64,
    /// Which family asks: `Family::name`.
    pub family: &'static str,
    /// The question.
    pub call: Upcall,
}

/// Where questions go: a bounded queue to the brain.
pub trait UpcallSink: Send + Sync {
    /// Takes the question, or says at once (false) that the queue is full. Called on a worker's thread; must not block.
    fn offer(&self, asked: Asked) -> bool;
}

/// A worker's open questions.
pub(crate) struct Upcalls {
    worker: usize,
    names: Vec<&'static str>,
    sink: Arc<dyn UpcallSink>,
    next: u64,
    open: HashMap<u64, (Key, usize)>,
    /// In the order of asking, which is that of their ends, as all get the same time.
    deadlines: VecDeque<(Nanos, u64)>,
}

impl Upcalls {
    pub fn new(worker: usize, names: Vec<&'static str>, sink: Arc<dyn UpcallSink>) -> Upcalls {
        Upcalls { worker, names, sink, next: 0, open: HashMap::new(), deadlines: VecDeque::new() }
    }

    /// Asks; the number of the question, and whether anybody took it.
    pub fn ask(&mut self, key: Key, family: usize, call: Upcall, now: Nanos) -> (u64, bool) {
        self.next += 1;
        let number = self.next;
        let is_taken = self.sink.offer(Asked { worker: self.worker, key, number, family: self.names[family], call });
        if is_taken {
            self.open.insert(number, (key, family));
            self.deadlines.push_back((now + TIMEOUT, number));
        }
        (number, is_taken)
    }

    /// An answer came: the family that asked. `None` when it came too late, or nobody asked.
    pub fn answered(&mut self, key: Key, number: u64) -> Option<usize> {
        match self.open.get(&number) {
            Some((asked_for, family)) if *asked_for == key => {
                let family = *family;
                self.open.remove(&number);
                Some(family)
            }
            _ => None,
        }
    }

    /// When the next question is given up.
    pub fn next(&mut self) -> Option<Nanos> {
        while let Some((at, number)) = self.deadlines.front() {
            if self.open.contains_key(number) {
                return Some(*at);
            }
            self.deadlines.pop_front();
        }
        None
    }

    /// Takes a question whose time is over.
    pub fn expired(&mut self, now: Nanos) -> Option<(u64, Key, usize)> {
        if self.next()? > now {
            return None;
        }
        let (_, number) = self.deadlines.pop_front()?;
        let (key, family) = self.open.remove(&number)?;
        Some((number, key, family))
    }
}
