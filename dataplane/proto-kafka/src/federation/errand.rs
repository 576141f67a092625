//! A client's request that several clusters answer: the client waits, its connection's own cluster is asked on its connection, the others
//! beside it.
//!
//! ```text
//! request --split--> parts --own broker, sides--> answers, or failures --merge--> response
//! ```
//! One errand is under way per session: nothing more is read of the client meanwhile, so order is kept by itself.

use super::merge::{Answer, absent, merge};
use super::side::Side;
use super::{Part, split, support};
use crate::conf::Listener;
use crate::filtered::Request;
use crate::frame;
use crate::requests::Began;
use crate::session::{Pending, Session};
use crate::shared::Shared;
use crate::table::{Api, Shape};
use crate::walk::Malformed;
use std::sync::Arc;
use wire::{Fault, Io, Key};

/// What a session has under way in other clusters, and with whom.
#[derive(Default)]
pub struct Errands {
    current: Option<Errand>,
    /// Connections to other clusters, one for each that was ever asked.
    pub(super) sides: Vec<Side>,
    /// Connections that the worker does not know yet, and their clusters.
    pub fresh: Vec<(Key, usize)>,
    /// Connections that are no more.
    pub gone: Vec<Key>,
    /// Nothing can be said in a cluster's place, so that the client's connection has to end.
    pub is_broken: bool,
}

/// One request.
pub struct Errand {
    pending: Pending,
    api: &'static Api,
    shape: &'static Shape,
    parts: Vec<Open>,
}

/// What one cluster is asked.
struct Open {
    ordinal: usize,
    request: Vec<u8>,
    answer: Outcome,
}

enum Outcome {
    Awaited,
    /// The response's frame.
    Came(Vec<u8>),
    /// Why there is none.
    Failed(String),
}

impl Errands {
    /// Whether a request is under way.
    pub fn is_busy(&self) -> bool {
        self.current.is_some()
    }
}

impl Session {
    /// What each cluster is to be asked; `None` where the request is this one's alone.
    pub(crate) fn parts(&self, shared: &mut Shared, request: &Request<'_>, body: &[u8]) -> Result<Option<Vec<Part>>, Fault> {
        let Some(member) = self.listener.member.as_ref().filter(|_| support::is_split(request.api.key)) else { return Ok(None) };
        split(member, request.api, request.head.version, body).map_err(|error| self.broken_request(shared, Some(request.api), error))
    }

    /// Asks the clusters; the client's request is consumed. `front` is the head of its frame.
    pub(crate) fn begin_errand(
        &mut self,
        io: &mut dyn Io,
        shared: &mut Shared,
        request: &Request<'_>,
        front: &[u8],
        parts: Vec<Part>,
        pending: Pending,
    ) -> Began {
        shared.meters(&self.listener.name).request(request.api.key, request.api.name);
        let own = self.listener.member.as_ref().map_or(0, |member| member.ordinal);
        let mut open = Vec::with_capacity(parts.len());
        let mut frames = Vec::with_capacity(parts.len());
        for Part { ordinal, body } in parts {
            let mut frame = front.to_vec();
            let size = u32::try_from(front.len() - 4 + body.len()).unwrap_or(u32::MAX);
            frame[..4].copy_from_slice(&size.to_be_bytes());
            frame.extend_from_slice(&body);
            frames.push((ordinal, frame));
            open.push(Open { ordinal, request: body, answer: Outcome::Awaited });
        }
        let (version, correlation) = (pending.version, pending.correlation);
        let errands = self.errands.get_or_insert_default();
        errands.current = Some(Errand { pending, api: request.api, shape: request.shape, parts: open });
        self.is_waiting = true;
        self.repause(io);
        for (ordinal, frame) in frames {
            if ordinal == own {
                io.out(self.server).extend_from_slice(&frame);
                let part = Pending { api: Some(request.api), version, correlation, is_part: true, ..Pending::new(io.now()) };
                self.expect(io, part);
            } else {
                self.ask_beside(io, shared, ordinal, frame);
            }
        }
        self.finish_errand(io, shared);
        Began::Took(request.head.frame() as usize)
    }

    /// The response of the client's own broker.
    pub(crate) fn own_part(&mut self, io: &mut dyn Io, shared: &mut Shared, frame: &[u8]) {
        self.ring.pop_front();
        let own = self.listener.member.as_ref().map_or(0, |member| member.ordinal);
        self.part_came(own, frame);
        self.finish_errand(io, shared);
    }

    pub(super) fn part_came(&mut self, ordinal: usize, frame: &[u8]) {
        self.settle_part(ordinal, || Outcome::Came(frame.to_vec()));
    }

    pub(super) fn part_failed(&mut self, ordinal: usize, why: &str) {
        self.settle_part(ordinal, || Outcome::Failed(why.to_string()));
    }

    fn settle_part(&mut self, ordinal: usize, outcome: impl FnOnce() -> Outcome) {
        let parts = self.errands.as_mut().and_then(|errands| errands.current.as_mut()).map(|errand| &mut errand.parts);
        let awaited = |part: &&mut Open| part.ordinal == ordinal && matches!(part.answer, Outcome::Awaited);
        if let Some(part) = parts.and_then(|parts| parts.iter_mut().find(awaited)) {
            part.answer = outcome();
        }
    }

    /// Answers the client when every cluster has answered or failed.
    pub(crate) fn finish_errand(&mut self, io: &mut dyn Io, shared: &mut Shared) {
        let Some(errands) = &mut self.errands else { return };
        let is_over = |errand: &mut Errand| errand.parts.iter().all(|part| !matches!(part.answer, Outcome::Awaited));
        let Some(errand) = errands.current.take_if(is_over) else { return };
        match self.merged(io, shared, &errand) {
            Ok(body) => {
                self.answer(io, shared, errand.pending, &body);
                self.resume(io);
            }
            Err(_) => {
                shared.meters(&self.listener.name).error("cluster_unavailable");
                if let Some(errands) = &mut self.errands {
                    errands.is_broken = true;
                }
            }
        }
    }

    fn merged(&mut self, io: &mut dyn Io, shared: &mut Shared, errand: &Errand) -> Result<Vec<u8>, String> {
        let (api, version) = (errand.api, errand.pending.version);
        let broken = |error: Malformed| format!("the response to {} {error}", api.name);
        let (mut answers, mut absentees) = (Vec::new(), Vec::new());
        for part in &errand.parts {
            let listener = self.listener_of(shared, part.ordinal).ok_or("the listener leads elsewhere now")?;
            let Some(member) = listener.member.clone() else { continue };
            match &part.answer {
                Outcome::Came(frame) => {
                    let body = self.part_body(io, shared, &listener, errand, frame).map_err(broken)?;
                    answers.push(Answer { member, body });
                }
                Outcome::Failed(why) => {
                    shared.backend(&listener.backend.name).error("unavailable");
                    let message = format!("KafkaCluster/{} is not available: {why}", listener.backend.name);
                    match absent(api, version, &part.request, &message) {
                        Some(body) => absentees.push(Answer { member, body }),
                        // The others' brokers are known all the same.
                        None if api.key == support::DESCRIBE_CLUSTER => {}
                        None => return Err(message),
                    }
                }
                Outcome::Awaited => {}
            }
        }
        if api.key == support::METADATA && answers.is_empty() {
            return Err("no cluster of the federation is available".into());
        }
        answers.append(&mut absentees);
        merge(api, errand.shape, &answers).map_err(broken)
    }

    /// One cluster's response as the client is to see it.
    fn part_body(
        &mut self,
        io: &mut dyn Io,
        shared: &mut Shared,
        listener: &Arc<Listener>,
        errand: &Errand,
        frame: &[u8],
    ) -> Result<Vec<u8>, Malformed> {
        let (api, pending) = (errand.api, &errand.pending);
        let has_tags = frame::response_has_tags(api, pending.version);
        let tags = if has_tags { frame::tags(frame.get(8..).unwrap_or_default())?.ok_or(Malformed("is shorter than its header"))? } else { 0 };
        let body = frame.get(8 + tags..).ok_or(Malformed("is shorter than its header"))?;
        self.edited_body(io, shared, listener, api.key, pending.version, errand.shape, body, pending.masks.as_deref())
    }

    /// This session's listener where it leads to another cluster.
    pub(super) fn listener_of(&self, shared: &Shared, ordinal: usize) -> Option<Arc<Listener>> {
        shared.conf.listeners.get(&*self.listener.name)?.on(ordinal)
    }
}

impl Listener {
    /// The listener as it leads to a client's cluster, and the broker there: by the name that it asked for, or the port that it came to.
    pub fn placed(self: Arc<Self>, name: Option<&str>, facet: u32) -> (Arc<Listener>, Option<i32>) {
        let named = name.and_then(|name| self.places.node_of(name));
        let node = named.or_else(|| facet.checked_sub(1).and_then(|node| i32::try_from(node).ok()));
        let Some((node, member)) = node.zip(self.member.as_ref()) else { return (self, node) };
        let (ordinal, node) = member.federation.place(node);
        (self.on(ordinal).unwrap_or(self), Some(node))
    }

    /// Whether clusters and brokers are told as an older state of it tells them.
    pub fn is_placed_like(&self, old: &Listener) -> bool {
        let placed = |listener: &Listener| {
            let federation = listener.member.as_ref().map(|member| &member.federation)?;
            Some((federation.clusters.clone(), federation.first_nodes.clone()))
        };
        placed(self) == placed(old)
    }

    /// The listener where it leads to one cluster of its federation; to its only one, where there is no federation.
    pub fn on(self: &Arc<Self>, ordinal: usize) -> Option<Arc<Listener>> {
        let leads_there = |listener: &&Arc<Listener>| listener.member.as_ref().map_or(0, |member| member.ordinal) == ordinal;
        std::iter::once(self).chain(&self.others).find(leads_there).cloned()
    }
}
