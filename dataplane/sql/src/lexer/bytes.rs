//! Questions about bytes that need no state.

pub(super) fn operator(byte: u8) -> bool {
    matches!(byte, b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'=' | b'~' | b'!' | b'@' | b'#' | b'%' | b'^' | b'&' | b'|' | b'`' | b'?')
}

pub(super) fn line_end(sql: &[u8], from: usize) -> usize {
    sql[from..].iter().position(|byte| matches!(byte, b'\n' | b'\r')).map_or(sql.len(), |length| from + length)
}

/// Where the next part of a string begins that goes on after a line break.
pub(super) fn continued(sql: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    let mut broken = false;
    loop {
        match (sql.get(at)?, sql.get(at + 1)) {
            (b'\n' | b'\r', _) => (broken, at) = (true, at + 1),
            (b' ' | b'\t' | 0x0b | 0x0c, _) => at += 1,
            (b'-', Some(b'-')) => at = line_end(sql, at),
            (b'\'', _) if broken => return Some(at),
            _ => return None,
        }
    }
}

pub(super) fn find(body: &[u8], tag: &[u8]) -> Option<usize> {
    body.windows(tag.len()).position(|window| window == tag)
}

/// As PostgreSQL types a whole number: integer, bigint, or numeric.
pub(super) fn integer_type(text: &[u8]) -> u32 {
    let value = text.iter().try_fold(0i64, |value, digit| value.checked_mul(10)?.checked_add(i64::from(digit.wrapping_sub(b'0'))));
    match value {
        Some(value) if value <= i64::from(i32::MAX) => 23,
        Some(_) => 20,
        None => 1700,
    }
}

pub(super) fn decimal(number: usize, out: &mut Vec<u8>) {
    let from = out.len();
    let mut rest = number;
    loop {
        out.push(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out[from..].reverse();
}
