//! Channel binding `tls-server-end-point` (RFC 5929, 4): a login is bound to the server's certificate by its hash, so that somebody in the
//! middle with a certificate of his own cannot pass it on.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use wire::Cursor;
use wire::der::{OBJECT_ID, SEQUENCE, element, value};

/// 1.2.840.113549.1.1: RSA; the last number is the algorithm.
const RSA: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// 1.2.840.10045.4: ECDSA.
const ECDSA: [u8; 6] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
/// 2.16.840.1.101.3.4.2: the SHA-2 family.
const SHA2: [u8; 8] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
/// The context-specific tag of the hash in the parameters of RSASSA-PSS.
const PSS_HASH: u8 = 0xa0;

/// The hash of a certificate: by the function that its signature uses, and SHA-256 instead of MD5 and SHA-1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// The binding data of a certificate (DER). `None` where its signature names no hash function (Ed25519): then there is none.
pub fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    Some(match hash(certificate)? {
        Hash::Sha224 => Sha224::digest(certificate).to_vec(),
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

fn hash(certificate: &[u8]) -> Option<Hash> {
    let mut certificate = Cursor::new(value(&mut Cursor::new(certificate), SEQUENCE)?);
    let _to_be_signed = value(&mut certificate, SEQUENCE)?;
    let mut algorithm = Cursor::new(value(&mut certificate, SEQUENCE)?);
    let id = value(&mut algorithm, OBJECT_ID)?;
    if let Some(number) = id.strip_prefix(&RSA) {
        return match number {
            [4 | 5 | 11] => Some(Hash::Sha256),
            [10] => pss(algorithm),
            [12] => Some(Hash::Sha384),
            [13] => Some(Hash::Sha512),
            [14] => Some(Hash::Sha224),
            _ => None,
        };
    }
    match id.strip_prefix(&ECDSA)? {
        [1] | [3, 2] => Some(Hash::Sha256),
        [3, 1] => Some(Hash::Sha224),
        [3, 3] => Some(Hash::Sha384),
        [3, 4] => Some(Hash::Sha512),
        _ => None,
    }
}

/// RSASSA-PSS names its hash in its parameters (RFC 4055, 3.1); SHA-1 where it does not.
fn pss(mut algorithm: Cursor<'_>) -> Option<Hash> {
    let mut parameters = Cursor::new(value(&mut algorithm, SEQUENCE)?);
    let named = match element(&mut parameters) {
        Some((PSS_HASH, named)) => named,
        _ => return Some(Hash::Sha256),
    };
    let mut named = Cursor::new(value(&mut Cursor::new(named), SEQUENCE)?);
    match value(&mut named, OBJECT_ID)?.strip_prefix(&SHA2)? {
        [1] => Some(Hash::Sha256),
        [2] => Some(Hash::Sha384),
        [3] => Some(Hash::Sha512),
        [4] => Some(Hash::Sha224),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
        [&[tag, contents.len() as u8], contents].concat()
    }

    fn signed(algorithm: &[u8]) -> Vec<u8> {
        let parts = [der(SEQUENCE, b"to be signed"), der(SEQUENCE, algorithm), der(3, b"\0signature")];
        der(SEQUENCE, &parts.concat())
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        let rsa = |number: u8| der(OBJECT_ID, &[&RSA[..], &[number]].concat());
        let ecdsa = |number: &[u8]| der(OBJECT_ID, &[&ECDSA[..], number].concat());
        let sha384 = der(SEQUENCE, &der(OBJECT_ID, &[&SHA2[..], &[2]].concat()));
        let pss = [rsa(10), der(SEQUENCE, &der(PSS_HASH, &sha384))].concat();
        let lengths: Vec<_> =
            [rsa(5), rsa(11), rsa(13), ecdsa(&[3, 1]), ecdsa(&[3, 3]), pss].iter().map(|id| end_point(&signed(id)).unwrap().len()).collect();
        assert_eq!(lengths, [32, 32, 64, 28, 48, 48], "SHA-1 is replaced by SHA-256");
        let certificate = signed(&ecdsa(&[3, 2]));
        assert_eq!(end_point(&certificate).unwrap(), Sha256::digest(&certificate).to_vec());
    }

    #[test]
    fn without_a_hash_there_is_no_binding() {
        let ed25519 = der(OBJECT_ID, &[0x2b, 0x65, 0x70]);
        let certificate = signed(&ed25519);
        assert_eq!(end_point(&certificate), None);
        let certificate = signed(&der(OBJECT_ID, &[&RSA[..], &[11]].concat()));
        for end in 0..certificate.len() {
            assert_eq!(end_point(&certificate[..end]), None, "cut at {end}");
        }
    }
}
