//! From the policies of a set to one chain for each listener.

use crate::authz::Policy;
use crate::chain::{Chain, Counted};
use crate::each::Each;
use crate::fault::Fault;
use crate::limit::{Bucket, Limit, Tokens};
use crate::quota::Quota;
use crate::tap::{Tap, TapSink};
use config::proto::midstream::policy::v1 as policy;
use config::{Entry, Invalid, Refusal, Set};
use prost::Message;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The word for every listener.
const EVERY: &str = "*";

/// Flows name their filters by 16 bits.
const MAX_COUNTED: usize = 1 << 16;

/// The chains of a set.
pub struct Compiled {
    /// By listener; those without filters are missing.
    pub chains: BTreeMap<String, Arc<dyn wire::Chain>>,
    /// The policies that are not taken; they are in no chain.
    pub refusals: Vec<Refusal>,
}

/// By name and content, so that a push that leaves a limit as it is leaves its count too.
type Buckets = BTreeMap<(String, Vec<u8>), Weak<Tokens>>;

/// The filters of a process: what outlives a change of configuration.
pub struct Filters {
    buckets: Mutex<Buckets>,
    sink: Arc<dyn TapSink>,
}

impl Filters {
    /// One per process. `sink` takes the lines of the taps.
    pub fn new(sink: Arc<dyn TapSink>) -> Filters {
        Filters { buckets: Mutex::default(), sink }
    }

    /// Compiles the policies of a set. Policies may name listeners that are not there (yet), see [`unknown_listeners`].
    pub fn compile(&self, set: &Set) -> Compiled {
        let mut building = Building { chains: BTreeMap::new(), refusals: Vec::new() };
        building.chains.extend(set.listeners.keys().map(|listener| (listener.clone(), Chain::default())));
        for entry in set.access_policies.values() {
            let policy = targets(&entry.value.listeners).and_then(|()| Policy::new(&entry.name, &entry.value)).map(Arc::new);
            building.add(entry, policy, &entry.value.listeners, |chain, policy| chain.policies.push(policy.clone()));
        }
        for entry in set.rate_limits.values().filter(|entry| throttles(&entry.value)) {
            let quota = targets(&entry.value.listeners).and_then(|()| Quota::new(&entry.value, || self.tokens(entry))).map(Arc::new);
            building.add(entry, quota, &entry.value.listeners, |chain, quota| chain.quotas.push(quota.clone()));
        }
        for entry in set.rate_limits.values().filter(|entry| !throttles(&entry.value)) {
            let limit = targets(&entry.value.listeners).and_then(|()| Limit::new(&entry.name, &entry.value, || self.tokens(entry)));
            building.add(entry, limit.map(Arc::new), &entry.value.listeners, |chain, limit| chain.counted.push(Counted::Limit(limit.clone())));
        }
        for entry in set.faults.values() {
            let fault = targets(&entry.value.listeners).and_then(|()| Fault::new(&entry.name, &entry.value)).map(Arc::new);
            building.add(entry, fault, &entry.value.listeners, |chain, fault| chain.counted.push(Counted::Fault(fault.clone())));
        }
        for entry in set.taps.values() {
            self.add_tap(&mut building, entry);
        }
        building.finish()
    }

    /// Each listener has a tap of its own, for it is named in the line.
    fn add_tap(&self, building: &mut Building, entry: &Entry<policy::Tap>) {
        let compile = |listener: &str| Tap::new(&entry.name, listener.into(), &entry.value, self.sink.clone());
        if let Err(invalid) = targets(&entry.value.listeners).and_then(|()| compile(EVERY)) {
            building.refusals.push(entry.refuse(invalid));
            return;
        }
        for (listener, chain) in &mut building.chains {
            if is_target(&entry.value.listeners, listener) {
                chain.taps.extend(compile(listener));
            }
        }
    }

    fn tokens(&self, entry: &Entry<policy::RateLimit>) -> Result<Arc<Tokens>, Invalid> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.retain(|_, bucket| bucket.strong_count() > 0);
        let identity = (entry.name.clone(), entry.value.encode_to_vec());
        if let Some(tokens) = buckets.get(&identity).and_then(Weak::upgrade) {
            return Ok(tokens);
        }
        let policy::RateLimit { requests, bytes, period_ms, burst, .. } = entry.value;
        let bucket = Bucket::new(requests.max(bytes), period_ms, burst)?;
        let tokens = Arc::new(match entry.value.each() {
            policy::rate_limit::Each::Process => Tokens::All(bucket),
            _ => Tokens::Each(Each::new(bucket)),
        });
        buckets.insert(identity, Arc::downgrade(&tokens));
        Ok(tokens)
    }
}

struct Building {
    chains: BTreeMap<String, Chain>,
    refusals: Vec<Refusal>,
}

impl Building {
    fn add<T, F>(&mut self, entry: &Entry<T>, filter: Result<F, Invalid>, listeners: &[String], put: impl Fn(&mut Chain, &F)) {
        let targets: Vec<_> = self.chains.iter_mut().filter(|(listener, _)| is_target(listeners, listener)).collect();
        let full = targets.iter().find(|(_, chain)| chain.counted.len() >= MAX_COUNTED);
        let full = full.map(|(listener, _)| Invalid::new("listeners", format!("Listener {listener} has {MAX_COUNTED} limits and faults already")));
        match full.map_or(filter, Err) {
            Err(invalid) => self.refusals.push(entry.refuse(invalid)),
            Ok(filter) => targets.into_iter().for_each(|(_, chain)| put(chain, &filter)),
        }
    }

    fn finish(self) -> Compiled {
        let chains = self.chains.into_iter().filter(|(_, chain)| !chain.is_empty());
        Compiled { chains: chains.map(|(listener, chain)| (listener, Arc::new(chain) as Arc<dyn wire::Chain>)).collect(), refusals: self.refusals }
    }
}

/// Whether a limit makes its users wait instead of refusing them.
fn throttles(limit: &policy::RateLimit) -> bool {
    limit.bytes > 0 || limit.over() == policy::rate_limit::Over::Throttle
}

fn is_target(listeners: &[String], listener: &str) -> bool {
    listeners.iter().any(|name| name == EVERY || name == listener)
}

fn targets(listeners: &[String]) -> Result<(), Invalid> {
    if listeners.is_empty() {
        return Err(Invalid::new("listeners", "is empty; name the listeners, or \"*\" for all of them"));
    }
    Ok(())
}

/// The policies that name a listener which is not in the set.
///
/// Admission and configuration from files refuse them. A sidecar that follows a control plane does not: rules come before their listener
/// on the wire, and a sidecar may be given fewer listeners than the rules are about; such a rule sleeps.
pub fn unknown_listeners(set: &Set) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    set.access_policies.values().for_each(|entry| check_names(set, entry, &entry.value.listeners, &mut refusals));
    set.rate_limits.values().for_each(|entry| check_names(set, entry, &entry.value.listeners, &mut refusals));
    set.faults.values().for_each(|entry| check_names(set, entry, &entry.value.listeners, &mut refusals));
    set.taps.values().for_each(|entry| check_names(set, entry, &entry.value.listeners, &mut refusals));
    refusals
}

fn check_names<T>(set: &Set, entry: &Entry<T>, listeners: &[String], refusals: &mut Vec<Refusal>) {
    let unknown = listeners.iter().enumerate().filter(|(_, name)| *name != EVERY && !set.listeners.contains_key(*name));
    refusals.extend(unknown.map(|(index, name)| {
        entry.refuse(Invalid::new(format!("listeners[{index}]"), format!("there is no Listener {name}; add it or mend the name")))
    }));
}
