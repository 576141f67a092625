//! Proving who is who, to clients as a server and to servers as a client.

mod binding;
mod downstream;
mod md5;
mod upstream;

pub use binding::end_point;
pub use downstream::{Check, Method, Step, User};
pub use identity::{Entropy, scram};
pub use upstream::{Credentials, Login};

/// The only hash that PostgreSQL has SCRAM with.
pub const HASH: scram::Hash = scram::Hash::Sha256;
const MECHANISM: &str = "SCRAM-SHA-256";
/// The same, bound to the TLS channel.
const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";
