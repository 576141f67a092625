//! CLIENT LIST, KILL and UNBLOCK over the clients of this worker. With several workers KILL and UNBLOCK are refused: "no such client" would
//! be a guess.
//! Source: <https://redis.io/docs/latest/commands/client-kill/>.

use crate::client::Client;
use crate::dispatch::shown;
use crate::frame::Frame;
use crate::machine::Redis;
use crate::merge::integer;
use crate::table::Command;
use wire::{Close, Io, Key, SECONDS};

/// Of which clients; all that is given has to fit.
#[derive(Default, Debug)]
struct Chosen {
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
const WORKERS: &str = "clients of this sidecar's other workers cannot be reached";

impl Redis {
    /// CLIENT LIST [TYPE kind] [ID id ...].
    pub(crate) fn client_list(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>) {
        let mut chosen = Chosen::default();
        let mut at = 2;
        while at < frame.len() {
            let wrong = if frame.is(at, "id") {
                let found = ids(frame, at + 1, frame.len());
                at = frame.len();
                found.map(|ids| chosen.ids = ids).err()
            } else if frame.is(at, "type") {
                at += 2;
                kind(frame, at - 1).map(|kind| chosen.kind = Some(kind)).err()
            } else {
                Some(SYNTAX.to_owned())
            };
            if let Some(error) = wrong {
                return self.fail(io, key, &error);
            }
        }
        let lines: String = self.fitting(io, &chosen, key).into_iter().map(|key| self.describe(io, key)).collect();
        self.answer_bulk(io, key, lines.as_bytes());
    }

    /// CLIENT KILL address, or CLIENT KILL with filters.
    pub(crate) fn client_kill(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command) {
        if self.worker.count > 1 {
            return self.refuse(io, key, command, WORKERS);
        }
        let old_form = frame.len() == 3;
        let chosen = match if old_form { Ok(address(frame)) } else { filters(frame) } {
            Ok(chosen) => chosen,
            Err(error) => return self.fail(io, key, &error),
        };
        let found = self.fitting(io, &chosen, key);
        let mut reply = Vec::new();
        match (old_form, found.len()) {
            (true, 0) => return self.fail(io, key, "ERR No such client"),
            (true, _) => reply.extend_from_slice(b"+OK\r\n"),
            (false, count) => integer(&mut reply, count as i64),
        }
        found.iter().filter(|other| **other != key).for_each(|other| self.close_client(io, *other, Close::Abort));
        self.answer(io, key, &reply);
        if found.contains(&key)
            && let Some(client) = self.clients.get_mut(key)
        {
            client.closing = true;
        }
    }

    /// CLIENT UNBLOCK of a client that is not blocked, or is none.
    pub(crate) fn client_unblock(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command) {
        let known_reason = frame.len() == 3 || (frame.len() == 4 && (frame.is(3, "timeout") || frame.is(3, "error")));
        let id = match number(frame, 2) {
            Some(id) if known_reason => id,
            Some(_) => return self.fail(io, key, "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
            None => return self.fail(io, key, "ERR value is not an integer or out of range"),
        };
        let found = self.fitting(io, &Chosen { ids: vec![id], ..Chosen::default() }, key);
        if self.worker.count > 1 && found.is_empty() {
            return self.refuse(io, key, command, WORKERS);
        }
        let error = frame.is(3, "error");
        if found.iter().any(|other| self.unblock_errand(io, *other, error)) {
            return self.answer(io, key, b":1\r\n");
        }
        if found.iter().any(|other| self.clients.get(*other).is_some_and(Client::is_blocked)) {
            return self.refuse(io, key, command, "not yet");
        }
        self.answer(io, key, b":0\r\n");
    }

    fn fitting(&self, io: &dyn Io, chosen: &Chosen, own: Key) -> Vec<Key> {
        // A listener is a server: its clients do not see those of another.
        let listener = self.clients.get(own).map(|client| client.listener);
        let fits = |key: &Key| {
            let Some(client) = self.clients.get(*key) else { return false };
            let peer = io.peer(*key);
            let kind = if client.is_subscriber() { Kind::PubSub } else { Kind::Normal };
            let user = client.identity.strip_prefix("user:").unwrap_or("default");
            Some(client.listener) == listener
                && (chosen.ids.is_empty() || chosen.ids.contains(&client.id))
                && chosen.kind.is_none_or(|wanted| wanted == kind)
                && chosen.remote.as_ref().is_none_or(|wanted| peer.as_ref().is_some_and(|peer| peer.remote.to_string() == *wanted))
                && chosen.local.as_ref().is_none_or(|wanted| peer.as_ref().is_some_and(|peer| peer.local.to_string() == *wanted))
                && chosen.user.as_ref().is_none_or(|wanted| user == wanted)
                && chosen.min_age.is_none_or(|age| (io.now() - client.since) / SECONDS >= age)
                && !(chosen.skip_own && *key == own)
        };
        self.clients.keys().into_iter().filter(fits).collect()
    }
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
