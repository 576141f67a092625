//! A lost server may have left a request undone. Where the request provably changes nothing and nothing of its answer was heard, it is
//! presented once more, and another connection runs it. What may have changed something is never repeated: its client is told.
//!
//! Only where a shard has several servers: then a lost one is a failover, which clients should not see.

use crate::client::{Begun, Client};
use crate::doubt::Doubts;
use crate::machine::Postgres;
use crate::message::{self, BindNames, HEADER, Head, Parse, frame, head};
use crate::pool_conf::Mode;
use crate::server::{Expect, Quiet, Server};
use crate::split::is_unharmed;
use crate::statement::Prepared;
use sql::effect::Transaction;
use sql::reads::only_reads;
use sql::{Effect, Lexed, Lexer, Settings};
use wire::{Io, Key};

/// What is kept of one request: reads of more than this are rare, and a pool keeps one such buffer per connection.
const MAX_KEPT: usize = 16 * 1024;

/// The messages of the request that a lease began with, as the client sent them.
#[derive(Default)]
pub struct Kept {
    bytes: Vec<u8>,
    /// What precedes the rows of a replica's answer: heard with what follows, which may be a refusal.
    withheld: Vec<u8>,
    /// Something of the answer was heard, or not all of the request is here.
    is_void: bool,
    /// The message that is being worked off was answered at once.
    is_said: bool,
    /// The server's last word was withheld, since the request is run again.
    is_due: bool,
}

impl Kept {
    /// A new lease.
    pub fn reset(&mut self) {
        self.bytes.clear();
        self.withheld.clear();
        (self.is_void, self.is_said, self.is_due) = (false, false, false);
    }

    /// Keeps the beginning of an answer from the client as long as nothing of it was heard; false: it is to be heard now.
    pub fn withhold(&mut self, bytes: &[u8]) -> bool {
        let is_withheld = !self.is_void && is_prologue(bytes) && self.withheld.len() + bytes.len() <= MAX_KEPT;
        if is_withheld {
            self.withheld.extend_from_slice(bytes);
        }
        is_withheld
    }

    /// More of the answer is heard.
    #[inline]
    pub fn release(&mut self, out: &mut Vec<u8>) {
        if !self.withheld.is_empty() {
            out.append(&mut self.withheld);
        }
    }

    /// Whether the client hears an answer.
    pub fn is_answered(&mut self, is_heard: bool) {
        self.is_void |= is_heard;
    }

    /// A message was answered without the server: it need not be sent again.
    pub fn said(&mut self) {
        self.is_said = true;
    }

    fn add(&mut self, tag: u8, frame: &[u8]) {
        if self.is_void || std::mem::take(&mut self.is_said) || tag == b'X' {
            return;
        }
        let is_taken = matches!(tag, b'Q' | b'P' | b'B' | b'D' | b'C' | b'E' | b'S' | b'H') && self.bytes.len() + frame.len() <= MAX_KEPT;
        self.is_void = !is_taken;
        if is_taken {
            self.bytes.extend_from_slice(frame);
        }
    }

    /// Tells the fingerprints of the statements.
    pub fn fingerprints(&self, client: &Client, lexer: &mut Lexer, mut tell: impl FnMut(u128)) {
        let mut at = 0;
        while let Some(Head::Frame { tag, total }) = self.bytes.get(at..).map(|rest| head(rest, message::frontend_limit)) {
            let body = self.bytes.get(at + HEADER..at.saturating_add(total)).unwrap_or_default();
            match tag {
                b'Q' => drop(lexer.scan(body.strip_suffix(b"\0").unwrap_or(body), Settings::default()).map(|lexed| tell(lexed.fingerprint))),
                b'B' => {
                    let handle = BindNames::read(body).and_then(|names| client.statement(names.statement));
                    handle.and_then(|handle| handle.prepared.lexed.as_ref()).into_iter().for_each(|lexed| tell(lexed.fingerprint));
                }
                _ => {}
            }
            at += total;
        }
    }

    /// A Parse that was held until its server was known.
    pub fn add_held(&mut self, prepared: &Prepared, name: &[u8]) {
        let mut bytes = Vec::new();
        frame(&mut bytes, b'P', |out| {
            message::c_string(out, name);
            message::c_string(out, &prepared.sql);
            out.extend_from_slice(&((prepared.types.len() / 4) as u16).to_be_bytes());
            out.extend_from_slice(&prepared.types);
        });
        self.add(b'P', &bytes);
    }
}

impl Postgres {
    /// Keeps a message that was worked off.
    pub(crate) fn keep(&mut self, client: &Client, tag: u8, frame: &[u8]) {
        if let Some(server) = client.server.and_then(|key| self.servers.get_mut(key)) {
            server.kept.add(tag, frame);
        }
    }

    /// Only the beginning of a message is known: it went on as it came.
    pub(crate) fn keep_not(&mut self, key: Key) {
        if let Some(server) = self.servers.get_mut(key) {
            server.kept.is_void = true;
        }
    }

    /// A server says that it shuts down, or that another one's crash ends it. True: the client need not hear of it.
    pub(crate) fn is_withheld(&mut self, client: &Client, server: &mut Server) -> bool {
        server.is_stopping && self.is_due(client, server)
    }

    /// Whether the request can be run again; then it will be, when the connection is closed.
    pub(crate) fn is_due(&mut self, client: &Client, server: &mut Server) -> bool {
        server.kept.is_due = self.is_repeatable(client, server);
        server.kept.is_due
    }

    /// Presents the request of a lost server once more. False: its client has to be told.
    pub(crate) fn replay(&mut self, io: &mut dyn Io, client: &mut Client, server: &mut Server) -> bool {
        if is_unharmed(client, server) {
            (client.server, client.virgin, client.placing, client.is_moving) = (None, None, None, false);
            io.unlink(client.key);
            io.pause(client.key, false);
            return true;
        }
        if !server.kept.is_due && !self.is_repeatable(client, server) {
            return false;
        }
        if client.read_only.take().is_some() {
            client.begun = Begun::Open;
        }
        // What the messages changed on our side is undone, the last change first: they change it again.
        while let Some(expect) = server.expect.pop_back() {
            match expect {
                Expect::Parse { undo: Some(undo), .. } | Expect::Say(_, Some(undo)) => drop(client.put(&undo.name, undo.before)),
                Expect::Quiet(Quiet::Begin) => client.begun = Begun::Open,
                _ => {}
            }
        }
        (client.server, client.virgin, client.tapped) = (None, None, None);
        client.doubts = Doubts::default();
        (client.is_in_batch, client.is_skipping, client.is_moving, client.is_repeated) = (false, false, false, true);
        client.meter.replayed();
        io.unlink(client.key);
        io.unread(client.key, &server.kept.bytes);
        io.pause(client.key, false);
        true
    }

    fn is_repeatable(&mut self, client: &Client, server: &Server) -> bool {
        let kept = &server.kept;
        let is_alone = client.server == Some(server.key) && client.scatter.is_none() && client.legs.is_empty();
        let is_free = client.pinned.is_none() && client.session.suspects.is_none() && client.mode == Mode::Transaction && !client.is_repeated;
        is_alone && is_free && !kept.is_void && !kept.bytes.is_empty() && !server.is_copy_in && changes_nothing(client, &kept.bytes, &mut self.lexer)
    }
}

/// Whether these are messages that precede rows.
fn is_prologue(bytes: &[u8]) -> bool {
    let mut at = 0;
    while let Some(Head::Frame { tag: b'1' | b'2' | b't' | b'T' | b'n', total }) = bytes.get(at..).map(|rest| head(rest, message::backend_limit)) {
        at += total;
    }
    at == bytes.len()
}

fn changes_nothing(client: &Client, messages: &[u8], lexer: &mut Lexer) -> bool {
    let mut at = 0;
    while let Some(Head::Frame { tag, total }) = messages.get(at..).map(|rest| head(rest, message::frontend_limit)) {
        let Some(body) = messages.get(at + HEADER..at.saturating_add(total)) else { return false };
        let is_harmless = match tag {
            b'Q' => body.strip_suffix(b"\0").is_some_and(|sql| client.all_statements(sql, lexer, reads_or_begins)),
            b'B' => BindNames::read(body).is_some_and(|names| client.statement(names.statement).is_some_and(|handle| is_read(&handle.prepared))),
            b'P' => Parse::read(body).is_some(),
            _ => true,
        };
        if !is_harmless {
            return false;
        }
        at += total;
    }
    at == messages.len()
}

fn is_read(prepared: &Prepared) -> bool {
    prepared.lexed.as_ref().is_some_and(reads_or_begins)
}

/// A BEGIN changes nothing either: the transaction ended with its connection.
fn reads_or_begins(lexed: &Lexed) -> bool {
    only_reads(lexed) || Effect::of(lexed).transaction == Some(Transaction::Begin)
}
