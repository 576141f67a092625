//! Sizes, times and mode of a pool, from its resource.

use config::Invalid;
use config::proto::midstream::sql::v1 as proto;
use wire::pool::Limits;
use wire::{MILLIS, Nanos, Worker};

/// As PgBouncer's `default_pool_size`.
const DEFAULT_SIZE: u32 = 20;
/// Long enough for a failover that is under way, short enough that an application's own timeouts do not hide the reason.
const DEFAULT_WAIT_MS: u32 = 10_000;
/// As PgBouncer's `server_idle_timeout`.
const DEFAULT_IDLE_MS: u32 = 600_000;
/// As PgBouncer's `server_lifetime`.
const DEFAULT_LIFETIME_MS: u32 = 3_600_000;
/// Loopback and the same zone answer in milliseconds; a lost packet is sent again after one and three seconds.
const DEFAULT_CONNECT_MS: u32 = 5_000;
/// As PgBouncer's `reserve_pool_timeout`.
const DEFAULT_RESERVE_MS: u32 = 5_000;

/// When a server connection goes back to its pool.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Mode {
    /// When the transaction ends.
    #[default]
    Transaction,
    /// When the client ends.
    Session,
}

impl Mode {
    /// The word in objects and in the admin database.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Transaction => "transaction",
            Mode::Session => "session",
        }
    }
}

/// `midstream.sql.v1.Pool` with its defaults filled in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolConf {
    /// See [`Mode`].
    pub mode: Mode,
    /// Per process and shard.
    pub size: usize,
    /// Per process and shard.
    pub min: usize,
    /// Per process and shard.
    pub reserve: usize,
    /// See `wire::pool::Limits`.
    pub reserve_after: Nanos,
    /// See `wire::pool::Limits`.
    pub wait: Nanos,
    /// See `wire::pool::Limits`.
    pub idle: Nanos,
    /// See `wire::pool::Limits`.
    pub lifetime: Nanos,
    /// For connecting and logging in.
    pub connect: Nanos,
    /// Clients at most, per process; 0: any number.
    pub max_clients: usize,
}

impl PoolConf {
    /// From the resource.
    ///
    /// # Errors
    /// Its sizes contradict each other.
    pub fn new(pool: Option<&proto::Pool>) -> Result<PoolConf, Invalid> {
        let given = |value: fn(&proto::Pool) -> u32, default: u32| pool.map(value).filter(|value| *value > 0).unwrap_or(default);
        let ms = |value: fn(&proto::Pool) -> u32, default: u32| u64::from(given(value, default)) * MILLIS;
        // Here 0 has a meaning of its own: never.
        let or_never = |value: fn(&proto::Pool) -> u32, default: u32| u64::from(pool.map_or(default, value)) * MILLIS;
        let is_session = pool.is_some_and(|pool| pool.mode() == proto::pool::Mode::Session);
        let conf = PoolConf {
            mode: if is_session { Mode::Session } else { Mode::Transaction },
            size: given(|pool| pool.size, DEFAULT_SIZE) as usize,
            min: given(|pool| pool.min_size, 0) as usize,
            reserve: given(|pool| pool.reserve_size, 0) as usize,
            reserve_after: ms(|pool| pool.reserve_timeout_ms, DEFAULT_RESERVE_MS),
            wait: ms(|pool| pool.wait_timeout_ms, DEFAULT_WAIT_MS),
            idle: or_never(|pool| pool.idle_timeout_ms, DEFAULT_IDLE_MS),
            lifetime: or_never(|pool| pool.max_lifetime_ms, DEFAULT_LIFETIME_MS),
            connect: ms(|pool| pool.connect_timeout_ms, DEFAULT_CONNECT_MS),
            max_clients: given(|pool| pool.max_clients, 0) as usize,
        };
        if conf.min > conf.size {
            return Err(Invalid::new("min_size", format!("is {}, more than the pool's size of {}; lower it", conf.min, conf.size)));
        }
        Ok(conf)
    }

    /// One worker's share.
    pub fn limits(&self, worker: &Worker) -> Limits {
        let share = |number| Limits::share(number, worker.index, worker.count);
        Limits {
            size: share(self.size),
            min: Limits::part(self.min, worker.index, worker.count),
            // A worker without any would keep waiting those whom chance gave to it.
            reserve: if self.reserve > 0 { share(self.reserve) } else { 0 },
            reserve_after: self.reserve_after,
            wait: self.wait,
            idle: self.idle,
            lifetime: self.lifetime,
        }
    }
}
