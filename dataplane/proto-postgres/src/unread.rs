//! What stands behind the last answer that a server owes. It is never given to the next client.

use crate::memory::parameter;
use crate::message::{self, HEADER, Head, head};
use crate::server::Server;

/// How long the notices, notifications and parameters at the front are that are all here; parameters are remembered. A connection that is
/// kept has no next client, and its notifications have to be looked at one by one.
pub fn asides(server: &mut Server, bytes: &[u8], is_kept: bool) -> usize {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..)
        && let Head::Frame { tag: tag @ (b'S' | b'N' | b'A'), total } = head(rest, message::backend_limit)
        && let Some(body) = rest.get(HEADER..total)
        && !(is_kept && tag == b'A')
    {
        if tag == b'S' {
            parameter(server, body);
        }
        at += total;
    }
    at
}
