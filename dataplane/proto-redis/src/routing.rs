//! Listeners with routes: each command goes to the back end of its keys, under the names that they have there.
//!
//! ```text
//!  command ──keys──> one back end ──names?──> as on a listener without routes
//!             ├────> several: MGET, MSET, DEL, EXISTS, UNLINK, TOUCH in parts; others are refused, naming the routes
//!             └none> the listener's own; what is about all keys or all scripts: every back end
//! ```
//! A transaction is one back end's, from its WATCH or its first key on.

use crate::access;
use crate::action::{Action, Merge};
use crate::dispatch::{is_repeatable, shown};
use crate::errand::{Ask, Errand};
use crate::frame::Frame;
use crate::fronts::{All, Fronts, Masters, ScanFronts};
use crate::glob;
use crate::limits;
use crate::listener::Listener;
use crate::machine::{Redis, Step};
use crate::merge::{array, bulk};
use crate::pipe::To;
use crate::rename::{Once, Renaming, Tells, tells};
use crate::routes::Routes;
use crate::slot::slot_of;
use crate::table::Command;
use std::sync::Arc;
use wire::{Io, Key};

/// Where the keys of a command lead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lead {
    /// It has none.
    Nowhere,
    /// To one back end; whether any of them is called otherwise there.
    One(usize, bool),
    /// To several: two of its words that lead to different ones.
    Several(u32, u32),
}

impl Listener {
    fn lead(&self, routes: &Routes, frame: &Frame<'_>, keys: &[u32]) -> Lead {
        let mut lead = Lead::Nowhere;
        for index in keys {
            let number = routes.find(frame.word(*index as usize));
            let cluster = self.routed.get(usize::from(number)).copied().unwrap_or(self.cluster);
            let renames = routes.get(number).rewrite.is_some();
            lead = match lead {
                Lead::Nowhere => Lead::One(cluster, renames),
                Lead::One(other, before) if other == cluster => Lead::One(cluster, before || renames),
                _ => return Lead::Several(keys[0], *index),
            };
        }
        lead
    }
}

impl Redis {
    /// Sends a command of a listener that may have routes where its keys lead.
    pub(crate) fn route(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &'static Command) -> Step {
        let Some(client) = self.clients.get_mut(key) else { return Step::Taken };
        let Some(Some(listener)) = self.listeners.get(client.listener) else { return Step::Taken };
        let Some(routes) = &listener.conf.routes else { return self.act(io, key, frame, command) };
        // Shard channels are no keys.
        let is_channel = matches!(command.action, Action::Subscribe | Action::Publish) || command.name == "spublish";
        let lead = if is_channel { Lead::Nowhere } else { listener.lead(routes, frame, &self.keys) };
        let of_transaction = client.transaction.cluster.filter(|_| client.transaction.is_open() || command.name == "watch" || command.name == "exec");
        match lead {
            Lead::Nowhere => {
                client.cluster = of_transaction.unwrap_or(listener.cluster);
                let routes = Arc::clone(routes);
                self.keyless(io, key, frame, command, routes)
            }
            Lead::One(cluster, _) if of_transaction.is_some_and(|other| other != cluster) => {
                let why = "a transaction and what it watches are of one back end, and";
                self.fail_over_routes(io, key, frame, command, why, None);
                Step::Taken
            }
            Lead::One(cluster, renames) => {
                client.cluster = cluster;
                if client.transaction.is_open() || command.name == "watch" {
                    client.transaction.cluster = Some(cluster);
                }
                let routes = Arc::clone(routes);
                match routes.packs {
                    true => self.packing(io, key, frame, command, &routes, renames),
                    false => self.arrive(io, key, frame, command, &routes, renames),
                }
            }
            Lead::Several(a, b) => {
                let is_open = client.transaction.is_open();
                let routes = Arc::clone(routes);
                let packs = self.carries_packed(frame, command, &routes);
                match command.action {
                    Action::Split(merge, step) if !is_open && !packs => self.split_over_routes(io, key, frame, command, merge, step, &routes),
                    _ => self.fail_over_routes(io, key, frame, command, "it cannot be split:", Some((a, b))),
                }
                Step::Taken
            }
        }
    }

    /// A command with keys of one back end.
    pub(crate) fn arrive(
        &mut self,
        io: &mut dyn Io,
        key: Key,
        frame: &Frame<'_>,
        command: &'static Command,
        routes: &Arc<Routes>,
        renames: bool,
    ) -> Step {
        match renames {
            false if !command.is_pattern_user => self.act(io, key, frame, command),
            _ => self.renamed(io, key, frame, command, routes, renames),
        }
    }

    /// A command without keys.
    fn keyless(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &'static Command, routes: Arc<Routes>) -> Step {
        let is_open = self.in_transaction(key);
        let is_script = command.acl.contains(&"@scripting");
        match (command.name, command.action) {
            ("flushall" | "flushdb", _) => self.refuse(io, key, command, FLUSHES),
            ("dbsize", _) if routes.rewrites => self.refuse(io, key, command, COUNTS),
            ("clusterscan", _) => self.refuse(io, key, command, "its cursors are of one back end; use SCAN"),
            (_, Action::Scan) | ("keys" | "randomkey" | "dbsize", _) if is_open => {
                self.refuse(io, key, command, "it concerns every back end, a transaction runs on one");
            }
            (_, Action::Scan) => return self.scan_fronts(io, key, frame, routes),
            ("keys" | "randomkey", _) => {
                let pattern = (command.name == "keys").then(|| frame.word(1));
                let dice = io.random();
                let Some(fronts) = self.fronts(key, routes) else { return Step::Taken };
                let all = All::new(fronts, self.all_masters(key), pattern, dice);
                return self.run(io, key, Box::new(all));
            }
            (_, Action::Everywhere(merge)) if (is_script || command.name == "dbsize") && !is_open => self.over_all(io, key, frame, command, merge),
            (_, Action::Keyed) if is_script && routes.rewrites && !routes.get(routes.default()).scripts => self.refuse(io, key, command, SCRIPTS),
            ("wait" | "waitaof", _) => self.refuse(io, key, command, "each back end of the listener has replicas of its own"),
            ("psubscribe" | "subscribe", _) if (1..frame.len()).any(|index| may_tell_keys(frame.word(index), routes.rewrites)) => {
                self.refuse(io, key, command, "each back end of the listener has notifications of its own, which name keys as it does");
            }
            _ => return self.act(io, key, frame, command),
        }
        Step::Taken
    }

    /// A command some keys of which are called otherwise at the back end, or one that may name keys by patterns.
    fn renamed(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &'static Command, routes: &Arc<Routes>, renames: bool) -> Step {
        if let Some(why) = self.unsure(frame, command, routes, renames) {
            self.refuse(io, key, command, why);
            return Step::Taken;
        }
        if !renames {
            return self.act(io, key, frame, command);
        }
        let tells = tells(command);
        if tells != Tells::Nothing && self.in_transaction(key) {
            self.refuse(io, key, command, "its reply tells keys, which are renamed on this route, and EXEC's replies are not read");
            return Step::Taken;
        }
        let mut renamed = std::mem::take(&mut self.renamed);
        let step = if renamed.write(frame, &self.keys, routes) {
            match tells {
                Tells::Nothing => self.act(io, key, &renamed.frame(), command),
                _ => self.telling(io, key, frame, &renamed.frame(), command, routes),
            }
        } else {
            self.fail(io, key, "ERR midstream: the command is too long with the names that its keys have at the back end");
            Step::Taken
        };
        renamed.shrink();
        self.renamed = renamed;
        step
    }

    /// Why it is not sure that all keys of a command are renamed.
    fn unsure(&self, frame: &Frame<'_>, command: &Command, routes: &Routes, renames: bool) -> Option<&'static str> {
        match command.name {
            "sort" | "sort_ro" => access::reaches(frame).then_some("the keys that its patterns BY and GET name may be on other routes"),
            "migrate" if renames => Some("the keys are renamed on this route"),
            _ if renames && command.acl.contains(&"@scripting") => {
                let allowed = self.keys.iter().all(|index| {
                    let route = routes.get(routes.find(frame.word(*index as usize)));
                    route.rewrite.is_none() || route.scripts
                });
                (!allowed).then_some(SCRIPTS)
            }
            _ => None,
        }
    }

    /// A command whose reply tells keys that are called otherwise at the back end.
    fn telling(&mut self, io: &mut dyn Io, key: Key, front: &Frame<'_>, frame: &Frame<'_>, command: &'static Command, routes: &Routes) -> Step {
        if self.replicas_read {
            self.note_write(key, frame, command);
        }
        let has_block = || (1..frame.len()).take_while(|index| !frame.is(*index, "streams")).any(|index| frame.is(index, "block"));
        let leased = command.action == Action::Blocking || (command.action == Action::MayBlock && has_block());
        if leased && self.clients.get(key).is_some_and(|client| client.lease.is_some()) {
            self.fail(io, key, "ERR midstream: a blocking command while keys are watched needs a second client");
            return Step::Taken;
        }
        let inner: Box<dyn Errand> = match self.place(key, frame) {
            Ok(to) => Box::new(Once(Some(Ask { leased, ..Ask::of(to, frame.bytes.to_vec(), is_repeatable(command, frame) && !leased) }))),
            Err(_) => {
                let refused = self.refuses_cross_slot(key) || frame.len() > limits::MAX_CROSS_SLOT_WORDS;
                match self.errand_for(io, frame, command).filter(|_| !refused) {
                    Some(Ok(errand)) => errand,
                    Some(Err(error)) => {
                        self.fail(io, key, error);
                        return Step::Taken;
                    }
                    None => {
                        self.fail(io, key, crate::dispatch::CROSSSLOT);
                        return Step::Taken;
                    }
                }
            }
        };
        let renaming = Renaming::new(inner, tells(command), front, &self.keys, routes);
        self.run(io, key, Box::new(renaming))
    }

    /// MGET, MSET, DEL ... of keys of several back ends: a part for each key.
    #[expect(clippy::too_many_arguments, reason = "a command as `split` takes it, and the routes")]
    fn split_over_routes(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command, merge: Merge, step: usize, routes: &Routes) {
        if (frame.len() - 1) % step != 0 {
            return self.fail(io, key, &format!("ERR wrong number of arguments for '{}' command", command.name));
        }
        let parts = (frame.len() - 1) / step;
        let clusters: Vec<usize> = (0..parts).map(|number| self.cluster_of(key, routes, frame.word(1 + number * step))).collect();
        let refuses = |cluster: &usize| matches!(self.clusters.get(*cluster), Some(Some(known)) if known.conf.refuse_cross_slot);
        if parts > limits::MAX_SPLIT || clusters.iter().any(refuses) {
            let why = "more keys than one command may have, or a back end that says crossSlot: refuse:";
            return self.fail_over_routes(io, key, frame, command, why, None);
        }
        let Some((_, head)) = self.owe_head(io, key, merge, parts, is_repeatable(command, frame)) else { return };
        let (mut part, mut name) = (std::mem::take(&mut self.part), Vec::new());
        for (number, cluster) in clusters.into_iter().enumerate() {
            let at = 1 + number * step;
            name.clear();
            routes.get(routes.find(frame.word(at))).push_behind(frame.word(at), &mut name);
            part.clear();
            array(&mut part, 1 + step);
            bulk(&mut part, command.name.as_bytes());
            bulk(&mut part, &name);
            (at + 1..at + step).for_each(|index| bulk(&mut part, frame.word(index)));
            let slot = slot_of(&name);
            self.note_slot(key, command, slot);
            let Some(pending) = self.owe_part(io, key, head, number, To::Slot(slot)) else { break };
            self.send(io, cluster, &part, pending);
        }
        part.shrink_to(limits::MAX_KEPT);
        self.part = part;
    }

    /// DBSIZE, SCRIPT LOAD ...: to every master of every back end.
    fn over_all(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command, merge: Merge) {
        let masters = self.all_masters(key);
        let targets: Vec<(usize, To)> = masters.into_iter().flat_map(|(cluster, nodes)| nodes.into_iter().map(move |to| (cluster, to))).collect();
        let Some((_, head)) = self.owe_head(io, key, merge, targets.len(), is_repeatable(command, frame)) else { return };
        for (number, (cluster, to)) in targets.into_iter().enumerate() {
            let Some(pending) = self.owe_part(io, key, head, number, to) else { break };
            self.send(io, cluster, frame.bytes, pending);
        }
    }

    fn scan_fronts(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, routes: Arc<Routes>) -> Step {
        let Some(fronts) = self.fronts(key, routes) else { return Step::Taken };
        match ScanFronts::new(fronts, frame) {
            Ok(Some((cluster, scan))) => {
                if let Some(client) = self.clients.get_mut(key) {
                    client.cluster = cluster;
                }
                return self.run(io, key, Box::new(scan));
            }
            Ok(None) => self.answer(io, key, b"*2\r\n$1\r\n0\r\n*0\r\n"),
            Err(error) => self.fail(io, key, error),
        }
        Step::Taken
    }

    fn fronts(&self, key: Key, routes: Arc<Routes>) -> Option<Fronts> {
        let listener = self.listeners.get(self.clients.get(key)?.listener)?.as_ref()?;
        Some(Fronts::new(routes, listener.routed.clone()))
    }

    /// The back ends of the client's listener, each once, with their masters.
    fn all_masters(&self, key: Key) -> Masters {
        let listener = self.clients.get(key).and_then(|client| self.listeners.get(client.listener)).and_then(Option::as_ref);
        let mut all = Masters::new();
        for cluster in listener.iter().flat_map(|listener| listener.routed.iter().chain([&listener.cluster])) {
            if all.iter().any(|(known, _)| known == cluster) {
                continue;
            }
            let masters = self.clusters.get(*cluster).and_then(Option::as_ref).map(|known| known.masters.as_slice()).unwrap_or_default();
            let nodes = if masters.is_empty() { vec![To::Any] } else { masters.iter().map(|node| To::Node(*node)).collect() };
            all.push((*cluster, nodes));
        }
        all
    }

    fn cluster_of(&self, key: Key, routes: &Routes, name: &[u8]) -> usize {
        let listener = self.clients.get(key).and_then(|client| self.listeners.get(client.listener)).and_then(Option::as_ref);
        listener.map_or(0, |listener| listener.routed.get(usize::from(routes.find(name))).copied().unwrap_or(listener.cluster))
    }

    /// Keys of a command lead to back ends that are not one: two of them say so.
    fn fail_over_routes(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command, why: &str, two: Option<(u32, u32)>) {
        let listener = self.clients.get(key).and_then(|client| self.listeners.get(client.listener)).and_then(Option::as_ref);
        let Some((listener, routes)) = listener.and_then(|listener| Some((listener, listener.conf.routes.as_ref()?))) else { return };
        let describe = |index: u32| {
            let route = routes.get(routes.find(frame.word(index as usize)));
            let of = if route.prefix.is_empty() { "no route".to_owned() } else { format!("route \"{}\"", shown(&route.prefix)) };
            format!("'{}' goes to RedisCluster/{} ({of})", shown(frame.word(index as usize)), route.cluster)
        };
        let (a, b) = two.unwrap_or((self.keys.first().copied().unwrap_or(0), self.keys.last().copied().unwrap_or(0)));
        let keys = if a == b { describe(a) } else { format!("{}, {}", describe(a), describe(b)) };
        let error = format!("CROSSSLOT midstream: {} on Listener/{}: {why} {keys}", command.verb, listener.conf.name);
        self.fail_queueing(io, key, &error);
    }
}

/// Whether messages of a channel, or of one that a pattern matches, may be key space notifications: where keys are renamed, they would tell
/// other tenants' keys.
fn may_tell_keys(name: &[u8], renames: bool) -> bool {
    const NOTIFICATIONS: &[u8] = b"__key";
    name.starts_with(NOTIFICATIONS)
        || (renames && glob::literal_prefix(name).len() < name.len() && NOTIFICATIONS.starts_with(glob::literal_prefix(name)))
}

const FLUSHES: &str =
    "the listener has routes, whose back ends may have keys that none of them leads to; delete what SCAN shows, or flush each back end itself";
const COUNTS: &str = "keys are renamed on routes of the listener, whose back ends may have others, too; count what SCAN shows";
const SCRIPTS: &str = "keys are renamed on its route, and a script sees and may make names of its own; put `scripts: true` on the route if it \
                       uses only the names in KEYS";
