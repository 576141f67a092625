//! `protocol: tcp`: bytes from here to there, both ways, looked at by nobody.
//!
//! The rung "relay" of the benchmark ladders: what carrying bytes costs before a protocol is spoken.

use std::collections::HashMap;
use std::sync::Arc;
use wire::{Close, Conf, Event, Family, Fault, Io, Key, Opened, Protocol, STREAM, Side, Slab, Target, Worker};

/// The family.
pub struct Relay;

/// Where each listener leads; the configuration of the family.
#[derive(Default, Debug)]
pub struct RelayConf {
    /// By the Listener's name.
    pub targets: HashMap<Arc<str>, Target>,
}

impl Family for Relay {
    fn name(&self) -> &'static str {
        "tcp"
    }

    fn build(&self, _worker: Worker) -> Box<dyn Protocol> {
        Box::new(Relays { conf: Arc::default(), partner: Slab::default() })
    }
}

struct Relays {
    conf: Arc<RelayConf>,
    /// The other end, for both.
    partner: Slab<Key>,
}

impl Relays {
    fn part(&mut self, io: &mut dyn Io, key: Key, how: Close) {
        if let Some(partner) = self.partner.remove(key) {
            self.partner.remove(partner);
            io.close(partner, how);
        }
    }
}

impl Protocol for Relays {
    fn configure(&mut self, _io: &mut dyn Io, conf: Conf) {
        if let Ok(conf) = conf.downcast::<RelayConf>() {
            self.conf = conf;
        }
    }

    fn open(&mut self, io: &mut dyn Io, key: Key, opened: Opened<'_>) {
        match opened {
            Opened::Client { listener, .. } => match self.conf.targets.get(listener) {
                Some(target) => {
                    let server = io.dial(target, 0);
                    self.partner.insert(key, server);
                    self.partner.insert(server, key);
                    io.forward(key, server, STREAM);
                }
                None => io.close(key, Close::Abort),
            },
            Opened::Server { .. } => {
                if let Some(client) = self.partner.get(key) {
                    io.forward(key, *client, STREAM);
                }
            }
        }
    }

    fn data(&mut self, _io: &mut dyn Io, _key: Key, _side: Side, bytes: &[u8]) -> Result<usize, Fault> {
        // All is forwarded; this is called only after the other end is gone.
        Ok(bytes.len())
    }

    fn event(&mut self, io: &mut dyn Io, key: Key, side: Side, event: Event<'_>) {
        match event {
            Event::HalfClosed => {
                if let Some(server) = self.partner.get(key) {
                    io.finish(*server);
                }
            }
            Event::Closed(_) => self.part(io, key, if side == Side::Server { Close::Flush } else { Close::Abort }),
            _ => {}
        }
    }
}
