//! Frames whose header the protocol reads and whose body it never sees: ordering across `out` and `forward`, in plaintext and in TLS.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test says what went wrong by panicking

mod common;

use common::tls::{Identity, tls_client};
use common::*;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use wire::{Close, Event, Family, Io, Key, Opened, Side, Slab, Target};

/// A tag, and the length of the body.
const HEADER: usize = 5;
/// Bodies of frames with this tag are thrown away on their way to the server.
const DROP: u8 = 200;

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![tag];
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

fn read_frame(from: &mut impl Read) -> (u8, Vec<u8>) {
    let header = read_n(from, HEADER);
    let length = u32::from_be_bytes(header[1..].try_into().unwrap());
    (header[0], read_n(from, length as usize))
}

/// Raises each frame's tag by one and forwards its body; when the server is gone, answers frames with the tag 255 itself.
fn framer() -> impl Family + 'static {
    scripted(|_| {
        let mut partner: Slab<Key> = Slab::default();
        let mut target = None;
        move |io: &mut dyn Io, key: Key, what: Happening<'_>| {
            match what {
                Happening::Configured(conf) => target = conf.downcast_ref::<Target>().cloned(),
                Happening::Opened(Opened::Client { .. }) => {
                    let server = io.dial(target.as_ref().unwrap(), 0);
                    partner.insert(key, server);
                    partner.insert(server, key);
                }
                Happening::Data(side, bytes) if bytes.len() >= HEADER => {
                    let n = u64::from(u32::from_be_bytes(bytes[1..HEADER].try_into().unwrap()));
                    match partner.get(key) {
                        Some(_) if bytes[0] == DROP && side == Side::Client => io.skip(key, n),
                        Some(partner) => {
                            io.out(*partner).push(bytes[0].wrapping_add(1));
                            io.out(*partner).extend_from_slice(&bytes[1..HEADER]);
                            io.forward(key, *partner, n);
                        }
                        None => {
                            io.out(key).extend_from_slice(&[255, 0, 0, 0, 0]);
                            io.skip(key, n);
                        }
                    }
                    return Ok(HEADER);
                }
                Happening::Event(_, Event::HalfClosed) => {
                    if let Some(server) = partner.get(key) {
                        io.finish(*server);
                    }
                }
                Happening::Event(Side::Server, Event::Closed(_)) => {
                    if let Some(client) = partner.remove(key) {
                        partner.remove(client);
                        if io.backlog(client) == 0 {
                            io.close(client, Close::Flush);
                        }
                    }
                }
                Happening::Event(Side::Client, Event::Closed(_)) => {
                    if let Some(server) = partner.remove(key) {
                        partner.remove(server);
                        io.close(server, Close::Abort);
                    }
                }
                _ => {}
            }
            Ok(0)
        }
    })
}

/// Sends frames of random sizes and compares what comes back.
fn exchange(mut reader: impl Read, writer: impl Write + Send + 'static, frames: usize, seed: u64) {
    let sizes = [0, 1, 50, 4_091, 16_000, 32_763, 70_000, 300_000, 1_500_000];
    let mut dice = seed;
    let bodies: Vec<Vec<u8>> = (0..frames)
        .map(|index| {
            dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            pattern(sizes[(dice >> 40) as usize % sizes.len()] + (dice >> 20) as usize % 7, index as u64 + seed)
        })
        .collect();
    let sent = bodies.clone();
    let writing = std::thread::spawn(move || {
        let mut writer = writer;
        for (index, body) in sent.iter().enumerate() {
            let frame = frame((index % 100) as u8, body);
            // Cut where no frame ends, so that headers come in pieces too.
            for piece in frame.chunks(frame.len() / 2 + 3) {
                writer.write_all(piece).unwrap();
            }
            if index % 5 == 0 {
                writer.write_all(&self::frame(DROP, body)).unwrap();
            }
        }
        writer.flush().unwrap();
        writer
    });
    for (index, body) in bodies.iter().enumerate() {
        let (tag, back) = read_frame(&mut reader);
        assert_eq!((tag, back.len()), ((index % 100) as u8 + 2, body.len()), "frame {index}, seed {seed}");
        assert!(back == *body, "frame {index}, seed {seed}");
    }
    writing.join().unwrap();
}

#[test]
fn headers_and_bodies_keep_their_order() {
    let rig = rig(framer());
    let address = rig.serve(Arc::new(target(echo_server())));
    let clients: Vec<_> = (0..8u64)
        .map(|seed| {
            std::thread::spawn(move || {
                let client = connect(address);
                exchange(client.try_clone().unwrap(), client, 60, seed);
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert!(rig.count("midstream_spliced_bytes_total") > 1_000_000);
}

#[test]
fn headers_and_bodies_keep_their_order_in_tls() {
    let identity = Identity::new("localhost");
    let front = rig(framer());
    // A second engine is the TLS server: the back end of the first.
    let back = rig(framer());
    let mut listener = bind("l");
    listener.tls = Some(identity.server(None));
    assert_eq!(back.apply(0, Arc::new(target(echo_server())), vec![listener.clone()]), []);
    let mut upstream: Target = target(back.address("l"));
    upstream.tls = Some(identity.client("localhost", None));
    assert_eq!(front.apply(0, Arc::new(upstream), vec![listener]), []);
    let client = tls_client(front.address("l"), &identity.client("localhost", None));
    let (reader, writer) = client.split();
    // Each of the two engines raises the tag on both ways.
    exchange(Lowered(reader, 0), writer, 40, 5);
    assert_eq!(front.count("midstream_spliced_bytes_total"), 0);
    assert_eq!(front.count("midstream_tls_handshakes_total"), 2);
}

/// Takes 2 from the tag of every frame.
struct Lowered<R>(R, usize);

impl<R: Read> Read for Lowered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.1 > 0 {
            let end = buffer.len().min(self.1);
            let n = self.0.read(&mut buffer[..end])?;
            self.1 -= n;
            return Ok(n);
        }
        let mut header = [0; HEADER];
        self.0.read_exact(&mut header)?;
        header[0] -= 2;
        self.1 = u32::from_be_bytes(header[1..].try_into().unwrap()) as usize;
        buffer[..HEADER].copy_from_slice(&header);
        Ok(HEADER)
    }
}

#[test]
fn a_server_that_dies_in_a_frame_costs_the_rest_of_the_frame_only() {
    // It reads a little of what is announced and resets.
    let server = server(|mut stream| {
        read_n(&mut stream, 100_000);
        socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    });
    let keep = scripted(|_| {
        let mut server = Key::NONE;
        let mut target = None;
        move |io: &mut dyn Io, key: Key, what: Happening<'_>| {
            match what {
                Happening::Configured(conf) => target = conf.downcast_ref::<Target>().cloned(),
                Happening::Opened(Opened::Client { .. }) => server = io.dial(target.as_ref().unwrap(), 0),
                Happening::Data(Side::Client, bytes) if bytes.len() >= HEADER => {
                    let n = u64::from(u32::from_be_bytes(bytes[1..HEADER].try_into().unwrap()));
                    io.out(server).extend_from_slice(&bytes[..HEADER]);
                    io.forward(key, server, n);
                    io.out(key).push(b'+');
                    return Ok(HEADER);
                }
                _ => {}
            }
            Ok(0)
        }
    });
    let rig = rig(keep);
    let mut client = connect(rig.serve(Arc::new(target(server))));
    let body = pattern(20_000_000, 4);
    client.write_all(&frame(1, &body)).unwrap();
    client.write_all(&frame(2, b"after")).unwrap();
    assert_eq!(read_n(&mut client, 2), b"++");
}

#[test]
fn a_client_that_ends_in_a_frame_is_half_closed() {
    let server = server(|mut stream| {
        let got = read_all(&mut stream);
        stream.write_all(&frame(1, got.len().to_string().as_bytes())).unwrap();
    });
    let rig = rig(framer());
    let mut client = connect(rig.serve(Arc::new(target(server))));
    let cut = &frame(1, &pattern(1_000_000, 8))[..700_000];
    client.write_all(cut).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_frame(&mut client), (2, b"700000".to_vec()));
}

#[test]
fn a_dead_target_is_skipped() {
    let nobody: SocketAddr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let rig = rig(scripted(move |_| {
        let mut gone = Key::NONE;
        move |io: &mut dyn Io, key: Key, what: Happening<'_>| {
            match what {
                Happening::Opened(Opened::Client { .. }) => {
                    gone = io.dial(&target(nobody), 0);
                    io.pause(key, true);
                }
                Happening::Event(Side::Server, Event::Closed(_)) => {
                    // Told about the death, the protocol forwards to it nevertheless.
                    io.forward(Key { slot: 0, generation: 0 }, gone, 500_000);
                    io.pause(Key { slot: 0, generation: 0 }, false);
                }
                Happening::Data(_, bytes) => {
                    io.out(key).extend_from_slice(bytes);
                    return Ok(bytes.len());
                }
                _ => {}
            }
            Ok(0)
        }
    }));
    let mut client = connect(rig.serve(none()));
    client.write_all(&[0; 500_000]).unwrap();
    client.write_all(b"the rest").unwrap();
    assert_eq!(read_n(&mut client, 8), b"the rest");
}
