//! MD5 passwords: `md5(md5(password + user) + salt)`, in hex after the word md5. Broken by today's measure, and still in use.

use md5::{Digest, Md5};

/// The answer to `AuthenticationMD5Password`, without the final NUL.
pub fn response(user: &[u8], password: &[u8], salt: [u8; 4]) -> [u8; 35] {
    let inner = hex(&Md5::new().chain_update(password).chain_update(user).finalize());
    let outer = hex(&Md5::new().chain_update(inner).chain_update(salt).finalize());
    let mut response = [0; 35];
    let (word, digits) = response.split_at_mut(3);
    word.copy_from_slice(b"md5");
    digits.copy_from_slice(&outer);
    response
}

fn hex(digest: &[u8]) -> [u8; 32] {
    let mut hex = [0; 32];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(digest) {
        let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    hex
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_response_is_libpq_s() {
        // psql -U md5_user, password "password", salt 2a 3d 8f e0: as in rust-postgres' tests.
        assert_eq!(&super::response(b"md5_user", b"password", [0x2a, 0x3d, 0x8f, 0xe0]), b"md562af4dd09bbb41884907a838a3233294");
    }
}
