//! A server connection comes up: TLS, startup message, authentication, parameters.

use crate::error::Error;
use crate::machine::{Postgres, timer};
use crate::message::{self, Head, c_string, field, head};
use crate::server::{Phase, Server};
use wire::{Close, Cursor, Event, Fault, Io, Key, TlsStart, Why};

const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
const VERSION: u32 = 3 << 16;
const TERMINATE: &[u8] = b"X\0\0\0\x04";
/// PostgreSQL's name as an application protocol over TLS.
pub const ALPN: &[u8] = b"postgresql";

/// Why a login cannot succeed.
enum Failed {
    /// The server, or its configuration here, is wrong for every client: waiting does not help.
    Lasting(String),
    /// It may work later.
    Passing(String),
}

impl Postgres {
    /// The connection is up.
    pub(crate) fn server_up(&mut self, io: &mut dyn Io, key: Key) {
        let Some(mut server) = self.servers.remove(key) else { return io.close(key, Close::Abort) };
        match server.phase {
            Phase::Dialling if server.endpoint.tls.is_some() => {
                io.out(key).extend_from_slice(SSL_REQUEST);
                server.phase = Phase::AskedTls;
            }
            Phase::Dialling if server.is_direct && !has_alpn(io, key) => {
                let why = "the server began TLS without the application protocol postgresql; it is older than 17, or no PostgreSQL server";
                let fault = self.login_failed(io, &server, Failed::Lasting(why.into()));
                drop(fault);
                return io.close(key, Close::Abort);
            }
            Phase::Dialling => self.start_login(io, &mut server),
            // A server reads a CancelRequest before it asks who sent it, so TLS would only protect the key from the network that the
            // statement itself is protected on: libpq does the same.
            Phase::Cancel { pid, secret, .. } => {
                let out = io.out(key);
                out.extend_from_slice(b"\0\0\0\x10\x04\xd2\x16\x2e");
                out.extend_from_slice(&pid.to_be_bytes());
                out.extend_from_slice(&secret.to_be_bytes());
            }
            _ => {}
        }
        self.servers.insert(key, server);
    }

    fn start_login(&mut self, io: &mut dyn Io, server: &mut Server) {
        let Some(backend) = self.backends.get(server.backend) else { return };
        let user = backend.credentials().user;
        let out = io.out(server.key);
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&VERSION.to_be_bytes());
        for (name, value) in [("user", user.as_str()), ("database", backend.shard().map_or("", |shard| &shard.database))] {
            c_string(out, name.as_bytes());
            c_string(out, value.as_bytes());
        }
        if let Some(relay) = &server.relay {
            for (name, value) in relay.settings.iter().chain([("replication", &*relay.kind)]) {
                c_string(out, name.as_bytes());
                c_string(out, value.as_bytes());
            }
        }
        out.push(0);
        let length = (out.len() - at) as u32;
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        server.phase = Phase::Login(Default::default());
    }

    /// Bytes of a connection that is not ready yet.
    pub(crate) fn login_data(&mut self, io: &mut dyn Io, server: &mut Server, bytes: &[u8]) -> Result<usize, Fault> {
        match server.phase {
            Phase::AskedTls => return self.tls_answer(io, server, bytes),
            Phase::Asked | Phase::Watching => return self.role_data(io, server, bytes),
            _ => {}
        }
        let mut at = 0;
        while matches!(server.phase, Phase::Login(_)) {
            let rest = &bytes[at..];
            let (tag, total) = match head(rest, message::backend_limit) {
                Head::Short => break,
                Head::Frame { tag, total } => (tag, total),
                Head::Bad { tag, length } => return Err(self.bad_login(io, server, &format!("it sent a message {tag:#04x} of length {length}"))),
            };
            let Some(body) = rest.get(message::HEADER..total) else {
                io.want(server.key, total);
                break;
            };
            at += total;
            if let Err(failed) = self.login_message(io, server, tag, body) {
                return Err(self.login_failed(io, server, failed));
            }
        }
        Ok(at)
    }

    fn tls_answer(&mut self, io: &mut dyn Io, server: &mut Server, bytes: &[u8]) -> Result<usize, Fault> {
        match (bytes, server.endpoint.tls.clone()) {
            // Bytes behind the S came before TLS, from anybody.
            (b"S", Some(tls)) => {
                io.start_tls(server.key, TlsStart::Connect(tls));
                server.phase = Phase::Securing;
                Ok(1)
            }
            ([], _) => Ok(0),
            ([b'N', ..], _) => {
                let why = "the server does not take TLS, and the Database asks for it; set ssl=on there, or tls.mode disable here";
                Err(self.login_failed(io, server, Failed::Lasting(why.into())))
            }
            _ => Err(self.bad_login(io, server, "its answer to SSLRequest is neither S nor N")),
        }
    }

    fn login_message(&mut self, io: &mut dyn Io, server: &mut Server, tag: u8, body: &[u8]) -> Result<(), Failed> {
        let mut cursor = Cursor::new(body);
        match tag {
            b'R' => {
                let Phase::Login(login) = &mut server.phase else { return Ok(()) };
                let Some(backend) = self.backends.get(server.backend) else { return Ok(()) };
                let (who, peer) = (backend.credentials(), io.peer(server.key).cloned());
                login.request(body, &who, peer.as_ref(), &mut self.entropy, io.out(server.key)).map(|_| ()).map_err(Failed::Lasting)
            }
            b'S' => {
                if let (Ok(name), Ok(value)) = (cursor.c_string(), cursor.c_string()) {
                    server.parameter(name, value);
                }
                Ok(())
            }
            b'K' => {
                // Keys longer than four bytes belong to protocol 3.2, which we do not ask for.
                (server.pid, server.secret) = (cursor.u32().unwrap_or(0), cursor.u32().unwrap_or(0));
                Ok(())
            }
            b'Z' => {
                match server.relay {
                    Some(_) => self.relay(io, server),
                    None => self.logged_in(io, server),
                }
                Ok(())
            }
            b'E' => {
                self.relay_error(io, server, body);
                Err(refused_by_server(body))
            }
            b'N' | b'v' => Ok(()),
            other => Err(Failed::Passing(format!("it sent message {:?} during login", char::from(other)))),
        }
    }

    /// It is for the pool's clients now.
    pub(crate) fn server_ready(&mut self, io: &mut dyn Io, server: &mut Server) {
        server.phase = Phase::Ready;
        io.disarm(server.key, timer::LOGIN);
        let Some(backend) = self.backends.get_mut(server.backend) else { return };
        server.owner_pid = self.pids.add(&server.endpoint.address(), server.pid);
        backend.last_error.clear();
        let (term, next) = backend.pool.ready(server.key, io.now());
        server.term = term;
        self.hand_over(io, server, next);
        self.close_surplus(io, server);
        self.pump(io, server.backend);
    }

    /// The pool was retired, or did without it, while it was dialled.
    fn close_surplus(&mut self, io: &mut dyn Io, server: &mut Server) {
        let Some(backend) = self.backends.get_mut(server.backend).filter(|_| server.is_idle) else { return };
        if backend.is_retired || backend.pool.is_paused() || backend.pool.is_over(server.term, io.now()) {
            backend.pool.lost_idle(server.key);
            server.is_closed = true;
            io.out(server.key).extend_from_slice(TERMINATE);
            io.close(server.key, Close::Flush);
        }
    }

    fn bad_login(&mut self, io: &mut dyn Io, server: &Server, what: &str) -> Fault {
        self.login_failed(io, server, Failed::Lasting(format!("this is no PostgreSQL server: {what}")))
    }

    /// The dial has failed; what that means for those who wait depends on why.
    fn login_failed(&mut self, io: &mut dyn Io, server: &Server, failed: Failed) -> Fault {
        let (why, is_lasting) = match failed {
            Failed::Lasting(why) => (why, true),
            Failed::Passing(why) => (why, false),
        };
        if !self.relay_gone(io, server, &why) {
            self.dial_failed(io, server, &why, is_lasting);
        }
        Fault::server("Login", why)
    }

    /// Pause, next server of the shard, and where waiting does not help, an error for everybody who waits.
    pub(crate) fn dial_failed(&mut self, io: &mut dyn Io, server: &Server, why: &str, is_lasting: bool) {
        let index = server.backend;
        let Some(backend) = self.backends.get_mut(index) else { return };
        backend.last_error = why.into();
        let is_hopeless = backend.missed(server.turn, is_lasting, io.now(), io.random());
        backend.meter.error("connect");
        if backend.is_replica() {
            self.give_up_replica(io, index);
            return self.pump(io, index);
        }
        let error = Error::statement("08006", format!("no connection to {}: {why}", backend.name()));
        for waiter in if is_hopeless { backend.pool.dismiss() } else { Vec::new() } {
            self.fail_waiter(io, waiter, error.clone());
        }
        self.pump(io, index);
    }

    /// Everything besides bytes.
    pub(crate) fn server_event(&mut self, io: &mut dyn Io, key: Key, event: Event<'_>) {
        let Some(mut server) = self.servers.remove(key) else { return };
        match event {
            Event::Closed(why) => return self.server_gone(io, server, &why),
            Event::Secured => self.start_login(io, &mut server),
            Event::Timer(timer::LOGIN) if !matches!(server.phase, Phase::Ready | Phase::Relaying) => {
                io.close(key, Close::Abort);
                return self.server_gone(io, server, &Why::Refused("the connection was not ready in time (pool.connectTimeout)".into()));
            }
            Event::Timer(timer::CHECK) if server.is_checking => {
                io.close(key, Close::Abort);
                return self.server_gone(io, server, &Why::Broken("it did not answer".into()));
            }
            Event::Timer(timer::WATCH) if matches!(server.phase, Phase::Watching) => return self.watch(io, server),
            _ => {}
        }
        self.put_back(server);
    }

    fn server_gone(&mut self, io: &mut dyn Io, mut server: Box<Server>, why: &Why) {
        let reason = match why {
            Why::Eof => "the server closed the connection",
            Why::Refused(reason) | Why::Broken(reason) => reason,
            Why::Fault => "the server broke the protocol",
        };
        match server.phase {
            _ if self.relay_gone(io, &server, reason) => {}
            Phase::Cancel { of, .. } => self.cancel_done(io, of),
            Phase::Ready => self.ready_server_gone(io, &mut server, reason),
            Phase::Watching => self.unwatch(&server),
            // A fault during login has been counted where it was found.
            _ if *why == Why::Fault => {}
            _ => self.dial_failed(io, &server, reason, is_certificate(reason)),
        }
    }

    /// A connection of the pool is gone. What runs on it is told or run again; the others to its server are not trusted either.
    pub(crate) fn ready_server_gone(&mut self, io: &mut dyn Io, server: &mut Server, reason: &str) {
        let Some(backend) = self.backends.get_mut(server.backend) else { return };
        if server.is_idle {
            backend.pool.lost_idle(server.key);
        } else {
            backend.lose(server);
            backend.meter.error("lost");
        }
        self.suspect(io, server);
        if let Some(owner) = server.owner.and_then(|owner| self.clients.remove(owner)) {
            self.lost_server(io, owner, server, reason);
        }
        self.pump(io, server.backend);
    }

    /// Closes a connection that nobody has.
    pub(crate) fn close_server(&mut self, io: &mut dyn Io, key: Key) {
        if self.servers.remove(key).is_some() {
            io.out(key).extend_from_slice(TERMINATE);
            io.close(key, Close::Flush);
        }
    }
}

/// Whether the application protocol was agreed on.
pub fn has_alpn(io: &dyn Io, key: Key) -> bool {
    io.peer(key).is_some_and(|peer| peer.alpn.as_deref() == Some(ALPN))
}

/// Whether the server is not who it should be, as rustls says it: that does not pass by waiting.
fn is_certificate(reason: &str) -> bool {
    reason.contains("TLS: invalid peer certificate")
}

/// What the server said when it refused the login. Too many connections, starting up and shutting down pass.
fn refused_by_server(body: &[u8]) -> Failed {
    let code = String::from_utf8_lossy(message::sqlstate(body)).into_owned();
    let text = String::from_utf8_lossy(field(body, b'M').unwrap_or(b"no reason given")).into_owned();
    let why = format!("the server refused the login: {text} (SQLSTATE {code})");
    if code.starts_with("28") || code.starts_with("3D") || code.starts_with("42") { Failed::Lasting(why) } else { Failed::Passing(why) }
}
