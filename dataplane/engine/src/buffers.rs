//! Output buffers and tails, reused.
//!
//! A connection owns a buffer only while it holds bytes, so that an idle connection costs its row and nothing else.

/// What most requests and replies fit in; a buffer that grew no further than this goes back to the small list.
const SMALL: usize = 16 * 1024;
/// Buffers of a busy stream: the high-water mark plus one read turn. Larger ones came from one large message and are freed.
const BIG: usize = 512 * 1024;
/// 256 small ones are at most 4 MiB on a worker that had 256 connections talking at once.
const KEEP_SMALL: usize = 256;
/// 8 big ones are at most 4 MiB.
const KEEP_BIG: usize = 8;

/// A worker's spare buffers.
#[derive(Default)]
pub(crate) struct Buffers {
    small: Vec<Vec<u8>>,
    big: Vec<Vec<u8>>,
}

impl Buffers {
    /// An empty buffer that has capacity where one was spare.
    pub fn take(&mut self) -> Vec<u8> {
        self.small.pop().or_else(|| self.big.pop()).unwrap_or_else(|| Vec::with_capacity(1024))
    }

    /// Takes a buffer back.
    pub fn give(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        let (list, keep) = if capacity <= SMALL { (&mut self.small, KEEP_SMALL) } else { (&mut self.big, KEEP_BIG) };
        if capacity > 0 && capacity <= BIG && list.len() < keep {
            buffer.clear();
            list.push(buffer);
        }
    }
}

/// Whether a buffer grew far beyond what it holds now.
pub(crate) fn is_wasteful(buffer: &Vec<u8>) -> bool {
    buffer.capacity() > BIG && buffer.capacity() / 4 > buffer.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_large_message_needed_is_not_kept() {
        let mut buffers = Buffers::default();
        buffers.give(Vec::with_capacity(BIG + 1));
        assert!(buffers.small.is_empty() && buffers.big.is_empty());
        for _ in 0..KEEP_BIG + 1 {
            buffers.give(Vec::with_capacity(SMALL + 1));
        }
        assert_eq!(buffers.big.len(), KEEP_BIG);
    }

    #[test]
    fn a_buffer_comes_back_empty() {
        let mut buffers = Buffers::default();
        buffers.give(b"secret".to_vec());
        assert!(buffers.take().is_empty());
    }
}
