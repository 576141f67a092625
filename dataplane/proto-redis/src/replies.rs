//! What nodes answer: to whom it goes, and which errors are the proxy's to solve.
//!
//! Pipelined commands of one client keep their order when their slot moves: each is sent again when the one before it is answered, and
//! nothing new is sent until all are. Not covered: a slot that moves away and back within the round trip of one pipeline.

use crate::asks::{Asks, asks};
use crate::cluster::Reason;
use crate::discovery::Discovery;
use crate::health::Why;
use crate::heavy::HEAVY;
use crate::limits;
use crate::machine::Redis;
use crate::merge;
use crate::near::Mark;
use crate::pipe::{Owner, Pending, Pipe, State, To};
use crate::topology;
use crate::upstream::printable;
use std::sync::Arc;
use wire::{Close, Fault, Io, Key, MILLIS, Nanos};

/// The pause before a command is sent again that the server asked to try again: a slot's migration moves key by key.
const TRY_AGAIN_AFTER: Nanos = 5 * MILLIS;
/// A server that is no master any more is dialled anew so often: names are resolved again then.
const REDIAL_EVERY: Nanos = 500 * MILLIS;

/// Said before a command for a slot that is on its way to the node.
pub(crate) const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

impl Redis {
    /// Bytes of a node.
    pub(crate) fn server_data(&mut self, io: &mut dyn Io, key: Key, bytes: &[u8]) -> Result<usize, Fault> {
        let mut at = 0;
        if let Some(pipe) = self.pipes.get_mut(key) {
            pipe.heard = io.now();
        }
        while at < bytes.len() {
            let Some(pipe) = self.pipes.get_mut(key) else { return Ok(bytes.len()) };
            let rest = &bytes[at..];
            let first = !pipe.streaming;
            let (length, done) = match pipe.piece(rest) {
                Ok(Ok(piece)) => piece,
                Ok(Err(needed)) => {
                    io.want(key, needed);
                    break;
                }
                Err(wrong) => {
                    let what =
                        format!("{}: {wrong}", self.clusters[pipe.cluster].as_ref().map(|cluster| cluster.address(pipe.node)).unwrap_or_default());
                    return Err(Fault::server("RESP reply", what));
                }
            };
            self.piece(io, key, &rest[..length], first, done)?;
            at += length;
        }
        Ok(at)
    }

    #[inline]
    fn piece(&mut self, io: &mut dyn Io, key: Key, piece: &[u8], first: bool, done: bool) -> Result<(), Fault> {
        let Some(pipe) = self.pipes.get_mut(key) else { return Ok(()) };
        let kind = piece.first().copied().unwrap_or(0);
        let is_message = pipe.subscriber && pipe.state == State::Ready;
        if is_message || pipe.pushing || (first && kind == b'>') {
            self.message(io, key, piece, done);
            return Ok(());
        }
        let Some(pending) = pipe.fifo.front().copied() else {
            return Err(Fault::server("RESP reply", "a reply that nothing asked for"));
        };
        if pending.skip > 0 {
            pipe.skip_reply(piece, done);
            self.near_skipped(pending.near, piece);
            return Ok(());
        }
        let pipe = if piece.len() >= self.weigh_from || !(first && done) {
            self.measure(key, pending, piece.len(), done);
            let Some(pipe) = self.pipes.get_mut(key) else { return Ok(()) };
            pipe
        } else {
            pipe
        };
        match pending.owner {
            Owner::Client(client, seq) => self.client_piece(io, key, (client, seq), pending, piece, (first, done)),
            Owner::Login => self.logged_in(io, key, piece),
            Owner::TopologyPart => pipe.keep_part(piece, done),
            Owner::Topology | Owner::Functions(_) => self.whole_piece(io, key, pending.owner, piece, done),
            Owner::Near(ask) if done => {
                pipe.drop_front();
                self.near_answer(io, key, ask, piece);
            }
            Owner::Identity if done => {
                pipe.id = crate::value::integer_of(piece);
                pipe.drop_front();
            }
            Owner::Mirror(number) => self.mirror_answer(io, key, number, piece, done),
            Owner::Copy(number) => self.copy_answer(io, key, number, piece, done),
            Owner::Position if done => self.told_position(io, key, piece),
            Owner::Tracks(client) if done => {
                pipe.drop_front();
                self.tracks(io, client, piece);
            }
            Owner::Probe if done => {
                let (cluster, node) = (pipe.cluster, pipe.node);
                pipe.drop_front();
                self.probed(io, cluster, node);
            }
            Owner::Nobody if done => pipe.drop_front(),
            Owner::Near(_) | Owner::Tracks(_) | Owner::Identity | Owner::Nobody | Owner::Position | Owner::Probe => {}
        }
        if done {
            self.close_if_retired(io, key);
        }
        Ok(())
    }

    /// A piece, the first of its reply or not, the last or not, that a client waits for.
    #[inline]
    fn client_piece(&mut self, io: &mut dyn Io, key: Key, owner: (Key, u64), pending: Pending, piece: &[u8], (first, done): (bool, bool)) {
        let (client, seq) = owner;
        if first && done && piece.first() == Some(&b'-') && self.solve(io, key, piece, pending) {
            return;
        }
        if pending.discard || (first && !done && self.must_pace(io, key, pending)) {
            return self.discard(io, key, client, done);
        }
        if !first && let Some(client) = self.clients.get_mut(client) {
            client.expected = client.expected.saturating_sub(piece.len() as u64);
        }
        if done && pending.leased && self.large_answered(io, key, client) {
            return;
        }
        let mut piece = piece;
        if pending.near != Mark::None {
            match self.near_piece(io, key, pending, piece, first, done) {
                Some(own) => piece = own,
                None => return,
            }
        }
        if done && let Some(pipe) = self.pipes.get_mut(key) {
            pipe.drop_front();
        }
        // An errand goes on as soon as it hears, perhaps on another connection.
        let is_errand = pending.leased && self.clients.get(client).is_some_and(|client| client.errand.is_some());
        if done && is_errand {
            self.lease_answered(io, key, client, piece);
        }
        self.deliver(io, client, seq, piece, done);
        if done && pending.leased && !is_errand {
            self.lease_answered(io, key, client, piece);
        }
    }

    /// What a mirror answers; where that is about its slots, these are asked for, and the copy is not sent again.
    fn mirror_answer(&mut self, io: &mut dyn Io, key: Key, number: u32, piece: &[u8], done: bool) {
        let Some(pipe) = self.pipes.get_mut(key) else { return };
        let cluster = pipe.cluster;
        if done {
            pipe.drop_front();
        }
        if done && asks(piece) != Asks::Nothing {
            self.mirror_failed(number);
            return self.refresh(io, cluster);
        }
        self.mirror_piece(io, number, piece, done);
    }

    /// A reply that is large or comes in pieces.
    fn measure(&mut self, key: Key, pending: Pending, length: usize, done: bool) {
        let Some(pipe) = self.pipes.get_mut(key) else { return };
        let whole = pipe.streamed.saturating_add(length);
        pipe.streamed = if done { 0 } else { whole };
        if done && whole > HEAVY {
            self.note_heavy(key, pending);
        }
        if done {
            self.note_pour(pending, whole);
        }
        if done && whole >= self.big_from {
            self.note_reply(key, pending, whole);
        }
    }

    fn close_if_retired(&mut self, io: &mut dyn Io, key: Key) {
        if self.pipes.get(key).is_some_and(|pipe| pipe.retired && pipe.lease.is_none() && pipe.fifo.is_empty()) {
            self.close_pipe(io, key);
        }
    }

    /// A node's answer to our login.
    fn logged_in(&mut self, io: &mut dyn Io, key: Key, reply: &[u8]) {
        let Some(pipe) = self.pipes.get_mut(key) else { return };
        pipe.drop_front();
        if reply.first() != Some(&b'-') {
            // It may have a database to select, too.
            if pipe.fifo.front().is_none_or(|next| next.owner != Owner::Login) {
                self.pipe_ready(io, key);
            }
            return;
        }
        if pipe.session.is_some() {
            return self.session_refused(io, key, reply);
        }
        let error = printable(String::from_utf8_lossy(reply).trim_start_matches('-').trim_end());
        if let Some(Some(cluster)) = self.clusters.get(pipe.cluster) {
            cluster.meters.login.add(1);
        }
        io.close(key, Close::Abort);
        self.lost(io, key, &format!("it does not accept midstream's login: {error}"));
    }

    /// CLUSTER SLOTS of a large cluster, or functions, come in pieces.
    fn whole_piece(&mut self, io: &mut dyn Io, key: Key, owner: Owner, piece: &[u8], done: bool) {
        let Some(pipe) = self.pipes.get_mut(key) else { return };
        let (cluster, node) = (pipe.cluster, pipe.node);
        if (!done || !pipe.topology.is_empty()) && pipe.topology.len() < limits::MAX_TOPOLOGY {
            pipe.topology.extend_from_slice(piece);
        }
        if !done {
            return;
        }
        pipe.drop_front();
        let whole = std::mem::take(&mut pipe.topology);
        let reply = if whole.is_empty() { piece } else { &whole };
        match owner {
            Owner::Functions(target) => self.functions_told(io, cluster, target, Some(reply)),
            _ => self.topology(io, cluster, node, reply),
        }
    }

    /// Whether an error is solved here: the command was sent elsewhere, or will be sent again.
    fn solve(&mut self, io: &mut dyn Io, key: Key, error: &[u8], pending: Pending) -> bool {
        let Some(pipe) = self.pipes.get_mut(key) else { return false };
        // A transaction whose queueing failed was discarded as a whole: the error that says why is the one to look at.
        let queue_error = std::mem::take(&mut pipe.queue_error);
        let error = if queue_error.is_empty() { error } else { &queue_error };
        let asks = asks(error);
        match asks {
            Asks::Nothing => return pending.leased && self.has_migrations && self.take_to_fence(io, key, pending, error),
            Asks::Script => return self.load_script(io, key, pending),
            Asks::Function => return self.fetch_functions(io, key, pending),
            _ => {}
        }
        if pending.leased {
            let error = error.to_vec();
            return self.solve_leased(io, key, &error, asks);
        }
        let cluster = pipe.cluster;
        let (node, readonly) = (pipe.node, pipe.readonly);
        let Some((mut pending, mut bytes)) = pipe.take_front() else { return false };
        self.near_over(io, cluster, &mut pending, &mut bytes);
        if pending.kept == 0 {
            self.too_long_to_repeat(io, pending, error);
            return true;
        }
        if let (true, To::Read(slot)) = (readonly, pending.to) {
            // Whatever a replica cannot answer, its master can.
            self.unfit(cluster, node);
            if matches!(asks, Asks::Again | Asks::Refresh) {
                self.outlier(io, cluster, node, Why::Errors);
            }
            if asks != Asks::Again {
                self.refresh(io, cluster);
            }
            return self.send_after(io, cluster, &bytes, Pending { to: To::Slot(slot), ..pending });
        }
        let is_its_turn = self.redirecting(pending);
        let again = pending.redirects >= limits::MAX_REDIRECTS;
        pending.redirects = if again { 0 } else { pending.redirects + 1 };
        match asks {
            Asks::Moved | Asks::Ask if !is_its_turn => self.park(io, cluster, &bytes, pending, 0, Reason::Said(error.to_vec())),
            Asks::Moved if !again => self.moved(io, cluster, node, error, &bytes, pending),
            Asks::Ask if !again => self.ask(io, cluster, node, error, &bytes, pending),
            _ => {
                if asks != Asks::Again {
                    self.refresh(io, cluster);
                }
                if error.starts_with(b"-READONLY") {
                    self.redial(io, cluster);
                }
                let due = io.now() + TRY_AGAIN_AFTER;
                self.park(io, cluster, &bytes, pending, due, Reason::Said(error.to_vec()));
            }
        }
        true
    }

    /// EVALSHA of a script that a client has run or loaded here before: the node is given it, and runs it.
    fn load_script(&mut self, io: &mut dyn Io, key: Key, pending: Pending) -> bool {
        let Some(pipe) = self.pipes.get_mut(key) else { return false };
        let bytes = pipe.kept.all().get(..pending.kept as usize).unwrap_or_default();
        let may = !pending.leased && pending.batch == 0 && pending.redirects < limits::MAX_REDIRECTS;
        let Some(load) = self.scripts.loading(bytes).filter(|_| may) else { return false };
        let (cluster, node) = (pipe.cluster, pipe.node);
        let Some((mut pending, bytes)) = pipe.take_front() else { return false };
        pending.redirects += 1;
        if self.redirecting(pending) {
            self.send_behind(io, cluster, node, &load, &bytes, pending);
        } else {
            self.park(io, cluster, &bytes, pending, 0, Reason::Said(b"-NOSCRIPT No matching script.\r\n".to_vec()));
        }
        true
    }

    /// Sends a command again, if it is its turn.
    fn send_after(&mut self, io: &mut dyn Io, cluster: usize, bytes: &[u8], pending: Pending) -> bool {
        if self.redirecting(pending) {
            self.send(io, cluster, bytes, pending);
        } else {
            self.park(io, cluster, bytes, pending, 0, Reason::NotServed);
        }
        true
    }

    /// Until it is answered, the client's later commands wait: they must not overtake it. Whether it may itself be sent again at once.
    fn redirecting(&mut self, pending: Pending) -> bool {
        let Owner::Client(key, seq) = pending.owner else { return true };
        let Some(client) = self.clients.get_mut(key) else { return true };
        client.ring.retry(seq);
        client.ring.may_retry(seq)
    }

    fn moved(&mut self, io: &mut dyn Io, cluster: usize, from: u16, error: &[u8], bytes: &[u8], pending: Pending) {
        if let Some(target) = self.redirected_to(cluster, from, error) {
            if let (Some((slot, ..)), Some(Some(known))) = (topology::redirect(error), self.clusters.get_mut(cluster)) {
                let old = known.owner(slot);
                known.moved(slot, target);
                if old != target {
                    self.unsettle(cluster);
                }
            }
            self.send_to(io, cluster, target, bytes, pending);
        } else {
            let due = io.now() + TRY_AGAIN_AFTER;
            self.park(io, cluster, bytes, pending, due, Reason::Said(error.to_vec()));
        }
        self.refresh(io, cluster);
    }

    fn ask(&mut self, io: &mut dyn Io, cluster: usize, from: u16, error: &[u8], bytes: &[u8], pending: Pending) {
        let Some(target) = self.redirected_to(cluster, from, error) else {
            let due = io.now() + TRY_AGAIN_AFTER;
            return self.park(io, cluster, bytes, pending, due, Reason::Said(error.to_vec()));
        };
        // Only where the pipe exists or can be made, so that ASKING and the command stay together.
        self.send_behind(io, cluster, target, ASKING, bytes, pending);
    }

    /// The node that a MOVED or ASK names; without a host it means the host of the node that says it.
    pub(crate) fn redirected_to(&mut self, cluster: usize, from: u16, error: &[u8]) -> Option<u16> {
        let (_, host, port) = topology::redirect(error)?;
        let known = self.clusters.get_mut(cluster)?.as_mut()?;
        known.meters.redirected.add(1);
        let own = known.nodes.get(usize::from(from))?.host.clone();
        let node = known.node(if host.is_empty() { &own } else { &host }, port);
        (node != crate::cluster::NOBODY).then_some(node)
    }

    /// The only server there is became a replica: its name may lead to another one by now.
    fn redial(&mut self, io: &mut dyn Io, cluster: usize) {
        let now = io.now();
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return };
        if known.discovery == Discovery::Fixed && now >= known.refresh.not_before {
            known.refresh.not_before = now + REDIAL_EVERY;
            let name = Arc::clone(&known.conf.name);
            self.retire_pipes(io, &name);
        }
    }

    pub(crate) fn too_long_to_repeat(&mut self, io: &mut dyn Io, pending: Pending, error: &[u8]) {
        let Owner::Client(client, seq) = pending.owner else { return };
        let text = format!(
            "-TRYAGAIN midstream: the node did not take the command ({}), and commands over {} bytes are not kept; send it again\r\n",
            printable(merge::error_code(error).as_str()),
            limits::MAX_KEPT
        );
        self.deliver(io, client, seq, text.as_bytes(), true);
    }
}

impl Pipe {
    /// The beginning of what a sentinel answers; the rest comes as the answer to the next question.
    fn keep_part(&mut self, piece: &[u8], done: bool) {
        if self.topology.len() < limits::MAX_TOPOLOGY {
            self.topology.extend_from_slice(piece);
        }
        if done {
            self.drop_front();
        }
    }

    /// A reply before the one that counts: +OK of MULTI, +QUEUED. The first error among them says why EXEC will fail.
    fn skip_reply(&mut self, piece: &[u8], done: bool) {
        if self.queue_error.is_empty() && piece.first() == Some(&b'-') {
            self.queue_error.extend_from_slice(piece);
        }
        if done && let Some(front) = self.fifo.front_mut() {
            front.skip -= 1;
        }
    }
}
