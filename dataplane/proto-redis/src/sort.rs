//! SORT with BY or GET patterns, which lead to keys of other slots, so that the nodes of a cluster deny it: the elements are read, then what
//! they are sorted by, then what is got for those that are left, each where it is; the order is made here, by the server's own rules.
//! Source: <https://redis.io/docs/latest/commands/sort/>.

use crate::errand::{Ask, Errand, Next, Round};
use crate::frame::Frame;
use crate::limits;
use crate::merge::{array, bulk, integer};
use crate::slot::slot_of;
use crate::value::{command, elements, is_error, text};
use std::cmp::Ordering;

/// What a BY or GET names for an element.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Pattern {
    /// `#`: the element itself.
    Own,
    /// A key without `*`: nothing.
    Nothing,
    /// The element between two pieces, perhaps a field of that hash.
    Key { before: Vec<u8>, after: Vec<u8>, field: Option<Vec<u8>> },
}

impl Pattern {
    fn of(word: &[u8]) -> Pattern {
        if word == b"#" {
            return Pattern::Own;
        }
        let Some(star) = word.iter().position(|byte| *byte == b'*') else { return Pattern::Nothing };
        let (before, rest) = (&word[..star], &word[star + 1..]);
        let arrow = rest.windows(2).position(|pair| pair == b"->").filter(|at| at + 2 < rest.len());
        let (after, field) = arrow.map_or((rest, None), |at| (&rest[..at], Some(rest[at + 2..].to_vec())));
        Pattern::Key { before: before.to_vec(), after: after.to_vec(), field }
    }

    fn ask(&self, element: &[u8]) -> Option<Ask> {
        let Pattern::Key { before, after, field } = self else { return None };
        let key = [before, element, after].concat();
        Some(match field {
            Some(field) => Ask::one(slot_of(&key), &[b"HGET", key.as_slice(), field], true),
            None => Ask::one(slot_of(&key), &[b"GET", key.as_slice()], true),
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Start,
    Elements,
    Weights,
    Gets,
    Store,
}

/// One SORT.
#[derive(Debug)]
pub(crate) struct Sort {
    key: Vec<u8>,
    by: Option<Pattern>,
    gets: Vec<Pattern>,
    descending: bool,
    alpha: bool,
    limit: Option<(i64, i64)>,
    store: Option<Vec<u8>>,
    state: State,
    elements: Vec<Vec<u8>>,
    weights: Vec<Option<Vec<u8>>>,
    /// How many were stored.
    stored: usize,
}

impl Sort {
    /// Of a command that has such patterns; `None`: it has none.
    ///
    /// # Errors
    /// Its words behind a pattern make no sense; in the words of a server that takes patterns. Without patterns the node is to say it.
    pub fn of(frame: &Frame<'_>) -> Result<Option<Sort>, &'static str> {
        let mut sort = Sort {
            key: frame.word(1).to_vec(),
            by: None,
            gets: Vec::new(),
            descending: false,
            alpha: false,
            limit: None,
            store: None,
            state: State::Start,
            elements: Vec::new(),
            weights: Vec::new(),
            stored: 0,
        };
        let number = |index: usize| std::str::from_utf8(frame.word(index)).ok()?.parse::<i64>().ok();
        let wrong = |sort: &Sort, error| if sort.has_patterns() { Err(error) } else { Ok(None) };
        let mut at = 2;
        while at < frame.len() {
            let left = frame.len() - at - 1;
            let takes = if frame.is(at, "asc") || frame.is(at, "desc") {
                sort.descending = frame.is(at, "desc");
                0
            } else if frame.is(at, "alpha") {
                sort.alpha = true;
                0
            } else if frame.is(at, "limit") && left >= 2 {
                let (Some(start), Some(count)) = (number(at + 1), number(at + 2)) else {
                    return wrong(&sort, "ERR value is not an integer or out of range");
                };
                sort.limit = Some((start, count));
                2
            } else if frame.is(at, "store") && left >= 1 && frame.is(0, "sort") {
                sort.store = Some(frame.word(at + 1).to_vec());
                1
            } else if frame.is(at, "by") && left >= 1 {
                sort.by = Some(Pattern::of(frame.word(at + 1)));
                1
            } else if frame.is(at, "get") && left >= 1 {
                sort.gets.push(Pattern::of(frame.word(at + 1)));
                1
            } else {
                return wrong(&sort, "ERR syntax error");
            };
            at += 1 + takes;
        }
        Ok(Some(sort).filter(Sort::has_patterns))
    }

    fn has_patterns(&self) -> bool {
        matches!(self.by, Some(Pattern::Key { .. })) || self.gets.iter().any(|get| *get != Pattern::Own)
    }

    fn start(&mut self) -> Next {
        self.state = State::Elements;
        let mut words = vec![&b"SORT"[..], &self.key, b"BY", b"nosort"];
        words.extend(self.descending.then_some(&b"DESC"[..]));
        let slot = slot_of(&self.key);
        Next::Ask(vec![Ask::one(slot, &words, true), Ask::one(slot, &[b"TYPE", self.key.as_slice()], true)])
    }

    fn keeps_order(&self) -> bool {
        matches!(self.by, Some(Pattern::Nothing | Pattern::Own))
    }

    fn took_elements(&mut self, resp: u8, replies: &[Vec<u8>]) -> Next {
        let [list, kind] = replies else { return Next::fail("ERR midstream: a reply is missing") };
        self.elements = elements(list).unwrap_or_default().iter().filter_map(|element| text(element)).map(<[u8]>::to_vec).collect();
        // What is stored of a set has an order all the same.
        if self.keeps_order() && self.store.is_some() && text(kind) == Some(b"set") {
            (self.by, self.alpha) = (None, true);
        }
        if self.elements.len() > limits::MAX_SORTED || self.elements.len().saturating_mul(self.gets.len()) > limits::MAX_SORTED {
            let error = format!("ERR midstream: SORT by patterns is limited to {} look-ups, as each is in a slot of its own", limits::MAX_SORTED);
            return Next::fail(&error);
        }
        let by = self.by.clone().unwrap_or(Pattern::Own);
        let asks: Vec<Ask> = self.elements.iter().filter_map(|element| by.ask(element)).collect();
        self.state = State::Weights;
        if asks.is_empty() { self.took_weights(resp, &[]) } else { Next::Ask(asks) }
    }

    fn took_weights(&mut self, resp: u8, replies: &[Vec<u8>]) -> Next {
        self.weights = match &self.by {
            Some(Pattern::Key { .. }) => replies.iter().map(|reply| text(reply).map(<[u8]>::to_vec)).collect(),
            _ => self.elements.iter().cloned().map(Some).collect(),
        };
        if !self.keeps_order()
            && let Err(error) = self.order()
        {
            return Next::fail(error);
        }
        self.cut();
        let asks: Vec<Ask> = self.elements.iter().flat_map(|element| self.gets.iter().filter_map(|get| get.ask(element))).collect();
        self.state = State::Gets;
        if asks.is_empty() { self.took_gets(resp, &[]) } else { Next::Ask(asks) }
    }

    fn order(&mut self) -> Result<(), &'static str> {
        let number = |weight: &Option<Vec<u8>>| {
            let Some(weight) = weight.as_deref().filter(|weight| !weight.is_empty()) else { return Ok(0.0) };
            let number: Option<f64> = std::str::from_utf8(weight).ok().and_then(|text| text.parse().ok());
            number.filter(|number| !number.is_nan()).ok_or("ERR One or more scores can't be converted into double")
        };
        let numbers: Vec<f64> = if self.alpha { Vec::new() } else { self.weights.iter().map(number).collect::<Result<_, _>>()? };
        let compare = |a: &usize, b: &usize| {
            let order = match (numbers.get(*a), numbers.get(*b)) {
                (Some(one), Some(other)) => one.partial_cmp(other).unwrap_or(Ordering::Equal).then_with(|| self.elements[*a].cmp(&self.elements[*b])),
                _ => self.weights[*a].cmp(&self.weights[*b]),
            };
            if self.descending { order.reverse() } else { order }
        };
        let mut places: Vec<usize> = (0..self.elements.len()).collect();
        places.sort_by(compare);
        self.elements = places.into_iter().map(|place| self.elements[place].clone()).collect();
        Ok(())
    }

    fn cut(&mut self) {
        let Some((start, count)) = self.limit else { return };
        let start = usize::try_from(start).unwrap_or(0).min(self.elements.len());
        self.elements.drain(..start);
        if let Ok(count) = usize::try_from(count) {
            self.elements.truncate(count);
        }
    }

    fn took_gets(&mut self, resp: u8, replies: &[Vec<u8>]) -> Next {
        let mut replies = replies.iter();
        let mut values: Vec<Option<&[u8]>> = Vec::new();
        for element in &self.elements {
            if self.gets.is_empty() {
                values.push(Some(element));
            }
            for get in &self.gets {
                values.push(match get {
                    Pattern::Own => Some(element),
                    Pattern::Nothing => None,
                    Pattern::Key { .. } => replies.next().and_then(|reply| text(reply)),
                });
            }
        }
        if let Some(store) = &self.store {
            let mut commands = vec![command(&[b"DEL", store.as_slice()])];
            let stored = values.len();
            if stored > 0 {
                let words = [&b"RPUSH"[..], store].into_iter().chain(values.into_iter().map(Option::unwrap_or_default));
                commands.push(command(&words.collect::<Vec<_>>()));
            }
            self.state = State::Store;
            let ask = Ask::batch(slot_of(store), &commands, true);
            self.stored = stored;
            return Next::Ask(vec![ask]);
        }
        let mut reply = Vec::new();
        array(&mut reply, values.len());
        for value in values {
            match (value, resp) {
                (Some(value), _) => bulk(&mut reply, value),
                (None, 3) => reply.extend_from_slice(b"_\r\n"),
                (None, _) => reply.extend_from_slice(b"$-1\r\n"),
            }
        }
        Next::Answer(reply)
    }

    fn stored(&self, reply: &[u8]) -> Next {
        if is_error(reply) {
            return Next::Answer(reply.to_vec());
        }
        let mut count = Vec::new();
        integer(&mut count, self.stored as i64);
        Next::Answer(count)
    }
}

impl Errand for Sort {
    fn next(&mut self, round: &Round<'_>) -> Next {
        let reads = matches!(self.state, State::Weights | State::Gets);
        // A key of another type has nothing to be looked up.
        if let Some(error) = round.replies.iter().find(|reply| is_error(reply) && !(reads && reply.starts_with(b"-WRONGTYPE"))) {
            return Next::Answer(error.clone());
        }
        match self.state {
            State::Start => self.start(),
            State::Elements => self.took_elements(round.resp, round.replies),
            State::Weights => self.took_weights(round.resp, round.replies),
            State::Gets => self.took_gets(round.resp, round.replies),
            State::Store => self.stored(round.reply()),
        }
    }

    fn is_heavy(&self) -> bool {
        true
    }
}
