//! RedisMigrations as resources: what they make of the back ends and routes of listeners.

use super::{MigrationConf, Stage};
use crate::compile_routes::compresses;
use crate::conf::ClusterConf;
use crate::routes::{Route, Routes};
use config::proto::midstream::redis::v1::{RedisMigration, redis_migration};
use config::{Context, Invalid, Refusal};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The migrations of a set.
pub(crate) fn compile(context: &Context<'_>, usable: &BTreeSet<Arc<str>>) -> (Vec<Arc<MigrationConf>>, Vec<Refusal>) {
    let mut migrations: Vec<Arc<MigrationConf>> = Vec::new();
    let mut refusals = Vec::new();
    for entry in context.set.redis_migrations.values() {
        let one = not_compressed(context, &entry.value).and_then(|()| one(&entry.name, &entry.value, usable, &migrations));
        match one {
            Ok(migration) => migrations.push(Arc::new(migration)),
            Err(invalid) => refusals.push(entry.refuse(invalid)),
        }
    }
    (migrations, refusals)
}

/// Routes that compress know their back end by its name; its keys stay there.
fn not_compressed(context: &Context<'_>, value: &RedisMigration) -> Result<(), Invalid> {
    for (field, cluster) in [("from", &value.from), ("to", &value.to)] {
        if compresses(context, cluster) {
            return Err(Invalid::new(
                field,
                format!("a route compresses values of RedisCluster {cluster}, which cannot be moved; take the compression away"),
            ));
        }
    }
    Ok(())
}

fn one(name: &str, value: &RedisMigration, usable: &BTreeSet<Arc<str>>, others: &[Arc<MigrationConf>]) -> Result<MigrationConf, Invalid> {
    let back_end = |field: &'static str, name: &str| {
        usable
            .get(name)
            .cloned()
            .ok_or_else(|| Invalid::new(field, format!("there is no RedisCluster {name} that is in force; add it or mend the name")))
    };
    let (from, to) = (back_end("from", &value.from)?, back_end("to", &value.to)?);
    if from == to {
        return Err(Invalid::new("to", "is where the keys are; name another RedisCluster"));
    }
    for other in others {
        if let Some(both) = [&from, &to].into_iter().find(|cluster| [&other.from, &other.to].contains(cluster)) {
            let reason = format!("RedisCluster {both} is in RedisMigration {} already; one back end has one migration at a time", other.name);
            return Err(Invalid::new(if *both == from { "from" } else { "to" }, reason));
        }
    }
    let stage = match value.stage() {
        redis_migration::Stage::Prepared => Stage::Prepared,
        redis_migration::Stage::DualWrite => Stage::DualWrite,
        redis_migration::Stage::Fence => Stage::Fence,
        redis_migration::Stage::Switch => Stage::Switch,
        redis_migration::Stage::CutOver => Stage::CutOver,
        redis_migration::Stage::FenceBack => Stage::FenceBack,
        redis_migration::Stage::SwitchBack => Stage::SwitchBack,
        redis_migration::Stage::Done => Stage::Done,
    };
    let prefixes = value.prefixes.iter().map(|prefix| prefix.as_bytes().to_vec()).collect();
    Ok(MigrationConf { name: name.into(), from, to, prefixes, stage, epoch: value.epoch })
}

/// The back end and the routes of a listener, as far as migrations have moved them.
pub(crate) fn serve(migrations: &[Arc<MigrationConf>], own: &Arc<str>, routes: Option<Arc<Routes>>) -> (Arc<str>, Option<Arc<Routes>>) {
    let moved: Vec<&Arc<MigrationConf>> = migrations.iter().filter(|migration| migration.has_moved()).collect();
    if moved.is_empty() {
        return (Arc::clone(own), routes);
    }
    let whole = |cluster: &Arc<str>| {
        let migration = moved.iter().find(|migration| migration.from == *cluster && migration.prefixes.is_empty());
        Arc::clone(migration.map_or(cluster, |migration| &migration.to))
    };
    let before = routes.map_or_else(|| vec![Route::new(b"", None, own, false)], |routes| routes.all().to_vec());
    let mut after: Vec<Route> = Vec::with_capacity(before.len());
    for route in &before {
        let cluster = moved
            .iter()
            .find(|migration| migration.from == route.cluster && migration.prefixes.iter().any(|prefix| route.behind().starts_with(prefix)));
        let cluster = cluster.map_or_else(|| whole(&route.cluster), |migration| Arc::clone(&migration.to));
        after.push(Route::new(&route.prefix, route.rewrite.as_deref(), &cluster, route.scripts));
    }
    for (route, migration) in before.iter().flat_map(|route| moved.iter().map(move |migration| (route, migration))) {
        let within = migration.prefixes.iter().filter_map(|prefix| Some((prefix, prefix.strip_prefix(route.behind())?)));
        for (behind, rest) in within.filter(|(_, rest)| migration.from == route.cluster && !rest.is_empty()) {
            let front = [route.prefix.as_slice(), rest].concat();
            if !after.iter().any(|other| other.prefix == front) {
                after.push(Route::new(&front, Some(behind), &migration.to, route.scripts));
            }
        }
    }
    let own = whole(own);
    let is_plain = after.len() == 1 && after[0].rewrite.is_none() && after[0].prefix.is_empty() && after[0].cluster == own;
    let routes = (!is_plain).then(|| Arc::new(Routes::new(after, &own)));
    (own, routes)
}

/// A back end that was switched to is read on its masters until the migration is over: its replicas may have less than what clients of the
/// other one have seen.
pub(crate) fn settle_reads(migrations: &[Arc<MigrationConf>], clusters: &mut [Arc<ClusterConf>]) {
    let is_fresh = |migration: &&Arc<MigrationConf>| !matches!(migration.stage, Stage::Prepared | Stage::DualWrite | Stage::Fence | Stage::Done);
    for migration in migrations.iter().filter(is_fresh) {
        for cluster in clusters.iter_mut().filter(|cluster| cluster.name == *migration.serving() && cluster.reads.is_some()) {
            let mut masters = (**cluster).clone();
            masters.reads = None;
            *cluster = Arc::new(masters);
        }
    }
}
