//! The slow lane: large replies at the client's own pace.
//!
//! A shared pipe must not stop for one client that does not read, and what it does not read must not pile up here. So a large reply for a
//! client that has much unread already, or a very large one for anybody, is thrown away as it comes, and the command is asked again,
//! when its turn in the ring has come, on a leased connection that is linked to the client: the engine reads it only as fast as the
//! client reads. The rest waits in the node, as it would without a proxy. Only for commands that change nothing by being repeated.

use crate::cluster::{Parked, Reason};
use crate::lease::Purpose;
use crate::limits;
use crate::machine::Redis;
use crate::pipe::{Owner, Pending};
use wire::{Io, Key};

impl Redis {
    /// Whether the large reply that begins is to be fetched again at the client's pace; it is marked then.
    pub(crate) fn must_pace(&mut self, io: &mut dyn Io, pipe: Key, pending: Pending) -> bool {
        let Owner::Client(key, seq) = pending.owner else { return false };
        let (Some(client), Some(connection)) = (self.clients.get_mut(key), self.pipes.get_mut(pipe)) else { return false };
        if client.ring.is_silent(seq) {
            return false; // it costs nothing
        }
        if client.ring.len() <= 1 {
            client.expected = 0; // what was to come when its connection broke
        }
        let announced = connection.scan.announced();
        let unread = (io.backlog(key) + client.ring.held) as u64 + client.expected;
        let much = unread > limits::MAX_OUTSTANDING || announced > limits::MAX_UNPACED;
        let may = pending.repeatable
            && pending.kept > 0
            && !pending.leased
            && client.lease.is_none_or(|lease| lease.purpose == Purpose::Pace)
            && client.ring.is_plain(seq);
        if much
            && may
            && let Some(front) = connection.fifo.front_mut()
        {
            front.discard = true;
            return true;
        }
        if !pending.leased {
            client.expected += announced;
        }
        false
    }

    /// A piece that is thrown away; after the last the command waits for its turn.
    pub(crate) fn discard(&mut self, io: &mut dyn Io, pipe: Key, client: Key, done: bool) {
        if !done {
            return;
        }
        let Some(connection) = self.pipes.get_mut(pipe) else { return };
        let cluster = connection.cluster;
        let Some((mut pending, mut bytes)) = connection.take_front() else { return };
        self.near_over(io, cluster, &mut pending, &mut bytes);
        self.park(io, cluster, &bytes, Pending { discard: false, ..pending }, 0, Reason::Paced);
        self.advance(io, client);
    }

    /// Asks on a connection of the client's own: its turn has come.
    pub(crate) fn send_paced(&mut self, io: &mut dyn Io, cluster: usize, parked: Parked) {
        let Owner::Client(key, _) = parked.pending.owner else { return };
        let Some(client) = self.clients.get_mut(key) else { return };
        client.purpose = Purpose::Pace;
        let deadline = self.deadline(cluster, io.now());
        self.send(io, cluster, &parked.bytes, Pending { leased: true, deadline, ..parked.pending });
    }
}
