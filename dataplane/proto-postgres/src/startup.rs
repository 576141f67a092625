//! The first packet of a client: a request for encryption, a cancel, or the startup message.

use crate::error::Error;
use wire::Cursor;

/// The longest startup packet (`MAX_STARTUP_PACKET_LENGTH`).
pub const MAX_STARTUP: usize = 10_000;
/// More parameters than any driver sends; each becomes a setting that is replayed.
const MAX_PARAMETERS: usize = 64;
/// The longest secret of a cancel key (`MAX_CANCEL_KEY_LENGTH`).
const MAX_SECRET: usize = 256;
/// The newest minor version that we speak.
pub const NEWEST_MINOR: u16 = 2;
/// Names of users, databases and statements: `NAMEDATALEN` is 64, drivers' statement names are somewhat longer.
pub const MAX_NAME: usize = 256;

const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const MAJOR: u32 = 3;

/// What the client wants.
#[derive(PartialEq, Eq, Debug)]
pub enum Startup {
    /// The packet is not whole.
    More,
    /// SSLRequest.
    Ssl,
    /// GSSENCRequest.
    Gss,
    /// CancelRequest with the key that a BackendKeyData gave.
    Cancel {
        /// Process id.
        pid: u32,
        /// Secret.
        secret: Vec<u8>,
    },
    /// StartupMessage.
    Start(Start),
}

/// A StartupMessage.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Start {
    /// The user.
    pub user: String,
    /// The database; the user's name where none is given.
    pub database: String,
    /// Everything else, with `options` taken apart; names in lower case; a later one replaces an earlier one.
    pub settings: Vec<(String, String)>,
    /// `true` or `database`, where a replication connection is asked for.
    pub replication: Option<String>,
    /// `_pq_.` options, which we do not know.
    pub unknown: Vec<String>,
    /// The minor version of the protocol that was asked for, which we need not have.
    pub minor: u16,
}

/// Reads the packet at the front; with it, how long it is.
///
/// # Errors
/// It is no startup packet, or names things we do not have; the error is for the client.
pub fn read(bytes: &[u8]) -> Result<(Startup, usize), Error> {
    let mut cursor = Cursor::new(bytes);
    let Ok(length) = cursor.u32() else { return Ok((Startup::More, 0)) };
    let length = length as usize;
    if !(8..=MAX_STARTUP).contains(&length) {
        return Err(Error::protocol(format!("invalid length of startup packet: {length}; it has 8 to {MAX_STARTUP} bytes"))
            .hint("Is this client speaking PostgreSQL's protocol?"));
    }
    let Some(packet) = bytes.get(4..length) else { return Ok((Startup::More, 0)) };
    let mut cursor = Cursor::new(packet);
    let version = cursor.u32().unwrap_or_default();
    let startup = match (version, length) {
        (SSL, 8) => Startup::Ssl,
        (GSS, 8) => Startup::Gss,
        (CANCEL, _) => match cursor.u32() {
            Ok(pid) if (1..=MAX_SECRET).contains(&cursor.rest().len()) => Startup::Cancel { pid, secret: cursor.rest().to_vec() },
            _ => return Err(Error::protocol("invalid length of cancel request packet")),
        },
        _ if version >> 16 == MAJOR => Startup::Start(start(cursor, version as u16)?),
        _ => {
            let (major, minor) = (version >> 16, version & 0xffff);
            return Err(Error::fatal("0A000", format!("unsupported frontend protocol {major}.{minor}: Midstream speaks 3.0 to 3.{NEWEST_MINOR}")));
        }
    };
    Ok((startup, length))
}

fn start(mut cursor: Cursor<'_>, minor: u16) -> Result<Start, Error> {
    let mut start = Start { minor, ..Start::default() };
    loop {
        let name = text(&mut cursor)?;
        if name.is_empty() {
            break;
        }
        let value = text(&mut cursor)?;
        match name {
            "user" => start.user = value.into(),
            "database" => start.database = value.into(),
            "options" => options(&mut start.settings, value)?,
            "replication" => start.replication = replication(value)?,
            _ if name.starts_with("_pq_.") => start.unknown.push(name.into()),
            _ => set(&mut start.settings, name, value)?,
        }
    }
    if !cursor.is_done() {
        return Err(Error::protocol("invalid startup packet layout: expected terminator as last byte"));
    }
    if start.user.is_empty() {
        return Err(Error::fatal("28000", "no PostgreSQL user name specified in startup packet"));
    }
    if start.database.is_empty() {
        start.database.clone_from(&start.user);
    }
    if start.user.len() > MAX_NAME || start.database.len() > MAX_NAME {
        return Err(Error::protocol(format!("names of users and databases have at most {MAX_NAME} bytes")));
    }
    Ok(start)
}

fn text<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, Error> {
    let bytes = cursor.c_string().map_err(|_| Error::protocol("invalid startup packet layout: a string has no end"))?;
    std::str::from_utf8(bytes).map_err(|_| Error::protocol("startup packet: names and values must be UTF-8"))
}

fn replication(value: &str) -> Result<Option<String>, Error> {
    match value.to_ascii_lowercase().as_str() {
        "false" | "off" | "no" | "0" => Ok(None),
        "true" | "on" | "yes" | "1" => Ok(Some("true".into())),
        "database" => Ok(Some("database".into())),
        _ => Err(Error::fatal("22023", format!("invalid value for parameter \"replication\": {value:?}"))
            .hint("Valid values are: \"false\", 0, \"true\", 1, \"database\".")),
    }
}

fn set(settings: &mut Vec<(String, String)>, name: &str, value: &str) -> Result<(), Error> {
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
    if name.is_empty() || name.len() > MAX_NAME || !is_name(name) {
        return Err(Error::fatal("42704", format!("unrecognized configuration parameter {name:?} in startup packet")));
    }
    let name = name.to_ascii_lowercase();
    settings.retain(|(old, _)| *old != name);
    if settings.len() >= MAX_PARAMETERS {
        return Err(Error::protocol(format!("startup packet has more than {MAX_PARAMETERS} parameters")));
    }
    settings.push((name, value.into()));
    Ok(())
}

/// `-c name=value` and `--name=value`, separated by spaces; a backslash takes the next character as it is (`pg_split_opts`).
fn options(settings: &mut Vec<(String, String)>, options: &str) -> Result<(), Error> {
    let mut words = words(options).into_iter();
    while let Some(word) = words.next() {
        let assignment = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c").filter(|rest| !rest.is_empty())) {
            Some(assignment) => assignment.to_string(),
            None if word == "-c" => words.next().unwrap_or_default(),
            None => return Err(unknown_option(&word)),
        };
        let (name, value) = assignment.split_once('=').ok_or_else(|| unknown_option(&word))?;
        set(settings, &name.replace('-', "_"), value)?;
    }
    Ok(())
}

fn unknown_option(word: &str) -> Error {
    Error::fatal("42601", format!("invalid command-line argument in startup options: {word}"))
        .hint("Midstream takes -c name=value and --name=value in options.")
}

fn words(options: &str) -> Vec<String> {
    let mut words = vec![];
    let mut word: Option<String> = None;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.get_or_insert_default().extend(characters.next()),
            space if space.is_ascii_whitespace() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(version: u32, body: &[u8]) -> Vec<u8> {
        let mut packet = (body.len() as u32 + 8).to_be_bytes().to_vec();
        packet.extend(version.to_be_bytes());
        packet.extend(body);
        packet
    }

    #[test]
    fn a_startup_message_is_taken_apart() {
        let bytes = packet(3 << 16, b"user\0ann\0options\0-c search_path=a\\ b --work-mem=1MB\0TimeZone\0UTC\0\0");
        let Ok((Startup::Start(start), length)) = read(&bytes) else { panic!() };
        assert_eq!(length, bytes.len());
        assert_eq!((start.user.as_str(), start.database.as_str()), ("ann", "ann"));
        let settings: Vec<_> = start.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(settings, ["search_path=a b", "work_mem=1MB", "timezone=UTC"]);
        assert_eq!(read(&bytes[..bytes.len() - 1]).unwrap(), (Startup::More, 0));
    }

    #[test]
    fn what_is_no_startup_packet_is_refused() {
        let code = |bytes: &[u8]| read(bytes).unwrap_err().code;
        assert_eq!(code(b"GET / HTTP/1.1\r\n"), "08P01");
        assert_eq!(code(&packet(2 << 16, b"")), "0A000");
        assert_eq!(code(&packet(3 << 16, b"user\0ann\0")), "08P01");
        assert_eq!(code(&packet(3 << 16, b"database\0shop\0\0")), "28000");
        assert_eq!(code(&packet(3 << 16, b"user\0ann\0replication\0maybe\0\0")), "22023");
        assert_eq!(code(&packet(3 << 16, b"user\0ann\0x'; drop\0y\0\0")), "42704");
    }

    #[test]
    fn requests_before_the_startup_message() {
        assert_eq!(read(&packet(SSL, b"")).unwrap().0, Startup::Ssl);
        assert_eq!(read(&packet(GSS, b"")).unwrap().0, Startup::Gss);
        assert_eq!(read(&packet(CANCEL, b"\0\0\0\x07\0\0\0\x09")).unwrap().0, Startup::Cancel { pid: 7, secret: vec![0, 0, 0, 9] });
        let long = [&b"\0\0\0\x07"[..], &[3; 32]].concat();
        assert_eq!(read(&packet(CANCEL, &long)).unwrap().0, Startup::Cancel { pid: 7, secret: vec![3; 32] });
        assert!(read(&packet(CANCEL, b"\0\0\0\x07")).is_err(), "no secret");
        assert!(read(&packet(CANCEL, &[3; 4 + 257])).is_err(), "too long");
    }
}
