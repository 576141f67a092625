//! Which requests a rule is about.

use crate::pattern::Pattern;
use config::Invalid;
use config::proto::midstream::policy::v1 as policy;
use wire::{Class, Request};

/// Verbs up to this length are folded to lower case without an allocation; no protocol has longer ones.
const USUAL_VERB: usize = 64;

/// What the name of a group of verbs begins with.
const GROUP: char = '@';

/// The name of what has none, so that it meets the patterns too.
const NAMELESS: &[&[u8]] = &[b""];

/// Patterns of which one must match; an empty list matches everything.
#[derive(Debug)]
pub struct Patterns(Vec<Pattern>);

impl Patterns {
    /// Compiles the field called `field`.
    ///
    /// # Errors
    /// A pattern is too long.
    pub fn new(texts: &[String], field: &str) -> Result<Patterns, Invalid> {
        let compile = |(index, text): (usize, &String)| {
            Pattern::new(text).map_err(|error| Invalid::new(format!("{field}[{index}]"), format!("{error}; shorten it")))
        };
        texts.iter().enumerate().map(compile).collect::<Result<_, _>>().map(Patterns)
    }

    /// Whether one of them matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.matches(text))
    }
}

/// Patterns over verbs, and names of their groups, whatever their case.
#[derive(Debug)]
pub struct Verbs {
    patterns: Patterns,
    /// With their `@`, which no verb begins with.
    groups: Vec<String>,
}

impl Verbs {
    /// Compiles the field `verbs`.
    pub fn new(texts: &[String]) -> Result<Verbs, Invalid> {
        let lower = texts.iter().map(|text| text.to_ascii_lowercase());
        let (groups, patterns): (Vec<String>, Vec<String>) = lower.partition(|text| text.starts_with(GROUP));
        Ok(Verbs { patterns: Patterns::new(&patterns, "verbs")?, groups })
    }

    pub fn matches(&self, request: &Request<'_>) -> bool {
        if self.groups.is_empty() {
            return self.patterns.0.is_empty() || self.matches_verb(request.verb);
        }
        request.groups.iter().any(|group| self.groups.iter().any(|wanted| wanted == group)) || self.matches_verb(request.verb)
    }

    fn matches_verb(&self, verb: &str) -> bool {
        let any = |text: &[u8]| self.patterns.0.iter().any(|pattern| pattern.matches(text));
        let mut usual = [0u8; USUAL_VERB];
        match usual.get_mut(..verb.len()) {
            Some(folded) => {
                folded.copy_from_slice(verb.as_bytes());
                folded.make_ascii_lowercase();
                any(folded)
            }
            None => any(verb.to_ascii_lowercase().as_bytes()),
        }
    }
}

/// Classes of which one must match; an empty list matches everything.
#[derive(Clone, Copy, Debug)]
pub struct Classes(u8);

impl Classes {
    /// Reads the field `classes`.
    pub fn new(numbers: &[i32]) -> Result<Classes, Invalid> {
        let mut mask = 0;
        for (index, number) in numbers.iter().enumerate() {
            let class = match policy::Class::try_from(*number) {
                Ok(policy::Class::Read) => Class::Read,
                Ok(policy::Class::Write) => Class::Write,
                Ok(policy::Class::Admin) => Class::Admin,
                Ok(policy::Class::Unspecified) | Err(_) => {
                    return Err(Invalid::new(format!("classes[{index}]"), format!("{number} is not a class; they are read, write and admin")));
                }
            };
            mask |= bit(class);
        }
        Ok(Classes(mask))
    }

    pub fn matches(self, class: Class) -> bool {
        self.0 == 0 || self.0 & bit(class) != 0
    }
}

fn bit(class: Class) -> u8 {
    match class {
        Class::Read => 1,
        Class::Write => 2,
        Class::Admin => 4,
    }
}

/// The `Match` of a RateLimit, a Fault or a Tap.
#[derive(Debug)]
pub struct Selector {
    identities: Patterns,
    classes: Classes,
    verbs: Verbs,
    resources: Patterns,
}

impl Selector {
    /// Compiles a `match`; a missing one matches everything.
    pub fn new(selector: Option<&policy::Match>) -> Result<Selector, Invalid> {
        let nothing = policy::Match::default();
        Selector::fields(selector.unwrap_or(&nothing)).map_err(|invalid| invalid.within("match"))
    }

    fn fields(selector: &policy::Match) -> Result<Selector, Invalid> {
        Ok(Selector {
            identities: Patterns::new(&selector.identities, "identities")?,
            classes: Classes::new(&selector.classes)?,
            verbs: Verbs::new(&selector.verbs)?,
            resources: Patterns::new(&selector.resources, "resources")?,
        })
    }

    /// Whether it is about this request; of several resources one is enough.
    pub fn matches(&self, request: &Request<'_>) -> bool {
        self.classes.matches(request.class)
            && self.identities.matches(request.identity.as_bytes())
            && self.verbs.matches(request)
            && named(request).iter().any(|resource| self.resources.matches(resource))
    }
}

/// The resources of a request, or the one empty name of a request without.
pub fn named<'a>(request: &Request<'a>) -> &'a [&'a [u8]] {
    if request.resources.is_empty() { NAMELESS } else { request.resources }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(verb: &'a str, resources: &'a [&'a [u8]]) -> Request<'a> {
        Request { identity: "user:app", class: Class::Read, verb, groups: &[], resources, bytes: 10, fingerprint: 0 }
    }

    fn selector(selector: policy::Match) -> Selector {
        Selector::new(Some(&selector)).unwrap()
    }

    #[test]
    fn an_empty_match_matches_everything() {
        let all = Selector::new(None).unwrap();
        assert!(all.matches(&request("GET", &[b"k"])));
        assert!(all.matches(&request("FLUSHALL", &[])));
    }

    #[test]
    fn every_field_that_is_given_must_match() {
        let read = policy::Class::Read as i32;
        let catalog = selector(policy::Match {
            identities: vec!["user:*".into()],
            classes: vec![read],
            verbs: vec!["get".into(), "MGET".into()],
            resources: vec!["catalog:*".into()],
        });
        assert!(catalog.matches(&request("GET", &[b"catalog:1"])));
        assert!(catalog.matches(&request("mget", &[b"cart:1", b"catalog:1"])));
        assert!(!catalog.matches(&request("SCAN", &[b"catalog:1"])));
        assert!(!catalog.matches(&request("GET", &[b"cart:1"])));
        assert!(!catalog.matches(&request("GET", &[])));
        assert!(!catalog.matches(&Request { class: Class::Write, ..request("GET", &[b"catalog:1"]) }));
        assert!(!catalog.matches(&Request { identity: "anonymous", ..request("GET", &[b"catalog:1"]) }));
    }

    #[test]
    fn a_group_is_as_good_as_its_verbs() {
        let dangerous = selector(policy::Match { verbs: vec!["GET".into(), "@Dangerous".into()], ..Default::default() });
        assert!(dangerous.matches(&Request { groups: &["@read", "@dangerous"], ..request("KEYS", &[]) }));
        assert!(dangerous.matches(&request("GET", &[])));
        assert!(!dangerous.matches(&Request { groups: &["@read"], ..request("SCAN", &[]) }));
    }

    #[test]
    fn a_verb_of_any_length_is_folded() {
        let long = "X".repeat(USUAL_VERB + 1);
        assert!(selector(policy::Match { verbs: vec![long.to_lowercase()], ..Default::default() }).matches(&request(&long, &[])));
    }

    #[test]
    fn a_wrong_field_is_named() {
        let bad = |selector| Selector::new(Some(&selector)).unwrap_err().field;
        assert_eq!(bad(policy::Match { classes: vec![1, 0], ..Default::default() }), "match.classes[1]");
        assert_eq!(bad(policy::Match { resources: vec!["x".repeat(2000)], ..Default::default() }), "match.resources[0]");
    }
}
