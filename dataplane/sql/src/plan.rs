//! A plan as the worker runs it, and where it sends one execution.

use crate::canonical::canonical;
use crate::fragments::{self, Scripts};
use crate::lexer::Lexed;
use crate::merge;
use crate::refusal::Refusal;
use crate::rules::{Placement, Rules, ShardId};
use crate::value::{Value, Values};
use crate::{array, splice};
use config::proto::midstream::sql::v1::{self as proto, KeyType, key_source, route};
use prost::Message;
use std::sync::Arc;
use wire::Class;

/// Where one execution goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// Any one shard gives the answer: the transaction's own if it is on one, otherwise home. The client's text goes untouched.
    Any,
    /// This shard; the client's text goes untouched.
    One(ShardId),
    /// These shards, two or more, in order: each gets [`Plan::text`], and [`Plan::merge`] makes one answer of theirs.
    Many(Vec<ShardId>),
}

/// What the planner proved of a statement, compiled against the rules.
#[derive(Clone, Debug)]
pub struct Plan {
    /// For the filters.
    pub class: Class,
    /// `SELECT`, `INSERT`, ...
    pub verb: String,
    /// The tables it names, for the filters.
    pub tables: Vec<String>,
    /// The rule by which the answer equals that of one database.
    pub proof: String,
    /// False: the answer holds for this once (the schema could not be read, a table is missing).
    pub cacheable: bool,
    /// Present when [`Target::Many`] is possible.
    pub merge: Option<Arc<merge::Spec>>,
    route: Route,
    splices: Vec<proto::Splice>,
    fragments: Vec<proto::Fragment>,
}

#[derive(Clone, Debug)]
enum Route {
    Home,
    All,
    Any,
    Refuse(Refusal),
    ByKey(ByKey),
}

#[derive(Clone, Debug)]
struct ByKey {
    table: String,
    placement: Arc<Placement>,
    keys: Vec<proto::KeySource>,
    key_type: KeyType,
    subset: bool,
    places: bool,
    max_chars: u32,
}

impl Plan {
    /// A statement that goes home and was not planned: the Database has no sharded tables, or the statement is the session's own affair.
    pub fn home(class: Class, verb: &str) -> Plan {
        Plan {
            class,
            verb: verb.into(),
            tables: Vec::new(),
            proof: "no table of this Database is sharded".into(),
            cacheable: true,
            merge: None,
            route: Route::Home,
            splices: Vec::new(),
            fragments: Vec::new(),
        }
    }

    /// Reads the planner's answer.
    ///
    /// # Errors
    /// 58000: it does not decode, or names what the rules do not have.
    pub fn decode(body: &[u8], rules: &Rules) -> Result<Plan, Refusal> {
        let plan = proto::Plan::decode(body).map_err(|error| malformed(&error.to_string()))?;
        let class = match plan.class() {
            proto::plan::Class::Read => Class::Read,
            proto::plan::Class::Write => Class::Write,
            proto::plan::Class::Admin | proto::plan::Class::Unspecified => Class::Admin,
        };
        let route = Route::compile(plan.route.and_then(|route| route.to), rules)?;
        let merge = plan.merge.map(merge::Spec::compile).transpose()?.map(Arc::new);
        let fans_out = match &route {
            Route::All => true,
            Route::ByKey(by_key) => by_key.subset,
            _ => false,
        };
        if fans_out && merge.is_none() {
            return Err(malformed("a route to several shards without a merge"));
        }
        splice::check(&plan.splices).map_err(malformed)?;
        let (verb, tables, proof, cacheable) = (plan.verb, plan.tables, plan.proof, plan.cacheable);
        Ok(Plan { class, verb, tables, proof, cacheable, merge, route, splices: plan.splices, fragments: plan.fragments })
    }

    /// Where this execution goes.
    ///
    /// # Errors
    /// The plan is a refusal, or a key's value is not provably on one shard.
    pub fn target(&self, rules: &Rules, values: &Values<'_>) -> Result<Target, Refusal> {
        match &self.route {
            Route::Home => Ok(Target::One(rules.home())),
            Route::Any => Ok(Target::Any),
            Route::All if rules.shards() == 1 => Ok(Target::One(0)),
            Route::All => Ok(Target::Many((0..rules.shards()).collect())),
            Route::Refuse(refusal) => Err(refusal.clone()),
            Route::ByKey(by_key) => by_key.target(values),
        }
    }

    /// The refusal, when the plan is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        if let Route::Refuse(refusal) = &self.route { Some(refusal) } else { None }
    }

    /// Appends the text that each shard of [`Target::Many`] gets: the client's own with the plan's splices.
    /// `sql` is the text that was scanned into `lexed`.
    pub fn text(&self, lexed: &Lexed, sql: &[u8], out: &mut Vec<u8>) {
        splice::apply(&self.splices, lexed, sql, out);
    }

    /// How the shards of [`Target::Many`] are brought together on the home shard, where [`Plan::text`] then runs alone; `None`: each shard
    /// runs it, and the merge makes one answer.
    pub fn scripts(&self, lexed: &Lexed, sql: &[u8]) -> Option<Scripts> {
        (!self.fragments.is_empty()).then(|| fragments::scripts(&self.fragments, lexed, sql))
    }

    /// Memory it holds, about, for budgets.
    pub fn bytes(&self) -> usize {
        let keys = if let Route::ByKey(by_key) = &self.route { by_key.keys.len() * size_of::<proto::KeySource>() } else { 0 };
        let texts = self.tables.iter().map(|table| table.len() + 24).sum::<usize>();
        size_of::<Plan>()
            + self.proof.len()
            + self.verb.len()
            + texts
            + keys
            + self.splices.len() * 64
            + self.fragments.iter().map(prost::Message::encoded_len).sum::<usize>()
    }
}

fn malformed(what: &str) -> Refusal {
    Refusal::new("58000", format!("the planner's answer is malformed: {what}"), "this is a defect of midstream; report it with the statement")
}

impl Route {
    fn compile(to: Option<route::To>, rules: &Rules) -> Result<Route, Refusal> {
        Ok(match to {
            Some(route::To::Home(_)) => Route::Home,
            Some(route::To::All(_)) => Route::All,
            Some(route::To::Any(_)) => Route::Any,
            Some(route::To::Refuse(refuse)) => Route::Refuse(refuse.into()),
            Some(route::To::ByKey(by_key)) => Route::ByKey(ByKey::compile(by_key, rules)?),
            None => return Err(malformed("no route")),
        })
    }
}

impl ByKey {
    fn compile(by_key: proto::ByKey, rules: &Rules) -> Result<ByKey, Refusal> {
        let placed = rules.table(&by_key.table).ok_or_else(|| malformed("it routes by a table that has no rule"))?;
        let placement = placed.placement.clone().ok_or_else(|| malformed("it routes by a reference table"))?;
        let key_type = if placed.key_type == KeyType::Unspecified { by_key.key_type() } else { placed.key_type };
        if key_type == KeyType::Unspecified || by_key.keys.is_empty() {
            return Err(malformed("it routes by a key without type or value"));
        }
        let (subset, places, max_chars) = (by_key.subset, by_key.places, by_key.max_chars);
        Ok(ByKey { table: by_key.table, placement, keys: by_key.keys, key_type, subset, places, max_chars })
    }

    fn target(&self, values: &Values<'_>) -> Result<Target, Refusal> {
        let mut shards: Vec<ShardId> = Vec::new();
        for key in &self.keys {
            if key.array {
                self.add_array(key, values, &mut shards)?;
            } else {
                let value = self.value(key, values);
                let canonical = canonical(value, self.key_type, key.type_oid, key.negated);
                self.add(canonical.ok_or_else(|| self.unproven())?.as_deref(), values, &mut shards)?;
            }
        }
        match shards.as_slice() {
            [] => Ok(Target::Any),
            [one] => Ok(Target::One(*one)),
            _ if self.subset => {
                shards.sort_unstable();
                Ok(Target::Many(shards))
            }
            _ => Err(self.spread(shards.len())),
        }
    }

    fn value<'a>(&'a self, key: &'a proto::KeySource, values: &Values<'a>) -> Value<'a> {
        match &key.source {
            Some(key_source::Source::Slot(slot)) => values.slot(*slot),
            Some(key_source::Source::Constant(text)) => Value::Text(text.as_bytes().into(), key.type_oid),
            None => Value::Opaque,
        }
    }

    fn add_array(&self, key: &proto::KeySource, values: &Values<'_>, shards: &mut Vec<ShardId>) -> Result<(), Refusal> {
        let value = self.value(key, values);
        let elements = array::elements(&value, self.key_type, key.type_oid).ok_or_else(|| self.unproven())?;
        for element in elements {
            self.add(element.as_deref(), values, shards)?;
        }
        Ok(())
    }

    fn add(&self, key: Option<&[u8]>, values: &Values<'_>, shards: &mut Vec<ShardId>) -> Result<(), Refusal> {
        let Some(bytes) = key else {
            // key = NULL matches no row; but a new row with a NULL key would lie nowhere.
            return if self.places { Err(self.null()) } else { Ok(()) };
        };
        if self.key_type == KeyType::Text && !(values.utf8 || bytes.is_ascii()) {
            return Err(self.unproven());
        }
        if self.places && self.max_chars > 0 && self.key_type == KeyType::Text && chars(bytes) > self.max_chars as usize {
            return Err(self.unproven());
        }
        let shard = self.placement.shard(bytes, self.key_type).ok_or_else(|| self.nowhere())?;
        if !shards.contains(&shard) {
            shards.push(shard);
        }
        Ok(())
    }

    fn unproven(&self) -> Refusal {
        let message = format!("sharding of {}: the key's value does not provably convert to the type of the key column", self.table);
        Refusal::unproven(message, "give the key as a plain value or parameter of the column's own type")
    }

    fn null(&self) -> Refusal {
        Refusal::unproven(format!("sharding of {}: a row with a NULL key has no shard", self.table), "give the row a key")
    }

    fn nowhere(&self) -> Refusal {
        Refusal::unproven(format!("sharding of {}: no range or list of the rule holds this key", self.table), "add it to the Sharding object")
    }

    fn spread(&self, shards: usize) -> Refusal {
        let message = format!("sharding of {}: the keys of this statement lie on {shards} shards", self.table);
        Refusal::unproven(message, "send one statement per key; writes on several shards need two-phase commit, which is not there yet")
    }
}

fn chars(text: &[u8]) -> usize {
    text.iter().filter(|byte| (**byte & 0xc0) != 0x80).count()
}

#[cfg(test)]
mod tests;
