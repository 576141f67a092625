//! What the server is asked of a session, and how it answers.

use crate::code;
use crate::session::{Asked, Found, is_replayed};
use crate::settings::{Settings, literal};
use sql::effect::State;
use wire::Cursor;

/// The query whose rows are (part, name, value); values in hexadecimal digits of UTF-8, whatever client_encoding is. Everything is
/// qualified, since the session's search_path is the client's.
pub fn question(asked: &Asked, settings: &Settings) -> String {
    const VALUE: &str = "pg_catalog.encode(pg_catalog.convert_to(pg_catalog.current_setting(n,true),'UTF8'),'hex')";
    const PARTS: [(State, &str); 5] = [
        // All kinds of objects depend on their schema; 2615 is pg_namespace.
        (
            State::TEMPORARY,
            "SELECT 't' FROM pg_catalog.pg_depend WHERE refclassid OPERATOR(pg_catalog.=) 2615 \
             AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() LIMIT 1;",
        ),
        (State::CURSORS, "SELECT 'c' FROM pg_catalog.pg_cursors WHERE is_holdable LIMIT 1;"),
        (
            State::LOCKS,
            "SELECT 'l' FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' \
             AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() LIMIT 1;",
        ),
        (State::LISTENS, "SELECT 'n' FROM pg_catalog.pg_listening_channels() LIMIT 1;"),
        (State::PREPARED, "SELECT 'p' FROM pg_catalog.pg_prepared_statements WHERE from_sql LIMIT 1;"),
    ];
    let is_any = asked.parts.has(State::ANY_SETTING);
    let mut names: Vec<&str> = asked.touched.iter().map(|touched| touched.name.as_str()).collect();
    if is_any {
        // pg_settings has neither those that clients make up, nor the role.
        names.extend(settings.iter().map(|(name, _)| name).filter(|name| name.contains('.')));
        names.retain(|name| name.contains('.'));
        names.push("role");
    }
    let mut sql = String::new();
    if !names.is_empty() {
        sql.push_str("SELECT 's',n,");
        sql.push_str(VALUE);
        sql.push_str(" FROM pg_catalog.unnest(ARRAY[");
        for (index, name) in names.iter().enumerate() {
            sql.push_str(if index == 0 { "" } else { "," });
            literal(&mut sql, name);
        }
        sql.push_str("]) n;");
    }
    if is_any {
        sql.push_str("SELECT 's',n,");
        sql.push_str(VALUE);
        sql.push_str(" FROM (SELECT name n FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) 'session') s;");
    }
    PARTS.iter().filter(|(part, _)| asked.parts.has(*part)).for_each(|(_, text)| sql.push_str(text));
    if !asked.calls.is_empty() {
        code::question(&asked.calls, &mut sql);
    }
    sql
}

/// A row of the answer.
pub fn row(body: &[u8]) -> Option<Found> {
    let mut cursor = Cursor::new(body);
    let columns = cursor.u16().ok()?;
    let mut text = || {
        let length = usize::try_from(cursor.i32().ok()?).ok();
        Some(length.and_then(|length| cursor.take(length).ok()))
    };
    let part = match text()?? {
        b"s" if columns == 3 => {
            let name = std::str::from_utf8(text()??).ok()?.to_ascii_lowercase();
            let value = text()?.and_then(unhex);
            return is_replayed(&name).then_some(Found::Setting(name, value));
        }
        b"h" if columns == 2 => return Some(Found::Harmless(String::from_utf8(text()??.to_vec()).ok()?)),
        b"t" => State::TEMPORARY,
        b"c" => State::CURSORS,
        b"l" => State::LOCKS,
        b"n" => State::LISTENS,
        b"p" => State::PREPARED,
        _ => return None,
    };
    Some(Found::Part(part))
}

fn unhex(digits: &[u8]) -> Option<String> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect();
    String::from_utf8(bytes?).ok()
}
