//! What a response needs: nothing, a look while it passes, or to be held and edited.

use crate::conf::Listener;
use crate::directory::METADATA;
use crate::frame::{API_VERSIONS, SASL_AUTHENTICATE};
use crate::requests::{FETCH, PRODUCE};
use crate::session::Pending;
use crate::table::Shape;
use crate::tables::interest;
use crate::virtual_cluster::{is_streamed, support};

const FIND_COORDINATOR: i16 = 10;
pub(crate) const LIST_GROUPS: i16 = 16;
pub(crate) const DESCRIBE_CONFIGS: i16 = 32;
const ALTER_CONFIGS: i16 = 33;
const INCREMENTAL_ALTER_CONFIGS: i16 = 44;
pub(crate) const DESCRIBE_QUORUM: i16 = 55;
const UPDATE_FEATURES: i16 = 57;
const DESCRIBE_CLUSTER: i16 = 60;
const UNREGISTER_BROKER: i16 = 64;
pub(crate) const LIST_TRANSACTIONS: i16 = 66;
pub(crate) const DESCRIBE_TOPIC_PARTITIONS: i16 = 75;
pub(crate) const SHARE_FETCH: i16 = 78;
const SHARE_ACKNOWLEDGE: i16 = 79;
const ADD_RAFT_VOTER: i16 = 80;
const REMOVE_RAFT_VOTER: i16 = 81;

/// What a response needs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// Nothing of it changes.
    Opaque,
    /// Its tail, and names in place of their length.
    Walk(u32),
    /// It is edited whole.
    Hold(&'static Shape),
}

/// What the response to a request needs.
pub(crate) fn way(pending: &Pending, listener: &Listener) -> Way {
    let has_lists = listener.chain.is_some() || listener.member.is_some();
    let Some((api, shape)) = pending.api.and_then(|api| Some((api, api.shape(pending.version)?))) else { return Way::Opaque };
    if pending.looked.is_some() {
        return Way::Hold(shape);
    }
    if let Some(cluster) = listener.virtual_cluster.as_deref().filter(|_| support::is_renamed(shape.response)) {
        let is_walked = api.key == SHARE_FETCH || api.key == FETCH && is_streamed(cluster, api, pending.version);
        return if is_walked { Way::Walk(shape.response) } else { Way::Hold(shape) };
    }
    match api.key {
        METADATA | FIND_COORDINATOR | API_VERSIONS | SASL_AUTHENTICATE | DESCRIBE_QUORUM | DESCRIBE_CLUSTER | DESCRIBE_TOPIC_PARTITIONS => {
            Way::Hold(shape)
        }
        // Their texts and values are about brokers' settings, which hold addresses.
        DESCRIBE_CONFIGS | ALTER_CONFIGS | INCREMENTAL_ALTER_CONFIGS | UPDATE_FEATURES | UNREGISTER_BROKER | ADD_RAFT_VOTER | REMOVE_RAFT_VOTER => {
            Way::Hold(shape)
        }
        FETCH if pending.masks.is_some() || pending.opens_session || listener.member.is_some() => Way::Walk(shape.response),
        LIST_GROUPS | LIST_TRANSACTIONS if has_lists => Way::Hold(shape),
        _ if pending.masks.is_some() => Way::Hold(shape),
        PRODUCE | FETCH | SHARE_FETCH | SHARE_ACKNOWLEDGE if Shape::bears(shape.response, interest::TAIL_TAGS) => Way::Walk(shape.response),
        _ if pending.charge.is_some() || pending.measured.is_some() => Way::Walk(shape.response),
        _ => Way::Opaque,
    }
}
