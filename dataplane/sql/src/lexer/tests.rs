use super::*;

fn scan(sql: &str) -> Lexed {
    Lexer::default().scan(sql.as_bytes(), Settings::default()).unwrap().clone()
}

fn text(sql: &str) -> String {
    String::from_utf8(scan(sql).normalised().to_vec()).unwrap()
}

fn slots(sql: &str) -> Vec<String> {
    scan(sql).slots().iter().map(|slot| String::from_utf8(slot.text(sql.as_bytes()).to_vec()).unwrap()).collect()
}

#[test]
fn literals_and_parameters_become_slots() {
    let sql = "SELECT  a,B FROM t WHERE x='it''s' AND y = 5 and z>$1 -- why\n LIMIT 10;";
    assert_eq!(text(sql), "select a,b from t where x=:p1 and y = :p2 and z>:p3 limit :p4");
    assert_eq!(slots(sql), ["'it''s'", "5", "$1", "10"]);
    assert_eq!(scan(sql).statement(sql.as_bytes()), &sql.as_bytes()[..sql.len() - 1]);
}

#[test]
fn what_drivers_send() {
    assert_eq!(text("INSERT INTO t VALUES($1,$2)"), "insert into t values(:p1,:p2)");
    assert_eq!(text("SET a=$1,b=$2"), "set a=:p1,b=:p2");
    assert_eq!(text("UPDATE t SET a=$1,b=$2 WHERE c=$3::int"), "update t set a=:p1,b=:p2 where c=:p3::int");
    assert_eq!(text("select $1$2"), "select :p1 :p2");
    assert_eq!(text("select 1a"), "select 1a");
}

#[test]
fn the_corpus_of_literals() {
    for (sql, normalised) in [
        (r"select E'a\'b', 'c'", "select :p1, :p2"),
        (r"select 'a\', b", r"select :p1, b"),
        ("select $$a;'b$$, $t$c$$d$t$, 1", "select :p1, :p2, :p3"),
        ("select u&'d\\0061t', B'101', x'1F', n'x'", "select :p1, :p2, :p3, :p4"),
        ("select 'a'\n  'b', c", "select :p1, c"),
        ("select 'a' 'b'", "select :p1 'b'"),
        ("select 1.5, .5, 1e10, 2E-3, 1.", "select :p1, :p2, :p3, :p4, :p5"),
        ("select 0x1f, 1_000", "select 0x1f, 1_000"),
        (
            "select interval '1 day', date '2026-01-01', timestamp(3) with time zone 'x'",
            "select interval '1 day', date '2026-01-01', timestamp(3) with time zone 'x'",
        ),
        ("select a::numeric(10,2), cast(b as varchar(5)), f(5)", "select a::numeric(10,2), cast(b as varchar(5)), f(:p1)"),
        ("select a[1], array[1,2], b[2:3]", "select a[1], array[:p1,:p2], b[2: 3]"),
        ("select \"A b\"\"c\", \"select\"", "select \"A b\"\"c\", \"select\""),
        ("select a/*x/*y*/z*/b", "select a b"),
        ("select -5, a -1, a=-1", "select -:p1, a -:p2, a=-:p3"),
        ("select x from t order by 1, 2 desc limit 3", "select x from t order by 1, 2 desc limit :p1"),
        ("select a, count(*) from t group by 1 having count(*) > 2", "select a, count(*) from t group by 1 having count(*) > :p1"),
        ("select (select 1 from t order by 1), 2", "select (select :p1 from t order by 1), :p2"),
        ("select distinct on (1) a, 2 from t", "select distinct on (1) a, :p1 from t"),
        ("select a from t join u on 1 = b and (2 = c)", "select a from t join u on :p1 = b and (:p2 = c)"),
        (
            "with x as materialized (select 1) select 2 from x as y where y.limit = 3",
            "with x as materialized (select :p1) select :p2 from x as y where y.limit = :p3",
        ),
        ("create table t (a int default 5, b text default 'x')", "create table t (a int default 5, b text default 'x')"),
        ("(select 1)", "(select :p1)"),
        ("select pg_catalog.set_config('jit', 'off', false)", "select pg_catalog.set_config('jit', :p1, false)"),
        ("select count(*)filter(where a>1)", "select count(*)filter(where a>:p1)"),
        ("select a @> '{1}' and b ->> 'k' = 'v'", "select a @> :p1 and b ->> :p2 = :p3"),
        ("select a+--x\n1", "select a+ :p1"),
        ("select '\u{e9}', \u{c9}t\u{e9}", "select :p1, \u{c9}t\u{e9}"),
    ] {
        assert_eq!(text(sql), normalised, "{sql}");
    }
}

#[test]
fn statements_end_at_semicolons_outside_of_everything() {
    let sql = b"select ';', \";\", $$;$$ /*;*/; select 2;; ";
    let (mut at, mut found) = (0, Vec::new());
    let mut lexer = Lexer::default();
    while at < sql.len() {
        let lexed = lexer.scan(&sql[at..], Settings::default()).unwrap();
        found.push(String::from_utf8(lexed.statement(&sql[at..]).to_vec()).unwrap());
        at += lexed.end;
    }
    assert_eq!(found, ["select ';', \";\", $$;$$", "select 2", "", ""]);
    let body = "create function f() returns int begin atomic select case when true then 1 end; select 2; end; select 3";
    assert_eq!(scan(body).end, body.len() - " select 3".len());
}

#[test]
fn without_standard_strings_a_backslash_escapes() {
    let mut lexer = Lexer::default();
    let sql = br"select 'a\'; b', 1";
    let lexed = lexer.scan(sql, Settings { standard_conforming_strings: false }).unwrap();
    assert_eq!(lexed.normalised(), b"select :p1, :p2");
    assert_eq!(lexed.slots()[0].kind, SlotKind::String { escapes: true });
}

#[test]
fn what_is_not_closed_is_an_error() {
    for sql in ["select 'a", "select \"a", "select /* a /* */", "select $x$ a $y$", r"select E'a\'", "select U&'"] {
        let refusal = Lexer::default().scan(sql.as_bytes(), Settings::default()).unwrap_err();
        assert_eq!(refusal.sqlstate, "42601", "{sql}");
        assert!(refusal.message.starts_with("unterminated"), "{}", refusal.message);
    }
}

#[test]
fn fingerprints_are_equal_for_one_shape_and_differ_otherwise() {
    let of = |sql: &str| scan(sql).fingerprint;
    let base = of("select a from t where b = 1");
    assert_eq!(base, of("SELECT a\nFROM t /* x */ WHERE b = 2147483647"));
    for other in [
        "select a from t where b = 2147483648",
        "select a from t where b = 1.0",
        "select a from t where b = '1'",
        "select a from t where b = $1",
        "select a from t where b = $2",
        "select a from t where b = -1",
        "select a from t where c = 1",
        "select a from \"T\" where b = 1",
    ] {
        assert_ne!(base, of(other), "{other}");
    }
    assert_ne!(of("select a from t order by 1"), of("select a from t order by 2"));
}

#[test]
fn slots_know_the_type_of_a_number() {
    let types: Vec<u32> = scan("select 1, 2147483648, 9223372036854775808, 1.5, 'x', b'1'").slots().iter().map(|slot| slot.type_oid).collect();
    assert_eq!(types, [23, 20, 1700, 1700, 0, 1560]);
}

/// Puts the slots' own texts back: the result must have the same fingerprint and slots, byte for byte.
#[test]
fn the_normalised_text_and_the_slots_give_the_statement_back() {
    let words = [
        "select",
        "a",
        ",",
        "(",
        ")",
        "'x'",
        "5",
        "$1",
        "-",
        "::int",
        "from t",
        "/*c*/",
        "\n",
        " ",
        "order by 1",
        "E'\\''",
        "$$q$$",
        "interval '1'",
        "\"Q\"",
        "[1]",
        "=",
        "1.5",
    ];
    let mut seed = 1u64;
    let mut next = |bound: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize % bound
    };
    for _ in 0..20_000 {
        let sql: String = (0..next(14)).map(|_| words[next(words.len())]).collect();
        let mut lexer = Lexer::default();
        let Ok(lexed) = lexer.scan(sql.as_bytes(), Settings::default()).cloned() else { continue };
        let mut back = Vec::new();
        let splices: [config::proto::midstream::sql::v1::Splice; 0] = [];
        crate::splice::apply(&splices, &lexed, sql.as_bytes(), &mut back);
        assert_eq!(back, lexed.statement(sql.as_bytes()), "{sql}");
        assert_restored(&lexed, &sql);
    }
}

fn assert_restored(lexed: &Lexed, sql: &str) {
    let normalised = String::from_utf8(lexed.normalised().to_vec()).unwrap();
    let mut restored = String::new();
    let mut rest = normalised.as_str();
    for (index, slot) in lexed.slots().iter().enumerate() {
        let mark = format!(":p{}", index + 1);
        let at = rest.find(&mark).unwrap_or_else(|| panic!("{mark} in {normalised}"));
        restored += &rest[..at];
        restored += std::str::from_utf8(slot.text(sql.as_bytes())).unwrap();
        rest = &rest[at + mark.len()..];
    }
    restored += rest;
    let again = scan(&restored);
    assert_eq!(again.fingerprint, lexed.fingerprint, "{sql} -> {restored}");
}

#[test]
fn random_bytes_never_panic() {
    const ALPHABET: &[u8] = b"'\"$;-/*()[]:.,aEeUuNXx&\\ \n019\xc3";
    let mut seed = 7u64;
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..40)
            .map(|_| {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                ALPHABET[(seed >> 33) as usize % ALPHABET.len()]
            })
            .collect();
        let mut lexer = Lexer::default();
        if let Ok(lexed) = lexer.scan(&bytes, Settings::default()) {
            assert!(lexed.start <= lexed.stop && lexed.stop <= lexed.end && lexed.end <= bytes.len());
            assert!(lexed.words().count() <= bytes.len());
        }
    }
}
