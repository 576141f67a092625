//! The protocol object of one worker: all sessions, all pools, and the dispatch of what happens to them.
//!
//! A client or server is taken out of its array while it is worked on and put back afterwards, so that one may be changed together
//! with the other and with the pools.

use crate::admin::Stats;
use crate::auth::Entropy;
use crate::backend::Backend;
use crate::client::{Client, Phase};
use crate::conf::Conf;
use crate::error::Error;
use crate::hello::secured;
use crate::logins::Logins;
use crate::meter::ListenerMeter;
use crate::pids::Pids;
use crate::seats::Seats;
use crate::server::Server;
use crate::settings::Settings;
use crate::statement::Interned;
use hashbrown::{HashMap, HashSet};
use sql::Lexer;
use sql::flow::FlowTable;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use wire::{Close, Event, Family, Fault, Io, Key, Nanos, Opened, Protocol, SECONDS, Side, Slab, Worker};

/// Plans of a worker: some 10,000 statement shapes.
const FLOW_BUDGET: usize = 16 * 1024 * 1024;
/// From connecting to having proven who it is, as PostgreSQL's `authentication_timeout`.
const AUTHENTICATION: Nanos = 60 * SECONDS;

/// A client's timers.
pub mod timer {
    /// It did not log in.
    pub const AUTHENTICATION: u32 = 0;
    /// A filter's delay is over.
    pub const DELAY: u32 = 1;
    /// A server did not finish the login.
    pub const LOGIN: u32 = 2;
    /// A standby is asked again whether it was promoted.
    pub const WATCH: u32 = 3;
    /// A server that was idle for long did not say that it is alive.
    pub const CHECK: u32 = 4;
    /// Another worker did not answer an admin.
    pub const ADMIN: u32 = 5;
    /// A period of SHOW STATS is over; the others of the worker itself are those of its pools, by their number.
    pub const STATS: u32 = u32::MAX;
}

/// PostgreSQL, one per process.
#[derive(Default)]
pub struct PostgresFamily {
    seats: Seats,
    pids: Arc<Pids>,
}

impl Family for PostgresFamily {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn build(&self, worker: Worker) -> Box<dyn Protocol> {
        Box::new(Postgres::new(worker, Entropy::from_system(), self.seats.clone(), self.pids.clone()))
    }
}

/// Pools by database and user.
pub type Groups = HashMap<(Arc<str>, Rc<str>), Rc<[usize]>>;

/// See the module.
pub struct Postgres {
    pub(crate) worker: Worker,
    pub(crate) conf: Arc<Conf>,
    pub(crate) clients: Slab<Box<Client>>,
    /// See `logins`.
    pub(crate) logins: Logins,
    pub(crate) servers: Slab<Box<Server>>,
    pub(crate) backends: Vec<Backend>,
    /// The pools of a database, by shard; the second name is the user where pools are per user.
    pub(crate) groups: Groups,
    pub(crate) entropy: Entropy,
    /// Of all workers.
    pub(crate) seats: Seats,
    pub(crate) interned: Interned,
    /// Fingerprints of statements that only looked like reads for a replica.
    pub(crate) impure: HashSet<u128>,
    /// Of those with which READ ONLY transactions began that a replica could not end.
    pub(crate) mixed: HashSet<u128>,
    /// Of those that a replica has run.
    pub(crate) pure: HashSet<u128>,
    pub(crate) lexer: Lexer,
    pub(crate) flows: FlowTable,
    pub(crate) meters: HashMap<Arc<str>, Rc<ListenerMeter>>,
    /// Whose clients ask for sequences' values: listener, user, startup message.
    pub(crate) sequence_readers: HashSet<(Arc<str>, Rc<str>, Rc<Settings>)>,
    /// Clients by the process id of their cancel key.
    pub(crate) cancel_keys: HashMap<u32, Key>,
    /// Whose server processes are, for notifications.
    pub(crate) pids: Arc<Pids>,
    /// Databases whose pools an admin has paused.
    pub(crate) paused: BTreeSet<Arc<str>>,
    pub(crate) stats: Stats,
    pub(crate) is_draining: bool,
}

impl Postgres {
    /// Before any configuration.
    pub fn new(worker: Worker, entropy: Entropy, seats: Seats, pids: Arc<Pids>) -> Postgres {
        Postgres {
            worker,
            conf: Arc::default(),
            clients: Slab::default(),
            logins: Logins::default(),
            servers: Slab::default(),
            backends: Vec::new(),
            groups: HashMap::new(),
            entropy,
            seats,
            interned: Interned::default(),
            impure: HashSet::new(),
            mixed: HashSet::new(),
            pure: HashSet::new(),
            lexer: Lexer::default(),
            flows: FlowTable::new(FLOW_BUDGET),
            meters: HashMap::new(),
            sequence_readers: HashSet::new(),
            cancel_keys: HashMap::new(),
            pids,
            paused: BTreeSet::new(),
            stats: Stats::default(),
            is_draining: false,
        }
    }

    fn open_client(&mut self, io: &mut dyn Io, key: Key, listener: &str) {
        let Some(listener) = self.conf.listeners.get(listener).cloned().filter(|_| !self.is_draining) else {
            Error::fatal("57P03", "Midstream is shutting down or this listener has just been removed").write(io.out(key));
            return io.close(key, Close::Flush);
        };
        let meter = match self.meters.get(&listener.name) {
            Some(meter) => meter.clone(),
            None => {
                let meter = Rc::new(ListenerMeter::new(&self.worker.metrics, &listener.name));
                self.meters.insert(listener.name.clone(), meter.clone());
                meter
            }
        };
        io.arm(key, timer::AUTHENTICATION, io.now() + AUTHENTICATION);
        let mut client = Client::new(key, listener, meter);
        client.since = io.now();
        self.clients.insert(key, Box::new(client));
        self.login_begins(io, key);
    }

    fn client_event(&mut self, io: &mut dyn Io, key: Key, event: Event<'_>) {
        if matches!(event, Event::Timer(timer::ADMIN)) {
            return self.admin_complete(io, key);
        }
        let Some(mut client) = self.clients.remove(key) else { return };
        let ended = match event {
            Event::Closed(_) => Some(Close::Abort),
            Event::HalfClosed => self.half_closed(io, &mut client),
            Event::Secured => secured(io, &mut client),
            Event::Timer(timer::AUTHENTICATION) => {
                Error::fatal("08P01", "the client did not finish its login in time").write(io.out(key));
                Some(Close::Flush)
            }
            Event::Timer(timer::DELAY) => {
                client.wanted.delayed();
                io.pause(key, false);
                None
            }
            Event::Answer { number, body } => {
                self.answered(io, &mut client, number, body);
                None
            }
            _ => None,
        };
        match ended {
            Some(how) => self.end_client(io, client, how),
            None => self.clients.insert(key, client),
        }
    }

    /// EOF means no more requests: what is owed is answered first.
    fn half_closed(&mut self, io: &mut dyn Io, client: &mut Client) -> Option<Close> {
        client.is_leaving = true;
        let is_owed = matches!(client.phase, Phase::Ready) && (self.is_owed(client) || client.waits.is_some() || client.wanted.is_pending());
        let _ = io;
        (!is_owed).then_some(Close::Flush)
    }

    /// Whether a server has still to answer something of the client's, without hearing more of it.
    pub(crate) fn is_owed(&self, client: &Client) -> bool {
        client.scatter.is_some() || client.server.and_then(|key| self.servers.get(key)).is_some_and(|server| server.will_be_ready())
    }

    fn none_event(&mut self, io: &mut dyn Io, event: Event<'_>) {
        match event {
            Event::Timer(timer::STATS) => self.roll_stats(io),
            Event::Timer(backend) => self.backend_timer(io, backend as usize),
            Event::Mail(body) => self.mail(io, body),
            Event::Drain { .. } => self.drain(io),
            _ => {}
        }
    }
}

impl Protocol for Postgres {
    fn configure(&mut self, io: &mut dyn Io, conf: wire::Conf) {
        if let Ok(conf) = conf.downcast::<Conf>() {
            self.reconfigure(io, conf);
        }
    }

    fn open(&mut self, io: &mut dyn Io, key: Key, opened: Opened<'_>) {
        match opened {
            Opened::Client { listener, .. } => self.open_client(io, key, listener),
            Opened::Server { .. } => self.server_up(io, key),
        }
    }

    fn data(&mut self, io: &mut dyn Io, key: Key, side: Side, bytes: &[u8]) -> Result<usize, Fault> {
        match side {
            Side::Client => self.client_data(io, key, bytes),
            Side::Server => self.server_data(io, key, bytes),
        }
    }

    fn event(&mut self, io: &mut dyn Io, key: Key, side: Side, event: Event<'_>) {
        match side {
            _ if key == Key::NONE => self.none_event(io, event),
            Side::Client => self.client_event(io, key, event),
            Side::Server => self.server_event(io, key, event),
        }
    }
}
