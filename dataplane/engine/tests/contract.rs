//! What the contract says of bytes, time, the brain and the end of connections, on real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test says what went wrong by panicking

mod common;

use common::*;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use wire::{Close, Event, Fault, Io, Key, MILLIS, Opened, SECONDS, Side, Upcall, Why};

#[test]
fn the_unconsumed_rest_comes_again_with_what_follows() {
    // Lines, each answered with its length; an unfinished line is not consumed.
    let rig = rig(scripted(|_| {
        |io: &mut dyn Io, key: Key, what: Happening<'_>| {
            let Happening::Data(_, bytes) = what else { return Ok(0) };
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(0) };
            io.out(key).extend_from_slice(format!("{end},").as_bytes());
            Ok(end + 1)
        }
    }));
    let mut client = connect(rig.serve(none()));
    client.set_nodelay(true).unwrap();
    for piece in ["a", "b", "\ncc\nd", "dd\n"] {
        client.write_all(piece.as_bytes()).unwrap();
    }
    assert_eq!(read_n(&mut client, 6), b"2,2,3,");
    let mut long = vec![b'x'; 3_000_000];
    long.push(b'\n');
    client.write_all(&long).unwrap();
    assert_eq!(read_n(&mut client, 8), b"3000000,");
}

#[test]
fn a_wanted_length_spares_the_calls_before_it() {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let rig = rig(scripted(move |_| {
        let tell = tell.lock().unwrap().clone();
        move |io: &mut dyn Io, key: Key, what: Happening<'_>| {
            let Happening::Data(_, bytes) = what else { return Ok(0) };
            tell.send(bytes.len()).unwrap();
            if bytes.len() < 1_000_000 {
                io.want(key, 1_000_000);
                return Ok(0);
            }
            io.out(key).push(b'!');
            Ok(bytes.len())
        }
    }));
    let mut client = connect(rig.serve(none()));
    client.write_all(&pattern(1_000_000, 1)).unwrap();
    assert_eq!(read_n(&mut client, 1), b"!");
    assert_eq!(told.try_iter().count(), 2);
}

#[test]
fn what_was_paused_is_presented_again() {
    // "?" pauses for 20 ms; what came behind it must be seen without another byte from the client.
    let rig = rig(scripted(|_| {
        |io: &mut dyn Io, key: Key, what: Happening<'_>| match what {
            Happening::Data(_, bytes) if bytes[0] == b'?' => {
                io.pause(key, true);
                let at = io.now() + 20 * MILLIS;
                io.arm(key, 1, at);
                Ok(1)
            }
            Happening::Data(_, bytes) => {
                io.out(key).extend_from_slice(bytes);
                Ok(bytes.len())
            }
            Happening::Event(_, Event::Timer(1)) => {
                io.out(key).extend_from_slice(b"later:");
                io.pause(key, false);
                Ok(0)
            }
            _ => Ok(0),
        }
    }));
    let mut client = connect(rig.serve(none()));
    client.write_all(b"?after").unwrap();
    assert_eq!(read_n(&mut client, 11), b"later:after");
}

#[test]
fn timers_fire_in_their_order_and_not_when_disarmed() {
    let rig = rig(scripted(|_| {
        |io: &mut dyn Io, key: Key, what: Happening<'_>| {
            match what {
                Happening::Opened(_) => {
                    let now = io.now();
                    for (timer, after) in [(3, 30), (1, 10), (2, 500), (4, 5)] {
                        io.arm(key, timer, now + after * MILLIS);
                    }
                    io.arm(key, 2, now + 20 * MILLIS);
                    io.disarm(key, 4);
                }
                Happening::Event(_, Event::Timer(timer)) => {
                    io.out(key).extend_from_slice(timer.to_string().as_bytes());
                    if timer == 3 {
                        io.close(key, Close::Flush);
                    }
                }
                _ => {}
            }
            Ok(0)
        }
    }));
    assert_eq!(read_all(&mut connect(rig.serve(none()))), b"123");
}

#[test]
fn a_family_has_timers_of_its_own() {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let rig = rig(scripted(move |_| {
        let tell = tell.lock().unwrap().clone();
        move |io: &mut dyn Io, key: Key, what: Happening<'_>| {
            match what {
                Happening::Configured(_) => {
                    let at = io.now() + MILLIS;
                    io.arm(Key::NONE, 9, at);
                }
                Happening::Event(_, Event::Timer(timer)) => tell.send((key, timer)).unwrap(),
                _ => {}
            }
            Ok(0)
        }
    }));
    rig.serve(none());
    assert_eq!(told.recv_timeout(PATIENCE), Ok((Key::NONE, 9)));
}

fn asker() -> impl wire::Family + 'static {
    scripted(|_| {
        |io: &mut dyn Io, key: Key, what: Happening<'_>| match what {
            Happening::Data(_, bytes) => {
                io.upcall(key, Upcall { topic: "test", body: bytes.to_vec() });
                Ok(bytes.len())
            }
            Happening::Event(_, Event::Answer { body, .. }) => {
                io.out(key).extend_from_slice(body.unwrap_or(b"nobody"));
                Ok(0)
            }
            Happening::Event(_, Event::HalfClosed) => {
                io.close(key, Close::Flush);
                Ok(0)
            }
            _ => Ok(0),
        }
    })
}

#[test]
fn the_brain_answers() {
    let rig = rig(asker());
    let mut client = connect(rig.serve(none()));
    client.write_all(b"why?").unwrap();
    let asked = rig.questions.recv_timeout(PATIENCE).unwrap();
    assert_eq!((asked.family, asked.call.topic, asked.call.body.as_slice()), ("scripted", "test", &b"why?"[..]));
    assert!(rig.engine.answer(asked.worker, asked.key, asked.number, Some(b"because".to_vec())));
    // A second answer falls on the floor.
    assert!(rig.engine.answer(asked.worker, asked.key, asked.number, Some(b"no".to_vec())));
    assert_eq!(read_n(&mut client, 7), b"because");
    client.write_all(b"and?").unwrap();
    let asked = rig.questions.recv_timeout(PATIENCE).unwrap();
    rig.engine.answer(asked.worker, asked.key, asked.number, None);
    assert_eq!(read_n(&mut client, 6), b"nobody");
}

#[test]
fn a_brain_that_is_silent_or_overloaded_is_reported() {
    let silent = rig(asker());
    let mut client = connect(silent.serve(none()));
    client.write_all(b"?").unwrap();
    assert_eq!(read_n(&mut client, 6), b"nobody");
    assert_eq!(silent.count("midstream_upcalls_unanswered_total{reason=\"timeout\"}"), 1);
    let full = rig_with(vec![std::sync::Arc::new(asker())], 1, 10, false);
    let mut client = connect(full.serve(none()));
    client.write_all(b"?").unwrap();
    assert_eq!(read_n(&mut client, 6), b"nobody");
    assert_eq!(full.count("midstream_upcalls_unanswered_total{reason=\"queue full\"}"), 1);
}

#[test]
fn an_answer_for_a_client_that_is_gone_falls_on_the_floor() {
    let rig = rig(asker());
    let address = rig.serve(none());
    let mut first = connect(address);
    first.write_all(b"?").unwrap();
    let late = rig.questions.recv_timeout(PATIENCE).unwrap();
    first.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut first), b"");
    // The next client gets the same slot, with another generation.
    let mut second = connect(address);
    second.write_all(b"?").unwrap();
    let asked = rig.questions.recv_timeout(PATIENCE).unwrap();
    assert_eq!(asked.key.slot, late.key.slot);
    rig.engine.answer(late.worker, late.key, late.number, Some(b"wrong".to_vec()));
    rig.engine.answer(asked.worker, asked.key, asked.number, Some(b"right".to_vec()));
    assert_eq!(read_n(&mut second, 5), b"right");
}

#[test]
fn a_fault_says_its_last_words_to_a_client_that_goes_on_sending() {
    let rig = rig(scripted(|_| {
        |io: &mut dyn Io, key: Key, what: Happening<'_>| {
            let Happening::Data(..) = what else { return Ok(0) };
            io.out(key).extend_from_slice(b"-ERR too long\r\n");
            Err(Fault::client("length", "4 GB"))
        }
    }));
    let address = rig.serve(none());
    let mut client = connect(address);
    let mut other = connect(address);
    let mut writer = client.try_clone().unwrap();
    let writing = std::thread::spawn(move || while writer.write_all(&[0; 65536]).is_ok() {});
    assert_eq!(read_n(&mut client, 15), b"-ERR too long\r\n");
    client.shutdown(Shutdown::Both).unwrap();
    writing.join().unwrap();
    assert!(rig.log.recv_timeout(PATIENCE).unwrap().contains("client fault in length: 4 GB"));
    other.write_all(b"x").unwrap();
    assert_eq!(read_n(&mut other, 4), b"-ERR");
    assert_eq!(rig.count("midstream_faults_total{whose=\"client\"}"), 2);
}

#[test]
fn a_client_that_sends_no_more_gets_what_it_is_owed() {
    let rig = rig(echo());
    let mut client = connect(rig.serve(none()));
    let sent = pattern(5_000_000, 3);
    let mut writer = client.try_clone().unwrap();
    let bytes = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&bytes).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    assert!(read_all(&mut client) == sent);
    writing.join().unwrap();
}

#[test]
fn a_client_that_does_not_read_is_not_read_either() {
    let rig = rig(echo());
    let mut client = connect(rig.serve(none()));
    client.set_write_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let mut sent = 0;
    while let Ok(n) = client.write(&[7; 1 << 20]) {
        sent += n;
        assert!(sent < 100 << 20, "the engine swallowed {sent} bytes that nobody reads");
    }
    let back = read_n(&mut client, sent);
    assert!(back.iter().all(|byte| *byte == 7));
}

#[test]
fn a_panic_costs_one_family_its_connections_and_is_told() {
    let fragile = scripted(|_| {
        |io: &mut dyn Io, key: Key, what: Happening<'_>| {
            let Happening::Data(_, bytes) = what else { return Ok(0) };
            assert!(bytes[0] != b'!', "a defect for the test");
            io.out(key).extend_from_slice(bytes);
            Ok(bytes.len())
        }
    });
    let rig = rig_with(vec![std::sync::Arc::new(fragile), std::sync::Arc::new(echo())], 1, 100, true);
    rig.apply(0, none(), vec![bind("fragile")]);
    rig.apply(1, none(), vec![bind("sound")]);
    let (mut fragile, mut sound) = (connect(rig.address("fragile")), connect(rig.address("sound")));
    for client in [&mut fragile, &mut sound] {
        client.write_all(b"x").unwrap();
        assert_eq!(read_n(client, 1), b"x");
    }
    fragile.write_all(b"!").unwrap();
    let mut rest = Vec::new();
    let _ = fragile.read_to_end(&mut rest);
    assert_eq!(rest, b"");
    assert!(rig.log.recv_timeout(PATIENCE).unwrap().contains("a defect for the test"));
    assert_eq!(rig.count("midstream_panics_total"), 1);
    let again = connect(rig.address("fragile"));
    for mut client in [again, sound] {
        client.write_all(b"y").unwrap();
        assert_eq!(read_n(&mut client, 1), b"y");
    }
}

#[test]
fn workers_send_each_other_mail() {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let family = scripted(move |worker| {
        let tell = tell.lock().unwrap().clone();
        move |io: &mut dyn Io, _key: Key, what: Happening<'_>| {
            match what {
                Happening::Configured(_) if worker.index == 0 => io.mail(1, b"hello".to_vec()),
                Happening::Event(_, Event::Mail(body)) => tell.send((worker.index, body.to_vec())).unwrap(),
                _ => {}
            }
            Ok(0)
        }
    });
    let rig = rig_with(vec![std::sync::Arc::new(family)], 2, 100, true);
    // The second time both workers have a configuration, whoever was first.
    rig.apply(0, none(), vec![]);
    rig.apply(0, none(), vec![]);
    assert_eq!(told.recv_timeout(PATIENCE), Ok((1, b"hello".to_vec())));
}

/// Dials what the configuration says for every client; tells it how that went.
fn dialer() -> impl wire::Family + 'static {
    scripted(|_| {
        let mut target = None;
        let mut client = Key::NONE;
        move |io: &mut dyn Io, key: Key, what: Happening<'_>| {
            match what {
                Happening::Configured(conf) => target = conf.downcast_ref::<wire::Target>().cloned(),
                Happening::Opened(Opened::Client { .. }) => {
                    client = key;
                    io.dial(target.as_ref().unwrap(), 77);
                }
                Happening::Opened(Opened::Server { tag }) => {
                    let text = format!("up {tag} {}", io.peer(key).unwrap().remote.ip());
                    io.out(client).extend_from_slice(text.as_bytes());
                    io.close(client, Close::Flush);
                }
                Happening::Event(Side::Server, Event::Closed(Why::Refused(why))) => {
                    io.out(client).extend_from_slice(why.as_bytes());
                    io.close(client, Close::Flush);
                }
                _ => {}
            }
            Ok(0)
        }
    })
}

fn dialed(host: &str, port: u16, timeout: u64) -> String {
    let rig = rig(dialer());
    let target = wire::Target { host: host.into(), port, tls: None, connect_timeout: timeout };
    String::from_utf8(read_all(&mut connect(rig.serve(std::sync::Arc::new(target))))).unwrap()
}

#[test]
fn dials_tell_how_they_went() {
    let port = echo_server().port();
    assert_eq!(dialed("127.0.0.1", port, SECONDS), "up 77 127.0.0.1");
    // localhost has two addresses on most machines; the server has only the second.
    assert_eq!(dialed("localhost", port, 5 * SECONDS), "up 77 127.0.0.1");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_eq!(dialed("127.0.0.1", closed, SECONDS), format!("127.0.0.1:{closed}: Connection refused (os error 111)"));
    assert!(dialed("localhost", closed, 5 * SECONDS).starts_with(&format!("localhost:{closed}: ")));
    assert!(dialed("no.such.name.invalid", 1, 20 * SECONDS).starts_with("no.such.name.invalid:1: resolving the name failed"));
}

#[test]
fn a_dial_without_an_answer_ends_in_time() {
    // A listener whose queue is full answers no more.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let _waiting: Vec<TcpStream> = (0..4).map_while(|_| TcpStream::connect_timeout(&address, std::time::Duration::from_millis(200)).ok()).collect();
    assert_eq!(dialed("127.0.0.1", address.port(), 100 * MILLIS), format!("{address}: no answer in time"));
}
