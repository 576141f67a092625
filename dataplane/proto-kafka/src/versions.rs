//! ApiVersions: clients are offered only what the tables have, because addresses are always rewritten.

use crate::codec;
use crate::conf::Listener;
use crate::edit::{Mark, Splice, apply, elements, marks};
use crate::federation;
use crate::frame::API_VERSIONS;
use crate::table;
use crate::tables::interest;
use crate::virtual_cluster::{VirtualCluster, support};
use crate::walk::{Malformed, Part};

/// UNSUPPORTED_VERSION.
pub const UNSUPPORTED_VERSION: i16 = 35;
const PRODUCE: i16 = 0;
const SASL_HANDSHAKE: i16 = 17;

/// The response to an ApiVersions request of a version that we don't know: the shape of version 0, and the versions of ApiVersions itself,
/// so that the client asks again (KIP-511).
pub fn unsupported() -> Vec<u8> {
    let (min, max) = table::api(API_VERSIONS).map_or((0, 0), |api| (api.min, api.max));
    let mut body = UNSUPPORTED_VERSION.to_be_bytes().to_vec();
    body.extend(1u32.to_be_bytes());
    [API_VERSIONS, min, max].iter().for_each(|value| body.extend(value.to_be_bytes()));
    body
}

/// Clamps a broker's response to the versions of the tables; what they don't have at all is taken out, and so is what a virtual cluster
/// or a federation does not have.
///
/// # Errors
/// The body is not an ApiVersions response.
pub fn clamp(version: i16, body: &[u8], listener: &Listener) -> Result<Vec<u8>, Malformed> {
    clamp_to(version, body, Offer { cluster: listener.virtual_cluster.as_deref(), is_federated: listener.member.is_some() })
}

/// What is not everything that the tables have.
#[derive(Clone, Copy, Default)]
struct Offer<'a> {
    cluster: Option<&'a VirtualCluster>,
    is_federated: bool,
}

fn clamp_to(version: i16, body: &[u8], offer: Offer<'_>) -> Result<Vec<u8>, Malformed> {
    // A broker that does not know the client's version answers in the shape of version 0.
    let refused = body.starts_with(&UNSUPPORTED_VERSION.to_be_bytes());
    let shape = table::api(API_VERSIONS).and_then(|api| api.shape(if refused { 0 } else { version })).ok_or(Malformed("has no table"))?;
    let marks = marks(shape.response, body)?;
    let mut splices = Vec::new();
    let mut left = 0;
    for (inside, span) in elements(&marks, interest::API_KEYS) {
        match range(body, &marks[inside], offer) {
            Some(kept) => {
                splices.extend(kept);
                left += 1;
            }
            None => splices.push(Splice { at: span.start, len: span.len(), with: vec![] }),
        }
    }
    splices.extend(
        marks
            .iter()
            .find(|mark| mark.interest == interest::API_KEYS && mark.part == Part::Count)
            .map(|mark| mark.with(codec::count(mark.compact, left))),
    );
    let mut out = Vec::with_capacity(body.len());
    apply(body, &mut splices, &mut out);
    Ok(out)
}

/// The clamped range of one API; `None` when nothing is left of it.
fn range(body: &[u8], marks: &[Mark], offer: Offer<'_>) -> Option<[Splice; 2]> {
    let find = |interest| marks.iter().find(|mark| mark.is(interest));
    let (key, min, max) = (find(interest::API_KEY)?, find(interest::API_MIN)?, find(interest::API_MAX)?);
    let api = table::api(key.int(body) as i16)?;
    let is_hidden = offer.cluster.is_some_and(|cluster| !support::offers(cluster, api.key));
    if is_hidden || offer.is_federated && !federation::support::offers(api.key) {
        return None;
    }
    let lowest = match api.key {
        // Kafka 4 offers Produce from 0, though it takes no such request: old librdkafka turns compression off otherwise (KAFKA-18659).
        PRODUCE => 0,
        // Version 0 is followed by tokens without frames, which we refuse.
        SASL_HANDSHAKE => 1,
        key if offer.is_federated => api.min.max(federation::support::lowest(key)),
        _ => api.min,
    };
    let low = min.int(body).max(i32::from(lowest));
    let high = max.int(body).min(i32::from(api.max));
    (low <= high).then(|| [min.with_int(low), max.with_int(high)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(ranges: &[(i16, i16, i16)]) -> Vec<u8> {
        let mut body = 0i16.to_be_bytes().to_vec();
        body.extend((ranges.len() as u32).to_be_bytes());
        ranges.iter().for_each(|(key, min, max)| [key, min, max].iter().for_each(|value| body.extend(value.to_be_bytes())));
        body
    }

    #[test]
    fn unknown_apis_go_and_ranges_are_cut() {
        let body = response(&[(0, 0, 99), (3, 0, 2), (17, 0, 1), (52, 0, 1), (18, 9, 12)]);
        assert_eq!(clamp_to(0, &body, Offer::default()).unwrap(), response(&[(0, 0, 13), (3, 0, 2), (17, 1, 1)]));
    }

    #[test]
    fn a_refusal_has_the_shape_of_version_0_whatever_was_asked() {
        assert_eq!(clamp_to(4, &unsupported(), Offer::default()).unwrap(), unsupported());
    }
}
