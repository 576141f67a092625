//! Entries for the fuzz targets: arbitrary bytes through each parser. What they check besides "no panic" they assert themselves.

use crate::frame::{self, Found};
use crate::{merge, reply, topology, value};

/// Arbitrary bytes as commands, as replies, as a slot table and as merged parts.
pub fn scan_all(data: &[u8]) {
    commands(data);
    replies(data);
    topology::ranges(data);
    topology::redirect(data);
    if let Some(elements) = value::elements(data) {
        assert!(elements.concat().len() <= data.len());
    }
    value::text(data);
    let parts: Vec<&[u8]> = data.splitn(3, |byte| *byte == 0).collect();
    for merge in [crate::action::Merge::Elements, crate::action::Merge::Sum, crate::action::Merge::And, crate::action::Merge::NotNull] {
        merge::write(merge, parts.iter().copied(), &mut Vec::new());
    }
}

/// Commands, and their words inside of what was consumed.
fn commands(data: &[u8]) {
    let mut scan = frame::Scan::default();
    let mut rest = data;
    loop {
        scan.reset();
        match scan.command(rest, true) {
            Ok(Found::Command(length)) => {
                assert!(scan.words.iter().all(|word| word.start <= word.end && (word.end as usize) < length));
                rest = &rest[length..];
            }
            Ok(Found::Inline(length) | Found::Nothing(length)) if length > 0 => rest = &rest[length..],
            Ok(Found::More(needed)) => {
                assert!(needed > rest.len());
                return;
            }
            _ => return,
        }
    }
}

/// Replies, whole and byte by byte: the end must be the same.
fn replies(data: &[u8]) {
    let whole = reply::Scan::default().feed(data);
    let mut scan = reply::Scan::default();
    let mut consumed = 0;
    for end in 0..=data.len() {
        match (scan.feed(&data[consumed..end]), &whole) {
            (Ok((length, true)), Ok((expected, done))) => {
                assert_eq!((consumed + length, true), (*expected, *done));
                return;
            }
            (Ok((length, false)), _) => consumed += length,
            (_, Err(_)) | (Err(_), _) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// xorshift: the same bytes in every run.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % sides
        }
    }

    /// The obvious parser: splits, copies, knows no pieces.
    fn naive(data: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
        let line = |at: usize| {
            data[at..]
                .windows(2)
                .position(|pair| pair == b"\r\n")
                .map(|end| (String::from_utf8_lossy(&data[at..at + end]).into_owned(), at + end + 2))
        };
        let (count, mut at) = line(0)?;
        let mut words = Vec::new();
        for _ in 0..count.strip_prefix('*')?.parse::<usize>().ok()? {
            let (length, start) = line(at)?;
            let length: usize = length.strip_prefix('$')?.parse().ok()?;
            words.push(data.get(start..start + length)?.to_vec());
            (data.get(start + length..start + length + 2)? == b"\r\n").then_some(())?;
            at = start + length + 2;
        }
        Some((words, at))
    }

    #[test]
    fn the_scanner_agrees_with_a_naive_parser_however_commands_are_cut() {
        let mut dice = Dice(42);
        for _ in 0..2_000 {
            let words: Vec<Vec<u8>> =
                (0..1 + dice.roll(6)).map(|_| (0..dice.roll(40)).map(|_| b"\r\n$*0a"[dice.roll(6) as usize]).collect()).collect();
            let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
            words.iter().for_each(|word| merge::bulk(&mut bytes, word));
            let length = bytes.len();
            bytes.extend_from_slice(&b"*1\r\n$4\r\nPING"[..dice.roll(13) as usize]);
            assert_eq!(naive(&bytes), Some((words.clone(), length)));

            let mut scan = frame::Scan::default();
            let mut end = 0;
            let found = loop {
                match scan.command(&bytes[..end], true).unwrap() {
                    Found::More(needed) => {
                        assert!(needed > end && needed <= length, "{needed} of {length} at {end}");
                        end = (end + 1 + dice.roll(20) as usize).min(bytes.len());
                    }
                    found => break found,
                }
            };
            assert_eq!(found, Found::Command(length));
            let frame = frame::Frame { bytes: &bytes[..length], words: &scan.words };
            assert_eq!((0..frame.len()).map(|index| frame.word(index).to_vec()).collect::<Vec<_>>(), words);
        }
    }

    #[test]
    fn random_and_damaged_bytes_never_panic() {
        let mut dice = Dice(7);
        let seeds: [&[u8]; 4] = [
            b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\nGET \"a\"\r\n",
            b"*2\r\n$1\r\n7\r\n*1\r\n$1\r\na\r\n%1\r\n+a\r\n|1\r\n+b\r\n:1\r\n:2\r\n",
            b"*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:7001\r\n$2\r\na1\r\n",
            b"-MOVED 3999 127.0.0.1:6381\r\n",
        ];
        for round in 0..20_000 {
            let mut data = seeds[round % seeds.len()].to_vec();
            for _ in 0..1 + dice.roll(4) {
                let at = dice.roll(data.len() as u64) as usize;
                match dice.roll(3) {
                    0 => data[at] = dice.roll(256) as u8,
                    1 => drop(data.remove(at)),
                    _ => data.insert(at, b"$*-9\r\n:%"[dice.roll(8) as usize]),
                }
                if data.is_empty() {
                    break;
                }
            }
            scan_all(&data);
        }
    }
}
