//! The process ids in notifications.
//!
//! A client knows itself and others by the process ids that BackendKeyData told them, which are ours; a server names the sender of a
//! notification by the process id of its own. So each server connection says whose it is, for all workers to look up: the sender's as a rule,
//! since a notification comes right behind the COMMIT that sent it.

use crate::machine::Postgres;
use crate::server::Server;
use hashbrown::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use wire::Cursor;

/// The process id of the client that uses a server connection, or was the last to.
pub type Owner = Arc<AtomicU32>;

/// Server connections of the process by address and true process id.
#[derive(Default, Debug)]
pub struct Pids(Mutex<Known>);

#[derive(Default, Debug)]
struct Known {
    owners: HashMap<(Box<str>, u32), Weak<AtomicU32>>,
    sweep_at: usize,
}

impl Pids {
    /// A server connection that is up, nobody's yet.
    pub fn add(&self, address: &str, pid: u32) -> Owner {
        let owner = Owner::default();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of closed connections go each time the number has doubled.
        if known.owners.len() >= known.sweep_at.max(256) {
            known.owners.retain(|_, owner| owner.strong_count() > 0);
            known.sweep_at = known.owners.len() * 2;
        }
        known.owners.insert((address.into(), pid), Arc::downgrade(&owner));
        owner
    }

    /// The process id of the client behind that server process; `None`: it is no connection of ours.
    pub fn client(&self, address: &str, pid: u32) -> Option<u32> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = known.owners.get(&(address.into(), pid))?.upgrade()?;
        Some(owner.load(Ordering::Relaxed)).filter(|client| *client != 0)
    }
}

impl Postgres {
    /// A NotificationResponse with the process id that its sender knows itself by; `None`: it comes from beside Midstream.
    pub(crate) fn notification(&self, server: &Server, body: &[u8]) -> Option<Vec<u8>> {
        let pid = Cursor::new(body).u32().ok()?;
        let client = self.pids.client(&server.endpoint.address(), pid)?;
        Some([&client.to_be_bytes(), body.get(4..)?].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_client_while_its_connection_is() {
        let pids = Pids::default();
        let owner = pids.add("a:1", 7);
        assert_eq!(pids.client("a:1", 7), None, "it is nobody's");
        owner.store(42, Ordering::Relaxed);
        assert_eq!((pids.client("a:1", 7), pids.client("b:1", 7)), (Some(42), None));
        drop(owner);
        assert_eq!(pids.client("a:1", 7), None);
    }
}
