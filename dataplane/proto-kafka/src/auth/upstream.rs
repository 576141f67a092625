//! Our own login on a client's connection to its broker. Its requests have their places in the ring, among the client's.

use super::conf::Credential;
use super::login::{Login, Next};
use crate::frame::{OWN_CORRELATION, SASL_AUTHENTICATE, SASL_HANDSHAKE};
use crate::requests::Began;
use crate::session::{Pending, Session};
use crate::shared::Shared;
use std::sync::Arc;
use wire::{Io, Nanos};

impl Session {
    /// The broker is reached: who has proven who it is, or need not, waits for our login alone.
    pub(crate) fn server_up(&mut self, io: &mut dyn Io, shared: &mut Shared) {
        let is_known = self.auth.as_ref().is_some_and(|auth| auth.is_open || auth.held.is_some());
        match self.listener.backend.credential(&self.identity).filter(|_| is_known) {
            Some(who) => self.log_in(io, shared, who),
            None => self.resume(io),
        }
    }

    /// Logs in to the broker; the client waits meanwhile. Nothing of the client's may be half on its way.
    pub(crate) fn log_in(&mut self, io: &mut dyn Io, shared: &mut Shared, who: Arc<Credential>) {
        let (login, frame) = Login::begin(who, shared.entropy.draw());
        if let Some(auth) = self.auth.as_deref_mut() {
            auth.login = Some(login);
        }
        self.is_waiting = true;
        self.repause(io);
        self.send_own(io, SASL_HANDSHAKE, &frame);
    }

    /// Our session with the broker is about to end, and a request has come: we log in again, and it waits.
    pub(crate) fn renew(&mut self, io: &mut dyn Io, shared: &mut Shared) -> Option<Began> {
        let auth = self.auth.as_deref_mut().filter(|auth| auth.renew_at <= io.now() && auth.login.is_none())?;
        auth.renew_at = Nanos::MAX;
        auth.plan();
        let who = self.listener.backend.credential(&self.identity)?;
        self.log_in(io, shared, who);
        Some(Began::Parked)
    }

    fn send_own(&mut self, io: &mut dyn Io, key: i16, frame: &[u8]) {
        io.out(self.server).extend_from_slice(frame);
        let api = crate::table::api(key);
        let pending = Pending { api, version: 1, correlation: OWN_CORRELATION, is_own: true, ..Pending::new(io.now()) };
        self.expect(io, pending);
    }

    /// The broker's answer to a request of ours, behind size and correlation id.
    pub(crate) fn own_answer(&mut self, io: &mut dyn Io, shared: &mut Shared, body: &[u8]) {
        self.ring.pop_front();
        let Some(auth) = self.auth.as_deref_mut() else { return };
        let Some(login) = &mut auth.login else { return };
        match login.answer(body) {
            Ok(Next::Send(frame)) => return self.send_own(io, SASL_AUTHENTICATE, &frame),
            Ok(Next::Done(lifetime)) => {
                auth.login = None;
                // As Kafka's clients do: between 85 % and 95 % of the session, so that not all come at once.
                let part = |lifetime: Nanos, random: u64| lifetime / 100 * (85 + random % 10);
                auth.renew_at = lifetime.map_or(Nanos::MAX, |lifetime| io.now().saturating_add(part(lifetime, io.random())));
                auth.plan();
                let held = auth.held.take();
                if let Some((pending, proven)) = held {
                    self.welcome(io, shared, pending, &proven);
                }
                self.resume(io);
            }
            Err(reason) => self.login_failed(io, shared, reason),
        }
        self.send_local(io, shared);
    }

    /// The broker does not take us: the client is told when, and as, its protocol allows.
    pub(crate) fn login_failed(&mut self, io: &mut dyn Io, shared: &mut Shared, reason: String) {
        shared.backend(&self.listener.backend.name).error("authentication");
        let Some(auth) = self.auth.as_deref_mut() else { return };
        auth.login = None;
        if let Some((pending, _)) = auth.held.take() {
            return self.unwelcome(io, shared, pending, &reason);
        }
        auth.refusal = Some(reason);
        auth.plan();
        self.resume(io);
    }

    /// The broker's connection is gone. Returns whether that was in the middle of a login which a client waits to hear of.
    pub(crate) fn login_broke(&mut self, io: &mut dyn Io, shared: &mut Shared) {
        let is_held = self.auth.as_ref().is_some_and(|auth| auth.login.is_some() && auth.held.is_some());
        if is_held {
            self.ring.clear();
            let reason = "the broker closed the connection while Midstream logged in to it with its own credentials, which are not the client's";
            self.login_failed(io, shared, reason.into());
        }
    }
}
