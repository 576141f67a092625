//! Lanes: a client in a lane sees the lane's records only, and all others see what belongs to no lane.

use super::Record;
use filters::Patterns;

/// W3C baggage, whose members name a lane where the header of its own is missing.
const BAGGAGE: &[u8] = b"baggage";

/// The lanes of a topic.
#[derive(Debug)]
pub struct Lanes {
    /// The header that says a record's lane.
    pub header: Box<[u8]>,
    /// Whose lanes there are.
    pub lanes: Vec<Who>,
}

/// A lane's name, and who is in it: a client that fits all of its patterns.
#[derive(Debug)]
pub struct Who {
    /// The header's value.
    pub name: Box<[u8]>,
    /// Of the client's listener.
    pub listeners: Patterns,
    /// Of its identity.
    pub identities: Patterns,
    /// Of the client id in its requests.
    pub client_ids: Patterns,
}

/// A client as lanes see it.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The Listener's name.
    pub listener: &'a str,
    /// Who it is.
    pub identity: &'a str,
    /// What it calls itself.
    pub client_id: &'a [u8],
}

impl Lanes {
    /// The lane of a client; `None` for one in no lane.
    pub fn of(&self, client: &Client<'_>) -> Option<&[u8]> {
        let fits = |who: &&Who| {
            who.listeners.matches(client.listener.as_bytes())
                && who.identities.matches(client.identity.as_bytes())
                && who.client_ids.matches(client.client_id)
        };
        self.lanes.iter().find(fits).map(|who| &*who.name)
    }

    /// Whether a client of that lane sees the record.
    pub fn shows(&self, lane: Option<&[u8]>, record: &Record<'_>) -> bool {
        let colour = record.headers.get(&self.header).or_else(|| member(record.headers.get(BAGGAGE)?, &self.header));
        match lane {
            Some(lane) => colour == Some(lane),
            None => colour.is_none_or(|colour| !self.lanes.iter().any(|who| *who.name == *colour)),
        }
    }
}

/// The value of a baggage member, without its properties: `a=1;p=2, b=3`.
fn member<'a>(baggage: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    baggage.split(|byte| *byte == b',').find_map(|member| {
        let equals = member.iter().position(|byte| *byte == b'=')?;
        let value = member.get(equals + 1..)?.split(|byte| *byte == b';').next()?;
        (member.get(..equals)?.trim_ascii() == name).then(|| value.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn baggage_members_are_found_by_their_whole_name() {
        let baggage = b"user=7;p=x, x-lane = blue ;ttl=1,x-lane2=red";
        assert_eq!(member(baggage, b"x-lane"), Some(&b"blue"[..]));
        assert_eq!(member(baggage, b"x-lane2"), Some(&b"red"[..]));
        assert_eq!(member(baggage, b"lane"), None);
        assert_eq!(member(b"", b"x-lane"), None);
        assert_eq!(member(b"x-lane", b"x-lane"), None);
    }
}
