//! One connection's share of a turn: its unconsumed bytes, one read, its end.

use crate::conn::{Conn, Life, Origin};
use crate::forward::SPLICE_MIN;
use crate::net::{Net, What};
use crate::stats;
use crate::tls::{Opened as Records, read_some};
use std::sync::Arc;
use wire::limits::{MAX_TAIL, SCRATCH};
use wire::{Close, Conf, Event, Fault, Io, Key, Opened, Protocol, STREAM, Side, Whose, Why};

/// An unfinished frame up to this size is read on in the scratch, behind a copy of its beginning; a longer one in its own buffer, so that
/// no byte is copied again and again.
const SHORT_TAIL: usize = 4 * 1024;
/// After a spliced frame the next bytes are likely the header of another one: what is read beyond it would have to be copied.
const PEEK: usize = 4 * 1024;

/// One family on this worker.
pub(crate) struct Served {
    pub protocol: Box<dyn Protocol>,
    /// The last configuration; before the first there is nothing to serve.
    pub conf: Option<Conf>,
}

/// The protocols of a worker and the connections they act on.
pub(crate) struct Core {
    pub net: Net,
    pub families: Vec<Served>,
    pub log: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Core {
    /// Runs a protocol. A panic inside is its own, see `Worker::recover`.
    pub fn run<R>(&mut self, family: usize, call: impl FnOnce(&mut dyn Protocol, &mut Net) -> R) -> R {
        self.net.family = family;
        self.net.inside = true;
        let result = call(&mut *self.families[family].protocol, &mut self.net);
        self.net.inside = false;
        result
    }

    /// Delivers an event for a connection that the protocol knows.
    pub fn tell(&mut self, key: Key, event: Event<'_>) {
        let Some(conn) = self.net.table.known(key) else { return };
        let (family, side) = (conn.family, conn.side);
        self.run(family, |protocol, net| protocol.event(net, key, side, event));
    }

    /// A connection is up, with TLS if that was asked for.
    pub fn opened(&mut self, key: Key) {
        let Some(conn) = self.net.table.get_mut(key) else { return };
        conn.life = Life::Open;
        let family = conn.family;
        match &conn.origin {
            Origin::Accepted(label) => {
                let label = Arc::clone(label);
                let opened = Opened::Client { listener: &label.listener, facet: label.facet };
                self.run(family, |protocol, net| protocol.open(net, key, opened));
            }
            Origin::Dialed(dial) => {
                let tag = dial.tag;
                self.run(family, |protocol, net| protocol.open(net, key, Opened::Server { tag }));
            }
        }
    }

    /// Delivers what protocols have still to hear.
    pub fn deliver_notices(&mut self) {
        while let Some(notice) = self.net.notices.pop_front() {
            let (key, side) = (notice.key, notice.side);
            match notice.what {
                What::Closed(why) => {
                    self.run(notice.family, |protocol, net| protocol.event(net, key, side, Event::Closed(why)));
                    self.net.table.vacate(key);
                }
                What::Answer { number, body } => self.answer(notice.family, key, number, body.as_deref()),
            }
        }
    }

    /// Delivers an answer, unless who asked is gone.
    pub fn answer(&mut self, family: usize, key: Key, number: u64, body: Option<&[u8]>) {
        if key == Key::NONE || self.net.table.known(key).is_some() {
            let side = self.net.side_of(key);
            self.run(family, |protocol, net| protocol.event(net, key, side, Event::Answer { number, body }));
        }
    }

    /// Gives a connection its share of the turn.
    pub fn serve(&mut self, key: Key, scratch: &mut [u8]) {
        let Some(conn) = self.net.table.get_mut(key) else { return };
        conn.queued = false;
        match conn.life {
            Life::Connecting => {
                if self.net.is_up(key) && self.net.table.get(key).is_some_and(|conn| conn.life == Life::Open) {
                    self.opened(key);
                }
                if self.net.table.get(key).is_some_and(|conn| conn.readable) {
                    self.net.queue(key);
                }
            }
            Life::Lingering => self.net.read_out(key, scratch),
            Life::Handshaking | Life::Open => {
                self.present(key);
                self.take_in(key, scratch);
                self.end(key);
            }
        }
    }

    /// Presents what was not consumed before, if the protocol wants to see it now.
    fn present(&mut self, key: Key) {
        if !self.net.table.get(key).is_some_and(|conn| conn.forward.is_some() || conn.has_news()) || !self.net.may_take(key) {
            return;
        }
        let Some(conn) = self.net.table.get_mut(key) else { return };
        let mut tail = std::mem::take(&mut conn.tail);
        let used = self.deliver(key, &tail);
        tail.drain(..used.min(tail.len()));
        self.net.keep(key, tail);
        self.check_tail(key);
    }

    fn take_in(&mut self, key: Key, scratch: &mut [u8]) {
        if !self.net.may_take(key) {
            return;
        }
        if self.net.can_splice(key) && self.net.pump(key) {
            return;
        }
        let Some(conn) = self.net.table.get(key).filter(|conn| conn.readable || conn.has_early_records()) else { return };
        if conn.tls.is_some() {
            self.read_records(key);
        } else if conn.tail.len() <= SHORT_TAIL {
            self.read_short(key, scratch);
        } else {
            self.read_long(key, scratch);
        }
        self.check_tail(key);
        if self.net.table.get(key).is_some_and(|conn| conn.readable) && self.net.may_take(key) {
            self.net.queue_again(key);
        }
    }

    /// Reads behind a copy of the tail and lets the protocol see both in the scratch.
    fn read_short(&mut self, key: Key, scratch: &mut [u8]) {
        let Some(conn) = self.net.table.get_mut(key) else { return };
        let start = conn.tail.len();
        let is_peek = conn.bulk && conn.forward.is_none();
        let end = if is_peek { PEEK + SHORT_TAIL } else { SCRATCH };
        scratch[..start].copy_from_slice(&conn.tail);
        let n = match self.net.read_plain(key, &mut scratch[start..end]) {
            Some(n) if n > 0 => n,
            _ => return,
        };
        if let Some(conn) = self.net.table.get_mut(key) {
            let copied = std::mem::take(&mut conn.tail);
            self.net.buffers.give(copied);
        }
        let bytes = &scratch[..start + n];
        let used = self.deliver(key, bytes);
        let Some(conn) = self.net.table.get_mut(key) else { return };
        let is_spliced = conn.forward.as_ref().is_some_and(|forward| forward.left >= SPLICE_MIN && forward.left != STREAM);
        if is_peek {
            conn.bulk = is_spliced || n < PEEK;
        } else if conn.forward.as_ref().is_some_and(|forward| forward.left == STREAM) {
            conn.bulk = n as u64 >= SPLICE_MIN;
        }
        if used < bytes.len() {
            let mut tail = self.net.buffers.take();
            tail.extend_from_slice(&bytes[used..]);
            self.net.keep(key, tail);
        }
    }

    /// Reads the next piece of a long unfinished frame.
    fn read_long(&mut self, key: Key, scratch: &mut [u8]) {
        let Some(n) = self.net.read_plain(key, scratch) else { return };
        if let Some(conn) = self.net.table.get_mut(key) {
            conn.tail.extend_from_slice(&scratch[..n]);
        }
        self.present(key);
    }

    fn read_records(&mut self, key: Key) {
        match self.net.read_tls(key) {
            Records::Gone => {}
            Records::Data => self.present(key),
            Records::Secured => {
                if self.net.table.get(key).is_some_and(|conn| conn.life == Life::Handshaking) {
                    self.opened(key);
                } else {
                    self.tell(key, Event::Secured);
                }
                self.present(key);
            }
        }
        if let Some(conn) = self.net.table.get_mut(key).filter(|conn| conn.tail.is_empty()) {
            let empty = std::mem::take(&mut conn.tail);
            self.net.buffers.give(empty);
        }
    }

    /// Lets the protocol have `bytes` until it consumes no more of them; how many are consumed.
    fn deliver(&mut self, key: Key, bytes: &[u8]) -> usize {
        let mut at = 0;
        loop {
            if !self.net.may_take(key) {
                return at;
            }
            let Some(conn) = self.net.table.get_mut(key) else { return at };
            let rest = &bytes[at..];
            if conn.forward.is_some() {
                let n = self.net.forward_some(key, rest);
                at += n;
                if n == 0 || at == bytes.len() {
                    return at;
                }
                continue;
            }
            if rest.is_empty() || rest.len() < conn.want || conn.life != Life::Open {
                return at;
            }
            conn.want = 0;
            let (family, side) = (conn.family, conn.side);
            self.net.serving = key;
            let result = self.run(family, |protocol, net| protocol.data(net, key, side, rest));
            self.net.serving = Key::NONE;
            match result {
                Ok(used) => at += used.min(rest.len()),
                Err(fault) => {
                    self.fault(key, &fault);
                    return bytes.len();
                }
            }
            let Some(conn) = self.net.table.get_mut(key) else { return bytes.len() };
            if bytes.len() - at == rest.len() && conn.forward.is_none() {
                conn.want = conn.want.max(rest.len() + 1);
                return at;
            }
        }
    }

    /// The protocol has said its last word into `out`; that is sent, and the connection closed.
    fn fault(&mut self, key: Key, fault: &Fault) {
        let Some(conn) = self.net.table.known(key) else { return };
        let (family, side, remote) = (conn.family, conn.side, conn.peer.remote);
        let whose = match fault.whose {
            Whose::Client => 0,
            Whose::Server => 1,
            Whose::Ours => 2,
        };
        self.net.stats.faults[whose].add(1);
        (self.log)(&format!("{} of {remote} closed: {fault}", if side == Side::Client { "client" } else { "server" }));
        self.net.close(key, Close::Flush);
        self.run(family, |protocol, net| protocol.event(net, key, side, Event::Closed(Why::Fault)));
    }

    fn check_tail(&mut self, key: Key) {
        if self.net.table.known(key).is_some_and(|conn| conn.tail.len() > MAX_TAIL) {
            self.fault(key, &Fault::ours("unfinished frame", format!("longer than {MAX_TAIL} bytes")));
        }
    }

    /// Reports the end of what the peer sends, after all that came before it.
    fn end(&mut self, key: Key) {
        let Some(conn) = self.net.table.get_mut(key).filter(|conn| conn.eof) else { return };
        if conn.life == Life::Handshaking || conn.tls.as_ref().is_some_and(|tls| tls.is_shaking()) {
            return self.net.tls_failed(key, "TLS: the peer closed the connection in the middle of the handshake");
        }
        match &conn.forward {
            Some(forward) if forward.pipe.is_some() || !conn.tail.is_empty() => return,
            Some(_) => {
                let cut = conn.forward.take();
                self.net.drop_forward(cut);
            }
            None => {
                if conn.has_news() && !self.net.may_take(key) {
                    return;
                }
            }
        }
        let Some(conn) = self.net.table.get_mut(key) else { return };
        if conn.side == Side::Server {
            self.net.lose(key, Why::Eof);
        } else if !conn.half_closed {
            conn.half_closed = true;
            self.tell(key, Event::HalfClosed);
        }
    }
}

impl Net {
    /// Keeps what was not consumed.
    fn keep(&mut self, key: Key, tail: Vec<u8>) {
        match self.table.known_mut(key) {
            Some(conn) if !tail.is_empty() => conn.tail = tail,
            _ => self.buffers.give(tail),
        }
    }

    /// One read; `None` when the connection is gone.
    fn read_plain(&mut self, key: Key, scratch: &mut [u8]) -> Option<usize> {
        let conn = self.table.get_mut(key)?;
        let side = conn.side;
        match read_some(conn, scratch) {
            Ok(n) => {
                self.stats.bytes_in[stats::of(side)].add(n as u64);
                Some(n)
            }
            Err(error) => {
                self.lose(key, Why::Broken(format!("reading failed: {error}")));
                None
            }
        }
    }

    /// After the last byte to a client was sent, what it still sends is thrown away until its FIN or the linger deadline: closing a socket
    /// with unread bytes would send RST, and the client might lose our last words.
    fn read_out(&mut self, key: Key, scratch: &mut [u8]) {
        let Some(conn) = self.table.get_mut(key).filter(|conn| conn.readable) else { return };
        match read_some(conn, scratch) {
            Err(_) => self.discard(key),
            Ok(_) if is_over(conn) => self.discard(key),
            Ok(_) if conn.readable => self.queue_again(key),
            Ok(_) => {}
        }
    }
}

fn is_over(conn: &Conn) -> bool {
    conn.eof && conn.finished
}
