//! CLIENT REPLY: which of a client's commands are answered.
//!
//! A command that is not answered runs as any other, keeps its place in the ring and is waited for there; only the bytes of its reply are
//! thrown away. What is no reply (messages, confirmations of subscriptions, invalidations) is sent in any case, as a server does it.
//! Source: <https://redis.io/docs/latest/commands/client-reply/>.

use crate::frame::Frame;
use crate::machine::Redis;
use wire::{Io, Key};

/// Whether a client wants to be answered.
#[derive(Clone, Copy, Default, Debug)]
pub struct Silence {
    /// It said OFF.
    off: bool,
    /// The present command is not answered: the one before it said SKIP, or it says so itself.
    skip: bool,
    /// Nor is the one behind it.
    skip_next: bool,
    /// The present command is taken: the next one is another.
    is_over: bool,
}

impl Silence {
    /// Nothing is answered.
    #[cfg(test)]
    pub const OFF: Silence = Silence { off: true, skip: false, skip_next: false, is_over: false };

    /// Whether the present command is not answered.
    #[inline]
    pub fn holds(self) -> bool {
        self.off || self.skip
    }

    /// Whether nothing is answered until the client says otherwise.
    pub fn is_off(self) -> bool {
        self.off
    }

    /// A command is looked at, perhaps again.
    pub fn begin(&mut self) {
        if self.is_over {
            *self = Silence { off: self.off, skip: self.skip_next, ..Silence::default() };
        }
    }

    /// The command is taken.
    pub fn end(&mut self) {
        self.is_over = true;
    }

    /// RESET, and a new connection, are answered, unless the command before it said SKIP.
    pub fn reset(&mut self) {
        (self.off, self.skip_next) = (false, false);
    }
}

impl Redis {
    /// CLIENT REPLY ON|OFF|SKIP.
    pub(crate) fn client_reply(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let silence = &mut client.ring.silence;
        if frame.is(2, "on") {
            (silence.off, silence.skip) = (false, false);
        } else if frame.is(2, "off") {
            silence.off = true;
        } else if frame.is(2, "skip") {
            silence.skip = true;
            silence.skip_next = !silence.off;
            self.skips = true;
        } else {
            return self.fail(io, key, "ERR syntax error");
        }
        self.answer(io, key, b"+OK\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(silence: &mut Silence) -> bool {
        silence.end();
        silence.begin();
        silence.begin(); // it waited for something
        silence.holds()
    }

    #[test]
    fn one_command_is_skipped() {
        let mut silence = Silence { skip: true, skip_next: true, ..Silence::default() };
        assert!(next(&mut silence) && !next(&mut silence));
    }

    #[test]
    fn off_holds_until_a_reset() {
        let mut silence = Silence::OFF;
        assert!(next(&mut silence) && next(&mut silence));
        silence.reset();
        assert!(!silence.holds());
    }
}
