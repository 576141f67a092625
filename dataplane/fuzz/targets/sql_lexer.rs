//! Any bytes are statements or are refused: statements follow each other, slots lie in them, and the fingerprint is the text's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sql::{Effect, Lexer, Settings};

fuzz_target!(|data: &[u8]| {
    let Some((flags, text)) = data.split_first() else { return };
    let settings = Settings { standard_conforming_strings: flags & 1 == 0 };
    let (mut lexer, mut again) = (Lexer::default(), Lexer::default());
    let mut at = 0;
    while at < text.len() {
        let Ok(lexed) = lexer.scan(&text[at..], settings) else { return };
        assert!(lexed.end > 0 && at + lexed.end <= text.len());
        assert!(lexed.slots().iter().all(|slot| slot.text(&text[at..]).len() <= lexed.end));
        let _ = Effect::of(lexed);
        let statement = &text[at..at + lexed.end];
        let alone = again.scan(statement, settings).expect("a statement that was lexed is lexed alone");
        assert_eq!((alone.fingerprint, alone.normalised()), (lexed.fingerprint, lexed.normalised()));
        at += lexed.end;
    }
});
