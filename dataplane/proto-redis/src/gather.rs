//! Copies of what a command reads in other slots are brought to one slot, and the server there runs the command: its own code is what makes
//! the answer right, for every command and option there is or will be.
//!
//! ```text
//!  DUMP each foreign key ──> at the slot of what it writes, or of its first key:
//!                              a reading command  MULTI, RESTORE copies, the command, UNLINK copies, EXEC: its own reply, untouched
//!                              a writing command  the same in a script, which stops before the command if a copy cannot be restored
//! ```
//! Copies have names of this errand's own and are never seen by another client: they come and go in one step of the server. Their time to
//! live is a belt for a script that is stopped half-way. The keys of one slot are read with nothing between them; those of different slots,
//! and the execution, are at different moments: not atomic.

use crate::errand::{Ask, Errand, Next, Round};
use crate::frame::Frame;
use crate::slot::slot_of;
use crate::table::Access;
use crate::tag::tag_of_slot;
use crate::value::{command, elements, is_error, text};
use std::fmt::Write as _;

/// How long a copy lives at most, in milliseconds: longer than any script that uses it.
const COPY_LIVES_MS: &str = "60000";

/// Restores ARGV[3..] as KEYS[1..n], runs the command that follows, and takes the copies away. An error of RESTORE ends it there.
const SCRIPT: &str = "local n = tonumber(ARGV[1]) \
    for i = 1, n do redis.call('RESTORE', KEYS[i], ARGV[2], ARGV[2 + i]) end \
    local reply = redis.pcall(unpack(ARGV, n + 3)) \
    if n > 0 then redis.call('UNLINK', unpack(KEYS, 1, n)) end \
    return reply";

/// A key of another slot and the name of its copy.
#[derive(Debug)]
struct Foreign {
    key: Vec<u8>,
    copy: Vec<u8>,
    slot: u16,
}

/// A command and what it lacks.
#[derive(Debug)]
pub(crate) struct Gather {
    /// Where the command runs.
    home: u16,
    /// Its words, foreign keys under their copies' names.
    words: Vec<Vec<u8>>,
    foreign: Vec<Foreign>,
    /// Keys that are at home already.
    own: Vec<Vec<u8>>,
    reads_only: bool,
    repeatable: bool,
    /// How many copies there are, once it runs.
    copies: Option<usize>,
}

impl Gather {
    /// Of a command with its keys and what each is to it. `None`: it writes in several slots.
    pub fn new(frame: &Frame<'_>, keys: &[(u32, Access)], reads_only: bool, repeatable: bool, dice: u64) -> Option<Gather> {
        let word = |index: u32| frame.word(index as usize);
        let written = keys.iter().find(|(_, access)| !reads_only && *access != "RO").or(keys.first())?;
        let home = slot_of(word(written.0));
        let mut gather = Gather {
            home,
            words: (0..frame.len()).map(|index| frame.word(index).to_vec()).collect(),
            foreign: Vec::new(),
            own: Vec::new(),
            reads_only,
            repeatable,
            copies: None,
        };
        let mut name = format!("midstream:{{{}}}:{dice:016x}:", tag_of_slot(home));
        let fixed = name.len();
        for (index, access) in keys {
            let key = word(*index);
            let slot = slot_of(key);
            if slot == home {
                gather.own.push(key.to_vec());
                continue;
            }
            if !reads_only && *access != "RO" {
                return None;
            }
            let known = gather.foreign.iter().position(|foreign| foreign.key == key);
            let at = known.unwrap_or_else(|| {
                name.truncate(fixed);
                let _ = write!(name, "{}", gather.foreign.len());
                gather.foreign.push(Foreign { key: key.to_vec(), copy: name.clone().into_bytes(), slot });
                gather.foreign.len() - 1
            });
            gather.words[*index as usize].clone_from(&gather.foreign[at].copy);
        }
        Some(gather)
    }

    fn dump(&self) -> Next {
        Next::Ask(self.foreign.iter().map(|foreign| Ask::one(foreign.slot, &[&b"DUMP"[..], &foreign.key], true)).collect())
    }

    fn execute(&mut self, dumps: &[Vec<u8>]) -> Next {
        let dumps = dumps.iter().map(|reply| text(reply));
        // A key that does not exist has no copy: its copy's name does not exist either.
        let copies: Vec<(&[u8], &[u8])> = self.foreign.iter().zip(dumps).filter_map(|(foreign, dump)| Some((&*foreign.copy, dump?))).collect();
        self.copies = Some(copies.len());
        let ask = if self.reads_only { self.transaction(&copies) } else { self.script(&copies) };
        Next::Ask(vec![ask])
    }

    fn transaction(&self, copies: &[(&[u8], &[u8])]) -> Ask {
        let mut commands: Vec<Vec<u8>> =
            copies.iter().map(|(name, dump)| command(&[&b"RESTORE"[..], name, COPY_LIVES_MS.as_bytes(), dump])).collect();
        commands.push(command(&self.words));
        if !copies.is_empty() {
            let names = copies.iter().map(|(name, _)| *name);
            commands.push(command(&std::iter::once(&b"UNLINK"[..]).chain(names).collect::<Vec<_>>()));
        }
        Ask::batch(self.home, &commands, true)
    }

    fn script(&self, copies: &[(&[u8], &[u8])]) -> Ask {
        let count = copies.len().to_string();
        let missing = self.foreign.iter().filter(|foreign| copies.iter().all(|(name, _)| *name != foreign.copy)).map(|foreign| &*foreign.copy);
        let keys: Vec<&[u8]> = copies.iter().map(|(name, _)| *name).chain(missing).chain(self.own.iter().map(Vec::as_slice)).collect();
        let number = keys.len().to_string();
        let mut words = vec![&b"EVAL"[..], SCRIPT.as_bytes(), number.as_bytes()];
        words.extend(keys);
        words.extend([count.as_bytes(), COPY_LIVES_MS.as_bytes()]);
        words.extend(copies.iter().map(|(_, dump)| *dump));
        words.extend(self.words.iter().map(Vec::as_slice));
        Ask::one(self.home, &words, self.repeatable)
    }

    /// The command's own reply among EXEC's.
    fn answer(&self, copies: usize, reply: &[u8]) -> Next {
        if !self.reads_only || is_error(reply) {
            return Next::Answer(reply.to_vec());
        }
        let replies = elements(reply).unwrap_or_default();
        if let Some(error) = replies.iter().take(copies).find(|reply| is_error(reply)) {
            let error = String::from_utf8_lossy(error);
            return Next::fail(&format!("ERR midstream: a node did not take a copy of a key in another slot: {}", error.trim_end()));
        }
        match replies.get(copies) {
            Some(reply) => Next::Answer(reply.to_vec()),
            None => Next::fail("ERR midstream: the node's answer to a transaction is not understood"),
        }
    }
}

impl Errand for Gather {
    fn next(&mut self, round: &Round<'_>) -> Next {
        if round.replies.is_empty() {
            return self.dump();
        }
        match self.copies {
            Some(copies) => self.answer(copies, round.reply()),
            None => match round.error() {
                Some(error) => Next::Answer(error.clone()),
                None => self.execute(round.replies),
            },
        }
    }

    fn is_heavy(&self) -> bool {
        true
    }
}
