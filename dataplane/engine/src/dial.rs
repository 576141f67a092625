//! Connections to back ends: resolved, tried address by address, given up in time, with a reason that names host and port.

use crate::conn::{Conn, Life, Origin};
use crate::net::Net;
use crate::stream::{NOWHERE, Stream};
use crate::timers::Timer;
use mio::Token;
use mio::net::TcpStream;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use wire::{Key, Nanos, Peer, Side, Target, TlsStart, Why};

/// A connection in the making.
pub(crate) struct Dial {
    pub tag: u64,
    target: Target,
    /// Those still to be tried, the next one last.
    addresses: Vec<IpAddr>,
    deadline: Nanos,
    /// Why the last address failed.
    last: String,
}

/// The poll token of a connection.
pub(crate) fn token(key: Key) -> Token {
    Token((key.generation as usize) << 32 | key.slot as usize)
}

/// The connection of a poll token.
pub(crate) fn key(token: Token) -> Key {
    Key { slot: token.0 as u32, generation: (token.0 >> 32) as u32 }
}

impl Net {
    /// Begins a dial. Nothing is reported before the protocol returns.
    pub fn start_dial(&mut self, target: &Target, tag: u64) -> Key {
        self.stats.dials.add(1);
        let peer = Peer::plain(NOWHERE, NOWHERE);
        let literal = target.host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let deadline = self.now + target.connect_timeout;
        let dial = Dial { tag, target: target.clone(), addresses: Vec::from_iter(literal), deadline, last: "no address".into() };
        let conn = Conn::new(None, self.family, Side::Server, Life::Connecting, peer, Origin::Dialed(Box::new(dial)));
        let key = self.add(conn);
        if literal.is_some() {
            self.try_next(key);
        } else if self.resolver.ask(Arc::clone(&self.boxes[self.index]), key, Arc::clone(&target.host)) {
            self.arm_own(key, Timer::Connect, deadline);
        } else {
            self.dial_failed(key, "too many names are being resolved");
        }
        key
    }

    /// The resolver's answer.
    pub fn resolved(&mut self, key: Key, found: Result<Vec<IpAddr>, String>) {
        let Some(dial) = self.dial_of(key) else { return };
        match found {
            Ok(mut addresses) => {
                addresses.reverse();
                dial.addresses = addresses;
                self.try_next(key);
            }
            Err(reason) => self.dial_failed(key, &format!("resolving the name failed: {reason}")),
        }
    }

    fn dial_of(&mut self, key: Key) -> Option<&mut Dial> {
        match self.table.get_mut(key) {
            Some(Conn { life: Life::Connecting, origin: Origin::Dialed(dial), .. }) => Some(dial),
            _ => None,
        }
    }

    /// Tries the next address; each gets its share of the time that is left.
    fn try_next(&mut self, key: Key) {
        let now = self.now;
        while let Some(dial) = self.dial_of(key) {
            let share = dial.deadline.saturating_sub(now) / dial.addresses.len().max(1) as Nanos;
            let Some(address) = dial.addresses.pop() else {
                let last = std::mem::take(&mut dial.last);
                return self.dial_failed(key, &last);
            };
            let address = SocketAddr::new(address, dial.target.port);
            match self.connect(key, address) {
                Ok(()) => return self.arm_own(key, Timer::Connect, now + share),
                Err(error) => self.address_failed(key, address.ip(), &error.to_string()),
            }
        }
    }

    fn connect(&mut self, key: Key, address: SocketAddr) -> io::Result<()> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        let mut socket = Stream::Tcp(socket);
        socket.register(&self.registry, token(key))?;
        if let Some(conn) = self.table.get_mut(key) {
            conn.peer.remote = address;
            conn.socket = Some(socket);
        }
        Ok(())
    }

    fn address_failed(&mut self, key: Key, address: IpAddr, reason: &str) {
        if let Some(conn) = self.table.get_mut(key) {
            conn.socket = None;
            (conn.readable, conn.ending) = (false, false);
        }
        if let Some(dial) = self.dial_of(key) {
            let is_literal = dial.target.host.parse::<IpAddr>().is_ok();
            dial.last = if is_literal { reason.to_owned() } else { format!("{address}: {reason}") };
        }
    }

    /// An event for a connecting socket: true when it is up, with TLS still to come where that is wanted.
    pub fn is_up(&mut self, key: Key) -> bool {
        let Some(conn) = self.table.get_mut(key) else { return false };
        let (remote, Some(Stream::Tcp(socket))) = (conn.peer.remote, conn.socket.as_ref()) else { return false };
        let failed = match socket.take_error() {
            Ok(Some(error)) | Err(error) => error,
            Ok(None) => match socket.peer_addr().and_then(|_| socket.local_addr()) {
                Ok(local) => {
                    conn.peer.local = local;
                    self.disarm_own(key, Timer::Connect);
                    self.came_up(key);
                    return true;
                }
                // The event was that of an address tried before.
                Err(error) if error.kind() == ErrorKind::NotConnected => return false,
                Err(error) => error,
            },
        };
        self.address_failed(key, remote.ip(), &failed.to_string());
        self.try_next(key);
        false
    }

    fn came_up(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        conn.life = Life::Open;
        conn.writable = true;
        let Origin::Dialed(dial) = &conn.origin else { return };
        if let Some(client) = dial.target.tls.clone() {
            conn.life = Life::Handshaking;
            self.shake(key, TlsStart::Connect(client));
        }
        self.soil(key);
    }

    /// The present address did not answer in time.
    pub fn connect_timed_out(&mut self, key: Key) {
        let Some(conn) = self.table.get(key) else { return };
        let (remote, is_resolved) = (conn.peer.remote, conn.socket.is_some());
        if is_resolved {
            self.address_failed(key, remote.ip(), "no answer in time");
            self.try_next(key);
        } else {
            self.dial_failed(key, "resolving the name takes too long");
        }
    }

    fn dial_failed(&mut self, key: Key, reason: &str) {
        let why = self.refusal(key, reason);
        self.lose(key, why);
    }

    /// Why a dial failed, naming host and port.
    pub fn refusal(&mut self, key: Key, reason: &str) -> Why {
        match self.table.get(key).map(|conn| &conn.origin) {
            Some(Origin::Dialed(dial)) => {
                self.stats.dial_failures.add(1);
                Why::Refused(format!("{}:{}: {reason}", dial.target.host, dial.target.port))
            }
            _ => Why::Broken(reason.to_owned()),
        }
    }

    /// TLS from the first byte on.
    pub fn shake(&mut self, key: Key, start: TlsStart) {
        if let Some(conn) = self.table.get_mut(key) {
            conn.tls_start = Some(Box::new(start));
        }
        self.begin_tls(key);
    }
}
