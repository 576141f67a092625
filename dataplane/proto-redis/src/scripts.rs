//! Scripts that clients ran or loaded: a node that does not have one (a new master, one that was restarted) is given it, and the client's
//! EVALSHA runs as if it had been there all the time.

use crate::frame::{Found, Frame, Scan};
use crate::limits;
use crate::machine::Redis;
use crate::table::Command;
use crate::value;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use wire::Io;

/// What is remembered, by digest; the oldest goes when it is too much.
#[derive(Default, Debug)]
pub(crate) struct Scripts {
    bodies: HashMap<[u8; 40], Arc<[u8]>>,
    /// Digests by the hash of their bodies, which is quicker made.
    seen: HashMap<u64, [u8; 40]>,
    hasher: RandomState,
    order: VecDeque<(u64, [u8; 40])>,
    bytes: usize,
}

impl Scripts {
    /// A client ran or loaded that.
    pub fn remember(&mut self, body: &[u8]) {
        let hash = self.hasher.hash_one(body);
        if self.seen.contains_key(&hash) || body.len() > limits::MAX_SCRIPT {
            return;
        }
        let digest = hex(sha1(body));
        self.seen.insert(hash, digest);
        self.bodies.insert(digest, body.into());
        self.order.push_back((hash, digest));
        self.bytes += body.len();
        while self.bytes > limits::MAX_SCRIPTS || self.order.len() > limits::MAX_SCRIPT_COUNT {
            let Some((hash, digest)) = self.order.pop_front() else { break };
            self.seen.remove(&hash);
            self.bytes -= self.bodies.remove(&digest).map_or(0, |body| body.len());
        }
    }

    /// SCRIPT FLUSH: it is to be unknown again.
    pub fn forget(&mut self) {
        *self = Scripts::default();
    }

    /// The command that loads what EVALSHA, whose bytes these are, is about.
    pub fn loading(&self, evalsha: &[u8]) -> Option<Vec<u8>> {
        let mut scan = Scan::default();
        let Ok(Found::Command(_)) = scan.command(evalsha, true) else { return None };
        let frame = Frame { bytes: evalsha, words: &scan.words };
        let digest: [u8; 40] = frame.word(1).to_ascii_lowercase().try_into().ok()?;
        let body = self.bodies.get(&digest)?;
        Some(value::command(&[&b"SCRIPT"[..], b"LOAD", body]))
    }
}

/// The first byte of mail to other workers: scripts were flushed.
pub(crate) const FLUSHED: u8 = b'f';

impl Redis {
    /// A command about scripts.
    pub(crate) fn note_script(&mut self, io: &mut dyn Io, frame: &Frame<'_>, command: &Command) {
        match command.name {
            "eval" | "eval_ro" => self.scripts.remember(frame.word(1)),
            "script|load" => self.scripts.remember(frame.word(2)),
            "function|delete" | "function|flush" => self.functions_deleted(io),
            "script|flush" => {
                self.scripts.forget();
                (0..self.worker.count).filter(|worker| *worker != self.worker.index).for_each(|worker| io.mail(worker, vec![FLUSHED]));
            }
            _ => {}
        }
    }
}

fn hex(digest: [u8; 20]) -> [u8; 40] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = [0; 40];
    for (place, byte) in out.chunks_exact_mut(2).zip(digest) {
        place[0] = DIGITS[usize::from(byte >> 4)];
        place[1] = DIGITS[usize::from(byte & 15)];
    }
    out
}

/// SHA-1 (RFC 3174): the name of a script, not a secret.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize((padded.len() + 8).next_multiple_of(64) - 8, 0);
    padded.extend_from_slice(&(message.len() as u64).wrapping_mul(8).to_be_bytes());
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded.chunks_exact(64) {
        sha1_block(&mut state, block);
    }
    let mut out = [0; 20];
    out.chunks_exact_mut(4).zip(state).for_each(|(place, word)| place.copy_from_slice(&word.to_be_bytes()));
    out
}

fn sha1_block(state: &mut [u32; 5], block: &[u8]) {
    let mut words = [0u32; 80];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    for at in 16..80 {
        words[at] = (words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16]).rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for (at, word) in words.iter().enumerate() {
        let (mixed, constant) = match at {
            0..20 => (b & c | !b & d, 0x5a82_7999),
            20..40 => (b ^ c ^ d, 0x6ed9_eba1),
            40..60 => (b & c | b & d | c & d, 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6_u32),
        };
        let next = a.rotate_left(5).wrapping_add(mixed).wrapping_add(e).wrapping_add(constant).wrapping_add(*word);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
    }
    for (sum, part) in state.iter_mut().zip([a, b, c, d, e]) {
        *sum = sum.wrapping_add(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_servers() {
        // SCRIPT LOAD on valkey 9.1.2, and RFC 3174.
        for (body, digest) in [
            (&b"return 1"[..], "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"),
            (b"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (b"", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            (b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "84983e441c3bd26ebaae4aa1f95129e5e54670f1"),
        ] {
            assert_eq!(std::str::from_utf8(&hex(sha1(body))).unwrap(), digest);
        }
        assert_eq!(std::str::from_utf8(&hex(sha1(&[b'a'; 1_000_000]))).unwrap(), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes() {
        let mut scripts = Scripts::default();
        let script = |number: usize| format!("return {number} --{}", "x".repeat(limits::MAX_SCRIPT - 64));
        (0..limits::MAX_SCRIPTS / limits::MAX_SCRIPT + 8).for_each(|number| scripts.remember(script(number).as_bytes()));
        let known = |scripts: &Scripts, body: &str| {
            let digest = String::from_utf8(hex(sha1(body.as_bytes())).to_vec()).unwrap();
            scripts.loading(&value::command(&["EVALSHA", &digest, "0"])).is_some()
        };
        assert!(scripts.bytes <= limits::MAX_SCRIPTS);
        assert!(!known(&scripts, &script(0)) && known(&scripts, &script(20)));
        scripts.forget();
        assert!(!known(&scripts, &script(20)));
    }
}
