//! A process that has no descriptor left. In a binary of its own, as the limit is that of the whole process.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test says what went wrong by panicking
#![allow(unsafe_code)] // setrlimit has no safe wrapper in what this crate uses

mod common;

use common::*;
use std::fs::File;
use std::io::Write;

#[test]
fn running_out_of_descriptors_is_survived() {
    let few = libc::rlimit { rlim_cur: 128, rlim_max: 128 };
    // SAFETY: `few` outlives the call, which only reads it.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &few) }, 0);
    let rig = rig(echo());
    let address = rig.serve(none());
    let mut hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    // One for the client; its other end waits in the kernel.
    hoard.pop();
    let mut client = connect(address);
    client.write_all(b"patience").unwrap();
    assert!(rig.log.recv_timeout(PATIENCE).unwrap().contains("l: a client has to wait: "));
    assert!(rig.count("midstream_accept_exhausted_total") > 0);
    drop(hoard);
    assert_eq!(read_n(&mut client, 8), b"patience");
}
