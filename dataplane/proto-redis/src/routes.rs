//! Which back end has a key: the route with the longest prefix of it, or the listener's own back end; and what the key is called there.
//!
//! A route may write another prefix in place of its own. The other way round, a key that a back end names is one of the client's only if
//! the client's name for it leads back to that very route: what other listeners keep there is not shown.

use crate::compress::Compression;
use std::sync::Arc;

/// The number of a route within its [`Routes`]; the last is the listener's own back end.
pub type Number = u16;

/// One route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// What its keys begin with, as clients write them.
    pub prefix: Vec<u8>,
    /// What stands in its place at the back end.
    pub rewrite: Option<Vec<u8>>,
    /// The back end's name.
    pub cluster: Arc<str>,
    /// Whether scripts may run although keys are rewritten: they see the back end's names.
    pub scripts: bool,
    /// What becomes of its values; `None`: nothing, they are not looked at.
    pub compression: Option<Compression>,
    /// The longest other prefix that this one begins with.
    parent: Option<Number>,
}

impl Route {
    /// A route to a back end.
    pub fn new(prefix: &[u8], rewrite: Option<&[u8]>, cluster: &Arc<str>, scripts: bool) -> Route {
        let rewrite = rewrite.filter(|rewrite| *rewrite != prefix).map(<[u8]>::to_vec);
        Route { prefix: prefix.to_vec(), rewrite, cluster: Arc::clone(cluster), scripts, compression: None, parent: None }
    }

    /// The same with its values compressed.
    pub fn compressing(self, compression: Option<Compression>) -> Route {
        Route { compression, ..self }
    }

    /// What keys begin with at the back end.
    pub fn behind(&self) -> &[u8] {
        self.rewrite.as_deref().unwrap_or(&self.prefix)
    }

    /// Appends what a client's key is called at the back end.
    pub fn push_behind(&self, key: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(self.behind());
        out.extend_from_slice(key.get(self.prefix.len()..).unwrap_or_default());
    }

    /// What a client calls a key of the back end; `None`: it has no name for it by this route.
    pub fn in_front(&self, key: &[u8]) -> Option<Vec<u8>> {
        key.strip_prefix(self.behind()).map(|rest| [&self.prefix, rest].concat())
    }
}

/// The routes of a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Routes {
    /// By prefix; behind them the listener's own back end.
    routes: Vec<Route>,
    /// Whether any of them rewrites.
    pub rewrites: bool,
    /// Whether any of them compresses.
    pub packs: bool,
}

impl Routes {
    /// Of routes with a prefix each, no two the same; without one for the empty prefix the rest goes to `default`.
    pub fn new(mut routes: Vec<Route>, default: &Arc<str>) -> Routes {
        let own = routes.iter().position(|route| route.prefix.is_empty()).map(|at| routes.remove(at));
        routes.sort_by(|a, b| a.prefix.cmp(&b.prefix));
        for at in 0..routes.len() {
            let is_parent = |other: &&Route| routes[at].prefix.starts_with(&other.prefix);
            let parent = routes[..at].iter().filter(is_parent).map(|other| other.prefix.len()).max();
            routes[at].parent = parent
                .and_then(|length| routes[..at].iter().position(|other| other.prefix.len() == length && is_parent(&other)).map(|at| at as Number));
        }
        routes.push(own.unwrap_or_else(|| Route::new(b"", None, default, false)));
        let rewrites = routes.iter().any(|route| route.rewrite.is_some());
        let packs = routes.iter().any(|route| route.compression.is_some());
        Routes { routes, rewrites, packs }
    }

    /// All, the listener's own back end last.
    pub fn all(&self) -> &[Route] {
        &self.routes
    }

    /// The route of that number.
    pub fn get(&self, number: Number) -> &Route {
        self.routes.get(usize::from(number)).unwrap_or(&self.routes[self.routes.len() - 1])
    }

    /// The number of the listener's own back end.
    pub fn default(&self) -> Number {
        self.routes.len() as Number - 1
    }

    /// The route of a key. Prefixes that the key has are not after it in order, and all between it and the longest of them begin with that
    /// one: so the last that is not after the key leads there by its parents.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Number {
        let prefixes = &self.routes[..self.routes.len() - 1];
        let after = prefixes.partition_point(|route| route.prefix.as_slice() <= key);
        let mut at = after.checked_sub(1).map(|at| at as Number);
        while let Some(number) = at {
            let route = self.get(number);
            if key.starts_with(&route.prefix) {
                return number;
            }
            at = route.parent;
        }
        self.default()
    }

    /// What a client calls a key of a route's back end; `None`: it is none of the client's.
    pub fn in_front(&self, number: Number, key: &[u8]) -> Option<Vec<u8>> {
        self.get(number).in_front(key).filter(|front| self.find(front) == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(all: &[(&str, Option<&str>, &str)]) -> Routes {
        let route = |(prefix, rewrite, cluster): &(&str, Option<&str>, &str)| {
            Route::new(prefix.as_bytes(), rewrite.map(str::as_bytes), &Arc::from(*cluster), false)
        };
        Routes::new(all.iter().map(route).collect(), &"own".into())
    }

    #[test]
    fn the_longest_prefix_decides() {
        let routes = routes(&[("user:", None, "u"), ("user:vip:", None, "v"), ("user:v", None, "w"), ("session:", None, "s"), ("user:z", None, "z")]);
        for (key, cluster) in [
            ("user:1", "u"),
            ("user:vip:1", "v"),
            ("user:vip", "w"),
            ("user:vz", "w"),
            ("user:y", "u"),
            ("user:", "u"),
            ("user", "own"),
            ("session:\u{ff}", "s"),
            ("", "own"),
            ("zzz", "own"),
            ("user:zz", "z"),
            ("user:{", "u"),
        ] {
            assert_eq!(&*routes.get(routes.find(key.as_bytes())).cluster, cluster, "{key}");
        }
    }

    #[test]
    fn found_is_what_looking_at_all_finds() {
        let words: Vec<String> = (0..3u32.pow(4)).map(|n| (0..4).map(|place| ["", "a", "b"][(n / 3u32.pow(place) % 3) as usize]).collect()).collect();
        let mut prefixes: Vec<&str> = words.iter().map(String::as_str).filter(|word| word.len() % 2 == 1 || *word == "abba").collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        let all: Vec<(&str, Option<&str>, &str)> = prefixes.iter().map(|prefix| (*prefix, None, *prefix)).collect();
        let routes = routes(&all);
        for key in &words {
            let longest = prefixes.iter().filter(|prefix| key.starts_with(**prefix)).max_by_key(|prefix| prefix.len());
            assert_eq!(&*routes.get(routes.find(key.as_bytes())).cluster, *longest.unwrap_or(&"own"), "{key}");
        }
    }

    #[test]
    fn names_go_there_and_back() {
        let routes = routes(&[("user:", Some("t7:"), "u"), ("user:x:", None, "x"), ("", Some("own:"), "rest")]);
        let behind = |key: &str| {
            let mut out = Vec::new();
            routes.get(routes.find(key.as_bytes())).push_behind(key.as_bytes(), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!((behind("user:1"), behind("user:x:1"), behind("foo")), ("t7:1".into(), "user:x:1".into(), "own:foo".into()));
        let user = routes.find(b"user:1");
        assert_eq!(routes.in_front(user, b"t7:1"), Some(b"user:1".to_vec()));
        assert_eq!((routes.in_front(user, b"t8:1"), routes.in_front(user, b"t7:x:1")), (None, None), "another route has that name");
        assert_eq!(routes.in_front(routes.default(), b"own:user:1"), None);
        assert!(routes.rewrites);
    }
}
