//! We prove who we are to a server.

use super::downstream::password_message;
use super::scram::Bind;
use super::{Entropy, HASH, MECHANISM, MECHANISM_PLUS, end_point, md5, scram};
use crate::message::{c_string, frame};
use config::Secret;
use wire::{Cursor, Peer};

/// User and password for a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// The role.
    pub user: String,
    /// Its password; empty where the server trusts.
    pub password: Secret,
}

/// A login under way.
#[derive(Default)]
pub struct Login {
    scram: Option<scram::Client>,
    is_proven: bool,
}

/// `Ok(true)`: authenticated; `Ok(false)`: what was appended to `out`, if anything, is to be sent; an error: why not, for people.
pub type Outcome = Result<bool, String>;

impl Login {
    /// The body of an `R` message came.
    ///
    /// # Errors
    /// The server wants what we cannot give, or failed to prove itself.
    pub fn request(&mut self, body: &[u8], who: &Credentials, peer: Option<&Peer>, entropy: &mut Entropy, out: &mut Vec<u8>) -> Outcome {
        let is_tls = peer.is_some_and(|peer| peer.tls);
        let mut cursor = Cursor::new(body);
        let kind = cursor.u32().map_err(|_| "the server's authentication request is malformed".to_string())?;
        if !matches!(kind, 0 | 12) && who.password.expose().is_empty() {
            return Err(format!(
                "the server asks for a password of user \"{}\", and the Database has none; add credentials with passwordFrom",
                who.user
            ));
        }
        match kind {
            0 if self.scram.is_some() && !self.is_proven => Err("the server did not prove that it knows the password".into()),
            0 => Ok(true),
            3 if is_tls => {
                password_message(out, who.password.expose());
                Ok(false)
            }
            3 => Err("the server asks for the password in clear text without TLS; set tls for the Database, or scram-sha-256 on the server".into()),
            5 => {
                let salt = cursor.u32().map_err(|_| "the server's MD5 salt is malformed".to_string())?;
                password_message(out, &md5::response(who.user.as_bytes(), who.password.expose(), salt.to_be_bytes()));
                Ok(false)
            }
            10 => self.sasl(cursor, peer.and_then(|peer| peer.certificate.as_deref()), entropy, out),
            11 => self.sasl_continue(cursor.rest(), who, out),
            12 => self.sasl_final(cursor.rest()),
            other => Err(format!(
                "the server asks for authentication method {other}, which Midstream does not know; it knows scram-sha-256, md5 and trust"
            )),
        }
    }

    fn sasl(&mut self, mut mechanisms: Cursor<'_>, certificate: Option<&[u8]>, entropy: &mut Entropy, out: &mut Vec<u8>) -> Outcome {
        let (mut is_plain, mut is_plus) = (false, false);
        while let Ok(name) = mechanisms.c_string() {
            is_plain |= name == MECHANISM.as_bytes();
            is_plus |= name == MECHANISM_PLUS.as_bytes();
        }
        let end_point = certificate.and_then(end_point);
        let (mechanism, bind) = match end_point.as_deref() {
            Some(data) if is_plus => (MECHANISM_PLUS, Bind::To(data)),
            _ if !is_plain => return Err("the server offers no SASL mechanism that Midstream can use (SCRAM-SHA-256)".into()),
            Some(_) => (MECHANISM, Bind::NotOffered),
            None => (MECHANISM, Bind::Cannot),
        };
        let (client, first) = scram::Client::start(HASH, "", &entropy.draw(), bind);
        self.scram = Some(client);
        frame(out, b'p', |out| {
            c_string(out, mechanism.as_bytes());
            out.extend_from_slice(&(first.len() as u32).to_be_bytes());
            out.extend_from_slice(first.as_bytes());
        });
        Ok(false)
    }

    fn sasl_continue(&mut self, server_first: &[u8], who: &Credentials, out: &mut Vec<u8>) -> Outcome {
        let client = self.scram.as_mut().ok_or("the server continues a SASL exchange that was not begun")?;
        let answer = client
            .answer(server_first, &scram::prepared(who.password.expose()))
            .map_err(|failure| format!("the server's SCRAM message is wrong: {failure:?}"))?;
        frame(out, b'p', |out| out.extend_from_slice(answer.as_bytes()));
        Ok(false)
    }

    fn sasl_final(&mut self, server_final: &[u8]) -> Outcome {
        self.is_proven = self.scram.as_ref().is_some_and(|client| client.is_server_proven(server_final));
        if self.is_proven { Ok(false) } else { Err("the server did not prove that it knows the password".into()) }
    }
}
