//! Backend messages of a connection that is ready.
//!
//! What the client is to see is copied in runs: messages are only looked at where they stand, and a run ends where one is ours, or
//! where something has to be said in between. A message that is not all here and is long is forwarded by the engine.

use crate::client::{Client, Phase as ClientPhase};
use crate::doubt;
use crate::error::Error;
use crate::machine::Postgres;
use crate::memory;
use crate::message::{self, HEADER, Head, field, head, sqlstate};
use crate::names;
use crate::owed::{answer, broken};
use crate::server::{Expect, Quiet, Server};
use crate::stale::described;
use crate::unread::asides;
use sql::effect::State;
use wire::{Close, Fault, Io, Key};

/// A row that is not all here is waited for up to this, and beyond it forwarded as it comes.
const MAX_WAITED: usize = 16 * 1024;

/// What the client sees of a message.
enum Shown {
    /// All of it.
    Pass,
    /// Nothing.
    Swallow,
    /// Our error in its place.
    Instead(Box<Error>),
    /// The same message in other words.
    Reworded(Vec<u8>),
}

impl Shown {
    /// Appends what the client sees instead.
    fn write(self, tag: u8, server: &mut Server, out: &mut Vec<u8>) {
        if !matches!(self, Shown::Swallow) {
            server.kept.release(out);
        }
        match self {
            Shown::Instead(error) => error.write(out),
            Shown::Reworded(body) => message::frame(out, tag, |out| out.extend_from_slice(&body)),
            Shown::Pass | Shown::Swallow => {}
        }
    }
}

/// How many bytes were worked off, and what came of it.
pub type Ran = (usize, Result<Turn, Fault>);

/// Whether there is more to do for this owner.
pub enum Turn {
    /// Yes.
    On,
    /// The connection has another owner now, or none.
    Released,
    /// The client has ended.
    ClientEnded(Close),
}

impl Postgres {
    /// Messages up to the end of the bytes or of the lease.
    pub(crate) fn run(&mut self, io: &mut dyn Io, server: &mut Server, mut client: Option<&mut Client>, bytes: &[u8]) -> Ran {
        let mut at = 0;
        let mut from = 0;
        let to = client.as_ref().map(|client| client.key);
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let (tag, total) = match head(rest, message::backend_limit) {
                Head::Short => break,
                Head::Frame { tag, total } => (tag, total),
                Head::Bad { tag, length } => return (at, Err(broken(tag, &format!("its length is {length}")))),
            };
            if matches!(tag, b'D' | b'd') && server.is_row_heard() {
                if rest.len() >= total {
                    at += total;
                    continue;
                }
                if total <= MAX_WAITED {
                    io.want(server.key, total);
                    break;
                }
                flush(io, server, to, bytes, &mut from, bytes.len());
                self.forward_rest(io, server, to, (total - rest.len()) as u64);
                return (bytes.len(), Ok(Turn::On));
            }
            let Some(body) = rest.get(HEADER..total) else {
                io.want(server.key, total);
                break;
            };
            match self.message_of(server, client.as_deref_mut(), tag, body) {
                Ok(Shown::Pass) => {
                    server.kept.is_answered(!is_prologue(server, tag));
                    at += total;
                }
                Ok(shown) => {
                    flush_heard(io, server, to, bytes, &mut from, at);
                    at += total;
                    from = at;
                    server.kept.is_answered(matches!(shown, Shown::Instead(_) | Shown::Reworded(_)));
                    to.inspect(|to| shown.write(tag, server, io.out(*to)));
                }
                Err(fault) => return (at, Err(fault)),
            }
            if tag == b'G' && client.as_ref().is_some_and(|client| self.is_deserted(client, server)) {
                return (at, Ok(Turn::ClientEnded(Close::Flush)));
            }
            if tag == b'Z' && at < bytes.len() && server.expect.len() == 1 {
                // What the server says behind its last answer is not for the next client to hear.
                // Whether it listens may be known with this very answer only.
                let is_asked = matches!(server.expect.front(), Some(Expect::Quiet(Quiet::Ask(_))));
                let is_kept = is_asked || client.as_deref().is_some_and(|client| Self::keeps(client) || !client.session.suspects.is_none());
                let end = at + asides(server, &bytes[at..], is_kept);
                from = if server.is_heard() { from } else { end };
                at = end;
            }
            if tag == b'Z' || matches!(server.expect.front(), Some(Expect::Say(..))) {
                server.has_unread = at < bytes.len();
                flush(io, server, to, bytes, &mut from, at);
                let turn = self.settle(io, server, client.as_deref_mut(), tag == b'Z');
                if !matches!(turn, Turn::On) {
                    return (at, Ok(turn));
                }
            }
        }
        flush_heard(io, server, to, bytes, &mut from, at);
        if let Some(client) = client.filter(|_| server.expect.is_empty() || server.is_copy_in) {
            resume(io, client);
        }
        (at, Ok(Turn::On))
    }

    /// The rest of a message, which the engine forwards as it comes.
    fn forward_rest(&mut self, io: &mut dyn Io, server: &Server, to: Option<Key>, rest: u64) {
        if let Some(backend) = self.backends.get_mut(server.backend) {
            backend.received = backend.received.saturating_add(rest);
        }
        to.inspect(|to| io.forward(server.key, *to, rest));
    }

    /// One message against what is owed.
    fn message_of(&mut self, server: &mut Server, client: Option<&mut Client>, tag: u8, body: &[u8]) -> Result<Shown, Fault> {
        let heard = server.is_heard();
        let pass = || if heard { Shown::Pass } else { Shown::Swallow };
        match tag {
            b'S' => {
                memory::parameter(server, body);
                if matches!(server.expect.front(), Some(Expect::Restore)) {
                    return Ok(Shown::Pass);
                }
            }
            b'N' => {}
            // Notifications come at any time; nobody but the owner can have asked for them.
            b'A' if server.owner.is_none() => return Ok(Shown::Swallow),
            b'A' => return Ok(self.notification(server, body).map_or(Shown::Pass, Shown::Reworded)),
            b'D' => memory::found(server, body),
            b'E' => return self.error_of(server, client, body),
            b'Z' => {
                server.status = body.first().copied().unwrap_or(b'I');
                server.is_copy_in = false;
                return match server.expect.front() {
                    Some(Expect::Query | Expect::Sync)
                        if server.expect.len() == 1 && client.as_ref().is_some_and(|client| client.session.restores()) =>
                    {
                        Ok(Shown::Swallow)
                    }
                    Some(Expect::Restore) => Ok(Shown::Pass),
                    Some(Expect::Query | Expect::RefusedQuery(_) | Expect::Sync | Expect::Quiet(_)) => Ok(pass()),
                    _ => Err(broken(tag, "no ReadyForQuery is due")),
                };
            }
            b'T' | b'n' => described(server, client, tag, body),
            b'C' if heard && server.is_replica => self.ran_on_replica(client.as_deref()),
            b'C' if heard => memory::forget(server, client, body),
            _ => {}
        }
        if !matches!(tag, b'S' | b'N' | b'A') {
            answer(server, tag)?;
        }
        Ok(pass())
    }

    /// An ErrorResponse: whatever the client sent up to its next Sync is not executed.
    fn error_of(&mut self, server: &mut Server, mut client: Option<&mut Client>, body: &[u8]) -> Result<Shown, Fault> {
        server.is_copy_in = false;
        if field(body, b'V').is_some_and(|severity| severity == b"FATAL" || severity == b"PANIC") {
            server.is_doomed = true;
            server.is_stopping = sqlstate(body).starts_with(b"57P0");
            if client.as_deref().is_some_and(|client| self.is_withheld(client, server)) {
                return Ok(Shown::Swallow);
            }
        } else if client.as_deref().is_some_and(|client| self.is_refused_by_replica(client, server, sqlstate(body))) {
            server.is_doomed = true; // this session only: nothing is wrong with the others
            return Err(Fault::ours("replica", "it refused or cancelled a read, which the primary runs now"));
        }
        if let Some(client) = client.as_deref_mut().filter(|client| client.tapped.is_some() && client.failed.is_none()) {
            client.failed = Some(String::from_utf8_lossy(sqlstate(body)).into_owned());
        }
        if let Some(client) = client.as_deref_mut().filter(|_| server.is_heard()) {
            client.session.refused();
        }
        match server.expect.front_mut() {
            Some(Expect::Query | Expect::Sync) | None => {
                // Nobody asked for it: what it is about nobody knows.
                server.is_doomed |= client.is_none();
                Ok(if client.is_some() { Shown::Pass } else { Shown::Swallow })
            }
            Some(Expect::RefusedQuery(error)) => Ok(Shown::Instead(error.clone())),
            Some(Expect::Quiet(_) | Expect::Restore) => {
                server.quiet_error = Some(body.to_vec());
                Ok(Shown::Swallow)
            }
            Some(_) => {
                let Some(client) = client else { return Ok(Shown::Pass) };
                let (shown, failed) = match server.expect.pop_front() {
                    Some(Expect::Refused(error)) => (Shown::Instead(error), None),
                    failed => (names::reword(client, body).map_or(Shown::Pass, Shown::Reworded), failed),
                };
                doubt::skip(server, client, failed);
                Ok(shown)
            }
        }
    }

    /// Says what is due without the server, and sees whether the lease is over.
    fn settle(&mut self, io: &mut dyn Io, server: &mut Server, client: Option<&mut Client>, is_ready: bool) -> Turn {
        let done = if is_ready { server.expect.pop_front() } else { None };
        let Some(client) = client else { return self.settle_unowned(io, server, done) };
        if let Some(Expect::Quiet(quiet)) = done {
            if let Some(turn) = self.settle_quiet(io, server, client, quiet) {
                return turn;
            }
        } else if is_ready {
            if client.session.restores() && server.expect.is_empty() {
                io.out(server.key).extend_from_slice(&client.restore());
                server.unnamed = None;
                server.expect.push_back(Expect::Restore);
                return Turn::On;
            }
            if server.quiet_error.take().is_some() {
                client.suspect(State::ANY_SETTING);
            }
            client.session.again();
            self.answered_request(io, client);
        }
        while let Some(Expect::Say(bytes, _)) = server.expect.front() {
            io.out(client.key).extend_from_slice(bytes);
            server.expect.pop_front();
        }
        let is_over = is_ready && server.expect.is_empty() && !client.is_in_batch;
        if client.is_leaving && (is_over || (is_ready && self.is_deserted(client, server))) {
            self.last_word(io, client);
            return Turn::ClientEnded(Close::Flush);
        }
        if !is_over || client.placing.is_some() {
            return Turn::On;
        }
        client.doubts.settle();
        if server.status != b'I' || !matches!(client.phase, ClientPhase::Ready) {
            return Turn::On;
        }
        client.ended_transaction(io.now());
        if !client.session.suspects.is_none() && self.ask(io, server, client) {
            return Turn::On;
        }
        if Self::keeps(client) && !server.is_replica {
            return Turn::On;
        }
        if client.listener.database.reads.is_some() && self.ask_position(io, server, client) {
            return Turn::On;
        }
        (client.server, client.read_only) = (None, None);
        io.unlink(client.key);
        resume(io, client);
        self.give_back(io, server);
        Turn::Released
    }

    /// One of our own queries on a client's lease is answered.
    fn settle_quiet(&mut self, io: &mut dyn Io, server: &mut Server, client: &mut Client, quiet: Quiet) -> Option<Turn> {
        let error = server.quiet_error.take();
        match (quiet, error) {
            (Quiet::Settings(settings), None) => {
                server.settings = Some(settings);
                if matches!(client.phase, ClientPhase::Welcome) {
                    self.welcomed(io, server, client);
                    return Some(if client.server.is_none() { Turn::Released } else { Turn::On });
                }
                None
            }
            (Quiet::Ask(asked), error) => {
                self.told(io, server, client, *asked, error.is_some());
                None
            }
            // A transaction that has failed already: the statement behind it fails as well.
            (Quiet::Sequences, Some(_)) if server.status == b'E' => None,
            (Quiet::Fail, _) => None,
            (Quiet::Position(asked), _) => {
                self.position_known(server, client, asked);
                None
            }
            // A role that is not there yet, for one: the primary has it.
            (Quiet::Settings(_), Some(_)) if client.placing.is_some() => {
                server.is_doomed = true;
                None
            }
            (Quiet::Settings(_), Some(body)) => Some(Turn::ClientEnded(self.settings_refused(io, client, &body))),
            (_, None) => None,
            // Its BEGIN was wrong (an isolation level that does not exist): what follows would run outside of a transaction.
            (_, Some(body)) => {
                message::frame(io.out(client.key), b'E', |out| out.extend_from_slice(&body));
                Some(Turn::ClientEnded(Close::Flush))
            }
        }
    }

    /// One of our own queries on a connection that is being cleaned is answered.
    fn settle_unowned(&mut self, io: &mut dyn Io, server: &mut Server, done: Option<Expect>) -> Turn {
        server.is_doomed |= server.quiet_error.take().is_some();
        match done {
            Some(Expect::Quiet(Quiet::Discard)) => {
                server.statements.clear();
                server.unnamed = None;
                server.settings = Some(Default::default());
                server.sequences = Default::default();
                server.is_dirty = false;
            }
            Some(Expect::Quiet(Quiet::Settings(settings))) => server.settings = Some(settings),
            _ => {}
        }
        if server.expect.is_empty() {
            server.is_doomed |= server.status != b'I';
            self.free(io, server);
            return Turn::Released;
        }
        Turn::On
    }
}

/// What the client waited for of its connection has come.
fn resume(io: &mut dyn Io, client: &mut Client) {
    if std::mem::take(&mut client.is_moving) {
        io.pause(client.key, false);
    }
}

/// What precedes the first row of a replica's answer is not heard before what follows it: that may be a refusal.
fn is_prologue(server: &Server, tag: u8) -> bool {
    server.is_replica && matches!(tag, b'1' | b'2' | b't' | b'T' | b'n')
}

/// Copies the run to the client, which has heard it then; or keeps it, see [`is_prologue`].
fn flush_heard(io: &mut dyn Io, server: &mut Server, to: Option<Key>, bytes: &[u8], from: &mut usize, end: usize) {
    if server.is_replica && *from < end && server.will_be_ready() && server.kept.withhold(&bytes[*from..end]) {
        *from = end;
        return;
    }
    server.kept.is_answered(*from < end);
    flush(io, server, to, bytes, from, end);
}

/// Copies the run to the client.
fn flush(io: &mut dyn Io, server: &mut Server, to: Option<Key>, bytes: &[u8], from: &mut usize, end: usize) {
    if let (Some(to), true) = (to, *from < end) {
        let out = io.out(to);
        server.kept.release(out);
        out.extend_from_slice(&bytes[*from..end]);
    }
    *from = end;
}
