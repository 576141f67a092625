//! How many clients a database and each of its users have, over all workers of the process: `maxClients`.
//!
//! A client takes its seat when it has proven who it is, and gives it back when it ends. That is rare enough for a lock, which makes the
//! count exact; statements never come here.

use crate::conf::Database;
use crate::error::Error;
use hashbrown::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whose seats: a database's (no user), or those of one of its users.
type Whose = (Arc<str>, Option<Arc<str>>);
type Counts = HashMap<Whose, usize>;

/// The counts of a process, shared by its workers.
#[derive(Clone, Default)]
pub struct Seats(Arc<Mutex<Counts>>);

/// A client's seat; free again when it is dropped, however the client ended.
pub struct Seat {
    seats: Seats,
    whose: [Whose; 2],
}

impl Seats {
    /// A seat in `database` for `user`.
    ///
    /// # Errors
    /// All are taken; the error is for the client.
    pub fn take(&self, database: &Database, user: &str) -> Result<Seat, Error> {
        let whose = whose(database, user);
        let of_user = database.users.get(user).map_or(0, |pool| pool.max_clients);
        let mut counts = self.lock();
        for (whose, max) in whose.iter().zip([database.pool.max_clients, of_user]) {
            if max > 0 && counts.get(whose).copied().unwrap_or(0) >= max {
                return Err(full(&whose.0, whose.1.as_deref(), max));
            }
        }
        Ok(self.seat(&mut counts, whose))
    }

    /// The same for a client that is there already: limits are for those who come.
    pub fn keep(&self, database: &Database, user: &str) -> Seat {
        self.seat(&mut self.lock(), whose(database, user))
    }

    fn seat(&self, counts: &mut Counts, whose: [Whose; 2]) -> Seat {
        whose.iter().for_each(|whose| *counts.entry(whose.clone()).or_insert(0) += 1);
        Seat { seats: self.clone(), whose }
    }

    /// How many are taken.
    pub fn taken(&self, database: &Database) -> usize {
        self.lock().get(&(database.name.clone(), None)).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Whether it is one of that database.
    pub fn is_of(&self, database: &Database) -> bool {
        self.whose[0].0 == database.name
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.seats.lock();
        for whose in &self.whose {
            match counts.get_mut(whose).filter(|count| **count > 1) {
                Some(count) => *count -= 1,
                None => _ = counts.remove(whose),
            }
        }
    }
}

fn whose(database: &Database, user: &str) -> [Whose; 2] {
    [(database.name.clone(), None), (database.name.clone(), Some(user.into()))]
}

fn full(database: &str, user: Option<&str>, max: usize) -> Error {
    let (whom, field) = match user {
        Some(user) => (format!("user \"{user}\" of Database {database}"), "maxClients of the user's pool"),
        None => (format!("Database {database}"), "pool.maxClients"),
    };
    Error::fatal("53300", format!("too many connections for {whom}"))
        .detail(format!("This sidecar takes {max} of them ({field}), and has them."))
        .hint(format!("Close connections that are not used, or raise {field} in the Database."))
}
