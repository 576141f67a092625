//! Bounds that every protocol shares. A bound that belongs to one protocol stands in its crate, with its reason.

/// While a connection holds more unsent bytes than this, what is linked to it is not read.
/// Two full read turns of 128 KiB: one being sent, one ready, so that a fast reader never waits for us.
pub const HIGH_WATER: usize = 256 * 1024;

/// Reading resumes under this: low enough not to flap, high enough that the socket never runs dry.
pub const LOW_WATER: usize = 64 * 1024;

/// What one connection may read in one turn of the loop before the others have theirs.
pub const READ_BUDGET: usize = 256 * 1024;

/// The read scratch of a worker.
pub const SCRATCH: usize = 128 * 1024;

/// The longest unfinished tail that the engine keeps for a connection whose protocol consumed nothing.
/// A protocol that needs longer frames whole forwards or parses them in pieces; 64 MiB only stops a defect from eating the machine,
/// protocols set far lower bounds of their own.
pub const MAX_TAIL: usize = 64 * 1024 * 1024;

/// How long a connection that is being closed may take to send what it still holds.
pub const CLOSE_LINGER_MS: u64 = 5_000;
