//! Ed25519 keys and signatures of mutable items (BEP 44), and the targets of items.

use core::fmt;
use core::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use heapless::Vec;
use sha1_smol::Sha1;
use thiserror::Error;

use super::salt::Salt;
use crate::base::id::{NodeId, parse_hex};
use crate::wire::{MAX_SALT_LEN, MAX_VALUE_LEN, Sink, Writer};

/// Length of an Ed25519 public key in bytes.
pub(crate) const KEY_LEN: usize = 32;

/// Length of an Ed25519 signature in bytes.
pub(crate) const SIGNATURE_LEN: usize = 64;

/// Maximum length of the salt, sequence number and value with their dictionary keys.
const MAX_SIGNED: usize = MAX_VALUE_LEN + MAX_SALT_LEN + 48;

/// The Ed25519 public key under which mutable items are stored (BEP 44).
///
/// Construction accepts any 32 bytes; whether they are a valid key matters only when a signature is verified.
///
/// ```
/// use dht_proto::items::{PublicKey, Salt};
///
/// let text = "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548";
/// let key: PublicKey = text.parse()?;
/// assert_eq!(key.to_string(), text);
/// assert_eq!(key.target(Salt::NONE).to_string(), "4a533d47ec9c7d95b1ad75f576cffc641853b750");
/// # Ok::<(), dht_proto::items::ParseKeyError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_LEN]);

impl PublicKey {
    /// Creates a key from its 32 bytes.
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes of the key.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Returns the target of the item with this key and salt: the SHA-1 of both.
    pub fn target(&self, salt: Salt) -> NodeId {
        mutable_target(&self.0, salt.as_bytes())
    }

    /// Whether this key signed these parts.
    ///
    /// Keys and signatures that would match many messages are rejected; the specification of Ed25519 leaves that open.
    pub(crate) fn verify(
        &self,
        salt: &[u8],
        seq: i64,
        value: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.0) else { return false };
        let Some(signed) = signed_bytes(salt, seq, value) else { return false };
        key.verify_strict(&signed, &Signature::from_bytes(signature)).is_ok()
    }
}

/// Formats the key as lower-case hexadecimal.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Parses 64 hexadecimal digits of either case.
impl FromStr for PublicKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let mut bytes = [0; KEY_LEN];
        parse_hex(text, &mut bytes).map(|()| Self(bytes)).ok_or(ParseKeyError)
    }
}

/// An error from parsing a [`PublicKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a public key is 64 hexadecimal digits")]
pub struct ParseKeyError;

/// The Ed25519 key that signs mutable items; never printed, and wiped when dropped.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Creates a key from the 32-byte seed of RFC 8032, which must be unpredictable.
    ///
    /// Some clients keep a hash of the seed instead, 64 bytes, from which the seed cannot be recovered: sign with those
    /// clients, and pass the signature to [`Item::signed`](crate::items::Item::signed).
    pub fn from_bytes(bytes: &[u8; KEY_LEN]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// Returns the public key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Copies the key, for a later signature.
    #[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
    pub(crate) fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }

    pub(crate) fn sign(&self, salt: &[u8], seq: i64, value: &[u8]) -> Option<[u8; SIGNATURE_LEN]> {
        Some(self.0.sign(&signed_bytes(salt, seq, value)?).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// Returns the target of an immutable item with this bencoded value: its SHA-1.
pub(crate) fn immutable_target(value: &[u8]) -> NodeId {
    NodeId::from_bytes(Sha1::from(value).digest().bytes())
}

/// Returns the target of a mutable item of this key and salt: the SHA-1 of both.
pub(crate) fn mutable_target(key: &[u8; KEY_LEN], salt: &[u8]) -> NodeId {
    let mut hash = Sha1::from(key);
    hash.update(salt);
    NodeId::from_bytes(hash.digest().bytes())
}

/// Returns the signed bytes: the parts as in a dictionary, without its `d` and `e`.
///
/// `None` if a part is too long.
fn signed_bytes(salt: &[u8], seq: i64, value: &[u8]) -> Option<Vec<u8, MAX_SIGNED>> {
    let mut bytes = [0; MAX_SIGNED];
    let mut writer = Writer::new(&mut bytes);
    if !salt.is_empty() {
        writer.put(b"4:salt");
        writer.string(salt);
    }
    writer.put(b"3:seq");
    writer.int(seq);
    writer.put(b"1:v");
    writer.put(value);
    let len = MAX_SIGNED - writer.left()?;
    Vec::from_slice(&bytes[..len]).ok()
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::ToString;

    use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};

    use super::*;

    /// The test vectors of BEP 44, whose private key is an expanded one.
    const SECRET: &str = "e06d3183d14159228433ed599221b80bd0a5ce8352e4bdf0262f76786ef1c74d\
        b7e7a9fea2c0eb269d61e3b38e450a22e754941ac78479d6c54e1faf6037881d";
    const PUBLIC: &str = "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548";
    const VALUE: &[u8] = b"12:Hello World!";
    const PLAIN: &str = "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff\
        1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01";
    const SALTED: &str = "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d\
        df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08";

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        let mut bytes = [0; N];
        parse_hex(hex, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn b44_11_v44_the_signed_bytes_are_those_of_the_bep() {
        assert_eq!(signed_bytes(b"", 1, VALUE).unwrap(), b"3:seqi1e1:v12:Hello World!");
        assert_eq!(
            signed_bytes(b"foobar", 4, b"12:Hello world!").unwrap(),
            b"4:salt6:foobar3:seqi4e1:v12:Hello world!"
        );
        let longest = signed_bytes(&[0; MAX_SALT_LEN], i64::MAX, &[0; MAX_VALUE_LEN]);
        assert!(longest.is_some());
    }

    #[test]
    fn b44_11_v44_the_signatures_of_the_bep_are_made_and_verified() {
        let key: PublicKey = PUBLIC.parse().unwrap();
        let expanded = ExpandedSecretKey::from_bytes(&bytes(SECRET));
        let verifying = VerifyingKey::from_bytes(key.as_bytes()).unwrap();
        for (salt, signature) in [(&b""[..], PLAIN), (b"foobar", SALTED)] {
            let signed = signed_bytes(salt, 1, VALUE).unwrap();
            assert_eq!(
                raw_sign::<ed25519_dalek::Sha512>(&expanded, &signed, &verifying).to_bytes(),
                bytes(signature)
            );
            assert!(key.verify(salt, 1, VALUE, &bytes(signature)));
            assert!(!key.verify(salt, 2, VALUE, &bytes(signature)));
            assert!(!key.verify(b"foo", 1, VALUE, &bytes(signature)));
        }
    }

    #[test]
    fn b44_02_b44_03_v44_the_targets_are_those_of_the_bep() {
        let key: PublicKey = PUBLIC.parse().unwrap();
        assert_eq!(key.target(Salt::NONE).to_string(), "4a533d47ec9c7d95b1ad75f576cffc641853b750");
        assert_eq!(
            key.target(Salt::new(b"foobar").unwrap()).to_string(),
            "411eba73b6f087ca51a3795d9c8c938d365e32c1"
        );
        assert_eq!(immutable_target(VALUE).to_string(), "e5f96f6f38320f0f33959cb4d3d656452117aadb");
    }

    #[test]
    fn b44_12_every_changed_bit_spoils_a_signature() {
        let secret = SecretKey::from_bytes(&[7; 32]);
        let signature = secret.sign(b"salt", 5, VALUE).unwrap();
        assert!(secret.public().verify(b"salt", 5, VALUE, &signature));
        for bit in 0..SIGNATURE_LEN * 8 {
            let mut spoilt = signature;
            spoilt[bit / 8] ^= 1 << (bit % 8);
            assert!(!secret.public().verify(b"salt", 5, VALUE, &spoilt), "{bit}");
        }
    }

    #[test]
    fn keys_that_fit_many_signatures_are_refused() {
        // With the neutral element as the key and as half of the signature, every message verifies.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!PublicKey(neutral).verify(b"", 1, VALUE, &signature));
    }

    #[test]
    fn a_secret_key_is_never_printed() {
        let secret = SecretKey::from_bytes(&[0xab; 32]);
        assert_eq!(format!("{secret:?}"), "SecretKey(..)");
    }

    #[test]
    fn keys_are_read_from_hexadecimal_only() {
        assert_eq!(PUBLIC.to_uppercase().parse::<PublicKey>(), Ok(PublicKey(bytes(PUBLIC))));
        for bad in ["", &PUBLIC[..63], &format!("{PUBLIC}0"), &PUBLIC.replace('7', "g")] {
            assert_eq!(bad.parse::<PublicKey>(), Err(ParseKeyError), "{bad}");
        }
    }
}
