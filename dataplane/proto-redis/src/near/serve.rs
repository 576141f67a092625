//! Reads that the near cache answers, and those whose replies it keeps.

use super::Mark;
use super::flight::{Flight, MAX_WAITERS, Waiter};
use crate::action::NearRead;
use crate::client::Wait;
use crate::frame::number;
use crate::machine::Redis;
use crate::merge::bulk;
use crate::pipe::{Caching, Owner, Pending, To};
use std::mem;
use std::sync::Arc;
use wire::{Io, Key, MILLIS};

impl Redis {
    /// Sends a read of one key that is owed already, unless its reply is here or on its way.
    pub(crate) fn ask_near(&mut self, io: &mut dyn Io, cluster: usize, bytes: &[u8], key: &[u8], kind: NearRead, pending: Pending) {
        if !self.serve(io, cluster, bytes, key, kind, pending) {
            self.send(io, cluster, bytes, pending);
        }
    }

    /// Whether the near cache took care of it.
    fn serve(&mut self, io: &mut dyn Io, cluster: usize, bytes: &[u8], name: &[u8], kind: NearRead, pending: Pending) -> bool {
        let (Owner::Client(key, seq), To::Slot(slot)) = (pending.owner, pending.to) else { return false };
        // What the client wrote and has no reply for yet must be seen by what it reads now; and what it reads while it watches keys must not
        // be older than its WATCH. Who tracks must read where changes are told from.
        if self.clients.get(key).is_none_or(|client| {
            client.lease.is_some() || client.tracking.is_some() || client.session.is_some() || !client.ring.is_past(client.wrote)
        }) {
            return false;
        }
        let Some(Some(known)) = self.clusters.get_mut(cluster) else { return false };
        let (node, tracker) = (known.owner(slot), known.tracker(slot));
        let Some(near) = known.near.as_mut().filter(|near| near.concerns(name)) else { return false };
        let Some(tracker) = tracker else {
            self.want_tracker(io, cluster, node);
            return false;
        };
        if let Some(reply) = near.find(name, slot, pending.resp, bytes, tracker, io) {
            let mut copy = mem::take(&mut self.near_reply);
            copy.clear();
            copy.extend_from_slice(reply);
            near.meters.hits.add(1);
            self.deliver(io, key, seq, &copy, true);
            self.near_reply = copy;
            return true;
        }
        near.meters.misses.add(1);
        if let Some(flight) = self.flights.find(cluster, pending.resp, bytes)
            && flight.is_valid(known)
            && flight.waiters.len() < MAX_WAITERS
        {
            if let Some(client) = self.clients.get_mut(key) {
                client.joined = seq + 1;
            }
            flight.waiters.push(Waiter { client: key, seq, since: io.clock() });
            if let Some(near) = &known.near {
                near.meters.joined.add(1);
            }
            return true;
        }
        self.flights.has_room() && self.fill(io, cluster, node, bytes, name, kind, pending)
    }

    /// Whether the client waits for another's reply, and so must not write: should its read have to be sent after all, the write would have
    /// overtaken it.
    pub(crate) fn waits_for_another(&mut self, key: Key) -> bool {
        let Some(client) = self.clients.get_mut(key) else { return false };
        let waits = !client.ring.is_past(client.joined);
        if !waits && client.wait == Wait::Ring {
            client.wait = Wait::No;
        }
        waits
    }

    /// Sends the read together with what must be known to keep its reply, as one transaction: value and lifetime are of one moment.
    #[allow(clippy::too_many_arguments)] // each is a part of the one command at hand
    fn fill(&mut self, io: &mut dyn Io, cluster: usize, node: u16, bytes: &[u8], name: &[u8], kind: NearRead, pending: Pending) -> bool {
        let (Some(Some(known)), To::Slot(slot)) = (self.clusters.get(cluster), pending.to) else { return false };
        let (Some(tracker), Some(near)) = (known.tracker(slot), &known.near) else { return false };
        let Some(pipe) = known.nodes.get(usize::from(node)).and_then(|node| node.pipes[usize::from(pending.resp == 3)]) else {
            return false; // it makes the connection, the next one is kept
        };
        let opt_in = near.telling.opt_in;
        if opt_in && !self.is_told_of(io, pipe, tracker) {
            return false;
        }
        let Some(near) = self.clusters.get_mut(cluster).and_then(Option::as_mut).and_then(|known| known.near.as_mut()) else { return false };
        near.meters.fills.add(1);
        near.telling.fills += 1;
        let number = self.flights.add(Flight {
            pending,
            cluster,
            command: bytes.into(),
            key: name.into(),
            slot,
            tracker,
            changed: near.slot(slot).changed,
            sent: io.now(),
            kind,
            expires: None,
            is_mortal: false,
            reply: Vec::new(),
            is_large: false,
            waiters: Vec::new(),
        });
        let mut batch = if opt_in { Caching::Yes.command().to_vec() } else { Vec::new() };
        batch.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nPTTL\r\n");
        bulk(&mut batch, name);
        if kind == NearRead::Fields {
            batch.extend_from_slice(b"*2\r\n$4\r\nINFO\r\n$8\r\nkeyspace\r\n");
        }
        batch.extend_from_slice(bytes);
        batch.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
        let skip = 3 + u32::from(kind == NearRead::Fields) + u32::from(opt_in);
        self.send_to(io, cluster, node, &batch, Pending { near: Mark::Fill(number), skip, batch: skip, ..pending });
        true
    }

    /// A piece of a reply that is to be kept, or the end of a write, before the client sees it: what of it is the client's. `None`: nothing,
    /// the command is on its way again by itself.
    #[inline(never)]
    pub(crate) fn near_piece<'a>(
        &mut self,
        io: &mut dyn Io,
        pipe: Key,
        pending: Pending,
        piece: &'a [u8],
        first: bool,
        done: bool,
    ) -> Option<&'a [u8]> {
        let Mark::Fill(number) = pending.near else {
            if done {
                self.written(pipe, pending);
            }
            return Some(piece);
        };
        // A flight outlives its request's place in the pipe: what is not found was never a flight of ours.
        let flight = self.flights.get_mut(number)?;
        let near = self.clusters.get(flight.cluster).and_then(Option::as_ref).and_then(|known| known.near.as_ref());
        let mut own = piece;
        if first {
            let Some((left, mortal, start)) = unwrap(piece, flight.kind) else {
                self.unkeepable(io, pipe, done);
                return None;
            };
            own = &piece[start..];
            flight.is_mortal = left >= 0;
            flight.expires = near.filter(|_| !mortal).map(|near| {
                let oldest = flight.sent.saturating_add(near.conf.max_age);
                // Below zero: it lives for ever, or there is none, and who makes one is heard of.
                u64::try_from(left).map_or(oldest, |left| oldest.min(flight.sent.saturating_add(left.saturating_mul(MILLIS))))
            });
        }
        flight.is_large |= near.is_none_or(|near| flight.reply.len() + own.len() > near.conf.max_entry_bytes);
        if flight.is_large {
            flight.reply = Vec::new();
        } else {
            flight.reply.extend_from_slice(own);
        }
        if done {
            self.land(io, number);
        }
        Some(own)
    }

    /// A reply before the one that is to be kept. An error means that its changes may not be told of.
    pub(crate) fn near_skipped(&mut self, mark: Mark, piece: &[u8]) {
        if let Mark::Fill(number) = mark
            && piece.first() == Some(&b'-')
            && let Some(flight) = self.flights.get_mut(number)
        {
            flight.is_large = true;
        }
    }

    /// The node did not take the transaction around a read (its rules forbid it, say): the read goes by itself, and nothing more is kept that
    /// would have to come on this connection.
    fn unkeepable(&mut self, io: &mut dyn Io, pipe: Key, done: bool) {
        let Some(connection) = self.pipes.get_mut(pipe) else { return };
        let (cluster, node) = (connection.cluster, connection.node);
        if let Some(Some(known)) = self.clusters.get_mut(cluster)
            && let Some(node) = known.nodes.get_mut(usize::from(node))
            && let Some(tracker) = node.tracker.take().and_then(|tracker| self.pipes.get_mut(tracker))
        {
            tracker.tracks = false;
        }
        let Some(connection) = self.pipes.get_mut(pipe) else { return };
        if !done {
            if let Some(front) = connection.fifo.front_mut() {
                front.discard = true;
            }
            return;
        }
        let Some((mut pending, mut bytes)) = connection.take_front() else { return };
        self.near_over(io, cluster, &mut pending, &mut bytes);
        self.send(io, cluster, &bytes, pending);
    }

    /// The reply is here: whoever waits for it gets it, and it is kept if nothing happened to the key meanwhile.
    fn land(&mut self, io: &mut dyn Io, number: u32) {
        if self.flights.get_mut(number).is_some_and(|flight| flight.is_large) {
            self.release(io, number);
            return;
        }
        let Some(mut flight) = self.flights.remove(number) else { return };
        for waiter in mem::take(&mut flight.waiters) {
            if flight.expires.is_some_and(|expires| waiter.since < expires) {
                self.deliver(io, waiter.client, waiter.seq, &flight.reply, true);
            } else {
                self.ask_itself(io, waiter, &flight);
            }
        }
        let Some(Some(known)) = self.clusters.get_mut(flight.cluster) else { return };
        let is_valid = flight.is_valid(known);
        let Some(near) = &mut known.near else { return };
        match flight.expires {
            _ if !is_valid => near.meters.poisoned.add(1),
            Some(expires) if flight.reply.first() != Some(&b'-') => {
                let entry = flight.entry(near.slot(flight.slot).wiped, expires);
                let evicted = near.store.insert(&flight.key, entry);
                near.meters.evictions.add(evicted);
                near.show_size();
            }
            _ => {}
        }
    }

    /// A read on its way brings no reply to keep: those who wait for it send their own.
    fn release(&mut self, io: &mut dyn Io, number: u32) -> Option<Arc<[u8]>> {
        let flight = self.flights.remove(number)?;
        for waiter in &flight.waiters {
            self.ask_itself(io, *waiter, &flight);
        }
        Some(flight.command)
    }

    fn ask_itself(&mut self, io: &mut dyn Io, waiter: Waiter, flight: &Flight) {
        if self.clients.get(waiter.client).is_none_or(|client| !client.ring.owes(waiter.seq)) {
            return;
        }
        let deadline = self.deadline(flight.cluster, io.now());
        self.send(io, flight.cluster, &flight.command, Pending { owner: Owner::Client(waiter.client, waiter.seq), deadline, ..flight.pending });
    }

    /// A request has left its pipe without a reply of its own; `bytes` are what is to be sent again, if anything.
    pub(crate) fn near_over(&mut self, io: &mut dyn Io, cluster: usize, pending: &mut Pending, bytes: &mut Vec<u8>) {
        match pending.near {
            Mark::None => {}
            Mark::Fill(number) => {
                (pending.near, pending.skip, pending.batch) = (Mark::None, 0, 0);
                if let Some(command) = self.release(io, number) {
                    *bytes = command.to_vec();
                }
            }
            Mark::Writes => self.wipe_place(cluster, pending.to),
        }
    }
}

/// The reply to EXEC around a read: what is left of the key's life in milliseconds, whether fields of hashes have lifetimes, and where the
/// read's own reply begins.
fn unwrap(reply: &[u8], kind: NearRead) -> Option<(i64, bool, usize)> {
    let rest = reply.strip_prefix(if kind == NearRead::Fields { b"*3\r\n:" } else { b"*2\r\n:" })?;
    let (left, next) = number(rest, 0, "").ok()??;
    let at = next + 5;
    if kind != NearRead::Fields {
        return Some((left, false, at));
    }
    let (length, start) = number(reply, at + 1, "").ok()??;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    Some((left, have_mortal_fields(reply.get(start..end)?), end + 2))
}

/// Whether INFO tells of hashes whose fields have lifetimes of their own (Valkey 9, Redis 7.4): of their ends the node tells too late.
fn have_mortal_fields(info: &[u8]) -> bool {
    let text = String::from_utf8_lossy(info);
    let mut counts = text.split([',', '\r', '\n']).filter_map(|field| {
        let (name, count) = field.split_once('=')?;
        matches!(name, "keys_with_volatile_items" | "subexpiry").then_some(count)
    });
    counts.any(|count| count != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_taken_out_of_its_transaction() {
        let reply = b"*2\r\n:1500\r\n$1\r\nx\r\n";
        let (left, mortal, start) = unwrap(reply, NearRead::Always).unwrap();
        assert_eq!((left, mortal, &reply[start..]), (1500, false, &b"$1\r\nx\r\n"[..]));
        let hash = b"*3\r\n:-1\r\n$10\r\n# Keyspace\r\n*0\r\n";
        let (left, mortal, start) = unwrap(hash, NearRead::Fields).unwrap();
        assert_eq!((left, mortal, &hash[start..]), (-1, false, &b"*0\r\n"[..]));
        assert_eq!(unwrap(b"-EXECABORT no\r\n", NearRead::Always), None);
        assert_eq!(unwrap(b"*-1\r\n", NearRead::Always), None);
        assert_eq!(unwrap(hash, NearRead::Always), None);
    }

    #[test]
    fn hashes_with_mortal_fields_are_known_from_info() {
        let info = |fields: &str| format!("# Keyspace\r\ndb0:keys=2,expires=0,avg_ttl=0{fields}\r\n").into_bytes();
        assert!(!have_mortal_fields(&info("")));
        assert!(!have_mortal_fields(&info(",keys_with_volatile_items=0")));
        assert!(have_mortal_fields(&info(",keys_with_volatile_items=1")));
        assert!(!have_mortal_fields(&info(",subexpiry=0")));
        assert!(have_mortal_fields(&info(",subexpiry=12")));
    }
}
