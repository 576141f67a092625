//! Lists of all that there is, as one client may see them.

use crate::conf::Listener;
use crate::directory::METADATA;
use crate::edit::{Mark, Splice, elements};
use crate::mask::Masks;
use crate::owners;
use crate::session::Session;
use crate::tables::interest;
use crate::walk::Part;
use crate::way::{DESCRIBE_TOPIC_PARTITIONS, LIST_GROUPS, LIST_TRANSACTIONS};

impl Session {
    /// Takes what this client may not see out of a list of all, as brokers do, and what another cluster has to tell.
    pub(crate) fn hide(&mut self, listener: &Listener, body: &[u8], marks: &[Mark], key: i16, masks: Option<&Masks>, splices: &mut Vec<Splice>) {
        let Some((list, named, kind)) = hideable(key).filter(|_| listener.chain.is_some() || listener.member.is_some()) else { return };
        let mut hidden = Vec::new();
        let mut left = 0;
        for (inside, span) in elements(marks, list) {
            let name = marks[inside].iter().find(|mark| mark.is(named)).map_or(&[][..], |mark| mark.text(body));
            let is_masked = masks.is_some_and(|masks| masks.of(name).is_some());
            let is_here = listener.member.as_ref().is_none_or(|member| member.shows(named, name));
            let may = |chain| self.denial(chain, key, &[kind, name].concat()).is_none();
            if name.is_empty() || is_masked || is_here && listener.chain.as_deref().is_none_or(may) {
                left += 1;
            } else {
                hidden.push(Splice { at: span.start, len: span.len(), with: vec![] });
            }
        }
        if hidden.is_empty() {
            return;
        }
        let count = marks.iter().find(|mark| mark.interest == list && mark.part == Part::Count);
        splices.extend(count.map(|count| count.with(crate::codec::count(count.compact, left))));
        splices.retain(|splice| !hidden.iter().any(|hidden| (hidden.at..hidden.at + hidden.len).contains(&splice.at)));
        splices.append(&mut hidden);
    }
}

/// Lists of all that there is: the list's interest, its names' interest, and what policies see before a name.
pub(crate) fn hideable(key: i16) -> Option<(u8, u8, &'static [u8])> {
    match key {
        METADATA | DESCRIBE_TOPIC_PARTITIONS => Some((interest::TOPICS, interest::TOPIC, b"")),
        LIST_GROUPS => Some((interest::GROUPS, interest::GROUP, owners::GROUP)),
        LIST_TRANSACTIONS => Some((interest::TRANSACTIONS, interest::TRANSACTIONAL_ID, owners::TRANSACTION)),
        _ => None,
    }
}
