//! What the sessions of one worker share.

use crate::auth::{Login, Next};
use crate::conf::{Backend, KafkaConf};
use crate::directory::{self, Directory};
use crate::meters::{BackendMeters, Meters};
use crate::records::DataKeys;
use crate::stats::{Book, Books, Rates};
use crate::walk::Malformed;
use hashbrown::HashMap;
use identity::Entropy;
use std::sync::{Arc, Mutex};
use wire::{Io, SECONDS, Worker};

/// How long an own question to a broker may take: as long as clients wait for a connection to be set up.
const ASK_TIMEOUT_S: u64 = 5;

/// The timer of an own question.
pub const TIMER_ASK: u32 = 2;

/// The tag of a dial that is an own question; the others have 0.
pub const TAG_ASK: u64 = 1;

/// One worker's knowledge.
pub struct Shared {
    /// Who we are.
    pub worker: Worker,
    /// What is in force.
    pub conf: Arc<KafkaConf>,
    /// Rises with each configuration.
    pub generation: u64,
    /// For nonces.
    pub entropy: Entropy,
    /// For values that are encrypted.
    pub data_keys: DataKeys,
    /// What this worker has measured, and everybody has.
    pub book: Arc<Mutex<Book>>,
    /// All of them.
    pub books: Arc<Books>,
    /// By listener.
    pub rates: HashMap<Arc<str>, Rates>,
    directories: HashMap<Arc<str>, Directory>,
    meters: HashMap<Arc<str>, Meters>,
    backend_meters: HashMap<Arc<str>, BackendMeters>,
}

impl Shared {
    /// A worker's, before any configuration.
    pub fn new(worker: Worker, entropy: Entropy, books: &Arc<Books>) -> Shared {
        Shared {
            worker,
            conf: Arc::default(),
            generation: 0,
            entropy,
            data_keys: DataKeys::default(),
            book: books.open(),
            books: Arc::clone(books),
            rates: HashMap::new(),
            directories: HashMap::new(),
            meters: HashMap::new(),
            backend_meters: HashMap::new(),
        }
    }

    /// Puts a configuration in force. Of a cluster that is found elsewhere now, the brokers' addresses are asked anew.
    pub fn renew(&mut self, conf: Arc<KafkaConf>) {
        let before = std::mem::replace(&mut self.conf, conf);
        self.generation += 1;
        self.data_keys.clear();
        for old in before.backends() {
            let new = self.conf.backend(&old.name);
            if let Some(directory) = self.directories.get_mut(&old.name) {
                if new.is_none_or(|new| new.bootstrap != old.bootstrap) {
                    directory.forget_all();
                }
            }
        }
    }

    /// A listener's counters.
    pub fn meters(&mut self, listener: &Arc<str>) -> &mut Meters {
        if !self.meters.contains_key(listener) {
            self.meters.insert(Arc::clone(listener), Meters::new(&self.worker.metrics, listener));
        }
        self.meters.entry(Arc::clone(listener)).or_insert_with(|| Meters::new(&self.worker.metrics, listener))
    }

    /// A cluster's counters.
    pub fn backend(&mut self, name: &Arc<str>) -> &mut BackendMeters {
        self.backend_meters.entry(Arc::clone(name)).or_insert_with(|| BackendMeters::new(&self.worker.metrics, name))
    }

    /// What is known of a cluster.
    pub fn directory(&mut self, name: &Arc<str>) -> &mut Directory {
        self.directories.entry(Arc::clone(name)).or_default()
    }

    /// Sends our own Metadata request to a bootstrap broker, unless one is under way. Its answer comes to `learn`.
    pub fn ask(&mut self, io: &mut dyn Io, backend: &Backend) {
        if self.directory(&backend.name).asking.is_some() || backend.bootstrap.is_empty() {
            return;
        }
        let at = (io.random() % backend.bootstrap.len() as u64) as usize;
        let (host, port) = &backend.bootstrap[at];
        let key = io.dial(&backend.target(host, *port), TAG_ASK);
        io.arm(key, TIMER_ASK, io.now() + ASK_TIMEOUT_S * SECONDS);
        self.directory(&backend.name).asking = Some(key);
        self.backend(&backend.name).moved(1, 0);
    }

    /// What goes first on the connection of our own question: a login, or the question.
    pub fn begin_question(&mut self, name: &Arc<str>, version: &mut i16) -> Vec<u8> {
        let random = self.entropy.draw();
        let backend = self.conf.backend(name);
        let who = backend.and_then(|backend| backend.credentials.clone());
        let directory = self.directory(name);
        directory.login = None;
        let Some(who) = who else { return directory.ask(version) };
        let (login, frame) = Login::begin(who, random);
        directory.login = Some(login);
        frame
    }

    /// The answer to a login of ours: the next frame of it, nothing when it is over; `None` when there is no login.
    pub fn login_answer(&mut self, name: &Arc<str>, body: &[u8]) -> Option<Result<Option<Vec<u8>>, String>> {
        let directory = self.directory(name);
        let answer = directory.login.as_mut()?.answer(body);
        Some(match answer {
            Ok(Next::Send(frame)) => Ok(Some(frame)),
            Ok(Next::Done(_)) => {
                directory.login = None;
                Ok(None)
            }
            Err(reason) => Err(reason),
        })
    }

    /// Reads a Metadata response and passes its news on to the other workers.
    ///
    /// # Errors
    /// The body is not one.
    pub fn learn(&mut self, io: &mut dyn Io, backend: &Arc<str>, version: i16, body: &[u8]) -> Result<bool, Malformed> {
        let news = self.directory(backend).learn(version, body)?;
        if news && self.worker.count > 1 {
            self.tell(io, backend, version, body);
        }
        Ok(news)
    }

    /// Tells the other workers.
    pub fn tell(&self, io: &mut dyn Io, backend: &Arc<str>, version: i16, body: &[u8]) {
        let Some(mail) = directory::mail(backend, version, body) else { return };
        for index in (0..self.worker.count).filter(|index| *index != self.worker.index) {
            io.mail(index, mail.clone());
        }
    }
}
