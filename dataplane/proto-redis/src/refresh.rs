//! Who has which slot: asked of several nodes at once, at the start, after MOVED, and when a connection is lost; never on a timer alone.

use crate::machine::Redis;
use crate::pipe::{Owner, Pending, State};
use crate::upstream::{TICK, TIMER_REFRESH, TIMER_TICK, TIMER_WATCH, TIMERS};
use wire::{Close, Io, Key, MILLIS, Nanos, SECONDS};

/// The slot table is not asked for more often.
const REFRESH_EVERY: Nanos = 100 * MILLIS;
/// Without an answer within this, other nodes are asked.
const REFRESH_PATIENCE: Nanos = 500 * MILLIS;
/// How many nodes are asked at once: one may be down, one may be behind.
const HEDGE: usize = 3;

/// How often silent nodes are looked for.
const WATCH_EVERY: Nanos = SECONDS;
/// An answer that takes longer makes the node suspect: about what a cluster itself waits (`cluster-node-timeout`, 2 to 15 s).
pub(crate) const SILENCE: Nanos = 2 * SECONDS;

impl Redis {
    /// Asks for the slot table, unless it is being asked for.
    pub(crate) fn refresh(&mut self, io: &mut dyn Io, cluster: usize) {
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return };
        if known.conf.single || known.refresh.running {
            return;
        }
        let now = io.now();
        let timer = cluster as u32 * TIMERS + TIMER_REFRESH;
        if now < known.refresh.not_before {
            return io.arm(Key::NONE, timer, known.refresh.not_before);
        }
        known.refresh.running = true;
        known.refresh.not_before = now + REFRESH_EVERY;
        io.arm(Key::NONE, timer, now + REFRESH_PATIENCE);
        for node in known.whom_to_ask(now, HEDGE) {
            let pending = Pending::internal(Owner::Topology, node, 2);
            self.send_to(io, cluster, node, b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n", pending);
        }
    }

    /// A node did not tell its slots; the timer asks others.
    pub(crate) fn topology_failed(&mut self, io: &mut dyn Io, cluster: usize) {
        if let Some(Some(known)) = self.clusters.get(cluster)
            && known.refresh.running
        {
            io.arm(Key::NONE, cluster as u32 * TIMERS + TIMER_REFRESH, io.now().max(known.refresh.not_before));
        }
    }

    /// A node told its slots.
    pub(crate) fn topology(&mut self, io: &mut dyn Io, cluster: usize, node: u16, reply: &[u8]) {
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return };
        let ranges = crate::topology::ranges(reply).filter(|ranges| !ranges.is_empty());
        let Some(ranges) = ranges else { return self.topology_failed(io, cluster) };
        if std::mem::take(&mut known.refresh.running) {
            known.refresh.failed = false;
            io.disarm(Key::NONE, cluster as u32 * TIMERS + TIMER_REFRESH);
            let changed = known.apply(&ranges, node);
            if changed {
                self.unsettle(cluster);
            }
            self.leave_the_deposed(io, cluster);
            if changed {
                self.unpark(io, cluster);
                self.rehome_all(io, cluster);
            }
        }
    }

    /// Slots have another node: what clients have in flight to the old one must be answered before more is sent to the new one.
    pub(crate) fn unsettle(&mut self, cluster: usize) {
        for key in self.clients.keys() {
            let Some(client) = self.clients.get_mut(key).filter(|client| !client.ring.is_empty()) else { continue };
            let listener = self.listeners.get(client.listener).and_then(Option::as_ref);
            if listener.is_some_and(|listener| listener.home(cluster) == Some(cluster)) {
                client.ring.unsettled = true;
            }
        }
    }

    /// Connections to nodes that have no slots any more, if they are being made or owe answers for long, are given up: what waits for them
    /// goes to the new owner. A node that hangs or is cut off closes nothing by itself.
    fn leave_the_deposed(&mut self, io: &mut dyn Io, cluster: usize) {
        let now = io.now();
        for key in self.pipes.keys() {
            let Some(pipe) = self.pipes.get(key).filter(|pipe| pipe.cluster == cluster) else { continue };
            let connecting = pipe.state == State::Connecting;
            let deposed = self.clusters[cluster].as_ref().is_some_and(|known| !known.masters.contains(&pipe.node));
            if deposed && (connecting || pipe.is_silent(now, SILENCE)) {
                io.close(key, Close::Abort);
                self.lost(io, key, "another node has its slots now");
            }
        }
    }

    /// Looks for nodes that owe answers for long: perhaps others know that they are down.
    fn look_for_silence(&mut self, io: &mut dyn Io, cluster: usize) {
        let now = io.now();
        if self.pipes.iter().any(|(_, pipe)| pipe.cluster == cluster && pipe.is_silent(now, SILENCE)) {
            self.refresh(io, cluster);
        }
        self.watch_trackers(io, cluster);
        self.arm_watch(io, cluster);
    }

    /// The one timer that always runs: a node that hangs gives no event.
    pub(crate) fn arm_watch(&self, io: &mut dyn Io, cluster: usize) {
        io.arm(Key::NONE, cluster as u32 * TIMERS + TIMER_WATCH, io.now() + WATCH_EVERY);
    }

    /// A timer of the whole object.
    pub(crate) fn timer(&mut self, io: &mut dyn Io, timer: u32) {
        let cluster = (timer / TIMERS) as usize;
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return };
        match timer % TIMERS {
            TIMER_TICK => self.tick(io, cluster),
            TIMER_REFRESH => {
                known.refresh.failed = std::mem::take(&mut known.refresh.running);
                self.refresh(io, cluster);
            }
            _ => self.look_for_silence(io, cluster),
        }
    }

    /// Tries again what is parked, and asks who has the slots while anything waits for a node.
    fn tick(&mut self, io: &mut dyn Io, cluster: usize) {
        self.unpark(io, cluster);
        let Some(Some(known)) = self.clusters.get(cluster) else { return };
        let is_paced_only = known.waiting.commands == known.waiting.paced;
        if known.waiting.commands == 0 {
            return;
        }
        io.arm(Key::NONE, cluster as u32 * TIMERS + TIMER_TICK, io.now() + TICK);
        if !is_paced_only {
            self.refresh(io, cluster);
        }
    }
}
