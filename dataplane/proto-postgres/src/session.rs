//! What a client's session has in a server's session, told exactly, so that the connection is kept only while something needs it.
//!
//! ```text
//! statement --its words--> suspects --the transaction ends--> question --> settings (replayed anywhere) and pins (keep the connection)
//! ```
//!
//! A statement whose words can change the session makes parts of it suspect. When the transaction has ended, one quiet query behind the
//! client's answer asks the server for just these parts. Parameters become the client's [`Settings`], of which the next connection gets
//! the difference; the rest keeps the connection until a later question finds it gone. What no question can find pins at once.

use crate::client::Client;
use crate::lexing;
use crate::machine::Postgres;
use crate::message::query;
use crate::pool_conf::Mode;
use crate::question::question;
use crate::server::{Quiet, Server};
use crate::settings::{List, MAX_BYTES, Settings};
use sql::effect::State;
use sql::setting::{Change, changes};
use sql::{Effect, Lexed, Verb};
use std::rc::Rc;
use wire::{Io, Nanos};

/// Parameters that a client may have touched since the last question; beyond it all are asked for.
const MAX_TOUCHED: usize = 64;
/// What a question finds.
const ASKED: State = State::ANY.with(State::SETTINGS).with(State::CODE).with(State::CALLS);

/// What keeps the connection as soon as a statement may have made it.
const UNASKABLE: State = State::SEED.with(State::OTHER).with(State::NAMELESS);

/// A parameter that statements since the last question named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Touched {
    /// In lower case.
    pub name: String,
    /// They were RESET only: a value that is another one than before is a default.
    is_reset: bool,
}

/// What a question is about.
#[derive(Debug)]
pub struct Asked {
    /// Parts of the session.
    pub parts: State,
    /// Parameters.
    pub touched: Vec<Touched>,
    /// Functions.
    pub calls: Vec<String>,
}

/// What a row of the answer tells.
#[derive(Debug)]
pub enum Found {
    /// A parameter's value; `None`: there is no such parameter.
    Setting(String, Option<String>),
    /// There is something of that part.
    Part(State),
    /// A function that cannot change the session.
    Harmless(String),
}

/// Values of the startup message that a RESET has to come back to.
#[derive(Debug)]
pub struct Restore {
    name: String,
    is_local: bool,
}

/// See the module.
#[derive(Default)]
pub struct Session {
    /// What is to be asked for.
    pub suspects: State,
    /// What keeps the connection.
    pub pins: State,
    touched: Vec<Touched>,
    /// A statement has named [`lexing::PARAMETER`], and what became of it the server has still to tell.
    pub is_lexing_open: bool,
    /// Functions that were called since.
    pub calls: Vec<String>,
    /// What a question was about that failed; asked again behind the next statement.
    missed: State,
    /// What EXECUTE may do.
    prepared: State,
    /// See [`Restore`]; due behind the answer to what is under way, if that is no error.
    restores: Vec<Restore>,
    /// A transaction was rolled back since the last question.
    pub is_rolled_back: bool,
    /// It reads sequences' last values: see `sequence.rs`.
    pub keeps_sequences: bool,
    /// The statement that is being sent reads one.
    pub reads_sequence: bool,
}

impl Client {
    /// What a statement of these words may change in the session.
    pub(crate) fn touch(&mut self, effect: &Effect, lexed: &Lexed, now: Nanos) {
        let mut parts = effect.touches;
        if parts.has(State::CALLS) {
            parts = parts.without(State::CALLS).with(self.note_calls(lexed, now));
        }
        if parts.has(State::SETTINGS) {
            parts = parts.with(self.touch_settings(effect, lexed));
        }
        let session = &mut self.session;
        if effect.verb == Verb::Prepare {
            session.prepared = session.prepared.with(parts.without(State::PREPARED));
        }
        if parts.has(State::EXECUTES) {
            parts = parts.with(session.prepared);
            // Which of them the prepared statement sets, only the server knows.
            parts = if parts.has(State::SETTINGS) { parts.with(State::ANY_SETTING) } else { parts };
        }
        session.reads_sequence |= parts.has(State::SEQUENCES);
        self.suspect(parts);
    }

    /// Code of unknown content runs.
    pub(crate) fn suspect(&mut self, parts: State) {
        let session = &mut self.session;
        session.suspects = session.suspects.with(parts.and(ASKED));
        self.pin(parts.and(UNASKABLE));
    }

    /// The connection has to stay for these reasons too.
    pub(crate) fn pin(&mut self, reasons: State) {
        self.session.pins = self.session.pins.with(reasons);
        self.pinned = self.session.pins.reason();
    }

    /// The connection need not stay for these reasons.
    pub(crate) fn unpin(&mut self, reasons: State) {
        self.session.pins = self.session.pins.without(reasons);
        self.pinned = self.session.pins.reason();
    }

    fn touch_settings(&mut self, effect: &Effect, lexed: &Lexed) -> State {
        if effect.verb == Verb::Discard {
            self.touch_all(true);
            return State::NONE;
        }
        let mut more = State::NONE;
        for change in changes(lexed) {
            match change {
                Change::Unknown => more = more.with(State::ANY_SETTING.with(State::NAMELESS)),
                Change::ResetAll => self.touch_all(false),
                Change::Set(name) | Change::Reset { name, .. } if !is_replayed(&name) => {}
                Change::Set(name) => {
                    self.session.restores.retain(|restore| restore.name != name);
                    more = more.with(self.touch_one(name, false));
                }
                Change::Reset { name, local } => {
                    self.restores(&name, local);
                    more = if local { more } else { more.with(self.touch_one(name, true)) };
                }
            }
        }
        more
    }

    /// RESET ALL, which leaves the role alone, or DISCARD ALL.
    fn touch_all(&mut self, is_discard: bool) {
        let startup = self.startup.clone();
        for (name, _) in startup.iter().filter(|(name, _)| is_discard || *name != "role") {
            self.restores(name, false);
        }
        let settings = self.settings.clone();
        let pending: Vec<String> = self.session.touched.iter().map(|touched| touched.name.clone()).collect();
        let names = settings.iter().map(|(name, _)| name.to_string()).chain(pending);
        for name in names.filter(|name| is_discard || name != "role") {
            self.touch_one(name, true);
        }
    }

    fn restores(&mut self, name: &str, is_local: bool) {
        if self.startup.get(name).is_some() {
            self.session.restores.retain(|restore| restore.name != name);
            self.session.restores.push(Restore { name: name.into(), is_local });
        }
    }

    fn touch_one(&mut self, name: String, is_reset: bool) -> State {
        self.session.is_lexing_open |= name == lexing::PARAMETER;
        let touched = &mut self.session.touched;
        match touched.iter_mut().find(|touched| touched.name == name) {
            Some(touched) => touched.is_reset &= is_reset,
            None => touched.push(Touched { name, is_reset }),
        }
        if touched.len() > MAX_TOUCHED { State::ANY_SETTING } else { State::NONE }
    }

    /// The query that a successful RESET has to be followed by, to come back to the startup message's values.
    pub(crate) fn restore(&mut self) -> Vec<u8> {
        let mut sql = String::new();
        let mut list = List::new(&mut sql);
        for restore in self.session.restores.drain(..) {
            if let Some(value) = self.startup.get(&restore.name) {
                list.set(&restore.name, value, restore.is_local);
            }
        }
        let mut out = Vec::new();
        query(&mut out, sql.as_bytes());
        out
    }
}

/// Whether a parameter is one of the session that can be given to another: not of the transaction, not the sequence of random().
pub fn is_replayed(name: &str) -> bool {
    !matches!(name, "seed" | "session_authorization" | "transaction_isolation" | "transaction_read_only" | "transaction_deferrable")
}

impl Postgres {
    /// Asks for what is suspect; false: nothing is.
    pub(crate) fn ask(&mut self, io: &mut dyn Io, server: &mut Server, client: &mut Client) -> bool {
        let session = &mut client.session;
        let mut parts = std::mem::take(&mut session.suspects);
        if client.mode == Mode::Session {
            // It keeps its connection anyway, and what it leaves is discarded as a whole.
            session.touched.clear();
            session.calls.clear();
            return false;
        }
        if std::mem::take(&mut session.is_rolled_back) && parts.has(State::SETTINGS) {
            parts = parts.with(State::ANY_SETTING);
        }
        if session.pins.has(State::ANY_SETTING) {
            // Where the search_path names pg_temp, every CREATE makes a temporary object.
            parts = parts.with(State::TEMPORARY);
        }
        if parts.has(State::CODE)
            && let Some(backend) = self.backends.get(server.backend)
        {
            backend.harmless.borrow_mut().clear();
        }
        let asked = Asked { parts, touched: std::mem::take(&mut session.touched), calls: std::mem::take(&mut session.calls) };
        let sql = question(&asked, &client.settings);
        if sql.is_empty() {
            return false;
        }
        query(io.out(server.key), sql.as_bytes());
        server.found.clear();
        server.push_quiet(Quiet::Ask(Box::new(asked)));
        if client.listener.is_planned() {
            // What it sends next may belong to another shard, and be planned by another search_path.
            io.pause(client.key, true);
        }
        true
    }

    /// The answer to that.
    pub(crate) fn told(&mut self, io: &mut dyn Io, server: &mut Server, client: &mut Client, asked: Asked, is_failed: bool) {
        let found = std::mem::take(&mut server.found);
        if client.listener.is_planned() {
            io.pause(client.key, false);
        }
        if is_failed {
            // A cancel or a statement_timeout has hit it. Kept meanwhile; asked again behind the next statement.
            client.session.missed = client.session.missed.with(asked.parts);
            client.session.touched.splice(0..0, asked.touched);
            client.session.calls.splice(0..0, asked.calls);
            server.settings = None;
            return client.pin(State::UNASKED);
        }
        client.session.is_lexing_open = client.session.touched.iter().any(|touched| touched.name == lexing::PARAMETER);
        let are_harmless = self.learn_code(io.now(), server, &asked, &found);
        let parts = found.iter().fold(State::NONE, |parts, found| if let Found::Part(part) = found { parts.with(*part) } else { parts });
        client.unpin(asked.parts.and(State::ANY).with(State::UNASKED));
        client.pin(parts);
        let mut settings = if asked.parts.has(State::ANY_SETTING) { Settings::default() } else { (*client.settings).clone() };
        for one in found {
            if let Found::Setting(name, value) = one {
                learn(&mut settings, client, &asked.touched, name, value);
            }
        }
        if settings != *client.settings {
            client.settings = Rc::new(settings);
            self.settle_context(client);
        }
        let is_replayed = is_replayable(&client.settings);
        // Code may have set parameters of made-up names, which no question finds: they end with the lease.
        server.settings = (is_replayed && are_harmless).then(|| client.settings.clone());
        if is_replayed {
            client.unpin(State::ANY_SETTING);
        } else {
            client.pin(State::ANY_SETTING);
        }
    }
}

impl Postgres {
    /// What the answer tells of functions; false: one of those that were called may do anything.
    fn learn_code(&mut self, now: Nanos, server: &Server, asked: &Asked, found: &[Found]) -> bool {
        let Some(backend) = self.backends.get(server.backend) else { return false };
        let mut known = backend.harmless.borrow_mut();
        let harmless = found.iter().filter_map(|found| if let Found::Harmless(name) = found { Some(name) } else { None });
        let mut count = 0;
        for name in harmless {
            known.add(name, now);
            count += 1;
        }
        count == asked.calls.len() && !asked.parts.has(State::CODE)
    }
}

impl Session {
    /// Another statement of the client's is answered: what could not be asked for is asked for again.
    #[inline]
    pub fn again(&mut self) {
        if !self.missed.is_none() {
            self.suspects = self.suspects.with(std::mem::take(&mut self.missed));
        }
    }

    /// Whether a RESET under way has to be followed by more.
    #[inline]
    pub fn restores(&self) -> bool {
        !self.restores.is_empty()
    }

    /// What was under way is not executed.
    pub fn refused(&mut self) {
        self.restores.clear();
        self.reads_sequence = false;
    }

    /// What a client that goes leaves behind.
    pub fn left(&self) -> State {
        self.pins.with(self.suspects).with(self.missed)
    }
}

/// Whether another connection with these parameters would be the same: not where every CREATE may make a temporary object, and not
/// where the server is to end a session that is idle.
fn is_replayable(settings: &Settings) -> bool {
    let is_temporary = settings.get("search_path").is_some_and(|path| path.contains("pg_temp"));
    settings.bytes() <= MAX_BYTES && !is_temporary && settings.get("idle_session_timeout").is_none_or(|timeout| timeout == "0")
}

fn learn(settings: &mut Settings, client: &Client, touched: &[Touched], name: String, value: Option<String>) {
    let is_reset = touched.iter().any(|touched| touched.is_reset && touched.name == name);
    match value.filter(|value| !(value.is_empty() && name.contains('.'))) {
        // Where the value has not changed, the RESET may have failed.
        Some(value) if is_reset && client.startup.get(&name).is_none() && client.settings.get(&name) != Some(&value) => settings.remove(&name),
        Some(value) if name == "role" && value == "none" && client.startup.get(&name).is_none() => settings.remove(&name),
        Some(value) => settings.set(&name, value),
        None => settings.remove(&name),
    }
}
