//! The command table: what the servers say of their own commands, as data (`data/commands.tsv`, written by
//! `cache_mesh/tools/redis_commands.py`), and what Midstream does with each ([`crate::action`]).

use crate::action::{self, Action, NearRead, Writes};
use crate::cross_slot::{self, Way};
use crate::pours;
use std::collections::HashMap;
use std::sync::OnceLock;
use wire::Class;

const DATA: &str = include_str!("../data/commands.tsv");

/// What a key specification says of the access.
pub type Access = &'static str;

/// Where the keys begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    /// At this word.
    Index(usize),
    /// After this keyword, looked for from that word (from the end where negative).
    Keyword(&'static str, i64),
    /// The server cannot say.
    Unknown,
}

/// Which words from there are keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Find {
    /// Up to `last` (from the beginning, or from the end where negative), every `step`th; with `limit` only the first limit-th part.
    Range {
        /// Where the last is.
        last: i64,
        /// From key to key.
        step: usize,
        /// 0 and 1: all; n: the first n-th part of the words.
        limit: usize,
    },
    /// A count stands `count` words from the beginning, the first key `first` words from it.
    Count {
        /// Where the count is.
        count: usize,
        /// Where the first key is.
        first: usize,
        /// From key to key.
        step: usize,
    },
    /// The server cannot say.
    Unknown,
}

/// One key specification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keys {
    /// RO, RW, OW, RM or ??.
    pub access: Access,
    /// Where they begin.
    pub begin: Begin,
    /// Which they are.
    pub find: Find,
}

/// One command or subcommand.
#[derive(Debug)]
pub struct Command {
    /// As the server spells it: `get`, `config|get`.
    pub name: &'static str,
    /// In capitals, as filters and logs show it: `GET`, `CONFIG GET`.
    pub verb: String,
    /// Words, the name included; negative: at least so many.
    pub arity: i64,
    /// The server's flags.
    pub flags: Vec<&'static str>,
    /// First key, last key and step in the old notation, for COMMAND INFO.
    pub legacy: [i64; 3],
    /// ACL categories.
    pub acl: Vec<&'static str>,
    /// Hints for proxies.
    pub tips: Vec<&'static str>,
    /// Where its keys are.
    pub keys: Vec<Keys>,
    /// Since which version, which group, what it does: for COMMAND DOCS.
    pub doc: [&'static str; 3],
    /// What it is to filters and metrics.
    pub class: Class,
    /// What we do with it.
    pub action: Action,
    /// How it is done when its keys are in several slots.
    pub way: Way,
    /// It runs or keeps scripts.
    pub is_script: bool,
    /// The only key is word 1: by far the commonest case.
    pub first_word_is_key: bool,
    /// It may name keys by patterns, which nobody knows before it runs.
    pub is_pattern_user: bool,
    /// Whether a replica may answer it.
    pub reads: bool,
    /// Whether repeating it changes neither what is stored nor the reply; see [`action::is_repeatable`].
    pub repeatable: bool,
    /// Whether it may change data and answer with some ([`crate::pours`]).
    pub pours: bool,
    /// Whether its reply may be kept.
    pub near: NearRead,
    /// What it may change.
    pub writes: Writes,
    /// Its subcommands.
    pub children: Vec<&'static Command>,
}

impl Command {
    /// Whether a command of that many words has the right number.
    #[inline]
    pub fn takes(&self, words: usize) -> bool {
        let words = words as i64;
        if self.arity >= 0 { words == self.arity } else { words >= -self.arity }
    }

    /// Whether the server gives it that flag.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    /// The subcommand of that name.
    pub fn child(&self, name: &[u8]) -> Option<&'static Command> {
        self.children.iter().copied().find(|child| child.name.split_once('|').is_some_and(|(_, own)| own.as_bytes().eq_ignore_ascii_case(name)))
    }
}

/// Open addressing: four places for each of the about 250 names, so that most are found at the first look.
const PLACES: usize = 1024;

/// All commands.
#[derive(Debug)]
pub struct Table {
    commands: Vec<&'static Command>,
    places: Vec<Option<&'static Command>>,
    /// The first line of the data: which servers it is from.
    pub source: &'static str,
}

impl Table {
    /// The one table of the process.
    pub fn get() -> &'static Table {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(|| Table::parse(DATA))
    }

    /// The command of that name, in any case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&'static Command> {
        let mut place = hash(name);
        while let Some(command) = self.places[place % PLACES] {
            if command.name.as_bytes().eq_ignore_ascii_case(name) {
                return Some(command);
            }
            place += 1;
        }
        None
    }

    /// All commands without subcommands, by name.
    pub fn commands(&self) -> &[&'static Command] {
        &self.commands
    }

    fn parse(data: &'static str) -> Table {
        let mut children: HashMap<&str, Vec<&'static Command>> = HashMap::new();
        let mut rows = Vec::new();
        for line in data.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&'static str> = line.split('\t').collect();
            let Ok(fields) = <[&'static str; 12]>::try_from(fields) else { continue };
            match fields[0].split_once('|') {
                Some((parent, _)) => children.entry(parent).or_default().push(leak(command(fields, vec![]))),
                None => rows.push(fields),
            }
        }
        let commands: Vec<&'static Command> =
            rows.into_iter().map(|fields| leak(command(fields, children.remove(fields[0]).unwrap_or_default()))).collect();
        let mut places = vec![None; PLACES];
        for command in &commands {
            let mut place = hash(command.name.as_bytes());
            while places[place % PLACES].is_some() {
                place += 1;
            }
            places[place % PLACES] = Some(*command);
        }
        Table { commands, places, source: data.lines().next().unwrap_or_default() }
    }
}

/// Rows live as long as the process: the table is made once.
fn leak(command: Command) -> &'static Command {
    Box::leak(Box::new(command))
}

/// Of the name in lower case; equal for equal names in any case, which is all that is asked of it.
#[inline]
fn hash(name: &[u8]) -> usize {
    let mut hash = name.len() as u64;
    for byte in name.iter().take(24) {
        hash = (hash ^ u64::from(byte | 0x20)).wrapping_mul(0x100_0000_01b3);
    }
    (hash ^ (hash >> 29)) as usize & (PLACES - 1)
}

fn command(fields: [&'static str; 12], children: Vec<&'static Command>) -> Command {
    let [name, arity, flags, first, last, step, acl, tips, keys, since, group, summary] = fields;
    let integer = |field: &str| field.parse().unwrap_or(0);
    let mut command = Command {
        name,
        verb: name.replace('|', " ").to_ascii_uppercase(),
        arity: integer(arity),
        flags: list(flags, ','),
        legacy: [integer(first), integer(last), integer(step)],
        acl: list(acl, ','),
        tips: list(tips, ','),
        keys: list(keys, ' ').into_iter().filter_map(key_specification).collect(),
        doc: [since, group, summary],
        class: Class::Read,
        action: Action::Anywhere,
        way: Way::No,
        is_script: false,
        first_word_is_key: false,
        is_pattern_user: matches!(name, "sort" | "sort_ro"),
        reads: false,
        repeatable: false,
        pours: false,
        near: NearRead::Never,
        writes: Writes::Nothing,
        children,
    };
    command.first_word_is_key =
        matches!(command.keys.as_slice(), [Keys { begin: Begin::Index(1), find: Find::Range { last: 0, step: 1, limit: 0 }, .. }]);
    command.class = action::class_of(&command);
    command.action = action::action_of(&command);
    command.is_script = command.acl.contains(&"@scripting");
    command.way = cross_slot::way_of(&command);
    command.reads = command.has("readonly") && !command.keys.is_empty();
    command.repeatable = action::is_repeatable(&command);
    command.pours = pours::pours(command.name);
    command.near = action::near_of(&command);
    command.writes = action::writes_of(&command);
    command
}

fn list(field: &'static str, by: char) -> Vec<&'static str> {
    field.split(by).filter(|item| !item.is_empty()).collect()
}

fn key_specification(text: &'static str) -> Option<Keys> {
    let mut parts = text.split(':');
    let (access, begin, find) = (parts.next()?, parts.next()?, parts.next()?);
    let begin = match begin.split_at_checked(1)? {
        ("i", index) => Begin::Index(index.parse().ok()?),
        ("k", rest) => {
            let (keyword, from) = rest.split_once(',')?;
            Begin::Keyword(keyword, from.parse().ok()?)
        }
        _ => Begin::Unknown,
    };
    let (kind, numbers) = find.split_at_checked(1)?;
    let numbers: Vec<i64> = numbers.split(',').filter_map(|number| number.parse().ok()).collect();
    let unsigned = |number: i64| usize::try_from(number).ok();
    let find = match (kind, numbers.as_slice()) {
        ("r", [last, step, limit]) => Find::Range { last: *last, step: unsigned(*step)?.max(1), limit: unsigned(*limit)? },
        ("n", [count, first, step]) => Find::Count { count: unsigned(*count)?, first: unsigned(*first)?, step: unsigned(*step)?.max(1) },
        _ => Find::Unknown,
    };
    Some(Keys { access, begin, find })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_understood_and_found_in_any_case() {
        let table = Table::get();
        let rows = DATA.lines().filter(|line| !line.starts_with('#') && !line.contains("\t\t\t\t\t\t\t\t\t\t\t\t")).count();
        let known: usize = table.commands().iter().map(|command| 1 + command.children.len()).sum();
        assert_eq!(rows, known);
        for command in table.commands() {
            assert_eq!(table.find(command.name.to_ascii_uppercase().as_bytes()).unwrap().name, command.name);
        }
        assert!(table.find(b"nosuch").is_none());
        assert_eq!(table.find(b"config").unwrap().child(b"GeT").unwrap().name, "config|get");
        assert!(table.source.contains("redis 7"), "{}", table.source);
    }
}
