//! Proving who is who, to clients as a server and to servers as a client.

mod binding;
mod downstream;
mod entropy;
mod md5;
pub mod scram;
mod upstream;

pub use binding::end_point;
pub use downstream::{Check, Method, Step, User};
pub use entropy::Entropy;
pub use upstream::{Credentials, Login};
