//! What a server owes, against what it says.

use crate::server::{Expect, Server};
use wire::Fault;

/// Whether a message fits what is owed; what it ends is taken off.
pub fn answer(server: &mut Server, tag: u8) -> Result<(), Fault> {
    let front = server.expect.front();
    let is_end = match (front, tag) {
        (Some(Expect::Query | Expect::RefusedQuery(_)), b'G') => {
            server.is_copy_in = true;
            false
        }
        (Some(Expect::Query | Expect::RefusedQuery(_) | Expect::Restore | Expect::Quiet(_)), b'C') => {
            server.is_copy_in = false;
            false
        }
        (Some(Expect::Query | Expect::RefusedQuery(_) | Expect::Restore | Expect::Quiet(_)), b'T' | b'D' | b'I' | b'H' | b'd' | b'c' | b'V') => false,
        (Some(Expect::Parse { .. }), b'1') | (Some(Expect::Bind), b'2') | (Some(Expect::Close | Expect::CloseQuiet(_)), b'3') => true,
        (Some(Expect::Describe(_) | Expect::Look(_)), b't') => false,
        (Some(Expect::Describe(_) | Expect::Look(_)), b'T' | b'n') => true,
        (Some(Expect::Execute), b'D' | b'H' | b'd' | b'c') => false,
        (Some(Expect::Execute), b'G') => {
            // It ignores every Sync that is already on its way; the client sends another one after its CopyDone.
            server.is_copy_in = true;
            server.expect.retain(|expect| !matches!(expect, Expect::Sync));
            false
        }
        (Some(Expect::Execute), b'C' | b'I' | b's') => {
            server.is_copy_in = false;
            true
        }
        _ => return Err(broken(tag, "it is not what is due")),
    };
    if is_end {
        server.expect.pop_front();
    }
    Ok(())
}

/// A fault of the server's.
pub fn broken(tag: u8, what: &str) -> Fault {
    Fault::server("backend message", format!("message {:?}: {what}", char::from(tag)))
}
