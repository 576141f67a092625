//! Names to addresses, off the loops: the system's resolver blocks.

use crate::mailbox::{Mail, Mailbox};
use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use wire::Key;

/// More dials by name than this at once are refused: each worker's pools dial a few at a time.
const MAX_QUEUE: usize = 1024;
/// How long an answer holds: a pool that opens 20 connections asks once, and a moved name is followed within seconds.
const HOLDS: Duration = Duration::from_secs(5);
/// How long a failure holds.
const FAILURE_HOLDS: Duration = Duration::from_secs(1);
/// Names remembered; more than the back ends of any configuration.
const MAX_NAMES: usize = 1024;

struct Question {
    mailbox: Arc<Mailbox>,
    key: Key,
    host: Arc<str>,
}

/// A worker's way to the resolver thread. The thread ends when the last worker is gone.
#[derive(Clone)]
pub(crate) struct Resolver {
    questions: SyncSender<Question>,
}

impl Resolver {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start() -> std::io::Result<Resolver> {
        let (questions, queue) = sync_channel(MAX_QUEUE);
        thread::Builder::new().name("midstream-dns".into()).spawn(move || run(&queue))?;
        Ok(Resolver { questions })
    }

    /// Asks for the addresses of `host`; they come as `Mail::Resolved` for `key`. False when too many ask.
    pub fn ask(&self, mailbox: Arc<Mailbox>, key: Key, host: Arc<str>) -> bool {
        self.questions.try_send(Question { mailbox, key, host }).is_ok()
    }
}

type Found = Result<Vec<IpAddr>, String>;

fn run(queue: &Receiver<Question>) {
    let mut known: HashMap<Arc<str>, (Instant, Found)> = HashMap::new();
    while let Ok(Question { mailbox, key, host }) = queue.recv() {
        let now = Instant::now();
        let found = match known.get(&host) {
            Some((until, found)) if *until > now => found.clone(),
            _ => {
                let found = resolve(&host);
                if known.len() >= MAX_NAMES {
                    known.clear();
                }
                known.insert(host, (now + if found.is_ok() { HOLDS } else { FAILURE_HOLDS }, found.clone()));
                found
            }
        };
        // A full box drops it; the dial then runs into its own timeout.
        mailbox.post(Mail::Resolved { key, found });
    }
}

fn resolve(host: &str) -> Found {
    let found: Vec<IpAddr> = (host, 0).to_socket_addrs().map_err(|error| error.to_string())?.map(|address| address.ip()).collect();
    if found.is_empty() { Err("the name has no address".into()) } else { Ok(found) }
}
