//! Migrations: the keys of one back end on their way to another, in stages that all sidecars go through together.
//!
//! ```text
//!  stage         served by   writes    what is written is copied to
//!  prepared      from        pass
//!  dual-write    from        pass      to
//!  fence         from        wait      to, until nothing is left to copy
//!  switch        to          wait
//!  cut-over      to          pass      from             (fence-back and switch-back lead from here to dual-write again)
//!  done          to          pass
//! ```
//! Nothing is written anywhere between the fence and the cut-over, so it does not matter which sidecar goes from one to the next first: both
//! back ends have the same. A copy is a state, not a command ([`copies`]): when a write is answered, its keys are read where they are
//! served and put where they go, and read again. Whoever put last has seen that the key had not changed since, so two who copy one key
//! (two sidecars, or the backfill of `midstream migrate`) need not know of each other.
//! * [`compile`]: what listeners are served by.
//! * [`gate`], [`fence`]: which keys a command writes, who waits, and what is taken back.
//! * [`copies`], [`copying`]: what is to be copied, and how.

pub(crate) mod compile;
mod copies;
mod copying;
mod fence;
mod gate;

use crate::conf::Conf;
use crate::machine::Redis;
use copies::Copies;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use wire::metrics::{Counter, Gauge, Registry};
use wire::{Io, Key, Nanos};

pub(crate) use gate::TIMER_FENCE;

/// How far a migration is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Nothing has begun.
    Prepared,
    /// The old back end serves, the new one is kept current.
    DualWrite,
    /// As before, but writes wait.
    Fence,
    /// Writes wait, the new back end is read.
    Switch,
    /// The new back end serves, the old one is kept current.
    CutOver,
    /// As before, but writes wait.
    FenceBack,
    /// Writes wait, the old back end is read.
    SwitchBack,
    /// The new back end serves.
    Done,
}

/// A migration as it is configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MigrationConf {
    /// Its name.
    pub name: Arc<str>,
    /// The back end that keys come from.
    pub from: Arc<str>,
    /// The back end that they go to.
    pub to: Arc<str>,
    /// What keys begin with at both, one of these; empty: anything.
    pub prefixes: Vec<Vec<u8>>,
    /// See [`Stage`].
    pub stage: Stage,
    /// Which change of the stage this is.
    pub epoch: u32,
}

impl MigrationConf {
    /// Whether the new back end serves.
    pub fn has_moved(&self) -> bool {
        matches!(self.stage, Stage::Switch | Stage::CutOver | Stage::FenceBack | Stage::Done)
    }

    /// Whether what is written is copied to the other one.
    pub fn copies(&self) -> bool {
        matches!(self.stage, Stage::DualWrite | Stage::Fence | Stage::CutOver | Stage::FenceBack)
    }

    /// Whether writes wait.
    pub fn holds(&self) -> bool {
        matches!(self.stage, Stage::Fence | Stage::Switch | Stage::FenceBack | Stage::SwitchBack)
    }

    /// The back end that serves.
    pub fn serving(&self) -> &Arc<str> {
        if self.has_moved() { &self.to } else { &self.from }
    }

    /// Whether it is about that key.
    pub fn takes(&self, key: &[u8]) -> bool {
        self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| key.starts_with(prefix))
    }

    /// Whether it is the same one, however far.
    fn is_same(&self, other: &MigrationConf) -> bool {
        (&self.from, &self.to, &self.prefixes) == (&other.from, &other.to, &other.prefixes)
    }
}

/// A migration on one worker.
#[derive(Debug)]
pub(crate) struct Migration {
    pub conf: Arc<MigrationConf>,
    pub serving: usize,
    pub other: usize,
    copies: Copies,
    meters: Meters,
}

/// Writes of a client whose answer is awaited.
#[derive(Debug)]
struct Note {
    /// Its place in the client's ring.
    seq: u64,
    /// The keys it may write, with the back end where.
    keys: Vec<(usize, Vec<u8>)>,
    /// It may run later than its answer says.
    unsure: bool,
}

/// All of a worker.
#[derive(Default, Debug)]
pub(crate) struct Migrations {
    all: Vec<Migration>,
    /// What each client waits for, oldest first. Without keys: what was asked before a migration began, and of which nothing was noted.
    notes: HashMap<Key, VecDeque<Note>>,
    /// Who waits at a fence, and until when.
    held: HashMap<Key, Nanos>,
    /// Of the next copy.
    next: u32,
    /// What the present command may write.
    pub noting: Vec<(usize, Vec<u8>)>,
}

#[derive(Debug)]
struct Meters {
    epoch: Gauge,
    settling: Gauge,
    dirty: Gauge,
    unsure: Gauge,
    held: Gauge,
    copied: Counter,
    lost: Counter,
    failed: [Counter; 3],
}

impl Meters {
    fn new(registry: &Registry, name: &str, worker: usize) -> Meters {
        let labels = || vec![("family", "redis".to_owned()), ("migration", name.to_owned()), ("worker", worker.to_string())];
        let failed = |at: &str| registry.counter("midstream_redis_migration_failed_total", [labels(), vec![("at", at.to_owned())]].concat());
        Meters {
            epoch: registry.gauge("midstream_redis_migration_epoch", labels()),
            settling: registry.gauge("midstream_redis_migration_settling", labels()),
            dirty: registry.gauge("midstream_redis_migration_dirty", labels()),
            unsure: registry.gauge("midstream_redis_migration_unsure", labels()),
            held: registry.gauge("midstream_redis_migration_held", labels()),
            copied: registry.counter("midstream_redis_migration_copied_total", labels()),
            lost: registry.counter("midstream_redis_migration_lost_total", labels()),
            failed: ["read", "write", "size"].map(failed),
        }
    }
}

impl Migration {
    fn new(conf: &Arc<MigrationConf>, (serving, other): (usize, usize), registry: &Registry, worker: usize) -> Migration {
        let meters = Meters::new(registry, &conf.name, worker);
        Migration { conf: Arc::clone(conf), serving, other, copies: Copies::default(), meters }
    }

    /// Takes the place of what it was; whether it copies from now on and did not before.
    fn go_to(&mut self, conf: &Arc<MigrationConf>, (serving, other): (usize, usize)) -> bool {
        let is_same = self.conf.is_same(conf) && (self.serving, self.other) == (serving, other);
        if !conf.copies() || !is_same {
            // Of what should have been copied and was not, the other back end has something older.
            self.meters.lost.add((self.copies.len() + self.copies.unsure()) as u64);
            self.copies = Copies::default();
        }
        let began = conf.copies() && !(self.conf.is_same(conf) && (self.conf.copies() || self.conf.holds()));
        (self.conf, self.serving, self.other) = (Arc::clone(conf), serving, other);
        began
    }
}

impl Redis {
    /// Migrations as they are wanted, after back ends and listeners.
    pub(crate) fn configure_migrations(&mut self, io: &mut dyn Io, conf: &Conf) {
        let mut old = std::mem::take(&mut self.migrations.all);
        let mut began = false;
        for wanted in &conf.migrations {
            let named = |name: &Arc<str>| self.clusters.iter().position(|known| known.as_ref().is_some_and(|known| known.conf.name == *name));
            let Some((from, to)) = named(&wanted.from).zip(named(&wanted.to)) else { continue };
            let places = if wanted.has_moved() { (to, from) } else { (from, to) };
            let migration = match old.iter().position(|known| known.conf.name == wanted.name) {
                Some(at) => {
                    let mut known = old.swap_remove(at);
                    began |= known.go_to(wanted, places);
                    known
                }
                None => {
                    began |= wanted.copies();
                    Migration::new(wanted, places, &self.worker.metrics, self.worker.index)
                }
            };
            self.migrations.all.push(migration);
        }
        for gone in old {
            let meters = &gone.meters;
            [&meters.epoch, &meters.settling, &meters.dirty, &meters.unsure, &meters.held].into_iter().for_each(|gauge| gauge.set(0));
        }
        self.has_migrations = self.migrations.all.iter().any(|migration| migration.conf.copies() || migration.conf.holds());
        if began {
            self.note_what_is_under_way();
        }
        if !self.has_migrations {
            self.migrations.notes.clear();
        }
        self.release_held(io);
        for at in 0..self.migrations.all.len() {
            self.copy_on(io, at);
            self.take_back_blocked(io, at);
            self.complete_tracking(io, self.migrations.all[at].serving);
        }
        self.gauge_migrations();
        self.migrations.all.iter().for_each(|migration| migration.meters.epoch.set(migration.conf.epoch.into()));
    }

    /// What clients have asked before may be writes of which nothing was noted: until they are answered, a backfill would miss them. Of what
    /// waits for something to come it is said now what it will write.
    fn note_what_is_under_way(&mut self) {
        for key in self.clients.keys() {
            let Some(client) = self.clients.get(key).filter(|client| !client.ring.is_empty()) else { continue };
            let seq = client.errand.as_ref().map_or(client.ring.last(), |running| running.seq());
            let keys = self.waits_for(key);
            let notes = self.migrations.notes.entry(key).or_default();
            if notes.iter().all(|note| note.seq != seq) {
                notes.push_back(Note { seq, keys, unsure: false });
            }
        }
    }

    fn gauge_migrations(&mut self) {
        let Migrations { all, notes, held, .. } = &self.migrations;
        let (mut settling, mut noted) = (0, 0);
        for (key, note) in notes.iter().flat_map(|(key, notes)| notes.iter().map(move |note| (*key, note))) {
            if note.keys.is_empty() {
                settling += 1;
            } else if !self.rests(key, note) {
                noted += 1;
            }
        }
        for migration in all {
            let meters = &migration.meters;
            meters.settling.set(settling);
            meters.dirty.set(noted + migration.copies.len() as u64);
            meters.unsure.set(migration.copies.unsure() as u64);
            meters.held.set(held.len() as u64);
        }
    }
}
