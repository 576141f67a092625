//! Clients that have not proven who they are: they may be anybody, so there are only so many of them, and only for so long.
//!
//! The time is a timer's (`timer::AUTHENTICATION`). The number is bounded by letting the oldest go for a new one: a login takes
//! milliseconds, so those who hang about lose against those who log in, however many there are.

use crate::client::Phase;
use crate::error::Error;
use crate::machine::Postgres;
use std::collections::VecDeque;
use wire::{Close, Io, Key};

/// Per worker. Each may make us keep the longest password message of 64 KiB: 64 MiB in all.
pub const MAX_LOGINS: usize = 1000;

/// Those that came and may still be logging in, the oldest first.
pub type Logins = VecDeque<Key>;

impl Postgres {
    /// A client has come; it is among the others already.
    pub(crate) fn login_begins(&mut self, io: &mut dyn Io, key: Key) {
        self.logins.push_back(key);
        if self.logins.len() <= MAX_LOGINS {
            return;
        }
        let clients = &self.clients;
        let is_unknown =
            |key: &Key| clients.get(*key).is_some_and(|client| matches!(client.phase, Phase::Startup | Phase::Securing { .. } | Phase::Auth(_)));
        self.logins.retain(is_unknown);
        while self.logins.len() > MAX_LOGINS {
            let Some(client) = self.logins.pop_front().and_then(|oldest| self.clients.remove(oldest)) else { continue };
            let error = Error::fatal("53300", format!("too many clients are logging in: {MAX_LOGINS} at a time on each worker"));
            client.meter.error(&error.code);
            error.hint("This one came first and did not finish; connect again.").write(io.out(client.key));
            self.end_client(io, client, Close::Flush);
        }
    }
}
