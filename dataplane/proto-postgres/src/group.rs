//! Which pools there are: one per database, shard and, where users have pools of their own, user.

use crate::backend::Backend;
use crate::conf::Database;
use crate::failover::Seek;
use crate::machine::Postgres;
use crate::meter::PoolMeter;
use hashbrown::HashMap;
use sql::ShardId;
use std::rc::Rc;
use std::sync::Arc;
use wire::Io;
use wire::pool::Pool;

/// Groups of pools beyond which those of users who are gone are given up: user names come from clients, and each has pools of its own
/// where the Database has no credentials.
const MAX_GROUPS: usize = 256;

impl Postgres {
    /// The pools of a database for a user, by shard; made when they are first asked for.
    pub(crate) fn group(&mut self, database: &Arc<Database>, user: &str) -> Rc<[usize]> {
        let owner: Rc<str> = database.owner(user).into();
        let key = (database.name.clone(), owner.clone());
        if let Some(group) = self.groups.get(&key) {
            return group.clone();
        }
        if self.groups.len() >= MAX_GROUPS {
            self.forget_groups();
        }
        let group: Rc<[usize]> =
            (0..database.shards.len()).map(|shard| self.add_backend(database, shard as ShardId, &owner, Seek::default())).collect();
        group.iter().for_each(|index| self.add_replicas(*index));
        self.groups.insert(key, group.clone());
        group
    }

    /// Gives up the pools that no client is of and that have no connection.
    fn forget_groups(&mut self) {
        let backends = &mut self.backends;
        self.groups.retain(|_, group| {
            let replicas = group.iter().filter_map(|index| backends.get(*index)).flat_map(|one| one.replicas.clone());
            let pools: Vec<usize> = group.iter().copied().chain(replicas).collect();
            let is_used = Rc::strong_count(group) > 1 || pools.iter().any(|index| backends.get(*index).is_some_and(|one| !one.pool.is_empty()));
            if !is_used {
                pools.iter().for_each(|index| backends[*index].is_retired = true);
            }
            is_used
        });
    }

    /// The pools of a shard's servers that reads may go to, one each; those that are there already stay.
    pub(crate) fn add_replicas(&mut self, index: usize) {
        let Some(backend) = self.backends.get(index).filter(|backend| !backend.is_replica() && !backend.is_retired) else { return };
        let (database, shard, user) = (backend.database.clone(), backend.shard, backend.user.clone());
        let targets = database.shards.get(usize::from(shard)).map(|shard| &shard.targets).filter(|_| database.reads.is_some());
        let mut replicas = Vec::new();
        for target in targets.into_iter().flatten() {
            let place = target.place();
            let is_it = |one: &Backend| {
                let is_same = one.database.name == database.name && one.shard == shard && one.user == user;
                is_same && one.is_replica() && !one.is_retired && one.place() == Some(&place)
            };
            let known = self.backends.iter().position(is_it);
            replicas.push(known.unwrap_or_else(|| self.add_backend(&database, shard, &user, Seek::only(target))));
        }
        if let Some(backend) = self.backends.get_mut(index) {
            backend.replicas = replicas;
        }
    }

    fn add_backend(&mut self, database: &Arc<Database>, shard: ShardId, user: &Rc<str>, seek: Seek) -> usize {
        let shard_name = database.shards.get(usize::from(shard)).map_or("", |shard| &shard.name);
        // Names that clients made up are no names of metrics: those pools are counted together.
        let of_user = if database.users.contains_key(&**user) { format!("/{user}") } else { String::new() };
        let name = format!("{}/{shard_name}{of_user}", database.name);
        let [a, b, c, d, e, f, g, h, ..] = self.entropy.derive(b"pool", name.as_bytes());
        let mut backend = Backend {
            database: database.clone(),
            shard,
            user: user.clone(),
            pool: Pool::new(database.pool_of(user).limits(&self.worker), u64::from_be_bytes([a, b, c, d, e, f, g, h])),
            alarm: u64::MAX,
            seek,
            last_error: String::new(),
            welcomes: HashMap::new(),
            harmless: Default::default(),
            is_retired: false,
            samples: Default::default(),
            replicas: Vec::new(),
            pace: Default::default(),
            received: 0,
            meter: PoolMeter::new(&self.worker.metrics, &name),
        };
        if self.paused.contains(&database.name) {
            backend.pool.pause();
        }
        let free = self.backends.iter().position(|backend| backend.is_retired && backend.pool.is_empty());
        match free {
            Some(index) => {
                self.backends[index] = backend;
                index
            }
            None => {
                self.backends.push(backend);
                self.backends.len() - 1
            }
        }
    }

    /// Makes the pools that are to have connections before a client comes. Where clients' own names are used, nobody is known yet.
    pub(crate) fn warm(&mut self, io: &mut dyn Io) {
        let databases: Vec<_> = self.conf.listeners.values().map(|listener| listener.database.clone()).collect();
        for database in databases.iter().filter(|database| database.credentials.is_some()) {
            let own = database.users.iter().map(|(user, pool)| (user.as_str(), pool));
            for (user, _) in own.chain([("", &database.pool)]).filter(|(_, pool)| pool.min > 0) {
                let group = self.group(database, user);
                group.iter().for_each(|index| self.pump(io, *index));
            }
        }
    }
}
