//! The thread that owns the listening sockets: accepts, and hands each client to the worker with the fewest.
//!
//! One thread instead of SO_REUSEPORT: two sidecars on one address are then an error that somebody sees, and a long-lived connection goes
//! where there is room instead of where its hash falls.

use crate::mailbox::{Mail, Mailbox};
use crate::stream;
use mio::{Events, Poll, Token, Waker};
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use wire::TlsServer;
use wire::metrics::{Counter, Registry};

/// After running out of descriptors or memory, accepting is tried again this much later: connections end in the meantime.
const BACK_OFF: Duration = Duration::from_millis(100);
const WAKER: Token = Token(usize::MAX);

/// What is known of a client by the socket it came through.
pub(crate) struct Label {
    pub listener: Arc<str>,
    pub facet: u32,
    pub family: usize,
    pub tls: Option<TlsServer>,
}

/// One listening socket.
struct Listening {
    socket: stream::Listening,
    label: Arc<Label>,
    /// It gets another label; until then nobody is accepted, so that nobody gets the old one.
    is_held: bool,
    /// There may be clients waiting.
    is_pending: bool,
}

/// What the engine wants of the acceptor. `done` hears when it is so.
pub(crate) enum Order {
    /// Before workers get a new configuration: closes sockets, holds those that change hands.
    Retire { close: Vec<usize>, hold: Vec<usize>, done: SyncSender<()> },
    /// After it: begins with new sockets, goes on with those held.
    Install { new: Vec<(usize, stream::Listening, Arc<Label>)>, relabel: Vec<(usize, Arc<Label>)>, done: SyncSender<()> },
    /// Ends the thread.
    Stop,
}

/// The engine's way to the acceptor.
pub(crate) struct Orders {
    orders: Mutex<Vec<Order>>,
    waker: Waker,
}

impl Orders {
    pub fn give(&self, order: Order) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push(order);
        // Fails only without memory for a counter in the kernel; the order is then seen with the next client.
        let _ = self.waker.wake();
    }
}

/// The state of the acceptor's thread.
pub(crate) struct Acceptor {
    poll: Poll,
    orders: Arc<Orders>,
    listening: HashMap<usize, Listening>,
    workers: Arc<[Arc<Mailbox>]>,
    max_connections: usize,
    retry_at: Option<Instant>,
    stopped: bool,
    refused_limit: Counter,
    refused_busy: Counter,
    exhausted: Counter,
    log: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Acceptor {
    /// An acceptor without sockets.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new(
        workers: Arc<[Arc<Mailbox>]>,
        max_connections: usize,
        registry: &Registry,
        log: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> io::Result<(Acceptor, Arc<Orders>)> {
        let poll = Poll::new()?;
        let orders = Arc::new(Orders { orders: Mutex::default(), waker: Waker::new(poll.registry(), WAKER)? });
        let refused = |reason: &str| registry.counter("midstream_connections_refused_total", vec![("reason", reason.into())]);
        let acceptor = Acceptor {
            poll,
            orders: Arc::clone(&orders),
            listening: HashMap::new(),
            workers,
            max_connections,
            retry_at: None,
            stopped: false,
            refused_limit: refused("connection limit"),
            refused_busy: refused("workers busy"),
            exhausted: registry.counter("midstream_accept_exhausted_total", vec![]),
            log,
        };
        Ok((acceptor, orders))
    }

    /// Accepts until it is stopped.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(64);
        while !self.stopped {
            let timeout = self.retry_at.map(|at| at.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return (self.log)(&format!("no more clients are accepted: epoll_wait failed: {error}"));
                }
                _ => {}
            }
            for event in &events {
                if let Some(listening) = self.listening.get_mut(&event.token().0) {
                    listening.is_pending = true;
                }
            }
            let orders = std::mem::take(&mut *self.orders.orders.lock().unwrap_or_else(PoisonError::into_inner));
            for order in orders {
                self.obey(order);
            }
            if self.retry_at.is_none_or(|at| at <= Instant::now()) {
                self.retry_at = None;
                self.accept_all();
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Retire { close, hold, done } => {
                for id in close {
                    self.listening.remove(&id);
                }
                for id in hold {
                    self.listening.get_mut(&id).into_iter().for_each(|listening| listening.is_held = true);
                }
                let _ = done.try_send(());
            }
            Order::Install { new, relabel, done } => {
                for (id, socket, label) in new {
                    self.install(id, socket, label);
                }
                for (id, label) in relabel {
                    if let Some(listening) = self.listening.get_mut(&id) {
                        listening.label = label;
                        listening.is_held = false;
                    }
                }
                let _ = done.try_send(());
            }
            Order::Stop => self.stopped = true,
        }
    }

    fn install(&mut self, id: usize, mut socket: stream::Listening, label: Arc<Label>) {
        match socket.register(self.poll.registry(), Token(id)) {
            Ok(()) => {
                self.listening.insert(id, Listening { socket, label, is_held: false, is_pending: true });
            }
            Err(error) => (self.log)(&format!("{} does not accept clients: {error}", label.listener)),
        }
    }

    fn accept_all(&mut self) {
        let ids: Vec<usize> = self.listening.iter().filter(|(_, one)| one.is_pending && !one.is_held).map(|(id, _)| *id).collect();
        for id in ids {
            while self.retry_at.is_none() && self.accept_one(id) {}
        }
    }

    /// Accepts one client; false when there is none.
    fn accept_one(&mut self, id: usize) -> bool {
        let Some(listening) = self.listening.get_mut(&id) else { return false };
        match listening.socket.accept() {
            Ok((stream, remote)) => {
                let label = Arc::clone(&listening.label);
                self.hand_over(Mail::Accepted { stream, remote, label });
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                listening.is_pending = false;
                false
            }
            Err(error) if is_exhausted(&error) => {
                self.exhausted.add(1);
                self.retry_at = Some(Instant::now() + BACK_OFF);
                (self.log)(&format!("{}: a client has to wait: {error}", listening.label.listener));
                false
            }
            // The client was gone before it was accepted.
            Err(_) => true,
        }
    }

    /// To the worker with the fewest clients; a client that nobody takes is closed.
    fn hand_over(&mut self, client: Mail) {
        let alive = self.workers.iter().filter(|worker| worker.is_alive.load(Ordering::Relaxed));
        let loads: Vec<(usize, &Arc<Mailbox>)> = alive.map(|worker| (worker.clients.load(Ordering::Relaxed), worker)).collect();
        if loads.iter().map(|(load, _)| load).sum::<usize>() >= self.max_connections {
            return self.refused_limit.add(1);
        }
        let Some((_, worker)) = loads.into_iter().min_by_key(|(load, _)| *load) else { return self.refused_busy.add(1) };
        worker.clients.fetch_add(1, Ordering::Relaxed);
        if !worker.post(client) {
            worker.clients.fetch_sub(1, Ordering::Relaxed);
            self.refused_busy.add(1);
        }
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
