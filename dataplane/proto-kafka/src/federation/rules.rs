//! What a connection of a federation refuses: what belongs to another of its clusters.

use super::{Kind, Member, support};
use crate::edit::Mark;
use crate::filtered::Request;
use crate::owners::Owner;
use crate::policy::TOPIC_AUTHORIZATION_FAILED;
use crate::tables::interest;

/// The client looks for the leader again.
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
/// The client looks for the coordinator again.
const NOT_COORDINATOR: i16 = 16;
const GROUP_AUTHORIZATION_FAILED: i16 = 30;

const PRODUCE: i16 = 0;
const ADD_OFFSETS_TO_TXN: i16 = 25;
const TXN_OFFSET_COMMIT: i16 = 28;

/// What leaders of partitions are asked for: any other broker says that it is none of them.
const OF_LEADERS: [i16; 8] = [0, 1, 2, 21, 23, 61, 78, 79];

/// An error code, a sentence, and the metric's word.
pub type Misplaced = (i16, String, &'static str);

impl Member {
    /// Why a request on a connection of this cluster cannot be about a topic; `None` when it can.
    pub fn misplaced_topic(&self, key: i16, name: &[u8]) -> Option<Misplaced> {
        if support::is_split(key) || self.owns(Kind::Topic, name) {
            return None;
        }
        if OF_LEADERS.contains(&key) {
            return Some((NOT_LEADER_OR_FOLLOWER, "the topic is in another cluster".into(), "other_cluster"));
        }
        // What a group or a transaction does with it; trying again would not help.
        Some((TOPIC_AUTHORIZATION_FAILED, self.apart("the topic is in another cluster than its group or transaction"), "across_clusters"))
    }

    /// The same about the groups and transactional ids of a request.
    pub(crate) fn misplaced_owners(&self, request: &Request<'_>, owners: &[Owner<'_>]) -> Option<Misplaced> {
        let key = request.api.key;
        if support::is_split(key) && key != support::INIT_PRODUCER_ID {
            return None;
        }
        let home = |owner: &Owner<'_>| self.federation.owner(owner.kind(), owner.name);
        if owners.iter().all(|owner| home(owner) == self.ordinal) {
            return None;
        }
        if matches!(key, ADD_OFFSETS_TO_TXN | TXN_OFFSET_COMMIT) && owners.windows(2).any(|pair| home(&pair[0]) != home(&pair[1])) {
            return Some((GROUP_AUTHORIZATION_FAILED, self.apart("the group is in another cluster than the transaction"), "across_clusters"));
        }
        if key == PRODUCE {
            return Some(self.misplaced_transaction());
        }
        Some((NOT_COORDINATOR, "the coordinator is in another cluster".into(), "other_cluster"))
    }

    /// Why a transaction of another cluster does not write here.
    pub fn misplaced_transaction(&self) -> Misplaced {
        (TOPIC_AUTHORIZATION_FAILED, self.apart("the topic is in another cluster than the transaction"), "across_clusters")
    }

    fn apart(&self, what: &str) -> String {
        format!("KafkaFederation/{}: {what}, and nothing can be done for two clusters at once", self.federation.name)
    }

    /// Whether an element of a list is shown: not what is this cluster's but not the federation's here.
    pub fn shows(&self, named: u8, name: &[u8]) -> bool {
        let kind = match named {
            interest::TOPIC => Kind::Topic,
            interest::GROUP => Kind::Group,
            _ => Kind::Transaction,
        };
        self.owns(kind, name)
    }
}

/// The cluster of a coordinator's key.
pub fn coordinator(member: &Member, key_type: u8, key: &[u8]) -> usize {
    match key_type {
        1 => member.federation.owner(Kind::Transaction, key),
        2 => member.federation.owner(Kind::Group, crate::owners::share_group(key)),
        _ => member.federation.owner(Kind::Group, key),
    }
}

/// The text of a marked string; `None` where it is null or empty.
pub fn some_text<'a>(body: &'a [u8], mark: &Mark) -> Option<&'a [u8]> {
    Some(mark.text(body)).filter(|text| !text.is_empty())
}
