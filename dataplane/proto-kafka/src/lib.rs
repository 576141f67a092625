//! Kafka: clients meet the brokers at addresses of ours, and nothing else of what they say is touched unless a rule asks for it.
//!
//! ```text
//! client at the listener's address  --> its own connection to a bootstrap broker
//! client at broker n's port or name --> its own connection to broker n, where Metadata says it is
//!
//! requests:  header read, place in the ring, the rest forwarded unread       (requests.rs; with filters: filtered.rs, policy.rs, mask.rs)
//!            SASL passes, or ends here                                       (sasl.rs; auth/)
//! responses: ApiVersions, Metadata, FindCoordinator, DescribeCluster,
//!            DescribeQuorum are held and edited                              (responses.rs, edit.rs, address.rs, versions.rs)
//!            Produce, Fetch, ShareFetch, ShareAcknowledge are walked by
//!            lengths for the NodeEndpoints at their end                      (relay.rs, walk.rs, endpoints.rs)
//!            all others are forwarded unread
//! measured:  partitions, offsets and sizes are noted as they pass            (stats/)
//! ```
//! Record bytes are never decoded. What the walker knows of the messages comes from Kafka's own schemas (`tables.rs`, generated).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod address;
pub mod auth;
mod codec;
mod conf;
mod directory;
mod edit;
mod endpoints;
mod federation;
mod filtered;
mod frame;
mod lists;
mod looked;
mod machine;
mod mask;
mod meters;
mod owners;
mod policy;
mod private;
mod produce;
mod quota;
pub mod records;
mod refused;
mod relay;
mod requests;
mod responses;
mod sasl;
mod session;
mod shared;
mod stats;
pub mod table;
mod tables;
mod versions;
mod virtual_cluster;
mod walk;
mod way;

pub use address::Places;
pub use conf::{Backend, KafkaConf, Listener, compile};
pub use federation::{Federation, Member, Routes};
pub use machine::Kafka;
pub use stats::{Books, Stats};
pub use virtual_cluster::{Names, VirtualCluster};

use std::sync::Arc;
use wire::{Family, Protocol, Worker};

/// What the workers of a process share: the books of what was measured, each of which has one writer.
#[derive(Default)]
struct KafkaFamily(Arc<stats::Books>);

impl Family for KafkaFamily {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn build(&self, worker: Worker) -> Box<dyn Protocol> {
        Box::new(Kafka::new(worker, identity::Entropy::from_system(), &self.0))
    }
}

/// The family, as the engine starts it.
pub fn family() -> Arc<dyn Family> {
    Arc::new(KafkaFamily::default())
}

/// What tests and fuzzers drive without a session.
pub mod fuzz {
    /// The generated programs.
    pub mod tables {
        pub use crate::tables::*;
    }
    pub use crate::edit::text;
    pub use crate::frame::{request_body, request_head, response_head, tags};
    pub use crate::table;
    pub use crate::tables::interest;
    pub use crate::virtual_cluster::{Asked, Refusal, Stretch, request, response, support};
    pub use crate::walk::{Part, Seen, walk_whole};
    pub use crc32c::crc32c as checksum;
}
