//! One connection, and the table of them.

use crate::acceptor::Label;
use crate::dial::Dial;
use crate::stream::Stream;
use crate::sys::Pipe;
use crate::timers::Armed;
use crate::tls::Tls;
use std::sync::Arc;
use wire::{Key, Peer, Side, TlsStart};

/// Where a connection is in its life.
///
/// ```text
///  dial ---> Connecting ---> Handshaking (TLS from the first byte) ---> Open ---> Lingering ---> gone
///  accept ---------------------^------------------------------------^
/// ```
/// The protocol knows the key of a dial from the start and that of a client from `Open` on; from `Lingering` on it has forgotten it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Life {
    Connecting,
    Handshaking,
    Open,
    /// Closed by us, with bytes still to be sent or, after them, the peer's FIN to be awaited.
    Lingering,
}

/// Bytes that pass through untouched.
pub(crate) struct Forward {
    /// `Key::NONE`: they are thrown away.
    pub to: Key,
    /// How many are still to be taken from the connection; `wire::STREAM` never gets fewer.
    pub left: u64,
    /// What was taken and is on its way, when the kernel moves it.
    pub pipe: Option<Pipe>,
}

/// How a connection came to be.
pub(crate) enum Origin {
    Accepted(Arc<Label>),
    Dialed(Box<Dial>),
}

/// One connection of a worker.
pub(crate) struct Conn {
    /// `None` while its name is being resolved.
    pub socket: Option<Stream>,
    pub family: usize,
    pub side: Side,
    pub life: Life,
    /// The socket may have bytes: an edge came, and no read has found it empty since.
    pub readable: bool,
    /// The socket may take bytes.
    pub writable: bool,
    /// An event carried "read closed": the zero read is still to be fetched, even after a short read.
    pub ending: bool,
    /// The zero read was fetched.
    pub eof: bool,
    /// The peer takes no more bytes; its last ones may still be there to read.
    pub deaf: bool,
    /// `Event::HalfClosed` was delivered.
    pub half_closed: bool,
    /// FIN is to be sent after what is unsent.
    pub finish: bool,
    /// FIN was sent.
    pub finished: bool,
    pub paused: bool,
    /// Above the high-water mark and not yet back under the low one.
    pub choked: bool,
    /// It stands in the list of those to be served.
    pub queued: bool,
    /// It stands in the list of those to be flushed.
    pub dirty: bool,
    /// How many turns its output has waited for more.
    pub put_off: u8,
    /// A frame is being forwarded to it: the kernel may wait for full segments.
    pub more: bool,
    /// The last forward went through a pipe: read little, the next bytes are likely a header before another one.
    pub bulk: bool,
    /// `data` is not called with less.
    pub want: usize,
    pub link: Key,
    pub forward: Option<Forward>,
    /// Received and not consumed.
    pub tail: Vec<u8>,
    /// Unsent output, from `sent` on.
    pub out: Vec<u8>,
    pub sent: usize,
    /// Who is not read until this one has sent enough.
    pub waiters: Vec<Key>,
    /// In whose `waiters` this one stands.
    pub waits_for: Key,
    pub armed: Vec<Armed>,
    pub tls: Option<Box<Tls>>,
    /// TLS begins when `out` is empty.
    pub tls_start: Option<Box<TlsStart>>,
    pub peer: Peer,
    pub origin: Origin,
}

impl Conn {
    pub fn new(socket: Option<Stream>, family: usize, side: Side, life: Life, peer: Peer, origin: Origin) -> Conn {
        Conn {
            socket,
            family,
            side,
            life,
            readable: false,
            writable: true,
            ending: false,
            eof: false,
            deaf: false,
            half_closed: false,
            finish: false,
            finished: false,
            paused: false,
            choked: false,
            queued: false,
            dirty: false,
            put_off: 0,
            more: false,
            bulk: false,
            want: 0,
            link: Key::NONE,
            forward: None,
            tail: Vec::new(),
            out: Vec::new(),
            sent: 0,
            waiters: Vec::new(),
            waits_for: Key::NONE,
            armed: Vec::new(),
            tls: None,
            tls_start: None,
            peer,
            origin,
        }
    }

    /// Bytes that the kernel has not taken.
    pub fn backlog(&self) -> usize {
        self.out.len() - self.sent + self.tls.as_ref().map_or(0, |tls| tls.unsent())
    }

    /// Whether bytes go to the socket as they are.
    pub fn is_plain(&self) -> bool {
        self.tls.is_none() && self.tls_start.is_none()
    }

    /// Whether records came before their TLS session began.
    pub fn has_early_records(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_early())
    }

    /// Whether there are unconsumed bytes that the protocol wants to see.
    pub fn has_news(&self) -> bool {
        !self.tail.is_empty() && self.tail.len() >= self.want
    }

    /// Whether the protocol sees the connection.
    pub fn is_known(&self) -> bool {
        self.life != Life::Lingering
    }
}

/// The connections of a worker by slot.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    free: Vec<u32>,
}

struct Row {
    generation: u32,
    conn: Option<Conn>,
}

impl Table {
    pub fn insert(&mut self, conn: Conn) -> Key {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.rows.push(Row { generation: 0, conn: None });
            (self.rows.len() - 1) as u32
        });
        let row = &mut self.rows[slot as usize];
        row.conn = Some(conn);
        Key { slot, generation: row.generation }
    }

    /// The connection, whatever its life.
    #[inline]
    pub fn get(&self, key: Key) -> Option<&Conn> {
        let row = self.rows.get(key.index())?;
        if row.generation == key.generation { row.conn.as_ref() } else { None }
    }

    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Conn> {
        let row = self.rows.get_mut(key.index())?;
        if row.generation == key.generation { row.conn.as_mut() } else { None }
    }

    /// The connection, if the protocol may still name it.
    #[inline]
    pub fn known(&self, key: Key) -> Option<&Conn> {
        self.get(key).filter(|conn| conn.is_known())
    }

    #[inline]
    pub fn known_mut(&mut self, key: Key) -> Option<&mut Conn> {
        self.get_mut(key).filter(|conn| conn.is_known())
    }

    /// Takes a connection out. Its slot stays taken until [`Table::vacate`]: protocols keep what they know of a connection by slot, so no
    /// other one may come there before they have heard that this one is gone.
    pub fn remove(&mut self, key: Key) -> Option<Conn> {
        let row = self.rows.get_mut(key.index()).filter(|row| row.generation == key.generation)?;
        let conn = row.conn.take()?;
        row.generation = row.generation.wrapping_add(1);
        Some(conn)
    }

    /// The slot of a connection that was taken out may be used again.
    pub fn vacate(&mut self, key: Key) {
        self.free.push(key.slot);
    }

    /// All keys, by slot.
    pub fn keys(&self) -> Vec<Key> {
        let taken = self.rows.iter().enumerate().filter(|(_, row)| row.conn.is_some());
        taken.map(|(slot, row)| Key { slot: slot as u32, generation: row.generation }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, SocketAddr};

    fn conn() -> Conn {
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let peer = Peer::plain(nobody, nobody);
        let origin = Origin::Accepted(Arc::new(Label { listener: "shop".into(), family: 0, facet: 0, tls: None }));
        Conn::new(None, 0, Side::Client, Life::Open, peer, origin)
    }

    #[test]
    fn nobody_takes_the_place_of_who_is_gone_before_that_is_known() {
        let mut table = Table::default();
        let gone = table.insert(conn());
        assert!(table.remove(gone).is_some());
        assert_ne!(table.insert(conn()).slot, gone.slot);
        table.vacate(gone);
        let next = table.insert(conn());
        assert_eq!((next.slot, next.generation), (gone.slot, gone.generation + 1));
        assert!(table.get(gone).is_none());
    }
}
