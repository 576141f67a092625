//! Reads on replicas, for Databases that ask for it.
//!
//! ```text
//! read --> lease a replica --> has it what the session wrote, and what the primary had maxLag ago?
//!             |  no replica                 |  yes: it runs here      not yet: ask again, up to `wait`
//!             `--------> the primary <------'---- no
//! write -> behind its answer the primary is asked where its log is; the session remembers, and its next message waits for that
//! ```
//! The same question proves freshness: a replica that has replayed what the primary had written at a time is at least as new as that time.
//! So no clocks are compared, and nothing is asked while nothing is read. What a connection has replayed is remembered per connection:
//! behind one address there may be several replicas.

use crate::backend::Backend;
use crate::client::{Begun, Client, Phase};
use crate::conf::Reads;
use crate::machine::Postgres;
use crate::message::{self, BindNames, HEADER, Head, Parse, head, query};
use crate::pool_conf::Mode;
use crate::position::{OF_PRIMARY, OF_REPLICA, OF_REPLICA_SOON, Position, Written};
use crate::server::{Expect, Quiet, Server};
use sql::reads::only_reads;
use sql::{Lexed, Lexer};
use std::cell::RefCell;
use wire::{Io, Key, Nanos, SECONDS};

/// What replicas have said of statements is remembered for so many; beyond that it is learned again.
pub const MAX_LEARNED: usize = 1024;
/// A replica that could not be reached is left alone for so long.
const AWAY: Nanos = SECONDS;

impl Postgres {
    /// Before a message of a Database with reads on replicas; `bytes` begin with it. False: it waits.
    pub(crate) fn is_placed(&mut self, io: &mut dyn Io, client: &mut Client, tag: u8, bytes: &[u8]) -> bool {
        if client.read_only.is_some() && client.placing.is_none() {
            return self.is_on_replica(io, client, tag, bytes);
        }
        if client.is_in_batch || !matches!(tag, b'Q' | b'P' | b'B' | b'D' | b'E' | b'F') {
            return true; // what the batch is was found at its first message
        }
        if let Some(server) = client.server.and_then(|key| self.servers.get(key)) {
            let is_fresh = client.placing.is_some();
            if server.is_replica {
                return if is_fresh { self.is_verified(io, client) } else { wait_for_answers(io, client) };
            }
            if client.written != Written::Unknown {
                self.only_reads(client, bytes);
                self.on_primary(client);
            }
            return true;
        }
        client.placing = None;
        if self.is_answered_here(client, tag, bytes) {
            return true;
        }
        if !self.only_reads(client, bytes) {
            client.written = Written::Unknown;
            return true;
        }
        let reads = client.listener.database.reads.filter(|_| is_free(client) && !self.needs_primary(client));
        let Some((reads, replica)) = reads.and_then(|reads| Some((reads, self.choose(io.now(), client, reads)?))) else {
            client.meter.read(false);
            self.on_primary(client);
            return true;
        };
        client.placing = Some(io.now().saturating_add(reads.wait));
        let Some(key) = self.acquire_of(io, client, replica) else { return false };
        let Some(mut server) = self.servers.remove(key) else { return false };
        self.attach(io, &mut server, client);
        self.put_back(server);
        self.is_verified(io, client)
    }

    /// A read runs on the primary: unless a replica has run it before, a view or an operator may write in it.
    fn on_primary(&self, client: &mut Client) {
        if !client.reading.is_some_and(|fingerprint| self.pure.contains(&fingerprint)) {
            client.written = Written::Unknown;
        }
    }

    /// A replica has run a read to its end: it writes nothing.
    pub(crate) fn ran_on_replica(&mut self, client: Option<&Client>) {
        let Some(fingerprint) = client.and_then(|client| client.reading) else { return };
        if self.pure.len() >= MAX_LEARNED {
            self.pure.clear();
        }
        self.pure.insert(fingerprint);
    }

    /// A replica's pool that may serve the read; `None`: the primary does.
    fn choose(&self, now: Nanos, client: &Client, reads: Reads) -> Option<usize> {
        let primary = self.backends.get(*client.backends.first()?)?;
        if primary.samples.is_due(now, reads.max_lag) {
            return None; // it carries the question
        }
        let needed = primary.samples.needed(now, reads.max_lag, client.written)?;
        let count = primary.replicas.len();
        let turns = (0..count).map(|n| primary.replicas[(client.key.index() + n) % count]);
        turns.into_iter().find(|index| self.backends.get(*index).is_some_and(|backend| backend.is_readable(primary, now, needed)))
    }

    /// Whether the replica at hand has what the session must see. False: the client waits for it to tell.
    fn is_verified(&mut self, io: &mut dyn Io, client: &mut Client) -> bool {
        let Some(mut server) = client.server.and_then(|key| self.servers.remove(key)) else { return true };
        let reads = client.listener.database.reads;
        let primary = client.backends.first().and_then(|index| self.backends.get(*index));
        let needed = primary.zip(reads).and_then(|(primary, reads)| primary.samples.needed(io.now(), reads.max_lag, client.written));
        let is_enough = needed.zip(server.replayed).is_some_and(|(needed, replayed)| replayed.covers(needed));
        let is_asking = server.expect.iter().any(|expect| matches!(expect, Expect::Quiet(Quiet::Position(_))));
        let is_late = client.placing.is_none_or(|deadline| deadline < io.now()) && client.is_replica_asked;
        let is_done = match () {
            () if is_asking => wait_for_answers(io, client),
            () if is_enough && !server.is_doomed => {
                client.placing = None;
                client.meter.read(true);
                self.backends.get_mut(server.backend).into_iter().for_each(|backend| backend.pace.kept_up());
                self.begin_on_replica(io, client, &mut server);
                true
            }
            () if is_late || needed.is_none() || server.is_doomed => {
                self.leave_replica(io, client, &mut server, reads.map_or(AWAY, |reads| reads.wait));
                true
            }
            () => {
                let sql = if client.is_replica_asked { OF_REPLICA_SOON } else { OF_REPLICA };
                client.is_replica_asked = true;
                ask(io, &mut server, sql);
                wait_for_answers(io, client)
            }
        };
        if client.placing.is_none() {
            client.is_replica_asked = false;
        }
        self.put_back(server);
        is_done
    }

    /// The read goes to the primary instead.
    fn leave_replica(&mut self, io: &mut dyn Io, client: &mut Client, server: &mut Server, pause: Nanos) {
        (client.server, client.virgin, client.placing) = (None, None, None);
        io.unlink(client.key);
        client.meter.read(false);
        self.on_primary(client);
        if let Some(backend) = self.backends.get_mut(server.backend) {
            backend.pace.missed(io.now(), pause);
        }
        self.give_back(io, server);
    }

    /// The lease is over: asks where the primary's log is, if the session has to know, or nobody has asked for long. False: no need.
    pub(crate) fn ask_position(&mut self, io: &mut dyn Io, server: &mut Server, client: &mut Client) -> bool {
        let Some(reads) = client.listener.database.reads.filter(|_| !server.is_replica && !server.is_doomed) else { return false };
        let is_due = self.backends.get(server.backend).is_some_and(|backend| backend.samples.is_due(io.now(), reads.max_lag));
        if client.written != Written::Unknown && !is_due {
            return false;
        }
        ask(io, server, OF_PRIMARY);
        !wait_for_answers(io, client)
    }

    /// The answer to a question of ours.
    pub(crate) fn position_known(&mut self, server: &mut Server, client: &mut Client, asked: Nanos) {
        let position = server.position.take();
        if server.is_replica {
            server.replayed = position;
            if let Some((backend, position)) = self.backends.get_mut(server.backend).zip(position) {
                backend.pace.replayed(position);
            }
            return;
        }
        let Some((position, reads)) = position.zip(client.listener.database.reads) else {
            server.is_doomed = true; // asked again of another connection
            return;
        };
        if client.written == Written::Unknown {
            client.written = Written::At(position);
        }
        if let Some(backend) = self.backends.get_mut(server.backend) {
            backend.samples.add(asked, position, reads.max_lag);
        }
    }

    /// A replica is not to be had: who waits for it reads from the primary instead.
    pub(crate) fn give_up_replica(&mut self, io: &mut dyn Io, index: usize) {
        let Some(backend) = self.backends.get_mut(index) else { return };
        backend.pace.is_away(io.now().saturating_add(AWAY));
        for waiter in backend.pool.dismiss() {
            self.place_anew(io, waiter);
        }
    }

    /// One who waited for a replica is placed anew.
    pub(crate) fn place_anew(&mut self, io: &mut dyn Io, waiter: Key) {
        if let Some(client) = self.clients.get_mut(waiter) {
            (client.waits, client.placing) = (None, None);
            io.pause(waiter, false);
        }
    }

    /// A replica's first word is that it cannot run the read (it writes, the table is not replicated), or that replay has cancelled it: the
    /// primary runs it.
    pub(crate) fn is_refused_by_replica(&mut self, client: &Client, server: &mut Server, code: &[u8]) -> bool {
        let is_impure = matches!(code, b"25006" | b"0A000" | b"55000");
        if is_impure && server.is_heard() {
            self.needs_primary_next_time(client);
        }
        if !server.is_replica || !server.is_heard() || !(is_impure || code == b"40001") || !self.is_due(client, server) {
            return false;
        }
        if is_impure {
            if self.impure.len() >= MAX_LEARNED {
                self.impure.clear();
            }
            let mut lexer = std::mem::take(&mut self.lexer);
            let impure = &mut self.impure;
            server.kept.fingerprints(client, &mut lexer, |fingerprint| _ = impure.insert(fingerprint));
            self.lexer = lexer;
        }
        true
    }

    /// Whether a query, or a batch up to its Sync, reads and nothing else. A batch that is not all here may be anything.
    fn only_reads(&mut self, client: &mut Client, bytes: &[u8]) -> bool {
        let mut lexer = std::mem::take(&mut self.lexer);
        let fingerprints = RefCell::new(Vec::new());
        let is_read = |lexed: &Lexed| {
            fingerprints.borrow_mut().push(lexed.fingerprint);
            only_reads(lexed) && !self.impure.contains(&lexed.fingerprint)
        };
        let found = request_reads(client, bytes, &mut lexer, is_read);
        self.lexer = lexer;
        client.reading = fingerprints.borrow().first().copied().filter(|first| found && fingerprints.borrow().iter().all(|one| one == first));
        found
    }
}

impl Backend {
    /// Whether a read may try this replica now: it is alive, nobody waits for it, and it is not what the primary's pool uses.
    fn is_readable(&self, primary: &Backend, now: Nanos, needed: Position) -> bool {
        let [_, _, _, waiting] = self.pool.census();
        let is_healthy = self.candidate().is_some_and(|endpoint| endpoint.is_healthy);
        self.is_replica()
            && !self.is_retired
            && !self.pool.is_paused()
            && waiting == 0
            && self.pace.may_have(needed, now)
            && is_healthy
            && self.place() != primary.place()
    }
}

/// Whether all that the client is still owed is our own: it has lost nothing with the connection.
pub fn is_unharmed(client: &Client, server: &Server) -> bool {
    let is_ours = |expect: &Expect| matches!(expect, Expect::Quiet(Quiet::Position(_) | Quiet::Settings(_)));
    let is_asking = client.placing.is_some() || server.expect.iter().any(|expect| matches!(expect, Expect::Quiet(Quiet::Position(_))));
    let is_between = client.server == Some(server.key) && matches!(client.phase, Phase::Ready) && !client.is_in_batch && client.pinned.is_none();
    is_between && is_asking && server.status == b'I' && server.expect.iter().all(is_ours)
}

/// Whether the session has nothing that a connection of another server would lack.
pub fn is_free(client: &Client) -> bool {
    let is_plain = client.settings.get("role").is_none() && client.settings.get("session_authorization").is_none();
    client.pinned.is_none()
        && client.begun != Begun::Failed
        && client.mode == Mode::Transaction
        && client.session.suspects.is_none()
        && !client.is_repeated
        && !client.listener.is_planned()
        && is_plain
}

fn ask(io: &mut dyn Io, server: &mut Server, sql: &str) {
    query(io.out(server.key), sql.as_bytes());
    server.push_quiet(Quiet::Position(io.now()));
}

/// The message at the front waits for what its connection owes. Always false: it is not placed.
pub fn wait_for_answers(io: &mut dyn Io, client: &mut Client) -> bool {
    client.is_moving = true;
    io.pause(client.key, true);
    false
}

fn request_reads(client: &Client, bytes: &[u8], lexer: &mut Lexer, is_read: impl Fn(&Lexed) -> bool) -> bool {
    let (mut at, mut parsed) = (0, None);
    while let Some(Head::Frame { tag, total }) = bytes.get(at..).map(|rest| head(rest, message::frontend_limit)) {
        let Some(body) = bytes.get(at + HEADER..at.saturating_add(total)) else { return false };
        at += total;
        let is_harmless = match tag {
            b'Q' => return at == total && body.strip_suffix(b"\0").is_some_and(|sql| client.all_statements(sql, lexer, is_read)),
            b'S' => return at > total,
            b'P' => Parse::read(body).is_some_and(|parse| {
                parsed = Some(parse.name);
                // A named one could not be parsed once more, should the replica refuse.
                parse.name.is_empty() && client.all_statements(parse.sql, lexer, &is_read)
            }),
            b'B' => BindNames::read(body).is_some_and(|names| {
                let known = || client.statement(names.statement).and_then(|handle| handle.prepared.lexed.as_ref());
                parsed == Some(names.statement) || known().is_some_and(&is_read)
            }),
            b'D' | b'E' => true,
            _ => false,
        };
        if !is_harmless {
            return false;
        }
    }
    false
}
