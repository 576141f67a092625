//! What comes into force when some of a new configuration is bad.
//!
//! Each refused resource gives way to its last good version, or, where there is none, is left out; whatever depends on it is then
//! checked again. So one bad object never takes the others with it, and nothing half-checked is ever in force.

use crate::Refusal;
use crate::set::{Raw, Set};
use std::collections::{BTreeMap, BTreeSet};

/// The outcome of [`settle`].
#[derive(Debug)]
pub struct Settled {
    /// What is to be in force: it compiles without a refusal.
    pub raws: Vec<Raw>,
    /// Its decoded form.
    pub set: Set,
    /// What was refused of the offer, once each.
    pub refusals: Vec<Refusal>,
}

type Identity = (String, String);

fn identity(type_url: &str, name: &str) -> Identity {
    (type_url.to_string(), name.to_string())
}

/// Finds the largest part of `offered` that `compile` accepts, falling back to `last_good` per resource.
///
/// Ends after at most two rounds per resource: every round takes at least one resource from offered to last good, or from there out.
pub fn settle(offered: &[Raw], last_good: &[Raw], compile: &mut dyn FnMut(&Set) -> Vec<Refusal>) -> Settled {
    let fallback: BTreeMap<Identity, &Raw> = last_good.iter().map(|raw| (identity(&raw.type_url, &raw.name), raw)).collect();
    let mut raws = offered.to_vec();
    let mut refusals: Vec<Refusal> = Vec::new();
    loop {
        let (set, mut refused) = Set::decode(&raws);
        refused.extend(compile(&set));
        if refused.is_empty() {
            return Settled { raws, set, refusals };
        }
        let blamed: BTreeSet<Identity> = refused.iter().map(|refusal| identity(&refusal.type_url, &refusal.name)).collect();
        let before = raws.len();
        let changed = replace(&mut raws, &blamed, &fallback);
        remember(&mut refusals, refused);
        if !changed && raws.len() == before {
            // A refusal that names no resource of the set: a defect of a compiler; keep what was in force.
            let (set, _) = Set::decode(last_good);
            return Settled { raws: last_good.to_vec(), set, refusals };
        }
    }
}

fn replace(raws: &mut Vec<Raw>, blamed: &BTreeSet<Identity>, fallback: &BTreeMap<Identity, &Raw>) -> bool {
    let mut changed = false;
    raws.retain_mut(|raw| {
        let identity = identity(&raw.type_url, &raw.name);
        if !blamed.contains(&identity) {
            return true;
        }
        changed = true;
        match fallback.get(&identity) {
            Some(good) if good.version != raw.version || good.body != raw.body => {
                *raw = (*good).clone();
                true
            }
            _ => false,
        }
    });
    changed
}

/// Keeps the first reason per resource and field; what falls only because something else fell is told after it.
fn remember(refusals: &mut Vec<Refusal>, refused: Vec<Refusal>) {
    for refusal in refused {
        let known = refusals.iter().any(|old| (&old.type_url, &old.name, &old.field) == (&refusal.type_url, &refusal.name, &refusal.field));
        if !known {
            refusals.push(refusal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::skeleton::Listener;
    use crate::{Invalid, types};
    use prost::Message;

    fn listener(name: &str, version: &str) -> Raw {
        let body = Listener { name: format!("{name}@{version}"), ..Listener::default() }.encode_to_vec();
        Raw { type_url: types::LISTENER.into(), name: name.into(), version: version.into(), body }
    }

    fn refuse_versions(set: &Set, bad: &[&str]) -> Vec<Refusal> {
        set.listeners
            .values()
            .filter(|entry| bad.contains(&entry.version.as_str()))
            .map(|entry| entry.refuse(Invalid::new("address", "bad")))
            .collect()
    }

    #[test]
    fn a_bad_resource_gives_way_to_its_last_good_version_alone() {
        let good = [listener("a", "1"), listener("b", "1")];
        let offered = [listener("a", "2"), listener("b", "bad"), listener("c", "bad")];
        let settled = settle(&offered, &good, &mut |set| refuse_versions(set, &["bad"]));
        assert_eq!(settled.raws, [listener("a", "2"), listener("b", "1")]);
        assert_eq!(settled.refusals.iter().map(|refusal| refusal.name.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(settled.set.listeners["b"].value.name, "b@1");
    }

    #[test]
    fn a_last_good_version_that_went_bad_is_left_out() {
        let good = [listener("a", "1")];
        let settled = settle(&[listener("a", "2")], &good, &mut |set| refuse_versions(set, &["1", "2"]));
        assert!(settled.raws.is_empty());
    }
}
