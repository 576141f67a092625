//! The family's configuration: listeners, and the clusters behind them.

use crate::address::{Facade, NODE, Places};
use crate::auth::{self, Auth, Credential};
use crate::federation::{Federations, Member};
use crate::records::{Policies, RecordRules};
use crate::stats::Stats;
use crate::virtual_cluster::{Tenants, VirtualCluster};
use config::proto::midstream::core::v1::{UpstreamTls, downstream_tls};
use config::proto::midstream::kafka::v1::{KafkaCluster, KafkaProxy};
use config::{Compiled, Context, Entry, Invalid, ListenerOf, types};
use hashbrown::HashMap;
use rustls_pki_types::ServerName;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use wire::{Address, Bind, Chain, MILLIS, Nanos, Target, TlsClient};

/// The widest range of broker ports: each is a socket of its own, and node ids are small where people choose them.
pub const MAX_BROKER_PORTS: usize = 1024;

/// A broker that did not answer a SYN for this long is down; clients retry by themselves (`socket.connection.setup.timeout.ms` is 10 s).
const CONNECT_TIMEOUT_MS: u32 = 5_000;

/// What is in force.
#[derive(Default)]
pub struct KafkaConf {
    /// By name.
    pub listeners: BTreeMap<String, Arc<Listener>>,
}

impl KafkaConf {
    /// The clusters that listeners lead to.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.listeners.values().flat_map(|listener| std::iter::once(&listener.backend).chain(listener.others.iter().map(|other| &other.backend)))
    }

    /// One of them.
    pub fn backend(&self, name: &str) -> Option<&Arc<Backend>> {
        self.backends().find(|backend| *backend.name == *name)
    }
}

/// A listener, and where its clients find the brokers.
#[derive(Clone)]
pub struct Listener {
    /// The Listener's name.
    pub name: Arc<str>,
    /// The cluster behind it.
    pub backend: Arc<Backend>,
    /// The brokers' ports or names.
    pub places: Places,
    /// What brokers with ports are called towards clients; `None`: the address the client connected to.
    pub advertised: Option<Arc<str>>,
    /// How its clients prove who they are.
    pub auth: Auth,
    /// Its filters.
    pub chain: Option<Arc<dyn Chain>>,
    /// The tenant's names, where it leads to a virtual cluster.
    pub virtual_cluster: Option<Arc<VirtualCluster>>,
    /// What looks into records.
    pub records: Option<Arc<RecordRules>>,
    /// What is measured, if anything.
    pub stats: Option<Arc<Stats>>,
    /// Which cluster of a federation the backend is, where it is one.
    pub member: Option<Member>,
    /// The same listener where it leads to the federation's other clusters.
    pub others: Vec<Arc<Listener>>,
}

impl Listener {
    /// Whether what requests name has to be looked at to know whose it is.
    pub fn has_names(&self) -> bool {
        self.virtual_cluster.is_some() || self.member.is_some()
    }

    /// The broker addresses as a client sees them that calls us `host`.
    pub fn facade<'a>(&'a self, host: &'a str) -> Facade<'a> {
        Facade { host, places: &self.places, member: self.member.as_ref() }
    }
}

/// A physical cluster.
pub struct Backend {
    /// The KafkaCluster's name.
    pub name: Arc<str>,
    /// Where to begin.
    pub bootstrap: Vec<(Arc<str>, u16)>,
    /// TLS towards the brokers; its name is that of the first bootstrap broker.
    pub tls: Option<TlsClient>,
    /// Whether every broker is verified under the one configured name.
    pub one_name: bool,
    /// When a broker that is silent counts as down.
    pub connect_timeout: Nanos,
    /// What we log in to its brokers with; `None`: nothing, or what clients do by themselves.
    pub credentials: Option<Arc<Credential>>,
    /// What we log in with for single identities.
    pub principals: HashMap<String, Arc<Credential>>,
}

impl Backend {
    /// What we log in with for a client.
    pub fn credential(&self, identity: &str) -> Option<Arc<Credential>> {
        self.principals.get(identity).or(self.credentials.as_ref()).cloned()
    }

    /// How to reach one of its brokers.
    pub fn target(&self, host: &Arc<str>, port: u16) -> Target {
        let tls = self.tls.as_ref().map(|tls| {
            let name = if self.one_name { None } else { ServerName::try_from(host.to_string()).ok() };
            TlsClient { config: Arc::clone(&tls.config), name: name.unwrap_or_else(|| tls.name.clone()) }
        });
        Target { host: Arc::clone(host), port, tls, connect_timeout: self.connect_timeout }
    }
}

/// Compiles the Kafka listeners of a set, and names the sockets they need.
pub fn compile(context: &Context<'_>) -> Compiled {
    let (found, mut refusals) = context.listeners::<KafkaProxy>(types::KAFKA_PROXY);
    let mut backends = BTreeMap::new();
    for entry in context.set.kafka_clusters.values() {
        match backend(context, entry) {
            Ok(backend) => {
                backends.insert(entry.name.clone(), Arc::new(backend));
            }
            Err(invalid) => refusals.push(entry.refuse(invalid)),
        }
    }
    let tenants = Tenants::compile(context, &mut refusals);
    let federations = Federations::compile(context, &mut refusals);
    let policies = Policies::compile(context, &mut refusals);
    let mut conf = KafkaConf::default();
    let mut binds = Vec::new();
    let mut taken: BTreeMap<Address, String> = BTreeMap::new();
    for one in &found {
        match listener(context, one, &backends, &tenants, &federations)
            .and_then(|(listener, wanted)| claim(&mut taken, one, &wanted).map(|()| (listener, wanted)))
        {
            Ok((mut listener, wanted)) => {
                listener.records = policies.of(&one.entry.name);
                federations.spread(&mut listener, &one.filter.federation, &backends);
                conf.listeners.insert(one.entry.name.clone(), Arc::new(listener));
                binds.extend(wanted);
            }
            Err(invalid) => refusals.push(one.entry.refuse(invalid)),
        }
    }
    Compiled { conf: Arc::new(conf), binds, refusals }
}

fn backend(context: &Context<'_>, entry: &Entry<KafkaCluster>) -> Result<Backend, Invalid> {
    let cluster = &entry.value;
    let endpoints = context
        .endpoints(&cluster.cluster)
        .ok_or_else(|| Invalid::new("cluster", format!("there is no ClusterLoadAssignment {:?}; add it or mend the name", cluster.cluster)))?;
    let bootstrap: Vec<_> = endpoints.into_iter().map(|endpoint| (endpoint.host, endpoint.port)).collect();
    let (host, _) = bootstrap.first().ok_or_else(|| Invalid::new("cluster", "has no bootstrap broker; name at least one"))?;
    let timeout = if cluster.connect_timeout_ms == 0 { CONNECT_TIMEOUT_MS } else { cluster.connect_timeout_ms };
    Ok(Backend {
        name: entry.name.as_str().into(),
        tls: context.tls_client(cluster.tls.as_ref(), host)?,
        one_name: has_one_name(cluster.tls.as_ref()),
        bootstrap,
        connect_timeout: Nanos::from(timeout) * MILLIS,
        credentials: auth::credentials(context, cluster.credentials.as_ref())?,
        principals: auth::principals(context, &cluster.principals)?,
    })
}

fn has_one_name(tls: Option<&UpstreamTls>) -> bool {
    tls.is_some_and(|tls| !tls.server_name.is_empty())
}

fn listener(
    context: &Context<'_>,
    one: &ListenerOf<KafkaProxy>,
    backends: &BTreeMap<String, Arc<Backend>>,
    tenants: &Tenants,
    federations: &Federations,
) -> Result<(Listener, Vec<Bind>), Invalid> {
    let filter = &one.filter;
    let backend = backends
        .get(&filter.backend)
        .ok_or_else(|| Invalid::new("backend", format!("there is no KafkaCluster {:?} in force; add it or mend it", filter.backend)))?;
    let own = one.address.ip().ok_or_else(|| Invalid::new("address", "is a path; Kafka's clients are told hosts and ports, give an address"))?;
    let name: Arc<str> = one.entry.name.as_str().into();
    let tls = context.tls_server(filter.tls.as_ref())?;
    let places = places(filter, own.port())?;
    if let Some(certificate) = context.certificate(filter.tls.as_ref())? {
        certified(&places, &filter.broker_hosts, &certificate)?;
    }
    let ports = if let Places::Ports { first, last, .. } = places { Some(first..=last) } else { None };
    let bind = |facet: u32, port: u16| Bind { listener: Arc::clone(&name), facet, address: SocketAddr::new(own.ip(), port).into(), tls: tls.clone() };
    let brokers = ports.into_iter().flatten().enumerate().map(|(node, port)| bind(1 + node as u32, port));
    let binds = std::iter::once(bind(0, own.port())).chain(brokers).collect();
    let listener = Listener {
        name: Arc::clone(&name),
        backend: Arc::clone(backend),
        places,
        advertised: (!filter.advertised_host.is_empty()).then(|| filter.advertised_host.as_str().into()),
        auth: auth::server(context, filter.authentication.as_ref(), backend.credentials.is_some())?,
        chain: context.chain(&one.entry.name),
        virtual_cluster: tenants.of(filter)?,
        records: None,
        stats: Stats::of(context, &one.entry.name, if filter.virtual_cluster.is_empty() { &filter.backend } else { &filter.virtual_cluster }),
        member: federations.of(filter, backends)?,
        others: vec![],
    };
    Ok((listener, binds))
}

fn places(filter: &KafkaProxy, own: u16) -> Result<Places, Invalid> {
    let told = u16::try_from(filter.advertised_port)
        .map_err(|_| Invalid::new("advertised_port", format!("{} is no port: give one from 1 to 65535", filter.advertised_port)))?;
    if filter.broker_hosts.is_empty() {
        let (first, last) = range(filter)?;
        let told = if told == 0 { first } else { told };
        if told.checked_add(last - first).is_none() {
            return Err(Invalid::new("advertised_port", format!("{told} leaves no ports for {first}-{last} below 65536; choose a lower one")));
        }
        return Ok(Places::Ports { first, last, told });
    }
    let invalid = |reason: String| Invalid::new("broker_hosts", reason);
    if filter.broker_port_first != 0 || filter.broker_port_last != 0 {
        return Err(invalid("stands beside broker ports; brokers are told apart by names or by ports".into()));
    }
    if filter.tls.as_ref().is_none_or(|tls| tls.mode() != downstream_tls::Mode::Required) {
        return Err(invalid("needs TLS, as the name that a client asks for is a part of it; require it, or give broker ports".into()));
    }
    let places = Places::names(&filter.broker_hosts, if told == 0 { own } else { told });
    let is_host = |places: &Places| ServerName::try_from(places.name_of(i32::MAX).unwrap_or_default()).is_ok();
    places.filter(is_host).ok_or_else(|| {
        invalid(format!("{:?} is no pattern of host names: {NODE} stands in it once, as in b{NODE}.events.example", filter.broker_hosts))
    })
}

/// Clients check the names that they are told against the certificate: one that is good for none of them would fail every client.
fn certified(places: &Places, pattern: &str, certificate: &[u8]) -> Result<(), Invalid> {
    let mut names = (0..MAX_BROKER_PORTS as i32).map_while(|node| places.name_of(node)).peekable();
    if names.peek().is_some() && !names.any(|name| config::covers(certificate, &name)) {
        let reason = format!("the certificate is good for none of {pattern}; have one issued for the brokers' names, or for a wildcard over them");
        return Err(Invalid::new("broker_hosts", reason));
    }
    Ok(())
}

fn range(filter: &KafkaProxy) -> Result<(u16, u16), Invalid> {
    let port = |value: u32, field: &str| {
        u16::try_from(value)
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| Invalid::new(field, format!("{value} is no port: give brokerPorts as FIRST-LAST, from 1 to 65535")))
    };
    let first = port(filter.broker_port_first, "broker_port_first")?;
    let last = port(filter.broker_port_last, "broker_port_last")?;
    match usize::from(last).checked_sub(usize::from(first)) {
        None => Err(Invalid::new("broker_port_last", format!("{last} is below the first port, {first}"))),
        Some(more) if more >= MAX_BROKER_PORTS => Err(Invalid::new(
            "broker_port_last",
            format!("{first}-{last} is wider than {MAX_BROKER_PORTS} ports, each of which is a socket; narrow it"),
        )),
        Some(_) => Ok((first, last)),
    }
}

/// Two sockets on one address would be two listeners' fault; the later one by name is told.
fn claim(taken: &mut BTreeMap<Address, String>, one: &ListenerOf<KafkaProxy>, wanted: &[Bind]) -> Result<(), Invalid> {
    let mut own = BTreeMap::new();
    for bind in wanted {
        let other = own.get(&bind.address).or_else(|| taken.get(&bind.address));
        if let Some(other) = other {
            let what = if bind.facet == 0 { "its address".to_string() } else { format!("port of broker {}", bind.facet - 1) };
            return Err(Invalid::new("broker_port_first", format!("{} ({what}) is taken by Listener {other}; move the range", bind.address)));
        }
        own.insert(bind.address.clone(), one.entry.name.clone());
    }
    taken.append(&mut own);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::proto::midstream::core::v1::DownstreamTls;

    fn ports(first: u32, last: u32) -> KafkaProxy {
        KafkaProxy { broker_port_first: first, broker_port_last: last, ..KafkaProxy::default() }
    }

    fn names(pattern: &str) -> KafkaProxy {
        let tls = DownstreamTls { mode: downstream_tls::Mode::Required.into(), ..DownstreamTls::default() };
        KafkaProxy { broker_hosts: pattern.into(), tls: Some(tls), ..KafkaProxy::default() }
    }

    fn one(name: &str) -> ListenerOf<KafkaProxy> {
        let entry = Entry { type_url: types::LISTENER, name: name.into(), version: "1".into(), value: () };
        ListenerOf { entry, address: SocketAddr::from(([127, 0, 0, 1], 9092)).into(), filter: KafkaProxy::default() }
    }

    fn bind(facet: u32, port: u16) -> Bind {
        Bind { listener: "a".into(), facet, address: SocketAddr::from(([127, 0, 0, 1], port)).into(), tls: None }
    }

    #[test]
    fn a_range_of_ports_is_one() {
        assert_eq!(range(&ports(9100, 9100)), Ok((9100, 9100)));
        assert_eq!(range(&ports(0, 9100)).unwrap_err().field, "broker_port_first");
        for (first, last) in [(9100, 9099), (9100, 70_000), (9100, 20_000)] {
            assert_eq!(range(&ports(first, last)).unwrap_err().field, "broker_port_last", "{first}-{last}");
        }
    }

    #[test]
    fn behind_a_nat_the_ports_told_are_others() {
        assert_eq!(places(&ports(9100, 9109), 9092), Ok(Places::Ports { first: 9100, last: 9109, told: 9100 }));
        let told = |port| places(&KafkaProxy { advertised_port: port, ..ports(9100, 9109) }, 9092);
        assert_eq!(told(65526), Ok(Places::Ports { first: 9100, last: 9109, told: 65526 }));
        for port in [65527, 65536] {
            assert_eq!(told(port).unwrap_err().field, "advertised_port", "{port}");
        }
    }

    #[test]
    fn names_are_host_names_over_tls_and_nothing_beside_them() {
        assert_eq!(places(&names("b{node}.events.local"), 9092), Ok(Places::names("b{node}.events.local", 9092).unwrap()));
        let wrong = [
            names("events.local"),
            names("b{node}.{node}"),
            names("b {node}"),
            KafkaProxy { tls: None, ..names("b{node}.local") },
            KafkaProxy { broker_port_last: 9, ..names("b{node}.local") },
        ];
        for filter in wrong {
            assert_eq!(places(&filter, 9092).unwrap_err().field, "broker_hosts");
        }
    }

    #[test]
    fn a_socket_is_one_listeners() {
        let mut taken = BTreeMap::new();
        claim(&mut taken, &one("a"), &[bind(0, 9092), bind(1, 9100)]).unwrap();
        let refused = claim(&mut taken, &one("b"), &[bind(0, 9093), bind(1, 9100)]).unwrap_err();
        assert_eq!(refused.reason, "127.0.0.1:9100 (port of broker 0) is taken by Listener a; move the range");
        assert!(claim(&mut taken, &one("c"), &[bind(0, 9094), bind(1, 9094)]).is_err());
    }
}
