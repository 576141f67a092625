//! Clients that are another user of the nodes than the sidecar (AUTH, where the nodes' users are the clients' own: [`crate::admin`]), or in another
//! database (SELECT): they have shared connections of their own kind, which log in and select before anything else.
//!
//! ```text
//!  SELECT 5 ──> a connection in database 5 (an errand) ──SELECT 5──> +OK: the client's commands go there from now on
//!                                                     └─ any error: it is the client's reply, and nothing has changed
//! ```
//! The node itself says whether there is such a database and whether the password is right. A client changes its session only when it is owed
//! nothing, so what is in flight, waits or is sent again belongs to the session that it has now. A session without clients is given up.

use crate::client::Wait;
use crate::conf::Credentials;
use crate::errand::{Ask, Errand, Next, Round};
use crate::frame::{Found, Frame, Scan};
use crate::limits;
use crate::login;
use crate::machine::{Redis, Step};
use crate::pipe::{Owner, To};
use crate::table::Command;
use crate::value::command as words_of;
use wire::{Close, Io, Key};

/// Whose and in which database the commands of some clients run.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Session {
    /// The user; `None`: the sidecar's own.
    pub credentials: Option<Credentials>,
    /// The database.
    pub database: u32,
}

/// The sessions in use; those of most clients are none of them.
#[derive(Default)]
pub(crate) struct Sessions {
    known: Vec<Option<Session>>,
    used: usize,
}

impl Sessions {
    /// Whether there are any: the only question on the way of every command.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// That session.
    pub fn get(&self, number: u16) -> Option<&Session> {
        self.known.get(usize::from(number))?.as_ref()
    }

    /// The number of a session, known or new. `None`: there are too many.
    fn number(&mut self, wanted: Session) -> Option<u16> {
        if let Some(at) = self.known.iter().position(|known| known.as_ref() == Some(&wanted)) {
            return u16::try_from(at).ok();
        }
        let free = self.known.iter().position(Option::is_none).unwrap_or(self.known.len());
        if free >= limits::MAX_SESSIONS {
            return None;
        }
        if free == self.known.len() {
            self.known.push(None);
        }
        self.known[free] = Some(wanted);
        self.used += 1;
        u16::try_from(free).ok()
    }

    fn forget(&mut self, number: u16) {
        if let Some(place) = self.known.get_mut(usize::from(number)) {
            self.used -= usize::from(place.take().is_some());
        }
    }
}

/// What a client's command does to its session.
enum Change {
    /// Nothing.
    None,
    /// It is refused.
    Refused(String),
    /// To this one; what a node is asked on a connection of it.
    To(Session, Vec<u8>),
}

/// A node is asked whether a client may.
#[derive(Debug)]
struct Enter {
    question: Option<Vec<u8>>,
    command: Vec<u8>,
}

impl Errand for Enter {
    fn next(&mut self, round: &Round<'_>) -> Next {
        if let Some(question) = self.question.take() {
            return Next::Ask(vec![Ask::of(To::Any, question, true)]);
        }
        let reply = round.reply();
        if reply.first() == Some(&b'+') {
            return Next::Enter(std::mem::take(&mut self.command));
        }
        // As a server with one database says it.
        let is_cluster = reply.starts_with(b"-ERR SELECT is not allowed in cluster mode");
        Next::Stay(if is_cluster { b"-ERR DB index is out of range\r\n".to_vec() } else { reply.to_vec() })
    }
}

impl Redis {
    /// AUTH, HELLO or SELECT that change as whom or where the client's commands run. `None`: they change nothing at the nodes.
    pub(crate) fn change_session(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command) -> Option<Step> {
        let (wanted, question) = match self.change_of(key, frame, command) {
            Change::None => return None,
            Change::Refused(error) => {
                self.fail(io, key, &error);
                return Some(Step::Taken);
            }
            Change::To(wanted, question) => (wanted, question),
        };
        if self.must_empty_ring(key) {
            return Some(self.wait_for_ring(io, key));
        }
        let number = if wanted == Session::default() { None } else { Some(self.sessions.number(wanted)) };
        let Some(client) = self.clients.get_mut(key) else { return Some(Step::Taken) };
        if number == Some(None) {
            let error = format!("ERR midstream: more than {} databases and users are in use by clients of one worker", limits::MAX_SESSIONS);
            self.fail(io, key, &error);
            return Some(Step::Taken);
        }
        client.former = client.session;
        client.session = number.flatten();
        Some(self.run(io, key, Box::new(Enter { question: Some(question), command: frame.bytes.to_vec() })))
    }

    fn change_of(&self, key: Key, frame: &Frame<'_>, command: &Command) -> Change {
        let Some(client) = self.clients.get(key) else { return Change::None };
        let now = client.session.and_then(|number| self.sessions.get(number)).cloned().unwrap_or_default();
        let (wanted, question) = match command.name {
            "select" => match std::str::from_utf8(frame.word(1)).ok().and_then(|text| text.parse::<u32>().ok()) {
                Some(database) if database != now.database => (Session { database, ..now }, frame.bytes.to_vec()),
                _ => return Change::None,
            },
            "auth" | "hello" if self.has_users_of_nodes(key) => match credentials(frame, command) {
                Some((credentials, question)) => (Session { credentials: Some(credentials), ..now }, question),
                None => return Change::None,
            },
            _ => return Change::None,
        };
        let has_routes = self.listeners.get(client.listener).and_then(Option::as_ref).is_some_and(|listener| listener.conf.routes.is_some());
        match () {
            () if has_routes => Change::Refused("ERR DB index is out of range".to_owned()),
            () if client.transaction.is_watching() || client.tracking.is_some() => {
                let verb = &command.verb;
                Change::Refused(format!("ERR midstream: {verb} is not supported while keys are watched or CLIENT TRACKING is on"))
            }
            () => Change::To(wanted, question),
        }
    }

    /// Whether clients of the listener log in as users of the nodes.
    pub(crate) fn has_users_of_nodes(&self, key: Key) -> bool {
        let listener = self.clients.get(key).and_then(|client| self.listeners.get(client.listener)).and_then(Option::as_ref);
        listener.is_some_and(|listener| listener.conf.users.is_empty() && listener.conf.routes.is_none()) && self.is_administrable(key)
    }

    /// The database that a client's commands are about.
    pub(crate) fn database(&self, key: Key) -> u32 {
        let number = self.clients.get(key).and_then(|client| client.session);
        number.and_then(|number| self.sessions.get(number)).map_or(0, |session| session.database)
    }

    /// A node let the client in: the reply to the command that asked for it.
    pub(crate) fn entered(&mut self, io: &mut dyn Io, key: Key, bytes: &[u8]) {
        let mut scan = Scan::default();
        let Ok(Found::Command(_)) = scan.command(bytes, true) else { return };
        let frame = Frame { bytes, words: &scan.words };
        let Some(client) = self.clients.get_mut(key) else { return };
        client.former = None;
        let user = client.session.and_then(|number| self.sessions.get(number)).and_then(|session| session.credentials.as_ref());
        if let Some(user) = user {
            let name = if user.user.is_empty() { "default" } else { &user.user };
            client.identity = format!("user:{name}").into();
        }
        let reply = if frame.is(0, "hello") { self.hello_reply(key, &frame, true) } else { Ok(b"+OK\r\n".to_vec()) };
        let reply = reply.unwrap_or_else(|error| format!("-{error}\r\n").into_bytes());
        self.end_errand(io, key, &reply);
    }

    /// A node did not let the client in: it stays what it was.
    pub(crate) fn stayed(&mut self, io: &mut dyn Io, key: Key, reply: &[u8]) {
        if let Some(client) = self.clients.get_mut(key) {
            client.session = client.former.take();
        }
        self.end_errand(io, key, reply);
        self.give_up_sessions(io);
    }

    /// The shared connection of the client's session to a node. `None`: it has none of its own.
    pub(crate) fn session_pipe(&mut self, io: &mut dyn Io, owner: Owner, cluster: usize, node: u16) -> Option<Option<Key>> {
        let Owner::Client(key, _) = owner else { return None };
        let client = self.clients.get(key)?;
        let (session, resp) = (client.session?, client.resp);
        let known = self.clusters.get(cluster)?.as_ref()?.nodes.get(usize::from(node))?;
        if let Some((.., pipe)) = known.sessions.iter().find(|(of, version, _)| (*of, *version) == (session, resp)) {
            return Some(Some(*pipe));
        }
        let Some(pipe) = self.dial(io, cluster, node, resp, None) else { return Some(None) };
        if let Some(connection) = self.pipes.get_mut(pipe) {
            connection.session = Some(session);
        }
        if let Some(known) = self.clusters[cluster].as_mut() {
            known.nodes[usize::from(node)].sessions.push((session, resp, pipe));
        }
        Some(Some(pipe))
    }

    /// What a new connection of a session says first, and how many replies that has.
    pub(crate) fn session_login(&self, session: u16, own: Option<&Credentials>, resp: u8) -> (Vec<u8>, u32) {
        let Some(session) = self.sessions.get(session) else { return (Vec::new(), 0) };
        let login = login::words(session.credentials.as_ref().or(own), resp);
        let mut replies = u32::from(login.is_some());
        let mut out = login.unwrap_or_default();
        if session.database > 0 {
            out.extend_from_slice(&words_of(&["SELECT", &session.database.to_string()]));
            replies += 1;
        }
        (out, replies)
    }

    /// A node does not let a session in: who waits on that connection is told in the node's words.
    pub(crate) fn session_refused(&mut self, io: &mut dyn Io, key: Key, error: &[u8]) {
        let Some(mut pipe) = self.pipes.remove(key) else { return };
        io.close(key, Close::Abort);
        self.unhook(key, &pipe);
        while let Some((pending, _)) = pipe.take_front() {
            if let Owner::Client(client, seq) = pending.owner {
                self.deliver(io, client, seq, error, true);
            }
        }
        if let Some(client) = pipe.lease {
            self.lease_lost(io, client, key);
        }
        self.count_connections(pipe.cluster);
    }

    /// Sessions that no client has any more end, with their connections.
    pub(crate) fn give_up_sessions(&mut self, io: &mut dyn Io) {
        if self.sessions.is_empty() {
            return;
        }
        let mut used = vec![false; self.sessions.known.len()];
        for (_, client) in self.clients.iter() {
            client.session.iter().chain(&client.former).for_each(|number| used[usize::from(*number)] = true);
        }
        for number in (0..used.len()).filter(|number| !used[*number]) {
            let number = number as u16;
            self.sessions.forget(number);
            let of_session = |(_, pipe): &(Key, &crate::pipe::Pipe)| pipe.session == Some(number);
            let pipes: Vec<Key> = self.pipes.iter().filter(of_session).map(|(key, _)| key).collect();
            for key in pipes {
                let Some(pipe) = self.pipes.remove(key) else { continue };
                io.close(key, Close::Flush);
                self.unhook(key, &pipe);
                self.count_connections(pipe.cluster);
            }
        }
    }

    /// A client is as it was when it came (RESET).
    pub(crate) fn leave_session(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key) {
            client.session = None;
            client.wait = if client.wait == Wait::Ring { Wait::No } else { client.wait };
        }
    }
}

/// User and password of AUTH, or of AUTH within HELLO; the AUTH that asks a node for the same.
fn credentials(frame: &Frame<'_>, command: &Command) -> Option<(Credentials, Vec<u8>)> {
    let at = if command.name == "auth" { 0 } else { (2..frame.len()).find(|index| frame.is(*index, "auth"))? };
    let (user, password) = match (command.name, frame.len() - at) {
        ("auth", 2) => (&b""[..], frame.word(1)),
        ("auth", 3) | ("hello", 3..) => (frame.word(at + 1), frame.word(at + 2)),
        _ => return None,
    };
    let words: Vec<&[u8]> = [&b"AUTH"[..]].into_iter().chain((!user.is_empty()).then_some(user)).chain([password]).collect();
    let question = words_of(&words);
    Some((Credentials { user: String::from_utf8_lossy(user).into_owned(), password: password.to_vec() }, question))
}
