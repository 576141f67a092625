//! A client's bytes, command by command.

use crate::client::Wait;
use crate::frame::{self, Found, Frame};
use crate::large::Course;
use crate::machine::{Redis, Step};
use std::mem;
use wire::{Fault, Io, Key, Whose};

/// A long command that is not complete goes on where it stopped; below this, starting over is cheaper than remembering.
const REMEMBER_FROM: usize = 4096;

impl Redis {
    /// Bytes of a client.
    pub(crate) fn client_data(&mut self, io: &mut dyn Io, key: Key, bytes: &[u8]) -> Result<usize, Fault> {
        let mut scan = mem::take(&mut self.scan);
        let consumed = self.commands(io, key, bytes, &mut scan);
        scan.reset();
        self.scan = scan;
        let consumed = consumed?;
        if let Some(client) = self.clients.get_mut(key) {
            client.unread = consumed < bytes.len() && (client.paused || matches!(client.wait, Wait::Delay | Wait::Paused));
            if client.half_closed || client.closing {
                self.close_if_done(io, key);
            }
        }
        Ok(consumed)
    }

    fn commands(&mut self, io: &mut dyn Io, key: Key, bytes: &[u8], scan: &mut frame::Scan) -> Result<usize, Fault> {
        let mut at = 0;
        while at < bytes.len() {
            let Some(client) = self.clients.get_mut(key) else { return Ok(bytes.len()) };
            if client.is_mid_large() {
                return Ok(at + self.large_tail(io, key, &bytes[at..]));
            }
            if client.closing && !client.has_begun_large() {
                return Ok(bytes.len());
            }
            if self.skips {
                client.ring.silence.begin();
            }
            if client.is_stalled() {
                client.paused = true;
                io.pause(key, true);
                break;
            }
            if let Some(partial) = client.partial.take() {
                *scan = *partial;
            } else if scan.progress() == 0 {
                scan.streams = true;
            }
            let rest = &bytes[at..];
            let (step, length) = match scan.command(rest, client.known) {
                Ok(Found::Command(length)) => (self.command(io, key, &Frame { bytes: &rest[..length], words: &scan.words }), length),
                Ok(Found::Inline(length)) => (self.command(io, key, &Frame { bytes: &scan.rewritten, words: &scan.words }), length),
                Ok(Found::Nothing(length)) => (Step::Taken, length),
                Ok(Found::Long(word)) => match self.large(io, key, &Frame { bytes: rest, words: &scan.words }, word) {
                    Course::Begun(length) => {
                        self.command_over(key);
                        return Ok(at + length);
                    }
                    Course::Held => break,
                    Course::Whole => {
                        scan.streams = false;
                        continue;
                    }
                },
                Ok(Found::More(needed)) => {
                    io.want(key, needed);
                    if scan.progress() > REMEMBER_FROM || !scan.streams {
                        client.partial = Some(Box::new(mem::take(scan)));
                    }
                    break;
                }
                Err(wrong) => return self.broken(io, key, &wrong, bytes.len()),
            };
            scan.reset();
            if step == Step::Held {
                break;
            }
            at += length;
            self.command_over(key);
        }
        Ok(at)
    }

    /// The client's next command is another.
    #[inline]
    fn command_over(&mut self, key: Key) {
        if self.skips
            && let Some(client) = self.clients.get_mut(key)
        {
            client.ring.silence.end();
        }
    }

    /// The client broke the protocol: it is told so after what it is still owed, and loses its connection.
    fn broken(&mut self, io: &mut dyn Io, key: Key, wrong: &str, all: usize) -> Result<usize, Fault> {
        self.meters_of(key, |meters| meters.protocol.add(1));
        self.fail(io, key, &format!("ERR Protocol error: {wrong}"));
        let Some(client) = self.clients.get_mut(key) else { return Ok(all) };
        if client.ring.is_empty() {
            self.forget_client(io, key);
            return Err(Fault { whose: Whose::Client, place: "RESP command", what: wrong.to_owned().into() });
        }
        client.closing = true;
        Ok(all)
    }
}
