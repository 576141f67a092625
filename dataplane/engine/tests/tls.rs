//! TLS on both sides, from the first byte and in the middle of a connection.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test says what went wrong by panicking

mod common;

use common::tls::{Identity, secure};
use common::*;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use wire::{Close, Event, Io, Key, Opened, Side, TlsServer, TlsStart, Why};

/// Tells who the client is, then echoes.
fn who() -> impl wire::Family + 'static {
    scripted(|_| {
        |io: &mut dyn Io, key: Key, what: Happening<'_>| {
            match what {
                Happening::Opened(_) => {
                    let peer = io.peer(key).unwrap().clone();
                    let (name, asked) = (peer.common_name.as_deref().unwrap_or("-"), peer.server_name.as_deref().unwrap_or("-"));
                    let text = format!("tls={} name={name} asked={asked};", peer.tls);
                    io.out(key).extend_from_slice(text.as_bytes());
                }
                Happening::Data(_, bytes) => {
                    io.out(key).extend_from_slice(bytes);
                    return Ok(bytes.len());
                }
                Happening::Event(_, Event::HalfClosed) => io.close(key, Close::Flush),
                _ => {}
            }
            Ok(0)
        }
    })
}

fn serve_tls(rig: &Rig, server: TlsServer) -> SocketAddr {
    let mut listener = bind("l");
    listener.tls = Some(server);
    assert_eq!(rig.apply(0, none(), vec![listener]), []);
    rig.address("l")
}

#[test]
fn a_client_is_known_by_its_verified_certificate() {
    let (ours, theirs) = (Identity::new("localhost"), Identity::new("clients"));
    let rig = rig(who());
    let address = serve_tls(&rig, ours.server(Some(&theirs)));
    let stranger = theirs.client("localhost", Some("reports"));
    // Trusts `ours` and shows a certificate of `theirs`.
    let client = ours.client_as("localhost", &theirs, "reports");
    let mut stream = secure(connect(address), &client);
    assert_eq!(read_n(&mut stream, 38), b"tls=true name=reports asked=localhost;");
    let sent = pattern(300_000, 2);
    stream.write_all(&sent).unwrap();
    assert!(read_n(&mut stream, sent.len()) == sent);
    stream.conn.send_close_notify();
    assert_eq!(read_all(&mut stream), b"", "it says goodbye too, or this is an error");
    // Without a certificate, or trusting somebody else, there is no connection.
    let mut nameless = secure(connect(address), &ours.client("localhost", None));
    assert!(nameless.read(&mut [0]).is_err());
    let mut mistrusting = secure(connect(address), &stranger);
    assert!(mistrusting.read(&mut [0]).is_err());
    // What is not TLS at all is refused as well.
    let mut plain = connect(address);
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.windows(4).any(|part| part == b"name"));
    assert_eq!(rig.count("midstream_tls_failures_total"), 3);
}

#[test]
fn another_certificate_holds_for_new_connections() {
    let (first, second) = (Identity::new("localhost"), Identity::new("localhost"));
    let rig = rig(who());
    let mut listener = bind("l");
    listener.tls = Some(first.server(None));
    assert_eq!(rig.apply(0, none(), vec![listener.clone()]), []);
    let address = rig.address("l");
    let mut old = secure(connect(address), &first.client("localhost", None));
    assert_eq!(read_n(&mut old, 32), b"tls=true name=- asked=localhost;");
    listener.tls = Some(second.server(None));
    assert_eq!(rig.apply(0, none(), vec![listener]), []);
    let mut new = secure(connect(address), &second.client("localhost", None));
    assert_eq!(read_n(&mut new, 32), b"tls=true name=- asked=localhost;");
    old.write_all(b"still here").unwrap();
    assert_eq!(read_n(&mut old, 10), b"still here");
}

/// Answers `S` to the first byte and goes on in TLS, as PostgreSQL does.
fn upgrader() -> impl wire::Family + 'static {
    scripted(|_| {
        let mut server: Option<TlsServer> = None;
        move |io: &mut dyn Io, key: Key, what: Happening<'_>| {
            match what {
                Happening::Configured(conf) => server = conf.downcast_ref::<TlsServer>().cloned(),
                Happening::Data(_, bytes) if !io.peer(key).unwrap().tls => {
                    assert_eq!(bytes[0], b'?');
                    io.out(key).push(b'S');
                    io.start_tls(key, TlsStart::Accept(server.clone().unwrap()));
                    return Ok(1);
                }
                Happening::Event(_, Event::Secured) => io.out(key).extend_from_slice(b"secured;"),
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

#[test]
fn a_connection_goes_on_in_tls() {
    let identity = Identity::new("localhost");
    let rig = rig(upgrader());
    let mut client = connect(rig.serve(Arc::new(identity.server(None))));
    client.write_all(b"?").unwrap();
    assert_eq!(read_n(&mut client, 1), b"S");
    let mut client = secure(client, &identity.client("localhost", None));
    client.write_all(b"hello").unwrap();
    assert_eq!(read_n(&mut client, 13), b"secured;hello");
}

#[test]
fn plaintext_behind_the_request_for_tls_is_not_taken_for_the_clients() {
    let identity = Identity::new("localhost");
    let rig = rig(upgrader());
    let mut client = connect(rig.serve(Arc::new(identity.server(None))));
    client.write_all(b"?DROP TABLE orders").unwrap();
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    assert_eq!(answer.first(), Some(&b'S'));
    assert_eq!(rig.count("midstream_tls_failures_total"), 1);
    assert_eq!(rig.count("midstream_tls_handshakes_total"), 0);
}

/// What `Upgraded` dials, and how it secures that.
struct Back {
    target: wire::Target,
    client: wire::TlsClient,
}

/// Asks the server for TLS first, then relays frames of bytes through `out`.
fn upstream() -> impl wire::Family + 'static {
    scripted(|_| {
        let mut back: Option<wire::Conf> = None;
        let (mut client, mut server) = (Key::NONE, Key::NONE);
        move |io: &mut dyn Io, key: Key, what: Happening<'_>| {
            let settings = back.clone();
            let settings = settings.as_ref().and_then(|conf| conf.downcast_ref::<Back>());
            match what {
                Happening::Configured(conf) => back = Some(conf),
                Happening::Opened(Opened::Client { .. }) => {
                    client = key;
                    server = io.dial(&settings.unwrap().target, 0);
                    io.pause(client, true);
                }
                Happening::Opened(Opened::Server { .. }) => io.out(key).push(b'?'),
                Happening::Data(Side::Server, b"S") if !io.peer(key).unwrap().tls => {
                    io.start_tls(key, TlsStart::Connect(settings.unwrap().client.clone()));
                    return Ok(1);
                }
                Happening::Event(Side::Server, Event::Secured) => io.pause(client, false),
                Happening::Data(side, bytes) => {
                    let other = if side == Side::Client { server } else { client };
                    io.out(other).extend_from_slice(bytes);
                    return Ok(bytes.len());
                }
                Happening::Event(Side::Server, Event::Closed(Why::Broken(why) | Why::Refused(why))) => {
                    io.out(client).extend_from_slice(why.as_bytes());
                    io.close(client, Close::Flush);
                }
                _ => {}
            }
            Ok(0)
        }
    })
}

#[test]
fn a_server_is_asked_for_tls_first() {
    let (identity, stranger) = (Identity::new("localhost"), Identity::new("localhost"));
    let back = rig(upgrader());
    let target = target(back.serve(Arc::new(identity.server(None))));
    let front = rig(upstream());
    let good = Back { target: target.clone(), client: identity.client("localhost", None) };
    let mut client = connect(front.serve(Arc::new(good)));
    client.write_all(b"hello").unwrap();
    assert_eq!(read_n(&mut client, 13), b"secured;hello");
    let bad = Back { target, client: stranger.client("localhost", None) };
    front.apply(0, Arc::new(bad), vec![bind("m")]);
    let why = String::from_utf8(read_all(&mut connect(front.address("m")))).unwrap();
    assert!(why.contains("TLS: invalid peer certificate"), "{why}");
}
