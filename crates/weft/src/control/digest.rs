//! SHA-256 for the chain of the audit log, by the one library for it.

use aws_lc_rs::digest::{SHA256, digest};
use weft_govern::audit::Digest;

/// SHA-256 of FIPS 180-4.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sha256;

impl Digest for Sha256 {
    fn sha256(&self, bytes: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        for (to, from) in hash.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
            *to = *from;
        }
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_govern::audit::Hash;

    #[test]
    fn it_is_what_the_standard_says() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Hash(Sha256.sha256(b"abc")).to_string(), abc);
    }
}
