//! What changes keys: a node's invalidations, and our clients' own writes when they are answered.

use super::Near;
use crate::action::Writes;
use crate::frame::{Frame, number};
use crate::keys;
use crate::limits;
use crate::machine::Redis;
use crate::pipe::{Pending, To};
use std::mem;
use wire::Key;

impl Redis {
    /// A push message on a shared pipe, or a piece of one.
    pub(crate) fn near_push(&mut self, pipe: Key, piece: &[u8], done: bool) {
        let Some(connection) = self.pipes.get_mut(pipe) else { return };
        let known = self.clusters.get_mut(connection.cluster).and_then(Option::as_mut);
        let Some(near) = known.and_then(|known| known.near.as_mut()) else { return };
        if !done || !connection.push.is_empty() {
            connection.push.extend_from_slice(piece);
        }
        if connection.push.len() > limits::MAX_PUSH {
            // Nobody will know what it names: an unfinished message of that length is as good as "all".
            connection.push = Vec::new();
            near.wipe_all();
        }
        if !done {
            return;
        }
        let whole = mem::take(&mut connection.push);
        near.told(if whole.is_empty() { piece } else { &whole });
    }

    /// A write is answered: what is kept of its keys is dropped before the client hears of it.
    pub(super) fn written(&mut self, pipe: Key, pending: Pending) {
        let Some(connection) = self.pipes.get(pipe) else { return };
        let known = self.clusters.get_mut(connection.cluster).and_then(Option::as_mut);
        let Some(near) = known.and_then(|known| known.near.as_mut()) else { return };
        let bytes = connection.kept.all().get(..pending.kept as usize).unwrap_or_default();
        let mut scan = mem::take(&mut self.scan);
        let mut found = mem::take(&mut self.keys);
        found.clear();
        let is_one = pending.batch == 0 && pending.kept > 0 && scan.command(bytes, true).is_ok();
        let frame = Frame { bytes, words: &scan.words };
        let command = self.table.find(frame.word(0)).map(|command| command.child(frame.word(1)).unwrap_or(command));
        match command {
            Some(command) if is_one && command.writes == Writes::Keys && keys::of(command, &frame, &mut found).is_ok() => {
                found.iter().for_each(|index| {
                    near.invalidate(frame.word(*index as usize));
                });
            }
            Some(command) if is_one && command.writes == Writes::Nothing => {}
            _ => near.wipe_place(pending.to),
        }
        scan.reset();
        self.scan = scan;
        self.keys = found;
    }

    /// Whatever is where that request went may have changed.
    pub(super) fn wipe_place(&mut self, cluster: usize, to: To) {
        if let Some(near) = self.clusters.get_mut(cluster).and_then(Option::as_mut).and_then(|known| known.near.as_mut()) {
            near.wipe_place(to);
        }
    }
}

impl Near {
    fn wipe_place(&mut self, to: To) {
        match to {
            To::Slot(slot) | To::Read(slot) => self.wipe(slot),
            To::Any | To::Node(_) | To::Itself(_) => self.wipe_all(),
        }
    }

    /// `>2 invalidate [keys]`, with null in place of the keys where all are gone. Other messages are nobody's.
    fn told(&mut self, message: &[u8]) {
        let Some(list) = message.strip_prefix(b">2\r\n$10\r\ninvalidate\r\n") else { return };
        if self.keys_told(list).is_none() {
            self.wipe_all();
        }
        self.show_size();
    }

    /// `None`: it is no list of keys.
    fn keys_told(&mut self, list: &[u8]) -> Option<()> {
        let (count, mut at) = number(list, 1, "").ok().flatten().filter(|_| list.first() == Some(&b'*'))?;
        self.meters.invalidations.add(u64::try_from(count).ok()?);
        for _ in 0..count {
            let (length, start) = number(list, at + 1, "").ok().flatten()?;
            let end = start.checked_add(usize::try_from(length).ok()?)?;
            let kept = self.invalidate(list.get(start..end)?);
            self.telling.in_vain += u64::from(!kept);
            at = end + 2;
        }
        Some(())
    }
}
