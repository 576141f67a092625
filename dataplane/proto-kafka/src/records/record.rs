//! Records within a batch: varints in zigzag, keys, values and headers that may be null.

use crate::walk::Malformed;

/// The longest varint of 64 bits.
const MAX_VARINT: usize = 10;

/// A header: its key, and its value where it has one.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// A record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Unused by Kafka so far.
    pub attributes: u8,
    /// Milliseconds after the batch's base timestamp.
    pub timestamp_delta: i64,
    /// After the batch's base offset.
    pub offset_delta: i32,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Headers<'a>,
    /// All of it as it stands, the length in front included.
    pub raw: &'a [u8],
}

/// A record's headers, whose bytes are known to be well formed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Headers<'a> {
    count: u32,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut reader = Reader { bytes: self.bytes };
        (0..self.count).map_while(move |_| reader.header().ok())
    }

    /// The value of the last header of that name, which is the one that counts; a null value is an empty one.
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.iter().filter(|(key, _)| *key == name).last().map(|(_, value)| value.unwrap_or_default())
    }
}

/// The records in a batch's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    reader: Reader<'a>,
    left: u32,
}

impl<'a> Records<'a> {
    /// `count` records, which are all that there is.
    pub fn new(bytes: &'a [u8], count: u32) -> Records<'a> {
        Records { reader: Reader { bytes }, left: count }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(fewer) = self.left.checked_sub(1) else {
            let rest = std::mem::take(&mut self.reader.bytes);
            return if rest.is_empty() { None } else { Some(Err(Malformed("has more bytes than its records"))) };
        };
        self.left = fewer;
        let record = self.reader.record();
        if record.is_err() {
            (self.left, self.reader.bytes) = (0, &[]);
        }
        Some(record)
    }
}

#[derive(Clone, Copy, Debug)]
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn record(&mut self) -> Result<Record<'a>, Malformed> {
        let all = self.bytes;
        let length = usize::try_from(self.int()?).map_err(|_| Malformed("has a record with less than no bytes"))?;
        let mut inside = Reader { bytes: self.take(length)? };
        let raw = &all[..all.len() - self.bytes.len()];
        let attributes = inside.take(1)?[0];
        let timestamp_delta = inside.long()?;
        let offset_delta = inside.int()?;
        let key = inside.nullable()?;
        let value = inside.nullable()?;
        let count = u32::try_from(inside.int()?).map_err(|_| Malformed("has a record with less than no headers"))?;
        let headers = Headers { count, bytes: inside.bytes };
        for _ in 0..count {
            inside.header()?;
        }
        if !inside.bytes.is_empty() {
            return Err(Malformed("has a record that is longer than its fields"));
        }
        Ok(Record { attributes, timestamp_delta, offset_delta, key, value, headers, raw })
    }

    fn header(&mut self) -> Result<Header<'a>, Malformed> {
        let key = self.nullable()?.ok_or(Malformed("has a header without a name"))?;
        Ok((key, self.nullable()?))
    }

    fn nullable(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.int()? {
            -1 => Ok(None),
            length => self.take(usize::try_from(length).map_err(|_| Malformed("has a field with less than no bytes"))?).map(Some),
        }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.bytes.split_at_checked(n).ok_or(Malformed("ends before its records do"))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn int(&mut self) -> Result<i32, Malformed> {
        i32::try_from(self.long()?).map_err(|_| Malformed("has a varint beyond 32 bits"))
    }

    fn long(&mut self) -> Result<i64, Malformed> {
        let mut value = 0u64;
        for (at, byte) in self.bytes.iter().take(MAX_VARINT).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if at + 1 == MAX_VARINT && bits > 1 {
                break;
            }
            value |= bits << (7 * at);
            if byte & 0x80 == 0 {
                self.bytes = &self.bytes[at + 1..];
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Malformed(if self.bytes.len() < MAX_VARINT { "ends before its records do" } else { "has a varint beyond 64 bits" }))
    }
}

/// Appends a record with another value and other headers.
pub fn put(out: &mut Vec<u8>, like: &Record<'_>, value: Option<&[u8]>, headers: &[Header<'_>]) {
    let mut inside = Vec::with_capacity(like.raw.len() + value.map_or(0, <[u8]>::len));
    inside.push(like.attributes);
    put_long(&mut inside, like.timestamp_delta);
    put_long(&mut inside, i64::from(like.offset_delta));
    put_nullable(&mut inside, like.key);
    put_nullable(&mut inside, value);
    put_long(&mut inside, headers.len() as i64);
    for (key, value) in headers {
        put_nullable(&mut inside, Some(key));
        put_nullable(&mut inside, *value);
    }
    put_long(out, inside.len() as i64);
    out.extend_from_slice(&inside);
}

fn put_nullable(out: &mut Vec<u8>, field: Option<&[u8]>) {
    put_long(out, field.map_or(-1, |field| field.len() as i64));
    out.extend_from_slice(field.unwrap_or_default());
}

fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut left = (value << 1 ^ value >> 63) as u64;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}
