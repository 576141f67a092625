//! What of Kafka's APIs a virtual cluster has. Whoever adds an API here has seen what its messages name, and that the tables mark it.

use super::VirtualCluster;
use crate::table::Shape;
use crate::tables::interest;

const DESCRIBE_TOPIC_PARTITIONS: i16 = 75;

/// Offered to clients. Not so: what brokers say to each other (27, 83 to 87); what is set for the whole physical cluster, or shows it:
/// quotas and users (48 to 51), the quorum and its voters (55, 80, 81), features (57), brokers (64).
const OFFERED: [(i16, i16); 9] = [(0, 3), (8, 26), (28, 47), (60, 61), (65, 66), (68, 69), (71, 72), (74, 79), (88, 92)];

/// Whether the API is one of a virtual cluster's. A list of all topics, page by page, needs names in the brokers' order, which aliases are
/// not in: clients ask Metadata then.
pub fn offers(cluster: &VirtualCluster, key: i16) -> bool {
    let is_offered = OFFERED.iter().any(|(first, last)| (*first..=*last).contains(&key));
    is_offered && !(key == DESCRIBE_TOPIC_PARTITIONS && cluster.topics.has_aliases())
}

/// Marks whose fields change on their way.
const RENAMED: [u8; 14] = [
    interest::TOPIC,
    interest::GROUP,
    interest::TRANSACTIONAL_ID,
    interest::COORDINATOR_KEY,
    interest::PROTOCOL_TYPE,
    interest::SUBSCRIPTION,
    interest::ASSIGNMENT,
    interest::TOPIC_REGEX,
    interest::TRANSACTION_REGEX,
    interest::CLUSTER_ID,
    interest::RESOURCE_NAME,
    interest::ACL_NAME,
    interest::ERROR_MESSAGE,
    interest::TEXT,
];

/// Whether a message with this program has to be looked at.
pub fn is_renamed(program: u32) -> bool {
    RENAMED.iter().any(|interest| Shape::bears(program, *interest))
}
