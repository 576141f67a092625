//! Which cluster a name belongs to.

use hashbrown::HashMap;

/// What names are the names of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Topics.
    Topic,
    /// Groups of all kinds.
    Group,
    /// Transactional ids.
    Transaction,
}

/// The rules for one kind of names: whole names, and beginnings of names.
#[derive(Debug, Default)]
pub struct Routes {
    names: HashMap<Box<[u8]>, usize>,
    /// The longest first.
    prefixes: Vec<(Box<[u8]>, usize)>,
}

impl Routes {
    /// From pairs of a pattern and a cluster. A pattern is a name, or the beginning of names with `*` behind it.
    ///
    /// # Errors
    /// One pattern has two clusters, or is none.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, usize)>) -> Result<Routes, String> {
        let mut routes = Routes::default();
        for (pattern, cluster) in pairs {
            let (name, is_prefix) = pattern.strip_suffix('*').map_or((pattern, false), |prefix| (prefix, true));
            if name.is_empty() || name.contains('*') {
                return Err(format!("{pattern:?} is no pattern: give a name, or the beginning of names with * behind it"));
            }
            let name: Box<[u8]> = name.as_bytes().into();
            let is_known = if is_prefix { routes.prefixes.iter().any(|(known, _)| *known == name) } else { routes.names.contains_key(&name) };
            if is_known {
                return Err(format!("{pattern:?} is written twice, and what it names can belong to one cluster only"));
            }
            if is_prefix {
                routes.prefixes.push((name, cluster));
            } else {
                routes.names.insert(name, cluster);
            }
        }
        routes.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(routes)
    }

    /// The cluster of a name: that of the whole name, else that of its longest beginning, else the first.
    pub fn of(&self, name: &[u8]) -> usize {
        let by_beginning = || self.prefixes.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, cluster)| *cluster);
        self.names.get(name).copied().or_else(by_beginning).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_name_then_the_longest_beginning_then_home() {
        let routes = Routes::new([("a*", 1), ("ab*", 2), ("abc", 3), ("ab.home", 0)]).unwrap();
        for (name, cluster) in [("a", 1), ("ax", 1), ("ab", 2), ("abc", 3), ("abcd", 2), ("ab.home", 0), ("b", 0), ("", 0)] {
            assert_eq!(routes.of(name.as_bytes()), cluster, "{name}");
        }
    }

    #[test]
    fn what_is_ambiguous_or_no_pattern_is_refused() {
        for pairs in [[("a*", 1), ("a*", 2)], [("a", 1), ("a", 1)], [("*", 1), ("b", 1)], [("a*b", 1), ("b", 1)], [("", 1), ("b", 1)]] {
            assert!(Routes::new(pairs).is_err(), "{pairs:?}");
        }
    }
}
