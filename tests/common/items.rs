//! Items for puts and lookups (BEP 44).
#![allow(unreachable_pub, reason = "every user takes a part of it")]

use dht_proto::items::{Item, Salt, SecretKey};

pub const VALUE: &[u8] = b"12:Hello World!";

pub fn secret() -> SecretKey {
    SecretKey::from_bytes(&[7; 32])
}

/// Signs a version with [`secret`] and the salt "salt".
pub fn signed(seq: i64, value: &[u8]) -> Item {
    Item::sign(&secret(), Salt::new(b"salt").unwrap(), seq, value).unwrap()
}
