//! How a command over several slots waits for something to come: by trying again, seldomer and seldomer, until its timeout. A real blocking
//! command on each node would be sooner, but two of them could pop for one request.

use crate::errand::Next;
use crate::frame::Frame;
use wire::{MILLIS, Nanos, SECONDS};

/// The pauses between tries: from a round trip on this machine to what a person does not notice. A hundred clients that wait for five slots
/// each cost the nodes 10,000 tries a second together.
const FIRST: Nanos = MILLIS;
const LONGEST: Nanos = 50 * MILLIS;

/// How long something is waited for.
#[derive(Debug)]
pub(crate) struct Patience {
    /// `None`: until it comes.
    timeout: Option<Nanos>,
    until: Option<Nanos>,
    pause: Nanos,
}

impl Patience {
    /// Of a timeout in seconds; 0: for ever.
    ///
    /// # Errors
    /// It is none; in the server's words.
    pub fn seconds(frame: &Frame<'_>, index: usize) -> Result<Patience, &'static str> {
        let seconds: Option<f64> = std::str::from_utf8(frame.word(index)).ok().and_then(|text| text.parse().ok());
        match seconds.filter(|seconds| seconds.is_finite() && *seconds <= i64::MAX as f64 / 1e9) {
            Some(seconds) if seconds < 0.0 => Err("ERR timeout is negative"),
            Some(seconds) => Ok(Patience::new((seconds * SECONDS as f64).ceil() as Nanos)),
            None => Err("ERR timeout is not a float or out of range"),
        }
    }

    /// Of a timeout; 0: for ever.
    pub fn new(timeout: Nanos) -> Patience {
        Patience { timeout: Some(timeout).filter(|timeout| *timeout > 0), until: None, pause: FIRST }
    }

    /// Starts the clock, if it does not run.
    pub fn begin(&mut self, now: Nanos) {
        self.until = self.until.or(self.timeout.map(|timeout| now.saturating_add(timeout)));
    }

    /// A short pause, for what is over in some round trips; `None`: the time is over.
    pub fn soon(&self, now: Nanos) -> Option<Next> {
        let left = self.until.map_or(LONGEST, |until| until.saturating_sub(now));
        (left > 0).then_some(Next::Wait(FIRST))
    }

    /// The pause before the next try; `None`: the time is over.
    pub fn pause(&mut self, now: Nanos) -> Option<Next> {
        let left = self.until.map_or(LONGEST, |until| until.saturating_sub(now));
        let pause = self.pause.min(left);
        self.pause = (self.pause * 2).min(LONGEST);
        (left > 0).then_some(Next::Wait(pause.max(MILLIS)))
    }
}
