//! Proving who is who: what the families have in common, blind to how their messages travel.
//!
//! ```text
//! scram    SCRAM-SHA-256 and -512, as the server and as the client
//! token    JSON web tokens (RS256, ES256), checked against keys that are at hand
//! same     comparing secrets in a time that tells nothing
//! entropy  random bytes, deterministic under a seed
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod entropy;
mod keys;
pub mod scram;
pub mod token;

pub use entropy::Entropy;
pub use keys::TokenKeys;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Whether two secrets are equal. Digests have one length: comparing the secrets themselves would tell how long the right one is.
pub fn same(expected: &[u8], given: &[u8]) -> bool {
    Sha256::digest(given).ct_eq(&Sha256::digest(expected)).into()
}
