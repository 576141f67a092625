//! A client's text cut into statements, by what a backslash means in its session (`standard_conforming_strings`).

use crate::client::Client;
use crate::error::Error;
use sql::{Lexed, Lexer, Settings};

/// Its name.
pub const PARAMETER: &str = "standard_conforming_strings";
const ESCAPING: Settings = Settings { standard_conforming_strings: false };

impl Client {
    /// How the text is to be read; `None`: a statement whose outcome is not known yet may have changed that.
    pub fn lexing(&self, sql: &[u8]) -> Option<Settings> {
        let is_off = self.settings.get(PARAMETER).is_some_and(|value| value == "off");
        let is_open = self.session.is_lexing_open;
        match () {
            () if !(is_off || is_open) || !sql.contains(&b'\\') => Some(Settings::default()),
            () if is_open => None,
            () => Some(ESCAPING),
        }
    }

    /// Its first statement; `None`: it cannot be read.
    pub fn lex<'a>(&self, lexer: &'a mut Lexer, sql: &[u8]) -> Option<&'a Lexed> {
        lexer.scan(sql, self.lexing(sql)?).ok()
    }

    /// Whether all statements of a text are of that kind; not where it cannot be read.
    pub fn all_statements(&self, sql: &[u8], lexer: &mut Lexer, is: impl Fn(&Lexed) -> bool) -> bool {
        let Some(settings) = self.lexing(sql) else { return false };
        let mut at = 0;
        while at < sql.len() {
            let Ok(lexed) = lexer.scan(sql.get(at..).unwrap_or_default(), settings) else { return false };
            if !lexed.is_empty() && !is(lexed) {
                return false;
            }
            at += lexed.end.max(1);
        }
        true
    }

    /// Where statements are planned, the planner has to read them too, and it knows standard strings only.
    ///
    /// # Errors
    /// 0A000.
    pub fn is_plannable(&self, sql: &[u8]) -> Result<(), Error> {
        if self.lexing(sql) == Some(Settings::default()) {
            return Ok(());
        }
        let why = "a backslash with standard_conforming_strings = off is not read on listeners with policies or sharding rules";
        Err(Error::statement("0A000", why).hint("Set standard_conforming_strings to on, and write E'...' where a backslash escapes."))
    }
}

/// Tells texts apart that are the same but for that.
pub fn scope(lexing: Option<Settings>) -> u64 {
    match lexing {
        Some(settings) if settings.standard_conforming_strings => 0,
        Some(_) => 1 << 62,
        None => 1 << 61,
    }
}
