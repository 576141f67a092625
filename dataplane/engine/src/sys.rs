//! The system calls that have no safe wrapper: pipe2(2), fcntl(2), splice(2) and mallopt(3). All unsafe code of the engine is in this file.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

/// One splice moves at most this much. The default pipe of 64 KiB halves the gain; a larger one leaves the processor's cache.
pub(crate) const PIPE_SIZE: usize = 256 * 1024;

/// Buffers from this size on are pages of their own, which go back to the system when they are freed. Left to itself glibc moves this bound
/// up to the largest buffer it ever saw, and keeps what one large message took.
#[cfg(target_env = "gnu")]
const OWN_PAGES: libc::c_int = 1024 * 1024;

/// Has large buffers given back. For the whole process, once.
pub(crate) fn give_back_large_buffers() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two integers and is to be called before other threads are; where it comes later, some allocations are placed by
    // the former bounds, which is as valid.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * OWN_PAGES);
    }
}

/// A kernel buffer that bytes pass through on their way from one socket to another without being copied.
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

impl Pipe {
    /// A new, empty pipe. Where the user's pipe quota is used up it keeps the kernel's default size, which is right, only slower.
    pub fn new() -> io::Result<Pipe> {
        let mut ends = [0; 2];
        // SAFETY: `ends` is an array of two ints that the kernel writes; it outlives the call.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: pipe2 succeeded, so both are open descriptors that nobody else owns.
        let (read, write) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
        // SAFETY: fcntl with an integer argument on a descriptor that is open; it touches no memory of ours.
        unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_SIZE as libc::c_int) };
        Ok(Pipe { read, write, held: 0 })
    }

    /// How many bytes are inside.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Moves up to `n` bytes from a socket into the pipe. Called only when the pipe is empty, so that "would block" means the socket.
    /// Returns 0 when the peer has sent all.
    pub fn fill(&mut self, from: &impl AsRawFd, n: usize) -> io::Result<usize> {
        let moved = splice(from.as_raw_fd(), self.write.as_raw_fd(), n.min(PIPE_SIZE), false)?;
        self.held += moved;
        Ok(moved)
    }

    /// Moves what is inside to a socket; `more` says that the frame goes on, so that the kernel fills its segments.
    pub fn drain(&mut self, to: &impl AsRawFd, more: bool) -> io::Result<usize> {
        let moved = splice(self.read.as_raw_fd(), to.as_raw_fd(), self.held, more)?;
        self.held -= moved.min(self.held);
        Ok(moved)
    }
}

fn splice(from: libc::c_int, to: libc::c_int, n: usize, more: bool) -> io::Result<usize> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK | if more { libc::SPLICE_F_MORE } else { 0 };
    loop {
        // SAFETY: both descriptors are borrowed from owners that outlive the call; null offsets are what pipes and sockets need.
        let moved = unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), n, flags) };
        if let Ok(moved) = usize::try_from(moved) {
            return Ok(moved);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
