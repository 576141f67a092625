//! Listening sockets come and go while connections stay; the process ends in order.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test says what went wrong by panicking

mod common;

use common::*;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use wire::{Close, Event, Io, Key, Opened, Slab};

/// Tells each client the listener and the configuration it came under, then echoes.
fn teller() -> impl wire::Family + 'static {
    scripted(|_| {
        let mut conf = 0;
        move |io: &mut dyn Io, key: Key, what: Happening<'_>| {
            match what {
                Happening::Configured(new) => conf = *new.downcast_ref::<u32>().unwrap(),
                Happening::Opened(Opened::Client { listener, facet }) => {
                    io.out(key).extend_from_slice(format!("{listener}/{facet}/{conf}").as_bytes());
                }
                Happening::Data(_, bytes) => {
                    io.out(key).extend_from_slice(bytes);
                    return Ok(bytes.len());
                }
                _ => {}
            }
            Ok(0)
        }
    })
}

fn conf(n: u32) -> wire::Conf {
    Arc::new(n)
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn still_echoes(client: &mut TcpStream) {
    client.write_all(b"ping").unwrap();
    assert_eq!(read_n(client, 4), b"ping");
}

#[test]
fn listeners_change_and_connections_stay() {
    let rig = rig(teller());
    let (a, b) = (free_address(), free_address());
    assert_eq!(rig.apply(0, conf(1), vec![bind_at("a", a)]), []);
    let mut first = connect(a);
    assert_eq!(read_n(&mut first, 5), b"a/0/1");
    // a keeps its address; b is new.
    assert_eq!(rig.apply(0, conf(2), vec![bind_at("a", a), bind_at("b", b)]), []);
    assert_eq!(read_n(&mut connect(a), 5), b"a/0/2");
    assert_eq!(read_n(&mut connect(b), 5), b"b/0/2");
    still_echoes(&mut first);
    // b takes a's address over, and its own goes away.
    assert_eq!(rig.apply(0, conf(3), vec![bind_at("b", a)]), []);
    assert_eq!(read_n(&mut connect(a), 5), b"b/0/3");
    assert!(TcpStream::connect(b).is_err());
    still_echoes(&mut first);
    assert_eq!(rig.apply(0, conf(4), vec![]), []);
    assert!(TcpStream::connect(a).is_err());
    still_echoes(&mut first);
}

#[test]
fn an_address_in_use_fails_alone() {
    let rig = rig(teller());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (bad, good) = (taken.local_addr().unwrap(), free_address());
    let failed = rig.apply(0, conf(1), vec![bind_at("bad", bad), bind_at("good", good), bind_at("twin", good)]);
    let failed: Vec<_> = failed.iter().map(|one| (&*one.listener, one.address.ip().unwrap(), one.reason.as_str())).collect();
    let expected = [("twin", good, "the address is that of Listener/good already"), ("bad", bad, "the address is in use by another process")];
    assert_eq!(failed, expected);
    assert_eq!(read_n(&mut connect(good), 8), b"good/0/1");
    // Two sidecars on one address are an error for the second.
    let second = crate::rig(teller());
    assert_eq!(second.apply(0, conf(1), vec![bind_at("good", good)]).len(), 1);
    // Once the address is free, the same plan succeeds.
    drop(taken);
    assert_eq!(rig.apply(0, conf(2), vec![bind_at("bad", bad), bind_at("good", good)]), []);
    assert_eq!(read_n(&mut connect(bad), 7), b"bad/0/2");
}

#[test]
fn a_listener_that_cannot_move_stays_where_it_was() {
    let rig = rig(teller());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let old = free_address();
    assert_eq!(rig.apply(0, conf(1), vec![bind_at("l", old)]), []);
    assert_eq!(rig.apply(0, conf(2), vec![bind_at("l", taken.local_addr().unwrap())]).len(), 1);
    assert_eq!(read_n(&mut connect(old), 5), b"l/0/2");
}

#[test]
fn a_wildcard_gives_way_to_one_address() {
    let rig = rig(teller());
    let one = free_address();
    let all = SocketAddr::from(([0, 0, 0, 0], one.port()));
    assert_eq!(rig.apply(0, conf(1), vec![bind_at("l", all)]), []);
    assert_eq!(rig.apply(0, conf(2), vec![bind_at("l", one)]), []);
    assert_eq!(read_n(&mut connect(one), 5), b"l/0/2");
}

#[test]
fn families_that_are_not_named_keep_what_they_have() {
    let rig = rig_with(vec![Arc::new(teller()), Arc::new(teller())], 1, 100, true);
    assert_eq!(rig.apply(0, conf(1), vec![bind("a")]), []);
    assert_eq!(rig.apply(1, conf(2), vec![bind("b")]), []);
    assert_eq!(read_n(&mut connect(rig.address("a")), 5), b"a/0/1");
    let failed = rig.apply(1, conf(3), vec![bind_at("b", rig.address("a"))]);
    assert_eq!(failed.len(), 1);
}

#[test]
fn clients_go_where_there_are_fewest() {
    let rig = rig_with(vec![Arc::new(teller())], 2, 100, true);
    let address = rig.serve(conf(1));
    let mut clients: Vec<TcpStream> = (0..10).map(|_| connect(address)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(read_n(client, 5), b"l/0/1"));
    assert_eq!(rig.engine.status().iter().map(|worker| worker.clients).collect::<Vec<_>>(), [5, 5]);
}

#[test]
fn more_clients_than_allowed_are_refused_and_counted() {
    let rig = rig_with(vec![Arc::new(teller())], 1, 2, true);
    let address = rig.serve(conf(1));
    let mut held: Vec<TcpStream> = (0..2).map(|_| connect(address)).collect();
    held.iter_mut().for_each(|client| assert_eq!(read_n(client, 5), b"l/0/1"));
    assert_eq!(connect(address).read(&mut [0]).unwrap_or(0), 0);
    assert_eq!(rig.count("midstream_connections_refused_total{reason=\"connection limit\"}"), 1);
    still_echoes(&mut held[0]);
}

/// Closes its clients when the process drains, after they sent one more byte.
fn drainer() -> impl wire::Family + 'static {
    scripted(|_| {
        let mut clients: Slab<()> = Slab::default();
        let mut is_draining = false;
        move |io: &mut dyn Io, key: Key, what: Happening<'_>| {
            match what {
                Happening::Opened(_) => {
                    clients.insert(key, ());
                    io.out(key).push(b'.');
                }
                Happening::Event(_, Event::Drain { .. }) => {
                    is_draining = true;
                    clients.keys().into_iter().for_each(|client| io.out(client).push(b'd'));
                }
                Happening::Data(_, bytes) => {
                    io.out(key).extend_from_slice(bytes);
                    if is_draining {
                        clients.remove(key);
                        io.close(key, Close::Flush);
                    }
                    return Ok(bytes.len());
                }
                _ => {}
            }
            Ok(0)
        }
    })
}

#[test]
fn a_drain_waits_for_the_clients_to_finish() {
    let rig = rig_with(vec![Arc::new(drainer())], 2, 100, true);
    let address = rig.serve(conf(1));
    let mut clients: Vec<TcpStream> = (0..4).map(|_| connect(address)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(read_n(client, 1), b"."));
    let engine = Arc::clone(&rig.engine);
    let draining = std::thread::spawn(move || engine.drain(PATIENCE));
    for client in &mut clients {
        assert_eq!(read_n(client, 1), b"d");
        assert!(TcpStream::connect(address).is_err(), "it still accepts");
        client.write_all(b"z").unwrap();
        assert_eq!(read_all(client), b"z");
    }
    drop(clients);
    assert!(draining.join().unwrap());
}

#[test]
fn a_drain_cuts_what_is_left_at_the_deadline() {
    let rig = rig(drainer());
    let mut client = connect(rig.serve(conf(1)));
    assert_eq!(read_n(&mut client, 1), b".");
    assert!(!rig.engine.drain(Duration::from_millis(50)));
    assert_eq!(read_n(&mut client, 1), b"d");
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    assert_eq!(rig.engine.status()[0].clients, 0);
}
