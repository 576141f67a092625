//! Names in messages that bear records, renamed while they pass: Produce requests up to version 12 and Fetch responses up to that one. (Later
//! versions name topics by their ids.)
//!
//! The size of such a message goes out before its second topic is seen. How many topics there are stands in front of them. With the prefix
//! alone, each grows or shrinks by the same, so the new size is known. Where lengths are varints (from the flexible versions on) or there
//! are aliases, it is known how much each grows at most: that is what is announced, and what is left of it in the end is filled by an unknown
//! tag, which everybody passes over. Only messages with aliases in versions without tags have to be held.

use super::{Names, VirtualCluster, text};
use crate::codec::{self, put_uvarint, put_uvarint_wide, uvarint_size};
use crate::table::{Api, Shape};
use crate::tables::interest;
use crate::walk::{Malformed, Part, Seen, Step, Walk, uvarint};
use std::sync::Arc;

/// Whether messages with records of this version are renamed while they pass.
pub fn is_streamed(cluster: &VirtualCluster, api: &Api, version: i16) -> bool {
    api.is_flexible(version) || !cluster.topics.has_aliases()
}

/// A message that is renamed while it passes.
#[derive(Debug)]
pub struct Stretch {
    cluster: Arc<VirtualCluster>,
    is_response: bool,
    /// How much longer than its own the message was announced, less what it has grown.
    slack: i64,
}

impl Stretch {
    /// Looks into the front of a message's body, as far as it is there, for what the message will grow by; `None` when more bytes are needed.
    ///
    /// # Errors
    /// It is not of its shape, or would exceed what a size can say.
    pub fn begin(
        cluster: &Arc<VirtualCluster>,
        program: u32,
        is_flexible: bool,
        is_response: bool,
        body: &[u8],
        length: u64,
    ) -> Result<Option<Stretch>, Malformed> {
        let mut stretch = Stretch { cluster: Arc::clone(cluster), is_response, slack: 0 };
        let most = if Shape::bears(program, interest::TOPIC) { most(&cluster.topics, is_flexible, is_response) } else { 0 };
        let mut walk = Walk::new(program, length);
        let mut at = 0usize;
        loop {
            match walk.step(body.get(at..).unwrap_or_default())? {
                Step::Need => return Ok(None),
                Step::Run(n) | Step::Records(n, _) => at = at.saturating_add(usize::try_from(n).unwrap_or(usize::MAX)),
                Step::Tail => {}
                Step::Done => return Err(Malformed("has no topics")),
                Step::Seen(seen) if seen.interest == interest::TOPICS && seen.part == Part::Count => {
                    let topics = count(&seen)?;
                    if u64::from(topics) > length {
                        return Err(Malformed("a length exceeds its frame"));
                    }
                    stretch.slack += most * i64::from(topics);
                    return Ok(Some(stretch));
                }
                Step::Seen(seen) => {
                    if let Some(with) = stretch.renamed(&seen) {
                        stretch.slack += with.len() as i64 - seen.bytes.len() as i64;
                    }
                    at += seen.bytes.len();
                }
            }
        }
    }

    /// The size to announce instead of the message's own.
    ///
    /// # Errors
    /// It would exceed what a size can say.
    pub fn announced(&self, size: u32) -> Result<u32, Malformed> {
        i64::from(size)
            .checked_add(self.slack)
            .and_then(|size| i32::try_from(size).ok())
            .and_then(|size| u32::try_from(size).ok())
            .ok_or(Malformed("exceeds 2 GiB under its other names"))
    }

    /// What takes the place of a marked field.
    ///
    /// # Errors
    /// A name is no client's, or grows by more than was announced.
    pub fn patch(&mut self, seen: &Seen<'_>) -> Result<Option<Vec<u8>>, Malformed> {
        if seen.part == Part::Value && self.is_response && seen.interest == interest::TOPIC && self.renamed(seen).is_none() {
            return Err(Malformed("names what is not this virtual cluster's"));
        }
        let with = match seen.interest {
            interest::LAST_TAGS if seen.part == Part::Count => Some(self.filled(seen)?),
            _ => self.renamed(seen),
        };
        if let Some(with) = &with {
            self.slack -= with.len() as i64 - seen.bytes.len() as i64;
        }
        Ok(with)
    }

    /// The message is over.
    ///
    /// # Errors
    /// It has not the size that was announced.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.slack == 0 { Ok(()) } else { Err(Malformed("has not grown as much as was announced")) }
    }

    fn renamed(&self, seen: &Seen<'_>) -> Option<Vec<u8>> {
        if seen.part != Part::Value {
            return None;
        }
        let head = if seen.compact { uvarint(seen.bytes).ok().flatten().map_or(0, |(size, _)| size) } else { 2 };
        let text = seen.bytes.get(head..)?;
        let is_null = seen.bytes.first().is_some_and(|first| if seen.compact { *first == 0 } else { *first >= 0x80 });
        let put = |text: &[u8]| Some(codec::string(seen.compact, text));
        match seen.interest {
            interest::TOPIC if self.is_response => put(self.cluster.topics.client(text)?),
            interest::TOPIC => put(&self.cluster.topics.physical(text)),
            interest::TRANSACTIONAL_ID if !is_null => put(&self.cluster.transactions.physical(text)),
            interest::ERROR_MESSAGE | interest::TEXT if !is_null => {
                text::cleaned_in_place(&self.cluster, text).map(|text| [&seen.bytes[..head], &text].concat())
            }
            _ => None,
        }
    }

    /// The count of tags, and the filler behind it.
    fn filled(&self, seen: &Seen<'_>) -> Result<Vec<u8>, Malformed> {
        let slack = usize::try_from(self.slack).map_err(|_| Malformed("has grown more than was announced"))?;
        let (_, count) = uvarint(seen.bytes)?.ok_or(Malformed("has no count"))?;
        let room = seen.bytes.len() + slack;
        let mut out = Vec::with_capacity(room);
        match room.checked_sub(uvarint_size(count + 1)).filter(|filler| *filler >= 2 && slack > 0) {
            Some(filler) => {
                put_uvarint(&mut out, count + 1);
                crate::endpoints::put_filler(&mut out, filler);
            }
            None => put_uvarint_wide(&mut out, count, room),
        }
        Ok(out)
    }
}

/// What a topic's name grows by at most. A length in a varint may take a byte more.
fn most(names: &Names, is_flexible: bool, is_response: bool) -> i64 {
    let prefix = names.prefix().len() as i64;
    let aliases = names.aliases().map(|(client, physical)| physical.len() as i64 - client.len() as i64);
    let most = if is_response { aliases.map(|grows| -grows).fold(-prefix, i64::max) } else { aliases.fold(prefix, i64::max) };
    most + i64::from(is_flexible)
}

fn count(seen: &Seen<'_>) -> Result<u32, Malformed> {
    if seen.compact {
        return Ok(uvarint(seen.bytes)?.map_or(0, |(_, n)| n.saturating_sub(1)));
    }
    let bytes = seen.bytes.try_into().map_err(|_| Malformed("has no count"))?;
    Ok(u32::try_from(i32::from_be_bytes(bytes)).unwrap_or(0))
}
