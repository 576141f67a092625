//! What of Kafka's APIs a federation has. Whoever adds an API here has seen which broker clients ask, and what its messages name.

use crate::tables::interest;

pub const METADATA: i16 = 3;
pub const FIND_COORDINATOR: i16 = 10;
pub const CREATE_TOPICS: i16 = 19;
pub const DELETE_TOPICS: i16 = 20;
pub const INIT_PRODUCER_ID: i16 = 22;
pub const DESCRIBE_CONFIGS: i16 = 32;
pub const ALTER_CONFIGS: i16 = 33;
pub const CREATE_PARTITIONS: i16 = 37;
pub const INCREMENTAL_ALTER_CONFIGS: i16 = 44;
pub const DESCRIBE_CLUSTER: i16 = 60;

/// Offered to clients. Not so: what brokers say to each other (27, 83 to 87); what belongs to one cluster and cannot be told from its
/// messages (ACLs 29 to 31, log directories 34 and 35, delegation tokens 38 to 41, elections and reassignments 43, 45 and 46, quotas and
/// users 48 to 51, the quorum, features, brokers and resources 55, 57, 64, 74, 80, 81); pages of topics (75), which are in the order of one
/// cluster: clients ask Metadata then.
const OFFERED: [(i16, i16); 15] = [
    (0, 3),
    (8, 23),
    (24, 26),
    (28, 28),
    (32, 33),
    (36, 37),
    (42, 42),
    (44, 44),
    (47, 47),
    (60, 61),
    (65, 66),
    (68, 69),
    (71, 72),
    (76, 79),
    (88, 92),
];

/// Whether the API is one of a federation's.
pub fn offers(key: i16) -> bool {
    OFFERED.iter().any(|(first, last)| (*first..=*last).contains(&key))
}

/// Whether clients ask any broker for it, and it concerns more than that broker's cluster.
pub fn is_split(key: i16) -> bool {
    lists(key).is_some()
}

/// Of what is split: the lists in its response that are put together.
pub fn lists(key: i16) -> Option<&'static [u8]> {
    match key {
        METADATA => Some(&[interest::NODES, interest::TOPICS]),
        FIND_COORDINATOR | DESCRIBE_CLUSTER => Some(&[interest::NODES]),
        CREATE_TOPICS | DELETE_TOPICS | CREATE_PARTITIONS | DESCRIBE_CONFIGS | ALTER_CONFIGS | INCREMENTAL_ALTER_CONFIGS => Some(&[interest::TOPICS]),
        INIT_PRODUCER_ID => Some(&[]),
        _ => None,
    }
}

/// The lowest version, where Kafka has a lower one: Metadata 0 cannot ask for no topics.
pub fn lowest(key: i16) -> i16 {
    i16::from(key == METADATA)
}
