//! Salts of mutable items (BEP 44).

use core::fmt;

use thiserror::Error;

use crate::wire::MAX_SALT_LEN;

/// The salt of a mutable item: up to [`MAX_SALT_LEN`] bytes that distinguish the items of one key.
///
/// The empty salt means that there is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct Salt {
    #[cfg_attr(feature = "checkpoint", serde(with = "serde_big_array::BigArray"))]
    bytes: [u8; MAX_SALT_LEN],
    len: u8,
}

impl Salt {
    /// The empty salt, which means none.
    pub const NONE: Self = Self { bytes: [0; MAX_SALT_LEN], len: 0 };

    /// Creates a salt from its bytes.
    ///
    /// # Errors
    ///
    /// [`SaltTooLong`].
    pub fn new(salt: &[u8]) -> Result<Self, SaltTooLong> {
        let mut bytes = [0; MAX_SALT_LEN];
        bytes.get_mut(..salt.len()).ok_or(SaltTooLong { len: salt.len() })?.copy_from_slice(salt);
        Ok(Self { bytes, len: salt.len() as u8 })
    }

    /// Returns the bytes of the salt.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Default for Salt {
    fn default() -> Self {
        Self::NONE
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

impl TryFrom<&[u8]> for Salt {
    type Error = SaltTooLong;

    fn try_from(salt: &[u8]) -> Result<Self, SaltTooLong> {
        Self::new(salt)
    }
}

/// An error from creating a [`Salt`]: it is longer than [`MAX_SALT_LEN`] bytes (BEP 44).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a salt has at most {MAX_SALT_LEN} bytes, not {len}")]
pub struct SaltTooLong {
    /// The length that was given, in bytes.
    pub len: usize,
}
