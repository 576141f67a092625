//! We prove to a broker who we are: the exchange as a machine of its own.
//!
//! ```text
//! begin -> SaslHandshake -> (SaslAuthenticate)+ -> Done, with the time after which the broker wants to hear it again
//! ```

use super::conf::{Credential, Mechanism};
use crate::codec;
use crate::frame::{OWN_CORRELATION, SASL_AUTHENTICATE, SASL_HANDSHAKE};
use identity::scram::{Bind, Client};
use std::sync::Arc;
use wire::{Cursor, MILLIS, Nanos};

/// SaslHandshake with tokens in frames, and SaslAuthenticate that tells the session's lifetime: every broker since 2.2.
const VERSION: i16 = 1;

/// A login under way.
pub struct Login {
    who: Arc<Credential>,
    state: State,
}

enum State {
    Handshake {
        random: [u8; 32],
    },
    /// The only or last token is on its way.
    Last,
    ScramFirst(Client),
    ScramFinal(Client),
}

/// What comes next.
pub enum Next {
    /// This frame goes to the broker, which answers it.
    Send(Vec<u8>),
    /// The broker knows us, and for how long; `None`: for as long as the connection lasts.
    Done(Option<Nanos>),
}

impl Login {
    /// Begins, with the first frame to send.
    pub fn begin(who: Arc<Credential>, random: [u8; 32]) -> (Login, Vec<u8>) {
        let frame = frame(SASL_HANDSHAKE, &codec::string(false, who.mechanism.name().as_bytes()));
        (Login { who, state: State::Handshake { random } }, frame)
    }

    /// The broker's answer to the last frame, behind size and correlation id.
    ///
    /// # Errors
    /// The broker does not take us; the sentence says whose credentials are wrong, and is for people.
    pub fn answer(&mut self, body: &[u8]) -> Result<Next, String> {
        self.step(body).map_err(|reason| {
            let Credential { mechanism, user, .. } = &*self.who;
            let user = if user.is_empty() { String::new() } else { format!(", user \"{user}\"") };
            format!("the broker does not accept Midstream's own credentials ({}{user}), which are not the client's: {reason}", mechanism.name())
        })
    }

    fn step(&mut self, body: &[u8]) -> Result<Next, String> {
        match std::mem::replace(&mut self.state, State::Last) {
            State::Handshake { random } => {
                handshake(body)?;
                Ok(Next::Send(self.first(&random)))
            }
            State::Last => {
                let (_, lifetime) = self.accepted(body)?;
                Ok(Next::Done(lifetime))
            }
            State::ScramFirst(mut client) => {
                let (token, _) = self.accepted(body)?;
                let last = client.answer(token, self.who.secret.expose()).map_err(|failure| format!("its SCRAM message is wrong: {failure:?}"))?;
                self.state = State::ScramFinal(client);
                Ok(Next::Send(authenticate(last.as_bytes())))
            }
            State::ScramFinal(client) => {
                let (token, lifetime) = self.accepted(body)?;
                if !client.is_server_proven(token) {
                    return Err("it did not prove that it knows the password".into());
                }
                Ok(Next::Done(lifetime))
            }
        }
    }

    fn first(&mut self, random: &[u8]) -> Vec<u8> {
        let Credential { mechanism, user, secret } = &*self.who;
        match mechanism {
            Mechanism::Plain => authenticate(&[b"\0", user.as_bytes(), b"\0", secret.expose()].concat()),
            Mechanism::OauthBearer => authenticate(&[b"n,,\x01auth=Bearer ", secret.expose(), b"\x01\x01"].concat()),
            Mechanism::Scram(hash) => {
                let (client, first) = Client::start(*hash, user, random, Bind::Cannot);
                self.state = State::ScramFirst(client);
                authenticate(first.as_bytes())
            }
        }
    }

    /// The token and the lifetime of a SaslAuthenticate response without an error.
    fn accepted<'a>(&self, body: &'a [u8]) -> Result<(&'a [u8], Option<Nanos>), String> {
        let short = |_| "its SaslAuthenticate response is malformed".to_string();
        let mut cursor = Cursor::new(body);
        let error = cursor.i16().map_err(short)?;
        let length = usize::try_from(cursor.i16().map_err(short)?).unwrap_or(0);
        let message = cursor.take(length).map_err(short)?;
        if error != 0 {
            return Err(format!("error {error}, {}", String::from_utf8_lossy(message)));
        }
        let length = usize::try_from(cursor.i32().map_err(short)?).unwrap_or(0);
        let token = cursor.take(length).map_err(short)?;
        if self.who.mechanism == Mechanism::OauthBearer && !token.is_empty() {
            // Without an error code it still says why not (RFC 7628, 3.2.2); brokers then wait for a last word.
            return Err(format!("the token is not taken, {}", String::from_utf8_lossy(token)));
        }
        let lifetime = u64::try_from(cursor.i64().map_err(short)?).ok().filter(|lifetime| *lifetime > 0);
        Ok((token, lifetime.map(|lifetime| lifetime.saturating_mul(MILLIS))))
    }
}

fn handshake(body: &[u8]) -> Result<(), String> {
    let short = |_| "its SaslHandshake response is malformed".to_string();
    let mut cursor = Cursor::new(body);
    if cursor.i16().map_err(short)? == 0 {
        return Ok(());
    }
    let mut names = Vec::new();
    for _ in 0..cursor.u32().map_err(short)?.min(32) {
        let length = usize::try_from(cursor.i16().map_err(short)?).unwrap_or(0);
        names.push(String::from_utf8_lossy(cursor.take(length).map_err(short)?).into_owned());
    }
    if names.is_empty() {
        return Err("it wants no SASL on this port; remove the credentials, or name another port".into());
    }
    Err(format!("it does not know the mechanism; it offers {}", names.join(", ")))
}

fn authenticate(token: &[u8]) -> Vec<u8> {
    let length = u32::try_from(token.len()).unwrap_or(0);
    frame(SASL_AUTHENTICATE, &[&length.to_be_bytes()[..], token].concat())
}

fn frame(key: i16, body: &[u8]) -> Vec<u8> {
    let client_id = codec::string(false, b"midstream");
    let size = 8 + client_id.len() + body.len();
    let mut frame = Vec::with_capacity(4 + size);
    frame.extend((size as u32).to_be_bytes());
    [key, VERSION].iter().for_each(|value| frame.extend(value.to_be_bytes()));
    frame.extend(OWN_CORRELATION.to_be_bytes());
    frame.extend(client_id);
    frame.extend(body);
    frame
}
