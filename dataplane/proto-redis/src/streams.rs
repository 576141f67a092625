//! XREAD and XREADGROUP of streams in several slots: every stream is asked, and what they have comes in the order of the keys.
//!
//! A reader that blocks asks again and again ([`crate::patience`]); `$`, which means "from now on", is settled before the first time.

use crate::errand::{Ask, Errand, Next, Round};
use crate::frame::{Frame, number};
use crate::merge::decimal;
use crate::patience::Patience;
use crate::pops::unblocked;
use crate::slot::slot_of;
use crate::table::Command;
use crate::value::{elements, is_error, is_null, text};
use wire::MILLIS;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Start,
    /// What `$` is now.
    Ends,
    /// Whether the groups exist: a server looks at all before it gives out a message of the first.
    Groups,
    Read,
}

/// A read over several slots.
#[derive(Debug)]
pub(crate) struct Streams {
    state: State,
    /// The words before the keys, without BLOCK.
    options: Vec<Vec<u8>>,
    /// Keys and identifiers.
    streams: Vec<(Vec<u8>, Vec<u8>)>,
    group: Option<Vec<u8>>,
    patience: Option<Patience>,
    resp: u8,
}

impl Streams {
    /// Of a command and its keys.
    ///
    /// # Errors
    /// Its words do not fit together; in the server's words.
    pub fn new(frame: &Frame<'_>, keys: &[u32], command: &Command) -> Result<Streams, &'static str> {
        let first = keys.first().map_or(frame.len(), |index| *index as usize);
        if (frame.len() - first) % 2 != 0 {
            return Err("ERR Unbalanced list of streams: for each stream key an ID, or a special one, must be specified.");
        }
        let mut options: Vec<Vec<u8>> = (0..first).map(|index| frame.word(index).to_vec()).collect();
        let mut patience = None;
        if let Some(at) = (1..first).find(|index| frame.is(*index, "block")) {
            let timeout: Option<i64> = std::str::from_utf8(frame.word(at + 1)).ok().and_then(|text| text.parse().ok());
            let timeout = timeout.ok_or("ERR timeout is not an integer or out of range")?;
            let timeout = u64::try_from(timeout).map_err(|_| "ERR timeout is negative")?;
            patience = Some(Patience::new(timeout.saturating_mul(MILLIS)));
            options.drain(at..(at + 2).min(first));
        }
        let group = (command.name == "xreadgroup").then(|| (1..first).find(|index| frame.is(*index, "group")));
        let group = group.flatten().map(|at| frame.word(at + 1).to_vec());
        let streams = keys.iter().enumerate().map(|(number, index)| {
            let id = frame.word(first + keys.len() + number);
            (frame.word(*index as usize).to_vec(), id.to_vec())
        });
        Ok(Streams { state: State::Start, options, streams: streams.collect(), group, patience, resp: 2 })
    }

    fn start(&mut self) -> Next {
        if let Some(group) = &self.group {
            self.state = State::Groups;
            return Next::Ask(self.streams.iter().map(|(key, _)| Ask::one(slot_of(key), &[b"XPENDING", &**key, group], true)).collect());
        }
        if self.patience.is_some() && self.streams.iter().any(|(_, id)| id == b"$") {
            self.state = State::Ends;
            let open = self.streams.iter().filter(|(_, id)| id == b"$");
            return Next::Ask(open.map(|(key, _)| Ask::one(slot_of(key), &[&b"XINFO"[..], b"STREAM", key], true)).collect());
        }
        self.read()
    }

    fn read(&mut self) -> Next {
        self.state = State::Read;
        let repeatable = self.group.is_none();
        let ask = |(key, id): &(Vec<u8>, Vec<u8>)| {
            let words: Vec<&[u8]> = self.options.iter().map(Vec::as_slice).chain([key.as_slice(), id.as_slice()]).collect();
            Ask::one(slot_of(key), &words, repeatable)
        };
        Next::Ask(self.streams.iter().map(ask).collect())
    }

    /// `$` becomes the last identifier that each stream has; one that does not exist begins at its beginning.
    fn settle(&mut self, replies: &[Vec<u8>]) -> Option<Next> {
        let open = self.streams.iter_mut().filter(|(_, id)| id == b"$");
        for ((_, id), reply) in open.zip(replies) {
            *id = b"0-0".to_vec();
            if is_error(reply) {
                if reply.starts_with(b"-ERR no such key") {
                    continue;
                }
                return Some(Next::Answer(reply.clone()));
            }
            let fields = elements(reply).unwrap_or_default();
            let last = fields.chunks_exact(2).find(|pair| text(pair[0]) == Some(b"last-generated-id")).and_then(|pair| text(pair[1]));
            *id = last?.to_vec();
        }
        None
    }

    fn merged(&self, round: &Round<'_>) -> Option<Vec<u8>> {
        let some: Vec<&[u8]> = round.replies.iter().filter(|reply| !is_null(reply)).filter_map(|reply| first_of(reply)).collect();
        if some.is_empty() {
            return None;
        }
        let mut out = vec![if round.resp == 3 { b'%' } else { b'*' }];
        decimal(&mut out, some.len() as u64);
        out.extend_from_slice(b"\r\n");
        some.into_iter().for_each(|stream| out.extend_from_slice(stream));
        Some(out)
    }
}

/// What follows the header of an array or map with one element.
fn first_of(reply: &[u8]) -> Option<&[u8]> {
    let (1, next) = number(reply, 1, "").ok()?? else { return None };
    reply.get(next..)
}

impl Errand for Streams {
    fn next(&mut self, round: &Round<'_>) -> Next {
        self.resp = round.resp;
        if let Some(patience) = &mut self.patience {
            patience.begin(round.now);
        }
        match self.state {
            State::Start => self.start(),
            State::Read if round.replies.is_empty() => self.read(),
            State::Ends => self.settle(round.replies).unwrap_or_else(|| self.read()),
            State::Groups => match round.error() {
                Some(error) if error.starts_with(b"-NOGROUP") => {
                    let error = String::from_utf8_lossy(error);
                    Next::Answer(format!("{} in XREADGROUP with GROUP option\r\n", error.trim_end()).into_bytes())
                }
                Some(error) => Next::Answer(error.clone()),
                None => self.read(),
            },
            State::Read => match round.error() {
                Some(error) => Next::Answer(error.clone()),
                None => match self.merged(round) {
                    Some(reply) => Next::Answer(reply),
                    None => {
                        let pause = self.patience.as_mut().and_then(|patience| patience.pause(round.now));
                        pause.unwrap_or_else(|| Next::Answer(round.null_array()))
                    }
                },
            },
        }
    }

    fn waits_for(&self) -> Vec<Vec<u8>> {
        self.streams.iter().map(|(key, _)| key.clone()).collect()
    }

    fn unblock(&mut self, error: bool) -> Option<Vec<u8>> {
        self.patience.as_ref().map(|_| unblocked(self.resp, error))
    }
}
