//! The words that the admin database understands.

use super::table::{Column, Merge};
use crate::error::Error;

const KEY: Merge = Merge::Key;
const SUM: Merge = Merge::Sum;
const MAX: Merge = Merge::Max;

const fn text(name: &'static str) -> Column {
    Column { name, is_number: false, merge: KEY }
}

const fn number(name: &'static str, merge: Merge) -> Column {
    Column { name, is_number: true, merge }
}

/// What can be shown. Columns are called as PgBouncer calls them, where they mean the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topic {
    Pools,
    Clients,
    Servers,
    Stats,
    Databases,
    Lists,
    Config,
    Version,
    Help,
}

const POOLS: &[Column] = &[
    text("database"),
    text("user"),
    text("shard"),
    number("cl_active", SUM),
    number("cl_waiting", SUM),
    number("sv_active", SUM),
    number("sv_active_cancel", SUM),
    number("sv_being_canceled", SUM),
    number("sv_idle", SUM),
    number("sv_tested", SUM),
    number("sv_login", SUM),
    number("maxwait", MAX),
    number("maxwait_us", MAX),
    text("pool_mode"),
];

const CLIENTS: &[Column] = &[
    text("type"),
    text("user"),
    text("database"),
    text("listener"),
    text("state"),
    text("addr"),
    number("port", KEY),
    text("local_addr"),
    number("local_port", KEY),
    number("connected_s", KEY),
    number("wait", KEY),
    number("wait_us", KEY),
    text("id"),
    text("link"),
    number("remote_pid", KEY),
    text("tls"),
    text("application_name"),
    number("prepared_statements", KEY),
    text("pinned"),
];

const SERVERS: &[Column] = &[
    text("type"),
    text("user"),
    text("database"),
    text("shard"),
    text("state"),
    text("addr"),
    number("port", KEY),
    text("local_addr"),
    number("local_port", KEY),
    number("connected_s", KEY),
    text("id"),
    text("link"),
    number("remote_pid", KEY),
    text("tls"),
    number("prepared_statements", KEY),
];

const STATS: &[Column] = &[
    text("database"),
    number("total_server_assignment_count", SUM),
    number("total_xact_count", SUM),
    number("total_query_count", SUM),
    number("total_received", SUM),
    number("total_sent", SUM),
    number("total_xact_time", SUM),
    number("total_query_time", SUM),
    number("total_wait_time", SUM),
    number("avg_server_assignment_count", SUM),
    number("avg_xact_count", SUM),
    number("avg_query_count", SUM),
    number("avg_recv", SUM),
    number("avg_sent", SUM),
    number("avg_xact_time", SUM),
    number("avg_query_time", SUM),
    number("avg_wait_time", SUM),
    number("avg_period", MAX),
];

const DATABASES: &[Column] = &[
    text("name"),
    text("shard"),
    text("host"),
    number("port", KEY),
    text("database"),
    text("force_user"),
    number("pool_size", KEY),
    number("min_pool_size", KEY),
    number("reserve_pool_size", KEY),
    number("server_lifetime", KEY),
    text("pool_mode"),
    number("max_connections", KEY),
    number("current_connections", SUM),
    number("max_client_connections", KEY),
    number("current_client_connections", MAX),
    number("paused", MAX),
];

const LEFT: &[Column] = &[number("left", SUM)];
const LISTS: &[Column] = &[text("list"), number("items", SUM)];
const CONFIG: &[Column] = &[text("key"), text("value"), text("default"), text("changeable")];
const VERSION: &[Column] = &[text("version")];
const HELP: &[Column] = &[text("command"), text("shows")];

impl Topic {
    /// All, with what they are called and what they show.
    pub const ALL: [(Topic, &'static str, &'static str); 9] = [
        (Topic::Pools, "POOLS", "each pool of server connections: clients and servers by state, the longest wait"),
        (Topic::Clients, "CLIENTS", "each client connection"),
        (Topic::Servers, "SERVERS", "each server connection"),
        (
            Topic::Stats,
            "STATS",
            "what was done for each Database since the sidecar started, and on average in the last minute; times in microseconds",
        ),
        (Topic::Databases, "DATABASES", "where each Database is, its sizes and limits"),
        (Topic::Lists, "LISTS", "how many there are of what"),
        (Topic::Config, "CONFIG", "the settings of pools and listeners"),
        (Topic::Version, "VERSION", "the version of Midstream"),
        (Topic::Help, "HELP", "this"),
    ];

    /// Its columns.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Topic::Pools => POOLS,
            Topic::Clients => CLIENTS,
            Topic::Servers => SERVERS,
            Topic::Stats => STATS,
            Topic::Databases => DATABASES,
            Topic::Lists => LISTS,
            Topic::Config => CONFIG,
            Topic::Version => VERSION,
            Topic::Help => HELP,
        }
    }

    /// Whether every worker knows all of it.
    pub fn is_local(self) -> bool {
        matches!(self, Topic::Config | Topic::Version | Topic::Help)
    }

    /// For the mail between workers.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// See [`Topic::number`].
    pub fn of_number(number: u8) -> Option<Topic> {
        Topic::ALL.into_iter().map(|(topic, ..)| topic).find(|topic| topic.number() == number)
    }
}

/// A statement of an admin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Nothing.
    Empty,
    /// `SHOW topic`.
    Show(Topic),
    /// `PAUSE [database]` and the like.
    Order(Order, String),
}

/// What can be ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Clients wait, server connections are closed when they are free; done when all are.
    Pause,
    /// Clients wait no more.
    Resume,
    /// Clients are ended; those that come wait.
    Kill,
    /// Server connections are closed when they are free, and opened anew.
    Reconnect,
    /// Done when all those are.
    WaitClose,
}

impl Order {
    /// All, with what they are called and what they do.
    pub const ALL: [(Order, &'static str, &'static str); 5] = [
        (Order::Pause, "PAUSE", "new transactions wait; ends when those under way have ended, and all server connections are closed"),
        (Order::Resume, "RESUME", "after PAUSE or KILL"),
        (Order::Kill, "KILL", "ends all clients and server connections; new clients wait for RESUME"),
        (Order::Reconnect, "RECONNECT", "closes the server connections when they are free, and opens new ones"),
        (Order::WaitClose, "WAIT_CLOSE", "ends when the server connections that RECONNECT meant are closed"),
    ];

    /// For the mail between workers.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// See [`Order::number`].
    pub fn of_number(number: u8) -> Option<Order> {
        Order::ALL.into_iter().map(|(order, ..)| order).find(|order| order.number() == number)
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        Order::ALL.into_iter().find(|(order, ..)| *order == self).map_or("", |(_, name, _)| name)
    }
}

impl Command {
    /// Reads a statement.
    ///
    /// # Errors
    /// It is none of them; the error names those that there are.
    pub fn read(sql: &str) -> Result<Command, Error> {
        let sql = sql.trim().trim_end_matches(';').trim();
        let mut words = sql.split_ascii_whitespace();
        let verb = words.next().unwrap_or_default().to_ascii_uppercase();
        let (object, more) = (words.next(), words.next());
        match (verb.as_str(), object, more) {
            ("", ..) => Ok(Command::Empty),
            ("SHOW", Some(what), None) => show(what),
            ("SUSPEND" | "ENABLE" | "DISABLE" | "RELOAD" | "SHUTDOWN" | "KILL_CLIENT" | "SET", ..) => {
                Err(Error::statement("0A000", format!("{verb} is not supported by Midstream's admin database"))
                    .hint("Objects are changed with midstream apply, or in the sidecar's files; SIGTERM drains a sidecar."))
            }
            (verb, database, None) if let Some((order, ..)) = Order::ALL.into_iter().find(|(_, name, _)| *name == verb) => {
                Ok(Command::Order(order, database.unwrap_or_default().trim_matches('"').into()))
            }
            _ => Err(Error::statement("42601", "invalid command").detail("This is Midstream's admin database.").hint("Use SHOW HELP.")),
        }
    }

    /// The columns of its rows; none where it has no rows.
    pub fn columns(&self) -> &'static [Column] {
        if let Command::Show(topic) = self { topic.columns() } else { &[] }
    }

    /// The same between workers, who tell each other how much is left of an order.
    pub fn columns_of_workers(&self) -> &'static [Column] {
        if let Command::Order(..) = self { LEFT } else { self.columns() }
    }

    /// The tag of its CommandComplete.
    pub fn tag(&self) -> &'static str {
        match self {
            Command::Empty => "",
            Command::Show(_) => "SHOW",
            Command::Order(order, _) => order.name(),
        }
    }
}

fn show(what: &str) -> Result<Command, Error> {
    let found = Topic::ALL.into_iter().find(|(_, name, _)| name.eq_ignore_ascii_case(what));
    let unknown = || {
        let known: Vec<&str> = Topic::ALL.iter().map(|(_, name, _)| *name).collect();
        Error::statement("42704", format!("there is nothing to SHOW that is called {}", what.escape_debug()))
            .hint(format!("There are: {}.", known.join(", ")))
    };
    found.map(|(topic, ..)| Command::Show(topic)).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_people_write_them() {
        assert_eq!(Command::read(" show pools ;").unwrap(), Command::Show(Topic::Pools));
        assert_eq!(Command::read("RECONNECT \"shop\"").unwrap(), Command::Order(Order::Reconnect, "shop".into()));
        assert_eq!(Command::read("pause").unwrap(), Command::Order(Order::Pause, String::new()));
        assert_eq!(Command::read("wait_close shop;").unwrap(), Command::Order(Order::WaitClose, "shop".into()));
        assert_eq!(Command::read(";").unwrap(), Command::Empty);
        for (sql, code) in [("SUSPEND", "0A000"), ("PAUSE a b", "42601"), ("SHOW nosuch", "42704"), ("SELECT 1", "42601"), ("SHOW", "42601")] {
            assert_eq!(Command::read(sql).unwrap_err().code, code, "{sql}");
        }
    }

    #[test]
    fn topics_have_numbers() {
        for (topic, ..) in Topic::ALL {
            assert_eq!(Topic::of_number(topic.number()), Some(topic));
        }
    }
}
