//! SQL as the data plane needs it: never executed, never regenerated, only cut into tokens, recognised and routed.
//!
//! ```text
//! text --lexer--> Lexed (normalised text, slots, fingerprint)
//!                   |  flow table: fingerprint + session context -> Flow
//!                   |     miss: PlanRequest --upcall--> planner (Python) --> Plan
//!                   v
//!                 Plan + slot values --route--> Target (shards) --> rows --merge--> rows
//! ```
//!
//! Pure: no I/O, no clock, no Python. What cannot be proven is a [`Refusal`], which names the rule and the reason; nothing here guesses.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod begin;
pub mod effect;
pub mod flow;
pub mod lexer;
pub mod merge;
pub mod plan;
pub mod reads;
pub mod rules;
pub mod setting;
pub mod value;

mod array;
mod canonical;
mod fragments;
mod literal;
mod refusal;
mod splice;

pub use effect::{Effect, Verb};
pub use flow::{Flow, FlowKey, FlowTable};
pub use fragments::Scripts;
pub use lexer::{Lexed, Lexer, Settings, Slot, SlotKind};
pub use plan::{Plan, Target};
pub use refusal::Refusal;
pub use rules::{Rules, ShardId};
pub use value::{Parameter, Values};
