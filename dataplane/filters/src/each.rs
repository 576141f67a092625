//! A bucket of its own for each identity: no tenant spends another's tokens.

use crate::limit::Bucket;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use wire::Nanos;

/// Identities with a bucket of their own; beyond it those whose bucket is full are forgotten, and if there is none, the newcomers share one.
/// About 100 bytes each.
const MAX_IDENTITIES: usize = 10_000;

/// The buckets of one limit.
#[derive(Debug)]
pub struct Each {
    /// What a new one is like; shared by those that find no room.
    like: Arc<Bucket>,
    known: Mutex<HashMap<Box<str>, Arc<Bucket>>>,
}

impl Each {
    /// Buckets like that one.
    pub fn new(like: Bucket) -> Each {
        Each { like: Arc::new(like), known: Mutex::default() }
    }

    /// The bucket of an identity.
    pub fn of(&self, identity: &str, now: Nanos) -> Arc<Bucket> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = known.get(identity) {
            return Arc::clone(bucket);
        }
        if known.len() >= MAX_IDENTITIES {
            known.retain(|_, bucket| !bucket.is_full(now));
        }
        if known.len() >= MAX_IDENTITIES {
            return Arc::clone(&self.like);
        }
        let bucket = Arc::new(self.like.another());
        known.insert(identity.into(), Arc::clone(&bucket));
        bucket
    }

    /// The bucket of an identity, if it has one.
    pub fn known(&self, identity: &str) -> Arc<Bucket> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.get(identity).unwrap_or(&self.like))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::SECONDS;

    #[test]
    fn nobody_spends_anothers_tokens() {
        let each = Each::new(Bucket::new(2, 1_000, 0).unwrap());
        let take = |identity: &str, now| each.of(identity, now).take(now);
        assert_eq!([take("a", SECONDS), take("a", SECONDS), take("a", SECONDS), take("b", SECONDS)], [true, true, false, true]);
        each.known("a").give_back();
        assert!(take("a", SECONDS));
    }

    #[test]
    fn the_number_of_buckets_is_bounded_and_full_ones_give_way() {
        let each = Each::new(Bucket::new(1, 1_000, 0).unwrap());
        for number in 0..MAX_IDENTITIES {
            assert!(each.of(&number.to_string(), SECONDS).take(SECONDS));
        }
        assert!(each.of("late", SECONDS).take(SECONDS));
        assert!(!each.of("later", SECONDS).take(SECONDS), "those without a place share a bucket");
        assert!(each.of("much later", 3 * SECONDS).take(3 * SECONDS));
        assert_eq!(each.known.lock().unwrap().len(), 1);
    }
}
