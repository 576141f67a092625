//! MULTI ... EXEC on one slot (on several, where the back end says so: [`crate::by_slot`]), and WATCH.
//!
//! Commands between MULTI and EXEC are checked and queued here; EXEC sends the whole as one batch, which no other command of the same
//! connection can come between, so it needs no connection of its own. WATCH does: the keys are watched on a leased connection, and
//! EXEC runs there, so that a foreign write in between makes the server abort it. If that connection is lost, EXEC answers null, which
//! says just that: something may have changed, start over.
//! Source: <https://redis.io/docs/latest/develop/interact/transactions/>.

use crate::action::Action;
use crate::by_slot::{BySlot, Queued};
use crate::client::Wait;
use crate::dispatch::CROSSSLOT;
use crate::frame::Frame;
use crate::lease::Purpose;
use crate::limits;
use crate::machine::{Redis, Step};
use crate::pipe::To;
use crate::pours::Turn;
use crate::ring::Kind;
use crate::table::Command;
use wire::{Class, Io, Key};

/// What a client has queued and watches.
#[derive(Default, Debug)]
pub struct Transaction {
    open: bool,
    failed: bool,
    queued: Queued,
    /// Whether any of it may write.
    pub writes: bool,
    /// The back end of its keys, where the listener has several.
    pub cluster: Option<usize>,
    watched: Option<To>,
    /// How many WATCHes the server has confirmed.
    pub confirmed: u32,
    /// The connection on which keys were watched is lost: EXEC aborts.
    pub broken: bool,
}

impl Transaction {
    /// A command could not be queued: EXEC will refuse.
    pub fn fail(&mut self) {
        self.failed |= self.open;
    }

    /// Whether MULTI was said.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// How many commands are queued; `None`: MULTI was not said.
    pub fn queued(&self) -> Option<u32> {
        self.open.then_some(self.queued.len())
    }

    /// What is queued, as clients' commands with the back end's names of keys.
    pub fn queued_bytes(&self) -> Vec<u8> {
        self.queued.commands()
    }

    /// Whether keys are watched.
    pub fn is_watching(&self) -> bool {
        self.watched.is_some()
    }
}

impl Redis {
    pub(crate) fn in_transaction(&self, key: Key) -> bool {
        self.clients.get(key).is_some_and(|client| client.transaction.open)
    }

    /// MULTI, EXEC, DISCARD, WATCH, UNWATCH.
    pub(crate) fn transaction(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command) -> Step {
        let Some(client) = self.clients.get_mut(key) else { return Step::Taken };
        let open = client.transaction.open;
        match command.name {
            "multi" if open => self.fail(io, key, "ERR MULTI calls can not be nested"),
            "multi" => {
                client.transaction.open = true;
                self.answer(io, key, b"+OK\r\n");
            }
            "watch" if open => self.fail(io, key, "ERR WATCH inside MULTI is not allowed"),
            "watch" => return self.watch(io, key, frame),
            "unwatch" => {
                self.unwatch(io, key);
                self.answer(io, key, b"+OK\r\n");
            }
            "discard" if open => {
                self.unwatch(io, key);
                self.answer(io, key, b"+OK\r\n");
            }
            "exec" if open => return self.exec(io, key),
            name => self.fail(io, key, &format!("ERR {} without MULTI", name.to_ascii_uppercase())),
        }
        Step::Taken
    }

    /// Whether the client's back end takes transactions over several slots.
    fn runs_by_slot(&self, key: Key) -> bool {
        let cluster = self.clients.get(key).and_then(|client| self.clusters.get(client.cluster));
        matches!(cluster, Some(Some(cluster)) if cluster.conf.transactions_by_slot)
    }

    /// Queues a command, with the checks that the server would make.
    pub(crate) fn queue(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command) {
        let place = self.place(key, frame);
        let single = self.is_single(key);
        let by_slot = self.runs_by_slot(key);
        // The node says the error when it runs the transaction, if it lets anybody.
        let says_error = command.name == "debug" && frame.is(1, "error") && self.is_administrable(key);
        let is_same_database = command.name == "select" && frame.word(1) == self.database(key).to_string().as_bytes();
        let Some(client) = self.clients.get_mut(key) else { return };
        if command.has("no_multi") || matches!(command.action, Action::Subscribe | Action::Monitor) {
            return self.fail_queueing(io, key, &format!("ERR Command '{}' not allowed inside a transaction", command.name));
        }
        match command.action {
            Action::Refused(why) => return self.refuse(io, key, command, why),
            Action::Admin(_) => return self.refuse(io, key, command, "it concerns every node, a transaction runs on one"),
            Action::Everywhere(_) | Action::Newest | Action::Scan if !single => {
                return self.refuse(io, key, command, "it concerns every node, a transaction runs on one");
            }
            Action::Clients => return self.refuse(io, key, command, "inside a transaction it would act on clients that share a connection"),
            Action::Local if says_error => {}
            Action::Local if !(matches!(command.name, "ping" | "echo") || is_same_database) => {
                return self.refuse(io, key, command, "inside a transaction it would change a connection that clients share");
            }
            _ => {}
        }
        let transaction = &mut client.transaction;
        let place = match place {
            // EXEC will answer null, wherever these keys are.
            _ if transaction.broken => To::Any,
            Err(error) => return self.fail_queueing(io, key, error),
            Ok(To::Slot(slot)) if !single && transaction.watched.is_some_and(|watched| watched != To::Slot(slot)) => {
                return self.fail_queueing(io, key, CROSSSLOT);
            }
            Ok(place) => place,
        };
        let load = if command.name.starts_with("evalsha") { self.scripts.loading(frame.bytes) } else { None };
        if transaction.queued.is_full(frame.bytes.len() + load.as_ref().map_or(0, Vec::len)) {
            let error = format!("ERR midstream: the transaction is over {} bytes", limits::MAX_TRANSACTION);
            return self.fail_queueing(io, key, &error);
        }
        if single {
            transaction.queued.spread(place);
        }
        let at = if single { transaction.queued.place().unwrap_or(place) } else { place };
        if !transaction.queued.push(at, frame.bytes, load.as_deref(), by_slot && transaction.watched.is_none()) {
            return self.fail_queueing(io, key, CROSSSLOT);
        }
        transaction.writes |= command.class == Class::Write || command.has("write") || command.has("may_replicate");
        self.answer(io, key, b"+QUEUED\r\n");
    }

    fn exec(&mut self, io: &mut dyn Io, key: Key) -> Step {
        let Some(client) = self.clients.get_mut(key) else { return Step::Taken };
        let transaction = &mut client.transaction;
        if transaction.failed {
            self.unwatch(io, key);
            self.fail(io, key, "EXECABORT Transaction discarded because of previous errors.");
            return Step::Taken;
        }
        if transaction.broken {
            let null: &[u8] = if client.resp == 3 { b"_\r\n" } else { b"*-1\r\n" };
            self.unwatch(io, key);
            self.answer(io, key, null);
            return Step::Taken;
        }
        if transaction.queued.len() == 0 && transaction.watched.is_none() {
            self.unwatch(io, key);
            self.answer(io, key, b"*0\r\n");
            return Step::Taken;
        }
        if transaction.queued.is_several() {
            return self.exec_by_slot(io, key);
        }
        let to = transaction.watched.or(transaction.queued.place()).unwrap_or(To::Any);
        let watches = client.lease.is_some();
        let turn = if watches { Turn::Shared } else { self.turn_of_pours(key) };
        let Some(client) = self.clients.get_mut(key).filter(|_| turn != Turn::Later) else { return self.wait_for_ring(io, key) };
        let part = std::mem::take(&mut client.transaction).queued.into_one();
        let (skip, batch) = (part.skip(), part.batch());
        let leased = watches || turn == Turn::Alone;
        if leased {
            client.wait = Wait::Barrier;
        }
        match &mut client.lease {
            Some(lease) => lease.purpose = Purpose::Exec,
            None => client.purpose = Purpose::Pour,
        }
        let Some((cluster, mut pending)) = self.owe(io, key, Kind::Plain, to, false) else { return Step::Taken };
        pending.skip = skip;
        pending.batch = skip;
        pending.leased = leased;
        self.send(io, cluster, &batch, pending);
        Step::Taken
    }

    /// EXEC with keys in several slots, once the client is owed nothing.
    fn exec_by_slot(&mut self, io: &mut dyn Io, key: Key) -> Step {
        if self.must_empty_ring(key) {
            return self.wait_for_ring(io, key);
        }
        let Some(client) = self.clients.get_mut(key) else { return Step::Taken };
        let transaction = std::mem::take(&mut client.transaction);
        self.run(io, key, Box::new(BySlot::new(&transaction.queued)))
    }

    /// Watches on the client's leased connection; later commands wait until the server says that it watches.
    fn watch(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>) -> Step {
        let place = match self.place(key, frame) {
            Ok(place) => place,
            Err(error) => {
                self.fail(io, key, error);
                return Step::Taken;
            }
        };
        let single = self.is_single(key);
        let Some(client) = self.clients.get_mut(key) else { return Step::Taken };
        if client.transaction.watched.is_some_and(|watched| watched != place) && !single {
            self.fail(io, key, CROSSSLOT);
            return Step::Taken;
        }
        if client.transaction.broken {
            self.answer(io, key, b"+OK\r\n");
            return Step::Taken;
        }
        client.transaction.watched.get_or_insert(place);
        self.ask_leased(io, key, frame.bytes, place, Purpose::Watch);
        Step::Taken
    }

    /// Forgets the transaction and what is watched.
    pub(crate) fn unwatch(&mut self, io: &mut dyn Io, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.transaction = Transaction::default();
        if client.lease.as_ref().is_some_and(|lease| lease.purpose == Purpose::Watch) {
            self.give_back(io, key);
        }
    }
}
