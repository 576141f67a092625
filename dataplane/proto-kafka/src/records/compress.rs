//! Kafka's compression codecs, as its clients use them: gzip; snappy bare or in the frames of its Java library; lz4 frames of independent
//! blocks; zstd.

use super::Unreadable;
use crate::walk::Malformed;
use std::borrow::Cow;
use std::io::{Read, Write};

/// What the Java library of snappy puts in front: its name, and twice version 1.
const SNAPPY_JAVA: &[u8] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// Its magic; the versions may differ.
const SNAPPY_MAGIC: &[u8] = b"\x82SNAPPY\0";
/// Its blocks.
const SNAPPY_BLOCK: usize = 32 * 1024;

/// The largest window of zstd: that of its highest level, which Kafka's own clients read as well.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Kafka's default level of zstd.
const ZSTD_LEVEL: i32 = 3;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Codec {
    /// Not.
    None,
    /// gzip
    Gzip,
    /// snappy
    Snappy,
    /// lz4
    Lz4,
    /// zstd
    Zstd,
}

impl Codec {
    /// All of them, by their numbers on the wire.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec with a number.
    ///
    /// # Errors
    /// There is none.
    pub fn of(number: i16) -> Result<Codec, Malformed> {
        usize::try_from(number).ok().and_then(|at| Codec::ALL.get(at)).copied().ok_or(Malformed("has a compression that Kafka does not know"))
    }

    /// As Kafka's `compression.type` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

/// Decompresses; borrows where nothing is compressed.
///
/// # Errors
/// The bytes are not of that codec, or give more than `most`.
pub fn decompress(codec: Codec, bytes: &[u8], most: usize) -> Result<Cow<'_, [u8]>, Unreadable> {
    match codec {
        Codec::None if bytes.len() > most => Err(Unreadable::TooLarge),
        Codec::None => Ok(Cow::Borrowed(bytes)),
        Codec::Gzip => read(flate2::read::MultiGzDecoder::new(bytes), most, "is not of gzip"),
        Codec::Snappy => snappy(bytes, most).map(Cow::Owned),
        Codec::Lz4 => read(lz4_flex::frame::FrameDecoder::new(bytes), most, "is not of lz4"),
        Codec::Zstd => {
            let bad = |_| Unreadable::Malformed(Malformed("is not of zstd"));
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(bad)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(bad)?;
            read(decoder, most, "is not of zstd")
        }
    }
}

fn read(from: impl Read, most: usize, otherwise: &'static str) -> Result<Cow<'static, [u8]>, Unreadable> {
    let mut out = Vec::new();
    from.take(most as u64 + 1).read_to_end(&mut out).map_err(|_| Malformed(otherwise))?;
    if out.len() > most { Err(Unreadable::TooLarge) } else { Ok(Cow::Owned(out)) }
}

fn snappy(bytes: &[u8], most: usize) -> Result<Vec<u8>, Unreadable> {
    let mut out = Vec::new();
    if !bytes.starts_with(SNAPPY_MAGIC) {
        block(bytes, &mut out, most)?;
        return Ok(out);
    }
    let bad = Malformed("is not of snappy");
    let mut rest = bytes.get(SNAPPY_JAVA.len()..).ok_or(bad)?;
    while !rest.is_empty() {
        let (size, after) = rest.split_first_chunk::<4>().ok_or(bad)?;
        let (compressed, after) = after.split_at_checked(u32::from_be_bytes(*size) as usize).ok_or(bad)?;
        block(compressed, &mut out, most)?;
        rest = after;
    }
    Ok(out)
}

fn block(compressed: &[u8], out: &mut Vec<u8>, most: usize) -> Result<(), Unreadable> {
    let bad = |_| Unreadable::Malformed(Malformed("is not of snappy"));
    let size = snap::raw::decompress_len(compressed).map_err(bad)?;
    let from = out.len();
    let to = from.checked_add(size).filter(|to| *to <= most).ok_or(Unreadable::TooLarge)?;
    out.resize(to, 0);
    let written = snap::raw::Decoder::new().decompress(compressed, &mut out[from..]).map_err(bad)?;
    out.truncate(from + written);
    Ok(())
}

/// Compresses.
///
/// # Errors
/// The codec's library could not: memory, or a block beyond 4 GiB.
pub fn compress(codec: Codec, bytes: &[u8]) -> Result<Cow<'_, [u8]>, Unreadable> {
    let failed = |_| Unreadable::Malformed(Malformed("could not be compressed"));
    Ok(match codec {
        Codec::None => Cow::Borrowed(bytes),
        Codec::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).map_err(failed)?;
            Cow::Owned(encoder.finish().map_err(failed)?)
        }
        Codec::Snappy => Cow::Owned(snappy_java(bytes)?),
        Codec::Lz4 => {
            // Java's reader takes independent blocks only.
            let info = lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max64KB);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info.block_mode(lz4_flex::frame::BlockMode::Independent), Vec::new());
            encoder.write_all(bytes).map_err(failed)?;
            Cow::Owned(encoder.finish().map_err(|_| Malformed("could not be compressed"))?)
        }
        Codec::Zstd => Cow::Owned(zstd::stream::encode_all(bytes, ZSTD_LEVEL).map_err(failed)?),
    })
}

fn snappy_java(bytes: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let mut out = SNAPPY_JAVA.to_vec();
    let mut encoder = snap::raw::Encoder::new();
    for chunk in bytes.chunks(SNAPPY_BLOCK) {
        let compressed = encoder.compress_vec(chunk).map_err(|_| Malformed("could not be compressed"))?;
        out.extend((compressed.len() as u32).to_be_bytes());
        out.extend(compressed);
    }
    Ok(out)
}
