//! A client comes: encryption, startup message, who it is, and the greeting.

use crate::auth::{Check, Step};
use crate::cancel::Secret;
use crate::client::{Client, Phase};
use crate::conf::Listener;
use crate::error::Error;
use crate::login::has_alpn;
use crate::machine::{Postgres, timer};
use crate::message::{self, Head, frame, head};
use crate::replication;
use crate::server::{Expect, Quiet, Server};
use crate::settings::Settings;
use crate::startup::{self, NEWEST_MINOR, Start, Startup};
use sql::flow::Context;
use std::rc::Rc;
use wire::{Close, Fault, Io, TlsStart};

const AUTHENTICATION_OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";
/// Protocol 3.0, of 3.2 the upper half.
const VERSION: u32 = 3 << 16;
/// The first byte of a TLS handshake; of a startup packet it would be a length of 352 MiB.
const TLS_HANDSHAKE: u8 = 0x16;
/// From this minor version on cancel keys have the length that we like.
const LONG_KEYS: u16 = 2;

/// What becomes of the connection after one step of the greeting.
pub enum Next {
    /// On with what follows these bytes.
    On(usize),
    /// More bytes are needed.
    More,
    /// Closed, after what is pending was sent.
    End,
}

impl Postgres {
    /// Bytes of a client that is not ready yet.
    ///
    /// # Errors
    /// What it sent is no startup packet or no answer to what it was asked; it has been told.
    pub(crate) fn hello_data(&mut self, io: &mut dyn Io, client: &mut Client, bytes: &[u8]) -> Result<Next, Fault> {
        match &client.phase {
            Phase::Startup => self.first_packet(io, client, bytes),
            Phase::Auth(_) => self.auth_message(io, client, bytes),
            // A client may not talk before it is greeted; what it sends waits, and is not read on into memory.
            Phase::Welcome => {
                io.pause(client.key, true);
                Ok(Next::More)
            }
            _ => Ok(Next::More),
        }
    }

    fn first_packet(&mut self, io: &mut dyn Io, client: &mut Client, bytes: &[u8]) -> Result<Next, Fault> {
        if bytes.first() == Some(&TLS_HANDSHAKE) && client.is_new {
            return direct_tls(io, client);
        }
        let (startup, length) = startup::read(bytes).map_err(|error| fatal(io, client, &error, "Startup packet"))?;
        if startup == Startup::More {
            return Ok(Next::More);
        }
        client.is_new = false;
        match startup {
            Startup::More => {}
            Startup::Gss => io.out(client.key).push(b'N'),
            Startup::Ssl if is_secured(io, client) => return Err(fatal(io, client, &Error::protocol("SSLRequest inside of TLS"), "SSLRequest")),
            Startup::Ssl => return tls_request(io, client, bytes.len()).map(|()| Next::On(length)),
            Startup::Cancel { pid, secret } => {
                self.cancel_request(io, pid, &secret);
                return Ok(Next::End);
            }
            Startup::Start(start) => {
                self.start(io, client, start).map_err(|error| fatal(io, client, &error, "Startup packet"))?;
            }
        }
        Ok(Next::On(length))
    }

    fn start(&mut self, io: &mut dyn Io, client: &mut Client, start: Start) -> Result<(), Error> {
        let listener = client.listener.clone();
        let is_tls = is_secured(io, client);
        if listener.is_tls_required && !is_tls {
            return Err(Error::fatal("28000", format!("listener {} takes TLS connections only", listener.name)).hint("Connect with sslmode=require."));
        }
        if let Some(kind) = &start.replication {
            client.replication = Some(kind.as_str().into());
        }
        let minor = start.minor.min(NEWEST_MINOR);
        if start.minor > minor || !start.unknown.is_empty() {
            negotiate(io.out(client.key), minor, &start.unknown);
        }
        client.has_long_key = minor >= LONG_KEYS;
        client.user = start.user.as_str().into();
        client.database = start.database.into();
        client.identity = format!("user:{}", start.user).into();
        client.startup = Rc::new(Settings::new(start.settings));
        client.settings = client.startup.clone();
        let (check, step) = Check::begin(&listener, &start.user, io.peer(client.key), &mut self.entropy);
        if let Some(check) = check {
            client.phase = Phase::Auth(Box::new(check));
        }
        self.step(io, client, step)
    }

    fn auth_message(&mut self, io: &mut dyn Io, client: &mut Client, bytes: &[u8]) -> Result<Next, Fault> {
        let total = match head(bytes, message::frontend_limit) {
            Head::Short => return Ok(Next::More),
            Head::Frame { tag: b'X', .. } => return Ok(Next::End),
            Head::Frame { tag: b'p', total } => total,
            // Not waited for: other messages may be long.
            Head::Frame { tag, .. } => {
                let error = Error::protocol(format!("expected a password or SASL response, got message type {:?}", char::from(tag)));
                return Err(fatal(io, client, &error, "Authentication"));
            }
            Head::Bad { .. } => return Err(fatal(io, client, &Error::protocol("malformed message during authentication"), "Authentication")),
        };
        let Some(body) = bytes.get(message::HEADER..total) else { return Ok(Next::More) };
        let Phase::Auth(check) = &mut client.phase else { return Ok(Next::More) };
        let step = check.answer(body);
        self.step(io, client, step).map_err(|error| fatal(io, client, &error, "Authentication"))?;
        Ok(Next::On(total))
    }

    fn step(&mut self, io: &mut dyn Io, client: &mut Client, step: Step) -> Result<(), Error> {
        match step {
            Step::Ask(bytes) => io.out(client.key).extend_from_slice(&bytes),
            Step::Failed(error) => return Err(error),
            Step::Done(last) => {
                let out = io.out(client.key);
                out.extend_from_slice(&last);
                out.extend_from_slice(AUTHENTICATION_OK);
                // From here on it waits for us, for as long as the pool says.
                io.disarm(client.key, timer::AUTHENTICATION);
                let listener = client.listener.clone();
                let database = std::mem::take(&mut client.database);
                if listener.is_admin_database(&database) {
                    return self.welcome_admin(io, client);
                }
                // Who has not proven who it is learns nothing of what there is.
                if !listener.databases.is_empty() && !listener.databases.iter().any(|known| **known == *database) {
                    return Err(Error::fatal("3D000", format!("database \"{database}\" does not exist on listener {}", listener.name))
                        .hint(format!("It serves: {}.", listener.databases.join(", "))));
                }
                if let Some(kind) = &client.replication {
                    replication::allow(&listener, kind)?;
                }
                client.phase = Phase::Welcome;
                client.seat = Some(self.seats.take(&listener.database, &client.user)?);
                self.settle_in(client, &listener);
                match client.replication.clone() {
                    Some(kind) => self.replicate(io, client, kind),
                    None => self.welcome(io, client),
                }
            }
        }
        Ok(())
    }

    /// What a session derives from its listener: again when the configuration changes.
    pub(crate) fn settle_in(&mut self, client: &mut Client, listener: &Listener) {
        client.backends = self.group(&listener.database, &client.user);
        client.mode = listener.database.pool_of(&client.user).mode;
        let home = client.backends.get(usize::from(listener.database.rules.home())).and_then(|index| self.backends.get(*index));
        client.harmless = home.map(|home| home.harmless.clone()).unwrap_or_default();
        self.settle_context(client);
    }

    /// The part of a flow's key that depends on the session: again when its parameters change.
    pub(crate) fn settle_context(&self, client: &mut Client) {
        let listener = &client.listener;
        let settings = |name| client.settings.get(name).unwrap_or("").as_bytes();
        client.context = Context::of(&[
            listener.name.as_bytes(),
            listener.database.name.as_bytes(),
            client.identity.as_bytes(),
            settings("search_path"),
            settings("client_encoding"),
            settings("standard_conforming_strings"),
        ]);
    }

    /// Greets with what the server says of itself: remembered, or asked of a server connection.
    pub(crate) fn welcome(&mut self, io: &mut dyn Io, client: &mut Client) {
        let home = client.listener.database.rules.home();
        let backend = client.backends.get(usize::from(home)).and_then(|index| self.backends.get(*index));
        match backend.and_then(|backend| backend.welcomes.get(&client.settings)).cloned() {
            Some(welcome) => self.greet(io, client, &welcome),
            None => {
                // A granted lease continues in `welcome_with`, also when it is granted later.
                if let Some(key) = self.lease(io, client, home)
                    && let Some(mut server) = self.servers.remove(key)
                {
                    self.welcome_with(io, &mut server, client);
                    self.put_back(server);
                }
            }
        }
    }

    /// A server connection is there; when it has taken the client's settings, it is known what to greet with.
    pub(crate) fn welcome_with(&mut self, io: &mut dyn Io, server: &mut Server, client: &mut Client) {
        io.pause(client.key, false);
        if server.expect.is_empty() {
            self.welcomed(io, server, client);
        } else {
            debug_assert!(matches!(server.expect.front(), Some(Expect::Quiet(Quiet::Settings(_)))));
        }
    }

    /// The settings are in force: greet, and give the connection back.
    pub(crate) fn welcomed(&mut self, io: &mut dyn Io, server: &mut Server, client: &mut Client) {
        let welcome: Rc<[u8]> = server.greeting().into();
        if let Some(backend) = self.backends.get_mut(server.backend) {
            backend.keep_welcome(&client.settings, welcome.clone());
        }
        self.greet(io, client, &welcome);
        if !Self::keeps(client) {
            client.server = None;
            io.unlink(client.key);
            self.give_back(io, server);
        }
    }

    pub(crate) fn greet(&mut self, io: &mut dyn Io, client: &mut Client, welcome: &[u8]) {
        let pid = self.cancel_pid(client.key);
        client.secret = Secret::new(self.entropy.draw(), client.has_long_key);
        client.session.keeps_sequences = self.is_sequence_reader(client);
        self.cancel_keys.insert(pid, client.key);
        client.phase = Phase::Ready;
        io.pause(client.key, false);
        let out = io.out(client.key);
        out.extend_from_slice(welcome);
        frame(out, b'K', |out| {
            out.extend_from_slice(&pid.to_be_bytes());
            out.extend_from_slice(client.secret.bytes());
        });
        message::ready(out, b'I');
    }

    /// The server did not take the client's settings: what a direct connection would have said.
    pub(crate) fn settings_refused(&mut self, io: &mut dyn Io, client: &mut Client, body: &[u8]) -> Close {
        let mut error = Error::of_server(body).detail("This is about the settings of the client's startup message (options, search_path, ...).");
        error.is_fatal = true;
        client.meter.error(&error.code);
        error.write(io.out(client.key));
        Close::Flush
    }
}

fn is_secured(io: &dyn Io, client: &Client) -> bool {
    io.peer(client.key).is_some_and(|peer| peer.tls)
}

/// A ClientHello instead of a packet (sslnegotiation=direct): it is left to TLS.
fn direct_tls(io: &mut dyn Io, client: &mut Client) -> Result<Next, Fault> {
    client.is_new = false;
    let Some(tls) = client.listener.tls.clone() else {
        // Nothing that could be said would be understood.
        return Err(Fault::client("Startup packet", "TLS on a listener without tls"));
    };
    io.start_tls(client.key, TlsStart::Accept(tls));
    client.phase = Phase::Securing { is_direct: true };
    Ok(Next::More)
}

/// TLS is up. Without a name for what is spoken in it, a page in a browser could be made to speak to us (ALPACA): who begins with TLS
/// has to give it.
pub fn secured(io: &mut dyn Io, client: &mut Client) -> Option<Close> {
    let is_direct = matches!(client.phase, Phase::Securing { is_direct: true });
    if is_direct && !has_alpn(io, client.key) {
        let error = Error::protocol("received direct SSL connection request without ALPN protocol negotiation extension");
        client.meter.error(&error.code);
        error.write(io.out(client.key));
        return Some(Close::Flush);
    }
    client.phase = Phase::Startup;
    None
}

/// `S` and a handshake, or `N`.
fn tls_request(io: &mut dyn Io, client: &mut Client, received: usize) -> Result<(), Fault> {
    match client.listener.tls.clone() {
        None => io.out(client.key).push(b'N'),
        // CVE-2021-23214: bytes behind the request came before TLS, from anybody, and would be taken for the client's.
        Some(_) if received > 8 => {
            let error = Error::protocol("received unencrypted data after SSL request");
            return Err(fatal(io, client, &error, "SSLRequest"));
        }
        Some(tls) => {
            io.out(client.key).push(b'S');
            io.start_tls(client.key, TlsStart::Accept(tls));
            client.phase = Phase::Securing { is_direct: false };
        }
    }
    Ok(())
}

/// NegotiateProtocolVersion: that minor version, and none of those options.
fn negotiate(out: &mut Vec<u8>, minor: u16, unknown: &[String]) {
    frame(out, b'v', |out| {
        out.extend_from_slice(&(VERSION | u32::from(minor)).to_be_bytes());
        out.extend_from_slice(&(unknown.len() as u32).to_be_bytes());
        unknown.iter().for_each(|name| message::c_string(out, name.as_bytes()));
    });
}

/// Tells the client and makes the fault that ends its connection.
pub fn fatal(io: &mut dyn Io, client: &Client, error: &Error, place: &'static str) -> Fault {
    client.meter.error(&error.code);
    error.write(io.out(client.key));
    Fault::client(place, error.message.clone())
}
