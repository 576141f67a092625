//! PostgreSQL's numeric as text: compared and added digit by digit, exactly, with the scale that PostgreSQL would show.

use std::cmp::Ordering;
use wire::Cursor;

/// A numeric without conversions: borrowed digits of its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decimal<'a> {
    MinusInfinity,
    Finite {
        negative: bool,
        whole: &'a [u8],
        fraction: &'a [u8],
    },
    PlusInfinity,
    /// Greater than all others, and equal to itself, as PostgreSQL has it.
    NaN,
}

impl<'a> Decimal<'a> {
    /// As numeric's output function writes it.
    pub(super) fn parse(text: &'a [u8]) -> Option<Decimal<'a>> {
        match text {
            b"NaN" => return Some(Decimal::NaN),
            b"Infinity" => return Some(Decimal::PlusInfinity),
            b"-Infinity" => return Some(Decimal::MinusInfinity),
            _ => {}
        }
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        let point = digits.iter().position(|byte| *byte == b'.').unwrap_or(digits.len());
        let (whole, fraction) = (digits.get(..point)?, digits.get(point + 1..).unwrap_or_default());
        if whole.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
            return None;
        }
        let zeros = whole.iter().take_while(|digit| **digit == b'0').count();
        Some(Decimal::Finite { negative: digits.len() < text.len(), whole: &whole[zeros..], fraction })
    }

    /// PostgreSQL's order of numerics.
    pub(super) fn compare(&self, other: &Decimal<'_>) -> Ordering {
        match (self, other) {
            (Decimal::Finite { negative: a, .. }, Decimal::Finite { negative: b, .. }) => match (*a && !self.is_zero(), *b && !other.is_zero()) {
                (false, false) => self.magnitude(other),
                (true, true) => self.magnitude(other).reverse(),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
            },
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Decimal::MinusInfinity => 0,
            Decimal::Finite { .. } => 1,
            Decimal::PlusInfinity => 2,
            Decimal::NaN => 3,
        }
    }

    fn is_zero(&self) -> bool {
        let (whole, fraction) = self.digits();
        whole.iter().chain(fraction).all(|digit| *digit == b'0')
    }

    fn digits(&self) -> (&'a [u8], &'a [u8]) {
        if let Decimal::Finite { whole, fraction, .. } = self { (whole, fraction) } else { (b"", b"") }
    }

    fn magnitude(&self, other: &Decimal<'_>) -> Ordering {
        let ((a, a_fraction), (b, b_fraction)) = (self.digits(), other.digits());
        let scale = a_fraction.len().max(b_fraction.len());
        let padded = |fraction: &[u8]| (0..scale).map(|at| fraction.get(at).copied().unwrap_or(b'0')).collect::<Vec<u8>>();
        a.len().cmp(&b.len()).then_with(|| a.cmp(b)).then_with(|| padded(a_fraction).cmp(&padded(b_fraction)))
    }
}

/// The sum of two numerics as text, with the larger of the two scales.
pub(super) fn add(a: &[u8], b: &[u8]) -> Option<Vec<u8>> {
    let (left, right) = (Decimal::parse(a)?, Decimal::parse(b)?);
    let (Decimal::Finite { negative: a_negative, .. }, Decimal::Finite { negative: b_negative, .. }) = (left, right) else {
        return Some(add_special(left, right).to_vec());
    };
    let scale = left.digits().1.len().max(right.digits().1.len());
    let (x, y) = (aligned(left, scale), aligned(right, scale));
    let (negative, digits) = if a_negative == b_negative {
        (a_negative, plus(&x, &y))
    } else if left.magnitude(&right).is_ge() {
        (a_negative, minus(&x, &y))
    } else {
        (b_negative, minus(&y, &x))
    };
    Some(write(negative, &digits, scale))
}

fn add_special(a: Decimal<'_>, b: Decimal<'_>) -> &'static [u8] {
    match (a, b) {
        (Decimal::NaN, _) | (_, Decimal::NaN) => b"NaN",
        (Decimal::PlusInfinity, Decimal::MinusInfinity) | (Decimal::MinusInfinity, Decimal::PlusInfinity) => b"NaN",
        (Decimal::PlusInfinity, _) | (_, Decimal::PlusInfinity) => b"Infinity",
        _ => b"-Infinity",
    }
}

/// Digit values, least significant first, with `scale` digits of fraction.
fn aligned(value: Decimal<'_>, scale: usize) -> Vec<u8> {
    let (whole, fraction) = value.digits();
    let zeros = std::iter::repeat_n(0, scale - fraction.len());
    zeros.chain(fraction.iter().rev().chain(whole.iter().rev()).map(|digit| digit - b'0')).collect()
}

fn plus(x: &[u8], y: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut sum = Vec::with_capacity(x.len().max(y.len()) + 1);
    for at in 0..x.len().max(y.len()) {
        let digit = x.get(at).unwrap_or(&0) + y.get(at).unwrap_or(&0) + carry;
        sum.push(digit % 10);
        carry = digit / 10;
    }
    sum.push(carry);
    sum
}

/// x - y for x >= y.
fn minus(x: &[u8], y: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut difference = Vec::with_capacity(x.len());
    for (at, digit) in x.iter().enumerate() {
        let (have, take) = (*digit, y.get(at).unwrap_or(&0) + borrow);
        borrow = u8::from(have < take);
        difference.push(have + 10 * borrow - take);
    }
    difference
}

fn write(negative: bool, digits: &[u8], scale: usize) -> Vec<u8> {
    let significant = digits.iter().rposition(|digit| *digit != 0).map_or(0, |last| last + 1);
    let mut text = Vec::with_capacity(digits.len() + 3);
    if negative && significant > 0 {
        text.push(b'-');
    }
    for at in (0..significant.max(scale + 1)).rev() {
        if at + 1 == scale {
            text.push(b'.');
        }
        text.push(b'0' + digits.get(at).unwrap_or(&0));
    }
    text
}

/// Reads numeric's binary format (numeric_send) into text.
pub(super) fn from_binary(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(bytes);
    let count = usize::from(cursor.u16().ok()?);
    let (weight, sign, scale) = (cursor.i16().ok()?, cursor.u16().ok()?, usize::from(cursor.u16().ok()?));
    match sign {
        0 | 0x4000 => {}
        0xc000 => return Some(b"NaN".to_vec()),
        0xd000 => return Some(b"Infinity".to_vec()),
        0xf000 => return Some(b"-Infinity".to_vec()),
        _ => return None,
    }
    let mut groups = Vec::with_capacity(count);
    for _ in 0..count {
        groups.push(cursor.u16().ok().filter(|group| *group < 10_000)?);
    }
    let group = |place: i32| usize::try_from(i32::from(weight) - place).ok().and_then(|at| groups.get(at)).copied().unwrap_or(0);
    let mut digits: Vec<u8> = Vec::new();
    let lowest = -i32::try_from(scale.div_ceil(4)).ok()?;
    for place in lowest..=i32::from(weight).max(0) {
        let value = group(place);
        digits.extend([value % 10, value / 10 % 10, value / 100 % 10, value / 1000].map(|digit| digit as u8));
    }
    let spare = scale.div_ceil(4) * 4 - scale;
    Some(write(sign == 0x4000, digits.get(spare..)?, scale))
}

/// Writes numeric's binary format from text.
pub(super) fn to_binary(text: &[u8]) -> Option<Vec<u8>> {
    let (sign, value) = match Decimal::parse(text)? {
        Decimal::NaN => (0xc000u16, None),
        Decimal::PlusInfinity => (0xd000, None),
        Decimal::MinusInfinity => (0xf000, None),
        finite @ Decimal::Finite { negative, .. } => (if negative { 0x4000 } else { 0 }, Some(finite.digits())),
    };
    let (whole, fraction) = value.unwrap_or_default();
    let front = (4 - whole.len() % 4) % 4;
    let back = (4 - fraction.len() % 4) % 4;
    let zeros = |count: usize| std::iter::repeat_n(b'0', count);
    let digits: Vec<u8> = zeros(front).chain(whole.iter().copied()).chain(fraction.iter().copied()).chain(zeros(back)).collect();
    let groups: Vec<u16> = digits.chunks(4).map(|four| four.iter().fold(0, |value, digit| value * 10 + u16::from(digit - b'0'))).collect();
    let first = groups.iter().position(|group| *group != 0).unwrap_or(groups.len());
    let last = groups.iter().rposition(|group| *group != 0).map_or(first, |last| last + 1);
    let weight = if first == groups.len() { 0 } else { i16::try_from((whole.len() + front) / 4).ok()? - 1 - i16::try_from(first).ok()? };
    let used = &groups[first..last];
    let mut bytes = Vec::with_capacity(8 + used.len() * 2);
    bytes.extend(u16::try_from(used.len()).ok()?.to_be_bytes());
    bytes.extend(weight.to_be_bytes());
    bytes.extend(if used.is_empty() && value.is_some() { 0u16 } else { sign }.to_be_bytes());
    bytes.extend(u16::try_from(fraction.len()).ok()?.to_be_bytes());
    bytes.extend(used.iter().flat_map(|group| group.to_be_bytes()));
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> String {
        String::from_utf8(add(a.as_bytes(), b.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn sums_are_exact_and_keep_the_larger_scale() {
        for (a, b, expected) in [
            ("1", "2", "3"),
            ("0.50", "0.5", "1.00"),
            ("-1.25", "1.25", "0.00"),
            ("99999999999999999999", "1", "100000000000000000000"),
            ("-0.1", "0.05", "-0.05"),
            ("5", "-7.125", "-2.125"),
            ("NaN", "1", "NaN"),
            ("Infinity", "-Infinity", "NaN"),
            ("1", "-Infinity", "-Infinity"),
        ] {
            assert_eq!(sum(a, b), expected, "{a} + {b}");
            assert_eq!(sum(b, a), expected, "{b} + {a}");
        }
    }

    #[test]
    fn the_binary_format_goes_there_and_back() {
        for text in
            ["0", "0.00", "1", "-1", "12345678.9", "0.0001", "0.00001230", "10000", "100000000", "-99999999.99999999", "NaN", "Infinity", "-Infinity"]
        {
            let binary = to_binary(text.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(from_binary(&binary).unwrap()).unwrap(), text);
        }
        // As PostgreSQL sends 12345.678: digits 1, 2345, 6780, weight 1, scale 3.
        let expected: Vec<u8> = [3u16, 1, 0, 3, 1, 2345, 6780].iter().flat_map(|word| word.to_be_bytes()).collect();
        assert_eq!(to_binary(b"12345.678").unwrap(), expected);
        assert_eq!(from_binary(&[0, 1]), None);
    }

    #[test]
    fn the_order_is_that_of_numbers_not_of_texts() {
        let ordered = ["-Infinity", "-10", "-9.99", "-0.5", "0", "0.0001", "0.5", "9", "10", "10.01", "Infinity", "NaN"];
        for (at, a) in ordered.iter().enumerate() {
            for (other, b) in ordered.iter().enumerate() {
                let compared = Decimal::parse(a.as_bytes()).unwrap().compare(&Decimal::parse(b.as_bytes()).unwrap());
                assert_eq!(compared, at.cmp(&other), "{a} {b}");
            }
        }
        let equal = |a: &str, b: &str| Decimal::parse(a.as_bytes()).unwrap().compare(&Decimal::parse(b.as_bytes()).unwrap()) == Ordering::Equal;
        assert!(equal("1.0", "1.00") && equal("-0", "0.0"));
    }
}
