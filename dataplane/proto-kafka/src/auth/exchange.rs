//! A client proves who it is: the exchange as a machine of its own.
//!
//! ```text
//! PLAIN:        token -> Done | Failed
//! SCRAM:        token -> Ask -> token -> Done | Failed
//! OAUTHBEARER:  token -> Done | Ask (why not) -> token -> Failed        (RFC 7628, 3.2.3; as brokers do)
//! ```
//! A user that does not exist takes the same steps and the same time as a wrong password, and gets the same message.

use super::conf::{Mechanism, SaslServer, User};
use identity::scram::{self, Binding, Challenge, Failure, Hash, Keys};

/// What separates the parts of an OAUTHBEARER message.
const SEPARATOR: u8 = 1;

const WRONG: &str = "Authentication failed: invalid user name or password, by the users of the Midstream listener";

/// An exchange under way.
pub struct Exchange {
    mechanism: Mechanism,
    state: State,
    random: [u8; 32],
}

enum State {
    First,
    Scram { challenge: Challenge, user: String },
    Refused(&'static str),
}

/// What comes next.
#[derive(PartialEq, Eq, Debug)]
pub enum Step {
    /// These bytes go to the client, which then answers.
    Ask(Vec<u8>),
    /// It is who it says.
    Done(Proof),
    /// It is not; the sentence is for the client.
    Failed(String),
}

/// What an exchange has proven.
#[derive(PartialEq, Eq, Debug)]
pub struct Proof {
    /// The last word to the client.
    pub last: Vec<u8>,
    /// Who it is.
    pub user: String,
    /// When the proof ends, in seconds since 1970.
    pub expires: Option<u64>,
}

impl Exchange {
    /// Begins; `random` is for a nonce.
    pub fn begin(mechanism: Mechanism, random: [u8; 32]) -> Exchange {
        Exchange { mechanism, state: State::First, random }
    }

    /// A token of the client's came; `now` in seconds since 1970.
    pub fn token(&mut self, server: &SaslServer, token: &[u8], now: u64) -> Step {
        match (&self.state, self.mechanism) {
            (State::Refused(reason), _) => Step::Failed(format!("Authentication failed: {reason}")),
            (State::Scram { challenge, user }, Mechanism::Scram(hash)) => scram_final(server, hash, challenge, user, token),
            (_, Mechanism::Scram(hash)) => self.scram_first(server, hash, token),
            (_, Mechanism::Plain) => plain(server, token),
            (_, Mechanism::OauthBearer) => self.bearer(server, token, now),
        }
    }

    fn scram_first(&mut self, server: &SaslServer, hash: Hash, token: &[u8]) -> Step {
        let Some(user) = scram::user(token).filter(|user| !user.is_empty()) else { return Step::Failed(malformed("it names no user")) };
        match scram::challenge(token, &keys(server, hash, &user), &self.random, Binding::None) {
            Ok((challenge, first)) => {
                self.state = State::Scram { challenge, user };
                Step::Ask(first.into_bytes())
            }
            Err(failure) => Step::Failed(failed(&failure)),
        }
    }

    fn bearer(&mut self, server: &SaslServer, message: &[u8], now: u64) -> Step {
        let Some((authzid, token)) = bearer(message) else { return Step::Failed(malformed("it is no OAUTHBEARER message")) };
        let checked = match &server.tokens {
            Some(rules) => rules.check(token, now),
            None => Err("tokens are not taken here"),
        };
        match checked {
            Ok(token) if authzid.is_empty() || authzid == token.user.as_bytes() => {
                Step::Done(Proof { last: Vec::new(), user: token.user, expires: Some(token.expires) })
            }
            Ok(_) => Step::Failed("Authentication failed: the authorization identity is not the token's user".into()),
            Err(reason) => {
                self.state = State::Refused(reason);
                Step::Ask(b"{\"status\":\"invalid_token\"}".to_vec())
            }
        }
    }
}

/// Keys of the hash: those of the user, or, for one that does not exist, some that nobody can match.
fn keys(server: &SaslServer, hash: Hash, user: &str) -> Keys {
    let known = server.users.get(user).and_then(|user| user.keys.iter().find(|keys| keys.hash() == hash));
    let mock = || Keys::mock(hash, server.salts.derive(scram::SALT, user.as_bytes()), server.salts.derive(b"stored", user.as_bytes()));
    known.cloned().unwrap_or_else(mock)
}

fn scram_final(server: &SaslServer, hash: Hash, challenge: &Challenge, user: &str, token: &[u8]) -> Step {
    match challenge.verify(token, &keys(server, hash, user)) {
        Ok(last) if server.users.contains_key(user) => Step::Done(Proof { last: last.into_bytes(), user: user.to_owned(), expires: None }),
        Ok(_) => Step::Failed(WRONG.into()),
        Err(failure) => Step::Failed(failed(&failure)),
    }
}

fn failed(failure: &Failure) -> String {
    match failure {
        Failure::Malformed(what) => malformed(what),
        Failure::Proof => WRONG.into(),
        Failure::Downgrade | Failure::Binding => malformed("it is bound to a TLS channel, which Kafka's SCRAM has no mechanism for"),
    }
}

fn malformed(what: &str) -> String {
    format!("Authentication failed: the SASL message is malformed: {what}")
}

/// `authzid NUL user NUL password`.
fn plain(server: &SaslServer, token: &[u8]) -> Step {
    let mut parts = token.split(|byte| *byte == 0);
    let (Some(authzid), Some(user), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Step::Failed(malformed("it is not an identity, a user and a password with NUL between them"));
    };
    let Some(name) = std::str::from_utf8(user).ok().filter(|user| !user.is_empty()) else { return Step::Failed(malformed("it names no user")) };
    if !authzid.is_empty() && authzid != user {
        return Step::Failed("Authentication failed: the authorization identity is not the user".into());
    }
    let known: Option<&User> = server.users.get(name);
    let expected = known.map_or(&b"?"[..], |user| user.password.expose());
    let is_right = identity::same(expected, password);
    if is_right && known.is_some() && !expected.is_empty() {
        Step::Done(Proof { last: Vec::new(), user: name.to_owned(), expires: None })
    } else {
        Step::Failed(WRONG.into())
    }
}

/// The authorization identity and the token of `n,a=authzid,^Aauth=Bearer TOKEN^A...^A`.
fn bearer(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = message.split(|byte| *byte == SEPARATOR);
    let mut head = parts.next()?.split(|byte| *byte == b',');
    let (flag, authzid, rest) = (head.next()?, head.next()?, head.next()?);
    if !matches!(flag, b"n" | b"y") || !rest.is_empty() || head.next().is_some() {
        return None;
    }
    let authzid = if authzid.is_empty() { authzid } else { authzid.strip_prefix(b"a=")? };
    let auth = parts.find_map(|part| part.strip_prefix(b"auth="))?;
    let (scheme, token) = auth.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some((authzid, token))
}

/// For the fuzzer: bytes as a client's tokens, by every mechanism; lines are one token each. Whether one of them proved something.
pub fn scan(server: &SaslServer, bytes: &[u8]) -> bool {
    let mechanisms = [Mechanism::Plain, Mechanism::Scram(Hash::Sha256), Mechanism::Scram(Hash::Sha512), Mechanism::OauthBearer];
    mechanisms.into_iter().any(|mechanism| {
        let mut exchange = Exchange::begin(mechanism, [1; 32]);
        bytes.split(|byte| *byte == b'\n').take(3).any(|token| matches!(exchange.token(server, token, 1_000_000_000), Step::Done(_)))
    })
}
