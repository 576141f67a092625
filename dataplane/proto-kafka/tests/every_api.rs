//! Requests and responses of every API and version, made from the tables and then broken in many ways, on the machine: it closes the
//! connection of who broke the protocol, or passes what it was not to look at; it never panics and never holds more than it was sent.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Dice, message};
use identity::Entropy;
use proto_kafka::auth::Auth;
use proto_kafka::fuzz::table::Api;
use proto_kafka::fuzz::tables::APIS;
use proto_kafka::{Backend, Federation, Kafka, KafkaConf, Listener, Member, Names, Places, Routes, Stats, VirtualCluster};
use std::sync::Arc;
use wire::sim::{Did, Sim};
use wire::{Chain, Denial, DenialKind, Flow, Key, Outcome, Request, SECONDS, Verdict, Worker};

/// Broken forms of each message.
const FORMS: usize = 8;
/// What the machine may have in hand beyond what it was sent: our own questions and answers.
const SLACK: usize = 64 * 1024;

/// Produce with acks 0 has no response, and the first SaslHandshake is answered by ourselves: a broker's is one too many.
const UNANSWERED: [i16; 2] = [0, 17];

/// Rules that deny half of what they are asked.
struct Rules;

impl Chain for Rules {
    fn bind(&self, request: &Request<'_>) -> Flow {
        let is_odd = request.resources.iter().any(|name| name.len() % 2 == 1);
        let denial = Denial { kind: DenialKind::Unauthorized, rule: "AccessPolicy/odd".into(), message: "AccessPolicy/odd denies it".into() };
        Flow { denied: is_odd.then(|| Arc::new(denial)), ..Flow::default() }
    }

    fn run(&self, flow: &Flow, _: &Request<'_>, _: u64, _: u64) -> Verdict {
        flow.denied.as_ref().map_or(Verdict::Pass, |denial| Verdict::Deny(Box::new(Denial::clone(denial))))
    }

    fn done(&self, _: &Request<'_>, _: &Outcome<'_>) {}
}

fn machine(places: Places, chain: Option<Arc<dyn Chain>>, virtual_cluster: Option<Arc<VirtualCluster>>) -> Sim {
    start(listener(places, chain, virtual_cluster))
}

fn listener(places: Places, chain: Option<Arc<dyn Chain>>, virtual_cluster: Option<Arc<VirtualCluster>>) -> Listener {
    let backend = Backend {
        name: "events".into(),
        bootstrap: vec![("kafka".into(), 9092)],
        tls: None,
        one_name: false,
        connect_timeout: SECONDS,
        credentials: None,
        principals: Default::default(),
    };
    let (backend, auth) = (Arc::new(backend), Auth::PassThrough);
    Listener {
        name: "events".into(),
        backend,
        places,
        advertised: None,
        auth,
        chain,
        virtual_cluster,
        records: None,
        stats: None,
        member: None,
        others: vec![],
    }
}

fn start(listener: Listener) -> Sim {
    // The second worker's books are shown by the first: nothing happens once a second in the years that pass here.
    let index = usize::from(listener.stats.is_some());
    let conf = KafkaConf { listeners: [("events".to_string(), Arc::new(listener))].into() };
    let worker = Worker { index, count: 1 + index, metrics: Arc::default() };
    Sim::new(Box::new(Kafka::new(worker, Entropy::from_seed([7; 32]), &Arc::default())), Arc::new(conf))
}

/// A client with its broker connection up.
fn connected(sim: &mut Sim) -> (Key, Key) {
    let client = sim.connect("events");
    let server = sim.did().into_iter().find_map(|did| if let Did::Dial { key, .. } = did { Some(key) } else { None }).unwrap();
    sim.accept(server);
    (client, server)
}

fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>() as u32;
    [&length.to_be_bytes()[..], &parts.concat()].concat()
}

fn request(api: &Api, version: i16, body: &[u8]) -> Vec<u8> {
    let head = [api.key.to_be_bytes(), version.to_be_bytes(), [0, 0], [0, 7], [0, 1]].concat();
    let tags: &[u8] = if api.is_flexible(version) { &[0] } else { &[] };
    framed(&[&head, b"c", tags, body])
}

fn response(api: &Api, version: i16, body: &[u8]) -> Vec<u8> {
    let tags: &[u8] = if api.is_flexible(version) && api.key != 18 { &[0] } else { &[] };
    framed(&[&[0, 0, 0, 7], tags, body])
}

/// A frame that differs from a good one in one thing.
fn broken(dice: &mut Dice, frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let at = 4 + dice.below(frame.len() - 4);
    match dice.below(8) {
        0 => frame.truncate(at),
        1 => frame[at] ^= 1 << dice.below(8),
        2 => frame.splice(at..at, dice.bytes(5)).for_each(drop),
        3 => frame.drain(at..).take(3).for_each(drop),
        4 => overwrite(&mut frame, at, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        5 => overwrite(&mut frame, at, &[0x7f, 0xff, 0xff, 0xff]),
        6 => overwrite(&mut frame, at, &[0x80, 0, 0, 0]),
        _ => frame.extend_from_within(at..),
    }
    if dice.below(2) == 0 {
        let length = (frame.len() - 4) as u32;
        frame[..4].copy_from_slice(&length.to_be_bytes());
    }
    frame
}

fn overwrite(frame: &mut [u8], at: usize, with: &[u8]) {
    frame[at..].iter_mut().zip(with).for_each(|(old, new)| *old = *new);
}

/// One client sends one frame, its broker another; then time passes and both go. Returns whether one of them was found at fault.
fn meet(sim: &mut Sim, from_client: &[u8], from_server: &[u8]) -> bool {
    let (client, server) = connected(sim);
    sim.send(client, from_client);
    sim.send(server, from_server);
    let held = sim.world.unsent(client).len() + sim.world.unsent(server).len();
    assert!(held <= from_client.len() + 2 * from_server.len() + SLACK, "{held} bytes for {} and {}", from_client.len(), from_server.len());
    sim.half_close(client);
    sim.advance(120 * SECONDS);
    sim.closed(server, wire::Why::Eof);
    let is_fault = sim.did().iter().any(|did| matches!(did, Did::Fault { .. }));
    assert!(!sim.is_open(client) && !sim.is_open(server), "a client that went and a broker that closed leave nothing");
    is_fault
}

fn drill(sim: &mut Sim, dice: &mut Dice, may_refuse: bool) {
    let mut faults = 0;
    for api in &APIS {
        for (version, shape) in (api.min..=api.max).zip(api.shapes) {
            for _ in 0..FORMS {
                let asked = request(api, version, &message(dice, shape.request));
                let told = response(api, version, &message(dice, shape.response));
                let is_fault = meet(sim, &asked, &told);
                assert!(
                    may_refuse || !is_fault || UNANSWERED.contains(&api.key),
                    "{} v{version} is as its schema says: {asked:x?} {told:x?}",
                    api.name
                );
                let (bad_request, bad_response) = (broken(dice, &asked), broken(dice, &told));
                faults += usize::from(meet(sim, &bad_request, &told)) + usize::from(meet(sim, &asked, &bad_response));
            }
        }
    }
    assert!(faults > 1000, "only {faults} broken messages were found to be so");
}

#[test]
fn broken_messages_of_every_api_pass_or_end_their_connection() {
    drill(&mut machine(Places::Ports { first: 9100, last: 9103, told: 9100 }, None, None), &mut Dice(1), false);
}

#[test]
fn the_same_under_rules_and_with_names_for_brokers() {
    drill(&mut machine(Places::names("b{node}.events.local", 443).unwrap(), Some(Arc::new(Rules)), None), &mut Dice(2), true);
}

#[test]
fn the_same_in_a_virtual_cluster() {
    let names = || Names::new("tenant.", []).unwrap();
    let tenant = VirtualCluster { name: "tenant".into(), topics: names(), groups: names(), transactions: names(), cluster_id: "its-id".into() };
    drill(&mut machine(Places::Ports { first: 9100, last: 9103, told: 9100 }, None, Some(Arc::new(tenant))), &mut Dice(3), true);
}

#[test]
fn the_same_where_it_is_measured() {
    let stats = Stats { cluster: "events".into(), series: 50 };
    drill(
        &mut start(Listener { stats: Some(Arc::new(stats)), ..listener(Places::Ports { first: 9100, last: 9103, told: 9100 }, None, None) }),
        &mut Dice(4),
        false,
    );
}

#[test]
fn the_same_where_clusters_share_a_listener() {
    let routes = || Routes::new([("a*", 1), ("b*", 1), ("c*", 1), ("d*", 1)]).unwrap();
    let federation = Arc::new(Federation {
        name: "both".into(),
        cluster_id: "id-of-both".into(),
        clusters: vec!["events".into(), "others".into()],
        first_nodes: vec![0, 2],
        topics: routes(),
        groups: routes(),
        transactions: routes(),
        producer_base: 1 << 62,
    });
    let of = |ordinal| Some(Member { federation: Arc::clone(&federation), ordinal });
    let home = listener(Places::Ports { first: 9100, last: 9103, told: 9100 }, None, None);
    let other = Listener { member: of(1), ..home.clone() };
    drill(&mut start(Listener { member: of(0), others: vec![Arc::new(other)], ..home }), &mut Dice(5), true);
}
