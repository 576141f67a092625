//! A server knows prepared statements by names of ours; in what it says of them the client has to find its own.

use crate::client::Client;

const PREFIX: &[u8] = b"\"ms_";
/// 128 bits.
const DIGITS: usize = 32;

/// The ErrorResponse with the client's name of the statement in the place of ours; `None`: it names none.
pub fn reword(client: &Client, body: &[u8]) -> Option<Vec<u8>> {
    let at = body.windows(PREFIX.len()).position(|window| window == PREFIX)? + 1;
    let end = at + PREFIX.len() - 1 + DIGITS;
    let digits = std::str::from_utf8(body.get(end - DIGITS..end)?).ok()?;
    let id = u128::from_str_radix(digits, 16).ok()?;
    let (name, _) = client.statements.iter().find(|(_, statement)| statement.prepared.id == id)?;
    Some([&body[..at], name, &body[end..]].concat())
}
