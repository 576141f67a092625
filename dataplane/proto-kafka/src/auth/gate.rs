//! What is taken of a client before, and while, it proves who it is.

use super::conf::{Auth, SaslServer};
use super::exchange::{Exchange, Proof, Step};
use super::login::Login;
use crate::codec;
use crate::edit::Mark;
use crate::filtered::Request;
use crate::frame::{API_VERSIONS, RequestHead, SASL_AUTHENTICATE, SASL_HANDSHAKE};
use crate::requests::{Began, pending};
use crate::session::{Link, Pending, Session};
use crate::shared::Shared;
use crate::tables::interest;
use std::sync::Arc;
use wire::{Fault, Io, MILLIS, Nanos, SECONDS};

const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
/// SASL on a connection that has no use for it, or no more.
const ILLEGAL_SASL_STATE: i16 = 34;
const SASL_AUTHENTICATION_FAILED: i16 = 58;

/// The authentication of a client whose SASL does not pass through.
#[derive(Default)]
pub struct SessionAuth {
    /// Requests are taken.
    pub is_open: bool,
    /// What its requests have to be looked at for, from this time on: see `Session::gate`.
    pub due: Nanos,
    /// When it has to prove again who it is.
    pub until: Nanos,
    /// When we have to prove to the broker again who we are.
    pub renew_at: Nanos,
    /// The client's exchange.
    pub exchange: Option<Exchange>,
    /// Ours with the broker.
    pub login: Option<Login>,
    /// The client's last answer, which waits for ours: its request, its body and the lifetime in it.
    pub held: Option<(Pending, Proven)>,
    /// Why the broker does not take us.
    pub refusal: Option<String>,
}

/// A client's proof, as its answer tells it.
pub struct Proven {
    last: Vec<u8>,
    lifetime: Option<Nanos>,
}

impl SessionAuth {
    /// A client that has nothing to prove, or has proven it by its certificate.
    pub fn open() -> SessionAuth {
        let mut auth = SessionAuth { is_open: true, until: Nanos::MAX, renew_at: Nanos::MAX, ..SessionAuth::default() };
        auth.plan();
        auth
    }

    /// One that has to prove who it is.
    pub fn closed() -> SessionAuth {
        SessionAuth { until: Nanos::MAX, renew_at: Nanos::MAX, ..SessionAuth::default() }
    }

    /// When the next request has to be looked at.
    pub fn plan(&mut self) {
        let is_free = self.is_open && self.refusal.is_none();
        self.due = if is_free { self.until.min(self.renew_at) } else { 0 };
    }
}

impl Session {
    /// Looks at a request that comes when something is due. `None`: it goes on.
    pub(crate) fn gate(&mut self, io: &mut dyn Io, shared: &mut Shared, head: &RequestHead, bytes: &[u8]) -> Result<Option<Began>, Fault> {
        let Some(auth) = &self.auth else { return Ok(None) };
        if let Some(reason) = &auth.refusal {
            let reason = reason.clone();
            return self.refuse_all(io, shared, head, bytes, reason).map(Some);
        }
        match head.key {
            SASL_HANDSHAKE | SASL_AUTHENTICATE => Ok(None),
            API_VERSIONS if !auth.is_open => self.versions_early(io, shared, head, bytes),
            key if !auth.is_open => {
                let what = format!("API {key} comes before the client has proven who it is; ApiVersions, SaslHandshake and SaslAuthenticate may");
                Err(self.fault(shared, "unauthenticated", Fault::client("Kafka request", what)))
            }
            _ if auth.until <= io.now() => {
                let what = "the client's session is over, and it has not authenticated again";
                Err(self.fault(shared, "session_expired", Fault::client("Kafka request", what)))
            }
            _ => Ok(self.renew(io, shared)),
        }
    }

    /// The broker does not take us, and there is no SASL in which the client could be told: its next request gets the error, and is the last.
    fn refuse_all(&mut self, io: &mut dyn Io, shared: &mut Shared, head: &RequestHead, bytes: &[u8], reason: String) -> Result<Began, Fault> {
        let body = head.shape().and_then(|(api, shape)| Some((api, shape.error_body(SASL_AUTHENTICATION_FAILED)?)));
        let fault = Fault::server("Kafka login", reason);
        let Some((api, body)) = body else { return Err(fault) };
        let pending = pending(head, Some(api), io.now());
        self.answer(io, shared, pending, &body);
        self.leave(io);
        let there = head.frame().min(bytes.len() as u64);
        io.skip(self.client, head.frame() - there);
        Ok(Began::Took(there as usize))
    }

    /// Nothing more is read; the connection closes when what is owed has been sent.
    fn leave(&mut self, io: &mut dyn Io) {
        self.is_leaving = true;
        self.is_waiting = true;
        self.repause(io);
    }

    /// A SaslHandshake or SaslAuthenticate request that is for us; `body` and its marks are whole.
    pub(crate) fn sasl_here(
        &mut self,
        io: &mut dyn Io,
        shared: &mut Shared,
        request: &Request<'_>,
        body: &[u8],
        marks: &[Mark],
    ) -> Result<Began, Fault> {
        shared.meters(&self.listener.name).request(request.api.key, request.api.name);
        let pending = pending(request.head, Some(request.api), io.now());
        let server = match &self.listener.auth {
            Auth::Sasl(server) => Some(Arc::clone(server)),
            _ => None,
        };
        if request.api.key == SASL_HANDSHAKE {
            let mechanism = marks.iter().find(|mark| mark.is(interest::MECHANISM)).map_or(&[][..], |mark| mark.text(body));
            self.handshake(io, shared, pending, server.as_deref(), mechanism)?;
        } else {
            let token = marks.iter().find(|mark| mark.is(interest::AUTH_BYTES)).map_or(&[][..], |mark| token(mark, body));
            self.authenticate(io, shared, pending, server.as_deref(), token)?;
        }
        Ok(Began::Took(request.head.frame() as usize))
    }

    fn handshake(&mut self, io: &mut dyn Io, shared: &mut Shared, pending: Pending, server: Option<&SaslServer>, name: &[u8]) -> Result<(), Fault> {
        let mechanism = server.and_then(|server| server.mechanism(name));
        let random = shared.entropy.draw();
        let Some(auth) = self.auth.as_deref_mut() else { return Ok(()) };
        if auth.exchange.is_some() {
            return Err(self.fault(shared, "client_protocol", Fault::client("Kafka request", "SaslHandshake comes within another exchange")));
        }
        let error = match mechanism {
            Some(mechanism) => {
                auth.exchange = Some(Exchange::begin(mechanism, random));
                0
            }
            None if server.is_some() => UNSUPPORTED_SASL_MECHANISM,
            None => ILLEGAL_SASL_STATE,
        };
        let names = server.map_or(&[][..], |server| &server.mechanisms);
        let mut body = error.to_be_bytes().to_vec();
        body.extend(codec::count(false, names.len() as u32));
        names.iter().for_each(|mechanism| body.extend(codec::string(false, mechanism.name().as_bytes())));
        self.answer(io, shared, pending, &body);
        if error == UNSUPPORTED_SASL_MECHANISM {
            shared.meters(&self.listener.name).error("sasl_mechanism");
            self.leave(io);
        }
        Ok(())
    }

    fn authenticate(
        &mut self,
        io: &mut dyn Io,
        shared: &mut Shared,
        pending: Pending,
        server: Option<&SaslServer>,
        token: &[u8],
    ) -> Result<(), Fault> {
        let now = io.unix_time();
        let Some(auth) = self.auth.as_deref_mut() else { return Ok(()) };
        let step = match (server, &mut auth.exchange) {
            (Some(server), Some(exchange)) => exchange.token(server, token, now),
            _ if auth.is_open => {
                let body = outcome(&pending, ILLEGAL_SASL_STATE, "SaslAuthenticate comes without a SaslHandshake", b"", None);
                self.answer(io, shared, pending, &body);
                return Ok(());
            }
            _ => return Err(self.fault(shared, "client_protocol", Fault::client("Kafka request", "SaslAuthenticate comes without a SaslHandshake"))),
        };
        match step {
            Step::Ask(token) => {
                let body = outcome(&pending, 0, "", &token, None);
                self.answer(io, shared, pending, &body);
            }
            Step::Failed(reason) => self.refuse_client(io, shared, pending, &reason),
            Step::Done(proof) => self.proven(io, shared, pending, server.and_then(|server| server.lifetime), proof),
        }
        Ok(())
    }

    fn refuse_client(&mut self, io: &mut dyn Io, shared: &mut Shared, pending: Pending, reason: &str) {
        shared.meters(&self.listener.name).error("authentication_failed");
        let body = outcome(&pending, SASL_AUTHENTICATION_FAILED, reason, b"", None);
        self.answer(io, shared, pending, &body);
        self.leave(io);
    }

    fn proven(&mut self, io: &mut dyn Io, shared: &mut Shared, pending: Pending, lifetime: Option<Nanos>, proof: Proof) {
        let now = io.now();
        // A token that is in its last leeway has expired: it is good for one second more, since 0 would mean for ever.
        let left = proof.expires.map(|expires| expires.saturating_sub(io.unix_time()).max(1).saturating_mul(SECONDS));
        let lifetime = [lifetime, left].into_iter().flatten().min();
        let identity: Arc<str> = format!("user:{}", proof.user).into();
        let Some(auth) = self.auth.as_deref_mut() else { return };
        auth.exchange = None;
        if auth.is_open && self.identity != identity {
            return self.refuse_client(io, shared, pending, "Authentication failed: a connection cannot change its user");
        }
        auth.until = lifetime.map_or(Nanos::MAX, |lifetime| now.saturating_add(lifetime));
        auth.plan();
        let proven = Proven { last: proof.last, lifetime };
        if auth.is_open {
            return self.welcome(io, shared, pending, &proven);
        }
        self.identity = identity;
        self.cache.clear();
        match self.listener.backend.credential(&self.identity) {
            None => self.welcome(io, shared, pending, &proven),
            Some(who) => {
                auth.held = Some((pending, proven));
                if self.link == Link::Up {
                    self.log_in(io, shared, who);
                }
            }
        }
        self.want_server(io);
    }

    /// Answers a client that has proven who it is.
    pub(crate) fn welcome(&mut self, io: &mut dyn Io, shared: &mut Shared, pending: Pending, proven: &Proven) {
        if let Some(auth) = self.auth.as_deref_mut() {
            auth.is_open = true;
            auth.plan();
        }
        let body = outcome(&pending, 0, "", &proven.last, proven.lifetime);
        self.answer(io, shared, pending, &body);
    }

    /// Tells a client whose own proof was good that the broker does not take us.
    pub(crate) fn unwelcome(&mut self, io: &mut dyn Io, shared: &mut Shared, pending: Pending, reason: &str) {
        let body = outcome(&pending, SASL_AUTHENTICATION_FAILED, reason, b"", None);
        self.answer(io, shared, pending, &body);
        self.leave(io);
    }
}

/// The bytes in a SaslAuthenticate request.
fn token<'a>(mark: &Mark, body: &'a [u8]) -> &'a [u8] {
    if mark.compact { mark.text(body) } else { mark.bytes(body).get(4..).unwrap_or_default() }
}

/// A SaslAuthenticate response: error, message, token, and from version 1 on the session's lifetime in milliseconds.
fn outcome(pending: &Pending, error: i16, message: &str, token: &[u8], lifetime: Option<Nanos>) -> Vec<u8> {
    let compact = pending.api.is_some_and(|api| api.is_flexible(pending.version));
    let mut body = error.to_be_bytes().to_vec();
    match (message.is_empty(), compact) {
        (true, true) => body.push(0),
        (true, false) => body.extend((-1i16).to_be_bytes()),
        (false, _) => body.extend(codec::string(compact, message.as_bytes())),
    }
    body.extend(codec::count(compact, token.len() as u32));
    body.extend_from_slice(token);
    if pending.version >= 1 {
        body.extend(lifetime.map_or(0, |lifetime| lifetime / MILLIS).to_be_bytes());
    }
    if compact {
        body.push(0);
    }
    body
}
