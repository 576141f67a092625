//! What is answered here, as one standalone server would.

use crate::action;
use crate::client::ANONYMOUS;
use crate::dispatch::shown;
use crate::frame::Frame;
use crate::limits;
use crate::login;
use crate::machine::Redis;
use crate::merge::{array, bulk, integer};
use crate::table::Command;
use wire::{Io, Key};

/// The version that clients are told: that of the commands in the table which every server behind us is sure to have, and of a CLIENT TRACKING as
/// clients want it that keep what they have read (redis-py asks for this one).
const VERSION: &str = "7.4.0";

impl Redis {
    /// Answers a command that concerns only the connection or the proxy.
    pub(crate) fn local(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &'static Command) {
        match command.name.split('|').next().unwrap_or_default() {
            "ping" if frame.len() > 2 => self.fail(io, key, "ERR wrong number of arguments for 'ping' command"),
            "ping" if frame.len() == 2 => self.answer_bulk(io, key, frame.word(1)),
            "ping" => self.answer(io, key, b"+PONG\r\n"),
            "echo" => self.answer_bulk(io, key, frame.word(1)),
            "select" => self.select(io, key, frame),
            "auth" => self.auth(io, key, frame),
            "hello" => self.hello(io, key, frame),
            "quit" => {
                self.answer(io, key, b"+OK\r\n");
                if let Some(client) = self.clients.get_mut(key) {
                    client.closing = true;
                }
            }
            "reset" => self.reset(io, key),
            "client" => self.client_command(io, key, frame, command),
            "command" => self.command_command(io, key, frame, command),
            "readonly" | "readwrite" if self.has_replicas(key) => {
                if let Some(client) = self.clients.get_mut(key) {
                    client.reads_replicas = Some(command.name == "readonly");
                }
                self.answer(io, key, b"+OK\r\n");
            }
            "cluster" | "readonly" | "readwrite" | "asking" => self.fail(io, key, "ERR This instance has cluster support disabled"),
            // What clients see is a master.
            "replicaof" | "slaveof" if frame.is(1, "no") && frame.is(2, "one") => self.answer(io, key, b"+OK\r\n"),
            "role" => self.answer(io, key, b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"),
            "acl" => self.who_am_i(io, key),
            // Clients' own tests make a server say an error.
            "debug" if frame.len() == 3 && frame.is(1, "error") => self.fail(io, key, &shown(frame.word(2))),
            "debug" | "replicaof" | "slaveof" => self.refuse(io, key, command, action::SYSTEM),
            _ => self.refuse(io, key, command, "it is not answered by the proxy"),
        }
    }

    pub(crate) fn answer_bulk(&mut self, io: &mut dyn Io, key: Key, bytes: &[u8]) {
        let mut reply = Vec::with_capacity(bytes.len() + 16);
        bulk(&mut reply, bytes);
        self.answer(io, key, &reply);
    }

    fn select(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>) {
        // Another database than the client's a node has been asked for ([`crate::session`]).
        let now = i64::from(self.database(key));
        match std::str::from_utf8(frame.word(1)).ok().and_then(|text| text.parse::<i64>().ok()) {
            Some(database) if database == now => self.answer(io, key, b"+OK\r\n"),
            Some(_) => self.fail(io, key, "ERR DB index is out of range"),
            None => self.fail(io, key, "ERR value is not an integer or out of range"),
        }
    }

    fn auth(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>) {
        if frame.len() > 3 {
            return self.fail(io, key, "ERR syntax error");
        }
        let (name, password) = if frame.len() == 2 { (&b"default"[..], frame.word(1)) } else { (frame.word(1), frame.word(2)) };
        if frame.len() == 2 && self.users(key) == 0 {
            return self.fail(
                io,
                key,
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
            );
        }
        if self.log_in(key, name, password) {
            self.answer(io, key, b"+OK\r\n");
        } else {
            self.fail(io, key, WRONGPASS);
        }
    }

    fn users(&self, key: Key) -> usize {
        let listener = self.clients.get(key).and_then(|client| self.listeners.get(client.listener));
        listener.and_then(Option::as_ref).map_or(0, |listener| listener.conf.users.len())
    }

    /// Where nobody has to log in, the default user may with any password, as on a server without one.
    fn log_in(&mut self, key: Key, name: &[u8], password: &[u8]) -> bool {
        let Some(client) = self.clients.get_mut(key) else { return false };
        let Some(Some(listener)) = self.listeners.get(client.listener) else { return false };
        if listener.conf.users.is_empty() {
            return name == b"default";
        }
        let Some(user) = login::user(&listener.conf.users, name, password) else {
            listener.meters.auth.add(1);
            return false;
        };
        client.known = true;
        client.identity = format!("user:{}", user.name).into();
        true
    }

    fn hello(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>) {
        match self.hello_reply(key, frame, false) {
            Ok(reply) => self.answer(io, key, &reply),
            Err(error) => self.fail(io, key, &error),
        }
    }

    /// HELLO [version [AUTH user password] [SETNAME name]]; `entered`: a node has let the user in.
    pub(crate) fn hello_reply(&mut self, key: Key, frame: &Frame<'_>, entered: bool) -> Result<Vec<u8>, String> {
        let version = match frame.word(1) {
            _ if frame.len() == 1 => None,
            b"2" => Some(2),
            b"3" => Some(3),
            other if other.iter().all(u8::is_ascii_digit) => return Err("NOPROTO unsupported protocol version".to_owned()),
            _ => return Err("ERR Protocol version is not an integer or out of range".to_owned()),
        };
        let mut at = 2;
        let mut name = None;
        while at < frame.len() {
            if frame.is(at, "auth") && at + 2 < frame.len() {
                if !entered && !self.log_in(key, frame.word(at + 1), frame.word(at + 2)) {
                    return Err(WRONGPASS.to_owned());
                }
                at += 3;
            } else if frame.is(at, "setname") && at + 1 < frame.len() {
                name = Some(frame.word(at + 1));
                at += 2;
            } else {
                return Err(format!("ERR Syntax error in HELLO option '{}'", shown(frame.word(at))));
            }
        }
        let Some(client) = self.clients.get_mut(key) else { return Err("ERR midstream: the client is gone".to_owned()) };
        if !client.known {
            return Err("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time".to_owned());
        }
        if let Some(name) = name {
            if !is_name(name) {
                return Err(BAD_NAME.to_owned());
            }
            client.name = name.to_vec();
        }
        if version.is_some_and(|version| version != client.resp) && client.tracking.is_some() {
            return Err("ERR midstream: the RESP version cannot change while CLIENT TRACKING is on".to_owned());
        }
        if version.is_some_and(|version| version != client.resp) && (client.lease.is_some() || client.is_subscriber()) {
            return Err("ERR midstream: the RESP version cannot change while keys are watched or channels subscribed".to_owned());
        }
        client.resp = version.unwrap_or(client.resp);
        let (resp, id) = (client.resp, client.id);
        let mut reply = Vec::new();
        map(&mut reply, resp, 7);
        for (field, value) in [("server", "redis"), ("version", VERSION)] {
            bulk(&mut reply, field.as_bytes());
            bulk(&mut reply, value.as_bytes());
        }
        bulk(&mut reply, b"proto");
        integer(&mut reply, i64::from(resp));
        bulk(&mut reply, b"id");
        integer(&mut reply, id as i64);
        for (field, value) in [("mode", "standalone"), ("role", "master")] {
            bulk(&mut reply, field.as_bytes());
            bulk(&mut reply, value.as_bytes());
        }
        bulk(&mut reply, b"modules");
        array(&mut reply, 0);
        Ok(reply)
    }

    /// As a new connection.
    fn reset(&mut self, io: &mut dyn Io, key: Key) {
        self.unwatch(io, key);
        self.give_back(io, key);
        self.end_subscriptions(io, key);
        self.unwatch_listener(io, key);
        self.track_off(io, key);
        self.leave_session(key);
        let users = self.users(key);
        if let Some(client) = self.clients.get_mut(key) {
            client.resp = 2;
            client.ring.silence.reset();
            client.reads_replicas = None;
            client.name.clear();
            client.known = users == 0;
            client.identity = ANONYMOUS.into();
        }
        self.answer(io, key, b"+RESET\r\n");
    }

    fn who_am_i(&mut self, io: &mut dyn Io, key: Key) {
        let name = self.clients.get(key).map(|client| client.identity.to_string()).unwrap_or_default();
        self.answer_bulk(io, key, name.strip_prefix("user:").unwrap_or("default").as_bytes());
    }
}

/// As the server says it.
const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";
pub(crate) const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// Whether CLIENT SETNAME takes it.
pub(crate) fn is_name(name: &[u8]) -> bool {
    name.len() <= limits::MAX_NAME && name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

/// Appends the header of a map: in RESP2 an array of keys and values.
pub(crate) fn map(out: &mut Vec<u8>, resp: u8, count: usize) {
    if resp == 3 {
        out.push(b'%');
        crate::merge::decimal(out, count as u64);
        out.extend_from_slice(b"\r\n");
    } else {
        array(out, count * 2);
    }
}
