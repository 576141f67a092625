//! The filter chain: who may do what, how often, with which faults, and what is logged of it; blind to the protocol.
//!
//! ```text
//! AccessPolicy --authz--> denied, once per flow
//! RateLimit ----limit--+      (of bytes: quota, charged afterwards)
//! Fault --------fault--+> counted: run for every request of the flow
//! Tap ----------tap-----> done: one line for every sampled request
//! ```
//!
//! [`Filters`] makes one [`wire::Chain`] for each listener that has any of them; a listener without has none and pays nothing.
//! What follows from a request's shape (identity, class, verb, resources) is decided by `bind` and kept with the protocol's flow; `run`
//! only counts and throws dice. Nothing here allocates for a request that passes.
//!
//! A request that names no resource (FLUSHALL, a DDL statement) is judged as one with the empty name: the patterns `*` and the empty one
//! match it, a named one does not. So a policy that allows `orders` does not allow what has no name.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod authz;
mod chain;
mod compile;
mod each;
mod fault;
mod limit;
mod pattern;
mod quota;
mod select;
mod tap;

pub use compile::{Compiled, Filters, unknown_listeners};
pub use fault::Share;
pub use limit::Bucket;
pub use pattern::{Pattern, TooLong};
pub use select::Patterns;
pub use tap::{TapLines, TapQueue, TapSink, tap_queue};
