//! Statements that read and nothing else, proven by their words alone: they may be sent to a replica, or run again when a server is lost.
//!
//! Proven conservatively: a SELECT, VALUES or TABLE whose every call is of a function of the server's own that is immutable or stable, and
//! that does not ask about the server or the session itself. What remains unproven without the schema: a view, operator or type of the
//! database's own may hide a function that writes. A replica refuses that (25006).

use crate::effect::{Effect, State, Verb};
use crate::lexer::Lexed;
use wire::Class;

/// Whether the statement reads and nothing else.
pub fn only_reads(lexed: &Lexed) -> bool {
    let effect = Effect::of(lexed);
    let is_query = matches!(effect.verb, Verb::Select | Verb::With | Verb::Values | Verb::Table);
    is_query && effect.class == Class::Read && effect.touches.without(State::CALLS).is_none() && calls_are_known(lexed.normalised())
}

/// Walks the normalised text: words in lower case, strings and quoted names as they were.
fn calls_are_known(text: &[u8]) -> bool {
    if text.contains(&b'\\') {
        return false; // where a string with escapes ends is not worth finding out
    }
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let start = at;
        match byte {
            b'"' => at = closing(text, at, b'"'),
            b'\'' => at = closing(text, at, b'\''),
            _ if is_word(byte) => at += text[at..].iter().take_while(|byte| is_word(**byte)).count(),
            _ => {
                at += 1;
                continue;
            }
        }
        let name = &text[start..at];
        let is_slot = start > 0 && text[start - 1] == b':';
        if !is_slot && byte != b'\'' && !is_known(text, start, name, is_call(text, at)) {
            return false;
        }
    }
    true
}

fn is_known(text: &[u8], start: usize, name: &[u8], is_call: bool) -> bool {
    // Views and functions of the server's own describe the server: each has its own answer.
    if name.starts_with(b"pg_") || name.starts_with(b"\"pg_") {
        return name == b"pg_catalog";
    }
    let is_qualified = start > 0 && text[start - 1] == b'.';
    // A user's function may have these names, but none stands right behind a parenthesis.
    let is_clause = matches!(name, b"filter" | b"over") && text[..start].trim_ascii_end().ends_with(b")");
    !is_call || is_clause || is_listed(name) && (!is_qualified || text[..start].ends_with(b"pg_catalog."))
}

/// Whether a word in front of a parenthesis is a keyword, a type, or a function of the server that does nothing but answer.
pub(crate) fn is_listed(word: &[u8]) -> bool {
    KNOWN.binary_search_by(|known| known.as_bytes().cmp(word)).is_ok()
}

fn is_call(text: &[u8], at: usize) -> bool {
    text.get(at..).is_some_and(|rest| rest.trim_ascii_start().first() == Some(&b'('))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// Just behind the quote that closes the one at `at`; a doubled quote closes and opens again, which comes to the same.
fn closing(text: &[u8], at: usize, quote: u8) -> usize {
    let body = text.get(at + 1..).unwrap_or_default();
    body.iter().position(|byte| *byte == quote).map_or(text.len(), |end| at + end + 2)
}

/// What may stand before a parenthesis: keywords, types, and functions of the server that are immutable or stable. Sorted.
const KNOWN: &[&str] = &[
    "abs",
    "age",
    "all",
    "and",
    "any",
    "array",
    "array_agg",
    "array_append",
    "array_cat",
    "array_dims",
    "array_length",
    "array_lower",
    "array_ndims",
    "array_position",
    "array_positions",
    "array_prepend",
    "array_remove",
    "array_replace",
    "array_to_string",
    "array_upper",
    "as",
    "ascii",
    "avg",
    "bit",
    "bit_and",
    "bit_length",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "bpchar",
    "broadcast",
    "btrim",
    "cardinality",
    "case",
    "cast",
    "cbrt",
    "ceil",
    "ceiling",
    "char",
    "char_length",
    "character",
    "character_length",
    "chr",
    "coalesce",
    "concat",
    "concat_ws",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "cume_dist",
    "date_bin",
    "date_part",
    "date_trunc",
    "daterange",
    "decimal",
    "decode",
    "dense_rank",
    "distinct",
    "div",
    "else",
    "encode",
    "every",
    "except",
    "exists",
    "exp",
    "extract",
    "family",
    "first_value",
    "float",
    "floor",
    "format",
    "from",
    "gcd",
    "generate_series",
    "generate_subscripts",
    "greatest",
    "grouping",
    "having",
    "host",
    "hostmask",
    "in",
    "initcap",
    "int4range",
    "int8range",
    "intersect",
    "interval",
    "isempty",
    "isfinite",
    "json_agg",
    "json_array_elements",
    "json_array_elements_text",
    "json_array_length",
    "json_build_array",
    "json_build_object",
    "json_each",
    "json_each_text",
    "json_extract_path",
    "json_extract_path_text",
    "json_object_agg",
    "json_object_keys",
    "json_strip_nulls",
    "json_typeof",
    "jsonb_agg",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "jsonb_array_length",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_each",
    "jsonb_each_text",
    "jsonb_extract_path",
    "jsonb_extract_path_text",
    "jsonb_insert",
    "jsonb_object_agg",
    "jsonb_object_keys",
    "jsonb_path_exists",
    "jsonb_path_query",
    "jsonb_pretty",
    "jsonb_set",
    "jsonb_strip_nulls",
    "jsonb_typeof",
    "justify_days",
    "justify_hours",
    "justify_interval",
    "lag",
    "last_value",
    "lcm",
    "lead",
    "least",
    "left",
    "length",
    "ln",
    "log",
    "lower",
    "lower_inc",
    "lower_inf",
    "lpad",
    "ltrim",
    "make_date",
    "make_interval",
    "make_time",
    "make_timestamp",
    "make_timestamptz",
    "masklen",
    "max",
    "md5",
    "min",
    "mod",
    "mode",
    "netmask",
    "network",
    "not",
    "now",
    "nth_value",
    "ntile",
    "nullif",
    "num_nonnulls",
    "num_nulls",
    "numeric",
    "numrange",
    "octet_length",
    "on",
    "or",
    "overlay",
    "percent_rank",
    "percentile_cont",
    "percentile_disc",
    "phraseto_tsquery",
    "plainto_tsquery",
    "position",
    "power",
    "quote_ident",
    "quote_literal",
    "quote_nullable",
    "rank",
    "regexp_match",
    "regexp_matches",
    "regexp_replace",
    "regexp_split_to_array",
    "regexp_split_to_table",
    "regr_intercept",
    "regr_slope",
    "repeat",
    "replace",
    "reverse",
    "right",
    "round",
    "row",
    "row_number",
    "row_to_json",
    "rpad",
    "rtrim",
    "select",
    "sha256",
    "sign",
    "some",
    "split_part",
    "sqrt",
    "starts_with",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "string_to_array",
    "strpos",
    "substr",
    "substring",
    "sum",
    "then",
    "time",
    "timestamp",
    "timezone",
    "to_char",
    "to_date",
    "to_hex",
    "to_json",
    "to_jsonb",
    "to_number",
    "to_timestamp",
    "to_tsquery",
    "to_tsvector",
    "translate",
    "trim",
    "trunc",
    "ts_headline",
    "ts_rank",
    "ts_rank_cd",
    "tsrange",
    "tstzrange",
    "union",
    "unnest",
    "upper",
    "upper_inc",
    "upper_inf",
    "using",
    "values",
    "var_pop",
    "var_samp",
    "varchar",
    "variance",
    "websearch_to_tsquery",
    "when",
    "where",
    "width_bucket",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::{Lexer, Settings};

    fn reads(sql: &str) -> bool {
        only_reads(Lexer::default().scan(sql.as_bytes(), Settings::default()).unwrap())
    }

    #[test]
    fn the_names_are_sorted() {
        assert!(KNOWN.is_sorted());
    }

    #[test]
    fn queries_of_tables_and_known_functions_read() {
        for sql in [
            "select 1",
            "SELECT abalance FROM pgbench_accounts WHERE aid = 5",
            "select count(*), max(x) filter (where y > 1) from t where id in (1, 2) and exists (select 1 from u)",
            "with a as (select 1 as x) select a.x::numeric(10,2), cast('5' as varchar(3)) from a join t using (x)",
            "select t.id, row_number() over (partition by a order by b) from t where lower(name) like 'a%' order by 1 limit 5",
            "values (1, 2)",
            "table t",
            "(select 1) union all (select 2)",
            "select pg_catalog.lower(x) from t",
            "select 'nextval(1)', \"a b\" from t",
            "select now(), current_timestamp, coalesce(a, 'b'), extract(year from d) from t",
        ] {
            assert!(reads(sql), "{sql}");
        }
    }

    #[test]
    fn whatever_may_do_more_does_not() {
        for sql in [
            "insert into t values (1)",
            "select * from t for update",
            "select * from t for key share",
            "select * into u from t",
            "select nextval('s')",
            "select my_function(1)",
            "select filter(1)",
            "select over (1)",
            "select app.lower(x) from t",
            "select \"lower\"(x) from t",
            "select random()",
            "select pg_advisory_lock(1)",
            "select * from pg_stat_activity",
            "select pg_backend_pid()",
            "select txid_current()",
            "with x as (delete from t returning *) select * from x",
            "explain select 1",
            "show search_path",
            "set a = 1",
            "begin",
            "",
        ] {
            assert!(!reads(sql), "{sql}");
        }
    }
}
