//! Any bytes are messages of either side, or wrong, or not complete.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    proto_postgres::scan_frontend(data);
    proto_postgres::scan_backend(data);
    proto_postgres::scan_auth(data);
});
