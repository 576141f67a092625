//! The one engine: listeners, buffers, TLS, timers, drain, metrics. All I/O, no protocol.
//!
//! ```text
//!  apply, answer, drain (any thread)
//!     |                        midstream-acc: owns the listening sockets, accepts,
//!     v                                       hands each client to the worker with the fewest
//!  Engine --- mailboxes ---> midstream-w0..n: one event loop each; owns its connections, buffers, timers
//!     ^                                       and one wire::Protocol object per family
//!     +-- UpcallSink -------            midstream-dns: resolves names
//! ```
//! Nothing is shared between workers but immutable configurations, counters with one writer, and bounded mailboxes.
//!
//! What a turn of the loop costs is counted in system calls: one `epoll_wait`, one `recv` per connection that has bytes, one `send` per
//! connection that was written to. Sockets are registered once, for reading and writing, edge-triggered.
//!
//! The process must ignore SIGPIPE, as Rust programs and Python do: splice(2) has no flag for it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod acceptor;
mod bindings;
mod buffers;
mod certificate;
mod conn;
mod dial;
mod engine;
mod forward;
mod io;
mod mailbox;
mod net;
pub mod relay;
mod resolver;
mod serve;
mod stats;
mod stream;
mod sys;
mod timers;
mod tls;
mod upcalls;
mod worker;
mod write;

pub use engine::{BindFailure, Engine, FamilyPlan, Options, WorkerStatus};
pub use upcalls::{Asked, UpcallSink};
