//! The `tcp` family's compiler: a listener leads to the first endpoint of its cluster.

use config::proto::midstream::core::v1::TcpProxy;
use config::{Compiled, Context, Invalid, ListenerOf, types};
use engine::relay::RelayConf;
use std::sync::Arc;
use wire::{Bind, SECONDS, Target};

/// Compiles the listeners of protocol tcp.
pub fn compile(context: &Context<'_>) -> Compiled {
    let (listeners, mut refusals) = context.listeners::<TcpProxy>(types::TCP_PROXY);
    let mut conf = RelayConf::default();
    let mut binds = Vec::new();
    for listener in listeners {
        let name: Arc<str> = listener.entry.name.as_str().into();
        match target(context, &listener) {
            Ok(target) => {
                conf.targets.insert(name.clone(), target);
                binds.push(Bind { listener: name, facet: 0, address: listener.address.clone(), tls: None });
            }
            Err(invalid) => refusals.push(listener.entry.refuse(invalid)),
        }
    }
    Compiled { conf: Arc::new(conf), binds, refusals }
}

fn target(context: &Context<'_>, listener: &ListenerOf<TcpProxy>) -> Result<Target, Invalid> {
    let cluster = &listener.filter.cluster;
    let endpoints = context.endpoints(cluster).unwrap_or_default();
    let Some(first) = endpoints.into_iter().next() else {
        return Err(Invalid::new("filter_chains[0].filters[0].typed_config.cluster", format!("cluster {cluster} has no endpoint")));
    };
    Ok(Target { host: first.host, port: first.port, tls: None, connect_timeout: SECONDS })
}
