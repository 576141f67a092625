//! Replays tests/transcripts/redis on the machine.

#![allow(clippy::unwrap_used, missing_docs)]

use proto_redis::compress::{Codec, Compression};
use proto_redis::migration::{MigrationConf, Stage};
use proto_redis::routes::{Route, Routes};
use proto_redis::{ClusterConf, Conf, Credentials, From, ListenerConf, Reads, Redis, Sentinel, User};
use std::path::Path;
use std::sync::Arc;
use wire::sim::Sim;
use wire::transcript;
use wire::{Chain, Denial, DenialKind, Flow, MILLIS, Outcome, Request, SECONDS, Verdict, Worker};

/// Denies what names the key `denied`, delays what names `slow`.
struct Rules;

impl Chain for Rules {
    fn bind(&self, _: &Request<'_>) -> Flow {
        Flow { tapped: true, ..Flow::default() }
    }

    fn run(&self, _: &Flow, request: &Request<'_>, _: u64, _: u64) -> Verdict {
        if request.resources.contains(&&b"denied"[..]) {
            let message = format!("AccessPolicy/test: {} may not {} denied", request.identity, request.verb);
            return Verdict::Deny(Box::new(Denial { kind: DenialKind::Unauthorized, rule: "AccessPolicy/test".into(), message }));
        }
        if request.resources.contains(&&b"slow"[..]) { Verdict::Delay(100 * MILLIS) } else { Verdict::Pass }
    }

    fn done(&self, _: &Request<'_>, _: &Outcome<'_>) {}
}

fn worker(with: &str) -> Sim {
    let mut cluster = ClusterConf::new("cache", &[("127.0.0.1", 7001)]);
    cluster.retry_deadline = SECONDS;
    cluster.single = with.contains("single");
    cluster.transactions_by_slot = with.contains("by slot");
    cluster.administrable = with.contains("admin");
    if with.contains("sentinel") {
        cluster.single = true;
        cluster.sentinel = Some(Sentinel { master: "main".into(), credentials: None });
    }
    if with.contains("two servers") {
        cluster.single = true;
        cluster.seeds.push(("127.0.0.1".into(), 7002));
    }
    if with.contains("reads") {
        let on_request = with.contains("requested");
        cluster.reads = Some(Reads { from: From::Replicas, max_lag: SECONDS, on_request, zone: "".into(), zones: vec![] });
    }
    if with.contains("login") {
        cluster.credentials = Some(Credentials { user: "app".into(), password: b"pw".to_vec() });
    }
    cluster.health.fail_masters = with.contains("impatient");
    let users = if with.contains("users") {
        vec![User { name: "default".into(), password: Some(b"secret"[..].into()) }, User { name: "app".into(), password: Some(b"pw"[..].into()) }]
    } else {
        vec![]
    };
    let chain: Option<Arc<dyn Chain>> = if with.contains("rules") { Some(Arc::new(Rules)) } else { None };
    let mut other = ClusterConf::new("other", &[("127.0.0.1", 7101)]);
    other.single = true;
    let routes = with.contains("routes").then(|| {
        let mut routes = vec![Route::new(b"u:", Some(b"t7:"), &other.name, false), Route::new(b"s:", None, &other.name, false)];
        if with.contains("compressing") {
            let compression = Some(Compression { codec: Some(Codec::Lz4), from: 64 });
            routes.push(Route::new(b"z:", None, &cluster.name, false).compressing(compression));
            routes.push(Route::new(b"y:", Some(b"t9:"), &other.name, false).compressing(compression));
        }
        Arc::new(Routes::new(routes, &cluster.name))
    });
    let mut clusters = vec![Arc::new(cluster)];
    let stage = [("dual-write", Stage::DualWrite), ("fence", Stage::Fence)].into_iter().find(|(word, _)| with.contains(word));
    let migrations = stage.map(|(_, stage)| {
        let prefixes = vec![b"m:".to_vec()];
        Arc::new(MigrationConf { name: "next".into(), from: "cache".into(), to: "other".into(), prefixes, stage, epoch: 1 })
    });
    clusters.extend((routes.is_some() || migrations.is_some()).then(|| Arc::new(other)));
    let listener = ListenerConf { name: "cache".into(), cluster: "cache".into(), users, chain, routes, key_stats: None, mirror: None };
    let conf = Conf { listeners: vec![Arc::new(listener)], clusters, migrations: migrations.into_iter().collect() };
    let machine = Redis::new(Worker { index: 0, count: 1, metrics: Arc::default() });
    Sim::new(Box::new(machine), Arc::new(conf))
}

#[test]
fn transcripts() {
    transcript::check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts/redis"), worker);
}
