//! What a statement needs of sharded tables, gathered on one shard: the scripts that the connections run before the statement itself.
//!
//! The shard that gathers copies its own part into temporary tables and then takes the others' by COPY, all in one transaction that is never
//! committed: nothing of it outlives the statement. The others read in one snapshot each.

use crate::lexer::Lexed;
use crate::splice::expand;
use config::proto::midstream::sql::v1::Fragment;

/// Text travels, as types of one's own have other numbers on each server. In these settings what is written is read back as the same value,
/// whatever the reader's own settings are: numeric offsets and signs, all digits.
const EXACT: &[u8] =
    b"set local datestyle to iso; set local intervalstyle to postgres; set local extra_float_digits to 3; set local bytea_output to hex; ";

/// A statement's fragments as SQL for both sides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scripts {
    /// For the connection that gathers: it asks for CopyData once per fragment, in order, and ends inside of a transaction.
    pub gather: Vec<u8>,
    /// For the others: one COPY TO STDOUT per fragment, in the same order.
    pub give: Vec<u8>,
    /// How many fragments there are.
    pub count: usize,
}

/// The scripts for these fragments of a statement.
pub(crate) fn scripts(fragments: &[Fragment], lexed: &Lexed, sql: &[u8]) -> Scripts {
    let mut gather = b"begin isolation level repeatable read read write; ".to_vec();
    let mut give = [b"begin isolation level repeatable read read only; ", EXACT].concat();
    for fragment in fragments {
        let Fragment { relation, columns, name, condition, primary_key } = fragment;
        let mut rows = format!("select {columns} from {relation}").into_bytes();
        if !condition.is_empty() {
            rows.extend_from_slice(b" where ");
            expand(condition, lexed, sql, &mut rows);
        }
        gather.extend_from_slice(format!("create temporary table pg_temp.{name} on commit drop as ").as_bytes());
        gather.extend_from_slice(&rows);
        if !primary_key.is_empty() {
            gather.extend_from_slice(format!("; alter table pg_temp.{name} add primary key ({primary_key})").as_bytes());
        }
        gather.extend_from_slice(format!("; copy pg_temp.{name} ({columns}) from stdin; ").as_bytes());
        give.extend_from_slice(b"copy (");
        give.extend_from_slice(&rows);
        give.extend_from_slice(b") to stdout; ");
    }
    give.extend_from_slice(b"commit");
    Scripts { gather, give, count: fragments.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::Lexer;

    #[test]
    fn a_condition_has_the_clients_own_literals() {
        let fragment = Fragment {
            relation: "\"public\".\"orders\"".into(),
            columns: "\"id\", \"note\"".into(),
            name: "midstream_1".into(),
            condition: "\"note\" = :p1".into(),
            primary_key: String::new(),
        };
        let sql = "select avg(id) from orders where note = 'it''s'";
        let mut lexer = Lexer::default();
        let lexed = lexer.scan(sql.as_bytes(), Default::default()).unwrap();
        let scripts = scripts(&[fragment], lexed, sql.as_bytes());
        let gather = String::from_utf8(scripts.gather).unwrap();
        let rows = "select \"id\", \"note\" from \"public\".\"orders\" where \"note\" = 'it''s'";
        assert!(gather.contains(&format!("create temporary table pg_temp.midstream_1 on commit drop as {rows}; copy")), "{gather}");
        let give = String::from_utf8(scripts.give).unwrap();
        assert!(give.contains(&format!("copy ({rows}) to stdout; commit")), "{give}");
        assert!(give.contains("read only"), "{give}");
    }
}
