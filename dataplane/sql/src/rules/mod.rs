//! Sharding rules, compiled: from a table's name and a key's canonical bytes to a shard.

mod placement;

pub use placement::BUCKETS;
pub(crate) use placement::Placement;

use config::Invalid;
use config::proto::midstream::sql::v1::{KeyType, Sharding, Table, table};
use hashbrown::HashMap;
use std::sync::Arc;

/// Index into `Database.shards`.
pub type ShardId = u16;

/// A table that has a rule.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    /// `None`: a reference table.
    pub placement: Option<Arc<Placement>>,
    /// Unspecified: the planner found it in the live schema.
    pub key_type: KeyType,
}

/// The rules of one Database under one configuration; immutable and shared by the workers.
#[derive(Clone, Debug)]
pub struct Rules {
    shards: ShardId,
    home: ShardId,
    gather_bytes: u64,
    tables: HashMap<String, Placed>,
}

impl Rules {
    /// Compiles the Sharding of a Database, or the rules of a Database that has none: everything is at home, on the first shard.
    ///
    /// # Errors
    /// What is wrong in the Sharding, by field: no or unknown shard, overlapping ranges, buckets left out, a colocation without target ...
    pub fn compile(sharding: Option<&Sharding>, shards: &[String]) -> Result<Rules, Vec<Invalid>> {
        let count = ShardId::try_from(shards.len()).map_err(|_| vec![Invalid::new("", format!("more than {} shards", ShardId::MAX))])?;
        if count == 0 {
            return Err(vec![Invalid::new("", "the Database has no shard; give it at least one")]);
        }
        let mut rules = Rules { shards: count, home: 0, gather_bytes: 0, tables: HashMap::new() };
        let Some(sharding) = sharding else { return Ok(rules) };
        rules.gather_bytes = sharding.gather_bytes;
        let names = Names { shards };
        let mut wrong = Vec::new();
        match names.find(&sharding.home, "home") {
            Ok(home) => rules.home = home,
            Err(_) if sharding.home.is_empty() => {}
            Err(invalid) => wrong.push(invalid),
        }
        for (index, table) in sharding.tables.iter().enumerate() {
            if let Err(invalid) = rules.place(table, sharding, &names) {
                wrong.push(invalid.within(&format!("tables[{index}]")));
            }
        }
        if wrong.is_empty() { Ok(rules) } else { Err(wrong) }
    }

    /// How many shards the Database has.
    pub fn shards(&self) -> ShardId {
        self.shards
    }

    /// The shard of what has no rule.
    pub fn home(&self) -> ShardId {
        self.home
    }

    /// What one statement may bring home from the other shards.
    pub fn gather_bytes(&self) -> u64 {
        self.gather_bytes
    }

    /// Whether any table has a rule. If none has, every statement goes home and needs a plan only for the filters' sake.
    pub fn is_sharded(&self) -> bool {
        !self.tables.is_empty()
    }

    pub(crate) fn table(&self, name: &str) -> Option<&Placed> {
        self.tables.get(name)
    }

    fn place(&mut self, table: &Table, sharding: &Sharding, names: &Names<'_>) -> Result<(), Invalid> {
        if table.name.is_empty() {
            return Err(Invalid::new("name", "a table needs a name"));
        }
        let (target, colocated) = colocation(table, sharding)?;
        let placement = match &target.placement {
            Some(table::Placement::Reference(_)) if colocated => {
                return Err(Invalid::new("colocate", format!("{} is a reference table, which has no key to colocate by", target.name)));
            }
            Some(table::Placement::Reference(_)) => None,
            Some(placement) => Some(Arc::new(self.placement(placement, target, names)?)),
            None => return Err(Invalid::new("", format!("{} has no placement; say hash, range, list, colocate or reference", table.name))),
        };
        if placement.is_some() && table.key.is_empty() {
            return Err(Invalid::new("key", format!("{} needs a key column", table.name)));
        }
        if colocated && table.key_type() != KeyType::Unspecified && table.key_type() != target.key_type() && target.key_type() != KeyType::Unspecified
        {
            return Err(Invalid::new("key_type", format!("differs from that of {}, with which the rows are to lie", target.name)));
        }
        let key_type = if table.key_type() == KeyType::Unspecified { target.key_type() } else { table.key_type() };
        let placed = Placed { placement, key_type };
        match self.tables.insert(table.name.clone(), placed) {
            None => Ok(()),
            Some(_) => Err(Invalid::new("name", format!("{} has a rule already", table.name))),
        }
    }

    fn placement(&self, placement: &table::Placement, table: &Table, names: &Names<'_>) -> Result<Placement, Invalid> {
        match placement {
            table::Placement::Hash(hash) => Placement::hash(hash, self.shards, names).map_err(|invalid| invalid.within("hash")),
            table::Placement::Range(range) => Placement::range(range, table.key_type(), names).map_err(|invalid| invalid.within("range")),
            table::Placement::List(list) => Placement::list(list, table.key_type(), names).map_err(|invalid| invalid.within("list")),
            table::Placement::Colocate(_) | table::Placement::Reference(_) => {
                Err(Invalid::new("colocate", format!("{} is no table with a key", table.name)))
            }
        }
    }
}

/// The table whose placement decides, and whether that is another one.
fn colocation<'a>(table: &'a Table, sharding: &'a Sharding) -> Result<(&'a Table, bool), Invalid> {
    let mut at = table;
    for _ in 0..=sharding.tables.len() {
        let Some(table::Placement::Colocate(colocate)) = &at.placement else {
            return Ok((at, !std::ptr::eq(at, table)));
        };
        let found = sharding.tables.iter().find(|other| other.name == colocate.table);
        at = found.ok_or_else(|| Invalid::new("colocate", format!("there is no rule for {}; add one or mend the name", colocate.table)))?;
    }
    Err(Invalid::new("colocate", format!("{} is colocated with itself", table.name)))
}

/// The shards' names, to look them up.
pub(crate) struct Names<'a> {
    shards: &'a [String],
}

impl Names<'_> {
    pub(crate) fn find(&self, name: &str, field: &str) -> Result<ShardId, Invalid> {
        let index = self.shards.iter().position(|shard| shard == name);
        let id = index.and_then(|index| ShardId::try_from(index).ok());
        id.ok_or_else(|| Invalid::new(field, format!("the Database has no shard {name:?}; it has {}", self.shards.join(", "))))
    }
}

#[cfg(test)]
mod tests;
