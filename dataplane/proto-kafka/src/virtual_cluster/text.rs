//! Sentences of a broker's, for a person: names in them are told as the client calls them.

use super::VirtualCluster;

/// What follows in CreateTopics' error is a list of topics of whomever.
const OF_OTHERS: &[u8] = b"collides with existing topics";

/// A sentence without physical names; `None` when it has none.
pub fn cleaned(cluster: &VirtualCluster, text: &[u8]) -> Option<Vec<u8>> {
    let end = text.windows(OF_OTHERS.len()).position(|window| window == OF_OTHERS).map_or(text.len(), |at| at + OF_OTHERS.len());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = &text[..end];
    while !rest.is_empty() {
        let word = rest.iter().position(|byte| !is_name(*byte)).unwrap_or(rest.len());
        let gap = rest[word..].iter().position(|byte| is_name(*byte)).unwrap_or(rest.len() - word);
        out.extend(client(cluster, &rest[..word]));
        out.extend(&rest[word..word + gap]);
        rest = &rest[word + gap..];
    }
    (out != text).then_some(out)
}

/// The same in place of its length, for messages whose size has been told; a sentence that would be longer ends earlier.
pub fn cleaned_in_place(cluster: &VirtualCluster, text: &[u8]) -> Option<Vec<u8>> {
    cleaned(cluster, text).map(|mut out| {
        out.resize(text.len(), b' ');
        out
    })
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

/// A name, perhaps with a partition or a full stop behind it.
fn client(cluster: &VirtualCluster, word: &[u8]) -> Vec<u8> {
    for names in [&cluster.topics, &cluster.groups, &cluster.transactions] {
        for (client, physical) in names.aliases() {
            if let Some(behind) = word.strip_prefix(physical).filter(|behind| behind.first().is_none_or(|byte| b".-".contains(byte))) {
                return [client, behind].concat();
            }
        }
    }
    word.strip_prefix(cluster.topics.prefix()).unwrap_or(word).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_cluster::tests::cluster;

    #[test]
    fn names_in_sentences_are_the_clients_own() {
        let clean = |text: &str| cleaned(&cluster(), text.as_bytes()).map(|text| String::from_utf8(text).unwrap());
        assert_eq!(clean("Topic 'a.x' already exists."), Some("Topic 'x' already exists.".into()));
        assert_eq!(clean("no leader of a.x-3, legacy-1 or a.y."), Some("no leader of x-3, orders-1 or y.".into()));
        assert_eq!(clean("Topic 'a.x_y' collides with existing topics: b.z"), Some("Topic 'x_y' collides with existing topics".into()));
        assert_eq!(clean("The data.x of legacys is metadata.y"), None);
        assert_eq!(cleaned_in_place(&cluster(), b"a.x!").unwrap(), b"x!  ");
    }
}
