//! Hash slots: CRC16 (XMODEM) of the key, or of its hash tag, modulo 16384.
//! Source: <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model>.

/// How many slots a cluster has.
pub const SLOTS: usize = 16384;

/// `TABLES[n][byte]`: the sum of the byte with n zero bytes behind it. A word of eight bytes is then eight look-ups that do not wait for
/// each other.
static TABLES: [[u16; 256]; WORD] = tables();

const WORD: usize = 8;

const fn tables() -> [[u16; 256]; WORD] {
    let mut tables = [[0u16; 256]; WORD];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 * WORD {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
            if bit % 8 == 0 {
                tables[bit / 8 - 1][byte] = crc;
            }
        }
        byte += 1;
    }
    tables
}

/// The slot of a key.
#[inline]
pub fn slot_of(key: &[u8]) -> u16 {
    let words = tag_of(key).chunks_exact(WORD);
    let rest = words.remainder();
    let mut crc = 0u16;
    for word in words.filter_map(|word| <[u8; WORD]>::try_from(word).ok()) {
        // The sum so far is as if it were xored into the next two bytes.
        let word = u64::from_be_bytes(word) ^ u64::from(crc) << 48;
        crc = (0..WORD).fold(0, |crc, n| crc ^ TABLES[n][usize::from((word >> (8 * n)) as u8)]);
    }
    for byte in rest {
        crc = (crc << 8) ^ TABLES[0][usize::from((crc >> 8) as u8 ^ byte)];
    }
    crc & (SLOTS as u16 - 1)
}

/// Whether there is a `{`, eight bytes at a time: most keys have none.
#[inline]
fn has_brace(key: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let words = key.chunks_exact(WORD);
    let rest = words.remainder();
    let is_in = |word: [u8; WORD]| {
        let word = u64::from_ne_bytes(word) ^ (ONES * u64::from(b'{'));
        word.wrapping_sub(ONES) & !word & (ONES << 7) != 0
    };
    words.filter_map(|word| word.try_into().ok()).any(is_in) || rest.contains(&b'{')
}

/// What is between the first `{` and the first `}` after it, unless that is empty; else the whole key.
#[inline]
fn tag_of(key: &[u8]) -> &[u8] {
    if !has_brace(key) {
        return key;
    }
    let Some(open) = key.iter().position(|byte| *byte == b'{') else { return key };
    let rest = &key[open + 1..];
    match rest.iter().position(|byte| *byte == b'}') {
        Some(close) if close > 0 => &rest[..close],
        _ => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_cluster_keyslot() {
        // Values of CLUSTER KEYSLOT on redis 7.0.15.
        for (key, slot) in [
            ("foo", 12182),
            ("123456789", 12739),
            ("", 0),
            ("{user1000}.following", 3443),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("foo{bar}{zap}", 5061),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
    }

    #[test]
    fn words_at_once_give_what_bytes_one_by_one_give() {
        let key: Vec<u8> = (0..100u8).map(|n| n.wrapping_mul(73)).filter(|byte| *byte != b'{').collect();
        for length in 0..key.len() {
            let bitwise = key[..length].iter().fold(0u16, |crc, byte| {
                (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 })
            });
            assert_eq!(slot_of(&key[..length]), bitwise % SLOTS as u16, "{length}");
        }
    }
}
