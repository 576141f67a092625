//! The messages, generated at build time from `xds/protos` and `protos/skeleton.proto`.
#![allow(missing_docs, clippy::all, clippy::pedantic)]

include!(concat!(env!("OUT_DIR"), "/all.rs"));
