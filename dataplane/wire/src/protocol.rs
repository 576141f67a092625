//! What a protocol implements.

use crate::address::Address;
use crate::fault::Fault;
use crate::io::{Io, TlsServer};
use crate::key::{Key, Nanos};
use crate::metrics::Registry;
use std::any::Any;
use std::sync::Arc;

/// A family's compiled configuration; the family knows its type.
pub type Conf = Arc<dyn Any + Send + Sync>;

/// A protocol family as the engine starts it: one per process.
pub trait Family: Send + Sync {
    /// "redis", "postgres", "kafka": the word in metrics and logs.
    fn name(&self) -> &'static str;

    /// The protocol object of one worker, before any configuration.
    fn build(&self, worker: Worker) -> Box<dyn Protocol>;
}

/// Which worker a protocol object lives on.
#[derive(Clone)]
pub struct Worker {
    /// From 0.
    pub index: usize,
    /// How many there are: process-wide sizes are divided by it.
    pub count: usize,
    /// Where its counters live.
    pub metrics: Arc<Registry>,
}

/// A socket that a family listens on.
#[derive(Clone)]
pub struct Bind {
    /// The Listener's name.
    pub listener: Arc<str>,
    /// Tells the sockets of one listener apart: 0 the listener's own address, Kafka: 1 + the broker's number.
    pub facet: u32,
    /// Where.
    pub address: Address,
    /// TLS from the first byte on.
    pub tls: Option<TlsServer>,
}

/// The two ends of a sidecar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// An application's connection (downstream).
    Client,
    /// A connection to a back end (upstream).
    Server,
}

/// A connection that came up.
#[derive(Clone, Copy, Debug)]
pub enum Opened<'a> {
    /// An application connected.
    Client {
        /// The Listener's name.
        listener: &'a str,
        /// See [`Bind::facet`].
        facet: u32,
    },
    /// A `dial` succeeded.
    Server {
        /// As given to `dial`.
        tag: u64,
    },
}

/// Why a connection is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// The peer closed it in order. For clients `Event::HalfClosed` comes first, and this only when the protocol did not close by itself.
    Eof,
    /// A `dial` failed; the reason for people.
    Refused(String),
    /// It broke; the reason for people.
    Broken(String),
    /// `data` returned a fault.
    Fault,
}

/// What happens besides bytes.
#[derive(Debug)]
pub enum Event<'a> {
    /// A timer of this key (or of `Key::NONE`) fired.
    Timer(u32),
    /// The client sends no more ("no more requests", not "drop"): answer what is owed, then close with `Close::Flush`.
    HalfClosed,
    /// The connection is gone; the last event for its key.
    Closed(Why),
    /// TLS is up after `start_tls`.
    Secured,
    /// The brain's answer to the upcall with that number; `None`: it is stopped, overloaded or too slow (10 s).
    Answer {
        /// As returned by `upcall`.
        number: u64,
        /// A protobuf message of the topic.
        body: Option<&'a [u8]>,
    },
    /// From this family's object on another worker. Key is `Key::NONE`.
    Mail(&'a [u8]),
    /// The process is asked to end: finish what runs, close idle clients in the protocol's own words. Key is `Key::NONE`.
    /// The engine cuts what is left at the deadline.
    Drain {
        /// When the engine closes the rest.
        deadline: Nanos,
    },
}

/// One family on one worker: a pure machine over all its connections.
pub trait Protocol {
    /// A new configuration is in force; the first call comes before any `open`. Sessions under way keep their connection; what they do
    /// next follows the new rules. Clients of a listener that is gone are closed by the protocol.
    fn configure(&mut self, io: &mut dyn Io, conf: Conf);

    /// A connection is up.
    fn open(&mut self, io: &mut dyn Io, key: Key, opened: Opened<'_>);

    /// Bytes came. Returns how many were consumed; the rest is presented again with what comes after it.
    ///
    /// # Errors
    /// A fault ends this connection, see [`Fault`].
    fn data(&mut self, io: &mut dyn Io, key: Key, side: Side, bytes: &[u8]) -> Result<usize, Fault>;

    /// Something else happened.
    fn event(&mut self, io: &mut dyn Io, key: Key, side: Side, event: Event<'_>);

    /// Whether what was written to this client is the beginning of something whose rest is on its way. A busy engine then keeps it for a
    /// turn or two, and sends both with one system call.
    fn has_more(&self, _client: Key) -> bool {
        false
    }
}
