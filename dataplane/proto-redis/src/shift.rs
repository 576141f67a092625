//! LMOVE and its kin from a list in one slot to a list in another.
//!
//! ```text
//!  claim the element at the source's end ──nothing──> null, or wait for it
//!    │  (a claim is a key beside the source: of two that move from one list one waits)
//!  push it on the destination ──error──> give the claim back, tell
//!    │
//!  pop it from the source, if it is still at its end, and end the claim ──another client popped it──> take it off the destination, start over
//! ```
//! First pushed, then popped: whatever ends this half-way, the element is in one list or in both, never in none. A step whose fate is
//! unknown is told, and the claim ends by itself.

use crate::errand::{Ask, Errand, Next, Round};
use crate::frame::Frame;
use crate::patience::Patience;
use crate::pops::unblocked;
use crate::slot::slot_of;
use crate::table::Command;
use crate::tag::tag_of_slot;
use crate::value::{integer_of, is_error, is_null, text};
use wire::SECONDS;

/// How long a claim holds at most, in milliseconds: beyond any retry of its steps.
const CLAIM_MS: &str = "60000";
/// How long a command that does not block waits for another's claim.
const WAIT_FOR_CLAIM: u64 = 10 * SECONDS;

const CLAIM: &str = "local e = redis.pcall('LINDEX', KEYS[1], ARGV[1]) \
    if type(e) == 'table' or not e then return e end \
    if redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3]) or redis.call('GET', KEYS[2]) == ARGV[2] then return e end \
    return 0";
const POP: &str = "if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 2 end \
    redis.call('DEL', KEYS[2]) \
    if redis.pcall('LINDEX', KEYS[1], ARGV[1]) ~= ARGV[3] then return 0 end \
    redis.call(ARGV[4], KEYS[1]) return 1";
const GIVE_BACK: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 0";

#[derive(Debug)]
enum State {
    Start,
    Claim,
    Push(Vec<u8>),
    Pop(Vec<u8>),
    Undo,
    /// The claim is given back; then this is said.
    Tell(Vec<u8>),
}

/// An element on its way.
#[derive(Debug)]
pub(crate) struct Shift {
    state: State,
    source: Vec<u8>,
    destination: Vec<u8>,
    /// From the left end, to the left end.
    from_left: bool,
    to_left: bool,
    claim: Vec<u8>,
    id: String,
    blocks: bool,
    patience: Patience,
    resp: u8,
}

impl Shift {
    /// Of LMOVE, RPOPLPUSH, BLMOVE or BRPOPLPUSH.
    ///
    /// # Errors
    /// Its words make no sense; in the server's words.
    pub fn new(frame: &Frame<'_>, command: &Command, dice: u64) -> Result<Shift, &'static str> {
        let blocks = command.has("blocking");
        let side = |index: usize| match (frame.is(index, "left"), frame.is(index, "right")) {
            (false, false) => Err("ERR syntax error"),
            (left, _) => Ok(left),
        };
        let (from_left, to_left) = if command.name.ends_with("lmove") { (side(3)?, side(4)?) } else { (false, true) };
        let patience = if blocks { Patience::seconds(frame, frame.len() - 1)? } else { Patience::new(WAIT_FOR_CLAIM) };
        let source = frame.word(1).to_vec();
        let claim = [format!("midstream:{{{}}}:moving:", tag_of_slot(slot_of(&source))).as_bytes(), &source].concat();
        Ok(Shift {
            state: State::Start,
            destination: frame.word(2).to_vec(),
            source,
            from_left,
            to_left,
            claim,
            id: format!("{dice:016x}"),
            blocks,
            patience,
            resp: 2,
        })
    }

    fn end(&self) -> &'static [u8] {
        if self.from_left { b"0" } else { b"-1" }
    }

    /// A script at the source, about it and its claim. All of them may be repeated: they know their own claim.
    fn at_source(&self, script: &str, arguments: &[&[u8]]) -> Next {
        let mut words = vec![&b"EVAL"[..], script.as_bytes(), b"2", &self.source, &self.claim, self.end(), self.id.as_bytes()];
        words.extend(arguments);
        Next::Ask(vec![Ask::one(slot_of(&self.source), &words, true)])
    }

    fn at_destination(&self, words: &[&[u8]]) -> Next {
        Next::Ask(vec![Ask::one(slot_of(&self.destination), words, false)])
    }

    fn claim(&mut self) -> Next {
        self.state = State::Claim;
        self.at_source(CLAIM, &[CLAIM_MS.as_bytes()])
    }

    fn claimed(&mut self, round: &Round<'_>) -> Next {
        let reply = round.reply();
        if let Some(element) = text(reply) {
            self.state = State::Push(element.to_vec());
            let push: &[u8] = if self.to_left { b"LPUSH" } else { b"RPUSH" };
            return self.at_destination(&[push, &self.destination, element]);
        }
        if is_error(reply) {
            return Next::Answer(reply.to_vec());
        }
        self.state = State::Start;
        if !is_null(reply) {
            let busy = "TRYAGAIN midstream: other clients move elements from this list to another slot";
            return self.patience.soon(round.now).unwrap_or_else(|| if self.blocks { Next::Answer(round.null_array()) } else { Next::fail(busy) });
        }
        match self.blocks.then(|| self.patience.pause(round.now)) {
            Some(pause) => pause.unwrap_or_else(|| Next::Answer(round.null_array())),
            None => Next::Answer(round.null()),
        }
    }

    fn pushed(&mut self, element: Vec<u8>, reply: &[u8]) -> Next {
        if is_error(reply) {
            self.state = State::Tell(reply.to_vec());
            let words = [&b"EVAL"[..], GIVE_BACK.as_bytes(), b"1", &self.claim, self.id.as_bytes()];
            return Next::Ask(vec![Ask::one(slot_of(&self.source), &words, true)]);
        }
        let pop: &[u8] = if self.from_left { b"LPOP" } else { b"RPOP" };
        let next = self.at_source(POP, &[&element, pop]);
        self.state = State::Pop(element);
        next
    }

    fn popped(&mut self, element: &[u8], reply: &[u8]) -> Next {
        if is_error(reply) {
            return Next::Answer(reply.to_vec());
        }
        if integer_of(reply) != Some(0) {
            let mut out = Vec::new();
            crate::merge::bulk(&mut out, element);
            return Next::Answer(out);
        }
        self.state = State::Undo;
        let which: &[u8] = if self.to_left { b"1" } else { b"-1" };
        self.at_destination(&[b"LREM", &self.destination, which, element])
    }
}

impl Errand for Shift {
    fn next(&mut self, round: &Round<'_>) -> Next {
        self.resp = round.resp;
        self.patience.begin(round.now);
        match std::mem::replace(&mut self.state, State::Start) {
            State::Start => self.claim(),
            State::Claim => self.claimed(round),
            State::Push(element) => self.pushed(element, round.reply()),
            State::Pop(element) => self.popped(&element, round.reply()),
            State::Undo if is_error(round.reply()) => Next::Answer(round.reply().to_vec()),
            State::Undo => self.claim(),
            State::Tell(reply) => Next::Answer(reply),
        }
    }

    fn waits_for(&self) -> Vec<Vec<u8>> {
        if self.blocks { vec![self.source.clone(), self.destination.clone()] } else { Vec::new() }
    }

    fn unblock(&mut self, error: bool) -> Option<Vec<u8>> {
        self.blocks.then(|| unblocked(self.resp, error))
    }
}
