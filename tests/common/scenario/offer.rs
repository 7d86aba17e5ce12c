//! Items that other hosts put and return: a few values, with one key.

use dht_proto::items::{Item, PublicKey, Salt, SecretKey};
use dht_proto::wire::{Method, PutItem, Want};

use super::script::Script;

/// An item, and the key of all mutable ones.
pub struct Offer {
    pub item: Item,
    pub key: PublicKey,
    salt: Salt,
}

impl Offer {
    pub fn new(script: &mut Script<'_>) -> Self {
        let byte = script.byte();
        let mut value = vec![b'x'; 3 + 300 * usize::from(byte & 3)];
        let len = format!("{}:", value.len());
        value.splice(..0, len.bytes());
        let secret = SecretKey::from_bytes(&[7; 32]);
        let salt = Salt::new(&b"salt"[..usize::from(byte >> 2 & 1)]).expect("it is short");
        let item = match byte >> 3 & 7 {
            0..3 => Item::immutable(&value),
            seq => Item::sign(&secret, salt, seq.into(), &value),
        };
        Self { item: item.expect("it is sound"), key: secret.public(), salt }
    }

    /// Generates a get or a put of the item, sometimes with a fault.
    pub fn method<'a>(&'a self, token: &'a [u8], kind: u8, want: Want) -> Method<'a> {
        const WRONG: [u8; 64] = [9; 64];
        let (target, is_odd) = (self.item.target(), kind & 0x10 != 0);
        if kind & 2 == 0 {
            return Method::Get { target, seq: is_odd.then_some(4), want };
        }
        let value = self.item.value();
        let item = match self.item.signature() {
            None => PutItem::Immutable { value, seq: None },
            Some(signature) => PutItem::Mutable {
                value,
                key: self.key.as_bytes(),
                seq: self.item.seq().expect("it is mutable"),
                signature: if kind & 0x80 == 0 { signature } else { &WRONG },
                salt: self.salt.as_bytes(),
                cas: is_odd.then_some(4),
            },
        };
        Method::Put { token, target: (!is_odd).then_some(target), item }
    }
}
