//! Random messages of the tables' shapes: the skip programs, run backwards.

use proto_kafka::fuzz::tables::{self, CODE};

/// A small generator of numbers (xorshift), the same in every run.
pub struct Dice(pub u64);

impl Dice {
    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.roll() % n.max(1) as u64) as usize
    }

    /// `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.roll() as u8).collect()
    }
}

/// A body that the program walks exactly.
pub fn message(dice: &mut Dice, program: u32) -> Vec<u8> {
    let start = program as usize;
    let end = start + CODE[start..].len();
    let mut out = vec![];
    run(dice, start, end, &mut out);
    out
}

/// Writes what the words from `at` to `end`, or to the first END, pass over.
fn run(dice: &mut Dice, mut at: usize, end: usize, out: &mut Vec<u8>) {
    while at < end {
        let word = CODE[at];
        let (op, arg) = ((word >> 24) as u8, (word & 0xffff) as usize);
        at += 1;
        match op {
            tables::END => return,
            // Small numbers in most fields, as codes, counts and ids are small.
            tables::SKIP | tables::VALUE => out.extend((0..arg).map(|_| if dice.below(3) == 0 { dice.roll() as u8 } else { dice.below(3) as u8 })),
            tables::STRING => text(dice, arg == 1, 2, out),
            tables::BYTES => text(dice, arg == 1, 4, out),
            tables::ARRAY => {
                let n = dice.below(4);
                length(arg & 1 == 1, 4, Some(n), out);
                (0..n).for_each(|_| run(dice, at, at + (arg >> 1), out));
                at += arg >> 1;
            }
            tables::OPTION => {
                let is_there = dice.below(2) == 0;
                out.push(if is_there { 1 } else { 0xff });
                if is_there {
                    run(dice, at, at + arg, out);
                }
                at += arg;
            }
            tables::TAGS => {
                tags(dice, at, at + arg, out);
                at += arg;
            }
            _ => {}
        }
    }
}

/// A section of tags: some of the known ones, perhaps one that nobody knows.
fn tags(dice: &mut Dice, first: usize, end: usize, out: &mut Vec<u8>) {
    let mut fields = vec![];
    let mut at = first;
    while at < end {
        let (tag, body) = (CODE[at] >> 16, (CODE[at] & 0xffff) as usize);
        if dice.below(2) == 0 {
            let mut value = vec![];
            run(dice, at + 1, at + 1 + body, &mut value);
            fields.push((tag, value));
        }
        at += 1 + body;
    }
    if dice.below(4) == 0 {
        let n = dice.below(20);
        fields.push((99, dice.bytes(n)));
    }
    uvarint(fields.len(), out);
    for (tag, value) in fields {
        uvarint(tag as usize, out);
        uvarint(value.len(), out);
        out.extend(value);
    }
}

fn text(dice: &mut Dice, compact: bool, fixed: usize, out: &mut Vec<u8>) {
    let n = [None, Some(0), Some(1), Some(7), Some(dice.below(300))][dice.below(5)];
    length(compact, fixed, n, out);
    out.extend((0..n.unwrap_or(0)).map(|_| b'a' + dice.below(26) as u8));
}

fn length(compact: bool, fixed: usize, n: Option<usize>, out: &mut Vec<u8>) {
    match n {
        _ if compact => uvarint(n.map_or(0, |n| n + 1), out),
        None => out.extend(&[0xff; 4][..fixed]),
        Some(n) => out.extend(&(n as u32).to_be_bytes()[4 - fixed..]),
    }
}

fn uvarint(mut n: usize, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}
