//! Redis and Valkey: clients see one server, behind it is a cluster.
//!
//! A pure machine on the contract of [`wire`]: no sockets, no clock. One [`Redis`] object serves all clients of a worker:
//!
//! ```text
//!  client ──bytes──> frame ──words──> dispatch ──┬─ local            answered here
//!                                       │        ├─ slot ──> pipe ──> node        (shared: a FIFO of pending replies)
//!                                    filters     ├─ split: a part per key, one reply
//!                                                └─ lease: WATCH, blocking commands, subscriptions
//!  client <──ring── replies <──bytes── node      MOVED, ASK, lost connections: sent again until the deadline
//! ```
//! * [`frame`], [`reply`]: where commands and replies begin and end.
//! * [`table`], [`keys`], [`action`]: what a command is, where its keys are, what is done with it.
//! * [`cross_slot`], [`errand`]: commands with keys in several slots, in steps ([`gather`], [`transfer`], [`shift`], [`pops`], [`streams`]).
//! * [`ring`], [`merge`]: replies in the order of requests; the parts of a split command as one.
//! * [`pipe`], [`cluster`], [`topology`]: connections, nodes, slots.
//! * [`large`], [`lane`], [`heavy`], [`pours`]: values that are never held whole, in both directions.
//! * [`migration`]: keys on their way from one back end to another.
//! * [`near`]: replies that are kept here until their keys change.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod access;
pub mod action;
pub mod admin;
mod asks;
mod by_slot;
mod client;
mod client_command;
mod client_list;
mod client_reply;
pub mod cluster;
mod compile;
mod compile_routes;
pub mod compress;
mod conf;
mod configure;
mod connections;
mod copies;
pub mod cross_slot;
mod discovery;
mod dispatch;
mod errand;
pub mod frame;
mod fronts;
pub mod functions;
pub mod fuzz;
mod gather;
pub mod glob;
pub mod health;
mod heavy;
mod info;
mod inline;
mod inquiry;
mod intake;
pub mod key_stats;
pub mod keys;
mod lane;
mod large;
mod latency;
mod lease;
pub mod limits;
mod listener;
mod local;
mod login;
mod machine;
pub mod merge;
mod meters;
pub mod migration;
pub mod mirror;
mod monitor;
mod near;
pub mod node;
mod order;
mod outliers;
pub mod packing;
mod patience;
mod pause;
pub mod pipe;
mod pops;
mod pours;
mod pubsub;
mod reads;
mod refresh;
mod rehome;
mod rename;
mod replicas;
pub mod replication;
mod replies;
pub mod reply;
mod retry;
pub mod ring;
pub mod routes;
mod routing;
mod scan;
mod scripts;
mod session;
mod shift;
pub mod slot;
mod sort;
mod split;
mod streams;
mod subscriptions;
pub mod table;
mod tag;
pub mod topology;
mod tracking;
mod transaction;
mod transfer;
mod upstream;
mod value;
mod vet;

pub use compile::compile;
pub use conf::{
    ClusterConf, Conf, Credentials, DEFAULT_CONNECT_TIMEOUT, DEFAULT_RETRY_DEADLINE, From, ListenerConf, NearConf, Reads, Sentinel, TlsConf, User,
    Zone,
};
pub use machine::Redis;
pub use near::Tracking;

use std::sync::Arc;

/// The family as the engine starts it.
pub fn family() -> Arc<dyn wire::Family> {
    Arc::new(Family)
}

struct Family;

impl wire::Family for Family {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn build(&self, worker: wire::Worker) -> Box<dyn wire::Protocol> {
        Box::new(Redis::new(worker))
    }
}
