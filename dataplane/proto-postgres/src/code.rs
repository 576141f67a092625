//! Functions that a statement calls by name: those whose source cannot change the session are found once per name and cost nothing more;
//! after the others the session is asked about.
//!
//! The rule, in the server's catalog: a function is harmless if it is the server's own (those that keep state are known by name), or written
//! in C, or if its source (SQL, PL/pgSQL) has none of the words by which a session is changed, no dynamic SQL, and no name of another
//! function of a user's. Views, defaults and triggers call functions without naming them: they are not looked into.

use crate::client::Client;
use crate::settings::literal;
use hashbrown::HashSet;
use sql::Lexed;
use sql::effect::{State, state};
use std::cell::RefCell;
use std::rc::Rc;
use wire::{Nanos, SECONDS};

/// Names that are remembered per pool.
const MAX_NAMES: usize = 4096;
/// A function may be replaced beside Midstream: what is known of it holds for so long.
const HOLDS: Nanos = 60 * SECONDS;
/// Calls of one transaction that are looked up; beyond it they count as harmful.
const MAX_CALLS: usize = 64;

/// Names of functions that cannot change a session, of one pool.
#[derive(Default, Debug)]
pub struct Harmless {
    names: HashSet<Box<[u8]>>,
    since: Nanos,
}

/// The pool's, and its clients'.
pub type Shared = Rc<RefCell<Harmless>>;

impl Harmless {
    /// One more, found now.
    pub fn add(&mut self, name: &str, now: Nanos) {
        if self.names.len() >= MAX_NAMES || now.saturating_sub(self.since) > HOLDS {
            self.clear();
            self.since = now;
        }
        self.names.insert(name.as_bytes().into());
    }

    /// A function was made or changed.
    pub fn clear(&mut self) {
        self.names.clear();
    }
}

impl Client {
    /// The calls of a statement that have to be looked up when the transaction ends.
    pub(crate) fn note_calls(&mut self, lexed: &Lexed, now: Nanos) -> State {
        let known = self.harmless.borrow();
        let is_fresh = now.saturating_sub(known.since) <= HOLDS;
        let calls = &mut self.session.calls;
        for name in state::called(lexed).filter(|name| !(is_fresh && known.names.contains(*name))) {
            let name = String::from_utf8_lossy(name);
            if calls.len() < MAX_CALLS && !calls.iter().any(|known| *known == name) {
                calls.push(name.into_owned());
            }
        }
        if calls.is_empty() { State::NONE } else { State::ANY.with(State::CALLS) }
    }
}

/// Appends the question which of them are harmless: rows of `h` and the name.
pub fn question(calls: &[String], sql: &mut String) {
    const HARMLESS: &str = "(p.oid OPERATOR(pg_catalog.<) 16384 OR l.lanname OPERATOR(pg_catalog.=) 'c' \
        OR (l.lanname OPERATOR(pg_catalog.=) ANY (ARRAY['sql','plpgsql']::pg_catalog.name[]) AND p.prosrc OPERATOR(pg_catalog.<>) '' \
        AND p.prosrc OPERATOR(pg_catalog.!~*) \
        E'set_config|setseed|advisory|temp|listen|execute|\\\\mhold\\\\M|\\\\mload\\\\M|prepare|discard|\\\\mreset\\\\M|dblink|currval|lastval\
        |(^|;|\\\\m(begin|then|else|loop)\\\\M)(\\\\s|--[^\\\\n]*\\\\n|/\\\\*.*?\\\\*/)*\\\\mset\\\\s' \
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc g WHERE g.oid OPERATOR(pg_catalog.>=) 16384 AND g.oid OPERATOR(pg_catalog.<>) p.oid \
        AND pg_catalog.strpos(p.prosrc, g.proname) OPERATOR(pg_catalog.>) 0)))";
    sql.push_str("SELECT 'h',n FROM pg_catalog.unnest(ARRAY[");
    for (index, name) in calls.iter().enumerate() {
        sql.push_str(if index == 0 { "" } else { "," });
        literal(sql, name);
    }
    sql.push_str("]) n WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang ");
    sql.push_str("WHERE p.proname OPERATOR(pg_catalog.=) n AND NOT ");
    sql.push_str(HARMLESS);
    sql.push_str(");");
}
