//! Values encrypted: AES-256-GCM under data keys, one per topic and worker for a time, which travel wrapped in a header of each record.
//!
//! The header: version 1, the length of the key's name and the name, the length of the wrapped data key and that key, the nonce. It is
//! authenticated with the value. A data key is known to the one worker that made it and counts its nonces, so none comes twice. Tombstones,
//! keys and other headers stay as they are.

use super::kms::{KEY_LEN, Kms, Wrapped};
use super::rewrite::{Change, map};
use super::{Record, Unreadable};
use hashbrown::HashMap;
use identity::Entropy;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::borrow::Cow;
use std::sync::Arc;
use wire::Nanos;

/// The header's name.
pub const HEADER_NAME: &[u8] = b"midstream.sealed";

const VERSION: u8 = 1;

/// Data keys that seal, per worker and policy: one per topic. Beyond it all are made anew.
const MAX_SEALING: usize = 1024;

/// Unwrapped data keys, per worker and policy: 600 bytes each. Beyond it all are unwrapped again as they are met.
const MAX_OPENING: usize = 4096;

/// What a topic's values are encrypted with.
#[derive(Debug)]
pub struct Encryption {
    /// The policy's name: data keys are its own.
    pub policy: Arc<str>,
    /// Who wraps the data keys.
    pub kms: Arc<dyn Kms>,
    /// A data key is used no longer than this.
    pub rotate_after: Nanos,
    /// And for no more bytes.
    pub rotate_bytes: u64,
}

/// Why a record cannot be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// Its batch cannot be looked into.
    Unreadable(Unreadable),
    /// The key that it needs is not among ours, or is another one.
    NoKey,
    /// It is not what was written.
    Forged,
}

impl From<Unreadable> for Closed {
    fn from(error: Unreadable) -> Closed {
        Closed::Unreadable(error)
    }
}

/// A data key in use.
struct Sealing {
    key: LessSafeKey,
    /// The header up to the nonce.
    front: Vec<u8>,
    since: Nanos,
    bytes: u64,
    used: u64,
}

/// The data keys of one worker, by policy: what one may open is no matter of another's keys.
#[derive(Default)]
pub struct DataKeys(HashMap<Arc<str>, PolicyKeys>);

/// Those of one policy.
#[derive(Default)]
pub struct PolicyKeys {
    sealing: HashMap<Vec<u8>, Sealing>,
    /// By the header up to the nonce; `None`: it could not be unwrapped.
    opening: HashMap<Vec<u8>, Option<LessSafeKey>>,
}

impl DataKeys {
    /// Forgets all: the keys that wrap them may be others now.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Those of a policy.
    pub fn of(&mut self, rule: &Encryption) -> &mut PolicyKeys {
        self.0.entry(Arc::clone(&rule.policy)).or_default()
    }
}

impl PolicyKeys {
    /// Encrypts the values of a partition's records; `None` where there is none to encrypt.
    ///
    /// # Errors
    /// A batch cannot be looked into.
    pub fn seal(
        &mut self,
        rule: &Encryption,
        topic: &[u8],
        records: &[u8],
        now: Nanos,
        entropy: &mut Entropy,
    ) -> Result<Option<Vec<u8>>, Unreadable> {
        let failed = Unreadable::Malformed(crate::walk::Malformed("could not be encrypted"));
        self.renew(rule, topic, now, entropy).ok_or(failed)?;
        let sealing = self.sealing.get_mut(topic).ok_or(failed)?;
        map(records, &mut |_, record| {
            let Some(value) = record.value else { return Ok(Change::Keep) };
            let (header, sealed) = sealing.seal(value).ok_or(failed)?;
            let mut headers: Vec<_> = record.headers.iter().map(|(name, value)| (name.into(), value.map(Cow::from))).collect();
            headers.push((HEADER_NAME.into(), Some(header.into())));
            Ok(Change::Set(Some(sealed), headers))
        })
    }

    /// Makes a data key where there is none, or its time is over.
    fn renew(&mut self, rule: &Encryption, topic: &[u8], now: Nanos, entropy: &mut Entropy) -> Option<()> {
        let is_good = |one: &Sealing| now.saturating_sub(one.since) < rule.rotate_after && one.bytes < rule.rotate_bytes;
        if self.sealing.get(topic).is_some_and(is_good) {
            return Some(());
        }
        if self.sealing.len() >= MAX_SEALING {
            self.sealing.clear();
        }
        let data_key = entropy.draw();
        let front = front(&rule.kms.wrap(&data_key, entropy)?)?;
        self.sealing.insert(topic.to_vec(), Sealing { key: key(&data_key)?, front, since: now, bytes: 0, used: 0 });
        Some(())
    }

    /// Decrypts a record's value, if it is encrypted.
    ///
    /// # Errors
    /// It cannot be.
    pub fn open<'r>(&mut self, rule: &Encryption, record: &Record<'r>) -> Result<Change<'r>, Closed> {
        let (Some(value), Some(header)) = (record.value, record.headers.get(HEADER_NAME)) else { return Ok(Change::Keep) };
        let (front, nonce) = header.split_last_chunk::<NONCE_LEN>().ok_or(Closed::Forged)?;
        if !self.opening.contains_key(front) {
            let wrapped = wrapped(front).ok_or(Closed::Forged)?;
            if self.opening.len() >= MAX_OPENING {
                self.opening.clear();
            }
            self.opening.insert(front.to_vec(), rule.kms.unwrap(&wrapped).and_then(|data_key| key(&data_key)));
        }
        let key = self.opening.get(front).and_then(Option::as_ref).ok_or(Closed::NoKey)?;
        let mut opened = value.to_vec();
        let length = key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(header), &mut opened).map_err(|_| Closed::Forged)?.len();
        opened.truncate(length);
        // Only the last is ours: a value that was encrypted twice has two.
        let last = record.headers.iter().filter(|(name, _)| *name == HEADER_NAME).count();
        let mut met = 0;
        let others = record.headers.iter().filter(|(name, _)| {
            met += usize::from(*name == HEADER_NAME);
            *name != HEADER_NAME || met < last
        });
        Ok(Change::Set(Some(opened), others.map(|(name, value)| (name.into(), value.map(Cow::from))).collect()))
    }
}

impl Sealing {
    fn seal(&mut self, value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        self.used = self.used.checked_add(1)?;
        self.bytes = self.bytes.saturating_add(value.len() as u64);
        let mut nonce = [0; NONCE_LEN];
        nonce[4..].copy_from_slice(&self.used.to_be_bytes());
        let header = [&self.front[..], &nonce].concat();
        let mut sealed = Vec::with_capacity(value.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(value);
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&header), &mut sealed).ok()?;
        Some((header, sealed))
    }
}

fn key(bytes: &[u8; KEY_LEN]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, bytes).ok().map(LessSafeKey::new)
}

fn front(wrapped: &Wrapped) -> Option<Vec<u8>> {
    let mut front = vec![VERSION, u8::try_from(wrapped.id.len()).ok()?];
    front.extend(&wrapped.id);
    front.push(u8::try_from(wrapped.bytes.len()).ok()?);
    front.extend(&wrapped.bytes);
    Some(front)
}

fn wrapped(front: &[u8]) -> Option<Wrapped> {
    let (version, rest) = front.split_first()?;
    let (id_len, rest) = rest.split_first()?;
    let (id, rest) = rest.split_at_checked(usize::from(*id_len))?;
    let (length, bytes) = rest.split_first()?;
    (*version == VERSION && bytes.len() == usize::from(*length)).then(|| Wrapped { id: id.to_vec(), bytes: bytes.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::super::kms::LocalKeys;
    use super::super::{Batch, Piece, Pieces};
    use super::*;
    use config::Secret;

    const KEYS: &str = "one AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const OTHER: &str = "one AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn rule(keys: &str) -> Encryption {
        let kms = Arc::new(LocalKeys::read(&Secret::new(keys.as_bytes())).unwrap());
        Encryption { policy: "p".into(), kms, rotate_after: 100, rotate_bytes: 1 << 20 }
    }

    /// The batches of two clients, see `tests/records.rs`.
    fn batches() -> impl Iterator<Item = Vec<u8>> {
        let unhex = |hex: &str| (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        include_str!("../../tests/records.txt").lines().map(move |line| unhex(line.split(' ').nth(1).unwrap()))
    }

    fn values(bytes: &[u8]) -> Vec<(Option<Vec<u8>>, usize)> {
        let batch = |piece| if let Ok(Piece::Batch(batch)) = piece { batch } else { panic!("no batch") };
        let of = |batch: Batch<'_>| {
            let payload = batch.inflate(1 << 20).unwrap();
            let records = batch.records(&payload).unwrap().map(Result::unwrap);
            records.map(|record| (record.value.map(<[u8]>::to_vec), record.headers.iter().count())).collect::<Vec<_>>()
        };
        Pieces::new(bytes).map(batch).flat_map(of).collect()
    }

    fn opened(rule: &Encryption, sealed: &[u8]) -> Result<Option<Vec<u8>>, Closed> {
        let mut keys = PolicyKeys::default();
        map(sealed, &mut |_, record| keys.open(rule, record))
    }

    #[test]
    fn what_is_sealed_opens_under_the_same_key_and_no_other() {
        let mut entropy = Entropy::from_seed([1; 32]);
        let mut keys = PolicyKeys::default();
        for written in batches() {
            let before = values(&written);
            let Some(sealed) = keys.seal(&rule(KEYS), b"t", &written, 1, &mut entropy).unwrap() else {
                assert!(before.iter().all(|(value, _)| value.is_none()));
                continue;
            };
            for ((value, headers), (hidden, more)) in before.iter().zip(values(&sealed)) {
                assert_eq!(value.is_some(), more > *headers, "tombstones stay");
                assert!(value.is_none() || *value != hidden);
            }
            assert_eq!(values(&opened(&rule(KEYS), &sealed).unwrap().unwrap()), before);
            assert_eq!(opened(&rule(OTHER), &sealed), Err(Closed::NoKey));
            let twice = keys.seal(&rule(KEYS), b"t", &sealed, 1, &mut entropy).unwrap().unwrap();
            assert_eq!(values(&opened(&rule(KEYS), &twice).unwrap().unwrap()), values(&sealed));
        }
    }

    #[test]
    fn a_changed_value_or_header_is_forged() {
        let mut entropy = Entropy::from_seed([1; 32]);
        let written = batches().find(|bytes| values(bytes).iter().any(|(value, _)| value.is_some())).unwrap();
        let sealed = PolicyKeys::default().seal(&rule(KEYS), b"t", &written, 1, &mut entropy).unwrap().unwrap();
        let changed = |at: &dyn Fn(&mut Vec<u8>, &mut Vec<u8>)| {
            let other = map::<Unreadable>(&sealed, &mut |_, record| {
                let (mut value, mut header) =
                    (record.value.unwrap_or_default().to_vec(), record.headers.get(HEADER_NAME).unwrap_or_default().to_vec());
                at(&mut value, &mut header);
                Ok(Change::Set(Some(value), vec![(HEADER_NAME.into(), Some(header.into()))]))
            });
            opened(&rule(KEYS), &other.unwrap().unwrap())
        };
        assert!(changed(&|_, _| ()).is_ok());
        assert_eq!(changed(&|value, _| value[0] ^= 1), Err(Closed::Forged));
        assert_eq!(changed(&|_, header| *header.last_mut().unwrap() ^= 1), Err(Closed::Forged));
        assert_eq!(changed(&|_, header| header.truncate(5)), Err(Closed::Forged));
        assert_eq!(changed(&|_, header| header[30] ^= 1), Err(Closed::NoKey));
    }

    #[test]
    fn data_keys_are_used_for_a_time_and_an_amount() {
        let mut entropy = Entropy::from_seed([1; 32]);
        let mut keys = PolicyKeys::default();
        let mut front = |rule: &Encryption, topic: &[u8], now| {
            keys.renew(rule, topic, now, &mut entropy).unwrap();
            keys.sealing[topic].front.clone()
        };
        let first = front(&rule(KEYS), b"t", 1);
        assert_eq!(front(&rule(KEYS), b"t", 100), first);
        assert_ne!(front(&rule(KEYS), b"u", 100), first);
        let second = front(&rule(KEYS), b"t", 101);
        assert_ne!(second, first);
        assert_ne!(front(&Encryption { rotate_bytes: 0, ..rule(KEYS) }, b"t", 101), second);
    }
}
