//! Upcalls on their way to the brain: a bounded queue, and a descriptor that wakes an asyncio loop.

use engine::{Asked, UpcallSink};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

/// Parked sessions that may wait at once; beyond that a session gets its error at once instead of a plan too late.
const MAX_WAITING: usize = 4096;

/// The queue. Pushed by workers, emptied by the brain.
pub struct Upcalls {
    waiting: Mutex<VecDeque<Asked>>,
    wake: UnixStream,
    woken: UnixStream,
}

impl Upcalls {
    pub fn new() -> std::io::Result<Upcalls> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        Ok(Upcalls { waiting: Mutex::default(), wake, woken })
    }

    pub fn descriptor(&self) -> RawFd {
        self.woken.as_raw_fd()
    }

    /// All that wait. The descriptor is emptied first: what is pushed meanwhile makes it readable again.
    pub fn take(&self) -> VecDeque<Asked> {
        let mut bytes = [0; 64];
        while matches!((&self.woken).read(&mut bytes), Ok(n) if n == bytes.len()) {}
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl UpcallSink for Upcalls {
    fn offer(&self, asked: Asked) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MAX_WAITING {
            return false;
        }
        waiting.push_back(asked);
        if waiting.len() == 1 {
            // A full pipe is as good as one more byte: the brain is awake already.
            let _ = (&self.wake).write(&[0]);
        }
        true
    }
}
