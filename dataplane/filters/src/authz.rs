//! AccessPolicy: who may do what.
//!
//! A request whose identity no policy of its listener selects passes. Otherwise, for every policy that selects it and every resource that
//! it names, the first rule that matches decides; where none matches it is denied. So one policy's no is final, and policies can be
//! written by different people without opening each other's doors.

use crate::select::{Classes, Patterns, Verbs, named};
use config::Invalid;
use config::proto::midstream::policy::v1 as policy;
use policy::rule::Effect;
use std::fmt::Write as _;
use std::sync::Arc;
use wire::{Denial, DenialKind, Request};

/// How much of a resource's name a denial repeats: it is for people, and goes into logs.
const MAX_QUOTED: usize = 128;

/// A compiled AccessPolicy.
#[derive(Debug)]
pub struct Policy {
    object: Arc<str>,
    identities: Patterns,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    allows: bool,
    classes: Classes,
    verbs: Verbs,
    resources: Patterns,
}

impl Policy {
    /// Compiles the policy called `name`.
    pub fn new(name: &str, policy: &policy::AccessPolicy) -> Result<Policy, Invalid> {
        if policy.rules.is_empty() {
            return Err(Invalid::new("rules", "is empty, which would deny everything; write a rule that denies if this is meant"));
        }
        let rule = |(index, rule)| Rule::new(rule).map_err(|invalid| invalid.within(&format!("rules[{index}]")));
        Ok(Policy {
            object: format!("AccessPolicy/{name}").into(),
            identities: Patterns::new(&policy.identities, "identities")?,
            rules: policy.rules.iter().enumerate().map(rule).collect::<Result<_, _>>()?,
        })
    }

    /// The reason why this policy does not let the request pass.
    pub fn denies(&self, request: &Request<'_>) -> Option<Denial> {
        if !self.identities.matches(request.identity.as_bytes()) {
            return None;
        }
        named(request).iter().find_map(|resource| match self.decide(request, resource) {
            Some((_, rule)) if rule.allows => None,
            decision => Some(self.denial(request, resource, decision.map(|(index, _)| index))),
        })
    }

    fn decide(&self, request: &Request<'_>, resource: &[u8]) -> Option<(usize, &Rule)> {
        self.rules.iter().enumerate().find(|(_, rule)| rule.matches(request, resource))
    }

    fn denial(&self, request: &Request<'_>, resource: &[u8], rule: Option<usize>) -> Denial {
        let Policy { object, .. } = self;
        let what = quoted(resource);
        let (class, verb, identity) = (request.class.as_str(), request.verb, request.identity);
        let message = match rule {
            Some(index) => {
                format!("{object} rules[{index}] denies {verb} ({class}) of {what} to {identity}; change the rule if it should be allowed")
            }
            None => format!("{object} has no rule that allows {verb} ({class}) of {what} to {identity}; add one if it should be allowed"),
        };
        Denial { kind: DenialKind::Unauthorized, rule: object.clone(), message }
    }
}

impl Rule {
    fn new(rule: &policy::Rule) -> Result<Rule, Invalid> {
        let allows = match rule.effect() {
            Effect::Allow => true,
            Effect::Deny => false,
            Effect::Unspecified => return Err(Invalid::new("effect", "is missing; a rule either allows or denies")),
        };
        Ok(Rule {
            allows,
            classes: Classes::new(&rule.classes)?,
            verbs: Verbs::new(&rule.verbs)?,
            resources: Patterns::new(&rule.resources, "resources")?,
        })
    }

    fn matches(&self, request: &Request<'_>, resource: &[u8]) -> bool {
        self.classes.matches(request.class) && self.verbs.matches(request) && self.resources.matches(resource)
    }
}

/// A resource's name for people: escaped, shortened.
pub fn quoted(resource: &[u8]) -> String {
    if resource.is_empty() {
        return "what has no name".into();
    }
    let shown = resource.get(..MAX_QUOTED).unwrap_or(resource);
    let mut text = String::new();
    let _ = write!(text, "\"{}\"", shown.escape_ascii());
    if shown.len() < resource.len() {
        let _ = write!(text, " ({} bytes)", resource.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Class;

    const READ: i32 = policy::Class::Read as i32;
    const WRITE: i32 = policy::Class::Write as i32;
    const ADMIN: i32 = policy::Class::Admin as i32;

    fn rule(effect: Effect, classes: &[i32], resources: &[&str]) -> policy::Rule {
        let resources = resources.iter().map(ToString::to_string).collect();
        policy::Rule { effect: effect as i32, classes: classes.to_vec(), verbs: vec![], resources }
    }

    fn reports(rules: Vec<policy::Rule>) -> policy::AccessPolicy {
        policy::AccessPolicy { name: "reports".into(), listeners: vec!["*".into()], identities: vec!["user:reports".into()], rules }
    }

    fn read_only() -> Policy {
        let rules = vec![rule(Effect::Allow, &[READ], &["orders", "order_*"]), rule(Effect::Deny, &[WRITE, ADMIN], &["*"])];
        Policy::new("reports", &reports(rules)).unwrap()
    }

    fn request<'a>(class: Class, verb: &'a str, resources: &'a [&'a [u8]]) -> Request<'a> {
        Request { identity: "user:reports", class, verb, groups: &[], resources, bytes: 0, fingerprint: 0 }
    }

    #[test]
    fn an_identity_that_is_not_selected_passes() {
        let other = Request { identity: "user:app", ..request(Class::Write, "DELETE", &[b"orders"]) };
        assert_eq!(read_only().denies(&other), None);
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        assert_eq!(read_only().denies(&request(Class::Read, "SELECT", &[b"orders", b"order_lines"])), None);
        let denial = read_only().denies(&request(Class::Write, "INSERT", &[b"orders"])).unwrap();
        assert_eq!(denial.kind, DenialKind::Unauthorized);
        assert_eq!(&*denial.rule, "AccessPolicy/reports");
        assert_eq!(
            denial.message,
            "AccessPolicy/reports rules[1] denies INSERT (write) of \"orders\" to user:reports; change the rule if it should be allowed"
        );
        let shadowed = reports(vec![rule(Effect::Deny, &[], &["*"]), rule(Effect::Allow, &[], &["orders"])]);
        assert!(Policy::new("reports", &shadowed).unwrap().denies(&request(Class::Read, "SELECT", &[b"orders"])).is_some());
    }

    #[test]
    fn one_resource_without_a_rule_denies_the_whole() {
        let denial = read_only().denies(&request(Class::Read, "SELECT", &[b"orders", b"customers"])).unwrap();
        assert!(denial.message.contains("no rule that allows SELECT (read) of \"customers\""), "{}", denial.message);
    }

    #[test]
    fn what_names_nothing_needs_a_rule_for_everything() {
        assert!(read_only().denies(&request(Class::Read, "SELECT", &[])).unwrap().message.contains("what has no name"));
        let all = Policy::new("reports", &reports(vec![rule(Effect::Allow, &[READ], &["*"])])).unwrap();
        assert_eq!(all.denies(&request(Class::Read, "SELECT", &[])), None);
        let nameless = Policy::new("reports", &reports(vec![rule(Effect::Allow, &[READ], &[""])])).unwrap();
        assert_eq!(nameless.denies(&request(Class::Read, "SELECT", &[])), None);
        assert!(nameless.denies(&request(Class::Read, "SELECT", &[b"orders"])).is_some());
    }

    #[test]
    fn a_name_in_a_message_is_escaped_and_short() {
        assert_eq!(quoted(b"a\"\n\xff"), r#""a\"\n\xff""#);
        assert!(quoted(&[b'x'; 4096]).ends_with("x\" (4096 bytes)"));
    }

    #[test]
    fn a_wrong_rule_is_named_by_its_field() {
        let bad = |rules| Policy::new("reports", &reports(rules)).unwrap_err().field;
        assert_eq!(bad(vec![]), "rules");
        assert_eq!(bad(vec![rule(Effect::Allow, &[], &[]), rule(Effect::Unspecified, &[], &[])]), "rules[1].effect");
        assert_eq!(bad(vec![rule(Effect::Allow, &[7], &[])]), "rules[0].classes[0]");
        assert_eq!(bad(vec![rule(Effect::Allow, &[], &["ok", &"x".repeat(2000)])]), "rules[0].resources[1]");
    }
}
