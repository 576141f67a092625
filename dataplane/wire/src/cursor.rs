//! A reader over bytes from the wire.

/// The bytes end before the value does: need more, or, in a frame known to be whole, a malformed frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Short;

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the bytes end before the value does")
    }
}

impl std::error::Error for Short {}

/// Reads big-endian values front to back; never past the end, never panics.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

macro_rules! big_endian {
    ($($name:ident: $type:ty),*) => {
        $(
            #[doc = concat!("The next big-endian `", stringify!($type), "`.")]
            #[inline]
            pub fn $name(&mut self) -> Result<$type, Short> {
                const SIZE: usize = size_of::<$type>();
                let bytes = self.take(SIZE)?;
                let mut value = [0u8; SIZE];
                value.copy_from_slice(bytes);
                Ok(<$type>::from_be_bytes(value))
            }
        )*
    };
}

impl<'a> Cursor<'a> {
    /// Starts at the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    big_endian!(u8: u8, i8: i8, u16: u16, i16: i16, u32: u32, i32: i32, u64: u64, i64: i64);

    /// The next `n` bytes.
    #[inline]
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Short> {
        let end = self.at.checked_add(n).ok_or(Short)?;
        let taken = self.bytes.get(self.at..end).ok_or(Short)?;
        self.at = end;
        Ok(taken)
    }

    /// Passes over `n` bytes.
    pub fn skip(&mut self, n: usize) -> Result<(), Short> {
        self.take(n).map(|_| ())
    }

    /// The bytes up to a NUL, which is passed over too.
    pub fn c_string(&mut self) -> Result<&'a [u8], Short> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == 0).ok_or(Short)?;
        self.at += length + 1;
        Ok(&rest[..length])
    }

    /// How many bytes were read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Whether all was read.
    pub fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_in_order_and_end_with_short() {
        let mut cursor = Cursor::new(b"\x01\x00\x02\xff\xff\xff\xfeab\0c");
        assert_eq!(cursor.u8(), Ok(1));
        assert_eq!(cursor.i16(), Ok(2));
        assert_eq!(cursor.i32(), Ok(-2));
        assert_eq!(cursor.c_string(), Ok(&b"ab"[..]));
        assert_eq!(cursor.i64(), Err(Short));
        assert_eq!(cursor.rest(), b"c");
        assert_eq!(cursor.c_string(), Err(Short));
    }

    #[test]
    fn a_length_beyond_the_address_space_is_short() {
        let mut cursor = Cursor::new(b"abc");
        cursor.skip(1).unwrap();
        assert_eq!(cursor.take(usize::MAX), Err(Short));
    }
}
