//! A compiled pattern says what a table of all prefixes says.
#![no_main]

use filters::Pattern;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((length, rest)) = data.split_first() else { return };
    let (pattern, text) = rest.split_at(usize::from(*length).min(rest.len()));
    let Ok(pattern) = std::str::from_utf8(pattern) else { return };
    if let Ok(compiled) = Pattern::new(pattern) {
        assert_eq!(compiled.matches(text), table(pattern.as_bytes(), text));
    }
});

/// `reached[i]`: the pattern so far matches the first i bytes of the text.
fn table(pattern: &[u8], text: &[u8]) -> bool {
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for wanted in pattern {
        let before = reached.clone();
        for at in 0..reached.len() {
            reached[at] = match wanted {
                b'*' => before[at] || (at > 0 && reached[at - 1]),
                wanted => at > 0 && before[at - 1] && (*wanted == b'?' || *wanted == text[at - 1]),
            };
        }
    }
    reached[text.len()]
}
