//! The resources of the control API as the data plane takes them: decoded, resolved, checked.
//!
//! This is the one validator. The sidecar runs it before it swaps a configuration in; the control plane runs the same code at
//! admission, through `mesh_core._dataplane.validate`, with secrets and sockets left out.
//!
//! ```text
//! Raw resources --Set::decode--> Set --families compile with a Context--> Conf, binds, refusals
//!        ^                                                                        |
//!        +------ settle: a refused resource gives way to its last good version ---+
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod context;
pub mod proto;
mod secret;
mod set;
mod settle;
mod tls;
pub mod types;

pub use context::{Compiled, Context, Endpoint, ListenerOf, Role};
pub use secret::{Absent, Local, Resolve, Secret};
pub use set::{Entry, Raw, Set};
pub use settle::{Settled, settle};
pub use tls::covers;

use std::fmt;

/// A resource that is not taken: whose, where in it, and what to do about it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Refusal {
    /// Type URL of the resource.
    pub type_url: String,
    /// Its name.
    pub name: String,
    /// Its version, as the control plane gave it.
    pub version: String,
    /// Path of the field, `tables[2].range.spans[1].from`; empty for the resource as a whole.
    pub field: String,
    /// A sentence: what is wrong and what to do.
    pub reason: String,
}

/// A wrong field of the resource at hand; becomes a [`Refusal`] with [`Entry::refuse`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalid {
    /// Path of the field.
    pub field: String,
    /// A sentence.
    pub reason: String,
}

impl Invalid {
    /// A wrong field.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Invalid {
        Invalid { field: field.into(), reason: reason.into() }
    }

    /// The same, seen from the message that holds this one.
    pub fn within(mut self, outer: &str) -> Invalid {
        self.field = if self.field.is_empty() { outer.into() } else { format!("{outer}.{}", self.field) };
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}
