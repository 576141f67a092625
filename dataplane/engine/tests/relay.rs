//! Bytes from here to there: all of them, in order, in bounded memory, whatever the pieces they come in.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test says what went wrong by panicking

mod common;

use common::*;
use std::io::Write;
use std::net::Shutdown;

#[test]
fn what_is_sent_comes_back() {
    let (_rig, address) = relay_to(echo_server());
    let mut client = connect(address);
    for n in [1, 100, 5_000, 40_000, 131_072, 300_000, 3_000_000] {
        let sent = pattern(n, n as u64);
        let writer = write_behind(&client, sent.clone());
        assert!(read_n(&mut client, n) == sent, "{n} bytes");
        writer.join().unwrap();
    }
}

#[test]
fn a_client_that_sends_no_more_still_gets_its_answer() {
    let server = server(|mut stream| {
        let asked = read_all(&mut stream);
        stream.write_all(format!("{} bytes", asked.len()).as_bytes()).unwrap();
    });
    let (_rig, address) = relay_to(server);
    let mut client = connect(address);
    client.write_all(&pattern(500_000, 1)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), b"500000 bytes");
}

#[test]
fn the_last_words_of_a_server_arrive() {
    let answer = pattern(1_000_000, 9);
    let last_words = answer.clone();
    let (_rig, address) = relay_to(server(move |mut stream| {
        read_n(&mut stream, 1);
        stream.write_all(&last_words).unwrap();
    }));
    let mut client = connect(address);
    client.write_all(b"?").unwrap();
    assert!(read_all(&mut client) == answer);
}

#[test]
fn a_server_that_speaks_first_is_always_heard() {
    // The greeting may arrive with the very event that says the connection is up, or after it: both happen within some hundred connections.
    let (_rig, address) = relay_to(server(|mut stream| stream.write_all(b"welcome").unwrap()));
    for _ in 0..500 {
        assert_eq!(read_all(&mut connect(address)), b"welcome");
    }
}

#[test]
fn a_refused_server_closes_the_client() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (rig, address) = relay_to(nobody);
    assert_eq!(read_all(&mut connect(address)), b"");
    assert_eq!(rig.count("midstream_dial_failures_total"), 1);
}

#[test]
fn a_hundred_connections_in_random_pieces_stay_equal() {
    let (_rig, address) = relay_to(echo_server());
    let clients: Vec<_> = (0..100u64)
        .map(|seed| {
            std::thread::spawn(move || {
                let mut client = connect(address);
                let sent = pattern(200_000 + 1_000 * seed as usize, seed);
                let mut writer = client.try_clone().unwrap();
                let pieces = sent.clone();
                let writing = std::thread::spawn(move || {
                    let (mut at, mut dice) = (0, seed + 1);
                    while at < pieces.len() {
                        dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1);
                        let n = [1, 7, 1_000, 20_000, 70_000][(dice >> 40) as usize % 5].min(pieces.len() - at);
                        writer.write_all(&pieces[at..at + n]).unwrap();
                        at += n;
                    }
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                assert!(read_all(&mut client) == sent, "connection {seed}");
                writing.join().unwrap();
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
}
