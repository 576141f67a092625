//! What of its session a statement may change, told by its words: a set, since one statement may do several things.
//!
//! Told generously: too much costs one question to the server when the transaction ends, too little would leave a client's state behind
//! for another one.

use super::{Verb, calls};
use crate::lexer::Lexed;

/// Parts of a session's state, as a set.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct State(u16);

/// The parts by name, for people; in the order in which a session's reasons are told.
const NAMES: [(State, &str); 11] = [
    (State::TEMPORARY, "a temporary object"),
    (State::CURSORS, "a cursor WITH HOLD"),
    (State::LOCKS, "an advisory lock"),
    (State::LISTENS, "LISTEN"),
    (State::PREPARED, "PREPARE"),
    (State::SEQUENCES, "a sequence's last value"),
    (State::SEED, "setseed()"),
    (State::ANY_SETTING, "parameters that cannot be replayed"),
    (State::NAMELESS, "parameters of computed names"),
    (State::OTHER, "state that cannot be undone"),
    (State::UNASKED, "state that could not be asked for"),
];

impl State {
    /// Nothing.
    pub const NONE: State = State(0);
    /// Parameters, those that [`crate::setting::changes`] names.
    pub const SETTINGS: State = State(1);
    /// Parameters, which ones cannot be told.
    pub const ANY_SETTING: State = State(1 << 1);
    /// Temporary tables, functions, types.
    pub const TEMPORARY: State = State(1 << 2);
    /// Cursors WITH HOLD.
    pub const CURSORS: State = State(1 << 3);
    /// Advisory locks of the session.
    pub const LOCKS: State = State(1 << 4);
    /// Channels that it listens on.
    pub const LISTENS: State = State(1 << 5);
    /// PREPARE in SQL; not the protocol's prepared statements.
    pub const PREPARED: State = State(1 << 6);
    /// setseed().
    pub const SEED: State = State(1 << 7);
    /// currval() or lastval() is *read*.
    pub const SEQUENCES: State = State(1 << 8);
    /// What no question can tell and no reset undoes: LOAD, dblink's connections, another session user.
    pub const OTHER: State = State(1 << 9);
    /// EXECUTE: what the statement that PREPARE took may do.
    pub const EXECUTES: State = State(1 << 10);
    /// Parameters whose names the text does not tell: made-up ones (`app.user`) are in no catalog.
    pub const NAMELESS: State = State(1 << 12);
    /// Functions whose names are to be looked up, see [`called`].
    pub const CALLS: State = State(1 << 13);
    /// What functions do.
    pub const CODE: State = State(1 << 14);
    /// Everything that code of unknown content can do and a question can find.
    pub const ANY: State = State(0b111_1110);
    /// Asking for it has failed.
    pub const UNASKED: State = State(1 << 11);

    /// Whether it is empty.
    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether they share a part.
    #[inline]
    pub const fn has(self, other: State) -> bool {
        self.0 & other.0 != 0
    }

    /// Both.
    #[inline]
    #[must_use]
    pub const fn with(self, other: State) -> State {
        State(self.0 | other.0)
    }

    /// This without those.
    #[inline]
    #[must_use]
    pub const fn without(self, other: State) -> State {
        State(self.0 & !other.0)
    }

    /// What is in both.
    #[inline]
    #[must_use]
    pub const fn and(self, other: State) -> State {
        State(self.0 & other.0)
    }

    /// Its first part that keeps a connection, for people; parameters that can be replayed keep none.
    pub fn reason(self) -> Option<&'static str> {
        NAMES.iter().find(|(part, _)| self.has(*part)).map(|(_, name)| *name)
    }
}

/// What a statement may change.
pub(super) fn touches(verb: Verb, first: &[&[u8]; 4], lexed: &Lexed) -> State {
    let state = by_verb(verb, first, lexed).with(by_words(verb, lexed));
    // In those, parentheses are mostly types and columns; what they call they call once.
    if matches!(verb, Verb::Create | Verb::Alter | Verb::Drop) { state.without(State::CALLS) } else { state }
}

fn by_verb(verb: Verb, first: &[&[u8]; 4], lexed: &Lexed) -> State {
    match verb {
        Verb::Set => set(first, lexed),
        Verb::Reset if first[1] == b"session" && first[2] == b"authorization" => State::OTHER,
        Verb::Reset => State::SETTINGS,
        Verb::Listen | Verb::Unlisten => State::LISTENS,
        Verb::Prepare if first[1] != b"transaction" => State::PREPARED,
        Verb::Deallocate => State::PREPARED,
        Verb::Execute => State::EXECUTES,
        Verb::Load => State::OTHER,
        Verb::Close => State::CURSORS,
        Verb::Declare if lexed.words().any(|word| word == b"hold") => State::CURSORS,
        Verb::Create if first[1..].iter().any(|word| is_temporary(word)) => State::TEMPORARY,
        Verb::Drop => State::TEMPORARY,
        Verb::Discard if is_temporary(first[1]) => State::TEMPORARY,
        Verb::Discard if first[1] == b"all" => State::SETTINGS,
        // What they run is text of their own.
        Verb::Do | Verb::Call => State::ANY.with(State::CODE),
        Verb::Create | Verb::Alter
            if lexed.words().any(|word| matches!(word, b"function" | b"procedure" | b"extension" | b"routine" | b"schema")) =>
        {
            State::CODE
        }
        _ => State::NONE,
    }
}

fn set(first: &[&[u8]; 4], lexed: &Lexed) -> State {
    let local = matches!(first[1], b"local" | b"transaction" | b"constraints");
    // The search_path may name it, and then every CREATE is one of a temporary object; also for as long as the transaction lasts.
    let temporary = if contains(lexed.normalised(), b"pg_temp") { State::TEMPORARY } else { State::NONE };
    match (first[1], first[2]) {
        (b"session", b"authorization") => State::OTHER,
        (b"seed", _) | (b"session" | b"local", b"seed") => State::SEED,
        (b"local", b"session") => State::OTHER,
        (b"session", b"characteristics") => State::SETTINGS,
        // To a default, which is not the server's but the startup message's.
        (b"local", _) if ends_with_default(lexed) => State::SETTINGS,
        _ if local => temporary,
        _ => State::SETTINGS.with(temporary),
    }
}

fn ends_with_default(lexed: &Lexed) -> bool {
    [&b"default"[..], b"local"].iter().any(|word| lexed.normalised().ends_with(word))
}

fn is_temporary(word: &[u8]) -> bool {
    matches!(word, b"temp" | b"temporary")
}

/// Functions and clauses that leave state behind, wherever they stand.
fn by_words(verb: Verb, lexed: &Lexed) -> State {
    let mut state = State::NONE;
    let mut before: &[u8] = b"";
    for (word, behind) in lexed.words_and_next() {
        if behind == b'(' && calls::is_unknown(word, before) {
            state = state.with(State::CALLS);
        }
        state = state.with(match word {
            b"pg_advisory_lock"
            | b"pg_advisory_lock_shared"
            | b"pg_try_advisory_lock"
            | b"pg_try_advisory_lock_shared"
            | b"pg_advisory_unlock"
            | b"pg_advisory_unlock_shared"
            | b"pg_advisory_unlock_all" => State::LOCKS,
            b"set_config" => State::SETTINGS,
            b"setseed" => State::SEED,
            b"currval" | b"lastval" => State::SEQUENCES,
            b"temp" | b"temporary" if matches!(before, b"into" | b"local" | b"global") => State::TEMPORARY,
            b"pg_temp" => State::TEMPORARY,
            b"dblink_connect" | b"dblink_connect_u" => State::OTHER,
            // A name in Unicode escapes can be any name.
            b"u" | b"U" if behind == b'&' => State::ANY.with(State::SEED).with(State::SEQUENCES),
            _ => State::NONE,
        });
        before = word;
    }
    if verb == Verb::Do { state.with(in_code(lexed.normalised())) } else { state }
}

/// The names of the functions that a statement may call and that are not known to everybody.
pub fn called(lexed: &Lexed) -> impl Iterator<Item = &[u8]> {
    let mut before: &[u8] = b"";
    lexed.words_and_next().filter_map(move |(word, behind)| {
        let is_call = behind == b'(' && calls::is_unknown(word, before);
        before = word;
        is_call.then_some(word)
    })
}

/// What code may do that no question finds, by the names it must contain then.
pub fn in_code(code: &[u8]) -> State {
    let mut state = State::NONE;
    let mut look = |names: &[&[u8]], what: State| {
        if names.iter().any(|name| contains(code, name)) {
            state = state.with(what);
        }
    };
    look(&[b"setseed"], State::SEED);
    look(&[b"currval", b"lastval"], State::SEQUENCES);
    look(&[b"dblink_connect"], State::OTHER);
    look(&[b"set_config"], State::SETTINGS);
    // Code that is put together may set anything.
    if contains(code, b"execute") && contains(code, b"set") { state.with(State::NAMELESS) } else { state }
}

/// Whether it stands there, in letters of any case.
pub fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.len() >= wanted.len() && text.windows(wanted.len()).any(|window| window.eq_ignore_ascii_case(wanted))
}
