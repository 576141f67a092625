//! A worker: one thread, one event loop, its connections, one protocol object per family.
//!
//! A turn: wait; note which sockets are ready; read the mail; fire timers; serve the connections that have something; flush those that
//! were written to. Nothing that a protocol does takes effect on another protocol before it returns.

use crate::acceptor::Label;
use crate::conn::{Conn, Life, Origin};
use crate::dial;
use crate::mailbox::{Mail, Mailbox};
use crate::net::Net;
use crate::serve::{Core, Served};
use crate::stream::Stream;
use crate::timers::Timer;
use mio::event::Event as Readiness;
use mio::{Events, Poll, Token};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use wire::limits::SCRATCH;
use wire::{Conf, Event, Family, Key, MILLIS, Nanos, Peer, Side, TlsStart, Why, Worker as Place};

/// The token of the waker; no connection has it, as no slot gets that high.
pub(crate) const WAKER: Token = Token(usize::MAX);
/// Events fetched at a time; more stay in the kernel for the next turn.
const MAX_EVENTS: usize = 1024;
/// How often one turn goes over what its own work made ready before it looks at the sockets again.
const ROUNDS: usize = 4;

/// The state of a worker's thread.
pub(crate) struct Worker {
    poll: Poll,
    events: Events,
    core: Core,
    scratch: Vec<u8>,
    mail: VecDeque<Mail>,
    mailbox: Arc<Mailbox>,
    factories: Vec<Arc<dyn Family>>,
    place: Place,
    draining: Option<Draining>,
    stopped: bool,
}

struct Draining {
    deadline: Nanos,
    done: SyncSender<bool>,
}

impl Worker {
    /// Called on the worker's own thread, where its protocol objects live.
    pub fn new(poll: Poll, net: Net, factories: Vec<Arc<dyn Family>>, place: Place, log: Arc<dyn Fn(&str) + Send + Sync>) -> Worker {
        let mailbox = Arc::clone(&net.boxes[net.index]);
        let families = factories.iter().map(|family| Served { protocol: family.build(place.clone()), conf: None }).collect();
        Worker {
            poll,
            events: Events::with_capacity(MAX_EVENTS),
            core: Core { net, families, log },
            scratch: vec![0; SCRATCH],
            mail: VecDeque::new(),
            mailbox,
            factories,
            place,
            draining: None,
            stopped: false,
        }
    }

    /// Turns until it is stopped.
    pub fn run(mut self) {
        while !self.stopped {
            if let Err(error) = self.wait() {
                (self.core.log)(&format!("worker {} ends: epoll_wait failed: {error}", self.place.index));
                break;
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.turn())) {
                self.recover(&panic_text(&*panic));
            }
        }
    }

    fn wait(&mut self) -> std::io::Result<()> {
        let timeout = self.timeout();
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => self.events.clear(),
            result => result?,
        }
        self.core.net.tick();
        self.core.net.stats.turns.add(1);
        self.mailbox.turns.store(self.mailbox.turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        for event in &self.events {
            if event.token() == WAKER {
                self.mail.extend(self.mailbox.take());
            } else {
                self.core.net.note(event);
            }
        }
        Ok(())
    }

    fn timeout(&mut self) -> Option<Duration> {
        let net = &mut self.core.net;
        if !net.again.is_empty()
            || !net.ready.is_empty()
            || !net.notices.is_empty()
            || !self.mail.is_empty()
            || !net.dirty.is_empty()
            || !net.later.is_empty()
        {
            return Some(Duration::ZERO);
        }
        let ends = self.draining.as_ref().map(|draining| draining.deadline);
        let next = [net.timers.next(), net.upcalls.next(), ends].into_iter().flatten().min()?;
        let now = net.started.elapsed().as_nanos() as Nanos;
        Some(Duration::from_nanos(next.saturating_sub(now).next_multiple_of(MILLIS)))
    }

    fn turn(&mut self) {
        self.core.net.recall();
        while let Some(again) = self.core.net.again.pop_front() {
            self.core.net.ready.push_back(again);
        }
        while let Some(mail) = self.mail.pop_front() {
            self.open_mail(mail);
        }
        self.fire();
        for _ in 0..ROUNDS {
            self.core.deliver_notices();
            for _ in 0..self.core.net.ready.len() {
                let Some(key) = self.core.net.ready.pop_front() else { break };
                self.core.serve(key, &mut self.scratch);
            }
            if self.core.net.ready.is_empty() && self.core.net.notices.is_empty() {
                self.core.flush_dirty();
                if self.core.net.ready.is_empty() && self.core.net.notices.is_empty() {
                    break;
                }
            }
        }
        self.core.flush_dirty();
        self.drained();
    }

    fn open_mail(&mut self, mail: Mail) {
        match mail {
            Mail::Accepted { stream, remote, label } => self.accepted(stream, remote, label),
            Mail::Answer { key, number, body } => {
                if let Some(family) = self.core.net.upcalls.answered(key, number) {
                    self.core.answer(family, key, number, body.as_deref());
                }
            }
            Mail::Peer { family, body } => {
                if self.core.families[family].conf.is_some() {
                    self.core.run(family, |protocol, net| protocol.event(net, Key::NONE, Side::Client, Event::Mail(&body)));
                }
            }
            Mail::Resolved { key, found } => self.core.net.resolved(key, found),
            Mail::Configure { confs, done } => {
                for (family, conf) in confs.iter() {
                    self.configure(*family, conf);
                }
                // Nobody waits any more when the caller's patience ended.
                let _ = done.try_send(());
            }
            Mail::Drain { within, done } => self.drain(within, done),
            Mail::Stop => self.stopped = true,
        }
    }

    fn configure(&mut self, family: usize, conf: &Conf) {
        self.core.families[family].conf = Some(Arc::clone(conf));
        self.core.run(family, |protocol, net| protocol.configure(net, Arc::clone(conf)));
    }

    fn accepted(&mut self, mut stream: Stream, remote: SocketAddr, label: Arc<Label>) {
        let net = &mut self.core.net;
        net.stats.accepted.add(1);
        // Fails only for a client that is gone already; then the address is of no use to anyone.
        let local = stream.local_addr().unwrap_or(remote);
        let peer = Peer::plain(remote, local);
        let (family, tls) = (label.family, label.tls.clone());
        let conn = Conn::new(None, family, Side::Client, Life::Handshaking, peer, Origin::Accepted(label));
        let key = net.add(conn);
        if let Err(error) = stream.register(&net.registry, dial::token(key)) {
            (self.core.log)(&format!("client {remote} refused: {error}"));
            return net.discard(key);
        }
        if let Some(conn) = net.table.get_mut(key) {
            conn.socket = Some(stream);
        }
        match tls {
            Some(config) => net.shake(key, TlsStart::Accept(config)),
            None => self.core.opened(key),
        }
    }

    fn fire(&mut self) {
        while let Some(due) = self.core.net.next_due() {
            match due.timer {
                Timer::Protocol(timer) if due.key.slot == u32::MAX => {
                    let family = due.key.generation as usize;
                    self.core.run(family, |protocol, net| protocol.event(net, Key::NONE, Side::Client, Event::Timer(timer)));
                }
                Timer::Protocol(timer) => self.core.tell(due.key, Event::Timer(timer)),
                Timer::Connect => self.core.net.connect_timed_out(due.key),
                Timer::Handshake => self.core.net.tls_failed(due.key, "TLS: the handshake takes too long"),
                Timer::Linger => self.core.net.discard(due.key),
            }
        }
        while let Some((number, key, family)) = self.core.net.upcalls.expired(self.core.net.now) {
            self.core.net.stats.upcalls_late.add(1);
            self.core.answer(family, key, number, None);
        }
    }

    fn drain(&mut self, within: Nanos, done: SyncSender<bool>) {
        let deadline = self.core.net.now.saturating_add(within);
        self.draining = Some(Draining { deadline, done });
        for family in 0..self.core.families.len() {
            if self.core.families[family].conf.is_some() {
                self.core.run(family, |protocol, net| protocol.event(net, Key::NONE, Side::Client, Event::Drain { deadline }));
            }
        }
    }

    /// Ends the drain when no client is left, or its time is over.
    fn drained(&mut self) {
        let Some(draining) = &self.draining else { return };
        let is_clean = self.mailbox.clients.load(Ordering::Relaxed) == 0;
        if is_clean || self.core.net.now >= draining.deadline {
            for key in self.core.net.table.keys() {
                self.core.net.discard(key);
            }
            // Nobody waits any more when the caller's patience ended.
            let _ = draining.done.try_send(is_clean);
            self.draining = None;
        }
    }

    /// A protocol panicked: its object can't be trusted any more. Its connections end, and a new object takes its place with the same
    /// configuration. A panic of the engine itself costs the connections of all families.
    fn recover(&mut self, reason: &str) {
        self.core.net.stats.panics.add(1);
        let is_own = std::mem::replace(&mut self.core.net.inside, false);
        let guilty = if is_own { self.core.net.family..self.core.net.family + 1 } else { 0..self.core.families.len() };
        let names: Vec<_> = guilty.clone().map(|family| self.factories[family].name()).collect();
        (self.core.log)(&format!(
            "worker {}: a defect in {} ({reason}); its connections are closed and it starts anew",
            self.place.index,
            names.join(", ")
        ));
        self.core.net.serving = Key::NONE;
        for key in self.core.net.table.keys() {
            if self.core.net.table.get(key).is_some_and(|conn| guilty.contains(&conn.family)) {
                self.core.net.discard(key);
            }
        }
        self.core.net.drop_notices(|notice| guilty.contains(&notice.family));
        for family in guilty {
            self.rebuild(family);
        }
    }

    fn rebuild(&mut self, family: usize) {
        let net = &mut self.core.net;
        net.timers.clear(&mut net.family_timers[family]);
        let fresh = catch_unwind(AssertUnwindSafe(|| self.factories[family].build(self.place.clone())));
        let Ok(protocol) = fresh else { return self.give_up(family) };
        self.core.families[family].protocol = protocol;
        let Some(conf) = self.core.families[family].conf.clone() else { return };
        if catch_unwind(AssertUnwindSafe(|| self.configure(family, &conf))).is_err() {
            self.give_up(family);
        }
    }

    /// Not even a fresh object takes the configuration: the worker ends, its clients lose their connections and the acceptor passes it by.
    fn give_up(&mut self, family: usize) {
        (self.core.log)(&format!("worker {} ends: {} does not start again", self.place.index, self.factories[family].name()));
        self.stopped = true;
    }
}

impl Net {
    /// Notes what the kernel said of a socket.
    fn note(&mut self, event: &Readiness) {
        let key = dial::key(event.token());
        let Some(conn) = self.table.get_mut(key) else { return };
        if conn.life == Life::Connecting {
            // A server that speaks first may do so in the same event that says the connection is up, and no other edge tells of it.
            conn.readable |= event.is_readable() || event.is_read_closed();
            conn.ending |= event.is_read_closed();
            return self.queue(key);
        }
        if event.is_writable() && !conn.writable {
            conn.writable = true;
            self.soil(key);
        }
        let Some(conn) = self.table.get_mut(key) else { return };
        let is_reset = event.is_error();
        if event.is_readable() || event.is_read_closed() || is_reset {
            conn.readable = true;
            conn.ending |= event.is_read_closed() || is_reset;
            let is_stuck = conn.paused && conn.side == Side::Client && conn.life == Life::Open;
            if is_reset && is_stuck {
                // Nobody reads from it now, so nobody would find out; and whoever reset a connection wants no answer.
                return self.lose(key, Why::Broken("the client reset the connection".into()));
            }
            self.queue(key);
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no reason given".into())
}
