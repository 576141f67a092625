//! Replies leave in order, whole or as they come, and those that nobody wants not at all.

use super::*;
use crate::order::NO_SLOT;

fn fill(ring: &mut Ring, seq: u64, bytes: &[u8]) -> String {
    let mut out = Vec::new();
    ring.fill(seq, bytes, true, &mut out, 0, &Histogram::default());
    String::from_utf8(out).unwrap()
}

#[test]
fn replies_leave_in_the_order_of_requests() {
    let mut ring = Ring::default();
    let seqs: Vec<u64> = (0..3).map(|_| ring.push(Kind::Plain, NO_SLOT, 0, None)).collect();
    assert_eq!(fill(&mut ring, seqs[2], b"+c\r\n"), "");
    assert_eq!(fill(&mut ring, seqs[0], b"+a\r\n"), "+a\r\n");
    assert_eq!(fill(&mut ring, seqs[1], b"+b\r\n"), "+b\r\n+c\r\n");
    assert!(ring.is_empty());
    assert_eq!(fill(&mut ring, seqs[1], b"+late\r\n"), "");
}

#[test]
fn parts_become_one_reply_and_an_error_of_one_is_the_reply() {
    let mut ring = Ring::default();
    let mut split = |replies: [&[u8]; 2]| {
        let head = ring.push(Kind::Head { merge: Merge::Elements, parts: 2, left: 2 }, NO_SLOT, 0, None);
        ring.push(Kind::Part(1), NO_SLOT, 0, None);
        ring.push(Kind::Part(2), NO_SLOT, 0, None);
        assert_eq!(fill(&mut ring, head + 2, replies[1]), "");
        fill(&mut ring, head + 1, replies[0])
    };
    assert_eq!(split([b"*1\r\n$1\r\na\r\n", b"*1\r\n$-1\r\n"]), "*2\r\n$1\r\na\r\n$-1\r\n");
    assert_eq!(split([b"*1\r\n$1\r\na\r\n", b"-ERR no\r\n"]), "-ERR no\r\n");
    assert!(ring.is_empty());
}

#[test]
fn a_reply_that_becomes_the_first_while_it_streams_goes_on_directly() {
    let mut ring = Ring::default();
    let (a, b) = (ring.push(Kind::Plain, NO_SLOT, 0, None), ring.push(Kind::Plain, NO_SLOT, 0, None));
    let mut out = Vec::new();
    let seconds = Histogram::default();
    ring.fill(b, b"$4\r\n12", false, &mut out, 0, &seconds);
    ring.fill(a, b"+a\r\n", true, &mut out, 0, &seconds);
    assert_eq!(out, b"+a\r\n$4\r\n12");
    ring.fill(b, b"34\r\n", true, &mut out, 0, &seconds);
    assert_eq!(out, b"+a\r\n$4\r\n1234\r\n");
}

#[test]
fn what_a_client_does_not_want_is_waited_for_and_thrown_away() {
    let mut ring = Ring::default();
    let mut push = |silence, kind| {
        ring.silence = silence;
        ring.push(kind, NO_SLOT, 0, None)
    };
    let (off, on) = (Silence::OFF, Silence::default());
    let (a, b) = (push(off, Kind::Plain), push(on, Kind::Plain));
    let head = push(off, Kind::Head { merge: Merge::Elements, parts: 1, left: 1 });
    push(off, Kind::Part(1));
    let c = push(on, Kind::Plain);
    assert_eq!(fill(&mut ring, c, b"+c\r\n"), "");
    assert_eq!(fill(&mut ring, head + 1, b"*1\r\n$1\r\nx\r\n"), "");
    assert_eq!(fill(&mut ring, b, b"+b\r\n"), "");
    let mut out = Vec::new();
    ring.fill(a, b"$4\r\n12", false, &mut out, 0, &Histogram::default());
    assert!(out.is_empty() && !ring.is_mid_reply() && ring.take_back(a), "nothing of it is out: it could be asked again");
    assert_eq!(fill(&mut ring, a, b"34\r\n"), "+b\r\n+c\r\n");
    assert!(ring.is_empty());
}
