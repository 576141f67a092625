//! Who has which slot, and who is the master ([`crate::discovery`]): asked of several nodes at once, at the start, after MOVED, and when a connection is lost; never on a timer alone.

use crate::cluster::Cluster;
use crate::discovery::{Discovery, View};
use crate::machine::Redis;
use crate::node::Lane;
use crate::pipe::{Owner, Pending, State};
use crate::upstream::{TICK, TIMER_COPY, TIMER_OUTLIERS, TIMER_REFRESH, TIMER_TICK, TIMER_WATCH, TIMERS};
use wire::{Close, Io, Key, MILLIS, Nanos, SECONDS};

/// The slot table is not asked for more often.
const REFRESH_EVERY: Nanos = 100 * MILLIS;
/// Without an answer within this, other nodes are asked.
const REFRESH_PATIENCE: Nanos = 500 * MILLIS;
/// How many nodes are asked at once: one may be down, one may be behind.
const HEDGE: usize = 3;

/// After so many rounds in which all answers were older than what is in force, the newest of them counts: what was in force is gone.
const ROUNDS: u8 = 4;

/// How often silent nodes are looked for.
const WATCH_EVERY: Nanos = SECONDS;
/// An answer that takes longer makes the node suspect: about what a cluster itself waits (`cluster-node-timeout`, 2 to 15 s).
pub(crate) const SILENCE: Nanos = 2 * SECONDS;

/// The state of the question who has which slot.
#[derive(Default, Debug)]
pub struct Refresh {
    /// Asked, not answered.
    pub running: bool,
    /// Not asked again before.
    pub not_before: Nanos,
    /// The node asked first next time.
    pub next: usize,
    /// Whether the nodes asked last did not answer: then others are asked than those we have connections to.
    pub failed: bool,
    /// Of the view in force.
    pub epoch: u64,
    /// The newest answer that is older than what is in force, and who gave it: it counts if nobody knows better.
    pub older: Option<(u16, View)>,
    /// In how many rounds in a row nobody knew better.
    pub rounds: u8,
}

impl Cluster {
    /// Who is asked where things are: those that we have connections to, then, and first of all when those did not answer, any other that was
    /// ever heard of, in turn. One that lives suffices, be it a replica.
    pub fn whom_to_ask(&mut self, now: Nanos, count: usize) -> Vec<u16> {
        let nodes = self.nodes.len();
        let start = self.refresh.next;
        let sentinels = matches!(self.discovery, Discovery::Sentinel(_));
        let in_turn = (0..nodes).map(|step| ((start + step) % nodes) as u16).filter(|node| self.nodes[usize::from(*node)].sentinel == sentinels);
        let mut up: Vec<u16> = in_turn.filter(|node| self.nodes[usize::from(*node)].down_until <= now).collect();
        if !self.refresh.failed {
            let lane = Lane::of(self.discovery.resp(), false).index();
            up.sort_by_key(|node| self.nodes[usize::from(*node)].pipes[lane].is_none());
        }
        up.truncate(count);
        self.refresh.next = (start + count.min(nodes)) % nodes.max(1);
        up
    }
}

impl Redis {
    /// Asks for the slot table, unless it is being asked for.
    pub(crate) fn refresh(&mut self, io: &mut dyn Io, cluster: usize) {
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return };
        if known.discovery == Discovery::Fixed || known.refresh.running {
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
        let (questions, resp) = (known.discovery.questions(), known.discovery.resp());
        let Some((last, before)) = questions.split_last() else { return };
        for node in known.whom_to_ask(now, HEDGE) {
            for question in before {
                self.send_to(io, cluster, node, question, Pending::internal(Owner::TopologyPart, node, resp));
            }
            self.send_to(io, cluster, node, last, Pending::internal(Owner::Topology, node, resp));
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

    /// A node told where things are. The first answer that is no older than what is in force counts, and any that is newer.
    pub(crate) fn topology(&mut self, io: &mut dyn Io, cluster: usize, node: u16, reply: &[u8]) {
        let deposed = self.is_deposed(cluster, node);
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return };
        let view = known.discovery.view(reply);
        if known.discovery == Discovery::Roles && (deposed || (view.is_none() && known.owner(0) == node)) {
            known.refresh.epoch = 0;
        }
        let Some(view) = view else { return self.topology_failed(io, cluster) };
        let refresh = &mut known.refresh;
        if view.epoch > refresh.epoch || (refresh.running && view.epoch == refresh.epoch) {
            return self.take_view(io, cluster, node, &view);
        }
        if refresh.running && refresh.older.as_ref().is_none_or(|(_, older)| older.epoch < view.epoch) {
            refresh.older = Some((node, view));
        }
    }

    /// Whether the master in force has no connection up: then any other counts that says it is one.
    fn is_deposed(&self, cluster: usize, other: u16) -> bool {
        let Some(Some(known)) = self.clusters.get(cluster) else { return false };
        let master = known.owner(0);
        let up = |(_, pipe): (Key, &crate::pipe::Pipe)| pipe.cluster == cluster && pipe.node == master && pipe.state == State::Ready;
        master != other && !self.pipes.iter().any(up)
    }

    fn take_view(&mut self, io: &mut dyn Io, cluster: usize, node: u16, view: &View) {
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return };
        io.disarm(Key::NONE, cluster as u32 * TIMERS + TIMER_REFRESH);
        known.refresh.running = false;
        known.refresh.failed = false;
        known.refresh.older = None;
        known.refresh.rounds = 0;
        known.refresh.epoch = view.epoch;
        let changed = known.apply(&view.ranges, node);
        if changed {
            self.unsettle(cluster);
        }
        self.leave_the_deposed(io, cluster);
        if changed {
            self.unpark(io, cluster);
            self.rehome_all(io, cluster);
        }
    }

    /// Nobody has answered in time, or only those who know less than what is in force: if that stays so, it is how it is now.
    fn refresh_over(&mut self, io: &mut dyn Io, cluster: usize) {
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return };
        if let Some((node, view)) = known.refresh.older.take() {
            known.refresh.rounds += 1;
            if known.refresh.rounds >= ROUNDS {
                return self.take_view(io, cluster, node, &view);
            }
        }
        known.refresh.failed = std::mem::take(&mut known.refresh.running);
        self.refresh(io, cluster);
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
            let deposed = self.clusters[cluster].as_ref().is_some_and(|known| !known.is_in_use(pipe.node, pipe.readonly));
            if deposed && (connecting || pipe.is_silent(now, SILENCE)) {
                io.close(key, Close::Abort);
                self.lost(io, key, "another node has its slots now");
            }
        }
    }

    /// Looks for nodes that owe answers for long: perhaps others know that they are down.
    fn look_for_silence(&mut self, io: &mut dyn Io, cluster: usize) {
        let now = io.now();
        self.tick_key_stats(now);
        self.give_up_sessions(io);
        if self.pipes.iter().any(|(_, pipe)| pipe.cluster == cluster && pipe.is_silent(now, SILENCE)) {
            self.refresh(io, cluster);
        }
        self.watch_trackers(io, cluster);
        self.complete_tracking(io, cluster);
        self.arm_watch(io, cluster);
    }

    /// The one timer that always runs: a node that hangs gives no event.
    pub(crate) fn arm_watch(&self, io: &mut dyn Io, cluster: usize) {
        io.arm(Key::NONE, cluster as u32 * TIMERS + TIMER_WATCH, io.now() + WATCH_EVERY);
    }

    /// A timer of the whole object.
    pub(crate) fn timer(&mut self, io: &mut dyn Io, timer: u32) {
        let cluster = (timer / TIMERS) as usize;
        match timer % TIMERS {
            TIMER_TICK => self.tick(io, cluster),
            TIMER_REFRESH => self.refresh_over(io, cluster),
            TIMER_COPY => self.copy_timer(io, cluster),
            TIMER_OUTLIERS => self.look_for_outliers(io, cluster),
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
