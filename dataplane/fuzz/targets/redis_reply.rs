//! A reply ends in pieces where it ends whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto_redis::reply::Scan;

fuzz_target!(|data: &[u8]| {
    let whole = Scan::default().feed(data);
    let mut scan = Scan::default();
    let (mut at, mut ended) = (0, None);
    for end in 1..=data.len() {
        match scan.feed(&data[at..end]) {
            Ok((consumed, done)) => {
                at += consumed;
                assert!(at <= end);
                if done {
                    ended = Some(at);
                    break;
                }
            }
            Err(_) => return assert!(whole.is_err(), "wrong in pieces only"),
        }
    }
    if let Ok((consumed, done)) = whole {
        assert_eq!(done.then_some(consumed), ended);
    }
});
