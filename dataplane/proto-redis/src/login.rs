//! Logging in to nodes, and clients logging in to us.

use crate::conf::{Credentials, User};
use crate::merge::{array, bulk};

/// What a new connection says first; `None`: nothing.
pub fn words(credentials: Option<&Credentials>, resp: u8) -> Option<Vec<u8>> {
    let mut words: Vec<&[u8]> = Vec::new();
    if resp == 3 {
        words.extend([&b"HELLO"[..], b"3"]);
    }
    match credentials {
        Some(credentials) if resp == 3 => {
            let user = if credentials.user.is_empty() { "default" } else { &credentials.user };
            words.extend([b"AUTH", user.as_bytes(), &credentials.password]);
        }
        Some(credentials) => {
            words.push(b"AUTH");
            words.extend((!credentials.user.is_empty()).then_some(credentials.user.as_bytes()));
            words.push(&credentials.password);
        }
        None => {}
    }
    if words.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    array(&mut out, words.len());
    words.iter().for_each(|word| bulk(&mut out, word));
    Some(out)
}

/// The user that name and password are of. Takes the same time for every password of one length, whichever user it is.
pub fn user<'a>(users: &'a [User], name: &[u8], password: &[u8]) -> Option<&'a User> {
    let mut found = None;
    for user in users {
        let right = user.password.as_ref().is_none_or(|expected| same(expected, password));
        if user.name.as_bytes() == name && right {
            found = Some(user);
        }
    }
    found
}

/// Whether two byte strings are equal, in a time that does not depend on where they differ.
fn same(expected: &[u8], given: &[u8]) -> bool {
    let mut difference = expected.len() ^ given.len();
    for (index, byte) in given.iter().enumerate() {
        let other = expected.get(index % expected.len().max(1)).copied().unwrap_or(0);
        difference |= usize::from(byte ^ other);
    }
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords() {
        let users = [User { name: "default".into(), password: Some(b"secret"[..].into()) }, User { name: "open".into(), password: None }];
        assert!(user(&users, b"default", b"secret").is_some());
        assert!(user(&users, b"default", b"secretsecret").is_none());
        assert!(user(&users, b"default", b"").is_none());
        assert!(user(&users, b"open", b"anything").is_some());
        assert!(user(&users, b"nobody", b"secret").is_none());
    }

    #[test]
    fn logins() {
        let credentials = Credentials { user: String::new(), password: b"p".to_vec() };
        assert_eq!(words(None, 2), None);
        assert_eq!(words(None, 3).unwrap(), b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n");
        assert_eq!(words(Some(&credentials), 2).unwrap(), b"*2\r\n$4\r\nAUTH\r\n$1\r\np\r\n");
        assert_eq!(words(Some(&credentials), 3).unwrap(), b"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$1\r\np\r\n");
    }
}
