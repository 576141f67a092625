//! TLS over buffers: rustls sees bytes, never a socket.

use crate::conn::{Conn, Life};
use crate::net::Net;
use crate::stats;
use crate::stream::Stream;
use crate::timers::Timer;
use crate::{certificate, write};
use rustls::{ClientConnection, Connection, ServerConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use wire::{Key, Nanos, Peer, SECONDS, Side, TlsStart, Why};

/// A handshake that takes longer is given up: several round trips across the world and a slow smart card fit, a silent peer does not stay.
const HANDSHAKE_TIMEOUT: Nanos = 10 * SECONDS;
/// Plaintext sealed at a time: four records, one write.
const SEAL: usize = 64 * 1024;
/// One read of records.
const CIPHER_SCRATCH: usize = 64 * 1024;
/// The longest a ClientHello can be that came together with the message before it (a TLS record and its header).
const MAX_EARLY: usize = 16 * 1024 + 2048;

/// The TLS of one connection.
pub(crate) struct Tls {
    session: Connection,
    /// Records that the kernel has not taken, from `sent` on.
    records: Vec<u8>,
    sent: usize,
    /// Records that came before the session was made.
    early: Vec<u8>,
    is_shaking: bool,
    said_goodbye: bool,
}

impl Tls {
    /// A session that has not begun.
    ///
    /// # Errors
    /// The configuration cannot begin one, in words.
    pub fn new(start: TlsStart) -> Result<Tls, String> {
        let session = match start {
            TlsStart::Accept(config) => ServerConnection::new(config).map(Connection::Server),
            TlsStart::Connect(client) => ClientConnection::new(client.config, client.name).map(Connection::Client),
        };
        let session = session.map_err(|error| format!("TLS: {error}"))?;
        Ok(Tls { session, records: Vec::new(), sent: 0, early: Vec::new(), is_shaking: true, said_goodbye: false })
    }

    /// Before the handshake is done no data passes.
    pub fn is_shaking(&self) -> bool {
        self.is_shaking
    }

    /// Whether records came before the session was made.
    pub fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// Bytes of records that the kernel has not taken.
    pub fn unsent(&self) -> usize {
        self.records.len() - self.sent
    }

    /// Says that no more comes; true the first time.
    pub fn say_goodbye(&mut self) -> bool {
        self.session.send_close_notify();
        !std::mem::replace(&mut self.said_goodbye, true)
    }

    /// Sends records, sealing `out` from `from` on, until all is sent or the kernel takes no more.
    pub fn push(&mut self, socket: &Stream, writable: &mut bool, out: &[u8], from: &mut usize) -> io::Result<()> {
        loop {
            while self.session.wants_write() {
                self.session.write_tls(&mut self.records)?;
            }
            write::push_bytes(socket, writable, &self.records, &mut self.sent, false)?;
            if self.unsent() > 0 {
                return Ok(());
            }
            self.records = Vec::new();
            self.sent = 0;
            if self.is_shaking || *from == out.len() {
                return Ok(());
            }
            let end = out.len().min(*from + SEAL);
            *from += self.session.writer().write(&out[*from..end])?;
        }
    }

    /// Opens records; their plaintext is added to `plain`. True when the peer said that no more comes.
    fn open(&mut self, mut records: &[u8], plain: &mut Vec<u8>) -> io::Result<bool> {
        let mut is_over = false;
        while !records.is_empty() && !is_over {
            self.session.read_tls(&mut records)?;
            let state = self.session.process_new_packets().map_err(io::Error::other)?;
            is_over = state.peer_has_closed();
            let (start, n) = (plain.len(), state.plaintext_bytes_to_read());
            plain.resize(start + n, 0);
            self.session.reader().read_exact(&mut plain[start..])?;
        }
        Ok(is_over)
    }

    /// The peer's certificate.
    fn certificate(&self) -> Option<Arc<[u8]>> {
        self.session.peer_certificates()?.first().map(|certificate| Arc::from(&**certificate))
    }

    /// The name that the client asked for.
    fn server_name(&self) -> Option<Arc<str>> {
        match &self.session {
            Connection::Server(session) => session.server_name().map(|name| name.to_ascii_lowercase().into()),
            Connection::Client(_) => None,
        }
    }

    /// The name of the peer's verified certificate.
    fn common_name(&self) -> Option<Arc<str>> {
        certificate::common_name(self.session.peer_certificates()?.first()?).map(Arc::from)
    }
}

/// What a read of records brought.
pub(crate) enum Opened {
    /// Perhaps plaintext, at the end of the tail.
    Data,
    /// The handshake is done.
    Secured,
    /// The connection is gone.
    Gone,
}

impl Net {
    /// `start_tls`, with everything before it sent. What the peer sent after the message that led here can only be TLS: it is read as such,
    /// so nobody can smuggle plaintext in front of the handshake.
    pub fn begin_tls(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        let Some(start) = conn.tls_start.take() else { return };
        let early = std::mem::take(&mut conn.tail);
        match Tls::new(*start) {
            Ok(_) if early.len() > MAX_EARLY => self.lose(key, Why::Broken("TLS: too many bytes before the handshake".into())),
            Ok(mut tls) => {
                tls.early = early;
                conn.tls = Some(Box::new(tls));
                conn.want = 0;
                self.arm_own(key, Timer::Handshake, self.now + HANDSHAKE_TIMEOUT);
                self.soil(key);
                self.queue(key);
            }
            Err(reason) => self.tls_failed(key, &reason),
        }
    }

    /// Reads records once. Plaintext goes to the tail.
    pub fn read_tls(&mut self, key: Key) -> Opened {
        if self.cipher.is_empty() {
            self.cipher = vec![0; CIPHER_SCRATCH];
        }
        let Some(conn) = self.table.get_mut(key) else { return Opened::Gone };
        let Some(tls) = conn.tls.as_mut() else { return Opened::Gone };
        let early = std::mem::take(&mut tls.early);
        let read = if early.is_empty() { read_some(conn, &mut self.cipher) } else { Ok(early.len()) };
        let n = match read {
            Ok(n) => n,
            Err(error) => {
                self.lose(key, Why::Broken(format!("reading failed: {error}")));
                return Opened::Gone;
            }
        };
        let records = if early.is_empty() { &self.cipher[..n] } else { &early };
        let (side, Some(tls)) = (conn.side, conn.tls.as_mut()) else { return Opened::Gone };
        if conn.tail.capacity() == 0 {
            conn.tail = self.buffers.take();
        }
        self.stats.bytes_in[stats::of(side)].add(n as u64);
        match tls.open(records, &mut conn.tail) {
            Ok(is_over) => conn.eof |= is_over,
            Err(error) => {
                self.tls_failed(key, &format!("TLS: {error}"));
                return Opened::Gone;
            }
        }
        if tls.session.wants_write() {
            self.soil(key);
        }
        if self.handshake_done(key) { Opened::Secured } else { Opened::Data }
    }

    fn handshake_done(&mut self, key: Key) -> bool {
        let Some(conn) = self.table.get_mut(key) else { return false };
        let Some(tls) = conn.tls.as_mut().filter(|tls| tls.is_shaking && !tls.session.is_handshaking()) else { return false };
        tls.is_shaking = false;
        let certificate = if conn.side == Side::Server { tls.certificate() } else { None };
        let alpn = tls.session.alpn_protocol().map(Arc::from);
        conn.peer = Peer { tls: true, common_name: tls.common_name(), server_name: tls.server_name(), alpn, certificate, ..conn.peer.clone() };
        self.stats.tls_handshakes.add(1);
        self.disarm_own(key, Timer::Handshake);
        self.soil(key);
        true
    }

    /// The peer is told by an alert, where one is due.
    pub fn tls_failed(&mut self, key: Key, reason: &str) {
        self.stats.tls_failures.add(1);
        self.flush(key);
        let Some(conn) = self.table.get(key) else { return };
        let why = match conn.life {
            Life::Handshaking => self.refusal(key, reason),
            _ => Why::Broken(reason.into()),
        };
        self.lose(key, why);
    }
}

/// One read; 0 when there is nothing now, and at the end, which sets `eof`.
pub(crate) fn read_some(conn: &mut Conn, scratch: &mut [u8]) -> io::Result<usize> {
    let Some(mut socket) = conn.socket.as_ref() else { return Ok(0) };
    loop {
        return match socket.read(scratch) {
            Ok(0) => {
                conn.eof = true;
                conn.readable = false;
                Ok(0)
            }
            Ok(n) => {
                conn.readable = n == scratch.len() || conn.ending;
                Ok(n)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock && !conn.deaf => {
                conn.readable = false;
                Ok(0)
            }
            Err(error) => Err(error),
        };
    }
}
