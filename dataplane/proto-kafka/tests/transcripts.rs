//! Replays tests/transcripts/kafka on the machine, whole and one byte at a time.

#![allow(clippy::unwrap_used, missing_docs)]

use config::Secret;
use config::proto::midstream::kafka::v1::{KafkaRecordPolicy, Lane, LaneRule, ProduceRule, produce_rule};
use config::{Absent, Context, Entry, Set, types};
use identity::Entropy;
use proto_kafka::auth::{Auth, Credential, Mechanism, SaslServer, User};
use proto_kafka::records::{Policies, RecordRules};
use proto_kafka::{Backend, Federation, Kafka, KafkaConf, Listener, Member, Names, Places, Routes, Stats, VirtualCluster};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use wire::sim::Sim;
use wire::transcript;
use wire::{Chain, Charges, Denial, DenialKind, Flow, MILLIS, Outcome, Request, SECONDS, Usage, Verdict, Worker};

fn is_secret(name: &[u8]) -> bool {
    [&b"secret"[..], b"group:secret", b"transaction:secret"].iter().any(|secret| name.starts_with(secret))
}

/// Denies topics, groups and transactional ids called `secret...` to all but the user ann, everything administrative, and delays what names `slow`.
struct Rules;

fn denial(kind: DenialKind, request: &Request<'_>) -> Denial {
    Denial { kind, rule: "AccessPolicy/test".into(), message: format!("AccessPolicy/test denies {}", request.verb) }
}

impl Chain for Rules {
    fn bind(&self, request: &Request<'_>) -> Flow {
        let is_secret = request.resources.iter().any(|name| is_secret(name)) && request.identity != "user:ann";
        let is_denied = is_secret || request.class == wire::Class::Admin;
        Flow { denied: is_denied.then(|| Arc::new(denial(DenialKind::Unauthorized, request))), ..Flow::default() }
    }

    fn run(&self, flow: &Flow, request: &Request<'_>, now: u64, _: u64) -> Verdict {
        let names = |topic: &[u8]| request.resources.contains(&topic);
        match &flow.denied {
            Some(denial) => Verdict::Deny(Box::new(Denial::clone(denial))),
            None if names(b"slow") => Verdict::Delay(100 * MILLIS),
            None if names(b"busy") && now < SECONDS => Verdict::Deny(Box::new(denial(DenialKind::RateLimited, request))),
            None if names(b"faulty") => Verdict::Deny(Box::new(denial(DenialKind::Injected, request))),
            None => Verdict::Pass,
        }
    }

    fn done(&self, _: &Request<'_>, _: &Outcome<'_>) {}
}

/// A byte of a whole costs a millisecond, one of the topic `dear` ten, and a LeaveGroup thirty.
struct Quotas;

impl Chain for Quotas {
    fn bind(&self, _: &Request<'_>) -> Flow {
        Flow::default()
    }

    fn run(&self, _: &Flow, _: &Request<'_>, _: u64, _: u64) -> Verdict {
        Verdict::Pass
    }

    fn charges(&self) -> Charges {
        Charges { whole: true, resources: true }
    }

    fn charge(&self, usage: &Usage<'_>, _: u64) -> u64 {
        assert_eq!(usage.client, "c");
        match usage.resource {
            None if usage.verb == "LeaveGroup" => 30 * MILLIS,
            None => usage.bytes * MILLIS,
            Some(b"dear") => 10 * usage.bytes * MILLIS,
            Some(_) => 0,
        }
    }

    fn done(&self, _: &Request<'_>, _: &Outcome<'_>) {}
}

/// Everything with the prefix `t-`, and the topic `legacy` as `orders`.
fn tenant() -> VirtualCluster {
    let plain = || Names::new("t-", []).unwrap();
    let topics = Names::new("t-", [(&"orders".to_string(), &"legacy".to_string())]).unwrap();
    VirtualCluster { name: "tenant".into(), topics, groups: plain(), transactions: plain(), cluster_id: "id-of-the-tenant".into() }
}

fn plain(user: &str, password: &[u8]) -> Credential {
    Credential { mechanism: Mechanism::Plain, user: user.into(), secret: Secret::new(password) }
}

fn server() -> SaslServer {
    let users = ["ann", "bob"].map(|name| (name.to_string(), User { password: Secret::new(b"pw"), keys: vec![] }));
    SaslServer {
        mechanisms: vec![Mechanism::Plain],
        users: users.into_iter().collect(),
        tokens: None,
        lifetime: None,
        login_timeout: 30 * SECONDS,
        salts: Entropy::from_seed([8; 32]),
    }
}

/// What topics `strict...` want, and the lanes of topics `lanes...`.
fn record_rules() -> Arc<RecordRules> {
    let policy =
        |name: &str| KafkaRecordPolicy { name: name.into(), listeners: vec!["*".into()], topics: vec![format!("{name}*")], ..Default::default() };
    let produce = ProduceRule { acks: produce_rule::Acks::All.into(), require_headers: vec!["trace".into()], ..Default::default() };
    let blue = Lane { name: "blue".into(), client_ids: vec!["blue*".into()], ..Default::default() };
    let lanes = LaneRule { lanes: vec![blue], ..Default::default() };
    let policies = [KafkaRecordPolicy { produce: Some(produce), ..policy("strict") }, KafkaRecordPolicy { lanes: Some(lanes), ..policy("lanes") }];
    let entry = |value: KafkaRecordPolicy| {
        let name = value.name.clone();
        (name.clone(), Entry { type_url: types::KAFKA_RECORD_POLICY, name, version: "1".into(), value })
    };
    let set = Set { kafka_record_policies: policies.into_iter().map(entry).collect(), ..Set::default() };
    let chains = BTreeMap::new();
    Policies::compile(&Context::new(&set, &chains, &Absent), &mut vec![]).of("events").unwrap()
}

/// Two clusters: topics, groups and transactional ids `b...` are the second's, whose broker 1 is called 3.
fn federation() -> Arc<Federation> {
    let routes = || Routes::new([("b*", 1)]).unwrap();
    Arc::new(Federation {
        name: "both".into(),
        cluster_id: "id-of-both".into(),
        clusters: vec!["events".into(), "others".into()],
        first_nodes: vec![0, 2],
        topics: routes(),
        groups: routes(),
        transactions: routes(),
        producer_base: 1 << 62,
    })
}

/// The listener as it leads to the second of two clusters.
fn other(listener: &Listener) -> Listener {
    let backend = Backend { name: "others".into(), bootstrap: vec![("others.internal".into(), 9092)], ..backend("") };
    Listener { backend: Arc::new(backend), member: Some(Member { federation: federation(), ordinal: 1 }), ..listener.clone() }
}

fn backend(with: &str) -> Backend {
    Backend {
        name: "events".into(),
        bootstrap: vec![("kafka.internal".into(), 9092)],
        tls: None,
        one_name: false,
        connect_timeout: SECONDS,
        credentials: matches!(with, "sasl" | "trust").then(|| Arc::new(plain("app", b"secret"))),
        principals: Default::default(),
    }
}

fn worker(with: &str) -> Sim {
    let auth = match with {
        "sasl" => Auth::Sasl(Arc::new(server())),
        "trust" => Auth::Trust,
        _ => Auth::PassThrough,
    };
    let places = match with {
        "names" => Places::names("b{node}.events.local", 443).unwrap(),
        _ => Places::Ports { first: 9100, last: 9103, told: 9100 },
    };
    let mut listener = Listener {
        name: "events".into(),
        backend: Arc::new(backend(with)),
        places,
        advertised: None,
        auth,
        chain: match with {
            "quotas" => Some(Arc::new(Quotas)),
            _ if with.contains("rules") => Some(Arc::new(Rules)),
            _ => None,
        },
        virtual_cluster: with.contains("virtual").then(|| Arc::new(tenant())),
        records: with.contains("records").then(record_rules),
        stats: with.contains("measured").then(|| Arc::new(Stats { cluster: "events".into(), series: 100 })),
        member: with.contains("federation").then(|| Member { federation: federation(), ordinal: 0 }),
        others: vec![],
    };
    if with.contains("federation") {
        listener.others = vec![Arc::new(other(&listener))];
    }
    let conf = KafkaConf { listeners: [("events".to_string(), Arc::new(listener))].into() };
    let machine = Kafka::new(Worker { index: 0, count: 1, metrics: Arc::default() }, Entropy::from_seed([7; 32]), &Arc::default());
    Sim::new(Box::new(machine), Arc::new(conf))
}

#[test]
fn transcripts() {
    transcript::check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts/kafka"), worker);
}
