//! Writes the few field types that are ever written: varints and strings.

/// Appends an unsigned varint in the fewest bytes.
pub fn put_uvarint(out: &mut Vec<u8>, value: u32) {
    put_uvarint_wide(out, value, uvarint_size(value));
}

/// Appends an unsigned varint in exactly `width` bytes; readers take the longer forms too, which makes them padding.
pub fn put_uvarint_wide(out: &mut Vec<u8>, value: u32, width: usize) {
    for at in 0..width {
        let more = if at + 1 < width { 0x80 } else { 0 };
        out.push((u64::from(value) >> (7 * at)) as u8 & 0x7f | more);
    }
}

/// The fewest bytes that an unsigned varint takes.
pub fn uvarint_size(value: u32) -> usize {
    (38 - (value | 1).leading_zeros() as usize) / 7
}

/// A string with its length in front; at most 32,767 bytes of it.
pub fn string(compact: bool, text: &[u8]) -> Vec<u8> {
    let text = &text[..text.len().min(i16::MAX as usize)];
    let mut out = Vec::with_capacity(text.len() + 3);
    if compact {
        put_uvarint(&mut out, text.len() as u32 + 1);
    } else {
        out.extend((text.len() as i16).to_be_bytes());
    }
    out.extend(text);
    out
}

/// A count of array elements.
pub fn count(compact: bool, n: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(5);
    if compact {
        put_uvarint(&mut out, n + 1);
    } else {
        out.extend(n.to_be_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::uvarint;

    #[test]
    fn varints_come_back_in_every_width() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, 2_097_151, 2_097_152, u32::MAX] {
            for width in uvarint_size(value)..=5 {
                let mut out = vec![];
                put_uvarint_wide(&mut out, value, width);
                assert_eq!(uvarint(&out), Ok(Some((width, value))));
            }
        }
    }
}
