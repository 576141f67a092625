//! The words of CLIENT TRACKING, CACHING and TRACKINGINFO.

use crate::client::{Client, Wait};
use crate::frame::Frame;
use crate::limits;
use crate::local::map;
use crate::machine::Redis;
use crate::merge::{array, bulk, integer};
use crate::pipe::Caching;
use crate::table::Command;
use wire::{Io, Key};

/// What a client asked for.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Options {
    /// Of all keys, or of those with the prefixes, read or not.
    pub broadcast: bool,
    /// Only what is read behind CLIENT CACHING YES.
    pub opt_in: bool,
    /// Not what is read behind CLIENT CACHING NO.
    pub opt_out: bool,
    /// Not what the client changes itself.
    pub no_loop: bool,
    /// See `broadcast`.
    pub prefixes: Vec<Vec<u8>>,
    /// The number of the client that is told instead.
    pub redirect: Option<u64>,
}

const NO_OVERLAP: &str = "Prefixes for a single client must not overlap.";

impl Options {
    /// The words after CLIENT TRACKING ON.
    ///
    /// # Errors
    /// The server's own words for what is wrong.
    pub fn read(frame: &Frame<'_>) -> Result<Options, String> {
        let mut options = Options::default();
        let mut at = 3;
        while at < frame.len() {
            let has_value = at + 1 < frame.len();
            if frame.is(at, "redirect") && has_value {
                at += 1;
                if options.redirect.is_some() {
                    return Err("ERR A client can only redirect to a single other client".into());
                }
                let id = std::str::from_utf8(frame.word(at)).ok().and_then(|text| text.parse().ok());
                options.redirect = Some(id.ok_or("ERR value is not an integer or out of range")?);
            } else if frame.is(at, "bcast") {
                options.broadcast = true;
            } else if frame.is(at, "optin") {
                options.opt_in = true;
            } else if frame.is(at, "optout") {
                options.opt_out = true;
            } else if frame.is(at, "noloop") {
                options.no_loop = true;
            } else if frame.is(at, "prefix") && has_value {
                at += 1;
                options.prefixes.push(frame.word(at).to_vec());
            } else {
                return Err("ERR syntax error".into());
            }
            at += 1;
        }
        options.check()
    }

    fn check(self) -> Result<Options, String> {
        if !self.broadcast && !self.prefixes.is_empty() {
            return Err("ERR PREFIX option requires BCAST mode to be enabled".into());
        }
        if self.broadcast && (self.opt_in || self.opt_out) {
            return Err("ERR OPTIN and OPTOUT are not compatible with BCAST".into());
        }
        if self.opt_in && self.opt_out {
            return Err("ERR You can't specify both OPTIN mode and OPTOUT mode".into());
        }
        if self.prefixes.len() > limits::MAX_PREFIXES {
            return Err(format!("ERR midstream: more than {} prefixes", limits::MAX_PREFIXES));
        }
        for (at, prefix) in self.prefixes.iter().enumerate() {
            let overlaps = |other: &&Vec<u8>| other.starts_with(prefix) || prefix.starts_with(other);
            if let Some(other) = self.prefixes[at + 1..].iter().find(overlaps) {
                let shown = crate::dispatch::shown;
                return Err(format!("ERR Prefix '{}' overlaps with another provided prefix '{}'. {NO_OVERLAP}", shown(prefix), shown(other)));
            }
        }
        Ok(self)
    }

    /// What is asked for in the place of `self`; prefixes are added.
    ///
    /// # Errors
    /// The server's own words for what is wrong.
    pub fn then(&self, mut next: Options) -> Result<Options, String> {
        let switch = |what| {
            Err(format!("ERR You can't switch {what} before disabling tracking for this client, and then re-enabling it with a different mode."))
        };
        if self.broadcast != next.broadcast {
            return switch("BCAST mode on/off");
        }
        if (self.opt_in && next.opt_out) || (self.opt_out && next.opt_in) {
            return switch("OPTIN/OPTOUT mode");
        }
        for prefix in &next.prefixes {
            if let Some(other) = self.prefixes.iter().find(|other| other.starts_with(prefix) || prefix.starts_with(other)) {
                let shown = crate::dispatch::shown;
                return Err(format!("ERR Prefix '{}' overlaps with an existing prefix '{}'. {NO_OVERLAP}", shown(prefix), shown(other)));
            }
        }
        next.prefixes.splice(..0, self.prefixes.iter().cloned());
        Ok(next)
    }

    /// What a connection to a node says first. An ear hears everything.
    pub(super) fn command(&self, is_ear: bool) -> Vec<u8> {
        let mut words: Vec<&[u8]> = vec![b"CLIENT", b"TRACKING", b"ON"];
        words.extend((self.broadcast || is_ear).then_some(&b"BCAST"[..]));
        words.extend(self.prefixes.iter().flat_map(|prefix| [&b"PREFIX"[..], prefix]));
        words.extend((self.opt_in && !is_ear).then_some(&b"OPTIN"[..]));
        words.extend((self.opt_out && !is_ear).then_some(&b"OPTOUT"[..]));
        words.extend((self.no_loop && !is_ear).then_some(&b"NOLOOP"[..]));
        let mut out = Vec::new();
        array(&mut out, words.len());
        words.iter().for_each(|word| bulk(&mut out, word));
        out
    }
}

impl Redis {
    /// CLIENT TRACKING ON and OFF.
    pub(crate) fn track_command(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>) {
        if self.clients.get(key).is_some_and(|client| client.transaction.is_watching()) {
            return self.fail(io, key, "ERR midstream: CLIENT TRACKING cannot change while keys are watched");
        }
        if frame.is(2, "on") {
            return self.track_on(io, key, frame);
        }
        if !frame.is(2, "off") {
            return self.fail(io, key, "ERR syntax error");
        }
        self.track_off(io, key);
        self.answer(io, key, b"+OK\r\n");
    }

    /// CLIENT CACHING YES and NO.
    pub(crate) fn caching(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>) {
        let Some(tracking) = self.clients.get_mut(key).and_then(|client| client.tracking.as_mut()) else {
            let error = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled";
            return self.fail(io, key, error);
        };
        let options = &tracking.options;
        let error = match (frame.is(2, "yes"), frame.is(2, "no")) {
            (true, _) if options.opt_in => {
                tracking.caching = Caching::Yes;
                return self.answer(io, key, b"+OK\r\n");
            }
            (_, true) if options.opt_out => {
                tracking.caching = Caching::No;
                return self.answer(io, key, b"+OK\r\n");
            }
            (true, _) => "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
            (_, true) => "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
            _ => "ERR syntax error",
        };
        self.fail(io, key, error);
    }

    /// Whether replies are outstanding, and the command changes the connections on which the next ones are asked for.
    pub(crate) fn must_settle(&mut self, key: Key, command: &Command) -> bool {
        let Some(client) = self.clients.get_mut(key) else { return false };
        let changes = command.name == "client|tracking" || (client.tracking.is_some() && matches!(command.name, "hello" | "reset"));
        let must = changes && !client.ring.is_empty();
        if changes && !must && client.wait == Wait::Ring {
            client.wait = Wait::No;
        }
        must
    }

    /// What CLIENT CACHING said is of one command, or of one transaction.
    pub(crate) fn caching_over(&mut self, key: Key, command: &Command) {
        if let Some(client) = self.clients.get_mut(key)
            && let Some(tracking) = &mut client.tracking
            && !client.transaction.is_open()
            && !command.name.starts_with("client|")
        {
            tracking.caching = Caching::AsItIs;
        }
    }
}

/// The number of the client that is told in the place of this one: -1 nobody is, 0 itself.
pub(crate) fn redirect_of(client: &Client) -> i64 {
    client.tracking.as_ref().map_or(-1, |tracking| tracking.options.redirect.map_or(0, |id| id as i64))
}

/// CLIENT TRACKINGINFO.
pub(crate) fn tracking_info(client: &Client) -> Vec<u8> {
    let mut flags = Vec::new();
    let mut prefixes: &[Vec<u8>] = &[];
    match &client.tracking {
        None => flags.push("off"),
        Some(tracking) => {
            let options = &tracking.options;
            flags.push("on");
            for (is, flag) in [
                (options.broadcast, "bcast"),
                (options.opt_in, "optin"),
                (options.opt_out, "optout"),
                (tracking.caching == Caching::Yes, "caching-yes"),
                (tracking.caching == Caching::No, "caching-no"),
                (options.no_loop, "noloop"),
            ] {
                flags.extend(is.then_some(flag));
            }
            prefixes = &options.prefixes;
        }
    }
    let mut reply = Vec::new();
    map(&mut reply, client.resp, 3);
    bulk(&mut reply, b"flags");
    reply.push(if client.resp == 3 { b'~' } else { b'*' });
    reply.extend_from_slice(format!("{}\r\n", flags.len()).as_bytes());
    flags.iter().for_each(|flag| bulk(&mut reply, flag.as_bytes()));
    bulk(&mut reply, b"redirect");
    integer(&mut reply, redirect_of(client));
    bulk(&mut reply, b"prefixes");
    array(&mut reply, prefixes.len());
    prefixes.iter().for_each(|prefix| bulk(&mut reply, prefix));
    reply
}
