//! Frontend messages of a client that is ready.
//!
//! Each message is either worked off, or left unconsumed while the client is paused (for a connection, a plan, a filter's delay): it is
//! presented again on resume, so nothing about it has to be remembered. What was decided for it already is in `Client::wanted`.

use crate::client::{Client, Phase};
use crate::error::Error;
use crate::hello::{Next, fatal};
use crate::machine::Postgres;
use crate::message::{self, HEADER, Head, MAX_HELD, head};
use crate::server::Expect;
use crate::token::{Heeded, heed};
use wire::{Close, Fault, Io, Key};

/// What one message came to.
pub enum Step {
    /// Worked off.
    Done,
    /// The client is paused; the message stays.
    Parked,
    /// The client ends.
    End,
}

/// More is sent on without being held: enough for the names in front of a Bind.
const MAX_FRONT: usize = 2 * 1024;

impl Postgres {
    /// Bytes of a client.
    ///
    /// # Errors
    /// It broke the protocol, and has been told.
    pub(crate) fn client_data(&mut self, io: &mut dyn Io, key: Key, bytes: &[u8]) -> Result<usize, Fault> {
        let Some(mut client) = self.clients.remove(key) else { return Ok(bytes.len()) };
        let mut at = 0;
        let ended = loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let next = match client.phase {
                Phase::Ready => self.message(io, &mut client, rest),
                Phase::Admin => self.admin_data(io, &mut client, rest),
                _ => self.hello_data(io, &mut client, rest),
            };
            match next {
                Ok(Next::On(n)) => at += n,
                Ok(Next::More) => break false,
                Ok(Next::End) => break true,
                Err(fault) => {
                    self.clients.insert(key, client);
                    return Err(fault);
                }
            }
            if at >= bytes.len() {
                break false;
            }
        };
        client.meter.receive(at as u64);
        if ended {
            self.end_client(io, client, Close::Flush);
            return Ok(bytes.len());
        }
        self.clients.insert(key, client);
        Ok(at)
    }

    fn message(&mut self, io: &mut dyn Io, client: &mut Client, bytes: &[u8]) -> Result<Next, Fault> {
        let (tag, total) = match head(bytes, message::frontend_limit) {
            Head::Short => return Ok(Next::More),
            Head::Frame { tag, total } => (tag, total),
            Head::Bad { tag, length } => return Err(fatal(io, client, &bad_message(tag, length), "message header")),
        };
        if client.scatter.is_some() {
            return Ok(Next::More); // answered when the shards have answered; the client is paused
        }
        if client.is_skipping && !matches!(tag, b'S' | b'X') {
            client.wanted.clear();
            client.looked_at = false;
            return Ok(skip(io, client, bytes, total));
        }
        match bytes.get(HEADER..total) {
            Some(body) => {
                if client.listener.database.has_tokens && client.refused.is_none() && matches!(tag, b'Q' | b'P') {
                    return self.with_token(io, client, tag, bytes, total);
                }
                self.presented(io, client, tag, bytes, (&bytes[..total], body))
            }
            None => self.partial(io, client, tag, bytes, total),
        }
    }

    /// A query or Parse of a Database with tokens.
    fn with_token(&mut self, io: &mut dyn Io, client: &mut Client, tag: u8, bytes: &[u8], total: usize) -> Result<Next, Fault> {
        let frame = bytes.get(..total).unwrap_or_default();
        let body = frame.get(HEADER..).unwrap_or_default();
        match heed(io, client, tag, body) {
            Ok(Heeded::Answered) => return Ok(Next::On(total)),
            Ok(Heeded::Instead(instead)) => {
                let next = self.presented(io, client, tag, &instead, (&instead, instead.get(HEADER..).unwrap_or_default()))?;
                return Ok(if let Next::On(_) = next { Next::On(total) } else { next });
            }
            Ok(Heeded::AsIs) => {}
            Err(error) => client.refused = Some(error),
        }
        self.presented(io, client, tag, bytes, (frame, body))
    }

    /// A message that is all here; `bytes` begin with it or with what stands for it.
    fn presented(&mut self, io: &mut dyn Io, client: &mut Client, tag: u8, bytes: &[u8], message: (&[u8], &[u8])) -> Result<Next, Fault> {
        let (frame, body) = message;
        if client.splits() && client.refused.is_none() && !self.is_placed(io, client, tag, bytes) {
            return Ok(Next::More);
        }
        Ok(match self.whole(io, client, tag, frame, body)? {
            Step::Done => {
                client.wanted.clear();
                if client.listener.database.has_standbys {
                    self.keep(client, tag, frame);
                }
                Next::On(frame.len())
            }
            Step::Parked => Next::More,
            Step::End => Next::End,
        })
    }

    fn whole(&mut self, io: &mut dyn Io, client: &mut Client, tag: u8, frame: &[u8], body: &[u8]) -> Result<Step, Fault> {
        if client.started == 0 {
            client.started = io.now().max(1);
            client.began = if client.began == 0 { client.started } else { client.began };
        }
        if let Some(error) = client.refused.take() {
            client.placing = None;
            self.refuse(io, client, tag, error);
            return Ok(Step::Done);
        }
        match tag {
            b'Q' => self.query(io, client, frame, body),
            b'P' => self.parse(io, client, body),
            b'B' => self.bind(io, client, frame, body),
            b'D' | b'C' => self.describe_or_close(io, client, tag, frame, body),
            b'E' => self.execute(io, client, frame, body),
            b'S' => Ok(self.sync(io, client)),
            b'H' => Ok(self.flush(io, client, frame)),
            b'F' => Ok(self.function_call(io, client, frame)),
            b'd' | b'c' | b'f' => Ok(self.copy_data(io, client, tag, frame)),
            b'X' => Ok(self.terminate(client)),
            _ => Err(fatal(io, client, &bad_message(tag, frame.len() as u32), "message type")),
        }
    }

    /// A message that is not all here: copy data, parameters and very long queries are sent on as they come, statements are held.
    fn partial(&mut self, io: &mut dyn Io, client: &mut Client, tag: u8, bytes: &[u8], total: usize) -> Result<Next, Fault> {
        let is_streamed = tag == b'd' || (!client.listener.is_planned() && (tag == b'B' || (tag == b'Q' && total > MAX_HELD)));
        if is_streamed && bytes.len() >= total.min(MAX_FRONT) {
            return self.stream(io, client, tag, bytes, total);
        }
        if total > MAX_HELD {
            return Err(fatal(io, client, &too_long(tag, total), "message length"));
        }
        io.want(client.key, if is_streamed { total.min(MAX_FRONT) } else { total });
        Ok(Next::More)
    }

    fn stream(&mut self, io: &mut dyn Io, client: &mut Client, tag: u8, bytes: &[u8], total: usize) -> Result<Next, Fault> {
        if client.splits() && client.refused.is_none() && !self.is_placed(io, client, tag, bytes) {
            return Ok(Next::More);
        }
        let rest = (total - bytes.len()) as u64;
        if let Some(error) = client.refused.take() {
            self.refuse(io, client, tag, error);
            io.skip(client.key, rest);
            return Ok(Next::On(bytes.len()));
        }
        let step = match tag {
            b'B' => self.bind(io, client, bytes, bytes.get(HEADER..).unwrap_or_default())?,
            b'Q' => self.long_query(io, client, bytes),
            _ => self.copy_data(io, client, tag, bytes),
        };
        match step {
            Step::Parked => return Ok(Next::More),
            Step::End => return Ok(Next::End),
            Step::Done => {}
        }
        client.wanted.clear();
        match client.server.filter(|_| !client.is_skipping) {
            Some(server) => {
                self.keep_not(server);
                client.meter.receive(rest);
                io.forward(client.key, server, rest);
            }
            None => io.skip(client.key, rest),
        }
        Ok(Next::On(bytes.len()))
    }

    /// Sends a message to the leased server, and remembers what is owed for it.
    pub(crate) fn send(&mut self, io: &mut dyn Io, server: Key, frame: &[u8], expect: Expect) {
        if let Some(server) = self.servers.get_mut(server) {
            io.out(server.key).extend_from_slice(frame);
            server.expect.push_back(expect);
        }
    }

    fn copy_data(&mut self, io: &mut dyn Io, client: &mut Client, tag: u8, frame: &[u8]) -> Step {
        // Outside of a COPY the server throws these away, and so do we: they may arrive after it has refused the rest.
        let server = client.server.and_then(|key| self.servers.get_mut(key));
        if let Some(server) = server.filter(|server| server.is_copy_in || !server.expect.is_empty()) {
            // Whether it ends a COPY, and so which Sync the server ignores, is known when what came before is answered.
            if tag != b'd' && !server.is_copy_in {
                io.out(server.key).extend_from_slice(message::FLUSH);
                client.is_moving = true;
                io.pause(client.key, true);
                return Step::Parked;
            }
            io.out(server.key).extend_from_slice(frame);
            // From here on it listens to Sync again.
            server.is_copy_in &= tag == b'd';
        }
        Step::Done
    }

    fn terminate(&mut self, client: &mut Client) -> Step {
        client.is_leaving = true;
        if self.is_owed(client) { Step::Done } else { Step::End }
    }
}

fn skip(io: &mut dyn Io, client: &Client, bytes: &[u8], total: usize) -> Next {
    if bytes.len() >= total {
        return Next::On(total);
    }
    io.skip(client.key, (total - bytes.len()) as u64);
    Next::On(bytes.len())
}

fn bad_message(tag: u8, length: u32) -> Error {
    match message::frontend_limit(tag) {
        Some(limit) => {
            Error::protocol(format!("invalid message length {length} of message type {:?}: it has 4 to {} bytes", char::from(tag), limit + 4))
        }
        None => Error::protocol(format!("invalid frontend message type {tag}")),
    }
}

fn too_long(tag: u8, total: usize) -> Error {
    Error::fatal("54000", format!("a message of type {:?} has {total} bytes; Midstream takes statements of up to {MAX_HELD}", char::from(tag)))
        .hint("Give values as parameters, or use COPY.")
}
