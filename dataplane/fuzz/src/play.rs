//! Plays clients, servers, the brain and the clock to a protocol machine, by a script of bytes.
//!
//! One byte says what happens (its low half) and to whom (its high half); bytes that are sent follow a length. So every prefix of a
//! script is a script, and libFuzzer's mutations keep most of its sense.

use wire::sim::{Did, Sim};
use wire::{Cursor, Key, MILLIS, Nanos, Short, Why};

/// Enough to meet: more clients and servers find nothing that these don't.
const MAX_PEERS: usize = 16;

/// What a machine may hold for peers that do not read, in all: a defect that makes it grow with its input is far above.
const MAX_UNSENT: usize = 64 << 20;

#[derive(Default)]
struct Known {
    clients: Vec<Key>,
    dialled: Vec<Key>,
    servers: Vec<Key>,
    calls: Vec<(Key, u64)>,
}

/// Plays `script` to `sim`; clients connect to `listener`.
///
/// # Panics
/// When the machine does, or when it holds more output than anything in a script of some kilobytes can ask for.
pub fn play(mut sim: Sim, listener: &str, script: &[u8]) {
    let mut known = Known::default();
    let mut cursor = Cursor::new(script);
    while step(&mut sim, &mut known, listener, &mut cursor).is_ok() {
        known.notice(sim.did());
        let unsent: usize = known.clients.iter().chain(&known.servers).map(|key| sim.world.unsent(*key).len()).sum();
        assert!(unsent < MAX_UNSENT, "{unsent} bytes unsent");
    }
    sim.advance(120_000 * MILLIS);
}

fn step(sim: &mut Sim, known: &mut Known, listener: &str, cursor: &mut Cursor<'_>) -> Result<(), Short> {
    let act = cursor.u8()?;
    let whom = usize::from(act >> 4);
    match act & 0x0f {
        0 if known.clients.len() < MAX_PEERS => known.clients.push(sim.connect(listener)),
        1 | 2 => send(sim, pick(&known.clients, whom), cursor)?,
        3 | 4 => send(sim, pick(&known.servers, whom), cursor)?,
        5 | 6 => accept(sim, known),
        7 => known.dialled.pop().into_iter().for_each(|key| sim.refuse(key)),
        8 => sim.half_close(pick(&known.clients, whom)),
        9 => sim.closed(pick(&known.clients, whom), Why::Eof),
        10 => sim.closed(pick(&known.servers, whom), Why::Broken("reset".into())),
        11 => sim.advance(Nanos::from(cursor.u8()?) * 40 * MILLIS),
        12 => answer(sim, known, cursor)?,
        13 => drop(sim.take(pick(&known.clients, whom))),
        14 => drop(sim.take(pick(&known.servers, whom))),
        _ => sim.secured(pick(&known.servers, whom)),
    }
    Ok(())
}

fn send(sim: &mut Sim, to: Key, cursor: &mut Cursor<'_>) -> Result<(), Short> {
    let length = usize::from(cursor.u8()?);
    let bytes = cursor.take(length.min(cursor.rest().len()))?;
    sim.send(to, bytes);
    Ok(())
}

fn accept(sim: &mut Sim, known: &mut Known) {
    if let Some(key) = known.dialled.pop().filter(|_| known.servers.len() < MAX_PEERS) {
        sim.accept(key);
        known.servers.push(key);
    }
}

fn answer(sim: &mut Sim, known: &mut Known, cursor: &mut Cursor<'_>) -> Result<(), Short> {
    let length = usize::from(cursor.u8()?);
    let body = cursor.take(length.min(cursor.rest().len()))?;
    if let Some((key, number)) = known.calls.pop() {
        sim.answer(key, number, (length > 0).then_some(body));
    }
    Ok(())
}

fn pick(keys: &[Key], whom: usize) -> Key {
    keys.get(whom % keys.len().max(1)).copied().unwrap_or(Key::NONE)
}

impl Known {
    fn notice(&mut self, did: Vec<Did>) {
        for one in did {
            match one {
                Did::Dial { key, .. } => self.dialled.push(key),
                Did::Upcall { key, number, .. } => self.calls.push((key, number)),
                _ => {}
            }
        }
    }
}
