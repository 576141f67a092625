//! SCAN over the whole cluster, slot by slot: the cursor says below which slot all is done, and how far the node that has it is.
//!
//! ```text
//!  cursor:  node's cursor (40 bits) │ check (10) │ slot (14)         0: from the start, or done
//! ```
//! From the slot on, the run of slots that one node has is scanned there, and keys of its other runs are left out: they have their own turn.
//! So what moved to another node before its turn is found there, and what moved after it was already told. What may be missed is a key that
//! is moved to a node whose turn is over while its slot is still with one whose turn is to come: nodes do not tell of such slots. If the run or its node is no longer
//! what the check was made of (a failover, a slot that moved), the node's cursor means nothing any more and the run is scanned again: a key
//! may then come twice, as SCAN allows; none that was there all the time is missed.

use crate::cluster::Cluster;
use crate::errand::{Ask, Errand, Next, Round};
use crate::frame::Frame;
use crate::limits;
use crate::merge::{array, bulk};
use crate::slot::{SLOTS, slot_of};
use crate::tag::tag_of_slot;
use crate::topology;
use crate::value::{elements, is_error, text};

const SLOT_BITS: u32 = 14;
const CHECK_BITS: u32 = 10;
/// What is left for a node's own: a bit per doubling of its table, and 14 more where it counts by slots itself.
const NODE_BITS: u32 = 40;
/// How many keys are asked for where COUNT does not say.
const DEFAULT_COUNT: usize = 10;
/// Runs that are asked for one call while they have nothing.
const MOST_ROUNDS: u32 = 64;

/// A run of slots of one node.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Run {
    last: u16,
    node: String,
}

impl Run {
    fn at(first: u16, cluster: &Cluster) -> Run {
        let owner = cluster.owner(first);
        let last = (first..SLOTS as u16).take_while(|slot| cluster.owner(*slot) == owner).last().unwrap_or(first);
        Run { last, node: cluster.address(owner) }
    }

    fn check(&self) -> u64 {
        let bytes = self.node.bytes().chain(self.last.to_be_bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        hash >> (64 - CHECK_BITS)
    }
}

/// What was asked last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    /// Keys, or nothing yet.
    Keys,
    /// The node's own view of the slots, when its run is done: a command without keys is never told that its slot is elsewhere.
    Slots,
    /// A key of the first slot that is elsewhere, so that MOVED tells where.
    Elsewhere,
}

/// One call of SCAN.
#[derive(Debug)]
pub(crate) struct Scan {
    words: Vec<Vec<u8>>,
    /// All slots below are done.
    slot: u16,
    cursor: u64,
    /// Of the client's cursor; checked at the start.
    check: Option<u64>,
    run: Run,
    asked: Asked,
    count: usize,
    found: Vec<u8>,
    number: usize,
    rounds: u32,
}

impl Scan {
    /// Of a command.
    ///
    /// # Errors
    /// Its cursor is none; in the server's words.
    pub fn new(frame: &Frame<'_>) -> Result<Scan, &'static str> {
        let cursor: u64 = std::str::from_utf8(frame.word(1)).ok().and_then(|text| text.parse().ok()).ok_or("ERR invalid cursor")?;
        let count = (2..frame.len()).find(|index| frame.is(*index, "count")).map(|index| frame.word(index + 1));
        let count = count.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(DEFAULT_COUNT);
        Ok(Scan {
            words: (0..frame.len()).map(|index| frame.word(index).to_vec()).collect(),
            slot: (cursor & ((1 << SLOT_BITS) - 1)) as u16,
            cursor: cursor >> (SLOT_BITS + CHECK_BITS),
            check: Some(cursor >> SLOT_BITS & ((1 << CHECK_BITS) - 1)),
            run: Run::default(),
            asked: Asked::Keys,
            count,
            found: Vec::new(),
            number: 0,
            rounds: 0,
        })
    }

    fn ask(&mut self, run: Run) -> Next {
        if self.check.take().is_some_and(|check| self.cursor > 0 && check != run.check()) {
            self.cursor = 0;
        }
        self.run = run;
        self.asked = Asked::Keys;
        self.rounds += 1;
        if let Some(word) = self.words.get_mut(1) {
            *word = self.cursor.to_string().into_bytes();
        }
        Next::Ask(vec![Ask::one(self.slot, &self.words, true)])
    }

    /// Takes in what a node said; whether its run is done. `None`: it is not what SCAN answers. Keys of the node's other runs have their own
    /// turn; keys of other nodes' slots are on their way here or away, and told wherever they are met.
    fn take(&mut self, reply: &[u8], cluster: &Cluster) -> Option<bool> {
        let parts = elements(reply)?;
        let [cursor, keys] = parts.as_slice() else { return None };
        self.cursor = std::str::from_utf8(text(cursor)?).ok()?.parse().ok()?;
        for key in elements(keys)? {
            let slot = slot_of(text(key)?);
            if (self.slot..=self.run.last).contains(&slot) || cluster.owner(slot) != cluster.owner(self.slot) {
                self.found.extend_from_slice(key);
                self.number += 1;
            }
        }
        Some(self.cursor == 0)
    }

    fn answer(&self, done: bool) -> Next {
        if self.cursor >> NODE_BITS > 0 {
            return Next::fail("ERR midstream: the node's SCAN cursor leaves no room for the slot; scan the nodes one by one");
        }
        let check = if self.cursor > 0 { self.run.check() } else { 0 };
        let cursor = if done { 0 } else { self.cursor << (SLOT_BITS + CHECK_BITS) | check << SLOT_BITS | u64::from(self.slot) };
        let mut out = b"*2\r\n".to_vec();
        bulk(&mut out, cursor.to_string().as_bytes());
        array(&mut out, self.number);
        out.extend_from_slice(&self.found);
        Next::Answer(out)
    }
}

impl Scan {
    fn keys(&mut self, reply: &[u8], cluster: &Cluster) -> Next {
        match self.take(reply, cluster) {
            None => Next::fail("ERR midstream: the node's answer to SCAN is not understood"),
            Some(false) => self.answer(false),
            // A single server has all slots.
            Some(true) if cluster.conf.single => self.done_up_to(Some(self.run.last), cluster),
            Some(true) => {
                self.asked = Asked::Slots;
                Next::Ask(vec![Ask::one(self.slot, &["CLUSTER", "SLOTS"], true)])
            }
        }
    }

    /// The node says which slots it has: what it has of the run is done.
    fn slots(&mut self, reply: &[u8], cluster: &Cluster) -> Next {
        let Some(ranges) = topology::ranges(reply) else { return Next::fail("ERR midstream: the node's answer to CLUSTER SLOTS is not understood") };
        let own = cluster.nodes.get(usize::from(cluster.owner(self.slot))).map(|node| (&*node.host, node.port));
        let is_own = |slot: &u16| {
            let range = ranges.iter().find(|range| (range.first..=range.last).contains(slot));
            range.is_some_and(|range| own.is_some_and(|own| range.master.is(own)))
        };
        let done = (self.slot..=self.run.last).take_while(is_own).last();
        self.done_up_to(done, cluster)
    }

    fn done_up_to(&mut self, done: Option<u16>, cluster: &Cluster) -> Next {
        self.slot = done.map_or(self.slot, |done| done + 1);
        if done == Some(self.run.last) {
            if usize::from(self.slot) == SLOTS {
                return self.answer(true);
            }
            let enough = self.number >= self.count || self.rounds >= MOST_ROUNDS;
            return if enough { self.answer(false) } else { self.ask(Run::at(self.slot, cluster)) };
        }
        self.asked = Asked::Elsewhere;
        let key = format!("midstream:{{{}}}:", tag_of_slot(self.slot));
        Next::Ask(vec![Ask::one(self.slot, &["EXISTS", &key], true)])
    }
}

impl Errand for Scan {
    fn next(&mut self, round: &Round<'_>) -> Next {
        let Some(cluster) = round.cluster else { return Next::fail("CLUSTERDOWN midstream: the back end is gone") };
        let run = Run::at(self.slot, cluster);
        let Some(reply) = round.replies.first() else { return self.ask(run) };
        if is_error(reply) {
            return Next::Answer(reply.clone());
        }
        if (run != self.run || self.asked == Asked::Elsewhere) && self.rounds < MOST_ROUNDS {
            self.cursor = 0;
            return self.ask(run);
        }
        match self.asked {
            Asked::Keys => self.keys(reply, cluster),
            Asked::Slots => self.slots(reply, cluster),
            Asked::Elsewhere => self.answer(false),
        }
    }

    fn room(&self, _: usize) -> usize {
        limits::MAX_SCAN
    }

    fn too_large(&self, _: usize) -> String {
        "ERR midstream: so many keys do not fit into one reply; ask with a smaller COUNT".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::ClusterConf;
    use crate::meters::ClusterMeters;
    use crate::topology::{Place, Range};
    use std::sync::Arc;

    fn cluster(ranges: &[(u16, u16, u16)]) -> Cluster {
        let mut cluster = Cluster::new(Arc::new(ClusterConf::new("c", &[("a", 1)])), ClusterMeters::default());
        let range = |(first, last, port): &(u16, u16, u16)| Range {
            first: *first,
            last: *last,
            master: Place { host: "a".into(), port: *port, zone: String::new() },
            replicas: vec![],
        };
        let ranges: Vec<Range> = ranges.iter().map(range).collect();
        cluster.apply(&ranges, 0);
        cluster
    }

    /// What a call with that cursor does: its next request or its answer.
    fn call(scan: &mut Scan, cluster: &Cluster, replies: &[&str]) -> String {
        let replies: Vec<Vec<u8>> = replies.iter().map(|reply| reply.as_bytes().to_vec()).collect();
        match scan.next(&Round { replies: &replies, now: 0, resp: 2, cluster: Some(cluster) }) {
            Next::Ask(asks) => format!("{:?} {}", asks[0].to, String::from_utf8_lossy(&asks[0].bytes).replace("\r\n", " ")),
            Next::Answer(reply) => String::from_utf8(reply).unwrap().replace("\r\n", " "),
            other => unreachable!("{other:?}"),
        }
    }

    fn scan(cursor: &str) -> Scan {
        let line = format!("SCAN {cursor}\r\n");
        let mut words = crate::frame::Scan::default();
        words.command(line.as_bytes(), true).unwrap();
        Scan::new(&Frame { bytes: &words.rewritten, words: &words.words }).unwrap()
    }

    #[test]
    fn runs_follow_each_other_and_keys_of_other_slots_wait_for_their_turn() {
        let whole = cluster(&[(0, 8191, 1), (8192, 12999, 2), (13000, 16383, 1)]);
        let mut first = scan("0");
        assert_eq!(call(&mut first, &whole, &[]), "Slot(0) *2 $4 SCAN $1 0 ");
        // bar is in 5061; a in 15495, the same node's other run; foo in 12182, on its way from or to the other node.
        let asked = call(&mut first, &whole, &["*2\r\n$1\r\n0\r\n*3\r\n$3\r\nfoo\r\n$3\r\nbar\r\n$1\r\na\r\n"]);
        assert_eq!(asked, "Slot(0) *2 $7 CLUSTER $5 SLOTS ");
        let slots = told(&[(0, 8191, 1), (8192, 12999, 2), (13000, 16383, 1)]);
        assert_eq!(call(&mut first, &whole, &[&slots]), "Slot(8192) *2 $4 SCAN $1 0 ");
        assert_eq!(call(&mut first, &whole, &["*2\r\n$1\r\n0\r\n*0\r\n"]), "Slot(8192) *2 $7 CLUSTER $5 SLOTS ");
        assert_eq!(call(&mut first, &whole, &[&slots]), "Slot(13000) *2 $4 SCAN $1 0 ");
        call(&mut first, &whole, &["*2\r\n$1\r\n0\r\n*1\r\n$1\r\na\r\n"]);
        assert_eq!(call(&mut first, &whole, &[&slots]), "*2 $1 0 *3 $3 foo $3 bar $1 a ");
    }

    #[test]
    fn a_slot_that_the_node_has_no_more_is_asked_for_by_a_key_and_scanned_where_it_is() {
        let before = cluster(&[(0, 16383, 1)]);
        let mut scan = scan("0");
        call(&mut scan, &before, &[]);
        call(&mut scan, &before, &["*2\r\n$1\r\n0\r\n*0\r\n"]);
        let slots = told(&[(0, 99, 1), (100, 100, 2), (101, 16383, 1)]);
        assert_eq!(call(&mut scan, &before, &[&slots]), format!("Slot(100) *2 $6 EXISTS $17 midstream:{{{}}}: ", tag_of_slot(100)));
        let after = cluster(&[(0, 99, 1), (100, 100, 2), (101, 16383, 1)]);
        assert_eq!(call(&mut scan, &after, &[":0\r\n"]), "Slot(100) *2 $4 SCAN $1 0 ");
        assert_eq!((scan.run.last, scan.run.node.as_str()), (100, "a:2"));
    }

    /// A reply to CLUSTER SLOTS.
    fn told(ranges: &[(u16, u16, u16)]) -> String {
        let range = |(first, last, port): &(u16, u16, u16)| format!("*3\r\n:{first}\r\n:{last}\r\n*2\r\n$1\r\na\r\n:{port}\r\n");
        format!("*{}\r\n{}", ranges.len(), ranges.iter().map(range).collect::<String>())
    }

    #[test]
    fn a_cursor_of_another_node_starts_its_run_again() {
        let before = cluster(&[(0, 16383, 1)]);
        let mut first = scan("0");
        call(&mut first, &before, &[]);
        let reply = call(&mut first, &before, &["*2\r\n$1\r\n7\r\n*0\r\n"]);
        let cursor = reply.split(' ').nth(2).unwrap();
        assert_eq!(call(&mut scan(cursor), &before, &[]), "Slot(0) *2 $4 SCAN $1 7 ");
        assert_eq!(call(&mut scan(cursor), &cluster(&[(0, 16383, 2)]), &[]), "Slot(0) *2 $4 SCAN $1 0 ");
        // The same, while the node is being asked.
        let mut again = scan(cursor);
        call(&mut again, &before, &[]);
        assert_eq!(call(&mut again, &cluster(&[(0, 16383, 2)]), &["*2\r\n$1\r\n9\r\n*0\r\n"]), "Slot(0) *2 $4 SCAN $1 0 ");
    }
}
