//! The record codec against those of two clients: `records.txt` holds their batches (see `generate_records.py`).

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use proto_kafka::records::{Batch, Change, Codec, HEADER, MAX_INFLATED, Piece, Pieces, Record, Unreadable, compress, decompress, map};
use std::borrow::Cow;

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(field: Option<&[u8]>) -> String {
    field.map_or("-".into(), hex)
}

fn base_timestamp(batch: &Batch<'_>) -> i64 {
    i64::from_be_bytes(batch.bytes()[27..35].try_into().unwrap())
}

fn shown(batch: &Batch<'_>, record: &Record<'_>) -> String {
    let headers: Vec<_> = record.headers.iter().map(|(name, value)| format!("{}={}", hex(name), text(value))).collect();
    let offset = batch.base_offset() + i64::from(record.offset_delta);
    let timestamp = base_timestamp(batch) + record.timestamp_delta;
    format!("{offset}:{timestamp}:{}:{}:{}", text(record.key), text(record.value), headers.join(","))
}

fn batches(bytes: &[u8]) -> Vec<Batch<'_>> {
    let batch = |piece| match piece {
        Ok(Piece::Batch(batch)) => batch,
        other => panic!("{other:?}"),
    };
    Pieces::new(bytes).map(batch).collect()
}

fn records(batch: &Batch<'_>) -> Vec<String> {
    let payload = batch.inflate(MAX_INFLATED).unwrap();
    batch.records(&payload).unwrap().map(|record| shown(batch, &record.unwrap())).collect()
}

/// The compression, the bytes and the records of each line.
fn lines() -> impl Iterator<Item = (Codec, Vec<u8>, Vec<String>)> {
    include_str!("records.txt").lines().map(|line| {
        let mut columns = line.split(' ');
        let codec = columns.next().unwrap();
        let codec = Codec::ALL.into_iter().find(|one| one.name() == codec).unwrap();
        (codec, unhex(columns.next().unwrap()), columns.map(str::to_owned).collect())
    })
}

type Decide<'a> = &'a mut dyn for<'r> FnMut(&Batch<'_>, &Record<'r>) -> Result<Change<'r>, Unreadable>;

fn mapped(bytes: &[u8], decide: Decide<'_>) -> Option<Vec<u8>> {
    map(bytes, decide).unwrap()
}

#[test]
fn the_batches_of_two_clients_are_read_exactly() {
    let mut checked = 0;
    for (codec, bytes, expected) in lines() {
        let [batch] = batches(&bytes)[..] else { panic!("not one batch") };
        assert_eq!(batch.codec(), Ok(codec));
        assert!(batch.is_intact() && !batch.is_control());
        assert_eq!(records(&batch), expected);
        checked += 1;
    }
    assert_eq!(checked, 20);
}

#[test]
fn what_is_written_anew_reads_the_same_and_keeps_its_header() {
    for (codec, bytes, expected) in lines() {
        let same = |record: &Record<'_>| Some(record.value?.to_vec());
        let headers = |record: &Record<'_>| record.headers.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect::<Vec<_>>();
        let again = mapped(&bytes, &mut |_, record| {
            let headers = headers(record).into_iter().map(|(key, value)| (Cow::Owned(key), value.map(Cow::Owned)));
            Ok(Change::Set(same(record), headers.collect()))
        });
        let again = again.unwrap();
        let [batch] = batches(&again)[..] else { panic!("not one batch") };
        assert_eq!(records(&batch), expected);
        assert_eq!(batch.codec(), Ok(codec));
        for span in [0..8, 12..17, 21..HEADER] {
            assert_eq!(again[span.clone()], bytes[span]);
        }
        if codec == Codec::None {
            assert_eq!(again, bytes);
        }
    }
}

#[test]
fn dropped_records_leave_the_offsets_of_the_others_and_the_batchs_last() {
    for (_, bytes, expected) in lines() {
        let odd = |record: &Record<'_>| record.offset_delta % 2 == 1;
        let kept = mapped(&bytes, &mut |_, record| Ok(if odd(record) { Change::Keep } else { Change::Drop })).unwrap();
        let [batch] = batches(&kept)[..] else { panic!("not one batch") };
        let wanted: Vec<_> = expected.iter().skip(1).step_by(2).cloned().collect();
        assert_eq!(records(&batch), wanted);
        assert_eq!(batch.last_offset_delta() as usize, expected.len() - 1);
        assert_eq!(batch.count() as usize, wanted.len());
        assert_eq!(kept[43..57], bytes[43..57], "the producer");
    }
}

#[test]
fn an_emptied_batch_is_a_header_that_is_not_compressed() {
    let (_, bytes, expected) = lines().last().unwrap();
    let two = [bytes.clone(), bytes].concat();
    let emptied = mapped(&two, &mut |_, _| Ok(Change::Drop)).unwrap();
    let left = batches(&emptied);
    assert_eq!((left.len(), emptied.len()), (2, 2 * HEADER));
    for batch in left {
        assert!(batch.is_intact());
        assert_eq!((batch.count(), batch.codec(), batch.last_offset_delta() as usize), (0, Ok(Codec::None), expected.len() - 1));
        assert!(records(&batch).is_empty());
    }
}

#[test]
fn what_stays_is_not_written_anew_and_control_batches_never_are() {
    let (_, bytes, _) = lines().next().unwrap();
    assert_eq!(mapped(&bytes, &mut |_, _| Ok(Change::Keep)), None);
    let mut control = bytes.clone();
    control[22] |= 1 << 5;
    assert_eq!(mapped(&control, &mut |_, _| Ok(Change::Drop)), None);
    let both = [&control[..], &bytes, &bytes[..40]].concat();
    let half = mapped(&both, &mut |_, _| Ok(Change::Drop)).unwrap();
    assert_eq!(half[..control.len()], control);
    assert_eq!(half[control.len() + HEADER..], bytes[..40], "what a broker has cut off stays so");
}

#[test]
fn what_cannot_be_read_is_said() {
    let (_, bytes, _) = lines().next().unwrap();
    let failed = |bytes: &[u8]| map::<Unreadable>(bytes, &mut |_, _| Ok(Change::Drop)).unwrap_err();
    let mut corrupt = bytes.clone();
    *corrupt.last_mut().unwrap() ^= 1;
    assert_eq!(failed(&corrupt), Unreadable::Corrupt);
    let mut old = bytes.clone();
    old[16] = 1;
    assert!(matches!(failed(&old), Unreadable::Malformed(error) if error.0.contains("below 2")));
    let mut codec = bytes.clone();
    codec[22] |= 7;
    let crc = crc32c::crc32c(&codec[21..]).to_be_bytes();
    codec[17..21].copy_from_slice(&crc);
    assert!(matches!(failed(&codec), Unreadable::Malformed(error) if error.0.contains("compression")));
}

#[test]
fn a_bomb_is_not_unpacked() {
    for codec in Codec::ALL {
        let bomb = vec![0; 1_000_000];
        let packed = compress(codec, &bomb).unwrap();
        assert_eq!(decompress(codec, &packed, 999_999), Err(Unreadable::TooLarge), "{codec:?}");
        assert_eq!(decompress(codec, &packed, 1_000_000).unwrap(), bomb, "{codec:?}");
    }
}

proptest! {
    #[test]
    fn every_codec_gives_back_what_it_took(bytes in proptest::collection::vec(0u8..4, 0..2_000), at in 0usize..5) {
        let packed = compress(Codec::ALL[at], &bytes).unwrap();
        prop_assert_eq!(&*decompress(Codec::ALL[at], &packed, bytes.len()).unwrap(), &bytes);
    }

    #[test]
    fn a_flipped_byte_is_an_error_or_the_same_records(line in 0usize..20, at in 0usize..10_000, bit in 0u8..8) {
        let (_, mut bytes, _) = lines().nth(line).unwrap();
        let at = at % bytes.len();
        let within = at - batch_before(&bytes, at);
        bytes[at] ^= 1 << bit;
        let mapped = map::<Unreadable>(&bytes, &mut |_, _| Ok(Change::Drop));
        // Offset, length, epoch and magic are outside of the checksum. A bit makes it a control batch, which passes untouched to whoever checks it.
        if within >= 17 {
            prop_assert!(!matches!(mapped, Ok(Some(_))));
        }
    }
}

/// Where the batch begins that `at` is in: each has its length, of what follows, in its bytes 8 to 11.
fn batch_before(bytes: &[u8], at: usize) -> usize {
    let mut begin = 0;
    loop {
        let length = bytes[begin + 8..begin + 12].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        if at < begin + 12 + length {
            return begin;
        }
        begin += 12 + length;
    }
}
