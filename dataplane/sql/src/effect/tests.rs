use super::*;
use crate::lexer::Lexer;

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
fn what_stays_in_the_session() {
    for (sql, expected) in [
        ("set search_path to x", Session::Set { local: false }),
        ("set local a = 1", Session::Set { local: true }),
        ("set transaction read only", Session::Set { local: true }),
        ("reset all", Session::Reset),
        ("discard all", Session::Discard),
        ("deallocate x", Session::Deallocate),
        ("select 1", Session::None),
        ("select a from t where hold = 1", Session::None),
        ("prepare transaction 'x'", Session::None),
        ("create table temperature (a int)", Session::None),
        ("SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new", Session::None),
        ("select set_config('jit', 'off', false), set_config('search_path', 'x', false)", Session::Pins("set_config()")),
        ("select set_config($1, 'off', false)", Session::Pins("set_config()")),
        ("select pg_advisory_unlock_all()", Session::None),
        ("select lastval()", Session::Needs("a sequence's value in this session")),
    ] {
        assert_eq!(of(sql).session, expected, "{sql}");
    }
    for sql in [
        "listen x",
        "prepare x as select 1",
        "declare c cursor with hold for select 1",
        "create temp table x (a int)",
        "create local temporary table x (a int)",
        "select * into temp x from y",
        "select pg_advisory_lock(1)",
        "select set_config('a', 'b', false)",
        "with x as (select pg_try_advisory_lock(5)) select 1",
        "insert into pg_temp.x values (1)",
        "do $$ begin end $$",
        "select \"pg_advisory_lock\"(1)",
    ] {
        assert!(of(sql).pins().is_some(), "{sql}");
    }
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
