//! The families, and what they make of a set together.

use config::{Compiled, Context, Invalid, Raw, Refusal, Resolve, Set, settle, types};
use filters::{Filters, TapSink};
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::{Address, Family};

/// One family: its protocol objects, and its compiler.
struct Room {
    family: Arc<dyn Family>,
    filter: &'static [&'static str],
    compile: fn(&Context<'_>) -> Compiled,
}

/// All families of this build, in the order of the engine's indices.
pub struct Rooms {
    rooms: Vec<Room>,
    filters: Filters,
}

/// A set that was compiled.
pub struct Assembled {
    /// By room.
    pub parts: Vec<Compiled>,
    /// What nobody takes.
    pub refusals: Vec<Refusal>,
}

impl Rooms {
    /// `log` takes the lines of taps.
    pub fn new(log: Arc<dyn TapSink>) -> Rooms {
        let rooms = vec![
            Room { family: proto_kafka::family(), filter: &[types::KAFKA_PROXY], compile: proto_kafka::compile },
            Room { family: proto_postgres::family(), filter: &[types::SQL_PROXY], compile: proto_postgres::compile },
            Room { family: proto_redis::family(), filter: &[types::REDIS_PROXY], compile: proto_redis::compile },
            Room { family: Arc::new(engine::relay::Relay), filter: &[types::TCP_PROXY], compile: crate::relay::compile },
        ];
        Rooms { rooms, filters: Filters::new(log) }
    }

    pub fn families(&self) -> Vec<Arc<dyn Family>> {
        self.rooms.iter().map(|room| room.family.clone()).collect()
    }

    /// What of `offered` would be refused.
    pub fn validate(&self, offered: &[Raw], resolve: &dyn Resolve) -> Vec<Refusal> {
        let mut whole = |set: &Set| {
            let mut refusals = self.assemble(set, resolve).refusals;
            refusals.extend(filters::unknown_listeners(set));
            refusals
        };
        settle(offered, &[], &mut whole).refusals
    }

    /// Compiles a set for all families.
    pub fn assemble(&self, set: &Set, resolve: &dyn Resolve) -> Assembled {
        let filters::Compiled { chains, mut refusals } = self.filters.compile(set);
        let context = Context::new(set, &chains, resolve);
        let mut parts: Vec<Compiled> = self.rooms.iter().map(|room| (room.compile)(&context)).collect();
        for part in &mut parts {
            refusals.append(&mut part.refusals);
        }
        refusals.extend(self.strangers(set));
        refusals.extend(clashes(set, &parts));
        Assembled { parts, refusals }
    }

    /// Listeners whose filter no family of this build knows.
    fn strangers(&self, set: &Set) -> Vec<Refusal> {
        let known = |url: &str| self.rooms.iter().any(|room| room.filter.contains(&url));
        let filters = |listener: &config::proto::skeleton::Listener| {
            let filters = listener.filter_chains.iter().flat_map(|chain| &chain.filters);
            filters.filter_map(|filter| filter.typed_config.as_ref()).map(|any| any.type_url.clone()).collect::<Vec<_>>()
        };
        let stranger = |entry: &config::Entry<config::proto::skeleton::Listener>| {
            let url = filters(&entry.value).into_iter().find(|url| !known(url))?;
            let reason = format!("this sidecar has no protocol for {url}");
            Some(entry.refuse(Invalid::new("filter_chains[0].filters[0].typed_config", reason)))
        };
        set.listeners.values().filter_map(stranger).collect()
    }
}

/// Two sockets on one address: the listener that comes later by name is refused.
fn clashes(set: &Set, parts: &[Compiled]) -> Vec<Refusal> {
    let mut binds: Vec<_> = parts.iter().flat_map(|part| &part.binds).collect();
    binds.sort_by(|a, b| (&a.listener, a.facet).cmp(&(&b.listener, b.facet)));
    let mut owners: BTreeMap<&Address, &str> = BTreeMap::new();
    let mut refusals: Vec<Refusal> = Vec::new();
    for bind in binds {
        let owner = *owners.entry(&bind.address).or_insert(&bind.listener);
        let Some(entry) = set.listeners.get(&*bind.listener).filter(|_| owner != &*bind.listener) else { continue };
        if refusals.iter().all(|refusal| refusal.name != entry.name) {
            let reason = format!("{} is already taken by Listener {owner}; give one of them another address or port range", bind.address);
            refusals.push(entry.refuse(Invalid::new("address", reason)));
        }
    }
    refusals
}
