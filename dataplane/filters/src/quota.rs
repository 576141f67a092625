//! RateLimit that throttles: charged with what has passed, and paid by waiting.

use crate::limit::Tokens;
use crate::select::Selector;
use config::Invalid;
use config::proto::midstream::policy::v1 as policy;
use std::sync::Arc;
use wire::{Nanos, Request, Usage};

/// A compiled RateLimit that throttles.
pub struct Quota {
    selector: Selector,
    tokens: Arc<Tokens>,
    each: policy::rate_limit::Each,
    /// It counts bytes, not requests.
    is_of_bytes: bool,
    /// It is about single resources, and charged with their parts.
    pub is_by_resource: bool,
}

impl Quota {
    /// Compiles a limit; `tokens` are asked for only when the rest is well.
    pub fn new(limit: &policy::RateLimit, tokens: impl FnOnce() -> Result<Arc<Tokens>, Invalid>) -> Result<Quota, Invalid> {
        if limit.requests > 0 && limit.bytes > 0 {
            return Err(Invalid::new("requests", "stands beside bytes; a limit is of one of the two, write two objects"));
        }
        let each = limit.each();
        let named = limit.r#match.as_ref().is_some_and(|selector| !selector.resources.is_empty());
        let is_by_resource = named || each == policy::rate_limit::Each::Resource;
        Ok(Quota { selector: Selector::new(limit.r#match.as_ref())?, tokens: tokens()?, each, is_of_bytes: limit.bytes > 0, is_by_resource })
    }

    /// Charges what it is about; how long the user has to wait.
    pub fn charge(&self, usage: &Usage<'_>, now: Nanos) -> Nanos {
        let Usage { identity, class, verb, bytes, .. } = *usage;
        let tokens = if self.is_of_bytes { bytes } else { 1 };
        if usage.resource.is_some() != self.is_by_resource || tokens == 0 {
            return 0;
        }
        let resources = usage.resource.as_slice();
        if !self.selector.matches(&Request { identity, class, verb, groups: &[], resources, bytes, fingerprint: 0 }) {
            return 0;
        }
        let resource = String::from_utf8_lossy(usage.resource.unwrap_or_default());
        let owner = match self.each {
            policy::rate_limit::Each::Process => "",
            policy::rate_limit::Each::Identity => identity,
            policy::rate_limit::Each::Client => usage.client,
            policy::rate_limit::Each::Resource => &resource,
        };
        self.tokens.charge(owner, tokens, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::each::Each;
    use crate::limit::Bucket;
    use wire::{Class, SECONDS};

    fn quota(each: policy::rate_limit::Each, resources: &[&str]) -> Quota {
        let selector = policy::Match { resources: resources.iter().map(ToString::to_string).collect(), ..Default::default() };
        let limit = policy::RateLimit { bytes: 100, period_ms: 1_000, each: each as i32, r#match: Some(selector), ..Default::default() };
        Quota::new(&limit, || Ok(Arc::new(Tokens::Each(Each::new(Bucket::new(100, 1_000, 0)?))))).unwrap()
    }

    fn used<'a>(client: &'a str, resource: Option<&'a [u8]>) -> Usage<'a> {
        Usage { identity: "user:ann", client, class: Class::Write, verb: "Produce", resource, bytes: 300 }
    }

    #[test]
    fn each_pays_for_itself() {
        let by_client = quota(policy::rate_limit::Each::Client, &[]);
        assert!(by_client.charge(&used("a", None), SECONDS) > SECONDS);
        assert_eq!(by_client.charge(&used("a", None), SECONDS) / SECONDS, 5);
        assert_eq!(by_client.charge(&used("b", None), SECONDS) / SECONDS, 2);
        assert_eq!(by_client.charge(&used("b", Some(b"topic")), SECONDS), 0, "parts are none of its business");
    }

    #[test]
    fn what_names_resources_is_charged_with_their_parts() {
        let of_clicks = quota(policy::rate_limit::Each::Process, &["clicks*"]);
        assert_eq!(of_clicks.charge(&used("a", None), SECONDS), 0);
        assert_eq!(of_clicks.charge(&used("a", Some(b"orders")), SECONDS), 0);
        assert_eq!(of_clicks.charge(&used("a", Some(b"clicks-1")), SECONDS) / SECONDS, 2);
        let each = quota(policy::rate_limit::Each::Resource, &[]);
        assert_eq!(each.charge(&used("a", Some(b"orders")), SECONDS) / SECONDS, 2);
        assert_eq!(each.charge(&used("a", Some(b"clicks")), SECONDS) / SECONDS, 2);
    }
}
