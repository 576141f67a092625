//! A command is found in pieces where it is found whole, and its words lie in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto_redis::frame::{Found, Scan};

fuzz_target!(|data: &[u8]| {
    let mut scan = Scan::default();
    let whole = scan.command(data, true);
    let mut pieces = Scan::default();
    let mut last = None;
    for end in 0..=data.len() {
        let found = pieces.command(&data[..end], true);
        if !matches!(found, Ok(Found::More(_))) {
            last = Some(found);
            break;
        }
    }
    match (&whole, last) {
        (Ok(Found::More(needed)), None) => assert!(*needed > data.len()),
        (whole, Some(found)) => assert_eq!(*whole, found),
        (whole, None) => panic!("whole: {whole:?}, in pieces: more"),
    }
    if let Ok(Found::Command(length)) = whole {
        assert!(length <= data.len());
        assert!(scan.words.iter().all(|word| word.start <= word.end && word.end as usize <= length));
    }
});
