//! Names of statements that are not settled yet.
//!
//! A client may go on behind a Sync before the batch in front of it is answered. Should that batch fail, what it did to the names of
//! statements is undone, as on a server that skipped it. So whatever depends on a name that an unanswered batch has changed waits for the
//! answers; within one batch nothing has to wait, since it is skipped together.

use crate::client::Client;
use crate::machine::Postgres;
use crate::message;
use crate::server::{Expect, Server};
use crate::statement::Handle;
use wire::Io;

/// Which names have been changed.
#[derive(Clone, Copy, Default, Debug)]
pub struct Doubts {
    batch: Names,
    before: Names,
}

#[derive(Clone, Copy, Default, Debug)]
struct Names {
    named: bool,
    unnamed: bool,
}

impl Doubts {
    /// The batch at hand changes what the name stands for, and the server has still to answer.
    pub fn change(&mut self, name: &[u8]) {
        self.batch.named |= !name.is_empty();
        self.batch.unnamed |= name.is_empty();
    }

    /// The batch is at its end.
    pub fn end(&mut self) {
        self.before.named |= self.batch.named;
        self.before.unnamed |= self.batch.unnamed;
        self.batch = Names::default();
    }

    /// Everything is answered.
    pub fn settle(&mut self) {
        self.before = Names::default();
    }

    /// Whether it is open what the name stands for. The unnamed statement is settled by a Parse of the batch at hand.
    fn is_open(self, name: &[u8]) -> bool {
        if name.is_empty() { self.before.unnamed && !self.batch.unnamed } else { self.before.named }
    }
}

impl Postgres {
    /// Whether the message at the front has to wait until it is known what the name stands for; then the client is paused.
    pub(crate) fn is_doubtful(&mut self, io: &mut dyn Io, client: &mut Client, name: &[u8]) -> bool {
        if !client.doubts.is_open(name) {
            return false;
        }
        if !client.server.and_then(|server| self.servers.get(server)).is_some_and(|server| server.will_be_ready()) {
            client.doubts.settle();
            return false;
        }
        // What was sent behind that batch is answered, too, before the client goes on.
        client.server.inspect(|server| io.out(*server).extend_from_slice(message::FLUSH));
        client.is_moving = true;
        io.pause(client.key, true);
        true
    }
}

/// Takes off what the server skips up to the next Sync, and undoes what that and the `failed` message changed on our side.
pub fn skip(server: &mut Server, client: &mut Client, failed: Option<Expect>) {
    let is_synced = |expect: &Expect| matches!(expect, Expect::Sync);
    let end = server.expect.iter().position(is_synced);
    client.is_skipping |= end.is_none();
    let end = end.unwrap_or(server.expect.len());
    let skipped: Vec<Expect> = server.expect.drain(..end).collect();
    let mut unnamed = None;
    // Backwards, since each one knows what was there before it.
    for expect in skipped.into_iter().rev() {
        undo(server, client, expect, &mut unnamed);
    }
    if let Some(failed) = failed {
        let forgets_unnamed = matches!(&failed, Expect::Parse { named: None, undo: Some(_) });
        undo(server, client, failed, &mut unnamed);
        // The server forgets the unnamed statement before it looks at the new one.
        unnamed = if forgets_unnamed { Some(None) } else { unnamed };
    }
    if let Some(before) = unnamed {
        restore_unnamed(server, client, before);
    }
}

fn undo(server: &mut Server, client: &mut Client, expect: Expect, unnamed: &mut Option<Option<Handle>>) {
    let undo = match expect {
        Expect::Parse { named, undo } => {
            match named {
                Some(prepared) => server.statements.doubt(prepared.id),
                None => server.unnamed = None,
            }
            undo
        }
        Expect::Say(_, undo) => undo,
        // The statement is still there, under a name that nothing remembers: it is closed with the connection.
        Expect::CloseQuiet(true) => {
            server.is_dirty = true;
            None
        }
        _ => None,
    };
    match undo {
        Some(undo) if undo.name.is_empty() => *unnamed = Some(undo.before),
        Some(undo) => drop(client.put(&undo.name, undo.before)),
        None => {}
    }
}

/// A batch behind may have changed it again: then that is what holds, and this is what was there before it.
fn restore_unnamed(server: &mut Server, client: &mut Client, before: Option<Handle>) {
    for expect in &mut server.expect {
        match expect {
            Expect::Query => return,
            Expect::Parse { undo: Some(undo), .. } | Expect::Say(_, Some(undo)) if undo.name.is_empty() => {
                undo.before = before;
                return;
            }
            _ => {}
        }
    }
    client.unnamed = before;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_open_behind_the_batch_that_changed_it() {
        let mut doubts = Doubts::default();
        doubts.change(b"a");
        assert!(!doubts.is_open(b"a"), "they are skipped together");
        doubts.end();
        assert!(doubts.is_open(b"a") && !doubts.is_open(b""));
        doubts.settle();
        assert!(!doubts.is_open(b"a"));
    }

    #[test]
    fn the_unnamed_statement_of_this_batch_is_settled() {
        let mut doubts = Doubts::default();
        doubts.change(b"");
        doubts.end();
        assert!(doubts.is_open(b""));
        doubts.change(b"");
        assert!(!doubts.is_open(b""));
    }
}
