//! Routes whose values are compressed: what of each command is a value, and of each reply.
//!
//! Strings and the values of hashes are compressed, nothing else: lists, sets and streams compare what is in them. A command that would look
//! inside of a value, or change a part of it, is refused: the node has other bytes than the client wrote. Whoever adds a command for strings,
//! hashes, bits or scripts to the table finds it refused here until it is understood.
//!
//! Replies are parts of a head ([`crate::ring`]), and so whole before they are unpacked; all else is as without compression.

use crate::action::{Action, Merge, NearRead};
use crate::compress::{self, Compression, OVERHEAD};
use crate::dispatch::{CROSSSLOT, is_repeatable};
use crate::frame::{Frame, Word};
use crate::limits;
use crate::machine::{Redis, Step};
use crate::merge::{array, bulk, decimal};
use crate::routes::Routes;
use crate::table::Command;
use crate::value::{elements, text};
use std::sync::Arc;
use wire::{Io, Key};

/// Which elements of a reply are values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// It is one.
    Value,
    /// All.
    Elements,
    /// Every second one: of a map, or of an array of fields and values in turn or in pairs.
    Pairs,
    /// Every second one of its second element, behind a cursor.
    Scan,
}

/// What a command has to do with values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Inside {
    /// It neither has any nor tells any.
    Nothing,
    /// Those words, from one on in steps (0: that one only), are values; the reply tells some.
    Values(Option<(usize, usize)>, Option<Shape>),
    /// It would see what the node has.
    Refused(&'static str),
}

const LOOKS: &str = "values of its route are compressed, and it looks inside of them";
const CARRIES: &str = "values of its route are compressed, and it would carry them as the node has them";
const MIXED: &str = "values of some of its keys are compressed, those of others are not";

fn inside(command: &Command, frame: &Frame<'_>) -> Inside {
    use Inside::{Nothing, Refused, Values};
    let has = |word: &str, from: usize| (from..frame.len()).any(|index| frame.is(index, word));
    match command.name {
        "set" if has("ifeq", 3) => Refused("values of its route are compressed, and cannot be compared"),
        "set" => Values(Some((2, 0)), has("get", 3).then_some(Shape::Value)),
        "setex" | "psetex" => Values(Some((3, 0)), None),
        "setnx" => Values(Some((2, 0)), None),
        "getset" => Values(Some((2, 0)), Some(Shape::Value)),
        "mset" | "msetnx" => Values(Some((2, 2)), None),
        "hset" | "hmset" => Values(Some((3, 2)), None),
        "hsetnx" => Values(Some((3, 0)), None),
        "get" | "getex" | "getdel" | "hget" => Values(None, Some(Shape::Value)),
        "mget" | "hmget" | "hvals" | "hgetdel" | "hgetex" => Values(None, Some(Shape::Elements)),
        "hgetall" => Values(None, Some(Shape::Pairs)),
        "hrandfield" if has("withvalues", 3) => Values(None, Some(Shape::Pairs)),
        "hscan" if !has("novalues", 3) => Values(None, Some(Shape::Scan)),
        "hrandfield" | "hscan" | "hdel" | "hexists" | "hkeys" | "hlen" | "hexpire" | "hpexpire" | "hexpireat" | "hpexpireat" | "hexpiretime"
        | "hpexpiretime" | "httl" | "hpttl" | "hpersist" => Nothing,
        // Numbers are never compressed.
        "incr" | "incrby" | "incrbyfloat" | "decr" | "decrby" | "hincrby" | "hincrbyfloat" => Nothing,
        "dump" | "restore" | "migrate" => Refused(CARRIES),
        _ if matches!(command.doc[1], "string" | "hash" | "bitmap" | "hyperloglog" | "scripting") => Refused(LOOKS),
        _ => Nothing,
    }
}

/// Commands that carry a value from one of their keys to another.
const CARRIERS: &[&str] = &["copy", "rename", "renamenx"];

/// A command with its values as the node gets them.
#[derive(Default, Debug)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
    words: Vec<Word>,
}

impl Packed {
    /// Writes the command; every value by the route of the key before it, or of the first. False: it is too long.
    fn write(&mut self, frame: &Frame<'_>, (first, step): (usize, usize), compression: Compression) -> bool {
        self.bytes.clear();
        self.words.clear();
        array(&mut self.bytes, frame.len());
        for index in 0..frame.len() {
            let is_value = index == first || (step > 0 && index > first && (index - first) % step == 0);
            let word = frame.word(index);
            let packed = if is_value { compress::pack(word, compression) } else { word.into() };
            bulk(&mut self.bytes, &packed);
            let end = self.bytes.len() - 2;
            self.words.push(Word { start: (end - packed.len()) as u32, end: end as u32 });
            if self.bytes.len() > limits::MAX_COMMAND + OVERHEAD * frame.len() {
                return false;
            }
        }
        true
    }

    fn frame(&self) -> Frame<'_> {
        Frame { bytes: &self.bytes, words: &self.words }
    }
}

impl Redis {
    /// A command of a listener some of whose routes compress: with its values as the node is to have them, and the reply's as the client is.
    pub(crate) fn packing(
        &mut self,
        io: &mut dyn Io,
        key: Key,
        frame: &Frame<'_>,
        command: &'static Command,
        routes: &Arc<Routes>,
        renames: bool,
    ) -> Step {
        let of = |index: &u32| routes.get(routes.find(frame.word(*index as usize))).compression;
        let first = self.keys.first().and_then(of);
        let is_mixed = self.keys.iter().any(|index| of(index).is_some() != first.is_some());
        let what = inside(command, frame);
        let is_blind = what == Inside::Nothing && !CARRIERS.contains(&command.name);
        if is_mixed && !is_blind {
            self.refuse(io, key, command, MIXED);
            return Step::Taken;
        }
        let (Some(compression), false) = (first, is_blind) else { return self.arrive(io, key, frame, command, routes, renames) };
        match what {
            Inside::Nothing => self.arrive(io, key, frame, command, routes, renames),
            Inside::Refused(why) => {
                self.refuse(io, key, command, why);
                Step::Taken
            }
            Inside::Values(_, Some(_)) if self.in_transaction(key) => {
                self.refuse(io, key, command, "values of its route are compressed, and EXEC's replies are not read");
                Step::Taken
            }
            Inside::Values(None, shape) => self.arrive_packed(io, key, frame, command, routes, (renames, shape)),
            Inside::Values(Some(values), shape) => {
                let mut packed = std::mem::take(&mut self.packed);
                let step = if packed.write(frame, values, compression) {
                    self.arrive_packed(io, key, &packed.frame(), command, routes, (renames, shape))
                } else {
                    self.fail(io, key, "ERR midstream: the command is too long");
                    Step::Taken
                };
                packed.bytes.shrink_to(limits::MAX_KEPT);
                self.packed = packed;
                step
            }
        }
    }

    /// Whether a command with keys of several back ends has or tells values of which some are compressed.
    pub(crate) fn carries_packed(&self, frame: &Frame<'_>, command: &Command, routes: &Routes) -> bool {
        let is_packed = |index: &u32| routes.get(routes.find(frame.word(*index as usize))).compression.is_some();
        routes.packs && inside(command, frame) != Inside::Nothing && self.keys.iter().any(is_packed)
    }

    fn arrive_packed(
        &mut self,
        io: &mut dyn Io,
        key: Key,
        frame: &Frame<'_>,
        command: &'static Command,
        routes: &Arc<Routes>,
        (renames, shape): (bool, Option<Shape>),
    ) -> Step {
        let Some(shape) = shape else { return self.arrive(io, key, frame, command, routes, renames) };
        if !renames {
            self.ask_packed(io, key, frame, command, shape);
            return Step::Taken;
        }
        let mut renamed = std::mem::take(&mut self.renamed);
        if renamed.write(frame, &self.keys, routes) {
            self.ask_packed(io, key, &renamed.frame(), command, shape);
        } else {
            self.fail(io, key, "ERR midstream: the command is too long with the names that its keys have at the back end");
        }
        renamed.shrink();
        self.renamed = renamed;
        Step::Taken
    }

    /// Asks for values that are to be unpacked.
    fn ask_packed(&mut self, io: &mut dyn Io, key: Key, frame: &Frame<'_>, command: &'static Command, shape: Shape) {
        if self.replicas_read {
            self.note_write(key, frame, command);
        }
        let merge = Merge::Unpacked(shape);
        let Ok(to) = self.place(key, frame) else {
            return match command.action {
                Action::Split(_, step) => self.split(io, key, frame, command, merge, step),
                _ => self.fail(io, key, CROSSSLOT),
            };
        };
        let to = if self.replicas_read { self.read_place(io.now(), key, command, to) } else { to };
        let Some((cluster, head)) = self.owe_head(io, key, merge, 1, is_repeatable(command, frame)) else { return };
        let Some(pending) = self.owe_part(io, key, head, 0, to) else { return };
        match self.keys.as_slice() {
            [only] if self.has_near && command.near != NearRead::Never => {
                self.ask_near(io, cluster, frame.bytes, frame.word(*only as usize), command.near, pending);
            }
            _ => self.send(io, cluster, frame.bytes, pending),
        }
    }
}

/// Appends the reply with its values unpacked. `None`: it is none of that shape.
pub(crate) fn merge<'a>(shape: Shape, parts: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    let parts: Vec<&[u8]> = parts.collect();
    let mut unpacking = Unpacking { out, room: limits::MAX_UNPACKED };
    let result = match (shape, parts.as_slice()) {
        (_, [only]) => unpacking.reply(shape, only),
        (Shape::Elements, _) => unpacking.elements_of(&parts),
        _ => return None,
    };
    if result == Err(Wrong::Value) {
        out.truncate(start);
        out.extend_from_slice(DAMAGED);
        return Some(());
    }
    result.ok()
}

const DAMAGED: &[u8] =
    b"-ERR midstream: the values of this route are compressed, and one of these is damaged or was not written through Midstream, or the \
reply is too long unpacked\r\n";

/// Why a reply cannot be unpacked.
#[derive(PartialEq, Eq, Debug)]
enum Wrong {
    /// It is not of its command's shape.
    Shape,
    /// A value is damaged, or there is no room for it.
    Value,
}

struct Unpacking<'a> {
    out: &'a mut Vec<u8>,
    /// What values may still take.
    room: usize,
}

impl Unpacking<'_> {
    /// MGET in parts: arrays of values, one behind the other.
    fn elements_of(&mut self, parts: &[&[u8]]) -> Result<(), Wrong> {
        let parts: Vec<Vec<&[u8]>> = parts.iter().map(|part| elements(part)).collect::<Option<_>>().ok_or(Wrong::Shape)?;
        array(self.out, parts.iter().map(Vec::len).sum());
        parts.concat().into_iter().try_for_each(|one| self.value(one))
    }

    fn reply(&mut self, shape: Shape, reply: &[u8]) -> Result<(), Wrong> {
        let Some(parts) = elements(reply) else { return self.value(reply) };
        match shape {
            Shape::Value => Err(Wrong::Shape),
            Shape::Elements => {
                array(self.out, parts.len());
                parts.into_iter().try_for_each(|one| self.value(one))
            }
            Shape::Pairs => self.pairs(reply, &parts),
            Shape::Scan => {
                let [cursor, found] = parts.as_slice() else { return Err(Wrong::Shape) };
                array(self.out, 2);
                self.out.extend_from_slice(cursor);
                self.pairs(found, &elements(found).ok_or(Wrong::Shape)?)
            }
        }
    }

    /// Fields and values in turn, as a map or an array, or an array of pairs.
    fn pairs(&mut self, reply: &[u8], parts: &[&[u8]]) -> Result<(), Wrong> {
        if parts.first().is_some_and(|part| part.first() == Some(&b'*')) {
            array(self.out, parts.len());
            return parts.iter().try_for_each(|pair| {
                array(self.out, 2);
                self.pair(&elements(pair).ok_or(Wrong::Shape)?)
            });
        }
        let is_map = reply.first() == Some(&b'%');
        self.out.push(if is_map { b'%' } else { b'*' });
        decimal(self.out, (if is_map { parts.len() / 2 } else { parts.len() }) as u64);
        self.out.extend_from_slice(b"\r\n");
        parts.chunks(2).try_for_each(|pair| self.pair(pair))
    }

    fn pair(&mut self, pair: &[&[u8]]) -> Result<(), Wrong> {
        let [field, value] = pair else { return Err(Wrong::Shape) };
        self.out.extend_from_slice(field);
        self.value(value)
    }

    /// A string, unpacked; anything else (null) as it is.
    fn value(&mut self, reply: &[u8]) -> Result<(), Wrong> {
        let Some(stored) = text(reply).filter(|_| reply.first() == Some(&b'$')) else {
            self.out.extend_from_slice(reply);
            return Ok(());
        };
        let value = compress::unpack(stored, self.room).map_err(|_| Wrong::Value)?;
        self.room = self.room.checked_sub(value.len()).ok_or(Wrong::Value)?;
        bulk(self.out, &value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Scan;
    use crate::table::Table;

    fn unpacked(shape: Shape, parts: &[String]) -> String {
        let mut out = Vec::new();
        merge(shape, parts.iter().map(String::as_bytes), &mut out).unwrap();
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Replies of each shape, with the value given in the place of V.
    #[test]
    fn values_are_unpacked_wherever_replies_have_them() {
        // Stored bytes have no place in a Rust string; so a marked value is made of those that have.
        let long = "text ".repeat(100);
        let shapes = [
            (Shape::Value, "V"),
            (Shape::Value, "$-1\r\n"),
            (Shape::Elements, "*3\r\nV$-1\r\n$1\r\nx\r\n"),
            (Shape::Pairs, "*4\r\n$1\r\na\r\nV$1\r\nb\r\nV"),
            (Shape::Pairs, "%1\r\n$1\r\na\r\nV"),
            (Shape::Pairs, "*1\r\n*2\r\n$1\r\na\r\nV"),
            (Shape::Pairs, "*0\r\n"),
            (Shape::Scan, "*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\nV"),
        ];
        for (shape, reply) in shapes {
            let with = |value: &[u8]| {
                let mut one = Vec::new();
                bulk(&mut one, value);
                let mut parts = reply.split('V').map(str::as_bytes);
                let mut out = parts.next().unwrap().to_vec();
                parts.for_each(|part| out.extend([one.as_slice(), part].concat()));
                out
            };
            let packed = compress::pack(long.as_bytes(), Compression { codec: Some(compress::Codec::Zstd), from: 64 }).into_owned();
            let mut out = Vec::new();
            merge(shape, [with(&packed).as_slice()].into_iter(), &mut out).unwrap();
            assert!(out == with(long.as_bytes()), "{reply}");
        }
        assert_eq!(unpacked(Shape::Elements, &["*1\r\n$1\r\na\r\n".into(), "*1\r\n$-1\r\n".into()]), "*2\r\n$1\r\na\r\n$-1\r\n");
        assert_eq!(merge(Shape::Value, [&b"*1\r\n:1\r\n"[..]].into_iter(), &mut Vec::new()), None);
        let mut out = Vec::new();
        merge(Shape::Value, [&b"$9\r\n\xffMZ\x01\x07aaaa\r\n"[..]].into_iter(), &mut out).unwrap();
        assert_eq!(out, DAMAGED);
    }

    #[test]
    fn what_looks_inside_is_refused() {
        let of = |line: &str| {
            let mut scan = Scan::default();
            scan.command(format!("{line}\r\n").as_bytes(), true).unwrap();
            let frame = Frame { bytes: &scan.rewritten, words: &scan.words };
            inside(Table::get().find(frame.word(0)).unwrap(), &frame)
        };
        for line in ["APPEND k v", "STRLEN k", "GETRANGE k 0 1", "SETRANGE k 0 v", "BITCOUNT k", "SETBIT k 0 1", "BITOP AND a b c", "PFADD k v"] {
            assert_eq!(of(line), Inside::Refused(LOOKS), "{line}");
        }
        for line in ["LCS a b", "HSTRLEN k f", "EVAL x 1 k", "FCALL f 1 k", "SUBSTR k 0 1", "HSETEX k FIELDS 1 f v", "DELIFEQ k v", "BITFIELD k"] {
            assert_eq!(of(line), Inside::Refused(LOOKS), "{line}");
        }
        for line in ["DUMP k", "RESTORE k 0 v"] {
            assert_eq!(of(line), Inside::Refused(CARRIES), "{line}");
        }
        for line in ["DEL k", "INCR k", "HINCRBYFLOAT k f 1", "TTL k", "LPUSH k v", "ZADD k 1 v", "SINTER a b", "HSCAN k 0 NOVALUES", "HLEN k"] {
            assert_eq!(of(line), Inside::Nothing, "{line}");
        }
        assert_eq!(of("SET k v GET"), Inside::Values(Some((2, 0)), Some(Shape::Value)));
        assert!(matches!(of("SET k v IFEQ w"), Inside::Refused(_)));
    }
}
