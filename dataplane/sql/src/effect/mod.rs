//! What a statement does to its session and transaction, told by its words alone; pooling depends on it.
//!
//! Told conservatively: a word that might change the state of the session counts as if it did, and the server is asked when the
//! transaction ends. A connection given back with foreign state would cost somebody wrong answers.

mod calls;
pub mod glance;
pub mod state;
mod verb;

pub use state::State;
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
    /// What of the session it may change.
    pub touches: State,
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
        Effect { verb, transaction, touches: state::touches(verb, &first, lexed), copy: copy(verb, lexed), class: class(verb, lexed) }
    }

    /// Whether the statement reads or changes tables and so has to be planned when there are sharding rules. The others are the
    /// session's own affair (SET, BEGIN, SHOW, LISTEN, FETCH ...): they go to the session's connection, or home.
    pub fn needs_plan(&self) -> bool {
        self.verb.needs_plan() && self.transaction.is_none()
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
