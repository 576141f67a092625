//! A request that concerns several clusters, as each of them is to see it.

use super::rules::{coordinator, some_text};
use super::{Kind, Member, support};
use crate::codec;
use crate::edit::{Mark, Splice, apply, brokers, elements, marks};
use crate::table::Api;
use crate::tables::interest;
use crate::walk::{Malformed, Part as Border};

const TOPIC_RESOURCE: u8 = 2;
const BROKER_RESOURCE: u8 = 4;
const BROKER_LOGGER_RESOURCE: u8 = 8;
const GROUP_RESOURCE: u8 = 32;

/// What one cluster is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Which cluster.
    pub ordinal: usize,
    /// The request's body.
    pub body: Vec<u8>,
}

/// The parts of a request whose API is split, by cluster; `None` where it is this cluster's alone.
///
/// # Errors
/// It is not of its shape.
pub fn split(member: &Member, api: &Api, version: i16, body: &[u8]) -> Result<Option<Vec<Part>>, Malformed> {
    let program = api.shape(version).ok_or(Malformed("has no such version"))?.request;
    let marks = marks(program, body)?;
    let find = |interest| marks.iter().find(|mark| mark.is(interest));
    let count = member.federation.first_nodes.len();
    let to = |ordinal| Part { ordinal, body: body.to_vec() };
    let key_type = find(interest::KEY_TYPE).map_or(0, |mark| mark.byte(body));
    let list = marks.iter().find(|mark| mark.part == Border::Count && matches!(mark.interest, interest::TOPICS | interest::NAMES));
    let Some(list) = list else {
        return Ok(match api.key {
            support::DESCRIBE_CLUSTER => Some((0..count).map(to).collect()),
            // Producers without a transaction write to every cluster: their ids come from one.
            support::INIT_PRODUCER_ID => find(interest::TRANSACTIONAL_ID).is_none_or(|mark| mark.is_null(body)).then(|| vec![to(0)]),
            _ => find(interest::COORDINATOR_KEY).map(|mark| vec![to(coordinator(member, key_type, mark.text(body)))]),
        });
    };
    if list.is_null(body) {
        return Ok(Some((0..count).map(to).collect()));
    }
    let mut named = Vec::new();
    for (inside, span) in elements(&marks, list.interest) {
        named.push((target(member, body, &marks[inside.clone()], key_type), inside, span));
    }
    let mut parts = Vec::new();
    for ordinal in 0..count {
        let is_asked = |target: Option<usize>| target.is_none_or(|target| target == ordinal);
        if api.key != support::METADATA && !named.iter().any(|(target, ..)| is_asked(*target)) {
            continue;
        }
        let cluster = Member { ordinal, ..member.clone() };
        let mut splices = Vec::new();
        let mut kept = 0;
        for (target, inside, span) in &named {
            if is_asked(*target) {
                kept += 1;
                splices.extend(broker_names(member, body, &marks[inside.clone()]));
            } else {
                splices.push(Splice { at: span.start, len: span.len(), with: vec![] });
            }
        }
        splices.push(list.with(codec::count(list.compact, kept)));
        let gone = splices.iter().filter(|splice| splice.with.is_empty()).map(|splice| splice.at..splice.at + splice.len).collect::<Vec<_>>();
        brokers(program, body, |mark| {
            if !gone.iter().any(|span| span.contains(&mark.at)) {
                splices.push(cluster.physical_brokers(body, &mark));
            }
        })?;
        let mut out = Vec::with_capacity(body.len());
        apply(body, &mut splices, &mut out);
        parts.push(Part { ordinal, body: out });
    }
    Ok(Some(if parts.is_empty() { vec![to(member.ordinal)] } else { parts }))
}

/// The cluster that an element is about; `None`: any may be, as it is named by an id, which only its own cluster knows.
fn target(member: &Member, body: &[u8], marks: &[Mark], key_type: u8) -> Option<usize> {
    let federation = &member.federation;
    let mut resource_type = TOPIC_RESOURCE;
    for mark in marks.iter().filter(|mark| mark.part == Border::Value) {
        match mark.interest {
            interest::RESOURCE_TYPE => resource_type = mark.byte(body),
            interest::RESOURCE_NAME => {
                let name = mark.text(body);
                return Some(match resource_type {
                    TOPIC_RESOURCE => federation.owner(Kind::Topic, name),
                    GROUP_RESOURCE => federation.owner(Kind::Group, name),
                    BROKER_RESOURCE | BROKER_LOGGER_RESOURCE => node(name).map_or(0, |node| federation.place(node).0),
                    _ => 0,
                });
            }
            interest::TOPIC => {
                if let Some(name) = some_text(body, mark) {
                    return Some(federation.owner(Kind::Topic, name));
                }
            }
            interest::COORDINATOR_KEY => return Some(coordinator(member, key_type, mark.text(body))),
            interest::TOPIC_ID if mark.bytes(body) != [0; 16] && !marks.iter().any(|mark| named(body, mark)) => return None,
            _ => {}
        }
    }
    Some(0)
}

fn named(body: &[u8], mark: &Mark) -> bool {
    mark.is(interest::TOPIC) && some_text(body, mark).is_some()
}

fn node(name: &[u8]) -> Option<i32> {
    std::str::from_utf8(name).ok()?.parse().ok()
}

/// Brokers as resources are called by their ids.
fn broker_names(member: &Member, body: &[u8], marks: &[Mark]) -> Option<Splice> {
    let find = |interest| marks.iter().find(|mark| mark.is(interest));
    let name = find(interest::RESOURCE_NAME)?;
    matches!(find(interest::RESOURCE_TYPE)?.byte(body), BROKER_RESOURCE | BROKER_LOGGER_RESOURCE).then_some(())?;
    let (_, node) = member.federation.place(node(name.text(body))?);
    Some(name.with_text(node.to_string().as_bytes()))
}

/// The same back, in a response's element.
pub fn told_broker_name(member: &Member, body: &[u8], marks: &[Mark]) -> Option<Splice> {
    let find = |interest| marks.iter().find(|mark| mark.is(interest));
    let name = find(interest::RESOURCE_NAME)?;
    matches!(find(interest::RESOURCE_TYPE)?.byte(body), BROKER_RESOURCE | BROKER_LOGGER_RESOURCE).then_some(())?;
    Some(name.with_text(member.node(node(name.text(body))?).to_string().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::tests::federation;
    use crate::table::api;

    fn split_by(key: i16, version: i16, body: &[u8]) -> Option<Vec<(usize, Vec<u8>)>> {
        let member = Member { federation: federation(), ordinal: 0 };
        split(&member, api(key).unwrap(), version, body).unwrap().map(|parts| parts.into_iter().map(|part| (part.ordinal, part.body)).collect())
    }

    #[test]
    fn metadata_asks_all_clusters_each_for_its_own_topics() {
        let request = |names: &[&[u8]]| {
            let strings: Vec<Vec<u8>> = names.iter().map(|name| codec::string(false, name)).collect();
            [codec::count(false, names.len() as u32), strings.concat()].concat()
        };
        assert_eq!(split_by(3, 1, &request(&[b"a", b"b.x", b"b.home"])), Some(vec![(0, request(&[b"a", b"b.home"])), (1, request(&[b"b.x"]))]));
        assert_eq!(split_by(3, 1, &request(&[])), Some(vec![(0, request(&[])), (1, request(&[]))]));
        assert_eq!(split_by(3, 1, &[0xff; 4]), Some(vec![(0, vec![0xff; 4]), (1, vec![0xff; 4])]));
    }

    #[test]
    fn a_topic_named_by_its_id_is_asked_of_every_cluster() {
        // Version 12: id, name null, tags; then no creation, no operations, tags.
        let request = [&[2][..], &[7; 16], &[0, 0], &[0, 0, 0]].concat();
        assert_eq!(split_by(3, 12, &request), Some(vec![(0, request.clone()), (1, request.clone())]));
    }

    #[test]
    fn coordinators_are_looked_for_at_home() {
        let one = |key: &[u8], key_type: u8| [codec::string(false, key), vec![key_type]].concat();
        assert_eq!(split_by(10, 1, &one(b"bank", 1)), Some(vec![(1, one(b"bank", 1))]));
        assert_eq!(split_by(10, 1, &one(b"a", 0)), Some(vec![(0, one(b"a", 0))]));
        let many = |keys: &[&[u8]]| {
            let strings: Vec<Vec<u8>> = keys.iter().map(|key| codec::string(true, key)).collect();
            [vec![0], codec::count(true, keys.len() as u32), strings.concat(), vec![0]].concat()
        };
        assert_eq!(split_by(10, 4, &many(&[b"g", b"b1", b"b2"])), Some(vec![(0, many(&[b"g"])), (1, many(&[b"b1", b"b2"]))]));
    }

    #[test]
    fn what_one_cluster_can_do_alone_is_its_own() {
        let init = |id: Option<&[u8]>| [id.map_or(vec![0xff, 0xff], |id| codec::string(false, id)), vec![0; 4]].concat();
        assert_eq!(split_by(22, 0, &init(None)), Some(vec![(0, init(None))]));
        assert_eq!(split_by(22, 0, &init(Some(b"b"))), None);
    }

    #[test]
    fn assignments_name_the_brokers_of_the_topics_cluster() {
        // CreateTopics v2: topics: name, partitions, factor, assignments: index, brokers; configs; then timeout, validate only.
        let topic = |name: &[u8], broker: u8| {
            let assignment = [&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0][..], &[broker]].concat();
            [codec::string(false, name), vec![0xff; 6], assignment, vec![0; 4]].concat()
        };
        let request = |topics: &[Vec<u8>]| [codec::count(false, topics.len() as u32), topics.concat(), vec![0; 5]].concat();
        let asked = request(&[topic(b"a", 1), topic(b"b.x", 102)]);
        assert_eq!(split_by(19, 2, &asked), Some(vec![(0, request(&[topic(b"a", 1)])), (1, request(&[topic(b"b.x", 2)]))]));
    }

    #[test]
    fn configurations_are_asked_where_the_resource_is() {
        let resource = |kind: u8, name: &[u8]| [vec![kind], codec::string(false, name), vec![0xff; 4]].concat();
        let request = |resources: &[Vec<u8>]| [codec::count(false, resources.len() as u32), resources.concat(), vec![0]].concat();
        let asked = request(&[resource(2, b"b.x"), resource(4, b"101"), resource(4, b"1")]);
        let expected = vec![(0, request(&[resource(4, b"1")])), (1, request(&[resource(2, b"b.x"), resource(4, b"1")]))];
        assert_eq!(split_by(32, 1, &asked), Some(expected));
    }
}
