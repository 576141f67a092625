//! A client proves who it is: the exchange as a machine of its own.
//!
//! ```text
//! trust, certificate:  begin -> Done | Failed
//! password, md5:       begin -> Ask -> answer -> Done | Failed
//! SCRAM:               begin -> Ask -> answer -> Ask -> answer -> Done (with the final message) | Failed
//! ```
//! A user that does not exist takes the same steps and the same time as a wrong password, and gets the same message.

use super::scram::Binding;
use super::{Entropy, HASH, MECHANISM, MECHANISM_PLUS, md5, scram};
use crate::conf::Listener;
use crate::error::Error;
use crate::message::{c_string, frame};
use config::Secret;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use wire::{Cursor, Peer};

/// How a listener's clients prove who they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// They need not.
    Trust,
    /// Clear text, over TLS only.
    Password,
    /// MD5.
    Md5,
    /// SCRAM-SHA-256.
    Scram,
    /// A client certificate whose common name is the user.
    Certificate,
}

/// A user of a listener.
#[derive(Clone)]
pub struct User {
    /// For MD5 and clear text.
    pub password: Secret,
    /// For SCRAM; made when the configuration is compiled, so that a login costs the same whether the user exists or not.
    pub keys: Option<scram::Keys>,
}

/// What comes next.
pub enum Step {
    /// These bytes go to the client, which then answers.
    Ask(Vec<u8>),
    /// It is who it says; these bytes (none, or SCRAM's last word) go out before AuthenticationOk.
    Done(Vec<u8>),
    /// It is not; the error is for the client.
    Failed(Error),
}

enum State {
    Password,
    Md5([u8; 4]),
    ScramFirst,
    ScramFinal(scram::Challenge),
}

/// An exchange under way.
pub struct Check {
    state: State,
    user: String,
    known: Option<User>,
    mock: scram::Keys,
    random: [u8; 32],
    /// What a login can be bound to, see [`super::end_point`]; offered if there is something.
    end_point: Option<Arc<[u8]>>,
}

const MECHANISMS: &[u8] = b"SCRAM-SHA-256\0\0";
const MECHANISMS_OVER_TLS: &[u8] = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";

impl Check {
    /// Begins.
    pub fn begin(listener: &Listener, user: &str, peer: Option<&Peer>, entropy: &mut Entropy) -> (Option<Check>, Step) {
        let is_tls = peer.is_some_and(|peer| peer.tls);
        let known = listener.users.get(user);
        let end_point = listener.end_point.clone().filter(|_| is_tls);
        let state = match listener.method {
            Method::Trust => return (None, Step::Done(vec![])),
            Method::Certificate => return (None, certificate(user, peer)),
            Method::Password if !is_tls => return (None, Step::Failed(clear_text_without_tls())),
            Method::Password => State::Password,
            Method::Md5 => State::Md5(entropy.next_u32().to_be_bytes()),
            Method::Scram => State::ScramFirst,
        };
        let ask = match &state {
            State::Md5(salt) => request(5, salt),
            State::ScramFirst => request(10, if end_point.is_some() { MECHANISMS_OVER_TLS } else { MECHANISMS }),
            _ => request(3, b""),
        };
        let mock = scram::Keys::mock(HASH, listener.salts.derive(scram::SALT, user.as_bytes()), listener.salts.derive(b"stored", user.as_bytes()));
        (Some(Check { state, user: user.into(), known: known.cloned(), mock, random: entropy.draw(), end_point }), Step::Ask(ask))
    }

    /// The body of a `p` message came.
    pub fn answer(&mut self, body: &[u8]) -> Step {
        match &self.state {
            State::Password => self.password(body),
            State::Md5(salt) => self.md5(*salt, body),
            State::ScramFirst => self.scram_first(body),
            State::ScramFinal(challenge) => self.scram_final(challenge, body),
        }
    }

    fn password(&self, body: &[u8]) -> Step {
        let given = body.strip_suffix(b"\0").unwrap_or(body);
        self.compare(|password| identity::same(password, given))
    }

    fn md5(&self, salt: [u8; 4], body: &[u8]) -> Step {
        let given = body.strip_suffix(b"\0").unwrap_or(body);
        self.compare(|password| given.ct_eq(md5::response(self.user.as_bytes(), password, salt).as_slice()).into())
    }

    /// An empty password lets nobody in, as in PostgreSQL; it is still compared, for the same time.
    fn compare(&self, is_right: impl FnOnce(&[u8]) -> bool) -> Step {
        let expected = self.known.as_ref().map_or(&b"?"[..], |user| user.password.expose());
        let right = is_right(expected);
        if right && self.known.is_some() && !expected.is_empty() { Step::Done(vec![]) } else { Step::Failed(failed(&self.user)) }
    }

    fn keys(&self) -> &scram::Keys {
        self.known.as_ref().and_then(|user| user.keys.as_ref()).unwrap_or(&self.mock)
    }

    fn scram_first(&mut self, body: &[u8]) -> Step {
        let mut cursor = Cursor::new(body);
        let Some((mechanism, first)) = sasl_initial(&mut cursor) else { return Step::Failed(malformed("its SASLInitialResponse is incomplete")) };
        let binding = match (mechanism, &self.end_point) {
            (PLAIN, None) => Binding::None,
            (PLAIN, Some(_)) => Binding::Offered,
            (PLUS, Some(data)) => Binding::Chosen(data),
            _ => return Step::Failed(malformed("it selected a SASL mechanism that was not offered")),
        };
        match scram::challenge(first, self.keys(), &self.random, binding) {
            Ok((challenge, server_first)) => {
                self.state = State::ScramFinal(challenge);
                Step::Ask(request(11, server_first.as_bytes()))
            }
            Err(failure) => self.scram_failed(&failure),
        }
    }

    fn scram_final(&self, challenge: &scram::Challenge, body: &[u8]) -> Step {
        match challenge.verify(body, self.keys()) {
            Ok(last) if self.known.as_ref().is_some_and(|user| user.keys.is_some()) => Step::Done(request(12, last.as_bytes())),
            Ok(_) => Step::Failed(failed(&self.user)),
            Err(failure) => self.scram_failed(&failure),
        }
    }

    fn scram_failed(&self, failure: &scram::Failure) -> Step {
        Step::Failed(match failure {
            scram::Failure::Malformed(what) => malformed(what),
            scram::Failure::Proof => failed(&self.user),
            scram::Failure::Binding => Error::fatal("28000", "SCRAM channel binding check failed")
                .detail("The client is bound to another certificate than the one that this listener shows: somebody may stand between."),
            scram::Failure::Downgrade => Error::fatal("28000", "SCRAM channel binding negotiation error")
                .detail("The client supports SCRAM channel binding but thinks the server does not. However, this server does support it."),
        })
    }
}

const PLAIN: &[u8] = MECHANISM.as_bytes();
const PLUS: &[u8] = MECHANISM_PLUS.as_bytes();

fn sasl_initial<'a>(cursor: &mut Cursor<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let mechanism = cursor.c_string().ok()?;
    let length = usize::try_from(cursor.i32().ok()?).ok()?;
    Some((mechanism, cursor.take(length).ok()?))
}

/// An `AuthenticationXXX` message.
pub fn request(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, b'R', |out| {
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(data);
    });
    out
}

fn certificate(user: &str, peer: Option<&Peer>) -> Step {
    match peer.and_then(|peer| peer.common_name.as_deref()) {
        Some(name) if name == user => Step::Done(vec![]),
        Some(name) => Step::Failed(
            Error::fatal("28000", format!("certificate authentication failed for user \"{user}\""))
                .detail(format!("The client certificate's common name is \"{name}\".")),
        ),
        None => Step::Failed(
            Error::fatal("28000", "connection requires a valid client certificate")
                .hint("Connect with TLS and a certificate whose common name is the user (sslcert, sslkey)."),
        ),
    }
}

fn clear_text_without_tls() -> Error {
    Error::fatal("28000", "this listener asks for a clear text password, which Midstream takes over TLS only").hint("Connect with sslmode=require.")
}

fn failed(user: &str) -> Error {
    Error::fatal("28P01", format!("password authentication failed for user \"{user}\""))
        .detail("Midstream checked the password against the users of its listener, not against the database.")
}

fn malformed(what: &str) -> Error {
    Error::protocol(format!("malformed SCRAM message: {what}"))
}

/// `PasswordMessage` and its kin.
pub fn password_message(out: &mut Vec<u8>, password: &[u8]) {
    frame(out, b'p', |out| c_string(out, password));
}
