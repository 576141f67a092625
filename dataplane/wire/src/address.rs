//! Where clients connect.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// An address of this machine that a family listens on.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Address {
    /// TCP.
    Ip(SocketAddr),
    /// A socket in the file system.
    Unix {
        /// Absolute.
        path: PathBuf,
        /// Who may connect, as chmod(1) has it.
        mode: u32,
    },
}

impl Address {
    /// The TCP address; `None` for a socket in the file system.
    pub fn ip(&self) -> Option<SocketAddr> {
        if let Address::Ip(address) = self { Some(*address) } else { None }
    }

    /// Whether the system chooses the port.
    pub fn is_any_port(&self) -> bool {
        self.ip().is_some_and(|address| address.port() == 0)
    }

    /// Whether sockets on both could be in each other's way.
    pub fn may_clash(&self, other: &Address) -> bool {
        match (self, other) {
            (Address::Ip(one), Address::Ip(other)) => one.port() == other.port(),
            (Address::Unix { path: one, .. }, Address::Unix { path: other, .. }) => one == other,
            _ => false,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Ip(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}
