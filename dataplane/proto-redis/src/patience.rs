//! How a command over several slots waits for something to come: by trying again, seldomer and seldomer, until its timeout. A real blocking
//! command on each node would be sooner, but two of them could pop for one request.

use crate::errand::Next;
use crate::frame::{Found, Frame, Scan};
use crate::table::{Begin, Command, Keys, Table};
use crate::value::command;
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

/// Which word of a command that blocks says for how long: of XREAD the one after BLOCK, of others the last, or, where their keys are counted, the first.
pub(crate) fn timeout_of(row: &Command, frame: &Frame<'_>) -> Option<usize> {
    if row.acl.contains(&"@stream") {
        return (1..frame.len()).take_while(|index| !frame.is(*index, "streams")).find(|index| frame.is(*index, "block")).map(|at| at + 1);
    }
    match row.keys.first() {
        Some(Keys { begin: Begin::Index(2), .. }) => Some(1),
        _ => frame.len().checked_sub(1),
    }
}

/// A command that has blocked for some time, with what is left of its timeout. `None`: it has none.
pub(crate) fn less(bytes: &[u8], passed: Nanos) -> Option<Vec<u8>> {
    let mut scan = Scan::default();
    let Ok(Found::Command(_)) = scan.command(bytes, true) else { return None };
    let frame = Frame { bytes, words: &scan.words };
    let row = Table::get().find(frame.word(0))?;
    let at = timeout_of(row, &frame)?;
    let is_millis = row.acl.contains(&"@stream");
    let unit = if is_millis { MILLIS } else { SECONDS };
    let given: f64 = std::str::from_utf8(frame.word(at)).ok()?.parse().ok().filter(|given: &f64| *given > 0.0)?;
    // Never 0, which means for ever.
    let left = (given * unit as f64 - passed as f64).max(MILLIS as f64);
    let left = if is_millis { format!("{:.0}", left / MILLIS as f64) } else { format!("{:.3}", left / SECONDS as f64) };
    let words: Vec<&[u8]> = (0..frame.len()).map(|index| if index == at { left.as_bytes() } else { frame.word(index) }).collect();
    Some(command(&words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_timeout() {
        let after = |line: &str, passed: Nanos| {
            let words: Vec<&str> = line.split(' ').collect();
            less(&command(&words), passed).map(|bytes| {
                let mut scan = Scan::default();
                let _ = scan.command(&bytes, true);
                let frame = Frame { bytes: &bytes, words: &scan.words };
                (0..frame.len()).map(|index| String::from_utf8_lossy(frame.word(index)).into_owned()).collect::<Vec<_>>().join(" ")
            })
        };
        for (line, left) in [
            ("BLPOP a 5", "BLPOP a 3.500"),
            ("BZPOPMIN a b 1", "BZPOPMIN a b 0.001"),
            ("BLMOVE a b LEFT RIGHT 2.5", "BLMOVE a b LEFT RIGHT 1.000"),
            ("BRPOPLPUSH a b 2", "BRPOPLPUSH a b 0.500"),
            ("BLMPOP 5 1 a LEFT COUNT 9", "BLMPOP 3.500 1 a LEFT COUNT 9"),
            ("BZMPOP 5 1 a MIN", "BZMPOP 3.500 1 a MIN"),
            ("XREAD COUNT 1 BLOCK 2000 STREAMS block 0", "XREAD COUNT 1 BLOCK 500 STREAMS block 0"),
            ("XREADGROUP GROUP g c BLOCK 1 STREAMS s >", "XREADGROUP GROUP g c BLOCK 1 STREAMS s >"),
        ] {
            assert_eq!(after(line, 1500 * MILLIS).as_deref(), Some(left));
        }
        for line in ["BLPOP a 0", "BLPOP a x", "XREAD BLOCK 0 STREAMS s 0", "XREAD STREAMS s 0"] {
            assert_eq!(after(line, SECONDS), None, "{line}");
        }
    }
}
