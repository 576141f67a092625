//! CLIENT TRACKING for our clients: the nodes tell a client which of the keys that it has read have changed.
//!
//! A client that tracks (RESP3) has a connection of its own to each node, from its first command there on: the node then knows what it
//! read, in its own rules (OPTIN, OPTOUT, NOLOOP, BCAST), and tells it on the connection that carries the replies, so in their order. With
//! BCAST there is one to every master at once. A connection that is lost takes with it what the node knew; the client is told that
//! everything may have changed, which is what a node says after FLUSHALL.
//!
//! With REDIRECT the messages are for another client, in RESP2 or RESP3, on connections apart from the replies anyway. Those come from
//! *ears*: a RESP3 connection to every master on which it tells of all keys, or of those with the prefixes. The other client may so hear of
//! keys that nobody asked for, and never misses one.
//! Source: <https://redis.io/docs/latest/develop/reference/client-side-caching/>.

mod commands;

pub(crate) use commands::{Options, redirect_of, tracking_info};

use crate::action::Merge;
use crate::frame::Frame;
use crate::limits;
use crate::machine::Redis;
use crate::pipe::{Caching, Owner, Pending, To};
use crate::ring::Kind;
use wire::{Close, Io, Key};

/// What a RESP3 client is told when everything may have changed.
const ALL: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";
/// The beginning of a message about keys.
const INVALIDATE: &[u8] = b">2\r\n$10\r\ninvalidate\r\n";
/// The channel of such messages in RESP2.
pub(crate) const CHANNEL: &[u8] = b"__redis__:invalidate";

/// A client that tracks.
#[derive(Debug)]
pub struct Tracking {
    /// See [`Options`].
    pub options: Options,
    /// Who is told.
    listener: Key,
    /// What CLIENT CACHING said of the next command.
    pub caching: Caching,
    /// Its connections: back end, node, key.
    pipes: Vec<(usize, u16, Key)>,
}

impl Tracking {
    /// What is said of the parts of a command in several steps: to be told too much is harmless.
    pub fn of_errand(&self) -> Caching {
        if self.options.opt_in { Caching::Yes } else { Caching::AsItIs }
    }

    /// On which it is told.
    pub fn connections(&self) -> impl Iterator<Item = Key> {
        self.pipes.iter().map(|(.., pipe)| *pipe)
    }
}

impl Redis {
    /// CLIENT TRACKING ON, when the client is owed nothing.
    pub(crate) fn track_on(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>) {
        let Some(client) = self.clients.get(key) else { return };
        if self.listeners.get(client.listener).and_then(Option::as_ref).is_some_and(|listener| listener.conf.routes.is_some()) {
            return self.fail(
                io,
                key,
                "ERR midstream: CLIENT TRACKING is not supported on a Listener with RedisRoutes: keys have other names at the nodes",
            );
        }
        let (cluster, resp) = (client.cluster, client.resp);
        let known = client.tracking.as_ref();
        let options = match Options::read(frame).and_then(|next| if let Some(known) = known { known.options.then(next) } else { Ok(next) }) {
            Ok(options) => options,
            Err(error) => return self.fail(io, key, &error),
        };
        let Some(listener) = options.redirect.map_or(Some(key), |id| self.clients.iter().find(|(_, other)| other.id == id).map(|(key, _)| key))
        else {
            let error = "ERR The client ID you want redirect to does not exist";
            let elsewhere = " (with several workers, only clients of the same worker can be redirected to)";
            return self.fail(io, key, &format!("{error}{}", if self.worker.count > 1 { elsewhere } else { "" }));
        };
        if let Some(before) = self.clients.get_mut(key).and_then(|client| client.tracking.take()) {
            // What happens while its connections are replaced nobody hears.
            let heard = before.listener;
            self.untrack(io, *before);
            self.tell_changed(io, heard, ALL);
        }
        let everywhere = options.broadcast || options.redirect.is_some();
        if let Some(client) = self.clients.get_mut(key) {
            client.tracking = Some(Box::new(Tracking { options, listener, caching: Caching::AsItIs, pipes: Vec::new() }));
            self.trackers += 1;
        }
        // In RESP2, without another who is told, nobody is: as a server has it.
        let heard = resp == 3 || self.has_ears(key);
        let masters = self.clusters.get(cluster).and_then(Option::as_ref).map(|known| known.masters.clone()).unwrap_or_default();
        if !everywhere || !heard || masters.is_empty() {
            return self.answer(io, key, b"+OK\r\n");
        }
        // It is on when every master has said so: the reply to what is asked behind the command that turns it on.
        let parts = masters.len() as u32;
        let Some((_, head)) = self.owe(io, key, Kind::Head { merge: Merge::Same, parts, left: parts }, To::Any, true) else { return };
        for (number, node) in masters.into_iter().enumerate() {
            let Some(client) = self.clients.get_mut(key) else { return };
            let seq = client.ring.push(Kind::Part(number as u32 + 1), To::Node(node).slot(), io.now(), None);
            let pending = Pending { owner: Owner::Client(key, seq), to: To::Node(node), ..head };
            match self.own_pipe(io, key, cluster, node) {
                Some(pipe) if self.pipes.get(pipe).is_some() => self.ask_on(io, pipe, b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n", pending),
                _ => self.deliver(io, key, seq, b"-CLUSTERDOWN midstream: a node could not be reached, so it does not tell of changes\r\n", true),
            }
        }
    }

    fn ask_on(&mut self, io: &mut dyn Io, pipe: Key, bytes: &[u8], pending: Pending) {
        if let Some(connection) = self.pipes.get_mut(pipe) {
            connection.ask(io, pipe, bytes, pending);
        }
    }

    /// Whether a client's messages go to another, or to itself by way of ears.
    fn has_ears(&self, key: Key) -> bool {
        self.clients.get(key).and_then(|client| client.tracking.as_ref()).is_some_and(|tracking| tracking.options.redirect.is_some())
    }

    /// The end of it: its connections end with their last reply.
    pub(crate) fn track_off(&mut self, io: &mut dyn Io, key: Key) {
        let Some(tracking) = self.clients.get_mut(key).and_then(|client| client.tracking.take()) else { return };
        self.untrack(io, *tracking);
    }

    pub(crate) fn untrack(&mut self, io: &mut dyn Io, tracking: Tracking) {
        self.trackers -= 1;
        for (cluster, node, key) in tracking.pipes {
            let Some(pipe) = self.pipes.get_mut(key) else { continue };
            pipe.lease = None;
            pipe.tells = None;
            pipe.retired = true;
            let is_idle = pipe.fifo.is_empty();
            if let Some(node) = self.clusters.get_mut(cluster).and_then(Option::as_mut).and_then(|known| known.nodes.get_mut(usize::from(node))) {
                node.leases -= 1;
            }
            if is_idle {
                self.close_pipe(io, key);
            }
        }
    }

    /// The connection to a node on which a tracking client's commands go, or its ear; made when it is first wanted.
    pub(crate) fn own_pipe(&mut self, io: &mut dyn Io, key: Key, cluster: usize, node: u16) -> Option<Key> {
        let client = self.clients.get(key)?;
        let (tracking, resp) = (client.tracking.as_ref()?, client.resp);
        if let Some((.., pipe)) = tracking.pipes.iter().find(|(of, at, _)| (*of, *at) == (cluster, node)) {
            return Some(*pipe);
        }
        let is_ear = tracking.options.redirect.is_some();
        let (command, listener) = (tracking.options.command(is_ear), tracking.listener);
        if self.clusters.get(cluster)?.as_ref()?.nodes.get(usize::from(node))?.leases >= limits::MAX_LEASES {
            return None;
        }
        let pipe = self.dial(io, cluster, node, if is_ear { 3 } else { resp }, Some(key))?;
        self.clusters.get_mut(cluster)?.as_mut()?.nodes.get_mut(usize::from(node))?.leases += 1;
        let connection = self.pipes.get_mut(pipe)?;
        connection.tells = Some(listener);
        connection.ask(io, pipe, &command, Pending::internal(Owner::Tracks(key), node, 3));
        self.clients.get_mut(key)?.tracking.as_mut()?.pipes.push((cluster, node, pipe));
        Some(pipe)
    }

    /// Where a command goes: a client that tracks for itself has connections of its own. `None`: the shared ones.
    pub(crate) fn own_pipe_of(&mut self, io: &mut dyn Io, owner: Owner, cluster: usize, node: u16) -> Option<Option<Key>> {
        let Owner::Client(key, _) = owner else { return None };
        let client = self.clients.get(key)?;
        let has_own = client.resp == 3 && client.tracking.as_ref()?.options.redirect.is_none();
        has_own.then(|| self.own_pipe(io, key, cluster, node))
    }

    /// Connections to masters that are new, for clients that hear of all keys; what changed there meanwhile they do not know.
    pub(crate) fn complete_tracking(&mut self, io: &mut dyn Io, cluster: usize) {
        if self.trackers == 0 {
            return;
        }
        let Some(Some(known)) = self.clusters.get(cluster) else { return };
        let masters = known.masters.clone();
        for key in self.clients.keys() {
            let Some(client) = self.clients.get(key).filter(|client| client.cluster == cluster) else { continue };
            let Some(tracking) = &client.tracking else { continue };
            let (options, listener) = (&tracking.options, tracking.listener);
            if options.redirect.is_none() && (!options.broadcast || client.resp == 2) {
                continue;
            }
            let missing: Vec<u16> = masters.iter().copied().filter(|node| !tracking.pipes.iter().any(|(_, known, _)| known == node)).collect();
            for node in &missing {
                self.own_pipe(io, key, cluster, *node);
            }
            if !missing.is_empty() {
                self.tell_changed(io, listener, ALL);
            }
        }
    }

    /// A node did not turn tracking on, or did; what it says of it is not the client's.
    pub(crate) fn tracks(&mut self, io: &mut dyn Io, client: Key, reply: &[u8]) {
        if reply.first() == Some(&b'-') {
            // It would read on without being told of changes.
            self.close_client(io, client, Close::Flush);
        }
    }

    /// A connection is lost on which a node told a client of changes.
    pub(crate) fn untold(&mut self, io: &mut dyn Io, owner: Key, pipe: Key, listener: Key) {
        if let Some(tracking) = self.clients.get_mut(owner).and_then(|client| client.tracking.as_mut()) {
            tracking.pipes.retain(|(.., known)| *known != pipe);
        }
        self.tell_changed(io, listener, ALL);
    }

    /// A message on a tracking client's connection, or a piece of one.
    pub(crate) fn told(&mut self, io: &mut dyn Io, pipe: Key, piece: &[u8], done: bool) {
        let Some(connection) = self.pipes.get_mut(pipe) else { return };
        let Some(listener) = connection.tells else { return };
        if !done || !connection.push.is_empty() {
            connection.push.extend_from_slice(piece);
        }
        if connection.push.len() > limits::MAX_PUSH {
            connection.push = Vec::new();
            self.tell_changed(io, listener, ALL);
            return;
        }
        if !done {
            return;
        }
        let whole = std::mem::take(&mut connection.push);
        let message = if whole.is_empty() { piece } else { &whole };
        if message.starts_with(INVALIDATE) {
            self.tell_changed(io, listener, message);
        }
    }

    /// Tells a client: in RESP3 as a push, behind the replies that came before it; in RESP2 as a message of the channel, if it subscribed.
    fn tell_changed(&mut self, io: &mut dyn Io, listener: Key, message: &[u8]) {
        let Some(client) = self.clients.get_mut(listener) else { return };
        if client.resp == 2 {
            if client.subscriptions.as_ref().is_some_and(|subscriptions| subscriptions.has_channel(CHANNEL)) {
                let mut text = b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n".to_vec();
                let keys = message.strip_prefix(INVALIDATE).unwrap_or_default();
                text.extend_from_slice(if keys == b"_\r\n" { b"*-1\r\n" } else { keys });
                io.out(listener).extend_from_slice(&text);
            }
        } else if client.ring.held > 0 || client.ring.is_mid_reply() {
            client.told.extend_from_slice(message);
        } else {
            io.out(listener).extend_from_slice(message);
        }
        if client.told.len() > limits::MAX_MESSAGES || io.backlog(listener) > limits::MAX_MESSAGES {
            self.close_client(io, listener, Close::Abort);
        }
    }

    /// Replies were sent: what waited for them follows.
    pub(crate) fn send_told(&mut self, io: &mut dyn Io, key: Key) {
        if let Some(client) = self.clients.get_mut(key)
            && client.ring.held == 0
            && !client.ring.is_mid_reply()
        {
            io.out(key).extend_from_slice(&std::mem::take(&mut client.told));
        }
    }
}
