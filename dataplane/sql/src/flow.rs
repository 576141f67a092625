//! The flow table of a worker: statements that were planned once run natively ever after.
//!
//! The key is the fingerprint and everything else that planning depends on. The rules' version is not in it: a worker clears the table
//! when a new configuration comes.

use crate::effect::Effect;
use crate::lexer::{Lexed, SlotKind};
use crate::plan::Plan;
use crate::refusal::Refusal;
use config::proto::midstream::sql::v1::{self as proto, slot::Kind};
use hashbrown::HashMap;
use prost::Message;
use std::rc::Rc;
use xxhash_rust::xxh3::xxh3_128;

/// Longer statements are not sent to the planner: 256 KiB of normalised text are some 10,000 values, about 0.1 s of parsing.
pub const MAX_QUESTION: usize = 256 * 1024;

/// What a statement shape means on a listener, for a user.
#[derive(Debug)]
pub struct Flow {
    /// Where it goes.
    pub plan: Plan,
    /// What it does to its session.
    pub effect: Effect,
    /// What the filters decided of it once.
    pub filter: wire::Flow,
}

/// The part of the key that a session has: computed when it changes, not per statement.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Context(u128);

impl Context {
    /// Of everything that planning and filters depend on besides the statement, in a fixed order: listener, database, identity,
    /// search_path, client_encoding, standard_conforming_strings.
    pub fn of(parts: &[&[u8]]) -> Context {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        Context(xxh3_128(&bytes))
    }
}

/// Of one flow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FlowKey(u128);

impl FlowKey {
    /// `parameter_types` as declared in Parse (0: not declared); empty in the simple protocol. Trailing zeros count as not there.
    pub fn new(fingerprint: u128, context: Context, parameter_types: &[u32]) -> FlowKey {
        let declared = parameter_types.iter().rposition(|oid| *oid != 0).map_or(0, |last| last + 1);
        let mut buffer = [0u8; 32];
        buffer[..16].copy_from_slice(&fingerprint.to_le_bytes());
        buffer[16..].copy_from_slice(&context.0.to_le_bytes());
        if declared == 0 {
            return FlowKey(xxh3_128(&buffer));
        }
        let types = parameter_types[..declared].iter().flat_map(|oid| oid.to_le_bytes());
        FlowKey(xxh3_128(&buffer.into_iter().chain(types).collect::<Vec<u8>>()))
    }
}

struct Entry {
    key: FlowKey,
    flow: Rc<Flow>,
    bytes: usize,
    /// Used since the hand last passed.
    used: bool,
}

/// Bounded in bytes; what has not been used since the clock's hand last passed goes first.
pub struct FlowTable {
    index: HashMap<FlowKey, usize>,
    entries: Vec<Entry>,
    hand: usize,
    bytes: usize,
    budget: usize,
}

impl FlowTable {
    /// A table that holds at most about `budget` bytes.
    pub fn new(budget: usize) -> FlowTable {
        FlowTable { index: HashMap::new(), entries: Vec::new(), hand: 0, bytes: 0, budget }
    }

    /// The flow of a statement shape.
    pub fn get(&mut self, key: FlowKey) -> Option<&Rc<Flow>> {
        let entry = self.entries.get_mut(*self.index.get(&key)?)?;
        entry.used = true;
        Some(&entry.flow)
    }

    /// Keeps a flow; others make room. One that is larger than the whole budget is not kept.
    pub fn insert(&mut self, key: FlowKey, flow: Rc<Flow>) {
        let bytes = flow.plan.bytes() + size_of::<Flow>() + 2 * size_of::<Entry>();
        self.remove(key);
        if bytes > self.budget {
            return;
        }
        while self.bytes + bytes > self.budget && !self.entries.is_empty() {
            self.evict();
        }
        self.index.insert(key, self.entries.len());
        self.entries.push(Entry { key, flow, bytes, used: false });
        self.bytes += bytes;
    }

    /// Forgets everything: the rules changed.
    pub fn clear(&mut self) {
        self.index.clear();
        self.entries.clear();
        (self.hand, self.bytes) = (0, 0);
    }

    /// How many flows there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// About how many bytes they hold.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn evict(&mut self) {
        loop {
            self.hand = if self.hand < self.entries.len() { self.hand } else { 0 };
            let Some(entry) = self.entries.get_mut(self.hand) else { return };
            if !std::mem::take(&mut entry.used) {
                let key = entry.key;
                return self.remove(key);
            }
            self.hand += 1;
        }
    }

    fn remove(&mut self, key: FlowKey) {
        let Some(at) = self.index.remove(&key) else { return };
        let gone = self.entries.swap_remove(at);
        self.bytes -= gone.bytes;
        if let Some(moved) = self.entries.get(at) {
            self.index.insert(moved.key, at);
        }
    }
}

/// What the planner has to know besides the statement.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The Database resource.
    pub database: &'a str,
    /// Of the configuration in force.
    pub rules_version: &'a str,
    /// The client's user.
    pub user: &'a str,
    /// The session's search_path; empty: the server's default.
    pub search_path: &'a str,
    /// As declared in Parse.
    pub parameter_types: &'a [u32],
}

/// The body of the upcall "plan": a PlanRequest.
///
/// # Errors
/// 54000: the statement is too long to be planned. 22021: it is not UTF-8.
pub fn question(lexed: &Lexed, ask: &Ask<'_>) -> Result<Vec<u8>, Refusal> {
    if lexed.normalised().len() > MAX_QUESTION {
        let message = format!("the statement has {} bytes without its values; up to {MAX_QUESTION} can be planned", lexed.normalised().len());
        return Err(Refusal::new("54000", message, "send it in smaller parts, or pass the values as one array parameter"));
    }
    let sql = std::str::from_utf8(lexed.normalised())
        .map_err(|_| Refusal::new("22021", "the statement is not UTF-8", "set client_encoding to UTF8, or keep its text to ASCII"))?;
    let request = proto::PlanRequest {
        engine: proto::Engine::Postgres.into(),
        database: ask.database.into(),
        rules_version: ask.rules_version.into(),
        user: ask.user.into(),
        search_path: ask.search_path.into(),
        sql: sql.into(),
        slots: lexed.slots().iter().map(|slot| describe(slot, ask.parameter_types)).collect(),
    };
    Ok(request.encode_to_vec())
}

fn describe(slot: &crate::lexer::Slot, parameter_types: &[u32]) -> proto::Slot {
    let (kind, parameter, type_oid) = match slot.kind {
        SlotKind::String { .. } => (Kind::LiteralString, 0, 0),
        SlotKind::Number => (Kind::LiteralNumber, 0, slot.type_oid),
        SlotKind::Bits => (Kind::LiteralBytes, 0, slot.type_oid),
        SlotKind::Parameter(n) => {
            let declared = usize::from(n).checked_sub(1).and_then(|index| parameter_types.get(index));
            (Kind::Parameter, u32::from(n), declared.copied().unwrap_or(0))
        }
    };
    proto::Slot { kind: kind.into(), parameter, type_oid }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::Lexer;
    use wire::Class;

    fn flow(proof: &str) -> Rc<Flow> {
        let mut lexer = Lexer::default();
        let effect = Effect::of(lexer.scan(b"select 1", Default::default()).unwrap());
        let mut plan = Plan::home(Class::Read, "SELECT");
        plan.proof = proof.into();
        Rc::new(Flow { plan, effect, filter: wire::Flow::default() })
    }

    #[test]
    fn the_table_stays_in_its_budget_and_keeps_what_is_used() {
        let mut table = FlowTable::new(64 * 1024);
        let context = Context::of(&[b"shop"]);
        let hot = FlowKey::new(0, context, &[]);
        table.insert(hot, flow("hot"));
        for fingerprint in 1..10_000u128 {
            table.insert(FlowKey::new(fingerprint, context, &[]), flow("cold"));
            assert_eq!(table.get(hot).unwrap().plan.proof, "hot");
            assert!(table.bytes() <= 64 * 1024);
        }
        assert!(table.len() > 10);
        table.insert(hot, flow(&"x".repeat(100_000)));
        assert!(table.get(hot).is_none(), "larger than the budget");
        table.clear();
        assert_eq!((table.len(), table.bytes()), (0, 0));
    }

    #[test]
    fn keys_differ_by_all_that_planning_depends_on() {
        let context = Context::of(&[b"a", b"bc"]);
        let key = FlowKey::new(1, context, &[]);
        assert_eq!(key, FlowKey::new(1, context, &[0, 0]));
        assert_ne!(key, FlowKey::new(2, context, &[]));
        assert_ne!(key, FlowKey::new(1, context, &[0, 23]));
        assert_ne!(key, FlowKey::new(1, Context::of(&[b"ab", b"c"]), &[]));
    }
}
