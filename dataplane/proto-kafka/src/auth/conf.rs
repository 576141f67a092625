//! Who is let in, and who we are to the brokers.

use config::proto::midstream::kafka::v1 as proto;
use config::{Context, Invalid, Secret};
use hashbrown::HashMap;
use identity::scram::{self, Hash, Keys};
use identity::token::Rules;
use identity::{Entropy, TokenKeys};
use std::sync::Arc;
use wire::{MILLIS, Nanos, SECONDS};

/// How long a client may take to prove who it is, unless a listener says otherwise: a few round trips across the world, and what the
/// sidecar itself needs to reach a broker and to log in there.
const LOGIN_TIMEOUT: Nanos = 30 * SECONDS;

/// A SASL mechanism.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    /// Name and password (RFC 4616).
    Plain,
    /// A proof of the password (RFC 5802).
    Scram(Hash),
    /// A signed token (RFC 7628).
    OauthBearer,
}

impl Mechanism {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Scram(hash) => hash.mechanism(),
            Mechanism::OauthBearer => "OAUTHBEARER",
        }
    }

    fn read(number: i32, field: &str) -> Result<Mechanism, Invalid> {
        match proto::KafkaMechanism::try_from(number) {
            Ok(proto::KafkaMechanism::Plain) => Ok(Mechanism::Plain),
            Ok(proto::KafkaMechanism::ScramSha256) => Ok(Mechanism::Scram(Hash::Sha256)),
            Ok(proto::KafkaMechanism::ScramSha512) => Ok(Mechanism::Scram(Hash::Sha512)),
            Ok(proto::KafkaMechanism::Oauthbearer) => Ok(Mechanism::OauthBearer),
            Ok(proto::KafkaMechanism::Unspecified) | Err(_) => Err(Invalid::new(field, format!("{number} is no SASL mechanism that is known here"))),
        }
    }
}

/// How a listener's clients prove who they are.
#[derive(Clone)]
pub enum Auth {
    /// To the brokers; SASL passes through.
    PassThrough,
    /// They need not.
    Trust,
    /// By their certificate.
    Certificate,
    /// To us.
    Sasl(Arc<SaslServer>),
}

impl Auth {
    /// Whether a client that came under the one may stay under the other.
    pub fn is_like(&self, other: &Auth) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// A user of a listener.
pub struct User {
    /// For PLAIN.
    pub password: Secret,
    /// For SCRAM, of each hash that is offered.
    pub keys: Vec<Keys>,
}

/// What clients' proofs are checked against.
pub struct SaslServer {
    /// In the order in which they are offered.
    pub mechanisms: Vec<Mechanism>,
    /// By name.
    pub users: HashMap<String, User>,
    /// For OAUTHBEARER; `None` where it is not offered.
    pub tokens: Option<Rules>,
    /// A session ends after this time at the latest.
    pub lifetime: Option<Nanos>,
    /// Whoever has not proven who it is after this time is closed.
    pub login_timeout: Nanos,
    /// What salts are made of, so that a user who does not exist has one salt, as one who does.
    pub salts: Entropy,
}

impl SaslServer {
    /// The offered mechanism of that name.
    pub fn mechanism(&self, name: &[u8]) -> Option<Mechanism> {
        self.mechanisms.iter().copied().find(|mechanism| mechanism.name().as_bytes() == name)
    }
}

/// What we log in to brokers with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credential {
    /// How.
    pub mechanism: Mechanism,
    /// As whom; empty for a token.
    pub user: String,
    /// The password or the token.
    pub secret: Secret,
}

/// Compiles a listener's authentication; `has_credentials`: the cluster behind it is logged in to by ourselves.
///
/// # Errors
/// A field is wrong, or a secret cannot be read.
pub fn server(context: &Context<'_>, given: Option<&proto::KafkaAuthentication>, has_credentials: bool) -> Result<Auth, Invalid> {
    use proto::kafka_authentication::Mode;
    let Some(given) = given else { return Ok(if has_credentials { Auth::Trust } else { Auth::PassThrough }) };
    let within = |invalid: Invalid| invalid.within("authentication");
    match given.mode() {
        Mode::Unspecified if has_credentials => Ok(Auth::Trust),
        Mode::Unspecified => Ok(Auth::PassThrough),
        Mode::Trust => Ok(Auth::Trust),
        Mode::Certificate => Ok(Auth::Certificate),
        Mode::Sasl => sasl(context, given).map(|server| Auth::Sasl(Arc::new(server))).map_err(within),
    }
}

fn sasl(context: &Context<'_>, given: &proto::KafkaAuthentication) -> Result<SaslServer, Invalid> {
    let read = |(index, number): (usize, &i32)| Mechanism::read(*number, &format!("mechanisms[{index}]"));
    let mechanisms = given.mechanisms.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    if mechanisms.is_empty() {
        return Err(Invalid::new("mechanisms", "is empty, which lets nobody in"));
    }
    let takes_tokens = mechanisms.contains(&Mechanism::OauthBearer);
    let tokens = match &given.tokens {
        Some(tokens) if takes_tokens => rules(context, tokens).map_err(|invalid| invalid.within("tokens"))?,
        None if takes_tokens => return Err(Invalid::new("tokens", "is missing; OAUTHBEARER needs keys to check tokens with")),
        _ => None,
    };
    let salts = Entropy::from_system();
    let users = users(context, given, &mechanisms, &salts)?;
    let lifetime = (given.session_lifetime_ms > 0).then(|| given.session_lifetime_ms.saturating_mul(MILLIS));
    let login_timeout = if given.login_timeout_ms > 0 { given.login_timeout_ms.saturating_mul(MILLIS) } else { LOGIN_TIMEOUT };
    Ok(SaslServer { mechanisms, users, tokens, lifetime, login_timeout, salts })
}

/// Keys are made here, so that a login costs the same whether its user exists or not.
fn users(
    context: &Context<'_>,
    given: &proto::KafkaAuthentication,
    mechanisms: &[Mechanism],
    salts: &Entropy,
) -> Result<HashMap<String, User>, Invalid> {
    let mut users = HashMap::new();
    for (index, (name, password)) in context.users(&given.users)?.into_iter().enumerate() {
        if given.users.get(index).is_some_and(|user| user.password_secret.is_empty()) {
            return Err(Invalid::new(format!("users[{index}].password_secret"), "is missing; SASL needs a password"));
        }
        let salt = salts.derive(scram::SALT, name.as_bytes());
        let keys = mechanisms.iter().filter_map(|mechanism| match mechanism {
            Mechanism::Scram(hash) => Some(Keys::derive(*hash, password.expose(), &salt[..16], scram::ITERATIONS)),
            _ => None,
        });
        let user = User { keys: keys.collect(), password };
        if users.insert(name.clone(), user).is_some() {
            return Err(Invalid::new(format!("users[{index}].name"), format!("two users are named {name}")));
        }
    }
    Ok(users)
}

/// `None` on the control plane, which has no keys.
fn rules(context: &Context<'_>, tokens: &proto::KafkaTokens) -> Result<Option<Rules>, Invalid> {
    let text = context.secret(&tokens.keys_secret).map_err(|invalid| invalid.within("keys_secret"))?;
    if !context.is_real() {
        return Ok(None);
    }
    let keys = TokenKeys::parse(text.expose()).map_err(|reason| Invalid::new("keys_secret", reason))?;
    let mut claims: Vec<(String, String)> = tokens.claims.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    claims.sort();
    let identity = if tokens.identity_claim.is_empty() { "sub".into() } else { tokens.identity_claim.clone() };
    let leeway = tokens.leeway_ms / 1000;
    Ok(Some(Rules { keys, issuer: tokens.issuer.clone(), audiences: tokens.audiences.clone(), claims, identity, leeway }))
}

/// Compiles what we log in to a cluster with.
///
/// # Errors
/// A field is wrong, or a secret cannot be read.
pub fn credentials(context: &Context<'_>, given: Option<&proto::KafkaCredentials>) -> Result<Option<Arc<Credential>>, Invalid> {
    let Some(given) = given else { return Ok(None) };
    let read = || {
        let mechanism = Mechanism::read(given.mechanism, "mechanism")?;
        let secret = context.secret(&given.secret).map_err(|invalid| invalid.within("secret"))?;
        if given.user.is_empty() != (mechanism == Mechanism::OauthBearer) {
            return Err(Invalid::new("user", "is for PLAIN and SCRAM, which need it, and not for OAUTHBEARER"));
        }
        if given.user.contains('\0') || secret.expose().contains(&0) {
            return Err(Invalid::new("user", "or its password has a NUL character, which PLAIN cannot carry"));
        }
        Ok(Some(Arc::new(Credential { mechanism, user: given.user.clone(), secret })))
    };
    read().map_err(|invalid: Invalid| invalid.within("credentials"))
}

/// Compiles the credentials of single identities.
///
/// # Errors
/// As [`credentials`]; or two are for one identity.
pub fn principals(context: &Context<'_>, given: &[proto::KafkaPrincipal]) -> Result<HashMap<String, Arc<Credential>>, Invalid> {
    let mut principals = HashMap::new();
    for (index, principal) in given.iter().enumerate() {
        let at = |invalid: Invalid| invalid.within(&format!("principals[{index}]"));
        let credential = credentials(context, principal.credentials.as_ref()).map_err(at)?;
        let credential = credential.ok_or_else(|| at(Invalid::new("credentials", "is missing")))?;
        if principals.insert(principal.identity.clone(), credential).is_some() {
            return Err(at(Invalid::new("identity", format!("two credentials are for {}", principal.identity))));
        }
    }
    Ok(principals)
}
