//! A no, in the words of the database's own error messages.

use config::proto::midstream::sql::v1 as proto;
use std::fmt;

/// Why a statement is not executed: becomes an ErrorResponse (or MySQL's ERR packet) to the client; the session goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Five characters: `0A000` (not provably right), `22003` (out of range), `54000` (over a budget) ...
    pub sqlstate: String,
    /// A sentence that names the rule and the reason.
    pub message: String,
    /// More on the reason; may be empty.
    pub detail: String,
    /// What to do about it; may be empty.
    pub hint: String,
}

impl Refusal {
    /// `0A000`: it is not provable that the answer would equal that of one database.
    pub fn unproven(message: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal::new("0A000", message, hint)
    }

    /// A refusal with a SQLSTATE of its own.
    pub fn new(sqlstate: &str, message: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal { sqlstate: sqlstate.into(), message: message.into(), detail: String::new(), hint: hint.into() }
    }
}

impl From<proto::Refuse> for Refusal {
    fn from(refuse: proto::Refuse) -> Refusal {
        let sqlstate = if refuse.sqlstate.len() == 5 { refuse.sqlstate } else { "0A000".into() };
        Refusal { sqlstate, message: refuse.message, detail: refuse.detail, hint: refuse.hint }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.sqlstate, self.message)
    }
}

impl std::error::Error for Refusal {}
