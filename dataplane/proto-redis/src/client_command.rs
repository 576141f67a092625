//! CLIENT and COMMAND, from what we know of our own clients and from the table.

use crate::client::Client;
use crate::dispatch::shown;
use crate::frame::Frame;
use crate::keys;
use crate::limits;
use crate::local::{BAD_NAME, is_name, map};
use crate::machine::Redis;
use crate::merge::{array, bulk, integer};
use crate::pipe::To;
use crate::table::Command;
use crate::tracking::{redirect_of, tracking_info};
use wire::{Io, Key, SECONDS};

impl Redis {
    /// CLIENT ...
    pub(crate) fn client_command(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command) {
        let Some(client) = self.clients.get_mut(key) else { return };
        match command.name {
            "client|id" => {
                let id = client.id as i64;
                self.answer_integer(io, key, id);
            }
            "client|setname" if is_name(frame.word(2)) => {
                client.name = frame.word(2).to_vec();
                self.answer(io, key, b"+OK\r\n");
            }
            "client|setname" => self.fail(io, key, BAD_NAME),
            "client|getname" if client.name.is_empty() => {
                let null: &[u8] = if client.resp == 3 { b"_\r\n" } else { b"$-1\r\n" };
                self.answer(io, key, null);
            }
            "client|getname" => {
                let name = client.name.clone();
                self.answer_bulk(io, key, &name);
            }
            "client|setinfo" => self.set_info(io, key, frame),
            "client|info" => {
                let line = self.describe(io, key);
                self.answer_bulk(io, key, line.as_bytes());
            }
            "client|trackinginfo" => {
                let reply = tracking_info(client);
                self.answer(io, key, &reply);
            }
            "client|getredir" => {
                let redirect = redirect_of(client);
                self.answer_integer(io, key, redirect);
            }
            "client|no-evict" | "client|no-touch" if frame.is(2, "on") || frame.is(2, "off") => self.answer(io, key, b"+OK\r\n"),
            "client|reply" => self.client_reply(io, key, frame),
            "client|tracking" => self.track_command(io, key, frame),
            "client|caching" => self.caching(io, key, frame),
            "client|capa" => self.answer(io, key, b"+OK\r\n"),
            "client|no-evict" | "client|no-touch" => self.fail(io, key, "ERR syntax error"),
            _ => self.refuse(io, key, command, "not yet"),
        }
    }

    fn answer_integer(&mut self, io: &mut dyn Io, key: Key, value: i64) {
        let mut reply = Vec::new();
        integer(&mut reply, value);
        self.answer(io, key, &reply);
    }

    fn set_info(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>) {
        let which = match (frame.is(2, "lib-name"), frame.is(2, "lib-ver")) {
            (true, _) => 0,
            (_, true) => 1,
            _ => return self.fail(io, key, &format!("ERR Unrecognized option '{}'", shown(frame.word(2)))),
        };
        if !is_name(frame.word(3)) {
            let field = ["lib-name", "lib-ver"][which];
            return self.fail(io, key, &format!("ERR {field} cannot contain spaces, newlines or special characters."));
        }
        if let Some(client) = self.clients.get_mut(key) {
            client.library[which] = frame.word(3).to_vec();
        }
        self.answer(io, key, b"+OK\r\n");
    }

    pub(crate) fn describe(&self, io: &dyn Io, key: Key) -> String {
        let Some(client) = self.clients.get(key) else { return String::new() };
        let (remote, local) = io.peer(key).map_or_else(Default::default, |peer| (peer.remote.to_string(), peer.local.to_string()));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let user = client.identity.strip_prefix("user:").unwrap_or("default");
        let [channels, patterns, shards] = client.subscriptions.as_ref().map_or([0; 3], |all| all.counts());
        format!(
            "id={} addr={remote} laddr={local} name={} age={} flags={} db={} sub={channels} psub={patterns} ssub={shards} multi={} events=r cmd={} \
             user={user} redir={} resp={} lib-name={} lib-ver={} tot-cmds={}\n",
            client.id,
            text(&client.name),
            (io.now() - client.since) / SECONDS,
            flags(client),
            self.database(key),
            client.transaction.queued().map_or(-1, i64::from),
            if client.last.is_empty() { "NULL" } else { client.last },
            redirect_of(client),
            client.resp,
            text(&client.library[0]),
            text(&client.library[1]),
            client.commands,
        )
    }

    /// COMMAND ...
    pub(crate) fn command_command(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &Command) {
        let resp = self.clients.get(key).map_or(2, |client| client.resp);
        let mut reply = Vec::new();
        match command.name {
            "command|count" => integer(&mut reply, self.table.commands().len() as i64),
            "command" => self.infos(&mut reply, resp, self.table.commands().iter().map(|command| Some(*command))),
            "command|info" if frame.len() == 2 => self.infos(&mut reply, resp, self.table.commands().iter().map(|command| Some(*command))),
            "command|info" => self.infos(&mut reply, resp, (2..frame.len()).map(|index| self.named(frame.word(index)))),
            "command|docs" => self.docs(&mut reply, resp, frame),
            "command|list" => return self.ask_for(io, key, frame.bytes, To::Any, true),
            "command|getkeys" => return self.get_keys(io, key, frame),
            _ => return self.refuse(io, key, command, "not yet"),
        }
        self.answer(io, key, &reply);
    }

    /// `get` or `config|get`.
    fn named(&self, name: &[u8]) -> Option<&'static Command> {
        match name.iter().position(|byte| *byte == b'|') {
            Some(bar) => self.table.find(&name[..bar])?.child(&name[bar + 1..]),
            None => self.table.find(name),
        }
    }

    fn infos(&self, out: &mut Vec<u8>, resp: u8, commands: impl Iterator<Item = Option<&'static Command>>) {
        let commands: Vec<_> = commands.collect();
        array(out, commands.len());
        for command in commands {
            match command {
                Some(command) => info(out, resp, command),
                None if resp == 3 => out.extend_from_slice(b"_\r\n"),
                None => out.extend_from_slice(b"*-1\r\n"),
            }
        }
    }

    fn docs(&self, out: &mut Vec<u8>, resp: u8, frame: &Frame<'_>) {
        let wanted: Vec<&'static Command> = match frame.len() {
            2 => self.table.commands().to_vec(),
            _ => (2..frame.len()).filter_map(|index| self.named(frame.word(index))).collect(),
        };
        map(out, resp, wanted.len());
        for command in wanted {
            bulk(out, command.name.as_bytes());
            let [since, group, summary] = command.doc;
            map(out, resp, 3);
            for (field, value) in [("summary", summary), ("since", since), ("group", group)] {
                bulk(out, field.as_bytes());
                bulk(out, value.as_bytes());
            }
        }
    }

    fn get_keys(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>) {
        // The words after COMMAND GETKEYS, as a command of their own over the same bytes.
        let inner = Frame { bytes: frame.bytes, words: frame.words.get(2..).unwrap_or_default() };
        let found = self.table.find(inner.word(0)).map(|command| command.child(inner.word(1)).unwrap_or(command));
        let Some(command) = found else { return self.fail(io, key, "ERR Invalid command specified") };
        let mut indices = Vec::new();
        if !command.takes(inner.len()) || keys::of(command, &inner, &mut indices).is_err() {
            return self.fail(io, key, "ERR Invalid number of arguments specified for command");
        }
        if indices.is_empty() {
            return self.fail(io, key, "ERR The command has no key arguments");
        }
        indices.truncate(limits::MAX_SPLIT);
        let mut reply = Vec::new();
        array(&mut reply, indices.len());
        indices.into_iter().for_each(|index| bulk(&mut reply, inner.word(index as usize)));
        self.answer(io, key, &reply);
    }
}

/// As in CLIENT LIST: what a client is doing beside asking and being answered.
fn flags(client: &Client) -> String {
    let all = [
        (client.is_blocked(), 'b'),
        (client.is_subscriber(), 'P'),
        (client.transaction.is_open(), 'x'),
        (client.tracking.is_some(), 't'),
        (client.closing, 'c'),
    ];
    let flags: String = all.into_iter().filter_map(|(is, flag)| is.then_some(flag)).collect();
    if flags.is_empty() { "N".to_owned() } else { flags }
}

/// One element of COMMAND INFO: the six fields every client reads, ACL categories and tips; key specifications and subcommands as names.
fn info(out: &mut Vec<u8>, resp: u8, command: &Command) {
    array(out, 10);
    bulk(out, command.name.as_bytes());
    integer(out, command.arity);
    names(out, resp, &command.flags);
    command.legacy.iter().for_each(|number| integer(out, *number));
    names(out, resp, &command.acl);
    array(out, command.tips.len());
    command.tips.iter().for_each(|tip| bulk(out, tip.as_bytes()));
    array(out, 0);
    array(out, command.children.len());
    command.children.iter().for_each(|child| info(out, resp, child));
}

/// A set of statuses: an array in RESP2.
fn names(out: &mut Vec<u8>, resp: u8, names: &[&str]) {
    out.push(if resp == 3 { b'~' } else { b'*' });
    crate::merge::decimal(out, names.len() as u64);
    out.extend_from_slice(b"\r\n");
    names.iter().for_each(|name| out.extend_from_slice(format!("+{name}\r\n").as_bytes()));
}
