//! Frames: the size in front, the header of a request, the header of a response.

use crate::table::{self, Api, Shape};
use crate::walk::{Malformed, uvarint};
use wire::Cursor;

/// The longest request: brokers take 100 MiB (`socket.request.max.bytes`) unless told otherwise; what speaks TLS to a plain port claims 352.
pub const MAX_REQUEST: u32 = 256 * 1024 * 1024;

/// The longest response: a client may ask for as much as an int32 can say (`fetch.max.bytes`); what speaks HTTP claims more than this.
pub const MAX_RESPONSE: u32 = 1024 * 1024 * 1024;

/// The longest request header: a client id is a string of at most 32,767 bytes; the rest is for tags that no client sends yet.
pub const MAX_HEADER: usize = 40 * 1024;

/// The front of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead {
    /// Bytes after the size field.
    pub size: u32,
    /// API key.
    pub key: i16,
    /// API version.
    pub version: i16,
    /// The client's number for it.
    pub correlation: i32,
}

impl RequestHead {
    /// The bytes of the frame, its size field included.
    pub fn frame(&self) -> u64 {
        4 + u64::from(self.size)
    }

    /// The API and the version's shape, when the tables have them.
    pub fn shape(&self) -> Option<(&'static Api, &'static Shape)> {
        let api = table::api(self.key)?;
        Some((api, api.shape(self.version)?))
    }
}

/// Reads the fixed part of a request header; `None` when more bytes are needed.
///
/// # Errors
/// The size is impossible: less than the header, or more than `MAX_REQUEST`.
pub fn request_head(bytes: &[u8]) -> Result<Option<RequestHead>, Malformed> {
    let mut cursor = Cursor::new(bytes);
    let Ok(size) = cursor.u32() else { return Ok(None) };
    if !(10..=MAX_REQUEST).contains(&size) {
        return Err(Malformed("claims a size below its header or above 256 MiB"));
    }
    let (Ok(key), Ok(version), Ok(correlation)) = (cursor.i16(), cursor.i16(), cursor.i32()) else { return Ok(None) };
    Ok(Some(RequestHead { size, key, version, correlation }))
}

/// Where the body of a request begins, from the front of the frame; `None` when more bytes are needed.
///
/// # Errors
/// The header exceeds its frame or `MAX_HEADER`.
pub fn request_body(bytes: &[u8], head: &RequestHead, flexible: bool) -> Result<Option<usize>, Malformed> {
    let frame = usize::try_from(head.frame()).unwrap_or(usize::MAX);
    let bytes = &bytes[..bytes.len().min(frame).min(MAX_HEADER)];
    let short = || if bytes.len() < frame.min(MAX_HEADER) { Ok(None) } else { Err(Malformed("has a header beyond its frame or 40 KiB")) };
    let mut cursor = Cursor::new(bytes);
    let Ok(()) = cursor.skip(12) else { return short() };
    let Ok(length) = cursor.i16() else { return short() };
    if cursor.skip(usize::try_from(length).unwrap_or(0)).is_err() {
        return short();
    }
    if !flexible {
        return Ok(Some(cursor.at()));
    }
    match tags(cursor.rest())? {
        Some(size) => Ok(Some(cursor.at() + size)),
        None => short(),
    }
}

/// The client id in a request's header; null as empty.
pub fn client_id(request: &[u8]) -> &[u8] {
    let Some((length, rest)) = request.get(12..).and_then(|rest| rest.split_first_chunk::<2>()) else { return &[] };
    rest.get(..usize::try_from(i16::from_be_bytes(*length)).unwrap_or(0)).unwrap_or_default()
}

/// The size and correlation id of a response; `None` when more bytes are needed.
///
/// # Errors
/// The size is impossible.
pub fn response_head(bytes: &[u8]) -> Result<Option<(u32, i32)>, Malformed> {
    let mut cursor = Cursor::new(bytes);
    let Ok(size) = cursor.u32() else { return Ok(None) };
    if !(4..=MAX_RESPONSE).contains(&size) {
        return Err(Malformed("claims a size below its header or above 1 GiB"));
    }
    Ok(cursor.i32().ok().map(|correlation| (size, correlation)))
}

/// The size of a section of tags; `None` when more bytes are needed.
///
/// # Errors
/// A varint is malformed.
pub fn tags(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some((mut at, count)) = uvarint(bytes)? else { return Ok(None) };
    for _ in 0..count {
        let Some((tag, _)) = uvarint(bytes.get(at..).unwrap_or_default())? else { return Ok(None) };
        let Some((head, size)) = uvarint(bytes.get(at + tag..).unwrap_or_default())? else { return Ok(None) };
        at += tag + head + size as usize;
        if at > bytes.len() {
            return Ok(None);
        }
    }
    Ok(Some(at))
}

/// Whether a response of this API and version has tags in its header. ApiVersions never has: its client does not know yet what the
/// server speaks (KIP-511).
pub fn response_has_tags(api: &Api, version: i16) -> bool {
    api.is_flexible(version) && api.key != API_VERSIONS
}

/// SaslHandshake.
pub const SASL_HANDSHAKE: i16 = 17;
/// ApiVersions.
pub const API_VERSIONS: i16 = 18;
/// SaslAuthenticate.
pub const SASL_AUTHENTICATE: i16 = 36;

/// The number of our own requests on a client's connection to its broker. Answers come in order, so it need not be a number of its own.
pub const OWN_CORRELATION: i32 = i32::from_be_bytes(*b"mids");
