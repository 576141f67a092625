//! Commands whose keys are in several slots: which way each can be done all the same.
//!
//! The ways follow from the server's own key specifications ([`crate::table`]): what a command reads, writes, or both. None of them is
//! atomic over slots, which docs/redis.md says by command; a back end with `crossSlot: refuse` takes none of them.

use crate::dispatch::{CROSSSLOT, is_repeatable};
use crate::errand::Errand;
use crate::frame::Frame;
use crate::gather::Gather;
use crate::keys;
use crate::limits;
use crate::machine::{Redis, Step};
use crate::pops::Pops;
use crate::shift::Shift;
use crate::sort::Sort;
use crate::streams::Streams;
use crate::table::{Command, Find};
use crate::transfer::Transfer;
use wire::{Io, Key};

/// How a command with keys in several slots is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Its keys are never in several slots, or not to be: scripts, WATCH. Refused as the nodes refuse it.
    No,
    /// What it reads is copied to the slot that it writes to (or where its first key is), and the server there runs it.
    Gather,
    /// It pops from the first of its keys that has something: they are tried in their order, those of one slot at a time.
    Pops,
    /// It reads streams: each is asked.
    Streams,
    /// A key or an element goes from one slot to another, by steps of its own.
    Steps,
}

/// What the table tells of it. What cannot be told from key specifications is which commands carry a key with its time to live or an
/// element from key to key: those are named.
pub fn way_of(command: &Command) -> Way {
    let is_several = command.keys.len() > 1 || command.keys.iter().any(|keys| !matches!(keys.find, Find::Range { last: 0, .. }));
    if command.is_script || !is_several || command.has("admin") || command.acl.contains(&"@transaction") {
        return Way::No;
    }
    match command.name {
        "rename" | "renamenx" | "copy" | "smove" | "lmove" | "rpoplpush" | "blmove" | "brpoplpush" | "msetnx" | "msetex" => return Way::Steps,
        "migrate" => return Way::No,
        _ => {}
    }
    if command.acl.contains(&"@stream") && command.has("blocking") {
        return Way::Streams;
    }
    if command.has("readonly") {
        return Way::Gather;
    }
    let reads = command.keys.iter().any(|keys| keys.access == "RO");
    match command.keys.as_slice() {
        [only] if only.access == "RW" => Way::Pops,
        _ if reads => Way::Gather,
        _ => Way::No,
    }
}

impl Redis {
    /// A command whose keys are in several slots; they are in `self.keys`.
    pub(crate) fn cross_slot(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &'static Command) -> Step {
        let refused = self.refuses_cross_slot(key) || frame.len() > limits::MAX_CROSS_SLOT_WORDS;
        match self.errand_for(io, frame, command).filter(|_| !refused) {
            Some(Ok(errand)) => return self.run(io, key, errand),
            Some(Err(error)) => self.fail(io, key, error),
            None => self.fail(io, key, CROSSSLOT),
        }
        Step::Taken
    }

    /// SORT; with patterns it reads keys that it does not name, which listeners with filters leave to the nodes' refusal.
    pub(crate) fn sort(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &'static Command) -> Step {
        let listener = self.clients.get(key).and_then(|client| self.listeners.get(client.listener));
        let has_filters = matches!(listener, Some(Some(listener)) if listener.conf.chain.is_some());
        if has_filters || self.is_single(key) || self.refuses_cross_slot(key) {
            return self.keyed(io, key, frame, command);
        }
        match Sort::of(frame) {
            Ok(Some(sort)) => self.run(io, key, Box::new(sort)),
            Ok(None) => self.keyed(io, key, frame, command),
            Err(error) => {
                self.fail(io, key, error);
                Step::Taken
            }
        }
    }

    /// Whether the client's back end wants commands over several slots refused.
    pub(crate) fn refuses_cross_slot(&self, key: Key) -> bool {
        let cluster = self.clients.get(key).and_then(|client| self.clusters.get(client.cluster));
        matches!(cluster, Some(Some(cluster)) if cluster.conf.refuse_cross_slot)
    }

    /// The errand of a command whose keys are in several slots, if there is one.
    pub(crate) fn errand_for(&self, io: &mut dyn Io, frame: &Frame<'_>, command: &'static Command) -> Option<Result<Box<dyn Errand>, &'static str>> {
        let repeatable = is_repeatable(command, frame);
        let errand: Result<Box<dyn Errand>, &'static str> = match command.way {
            Way::No => return None,
            Way::Gather => Ok(Box::new(Gather::new(frame, &keys::with_access(command, frame), command.has("readonly"), repeatable, io.random())?)),
            Way::Pops => Ok(Box::new(Pops::new(frame, &self.keys, command))),
            Way::Streams => Streams::new(frame, &self.keys, command).map(|errand| Box::new(errand) as Box<dyn Errand>),
            Way::Steps => match command.name {
                "rename" | "renamenx" | "copy" | "smove" | "msetnx" | "msetex" => {
                    Transfer::of(frame, command).map(|errand| Box::new(errand) as Box<dyn Errand>)
                }
                _ => Shift::new(frame, command, io.random()).map(|errand| Box::new(errand) as Box<dyn Errand>),
            },
        };
        Some(errand)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    #[test]
    fn the_table_tells_the_ways() {
        let by = |way: Way| {
            let names = Table::get().commands().iter().filter(|command| command.way == way).map(|command| command.name);
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(by(Way::Pops), "blmpop blpop brpop bzmpop bzpopmax bzpopmin lmpop zmpop");
        assert_eq!(by(Way::Streams), "xread xreadgroup");
        assert_eq!(by(Way::Steps), "blmove brpoplpush copy lmove msetex msetnx rename renamenx rpoplpush smove");
        assert_eq!(
            by(Way::Gather),
            "bitop exists georadius georadiusbymember geosearchstore lcs mget pfcount pfmerge sdiff sdiffstore sinter sintercard sinterstore sort \
             sort_ro sunion sunionstore touch zdiff zdiffstore zinter zintercard zinterstore zrangestore zunion zunionstore"
        );
    }
}
