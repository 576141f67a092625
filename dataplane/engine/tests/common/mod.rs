//! What the engine's tests share: a started engine, an echo protocol, plain blocking clients.

#![allow(dead_code)] // every test binary uses its part

pub mod tls;

use engine::{Asked, BindFailure, Engine, FamilyPlan, Options, UpcallSink};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use wire::{Bind, Close, Conf, Event, Family, Fault, Io, Key, Opened, Protocol, Side, Target, Worker};

/// No test waits longer for anything than this; it only turns a hang into a failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Hands questions to the test.
pub struct Questions(pub Mutex<Sender<Asked>>, pub bool);

impl UpcallSink for Questions {
    fn offer(&self, asked: Asked) -> bool {
        self.1 && self.0.lock().unwrap().send(asked).is_ok()
    }
}

/// A started engine, the questions its protocols ask, and what it logs.
pub struct Rig {
    pub engine: Arc<Engine>,
    pub questions: Receiver<Asked>,
    pub log: Receiver<String>,
}

pub fn rig_with(families: Vec<Arc<dyn Family>>, workers: usize, max_connections: usize, takes_questions: bool) -> Rig {
    let (sender, questions) = channel();
    let (line, log) = channel();
    let line = Mutex::new(line);
    let options = Options {
        workers,
        families,
        upcalls: Arc::new(Questions(Mutex::new(sender), takes_questions)),
        max_connections,
        log: Arc::new(move |text| {
            eprintln!("{text}");
            drop(line.lock().unwrap().send(text.to_owned()));
        }),
    };
    Rig { engine: Arc::new(Engine::start(options).unwrap()), questions, log }
}

pub fn rig(family: impl Family + 'static) -> Rig {
    rig_with(vec![Arc::new(family)], 1, 10_000, true)
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.engine.stop();
    }
}

pub fn bind(listener: &str) -> Bind {
    bind_at(listener, "127.0.0.1:0".parse().unwrap())
}

pub fn bind_at(listener: &str, address: SocketAddr) -> Bind {
    Bind { listener: listener.into(), facet: 0, address: address.into(), tls: None }
}

impl Rig {
    pub fn apply(&self, family: usize, conf: Conf, binds: Vec<Bind>) -> Vec<BindFailure> {
        self.engine.apply(vec![FamilyPlan { family, conf, binds }])
    }

    /// Applies one listener on a free port; its address.
    pub fn serve(&self, conf: Conf) -> SocketAddr {
        assert_eq!(self.apply(0, conf, vec![bind("l")]), []);
        self.address("l")
    }

    pub fn address(&self, listener: &str) -> SocketAddr {
        self.engine.addresses().into_iter().find(|(name, ..)| **name == *listener).and_then(|(.., address)| address.ip()).unwrap()
    }

    /// The sum of a counter over all workers and labels.
    pub fn count(&self, name: &str) -> u64 {
        let text = wire::metrics::render(&self.engine.registries());
        let ours = text.lines().filter(|line| line.starts_with(name));
        ours.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub fn read_n(stream: &mut impl Read, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

pub fn read_all(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

pub fn target(address: SocketAddr) -> Target {
    Target { host: address.ip().to_string().into(), port: address.port(), tls: None, connect_timeout: 5 * wire::SECONDS }
}

/// A server that answers every connection with its own bytes, on threads.
pub fn echo_server() -> SocketAddr {
    server(|mut stream| {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
    })
}

/// A server that runs `talk` on a thread for every connection.
pub fn server(talk: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let talk = talk.clone();
            std::thread::spawn(move || talk(stream));
        }
    });
    address
}

/// Writes on a thread of its own, so that the caller can read.
pub fn write_behind(stream: &TcpStream, bytes: Vec<u8>) -> JoinHandle<()> {
    let mut stream = stream.try_clone().unwrap();
    std::thread::spawn(move || stream.write_all(&bytes).unwrap())
}

/// Bytes that tell their place.
pub fn pattern(n: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(n + 8);
    while bytes.len() < n {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        bytes.extend_from_slice(&(state >> 8).to_le_bytes());
    }
    bytes.truncate(n);
    bytes
}

pub type Handler = Box<dyn FnMut(&mut dyn Io, Key, Happening<'_>) -> Result<usize, Fault> + Send>;

/// What a protocol of the tests hears.
pub enum Happening<'a> {
    Configured(Conf),
    Opened(Opened<'a>),
    Data(Side, &'a [u8]),
    Event(Side, Event<'a>),
}

/// A protocol made of one function; every worker gets one of its own.
struct Scripted<F>(F);

struct Script(Handler);

/// A family whose protocol objects are what `build` makes.
pub fn scripted<H>(build: impl Fn(Worker) -> H + Send + Sync + 'static) -> impl Family + 'static
where
    H: FnMut(&mut dyn Io, Key, Happening<'_>) -> Result<usize, Fault> + Send + 'static,
{
    Scripted(build)
}

impl<H, F> Family for Scripted<F>
where
    H: FnMut(&mut dyn Io, Key, Happening<'_>) -> Result<usize, Fault> + Send + 'static,
    F: Fn(Worker) -> H + Send + Sync,
{
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn build(&self, worker: Worker) -> Box<dyn Protocol> {
        Box::new(Script(Box::new((self.0)(worker))))
    }
}

impl Protocol for Script {
    fn configure(&mut self, io: &mut dyn Io, conf: Conf) {
        (self.0)(io, Key::NONE, Happening::Configured(conf)).unwrap();
    }

    fn open(&mut self, io: &mut dyn Io, key: Key, opened: Opened<'_>) {
        (self.0)(io, key, Happening::Opened(opened)).unwrap();
    }

    fn data(&mut self, io: &mut dyn Io, key: Key, side: Side, bytes: &[u8]) -> Result<usize, Fault> {
        (self.0)(io, key, Happening::Data(side, bytes))
    }

    fn event(&mut self, io: &mut dyn Io, key: Key, side: Side, event: Event<'_>) {
        (self.0)(io, key, Happening::Event(side, event)).unwrap();
    }
}

/// Sends back what comes, and closes when no more does.
pub fn echo() -> impl Family + 'static {
    scripted(|_| {
        |io: &mut dyn Io, key: Key, what: Happening<'_>| match what {
            Happening::Data(_, bytes) => {
                io.out(key).extend_from_slice(bytes);
                Ok(bytes.len())
            }
            Happening::Event(_, Event::HalfClosed) => {
                io.close(key, Close::Flush);
                Ok(0)
            }
            _ => Ok(0),
        }
    })
}

/// A configuration for protocols that need none.
pub fn none() -> Conf {
    Arc::new(())
}

/// A relay to `server`, and its address.
pub fn relay_to(server: SocketAddr) -> (Rig, SocketAddr) {
    let rig = rig(engine::relay::Relay);
    let targets = std::collections::HashMap::from([(Arc::from("l"), target(server))]);
    let address = rig.serve(Arc::new(engine::relay::RelayConf { targets }));
    (rig, address)
}
