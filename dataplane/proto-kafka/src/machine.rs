//! The family on one worker: all its sessions, and its own questions to the clusters.

use crate::auth::{Auth, SessionAuth, TIMER_LOGIN};
use crate::conf::{KafkaConf, Listener};
use crate::directory;
use crate::federation::TIMER_SIDE;
use crate::filtered::TIMER_PARK;
use crate::frame::response_head;
use crate::quota::TIMER_MUTE;
use crate::session::{Link, Session};
use crate::shared::{Shared, TAG_ASK, TIMER_ASK};
use crate::stats::{Books, Shown, TIMER_STATS};
use identity::Entropy;
use std::sync::Arc;
use wire::{Close, Conf, Event, Fault, Io, Key, Nanos, Opened, Protocol, SECONDS, Side, Slab, Why, Worker};

/// The longest answer to our own question.
const MAX_ANSWER: u32 = 32 * 1024 * 1024;

/// How long a client that sends no more is kept for what it is owed. A Fetch may wait for weeks, and whether such a client is still there
/// nothing tells; brokers do not wait at all.
const LEAVE_TIMEOUT: Nanos = 5 * SECONDS;

/// The timer of a client that sends no more.
const TIMER_LEAVE: u32 = 3;

/// What a connection to a broker is for.
#[derive(Clone, Debug)]
pub(crate) enum Use {
    /// It belongs to this client.
    Client(Key),
    /// Our own question about this cluster, and its version.
    Ask(Arc<str>, i16),
    /// What another cluster of the federation is asked for this client.
    Side(Key, usize),
}

/// The protocol object.
pub struct Kafka {
    pub(crate) shared: Shared,
    pub(crate) sessions: Slab<Session>,
    pub(crate) servers: Slab<Use>,
    is_draining: bool,
    /// The lag in the metrics; the first worker's.
    pub(crate) shown: Shown,
}

impl Kafka {
    /// Without configuration: it takes no clients. `entropy` is for nonces, and `books` are those of all workers.
    pub fn new(worker: Worker, entropy: Entropy, books: &Arc<Books>) -> Kafka {
        let shared = Shared::new(worker, entropy, books);
        Kafka { shared, sessions: Slab::default(), servers: Slab::default(), is_draining: false, shown: Shown::default() }
    }

    fn accept(&mut self, io: &mut dyn Io, key: Key, listener: &str, facet: u32) {
        let Some(listener) = self.shared.conf.listeners.get(listener).cloned().filter(|_| !self.is_draining) else {
            return io.close(key, Close::Abort);
        };
        let peer = io.peer(key);
        let local = peer.map_or_else(String::new, |peer| peer.local.ip().to_string());
        let identity = peer.and_then(|peer| peer.common_name.as_ref()).map_or_else(|| "anonymous".into(), |name| format!("user:{name}").into());
        let auth = match &listener.auth {
            Auth::PassThrough => None,
            Auth::Sasl(_) => Some(SessionAuth::closed()),
            Auth::Certificate if peer.is_none_or(|peer| peer.common_name.is_none()) => {
                self.shared.meters(&listener.name).error("unauthenticated");
                return io.close(key, Close::Abort);
            }
            Auth::Certificate | Auth::Trust => Some(SessionAuth::open()),
        };
        let login_timeout = match &listener.auth {
            Auth::Sasl(server) => Some(server.login_timeout),
            _ => None,
        };
        let (listener, node) = listener.placed(peer.and_then(|peer| peer.server_name.as_deref()), facet);
        let host = listener.advertised.clone().unwrap_or_else(|| local.into());
        let mut session = Session::new(key, listener, node, host, identity);
        session.auth = auth.map(Box::new);
        session.tried = (io.random() % 1024) as usize;
        if let Some(timeout) = login_timeout {
            session.link = Link::Idle;
            io.arm(key, TIMER_LOGIN, io.now().saturating_add(timeout));
        }
        session.repause(io);
        self.sessions.insert(key, session);
        if login_timeout.is_none() {
            self.locate(io, key);
        }
    }

    /// Dials the session's broker, or asks where it is.
    fn locate(&mut self, io: &mut dyn Io, client: Key) {
        let Some(session) = self.sessions.get_mut(client) else { return };
        let backend = Arc::clone(&session.listener.backend);
        session.link = Link::Locating;
        let Some((host, port)) = session.place(&mut self.shared) else {
            self.shared.ask(io, &backend);
            return self.note_ask(&backend.name);
        };
        session.link = Link::Dialing;
        session.server = io.dial(&backend.target(&host, port), 0);
        self.servers.insert(session.server, Use::Client(client));
        self.shared.backend(&backend.name).moved(1, 0);
    }

    fn note_ask(&mut self, backend: &Arc<str>) {
        if let Some(key) = self.shared.directory(backend).asking.filter(|key| self.servers.get(*key).is_none()) {
            self.servers.insert(key, Use::Ask(Arc::clone(backend), 0));
        }
    }

    fn server_up(&mut self, io: &mut dyn Io, key: Key, tag: u64) {
        match self.servers.get_mut(key) {
            Some(Use::Ask(backend, version)) if tag == TAG_ASK => {
                self.shared.backend(backend).moved(-1, 1);
                io.out(key).extend_from_slice(&self.shared.begin_question(backend, version));
            }
            Some(Use::Client(client)) => {
                let Some(session) = self.sessions.get_mut(*client) else { return io.close(key, Close::Abort) };
                self.shared.backend(&session.listener.backend.name).moved(-1, 1);
                session.link = Link::Up;
                io.link(session.client, key);
                io.link(key, session.client);
                session.repause(io);
                session.server_up(io, &mut self.shared);
            }
            Some(Use::Side(client, ordinal)) => {
                let (client, ordinal) = (*client, *ordinal);
                self.side_up(io, key, client, ordinal);
            }
            _ => io.close(key, Close::Abort),
        }
    }

    /// The answer to our own question.
    fn answer(&mut self, io: &mut dyn Io, key: Key, bytes: &[u8]) -> Result<usize, Fault> {
        let Some(Use::Ask(backend, version)) = self.servers.get(key).cloned() else { return Ok(bytes.len()) };
        let malformed = |error| Fault::server("Kafka response", format!("the response to our Metadata request {error}"));
        let Some((size, _)) = response_head(bytes).map_err(malformed)?.filter(|(size, _)| *size <= MAX_ANSWER) else { return Ok(0) };
        let frame = 4 + size as usize;
        if bytes.len() < frame {
            io.want(key, frame);
            return Ok(0);
        }
        match self.shared.login_answer(&backend, &bytes[8..frame]) {
            None => {}
            Some(Ok(next)) => {
                let Some(Use::Ask(_, version)) = self.servers.get_mut(key) else { return Ok(frame) };
                let next = next.unwrap_or_else(|| self.shared.directory(&backend).ask(version));
                io.out(key).extend_from_slice(&next);
                return Ok(frame);
            }
            Some(Err(reason)) => {
                io.close(key, Close::Abort);
                self.asked(io, key, "authentication");
                return Err(Fault::server("Kafka login", reason));
            }
        }
        let body = directory::answer(version, &bytes[..frame]).map_err(malformed)?;
        self.shared.learn(io, &backend, version, body).map_err(malformed)?;
        io.close(key, Close::Abort);
        self.asked(io, key, "");
        Ok(frame)
    }

    /// Our own question is over: those who wait for it go on, or end when it has not helped.
    fn asked(&mut self, io: &mut dyn Io, key: Key, error: &str) {
        let Some(Use::Ask(backend, version)) = self.servers.remove(key) else { return };
        self.shared.directory(&backend).asking = None;
        let was_up = version != 0;
        self.shared.backend(&backend).moved(-i64::from(!was_up), -i64::from(was_up));
        if !error.is_empty() {
            self.shared.backend(&backend).error(error);
        }
        self.told(io, &backend, true);
    }

    /// Something new is known of a cluster; with `is_final`, nothing more is under way.
    fn told(&mut self, io: &mut dyn Io, backend: &Arc<str>, is_final: bool) {
        for client in self.sessions.keys() {
            let Some(session) = self.sessions.get_mut(client).filter(|session| session.listener.backend.name == *backend) else { continue };
            if session.waits_for_names && is_final {
                session.resume(io);
            } else if let (Link::Locating, Some(node)) = (session.link, session.node) {
                if self.shared.directory(backend).broker(node).is_some() {
                    self.locate(io, client);
                } else if is_final {
                    self.shared.meters(&session.listener.name).error("unknown_broker");
                    self.drop_session(io, client, Close::Flush);
                }
            }
        }
    }

    pub(crate) fn drop_session(&mut self, io: &mut dyn Io, client: Key, how: Close) {
        let Some(mut session) = self.sessions.remove(client) else { return };
        io.close(client, how);
        io.close(session.server, Close::Flush);
        self.forget_server(&mut session, io);
    }

    fn forget_server(&mut self, session: &mut Session, io: &mut dyn Io) {
        for key in session.close_sides(io, &mut self.shared) {
            self.servers.remove(key);
        }
        if self.servers.remove(session.server).is_some() {
            let is_up = session.link == Link::Up;
            self.shared.backend(&session.listener.backend.name).moved(-i64::from(!is_up), -i64::from(is_up));
        }
    }

    fn server_closed(&mut self, io: &mut dyn Io, key: Key, why: &Why) {
        let client = match self.servers.get(key) {
            Some(Use::Ask(..)) => return self.asked(io, key, kind(why)),
            Some(Use::Side(..)) => return self.side_lost(io, key, kind(why)),
            Some(Use::Client(client)) => *client,
            None => return,
        };
        let Some(session) = self.sessions.get_mut(client) else { return };
        let backend = Arc::clone(&session.listener.backend);
        let was_up = session.link == Link::Up;
        self.servers.remove(key);
        self.shared.backend(&backend.name).moved(-i64::from(!was_up), -i64::from(was_up));
        if !was_up || !session.is_idle() {
            self.shared.backend(&backend.name).error(kind(why));
        }
        if was_up {
            if let Some(place) = session.place(&mut self.shared) {
                self.shared.directory(&backend.name).forget_versions(&place);
            }
            session.login_broke(io, &mut self.shared);
            return self.drop_session(io, client, Close::Flush);
        }
        match session.node {
            Some(node) => self.shared.directory(&backend.name).forget(node),
            None => {
                session.tried += 1;
                session.refused += 1;
                if session.refused < backend.bootstrap.len() {
                    return self.locate(io, client);
                }
            }
        }
        self.shared.meters(&session.listener.name).error("broker_unreachable");
        self.drop_session(io, client, Close::Flush);
    }

    /// Whoever leaves and is owed nothing, goes.
    pub(crate) fn settle(&mut self, io: &mut dyn Io, client: Key) {
        if self.sessions.get(client).is_some_and(|session| session.is_leaving && session.is_idle()) {
            self.drop_session(io, client, Close::Flush);
        }
    }

    fn client_event(&mut self, io: &mut dyn Io, key: Key, event: &Event<'_>) {
        match event {
            Event::Timer(TIMER_PARK) => {
                if let Some(session) = self.sessions.get_mut(key) {
                    session.resume(io);
                }
            }
            Event::Timer(TIMER_LOGIN) => {
                let Some(session) = self.sessions.get(key).filter(|session| session.auth.as_ref().is_some_and(|auth| !auth.is_open)) else { return };
                self.shared.meters(&session.listener.name).error("login_timeout");
                self.drop_session(io, key, Close::Flush);
            }
            Event::Timer(TIMER_MUTE) => {
                if let Some(session) = self.sessions.get_mut(key) {
                    session.unmute(io);
                }
            }
            Event::Timer(TIMER_LEAVE) if self.sessions.get(key).is_none_or(|session| session.response.is_none()) => {
                self.drop_session(io, key, Close::Flush);
            }
            Event::Timer(TIMER_LEAVE) | Event::HalfClosed => {
                if let Some(session) = self.sessions.get_mut(key) {
                    session.is_leaving = true;
                    io.arm(key, TIMER_LEAVE, io.now().saturating_add(LEAVE_TIMEOUT));
                }
                self.settle(io, key);
            }
            Event::Closed(_) => {
                if let Some(mut session) = self.sessions.remove(key) {
                    io.close(session.server, Close::Flush);
                    self.forget_server(&mut session, io);
                }
            }
            _ => {}
        }
    }
}

fn kind(why: &Why) -> &'static str {
    match why {
        Why::Eof => "closed",
        Why::Refused(_) => "refused",
        Why::Broken(_) => "broken",
        Why::Fault => "protocol",
    }
}

impl Protocol for Kafka {
    fn configure(&mut self, io: &mut dyn Io, conf: Conf) {
        let Ok(conf) = conf.downcast::<KafkaConf>() else { return };
        self.shared.renew(conf);
        self.arm_stats(io);
        for client in self.sessions.keys() {
            let Some(session) = self.sessions.get_mut(client) else { continue };
            let node = session.node;
            // A listener that leads to another cluster now has no use for the old one's connections, and under other names an answer on its
            // way would be taken for another tenant's.
            let stays = |listener: &Arc<Listener>| {
                let (new, old) = (&listener.backend, &session.listener.backend);
                let is_authenticated = listener.auth.is_like(&session.listener.auth) && new.credentials.is_some() == old.credentials.is_some();
                let is_named_so = new.name == old.name && listener.virtual_cluster == session.listener.virtual_cluster;
                is_authenticated
                    && is_named_so
                    && listener.is_placed_like(&session.listener)
                    && node.is_none_or(|node| listener.facade("").holds(node))
            };
            let ordinal = session.listener.member.as_ref().map_or(0, |member| member.ordinal);
            match self.shared.conf.listeners.get(&*session.listener.name).and_then(|listener| listener.on(ordinal)).filter(stays) {
                Some(listener) => session.listener = listener,
                None => self.drop_session(io, client, Close::Flush),
            }
        }
    }

    fn open(&mut self, io: &mut dyn Io, key: Key, opened: Opened<'_>) {
        match opened {
            Opened::Client { listener, facet } => self.accept(io, key, listener, facet),
            Opened::Server { tag } => self.server_up(io, key, tag),
        }
    }

    fn data(&mut self, io: &mut dyn Io, key: Key, side: Side, bytes: &[u8]) -> Result<usize, Fault> {
        let client = match (side, self.servers.get(key)) {
            (Side::Client, _) => key,
            (Side::Server, Some(Use::Client(client))) => *client,
            (Side::Server, Some(Use::Ask(..))) => return self.answer(io, key, bytes),
            (Side::Server, Some(Use::Side(client, _))) => {
                let client = *client;
                let Some(session) = self.sessions.get_mut(client) else { return Ok(bytes.len()) };
                let used = session.side_data(io, &mut self.shared, key, bytes)?;
                self.note_sides(io, client);
                self.settle(io, client);
                return Ok(used);
            }
            (Side::Server, None) => return Ok(bytes.len()),
        };
        let Some(session) = self.sessions.get_mut(client) else { return Ok(bytes.len()) };
        let backend = Arc::clone(&session.listener.backend.name);
        let used = match side {
            Side::Client => session.requests(io, &mut self.shared, bytes),
            Side::Server => session.responses(io, &mut self.shared, bytes),
        }?;
        let is_wanted = session.link == Link::Wanted;
        self.note_ask(&backend);
        if is_wanted {
            self.locate(io, client);
        }
        self.note_sides(io, client);
        self.settle(io, client);
        Ok(used)
    }

    fn event(&mut self, io: &mut dyn Io, key: Key, side: Side, event: Event<'_>) {
        match event {
            Event::Mail(mail) => {
                let Some((backend, version, body)) = directory::read_mail(mail) else { return };
                let backend: Arc<str> = backend.into();
                if self.shared.directory(&backend).learn(version, body).is_ok_and(|news| news) {
                    self.told(io, &backend, false);
                }
            }
            Event::Drain { .. } => {
                self.is_draining = true;
                for client in self.sessions.keys() {
                    if let Some(session) = self.sessions.get_mut(client) {
                        session.is_leaving = true;
                    }
                    self.settle(io, client);
                }
            }
            Event::Timer(TIMER_STATS) => self.tick_stats(io),
            Event::Timer(TIMER_ASK) => {
                io.close(key, Close::Abort);
                self.asked(io, key, "timeout");
            }
            Event::Timer(TIMER_SIDE) => {
                io.close(key, Close::Abort);
                self.side_lost(io, key, "it does not answer in time");
            }
            event if side == Side::Client => self.client_event(io, key, &event),
            Event::Closed(why) => self.server_closed(io, key, &why),
            _ => {}
        }
    }
}
