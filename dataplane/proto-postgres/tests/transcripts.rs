//! Replays tests/transcripts/postgres on the machine, compiled from resources as a sidecar does.

#![allow(clippy::unwrap_used, missing_docs)]

mod scene;

use std::path::Path;
use wire::transcript;

#[test]
fn transcripts() {
    transcript::check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts/postgres"), scene::worker);
}
