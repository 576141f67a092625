//! What filters are shown of a command beside its keys: channels, and what patterns may reach; and which groups of commands they know.

use crate::action::Action;
use crate::frame::Frame;
use crate::table::{Command, Table};
use config::{Entry, Invalid, Refusal, Set};
use std::collections::BTreeSet;

/// What a command names, where that is something else than its keys. Channels and patterns of channels are shown with a `&` before them, as in
/// the server's own ACL rules. SORT with patterns reads keys that nobody knows before it runs: a nameless resource, which only a rule for
/// everything allows.
pub(crate) fn others(command: &Command, frame: &Frame<'_>) -> Option<Vec<Vec<u8>>> {
    let channels = match command.action {
        Action::Subscribe => 1..frame.len(),
        Action::Publish => 1..2,
        _ if command.name == "spublish" => 1..2,
        _ if command.is_pattern_user => return patterns(frame),
        _ => return None,
    };
    Some(channels.map(|index| [b"&", frame.word(index)].concat()).collect())
}

/// What no policy denies, as no server's ACL does: to log in and out, and to give up a subscription.
pub(crate) fn is_free(command: &Command) -> bool {
    command.has("no_auth") || matches!(command.name, "unsubscribe" | "punsubscribe" | "sunsubscribe")
}

/// Whether SORT reads keys that its patterns name.
pub(crate) fn reaches(frame: &Frame<'_>) -> bool {
    (2..frame.len())
        .any(|index| (frame.is(index, "by") && frame.word(index + 1).contains(&b'*')) || (frame.is(index, "get") && frame.word(index + 1) != b"#"))
}

fn patterns(frame: &Frame<'_>) -> Option<Vec<Vec<u8>>> {
    reaches(frame).then(|| {
        let store = (2..frame.len()).filter(|index| frame.is(*index, "store")).map(|index| index + 1);
        let keys = [1].into_iter().chain(store).map(|index| frame.word(index).to_vec());
        keys.chain([Vec::new()]).collect()
    })
}

/// Rules that name a group of commands that no server has: one that is misspelt would deny nothing.
pub(crate) fn unknown_groups(set: &Set) -> Vec<Refusal> {
    let known: BTreeSet<&str> = Table::get().commands().iter().flat_map(|command| command.acl.iter().copied()).collect();
    let mut refusals = Vec::new();
    let mut check = |path: String, verbs: &[String], refuse: &dyn Fn(Invalid) -> Refusal| {
        let unknown = verbs.iter().enumerate().filter(|(_, verb)| verb.starts_with('@') && !known.contains(verb.to_ascii_lowercase().as_str()));
        refusals.extend(unknown.map(|(index, verb)| {
            refuse(Invalid::new(format!("{path}verbs[{index}]"), format!("there is no group {verb} of commands; ACL CAT lists them")))
        }));
    };
    for entry in set.access_policies.values() {
        entry.value.rules.iter().enumerate().for_each(|(index, rule)| check(format!("rules[{index}]."), &rule.verbs, &|why| entry.refuse(why)));
    }
    set.rate_limits.values().for_each(|entry| check_match(&mut check, entry, entry.value.r#match.as_ref()));
    set.faults.values().for_each(|entry| check_match(&mut check, entry, entry.value.r#match.as_ref()));
    set.taps.values().for_each(|entry| check_match(&mut check, entry, entry.value.r#match.as_ref()));
    refusals
}

type Check<'a> = dyn FnMut(String, &[String], &dyn Fn(Invalid) -> Refusal) + 'a;

fn check_match<T>(check: &mut Check<'_>, entry: &Entry<T>, selector: Option<&config::proto::midstream::policy::v1::Match>) {
    if let Some(selector) = selector {
        check("match.".into(), &selector.verbs, &|why| entry.refuse(why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Scan;

    fn shown(line: &str) -> Option<Vec<String>> {
        let mut scan = Scan::default();
        scan.command(format!("{line}\r\n").as_bytes(), true).unwrap();
        let frame = Frame { bytes: &scan.rewritten, words: &scan.words };
        let others = others(Table::get().find(frame.word(0)).unwrap(), &frame)?;
        Some(others.into_iter().map(|name| String::from_utf8(name).unwrap()).collect())
    }

    #[test]
    fn channels_are_shown_with_their_sign() {
        assert_eq!(shown("SUBSCRIBE a b").unwrap(), ["&a", "&b"]);
        assert_eq!(shown("PSUBSCRIBE a*").unwrap(), ["&a*"]);
        assert_eq!(shown("PUBLISH a message").unwrap(), ["&a"]);
        assert_eq!(shown("SPUBLISH a message").unwrap(), ["&a"]);
        assert_eq!(shown("GET a"), None);
    }

    #[test]
    fn what_patterns_reach_has_no_name() {
        assert_eq!(shown("SORT a BY w_* STORE d").unwrap(), ["a", "d", ""]);
        assert_eq!(shown("SORT a BY nosort GET #"), None);
    }
}
