//! The engine as the process sees it: started once, given configurations, asked for its numbers, drained.

use crate::acceptor::{Acceptor, Label, Order, Orders};
use crate::bindings::{Book, Change};
use crate::buffers::Buffers;
use crate::conn::Table;
use crate::mailbox::{Mail, Mailbox};
use crate::net::Net;
use crate::resolver::Resolver;
use crate::stats::Stats;
use crate::stream::Listening;
use crate::sys;
use crate::timers::Timers;
use crate::upcalls::{UpcallSink, Upcalls};
use crate::worker::{WAKER, Worker};
use mio::{Poll, Waker};
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use wire::metrics::Registry;
use wire::{Address, Bind, Conf, Family, Key};

/// How long `apply` waits for a thread to take what it was given. A turn takes microseconds; a worker that is silent for so long hangs, and
/// whoever applies must not hang with it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an engine is started with.
pub struct Options {
    /// Worker threads; at least one is started.
    pub workers: usize,
    /// The families that it serves; their place in this list is their index in [`FamilyPlan`].
    pub families: Vec<Arc<dyn Family>>,
    /// Where questions to the brain go.
    pub upcalls: Arc<dyn UpcallSink>,
    /// Client connections of the process; more are closed at once and counted in `midstream_connections_refused_total`.
    pub max_connections: usize,
    /// Gets one line per connection fault, defect, or lack of resources. Called from the engine's threads; must not block for long.
    pub log: Arc<dyn Fn(&str) + Send + Sync>,
}

/// What one family is to do from now on.
pub struct FamilyPlan {
    /// Index in [`Options::families`].
    pub family: usize,
    /// Its compiled configuration.
    pub conf: Conf,
    /// All the sockets it listens on.
    pub binds: Vec<Bind>,
}

/// A socket that could not be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindFailure {
    /// The Listener's name.
    pub listener: Arc<str>,
    /// Its address.
    pub address: Address,
    /// For people: what to do about it.
    pub reason: String,
}

/// How a worker does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerStatus {
    /// Whether its thread runs.
    pub is_alive: bool,
    /// Client connections, those just handed to it included.
    pub clients: usize,
    /// Connections to back ends.
    pub servers: usize,
    /// Turns of its loop so far.
    pub turns: usize,
}

/// Worker threads, an acceptor thread and a resolver thread. Dropping it without `stop` leaves them running until the process ends.
pub struct Engine {
    boxes: Arc<[Arc<Mailbox>]>,
    orders: Arc<Orders>,
    registries: Vec<Arc<Registry>>,
    book: Mutex<Book>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Engine {
    /// Starts the threads. Nothing listens before the first `apply`.
    ///
    /// # Errors
    /// The system has no thread or descriptor left.
    pub fn start(options: Options) -> io::Result<Engine> {
        sys::give_back_large_buffers();
        let count = options.workers.max(1);
        let polls = (0..count).map(|_| Poll::new()).collect::<io::Result<Vec<Poll>>>()?;
        let boxes = polls.iter().map(|poll| Ok(Arc::new(Mailbox::new(Waker::new(poll.registry(), WAKER)?))));
        let boxes: Arc<[Arc<Mailbox>]> = boxes.collect::<io::Result<Vec<_>>>()?.into();
        let mut registries: Vec<Arc<Registry>> = (0..count).map(|_| Arc::default()).collect();
        let resolver = Resolver::start()?;
        let started = Instant::now();
        let mut threads = Vec::new();
        for (index, poll) in polls.into_iter().enumerate() {
            let place = wire::Worker { index, count, metrics: Arc::clone(&registries[index]) };
            threads.push(start_worker(poll, started, place, &options, (Arc::clone(&boxes), resolver.clone()))?);
        }
        let counters = Arc::new(Registry::default());
        let (acceptor, orders) = Acceptor::new(Arc::clone(&boxes), options.max_connections, &counters, Arc::clone(&options.log))?;
        registries.push(counters);
        threads.push(Builder::new().name("midstream-acc".into()).spawn(|| acceptor.run())?);
        Ok(Engine { boxes, orders, registries, book: Mutex::default(), threads: Mutex::new(threads) })
    }

    /// Puts plans in force; when this returns they are. Families that are not named keep what they have.
    ///
    /// New sockets are bound first, then those that no plan wants are closed, then every worker gets its configurations, then the new
    /// sockets begin to accept. A socket whose address stays is not touched, and no connection is dropped by the engine; another TLS
    /// configuration or listener for it holds for those who connect from then on. What could not be bound is returned; the rest holds, and so do
    /// the sockets that a listener with a failure had before.
    pub fn apply(&self, plans: Vec<FamilyPlan>) -> Vec<BindFailure> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = Vec::new();
        let mut confs = Vec::new();
        for plan in plans {
            wanted.push((plan.family, plan.binds));
            confs.push((plan.family, plan.conf));
        }
        let mut change = book.plan(&wanted);
        change.bind_all();
        book.spare(&mut change);
        self.order(|done| Order::Retire { close: change.close.clone(), hold: change.held(), done });
        change.bind_again();
        self.configure(confs);
        let Change { new, relabel, failed, close, .. } = change;
        book.enter(&new, &relabel, &close);
        let new: Vec<(usize, Listening, Arc<Label>)> = new.into_iter().map(|bound| (bound.id, bound.socket, bound.label)).collect();
        self.order(|done| Order::Install { new, relabel, done });
        failed
    }

    fn configure(&self, confs: Vec<(usize, Conf)>) {
        let confs = Arc::new(confs);
        let (done, heard) = sync_channel(self.boxes.len());
        for mailbox in self.boxes.iter() {
            mailbox.order(Mail::Configure { confs: Arc::clone(&confs), done: done.clone() });
        }
        drop(done);
        let deadline = Instant::now() + PATIENCE;
        // Ends early when every worker has answered or is gone.
        while heard.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
    }

    fn order(&self, order: impl FnOnce(std::sync::mpsc::SyncSender<()>) -> Order) {
        let (done, heard) = sync_channel(1);
        self.orders.give(order(done));
        // An error: the acceptor is gone, which its log said, or hangs; the workers go on.
        let _ = heard.recv_timeout(PATIENCE);
    }

    /// The sockets that listen: listener, facet, and the address, with the port that the system chose where 0 was asked for.
    pub fn addresses(&self) -> Vec<(Arc<str>, u32, Address)> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).addresses()
    }

    /// Answers an upcall. False when the worker's mailbox is full; the session is then told that nobody answered.
    pub fn answer(&self, worker: usize, key: Key, number: u64, body: Option<Vec<u8>>) -> bool {
        self.boxes.get(worker).is_some_and(|mailbox| mailbox.post(Mail::Answer { key, number, body }))
    }

    /// Stops accepting, asks the protocols to finish, waits until no client is left or the deadline has come, and closes the rest.
    /// True when every client was gone in time.
    pub fn drain(&self, within: Duration) -> bool {
        let close = self.book.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.order(|done| Order::Retire { close, hold: vec![], done });
        let (done, heard) = sync_channel(self.boxes.len());
        for mailbox in self.boxes.iter() {
            mailbox.order(Mail::Drain { within: within.as_nanos() as u64, done: done.clone() });
        }
        drop(done);
        let deadline = Instant::now() + within + PATIENCE;
        let answers = self.boxes.iter().map_while(|_| heard.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok());
        let answers: Vec<bool> = answers.collect();
        answers.len() == self.boxes.len() && answers.into_iter().all(|is_clean| is_clean)
    }

    /// Ends all threads at once, with their connections. A second call does nothing.
    pub fn stop(&self) {
        self.orders.give(Order::Stop);
        self.boxes.iter().for_each(|mailbox| mailbox.order(Mail::Stop));
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }

    /// The counters of every worker, and of the acceptor; `wire::metrics::render` adds them up.
    pub fn registries(&self) -> Vec<Arc<Registry>> {
        self.registries.clone()
    }

    /// How each worker does.
    pub fn status(&self) -> Vec<WorkerStatus> {
        let one = |mailbox: &Arc<Mailbox>| WorkerStatus {
            is_alive: mailbox.is_alive.load(Ordering::Relaxed),
            clients: mailbox.clients.load(Ordering::Relaxed),
            servers: mailbox.servers.load(Ordering::Relaxed),
            turns: mailbox.turns.load(Ordering::Relaxed),
        };
        self.boxes.iter().map(one).collect()
    }
}

/// Takes nobody's mail any more once the thread ends, in whatever way.
struct Alive(Arc<Mailbox>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.shut();
    }
}

/// What a worker shares with the other threads.
type Shared = (Arc<[Arc<Mailbox>]>, Resolver);

fn start_worker(poll: Poll, started: Instant, place: wire::Worker, options: &Options, shared: Shared) -> io::Result<JoinHandle<()>> {
    let (boxes, resolver) = shared;
    let registry = poll.registry().try_clone()?;
    let names = options.families.iter().map(|family| family.name()).collect();
    let (factories, upcalls, log) = (options.families.clone(), Arc::clone(&options.upcalls), Arc::clone(&options.log));
    let index = place.index;
    Builder::new().name(format!("midstream-w{index}")).spawn(move || {
        let _alive = Alive(Arc::clone(&boxes[index]));
        let net = Net {
            index,
            table: Table::default(),
            now: 0,
            started,
            registry,
            ready: VecDeque::new(),
            again: VecDeque::new(),
            dirty: Vec::new(),
            later: Vec::new(),
            notices: VecDeque::new(),
            timers: Timers::default(),
            family_timers: factories.iter().map(|_| Vec::new()).collect(),
            buffers: Buffers::default(),
            pipes: Vec::new(),
            upcalls: Upcalls::new(index, names, upcalls),
            resolver,
            boxes,
            stats: Stats::new(&place.metrics),
            cipher: Vec::new(),
            family: 0,
            inside: false,
            serving: Key::NONE,
            nowhere: Vec::new(),
            dice: RandomState::new().hash_one(index) | 1,
        };
        Worker::new(poll, net, factories, place, log).run();
    })
}
