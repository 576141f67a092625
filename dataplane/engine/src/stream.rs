//! Sockets, whatever family they are of: what is read from and written to them is bytes.

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What stands for the address of a peer that has none.
pub(crate) const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A connection.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Our address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Stream::Tcp(socket) => socket.local_addr(),
            Stream::Unix(_) => Ok(NOWHERE),
        }
    }

    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.shutdown(how),
            Stream::Unix(socket) => socket.shutdown(how),
        }
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Stream::Tcp(socket) => socket.register(registry, token, interest),
            Stream::Unix(socket) => socket.register(registry, token, interest),
        }
    }
}

impl Read for &Stream {
    #[inline]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => (&*socket).read(into),
            Stream::Unix(socket) => (&*socket).read(into),
        }
    }
}

impl AsFd for Stream {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(socket) => socket.as_fd(),
            Stream::Unix(socket) => socket.as_fd(),
        }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// A listening socket.
pub(crate) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "it removes the file when it is dropped")] OwnFile),
}

impl Listening {
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Listening::Tcp(socket) => socket.register(registry, token, Interest::READABLE),
            Listening::Unix(socket, _) => socket.register(registry, token, Interest::READABLE),
        }
    }

    pub fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Listening::Tcp(socket) => socket.accept().map(|(stream, remote)| (Stream::Tcp(stream), remote)),
            Listening::Unix(socket, _) => socket.accept().map(|(stream, _)| (Stream::Unix(stream), NOWHERE)),
        }
    }
}

/// The file of a socket that listens: removed with it, unless somebody has put another one there.
pub(crate) struct OwnFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // What cannot be removed is found to be stale by whoever listens there next.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// A listening socket at a path. It is made beside it and moved there when its mode is right: nobody who may not can connect in between, and
/// what a dead process has left is replaced in one step.
pub(crate) fn listen_at(path: &Path, mode: u32) -> io::Result<Listening> {
    check_free(path)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixListener::bind(&beside)?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(mode))?;
    let file = OwnFile { path: path.to_owned(), identity: identity(&beside)? };
    fs::rename(&beside, path)?;
    Ok(Listening::Unix(socket, file))
}

/// A file that is no socket is not ours to replace, nor is a socket that answers.
fn check_free(path: &Path) -> io::Result<()> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !file.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "a file that is no socket is there"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        _ => Err(ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("midstream-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_socket_has_its_mode_and_is_removed_with_its_listener() {
        let path = folder("mode").join("s");
        let listening = listen_at(&path, 0o640).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert_eq!(listen_at(&path, 0o640).err().unwrap().kind(), ErrorKind::AddrInUse);
        drop(listening);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_process_left_is_replaced_and_what_is_no_socket_is_not() {
        let folder = folder("stale");
        let path = folder.join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let old = listen_at(&path, 0o660).unwrap();
        fs::remove_file(&path).unwrap();
        let new = listen_at(&path, 0o660).unwrap();
        drop(old);
        assert!(path.exists(), "it is the new one's");
        drop(new);
        let file = folder.join("file");
        fs::write(&file, "mine").unwrap();
        assert!(listen_at(&file, 0o660).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"mine");
    }
}
