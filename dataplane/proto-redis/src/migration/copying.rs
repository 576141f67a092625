//! Copies on their way: what they ask of the two back ends, and what comes back.

use super::copies::Then;
use super::fence::LOOK_AGAIN;
use super::{Migration, Note};
use crate::asks::{Asks, asks};
use crate::machine::Redis;
use crate::pipe::{Owner, Pending, To};
use crate::slot::slot_of;
use crate::upstream::{TIMER_COPY, TIMERS};
use crate::value;
use std::sync::Arc;
use wire::{Io, Key};

/// Of the counter of failures: where.
const READ: usize = 0;
const WRITE: usize = 1;
const SIZE: usize = 2;

impl Redis {
    /// Something was answered: what the client wrote is copied.
    pub(crate) fn write_answered(&mut self, io: &mut dyn Io, key: Key) {
        let Some(notes) = self.migrations.notes.get_mut(&key) else { return };
        let Some(client) = self.clients.get(key) else { return };
        let mut answered = Vec::new();
        while notes.front().is_some_and(|note| client.ring.is_past(note.seq + 1)) {
            answered.extend(notes.pop_front());
        }
        if notes.is_empty() {
            self.migrations.notes.remove(&key);
        }
        if !answered.is_empty() {
            self.touch_all(io, answered);
        }
    }

    /// A client is gone. What it has asked may yet run.
    pub(crate) fn forget_notes(&mut self, io: &mut dyn Io, key: Key) {
        self.migrations.held.remove(&key);
        let Some(notes) = self.migrations.notes.remove(&key) else { return };
        self.touch_all(io, notes.into_iter().map(|note| Note { unsure: true, ..note }).collect());
    }

    /// What a client waits for was on a connection that broke: it may run later than its answer, or the repeated one's, says.
    pub(crate) fn doubt_notes(&mut self, key: Key) {
        if let Some(notes) = self.migrations.notes.get_mut(&key) {
            notes.iter_mut().for_each(|note| note.unsure = true);
        }
    }

    fn touch_all(&mut self, io: &mut dyn Io, notes: Vec<Note>) {
        let now = io.now();
        for note in notes {
            for (cluster, name) in note.keys {
                let about = |migration: &&mut Migration| migration.conf.takes(&name) && [migration.serving, migration.other].contains(&cluster);
                let Some(migration) = self.migrations.all.iter_mut().find(about) else { continue };
                // Written where nothing is copied from any more: the gate let go too soon.
                let is_copied = migration.conf.copies() && migration.serving == cluster;
                if !is_copied || !migration.copies.touch(&name, note.unsure, now) {
                    migration.meters.lost.add(1);
                }
            }
        }
        for at in 0..self.migrations.all.len() {
            self.copy_on(io, at);
        }
        self.gauge_migrations();
    }

    /// Begins as many copies as may be.
    pub(super) fn copy_on(&mut self, io: &mut dyn Io, at: usize) {
        loop {
            let Some(migration) = self.migrations.all.get_mut(at).filter(|migration| migration.conf.copies()) else { return };
            let number = self.migrations.next;
            let Some(name) = migration.copies.begin(number) else { break };
            self.migrations.next = number.wrapping_add(1);
            self.read_copy(io, at, number, &name);
        }
        self.arm_copies(io, at);
    }

    /// The timer of a back end that is copied from.
    pub(crate) fn copy_timer(&mut self, io: &mut dyn Io, cluster: usize) {
        let Some(at) = self.migrations.all.iter().position(|migration| migration.serving == cluster) else { return };
        self.migrations.all[at].copies.wake(io.now());
        self.copy_on(io, at);
        self.take_back_blocked(io, at);
        self.gauge_migrations();
    }

    /// Asks for value and lifetime of one moment.
    fn read_copy(&mut self, io: &mut dyn Io, at: usize, number: u32, name: &Arc<[u8]>) {
        let Some(migration) = self.migrations.all.get(at) else { return };
        let words = |verb: &[u8]| value::command(&[verb, name]);
        let bytes = [b"*1\r\n$5\r\nMULTI\r\n", words(b"DUMP").as_slice(), &words(b"PEXPIRETIME"), b"*1\r\n$4\r\nEXEC\r\n"].concat();
        let asked = Pending { skip: 3, batch: 3, ..copy_of(number, name) };
        self.send(io, migration.serving, &bytes, asked);
    }

    /// A piece of a reply to a copy.
    pub(crate) fn copy_answer(&mut self, io: &mut dyn Io, pipe: Key, number: u32, piece: &[u8], done: bool) {
        let Some(connection) = self.pipes.get_mut(pipe) else { return };
        let (cluster, refused) = (connection.cluster, std::mem::take(&mut connection.queue_error));
        if done {
            connection.drop_front();
        } else {
            connection.queue_error.clone_from(&refused);
        }
        let Some(at) = self.migrations.all.iter().position(|migration| migration.copies.has(number)) else { return };
        let is_read = self.migrations.all[at].serving == cluster;
        let error = if refused.is_empty() { piece } else { &refused };
        if done && error.first() == Some(&b'-') {
            let soon = asks(error) != Asks::Nothing;
            if soon {
                self.refresh(io, cluster);
            }
            return self.copy_failed(io, number, soon, false);
        }
        let migration = &mut self.migrations.all[at];
        if is_read {
            migration.copies.hear(number, piece);
        }
        match (done, is_read) {
            (false, _) => {}
            (true, true) => self.copy_read(io, at, number),
            (true, false) => self.copy_put(io, at, number),
        }
    }

    fn copy_read(&mut self, io: &mut dyn Io, at: usize, number: u32) {
        let migration = &mut self.migrations.all[at];
        match migration.copies.read(number) {
            Then::Put(name, command) => {
                let other = migration.other;
                self.send(io, other, &command, copy_of(number, &name));
            }
            Then::Done => {
                migration.meters.copied.add(1);
                self.copy_on(io, at);
                self.gauge_migrations();
            }
            Then::Wrong => self.copy_failed(io, number, false, false),
            Then::TooLong => {
                migration.meters.failed[SIZE].add(1);
                self.copy_failed(io, number, false, false);
            }
        }
    }

    fn copy_put(&mut self, io: &mut dyn Io, at: usize, number: u32) {
        match self.migrations.all[at].copies.written(number) {
            Some(name) => self.read_copy(io, at, number, &name),
            None => self.copy_on(io, at),
        }
    }

    /// A copy was not answered as it should be. `unsure`: what was sent may yet run.
    pub(crate) fn copy_failed(&mut self, io: &mut dyn Io, number: u32, soon: bool, unsure: bool) {
        let Some(at) = self.migrations.all.iter().position(|migration| migration.copies.has(number)) else { return };
        let migration = &mut self.migrations.all[at];
        let at_read = migration.copies.is_reading(number);
        migration.meters.failed[if at_read { READ } else { WRITE }].add(1);
        if !migration.copies.failed(number, io.now(), soon, unsure && !at_read) {
            migration.meters.lost.add(1);
        }
        // Not at once the next one: it would fail for the same reason, and come back here.
        self.arm_copies(io, at);
    }

    fn arm_copies(&mut self, io: &mut dyn Io, at: usize) {
        let Some(migration) = self.migrations.all.get(at) else { return };
        let look_again = migration.conf.holds().then(|| io.now() + LOOK_AGAIN);
        if let Some(due) = migration.copies.due().into_iter().chain(look_again).min() {
            io.arm(Key::NONE, migration.serving as u32 * TIMERS + TIMER_COPY, due);
        }
    }
}

/// A request of a copy. Its deadline is now: what cannot be sent is tried again by the copy itself.
fn copy_of(number: u32, name: &[u8]) -> Pending {
    Pending { to: To::Slot(slot_of(name)), ..Pending::internal(Owner::Copy(number), 0, 2) }
}
