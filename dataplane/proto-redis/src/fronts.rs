//! The keys that clients see of a listener with routes, back end by back end: KEYS, SCAN, RANDOMKEY.
//!
//! A **front** is what one back end shows: the keys that it has under the clients' own names, or those of one route that renames. A key is
//! shown only by the front that its name leads back to, so that none comes twice and none that a client could not read.

use crate::errand::{Ask, Errand, Next, Round};
use crate::frame::{self, Frame};
use crate::glob;
use crate::limits;
use crate::merge::{array, bulk};
use crate::pipe::To;
use crate::routes::{Number, Routes};
use crate::scan::Scan;
use crate::value::{self, elements, is_error, text};
use std::sync::Arc;

/// How many bits of a SCAN cursor say which front is being scanned.
const FRONT_BITS: u32 = 6;
/// As many as a cursor can name.
pub const MAX_FRONTS: usize = 1 << FRONT_BITS;

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Front {
    cluster: usize,
    /// The route that renames; `None`: all of the back end's that do not.
    route: Option<Number>,
}

/// All of a listener.
#[derive(Clone, Debug)]
pub(crate) struct Fronts {
    routes: Arc<Routes>,
    routed: Vec<usize>,
    fronts: Vec<Front>,
}

/// A client's pattern at one front.
struct Behind {
    /// As the back end is given it.
    pattern: Vec<u8>,
    /// Whether what it matches there need not be matched again here.
    is_exact: bool,
}

impl Fronts {
    /// Of routes and the back end of each.
    pub fn new(routes: Arc<Routes>, routed: Vec<usize>) -> Fronts {
        let mut fronts = Vec::new();
        for (number, (route, cluster)) in routes.all().iter().zip(&routed).enumerate() {
            let front = Front { cluster: *cluster, route: route.rewrite.is_some().then_some(number as Number) };
            if !fronts.contains(&front) {
                fronts.push(front);
            }
        }
        Fronts { routes, routed, fronts }
    }

    /// What a client calls a key that a front's back end names; `None`: it is not shown by it.
    fn show(&self, front: Front, key: &[u8]) -> Option<Vec<u8>> {
        match front.route {
            Some(number) => self.routes.in_front(number, key),
            None => {
                let number = self.routes.find(key);
                let is_here = self.routed.get(usize::from(number)) == Some(&front.cluster) && self.routes.get(number).rewrite.is_none();
                is_here.then(|| key.to_vec())
            }
        }
    }

    /// What to ask the back end of a front for, so that all keys that match a client's pattern are among the answers; `None`: there are none.
    fn behind(&self, front: Front, pattern: &[u8]) -> Option<Behind> {
        let literal = glob::literal_prefix(pattern);
        let own = self.routes.find(literal);
        let may_have = |number: Number| number == own || self.routes.get(number).prefix.starts_with(literal);
        let Some(number) = front.route else {
            let mut numbers = (0..self.routed.len()).filter(|at| self.routed[*at] == front.cluster).map(|at| at as Number);
            let found = numbers.any(|number| self.routes.get(number).rewrite.is_none() && may_have(number));
            return found.then(|| Behind { pattern: pattern.to_vec(), is_exact: true });
        };
        if !may_have(number) {
            return None;
        }
        let route = self.routes.get(number);
        let mut behind = Vec::new();
        glob::push_escaped(route.behind(), &mut behind);
        let is_exact = literal.starts_with(&route.prefix);
        behind.extend_from_slice(if is_exact { &pattern[route.prefix.len()..] } else { b"*" });
        Some(Behind { pattern: behind, is_exact })
    }

    /// The keys of a reply that clients see.
    fn shown(&self, front: Front, behind: &Behind, pattern: &[u8], keys: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut shown = Vec::new();
        for key in elements(keys)? {
            shown.extend(self.show(front, text(key)?).filter(|key| behind.is_exact || glob::matches(pattern, key)));
        }
        Some(shown)
    }
}

/// What clients call a key of a back end; `None`: nothing.
pub(crate) fn name_in_front(routes: &Routes, routed: &[usize], cluster: usize, key: &[u8]) -> Option<Vec<u8>> {
    let here = routed.iter().enumerate().filter(|(_, other)| **other == cluster);
    here.map(|(number, _)| number as Number).find_map(|number| routes.in_front(number, key))
}

/// The nodes of each back end that have slots, by its index; where none is known yet, any is asked.
pub(crate) type Masters = Vec<(usize, Vec<To>)>;

/// KEYS and RANDOMKEY: all nodes of all fronts, at once.
#[derive(Debug)]
pub(crate) struct All {
    fronts: Fronts,
    masters: Masters,
    /// What is asked; `None`: RANDOMKEY.
    pattern: Option<Vec<u8>>,
    dice: u64,
    rounds: u32,
    asked: Vec<Front>,
}

/// How often RANDOMKEY is asked for while what comes is none of the client's.
const MOST_ROUNDS: u32 = 16;

impl All {
    /// KEYS of that pattern, or RANDOMKEY.
    pub fn new(fronts: Fronts, masters: Masters, pattern: Option<&[u8]>, dice: u64) -> All {
        All { fronts, masters, pattern: pattern.map(<[u8]>::to_vec), dice, rounds: 0, asked: Vec::new() }
    }

    fn ask(&mut self) -> Next {
        self.rounds += 1;
        self.asked.clear();
        let mut asks = Vec::new();
        for front in &self.fronts.fronts {
            let bytes = match &self.pattern {
                None => value::command(&["RANDOMKEY"]),
                Some(pattern) => match self.fronts.behind(*front, pattern) {
                    Some(behind) => value::command(&[&b"KEYS"[..], &behind.pattern]),
                    None => continue,
                },
            };
            let nodes = self.masters.iter().find(|(cluster, _)| *cluster == front.cluster).map(|(_, nodes)| nodes.as_slice()).unwrap_or_default();
            for to in nodes {
                asks.push(Ask { cluster: Some(front.cluster), ..Ask::of(*to, bytes.clone(), true) });
                self.asked.push(*front);
            }
        }
        Next::Ask(asks)
    }

    fn keys(&self, pattern: &[u8], replies: &[Vec<u8>]) -> Next {
        let (mut found, mut number) = (Vec::new(), 0);
        for (front, reply) in self.asked.iter().zip(replies) {
            let behind = self.fronts.behind(*front, pattern);
            let Some(shown) = behind.and_then(|behind| self.fronts.shown(*front, &behind, pattern, reply)) else {
                return Next::fail("ERR midstream: a node's answer to KEYS is not understood");
            };
            number += shown.len();
            shown.iter().for_each(|key| bulk(&mut found, key));
        }
        let mut out = Vec::with_capacity(found.len() + 16);
        array(&mut out, number);
        out.extend_from_slice(&found);
        Next::Answer(out)
    }

    fn random_key(&mut self, round: &Round<'_>) -> Next {
        let told: Vec<(Front, &[u8])> = self.asked.iter().zip(round.replies).filter_map(|(front, reply)| Some((*front, text(reply)?))).collect();
        let shown: Vec<Vec<u8>> = told.iter().filter_map(|(front, key)| self.fronts.show(*front, key)).collect();
        if shown.is_empty() {
            return if told.is_empty() || self.rounds >= MOST_ROUNDS { Next::Answer(round.null()) } else { self.ask() };
        }
        let mut out = Vec::new();
        bulk(&mut out, &shown[(self.dice % shown.len() as u64) as usize]);
        Next::Answer(out)
    }
}

impl Errand for All {
    fn next(&mut self, round: &Round<'_>) -> Next {
        if self.rounds == 0 {
            return match self.ask() {
                Next::Ask(asks) if asks.is_empty() => Next::Answer(b"*0\r\n".to_vec()),
                next => next,
            };
        }
        if let Some(error) = round.error() {
            return Next::Answer(error.clone());
        }
        match self.pattern.clone() {
            Some(pattern) => self.keys(&pattern, round.replies),
            None => self.random_key(round),
        }
    }

    fn room(&self, _: usize) -> usize {
        limits::MAX_SCAN
    }

    fn too_large(&self, _: usize) -> String {
        format!("ERR midstream: the keys are more than {} bytes; use SCAN", limits::MAX_SCAN)
    }
}

/// One call of SCAN: of one front.
///
/// ```text
///  cursor:  the front's own cursor ([`crate::scan`]) │ front (6)
/// ```
#[derive(Debug)]
pub(crate) struct ScanFronts {
    fronts: Fronts,
    at: usize,
    pattern: Vec<u8>,
    inner: Scan,
}

impl ScanFronts {
    /// Of a command; with the back end that is to be asked.
    ///
    /// # Errors
    /// Its cursor is none; in the server's words.
    pub fn new(fronts: Fronts, frame: &Frame<'_>) -> Result<Option<(usize, ScanFronts)>, &'static str> {
        let cursor: u64 = std::str::from_utf8(frame.word(1)).ok().and_then(|text| text.parse().ok()).ok_or("ERR invalid cursor")?;
        let given = (2..frame.len()).step_by(2).find(|index| frame.is(*index, "match") && index + 1 < frame.len());
        let pattern = given.map_or(&b"*"[..], |index| frame.word(index + 1)).to_vec();
        let from = (cursor & (MAX_FRONTS as u64 - 1)) as usize;
        let Some((at, behind)) = fronts.next(from, &pattern) else { return Ok(None) };
        let cursor = if at == from { cursor >> FRONT_BITS } else { 0 };
        let mut words: Vec<Vec<u8>> = (0..frame.len()).map(|index| frame.word(index).to_vec()).collect();
        words[1] = cursor.to_string().into_bytes();
        match given {
            Some(index) => words[index + 1] = behind.pattern,
            None if behind.pattern != b"*" => words.extend([b"MATCH".to_vec(), behind.pattern]),
            None => {}
        }
        let bytes = value::command(&words);
        let mut scan = frame::Scan::default();
        if scan.command(&bytes, true).is_err() {
            return Err("ERR syntax error");
        }
        let inner = Scan::new(&Frame { bytes: &bytes, words: &scan.words })?;
        Ok(Some((fronts.fronts[at].cluster, ScanFronts { fronts, at, pattern, inner })))
    }

    fn answer(&self, reply: Vec<u8>) -> Next {
        if is_error(&reply) {
            return Next::Answer(reply);
        }
        self.shown(&reply).unwrap_or_else(|| Next::fail("ERR midstream: the node's answer to SCAN is not understood"))
    }

    fn shown(&self, reply: &[u8]) -> Option<Next> {
        let parts = elements(reply)?;
        let [cursor, keys] = parts.as_slice() else { return None };
        let cursor: u64 = std::str::from_utf8(text(cursor)?).ok()?.parse().ok()?;
        if cursor >> (u64::BITS - FRONT_BITS) > 0 {
            return Some(Next::fail("ERR midstream: the node's SCAN cursor leaves no room for the slot and the route; scan its back end itself"));
        }
        let front = *self.fronts.fronts.get(self.at)?;
        let shown = self.fronts.shown(front, &self.fronts.behind(front, &self.pattern)?, &self.pattern, keys)?;
        let next = match cursor {
            0 => self.fronts.next(self.at + 1, &self.pattern).map_or(0, |(at, _)| at as u64),
            cursor => cursor << FRONT_BITS | self.at as u64,
        };
        let mut out = b"*2\r\n".to_vec();
        bulk(&mut out, next.to_string().as_bytes());
        array(&mut out, shown.len());
        shown.iter().for_each(|key| bulk(&mut out, key));
        Some(Next::Answer(out))
    }
}

impl Fronts {
    /// The first front from there on that may have what matches.
    fn next(&self, from: usize, pattern: &[u8]) -> Option<(usize, Behind)> {
        let rest = self.fronts.iter().enumerate().skip(from);
        rest.into_iter().find_map(|(at, front)| Some((at, self.behind(*front, pattern)?)))
    }
}

impl Errand for ScanFronts {
    fn next(&mut self, round: &Round<'_>) -> Next {
        match self.inner.next(round) {
            Next::Answer(reply) => self.answer(reply),
            other => other,
        }
    }

    fn room(&self, limit: usize) -> usize {
        self.inner.room(limit)
    }

    fn too_large(&self, limit: usize) -> String {
        self.inner.too_large(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::Route;

    /// user: is with the second back end as t7:, session: there too, under its own name; the rest with the first.
    fn fronts() -> Fronts {
        let other = "b".into();
        let routes = vec![Route::new(b"user:", Some(b"t7:"), &other, false), Route::new(b"session:", None, &other, false)];
        Fronts::new(Arc::new(Routes::new(routes, &"a".into())), vec![1, 1, 0])
    }

    fn asked(pattern: &str) -> Vec<(usize, Option<Number>, String)> {
        let fronts = fronts();
        let behind =
            |front: &Front| Some((front.cluster, front.route, String::from_utf8(fronts.behind(*front, pattern.as_bytes())?.pattern).unwrap()));
        fronts.fronts.iter().filter_map(behind).collect()
    }

    #[test]
    fn only_fronts_that_may_have_it_are_asked() {
        assert_eq!(asked("*"), [(1, None, "*".into()), (1, Some(1), "t7:*".into()), (0, None, "*".into())]);
        assert_eq!(asked("user:1*"), [(1, Some(1), "t7:1*".into())]);
        assert_eq!(asked("user:[12]"), [(1, Some(1), "t7:[12]".into())]);
        assert_eq!(asked("us*"), [(1, Some(1), "t7:*".into()), (0, None, "us*".into())]);
        assert_eq!(asked("session:x"), [(1, None, "session:x".into())]);
        assert_eq!(asked("foo"), [(0, None, "foo".into())]);
    }

    #[test]
    fn a_key_is_shown_by_the_front_that_its_name_leads_back_to() {
        let fronts = fronts();
        let [own, renamed, first] = fronts.fronts[..] else { panic!() };
        let show = |front, key: &str| fronts.show(front, key.as_bytes()).map(|key| String::from_utf8(key).unwrap());
        assert_eq!((show(own, "session:1"), show(own, "t7:1"), show(own, "user:1")), (Some("session:1".into()), None, None));
        assert_eq!((show(renamed, "t7:1"), show(renamed, "session:1")), (Some("user:1".into()), None));
        assert_eq!((show(first, "foo"), show(first, "session:1"), show(first, "user:1")), (Some("foo".into()), None, None));
    }
}
