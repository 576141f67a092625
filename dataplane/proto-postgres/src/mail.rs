//! What the workers tell each other: the first byte says which, the rest is that module's.

use crate::machine::Postgres;
use wire::Io;

/// A CancelRequest for a client of that worker, see `cancel`.
pub const CANCEL: u8 = b'c';
/// An admin of another worker wants to know something, see `admin`.
pub const ADMIN_QUESTION: u8 = b'q';
/// The answer.
pub const ADMIN_ANSWER: u8 = b'a';

impl Postgres {
    /// A message of another worker.
    pub(crate) fn mail(&mut self, io: &mut dyn Io, body: &[u8]) {
        match body {
            [CANCEL, body @ ..] => self.cancel_mail(io, body),
            [ADMIN_QUESTION, body @ ..] => self.admin_question(io, body),
            [ADMIN_ANSWER, body @ ..] => self.admin_answer(io, body),
            _ => {}
        }
    }
}
