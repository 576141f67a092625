//! What is answered here for clients that are users of the nodes ([`crate::session`]): whether the user may, a node says first.
//!
//! Commands that are harmless where they run, a node runs (and logs a denial in its ACL LOG); of the others it is asked by ACL DRYRUN, on the
//! sidecar's own connection, as the user seldom may ask himself. What is not answered here the nodes check anyway.

use crate::action::Action;
use crate::errand::{Ask, Errand, Next, Round};
use crate::frame::{Found, Frame, Scan};
use crate::machine::{Redis, Step};
use crate::pipe::To;
use crate::pubsub::SUBSCRIPTIONS;
use crate::table::Command;
use crate::value::{self, text};
use wire::{Io, Key};

/// What a node may run on a connection that clients of one user share.
const HARMLESS: &[&str] = &["ping", "echo", "role", "client|setname", "client|setinfo", "client|getname", "client|id", "client|info"];

/// Errors of a harmless command that are not its own.
const DENIALS: [&[u8]; 5] = [b"-NOPERM", b"-NOAUTH", b"-WRONGPASS", b"-CLUSTERDOWN", b"-ERR midstream:"];

/// One question to a node.
#[derive(Debug)]
struct Vet {
    question: Option<Ask>,
    runs: bool,
    command: Vec<u8>,
}

impl Errand for Vet {
    fn next(&mut self, round: &Round<'_>) -> Next {
        if let Some(question) = self.question.take() {
            return Next::Ask(vec![question]);
        }
        let reply = round.reply();
        let denied = if self.runs { DENIALS.iter().any(|denial| reply.starts_with(denial)) } else { reply != b"+OK\r\n" };
        match text(reply) {
            _ if !denied => Next::Permitted(std::mem::take(&mut self.command)),
            // ACL DRYRUN says no in a string.
            Some(said) => Next::Answer([b"-NOPERM ", said, b"\r\n"].concat()),
            None => Next::Answer(reply.to_vec()),
        }
    }
}

impl Redis {
    /// The user of the nodes that a client is who asks something that is answered here. SELECT a node checks as it is ([`crate::session`]).
    fn user_to_vet(&self, key: Key, command: &Command) -> Option<&str> {
        let client = self.clients.get(key).filter(|_| !command.has("no_auth") && command.name != "select")?;
        let user = self.sessions.get(client.session?)?.credentials.as_ref()?;
        Some(if user.user.is_empty() { "default" } else { &user.user })
    }

    /// Whether nodes have to be asked whether a client may what is answered here.
    pub(crate) fn must_vet(&self, key: Key, command: &Command) -> bool {
        !self.sessions.is_empty() && self.user_to_vet(key, command).is_some()
    }

    /// They are asked.
    pub(crate) fn vet(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command) -> Step {
        let Some(name) = self.user_to_vet(key, command) else { return Step::Taken };
        let runs = HARMLESS.contains(&command.name);
        let place = To::Slot(SUBSCRIPTIONS);
        let question = if runs {
            Ask::of(place, frame.bytes.to_vec(), true)
        } else {
            let words = (0..frame.len()).map(|index| frame.word(index));
            let words: Vec<&[u8]> = [&b"ACL"[..], b"DRYRUN", name.as_bytes()].into_iter().chain(words).collect();
            Ask { as_sidecar: true, ..Ask::of(place, value::command(&words), true) }
        };
        self.run(io, key, Box::new(Vet { question: Some(question), runs, command: frame.bytes.to_vec() }))
    }

    /// The user may: the command goes its way.
    pub(crate) fn permitted(&mut self, io: &mut dyn Io, key: Key, bytes: &[u8]) {
        let mut scan = Scan::default();
        let Ok(Found::Command(_)) = scan.command(bytes, true) else { return };
        let frame = Frame { bytes, words: &scan.words };
        let Some(command) = self.table.find(frame.word(0)) else { return };
        let command = if frame.len() > 1 { command.child(frame.word(1)).unwrap_or(command) } else { command };
        // It is still owed its reply: that it sends no more must not end it here.
        let half_closed = self.clients.get_mut(key).is_some_and(|client| std::mem::take(&mut client.half_closed));
        self.end_errand(io, key, b"");
        match command.action {
            Action::Clients => _ = self.client_query(io, key, &frame, command),
            Action::Monitor => _ = self.run(io, key, Box::new(crate::monitor::Begin)),
            _ => self.local(io, key, &frame, command),
        }
        if let Some(client) = self.clients.get_mut(key).filter(|_| half_closed) {
            client.half_closed = true;
            self.close_if_done(io, key);
        }
    }
}
