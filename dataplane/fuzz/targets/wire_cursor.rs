//! The cursor never reads past its end, and what it reads adds up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::Cursor;

fuzz_target!(|data: &[u8]| {
    let mut cursor = Cursor::new(data);
    for act in data {
        let before = cursor.at();
        let moved = match act % 5 {
            0 => cursor.u8().map(|_| 1),
            1 => cursor.i32().map(|_| 4),
            2 => cursor.i64().map(|_| 8),
            3 => cursor.c_string().map(|text| text.len() + 1),
            _ => cursor.take(usize::from(*act)).map(<[u8]>::len),
        };
        assert_eq!(cursor.at(), before + moved.unwrap_or(0), "a failed read moves nothing");
        assert_eq!(cursor.at() + cursor.rest().len(), data.len());
    }
});
