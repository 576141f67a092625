//! Keys that encrypt data keys.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::Secret;
use identity::Entropy;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::fmt;

/// A key of AES-256.
pub const KEY_LEN: usize = 32;

/// The longest name of a key: its length is one byte in a record's header.
const MAX_ID: usize = 64;

/// A data key as others may see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrapped {
    /// The name of the key that it is encrypted with.
    pub id: Vec<u8>,
    /// Whatever the one who wrapped it needs to unwrap it; at most 255 bytes.
    pub bytes: Vec<u8>,
}

/// Who wraps data keys. It answers at once: a service far away would need requests to wait for it.
pub trait Kms: fmt::Debug + Send + Sync {
    /// Encrypts a data key with the key that is in use; `None` where there is none.
    fn wrap(&self, data_key: &[u8; KEY_LEN], entropy: &mut Entropy) -> Option<Wrapped>;

    /// Decrypts one; `None` where its key is not there, or is not the one that it was encrypted with.
    fn unwrap(&self, wrapped: &Wrapped) -> Option<[u8; KEY_LEN]>;
}

/// The keys of a file: a line for each, its name and 32 bytes in base64. The first one is in use, the others decrypt.
pub struct LocalKeys(Vec<(Vec<u8>, LessSafeKey)>);

impl fmt::Debug for LocalKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalKeys({})", self.0.len())
    }
}

impl LocalKeys {
    /// Reads them. Empty lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// A sentence that names the line, never the key.
    pub fn read(secret: &Secret) -> Result<LocalKeys, String> {
        let text = std::str::from_utf8(secret.expose()).map_err(|_| "the keys are no text; give a line NAME BASE64 for each".to_string())?;
        let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let keys: Vec<_> = lines.map(|(index, line)| one(line).map_err(|wrong| format!("line {} {wrong}", index + 1))).collect::<Result<_, _>>()?;
        match keys.iter().enumerate().find(|(at, (id, _))| keys[..*at].iter().any(|(other, _)| other == id)) {
            _ if keys.is_empty() => Err("there is no key; give a line NAME BASE64 for each, the one in use first".into()),
            Some((_, (id, _))) => Err(format!("the name {} is there twice", String::from_utf8_lossy(id))),
            None => Ok(LocalKeys(keys)),
        }
    }
}

fn one(line: &str) -> Result<(Vec<u8>, LessSafeKey), &'static str> {
    let (id, key) = line.split_once(char::is_whitespace).ok_or("has no key behind its name")?;
    if id.len() > MAX_ID {
        return Err("has a name of more than 64 bytes");
    }
    let key = STANDARD.decode(key.trim()).map_err(|_| "has a key that is not base64")?;
    let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| "has a key that is not of 32 bytes")?;
    Ok((id.as_bytes().to_vec(), LessSafeKey::new(key)))
}

impl Kms for LocalKeys {
    fn wrap(&self, data_key: &[u8; KEY_LEN], entropy: &mut Entropy) -> Option<Wrapped> {
        let (id, key) = self.0.first()?;
        let nonce = *entropy.draw().first_chunk::<NONCE_LEN>()?;
        let mut sealed = data_key.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(id), &mut sealed).ok()?;
        Some(Wrapped { id: id.clone(), bytes: [&nonce[..], &sealed].concat() })
    }

    fn unwrap(&self, wrapped: &Wrapped) -> Option<[u8; KEY_LEN]> {
        let (id, key) = self.0.iter().find(|(id, _)| *id == wrapped.id)?;
        let (nonce, sealed) = wrapped.bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut opened = sealed.to_vec();
        let opened = key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(id), &mut opened).ok()?;
        <[u8; KEY_LEN]>::try_from(&*opened).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Result<LocalKeys, String> {
        LocalKeys::read(&Secret::new(text.as_bytes()))
    }

    fn line(id: &str, byte: u8) -> String {
        format!("{id} {}\n", STANDARD.encode([byte; KEY_LEN]))
    }

    #[test]
    fn the_first_key_wraps_and_all_unwrap() {
        let mut entropy = Entropy::from_seed([7; 32]);
        let old = keys(&line("old", 1)).unwrap();
        let both = keys(&format!("# in use\n{}\n{}", line("new", 2), line("old", 1))).unwrap();
        let wrapped = old.wrap(&[9; KEY_LEN], &mut entropy).unwrap();
        assert_eq!(both.unwrap(&wrapped), Some([9; KEY_LEN]));
        let wrapped = both.wrap(&[9; KEY_LEN], &mut entropy).unwrap();
        assert_eq!(wrapped.id, b"new");
        assert_eq!(old.unwrap(&wrapped), None, "it has no such key");
        let other = keys(&line("new", 3)).unwrap();
        assert_eq!(other.unwrap(&wrapped), None, "it is another key");
        assert_ne!(both.wrap(&[9; KEY_LEN], &mut entropy).unwrap(), wrapped);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_its_keys() {
        let twice = line("a", 1) + &line("a", 2);
        for (text, wrong) in
            [("", "no key"), ("\na", "line 2 has no key"), ("a b=c", "not base64"), ("a AAAA", "32 bytes"), (&*twice, "a is there twice")]
        {
            assert!(keys(text).unwrap_err().contains(wrong), "{text}");
        }
    }
}
