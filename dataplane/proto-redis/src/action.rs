//! What Midstream does with each command: decided once per row of the table, from the server's own flags and tips, with the exceptions
//! listed here.

use crate::admin::Admin;
use crate::packing::Shape;
use crate::table::Command;
use wire::Class;

/// How the replies of the parts of one command become one reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Merge {
    /// Arrays of one element each, in order (MGET).
    Elements,
    /// Arrays of any length, one after the other (KEYS).
    Concat,
    /// Arrays of strings, each string once (PUBSUB CHANNELS).
    Union,
    /// Arrays of a string and a number in turn, the numbers added up (PUBSUB NUMSUB).
    Counts,
    /// The sum of integers.
    Sum,
    /// The highest of integers (PUBSUB NUMPAT: patterns are subscribed to on every master).
    Highest,
    /// Element by element, the smaller integer (SCRIPT EXISTS: loaded everywhere).
    And,
    /// All the same: the first reply.
    Same,
    /// The first that is not null (RANDOMKEY).
    NotNull,
    /// The first that is no error (SCRIPT KILL: the script runs on one of them).
    Succeeded,
    /// INFO of one server.
    Info,
    /// LATENCY HISTOGRAM of one server.
    Latencies,
    /// With the values of a route with compression unpacked.
    Unpacked(Shape),
}

/// What we do with a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// To the node of its keys.
    Keyed,
    /// A part for each group of that many words from word 1 on, each to the node of its key, unless all are in one slot.
    Split(Merge, usize),
    /// To every master.
    Everywhere(Merge),
    /// To any master.
    Anywhere,
    /// On a connection of its own, to the node of its keys.
    Blocking,
    /// On a connection of its own while the words STREAMS and BLOCK are both there (XREAD, XREADGROUP); else like `Keyed`.
    MayBlock,
    /// Subscriptions, on connections of the client's own.
    Subscribe,
    /// Like `Keyed`, unless patterns lead it to other keys.
    Sort,
    /// A message, to the node where subscriptions are.
    Publish,
    /// The cursor walks all masters.
    Scan,
    /// MULTI, EXEC, DISCARD, WATCH, UNWATCH.
    Transaction,
    /// On every master, on connections of its own.
    WaitForReplicas,
    /// Shows what clients of this sidecar's listener ask.
    Monitor,
    /// About the clients of the listener, on all workers.
    Clients,
    /// On all nodes, where the back end's `admin` says so ([`crate::admin`]).
    Admin(Admin),
    /// The newest entries of what the masters log.
    Newest,
    /// Answered here.
    Local,
    /// Never: why.
    Refused(&'static str),
}

pub(crate) const SYSTEM: &str = "it would act on one node of the cluster behind Midstream; talk to that node directly";
const REPLICATION: &str = "it makes the connection a replica's, which cannot be shared";
const PINNED: &str = "it depends on what this very connection wrote to a node, and connections are shared here";

/// Names answered here, parents with all their subcommands included.
const LOCAL: &[&str] = &[
    "auth",
    "hello",
    "ping",
    "echo",
    "quit",
    "reset",
    "select",
    "client",
    "command",
    "cluster",
    "readonly",
    "readwrite",
    "asking",
    "acl",
    "role",
    "debug",
    "replicaof",
    "slaveof",
];

/// Their subcommands that any node answers as well as we could.
const OF_ANY_NODE: &[&str] = &["client|help", "command|help", "command|getkeysandflags", "acl|help", "acl|cat", "acl|genpass"];

/// What is done with the command.
pub fn action_of(command: &Command) -> Action {
    let parent = command.name.split('|').next().unwrap_or_default();
    if OF_ANY_NODE.contains(&command.name) {
        return Action::Anywhere;
    }
    match command.name {
        "acl|whoami" => return Action::Local,
        "client|list" | "client|kill" | "client|unblock" | "client|pause" | "client|unpause" => return Action::Clients,
        "client|import-source" => return Action::Refused(SYSTEM),
        "acl|setuser" | "acl|load" | "acl|save" => return Action::Admin(Admin::EveryNode(Merge::Same)),
        "acl|deluser" => return Action::Admin(Admin::EveryNode(Merge::Highest)),
        "acl|log" => return Action::Admin(Admin::Log),
        _ if command.name.starts_with("acl|") => return Action::Admin(Admin::Any),
        _ if LOCAL.contains(&parent) => return Action::Local,
        _ => {}
    }
    match command.name {
        "multi" | "exec" | "discard" | "watch" | "unwatch" => Action::Transaction,
        "mget" => Action::Split(Merge::Elements, 1),
        "mset" => Action::Split(Merge::Same, 2),
        "del" | "exists" | "unlink" | "touch" => Action::Split(Merge::Sum, 1),
        "scan" => Action::Scan,
        "keys" => Action::Everywhere(Merge::Concat),
        "pubsub|numsub" | "pubsub|shardnumsub" => Action::Everywhere(Merge::Counts),
        "pubsub|channels" | "pubsub|shardchannels" => Action::Everywhere(Merge::Union),
        "dbsize" | "slowlog|len" | "commandlog|len" | "latency|reset" => Action::Everywhere(Merge::Sum),
        "pubsub|numpat" => Action::Everywhere(Merge::Highest),
        "config|set" | "config|rewrite" => Action::Admin(Admin::EveryNode(Merge::Same)),
        "slowlog|get" | "commandlog|get" => Action::Newest,
        "latency|history" | "latency|latest" => Action::Everywhere(Merge::Concat),
        "slowlog|reset" | "commandlog|reset" | "config|resetstat" | "memory|purge" | "bgsave" | "bgrewriteaof" => Action::Everywhere(Merge::Same),
        "script|kill" | "function|kill" => Action::Everywhere(Merge::Succeeded),
        "script|debug" => Action::Refused(PINNED),
        "info" => Action::Everywhere(Merge::Info),
        "randomkey" => Action::Everywhere(Merge::NotNull),
        "script|exists" => Action::Everywhere(Merge::And),
        "flushall" | "flushdb" | "script|load" | "script|flush" | "function|load" | "function|delete" | "function|flush" | "function|restore" => {
            Action::Everywhere(Merge::Same)
        }
        "subscribe" | "unsubscribe" | "psubscribe" | "punsubscribe" | "ssubscribe" | "sunsubscribe" => Action::Subscribe,
        "publish" => Action::Publish,
        "sort" | "sort_ro" => Action::Sort,
        "xread" | "xreadgroup" => Action::MayBlock,
        "time" | "lastsave" | "config|get" | "function|list" | "function|dump" | "function|stats" | "script|show" | "object|help" | "memory|help"
        | "xinfo|help" | "xgroup|help" | "script|help" | "function|help" | "config|help" | "pubsub|help" | "slowlog|help" | "latency|help"
        | "module|help" | "module|list" | "lolwut" => Action::Anywhere,
        "wait" | "waitaof" => Action::WaitForReplicas,
        "latency|histogram" => Action::Everywhere(Merge::Latencies),
        "monitor" => Action::Monitor,
        "sync" | "psync" | "replconf" => Action::Refused(REPLICATION),
        "swapdb" => Action::Everywhere(Merge::Same),
        _ if command.has("blocking") => Action::Blocking,
        _ if !command.keys.is_empty() => Action::Keyed,
        _ if command.name.contains('|') || command.children.is_empty() => by_flags(command),
        _ => Action::Anywhere,
    }
}

fn by_flags(command: &Command) -> Action {
    if command.has("admin") || command.acl.contains(&"@dangerous") || command.acl.contains(&"@admin") || command.acl.is_empty() {
        Action::Refused(SYSTEM)
    } else {
        Action::Anywhere
    }
}

/// Reads change nothing; what shows or changes the system is admin; the rest writes.
pub fn class_of(command: &Command) -> Class {
    let admin = command.has("admin") || command.acl.contains(&"@admin") || matches!(command.name, "flushall" | "flushdb" | "swapdb" | "debug");
    if admin {
        Class::Admin
    } else if command.has("write")
        || command.name.starts_with("eval") && !command.name.ends_with("_ro")
        || command.name == "fcall"
        || command.name.ends_with("publish")
    {
        Class::Write
    } else {
        Class::Read
    }
}

/// Writes that leave the same data and give the same reply when they run twice in a row: they may be sent again after a connection was lost
/// with their fate unknown. Between the two runs another client's write to the same key may come, so a repeated command is at-least-once,
/// never exactly-once; and a repeated command may see the same client's later pipelined writes that were on the lost connection, which are
/// then reported with their fate unknown. SET is here only without NX, XX, GET and conditions (`dispatch::is_repeatable` looks at its words).
const REPEATABLE_WRITES: &[&str] = &[
    "set",
    "mset",
    "setex",
    "psetex",
    "hmset",
    "setrange",
    "expire",
    "pexpire",
    "expireat",
    "pexpireat",
    "pfmerge",
    "sunionstore",
    "sinterstore",
    "sdiffstore",
    "zunionstore",
    "zinterstore",
    "zdiffstore",
    "zrangestore",
    "bitop",
    "lset",
];

/// What shows the system and changes nothing, though it is for administrators.
const SHOWS: &[&str] =
    &["config|get", "slowlog|get", "slowlog|len", "commandlog|get", "commandlog|len", "latency|history", "latency|latest", "latency|histogram"];

/// Whether the command may be repeated when nobody knows whether it ran: reads, what asks the servers about themselves, and the writes
/// listed above.
pub fn is_repeatable(command: &Command) -> bool {
    let blocking = command.has("blocking") || command.name == "xreadgroup";
    let asks_servers = matches!(command.action, Action::Anywhere | Action::Everywhere(_)) && command.keys.is_empty();
    let shows = asks_servers && (command.class == Class::Read || SHOWS.contains(&command.name));
    !blocking && (command.has("readonly") || shows || REPEATABLE_WRITES.contains(&command.name))
}

/// Whether the reply to a command may be kept by the near cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NearRead {
    /// It depends on more than one key's value.
    Never,
    /// It depends on the value of its key alone.
    Always,
    /// It tells of a hash, whose fields may end without anybody saying so.
    Fields,
}

/// Reads of one key whose reply the clock changes.
const CLOCKED: &[&str] = &["httl", "hpttl", "hexpiretime", "hpexpiretime"];

/// Whether the command tells the value of its one key and nothing else, the same every time. Its place counts with MGET and EXISTS, too, where
/// they have but one key.
pub fn near_of(command: &Command) -> NearRead {
    let one_key = command.first_word_is_key || matches!(command.name, "mget" | "exists");
    let constant = !command.tips.contains(&"nondeterministic_output") && !CLOCKED.contains(&command.name);
    let data = !matches!(command.doc[1], "scripting" | "hyperloglog" | "pubsub");
    let read_only = command.has("readonly") && !command.has("blocking") && command.keys.iter().all(|keys| keys.access == "RO");
    if !(one_key && constant && data && read_only && command.keys.len() == 1) {
        NearRead::Never
    } else if command.doc[1] == "hash" {
        NearRead::Fields
    } else {
        NearRead::Always
    }
}

/// What a command may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Writes {
    /// No key.
    Nothing,
    /// Its keys.
    Keys,
    /// Any key of the slot or the nodes where it runs: scripts need not name all, EXEC names none.
    Anything,
}

/// What the command may change.
pub fn writes_of(command: &Command) -> Writes {
    let script = matches!(command.name, "eval" | "evalsha" | "fcall" | "exec");
    if script || (command.has("write") && command.keys.is_empty()) {
        Writes::Anything
    } else if command.has("write") {
        Writes::Keys
    } else {
        Writes::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    #[test]
    fn what_may_be_kept_is_a_function_of_one_value() {
        let near = |name: &str| Table::get().find(name.as_bytes()).unwrap().near;
        for name in ["get", "mget", "exists", "strlen", "lrange", "zrange", "smembers", "geosearch", "xrange", "type", "getbit", "zscore"] {
            assert_eq!(near(name), NearRead::Always, "{name}");
        }
        for name in ["hget", "hgetall", "hmget", "hlen", "hexists"] {
            assert_eq!(near(name), NearRead::Fields, "{name}");
        }
        for name in
            ["ttl", "pttl", "hpttl", "srandmember", "hrandfield", "hscan", "dump", "touch", "pfcount", "eval_ro", "fcall_ro", "lcs", "sort_ro"]
        {
            assert_eq!(near(name), NearRead::Never, "{name}");
        }
        for name in ["sinter", "xread", "xpending", "set", "getdel", "getex", "zdiff", "bitop", "sort", "object", "memory", "spublish"] {
            assert_eq!(near(name), NearRead::Never, "{name}");
        }
    }

    #[test]
    fn what_writes_is_known() {
        let writes = |name: &str| Table::get().find(name.as_bytes()).unwrap().writes;
        for (name, expected) in [
            ("set", Writes::Keys),
            ("getdel", Writes::Keys),
            ("expire", Writes::Keys),
            ("xreadgroup", Writes::Keys),
            ("sort", Writes::Keys),
            ("blpop", Writes::Keys),
            ("flushall", Writes::Anything),
            ("eval", Writes::Anything),
            ("evalsha", Writes::Anything),
            ("fcall", Writes::Anything),
            ("exec", Writes::Anything),
            ("eval_ro", Writes::Nothing),
            ("get", Writes::Nothing),
            ("publish", Writes::Nothing),
            ("touch", Writes::Nothing),
        ] {
            assert_eq!(writes(name), expected, "{name}");
        }
    }
}
