//! CLIENT PAUSE: the commands of a listener's clients wait at the sidecar, on all its workers ([`crate::inquiry`]), until the time is over or
//! CLIENT UNPAUSE. The servers are not paused: other sidecars have clients there, too.
//! Source: <https://redis.io/docs/latest/commands/client-pause/>.

use crate::client::Wait;
use crate::frame::Frame;
use crate::limits;
use crate::machine::{Redis, Step};
use crate::table::Command;
use wire::{Class, Io, Key, MILLIS, Nanos};

/// What waits, and how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pause {
    /// Of which listener.
    pub listener: usize,
    /// Until then.
    pub until: Nanos,
    /// Only what may write.
    pub writes: bool,
}

/// CLIENT PAUSE milliseconds [WRITE | ALL]: how long, and whether only writes wait.
///
/// # Errors
/// In the server's words.
pub(crate) fn read(frame: &Frame<'_>) -> Result<(Nanos, bool), String> {
    let writes = frame.is(3, "write");
    if frame.len() > 4 || (frame.len() == 4 && !writes && !frame.is(3, "all")) {
        return Err("ERR CLIENT PAUSE mode must be WRITE or ALL".to_owned());
    }
    let millis = std::str::from_utf8(frame.word(2)).ok().and_then(|text| text.parse::<i64>().ok());
    match millis.map(u64::try_from) {
        None => Err("ERR timeout is not an integer or out of range".to_owned()),
        Some(Err(_)) => Err("ERR timeout is negative".to_owned()),
        Some(Ok(millis)) if millis > limits::MAX_PAUSE / MILLIS => {
            Err(format!("ERR midstream: CLIENT PAUSE is limited to {} ms", limits::MAX_PAUSE / MILLIS))
        }
        Some(Ok(millis)) => Ok((millis * MILLIS, writes)),
    }
}

impl Redis {
    /// The clients of a listener wait; of two pauses the longer and the stricter counts, as on a server.
    pub(crate) fn pause(&mut self, now: Nanos, listener: usize, length: Nanos, writes: bool) {
        self.pauses.retain(|pause| pause.until > now);
        let until = now.saturating_add(length);
        match self.pauses.iter_mut().find(|pause| pause.listener == listener) {
            Some(pause) => *pause = Pause { listener, until: pause.until.max(until), writes: pause.writes && writes },
            None => self.pauses.push(Pause { listener, until, writes }),
        }
    }

    /// They go on.
    pub(crate) fn unpause(&mut self, io: &mut dyn Io, listener: usize) {
        self.pauses.retain(|pause| pause.listener != listener);
        for key in self.clients.keys() {
            let Some(client) = self.clients.get_mut(key).filter(|client| client.listener == listener && client.wait == Wait::Paused) else {
                continue;
            };
            client.wait = Wait::Delayed;
            io.disarm(key, 0);
            self.resume(io, key);
        }
    }

    /// The command waits if its listener's clients are paused.
    pub(crate) fn wait_for_unpause(&mut self, io: &mut dyn Io, key: Key, command: &Command) -> Option<Step> {
        let now = io.now();
        let client = self.clients.get_mut(key)?;
        let pause = self.pauses.iter().find(|pause| pause.listener == client.listener && pause.until > now)?;
        let may_write = command.class == Class::Write
            || command.has("write")
            || command.has("may_replicate")
            || (command.name == "exec" && client.transaction.writes);
        if pause.writes && !may_write {
            return None;
        }
        self.tap = None;
        client.wait = Wait::Paused;
        client.paused = true;
        io.pause(key, true);
        io.arm(key, 0, pause.until);
        Some(Step::Held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Scan;

    #[test]
    fn words_are_those_of_the_server() {
        let read = |line: &str| {
            let mut scan = Scan::default();
            scan.command(format!("CLIENT PAUSE {line}\r\n").as_bytes(), true).unwrap();
            super::read(&Frame { bytes: &scan.rewritten, words: &scan.words })
        };
        assert_eq!(read("5"), Ok((5 * MILLIS, false)));
        assert_eq!(read("5 write"), Ok((5 * MILLIS, true)));
        assert_eq!(read("0 ALL"), Ok((0, false)));
        assert!(read("x").unwrap_err().contains("not an integer"));
        assert!(read("-1").unwrap_err().contains("negative"));
        assert!(read("1 some").unwrap_err().contains("WRITE or ALL"));
        assert!(read("99999999999").unwrap_err().contains("limited"));
    }
}
