//! Reads on their way to a node whose replies are to be kept, and the clients that wait for the same reply.

use super::store::Entry;
use crate::action::NearRead;
use crate::cluster::Cluster;
use crate::pipe::Pending;
use std::collections::HashMap;
use std::sync::Arc;
use wire::{Key, Nanos};

/// Reads on their way, per worker: more are sent as any other read.
pub const MAX_FLIGHTS: usize = 4096;
/// Clients that wait for one of them: more send their own.
pub const MAX_WAITERS: usize = 1024;

/// One read on its way.
#[derive(Debug)]
pub struct Flight {
    /// As it was sent, for whoever waits and has to send it himself.
    pub pending: Pending,
    /// Index of the back end.
    pub cluster: usize,
    /// Its bytes.
    pub command: Arc<[u8]>,
    /// The key it reads.
    pub key: Box<[u8]>,
    /// That key's slot.
    pub slot: u16,
    /// The connection that tells of changes.
    pub tracker: Key,
    /// How often keys of the slot had been changed when it was sent.
    pub changed: u32,
    /// When it was sent.
    pub sent: Nanos,
    /// Whether it tells of a hash's fields.
    pub kind: NearRead,
    /// When the reply is not to be served any more; none: it is not to be kept.
    pub expires: Option<Nanos>,
    /// Whether the key ends by itself.
    pub is_mortal: bool,
    /// What there is of the reply.
    pub reply: Vec<u8>,
    /// It is longer than what is kept.
    pub is_large: bool,
    /// Who waits for the same reply.
    pub waiters: Vec<Waiter>,
}

/// A read that waits for another's reply.
#[derive(Clone, Copy, Debug)]
pub struct Waiter {
    /// Whose.
    pub client: Key,
    /// Its place in the client's ring.
    pub seq: u64,
    /// When it was asked: a value that ended before is not for it.
    pub since: Nanos,
}

impl Flight {
    /// Whether nothing happened to the key since it was sent.
    pub fn is_valid(&self, cluster: &Cluster) -> bool {
        let Some(near) = &cluster.near else { return false };
        cluster.tracker(self.slot) == Some(self.tracker) && near.slot(self.slot).changed == self.changed
    }

    /// What is kept of it.
    pub fn entry(&mut self, wiped: u32, expires: Nanos) -> Entry {
        Entry {
            resp: self.pending.resp,
            command: (*self.command).into(),
            reply: std::mem::take(&mut self.reply).into_boxed_slice(),
            tracker: self.tracker,
            wiped,
            expires,
            is_mortal: self.is_mortal,
        }
    }
}

/// All of a worker.
#[derive(Default, Debug)]
pub struct Flights {
    by_number: HashMap<u32, Flight>,
    by_command: HashMap<Arc<[u8]>, u32>,
    next: u32,
}

impl Flights {
    /// The latest with that command.
    pub fn find(&mut self, cluster: usize, resp: u8, command: &[u8]) -> Option<&mut Flight> {
        let number = self.by_command.get(command)?;
        self.by_number.get_mut(number).filter(|flight| flight.cluster == cluster && flight.pending.resp == resp)
    }

    /// The one of that number.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut Flight> {
        self.by_number.get_mut(&number)
    }

    /// Whether there is room for one more.
    pub fn has_room(&self) -> bool {
        self.by_number.len() < MAX_FLIGHTS
    }

    /// One more; its number.
    pub fn add(&mut self, flight: Flight) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.by_command.insert(Arc::clone(&flight.command), self.next);
        self.by_number.insert(self.next, flight);
        self.next
    }

    /// It has arrived, or never will.
    pub fn remove(&mut self, number: u32) -> Option<Flight> {
        let flight = self.by_number.remove(&number)?;
        if self.by_command.get(&flight.command) == Some(&number) {
            self.by_command.remove(&flight.command);
        }
        Some(flight)
    }
}
