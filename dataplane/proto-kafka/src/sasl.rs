//! SASL passes through; who the broker let in is read along the way.
//!
//! The user's name stands in the client's first message: PLAIN `authzid NUL user NUL password`, SCRAM `n,,n=user,r=nonce`. It becomes the
//! identity when the broker has accepted: PLAIN after one exchange, SCRAM after two. Of other mechanisms nothing is read.

use std::sync::Arc;

/// The longest message of the two SASL APIs: brokers take tokens up to 512 KiB (`sasl.server.max.receive.size`).
pub const MAX_SASL: u64 = 512 * 1024;

/// An authentication under way.
#[derive(Default, Debug)]
pub struct Sasl {
    mechanism: Vec<u8>,
    user: Option<Arc<str>>,
    rounds: u8,
}

impl Sasl {
    /// SaslHandshake: an authentication begins, or begins again (KIP-368).
    pub fn begin(&mut self, mechanism: &[u8]) {
        *self = Sasl { mechanism: mechanism.to_vec(), user: None, rounds: 0 };
    }

    /// A token of the client's.
    pub fn token(&mut self, token: &[u8]) {
        if self.user.is_none() {
            self.user = match self.mechanism.as_slice() {
                b"PLAIN" => plain_user(token),
                b"SCRAM-SHA-256" | b"SCRAM-SHA-512" => scram_user(token),
                _ => None,
            };
        }
    }

    /// The broker's answer to a token. Returns the identity that it proves.
    pub fn answer(&mut self, error: i16) -> Option<Arc<str>> {
        if error != 0 {
            self.user = None;
            return None;
        }
        self.rounds = self.rounds.saturating_add(1);
        let needed = if self.mechanism == b"PLAIN" { 1 } else { 2 };
        self.user.clone().filter(|_| self.rounds == needed).map(|user| format!("user:{user}").into())
    }
}

fn plain_user(token: &[u8]) -> Option<Arc<str>> {
    let user = token.split(|byte| *byte == 0).nth(1)?;
    std::str::from_utf8(user).ok().filter(|user| !user.is_empty()).map(Arc::from)
}

fn scram_user(token: &[u8]) -> Option<Arc<str>> {
    let bare = std::str::from_utf8(token).ok()?.splitn(3, ',').nth(2)?;
    let user = bare.split(',').find_map(|part| part.strip_prefix("n="))?;
    Some(user.replace("=2C", ",").replace("=3D", "=").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_when_the_broker_has_accepted_it() {
        let mut sasl = Sasl::default();
        sasl.begin(b"PLAIN");
        sasl.token(b"\0ann\0secret");
        assert_eq!(sasl.answer(58), None);
        sasl.begin(b"PLAIN");
        sasl.token(b"\0ann\0secret");
        assert_eq!(sasl.answer(0).as_deref(), Some("user:ann"));
        sasl.begin(b"SCRAM-SHA-256");
        sasl.token(b"n,,n=b=2Cob,r=abc");
        assert_eq!(sasl.answer(0), None);
        sasl.token(b"c=biws,r=abcd,p=xyz");
        assert_eq!(sasl.answer(0).as_deref(), Some("user:b,ob"));
    }
}
