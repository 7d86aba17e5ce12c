//! Items: values with their keys and signatures, validated on construction.

use core::fmt;

use heapless::Vec;
use thiserror::Error;

use super::keys::{PublicKey, SIGNATURE_LEN, SecretKey, immutable_target};
use super::salt::Salt;
use crate::base::id::NodeId;
use crate::wire::{MAX_VALUE_LEN, PutItem, Sink, Writer, is_canonical};

/// A value that the DHT can store (BEP 44), under its own hash or signed under a public key.
///
/// Every `Item` is valid: its size is allowed and its signature verifies. A value is bencoded, and kept as exactly
/// the bytes that were signed or hashed. Some nodes store only byte strings; some drop values that are nested
/// deeper than seven levels.
///
/// ```
/// use dht_proto::items::{Item, Salt, SecretKey};
///
/// let item = Item::string(b"Hello World!")?;
/// assert_eq!(item.target().to_string(), "e5f96f6f38320f0f33959cb4d3d656452117aadb");
/// assert_eq!(item, Item::immutable(b"12:Hello World!")?); // the same value, bencoded by hand
///
/// let secret = SecretKey::from_bytes(&[7; 32]); // from a generator of random numbers
/// let salt = Salt::new(b"my salt")?;
/// let item = Item::sign_string(&secret, salt, 1, b"Hello World!")?;
/// assert_eq!(item.target(), secret.public().target(salt));
/// assert_eq!(item.as_string(), Some(&b"Hello World!"[..]));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Item {
    target: NodeId,
    value: Vec<u8, MAX_VALUE_LEN>,
    signed: Option<Signed>,
}

/// The additional parts of a mutable item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) key: PublicKey,
    pub(crate) salt: Salt,
    pub(crate) seq: i64,
    pub(crate) signature: [u8; SIGNATURE_LEN],
}

impl Item {
    /// The greatest length of a value that is a byte string: [`MAX_VALUE_LEN`] without the bencoding.
    pub const MAX_STRING_LEN: usize = MAX_VALUE_LEN - 4;

    /// Creates an immutable item whose value is a byte string, of up to [`MAX_STRING_LEN`](Self::MAX_STRING_LEN)
    /// bytes. [`as_string`](Self::as_string) reads it back.
    ///
    /// # Errors
    ///
    /// [`ItemError::ValueTooLong`].
    pub fn string(bytes: &[u8]) -> Result<Self, ItemError> {
        Self::immutable(&bencoded(bytes)?)
    }

    /// Creates an immutable item from a bencoded value, stored under the SHA-1 hash of the value.
    ///
    /// # Errors
    ///
    /// [`ItemError::NotCanonical`] or [`ItemError::ValueTooLong`].
    pub fn immutable(value: &[u8]) -> Result<Self, ItemError> {
        let value = checked(value)?;
        Ok(Self { target: immutable_target(&value), value, signed: None })
    }

    /// Creates and signs a mutable item whose value is a byte string, of up to
    /// [`MAX_STRING_LEN`](Self::MAX_STRING_LEN) bytes, as [`sign`](Self::sign) does with a bencoded value.
    ///
    /// # Errors
    ///
    /// [`ItemError::ValueTooLong`] or [`ItemError::NegativeSeq`].
    pub fn sign_string(secret: &SecretKey, salt: Salt, seq: i64, bytes: &[u8]) -> Result<Self, ItemError> {
        Self::sign(secret, salt, seq, &bencoded(bytes)?)
    }

    /// Creates and signs a mutable item from a bencoded value, stored under a key and a salt.
    ///
    /// The item replaces versions with a lower `seq`, which must not be negative.
    ///
    /// # Errors
    ///
    /// Any of [`ItemError`] but [`BadSignature`](ItemError::BadSignature) and [`NoNextSeq`](ItemError::NoNextSeq).
    pub fn sign(secret: &SecretKey, salt: Salt, seq: i64, value: &[u8]) -> Result<Self, ItemError> {
        let value = checked(value)?;
        if seq < 0 {
            return Err(ItemError::NegativeSeq);
        }
        let key = secret.public();
        let signature = secret.sign(salt.as_bytes(), seq, &value).ok_or(ItemError::ValueTooLong)?;
        let target = key.target(salt);
        Ok(Self { target, value, signed: Some(Signed { key, salt, seq, signature }) })
    }

    /// Creates a mutable item from a signature made elsewhere.
    ///
    /// The signed bytes are `4:salt` and the bencoded salt (both only if there is one), `3:seqi`, the sequence
    /// number, `e1:v` and the value.
    ///
    /// # Errors
    ///
    /// Any of [`ItemError`] but [`NoNextSeq`](ItemError::NoNextSeq).
    pub fn signed(
        key: PublicKey,
        salt: Salt,
        seq: i64,
        value: &[u8],
        signature: [u8; 64],
    ) -> Result<Self, ItemError> {
        let value = checked(value)?;
        if seq < 0 {
            return Err(ItemError::NegativeSeq);
        }
        if !key.verify(salt.as_bytes(), seq, &value, &signature) {
            return Err(ItemError::BadSignature);
        }
        let target = key.target(salt);
        Ok(Self { target, value, signed: Some(Signed { key, salt, seq, signature }) })
    }

    /// Creates an item that was validated when it was stored.
    pub(crate) const fn restored(
        target: NodeId,
        value: Vec<u8, MAX_VALUE_LEN>,
        signed: Option<Signed>,
    ) -> Self {
        Self { target, value, signed }
    }

    /// Returns the sequence number that follows `newest`, which is usually
    /// [`ItemReport::seq`](crate::items::ItemReport::seq).
    ///
    /// The first version is 1, as in other clients. `None` if `newest` is [`i64::MAX`].
    pub const fn next_seq(newest: Option<i64>) -> Option<i64> {
        match newest {
            Some(newest) => newest.checked_add(1),
            None => Some(1),
        }
    }

    /// Returns the target at which the item is stored.
    pub const fn target(&self) -> NodeId {
        self.target
    }

    /// Returns the bencoded value, at most [`MAX_VALUE_LEN`] bytes.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// Returns the bytes of the value if it is a byte string, such as [`string`](Self::string) and
    /// [`sign_string`](Self::sign_string) create.
    pub fn as_string(&self) -> Option<&[u8]> {
        let colon = self.value.iter().position(|byte| *byte == b':')?;
        self.value.first().filter(|first| first.is_ascii_digit())?;
        self.value.get(colon + 1..)
    }

    /// Whether the item is mutable: signed, and replaceable by a newer version.
    pub const fn is_mutable(&self) -> bool {
        self.signed.is_some()
    }

    /// Returns the key that signed the item; `None` if it is immutable.
    pub fn key(&self) -> Option<PublicKey> {
        self.signed.map(|signed| signed.key)
    }

    /// Returns the salt; [`Salt::NONE`] if there is none, or the item is immutable.
    pub fn salt(&self) -> Salt {
        self.signed.map_or(Salt::NONE, |signed| signed.salt)
    }

    /// Returns the sequence number; `None` if it is immutable.
    pub fn seq(&self) -> Option<i64> {
        self.signed.map(|signed| signed.seq)
    }

    /// Returns the signature; `None` if it is immutable.
    pub fn signature(&self) -> Option<&[u8; 64]> {
        self.signed.as_ref().map(|signed| &signed.signature)
    }

    pub(crate) const fn signed_parts(&self) -> Option<&Signed> {
        self.signed.as_ref()
    }

    /// Returns the arguments of a `put` of this item.
    pub(crate) fn put(&self, cas: Option<i64>, seq: Option<i64>) -> PutItem<'_> {
        let value = &self.value;
        match &self.signed {
            None => PutItem::Immutable { value, seq },
            Some(Signed { key, salt, seq, signature }) => {
                let (key, salt) = (key.as_bytes(), salt.as_bytes());
                PutItem::Mutable { value, key, seq: *seq, signature, salt, cas }
            }
        }
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Item");
        debug.field("target", &self.target);
        if let Some(Signed { key, salt, seq, .. }) = &self.signed {
            debug.field("key", key).field("salt", salt).field("seq", seq);
        }
        debug.field("value", &format_args!("\"{}\"", self.value.escape_ascii())).finish_non_exhaustive()
    }
}

/// An error from creating an [`Item`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ItemError {
    /// The value is not a single bencoded value in canonical form ([`is_canonical`]).
    #[error("the value is not canonical bencode: make a byte string of it, or encode it anew")]
    NotCanonical,
    /// The bencoded value is longer than [`MAX_VALUE_LEN`].
    #[error("the bencoded value is longer than {MAX_VALUE_LEN} bytes: split it")]
    ValueTooLong,
    /// The sequence number is negative.
    #[error("the sequence number is negative")]
    NegativeSeq,
    /// The newest version has the highest possible sequence number, so none can follow.
    #[error("there is no sequence number after that of the newest version: use another salt or key")]
    NoNextSeq,
    /// The signature was not made by this key over these parts.
    #[error("the signature was not made by this key over this salt, number and value")]
    BadSignature,
}

/// Returns a byte string, bencoded.
fn bencoded(bytes: &[u8]) -> Result<Vec<u8, MAX_VALUE_LEN>, ItemError> {
    let mut value = [0; MAX_VALUE_LEN];
    let mut writer = Writer::new(&mut value);
    writer.string(bytes);
    let len = MAX_VALUE_LEN - writer.left().ok_or(ItemError::ValueTooLong)?;
    Vec::from_slice(&value[..len]).map_err(|_| ItemError::ValueTooLong)
}

fn checked(value: &[u8]) -> Result<Vec<u8, MAX_VALUE_LEN>, ItemError> {
    let value = Vec::from_slice(value).map_err(|_| ItemError::ValueTooLong)?;
    if is_canonical(&value) { Ok(value) } else { Err(ItemError::NotCanonical) }
}

#[cfg(test)]
mod tests {
    use std::{format, vec};

    use super::super::salt::SaltTooLong;
    use super::*;

    fn secret() -> SecretKey {
        SecretKey::from_bytes(&[7; 32])
    }

    #[test]
    fn b44_07_b44_09_b44_10_b44_18_what_no_node_would_store_is_no_item() {
        let longest = [&b"996:"[..], &[b'x'; 996]].concat();
        assert!(Item::immutable(&longest).is_ok());
        let too_long = [&b"997:"[..], &[b'x'; 997]].concat();
        assert_eq!(Item::immutable(&too_long), Err(ItemError::ValueTooLong));
        assert_eq!(Item::immutable(b"d1:b0:1:a0:e"), Err(ItemError::NotCanonical));
        assert_eq!(Salt::new(&[0; 65]), Err(SaltTooLong { len: 65 }));
        let salt = Salt::new(&[0; 64]).unwrap();
        assert_eq!(Item::sign(&secret(), salt, -1, b"0:"), Err(ItemError::NegativeSeq));
        assert!(Item::sign(&secret(), salt, i64::MAX, &longest).is_ok());
    }

    #[test]
    fn b44_12_a_finished_signature_must_fit() {
        let salt = |text: &[u8]| Salt::new(text).unwrap();
        let item = Item::sign(&secret(), salt(b"salt"), 3, b"1:v").unwrap();
        let (key, signature) = (secret().public(), *item.signature().unwrap());
        assert_eq!(Item::signed(key, salt(b"salt"), 3, b"1:v", signature), Ok(item));
        for (text, seq, value) in [(&b"Salt"[..], 3, b"1:v"), (b"salt", 4, b"1:v"), (b"salt", 3, b"1:w")] {
            assert_eq!(Item::signed(key, salt(text), seq, value, signature), Err(ItemError::BadSignature));
        }
    }

    #[test]
    fn the_first_number_is_1_and_none_follows_the_last() {
        assert_eq!(Item::next_seq(None), Some(1));
        assert_eq!(Item::next_seq(Some(0)), Some(1));
        assert_eq!(Item::next_seq(Some(41)), Some(42));
        assert_eq!(Item::next_seq(Some(i64::MAX)), None);
    }

    #[test]
    fn b44_05_a_byte_string_is_distinguished_from_other_values() {
        let of = |value: &[u8]| Item::immutable(value).unwrap().as_string().map(<[u8]>::to_vec);
        assert_eq!(of(b"2:hi"), Some(b"hi".to_vec()));
        assert_eq!(of(b"0:"), Some(vec![]));
        assert_eq!(of(b"d1:a0:e"), None);
        assert_eq!(of(b"i3e"), None);
    }

    #[test]
    fn b44_05_byte_strings_need_no_bencoding_by_hand_and_are_read_back() {
        for len in [0, 1, 9, 10, 99, 100, 995, Item::MAX_STRING_LEN] {
            let bytes = vec![b':'; len];
            let item = Item::string(&bytes).unwrap();
            assert_eq!(item.value(), [format!("{len}:").as_bytes(), &bytes].concat());
            assert_eq!((item.as_string(), item.is_mutable()), (Some(&bytes[..]), false));
            let signed = Item::sign_string(&secret(), Salt::NONE, 2, &bytes).unwrap();
            assert_eq!((signed.value(), signed.seq()), (item.value(), Some(2)));
            assert_eq!(Item::sign(&secret(), Salt::NONE, 2, item.value()), Ok(signed));
        }
        let long = vec![0; Item::MAX_STRING_LEN + 1];
        assert_eq!(Item::string(&long), Err(ItemError::ValueTooLong));
        assert_eq!(Item::sign_string(&secret(), Salt::NONE, 1, &long), Err(ItemError::ValueTooLong));
        assert_eq!(Item::sign_string(&secret(), Salt::NONE, -1, b""), Err(ItemError::NegativeSeq));
    }

    #[test]
    fn an_item_prints_readably() {
        let item = Item::sign(&secret(), Salt::new(b"a\xff").unwrap(), 3, b"2:\x00v").unwrap();
        let text = format!("{item:?}");
        assert!(text.contains(r#"salt: "a\xff", seq: 3, value: "2:\x00v""#), "{text}");
    }
}
