//! The contract between the one engine and the many protocols.
//!
//! A protocol is a pure machine: bytes and `now` in, actions out; same input, same output. It never opens a socket, never asks the
//! time, never sees Python. The engine executes the actions and knows no protocol. Everything both need to know is in this crate:
//!
//! * [`Protocol`] and [`Family`]: what a protocol implements.
//! * [`Io`]: what it may ask of the engine.
//! * [`Request`], [`Chain`], [`Verdict`]: what the filters see and say, without knowing the protocol.
//! * [`Fault`]: whose fault an error is, where, and what to tell the peer.
//! * [`Cursor`]: a reader for wire bytes that cannot run past its end.
//! * [`metrics`]: counters and histograms with one writer each.
//! * `sim`: an engine without sockets or clock, for tests; `transcript` replays text on it.
//!
//! One protocol object lives per worker and protocol *family*. It holds all its sessions in arrays by connection slot: a per-client
//! object could not express Redis multiplexing, and one per listener could not share a pool between two listeners.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod address;
mod cursor;
pub mod der;
mod fault;
mod io;
mod key;
pub mod limits;
pub mod metrics;
pub mod pool;
mod protocol;
mod request;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod top;
#[cfg(any(test, feature = "sim"))]
pub mod transcript;

pub use address::Address;
pub use cursor::{Cursor, Short};
pub use fault::{Fault, Whose};
pub use io::{Close, Io, Peer, STREAM, Target, TlsClient, TlsServer, TlsStart, Upcall};
pub use key::{Key, MICROS, MILLIS, Nanos, SECONDS, Slab};
pub use protocol::{Bind, Conf, Event, Family, Opened, Protocol, Side, Why, Worker};
pub use request::{Chain, Charges, Class, Denial, DenialKind, Flow, Outcome, Request, Usage, Verdict};
