//! PostgreSQL: transaction pooling, prepared statements across pooled connections, shards. A pure machine on the contract of `wire`.
//!
//! ```text
//! client --hello--> front (query, extended) --route--> backend (pools) --> server
//!        <------------- back (runs, forwards) <------------------------------|
//!        <------------- leg (merge) <---- scatter over shards <--------------|
//! ```
//!
//! A client has a server connection only while a transaction, a batch or session state needs one. What the server owes is a queue of
//! [`server::Expect`]: so answers of our own (a ParseComplete of a statement that the server has already, a refusal) come in their place.
//! Everything a client sends that cannot be worked off yet is left unconsumed while the client is paused, and presented again.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod admin;
mod auth;
mod back;
mod backend;
mod bind;
mod cancel;
mod clean;
mod client;
mod code;
mod compile;
mod conf;
mod doubt;
mod end;
mod error;
mod extended;
mod failover;
mod fallback;
mod front;
mod group;
mod hello;
mod leg;
mod lexing;
mod login;
mod logins;
mod machine;
mod mail;
mod memory;
mod message;
mod meter;
mod names;
mod owed;
mod parameters;
mod pids;
mod pool_conf;
mod position;
mod query;
mod question;
mod quota;
mod read_only;
mod refuse;
mod replay;
mod replication;
mod route;
mod scatter;
mod seats;
mod sequence;
mod server;
mod session;
mod settings;
mod split;
mod stale;
mod startup;
mod statement;
mod token;
mod unread;
mod upstream;

pub use compile::compile;

use std::sync::Arc;

/// The family, to start an engine with.
pub fn family() -> Arc<dyn wire::Family> {
    Arc::new(machine::PostgresFamily::default())
}

/// The machine of one worker with known random numbers, for transcripts.
pub fn machine(worker: wire::Worker, seed: [u8; 32]) -> Box<dyn wire::Protocol> {
    Box::new(machine::Postgres::new(worker, auth::Entropy::from_seed(seed), seats::Seats::default(), Arc::default()))
}

/// For the fuzzer: reads bytes as a client's first packet and then as frontend messages; must neither panic nor loop.
pub fn scan_frontend(bytes: &[u8]) {
    let _ = startup::read(bytes);
    scan(bytes, message::frontend_limit, |tag, body| match tag {
        b'P' => drop(message::Parse::read(body)),
        b'B' => {
            let rest = message::BindNames::read(body).and_then(|names| body.get(names.rest..));
            let _ = rest.and_then(|rest| parameters::parameters(rest, &[]));
        }
        _ => {
            let _ = message::kind_and_name(body);
        }
    });
}

/// For the fuzzer: reads bytes as a certificate and as the messages of a SCRAM exchange; must not panic.
pub fn scan_auth(bytes: &[u8]) {
    let _ = auth::end_point(bytes);
    auth::scram::scan(bytes);
}

/// For the fuzzer: reads bytes as backend messages; must neither panic nor loop.
pub fn scan_backend(bytes: &[u8]) {
    scan(bytes, message::backend_limit, |_, body| {
        let _ = message::field(body, b'C');
    });
}

fn scan(bytes: &[u8], limit: fn(u8) -> Option<usize>, mut each: impl FnMut(u8, &[u8])) {
    let mut at = 0;
    while let Some(message::Head::Frame { tag, total }) = bytes.get(at..).map(|rest| message::head(rest, limit)) {
        let Some(body) = bytes.get(at + message::HEADER..at.saturating_add(total)) else { return };
        each(tag, body);
        at += total;
    }
}
