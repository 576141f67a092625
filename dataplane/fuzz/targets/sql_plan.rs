//! A plan of any bytes is taken or refused; one that is taken routes and splices without harm.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sql::{Lexer, Plan, Rules, Settings, Values};

const STATEMENT: &[u8] = b"SELECT id, sum(amount) FROM orders WHERE customer_id = 7 AND note = 'x' ORDER BY id LIMIT 10";

fuzz_target!(|body: &[u8]| {
    let Ok(rules) = Rules::compile(None, &["s0".into(), "s1".into(), "s2".into()]) else { return };
    let Ok(plan) = Plan::decode(body, &rules) else { return };
    let mut lexer = Lexer::default();
    let Ok(lexed) = lexer.scan(STATEMENT, Settings::default()) else { return };
    let values = Values { sql: STATEMENT, lexed, parameters: &[], utf8: true };
    let _ = plan.target(&rules, &values);
    plan.text(lexed, STATEMENT, &mut Vec::new());
    assert!(plan.bytes() > 0);
});
