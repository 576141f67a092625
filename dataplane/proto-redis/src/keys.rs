//! Which words of a command are keys, by the server's own key specifications.

use crate::frame::{Found, Frame, Scan};
use crate::table::{Access, Begin, Command, Find, Keys, Table};

/// Appends the indices of the words that are keys.
///
/// # Errors
/// A count in the command is not a number or is larger than the command; the server's own words for it.
pub fn of(command: &Command, frame: &Frame<'_>, found: &mut Vec<u32>) -> Result<(), &'static str> {
    if command.first_word_is_key {
        if frame.len() > 1 {
            found.push(1);
        }
        return Ok(());
    }
    for keys in &command.keys {
        by_specification(keys, frame, found)?;
    }
    if matches!(command.name, "sort" | "sort_ro") {
        sort_store(frame, found);
    }
    Ok(())
}

/// The only key of a whole command; `None`: it has none or several.
pub(crate) fn only(table: &Table, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut scan = Scan::default();
    let Ok(Found::Command(length)) = scan.command(bytes, true) else { return None };
    let frame = Frame { bytes: &bytes[..length], words: &scan.words };
    let mut found = Vec::new();
    of(table.find(frame.word(0))?, &frame, &mut found).ok()?;
    if let [only] = found[..] { Some(frame.word(only as usize).to_vec()) } else { None }
}

/// The words that are keys, with what each is to the command.
pub fn with_access(command: &Command, frame: &Frame<'_>) -> Vec<(u32, Access)> {
    let mut all = Vec::new();
    let mut found = Vec::new();
    for keys in &command.keys {
        // A command with a wrong count has been refused before.
        let _ = by_specification(keys, frame, &mut found);
        all.extend(found.drain(..).map(|index| (index, keys.access)));
    }
    if matches!(command.name, "sort" | "sort_ro") {
        sort_store(frame, &mut found);
        all.extend(found.into_iter().map(|index| (index, "OW")));
    }
    all
}

fn by_specification(keys: &Keys, frame: &Frame<'_>, found: &mut Vec<u32>) -> Result<(), &'static str> {
    let Some(begin) = beginning(keys.begin, frame) else { return Ok(()) };
    match keys.find {
        Find::Range { last, step, limit } => {
            let words = frame.len();
            let last = match usize::try_from(last) {
                Ok(last) => begin + last,
                // -1: the last word, or where a limit is given the first limit-th part of what is left.
                Err(_) if limit > 1 => begin + (words - begin) / limit - 1,
                Err(_) => words.saturating_sub(last.unsigned_abs() as usize),
            };
            found.extend((begin..=last).step_by(step).take_while(|index| *index < words).map(|index| index as u32));
        }
        Find::Count { count, first, step } => {
            let Some(text) = frame.words.get(begin + count).map(|_| frame.word(begin + count)) else { return Ok(()) };
            let number: i64 =
                std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or("ERR value is not an integer or out of range")?;
            let number = usize::try_from(number).map_err(|_| "ERR Number of keys can't be negative")?;
            let start = begin + first;
            if number > 0 && number.checked_mul(step).and_then(|span| span.checked_add(start)).is_none_or(|end| end > frame.len() + step - 1) {
                return Err("ERR Number of keys can't be greater than number of args");
            }
            found.extend((start..).step_by(step).take(number).map(|index| index as u32));
        }
        Find::Unknown => {}
    }
    Ok(())
}

fn beginning(begin: Begin, frame: &Frame<'_>) -> Option<usize> {
    let words = frame.len();
    match begin {
        Begin::Index(index) => (index < words).then_some(index),
        Begin::Keyword(keyword, from) if from >= 0 => {
            (from as usize..words).find(|index| frame.is(*index, keyword)).map(|index| index + 1).filter(|index| *index < words)
        }
        Begin::Keyword(keyword, from) => {
            let start = words.checked_sub(from.unsigned_abs() as usize)?;
            (1..=start).rev().find(|index| frame.is(*index, keyword)).map(|index| index + 1).filter(|index| *index < words)
        }
        Begin::Unknown => None,
    }
}

/// SORT's destination, which the specifications leave open: the word after the last STORE.
fn sort_store(frame: &Frame<'_>, found: &mut Vec<u32>) {
    let store = (2..frame.len().saturating_sub(1)).rev().find(|index| frame.is(*index, "store"));
    found.extend(store.map(|index| index as u32 + 1));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Scan;
    use crate::table::Table;

    fn keys(line: &str) -> Result<Vec<String>, &'static str> {
        let mut scan = Scan::default();
        scan.command(format!("{line}\r\n").as_bytes(), true).unwrap();
        let frame = Frame { bytes: &scan.rewritten, words: &scan.words };
        let mut command = Table::get().find(frame.word(0)).unwrap();
        if let Some(child) = command.child(frame.word(1)) {
            command = child;
        }
        let mut found = Vec::new();
        of(command, &frame, &mut found)?;
        Ok(found.into_iter().map(|index| String::from_utf8_lossy(frame.word(index as usize)).into_owned()).collect())
    }

    #[test]
    fn keys_are_where_the_server_says() {
        // Each compared with COMMAND GETKEYS on redis 7.0.15.
        for (line, expected) in [
            ("get a", "a"),
            ("mget a b c", "a b c"),
            ("mset a 1 b 2", "a b"),
            ("eval script 2 a b c", "a b"),
            ("eval script 0 c", ""),
            ("zunionstore d 2 a b weights 1 2", "d a b"),
            ("xread count 2 streams a b 0 0", "a b"),
            ("xreadgroup group g c streams a >", "a"),
            ("blpop a b 0", "a b"),
            ("lmpop 2 a b left", "a b"),
            ("sort a by w limit 0 1 store d", "a d"),
            ("object encoding a", "a"),
            ("memory usage a samples 1", "a"),
            ("bitop and d a b", "d a b"),
            ("georadius a 1 1 1 m store d", "a d"),
            ("migrate h 1 a 0 1", "a"),
            ("ping x", ""),
            ("spublish ch x", "ch"),
        ] {
            assert_eq!(keys(line).unwrap().join(" "), expected, "{line}");
        }
        assert!(keys("eval script 3 a b").is_err());
        assert!(keys("eval script -1 a b").is_err());
        assert!(keys("eval script x a b").is_err());
    }
}
