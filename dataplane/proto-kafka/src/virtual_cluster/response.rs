//! A held response under the client's names; what is another tenant's is left out of its lists.

use super::request::is_no_name;
use super::{Asked, MAX_TOPIC, VirtualCluster, acls, consumer, pattern, text};
use crate::codec;
use crate::edit::{Mark, Splice, apply, marks};
use crate::tables::interest;
use crate::walk::{Malformed, Part};

const DESCRIBE_TOPIC_PARTITIONS: i16 = 75;
const CLIENT_METRICS: u8 = 16;

/// Renames a whole response of the API `key`.
///
/// # Errors
/// It is not of its shape, or a name that is no client's stands where nothing can be left out.
pub fn response(cluster: &VirtualCluster, key: i16, asked: Asked, program: u32, body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let marks = marks(program, body)?;
    let mut pass = Pass {
        cluster,
        key,
        asked,
        body,
        splices: vec![],
        lists: vec![],
        resource_type: None,
        acl_type: 0,
        is_consumer: asked.is_consumer,
        is_too_long: false,
    };
    for (at, mark) in marks.iter().enumerate() {
        match mark.part {
            Part::Value => pass.field(mark, marks.get(at + 1))?,
            Part::Count if matches!(mark.interest, interest::TAIL_TAGS | interest::LAST_TAGS) => {}
            Part::Count => pass.lists.push(List { count: *mark, kept: 0, element: None, is_foreign: false }),
            Part::Element => pass.element(mark)?,
            Part::End => pass.end(mark)?,
            Part::Tag => {}
        }
    }
    let mut out = Vec::with_capacity(body.len());
    apply(body, &mut pass.splices, &mut out);
    Ok(out)
}

/// An array that is being passed.
struct List {
    count: Mark,
    kept: u32,
    /// Where the present element begins, and how many splices there were.
    element: Option<(usize, usize)>,
    /// The present element is left out.
    is_foreign: bool,
}

struct Pass<'a> {
    cluster: &'a VirtualCluster,
    key: i16,
    asked: Asked,
    body: &'a [u8],
    splices: Vec<Splice>,
    lists: Vec<List>,
    resource_type: Option<u8>,
    acl_type: u8,
    is_consumer: Option<bool>,
    /// The present topic's name is longer than the prefix leaves room for.
    is_too_long: bool,
}

impl Pass<'_> {
    /// The element before `mark` is over.
    fn close(&mut self, mark: &Mark) -> Result<(), Malformed> {
        let list = self.lists.last_mut().ok_or(Malformed("has an element outside of an array"))?;
        if let Some((at, splices)) = list.element.take() {
            if std::mem::take(&mut list.is_foreign) {
                self.splices.truncate(splices);
                self.splices.push(Splice { at, len: mark.at - at, with: vec![] });
            } else {
                list.kept += 1;
            }
        }
        Ok(())
    }

    fn element(&mut self, mark: &Mark) -> Result<(), Malformed> {
        self.close(mark)?;
        self.is_too_long = false;
        let splices = self.splices.len();
        if let Some(list) = self.lists.last_mut() {
            list.element = Some((mark.at, splices));
        }
        Ok(())
    }

    fn end(&mut self, mark: &Mark) -> Result<(), Malformed> {
        self.close(mark)?;
        let Some(List { count, kept, .. }) = self.lists.pop() else { return Ok(()) };
        if kept != count.count(self.body) {
            self.splices.push(count.with(codec::count(count.compact, kept)));
        }
        Ok(())
    }

    /// What is here is not the tenant's.
    fn leave_out(&mut self, mark: &Mark) -> Result<(), Malformed> {
        if let Some(list) = self.lists.last_mut() {
            list.is_foreign = true;
            return Ok(());
        }
        if self.key != DESCRIBE_TOPIC_PARTITIONS {
            return Err(Malformed("names what is not this virtual cluster's"));
        }
        // The cursor: a byte that says that it is there, the name, a partition, tags. Without one the list is over.
        let behind = self.body.get(mark.at + mark.len + 4..).unwrap_or_default();
        let tags = crate::frame::tags(behind)?.ok_or(Malformed("ends before its cursor does"))?;
        let at = mark.at.checked_sub(1).ok_or(Malformed("has no cursor"))?;
        self.splices.push(Splice { at, len: 1 + mark.len + 4 + tags, with: vec![0xff] });
        Ok(())
    }

    fn field(&mut self, mark: &Mark, next: Option<&Mark>) -> Result<(), Malformed> {
        if mark.is_null(self.body) {
            return Ok(());
        }
        let (cluster, text) = (self.cluster, mark.text(self.body));
        match mark.interest {
            _ if is_no_name(self.key, mark, self.body) => Ok(()),
            interest::TOPIC => {
                self.is_too_long = text.len() > MAX_TOPIC;
                self.put(mark, cluster.topics.client(text))
            }
            interest::GROUP => self.put(mark, cluster.groups.client(text)),
            interest::TRANSACTIONAL_ID => self.put(mark, cluster.transactions.client(text)),
            interest::COORDINATOR_KEY => {
                let key = cluster.coordinator_key(self.asked.key_type, text, |names, name| names.client(name).map(<[u8]>::to_vec));
                self.put(mark, key.as_deref())
            }
            interest::CLUSTER_ID => self.put(mark, Some(cluster.cluster_id.as_bytes())),
            interest::ERROR_MESSAGE | interest::TEXT => {
                self.sentence(mark, text);
                Ok(())
            }
            interest::TOPIC_REGEX => self.put(mark, Some(pattern::client(cluster.topics.prefix(), text).unwrap_or_default())),
            interest::PROTOCOL_TYPE => {
                self.is_consumer = Some(text == b"consumer");
                Ok(())
            }
            interest::SUBSCRIPTION | interest::ASSIGNMENT => {
                self.consumer_bytes(mark);
                Ok(())
            }
            interest::RESOURCE_TYPE => {
                self.resource_type = Some(mark.byte(self.body));
                Ok(())
            }
            interest::RESOURCE_NAME => self.resource(mark, next),
            interest::ACL_TYPE => {
                self.acl_type = mark.byte(self.body);
                Ok(())
            }
            interest::ACL_NAME => self.acl(mark, next),
            _ => Ok(()),
        }
    }

    fn put(&mut self, mark: &Mark, name: Option<&[u8]>) -> Result<(), Malformed> {
        match name {
            Some(name) => self.splices.push(mark.with_text(name)),
            None => self.leave_out(mark)?,
        }
        Ok(())
    }

    fn sentence(&mut self, mark: &Mark, text: &[u8]) {
        let told = if self.is_too_long {
            let (name, room) = (&self.cluster.name, MAX_TOPIC.saturating_sub(self.cluster.topics.prefix().len()));
            Some(format!("KafkaVirtualCluster/{name} leaves topics names of at most {room} characters").into_bytes())
        } else {
            text::cleaned(self.cluster, text)
        };
        self.splices.extend(told.map(|told| mark.with_text(&told)));
    }

    fn consumer_bytes(&mut self, mark: &Mark) {
        let blob = mark.blob(self.body);
        let mut rename = |name: &[u8]| self.cluster.topics.client(name).map(<[u8]>::to_vec);
        let renamed = match (self.is_consumer, mark.interest) {
            (Some(false), _) => None,
            (_, interest::ASSIGNMENT) => consumer::assignment(blob, &mut rename),
            _ => consumer::subscription(blob, &mut rename),
        };
        self.splices.extend(renamed.map(|renamed| mark.with_blob(&renamed)));
    }

    /// The type stands before the name, but for ListConfigResources, where it stands behind, or is of the one kind that there was.
    fn resource(&mut self, mark: &Mark, next: Option<&Mark>) -> Result<(), Malformed> {
        const LIST_CONFIG_RESOURCES: i16 = 74;
        let resource_type = if self.key == LIST_CONFIG_RESOURCES {
            next.filter(|next| next.is(interest::RESOURCE_TYPE)).map_or(CLIENT_METRICS, |next| next.byte(self.body))
        } else {
            self.resource_type.unwrap_or(CLIENT_METRICS)
        };
        let text = mark.text(self.body);
        match self.cluster.resource(resource_type) {
            Some(names) => self.put(mark, names.client(text)),
            None if matches!(resource_type, 4 | 8) => Ok(()),
            None if self.key == LIST_CONFIG_RESOURCES => self.leave_out(mark),
            None => self.put(mark, self.cluster.topics.client(text)),
        }
    }

    fn acl(&mut self, mark: &Mark, next: Option<&Mark>) -> Result<(), Malformed> {
        let pattern = next.filter(|next| next.is(interest::ACL_PATTERN)).ok_or(Malformed("has no pattern type"))?;
        match acls::response(self.cluster, self.acl_type, mark.text(self.body), pattern.byte(self.body)) {
            Some((name, kind)) => {
                self.splices.push(mark.with_text(name));
                self.splices.push(pattern.with([kind]));
                Ok(())
            }
            None => self.leave_out(mark),
        }
    }
}
