//! The filters of one listener, in their order: access, limits, faults, tap.

use crate::authz::Policy;
use crate::fault::{Effect, Fault};
use crate::limit::Limit;
use crate::quota::Quota;
use crate::tap::Tap;
use std::sync::Arc;
use wire::{Charges, Denial, Flow, Nanos, Outcome, Request, Usage, Verdict};

/// What each request of a flow has to pass.
#[derive(Clone, Debug)]
pub enum Counted {
    Limit(Arc<Limit>),
    Fault(Arc<Fault>),
}

impl Counted {
    fn matches(&self, request: &Request<'_>) -> bool {
        match self {
            Counted::Limit(limit) => limit.matches(request),
            Counted::Fault(fault) => fault.matches(request),
        }
    }
}

/// The compiled chain of a listener.
#[derive(Default)]
pub struct Chain {
    pub policies: Vec<Arc<Policy>>,
    /// Limits before faults.
    pub counted: Vec<Counted>,
    /// Limits that are charged afterwards.
    pub quotas: Vec<Arc<Quota>>,
    pub taps: Vec<Tap>,
}

impl Chain {
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.counted.is_empty() && self.quotas.is_empty() && self.taps.is_empty()
    }

    fn denies(&self, request: &Request<'_>) -> Option<Denial> {
        self.policies.iter().find_map(|policy| policy.denies(request))
    }

    /// Runs filters in their order; `due` is walked a second time only to give back what a later limit made useless.
    fn count<'a>(&self, due: impl Iterator<Item = (usize, &'a Counted)> + Clone, request: &Request<'_>, now: Nanos, dice: u64) -> Verdict {
        let mut delay: Nanos = 0;
        for (index, counted) in due.clone() {
            match counted {
                Counted::Limit(limit) if !limit.take(request, now) => {
                    give_back(due.clone().take_while(|(earlier, _)| *earlier < index), request);
                    return Verdict::Deny(Box::new(limit.denial(request)));
                }
                Counted::Limit(_) => {}
                Counted::Fault(fault) => match fault.strike(own_dice(dice, index)) {
                    Some(Effect::Error(denial)) => return Verdict::Deny(Box::new(Denial::clone(denial))),
                    Some(Effect::Delay(more)) => delay = delay.saturating_add(*more),
                    None => {}
                },
            }
        }
        if delay == 0 { Verdict::Pass } else { Verdict::Delay(delay) }
    }
}

fn give_back<'a>(taken: impl Iterator<Item = (usize, &'a Counted)>, request: &Request<'_>) {
    for (_, counted) in taken {
        if let Counted::Limit(limit) = counted {
            limit.give_back(request);
        }
    }
}

/// Dice of its own for each filter out of the request's one (the finalizer of splitmix64): two faults of 5 % must not meet the same requests.
fn own_dice(dice: u64, index: usize) -> u64 {
    let mut mixed = dice.wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl wire::Chain for Chain {
    fn bind(&self, request: &Request<'_>) -> Flow {
        let denied = self.denies(request).map(Arc::new);
        let due = self.counted.iter().enumerate().filter(|(_, counted)| counted.matches(request));
        Flow {
            counted: if denied.is_some() { Vec::new() } else { due.map(|(index, _)| index as u16).collect() },
            tapped: self.taps.iter().any(|tap| tap.matches(request)),
            denied,
        }
    }

    fn run(&self, flow: &Flow, request: &Request<'_>, now: Nanos, dice: u64) -> Verdict {
        if let Some(denial) = &flow.denied {
            return Verdict::Deny(Box::new(Denial::clone(denial)));
        }
        let due = flow.counted.iter().filter_map(|index| Some((usize::from(*index), self.counted.get(usize::from(*index))?)));
        self.count(due, request, now, dice)
    }

    fn charges(&self) -> Charges {
        let any = |is_by_resource| self.quotas.iter().any(|quota| quota.is_by_resource == is_by_resource);
        Charges { whole: any(false), resources: any(true) }
    }

    fn charge(&self, usage: &Usage<'_>, now: Nanos) -> Nanos {
        self.quotas.iter().map(|quota| quota.charge(usage, now)).max().unwrap_or(0)
    }

    fn done(&self, request: &Request<'_>, outcome: &Outcome<'_>) {
        self.taps.iter().for_each(|tap| tap.done(request, outcome));
    }

    fn decide(&self, request: &Request<'_>, now: Nanos, dice: u64) -> Verdict {
        if let Some(denial) = self.denies(request) {
            return Verdict::Deny(Box::new(denial));
        }
        let due = self.counted.iter().enumerate().filter(|(_, counted)| counted.matches(request));
        self.count(due, request, now, dice)
    }
}
