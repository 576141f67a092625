//! What a worker knows of its connections: the part that protocols act on through `wire::Io`.
//!
//! Nothing in here calls a protocol. What a protocol has to hear is put into `notices`, what has to be served into `ready` (this turn) or
//! `again` (the next), what has to be sent into `dirty`; the worker's turn works these lists off.

use crate::buffers::Buffers;
use crate::conn::{Conn, Forward, Life, Table};
use crate::mailbox::Mailbox;
use crate::resolver::Resolver;
use crate::stats::{self, Stats};
use crate::sys::Pipe;
use crate::timers::{Armed, Due, Timer, Timers, waits_for};
use crate::upcalls::Upcalls;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use wire::limits::{CLOSE_LINGER_MS, HIGH_WATER};
use wire::{Key, MILLIS, Nanos, Side, Why};

/// Spare pipes of a worker: 16 streams at once without a system call for their pipes, 4 MiB of kernel memory at most.
const SPARE_PIPES: usize = 16;

/// Something that a protocol will hear when it is not running.
pub(crate) struct Notice {
    pub key: Key,
    pub family: usize,
    pub side: Side,
    pub what: What,
}

/// See [`Notice`].
pub(crate) enum What {
    Closed(Why),
    Answer { number: u64, body: Option<Vec<u8>> },
}

/// A worker's connections and what they need.
pub(crate) struct Net {
    pub index: usize,
    pub table: Table,
    pub now: Nanos,
    pub started: Instant,
    pub registry: mio::Registry,
    pub ready: VecDeque<Key>,
    pub again: VecDeque<Key>,
    pub dirty: Vec<Key>,
    /// To be flushed in the next turn.
    pub later: Vec<Key>,
    pub notices: VecDeque<Notice>,
    pub timers: Timers,
    /// Timers under `Key::NONE`, by family.
    pub family_timers: Vec<Vec<Armed>>,
    pub buffers: Buffers,
    pub pipes: Vec<Pipe>,
    pub upcalls: Upcalls,
    pub resolver: Resolver,
    pub boxes: Arc<[Arc<Mailbox>]>,
    pub stats: Stats,
    /// Where TLS records are read to; allocated with the first TLS connection.
    pub cipher: Vec<u8>,
    /// The family whose protocol runs, or ran last.
    pub family: usize,
    /// Whether a protocol runs: a panic is then its own.
    pub inside: bool,
    /// The connection whose `data` runs: it is looked at afterwards anyway.
    pub serving: Key,
    pub nowhere: Vec<u8>,
    pub dice: u64,
}

/// The key under which a family's own timers stand in the heap.
pub(crate) fn family_key(family: usize) -> Key {
    Key { slot: u32::MAX, generation: family as u32 }
}

impl Net {
    /// The clock of the turn.
    pub fn tick(&mut self) {
        self.now = self.started.elapsed().as_nanos() as Nanos;
    }

    /// Serves the connection in this turn.
    pub fn queue(&mut self, key: Key) {
        if key == self.serving {
            return;
        }
        if let Some(conn) = self.table.get_mut(key).filter(|conn| !conn.queued) {
            conn.queued = true;
            self.ready.push_back(key);
        }
    }

    /// Serves the connection in the next turn, after the others had theirs.
    pub fn queue_again(&mut self, key: Key) {
        if let Some(conn) = self.table.get_mut(key).filter(|conn| !conn.queued) {
            conn.queued = true;
            self.again.push_back(key);
        }
    }

    /// Flushes the connection at the end of the turn.
    pub fn soil(&mut self, key: Key) {
        if let Some(conn) = self.table.get_mut(key).filter(|conn| !conn.dirty) {
            conn.dirty = true;
            self.dirty.push(key);
        }
    }

    /// Whether the next bytes of `key` may be taken. Where another connection's unsent output forbids it, `key` is served again once
    /// that has been sent.
    pub fn may_take(&mut self, key: Key) -> bool {
        let Some(conn) = self.table.get(key) else { return false };
        if conn.tls.as_ref().is_some_and(|tls| tls.is_shaking()) {
            return true;
        }
        let blockers = match &conn.forward {
            Some(forward) => [forward.to, Key::NONE],
            None if conn.paused || conn.tls_start.is_some() => return false,
            None => [key, conn.link],
        };
        match blockers.into_iter().find(|blocker| self.is_choked(*blocker)) {
            Some(blocker) => {
                self.wait(key, blocker);
                false
            }
            None => true,
        }
    }

    fn is_choked(&mut self, key: Key) -> bool {
        let Some(conn) = self.table.known_mut(key) else { return false };
        conn.choked |= conn.backlog() > HIGH_WATER;
        conn.choked
    }

    /// Serves `key` again once `blocker` has sent most of its output, or is gone.
    pub fn wait(&mut self, key: Key, blocker: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        if conn.waits_for != blocker {
            conn.waits_for = blocker;
            if let Some(blocker) = self.table.get_mut(blocker) {
                blocker.waiters.push(key);
            }
        }
    }

    /// Serves those that wait for `key`.
    pub fn wake(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        let waiters = std::mem::take(&mut conn.waiters);
        self.wake_all(waiters);
    }

    fn wake_all(&mut self, waiters: Vec<Key>) {
        for waiter in waiters {
            if let Some(conn) = self.table.get_mut(waiter) {
                conn.waits_for = Key::NONE;
            }
            self.queue(waiter);
        }
    }

    /// Adds a connection to the table and the counts.
    pub fn add(&mut self, conn: Conn) -> Key {
        let side = conn.side;
        if side == Side::Server {
            self.boxes[self.index].servers.fetch_add(1, Ordering::Relaxed);
        }
        let key = self.table.insert(conn);
        self.count(side);
        key
    }

    fn count(&mut self, side: Side) {
        let mailbox = &self.boxes[self.index];
        let held = if side == Side::Client { &mailbox.clients } else { &mailbox.servers };
        self.stats.connections[stats::of(side)].set(held.load(Ordering::Relaxed) as u64);
    }

    /// Forgets the connection and closes its socket. Who waits for it or forwards to it goes on without it.
    pub fn discard(&mut self, key: Key) {
        if self.take_out(key) {
            self.table.vacate(key);
        }
    }

    /// The same, with its slot still taken. False: it was gone.
    fn take_out(&mut self, key: Key) -> bool {
        let Some(mut conn) = self.table.remove(key) else { return false };
        self.timers.clear(&mut conn.armed);
        self.buffers.give(std::mem::take(&mut conn.tail));
        self.buffers.give(std::mem::take(&mut conn.out));
        let mailbox = &self.boxes[self.index];
        let held = if conn.side == Side::Client { &mailbox.clients } else { &mailbox.servers };
        held.fetch_sub(1, Ordering::Relaxed);
        self.count(conn.side);
        self.drop_forward(conn.forward.take());
        self.wake_all(conn.waiters);
        true
    }

    /// Ends a forward, done or not.
    pub fn drop_forward(&mut self, forward: Option<Forward>) {
        let Some(forward) = forward else { return };
        if let Some(to) = self.table.get_mut(forward.to) {
            to.more = false;
        }
        forward.pipe.into_iter().for_each(|pipe| self.give_pipe(pipe));
    }

    /// Takes a pipe back; one that still holds bytes is of no use to anyone.
    pub fn give_pipe(&mut self, pipe: Pipe) {
        if pipe.held() == 0 && self.pipes.len() < SPARE_PIPES {
            self.pipes.push(pipe);
        }
    }

    /// The connection is gone by itself: forgets it, and the protocol will hear why, if it knows it.
    pub fn lose(&mut self, key: Key, why: Why) {
        let Some(conn) = self.table.get(key) else { return };
        let (family, side) = (conn.family, conn.side);
        let is_known = match conn.life {
            Life::Open => true,
            Life::Connecting | Life::Handshaking => side == Side::Server,
            Life::Lingering => false,
        };
        if !is_known {
            return self.discard(key);
        }
        self.take_out(key);
        self.notices.push_back(Notice { key, family, side, what: What::Closed(why) });
    }

    /// Drops the notices of those whom nobody has to tell any more.
    pub fn drop_notices(&mut self, is_void: impl Fn(&Notice) -> bool) {
        let table = &mut self.table;
        self.notices.retain(|notice| {
            let is_void = is_void(notice);
            if is_void && matches!(notice.what, What::Closed(_)) {
                table.vacate(notice.key);
            }
            !is_void
        });
    }

    /// From here on the protocol has forgotten the connection; it stays until its output is sent.
    pub fn linger(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        if matches!(conn.life, Life::Connecting | Life::Handshaking) {
            return self.discard(key);
        }
        conn.life = Life::Lingering;
        conn.finish = true;
        self.timers.clear(&mut conn.armed);
        self.timers.arm(&mut conn.armed, key, Timer::Linger, self.now + CLOSE_LINGER_MS * MILLIS);
        let (tail, forward) = (std::mem::take(&mut conn.tail), conn.forward.take());
        self.buffers.give(tail);
        self.drop_forward(forward);
        self.wake(key);
        self.soil(key);
    }

    /// Takes the next timer that fires.
    pub fn next_due(&mut self) -> Option<Due> {
        while let Some(due) = self.timers.pop(self.now) {
            let armed = match self.table.get_mut(due.key) {
                Some(conn) => &mut conn.armed,
                None if due.key.slot == u32::MAX => &mut self.family_timers[due.key.generation as usize],
                None => continue,
            };
            if self.timers.fires(armed, due, self.now) {
                return Some(due);
            }
        }
        if self.timers.is_crowded() {
            let (table, family_timers) = (&self.table, &self.family_timers);
            self.timers.retain(|due| match table.get(due.key) {
                Some(conn) => waits_for(&conn.armed, due),
                None => due.key.slot == u32::MAX && waits_for(&family_timers[due.key.generation as usize], due),
            });
        }
        None
    }

    /// Sets a timer of the engine's own.
    pub fn arm_own(&mut self, key: Key, timer: Timer, at: Nanos) {
        if let Some(conn) = self.table.get_mut(key) {
            self.timers.arm(&mut conn.armed, key, timer, at);
        }
    }

    /// Forgets a timer of the engine's own.
    pub fn disarm_own(&mut self, key: Key, timer: Timer) {
        if let Some(conn) = self.table.get_mut(key) {
            self.timers.disarm(&mut conn.armed, timer);
        }
    }
}
