//! Refusals of whole requests whose responses have an error per element only, so that the tables have no empty response with an error.

use crate::codec;
use crate::edit::{Mark, marks};
use crate::table::Api;
use crate::tables::interest;
use crate::walk::Part;

const CREATE_ACLS: i16 = 30;
const DELETE_ACLS: i16 = 31;
const ALTER_CONFIGS: i16 = 33;
const INCREMENTAL_ALTER_CONFIGS: i16 = 44;

/// The body of a response that refuses each element of a request; `None` for other APIs.
pub fn refused(api: &Api, version: i16, request: &[u8], code: i16, message: &str) -> Option<Vec<u8>> {
    let marks = marks(api.shape(version)?.request, request).ok()?;
    let compact = api.is_flexible(version);
    let mut out = vec![0; 4]; // no throttling
    let elements = match api.key {
        ALTER_CONFIGS | INCREMENTAL_ALTER_CONFIGS => interest::TOPICS,
        CREATE_ACLS | DELETE_ACLS => interest::ACLS,
        _ => return None,
    };
    let count = marks.iter().find(|mark| mark.interest == elements && mark.part == Part::Count)?.count(request);
    out.extend(codec::count(compact, count));
    let values: Vec<&Mark> = marks.iter().filter(|mark| mark.is(interest::RESOURCE_TYPE) || mark.is(interest::RESOURCE_NAME)).collect();
    for at in 0..count as usize {
        out.extend(code.to_be_bytes());
        out.extend(codec::string(compact, message.as_bytes()));
        match api.key {
            CREATE_ACLS => {}
            DELETE_ACLS => out.extend(codec::count(compact, 0)),
            _ => {
                out.extend(values.get(2 * at)?.bytes(request));
                out.extend(values.get(2 * at + 1)?.bytes(request));
            }
        }
        out.extend(compact.then_some(0));
    }
    out.extend(compact.then_some(0));
    Some(out)
}
