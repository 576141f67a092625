//! Errors in the client's own protocol: a SQLSTATE and sentences that say whose fault it is, where, and what to do.

use crate::message::{c_string, field, frame};
use wire::{Denial, DenialKind};

/// What becomes an `ErrorResponse`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// `FATAL` ends the connection, `ERROR` the statement.
    pub is_fatal: bool,
    /// SQLSTATE.
    pub code: String,
    /// The sentence.
    pub message: String,
    /// More; may be empty.
    pub detail: String,
    /// What to do; may be empty.
    pub hint: String,
    /// The server's routine that says so, where drivers look at it; otherwise empty.
    pub routine: &'static str,
}

impl Error {
    /// Ends the statement.
    pub fn statement(code: &str, message: impl Into<String>) -> Error {
        Error { is_fatal: false, code: code.into(), message: message.into(), detail: String::new(), hint: String::new(), routine: "" }
    }

    /// Ends the connection.
    pub fn fatal(code: &str, message: impl Into<String>) -> Error {
        Error { is_fatal: true, ..Error::statement(code, message) }
    }

    /// With advice.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = hint.into();
        self
    }

    /// With more on the reason.
    pub fn detail(mut self, detail: impl Into<String>) -> Error {
        self.detail = detail.into();
        self
    }

    /// What a server said, from the body of its ErrorResponse.
    pub fn of_server(body: &[u8]) -> Error {
        let text = |kind| field(body, kind).map_or(String::new(), |text| String::from_utf8_lossy(text).into_owned());
        Error::statement(&text(b'C'), text(b'M')).detail(text(b'D')).hint(text(b'H'))
    }

    /// `08P01`: the client broke the protocol.
    pub fn protocol(message: impl Into<String>) -> Error {
        Error::fatal("08P01", message)
    }

    /// A filter's no.
    pub fn denied(denial: &Denial) -> Error {
        let code = match denial.kind {
            DenialKind::Unauthorized => "42501",
            DenialKind::RateLimited => "53400",
            DenialKind::Injected => "58000",
        };
        Error::statement(code, denial.message.clone()).detail(format!("Decided by {} in Midstream, not by the database.", denial.rule))
    }

    /// Appends the `ErrorResponse`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let severity: &[u8] = if self.is_fatal { b"FATAL" } else { b"ERROR" };
        let fields = [(b'C', &self.code), (b'M', &self.message), (b'D', &self.detail), (b'H', &self.hint)];
        frame(out, b'E', |out| {
            for kind in [b'S', b'V'] {
                out.push(kind);
                c_string(out, severity);
            }
            for (kind, text) in fields.into_iter().filter(|(_, text)| !text.is_empty()) {
                out.push(kind);
                c_string(out, text.as_bytes());
            }
            if !self.routine.is_empty() {
                out.push(b'R');
                c_string(out, self.routine.as_bytes());
            }
            out.push(0);
        });
    }
}
