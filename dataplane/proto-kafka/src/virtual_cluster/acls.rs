//! ACLs of a tenant: on its topics, groups and transactional ids. `*` stands for all that has the prefix, which physically is a prefixed
//! pattern.

use super::request::{INVALID_REQUEST, Refusal};
use super::{Names, VirtualCluster};
use crate::edit::{Mark, Splice};

const DESCRIBE: i16 = 29;
const CREATE: i16 = 30;
const ANY_TYPE: u8 = 1;
const MATCH: u8 = 2;
const LITERAL: u8 = 3;
const PREFIXED: u8 = 4;

impl VirtualCluster {
    fn acl_names(&self, resource_type: u8) -> Option<&Names> {
        match resource_type {
            2 => Some(&self.topics),
            3 => Some(&self.groups),
            5 => Some(&self.transactions),
            _ => None,
        }
    }
}

/// The splices that confine a new ACL, or a filter of ACLs, to the tenant.
///
/// # Errors
/// It can't be confined.
pub fn request(cluster: &VirtualCluster, key: i16, acl_type: u8, body: &[u8], name: &Mark, pattern: &Mark) -> Result<Vec<Splice>, Refusal> {
    let names = match cluster.acl_names(acl_type) {
        Some(names) => names,
        // The response to a filter is filtered itself.
        None if key == DESCRIBE && acl_type != ANY_TYPE => return Ok(vec![]),
        None if key != CREATE && acl_type == ANY_TYPE => &cluster.topics,
        None => return Err(cluster.beyond("an ACL on something else than topics, groups and transactional ids")),
    };
    if name.is_null(body) {
        if key == DESCRIBE {
            return Ok(vec![]);
        }
        return Err(unconfined("names no resource"));
    }
    let (text, kind) = (name.text(body), pattern.byte(body));
    if key != DESCRIBE && kind == MATCH {
        return Err(unconfined("has the pattern type MATCH"));
    }
    if text == b"*" && kind != PREFIXED {
        return Ok(vec![name.with_text(names.prefix()), pattern.with([PREFIXED])]);
    }
    let physical = if kind == PREFIXED || acl_type == ANY_TYPE { [names.prefix(), text].concat() } else { names.physical(text) };
    Ok(vec![name.with_text(&physical)])
}

fn unconfined(what: &str) -> Refusal {
    Refusal::Refused(INVALID_REQUEST, format!("a filter of ACLs that {what} would reach beyond this virtual cluster; name each resource"))
}

/// Name and pattern type as the tenant knows them; `None`: the ACL is not on something of its own.
pub fn response<'a>(cluster: &'a VirtualCluster, acl_type: u8, name: &'a [u8], pattern: u8) -> Option<(&'a [u8], u8)> {
    let names = cluster.acl_names(acl_type)?;
    match pattern {
        PREFIXED if name == names.prefix() => Some((b"*", LITERAL)),
        PREFIXED => name.strip_prefix(names.prefix()).map(|name| (name, PREFIXED)),
        _ => names.client(name).map(|name| (name, pattern)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_cluster::tests::cluster;

    #[test]
    fn only_acls_on_what_is_the_tenants_are_shown() {
        let cluster = cluster();
        let show = |acl_type, name: &'static str, pattern| {
            response(&cluster, acl_type, name.as_bytes(), pattern).map(|(name, pattern)| (String::from_utf8(name.to_vec()).unwrap(), pattern))
        };
        assert_eq!(show(2, "a.x", LITERAL), Some(("x".into(), LITERAL)));
        assert_eq!(show(2, "legacy", LITERAL), Some(("orders".into(), LITERAL)));
        assert_eq!(show(2, "a.", PREFIXED), Some(("*".into(), LITERAL)));
        assert_eq!(show(3, "a.g", PREFIXED), Some(("g".into(), PREFIXED)));
        for (acl_type, name, pattern) in
            [(2, "*", LITERAL), (2, "", PREFIXED), (2, "b.x", LITERAL), (4, "kafka-cluster", LITERAL), (7, "a.x", LITERAL)]
        {
            assert_eq!(show(acl_type, name, pattern), None, "{name}");
        }
    }
}
