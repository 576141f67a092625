//! What connections cost in memory. A binary of its own, and one test after the other, as the figure is that of the whole process.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test says what went wrong by panicking

mod common;

use common::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::channel;

static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_stalled_reader_costs_bounded_memory() {
    let _alone = ALONE.lock();
    const N: usize = 200_000_000;
    let (tell, told) = channel();
    let server = server(move |mut stream| {
        let piece = pattern(1 << 20, 5);
        let mut left = N;
        while left > 0 {
            let n = left.min(piece.len());
            stream.write_all(&piece[..n]).unwrap();
            left -= n;
            let _ = tell.send(N - left);
        }
    });
    let (_rig, address) = relay_to(server);
    let before = resident();
    let mut client = connect(address);
    // The server comes to a stop when every buffer between it and the client is full.
    let mut written = 0;
    while let Ok(n) = told.recv_timeout(std::time::Duration::from_millis(500)) {
        written = n;
    }
    assert!(written < N / 2, "{written} bytes went nowhere");
    let grown = resident().saturating_sub(before);
    assert!(grown < 8_000_000, "the process grew by {grown} bytes");
    let mut buffer = vec![0; 1 << 20];
    let mut read = 0;
    while read < N {
        read += client.read(&mut buffer).unwrap();
    }
    assert_eq!(read, N);
}

#[test]
fn idle_connections_cost_little() {
    let _alone = ALONE.lock();
    let rig = rig(echo());
    let address = rig.serve(none());
    let open = |n: usize| -> Vec<TcpStream> {
        let mut clients: Vec<TcpStream> = (0..n).map(|_| connect(address)).collect();
        clients.iter_mut().for_each(|client| {
            client.write_all(b"x").unwrap();
            assert_eq!(read_n(client, 1), b"x");
        });
        clients
    };
    let few = open(50);
    let before = resident();
    let many = open(400);
    let grown = resident().saturating_sub(before);
    assert!(grown / many.len() < 5_000, "{} bytes per idle connection", grown / many.len());
    drop(few);
}

/// Resident bytes of this process.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
