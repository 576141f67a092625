//! What a protocol may ask of the engine.

use crate::key::{Key, Nanos, SECONDS};
use std::net::SocketAddr;
use std::sync::Arc;

/// TLS as a server, ready to use.
pub type TlsServer = Arc<rustls::ServerConfig>;

/// TLS as a client: the configuration and the name to verify.
#[derive(Clone, Debug)]
pub struct TlsClient {
    /// Roots, certificates, versions.
    pub config: Arc<rustls::ClientConfig>,
    /// The name sent as SNI and, where the configuration verifies, proven by the server.
    pub name: rustls::pki_types::ServerName<'static>,
}

/// A switch to TLS in the middle of a connection (PostgreSQL's SSLRequest, MySQL's SSL request).
#[derive(Clone, Debug)]
pub enum TlsStart {
    /// We are the server: the client's next bytes are its ClientHello.
    Accept(TlsServer),
    /// We are the client: our ClientHello goes out next.
    Connect(TlsClient),
}

/// Where to connect to.
#[derive(Clone, Debug)]
pub struct Target {
    /// A name or an address; names are resolved off the loop.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// TLS from the first byte on, or none (a protocol that negotiates it calls `start_tls` later).
    pub tls: Option<TlsClient>,
    /// Given up after this.
    pub connect_timeout: Nanos,
}

/// What is known of the other side.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub remote: SocketAddr,
    /// Ours, as it sees it.
    pub local: SocketAddr,
    /// Whether TLS is up.
    pub tls: bool,
    /// The subject's common name of its verified certificate.
    pub common_name: Option<Arc<str>>,
    /// The name that a client asked for when TLS began (SNI), in lower case.
    pub server_name: Option<Arc<str>>,
    /// The application protocol that both sides agreed on (ALPN).
    pub alpn: Option<Arc<[u8]>>,
    /// A server's certificate (DER), which its client may bind its login to.
    pub certificate: Option<Arc<[u8]>>,
}

impl Peer {
    /// Somebody on a plain connection.
    pub fn plain(remote: SocketAddr, local: SocketAddr) -> Peer {
        Peer { remote, local, tls: false, common_name: None, server_name: None, alpn: None, certificate: None }
    }
}

/// How to close.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// Send what is pending first, within `limits::CLOSE_LINGER_MS`.
    Flush,
    /// Now.
    Abort,
}

/// A question to the brain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upcall {
    /// Which of the brain's handlers: "plan".
    pub topic: &'static str,
    /// The question, a protobuf message of that topic.
    pub body: Vec<u8>,
}

/// For `Io::forward`: no end is known; the frame, if there is one, is as long as the connection.
pub const STREAM: u64 = u64::MAX;

/// The engine as a protocol sees it. All calls are cheap and none blocks; nothing calls back into the protocol before it returns.
///
/// A key that is gone is harmless everywhere: output is thrown away, the rest does nothing.
pub trait Io {
    /// The time of this turn of the loop.
    fn now(&self) -> Nanos;

    /// The time at this moment, read from the clock: for what must not be judged by the beginning of a turn that may have taken long.
    fn clock(&self) -> Nanos {
        self.now()
    }

    /// Seconds since 1970 by the system's clock: for what others have dated, such as tokens. Never for measuring. A simulation begins in 1970.
    fn unix_time(&self) -> u64 {
        self.now() / SECONDS
    }

    /// A random number, not for secrets.
    fn random(&mut self) -> u64;

    /// The output of a connection: append to it. It is sent at the end of the turn, at the latest; what was appended to a connection
    /// that is still connecting is sent when it is up. While a `forward` to the connection is under way, nothing may be appended.
    fn out(&mut self, to: Key) -> &mut Vec<u8>;

    /// Bytes of `of`'s output that the kernel has not taken yet.
    fn backlog(&self, of: Key) -> usize;

    /// The `n` bytes that follow those which the present `data` call consumes go to `to` untouched; `data` is called again with what
    /// comes after them. Implies `link(from, to)` until it is done. If `to` goes away, the bytes are skipped. `STREAM` forwards all that
    /// ever comes: a relay, not a frame.
    fn forward(&mut self, from: Key, to: Key, n: u64);

    /// The `n` bytes that follow those which the present `data` call consumes are thrown away.
    fn skip(&mut self, from: Key, n: u64);

    /// `data` need not be called for `from` until `n` unconsumed bytes are there: spares re-reading a long unfinished frame.
    fn want(&mut self, from: Key, n: usize);

    /// While `to` has more than `limits::HIGH_WATER` unsent, `from` is not read. A connection has one link; a new one replaces it.
    fn link(&mut self, from: Key, to: Key);

    /// Undoes `link`; `from` is read again.
    fn unlink(&mut self, from: Key);

    /// Stops (`true`) or resumes (`false`) the reading of a connection on the protocol's own account: `data` is not called for it while
    /// paused. The unconsumed tail is presented again on resume. A connection's own unsent output stops its reading without being asked.
    fn pause(&mut self, key: Key, paused: bool);

    /// Puts bytes that were consumed back in front of what was not: `data` sees them again. Not within `data` of the same connection.
    fn unread(&mut self, key: Key, bytes: &[u8]);

    /// Opens a connection. `open` is called with `Opened::Server { tag }` when it is up (with TLS, after its handshake), or
    /// `Event::Closed(Why::Refused)` comes.
    fn dial(&mut self, target: &Target, tag: u64) -> Key;

    /// Goes on in TLS after what is in `out` has been sent. `Event::Secured` follows.
    fn start_tls(&mut self, key: Key, start: TlsStart);

    /// `Event::Timer(timer)` for `key` at `at`; setting the same timer again moves it. Fires once. Resolution one millisecond.
    fn arm(&mut self, key: Key, timer: u32, at: Nanos);

    /// Forgets a timer.
    fn disarm(&mut self, key: Key, timer: u32);

    /// Asks the brain; `Event::Answer` comes for `key` with the number that this returns, also when nobody answers in time (then `None`).
    fn upcall(&mut self, key: Key, call: Upcall) -> u64;

    /// Sends FIN after what is in `out`: "no more requests", a client's `HalfClosed` passed on. Reading goes on.
    fn finish(&mut self, key: Key);

    /// Ends a connection. No event follows for it; the protocol forgets it by itself.
    fn close(&mut self, key: Key, how: Close);

    /// A message to the protocol objects of this family on the other workers (a cancel, an invalidation): `Event::Mail` there.
    /// Bounded and best effort: dropped, and counted, when the other worker's box is full.
    fn mail(&mut self, worker: usize, body: Vec<u8>);

    /// What is known of the other side; `None` when the connection is gone or still connecting.
    fn peer(&self, key: Key) -> Option<&Peer>;
}
