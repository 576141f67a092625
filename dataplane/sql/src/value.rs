//! The values of a statement's slots, as one execution has them.

use crate::lexer::{Lexed, SlotKind};
use crate::literal;
use std::borrow::Cow;

/// A parameter of Bind.
#[derive(Clone, Copy, Debug)]
pub struct Parameter<'a> {
    /// `None`: NULL.
    pub value: Option<&'a [u8]>,
    /// Its format code was 1.
    pub binary: bool,
    /// As declared in Parse, or as the server's ParameterDescription told; 0: not known.
    pub type_oid: u32,
}

/// Where the values of one execution are.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// The text that was scanned into `lexed`.
    pub sql: &'a [u8],
    /// The statement.
    pub lexed: &'a Lexed,
    /// Of Bind; empty in the simple protocol.
    pub parameters: &'a [Parameter<'a>],
    /// client_encoding is UTF8. Otherwise only ASCII text can be a sharding key.
    pub utf8: bool,
}

/// One value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value<'a> {
    Null,
    /// In text format; the type as far as it is known, a string literal's being unknown (0).
    Text(Cow<'a, [u8]>, u32),
    /// In binary format.
    Binary(&'a [u8], u32),
    /// There, but what it stands for cannot be told here.
    Opaque,
}

impl<'a> Values<'a> {
    /// The value of `:pN`.
    pub(crate) fn slot(&self, n: u32) -> Value<'a> {
        let slot = (n as usize).checked_sub(1).and_then(|index| self.lexed.slots().get(index));
        let Some(slot) = slot else { return Value::Opaque };
        let text = slot.text(self.sql);
        match slot.kind {
            SlotKind::Number => Value::Text(Cow::Borrowed(text), slot.type_oid),
            SlotKind::String { escapes } => literal::string(text, escapes).map_or(Value::Opaque, |value| Value::Text(value, 0)),
            SlotKind::Bits => Value::Opaque,
            SlotKind::Parameter(number) => self.parameter(number),
        }
    }

    fn parameter(&self, number: u16) -> Value<'a> {
        let parameter = usize::from(number).checked_sub(1).and_then(|index| self.parameters.get(index));
        match parameter {
            None => Value::Opaque,
            Some(Parameter { value: None, .. }) => Value::Null,
            Some(Parameter { value: Some(bytes), binary: true, type_oid }) => Value::Binary(bytes, *type_oid),
            Some(Parameter { value: Some(bytes), binary: false, type_oid }) => Value::Text(Cow::Borrowed(bytes), *type_oid),
        }
    }
}
