//! Changes of the client's text at token boundaries. The text is never regenerated: what is not spliced stays byte for byte.

use crate::lexer::Lexed;
use config::proto::midstream::sql::v1::Splice;

/// Splices must be ordered and disjoint.
pub(crate) fn check(splices: &[Splice]) -> Result<(), &'static str> {
    let mut last = 0;
    for splice in splices {
        if splice.start < last || splice.end < splice.start {
            return Err("splices overlap or are out of order");
        }
        last = splice.end;
    }
    Ok(())
}

/// Appends the statement with the splices done.
pub(crate) fn apply(splices: &[Splice], lexed: &Lexed, sql: &[u8], out: &mut Vec<u8>) {
    let mut from = lexed.start;
    for splice in splices {
        let start = lexed.origin(splice.start).min(lexed.stop);
        out.extend_from_slice(sql.get(from..start).unwrap_or_default());
        expand(&splice.text, lexed, sql, out);
        from = lexed.origin(splice.end).min(lexed.stop);
    }
    out.extend_from_slice(sql.get(from..lexed.stop).unwrap_or_default());
}

/// `:pN` stands for the client's own text of slot N.
pub(crate) fn expand(text: &str, lexed: &Lexed, sql: &[u8], out: &mut Vec<u8>) {
    let mut parts = text.split(":p");
    out.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let slot = part[..digits].parse::<usize>().ok().and_then(|n| n.checked_sub(1)).and_then(|index| lexed.slots().get(index));
        match slot {
            Some(slot) => {
                out.extend_from_slice(slot.text(sql));
                out.extend_from_slice(&part.as_bytes()[digits..]);
            }
            None => {
                out.extend_from_slice(b":p");
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
}
