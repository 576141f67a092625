//! SCRAM (RFC 5802, RFC 7677), both sides, with and without channel binding.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha512};
use std::borrow::Cow;
use subtle::ConstantTimeEq;

/// The only kind of binding that is known here, as to PostgreSQL.
const END_POINT: &str = "p=tls-server-end-point";
/// What salts are derived under, those of users and those of names that are none alike: else a salt would tell which it is.
pub const SALT: &[u8] = b"salt";
/// PostgreSQL's own number (`SCRAM_SHA_256_DEFAULT_ITERATIONS`), and the fewest that Kafka's clients take.
pub const ITERATIONS: u32 = 4096;
/// A server that asks for more would stop the worker for seconds: 4096 take about a millisecond.
const MAX_ITERATIONS: u32 = 500_000;

/// The hash that a mechanism is named after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hash {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

impl Hash {
    /// The mechanism's name.
    pub fn mechanism(self) -> &'static str {
        match self {
            Hash::Sha256 => "SCRAM-SHA-256",
            Hash::Sha512 => "SCRAM-SHA-512",
        }
    }

    fn size(self) -> usize {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha512 => 64,
        }
    }

    fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => Sha256::digest(data).to_vec(),
            Hash::Sha512 => Sha512::digest(data).to_vec(),
        }
    }

    fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Hash::Sha256 => mac::<Hmac<Sha256>>(key, parts),
            Hash::Sha512 => mac::<Hmac<Sha512>>(key, parts),
        }
    }

    fn salted(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        let mut key = vec![0; self.size()];
        match self {
            Hash::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut key),
            Hash::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut key),
        }
        key
    }
}

/// What a server keeps of a password.
#[derive(Clone)]
pub struct Keys {
    /// Given to the client.
    pub salt: Vec<u8>,
    /// Given to the client.
    pub iterations: u32,
    hash: Hash,
    stored: Vec<u8>,
    server: Vec<u8>,
}

impl Keys {
    /// From a password; takes about a millisecond. See [`prepared`].
    pub fn derive(hash: Hash, password: &[u8], salt: &[u8], iterations: u32) -> Keys {
        let salted = hash.salted(password, salt, iterations);
        let stored = hash.digest(&hash.hmac(&salted, &[b"Client Key"]));
        Keys { salt: salt.to_vec(), iterations, hash, stored, server: hash.hmac(&salted, &[b"Server Key"]) }
    }

    /// What they are made with.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// For a user that does not exist: looks the same, lets nobody in, since nobody knows what hashes to it.
    pub fn mock(hash: Hash, salt: [u8; 32], stored: [u8; 32]) -> Keys {
        let stored = hash.digest(&stored);
        Keys { salt: salt[..16].to_vec(), iterations: ITERATIONS, hash, server: stored.clone(), stored }
    }
}

/// The server's half of an exchange, after its first message.
pub struct Challenge {
    nonce: String,
    /// What the client's `c=` must say: header and binding data.
    bound: Vec<u8>,
    client_first: String,
    server_first: String,
}

/// Why an exchange failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Not a SCRAM message; the sentence says what is wrong.
    Malformed(&'static str),
    /// The proof is wrong.
    Proof,
    /// The client thinks that we offered no channel binding, and we did.
    Downgrade,
    /// What the client is bound to is not our certificate, or not what its first message said.
    Binding,
}

/// What a server has to do with channel binding in one exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binding<'a> {
    /// Nothing: no TLS, or a certificate that nothing can be bound to.
    None,
    /// It was offered, and the client chose the mechanism without it.
    Offered,
    /// The client chose it; the data of our certificate.
    Chosen(&'a [u8]),
}

impl Binding<'_> {
    /// Whether the flag of the client's first message goes with the mechanism that it chose (RFC 5802, 6).
    fn check(self, flag: &str) -> Result<(), Failure> {
        match (self, flag) {
            (Binding::None | Binding::Offered, "n") | (Binding::None, "y") | (Binding::Chosen(_), END_POINT) => Ok(()),
            // Somebody between us has taken the offer out.
            (Binding::Offered, "y") => Err(Failure::Downgrade),
            (Binding::Chosen(_), "n" | "y") => Err(Failure::Malformed("it selected SCRAM-SHA-256-PLUS without channel binding data")),
            (Binding::Chosen(_), _) => Err(Failure::Malformed("the only channel binding type is tls-server-end-point")),
            _ => Err(Failure::Malformed("it has channel binding data and selected SCRAM-SHA-256 without it")),
        }
    }
}

/// Answers the client's first message.
///
/// # Errors
/// The message is malformed, or does not go with `binding`.
pub fn challenge(client_first: &[u8], keys: &Keys, random: &[u8], binding: Binding<'_>) -> Result<(Challenge, String), Failure> {
    let message = std::str::from_utf8(client_first).map_err(|_| Failure::Malformed("it is not UTF-8"))?;
    let mut parts = message.splitn(3, ',');
    let (flag, authzid, bare) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    binding.check(flag)?;
    if !authzid.is_empty() && authzid.strip_prefix("a=") != attribute(bare, 0, "n=") {
        return Err(Failure::Malformed("an authorization identity other than the user is not supported"));
    }
    let client_nonce = attribute(bare, 1, "r=").filter(|nonce| !nonce.is_empty()).ok_or(Failure::Malformed("it has no nonce"))?;
    let nonce = format!("{client_nonce}{}", STANDARD.encode(&random[..random.len().min(18)]));
    let server_first = format!("r={nonce},s={},i={}", STANDARD.encode(&keys.salt), keys.iterations);
    let mut bound = format!("{flag},{authzid},").into_bytes();
    if let Binding::Chosen(data) = binding {
        bound.extend_from_slice(data);
    }
    let challenge = Challenge { nonce, bound, client_first: bare.into(), server_first: server_first.clone() };
    Ok((challenge, server_first))
}

impl Challenge {
    /// Checks the client's final message; the server's final message if it is right.
    ///
    /// # Errors
    /// It is malformed, or the proof is wrong; compared in constant time.
    pub fn verify(&self, client_final: &[u8], keys: &Keys) -> Result<String, Failure> {
        let message = std::str::from_utf8(client_final).map_err(|_| Failure::Malformed("it is not UTF-8"))?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(Failure::Malformed("it has no proof"))?;
        let binding = attribute(without_proof, 0, "c=").ok_or(Failure::Malformed("it has no channel binding data"))?;
        if STANDARD.decode(binding).ok().as_deref() != Some(self.bound.as_slice()) {
            return Err(Failure::Binding);
        }
        if attribute(without_proof, 1, "r=") != Some(self.nonce.as_str()) {
            return Err(Failure::Malformed("its nonce is not the one agreed on"));
        }
        let proof = STANDARD.decode(proof).map_err(|_| Failure::Malformed("its proof is not base64"))?;
        let parts: [&[u8]; 5] = [self.client_first.as_bytes(), b",", self.server_first.as_bytes(), b",", without_proof.as_bytes()];
        let hash = keys.hash;
        let client_key = xor(&hash.hmac(&keys.stored, &parts), &proof).ok_or(Failure::Malformed("its proof is not as long as its hash"))?;
        if bool::from(hash.digest(&client_key).ct_eq(&keys.stored)) {
            Ok(format!("v={}", STANDARD.encode(hash.hmac(&keys.server, &parts))))
        } else {
            Err(Failure::Proof)
        }
    }
}

/// The name in a client's first message, for servers that have not heard it before.
pub fn user(client_first: &[u8]) -> Option<String> {
    let bare = std::str::from_utf8(client_first).ok()?.splitn(3, ',').nth(2)?;
    let name = attribute(bare, 0, "n=")?;
    Some(name.replace("=2C", ",").replace("=3D", "="))
}

/// The client's half, after its first message.
pub struct Client {
    hash: Hash,
    nonce: String,
    bound: Vec<u8>,
    client_first: String,
    server_signature: Option<Vec<u8>>,
}

/// What a client has to do with channel binding in one exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bind<'a> {
    /// Nothing.
    Cannot,
    /// It could, and the server did not offer it.
    NotOffered,
    /// To the server's certificate by these data.
    To(&'a [u8]),
}

impl Client {
    /// With the first message to send. PostgreSQL ignores the user name in it, since the startup packet has it.
    pub fn start(hash: Hash, user: &str, random: &[u8], bind: Bind<'_>) -> (Client, String) {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Client::with_nonce(hash, &user, STANDARD.encode(&random[..random.len().min(18)]), bind)
    }

    fn with_nonce(hash: Hash, user: &str, nonce: String, bind: Bind<'_>) -> (Client, String) {
        let (flag, data) = match bind {
            Bind::Cannot => ("n", &b""[..]),
            Bind::NotOffered => ("y", &b""[..]),
            Bind::To(data) => (END_POINT, data),
        };
        let client_first = format!("n={user},r={nonce}");
        let message = format!("{flag},,{client_first}");
        let bound = [flag.as_bytes(), b",,", data].concat();
        (Client { hash, nonce, bound, client_first, server_signature: None }, message)
    }

    /// Answers the server's first message with our final one. See [`prepared`].
    ///
    /// # Errors
    /// The server's message is malformed or asks for too much work.
    pub fn answer(&mut self, server_first: &[u8], password: &[u8]) -> Result<String, Failure> {
        let message = std::str::from_utf8(server_first).map_err(|_| Failure::Malformed("it is not UTF-8"))?;
        let nonce = attribute(message, 0, "r=").ok_or(Failure::Malformed("it has no nonce"))?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(Failure::Malformed("its nonce does not continue ours"));
        }
        let salt = attribute(message, 1, "s=").and_then(|salt| STANDARD.decode(salt).ok()).ok_or(Failure::Malformed("it has no salt"))?;
        let iterations = attribute(message, 2, "i=").and_then(|count| count.parse().ok()).filter(|count| (1..=MAX_ITERATIONS).contains(count));
        let iterations = iterations.ok_or(Failure::Malformed("its iteration count is missing or too high"))?;
        let hash = self.hash;
        let salted = hash.salted(password, &salt, iterations);
        let client_key = hash.hmac(&salted, &[b"Client Key"]);
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(&self.bound));
        let parts: [&[u8]; 5] = [self.client_first.as_bytes(), b",", server_first, b",", without_proof.as_bytes()];
        let signature = hash.hmac(&hash.digest(&client_key), &parts);
        self.server_signature = Some(hash.hmac(&hash.hmac(&salted, &[b"Server Key"]), &parts));
        let proof = xor(&client_key, &signature).unwrap_or_default();
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof)))
    }

    /// Whether the server knows the password too.
    pub fn is_server_proven(&self, server_final: &[u8]) -> bool {
        let signature = std::str::from_utf8(server_final).ok().and_then(|message| attribute(message, 0, "v="));
        let signature = signature.and_then(|signature| STANDARD.decode(signature).ok());
        match (signature, &self.server_signature) {
            (Some(got), Some(wanted)) => got.ct_eq(wanted).into(),
            _ => false,
        }
    }
}

/// For the fuzzer: bytes as either side's messages, up to a line feed the first one, behind it the last one.
pub fn scan(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (first, last) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let _ = user(first);
    let keys = Keys::mock(Hash::Sha512, [1; 32], [2; 32]);
    for binding in [Binding::None, Binding::Offered, Binding::Chosen(b"data")] {
        if let Ok((challenge, _)) = challenge(first, &keys, &[3; 18], binding) {
            let _ = challenge.verify(last, &keys);
        }
    }
    let (client, _) = Client::start(Hash::Sha256, "", &[3; 18], Bind::To(b"data"));
    let _ = client.is_server_proven(last);
}

/// The attribute at a place: RFC 5802 fixes their order.
fn attribute<'a>(message: &'a str, place: usize, name: &str) -> Option<&'a str> {
    message.split(',').nth(place)?.strip_prefix(name)
}

/// A password as PostgreSQL uses it: by SASLprep, and as it is where SASLprep does not take it. Kafka's brokers and clients use it as it is.
pub fn prepared(password: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(password).ok().and_then(|text| stringprep::saslprep(text).ok()) {
        Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        _ => Cow::Borrowed(password),
    }
}

fn mac<M: Mac + hmac::digest::KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // HMAC takes keys of any length; the error exists only in the trait.
    let Ok(mut mac) = <M as Mac>::new_from_slice(key) else { return Vec::new() };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn xor(a: &[u8], b: &[u8]) -> Option<Vec<u8>> {
    (a.len() == b.len()).then(|| a.iter().zip(b).map(|(a, b)| a ^ b).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exchange_of_rfc_7677() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let server_first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (mut client, first) = Client::with_nonce(Hash::Sha256, "user", "rOprNGfwEbeRWgbNEkqO".into(), Bind::Cannot);
        assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let last = client.answer(server_first.as_bytes(), b"pencil").unwrap();
        assert_eq!(last, "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let keys = Keys::derive(Hash::Sha256, b"pencil", &salt, 4096);
        let challenge = Challenge {
            nonce: "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".into(),
            bound: b"n,,".into(),
            client_first: "n=user,r=rOprNGfwEbeRWgbNEkqO".into(),
            server_first: server_first.into(),
        };
        let proof = challenge.verify(last.as_bytes(), &keys).unwrap();
        assert_eq!(proof, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert!(client.is_server_proven(proof.as_bytes()));
        assert!(!client.is_server_proven(b"v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    }

    #[test]
    fn a_wrong_password_and_a_wrong_nonce_fail() {
        let keys = Keys::derive(Hash::Sha256, b"right", b"salt", 2);
        let run = |password: &[u8]| {
            let (mut client, first) = Client::start(Hash::Sha256, "", &[1; 18], Bind::Cannot);
            let (challenge, server_first) = challenge(first.as_bytes(), &keys, &[2; 18], Binding::Offered).unwrap();
            challenge.verify(client.answer(server_first.as_bytes(), password).unwrap().as_bytes(), &keys)
        };
        assert!(run(b"right").is_ok());
        assert_eq!(run(b"wrong"), Err(Failure::Proof));
        let (mut client, _) = Client::start(Hash::Sha256, "", &[1; 18], Bind::Cannot);
        assert!(client.answer(b"r=other,s=c2FsdA==,i=4096", b"right").is_err());
        assert!(client.answer(b"r=,s=c2FsdA==,i=4294967295", b"right").is_err());
    }

    #[test]
    fn a_login_is_bound_to_the_certificate_that_the_client_saw() {
        let keys = Keys::derive(Hash::Sha256, b"secret", b"salt", 2);
        let run = |bind, binding| {
            let (mut client, first) = Client::start(Hash::Sha256, "", &[1; 18], bind);
            let (challenge, server_first) = challenge(first.as_bytes(), &keys, &[2; 18], binding)?;
            challenge.verify(client.answer(server_first.as_bytes(), b"secret").unwrap().as_bytes(), &keys)
        };
        assert!(run(Bind::To(b"ours"), Binding::Chosen(b"ours")).is_ok());
        assert_eq!(run(Bind::To(b"another's"), Binding::Chosen(b"ours")), Err(Failure::Binding));
        assert_eq!(run(Bind::NotOffered, Binding::Offered), Err(Failure::Downgrade));
        assert!(run(Bind::NotOffered, Binding::None).is_ok());
        assert!(matches!(run(Bind::Cannot, Binding::Chosen(b"ours")), Err(Failure::Malformed(_))));
        assert!(matches!(run(Bind::To(b"ours"), Binding::Offered), Err(Failure::Malformed(_))));
        assert!(matches!(run(Bind::To(b"ours"), Binding::None), Err(Failure::Malformed(_))));
    }

    #[test]
    fn both_hashes_and_names_with_commas() {
        for hash in [Hash::Sha256, Hash::Sha512] {
            let (mut client, first) = Client::start(hash, "b,=b", &[1; 18], Bind::Cannot);
            assert_eq!(user(first.as_bytes()).as_deref(), Some("b,=b"));
            let keys = Keys::derive(hash, b"right", b"salt", 2);
            let (challenge, server_first) = challenge(first.as_bytes(), &keys, &[2; 18], Binding::None).unwrap();
            let proof = challenge.verify(client.answer(server_first.as_bytes(), b"right").unwrap().as_bytes(), &keys).unwrap();
            assert!(client.is_server_proven(proof.as_bytes()));
            let mock = Keys::mock(hash, [1; 32], [2; 32]);
            assert_eq!(challenge.verify(client.answer(server_first.as_bytes(), b"right").unwrap().as_bytes(), &mock), Err(Failure::Proof));
        }
    }

    #[test]
    fn nobody_acts_for_another() {
        let keys = Keys::derive(Hash::Sha256, b"right", b"salt", 2);
        assert!(challenge(b"n,a=ann,n=ann,r=x", &keys, &[2; 18], Binding::None).is_ok());
        assert!(challenge(b"n,a=root,n=ann,r=x", &keys, &[2; 18], Binding::None).is_err());
    }
}
