//! CLIENT LIST, KILL and UNBLOCK over the clients of a listener, on all workers ([`crate::inquiry`]).
//! Source: <https://redis.io/docs/latest/commands/client-kill/>.

use crate::dispatch::shown;
use crate::frame::Frame;
use crate::machine::{Redis, Step};
use crate::merge::{bulk, integer};
use crate::pause;
use crate::table::Command;
use wire::{Close, Io, Key, Nanos, SECONDS};

/// What is asked about clients.
#[derive(Debug)]
pub(crate) enum Query {
    /// CLIENT LIST.
    List(Chosen),
    /// CLIENT KILL.
    Kill {
        /// By address alone, which answers OK.
        old_form: bool,
        /// Whom.
        chosen: Chosen,
    },
    /// CLIENT PAUSE.
    Pause {
        /// How long.
        length: Nanos,
        /// Only writes.
        writes: bool,
    },
    /// CLIENT UNPAUSE.
    Unpause,
    /// CLIENT UNBLOCK.
    Unblock {
        /// Whom.
        id: u64,
        /// With an error, not as if its time was over.
        error: bool,
    },
}

/// What a worker did or knows.
#[derive(Default, Debug)]
pub(crate) struct Part {
    /// How many clients it was.
    pub count: u64,
    /// Their lines.
    pub lines: String,
    /// The client that asked is one of them.
    pub own: bool,
}

/// Of which clients; all that is given has to fit.
#[derive(Default, Debug)]
pub(crate) struct Chosen {
    ids: Vec<u64>,
    kind: Option<Kind>,
    remote: Option<String>,
    local: Option<String>,
    user: Option<String>,
    min_age: Option<u64>,
    /// CLIENT KILL spares its own client, unless told otherwise.
    skip_own: bool,
}

/// As in TYPE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Normal,
    PubSub,
    /// Masters and replicas do not connect here.
    Server,
}

const SYNTAX: &str = "ERR syntax error";

impl Query {
    /// Of a command.
    ///
    /// # Errors
    /// Its words make no sense; in the server's words.
    pub fn of(frame: &Frame<'_>, command: &Command) -> Result<Query, String> {
        match command.name {
            "client|pause" => pause::read(frame).map(|(length, writes)| Query::Pause { length, writes }),
            "client|unpause" => Ok(Query::Unpause),
            "client|kill" if frame.len() == 3 => Ok(Query::Kill { old_form: true, chosen: address(frame) }),
            "client|kill" => Ok(Query::Kill { old_form: false, chosen: filters(frame)? }),
            "client|unblock" => {
                let known_reason = frame.len() == 3 || (frame.len() == 4 && (frame.is(3, "timeout") || frame.is(3, "error")));
                match number(frame, 2) {
                    Some(id) if known_reason => Ok(Query::Unblock { id, error: frame.is(3, "error") }),
                    Some(_) => Err("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR".to_owned()),
                    None => Err("ERR value is not an integer or out of range".to_owned()),
                }
            }
            _ => listed(frame).map(Query::List),
        }
    }

    /// The reply, when all workers have said their part.
    pub fn reply(&self, part: &Part) -> Vec<u8> {
        let mut reply = Vec::new();
        match self {
            Query::List(_) => bulk(&mut reply, part.lines.as_bytes()),
            Query::Kill { old_form: true, .. } if part.count == 0 => reply.extend_from_slice(b"-ERR No such client\r\n"),
            Query::Kill { old_form: true, .. } | Query::Pause { .. } | Query::Unpause => reply.extend_from_slice(b"+OK\r\n"),
            _ => integer(&mut reply, part.count as i64),
        }
        reply
    }
}

impl Redis {
    /// CLIENT LIST, KILL or UNBLOCK.
    pub(crate) fn client_query(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command) -> Step {
        let query = match Query::of(frame, command) {
            Ok(query) => query,
            Err(error) => {
                self.fail(io, key, &error);
                return Step::Taken;
            }
        };
        let others = self.worker.count > 1;
        if others && self.must_empty_ring(key) {
            return self.wait_for_ring(io, key);
        }
        let Some(listener) = self.clients.get(key).map(|client| client.listener) else { return Step::Taken };
        let part = self.perform(io, &query, listener, Some(key));
        if others {
            return self.ask_others(io, key, frame.bytes, query, part);
        }
        self.answer(io, key, &query.reply(&part));
        self.close_own(key, &part);
        Step::Taken
    }

    /// Does on this worker what is asked; `own` is the client that asked, if it is here.
    pub(crate) fn perform(&mut self, io: &mut dyn Io, query: &Query, listener: usize, own: Option<Key>) -> Part {
        match query {
            Query::List(chosen) => {
                let lines = self.fitting(io, chosen, listener, own).into_iter().map(|key| self.describe(io, key)).collect();
                Part { lines, ..Part::default() }
            }
            Query::Kill { chosen, .. } => {
                let found = self.fitting(io, chosen, listener, own);
                found.iter().filter(|other| Some(**other) != own).for_each(|other| self.close_client(io, *other, Close::Abort));
                Part { count: found.len() as u64, own: found.iter().any(|other| Some(*other) == own), ..Part::default() }
            }
            Query::Pause { length, writes } => {
                self.pause(io.now(), listener, *length, *writes);
                Part::default()
            }
            Query::Unpause => {
                self.unpause(io, listener);
                Part::default()
            }
            Query::Unblock { id, error } => {
                let chosen = Chosen { ids: vec![*id], ..Chosen::default() };
                let found = self.fitting(io, &chosen, listener, own);
                let unblocked = found.into_iter().any(|other| self.unblock_errand(io, other, *error) || self.unblock_leased(io, other, *error));
                Part { count: u64::from(unblocked), ..Part::default() }
            }
        }
    }

    /// A client that killed itself goes, after the reply.
    pub(crate) fn close_own(&mut self, key: Key, part: &Part) {
        if let Some(client) = self.clients.get_mut(key).filter(|_| part.own) {
            client.closing = true;
        }
    }

    /// A listener is a server: its clients do not see those of another.
    fn fitting(&self, io: &dyn Io, chosen: &Chosen, listener: usize, own: Option<Key>) -> Vec<Key> {
        let fits = |key: &Key| {
            let Some(client) = self.clients.get(*key) else { return false };
            let peer = io.peer(*key);
            let kind = if client.is_subscriber() { Kind::PubSub } else { Kind::Normal };
            let user = client.identity.strip_prefix("user:").unwrap_or("default");
            client.listener == listener
                && (chosen.ids.is_empty() || chosen.ids.contains(&client.id))
                && chosen.kind.is_none_or(|wanted| wanted == kind)
                && chosen.remote.as_ref().is_none_or(|wanted| peer.as_ref().is_some_and(|peer| peer.remote.to_string() == *wanted))
                && chosen.local.as_ref().is_none_or(|wanted| peer.as_ref().is_some_and(|peer| peer.local.to_string() == *wanted))
                && chosen.user.as_ref().is_none_or(|wanted| user == wanted)
                && chosen.min_age.is_none_or(|age| (io.now() - client.since) / SECONDS >= age)
                && !(chosen.skip_own && Some(*key) == own)
        };
        self.clients.keys().into_iter().filter(fits).collect()
    }
}

/// CLIENT LIST [TYPE kind] [ID id ...].
fn listed(frame: &Frame<'_>) -> Result<Chosen, String> {
    let mut chosen = Chosen::default();
    let mut at = 2;
    while at < frame.len() {
        if frame.is(at, "id") {
            chosen.ids = ids(frame, at + 1, frame.len())?;
            break;
        }
        if !frame.is(at, "type") {
            return Err(SYNTAX.to_owned());
        }
        chosen.kind = Some(kind(frame, at + 1)?);
        at += 2;
    }
    Ok(chosen)
}

fn address(frame: &Frame<'_>) -> Chosen {
    Chosen { remote: Some(shown(frame.word(2))), ..Chosen::default() }
}

fn filters(frame: &Frame<'_>) -> Result<Chosen, String> {
    let mut chosen = Chosen { skip_own: true, ..Chosen::default() };
    for at in (2..frame.len()).step_by(2) {
        if at + 1 >= frame.len() {
            return Err(SYNTAX.to_owned());
        }
        let value = || Some(shown(frame.word(at + 1)));
        if frame.is(at, "id") {
            chosen.ids = ids(frame, at + 1, at + 2)?;
        } else if frame.is(at, "type") {
            chosen.kind = Some(kind(frame, at + 1)?);
        } else if frame.is(at, "addr") {
            chosen.remote = value();
        } else if frame.is(at, "laddr") {
            chosen.local = value();
        } else if frame.is(at, "user") {
            chosen.user = value();
        } else if frame.is(at, "maxage") {
            chosen.min_age = Some(number(frame, at + 1).ok_or("ERR maxage is not an integer or out of range")?);
        } else if frame.is(at, "skipme") && (frame.is(at + 1, "yes") || frame.is(at + 1, "no")) {
            chosen.skip_own = frame.is(at + 1, "yes");
        } else {
            return Err(SYNTAX.to_owned());
        }
    }
    Ok(chosen)
}

fn ids(frame: &Frame<'_>, from: usize, to: usize) -> Result<Vec<u64>, String> {
    let ids: Option<Vec<u64>> = (from..to).map(|index| number(frame, index).filter(|id| *id > 0)).collect();
    ids.filter(|ids| !ids.is_empty()).ok_or_else(|| "ERR client-id should be greater than 0".to_owned())
}

fn kind(frame: &Frame<'_>, at: usize) -> Result<Kind, String> {
    const KINDS: [(&str, Kind); 6] = [
        ("normal", Kind::Normal),
        ("pubsub", Kind::PubSub),
        ("master", Kind::Server),
        ("primary", Kind::Server),
        ("replica", Kind::Server),
        ("slave", Kind::Server),
    ];
    if at >= frame.len() {
        return Err(SYNTAX.to_owned());
    }
    let found = KINDS.into_iter().find(|(name, _)| frame.is(at, name));
    found.map(|(_, kind)| kind).ok_or_else(|| format!("ERR Unknown client type '{}'", shown(frame.word(at))))
}

fn number(frame: &Frame<'_>, at: usize) -> Option<u64> {
    std::str::from_utf8(frame.word(at)).ok()?.parse().ok()
}
