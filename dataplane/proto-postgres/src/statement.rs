//! Prepared statements by content. A client's name leads to the content; a server's name is made of it. So any server connection can
//! serve any client's statement: what the connection lacks is parsed there first.

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

/// The statements that anybody on this worker holds, once each.
#[derive(Default)]
pub struct Interned {
    known: HashMap<u128, Weak<Prepared>>,
    sweep_at: usize,
    hasher: Xxh3,
}

impl Interned {
    /// The statement of a `Parse`.
    pub fn intern(&mut self, parse: &Parse<'_>, lexer: &mut Lexer) -> Rc<Prepared> {
        self.hasher.reset();
        self.hasher.update(parse.types);
        self.hasher.update(&(parse.types.len() as u64).to_le_bytes());
        self.hasher.update(parse.sql);
        let mut id = self.hasher.digest128();
        // The hash is not a cryptographic one: the text decides, or a client could make another client run its statement.
        loop {
            match self.known.get(&id).and_then(Weak::upgrade) {
                Some(known) if *known.sql == *parse.sql && *known.types == *parse.types => return known,
                Some(_) => id = id.wrapping_add(1),
                None => break,
            }
        }
        let lexed = lexer.scan(parse.sql, sql::Settings::default()).ok().filter(|lexed| is_single(lexed, parse.sql)).cloned();
        let effect = lexed.as_ref().map(Effect::of);
        let oids = parse.oids().collect();
        let prepared = Rc::new(Prepared { id, sql: parse.sql.into(), types: parse.types.into(), oids, effect, lexed });
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
    named: HashMap<u128, (Rc<Prepared>, u64)>,
    clock: u64,
}

impl OnServer {
    /// Whether it has the statement; then that counts as a use.
    pub fn has(&mut self, id: u128) -> bool {
        self.clock += 1;
        let clock = self.clock;
        self.named.get_mut(&id).map(|(_, used)| *used = clock).is_some()
    }

    /// It has it from now on. What had to make room is returned, to be closed.
    pub fn add(&mut self, prepared: Rc<Prepared>) -> Option<Rc<Prepared>> {
        self.clock += 1;
        self.named.insert(prepared.id, (prepared, self.clock));
        if self.named.len() <= MAX_PER_SERVER {
            return None;
        }
        let oldest = self.named.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| *id)?;
        self.named.remove(&oldest).map(|(prepared, _)| prepared)
    }

    /// Its Parse failed or was skipped.
    pub fn remove(&mut self, id: u128) {
        self.named.remove(&id);
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
