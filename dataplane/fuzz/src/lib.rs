//! What the targets share: a configuration with everything in it, and a player of events for protocol machines.

mod play;
mod scene;

pub use play::play;
pub use scene::{compile, context};
