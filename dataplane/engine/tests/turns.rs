//! What leaves at the end of which turn, on real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test says what went wrong by panicking

mod common;

use common::*;
use std::io::{Read, Write};
use wire::{Conf, Event, Family, Fault, Io, Key, Opened, Protocol, Side, Worker};

const CLIENTS: usize = 8;

/// Says "a" to all clients when each has said something, and "b" a turn later. After "a" more is on its way; after "b" too, if it
/// never tells the truth.
struct Halves {
    clients: Vec<Key>,
    begun: bool,
    is_truthful: bool,
    is_over: bool,
}

struct InHalves(bool);

impl Family for InHalves {
    fn name(&self) -> &'static str {
        "halves"
    }

    fn build(&self, _worker: Worker) -> Box<dyn Protocol> {
        Box::new(Halves { clients: Vec::new(), begun: false, is_truthful: self.0, is_over: false })
    }
}

impl Halves {
    fn say(&self, io: &mut dyn Io, what: u8) {
        self.clients.iter().for_each(|client| io.out(*client).push(what));
    }
}

impl Protocol for Halves {
    fn configure(&mut self, _io: &mut dyn Io, _conf: Conf) {}

    fn open(&mut self, _io: &mut dyn Io, _key: Key, _opened: Opened<'_>) {}

    fn data(&mut self, io: &mut dyn Io, key: Key, _side: Side, bytes: &[u8]) -> Result<usize, Fault> {
        self.clients.push(key);
        if self.clients.len() == CLIENTS && !self.begun {
            self.begun = true;
            self.say(io, b'a');
            io.arm(Key::NONE, 0, io.now());
        }
        Ok(bytes.len())
    }

    fn event(&mut self, io: &mut dyn Io, _key: Key, _side: Side, event: Event<'_>) {
        if matches!(event, Event::Timer(0)) {
            self.say(io, b'b');
            self.is_over = true;
        }
    }

    fn has_more(&self, _client: Key) -> bool {
        !(self.is_truthful && self.is_over)
    }
}

#[test]
fn two_halves_of_an_answer_leave_at_once() {
    let rig = rig(InHalves(true));
    let address = rig.serve(none());
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(address)).collect();
    clients.iter_mut().for_each(|client| client.write_all(b"!").unwrap());
    for client in &mut clients {
        let mut read = [0; 2];
        assert_eq!(client.read(&mut read).unwrap(), 2);
        assert_eq!(&read, b"ab");
    }
}

#[test]
fn what_waits_for_more_does_not_wait_for_long() {
    let rig = rig(InHalves(false));
    let address = rig.serve(none());
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(address)).collect();
    clients.iter_mut().for_each(|client| client.write_all(b"!").unwrap());
    clients.iter_mut().for_each(|client| assert_eq!(read_n(client, 2), b"ab"));
}
