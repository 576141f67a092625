//! Sending: everything that a turn produced for one connection leaves in one write, at the end of the turn.

use crate::buffers::is_wasteful;
use crate::conn::{Conn, Life};
use crate::net::Net;
use crate::serve::Core;
use crate::stats;
use crate::stream::Stream;
use socket2::SockRef;
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use wire::limits::LOW_WATER;
use wire::{Key, Side, Why};

/// One send, with the signal interrupted ones repeated. `more` lets the kernel wait (200 ms at most) for bytes that fill the segment.
pub(crate) fn send(socket: &Stream, bytes: &[u8], more: bool) -> io::Result<usize> {
    loop {
        match SockRef::from(socket).send_with_flags(bytes, flags(more)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn flags(more: bool) -> i32 {
    libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 }
}

/// More output than this is worth a system call of its own.
const PUT_OFF: usize = 16 * 1024;

/// A turn that writes to more connections than this is likely followed at once by another.
const CROWD: usize = 4;
/// How many turns it may wait for more: the parts of a pipeline come back from several servers, each in a turn of its own.
const PATIENCE: u8 = 2;

impl Core {
    /// Works the list of the turn off.
    pub fn flush_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.net.dirty);
        let is_busy = dirty.len() > CROWD;
        for key in dirty.drain(..) {
            if is_busy && self.net.may_put_off(key) && self.has_more(key) {
                self.net.put_off(key);
            } else {
                self.net.flush(key);
            }
        }
        if self.net.dirty.is_empty() {
            self.net.dirty = dirty;
        }
    }

    fn has_more(&self, key: Key) -> bool {
        self.net.table.known(key).is_some_and(|conn| self.families[conn.family].protocol.has_more(key))
    }
}

impl Net {
    fn put_off(&mut self, key: Key) {
        if let Some(conn) = self.table.get_mut(key) {
            conn.put_off += 1;
            self.later.push(key);
        }
    }

    /// What was put off is due.
    pub fn recall(&mut self) {
        self.dirty.append(&mut self.later);
    }

    /// Sends what the connection holds, as far as the kernel takes it, and does what waited for that.
    pub fn flush(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        conn.dirty = false;
        conn.put_off = 0;
        if conn.socket.is_none() || conn.life == Life::Connecting {
            return;
        }
        let (side, before) = (conn.side, conn.backlog());
        let result = push(conn);
        let sent = before.saturating_sub(conn.backlog());
        self.stats.bytes_out[stats::of(side)].add(sent as u64);
        match result {
            Ok(()) => self.flushed(key),
            Err(error) => self.write_failed(key, &error),
        }
    }

    /// Whether the output of a connection can wait for the next turn: little, for a client, and not for long.
    fn may_put_off(&self, key: Key) -> bool {
        let Some(conn) = self.table.get(key) else { return false };
        conn.side == Side::Client
            && conn.life == Life::Open
            && conn.put_off < PATIENCE
            && !conn.finish
            && conn.tls_start.is_none()
            && conn.backlog() <= PUT_OFF
    }

    fn flushed(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        if conn.sent == conn.out.len() {
            conn.sent = 0;
            let empty = std::mem::take(&mut conn.out);
            self.buffers.give(empty);
        } else if conn.sent * 2 >= conn.out.len() {
            conn.out.drain(..conn.sent);
            conn.sent = 0;
            if is_wasteful(&conn.out) {
                conn.out.shrink_to_fit();
            }
        }
        let backlog = conn.backlog();
        if backlog <= LOW_WATER {
            conn.choked = false;
            if !conn.waiters.is_empty() {
                self.wake(key);
            }
        }
        if backlog == 0 {
            self.drained(key);
        }
    }

    /// All is sent: what waited for that begins.
    fn drained(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        if conn.tls_start.is_some() {
            return self.begin_tls(key);
        }
        if !conn.finish {
            return;
        }
        if !conn.finished {
            if conn.tls.as_mut().is_some_and(|tls| tls.say_goodbye()) {
                return self.soil(key);
            }
            conn.finished = true;
            if let Some(socket) = conn.socket.as_ref() {
                // Fails only where the peer is gone already, which the next read says.
                let _ = socket.shutdown(Shutdown::Write);
            }
        }
        if conn.life == Life::Lingering && (conn.side == Side::Server || conn.eof || conn.deaf) {
            self.discard(key);
        } else if conn.life == Life::Lingering {
            self.queue(key);
        }
    }

    /// Sends `bytes` after what is unsent, straight from where they are; what the kernel does not take now is kept.
    pub fn send_through(&mut self, to: Key, bytes: &[u8], more: bool) {
        let Some(conn) = self.table.known_mut(to).filter(|conn| !conn.deaf && !conn.finish) else { return };
        let mut taken = 0;
        let mut failed = None;
        if let Some(socket) = conn.socket.as_ref().filter(|_| conn.writable && conn.life == Life::Open) {
            let waiting = conn.out.len() - conn.sent;
            let slices = [IoSlice::new(&conn.out[conn.sent..]), IoSlice::new(bytes)];
            match SockRef::from(socket).send_vectored_with_flags(&slices, flags(more)) {
                Ok(n) => {
                    conn.sent += n.min(waiting);
                    taken = n.saturating_sub(waiting);
                    self.stats.bytes_out[stats::of(conn.side)].add(n as u64);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            return self.write_failed(to, &error);
        }
        if taken < bytes.len() {
            if conn.out.capacity() == 0 {
                conn.out = self.buffers.take();
            }
            conn.out.extend_from_slice(&bytes[taken..]);
        }
        // The flush goes on to "would block", which the next edge needs, and gives the buffer back.
        self.soil(to);
    }

    /// The peer takes no more. A client is gone then; a server may have said why, so its last bytes are read first.
    pub fn write_failed(&mut self, key: Key, error: &io::Error) {
        let Some(conn) = self.table.get_mut(key) else { return };
        if conn.side == Side::Client || conn.life != Life::Open || conn.paused {
            return self.lose(key, Why::Broken(format!("writing failed: {error}")));
        }
        conn.deaf = true;
        conn.sent = 0;
        conn.readable = true;
        let unsent = std::mem::take(&mut conn.out);
        self.buffers.give(unsent);
        self.wake(key);
        self.queue(key);
    }
}

/// Sends until nothing is left or the kernel takes no more.
fn push(conn: &mut Conn) -> io::Result<()> {
    if conn.deaf {
        conn.out.clear();
        conn.sent = 0;
        return Ok(());
    }
    let Some(socket) = conn.socket.as_ref() else { return Ok(()) };
    if let Some(tls) = conn.tls.as_mut() {
        return tls.push(socket, &mut conn.writable, &conn.out, &mut conn.sent);
    }
    push_bytes(socket, &mut conn.writable, &conn.out, &mut conn.sent, conn.more)
}

/// Sends `bytes` from `sent` on, to the end or to "would block".
pub(crate) fn push_bytes(socket: &Stream, writable: &mut bool, bytes: &[u8], sent: &mut usize, more: bool) -> io::Result<()> {
    while *writable && *sent < bytes.len() {
        match send(socket, &bytes[*sent..], more) {
            Ok(n) => *sent += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => *writable = false,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
