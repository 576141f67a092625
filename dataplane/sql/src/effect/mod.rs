//! What a statement does to its session and transaction, told by its words alone; pooling depends on it.
//!
//! Told conservatively: a word that might change the state of the session counts as if it did (`Pins`), since a pinned connection costs
//! a connection, and a connection given back with foreign state costs somebody wrong answers.

mod verb;

pub use verb::Verb;

use crate::lexer::Lexed;
use wire::Class;

/// What a statement does to the transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transaction {
    /// BEGIN, START TRANSACTION.
    Begin,
    /// COMMIT, END.
    Commit,
    /// ROLLBACK, ABORT.
    Rollback,
    /// SAVEPOINT.
    Savepoint,
    /// RELEASE.
    Release,
    /// ROLLBACK TO.
    RollbackTo,
    /// PREPARE TRANSACTION.
    Prepare,
    /// COMMIT PREPARED.
    CommitPrepared,
    /// ROLLBACK PREPARED.
    RollbackPrepared,
}

/// What a statement does to the session beyond its transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Session {
    /// Nothing.
    None,
    /// SET; `local`: until the transaction's end.
    Set {
        /// SET LOCAL, SET TRANSACTION, SET CONSTRAINTS.
        local: bool,
    },
    /// RESET.
    Reset,
    /// DISCARD ALL or of a part.
    Discard,
    /// DEALLOCATE.
    Deallocate,
    /// UNLISTEN.
    Unlisten,
    /// It leaves state behind that lives in the server's session: the connection must stay with the client. The state, for people.
    Pins(&'static str),
    /// It reads what earlier statements left in the server's session: right only on a connection that is pinned, or inside the
    /// transaction of those statements. The state, for people.
    Needs(&'static str),
}

/// COPY between client and server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Copy {
    /// COPY ... FROM STDIN: CopyInResponse follows.
    From,
    /// COPY ... TO STDOUT: CopyOutResponse follows.
    To,
}

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effect {
    /// Its first keywords.
    pub verb: Verb,
    /// On the transaction.
    pub transaction: Option<Transaction>,
    /// On the session.
    pub session: Session,
    /// COPY with the client.
    pub copy: Option<Copy>,
    /// As far as words tell; the planner's is better where there is a plan.
    pub class: Class,
}

impl Effect {
    /// Of a statement.
    pub fn of(lexed: &Lexed) -> Effect {
        let mut first: [&[u8]; 4] = [b""; 4];
        for (place, word) in first.iter_mut().zip(lexed.words()) {
            *place = word;
        }
        let verb = Verb::of(first[0]);
        let transaction = transaction(verb, &first);
        Effect { verb, transaction, session: session(verb, &first, lexed), copy: copy(verb, lexed), class: class(verb, lexed) }
    }

    /// Whether the statement reads or changes tables and so has to be planned when there are sharding rules. The others are the
    /// session's own affair (SET, BEGIN, SHOW, LISTEN, FETCH ...): they go to the session's connection, or home.
    pub fn needs_plan(&self) -> bool {
        self.verb.needs_plan() && self.transaction.is_none()
    }

    /// Whether the same connection has to serve the client's later statements, and why.
    pub fn pins(&self) -> Option<&'static str> {
        if let Session::Pins(why) = self.session { Some(why) } else { None }
    }
}

fn transaction(verb: Verb, first: &[&[u8]; 4]) -> Option<Transaction> {
    let prepared = first[1] == b"prepared";
    match verb {
        Verb::Begin => Some(Transaction::Begin),
        Verb::Start if first[1] == b"transaction" => Some(Transaction::Begin),
        Verb::Commit if prepared => Some(Transaction::CommitPrepared),
        Verb::Commit | Verb::End => Some(Transaction::Commit),
        Verb::Rollback if prepared => Some(Transaction::RollbackPrepared),
        Verb::Rollback if first[1..].contains(&&b"to"[..]) => Some(Transaction::RollbackTo),
        Verb::Rollback | Verb::Abort => Some(Transaction::Rollback),
        Verb::Savepoint => Some(Transaction::Savepoint),
        Verb::Release => Some(Transaction::Release),
        Verb::Prepare if first[1] == b"transaction" => Some(Transaction::Prepare),
        _ => None,
    }
}

fn session(verb: Verb, first: &[&[u8]; 4], lexed: &Lexed) -> Session {
    match verb {
        Verb::Set => {
            let local = matches!(first[1], b"local" | b"transaction" | b"constraints");
            if first[1] == b"session" && first[2] == b"characteristics" {
                Session::Pins("SET SESSION CHARACTERISTICS")
            } else {
                Session::Set { local }
            }
        }
        Verb::Reset => Session::Reset,
        Verb::Discard => Session::Discard,
        Verb::Deallocate => Session::Deallocate,
        Verb::Unlisten => Session::Unlisten,
        Verb::Listen => Session::Pins("LISTEN"),
        Verb::Prepare if first[1] != b"transaction" => Session::Pins("PREPARE"),
        Verb::Load => Session::Pins("LOAD"),
        Verb::Declare if lexed.words().any(|word| word == b"hold") => Session::Pins("a cursor WITH HOLD"),
        Verb::Create if first[1..].iter().any(|word| matches!(*word, b"temp" | b"temporary")) => Session::Pins("a temporary object"),
        Verb::Do | Verb::Call => Session::Pins("a procedure, which may do anything to the session"),
        _ if harmless_settings(lexed.normalised()) => lexed.words().filter(|word| *word != b"set_config").find_map(called).unwrap_or(Session::None),
        _ => lexed.words().find_map(called).unwrap_or(Session::None),
    }
}

/// Whether every `set_config` sets `jit`, which changes the speed of statements and nothing else. asyncpg does it around each look-up of a
/// type, and would be pinned for good.
fn harmless_settings(normalised: &[u8]) -> bool {
    let count = |part: &[u8]| normalised.windows(part.len()).filter(|window| *window == part).count();
    let calls = count(b"set_config");
    calls > 0 && calls == count(b"set_config('jit',")
}

/// Functions and clauses that leave session state behind, wherever they stand.
fn called(word: &[u8]) -> Option<Session> {
    Some(Session::Pins(match word {
        b"pg_advisory_lock" | b"pg_advisory_lock_shared" | b"pg_try_advisory_lock" | b"pg_try_advisory_lock_shared" => "an advisory lock",
        b"set_config" => "set_config()",
        b"setseed" => "setseed()",
        b"currval" | b"lastval" => return Some(Session::Needs("a sequence's value in this session")),
        b"temp" | b"temporary" | b"pg_temp" => "a temporary object",
        b"dblink_connect" | b"dblink_connect_u" => "a dblink connection",
        b"lo_open" | b"lo_creat" | b"lo_create" => "a large object's descriptor",
        _ => return None,
    }))
}

fn copy(verb: Verb, lexed: &Lexed) -> Option<Copy> {
    if verb != Verb::Copy {
        return None;
    }
    lexed.words().find_map(|word| match word {
        b"stdin" => Some(Copy::From),
        b"stdout" => Some(Copy::To),
        _ => None,
    })
}

fn class(verb: Verb, lexed: &Lexed) -> Class {
    let writes = |word: &[u8]| matches!(word, b"insert" | b"update" | b"delete" | b"merge" | b"nextval" | b"setval" | b"into" | b"share");
    match verb.class() {
        Class::Read if verb == Verb::Copy => copy_class(lexed),
        Class::Read if lexed.words().any(writes) => Class::Write,
        class => class,
    }
}

fn copy_class(lexed: &Lexed) -> Class {
    if lexed.words().any(|word| word == b"from") && !lexed.words().any(|word| word == b"select") { Class::Write } else { Class::Read }
}

#[cfg(test)]
mod tests;
