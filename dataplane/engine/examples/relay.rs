//! A plain relay: `relay LISTEN BACKEND [WORKERS]`. The rung of the ladders below every protocol.

use engine::relay::{Relay, RelayConf};
use engine::{Asked, Engine, FamilyPlan, Options, UpcallSink};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use wire::{Bind, SECONDS, Target};

/// A relay asks nothing.
struct Nobody;

impl UpcallSink for Nobody {
    fn offer(&self, _asked: Asked) -> bool {
        false
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: relay LISTEN BACKEND [WORKERS]");
    let (address, backend): (SocketAddr, SocketAddr) = (next()?.parse()?, next()?.parse()?);
    let workers = next().map_or(Ok(1), |text| text.parse())?;
    let log = Arc::new(|line: &str| eprintln!("{line}"));
    let families: Vec<Arc<dyn wire::Family>> = vec![Arc::new(Relay)];
    let engine = Engine::start(Options { workers, families, upcalls: Arc::new(Nobody), max_connections: 10_000, log })?;
    let target = Target { host: backend.ip().to_string().into(), port: backend.port(), tls: None, connect_timeout: 5 * SECONDS };
    let conf = Arc::new(RelayConf { targets: HashMap::from([(Arc::from("relay"), target)]) });
    let bind = Bind { listener: "relay".into(), facet: 0, address: address.into(), tls: None };
    if let Some(failure) = engine.apply(vec![FamilyPlan { family: 0, conf, binds: vec![bind] }]).first() {
        return Err(format!("{address}: {}", failure.reason).into());
    }
    println!("{address} -> {backend}");
    loop {
        std::thread::park();
    }
}
