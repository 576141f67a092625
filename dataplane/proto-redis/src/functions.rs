//! Functions where they are missing: replicas get them from their master, but a master that joins a cluster has none. FCALL that fails there waits
//! while the other masters are asked for theirs (FUNCTION DUMP), which it is given (FUNCTION RESTORE, which replaces nothing).
//!
//! What was just deleted is not fetched: deleting goes from node to node, and meanwhile one has what another has not.

use crate::cluster::{Cluster, Reason};
use crate::machine::Redis;
use crate::pipe::{Owner, Pending};
use crate::value::{self, text};
use wire::{Io, Key, Nanos, SECONDS};

/// A node that was given what there is is not given it again for so long: the function does not exist.
const FETCH_EVERY: Nanos = SECONDS;
/// How long after FUNCTION DELETE or FLUSH nothing is fetched: longer than the nodes take for it.
const HOLD: Nanos = 10 * SECONDS;
/// What a node without functions dumps: a version and a checksum.
const EMPTY_DUMP: usize = 10;

/// The first byte of mail to other workers: functions were deleted.
pub(crate) const DELETED: u8 = b'd';

/// Whether a node is being given the functions of others.
#[derive(Clone, Copy, Default, Debug)]
pub struct Fetch {
    /// Answers that are out.
    left: usize,
    /// When it was given them last.
    done: Option<Nanos>,
}

impl Redis {
    /// FCALL of a function that the node does not have: whether it waits for the functions of other nodes.
    pub(crate) fn fetch_functions(&mut self, io: &mut dyn Io, key: Key, pending: Pending) -> bool {
        let now = io.now();
        let may = !pending.leased && pending.batch == 0 && pending.kept > 0 && now >= self.functions_held;
        let Some(pipe) = self.pipes.get_mut(key).filter(|_| may) else { return false };
        let (cluster, target) = (pipe.cluster, pipe.node);
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return false };
        let others: Vec<u16> = known.masters.iter().copied().filter(|master| *master != target).collect();
        let Some(fetch) = known.nodes.get_mut(usize::from(target)).map(|node| &mut node.functions) else { return false };
        let is_fresh = fetch.done.is_some_and(|done| now < done + FETCH_EVERY);
        let is_first = pending.redirects == 0; // it may have been on its way while they came
        if others.is_empty() || (fetch.left == 0 && is_fresh && !is_first) {
            return false;
        }
        let begins = fetch.left == 0 && !is_fresh;
        if begins {
            fetch.left = others.len();
        }
        let Some((mut pending, mut bytes)) = self.pipes.get_mut(key).and_then(|pipe| pipe.take_front()) else { return false };
        self.near_over(io, cluster, &mut pending, &mut bytes);
        pending.redirects = 1;
        self.park(io, cluster, &bytes, pending, 0, Reason::Said(b"-ERR Function not found\r\n".to_vec()));
        if begins {
            let dump = value::command(&["FUNCTION", "DUMP"]);
            others.into_iter().for_each(|node| self.send_to(io, cluster, node, &dump, Pending::internal(Owner::Functions(target), node, 2)));
        }
        true
    }

    /// A master has told its functions, or the node has taken some. `None`: it did not.
    pub(crate) fn functions_told(&mut self, io: &mut dyn Io, cluster: usize, target: u16, reply: Option<&[u8]>) {
        let dump = reply.and_then(text).filter(|dump| dump.len() > EMPTY_DUMP && reply.is_some_and(|reply| reply.starts_with(b"$")));
        if let Some(dump) = dump {
            let restore = value::command(&[&b"FUNCTION"[..], b"RESTORE", dump]);
            // Its answer takes the place of this one.
            return self.send_to(io, cluster, target, &restore, Pending::internal(Owner::Functions(target), target, 2));
        }
        let now = io.now();
        let fetch = self.clusters.get_mut(cluster).and_then(Option::as_mut).and_then(|known: &mut Cluster| known.nodes.get_mut(usize::from(target)));
        let Some(fetch) = fetch.map(|node| &mut node.functions) else { return };
        fetch.left = fetch.left.saturating_sub(1);
        if fetch.left == 0 {
            fetch.done = Some(now);
            self.unpark(io, cluster);
        }
    }

    /// A client deletes functions.
    pub(crate) fn functions_deleted(&mut self, io: &mut dyn Io) {
        self.hold_functions(io.now());
        (0..self.worker.count).filter(|worker| *worker != self.worker.index).for_each(|worker| io.mail(worker, vec![DELETED]));
    }

    /// Nothing is fetched for a while.
    pub(crate) fn hold_functions(&mut self, now: Nanos) {
        self.functions_held = now + HOLD;
    }
}
