//! The rows of one source that wait for their turn.

/// The source is asked to pause above this: enough that a source is paused and resumed per tens of rows, not per row.
const HIGH: usize = 64 * 1024;
/// And to go on below this.
const LOW: usize = 16 * 1024;

/// Rows in one buffer, each behind its length; read from the front.
#[derive(Debug, Default)]
pub(super) struct Queue {
    bytes: Vec<u8>,
    read: usize,
    full: bool,
}

impl Queue {
    pub(super) fn push(&mut self, body: &[u8]) {
        self.bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(body);
        self.full |= self.bytes.len() - self.read > HIGH;
    }

    pub(super) fn front(&self) -> Option<&[u8]> {
        let rest = self.bytes.get(self.read..)?;
        let length = u64::from_le_bytes(rest.get(..8)?.try_into().ok()?) as usize;
        rest.get(8..8 + length)
    }

    pub(super) fn pop(&mut self) {
        self.read += self.front().map_or(0, |body| body.len() + 8);
        let left = self.bytes.len() - self.read;
        self.full &= left > LOW;
        // Moved only when what is left is the smaller part, so that each byte moves less than once.
        if left <= self.read {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.read == self.bytes.len()
    }

    pub(super) fn has_room(&self) -> bool {
        !self.full
    }
}
