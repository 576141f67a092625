//! What concerns the clients of all workers: the other workers are asked by mail, and answer by mail.
//!
//! Mail is best effort. A worker that does not answer within a second is told of by an error, since "no such client" would be a guess.

use crate::client_list::{Part, Query};
use crate::errand::{Errand, Next, Round};
use crate::frame::{Found, Frame, Scan};
use crate::machine::{Redis, Step};
use wire::{Io, Key, Nanos, SECONDS};

/// The first byte of mail to other workers: a question, an answer.
pub(crate) const QUESTION: u8 = b'q';
/// See [`QUESTION`].
pub(crate) const ANSWER: u8 = b'a';
/// How long the others are waited for.
const PATIENCE: Nanos = SECONDS;

/// A question that is not answered by all.
#[derive(Debug)]
pub(crate) struct Inquiry {
    ticket: u64,
    asker: Key,
    query: Query,
    part: Part,
    left: usize,
}

/// What the client that asked does meanwhile.
#[derive(Debug)]
struct Wait {
    begun: bool,
}

impl Errand for Wait {
    fn next(&mut self, _: &Round<'_>) -> Next {
        if std::mem::replace(&mut self.begun, true) {
            return Next::fail("ERR midstream: a worker of this sidecar did not answer; what its clients are is not known");
        }
        Next::Wait(PATIENCE)
    }
}

impl Redis {
    /// Asks the other workers the same; `part` is what this one did.
    pub(crate) fn ask_others(&mut self, io: &mut dyn Io, key: Key, bytes: &[u8], query: Query, part: Part) -> Step {
        let Some(Some(listener)) = self.clients.get(key).and_then(|client| self.listeners.get(client.listener)) else { return Step::Taken };
        let name = listener.conf.name.to_string();
        let ticket = io.random();
        let head = [&[QUESTION, self.worker.index as u8], ticket.to_be_bytes().as_slice(), &[name.len() as u8], name.as_bytes()].concat();
        let mail = [head.as_slice(), bytes].concat();
        (0..self.worker.count).filter(|worker| *worker != self.worker.index).for_each(|worker| io.mail(worker, mail.clone()));
        let clients = &self.clients;
        self.inquiries.retain(|inquiry| clients.get(inquiry.asker).is_some_and(|client| client.errand.is_some()));
        self.inquiries.push(Inquiry { ticket, asker: key, query, part, left: self.worker.count - 1 });
        self.run(io, key, Box::new(Wait { begun: false }))
    }

    /// Mail from another worker.
    pub(crate) fn mail_of_inquiries(&mut self, io: &mut dyn Io, body: &[u8]) {
        let [kind, worker, rest @ ..] = body else { return };
        let Some((ticket, rest)) = rest.split_first_chunk::<8>() else { return };
        match *kind {
            QUESTION => self.asked_by(io, usize::from(*worker), ticket, rest),
            _ => self.answered_by_other(io, u64::from_be_bytes(*ticket), rest),
        }
    }

    fn asked_by(&mut self, io: &mut dyn Io, worker: usize, ticket: &[u8; 8], rest: &[u8]) {
        let Some((length, rest)) = rest.split_first() else { return };
        let Some((name, bytes)) = rest.split_at_checked(usize::from(*length)) else { return };
        let mut scan = Scan::default();
        let Ok(Found::Command(_)) = scan.command(bytes, true) else { return };
        let frame = Frame { bytes, words: &scan.words };
        let Some(command) = self.table.find(frame.word(0)).and_then(|command| command.child(frame.word(1))) else { return };
        let Ok(query) = Query::of(&frame, command) else { return };
        let listener = self.listeners.iter().position(|listener| listener.as_ref().is_some_and(|listener| listener.conf.name.as_bytes() == name));
        let part = listener.map(|listener| self.perform(io, &query, listener, None)).unwrap_or_default();
        let head = [&[ANSWER, self.worker.index as u8], ticket.as_slice(), part.count.to_be_bytes().as_slice()].concat();
        io.mail(worker, [head.as_slice(), part.lines.as_bytes()].concat());
    }

    fn answered_by_other(&mut self, io: &mut dyn Io, ticket: u64, rest: &[u8]) {
        let Some((count, lines)) = rest.split_first_chunk::<8>() else { return };
        let Some(at) = self.inquiries.iter().position(|inquiry| inquiry.ticket == ticket) else { return };
        let inquiry = &mut self.inquiries[at];
        inquiry.part.count += u64::from_be_bytes(*count);
        inquiry.part.lines += &String::from_utf8_lossy(lines);
        inquiry.left -= 1;
        if inquiry.left == 0 {
            let done = self.inquiries.swap_remove(at);
            self.close_own(done.asker, &done.part);
            self.end_errand(io, done.asker, &done.query.reply(&done.part));
        }
    }
}
