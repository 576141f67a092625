//! Random numbers for nonces, salts and cancel keys: HMAC-SHA-256 over a counter under a seed, so that a machine is deterministic under a
//! given seed and unpredictable under one from the operating system.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// A stream of secret random bytes.
pub struct Entropy {
    seed: [u8; 32],
    counter: u64,
}

impl Entropy {
    /// Unpredictable. If the system has no entropy, which does not happen on Linux after boot, the process must not run on guessable keys.
    ///
    /// # Panics
    /// See above.
    #[allow(clippy::expect_used)] // no peer can bring this about
    pub fn from_system() -> Entropy {
        let mut seed = [0; 32];
        getrandom::getrandom(&mut seed).expect("the operating system gives random bytes");
        Entropy { seed, counter: 0 }
    }

    /// The same stream each time, for tests.
    pub fn from_seed(seed: [u8; 32]) -> Entropy {
        Entropy { seed, counter: 0 }
    }

    /// The next 32 bytes.
    pub fn draw(&mut self) -> [u8; 32] {
        self.counter += 1;
        self.derive(b"stream", &self.counter.to_be_bytes())
    }

    /// The next number.
    pub fn next_u32(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.draw();
        u32::from_be_bytes([a, b, c, d])
    }

    /// Bytes that depend on the seed, `label` and `data` alone.
    pub fn derive(&self, label: &[u8], data: &[u8]) -> [u8; 32] {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.seed) else { return self.seed };
        mac.update(label);
        mac.update(&[0]);
        mac.update(data);
        mac.finalize().into_bytes().into()
    }
}
