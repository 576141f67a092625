//! JSON web tokens (RFC 7519) as bearer tokens: signature first, then time, issuer, audience and claims.

use crate::keys::{Algorithm, TokenKeys};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

/// The longest token: with the groups of its user in it one may have some KiB; servers of HTTP commonly take 8 to 16.
pub const MAX_TOKEN: usize = 32 * 1024;

/// Times beyond this mean nothing: the year 9999 in seconds.
const MAX_TIME: f64 = 253_402_300_799.0;

/// What a token must say.
#[derive(Debug)]
pub struct Rules {
    /// Who signs.
    pub keys: TokenKeys,
    /// `iss`; empty: any.
    pub issuer: String,
    /// `aud` has one of these; empty: any.
    pub audiences: Vec<String>,
    /// Claims with a value, or one of several values, that it must be; an empty one: any.
    pub claims: Vec<(String, String)>,
    /// The claim that names the user.
    pub identity: String,
    /// How wrong clocks may be, in seconds.
    pub leeway: u64,
}

/// A token that is good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// Who it is about.
    pub user: String,
    /// Until then, in seconds since 1970.
    pub expires: u64,
}

impl Rules {
    /// Checks a token at a time in seconds since 1970.
    ///
    /// # Errors
    /// The sentence says what is wrong, and nothing that the token holds.
    pub fn check(&self, token: &[u8], now: u64) -> Result<Token, &'static str> {
        if token.len() > MAX_TOKEN {
            return Err("the token exceeds 32 KiB");
        }
        let text = std::str::from_utf8(token).map_err(|_| "the token is not text")?;
        let (signed, signature) = text.rsplit_once('.').ok_or("the token is not three parts with dots between them")?;
        let (head, claims) = signed.split_once('.').filter(|(_, claims)| !claims.contains('.')).ok_or("the token is not three parts")?;
        let head = decoded(head).ok_or("the token's header is not JSON in base64url")?;
        let algorithm = head.get("alg").and_then(Value::as_str).and_then(Algorithm::named).ok_or("the token is not signed with RS256 or ES256")?;
        if head.get("crit").is_some() {
            return Err("the token's header has extensions that must be understood");
        }
        let id = head.get("kid").and_then(Value::as_str);
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "the token's signature is not base64url")?;
        if !self.keys.verify(algorithm, id, signed.as_bytes(), &signature) {
            return Err("the token's signature is not of a known key");
        }
        let claims = decoded(claims).ok_or("the token's claims are not JSON in base64url")?;
        self.accept(&claims, now)
    }

    fn accept(&self, claims: &Value, now: u64) -> Result<Token, &'static str> {
        let expires = time(claims, "exp")?.ok_or("the token has no expiry (exp)")?;
        if expires.saturating_add(self.leeway) <= now {
            return Err("the token has expired");
        }
        if time(claims, "nbf")?.is_some_and(|begins| begins > now.saturating_add(self.leeway)) {
            return Err("the token is not valid yet (nbf)");
        }
        if !self.issuer.is_empty() && claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err("the token is of another issuer (iss)");
        }
        let is_one_of = |audience: &Value| audience.as_str().is_some_and(|audience| self.audiences.iter().any(|wanted| wanted == audience));
        let audience = claims.get("aud");
        if !self.audiences.is_empty()
            && !audience.is_some_and(|audience| audience.as_array().map_or(is_one_of(audience), |all| all.iter().any(is_one_of)))
        {
            return Err("the token is for another audience (aud)");
        }
        if !self.claims.iter().all(|(name, wanted)| claims.get(name).is_some_and(|claim| has(claim, wanted))) {
            return Err("the token lacks a required claim");
        }
        let user = claims.get(&self.identity).and_then(Value::as_str).filter(|user| !user.is_empty()).ok_or("the token names no user")?;
        Ok(Token { user: user.to_owned(), expires })
    }
}

/// Whether a claim is a value or has it among several; `scope` and its like write several as words (RFC 8693, 4.2).
fn has(claim: &Value, wanted: &str) -> bool {
    match claim {
        _ if wanted.is_empty() => !claim.is_null(),
        Value::String(text) => text == wanted || text.split(' ').any(|word| word == wanted),
        Value::Array(all) => all.iter().any(|one| one.as_str() == Some(wanted)),
        Value::Bool(claim) => (if *claim { "true" } else { "false" }) == wanted,
        Value::Number(claim) => claim.to_string() == wanted,
        _ => false,
    }
}

fn decoded(part: &str) -> Option<Value> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice::<Value>(&bytes).ok().filter(Value::is_object)
}

/// A NumericDate: seconds, which may have a fraction.
fn time(claims: &Value, name: &str) -> Result<Option<u64>, &'static str> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64().filter(|time| (0.0..=MAX_TIME).contains(time)) {
            Some(time) => Ok(Some(time as u64)),
            None => Err("one of the token's times is not a number of seconds"),
        },
    }
}
