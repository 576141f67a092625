//! The PostgreSQL machine, under everything that clients, servers, the planner and time can do.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| fuzz::play(fuzz::compile(&*proto_postgres::family(), proto_postgres::compile), "postgres", script));
