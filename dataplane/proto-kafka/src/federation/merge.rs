//! The clusters' responses as one.

use super::split::told_broker_name;
use super::{Member, support};
use crate::codec;
use crate::edit::{Mark, Splice, apply, elements, marks};
use crate::refused;
use crate::table::{Api, Shape};
use crate::tables::interest;
use crate::walk::{Malformed, Part as Border};

/// The client asks again.
const LEADER_NOT_AVAILABLE: i16 = 5;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const UNKNOWN_TOPIC_ID: i16 = 100;

/// Where InitProducerId has the producer's id, behind throttling and error, in every version.
const PRODUCER_ID: std::ops::Range<usize> = 6..14;

/// A cluster's response, edited for the client.
pub struct Answer {
    /// Which cluster.
    pub member: Member,
    /// The response's body.
    pub body: Vec<u8>,
}

/// Puts the answers together; they are at least one, the home cluster's first. What stands beside the lists is the first one's.
///
/// # Errors
/// One is not of its shape.
pub fn merge(api: &Api, shape: &Shape, answers: &[Answer]) -> Result<Vec<u8>, Malformed> {
    let (lists, first) = support::lists(api.key).zip(answers.first()).ok_or(Malformed("has no answer"))?;
    let mut splices = Vec::new();
    let base = marks(shape.response, &first.body)?;
    for list in lists {
        let mut found = Vec::new();
        for answer in answers {
            collect(answer, shape, *list, &mut found)?;
        }
        let kept = deduplicated(&found);
        let border = |part: Border| base.iter().find(|mark| mark.interest == *list && mark.part == part);
        let Some((count, end)) = border(Border::Count).zip(border(Border::End)) else { continue };
        let with = [codec::count(count.compact, kept.len() as u32), kept.concat()].concat();
        splices.push(Splice { at: count.at, len: end.at - count.at, with });
    }
    let federation = &first.member.federation;
    splices.extend(base.iter().filter(|mark| mark.is(interest::CLUSTER_ID)).map(|mark| mark.with_text(federation.cluster_id.as_bytes())));
    let mut out = Vec::with_capacity(answers.iter().map(|answer| answer.body.len()).sum());
    apply(&first.body, &mut splices, &mut out);
    if api.key == support::INIT_PRODUCER_ID {
        lift(&mut out, federation.producer_base);
    }
    Ok(out)
}

/// An element of a merged list.
struct Element {
    bytes: Vec<u8>,
    /// The id that it is about, and whether its cluster knows it.
    id: Option<([u8; 16], bool)>,
}

fn collect(answer: &Answer, shape: &Shape, list: u8, found: &mut Vec<Element>) -> Result<(), Malformed> {
    let Answer { member, body } = answer;
    let marks = marks(shape.response, body)?;
    for (inside, span) in elements(&marks, list) {
        let inside = &marks[inside];
        let mut name: Vec<Splice> = told_broker_name(member, body, inside).into_iter().collect();
        name.iter_mut().for_each(|splice| splice.at -= span.start);
        let mut bytes = Vec::with_capacity(span.len());
        apply(body.get(span).unwrap_or_default(), &mut name, &mut bytes);
        found.push(Element { bytes, id: id(body, inside) });
    }
    Ok(())
}

fn id(body: &[u8], marks: &[Mark]) -> Option<([u8; 16], bool)> {
    let find = |interest| marks.iter().find(|mark| mark.is(interest));
    let id = find(interest::TOPIC_ID)?.bytes(body).try_into().ok().filter(|id| *id != [0; 16])?;
    Some((id, find(interest::ERROR)?.int(body) != i32::from(UNKNOWN_TOPIC_ID)))
}

/// What was asked for by its id was asked of all clusters: one knows it, or none, which is told once.
fn deduplicated(found: &[Element]) -> Vec<&[u8]> {
    let mut kept = Vec::new();
    for (at, element) in found.iter().enumerate() {
        let is_told = |(id, is_known): ([u8; 16], bool)| {
            let mut others = found.iter().enumerate().filter_map(|(other, element)| Some((other, element.id?)));
            !is_known && others.any(|(other, (other_id, knows))| other_id == id && (knows || other < at))
        };
        if !element.id.is_some_and(is_told) {
            kept.push(&element.bytes[..]);
        }
    }
    kept
}

/// The ids of producers without a transaction, which write to all clusters, come from the home cluster. They are lifted to where no cluster
/// counts: two producers with one id in a partition would be taken for one, and what the second writes for repetitions of the first.
fn lift(body: &mut [u8], base: i64) {
    let Some(id) = body.get_mut(PRODUCER_ID) else { return };
    let told = id.iter().fold(0i64, |id, byte| id << 8 | i64::from(*byte));
    if let Some(lifted) = told.checked_add(base).filter(|_| told >= 0) {
        id.copy_from_slice(&lifted.to_be_bytes());
    }
}

/// What a cluster that could not be asked is taken to say; `None` where nothing can be said in its place.
pub fn absent(api: &Api, version: i16, request: &[u8], message: &str) -> Option<Vec<u8>> {
    let shape = api.shape(version)?;
    let marks = marks(shape.request, request).ok()?;
    let named = |interest| marks.iter().filter(|mark| mark.is(interest)).map(|mark| mark.text(request)).collect::<Vec<_>>();
    match api.key {
        support::METADATA => Some(no_leaders(version, &named(interest::TOPIC))),
        support::FIND_COORDINATOR if version >= 4 => {
            refused::each(api, version, &named(interest::COORDINATOR_KEY), COORDINATOR_NOT_AVAILABLE, message)
        }
        support::FIND_COORDINATOR | support::INIT_PRODUCER_ID => shape.error_body(COORDINATOR_NOT_AVAILABLE),
        _ => None,
    }
}

/// A Metadata response in which these topics have no leader at present.
fn no_leaders(version: i16, topics: &[&[u8]]) -> Vec<u8> {
    let compact = version >= 9;
    let tags = || compact.then_some(0u8);
    let mut out = vec![0; if version >= 3 { 4 } else { 0 }];
    out.extend(codec::count(compact, 0));
    if version >= 2 {
        out.extend(codec::string(compact, b""));
    }
    out.extend((-1i32).to_be_bytes().iter().filter(|_| version >= 1));
    let topics: Vec<_> = topics.iter().filter(|name| !name.is_empty()).collect();
    out.extend(codec::count(compact, topics.len() as u32));
    for name in topics {
        out.extend(LEADER_NOT_AVAILABLE.to_be_bytes());
        out.extend(codec::string(compact, name));
        out.extend([0; 16].iter().filter(|_| version >= 10));
        out.extend((version >= 1).then_some(0));
        out.extend(codec::count(compact, 0));
        out.extend(i32::MIN.to_be_bytes().iter().filter(|_| version >= 8));
        out.extend(tags());
    }
    out.extend(i32::MIN.to_be_bytes().iter().filter(|_| (8..=10).contains(&version)));
    out.extend([0; 2].iter().filter(|_| version >= 13));
    out.extend(tags());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::tests::federation;
    use crate::table::api;
    use crate::walk::walk_whole;

    fn merged(key: i16, version: i16, bodies: &[Vec<u8>]) -> Vec<u8> {
        let api = api(key).unwrap();
        let answers: Vec<Answer> = bodies
            .iter()
            .enumerate()
            .map(|(ordinal, body)| Answer { member: Member { federation: federation(), ordinal }, body: body.clone() })
            .collect();
        merge(api, api.shape(version).unwrap(), &answers).unwrap()
    }

    #[test]
    fn lists_are_put_together_and_the_cluster_id_is_the_federations() {
        // DescribeCluster v0: throttle, error, message, cluster id, controller, brokers, operations, tags.
        let body = |id: &[u8], controller: u8, nodes: &[u8]| {
            let nodes: Vec<u8> = nodes.iter().flat_map(|node| [&[0, 0, 0, *node, 2, b'h', 0, 0, 0, 9, 0, 0][..]].concat()).collect();
            let count = codec::count(true, (nodes.len() / 12) as u32);
            [b"\0\0\0\0\0\0\0".to_vec(), codec::string(true, id), vec![0, 0, 0, controller], count, nodes, vec![0; 5]].concat()
        };
        assert_eq!(merged(60, 0, &[body(b"x", 1, &[1, 2]), body(b"yy", 101, &[101])]), body(b"id-of-all", 1, &[1, 2, 101]));
    }

    #[test]
    fn a_topic_asked_for_by_its_id_is_told_once() {
        // DeleteTopics v6: throttle, responses: name, id, error, message null, tags; tags.
        let one = |id: u8, error: u8| [&[0][..], &[id; 16], &[0, error, 0, 0]].concat();
        let body = |all: &[Vec<u8>]| [&[0; 4][..], &[all.len() as u8 + 1], &all.concat(), &[0]].concat();
        let (home, other) = (body(&[one(1, 0), one(2, 100), one(3, 100)]), body(&[one(1, 100), one(2, 0), one(3, 100)]));
        assert_eq!(merged(20, 6, &[home, other]), body(&[one(1, 0), one(3, 100), one(2, 0)]));
    }

    #[test]
    fn producer_ids_are_lifted_out_of_every_clusters_own() {
        let body = |id: i64| [&[0; 6][..], &id.to_be_bytes(), &[0, 0]].concat();
        assert_eq!(merged(22, 0, &[body(7)]), body(7 + (1 << 62)));
        assert_eq!(merged(22, 0, &[body(-1)]), body(-1));
    }

    #[test]
    fn for_an_absent_cluster_every_version_has_a_response() {
        for key in [support::METADATA, support::FIND_COORDINATOR, support::INIT_PRODUCER_ID] {
            let api = api(key).unwrap();
            for version in api.min..=api.max {
                let body = match key {
                    support::METADATA => no_leaders(version, &[b"b.x", b"b.y"]),
                    _ => refused::each(api, version, &[b"g"], COORDINATOR_NOT_AVAILABLE, "no")
                        .or_else(|| api.shape(version).unwrap().error_body(COORDINATOR_NOT_AVAILABLE))
                        .unwrap(),
                };
                walk_whole(api, version, true, &body, |_, _| {}).unwrap_or_else(|error| panic!("{} {version}: {error:?}", api.name));
            }
        }
    }
}
