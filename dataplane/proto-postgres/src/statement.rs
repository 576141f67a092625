//! Prepared statements by content. A client's name leads to the content; a server's name is made of it. So any server connection can
//! serve any client's statement: what the connection lacks is parsed there first.

use crate::lexing;
use crate::message::{Parse, c_string, frame};
use hashbrown::HashMap;
use sql::{Effect, Lexed, Lexer};
use std::rc::{Rc, Weak};
use xxhash_rust::xxh3::Xxh3;

/// Statements on one server connection; the least recently used is closed for a new one. 500 plans of some 10 KiB are 5 MB of a backend.
pub const MAX_PER_SERVER: usize = 500;
/// Named statements of one client: far above what drivers' caches hold (asyncpg 100, JDBC 256).
pub const MAX_PER_CLIENT: usize = 4096;

/// A statement as it was given to `Parse`, under a name that every server knows it by.
#[derive(Debug)]
pub struct Prepared {
    /// Content hash, unique on the worker.
    pub id: u128,
    /// What its meaning depends on besides: see [`Client::scope`](crate::client::Client::scope).
    pub scope: u64,
    /// Its text, without NUL.
    pub sql: Box<[u8]>,
    /// Parameter types as on the wire.
    pub types: Box<[u8]>,
    /// The same as numbers.
    pub oids: Box<[u32]>,
    /// What it does to its session; `None`: it cannot be told, since the text does not lex.
    pub effect: Option<Effect>,
    /// Its tokens.
    pub lexed: Option<Lexed>,
}

impl Prepared {
    /// Appends the name that servers know it by.
    pub fn name(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"ms_");
        for shift in (0..32).rev() {
            out.push(b"0123456789abcdef"[(self.id >> (shift * 4)) as usize & 15]);
        }
    }

    /// Appends a `Parse` under that name, or under the unnamed one.
    pub fn parse(&self, is_named: bool, out: &mut Vec<u8>) {
        frame(out, b'P', |out| {
            if is_named {
                self.name(out);
            }
            out.push(0);
            c_string(out, &self.sql);
            out.extend_from_slice(&((self.types.len() / 4) as u16).to_be_bytes());
            out.extend_from_slice(&self.types);
        });
    }

    /// Appends a `Close` of that name.
    pub fn close(&self, out: &mut Vec<u8>) {
        frame(out, b'C', |out| {
            out.push(b'S');
            self.name(out);
            out.push(0);
        });
    }
}

/// A client's statement.
#[derive(Clone, Debug)]
pub struct Handle {
    /// What it is.
    pub prepared: Rc<Prepared>,
    /// When the client parsed it, by [`Interned::now`].
    pub parsed_at: u64,
    /// What the client was told of its result, see [`crate::stale`]; 0: nothing yet.
    pub told: u64,
}

/// The statements that anybody on this worker holds, once each.
#[derive(Default)]
pub struct Interned {
    known: HashMap<u128, Weak<Prepared>>,
    sweep_at: usize,
    hasher: Xxh3,
    now: u64,
}

impl Interned {
    /// A client parses now: the statement of its `Parse`.
    pub fn parse(&mut self, parse: &Parse<'_>, scope: u64, lexer: &mut Lexer, lexing: Option<sql::Settings>) -> Handle {
        self.now += 1;
        Handle { prepared: self.intern(parse, scope | lexing::scope(lexing), lexer, lexing), parsed_at: self.now, told: 0 }
    }

    /// How many Parse messages of clients there were: the clock by which copies are older or younger than what a client parsed.
    pub fn now(&self) -> u64 {
        self.now
    }

    fn intern(&mut self, parse: &Parse<'_>, scope: u64, lexer: &mut Lexer, lexing: Option<sql::Settings>) -> Rc<Prepared> {
        self.hasher.reset();
        if scope != 0 {
            self.hasher.update(&scope.to_le_bytes());
        }
        self.hasher.update(parse.types);
        self.hasher.update(&(parse.types.len() as u64).to_le_bytes());
        self.hasher.update(parse.sql);
        let mut id = self.hasher.digest128();
        // The hash is not a cryptographic one: the text decides, or a client could make another client run its statement.
        loop {
            match self.known.get(&id).and_then(Weak::upgrade) {
                Some(known) if *known.sql == *parse.sql && *known.types == *parse.types && known.scope == scope => return known,
                Some(_) => id = id.wrapping_add(1),
                None => break,
            }
        }
        let lexed = lexing.and_then(|lexing| lexer.scan(parse.sql, lexing).ok()).filter(|lexed| is_single(lexed, parse.sql)).cloned();
        let effect = lexed.as_ref().map(Effect::of);
        let oids = parse.oids().collect();
        let prepared = Rc::new(Prepared { id, scope, sql: parse.sql.into(), types: parse.types.into(), oids, effect, lexed });
        self.sweep();
        self.known.insert(id, Rc::downgrade(&prepared));
        prepared
    }

    /// Forgets what nobody holds any more, each time the number has doubled.
    fn sweep(&mut self) {
        if self.known.len() >= self.sweep_at.max(256) {
            self.known.retain(|_, prepared| prepared.strong_count() > 0);
            self.sweep_at = self.known.len() * 2;
        }
    }
}

/// `Parse` takes one statement; a server refuses more, so nothing is to be known of them.
fn is_single(lexed: &Lexed, sql: &[u8]) -> bool {
    sql.get(lexed.end..).is_none_or(|rest| rest.iter().all(|byte| byte.is_ascii_whitespace() || *byte == b';'))
}

/// What one server connection has been told to parse.
#[derive(Default)]
pub struct OnServer {
    named: HashMap<u128, Copy>,
    clock: u64,
}

/// One of them.
struct Copy {
    prepared: Rc<Prepared>,
    /// By `OnServer::clock`.
    used: u64,
    /// By [`Interned::now`]; 0: the Parse failed or was skipped, so the server may have an older one under this name, or none.
    parsed_at: u64,
    /// What its result is, as in [`Handle::told`]; 0: not known.
    shape: u64,
}

/// How a server's copy of a statement stands to a client's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fit {
    /// It is the same.
    Good,
    /// There is none that is as young as the client's.
    Missing,
    /// Its result is not known to be what the client was told.
    Doubtful,
}

impl OnServer {
    /// Whether the copy serves the client; that counts as a use.
    pub fn fit(&mut self, handle: &Handle) -> Fit {
        self.clock += 1;
        match self.named.get_mut(&handle.prepared.id) {
            Some(copy) if copy.parsed_at >= handle.parsed_at => {
                copy.used = self.clock;
                if handle.told == 0 || copy.shape == handle.told { Fit::Good } else { Fit::Doubtful }
            }
            _ => Fit::Missing,
        }
    }

    /// It is parsed now. What has to be closed before is returned: an older copy, or the one that had to make room.
    pub fn add(&mut self, prepared: Rc<Prepared>, now: u64) -> Option<Rc<Prepared>> {
        self.clock += 1;
        let copy = Copy { prepared: prepared.clone(), used: self.clock, parsed_at: now, shape: 0 };
        if self.named.insert(prepared.id, copy).is_some() {
            return Some(prepared);
        }
        if self.named.len() <= MAX_PER_SERVER {
            return None;
        }
        let oldest = self.named.iter().min_by_key(|(_, copy)| copy.used).map(|(id, _)| *id)?;
        self.named.remove(&oldest).map(|copy| copy.prepared)
    }

    /// The server has described it.
    pub fn described(&mut self, id: u128, shape: u64) {
        if let Some(copy) = self.named.get_mut(&id) {
            copy.shape = shape;
        }
    }

    /// Its Parse failed or was skipped, and perhaps the Close before it as well: it is closed before it is parsed again, which is no
    /// error where there is nothing to close.
    pub fn doubt(&mut self, id: u128) {
        if let Some(copy) = self.named.get_mut(&id) {
            (copy.parsed_at, copy.shape) = (0, 0);
        }
    }

    /// How many it has.
    pub fn len(&self) -> usize {
        self.named.len()
    }

    /// DISCARD ALL.
    pub fn clear(&mut self) {
        self.named.clear();
    }
}
