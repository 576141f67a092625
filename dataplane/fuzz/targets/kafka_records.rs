//! Any bytes are record batches, or cannot be read; what is written anew reads as it was asked to be. The checksum is put right, as no
//! fuzzer guesses one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto_kafka::records::{Change, MAX_INFLATED, Piece, Pieces, Unreadable, map};

fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    let mut at = 0;
    for piece in Pieces::new(data).map_while(Result::ok) {
        let Piece::Batch(batch) = piece else { break };
        let end = at + batch.bytes().len();
        let crc = proto_kafka::fuzz::checksum(&bytes[at + 21..end]).to_be_bytes();
        bytes[at + 17..at + 21].copy_from_slice(&crc);
        at = end;
    }
    bytes
}

/// All records' values.
fn values(bytes: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
    let mut values = vec![];
    for piece in Pieces::new(bytes) {
        let Ok(Piece::Batch(batch)) = piece else { break };
        if batch.is_control() {
            continue;
        }
        let payload = batch.inflate(MAX_INFLATED).ok()?;
        for record in batch.records(&payload).ok()? {
            values.push(record.ok()?.value.map(<[u8]>::to_vec));
        }
    }
    Some(values)
}

fuzz_target!(|data: &[u8]| {
    let [dice, rest @ ..] = data else { return };
    let bytes = with_checksums(rest);
    let before = values(&bytes);
    let (mut kept, mut number) = (vec![], 0u8);
    let mapped = map::<Unreadable>(&bytes, &mut |_, record| {
        number = number.wrapping_add(1);
        let value = record.value.map(<[u8]>::to_vec);
        Ok(match number.wrapping_mul(*dice) % 3 {
            0 => Change::Drop,
            1 => {
                kept.push(value);
                Change::Keep
            }
            _ => {
                kept.push(Some(b"other".to_vec()));
                let headers = record.headers.iter().map(|(name, value)| (name.into(), value.map(Into::into)));
                Change::Set(Some(b"other".to_vec()), headers.collect())
            }
        })
    });
    match mapped {
        Ok(Some(mapped)) => assert_eq!(values(&mapped), Some(kept)),
        Ok(None) => assert_eq!(before.unwrap_or_default().len(), kept.len()),
        Err(_) => {}
    }
});
