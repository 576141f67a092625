//! The public keys of token issuers, as a JWK set (RFC 7517).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::Value;

/// Keys of one set: issuers have two or three while they change them. A token without a key's id is tried against all.
const MAX_KEYS: usize = 64;

/// The algorithms that tokens may be signed with; `none` and those with shared secrets are none of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Algorithm {
    Rs256,
    Es256,
}

impl Algorithm {
    pub(crate) fn named(name: &str) -> Option<Algorithm> {
        match name {
            "RS256" => Some(Algorithm::Rs256),
            "ES256" => Some(Algorithm::Es256),
            _ => None,
        }
    }
}

/// The keys that signatures are checked against.
#[derive(Debug)]
pub struct TokenKeys(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
}

impl TokenKeys {
    /// From the text of a JWK set. Keys for encryption, and of kinds that are not known here, are passed over (RFC 7517, 5).
    ///
    /// # Errors
    /// It is no such set, or none of its keys can be used; the sentence says which.
    pub fn parse(text: &[u8]) -> Result<TokenKeys, String> {
        let set: Value = serde_json::from_slice(text).map_err(|_| "the key set is not JSON".to_string())?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or("the key set has no list `keys`; give a JWK set (RFC 7517)")?;
        if keys.len() > MAX_KEYS {
            return Err(format!("the key set has {} keys; at most {MAX_KEYS} are taken", keys.len()));
        }
        let keys: Vec<Key> = keys.iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err("the key set has no key for RS256 or ES256 signatures".into());
        }
        Ok(TokenKeys(keys))
    }

    /// Whether one of the keys made the signature; of those with the id, if the token names one.
    pub(crate) fn verify(&self, algorithm: Algorithm, id: Option<&str>, signed: &[u8], signature: &[u8]) -> bool {
        let fits = |key: &&Key| id.is_none() || key.id.is_none() || key.id.as_deref() == id;
        self.0.iter().filter(fits).any(|key| key.verify(algorithm, signed, signature))
    }
}

impl Key {
    fn read(key: &Value) -> Option<Key> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let bytes = |name: &str| text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok());
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let algorithm = text("alg");
        let material = match text("kty")? {
            "RSA" if algorithm.is_none_or(|name| name == "RS256") => {
                let modulus = bytes("n")?;
                // ring refuses leading zeros, which some issuers write.
                let start = modulus.iter().position(|byte| *byte != 0)?;
                Material::Rsa { modulus: modulus[start..].to_vec(), exponent: bytes("e")? }
            }
            "EC" if text("crv") == Some("P-256") && algorithm.is_none_or(|name| name == "ES256") => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                // An uncompressed point (SEC 1, 2.3.3).
                (x.len() == 32 && y.len() == 32).then(|| Material::P256([&[4], &x[..], &y[..]].concat()))?
            }
            _ => return None,
        };
        Some(Key { id: text("kid").map(str::to_owned), material })
    }

    fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        match (&self.material, algorithm) {
            (Material::Rsa { modulus, exponent }, Algorithm::Rs256) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(&signature::RSA_PKCS1_2048_8192_SHA256, signed, signature).is_ok()
            }
            (Material::P256(point), Algorithm::Es256) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(signed, signature).is_ok()
            }
            _ => false,
        }
    }
}
