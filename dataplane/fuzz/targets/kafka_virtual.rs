//! The Kafka machine before a virtual cluster, with policies, under everything that clients, brokers and time can do.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| fuzz::play(fuzz::compile(&*proto_kafka::family(), proto_kafka::compile), "kafka_virtual", script));
