//! Words in front of a parenthesis that are reserved, or name functions of the server's own: the others are looked up once.

use crate::reads::is_listed;

/// Those that do more than [`crate::reads`] lets pass, and are known for what they do. Sorted.
const KNOWN: [&[u8]; 54] = [
    b"bigint",
    b"check",
    b"current_schema",
    b"current_schemas",
    b"current_setting",
    b"currval",
    b"dec",
    b"default",
    b"end",
    b"gen_random_uuid",
    b"group",
    b"into",
    b"is",
    b"join",
    b"lastval",
    b"lateral",
    b"like",
    b"limit",
    b"lo_close",
    b"lo_creat",
    b"lo_create",
    b"lo_open",
    b"loread",
    b"lowrite",
    b"nextval",
    b"pg_advisory_lock",
    b"pg_advisory_lock_shared",
    b"pg_advisory_unlock",
    b"pg_advisory_unlock_all",
    b"pg_advisory_unlock_shared",
    b"pg_advisory_xact_lock",
    b"pg_backend_pid",
    b"pg_get_serial_sequence",
    b"pg_listening_channels",
    b"pg_my_temp_schema",
    b"pg_notify",
    b"pg_sleep",
    b"pg_try_advisory_lock",
    b"pg_try_advisory_lock_shared",
    b"pg_try_advisory_xact_lock",
    b"pg_typeof",
    b"pow",
    b"random",
    b"references",
    b"returning",
    b"set_config",
    b"setseed",
    b"setval",
    b"table",
    b"to_regclass",
    b"unique",
    b"version",
    b"window",
    b"with",
];

/// Whether the word, in front of a parenthesis and behind `before`, may call a function that has to be looked up.
pub(super) fn is_unknown(word: &[u8], before: &[u8]) -> bool {
    // INSERT INTO t (a, b): a list of columns.
    before != b"into" && !is_listed(word) && KNOWN.binary_search(&word).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(KNOWN.is_sorted());
        assert!(is_unknown(b"audit", b"select") && !is_unknown(b"count", b"select") && !is_unknown(b"t", b"into"));
    }
}
