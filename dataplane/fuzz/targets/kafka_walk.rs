//! Any bytes are headers and bodies of any API and version, or are malformed; what is marked lies in the body, in order.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto_kafka::fuzz::{request_body, request_head, response_head, table, tags, walk_whole};

fuzz_target!(|data: &[u8]| {
    let [key, version, flags, body @ ..] = data else { return };
    let _ = response_head(body);
    let _ = tags(body);
    if let Ok(Some(head)) = request_head(body) {
        let _ = request_body(body, &head, flags & 2 != 0);
    }
    let Some(api) = table::api(i16::from(*key)) else { return };
    let mut last = 0;
    let _ = walk_whole(api, i16::from(*version), flags & 1 != 0, body, |at, _| {
        assert!(last <= at && at <= body.len());
        last = at;
    });
});
