//! Which keys of a migration a command may write; and the fence, at which writes wait.

use super::{Migration, Migrations, Note};
use crate::action::Writes;
use crate::client::Wait;
use crate::frame::{Frame, Scan};
use crate::keys;
use crate::listener::Listener;
use crate::machine::{Redis, Step};
use crate::table::Command;
use std::sync::Arc;
use wire::{Io, Key, SECONDS};

/// The timer of a client that waits at a fence.
pub(crate) const TIMER_FENCE: u32 = 3;

/// A key, and the back end where it is.
type Touched = (usize, Vec<u8>);

const SCRIPT: &str = "a migration is under way, and a script that declares no keys may write any; declare those that it uses";
const FLUSH: &str = "a migration is under way, and what it takes away would not be taken away from both back ends; delete the keys by their names";
const DATABASE: &str = "a migration is under way, which moves the keys of database 0 only";

impl Redis {
    /// A command that may write, or wait for what is written, while a migration is under way.
    pub(crate) fn go_migrating(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &'static Command) -> Step {
        if command.writes == Writes::Nothing && !has_block(frame) {
            return self.go_on(io, key, frame, command);
        }
        let touched = match self.touched(key, frame, command) {
            Ok(touched) if !touched.is_empty() && self.database_of(key) != 0 => {
                self.refuse(io, key, command, DATABASE);
                return Step::Taken;
            }
            Ok(touched) => touched,
            Err(why) => {
                self.refuse(io, key, command, why);
                return Step::Taken;
            }
        };
        // What is queued is written by EXEC.
        if touched.is_empty() || (self.in_transaction(key) && command.name != "exec") {
            return self.go_on(io, key, frame, command);
        }
        if let Some(migration) = self.migrations.holding(&touched) {
            return self.hold_write(io, key, command, migration);
        }
        if self.migrations.held.remove(&key).is_some() {
            io.disarm(key, TIMER_FENCE);
        }
        self.migrations.noting = touched;
        let step = self.go_on(io, key, frame, command);
        self.migrations.noting.clear();
        step
    }

    /// The command that is being looked at gets its place in its client's ring: what it writes is noted.
    pub(crate) fn note_command(&mut self, key: Key, seq: u64) {
        if !self.migrations.noting.is_empty() {
            let keys = std::mem::take(&mut self.migrations.noting);
            self.migrations.notes.entry(key).or_default().push_back(Note { seq, keys, unsure: false });
        }
    }

    /// The keys of migrations that a command may write, under their names at the back end.
    fn touched(&self, key: Key, frame: &Frame<'_>, command: &Command) -> Result<Vec<Touched>, &'static str> {
        let Some(client) = self.clients.get(key) else { return Ok(Vec::new()) };
        let Some(Some(listener)) = self.listeners.get(client.listener) else { return Ok(Vec::new()) };
        if command.name == "exec" {
            let cluster = client.transaction.cluster.unwrap_or(client.cluster);
            return Ok(self.touched_of(self.keys_of(&client.transaction.queued_bytes(), true)?, cluster));
        }
        let mut touched = Vec::new();
        let mut behind = Vec::new();
        for index in &self.keys {
            let word = frame.word(*index as usize);
            let cluster = home_of(listener, word, &mut behind);
            if self.migrations.has(cluster, &behind) {
                touched.push((cluster, behind.clone()));
            }
        }
        if command.writes == Writes::Anything && self.keys.is_empty() {
            self.check_keyless(command, listener.routed.iter().chain([&listener.cluster]))?;
        }
        Ok(touched)
    }

    fn database_of(&self, key: Key) -> u32 {
        let session = self.clients.get(key).and_then(|client| client.session).and_then(|number| self.sessions.get(number));
        session.map_or(0, |session| session.database)
    }

    /// Whether a client's key is copied, or waits to be.
    pub(crate) fn is_migrating(&self, key: Key, word: &[u8]) -> bool {
        let listener = self.clients.get(key).and_then(|client| self.listeners.get(client.listener)).and_then(Option::as_ref);
        let mut behind = Vec::new();
        listener.is_some_and(|listener| {
            let cluster = home_of(listener, word, &mut behind);
            self.migrations.has(cluster, &behind)
        })
    }

    /// What may write and names no keys is refused where a migration is under way.
    fn check_keyless<'a>(&self, command: &Command, mut clusters: impl Iterator<Item = &'a usize>) -> Result<(), &'static str> {
        let is_flush = matches!(command.name, "flushall" | "flushdb");
        if (is_flush || command.is_script && !command.name.contains('|')) && clusters.any(|cluster| self.migrations.is_about(*cluster)) {
            return Err(if is_flush { FLUSH } else { SCRIPT });
        }
        Ok(())
    }

    /// The keys of a client's command that waits for something to come to them.
    pub(super) fn waits_for(&self, key: Key) -> Vec<Touched> {
        let Some(client) = self.clients.get(key) else { return Vec::new() };
        if let Some(running) = &client.errand {
            return self.touched_of(running.waits_for(), client.cluster);
        }
        let pipe = client.lease.filter(|_| client.is_blocked()).and_then(|lease| self.pipes.get(lease.pipe));
        let Some(pipe) = pipe else { return Vec::new() };
        // Before it the node may have been asked what it calls the connection, or been told ASKING; they name no keys.
        self.touched_of(self.keys_of(pipe.kept.all(), false).unwrap_or_default(), pipe.cluster)
    }

    /// The keys of commands that are kept, under the names of the back end: of all, or of those that may write.
    pub(super) fn keys_of(&self, mut kept: &[u8], writes: bool) -> Result<Vec<Vec<u8>>, &'static str> {
        let mut names = Vec::new();
        let (mut scan, mut found) = (Scan::default(), Vec::new());
        while let Ok(crate::frame::Found::Command(length)) = scan.command(kept, true) {
            let frame = Frame { bytes: &kept[..length], words: &scan.words };
            let command = self.table.find(frame.word(0));
            let command = command.map(|command| command.child(if frame.len() > 1 { frame.word(1) } else { b"" }).unwrap_or(command));
            if let Some(command) = command.filter(|command| !writes || command.writes != Writes::Nothing) {
                found.clear();
                keys::of(command, &frame, &mut found)?;
                names.extend(found.iter().map(|index| frame.word(*index as usize).to_vec()));
            }
            kept = &kept[length..];
            scan.reset();
        }
        Ok(names)
    }

    fn touched_of(&self, names: Vec<Vec<u8>>, cluster: usize) -> Vec<Touched> {
        names.into_iter().filter(|name| self.migrations.has(cluster, name)).map(|name| (cluster, name)).collect()
    }

    /// Leaves a write for later. Its client waits, for as long as for a node.
    fn hold_write(&mut self, io: &mut dyn Io, key: Key, command: &Command, migration: usize) -> Step {
        let Some(migration) = self.migrations.all.get(migration) else { return Step::Taken };
        let (now, name, serving) = (io.now(), Arc::clone(&migration.conf.name), migration.serving);
        let deadline = self.deadline(serving, now);
        let until = *self.migrations.held.entry(key).or_insert(deadline);
        if now >= until {
            self.migrations.held.remove(&key);
            let patience = deadline.saturating_sub(now) as f64 / SECONDS as f64;
            let error = format!(
                "TRYAGAIN midstream: RedisMigration/{name} goes from one stage to the next, for which writes wait, and {patience} s \
                 (retryDeadline of the RedisCluster) are over; nothing was written; is `midstream migrate` still at work?"
            );
            if command.name == "exec" {
                self.unwatch(io, key);
            }
            self.fail(io, key, &error);
            return Step::Taken;
        }
        let step = self.wait_for_ring(io, key);
        if let Some(client) = self.clients.get_mut(key) {
            client.wait = Wait::Fence;
            io.arm(key, TIMER_FENCE, until);
        }
        self.gauge_migrations();
        step
    }

    /// A client's time at the fence is over.
    pub(crate) fn fence_over(&mut self, io: &mut dyn Io, key: Key) {
        if let Some(client) = self.clients.get_mut(key).filter(|client| client.wait == Wait::Fence) {
            client.wait = Wait::Ring;
            self.resume(io, key);
        }
    }

    /// Those who wait at a fence are looked at again.
    pub(super) fn release_held(&mut self, io: &mut dyn Io) {
        let held: Vec<Key> = self.migrations.held.keys().copied().collect();
        for key in held {
            self.fence_over(io, key);
        }
        if !self.migrations.all.iter().any(|migration| migration.conf.holds()) {
            self.migrations.held.clear();
        }
    }
}

/// The back end of a key, and what it is called there.
fn home_of(listener: &Listener, word: &[u8], behind: &mut Vec<u8>) -> usize {
    behind.clear();
    let Some(routes) = &listener.conf.routes else {
        behind.extend_from_slice(word);
        return listener.cluster;
    };
    let number = routes.find(word);
    routes.get(number).push_behind(word, behind);
    listener.routed.get(usize::from(number)).copied().unwrap_or(listener.cluster)
}

/// XREAD that may wait: where it waits, nothing will come when the other back end serves.
fn has_block(frame: &Frame<'_>) -> bool {
    (1..frame.len()).take_while(|index| !frame.is(*index, "streams")).any(|index| frame.is(index, "block"))
}

impl Migrations {
    /// Whether a key there is copied, or waits to be.
    fn has(&self, cluster: usize, name: &[u8]) -> bool {
        self.all.iter().any(|migration| migration.serving == cluster && migration.is_active() && migration.conf.takes(name))
    }

    fn is_about(&self, cluster: usize) -> bool {
        self.all.iter().any(|migration| migration.serving == cluster && migration.is_active())
    }

    /// A migration at whose fence writes of these keys wait.
    pub(super) fn holding(&self, touched: &[Touched]) -> Option<usize> {
        let holds = |migration: &Migration, (cluster, name): &Touched| migration.serving == *cluster && migration.conf.takes(name);
        self.all.iter().position(|migration| migration.conf.holds() && touched.iter().any(|one| holds(migration, one)))
    }
}

impl Migration {
    fn is_active(&self) -> bool {
        self.conf.copies() || self.conf.holds()
    }
}
