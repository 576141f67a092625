//! What protocols may ask, as the engine does it.

use crate::conn::{Forward, Life};
use crate::mailbox::Mail;
use crate::net::{Net, Notice, What, family_key};
use crate::timers::Timer;
use wire::{Close, Io, Key, Nanos, Peer, Side, Target, TlsStart, Upcall};

impl Io for Net {
    fn now(&self) -> Nanos {
        self.now
    }

    fn clock(&self) -> Nanos {
        self.started.elapsed().as_nanos() as Nanos
    }

    fn unix_time(&self) -> u64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    fn random(&mut self) -> u64 {
        // xorshift64*: even spread for dice and jitter, one multiplication.
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        self.dice.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    #[inline]
    fn out(&mut self, to: Key) -> &mut Vec<u8> {
        match self.table.get_mut(to) {
            Some(conn) if conn.is_known() && !conn.deaf && !conn.finish => {
                if !conn.dirty {
                    conn.dirty = true;
                    self.dirty.push(to);
                }
                if conn.out.capacity() == 0 {
                    conn.out = self.buffers.take();
                }
                &mut conn.out
            }
            _ => {
                self.nowhere = Vec::new();
                &mut self.nowhere
            }
        }
    }

    fn backlog(&self, of: Key) -> usize {
        self.table.known(of).map_or(0, |conn| conn.backlog())
    }

    fn forward(&mut self, from: Key, to: Key, n: u64) {
        let to = if self.table.known(to).is_some() { to } else { Key::NONE };
        self.pass(from, to, n);
    }

    fn skip(&mut self, from: Key, n: u64) {
        self.pass(from, Key::NONE, n);
    }

    fn want(&mut self, from: Key, n: usize) {
        if let Some(conn) = self.table.known_mut(from) {
            conn.want = n;
        }
    }

    fn link(&mut self, from: Key, to: Key) {
        if let Some(conn) = self.table.known_mut(from) {
            conn.link = to;
            self.resume(from);
        }
    }

    fn unlink(&mut self, from: Key) {
        self.link(from, Key::NONE);
    }

    fn pause(&mut self, key: Key, paused: bool) {
        let Some(conn) = self.table.known_mut(key) else { return };
        conn.paused = paused;
        conn.want = 0;
        if !paused {
            self.resume(key);
        }
    }

    fn unread(&mut self, key: Key, bytes: &[u8]) {
        let Some(conn) = self.table.known_mut(key) else { return };
        if conn.tail.capacity() == 0 {
            conn.tail = self.buffers.take();
        }
        conn.tail.splice(..0, bytes.iter().copied());
        conn.want = 0;
        self.resume(key);
    }

    fn dial(&mut self, target: &Target, tag: u64) -> Key {
        self.start_dial(target, tag)
    }

    fn start_tls(&mut self, key: Key, start: TlsStart) {
        if let Some(conn) = self.table.known_mut(key).filter(|conn| conn.life == Life::Open && conn.is_plain()) {
            conn.tls_start = Some(Box::new(start));
            self.soil(key);
        }
    }

    fn arm(&mut self, key: Key, timer: u32, at: Nanos) {
        let timer = Timer::Protocol(timer);
        match self.table.known_mut(key) {
            Some(conn) => self.timers.arm(&mut conn.armed, key, timer, at),
            None if key == Key::NONE => self.timers.arm(&mut self.family_timers[self.family], family_key(self.family), timer, at),
            None => {}
        }
    }

    fn disarm(&mut self, key: Key, timer: u32) {
        let timer = Timer::Protocol(timer);
        match self.table.known_mut(key) {
            Some(conn) => self.timers.disarm(&mut conn.armed, timer),
            None if key == Key::NONE => self.timers.disarm(&mut self.family_timers[self.family], timer),
            None => {}
        }
    }

    fn upcall(&mut self, key: Key, call: Upcall) -> u64 {
        self.stats.upcalls.add(1);
        let (number, is_taken) = self.upcalls.ask(key, self.family, call, self.now);
        if !is_taken {
            self.stats.upcalls_refused.add(1);
            let what = What::Answer { number, body: None };
            self.notices.push_back(Notice { key, family: self.family, side: self.side_of(key), what });
        }
        number
    }

    fn finish(&mut self, key: Key) {
        if let Some(conn) = self.table.known_mut(key) {
            conn.finish = true;
            self.soil(key);
        }
    }

    fn close(&mut self, key: Key, how: Close) {
        if self.table.known(key).is_none() {
            // It broke in this very turn; the protocol closed it before it could be told.
            self.drop_notices(|notice| notice.key == key && key != Key::NONE);
        } else if how == Close::Flush {
            self.linger(key);
        } else {
            self.discard(key);
        }
    }

    fn mail(&mut self, worker: usize, body: Vec<u8>) {
        let family = self.family;
        let is_taken = self.boxes.get(worker).is_some_and(|mailbox| mailbox.post(Mail::Peer { family, body }));
        if !is_taken {
            self.stats.mail_dropped.add(1);
        }
    }

    fn peer(&self, key: Key) -> Option<&Peer> {
        self.table.known(key).filter(|conn| conn.life == Life::Open).map(|conn| &conn.peer)
    }
}

impl Net {
    /// The side of a connection that is there; for `Key::NONE` nobody looks at it.
    pub fn side_of(&self, key: Key) -> Side {
        self.table.get(key).map_or(Side::Client, |conn| conn.side)
    }

    fn pass(&mut self, from: Key, to: Key, n: u64) {
        let Some(conn) = self.table.known_mut(from) else { return };
        let previous = conn.forward.take();
        conn.forward = (n > 0).then_some(Forward { to, left: n, pipe: None });
        let has_work = !conn.tail.is_empty() || conn.readable || conn.eof;
        self.drop_forward(previous);
        if has_work {
            self.queue(from);
        }
    }

    /// Something that stopped the reading of `key` is gone.
    fn resume(&mut self, key: Key) {
        if self.table.get(key).is_some_and(|conn| conn.readable || conn.eof || !conn.tail.is_empty()) {
            self.queue(key);
        }
    }
}
