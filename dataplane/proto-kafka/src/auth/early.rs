//! A client that has not proven who it is costs its broker nothing, as far as that can be: there is no connection before it is needed, what
//! versions a broker has is remembered, and there is a deadline.

use crate::frame::{self, RequestHead};
use crate::requests::{Began, pending};
use crate::session::{Link, Session};
use crate::shared::Shared;
use crate::versions;
use crate::walk::Malformed;
use wire::{Fault, Io};

/// The timer of a client that has yet to prove who it is.
pub(crate) const TIMER_LOGIN: u32 = 4;

impl Session {
    /// ApiVersions before the proof. `None`: it goes on to the broker.
    pub(crate) fn versions_early(&mut self, io: &mut dyn Io, shared: &mut Shared, head: &RequestHead, bytes: &[u8]) -> Result<Option<Began>, Fault> {
        let (Link::Idle, Some((api, _))) = (self.link, head.shape()) else { return Ok(None) };
        let listener = std::sync::Arc::clone(&self.listener);
        let place = self.place(shared);
        let known = place.and_then(|place| shared.directory(&self.listener.backend.name).versions(&place, head.version, io.now()));
        let Some(told) = known.and_then(|told| versions::clamp(head.version, told, &listener).ok()) else {
            self.want_server(io);
            return Ok(Some(Began::Parked));
        };
        let whole = head.frame();
        if whole > frame::MAX_HEADER as u64 {
            return Err(self.broken_request(shared, Some(api), Malformed("exceeds 40 KiB")));
        }
        if whole > bytes.len() as u64 {
            return Ok(Some(Began::Need(whole as usize)));
        }
        shared.meters(&self.listener.name).request(api.key, api.name);
        let pending = pending(head, Some(api), io.now());
        self.answer(io, shared, pending, &told);
        Ok(Some(Began::Took(whole as usize)))
    }

    /// The broker is needed from now on; the client waits until it is there.
    pub(crate) fn want_server(&mut self, io: &mut dyn Io) {
        if self.link == Link::Idle {
            self.link = Link::Wanted;
            self.is_waiting = true;
            self.repause(io);
        }
    }

    /// What the broker has told of its versions is remembered for those who have yet to prove who they are.
    pub(crate) fn note_versions(&self, io: &mut dyn Io, shared: &mut Shared, version: i16, body: &[u8]) {
        if let Some(place) = self.auth.as_ref().and_then(|_| self.place(shared)) {
            shared.directory(&self.listener.backend.name).note_versions(place, version, io.now(), body);
        }
    }

    /// Where its broker is, as far as that is known.
    pub(crate) fn place(&self, shared: &mut Shared) -> Option<(std::sync::Arc<str>, u16)> {
        let backend = &self.listener.backend;
        match self.node {
            None => backend.bootstrap.get(self.tried % backend.bootstrap.len().max(1)).cloned(),
            Some(node) => shared.directory(&backend.name).broker(node).cloned(),
        }
    }
}
