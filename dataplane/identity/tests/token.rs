//! Tokens that are good, and every way in which one is not.

#![allow(clippy::unwrap_used, missing_docs)]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use identity::TokenKeys;
use identity::token::{Rules, Token};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

const NOW: u64 = 1_800_000_000;
const GOOD: &str = r#"{"sub":"ann","iss":"https://issuer","aud":["other","kafka"],"exp":1800000060,"nbf":1799999990,"scope":"read write"}"#;

struct Issuer(EcdsaKeyPair);

impl Issuer {
    fn new() -> Issuer {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Issuer(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap())
    }

    fn jwks(&self) -> String {
        let point = self.0.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        format!(r#"{{"keys":[{{"kty":"oct","k":"AAAA"}},{{"kty":"EC","crv":"P-256","kid":"one","use":"sig","alg":"ES256","x":"{x}","y":"{y}"}}]}}"#)
    }

    fn sign(&self, head: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn token(&self, claims: &str) -> String {
        self.sign(r#"{"alg":"ES256","kid":"one"}"#, claims)
    }
}

fn rules(issuer: &Issuer) -> Rules {
    Rules {
        keys: TokenKeys::parse(issuer.jwks().as_bytes()).unwrap(),
        issuer: "https://issuer".into(),
        audiences: vec!["kafka".into()],
        claims: vec![("scope".into(), "write".into())],
        identity: "sub".into(),
        leeway: 5,
    }
}

#[test]
fn a_good_token_names_its_user_and_its_end() {
    let issuer = Issuer::new();
    let token = issuer.token(GOOD);
    assert_eq!(rules(&issuer).check(token.as_bytes(), NOW), Ok(Token { user: "ann".into(), expires: NOW + 60 }));
    assert!(rules(&issuer).check(token.as_bytes(), NOW + 64).is_ok(), "clocks may differ by the leeway");
    assert!(rules(&issuer).check(issuer.sign(r#"{"alg":"ES256"}"#, GOOD).as_bytes(), NOW).is_ok(), "all keys are tried for a token without an id");
}

#[test]
fn what_is_wrong_is_said() {
    let issuer = Issuer::new();
    let rules = rules(&issuer);
    let refused = |token: &str| rules.check(token.as_bytes(), NOW).unwrap_err();
    let claims = |from: &str, to: &str| {
        assert!(GOOD.contains(from));
        refused(&issuer.token(&GOOD.replace(from, to)))
    };
    assert_eq!(rules.check(issuer.token(GOOD).as_bytes(), NOW + 65), Err("the token has expired"));
    assert_eq!(claims(r#""exp":1800000060,"#, ""), "the token has no expiry (exp)");
    assert_eq!(claims("1800000060", r#""tomorrow""#), "one of the token's times is not a number of seconds");
    assert_eq!(claims("1799999990", "1800000006"), "the token is not valid yet (nbf)");
    assert_eq!(claims("https://issuer", "https://another"), "the token is of another issuer (iss)");
    assert_eq!(claims(r#"["other","kafka"]"#, r#""other""#), "the token is for another audience (aud)");
    assert_eq!(claims("read write", "read writer"), "the token lacks a required claim");
    assert_eq!(claims(r#""sub":"ann""#, r#""sub":"""#), "the token names no user");
    assert_eq!(refused(&issuer.sign(r#"{"alg":"ES256","crit":["x"]}"#, GOOD)), "the token's header has extensions that must be understood");
    assert_eq!(refused(&Issuer::new().token(GOOD)), "the token's signature is not of a known key");
    assert_eq!(refused(&issuer.sign(r#"{"alg":"ES256","kid":"two"}"#, GOOD)), "the token's signature is not of a known key");
    assert_eq!(refused(&"a.".repeat(20_000)), "the token exceeds 32 KiB");
}

#[test]
fn a_signature_cannot_be_left_out_or_taken_for_another_kind() {
    let issuer = Issuer::new();
    let rules = rules(&issuer);
    for head in [r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#, r#"{"alg":"RS256"}"#, "{}", "[]", "no"] {
        assert!(rules.check(issuer.sign(head, GOOD).as_bytes(), NOW).is_err(), "{head}");
    }
    let token = issuer.token(GOOD);
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert!(rules.check(format!("{signed}.").as_bytes(), NOW).is_err());
    assert!(rules.check(signed.as_bytes(), NOW).is_err());
    let other = issuer.token(&GOOD.replace("ann", "root"));
    let grafted = format!("{}.{}", other.rsplit_once('.').unwrap().0, token.rsplit_once('.').unwrap().1);
    assert_eq!(rules.check(grafted.as_bytes(), NOW), Err("the token's signature is not of a known key"));
}

/// Signed by OpenSSL with a key that was thrown away.
#[test]
fn an_rsa_signature_is_good() {
    let modulus = "mfUMAhDiPcCKVSQCQNtHHtv82rCUaaKkrDDsGeH9G6iwNiN_DCgCFEu8v5jZsMgq8O-PMNCykBktr-cGXTpSKJ5IWeEbejEUxbkc2ChO80y7P6UBmJnfbgksa8FCirZEQHJVb-K92sTS1MH_DFD-TCNHZfdkEYa3eV7C-o184fx7XFykqEoOGQ5UslFAnCYQw438cWhcSVi0OgyS9mc46hFqRM3Fs5DApvM1T-HkxfWn6go8dpgo5ryhleTOGvbbyKT7ctFOX6Rki_xqiXTPMGJce--seyiSpkL4bI5Wen2rnGuvPmZqKnDI6KiLUa3tc-VSD3_p9qmSwYwa6W6ZyQ";
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLCJleHAiOjEzMDA4MTkzODAsImlzX3Jvb3QiOnRydWV9.FX-yHH0_Gic-5rng9mX9cSuUDHjm7L7lepjgvAzK1rLZyqyuMamMCgCIhzLFZdKxJG1SJBV4yfigPawh23YkUDKSS_OE5QpnhMyfk1n-Jfa36VhrMxbUiW3euR4QbFQX4dXAP4z4VWw3QzrLPpUT0dwsfvkRaAPmBR_OCMCBpc0O8VBMS1pVEv2jUEAzVd-Foat-e4AD3mVLgNCsGPGNgXOYjq66-w2cVSsvTcYFsxFkrM9JxLRn3lS6nZhoq7nMWQp0pni7-9Vxmmzqg28Ioi_IowsXHx0OceO_6i-5KdG6gQde1bhHnEBvAr8LGmk92EcrT3LIQZVmdFAWigUhWQ";
    let keys = TokenKeys::parse(format!(r#"{{"keys":[{{"kty":"RSA","n":"{modulus}","e":"AQAB"}}]}}"#).as_bytes()).unwrap();
    let claims = vec![("is_root".into(), "true".into())];
    let rules = Rules { keys, issuer: "joe".into(), audiences: vec![], claims, identity: "iss".into(), leeway: 0 };
    assert_eq!(rules.check(token.as_bytes(), 1_300_819_379).map(|token| token.user), Ok("joe".to_string()));
    let spoiled = token.replace(&token[token.len() - 20..token.len() - 10], "AAAAAAAAAA");
    assert_eq!(rules.check(spoiled.as_bytes(), 1_300_819_379), Err("the token's signature is not of a known key"));
}

#[test]
fn a_set_without_keys_of_use_is_refused() {
    for set in
        ["", "[]", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#, r#"{"keys":[{"kty":"RSA","use":"enc","n":"AQAB","e":"AQAB"}]}"#]
    {
        assert!(TokenKeys::parse(set.as_bytes()).is_err(), "{set}");
    }
}
