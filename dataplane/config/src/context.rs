//! What a family sees when it compiles: the set, resolved.

use crate::proto::midstream::core::v1::{Credentials, DownstreamTls, UpstreamTls, User, downstream_tls, upstream_tls};
use crate::proto::skeleton::{self, address::Address as Place, secret::Type, value::Kind};
use crate::secret::{Resolve, Secret};
use crate::set::{Entry, Set};
use crate::{Invalid, Refusal, tls};
use prost::Message;
use rustls::pki_types::ServerName;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use wire::{Address, Bind, Chain, Conf, TlsClient, TlsServer};

/// `sun_path` has 108 bytes with its NUL, and a new socket is bound beside the final path, under a longer name.
const MAX_UNIX_PATH: usize = 100;
/// The owner and the group may connect.
const UNIX_MODE: u32 = 0o660;

/// What a family makes of the set.
pub struct Compiled {
    /// For its protocol objects.
    pub conf: Conf,
    /// The sockets it wants.
    pub binds: Vec<Bind>,
    /// The resources it does not take.
    pub refusals: Vec<Refusal>,
}

/// A listener whose filter is of the family's type.
#[derive(Clone, Debug)]
pub struct ListenerOf<T> {
    /// To refuse it with; its name is the listener's name.
    pub entry: Entry<()>,
    /// Its own address.
    pub address: Address,
    /// Its filter's configuration.
    pub filter: T,
}

/// Where a server of a group is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Name or address.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// What it is in its group.
    pub role: Role,
    /// Its locality's zone, or empty.
    pub zone: String,
    /// False when the control plane found it unhealthy.
    pub healthy: bool,
}

/// A server's part in replication.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Takes writes.
    Primary,
    /// Takes reads that may be stale.
    Replica,
    /// Was the primary before another server was promoted, and does not know it: nobody may use it.
    Deposed,
}

/// The set with its references resolved.
pub struct Context<'a> {
    /// All resources.
    pub set: &'a Set,
    chains: &'a BTreeMap<String, Arc<dyn Chain>>,
    resolve: &'a dyn Resolve,
}

impl<'a> Context<'a> {
    /// `chains` by listener name.
    pub fn new(set: &'a Set, chains: &'a BTreeMap<String, Arc<dyn Chain>>, resolve: &'a dyn Resolve) -> Self {
        Context { set, chains, resolve }
    }

    /// The listeners whose only filter has a `typed_config` of this type, decoded; refusals of those that do not decode.
    pub fn listeners<T: Message + Default>(&self, type_url: &str) -> (Vec<ListenerOf<T>>, Vec<Refusal>) {
        let mut listeners = Vec::new();
        let mut refusals = Vec::new();
        for entry in self.set.listeners.values() {
            match listener::<T>(entry, type_url) {
                Ok(found) => listeners.extend(found),
                Err(invalid) => refusals.push(entry.refuse(invalid)),
            }
        }
        (listeners, refusals)
    }

    /// The filters of a listener; `None` where there are none.
    pub fn chain(&self, listener: &str) -> Option<Arc<dyn Chain>> {
        self.chains.get(listener).cloned()
    }

    /// The endpoints of a cluster, in order; `None` when there is no such ClusterLoadAssignment.
    pub fn endpoints(&self, cluster: &str) -> Option<Vec<Endpoint>> {
        let assignment = self.set.endpoints.get(cluster)?;
        let localities = assignment.value.endpoints.iter();
        Some(localities.flat_map(|locality| locality.lb_endpoints.iter().filter_map(|one| endpoint(one, locality.locality.as_ref()))).collect())
    }

    /// The zone that this sidecar stands in, by its environment; empty where that does not say, and on the control plane.
    pub fn zone(&self) -> String {
        let source = skeleton::DataSource { specifier: Some(skeleton::data_source::Specifier::EnvironmentVariable("MIDSTREAM_ZONE".into())) };
        let zone = self.resolve.resolve(&source).ok().filter(|_| self.resolve.is_real());
        zone.map(|zone| String::from_utf8_lossy(zone.expose()).trim().to_owned()).unwrap_or_default()
    }

    /// False on the control plane, where secrets are stand-ins: what is built from them cannot be checked.
    pub fn is_real(&self) -> bool {
        self.resolve.is_real()
    }

    /// The value of a generic Secret.
    ///
    /// # Errors
    /// There is no such secret, it is of another kind, or it cannot be read here.
    pub fn secret(&self, name: &str) -> Result<Secret, Invalid> {
        match self.typed(name)? {
            Type::GenericSecret(generic) => self.source(generic.secret.as_ref()),
            _ => Err(Invalid::new("", format!("Secret {name} is a certificate, not a password"))),
        }
    }

    /// User and password for a back end; `None` where no credentials are given.
    ///
    /// # Errors
    /// As [`Context::secret`].
    pub fn credentials(&self, credentials: Option<&Credentials>) -> Result<Option<(String, Secret)>, Invalid> {
        let Some(credentials) = credentials else { return Ok(None) };
        let password = self.password(&credentials.password_secret).map_err(|invalid| invalid.within("credentials.password_secret"))?;
        Ok(Some((credentials.user.clone(), password)))
    }

    /// Names and passwords of the users that a listener lets in.
    ///
    /// # Errors
    /// As [`Context::secret`]; the field names the user's index.
    pub fn users(&self, users: &[User]) -> Result<Vec<(String, Secret)>, Invalid> {
        let resolve = |(index, user): (usize, &User)| {
            let password = self.password(&user.password_secret).map_err(|invalid| invalid.within(&format!("users[{index}].password_secret")))?;
            Ok((user.name.clone(), password))
        };
        users.iter().enumerate().map(resolve).collect()
    }

    /// The listener's TLS; `None` when it is disabled, and on the control plane, which has no keys.
    ///
    /// # Errors
    /// A certificate is missing, unreadable or wrong.
    pub fn tls_server(&self, tls: Option<&DownstreamTls>) -> Result<Option<TlsServer>, Invalid> {
        let Some(tls) = tls.filter(|tls| tls.mode() != downstream_tls::Mode::Disabled) else { return Ok(None) };
        let pair = self.pair(&tls.certificate_secret).map_err(|invalid| invalid.within("tls.certificate_secret"))?;
        let ca = self.authority(&tls.client_ca_secret).map_err(|invalid| invalid.within("tls.client_ca_secret"))?;
        if !self.resolve.is_real() {
            return Ok(None);
        }
        tls::server(&pair, ca.as_ref(), tls).map(Some).map_err(|reason| Invalid::new("tls.certificate_secret", reason))
    }

    /// The certificate (DER) that the listener shows; `None` where [`Context::tls_server`] is.
    ///
    /// # Errors
    /// As there.
    pub fn certificate(&self, tls: Option<&DownstreamTls>) -> Result<Option<Vec<u8>>, Invalid> {
        let Some(tls) = tls.filter(|tls| tls.mode() != downstream_tls::Mode::Disabled && self.resolve.is_real()) else { return Ok(None) };
        let at = |reason| Invalid::new("tls.certificate_secret", reason);
        let pair = self.pair(&tls.certificate_secret).map_err(|invalid| invalid.within("tls.certificate_secret"))?;
        tls::leaf(&pair).map(Some).map_err(at)
    }

    /// TLS towards `host`; `None` when it is disabled, and on the control plane.
    ///
    /// # Errors
    /// A certificate is missing, unreadable or wrong, or the host's name cannot be verified.
    pub fn tls_client(&self, tls: Option<&UpstreamTls>, host: &str) -> Result<Option<TlsClient>, Invalid> {
        let Some(tls) = tls.filter(|tls| tls::mode(tls) != upstream_tls::Mode::Disable) else { return Ok(None) };
        let ca = self.authority(&tls.ca_secret).map_err(|invalid| invalid.within("tls.ca_secret"))?;
        let pair = match tls.certificate_secret.as_str() {
            "" => None,
            name => Some(self.pair(name).map_err(|invalid| invalid.within("tls.certificate_secret"))?),
        };
        if !self.resolve.is_real() {
            return Ok(None);
        }
        let name = if tls.server_name.is_empty() { host } else { &tls.server_name };
        let name = ServerName::try_from(name.to_string())
            .map_err(|error| Invalid::new("tls.server_name", format!("{name:?} is not a host name: {error}")))?;
        let config = tls::client(tls, ca.as_ref(), pair.as_ref()).map_err(|reason| Invalid::new("tls", reason))?;
        Ok(Some(TlsClient { config, name }))
    }

    fn password(&self, name: &str) -> Result<Secret, Invalid> {
        if name.is_empty() { Ok(Secret::default()) } else { self.secret(name) }
    }

    fn pair(&self, name: &str) -> Result<tls::Pair, Invalid> {
        match self.typed(name)? {
            Type::TlsCertificate(pair) => {
                Ok(tls::Pair { chain: self.source(pair.certificate_chain.as_ref())?, key: self.source(pair.private_key.as_ref())? })
            }
            _ => Err(Invalid::new("", format!("Secret {name} has no certificate and key"))),
        }
    }

    fn authority(&self, name: &str) -> Result<Option<Secret>, Invalid> {
        if name.is_empty() {
            return Ok(None);
        }
        match self.typed(name)? {
            Type::ValidationContext(context) => self.source(context.trusted_ca.as_ref()).map(Some),
            _ => Err(Invalid::new("", format!("Secret {name} has no certificate authority"))),
        }
    }

    fn typed(&self, name: &str) -> Result<&'a Type, Invalid> {
        let secret = self.set.secrets.get(name).ok_or_else(|| Invalid::new("", format!("there is no Secret {name}; add it or mend the name")))?;
        secret.value.r#type.as_ref().ok_or_else(|| Invalid::new("", format!("Secret {name} is empty")))
    }

    fn source(&self, source: Option<&skeleton::DataSource>) -> Result<Secret, Invalid> {
        self.resolve.resolve(source.unwrap_or(&skeleton::DataSource::default())).map_err(|reason| Invalid::new("", reason))
    }
}

fn listener<T: Message + Default>(entry: &Entry<skeleton::Listener>, type_url: &str) -> Result<Option<ListenerOf<T>>, Invalid> {
    let filters: Vec<_> = entry.value.filter_chains.iter().flat_map(|chain| &chain.filters).collect();
    let [filter] = filters[..] else {
        return Err(Invalid::new("filter_chains", format!("has {} filters; a Midstream listener has exactly one", filters.len())));
    };
    let Some(any) = filter.typed_config.as_ref().filter(|any| any.type_url == type_url) else { return Ok(None) };
    let filter = T::decode(any.value.as_slice()).map_err(|error| Invalid::new("filter_chains[0].filters[0].typed_config", error.to_string()))?;
    let address = address(entry.value.address.as_ref())?;
    let entry = Entry { type_url: entry.type_url, name: entry.name.clone(), version: entry.version.clone(), value: () };
    Ok(Some(ListenerOf { entry, address, filter }))
}

fn address(address: Option<&skeleton::Address>) -> Result<Address, Invalid> {
    let socket = match address.and_then(|address| address.address.as_ref()) {
        Some(Place::SocketAddress(socket)) => socket,
        Some(Place::Pipe(pipe)) => return unix(pipe),
        None => return Err(Invalid::new("address", "is missing")),
    };
    let port = u16::try_from(socket.port_value).map_err(|_| Invalid::new("address.socket_address.port_value", "is above 65535"))?;
    let host = if socket.address == "localhost" { "127.0.0.1" } else { &socket.address };
    let ip: IpAddr = host.parse().map_err(|_| Invalid::new("address.socket_address.address", format!("{host:?} is not an IP address")))?;
    Ok(SocketAddr::new(ip, port).into())
}

fn unix(pipe: &skeleton::Pipe) -> Result<Address, Invalid> {
    let at = |reason| Invalid::new("address.pipe.path", reason);
    if !pipe.path.starts_with('/') || pipe.path.contains('\0') {
        return Err(at(format!("{:?} is not an absolute path", pipe.path)));
    }
    if pipe.path.len() > MAX_UNIX_PATH {
        return Err(at(format!("has {} bytes; the path of a socket has at most {MAX_UNIX_PATH}", pipe.path.len())));
    }
    let mode = if pipe.mode == 0 { UNIX_MODE } else { pipe.mode & 0o777 };
    Ok(Address::Unix { path: pipe.path.as_str().into(), mode })
}

fn endpoint(one: &skeleton::LbEndpoint, locality: Option<&skeleton::Locality>) -> Option<Endpoint> {
    let Some(Place::SocketAddress(socket)) = one.endpoint.as_ref()?.address.as_ref()?.address.as_ref() else { return None };
    let ours = one.metadata.as_ref().and_then(|metadata| metadata.filter_metadata.get("midstream"));
    let role = match ours.and_then(|ours| ours.fields.get("role")).and_then(|role| role.kind.as_ref()) {
        Some(Kind::StringValue(role)) if role == "replica" => Role::Replica,
        Some(Kind::StringValue(role)) if role == "deposed" => Role::Deposed,
        _ => Role::Primary,
    };
    Some(Endpoint {
        host: socket.address.as_str().into(),
        port: u16::try_from(socket.port_value).ok()?,
        role,
        zone: locality.map(|locality| locality.zone.clone()).unwrap_or_default(),
        healthy: matches!(one.health_status, 0 | 1 | 5),
    })
}
