//! The protocol object of one worker: all clients, pipes and back ends of the family.

use crate::client::{Client, Wait};
use crate::cluster::Cluster;
use crate::conf::Conf;
use crate::errand::TIMER_ERRAND;
use crate::frame;
use crate::functions;
use crate::heavy::{HEAVY, Heavy};
use crate::inquiry::{self, Inquiry};
use crate::listener::Listener;
use crate::meters::ListenerMeters;
use crate::migration::{Migrations, TIMER_FENCE};
use crate::mirror::Twins;
use crate::monitor::Watchers;
use crate::near::{Flights, Mark};
use crate::packing::Packed;
use crate::pause::Pause;
use crate::pipe::Pipe;
use crate::rehome::TIMER_REHOME;
use crate::rename::Renamed;
use crate::ring::Tap;
use crate::scripts::{self, Scripts};
use crate::session::Sessions;
use crate::table::Table;
use std::mem;
use wire::{Close, Event, Fault, Io, Key, Nanos, Opened, Outcome, Protocol, Request, SECONDS, Side, Slab, Why, Worker};

/// What became of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// It is on its way, answered or refused.
    Taken,
    /// It is to be presented again.
    Held,
}

/// The family on one worker.
pub struct Redis {
    pub(crate) worker: Worker,
    pub(crate) table: &'static Table,
    pub(crate) listeners: Vec<Option<Listener>>,
    pub(crate) clusters: Vec<Option<Cluster>>,
    pub(crate) clients: Slab<Client>,
    pub(crate) pipes: Slab<Pipe>,
    pub(crate) next_id: u64,
    pub(crate) draining: bool,
    /// Whether any back end's replicas are read.
    pub(crate) replicas_read: bool,
    /// The scan of the command being read; kept for its buffers.
    pub(crate) scan: frame::Scan,
    /// The words of the present command that are keys; kept for its buffer.
    pub(crate) keys: Vec<u32>,
    /// The part of a split command being written; kept for its buffer.
    pub(crate) part: Vec<u8>,
    /// Whether any listener has routes.
    pub(crate) has_routes: bool,
    /// Whether any listener has a mirror.
    pub(crate) has_mirrors: bool,
    /// Whether keys of any back end are on their way to another.
    pub(crate) has_migrations: bool,
    /// What is to be copied there.
    pub(crate) migrations: Migrations,
    /// Commands whose two replies are awaited.
    pub(crate) twins: Twins,
    /// The size of a command or reply from which on some listener lists its key; none does where it is the largest number.
    pub(crate) big_from: usize,
    /// The size of a reply from which it is weighed at all.
    pub(crate) weigh_from: usize,
    /// The present command with the back end's names of its keys; kept for its buffers.
    pub(crate) renamed: Renamed,
    /// The present command with its values compressed; kept for its buffers.
    pub(crate) packed: Packed,
    /// What the access log wants to hear of the present command.
    pub(crate) tap: Option<Box<Tap>>,
    /// Keys whose replies were large.
    pub(crate) heavy: Heavy,
    /// Errands under way that move data through this process.
    pub(crate) heavy_errands: usize,
    /// Whether any client ever skipped a reply.
    pub(crate) skips: bool,
    /// Clients that track.
    pub(crate) trackers: usize,
    /// Whether any back end has a near cache.
    pub(crate) has_near: bool,
    /// What the present command means to it.
    pub(crate) mark: Mark,
    /// Reads on their way whose replies are to be kept.
    pub(crate) flights: Flights,
    /// The kept reply being delivered; kept for its buffer.
    pub(crate) near_reply: Vec<u8>,
    /// Clients that see what others ask.
    pub(crate) watchers: Watchers,
    /// What to load where it is missing.
    pub(crate) scripts: Scripts,
    /// What other workers were asked.
    pub(crate) inquiries: Vec<Inquiry>,
    /// Databases and users of nodes that clients are in.
    pub(crate) sessions: Sessions,
    /// Functions are not fetched before.
    pub(crate) functions_held: Nanos,
    /// CLIENT PAUSE of listeners.
    pub(crate) pauses: Vec<Pause>,
}

impl Redis {
    /// Of a worker, before any configuration.
    pub fn new(worker: Worker) -> Redis {
        // Ids are unique over the process: each worker counts in its own residue class.
        let next_id = worker.index as u64 + 1;
        Redis {
            worker,
            table: Table::get(),
            listeners: Vec::new(),
            clusters: Vec::new(),
            clients: Slab::default(),
            pipes: Slab::default(),
            next_id,
            draining: false,
            replicas_read: false,
            scan: frame::Scan::default(),
            keys: Vec::new(),
            part: Vec::new(),
            has_routes: false,
            has_mirrors: false,
            has_migrations: false,
            migrations: Migrations::default(),
            twins: Twins::default(),
            big_from: usize::MAX,
            weigh_from: HEAVY,
            renamed: Renamed::default(),
            packed: Packed::default(),
            tap: None,
            heavy: Heavy::default(),
            heavy_errands: 0,
            skips: false,
            trackers: 0,
            has_near: false,
            mark: Mark::None,
            flights: Flights::default(),
            near_reply: Vec::new(),
            watchers: Watchers::default(),
            scripts: Scripts::default(),
            inquiries: Vec::new(),
            sessions: Sessions::default(),
            functions_held: 0,
            pauses: Vec::new(),
        }
    }

    /// Does something with the counters of a client's listener.
    pub(crate) fn meters_of(&self, key: Key, count: impl FnOnce(&ListenerMeters)) {
        let listener = self.clients.get(key).and_then(|client| self.listeners.get(client.listener));
        if let Some(Some(listener)) = listener {
            count(&listener.meters);
        }
    }

    /// A piece of the reply to a client's command.
    #[inline]
    pub(crate) fn deliver(&mut self, io: &mut dyn Io, key: Key, seq: u64, bytes: &[u8], last: bool) {
        if self.has_mirrors {
            self.mirror_own(io, key, seq, bytes, last);
        }
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(Some(listener)) = self.listeners.get(client.listener) else { return };
        let now = io.now();
        client.learn(bytes.len(), last);
        client.ring.fill(seq, bytes, last, io.out(key), now, &listener.meters.seconds);
        let needs_attention = last && client.needs_attention();
        if last && self.has_migrations {
            self.write_answered(io, key);
        }
        if needs_attention {
            self.after_answer(io, key);
        }
    }

    /// Something was answered: the access log hears of it, a stalled client goes on, one that ends is closed.
    pub(crate) fn after_answer(&mut self, io: &mut dyn Io, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if !client.ring.tapped.is_empty() {
            let taps = mem::take(&mut client.ring.tapped);
            self.tell(io.now(), key, taps);
        }
        let Some(client) = self.clients.get(key) else { return };
        if !client.told.is_empty() {
            self.send_told(io, key);
        }
        let Some(client) = self.clients.get(key) else { return };
        if client.has_messages() {
            self.send_messages(io, key);
        }
        self.advance(io, key);
        self.errand_heard(io, key);
        self.resume(io, key);
        self.close_if_done(io, key);
    }

    /// Reads a client on that has no reason to wait any more.
    pub(crate) fn resume(&mut self, io: &mut dyn Io, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.paused && client.may_resume() {
            client.paused = false;
            io.pause(key, false);
        }
    }

    pub(crate) fn close_if_done(&mut self, io: &mut dyn Io, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        let ended = client.closing || (client.half_closed && !client.paused && !client.unread);
        if ended && client.ring.is_empty() {
            self.close_client(io, key, Close::Flush);
        }
    }

    fn tell(&mut self, now: Nanos, key: Key, taps: Vec<Tap>) {
        let Some(client) = self.clients.get(key) else { return };
        let Some(Some(listener)) = self.listeners.get(client.listener) else { return };
        let Some(chain) = &listener.conf.chain else { return };
        for tap in taps {
            let keys: Vec<&[u8]> = tap.keys.iter().map(Vec::as_slice).collect();
            let request = Request {
                identity: &client.identity,
                class: tap.class,
                verb: tap.verb,
                groups: tap.groups,
                resources: &keys,
                bytes: tap.bytes,
                fingerprint: 0,
            };
            chain.done(
                &request,
                &Outcome { took: now.saturating_sub(tap.started), error: &tap.error, backend: &listener.conf.cluster, ..Outcome::default() },
            );
        }
    }

    /// Closes a client and forgets it; replies that still come for it fall on the floor.
    pub(crate) fn close_client(&mut self, io: &mut dyn Io, key: Key, how: Close) {
        self.forget_client(io, key);
        io.close(key, how);
    }

    pub(crate) fn forget_client(&mut self, io: &mut dyn Io, key: Key) {
        self.give_back(io, key);
        self.end_subscriptions(io, key);
        self.unwatch_listener(io, key);
        self.drop_retries(key);
        if let Some(mut client) = self.clients.remove(key) {
            self.drop_errand(&mut client);
            if let Some(tracking) = client.tracking.take() {
                self.untrack(io, *tracking);
            }
            self.forget_twins(&client.mirrored);
            self.forget_notes(io, key);
        }
    }

    fn drain(&mut self, io: &mut dyn Io) {
        self.draining = true;
        for key in self.clients.keys() {
            let Some(client) = self.clients.get_mut(key) else { continue };
            client.closing = true;
            self.close_if_done(io, key);
        }
    }
}

impl Protocol for Redis {
    fn configure(&mut self, io: &mut dyn Io, conf: wire::Conf) {
        if let Ok(conf) = conf.downcast::<Conf>() {
            self.apply(io, &conf);
        }
    }

    fn open(&mut self, io: &mut dyn Io, key: Key, opened: Opened<'_>) {
        match opened {
            Opened::Client { listener: name, .. } => {
                let found = self.listeners.iter().position(|listener| listener.as_ref().is_some_and(|listener| &*listener.conf.name == name));
                let Some((index, Some(listener))) = found.map(|index| (index, self.listeners[index].as_ref())) else {
                    io.close(key, Close::Abort);
                    return;
                };
                let client = Client::new(index, listener.cluster, self.next_id, listener.conf.users.is_empty(), io.now());
                self.next_id += self.worker.count.max(1) as u64;
                self.clients.insert(key, client);
            }
            Opened::Server { .. } => self.pipe_open(io, key),
        }
    }

    fn data(&mut self, io: &mut dyn Io, key: Key, side: Side, bytes: &[u8]) -> Result<usize, Fault> {
        match side {
            Side::Client => self.client_data(io, key, bytes),
            Side::Server => self.server_data(io, key, bytes),
        }
    }

    fn event(&mut self, io: &mut dyn Io, key: Key, side: Side, event: Event<'_>) {
        match (event, side) {
            (Event::Timer(timer), _) if key == Key::NONE => self.timer(io, timer),
            (Event::Timer(TIMER_REHOME), Side::Client) => self.rehome(io, key),
            (Event::Timer(TIMER_FENCE), Side::Client) => self.fence_over(io, key),
            (Event::Timer(TIMER_ERRAND), Side::Client) => self.errand_timer(io, key),
            (Event::Timer(_), Side::Client) => self.delay_over(io, key),
            (Event::HalfClosed, Side::Client) => {
                if let Some(client) = self.clients.get_mut(key) {
                    client.half_closed = true;
                    if client.is_mid_large() {
                        return self.close_client(io, key, Close::Abort);
                    }
                    self.close_if_done(io, key);
                }
            }
            (Event::Closed(_), Side::Client) => self.forget_client(io, key),
            (Event::Closed(why), Side::Server) => {
                let why = match why {
                    Why::Eof => "it closed the connection".to_owned(),
                    Why::Refused(why) | Why::Broken(why) => why,
                    Why::Fault => "it does not speak RESP".to_owned(),
                };
                self.note_loss(io, key);
                self.lost(io, key, &why);
            }
            (Event::Mail([functions::DELETED]), _) => self.hold_functions(io.now()),
            (Event::Mail([scripts::FLUSHED]), _) => self.scripts.forget(),
            (Event::Mail(body @ [inquiry::QUESTION | inquiry::ANSWER, ..]), _) => self.mail_of_inquiries(io, body),
            (Event::Mail(body), _) => self.mail_of_watchers(io, body),
            (Event::Drain { .. }, _) => self.drain(io),
            _ => {}
        }
    }

    fn has_more(&self, client: Key) -> bool {
        self.clients.get(client).is_some_and(|client| !client.ring.is_empty())
    }
}

impl Redis {
    fn delay_over(&mut self, io: &mut dyn Io, key: Key) {
        if let Some(client) = self.clients.get_mut(key)
            && matches!(client.wait, Wait::Delay | Wait::Paused)
        {
            client.wait = Wait::Delayed;
            self.resume(io, key);
        }
    }

    /// How long a client may wait for a command from now on.
    pub(crate) fn deadline(&self, cluster: usize, now: Nanos) -> Nanos {
        now + self.clusters.get(cluster).and_then(Option::as_ref).map_or(SECONDS, |cluster| cluster.conf.retry_deadline)
    }
}
