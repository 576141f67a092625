//! The parameter values of a `Bind`.

use sql::Parameter;
use wire::Cursor;

/// What follows the names in a Bind: the values in order, and the result formats.
pub struct Read<'a> {
    values: Vec<Parameter<'a>>,
    formats: Vec<i16>,
}

impl<'a> Read<'a> {
    /// The values.
    pub fn as_slice(&self) -> &[Parameter<'a>] {
        &self.values
    }

    /// The result format codes as they were given: none, one for all, or one each.
    pub fn formats(&self) -> &[i16] {
        &self.formats
    }
}

/// Reads what stands behind the names; `None` when it is malformed. `oids`: the declared types.
pub fn parameters<'a>(rest: &'a [u8], oids: &[u32]) -> Option<Read<'a>> {
    let mut cursor = Cursor::new(rest);
    let formats = codes(&mut cursor)?;
    let count = usize::from(cursor.u16().ok()?);
    if formats.len() > 1 && formats.len() != count {
        return None;
    }
    let mut values = Vec::with_capacity(count.min(64));
    for index in 0..count {
        let length = cursor.i32().ok()?;
        let value = match usize::try_from(length) {
            Ok(length) => Some(cursor.take(length).ok()?),
            Err(_) if length == -1 => None,
            Err(_) => return None,
        };
        let format = if formats.len() == 1 { formats.first() } else { formats.get(index) };
        values.push(Parameter { value, binary: format == Some(&1), type_oid: oids.get(index).copied().unwrap_or(0) });
    }
    let formats = codes(&mut cursor)?;
    cursor.is_done().then_some(Read { values, formats })
}

fn codes(cursor: &mut Cursor<'_>) -> Option<Vec<i16>> {
    let count = usize::from(cursor.u16().ok()?);
    let mut codes = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        codes.push(cursor.i16().ok()?);
    }
    Some(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_formats() {
        let rest = b"\0\x02\0\x01\0\0\0\x02\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff\0\x01\0\x01";
        let read = parameters(rest, &[23]).unwrap();
        let [first, second] = read.as_slice() else { panic!() };
        assert_eq!((first.value, first.binary, first.type_oid), (Some(&b"\0\0\0\x07"[..]), true, 23));
        assert_eq!((second.value, second.binary, second.type_oid), (None, false, 0));
        assert_eq!(read.formats(), [1]);
    }

    #[test]
    fn counts_that_do_not_add_up_are_malformed() {
        assert!(parameters(b"\0\0\0\x01\0\0\0\x04ab", &[]).is_none());
        assert!(parameters(b"\0\0\xff\xff", &[]).is_none());
        assert!(parameters(b"\0\0\0\x01\xff\xff\xff\xfe\0\0", &[]).is_none());
        assert!(parameters(b"\0\0\0\0\0\0x", &[]).is_none());
    }
}
