//! Any bytes, a line each, are a client's SASL messages by every mechanism, and a broker's answers to our own; nobody is let in by them.
#![no_main]

use identity::token::Rules;
use identity::{Entropy, TokenKeys};
use libfuzzer_sys::fuzz_target;
use proto_kafka::auth::{Credential, Login, Mechanism, SaslServer, User, scan};
use std::sync::{Arc, LazyLock};

const KEYS: &[u8] = br#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

static SERVER: LazyLock<SaslServer> = LazyLock::new(|| SaslServer {
    mechanisms: vec![Mechanism::Plain, Mechanism::OauthBearer],
    users: [("ann".to_string(), User { password: config::Secret::new(b"a password that no input has"), keys: vec![] })].into_iter().collect(),
    tokens: TokenKeys::parse(KEYS).ok().map(|keys| Rules {
        keys,
        issuer: String::new(),
        audiences: vec!["kafka".into()],
        claims: vec![("scope".into(), String::new())],
        identity: "sub".into(),
        leeway: 0,
    }),
    lifetime: None,
    login_timeout: wire::MILLIS * 30_000,
    salts: Entropy::from_seed([1; 32]),
});

fuzz_target!(|data: &[u8]| {
    assert!(!scan(&SERVER, data));
    let _ = TokenKeys::parse(data);
    let who = Credential { mechanism: Mechanism::Plain, user: "app".into(), secret: config::Secret::new(b"secret") };
    let (mut login, _) = Login::begin(Arc::new(who), [1; 32]);
    for answer in data.split(|byte| *byte == b'\n') {
        if login.answer(answer).is_err() {
            return;
        }
    }
});
