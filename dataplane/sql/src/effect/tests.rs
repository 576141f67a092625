use super::*;
use crate::lexer::{Lexer, Settings};

fn of(sql: &str) -> Effect {
    Effect::of(Lexer::default().scan(sql.as_bytes(), Default::default()).unwrap())
}

#[test]
fn transaction_control() {
    for (sql, expected) in [
        ("BEGIN", Some(Transaction::Begin)),
        ("start transaction isolation level serializable", Some(Transaction::Begin)),
        ("COMMIT", Some(Transaction::Commit)),
        ("end", Some(Transaction::Commit)),
        ("abort", Some(Transaction::Rollback)),
        ("ROLLBACK TO SAVEPOINT a", Some(Transaction::RollbackTo)),
        ("rollback transaction to a", Some(Transaction::RollbackTo)),
        ("savepoint a", Some(Transaction::Savepoint)),
        ("release a", Some(Transaction::Release)),
        ("prepare transaction 'x'", Some(Transaction::Prepare)),
        ("commit prepared 'x'", Some(Transaction::CommitPrepared)),
        ("rollback prepared 'x'", Some(Transaction::RollbackPrepared)),
        ("select 1", None),
    ] {
        let effect = of(sql);
        assert_eq!(effect.transaction, expected, "{sql}");
        assert!(expected.is_none() || !effect.needs_plan(), "{sql}");
    }
}

#[test]
fn what_may_change_the_session() {
    for (sql, expected) in [
        ("set search_path to x", State::SETTINGS),
        ("set search_path = pg_temp, x", State::SETTINGS.with(State::TEMPORARY)),
        ("set local a = 1", State::NONE),
        ("set local a to DEFAULT", State::SETTINGS),
        ("set local search_path = 'pg_temp'", State::TEMPORARY),
        ("set transaction read only", State::NONE),
        ("set session characteristics as transaction read only", State::SETTINGS),
        ("set session authorization x", State::OTHER),
        ("reset all", State::SETTINGS),
        ("discard all", State::SETTINGS),
        ("discard temp", State::TEMPORARY),
        ("deallocate x", State::PREPARED),
        ("select 1", State::NONE),
        ("select a from t where hold = 1", State::NONE),
        ("select temp from weather", State::NONE),
        ("prepare transaction 'x'", State::NONE),
        ("create table temperature (a int)", State::NONE),
        ("select set_config($1, 'off', false)", State::SETTINGS),
        ("select pg_advisory_unlock_all()", State::LOCKS),
        ("select pg_advisory_xact_lock(1)", State::NONE),
        ("select lastval()", State::SEQUENCES),
        ("listen x", State::LISTENS),
        ("prepare x as select 1", State::PREPARED),
        ("execute x", State::EXECUTES),
        ("declare c cursor with hold for select 1", State::CURSORS),
        ("create temp table x (a int)", State::TEMPORARY),
        ("create local temporary table x (a int)", State::TEMPORARY),
        ("create or replace temp view x as select 1", State::TEMPORARY),
        ("select * into temp x from y", State::TEMPORARY),
        ("with x as (select pg_try_advisory_lock(5)) select 1", State::LOCKS),
        ("insert into pg_temp.x values (1)", State::TEMPORARY),
        ("select \"pg_advisory_lock\"(1)", State::LOCKS),
        ("select u.a from u", State::NONE),
        ("select U&\"lastva\\006c\"()", State::ANY.with(State::SEED).with(State::SEQUENCES).with(State::CALLS)),
        ("do $$ begin end $$", State::ANY.with(State::CODE)),
        ("do $$ begin execute 'Set a.b = 1' ; end $$", State::ANY.with(State::CODE).with(State::NAMELESS)),
        ("do $$ begin perform SetSeed(0) ; end $$", State::ANY.with(State::CODE).with(State::SEED).with(State::CALLS)),
        ("select audit(count(*), f (1)) from t", State::CALLS),
        ("insert into t (a) values (1)", State::NONE),
        ("create function f(int) returns int", State::CODE),
    ] {
        assert_eq!(of(sql).touches, expected, "{sql}");
    }
    assert_eq!(State::LOCKS.with(State::SETTINGS).reason(), Some("an advisory lock"));
    assert_eq!(State::SETTINGS.reason(), None);
}

#[test]
fn copy_and_classes() {
    assert_eq!(of("copy t from stdin").copy, Some(Copy::From));
    assert_eq!(of("COPY (select 1) TO STDOUT (format binary)").copy, Some(Copy::To));
    assert_eq!(of("copy t from '/x'").copy, None);
    for (sql, class) in [
        ("select 1", Class::Read),
        ("select * from t for update", Class::Write),
        ("with x as (delete from t returning *) select * from x", Class::Write),
        ("insert into t values (1)", Class::Write),
        ("copy t from stdin", Class::Write),
        ("copy t to stdout", Class::Read),
        ("create table t (a int)", Class::Admin),
        ("show all", Class::Read),
        ("frobnicate", Class::Admin),
        ("", Class::Read),
    ] {
        assert_eq!(of(sql).class, class, "{sql}");
    }
    assert!(of("frobnicate t").needs_plan() && !of("").needs_plan() && !of("show x").needs_plan());
}

#[test]
fn calls_behind_an_escaped_quote_are_seen() {
    let mut lexer = Lexer::default();
    let escaping = Settings { standard_conforming_strings: false };
    let lexed = lexer.scan(br"select '\'', set_config('work_mem', '1234kB', false) --'", escaping).unwrap();
    assert!(Effect::of(lexed).touches.has(State::SETTINGS), "{}", String::from_utf8_lossy(lexed.normalised()));
}
