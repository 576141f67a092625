//! SASL that ends here: clients prove to us who they are, and we prove to the brokers who we are.
//!
//! ```text
//! client                          sidecar                               broker
//!   ApiVersions ------------------> answered, or passes -------------->        gate.rs: nothing else passes yet; early.rs
//!   SaslHandshake, SaslAuthenticate > checked here (exchange.rs)
//!                                   SaslHandshake, SaslAuthenticate --->       login.rs, upstream.rs; where the cluster has credentials
//!   <-- the last answer ----------- when the broker has accepted us too
//!   requests ---------------------> pass ----------------------------->
//! ```
//! A client gets a connection to its broker when it has proven who it is, or asks for versions that nobody has asked that broker about
//! lately. It has `login_timeout` for its proof.
//!
//! A client's session and ours with the broker may both have an end (KIP-368). The client's is its own affair: behind it, only SASL is
//! taken. Ours is renewed when the client's next request finds that most of it is over: the request waits, those before it are
//! answered first, as brokers take requests of a connection one after the other.

mod conf;
mod early;
mod exchange;
mod gate;
mod login;
mod upstream;

pub(crate) use early::TIMER_LOGIN;

pub use conf::{Auth, Credential, Mechanism, SaslServer, User, credentials, principals, server};
pub use exchange::{Exchange, scan};
pub use gate::SessionAuth;
pub use login::{Login, Next};
