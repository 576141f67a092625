//! The Redis machine, under everything that clients, servers and time can do.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| fuzz::play(fuzz::compile(&*proto_redis::family(), proto_redis::compile), "redis", script));
