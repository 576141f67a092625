//! Bytes that pass through untouched: from the scratch while they are there, then from socket to socket by splice(2).
//!
//! A splice takes the place of a read and a write and copies nothing, but it costs two calls however little moves. So it begins at
//! `SPLICE_MIN`, and a stream of unknown length is spliced only while its reads are large.

use crate::conn::{Forward, Life};
use crate::net::Net;
use crate::stats;
use crate::sys::{PIPE_SIZE, Pipe};
use std::io::ErrorKind;
use wire::limits::READ_BUDGET;
use wire::{Key, STREAM, Why};

/// Below this a copy is cheaper than the second system call.
pub(crate) const SPLICE_MIN: u64 = 32 * 1024;
/// From this size on bytes are written straight from where they were read to; smaller ones are gathered for one write per turn.
const DIRECT_MIN: usize = 32 * 1024;
/// A splice copies nothing, so a stream may have more of a turn than a read: four pipes full.
const SPLICE_BUDGET: usize = 4 * READ_BUDGET;

impl Net {
    /// Passes on what there is of a forward; how many of `bytes` that took.
    pub fn forward_some(&mut self, from: Key, bytes: &[u8]) -> usize {
        let forward = self.table.get_mut(from).and_then(|conn| conn.forward.as_mut());
        // What is in the pipe goes first, and it may be the end of the frame.
        let Some(forward) = forward.filter(|forward| forward.pipe.is_none()) else { return 0 };
        let n = usize::try_from(forward.left).unwrap_or(usize::MAX).min(bytes.len());
        if forward.left != STREAM {
            forward.left -= n as u64;
        }
        let (to, left) = (forward.to, forward.left);
        let more = left > 0 && left != STREAM;
        if n > 0 {
            self.pass_on(to, &bytes[..n], more);
        }
        if left == 0 {
            let done = self.table.get_mut(from).and_then(|conn| conn.forward.take());
            self.drop_forward(done);
        }
        n
    }

    fn pass_on(&mut self, to: Key, bytes: &[u8], more: bool) {
        let Some(target) = self.table.known_mut(to) else { return };
        target.more = more;
        if bytes.len() >= DIRECT_MIN && target.is_plain() {
            self.send_through(to, bytes, more);
        } else {
            wire::Io::out(self, to).extend_from_slice(bytes);
        }
    }

    /// Whether the kernel moves the next bytes of `from` by itself.
    pub fn can_splice(&self, from: Key) -> bool {
        let Some(conn) = self.table.get(from) else { return false };
        let Some(forward) = &conn.forward else { return false };
        if forward.pipe.is_some() {
            return true;
        }
        let is_worth_it = forward.left >= SPLICE_MIN && (forward.left != STREAM || conn.bulk);
        let target = self.table.known(forward.to);
        is_worth_it
            && conn.tail.is_empty()
            && conn.is_plain()
            && target.is_some_and(|to| to.is_plain() && to.life == Life::Open && !to.deaf && !to.finish)
    }

    /// Moves bytes until one end has to be waited for, the forward is done, or others shall have their turn. False: there is no pipe to be
    /// had, so they must be copied.
    pub fn pump(&mut self, from: Key) -> bool {
        let mut moved = 0;
        while moved < SPLICE_BUDGET {
            let Some(mut forward) = self.table.get_mut(from).and_then(|conn| conn.forward.take()) else { return true };
            if forward.pipe.is_none() {
                let Ok(pipe) = self.pipes.pop().map_or_else(Pipe::new, Ok) else {
                    self.put_back(from, forward);
                    return false;
                };
                forward.pipe = Some(pipe);
            }
            let went = self.pump_once(from, &mut forward);
            self.put_back(from, forward);
            match went {
                Some(n) => moved += n,
                None => return true,
            }
        }
        self.queue_again(from);
        true
    }

    /// Keeps a forward that is not done; a pipe without bytes goes back to the others.
    fn put_back(&mut self, from: Key, mut forward: Forward) {
        if let Some(pipe) = forward.pipe.take_if(|pipe| pipe.held() == 0) {
            self.give_pipe(pipe);
        }
        let is_done = forward.left == 0 && forward.pipe.is_none();
        match self.table.get_mut(from) {
            Some(conn) if !is_done => conn.forward = Some(forward),
            Some(conn) => {
                conn.bulk = true;
                self.drop_forward(Some(forward));
                self.queue(from);
            }
            None => self.drop_forward(Some(forward)),
        }
    }

    /// Fills the pipe if it is empty, then empties it. `None`: this end or that one has to be waited for.
    fn pump_once(&mut self, from: Key, forward: &mut Forward) -> Option<usize> {
        let pipe = forward.pipe.as_mut()?;
        if self.table.known(forward.to).is_none_or(|to| to.deaf || to.finish) {
            // What is in the pipe has nowhere to go; the rest is skipped.
            forward.pipe = None;
            forward.to = Key::NONE;
            self.queue(from);
            return None;
        }
        let mut n = pipe.held();
        if n == 0 {
            if !self.is_flushed(from, forward.to, forward.left != STREAM) {
                return None;
            }
            n = self.fill(from, pipe, forward.left)?;
            if forward.left != STREAM {
                forward.left -= n as u64;
            }
        }
        let more = forward.left > 0 && forward.left != STREAM;
        self.empty(from, forward, more).then_some(n)
    }

    /// What was written before the forward must be sent before it. If it can't be yet, `from` waits.
    fn is_flushed(&mut self, from: Key, to: Key, more: bool) -> bool {
        if let Some(conn) = self.table.get_mut(to).filter(|conn| conn.backlog() > 0) {
            conn.more = more;
            self.flush(to);
        }
        match self.table.get(to) {
            Some(conn) if conn.backlog() == 0 => true,
            Some(_) => {
                self.wait(from, to);
                false
            }
            None => {
                self.queue(from);
                false
            }
        }
    }

    fn fill(&mut self, from: Key, pipe: &mut Pipe, left: u64) -> Option<usize> {
        let conn = self.table.get_mut(from).filter(|conn| conn.readable)?;
        let socket = conn.socket.as_ref()?;
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(PIPE_SIZE);
        match pipe.fill(socket, n) {
            Ok(0) => {
                conn.eof = true;
                conn.readable = false;
                None
            }
            Ok(moved) => {
                conn.bulk = moved as u64 >= SPLICE_MIN;
                self.stats.bytes_in[stats::of(conn.side)].add(moved as u64);
                Some(moved)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                conn.readable = false;
                None
            }
            Err(error) => {
                self.lose(from, Why::Broken(format!("reading failed: {error}")));
                None
            }
        }
    }

    /// Empties the pipe; false if `to` does not take it all now, or never will.
    fn empty(&mut self, from: Key, forward: &mut Forward, more: bool) -> bool {
        let (to, Some(pipe)) = (forward.to, forward.pipe.as_mut()) else { return false };
        while pipe.held() > 0 {
            let Some(conn) = self.table.get_mut(to) else { return false };
            let Some(socket) = conn.socket.as_ref().filter(|_| conn.writable) else {
                self.wait(from, to);
                return false;
            };
            match pipe.drain(socket, more) {
                Ok(0) => conn.writable = false,
                Ok(moved) => {
                    self.stats.bytes_out[stats::of(conn.side)].add(moved as u64);
                    self.stats.spliced.add(moved as u64);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => conn.writable = false,
                Err(error) => {
                    self.write_failed(to, &error);
                    self.queue(from);
                    return false;
                }
            }
        }
        true
    }
}
