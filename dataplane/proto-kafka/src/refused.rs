//! Refusals: a response that says nothing but an error, for requests about groups and transactional ids one for each of them.

use crate::codec;
use crate::filtered::Request;
use crate::requests::{Began, pending};
use crate::session::Session;
use crate::shared::Shared;
use crate::table::Api;
use crate::virtual_cluster::answers;
use wire::{Fault, Io};

const OFFSET_FETCH: i16 = 9;
const FIND_COORDINATOR: i16 = 10;
const DESCRIBE_GROUPS: i16 = 15;
const DELETE_GROUPS: i16 = 42;
const DESCRIBE_TRANSACTIONS: i16 = 65;
const CONSUMER_GROUP_DESCRIBE: i16 = 69;
const SHARE_GROUP_DESCRIBE: i16 = 77;

/// Operations that nobody has asked for (`authorizedOperations`).
const NO_OPERATIONS: i32 = i32::MIN;

/// The body of a response in which each of `names` has the error; `None` for other APIs and for versions that speak of one.
pub fn each(api: &Api, version: i16, names: &[&[u8]], code: i16, message: &str) -> Option<Vec<u8>> {
    let mut out = Out { bytes: Vec::new(), compact: api.is_flexible(version) };
    if api.key != DESCRIBE_GROUPS || version > 0 {
        out.int(0); // no throttling
    }
    out.count(names.len());
    for name in names {
        match api.key {
            OFFSET_FETCH if version >= 8 => out.string(name).count(0).short(code),
            FIND_COORDINATOR if version >= 4 => out.string(name).int(-1).string(b"").int(-1).short(code).string(message.as_bytes()),
            DESCRIBE_GROUPS => out.described(version, name, code, message),
            DELETE_GROUPS => out.string(name).short(code),
            DESCRIBE_TRANSACTIONS => out.short(code).string(name).string(b"").int(0).long(-1).long(-1).short(-1).count(0),
            CONSUMER_GROUP_DESCRIBE | SHARE_GROUP_DESCRIBE => {
                out.short(code).string(message.as_bytes()).string(name).string(b"").int(0).int(0).string(b"").count(0).int(NO_OPERATIONS)
            }
            _ => return None,
        }
        .tags();
    }
    out.tags();
    Some(out.bytes)
}

impl Session {
    /// Answers a whole request with an error of its own; where its response has none, the connection ends.
    pub(crate) fn refuse(
        &mut self,
        io: &mut dyn Io,
        shared: &mut Shared,
        request: &Request<'_>,
        code: i16,
        message: &str,
        kind: &'static str,
    ) -> Result<Began, Fault> {
        let held = request.bytes.get(request.body..request.head.frame() as usize);
        let each = || answers::refused(request.api, request.head.version, held?, code, message);
        let body = request.shape.error_body(code).or_else(each);
        self.refuse_with(io, shared, request, body, code, message, kind)
    }

    #[allow(clippy::too_many_arguments)] // what `refuse` has, and the body that it finds
    pub(crate) fn refuse_with(
        &mut self,
        io: &mut dyn Io,
        shared: &mut Shared,
        request: &Request<'_>,
        body: Option<Vec<u8>>,
        code: i16,
        message: &str,
        kind: &'static str,
    ) -> Result<Began, Fault> {
        let Some(body) = body else {
            let what = format!("{} is refused, and its response has no place for an error {code}: {message}", request.api.name);
            return Err(self.fault(shared, kind, Fault::client("Kafka request", what)));
        };
        shared.meters(&self.listener.name).request(request.api.key, request.api.name);
        shared.meters(&self.listener.name).error(kind);
        let mut pending = pending(request.head, Some(request.api), io.now());
        pending.tapped = self.decided.take();
        self.answer(io, shared, pending, &body);
        let frame = request.head.frame();
        let there = request.bytes.len() as u64;
        if frame > there {
            io.skip(self.client, frame - there);
        }
        Ok(Began::Took(frame.min(there) as usize))
    }
}

struct Out {
    bytes: Vec<u8>,
    compact: bool,
}

impl Out {
    fn short(&mut self, value: i16) -> &mut Out {
        self.bytes.extend(value.to_be_bytes());
        self
    }

    fn int(&mut self, value: i32) -> &mut Out {
        self.bytes.extend(value.to_be_bytes());
        self
    }

    fn long(&mut self, value: i64) -> &mut Out {
        self.bytes.extend(value.to_be_bytes());
        self
    }

    fn string(&mut self, text: &[u8]) -> &mut Out {
        self.bytes.extend(codec::string(self.compact, text));
        self
    }

    fn count(&mut self, n: usize) -> &mut Out {
        self.bytes.extend(codec::count(self.compact, n as u32));
        self
    }

    fn tags(&mut self) -> &mut Out {
        self.bytes.extend(self.compact.then_some(0u8));
        self
    }

    /// A group in DescribeGroups: error, from version 6 on its message, name, state, protocol's type and data, members, from version 3 on
    /// operations.
    fn described(&mut self, version: i16, name: &[u8], code: i16, message: &str) -> &mut Out {
        self.short(code);
        if version >= 6 {
            self.string(message.as_bytes());
        }
        self.string(name).string(b"").string(b"").string(b"").count(0);
        if version >= 3 {
            self.int(NO_OPERATIONS);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::api;
    use crate::tables::interest;
    use crate::walk::walk_whole;

    #[test]
    fn every_version_has_the_shape_of_its_response_and_the_error_for_each() {
        for key in
            [OFFSET_FETCH, FIND_COORDINATOR, DESCRIBE_GROUPS, DELETE_GROUPS, DESCRIBE_TRANSACTIONS, CONSUMER_GROUP_DESCRIBE, SHARE_GROUP_DESCRIBE]
        {
            let api = api(key).unwrap();
            for version in api.min..=api.max {
                let Some(body) = each(api, version, &[b"one", b"two"], 30, "no") else { continue };
                let mut errors = 0;
                walk_whole(api, version, true, &body, |_, seen| errors += i32::from(seen.interest == interest::ERROR && seen.bytes == [0, 30]))
                    .unwrap();
                assert_eq!(errors, 2, "{} {version}", api.name);
            }
            assert!(each(api, api.max, &[b"one"], 30, "no").is_some(), "{}", api.name);
        }
    }
}
