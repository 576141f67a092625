//! One command of a client: checked as a server checks it, shown to the filters, and sent where it belongs.

use crate::access;
use crate::action::{Action, NearRead, Writes};
use crate::client::Wait;
use crate::frame::Frame;
use crate::keys;
use crate::lease::Purpose;
use crate::machine::{Redis, Step};
use crate::monitor;
use crate::near::Mark;
use crate::order::NO_SLOT;
use crate::pipe::{Caching, Owner, Pending, To};
use crate::pours::Turn;
use crate::pubsub::SUBSCRIPTIONS;
use crate::replicas::Replicas;
use crate::ring::{Kind, Tap};
use crate::slot::slot_of;
use crate::table::Command;
use wire::{DenialKind, Io, Key, Nanos, Request, Verdict};

/// As the server says it.
pub(crate) const CROSSSLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";

impl Redis {
    /// Takes one command, or leaves it for later.
    pub(crate) fn command(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>) -> Step {
        let Some(command) = self.find(io, key, frame) else { return Step::Taken };
        let Some(client) = self.clients.get_mut(key) else { return Step::Taken };
        if !client.known && !command.has("no_auth") {
            self.fail(io, key, "NOAUTH Authentication required.");
            return Step::Taken;
        }
        let was_held = client.wait == Wait::Ring;
        if client.subscriptions.is_some()
            && let Some(step) = self.amid_subscriptions(io, key, frame, command)
        {
            return step;
        }
        self.keys.clear();
        if let Err(error) = keys::of(command, frame, &mut self.keys) {
            self.fail_queueing(io, key, error);
            return Step::Taken;
        }
        if was_held {
            self.present_again(key);
        } else if let Some(step) = self.admit(io, key, frame, command, frame.bytes.len()) {
            return step;
        }
        if self.has_near && command.writes != Writes::Nothing && self.waits_for_another(key) {
            return self.wait_for_ring(io, key);
        }
        if command.is_script {
            self.note_script(io, frame, command);
        }
        let step = if !self.has_near || command.writes == Writes::Nothing {
            self.go(io, key, frame, command)
        } else {
            self.act_on_near(io, key, frame, command)
        };
        if self.trackers > 0 && step == Step::Taken {
            self.caching_over(key, command);
        }
        if !self.watchers.is_empty() && step == Step::Taken {
            self.show(io, key, frame, command);
        }
        step
    }

    /// What comes before anything is done with a command of that size: rules, pauses, counts. `None`: it goes on.
    #[inline]
    pub(crate) fn admit(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &'static Command, size: usize) -> Option<Step> {
        match self.filter(io, key, frame, command, size as u64) {
            None => {}
            Some(Delay::Denied) => return Some(Step::Taken),
            Some(Delay::For(delay)) => return Some(self.hold(io, key, delay)),
        }
        if !self.pauses.is_empty()
            && let Some(step) = self.wait_for_unpause(io, key, command)
        {
            return Some(step);
        }
        self.count(key, command);
        if self.big_from != usize::MAX && !self.keys.is_empty() {
            self.note_keys(key, frame, size);
        }
        None
    }

    /// A write, where replies are kept near: what it asks is marked.
    fn act_on_near(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &'static Command) -> Step {
        self.mark = Mark::Writes;
        let step = self.go(io, key, frame, command);
        self.mark = Mark::None;
        step
    }

    /// On its way, unless what it writes is on the way to another back end.
    #[inline]
    fn go(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &'static Command) -> Step {
        if self.has_migrations && (command.writes != Writes::Nothing || command.action == Action::MayBlock) {
            return self.go_migrating(io, key, frame, command);
        }
        self.go_on(io, key, frame, command)
    }

    /// To its route's back end, where listeners have routes.
    #[inline]
    pub(crate) fn go_on(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &'static Command) -> Step {
        if self.has_routes { self.route(io, key, frame, command) } else { self.act(io, key, frame, command) }
    }

    /// The command was looked at before, and has waited for the replies before it: filters have had their say, and it is counted.
    fn present_again(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.wait = Wait::No;
        self.tap = client.held_tap.take();
    }

    fn count(&mut self, key: Key, command: &'static Command) {
        if let Some(client) = self.clients.get_mut(key) {
            client.commands += 1;
            client.last = command.name;
        }
        self.meters_of(key, |meters| meters.requests[command.class as usize].add(1));
    }

    /// What is done with a command, whose back end is the client's present one.
    pub(crate) fn act(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &'static Command) -> Step {
        if self.replicas_read {
            self.note_write(key, frame, command);
        }
        if self.in_transaction(key) && !matches!(command.name, "multi" | "exec" | "discard" | "watch" | "quit" | "reset") {
            self.queue(io, key, frame, command);
            return Step::Taken;
        }
        match command.action {
            Action::Keyed => return self.keyed(io, key, frame, command),
            Action::Split(merge, step) => self.split(io, key, frame, command, merge, step),
            Action::Everywhere(merge) => self.everywhere(io, key, frame, command, merge),
            Action::Anywhere => self.ask_for(io, key, frame.bytes, To::Any, is_repeatable(command, frame)),
            Action::Publish => self.ask_for(io, key, frame.bytes, To::Slot(SUBSCRIPTIONS), false),
            Action::Blocking => return self.blocking(io, key, frame, command),
            Action::MayBlock if (1..frame.len()).take_while(|index| !frame.is(*index, "streams")).any(|index| frame.is(index, "block")) => {
                return self.blocking(io, key, frame, command);
            }
            Action::MayBlock => return self.keyed(io, key, frame, command),
            Action::Subscribe => return self.subscribe(io, key, frame, command),
            Action::Scan => return self.scan_cluster(io, key, frame),
            Action::Sort => return self.sort(io, key, frame, command),
            Action::WaitForReplicas => match Replicas::new(frame) {
                Ok(replicas) => return self.run(io, key, Box::new(replicas)),
                Err(error) => self.fail(io, key, error),
            },
            Action::Monitor | Action::Clients | Action::Local if self.must_vet(key, command) => return self.vet(io, key, frame, command),
            Action::Monitor => return self.run(io, key, Box::new(monitor::Begin)),
            Action::Transaction => return self.transaction(io, key, frame, command),
            Action::Admin(how) => return self.administer(io, key, frame, command, how),
            Action::Newest => return self.newest(io, key, frame),
            Action::Clients => return self.client_query(io, key, frame, command),
            Action::Local if self.must_settle(key, command) => return self.wait_for_ring(io, key),
            Action::Local => match self.change_session(io, key, frame, command) {
                Some(step) => return step,
                None => self.local(io, key, frame, command),
            },
            Action::Refused(why) => self.refuse(io, key, command, why),
        }
        Step::Taken
    }

    /// The command, if it exists and has the right number of words; else its error is on its way.
    fn find(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>) -> Option<&'static Command> {
        let Some(mut command) = self.table.find(frame.word(0)) else {
            self.fail_queueing(io, key, &unknown(frame));
            return None;
        };
        if !command.children.is_empty() && frame.len() > 1 {
            let Some(child) = command.child(frame.word(1)) else {
                let error = format!("ERR unknown subcommand '{}'. Try {} HELP.", shown(frame.word(1)), command.verb);
                self.fail_queueing(io, key, &error);
                return None;
            };
            command = child;
        }
        if !command.takes(frame.len()) {
            self.fail_queueing(io, key, &format!("ERR wrong number of arguments for '{}' command", command.name));
            return None;
        }
        Some(command)
    }

    /// What the listener's filters say; `None`: it goes on.
    fn filter(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &'static Command, bytes: u64) -> Option<Delay> {
        let client = self.clients.get_mut(key)?;
        let chain = self.listeners.get(client.listener)?.as_ref()?.conf.chain.as_ref()?;
        if client.wait == Wait::Delayed {
            client.wait = Wait::No;
            return None;
        }
        let mut few = [&b""[..]; 8];
        let others = access::others(command, frame);
        let many: Vec<&[u8]>;
        let resources = if let Some(few) = few.get_mut(..self.keys.len()).filter(|_| others.is_none()) {
            few.iter_mut().zip(&self.keys).for_each(|(slot, index)| *slot = frame.word(*index as usize));
            &*few
        } else if let Some(others) = &others {
            many = others.iter().map(Vec::as_slice).collect();
            &many
        } else {
            many = self.keys.iter().map(|index| frame.word(*index as usize)).collect();
            &many
        };
        let request =
            Request { identity: &client.identity, class: command.class, verb: &command.verb, groups: &command.acl, resources, bytes, fingerprint: 0 };
        let flow = chain.bind(&request);
        let (now, dice) = (io.now(), io.random());
        let verdict = chain.run(&flow, &request, now, dice);
        if flow.tapped {
            let keys = resources.iter().map(|key| key.to_vec()).collect();
            self.tap = Some(Box::new(Tap {
                verb: &command.verb,
                groups: &command.acl,
                class: command.class,
                keys,
                bytes: request.bytes,
                started: now,
                error: String::new(),
            }));
        }
        match verdict {
            Verdict::Pass => None,
            Verdict::Deny(denial) if denial.kind == DenialKind::Unauthorized && access::is_free(command) => None,
            Verdict::Delay(delay) => {
                self.tap = None;
                Some(Delay::For(delay))
            }
            Verdict::Deny(denial) => {
                self.meters_of(key, |meters| meters.denied.add(1));
                let code = match denial.kind {
                    DenialKind::Unauthorized => "NOPERM",
                    DenialKind::RateLimited | DenialKind::Injected => "ERR",
                };
                self.fail_queueing(io, key, &format!("{code} {}", denial.message));
                Some(Delay::Denied)
            }
        }
    }

    /// Leaves the command for later; only this client waits.
    pub(crate) fn hold(&mut self, io: &mut dyn Io, key: Key, delay: Nanos) -> Step {
        self.tap = None;
        if let Some(client) = self.clients.get_mut(key) {
            client.wait = Wait::Delay;
            client.paused = true;
            io.pause(key, true);
            io.arm(key, 0, io.now() + delay);
        }
        Step::Held
    }

    pub(crate) fn keyed(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &'static Command) -> Step {
        let Ok(to) = self.place(key, frame) else { return self.cross_slot(io, key, frame, command) };
        let to = if self.replicas_read { self.read_place(io.now(), key, command, to) } else { to };
        match self.pour_turn(key, frame, command) {
            Turn::Shared => self.ask_read(io, key, frame, command, to),
            Turn::Alone => self.ask_leased(io, key, frame.bytes, to, Purpose::Pour),
            Turn::Later => return self.wait_for_ring(io, key),
        }
        if self.has_mirrors {
            self.mirror(io, key, frame, command, to);
        }
        Step::Taken
    }

    /// Sends a command whose reply is passed on as it comes, unless it is kept near.
    pub(crate) fn ask_read(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command, to: To) {
        let repeatable = is_repeatable(command, frame);
        if !self.heavy.is_empty() && repeatable && self.ask_heavy(io, key, frame, to) {
            return;
        }
        if !self.has_near || command.near == NearRead::Never || self.keys.len() != 1 {
            return self.ask_for(io, key, frame.bytes, to, repeatable);
        }
        let Some((cluster, pending)) = self.owe(io, key, Kind::Plain, to, repeatable) else { return };
        let name = frame.word(self.keys[0] as usize);
        self.ask_near(io, cluster, frame.bytes, name, command.near, pending);
    }

    /// Where the keys of the present command are.
    pub(crate) fn place(&self, key: Key, frame: &Frame<'_>) -> Result<To, &'static str> {
        let Some(first) = self.keys.first() else { return Ok(To::Any) };
        let slot = slot_of(frame.word(*first as usize));
        let elsewhere = self.keys[1..].iter().any(|index| slot_of(frame.word(*index as usize)) != slot);
        if elsewhere && !self.is_single(key) { Err(CROSSSLOT) } else { Ok(To::Slot(slot)) }
    }

    /// Whether the client's back end is one server.
    pub(crate) fn is_single(&self, key: Key) -> bool {
        let cluster = self.clients.get(key).and_then(|client| self.clusters.get(client.cluster));
        matches!(cluster, Some(Some(cluster)) if cluster.conf.single)
    }

    /// Sends a command whose reply is passed on as it comes.
    pub(crate) fn ask_for(&mut self, io: &mut dyn Io, key: Key, bytes: &[u8], to: To, repeatable: bool) {
        let Some((cluster, pending)) = self.owe(io, key, Kind::Plain, to, repeatable) else { return };
        self.send(io, cluster, bytes, pending);
    }

    /// Owes the client a reply; what is needed to send for it.
    pub(crate) fn owe(&mut self, io: &dyn Io, key: Key, kind: Kind, to: To, repeatable: bool) -> Option<(usize, Pending)> {
        let now = io.now();
        let tap = self.tap.take();
        let client = self.clients.get_mut(key)?;
        let (cluster, resp) = (client.cluster, client.resp);
        let seq = client.ring.push(kind, to.slot(), now, tap);
        if self.mark == Mark::Writes {
            client.wrote = seq + 1;
        }
        let caching = client.tracking.as_ref().map_or(Caching::AsItIs, |tracking| tracking.caching);
        let deadline = self.deadline(cluster, now);
        if self.has_migrations {
            self.note_command(key, seq);
        }
        let pending = Pending {
            owner: Owner::Client(key, seq),
            to,
            deadline,
            kept: 0,
            skip: 0,
            batch: 0,
            redirects: 0,
            resp,
            repeatable,
            leased: false,
            discard: false,
            near: self.mark,
            caching,
        };
        Some((cluster, pending))
    }

    /// Answers a command here.
    pub(crate) fn answer(&mut self, io: &mut dyn Io, key: Key, reply: &[u8]) {
        let now = io.now();
        let tap = self.tap.take();
        let Some(client) = self.clients.get_mut(key) else { return };
        let seq = client.ring.push(Kind::Plain, NO_SLOT, now, tap);
        self.deliver(io, key, seq, reply, true);
    }

    /// Answers a command with an error.
    pub(crate) fn fail(&mut self, io: &mut dyn Io, key: Key, error: &str) {
        self.answer(io, key, format!("-{error}\r\n").as_bytes());
    }

    /// Answers with an error that, while a transaction is open, makes its EXEC fail, as on a server.
    pub(crate) fn fail_queueing(&mut self, io: &mut dyn Io, key: Key, error: &str) {
        if let Some(client) = self.clients.get_mut(key) {
            client.transaction.fail();
        }
        self.fail(io, key, error);
    }

    /// A command that Midstream does not carry.
    pub(crate) fn refuse(&mut self, io: &mut dyn Io, key: Key, command: &Command, why: &str) {
        self.meters_of(key, |meters| meters.refused.add(1));
        self.fail_queueing(io, key, &format!("ERR midstream: {} is not supported: {why}", command.verb));
    }
}

/// A filter's no, or not yet.
enum Delay {
    Denied,
    For(Nanos),
}

/// Whether this very command may run twice: SET with a condition or with GET gives another reply the second time.
pub(crate) fn is_repeatable(command: &Command, frame: &Frame<'_>) -> bool {
    const CONDITIONS: [&str; 4] = ["nx", "xx", "get", "ifeq"];
    command.repeatable && (command.name != "set" || (3..frame.len()).all(|index| CONDITIONS.iter().all(|word| !frame.is(index, word))))
}

/// A word as it may stand in an error line.
pub(crate) fn shown(word: &[u8]) -> String {
    String::from_utf8_lossy(&word[..word.len().min(128)]).replace(|c: char| c.is_control(), " ")
}

fn unknown(frame: &Frame<'_>) -> String {
    let mut arguments = String::new();
    for index in 1..frame.len() {
        if arguments.len() >= 128 {
            break;
        }
        arguments += &format!("'{}' ", shown(frame.word(index)));
    }
    format!("ERR unknown command '{}', with args beginning with: {arguments}", shown(frame.word(0)))
}
