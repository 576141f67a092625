//! What other threads send to a worker. Bounded, except for the few orders of the engine itself.

use crate::acceptor::Label;
use crate::stream::Stream;
use mio::Waker;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use wire::{Conf, Key};

/// More than a worker can be behind with and still be alive: 4,096 new connections or answers at once.
const MAX_MAIL: usize = 4096;

/// A message to a worker.
pub(crate) enum Mail {
    /// The acceptor has a new client.
    Accepted { stream: Stream, remote: SocketAddr, label: Arc<Label> },
    /// The brain's answer to an upcall.
    Answer { key: Key, number: u64, body: Option<Vec<u8>> },
    /// From the same family on another worker.
    Peer { family: usize, body: Vec<u8> },
    /// The addresses of a name, or why there are none.
    Resolved { key: Key, found: Result<Vec<IpAddr>, String> },
    /// New configurations, by family; `done` hears when they are in force.
    Configure { confs: Arc<Vec<(usize, Conf)>>, done: SyncSender<()> },
    /// Finish within this many nanoseconds; `done` hears whether all clients were gone by then.
    Drain { within: wire::Nanos, done: SyncSender<bool> },
    /// Close everything and end.
    Stop,
}

/// One worker's mailbox.
pub(crate) struct Mailbox {
    mail: Mutex<VecDeque<Mail>>,
    waker: Waker,
    /// Client connections that were handed to the worker and are not gone; what the acceptor places by.
    pub clients: AtomicUsize,
    /// Connections to back ends.
    pub servers: AtomicUsize,
    /// Turns of the loop so far: a worker whose mail waits while this stands still hangs.
    pub turns: AtomicUsize,
    /// Whether the worker's thread runs.
    pub is_alive: AtomicBool,
}

impl Mailbox {
    pub fn new(waker: Waker) -> Mailbox {
        Mailbox {
            mail: Mutex::default(),
            waker,
            clients: AtomicUsize::new(0),
            servers: AtomicUsize::new(0),
            turns: AtomicUsize::new(0),
            is_alive: AtomicBool::new(true),
        }
    }

    /// Sends, unless the box is full; then the mail is dropped and the answer is false.
    pub fn post(&self, mail: Mail) -> bool {
        self.put(mail, MAX_MAIL)
    }

    /// Sends an order of the engine, which is never refused.
    pub fn order(&self, mail: Mail) {
        self.put(mail, usize::MAX);
    }

    fn put(&self, mail: Mail, limit: usize) -> bool {
        let mut box_ = self.mail.lock().unwrap_or_else(PoisonError::into_inner);
        if box_.len() >= limit || !self.is_alive.load(Ordering::Relaxed) {
            return false;
        }
        box_.push_back(mail);
        // The worker empties the box whole, so only the first message has to wake it.
        if box_.len() == 1 && self.waker.wake().is_err() {
            box_.pop_back();
            return false;
        }
        true
    }

    /// Takes all there is, in order.
    pub fn take(&self) -> VecDeque<Mail> {
        std::mem::take(&mut *self.mail.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The worker ends: nothing is accepted any more, and who waits for an answer hears that there is none.
    pub fn shut(&self) {
        let mut box_ = self.mail.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_alive.store(false, Ordering::Relaxed);
        box_.clear();
        self.clients.store(0, Ordering::Relaxed);
        self.servers.store(0, Ordering::Relaxed);
    }
}
