//! Policies as they come over xDS, compiled to chains, and what the chains say to requests.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use config::proto::midstream::policy::v1::{AccessPolicy, Class as PolicyClass, Fault, Match, RateLimit, Rule, Tap, rule::Effect};
use config::proto::skeleton::Listener;
use config::{Entry, Set, types};
use filters::{Compiled, Filters, TapLines, tap_queue, unknown_listeners};
use std::sync::Arc;
use wire::{Chain, Class, DenialKind, MILLIS, Outcome, Request, SECONDS, Verdict};

const SHOP: &str = "shop";
const CACHE: &str = "cache";

fn entry<T>(type_url: &'static str, name: &str, value: T) -> (String, Entry<T>) {
    (name.into(), Entry { type_url, name: name.into(), version: "1".into(), value })
}

fn set() -> Set {
    let mut set = Set::default();
    set.listeners.extend([SHOP, CACHE].map(|name| entry(types::LISTENER, name, Listener { name: name.into(), ..Listener::default() })));
    set
}

fn with_limit(mut set: Set, name: &str, on: &[&str], resources: &str, requests: u64) -> Set {
    let selector = Match { resources: vec![resources.into()], ..Match::default() };
    let limit = RateLimit { name: name.into(), listeners: names(on), r#match: Some(selector), requests, period_ms: 1_000, ..RateLimit::default() };
    set.rate_limits.extend([entry(types::RATE_LIMIT, name, limit)]);
    set
}

fn with_fault(mut set: Set, name: &str, percent: f64, delay_ms: u64, error: bool) -> Set {
    let fault = Fault { name: name.into(), listeners: names(&[SHOP]), r#match: None, percent, delay_ms, error, message: String::new() };
    set.faults.extend([entry(types::FAULT, name, fault)]);
    set
}

fn with_policy(mut set: Set, effect: Effect) -> Set {
    let rule = Rule { effect: effect as i32, classes: vec![PolicyClass::Write as i32], verbs: vec![], resources: vec!["*".into()] };
    let policy = AccessPolicy { name: "writes".into(), listeners: names(&[SHOP]), identities: vec![], rules: vec![rule] };
    set.access_policies.extend([entry(types::ACCESS_POLICY, "writes", policy)]);
    set
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn filters() -> (Filters, TapLines) {
    let (queue, lines) = tap_queue();
    (Filters::new(Arc::new(queue)), lines)
}

fn chain(compiled: &Compiled, listener: &str) -> Arc<dyn Chain> {
    compiled.chains.get(listener).cloned().expect("a chain")
}

fn write<'a>(resources: &'a [&'a [u8]]) -> Request<'a> {
    Request { identity: "user:app", class: Class::Write, verb: "SET", groups: &[], resources, bytes: 20, fingerprint: 0 }
}

fn kind(verdict: &Verdict) -> Option<DenialKind> {
    match verdict {
        Verdict::Deny(denial) => Some(denial.kind),
        _ => None,
    }
}

#[test]
fn a_listener_without_filters_has_no_chain() {
    let compiled = filters().0.compile(&with_limit(set(), "carts", &[CACHE], "*", 1));
    assert_eq!(compiled.chains.keys().collect::<Vec<_>>(), [CACHE]);
    assert!(compiled.refusals.is_empty());
}

#[test]
fn a_star_means_every_listener() {
    let compiled = filters().0.compile(&with_limit(set(), "all", &["*"], "*", 1));
    assert_eq!(compiled.chains.len(), 2);
    assert_eq!(chain(&compiled, SHOP).decide(&write(&[b"k"]), SECONDS, 0), Verdict::Pass);
    let over = chain(&compiled, CACHE).decide(&write(&[b"k"]), SECONDS, 0);
    assert_eq!(kind(&over), Some(DenialKind::RateLimited), "one bucket for both listeners");
}

#[test]
fn bind_decides_access_once_and_leaves_counters_to_run() {
    let compiled = filters().0.compile(&with_limit(set(), "orders", &[SHOP], "orders", 2));
    let chain = chain(&compiled, SHOP);
    let flow = chain.bind(&write(&[b"orders"]));
    assert_eq!((flow.denied.is_none(), flow.counted.as_slice(), flow.tapped), (true, &[0u16][..], false));
    assert!(chain.bind(&write(&[b"lines"])).counted.is_empty());
    let verdicts: Vec<_> = (0..3).map(|_| kind(&chain.run(&flow, &write(&[b"orders"]), SECONDS, 0))).collect();
    assert_eq!(verdicts, [None, None, Some(DenialKind::RateLimited)]);
    assert_eq!(chain.run(&flow, &write(&[b"orders"]), SECONDS + 500 * MILLIS, 0), Verdict::Pass);
}

#[test]
fn a_denied_flow_takes_no_token() {
    let compiled = filters().0.compile(&with_policy(with_limit(set(), "orders", &["*"], "*", 1), Effect::Deny));
    let denying = chain(&compiled, SHOP);
    let flow = denying.bind(&write(&[b"orders"]));
    let Verdict::Deny(denial) = denying.run(&flow, &write(&[b"orders"]), SECONDS, 0) else { panic!("passed") };
    assert_eq!((denial.kind, &*denial.rule), (DenialKind::Unauthorized, "AccessPolicy/writes"));
    assert_eq!(kind(&denying.decide(&write(&[b"orders"]), SECONDS, 0)), Some(DenialKind::Unauthorized));
    assert_eq!(chain(&compiled, CACHE).decide(&write(&[b"orders"]), SECONDS, 0), Verdict::Pass);
}

#[test]
fn what_one_limit_stops_does_not_count_for_another() {
    let set = with_limit(with_limit(set(), "a-wide", &[SHOP], "*", 2), "b-narrow", &[SHOP], "orders", 1);
    let chain = chain(&filters().0.compile(&set), SHOP);
    assert_eq!(chain.decide(&write(&[b"orders"]), SECONDS, 0), Verdict::Pass);
    let Verdict::Deny(denial) = chain.decide(&write(&[b"orders"]), SECONDS, 0) else { panic!("passed") };
    assert_eq!(&*denial.rule, "RateLimit/b-narrow");
    assert!(denial.message.contains("1 requests per 1000 ms") && denial.message.contains("\"orders\" by user:app"), "{}", denial.message);
    assert_eq!(chain.decide(&write(&[b"lines"]), SECONDS, 0), Verdict::Pass, "the wide limit's second token is still there");
}

#[test]
fn a_limit_keeps_its_count_when_the_same_object_is_pushed_again() {
    let (filters, _) = filters();
    let before = filters.compile(&with_limit(set(), "orders", &[SHOP], "*", 1));
    assert_eq!(chain(&before, SHOP).decide(&write(&[b"k"]), SECONDS, 0), Verdict::Pass);
    let again = filters.compile(&with_fault(with_limit(set(), "orders", &[SHOP], "*", 1), "slow", 0.0, 1, false));
    assert_eq!(kind(&chain(&again, SHOP).decide(&write(&[b"k"]), SECONDS, 0)), Some(DenialKind::RateLimited));
    let changed = filters.compile(&with_limit(set(), "orders", &[SHOP], "*", 2));
    assert_eq!(chain(&changed, SHOP).decide(&write(&[b"k"]), SECONDS, 0), Verdict::Pass);
}

#[test]
fn delays_add_up_and_each_fault_has_dice_of_its_own() {
    let set = with_fault(with_fault(set(), "slow", 100.0, 30, false), "slower", 50.0, 20, false);
    let chain = chain(&filters().0.compile(&set), SHOP);
    let both = |seed: u64| chain.decide(&write(&[b"k"]), SECONDS, seed.wrapping_mul(0x2545_f491_4f6c_dd1d)) == Verdict::Delay(50 * MILLIS);
    let hits = (0..2_000).filter(|seed| both(*seed)).count();
    assert!((900..1_100).contains(&hits), "{hits}");
}

#[test]
fn an_injected_error_ends_the_request() {
    let chain = chain(&filters().0.compile(&with_fault(set(), "broken", 100.0, 0, true)), SHOP);
    assert_eq!(kind(&chain.decide(&write(&[b"k"]), SECONDS, 7)), Some(DenialKind::Injected));
}

#[test]
fn a_tap_logs_matching_requests_of_its_listeners() {
    let mut set = set();
    let selector = Match { resources: vec!["cart:*".into()], ..Match::default() };
    let tap = Tap { name: "carts".into(), listeners: names(&[CACHE]), r#match: Some(selector), percent: 100.0 };
    set.taps.extend([entry(types::TAP, "carts", tap)]);
    let (filters, lines) = filters();
    let chain = chain(&filters.compile(&set), CACHE);
    assert!(chain.bind(&write(&[b"cart:1"])).tapped && !chain.bind(&write(&[b"k"])).tapped);
    let outcome = Outcome { took: MILLIS, error: "WRONGTYPE", ..Outcome::default() };
    chain.done(&write(&[b"cart:1"]), &outcome);
    chain.done(&write(&[b"k"]), &outcome);
    let lines = lines.take();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("\"listener\":\"cache\"") && lines[0].contains("\"error\":\"WRONGTYPE\""), "{lines:?}");
}

#[test]
fn a_bad_policy_is_refused_alone_with_its_field() {
    let set = with_limit(with_fault(set(), "bad", 101.0, 10, false), "none", &[], "*", 1);
    let compiled = filters().0.compile(&with_limit(set, "good", &[SHOP], "*", 1));
    let fields: Vec<_> = compiled.refusals.iter().map(|refusal| (refusal.name.as_str(), refusal.field.as_str())).collect();
    assert_eq!(fields, [("none", "listeners"), ("bad", "percent")]);
    assert_eq!(compiled.chains.len(), 1);
}

#[test]
fn an_unknown_listener_is_found_but_does_no_harm() {
    let set = with_limit(with_policy(set(), Effect::Allow), "typo", &[SHOP, "cahce"], "*", 1);
    let refusals = unknown_listeners(&set);
    assert_eq!((refusals.len(), refusals[0].name.as_str(), refusals[0].field.as_str()), (1, "typo", "listeners[1]"));
    assert!(refusals[0].reason.contains("no Listener cahce"), "{}", refusals[0].reason);
    assert!(filters().0.compile(&set).refusals.is_empty());
}
