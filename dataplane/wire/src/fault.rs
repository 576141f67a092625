//! Errors that end a connection: whose fault, where, and what it was.

use std::borrow::Cow;
use std::fmt;

/// Whose fault an error is. Decides which counter rises and whom the message addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// The application's connection broke its protocol.
    Client,
    /// The back end broke its protocol, or is not what it was configured as.
    Server,
    /// Midstream could not do what it should.
    Ours,
}

/// An error on one connection that cannot go on.
///
/// Before a protocol returns it from `data`, it has written what the peer is to be told, in the peer's own protocol, to `io.out(key)`;
/// the engine sends that, closes the connection, and reports `Event::Closed(Why::Fault)`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Whose fault it is.
    pub whose: Whose,
    /// Where: the message or field that was being read ("Startup packet", "RESP bulk length").
    pub place: &'static str,
    /// What was wrong, for the log; never holds secrets or row data.
    pub what: Cow<'static, str>,
}

impl Fault {
    /// The client broke its protocol.
    pub fn client(place: &'static str, what: impl Into<Cow<'static, str>>) -> Fault {
        Fault { whose: Whose::Client, place, what: what.into() }
    }

    /// The server broke its protocol.
    pub fn server(place: &'static str, what: impl Into<Cow<'static, str>>) -> Fault {
        Fault { whose: Whose::Server, place, what: what.into() }
    }

    /// A defect or a limit of ours.
    pub fn ours(place: &'static str, what: impl Into<Cow<'static, str>>) -> Fault {
        Fault { whose: Whose::Ours, place, what: what.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.whose {
            Whose::Client => "client",
            Whose::Server => "server",
            Whose::Ours => "midstream",
        };
        write!(f, "{whose} fault in {}: {}", self.place, self.what)
    }
}

impl std::error::Error for Fault {}
