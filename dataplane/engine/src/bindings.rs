//! Which sockets listen, and what has to change for others to.

use crate::acceptor::Label;
use crate::engine::BindFailure;
use crate::stream::{Listening, listen_at};
use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::{Address, Bind};

/// Clients that connect while a worker is busy; the system bounds it by net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// A client whose machine died is noticed after this and nine probes.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// What names a socket across configurations: its address, and with port 0, where the system chooses, also who asked.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Spot(Address, Option<(Arc<str>, u32)>);

fn spot(bind: &Bind) -> Spot {
    Spot(bind.address.clone(), bind.address.is_any_port().then(|| (Arc::clone(&bind.listener), bind.facet)))
}

struct Entry {
    id: usize,
    local: Address,
    label: Arc<Label>,
}

/// The sockets that listen.
#[derive(Default)]
pub(crate) struct Book {
    entries: HashMap<Spot, Entry>,
    next: usize,
}

/// A new socket.
pub(crate) struct Bound {
    pub id: usize,
    pub socket: Listening,
    pub label: Arc<Label>,
    spot: Spot,
    local: Address,
}

/// How the sockets change.
#[derive(Default)]
pub(crate) struct Change {
    pub close: Vec<usize>,
    pub new: Vec<Bound>,
    pub relabel: Vec<(usize, Arc<Label>)>,
    pub failed: Vec<BindFailure>,
    /// Addresses of sockets that will be closed: one that is in use may be free afterwards.
    leaving: Vec<Address>,
    asked: Vec<(usize, Address, Spot, Arc<Label>)>,
    refused: Vec<(usize, Address, Spot, Arc<Label>)>,
}

impl Book {
    /// What has to change so that these families have these sockets.
    pub fn plan(&mut self, wanted: &[(usize, Vec<Bind>)]) -> Change {
        let mut change = Change::default();
        let mut taken: HashMap<Spot, Arc<str>> = HashMap::new();
        for (spot, entry) in self.entries.iter().filter(|(_, entry)| wanted.iter().all(|(family, _)| *family != entry.label.family)) {
            taken.insert(spot.clone(), Arc::clone(&entry.label.listener));
        }
        for (family, bind) in wanted.iter().flat_map(|(family, binds)| binds.iter().map(move |bind| (*family, bind))) {
            let spot = spot(bind);
            if let Some(other) = taken.insert(spot.clone(), Arc::clone(&bind.listener)) {
                let reason = format!("the address is that of Listener/{other} already");
                change.failed.push(BindFailure { listener: Arc::clone(&bind.listener), address: bind.address.clone(), reason });
                taken.insert(spot, other);
                continue;
            }
            let label = Label { listener: Arc::clone(&bind.listener), facet: bind.facet, family, tls: bind.tls.clone() };
            match self.entries.get(&spot) {
                Some(entry) => change.relabel.push((entry.id, Arc::new(label))),
                None => {
                    self.next += 1;
                    change.asked.push((self.next, bind.address.clone(), spot, Arc::new(label)));
                }
            }
        }
        let leaving = || self.entries.iter().filter(|(spot, _)| !taken.contains_key(spot));
        change.close = leaving().map(|(_, entry)| entry.id).collect();
        change.leaving = leaving().map(|(spot, _)| spot.0.clone()).collect();
        change
    }

    /// A listener that cannot have its new socket keeps the old one until its owner decides: going from one address to another must not
    /// end with none.
    pub fn spare(&self, change: &mut Change) {
        let failed: Vec<&str> = change.failed.iter().map(|failure| &*failure.listener).collect();
        let owner = |id: usize| self.entries.values().find(|entry| entry.id == id).map_or("", |entry| &entry.label.listener);
        change.close.retain(|id| !failed.contains(&owner(*id)));
    }

    /// Notes what has changed.
    pub fn enter(&mut self, new: &[Bound], relabel: &[(usize, Arc<Label>)], close: &[usize]) {
        self.entries.retain(|_, entry| !close.contains(&entry.id));
        for bound in new {
            let entry = Entry { id: bound.id, local: bound.local.clone(), label: Arc::clone(&bound.label) };
            self.entries.insert(bound.spot.clone(), entry);
        }
        for (id, label) in relabel {
            self.entries.values_mut().filter(|entry| entry.id == *id).for_each(|entry| entry.label = Arc::clone(label));
        }
    }

    /// Forgets all sockets; their ids.
    pub fn clear(&mut self) -> Vec<usize> {
        self.entries.drain().map(|(_, entry)| entry.id).collect()
    }

    /// Listener, facet and address of each socket.
    pub fn addresses(&self) -> Vec<(Arc<str>, u32, Address)> {
        self.entries.values().map(|entry| (Arc::clone(&entry.label.listener), entry.label.facet, entry.local.clone())).collect()
    }
}

impl Change {
    /// The sockets that must not accept while their owners change.
    pub fn held(&self) -> Vec<usize> {
        self.relabel.iter().map(|(id, _)| *id).collect()
    }

    /// Binds the new sockets.
    pub fn bind_all(&mut self) {
        for (id, address, spot, label) in std::mem::take(&mut self.asked) {
            match listen(&address) {
                Ok((socket, local)) => self.new.push(Bound { id, socket, label, spot, local }),
                Err(error) if error.kind() == ErrorKind::AddrInUse && self.leaving.iter().any(|leaving| leaving.may_clash(&address)) => {
                    self.refused.push((id, address, spot, label))
                }
                Err(error) => self.fail(&label, address, &error),
            }
        }
    }

    /// Binds what overlapped with sockets that are closed now (0.0.0.0 gave way to 127.0.0.1, say).
    pub fn bind_again(&mut self) {
        for (id, address, spot, label) in std::mem::take(&mut self.refused) {
            match listen(&address) {
                Ok((socket, local)) => self.new.push(Bound { id, socket, label, spot, local }),
                Err(error) => self.fail(&label, address, &error),
            }
        }
    }

    fn fail(&mut self, label: &Label, address: Address, error: &io::Error) {
        let reason = match error.kind() {
            ErrorKind::AddrInUse => "the address is in use by another process".to_owned(),
            ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
            ErrorKind::PermissionDenied if address.ip().is_none() => "this user may not make files there".to_owned(),
            ErrorKind::NotFound if address.ip().is_none() => "there is no such directory".to_owned(),
            ErrorKind::PermissionDenied => "this user may not listen there; ports below 1024 need a privilege".to_owned(),
            _ => error.to_string(),
        };
        self.failed.push(BindFailure { listener: Arc::clone(&label.listener), address, reason });
    }
}

fn listen(address: &Address) -> io::Result<(Listening, Address)> {
    match address {
        Address::Ip(address) => listen_on(*address).map(|(socket, local)| (Listening::Tcp(socket), local.into())),
        Address::Unix { path, mode } => listen_at(path, *mode).map(|socket| (socket, address.clone())),
    }
}

/// A listening socket. What is set on it holds for all that it accepts (Linux copies these options), so that accepting costs no more calls.
fn listen_on(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into());
    let local = listener.local_addr()?;
    Ok((listener, local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_sockets_have_what_their_listener_has() {
        let (listener, local) = listen_on(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let _client = std::net::TcpStream::connect(local).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
        assert!(socket2::SockRef::from(&accepted).keepalive().unwrap());
    }
}
