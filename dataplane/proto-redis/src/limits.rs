//! What one client or server may cost, each bound with its reason.

/// Words of one command: the server's own bound (`PROTO_MAX_MULTIBULK` in its networking.c).
pub const MAX_WORDS: i64 = 1024 * 1024;

/// A word that streams ([`crate::large`]): the server's `proto-max-bulk-len`.
pub const MAX_STREAMED_WORD: i64 = 512 * 1024 * 1024;

/// A longer word streams where nothing but the node needs it: what is longer than [`MAX_KEPT`] is not kept for a second attempt anyway.
pub const MAX_HELD_WORD: i64 = MAX_KEPT as i64;

/// One word of a command that is held whole, twice, until its connection took it: in a transaction, with several keys, mirrored.
pub const MAX_WORD: i64 = 32 * 1024 * 1024;

/// One command: two of the longest words, so that `MSET a 32MiB b 32MiB` is refused before the engine's own bound on tails.
pub const MAX_COMMAND: usize = 48 * 1024 * 1024;

/// One inline command: the server's `PROTO_INLINE_MAX_SIZE`.
pub const MAX_INLINE: usize = 64 * 1024;

/// Commands of one worker whose mirrored reply is awaited, and how long one may be: 16 MiB together at most.
pub const MAX_MIRRORED: usize = 256;
/// See [`MAX_MIRRORED`].
pub const MAX_MIRRORED_COMMAND: usize = 64 * 1024;
/// Replies up to this length are compared without regard to the order of their elements, where the server has none; of longer ones only
/// length and checksum are kept.
pub const MAX_MIRRORED_REPLY: usize = 16 * 1024;

/// Keys in a list of hot or big ones: each is a series of the metrics.
pub const MAX_TOP: u32 = 100;

/// Words and bytes of a word before AUTH: the server's own bounds for clients it does not know yet.
pub const MAX_WORDS_UNAUTHENTICATED: i64 = 10;
/// See [`MAX_WORDS_UNAUTHENTICATED`].
pub const MAX_WORD_UNAUTHENTICATED: i64 = 16 * 1024;

/// A length or count with its sign: an i64 has 20 characters; more is garbage.
pub const MAX_NUMBER: usize = 24;

/// Arrays within arrays of a reply. The deepest of the server's own is COMMAND DOCS with nine; scripts may nest more, up to their own bound of 64.
pub const MAX_DEPTH: usize = 72;

/// A status or an error of a reply: the server cuts error messages far below that.
pub const MAX_LINE: usize = 64 * 1024;

/// An unfinished reply longer than this is passed on in pieces, never held whole; shorter ones are cheaper to wait for.
pub const STREAM_FROM: usize = 16 * 1024;

/// Commands of one client that may wait for their replies. Beyond it the client is not read until half of them are answered.
pub const MAX_IN_FLIGHT: usize = 1024;

/// Replies that one client may have outstanding, in bytes, judged by the longest it got lately: what a stalled reader can cost.
pub const MAX_OUTSTANDING: u64 = 1024 * 1024;

/// A reply announced to be longer than this is fetched at the client's own pace ([`crate::lane`]): with [`MAX_OUTSTANDING`] it is what a
/// stalled reader costs. Shorter ones are only while the client does not keep up, because fetching again costs the node a second reply. What is known beforehand to be longer than
/// [`MAX_OUTSTANDING`] is fetched so the first time ([`crate::heavy`]).
pub const MAX_UNPACED: u64 = 2 * 1024 * 1024;

/// Keys of one MGET, MSET, DEL ... over several slots: each is a command of its own to some node.
pub const MAX_SPLIT: usize = 64 * 1024;

/// A command longer than this is not kept for a second attempt once it is on its way: what keeping costs is bounded by
/// [`MAX_IN_FLIGHT`] times this, and typically thousandths of it.
pub const MAX_KEPT: usize = 1024 * 1024;

/// Commands of a transaction between MULTI and EXEC, in bytes.
pub const MAX_TRANSACTION: usize = 16 * 1024 * 1024;

/// Slots of one transaction, where transactions go by slot: each is one of its own.
pub const MAX_TRANSACTION_SLOTS: usize = 1024;

/// How often one command follows MOVED or ASK without a pause; after that it waits for a fresh slot table.
pub const MAX_REDIRECTS: u8 = 5;

/// Bytes of all commands that wait for a node to come back, per worker and back end. Beyond it they are refused at once.
pub const MAX_PARKED: usize = 64 * 1024 * 1024;

/// Nodes of one cluster: redis itself is specified up to 1000.
pub const MAX_NODES: usize = 2048;

/// Leased connections (WATCH, blocking commands, subscriptions) of one worker to one node.
pub const MAX_LEASES: usize = 512;

/// Idle leased connections kept for reuse, per node and RESP version.
pub const MAX_IDLE_LEASES: usize = 16;

/// The longest name or library version that CLIENT SETNAME and SETINFO take.
pub const MAX_NAME: usize = 512;

/// A reply to CLUSTER SLOTS: a thousand nodes with every slot in a run of its own stay under it.
pub const MAX_TOPOLOGY: usize = 16 * 1024 * 1024;

/// A node's message that names changed keys: one of a script that changed some hundred thousand. Of a longer one it is taken that it names all.
pub const MAX_PUSH: usize = 16 * 1024 * 1024;

/// Prefixes of CLIENT TRACKING: a node compares each written key with all of them.
pub const MAX_PREFIXES: usize = 128;

/// Messages of a subscription that wait while a large reply is on its way to the same client; beyond it the client is cut off, as a
/// server does at its `client-output-buffer-limit pubsub`.
pub const MAX_MESSAGES: usize = 32 * 1024 * 1024;

/// Errands of one worker that carry data from node to node at the same time; the others wait. Each costs at most the back end's
/// `crossSlotBytes` for what it read, and as much for what it writes.
pub const MAX_HEAVY_ERRANDS: usize = 8;

/// `crossSlotBytes` where nothing is said: larger sets than that are seldom intersected, and better not through a sidecar.
pub const DEFAULT_CROSS_SLOT_BYTES: usize = 8 * 1024 * 1024;

/// Keys and other words of a command over several slots: the server's scripts pass on no more than 8,000 (Lua's own bound).
pub const MAX_CROSS_SLOT_WORDS: usize = 4000;

/// One reply of SCAN, which has to be whole before its cursor can be told: a million keys of 64 bytes.
pub const MAX_SCAN: usize = 64 * 1024 * 1024;

/// Lines that a client of MONITOR has not read; what comes beyond it is not shown.
pub const MAX_MONITOR_BACKLOG: usize = 1024 * 1024;

/// One line of MONITOR; the rest of a longer command is not shown.
pub const MAX_MONITOR_LINE: usize = 16 * 1024;

/// One script, all of them and their number, as far as they are remembered to be loaded where they are missing.
pub const MAX_SCRIPT: usize = 256 * 1024;
/// See [`MAX_SCRIPT`].
pub const MAX_SCRIPTS: usize = 4 * 1024 * 1024;
/// See [`MAX_SCRIPT`].
pub const MAX_SCRIPT_COUNT: usize = 4096;

/// Databases and users of nodes that clients of one worker are in at the same time: each has connections of its own to each node.
pub const MAX_SESSIONS: usize = 64;

/// CLIENT PAUSE: whoever pauses for longer has forgotten it.
pub const MAX_PAUSE: wire::Nanos = 3600 * wire::SECONDS;

/// The values of one reply, unpacked, on a route with compression.
pub const MAX_UNPACKED: usize = 64 * 1024 * 1024;

/// Elements of a SORT by patterns, and what is looked up for them: each is a command of its own to some node.
pub const MAX_SORTED: usize = 16 * 1024;

/// Keys of a migration that one worker has still to copy, and the bytes of their names. Beyond it they are counted as lost, and the backfill
/// has to run again.
pub const MAX_DIRTY: usize = 100_000;
/// See [`MAX_DIRTY`].
pub const MAX_DIRTY_BYTES: usize = 64 * 1024 * 1024;
/// Keys that one worker copies at the same time: more than a node answers in a round trip of a data centre.
pub const MAX_COPYING: usize = 64;
/// One value that is copied: RESTORE of it is a word of a command, as long as clients' own may be ([`MAX_WORD`]).
pub const MAX_COPY: usize = 2 * MAX_WORD as usize;
/// Values that are being copied, as far as they are here.
pub const MAX_COPIED: usize = 96 * 1024 * 1024;
