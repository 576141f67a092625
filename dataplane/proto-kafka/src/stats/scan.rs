//! What a message says of partitions, from its marks: while it passes, or of a whole body.

use crate::edit::{Mark, text};
use crate::records::HEADER;
use crate::tables::interest;
use crate::walk::{Part, uvarint};
use std::sync::Arc;

/// Partitions of one message that are looked at; the largest clusters have some thousand on a broker.
const MAX_ITEMS: usize = 10_000;

/// The header of a batch, as far as it counts here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Front {
    /// Its first offset; 0 in a Produce.
    pub base: i64,
    /// How many offsets it takes.
    pub offsets: i64,
    /// Its latest record's time, in milliseconds since 1970.
    pub timestamp: i64,
    /// How many records it has.
    pub count: u64,
}

/// What is said of one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// Whose offset it is, in OffsetFetch.
    pub group: Option<Arc<[u8]>>,
    /// Name or id.
    pub topic: Arc<[u8]>,
    /// Which of them.
    pub is_id: bool,
    /// Its number.
    pub partition: i32,
    /// Its error.
    pub error: i16,
    /// A position, a committed or a base offset; none where a fetch session forgets the partition.
    pub offset: Option<i64>,
    /// High watermark.
    pub end: Option<i64>,
    /// Last stable offset.
    pub stable: Option<i64>,
    /// How many bytes of records.
    pub bytes: u64,
    /// Their first batch.
    pub front: Option<Front>,
}

/// What was seen of a message so far.
#[derive(Default, Debug)]
pub struct Scan {
    /// The present group.
    pub group: Option<Arc<[u8]>>,
    /// Of a Fetch: 0 and below begin a list, others go on with one.
    pub epoch: i32,
    topic: Option<(Arc<[u8]>, bool)>,
    /// In the order of the message.
    pub items: Vec<Item>,
}

impl Scan {
    /// A whole body.
    pub fn of(body: &[u8], marks: &[Mark]) -> Scan {
        let mut scan = Scan::default();
        for mark in marks.iter().filter(|mark| mark.part == Part::Value) {
            scan.see(mark.interest, mark.bytes(body), mark.compact);
        }
        scan
    }

    /// A marked field; of records the front suffices.
    pub fn see(&mut self, interest: u8, bytes: &[u8], compact: bool) {
        match interest {
            interest::GROUP => (self.group, self.topic) = (Some(text(bytes, compact).into()), None),
            interest::TOPIC => self.topic = Some((text(bytes, compact).into(), false)),
            interest::TOPIC_ID => self.topic = Some((bytes.into(), true)),
            interest::PARTITION => self.begin(number(bytes) as i32),
            interest::FETCH_EPOCH => self.epoch = number(bytes) as i32,
            _ => {
                if let Some(item) = self.items.last_mut() {
                    item.see(interest, bytes, compact);
                }
            }
        }
    }

    fn begin(&mut self, partition: i32) {
        let Some((topic, is_id)) = self.topic.clone().filter(|_| self.items.len() < MAX_ITEMS) else { return };
        let group = self.group.clone();
        let (offset, end, stable, front) = Default::default();
        self.items.push(Item { group, topic, is_id, partition, error: 0, offset, end, stable, bytes: 0, front });
    }
}

impl Item {
    fn see(&mut self, interest: u8, bytes: &[u8], compact: bool) {
        match interest {
            interest::ERROR => self.error = number(bytes) as i16,
            interest::OFFSET => self.offset = Some(number(bytes)),
            interest::END_OFFSET => self.end = Some(number(bytes)),
            interest::STABLE_OFFSET => self.stable = Some(number(bytes)),
            interest::RECORDS => {
                let (head, length) = length(bytes, compact);
                self.bytes = length;
                self.front = bytes.get(head..).and_then(front);
            }
            _ => {}
        }
    }
}

/// The size of the length of records, and what it says; null as 0.
fn length(bytes: &[u8], compact: bool) -> (usize, u64) {
    if compact {
        return uvarint(bytes).ok().flatten().map_or((0, 0), |(size, n)| (size, u64::from(n).saturating_sub(1)));
    }
    let Some(head) = bytes.first_chunk::<4>() else { return (0, 0) };
    (4, u64::try_from(i32::from_be_bytes(*head)).unwrap_or(0))
}

/// A batch header of version 2; older ones say less, and are as rare as their clients.
fn front(bytes: &[u8]) -> Option<Front> {
    let header = bytes.get(..HEADER).filter(|header| header[16] == 2)?;
    let field = |at: usize, size: usize| number(&header[at..at + size]);
    Some(Front { base: field(0, 8), offsets: field(23, 4) + 1, timestamp: field(35, 8), count: u64::try_from(field(57, 4)).unwrap_or(0) })
}

/// A signed number of up to eight bytes.
fn number(bytes: &[u8]) -> i64 {
    let negative = bytes.first().is_some_and(|first| *first >= 0x80);
    bytes.iter().fold(if negative { -1 } else { 0 }, |n, byte| n << 8 | i64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[..8].copy_from_slice(&70i64.to_be_bytes());
        bytes[16] = 2;
        bytes[23..27].copy_from_slice(&9i32.to_be_bytes());
        bytes[35..43].copy_from_slice(&1_700_000_000_000i64.to_be_bytes());
        bytes[57..61].copy_from_slice(&8u32.to_be_bytes());
        bytes
    }

    #[test]
    fn fields_belong_to_the_partition_before_them() {
        let mut scan = Scan::default();
        scan.see(interest::ERROR, &[0, 9], false); // the whole message's
        scan.see(interest::PARTITION, &[0, 0, 0, 1], false); // of no topic
        scan.see(interest::TOPIC, b"\x00\x01t", false);
        for (partition, end) in [(1u8, 100i64), (2, -1)] {
            scan.see(interest::PARTITION, &[0, 0, 0, partition], false);
            scan.see(interest::ERROR, &[0xff, 0xff], false);
            scan.see(interest::END_OFFSET, &end.to_be_bytes(), false);
        }
        let records = [&5000u32.to_be_bytes()[..], &batch()].concat();
        scan.see(interest::RECORDS, &records, false);
        let [one, two] = &scan.items[..] else { panic!("{scan:?}") };
        assert_eq!((&*one.topic, one.partition, one.error, one.end, one.bytes), (&b"t"[..], 1, -1, Some(100), 0));
        assert_eq!((two.partition, two.end, two.bytes), (2, Some(-1), 5000));
        assert_eq!(two.front, Some(Front { base: 70, offsets: 10, timestamp: 1_700_000_000_000, count: 8 }));
    }

    #[test]
    fn records_that_are_null_cut_off_or_old_have_no_front() {
        for (bytes, compact, length) in [(&[0][..], true, 0), (&[0xff; 4], false, 0), (&[0x8b, 1, 0, 0], true, 138), (&[], true, 0)] {
            let mut scan = Scan::default();
            scan.see(interest::TOPIC_ID, &[7; 16], false);
            scan.see(interest::PARTITION, &[0; 4], false);
            scan.see(interest::RECORDS, bytes, compact);
            assert_eq!((scan.items[0].bytes, scan.items[0].front), (length, None));
        }
        let mut old = batch();
        old[16] = 1;
        assert_eq!(front(&old), None);
    }
}
