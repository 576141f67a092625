//! Groups and transactional ids that a request names: what is done in their names is decided before its topics are.
//!
//! Policies see them as `group:NAME` and `transaction:NAME`; no topic has a colon in its name. Where one of several is denied, the request is
//! refused for all of them: a broker given a part of them would answer in another order.

use crate::edit::Mark;
use crate::federation::Kind;
use crate::filtered::Request;
use crate::policy::code;
use crate::session::Session;
use crate::tables::interest;
use wire::{Chain, DenialKind};

const GROUP_AUTHORIZATION_FAILED: i16 = 30;
const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;

/// What policies see before a group's name.
pub const GROUP: &[u8] = b"group:";
/// What policies see before a transactional id.
pub const TRANSACTION: &[u8] = b"transaction:";

/// The resource type of a group in the configuration APIs.
const GROUP_RESOURCE: u8 = 32;
/// What a coordinator is looked for: a group, unless it says something else.
const OF_TRANSACTION: u8 = 1;
const OF_SHARE: u8 = 2;

/// A group or transactional id.
pub(crate) struct Owner<'a> {
    /// As the client wrote it.
    pub name: &'a [u8],
    /// As policies see it.
    pub resource: Vec<u8>,
    denied: i16,
}

impl<'a> Owner<'a> {
    fn group(name: &'a [u8]) -> Owner<'a> {
        Owner { name, resource: [GROUP, name].concat(), denied: GROUP_AUTHORIZATION_FAILED }
    }

    /// What it is.
    pub(crate) fn kind(&self) -> Kind {
        if self.denied == TRANSACTIONAL_ID_AUTHORIZATION_FAILED { Kind::Transaction } else { Kind::Group }
    }

    pub(crate) fn transaction(name: &'a [u8]) -> Owner<'a> {
        Owner { name, resource: [TRANSACTION, name].concat(), denied: TRANSACTIONAL_ID_AUTHORIZATION_FAILED }
    }
}

/// Those that a held request names.
pub(crate) fn owners<'a>(body: &'a [u8], marks: &[Mark]) -> Vec<Owner<'a>> {
    let sought = marks.iter().find(|mark| mark.is(interest::KEY_TYPE)).and_then(|mark| mark.bytes(body).first().copied());
    let mut is_group = false;
    let mut found = Vec::new();
    for mark in marks.iter().filter(|mark| mark.part == crate::walk::Part::Value) {
        if mark.interest == interest::RESOURCE_TYPE {
            is_group = mark.bytes(body) == [GROUP_RESOURCE];
            continue;
        }
        let name = mark.text(body);
        found.extend(match mark.interest {
            interest::GROUP => Some(Owner::group(name)),
            interest::TRANSACTIONAL_ID => Some(Owner::transaction(name)),
            interest::RESOURCE_NAME if is_group => Some(Owner::group(name)),
            interest::COORDINATOR_KEY if sought == Some(OF_TRANSACTION) => Some(Owner::transaction(name)),
            interest::COORDINATOR_KEY if sought == Some(OF_SHARE) => Some(Owner { name, ..Owner::group(share_group(name)) }),
            interest::COORDINATOR_KEY => Some(Owner::group(name)),
            _ => None,
        });
    }
    found.retain(|owner| !owner.name.is_empty());
    found
}

/// The group in `group:topic id:partition`.
pub(crate) fn share_group(key: &[u8]) -> &[u8] {
    let mut parts = key.rsplitn(3, |byte| *byte == b':');
    parts.nth(2).unwrap_or(key)
}

impl Session {
    /// Why this client may not act for one of them: error code, sentence, the metric's word.
    pub(crate) fn disowned(&mut self, chain: &dyn Chain, request: &Request<'_>, owners: &[Owner<'_>]) -> Option<(i16, String, &'static str)> {
        owners.iter().find_map(|owner| {
            let denial = self.denial(chain, request.api.key, &owner.resource)?;
            let (code, kind) = code(denial.kind);
            Some((if denial.kind == DenialKind::Unauthorized { owner.denied } else { code }, denial.message.clone(), kind))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coordinator_of_a_share_is_its_groups() {
        assert_eq!(share_group(b"a:b:AAAAAAAAAAAAAAAAAAAAAA:7"), b"a:b");
        assert_eq!(share_group(b"odd"), b"odd");
    }
}
