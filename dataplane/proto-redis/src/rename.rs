//! Keys that are called otherwise at the back end: commands are written with the back end's names, and where a reply tells a key, it tells
//! the client's name.

use crate::errand::{Ask, Errand, Next, Round};
use crate::frame::{Frame, Word};
use crate::limits;
use crate::merge::{array, bulk};
use crate::routes::Routes;
use crate::table::Command;
use crate::value::{elements, is_error, text};

/// Where a command's reply tells keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tells {
    /// Nowhere.
    Nothing,
    /// First in an array: what was popped, and of which key.
    Popped,
    /// Before the entries of each stream.
    Streams,
    /// In its errors.
    Errors,
}

/// Where that command's reply tells keys.
pub(crate) fn tells(command: &Command) -> Tells {
    match command.name {
        "blpop" | "brpop" | "bzpopmin" | "bzpopmax" | "lmpop" | "blmpop" | "zmpop" | "bzmpop" => Tells::Popped,
        "xread" | "xreadgroup" => Tells::Streams,
        "xpending" | "xclaim" | "xautoclaim" => Tells::Errors,
        name if name.starts_with("xgroup|") || name.starts_with("xinfo|") => Tells::Errors,
        _ => Tells::Nothing,
    }
}

/// A command with other names; kept for its buffers.
#[derive(Default, Debug)]
pub(crate) struct Renamed {
    bytes: Vec<u8>,
    words: Vec<Word>,
}

impl Renamed {
    /// Writes a command with the back end's names of its keys, which are the words of these numbers. `false`: it would be too long.
    pub fn write(&mut self, frame: &Frame<'_>, keys: &[u32], routes: &Routes) -> bool {
        self.bytes.clear();
        self.words.clear();
        let mut sorted: Vec<u32>;
        let keys = if keys.is_sorted() {
            keys
        } else {
            sorted = keys.to_vec();
            sorted.sort_unstable();
            &sorted
        };
        let mut keys = keys.iter().copied().peekable();
        array(&mut self.bytes, frame.len());
        for index in 0..frame.len() {
            let word = frame.word(index);
            let mut is_key = false;
            while keys.next_if_eq(&(index as u32)).is_some() {
                is_key = true;
            }
            if is_key {
                self.bulk(word, routes);
            } else {
                bulk(&mut self.bytes, word);
                self.note(word.len());
            }
            if self.bytes.len() > MAX_RENAMED {
                return false;
            }
        }
        true
    }

    fn bulk(&mut self, key: &[u8], routes: &Routes) {
        let route = routes.get(routes.find(key));
        let length = route.behind().len() + key.len().saturating_sub(route.prefix.len());
        self.bytes.push(b'$');
        crate::merge::decimal(&mut self.bytes, length as u64);
        self.bytes.extend_from_slice(b"\r\n");
        route.push_behind(key, &mut self.bytes);
        self.bytes.extend_from_slice(b"\r\n");
        self.note(length);
    }

    /// A word of that length was written last.
    fn note(&mut self, length: usize) {
        let end = self.bytes.len() - 2;
        self.words.push(Word { start: (end - length) as u32, end: end as u32 });
    }

    /// The command.
    pub fn frame(&self) -> Frame<'_> {
        Frame { bytes: &self.bytes, words: &self.words }
    }

    /// Gives back what a long command took.
    pub fn shrink(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(limits::MAX_KEPT);
        self.words.clear();
        self.words.shrink_to(limits::MAX_KEPT / size_of::<Word>());
    }
}

/// A command under other names may be longer than the client's by its prefixes, of which there are at most a million.
const MAX_RENAMED: usize = 4 * limits::MAX_COMMAND;

/// One request, whose reply is the client's.
#[derive(Debug)]
pub(crate) struct Once(pub Option<Ask>);

impl Errand for Once {
    fn next(&mut self, round: &Round<'_>) -> Next {
        match self.0.take() {
            Some(ask) => Next::Ask(vec![ask]),
            None => Next::Answer(round.reply().to_vec()),
        }
    }

    fn room(&self, _: usize) -> usize {
        limits::MAX_SCAN
    }

    fn too_large(&self, _: usize) -> String {
        format!(
            "ERR midstream: the reply tells keys, which are renamed on this route, and is over {} bytes; ask for less with COUNT",
            limits::MAX_SCAN
        )
    }
}

/// An errand whose answer tells keys.
#[derive(Debug)]
pub(crate) struct Renaming {
    inner: Box<dyn Errand>,
    tells: Tells,
    /// The back end's name and the client's, of each key.
    names: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Renaming {
    /// Of a client's command with these keys.
    pub fn new(inner: Box<dyn Errand>, tells: Tells, frame: &Frame<'_>, keys: &[u32], routes: &Routes) -> Renaming {
        let name = |index: &u32| {
            let front = frame.word(*index as usize);
            let mut behind = Vec::new();
            routes.get(routes.find(front)).push_behind(front, &mut behind);
            (behind, front.to_vec())
        };
        Renaming { inner, tells, names: keys.iter().map(name).collect() }
    }

    fn front<'a>(&'a self, key: &'a [u8]) -> &'a [u8] {
        self.names.iter().find(|(behind, _)| behind == key).map_or(key, |(_, front)| front)
    }

    /// The reply with the client's names.
    fn reply(&self, reply: Vec<u8>) -> Vec<u8> {
        let renamed = match self.tells {
            _ if is_error(&reply) => self.error(&reply),
            Tells::Popped => self.popped(&reply),
            Tells::Streams => self.streams(&reply),
            Tells::Errors | Tells::Nothing => None,
        };
        renamed.unwrap_or(reply)
    }

    fn popped(&self, reply: &[u8]) -> Option<Vec<u8>> {
        let parts = elements(reply)?;
        let (key, rest) = parts.split_first()?;
        let mut out = Vec::with_capacity(reply.len());
        array(&mut out, parts.len());
        bulk(&mut out, self.front(text(key)?));
        rest.iter().for_each(|part| out.extend_from_slice(part));
        Some(out)
    }

    /// `*n` of `*2 key entries`, or, in RESP3, `%n` of key and entries.
    fn streams(&self, reply: &[u8]) -> Option<Vec<u8>> {
        let parts = elements(reply)?;
        let mut out = Vec::with_capacity(reply.len());
        if reply.first() == Some(&b'%') {
            out.push(b'%');
            crate::merge::decimal(&mut out, parts.len() as u64 / 2);
            out.extend_from_slice(b"\r\n");
            for pair in parts.chunks_exact(2) {
                bulk(&mut out, self.front(text(pair[0])?));
                out.extend_from_slice(pair[1]);
            }
            return Some(out);
        }
        array(&mut out, parts.len());
        for part in parts {
            out.extend_from_slice(&self.popped(part)?);
        }
        Some(out)
    }

    /// Servers quote the key: `-NOGROUP No such key 'orders' or consumer group 'g'`.
    fn error(&self, reply: &[u8]) -> Option<Vec<u8>> {
        let quoted = |name: &[u8]| [b"'", name, b"'"].concat();
        self.names.iter().find_map(|(behind, front)| {
            let wanted = quoted(behind);
            let at = reply.windows(wanted.len()).position(|window| window == wanted)?;
            Some([&reply[..at], &quoted(front), &reply[at + wanted.len()..]].concat())
        })
    }
}

impl Errand for Renaming {
    fn next(&mut self, round: &Round<'_>) -> Next {
        match self.inner.next(round) {
            Next::Answer(reply) => Next::Answer(self.reply(reply)),
            other => other,
        }
    }

    fn is_heavy(&self) -> bool {
        self.inner.is_heavy()
    }

    fn room(&self, limit: usize) -> usize {
        self.inner.room(limit)
    }

    fn too_large(&self, limit: usize) -> String {
        self.inner.too_large(limit)
    }

    fn waits_for(&self) -> Vec<Vec<u8>> {
        if self.tells == Tells::Errors { Vec::new() } else { self.names.iter().map(|(behind, _)| behind.clone()).collect() }
    }

    fn unblock(&mut self, error: bool) -> Option<Vec<u8>> {
        self.inner.unblock(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Scan;
    use crate::routes::Route;

    fn routes() -> Routes {
        Routes::new(vec![Route::new(b"a:", Some(b"tenant:a:"), &"x".into(), false)], &"own".into())
    }

    fn with<T>(line: &str, look: impl FnOnce(&Frame<'_>) -> T) -> T {
        let mut scan = Scan::default();
        scan.command(format!("{line}\r\n").as_bytes(), true).unwrap();
        look(&Frame { bytes: &scan.rewritten, words: &scan.words })
    }

    #[test]
    fn only_keys_are_renamed_and_words_stay_where_they_were() {
        let mut renamed = Renamed::default();
        with("MSET a:1 a:1 b:2 a:2", |frame| assert!(renamed.write(frame, &[1, 3], &routes())));
        assert_eq!(renamed.frame().bytes, b"*5\r\n$4\r\nMSET\r\n$10\r\ntenant:a:1\r\n$3\r\na:1\r\n$3\r\nb:2\r\n$3\r\na:2\r\n");
        let words: Vec<&[u8]> = (0..5).map(|index| renamed.frame().word(index)).collect();
        assert_eq!(words, [&b"MSET"[..], b"tenant:a:1", b"a:1", b"b:2", b"a:2"]);
        with("SORT a:1 STORE a:2", |frame| assert!(renamed.write(frame, &[3, 1, 3], &routes())));
        assert_eq!((renamed.frame().word(1), renamed.frame().word(3)), (&b"tenant:a:1"[..], &b"tenant:a:2"[..]));
    }

    #[test]
    fn replies_tell_the_clients_names() {
        let told = |tells, reply: &str| {
            let renaming = with("X a:1 b", |frame| Renaming::new(Box::new(Once(None)), tells, frame, &[1, 2], &routes()));
            String::from_utf8(renaming.reply(reply.as_bytes().to_vec())).unwrap()
        };
        let key = "$10\r\ntenant:a:1\r\n";
        assert_eq!(told(Tells::Popped, &format!("*2\r\n{key}{key}")), format!("*2\r\n$3\r\na:1\r\n{key}"), "an element stays what it is");
        assert_eq!(told(Tells::Popped, "*-1\r\n"), "*-1\r\n");
        assert_eq!(told(Tells::Popped, "_\r\n"), "_\r\n");
        let (entries, other) = ("*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n+f\r\n+v\r\n", "*2\r\n$1\r\nb\r\n*0\r\n");
        assert_eq!(told(Tells::Streams, &format!("*2\r\n*2\r\n{key}{entries}{other}")), format!("*2\r\n*2\r\n$3\r\na:1\r\n{entries}{other}"));
        assert_eq!(told(Tells::Streams, &format!("%1\r\n{key}{entries}")), format!("%1\r\n$3\r\na:1\r\n{entries}"));
        let error = "-NOGROUP No such key 'tenant:a:1' or consumer group 'g' in XREADGROUP with GROUP option\r\n";
        assert_eq!(told(Tells::Streams, error), error.replace("tenant:", ""));
    }
}
