//! Updatable torrents: a mutable item points to the current one (BEP 46).

use core::fmt;
use core::str::FromStr;

use thiserror::Error;

use super::keys::PublicKey;
use super::salt::Salt;
use crate::base::id::{ID_LEN, InfoHash, NodeId, parse_hex};
use crate::base::magnet::{MagnetLink, strip_urn};
use crate::wire::{MAX_SALT_LEN, Reader};

/// The bytes of a written value before the infohash.
const HEAD: &[u8; 8] = b"d2:ih20:";

/// A value that points to a torrent: a dictionary with its infohash as `ih`, which may have other entries.
///
/// Nodes based on the `mainline` crate store only byte strings, and therefore no pointers: expect fewer copies.
///
/// ```
/// use dht_proto::items::TorrentPointer;
/// use dht_proto::InfoHash;
///
/// let pointer = TorrentPointer::new(InfoHash::from_bytes(*b"abcdefghij0123456789"));
/// assert_eq!(&pointer.to_value(), b"d2:ih20:abcdefghij0123456789e");
/// assert_eq!(TorrentPointer::from_value(&pointer.to_value()), Some(pointer));
/// assert_eq!(TorrentPointer::from_value(b"12:Hello World!"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TorrentPointer {
    infohash: InfoHash,
}

impl TorrentPointer {
    /// The length of the value in bytes, as [`to_value`](Self::to_value) writes it.
    pub const VALUE_LEN: usize = HEAD.len() + ID_LEN + 1;

    /// Creates a pointer to this torrent.
    pub const fn new(infohash: InfoHash) -> Self {
        Self { infohash }
    }

    /// Reads a pointer from the [`value`](crate::items::Item::value) of an item.
    ///
    /// `None` if the value is not a pointer; it may still be valid as an item.
    pub fn from_value(value: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(value);
        let mut infohash = None;
        if !reader.enter_dictionary().ok()? {
            return None;
        }
        while let Some(key) = reader.key().ok()? {
            let value = reader.value().ok()?;
            if key == b"ih" && infohash.is_none() {
                infohash = Some(value.array()?);
            }
        }
        let infohash = InfoHash::from_bytes(*infohash.filter(|_| reader.rest().is_empty())?);
        Some(Self { infohash })
    }

    /// Returns the infohash of the torrent.
    pub const fn infohash(&self) -> InfoHash {
        self.infohash
    }

    /// Returns the bencoded value, for [`Item::sign`](crate::items::Item::sign).
    pub fn to_value(&self) -> [u8; Self::VALUE_LEN] {
        let mut value = [b'e'; Self::VALUE_LEN];
        value[..HEAD.len()].copy_from_slice(HEAD);
        value[HEAD.len()..][..ID_LEN].copy_from_slice(self.infohash.as_bytes());
        value
    }
}

/// A link to an updatable torrent: `magnet:?xs=urn:btpk:`, the key, and optionally `&s=` and the salt.
///
/// Key and salt are hexadecimal. To follow the link, look up the item with
/// [`Node::get_mutable`](crate::Node::get_mutable) from time to time, pass its value to
/// [`TorrentPointer::from_value`], and the infohash to [`Node::get_peers`](crate::Node::get_peers).
///
/// ```
/// use dht_proto::items::UpdatableTorrent;
///
/// let text = "magnet:?xs=urn:btpk:8543d3e6115f0f98c944077a4493dcd543e49c739fd998550a1f614ab36ed63e&s=6e";
/// let link: UpdatableTorrent = text.parse()?;
/// assert_eq!(link.target().to_string(), "59ee7c2cb9b4f7eb1986ee2d18fd2fdb8a56554f");
/// assert_eq!(link.to_string(), text);
/// # Ok::<(), dht_proto::items::ParseLinkError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpdatableTorrent {
    /// The key of the publisher.
    pub key: PublicKey,
    /// The salt, which distinguishes the torrents of one publisher.
    pub salt: Salt,
}

impl UpdatableTorrent {
    /// Returns the target where the pointer is stored.
    pub fn target(&self) -> NodeId {
        self.key.target(self.salt)
    }
}

impl fmt::Display for UpdatableTorrent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "magnet:?xs=urn:btpk:{}", self.key)?;
        if !self.salt.as_bytes().is_empty() {
            f.write_str("&s=")?;
        }
        self.salt.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Parses a link. Other parameters and other `xs` are ignored; the colons of the URN may be percent-encoded.
impl FromStr for UpdatableTorrent {
    type Err = ParseLinkError;

    fn from_str(text: &str) -> Result<Self, ParseLinkError> {
        let link = MagnetLink::new(text).ok_or(ParseLinkError::NoMagnet)?;
        let key = link.values("xs").find_map(|value| strip_urn(value, "btpk"));
        let key = key.ok_or(ParseLinkError::NoKey)?.parse().map_err(|_| ParseLinkError::BadKey)?;
        let (hex, mut salt) = (link.values("s").next().unwrap_or(""), [0; MAX_SALT_LEN]);
        let salt = salt.get_mut(..hex.len() / 2).ok_or(ParseLinkError::BadSalt)?;
        parse_hex(hex, salt).ok_or(ParseLinkError::BadSalt)?;
        Ok(Self { key, salt: Salt::new(salt).map_err(|_| ParseLinkError::BadSalt)? })
    }
}

/// An error from parsing a link to an updatable torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseLinkError {
    /// The link does not begin with `magnet:?`.
    #[error("not a magnet link")]
    NoMagnet,
    /// The link contains no public key; most magnet links contain an infohash.
    #[error("no `xs=urn:btpk:` in the link")]
    NoKey,
    /// The key is not 64 hexadecimal digits.
    #[error("the key is not 64 hexadecimal digits")]
    BadKey,
    /// The salt is not hexadecimal, or longer than [`MAX_SALT_LEN`] bytes.
    #[error("the salt is not hexadecimal, or longer than {MAX_SALT_LEN} bytes")]
    BadSalt,
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::ToString;

    use super::*;

    const KEY: &str = "8543d3e6115f0f98c944077a4493dcd543e49c739fd998550a1f614ab36ed63e";

    #[test]
    fn b46_02_v46_links_lead_to_the_targets_of_the_bep() {
        for (salt, target) in [
            ("", "cc3f9d90b572172053626f9980ce261a850d050b"),
            ("&s=6e", "59ee7c2cb9b4f7eb1986ee2d18fd2fdb8a56554f"),
        ] {
            let text = format!("magnet:?xs=urn:btpk:{KEY}{salt}");
            let link: UpdatableTorrent = text.parse().unwrap();
            assert_eq!(link.target().to_string(), target);
            assert_eq!(link.to_string(), text);
        }
    }

    #[test]
    fn b46_02_other_parameters_and_the_case_of_letters_do_not_matter() {
        let plain: UpdatableTorrent = format!("magnet:?xs=urn:btpk:{KEY}&s=0aff").parse().unwrap();
        let key = KEY.to_uppercase();
        let odd = format!("MAGNET:?dn=x&S=0AFF&xs.1=http://a/b&xs.2=URN:BTPK:{key}&tr&x.pe=");
        assert_eq!(odd.parse(), Ok(plain));
    }

    #[test]
    fn b46_02_colons_may_be_percent_encoded() {
        let plain: UpdatableTorrent = format!("magnet:?xs=urn:btpk:{KEY}").parse().unwrap();
        for urn in ["urn%3Abtpk%3A", "URN%3aBTPK:", "urn:btpk%3A"] {
            assert_eq!(format!("magnet:?xs={urn}{KEY}").parse(), Ok(plain), "{urn}");
        }
        for urn in ["urn%3btpk:", "urn%3Bbtpk:", "urn%3A%3Abtpk:", "urnbtpk:", "urn%253Abtpk:"] {
            let parsed = format!("magnet:?xs={urn}{KEY}").parse::<UpdatableTorrent>();
            assert_eq!(parsed, Err(ParseLinkError::NoKey), "{urn}");
        }
    }

    #[test]
    fn b46_02_bad_links_say_what_is_wrong() {
        let of = |text: &str| text.parse::<UpdatableTorrent>();
        assert_eq!(of("http://x/?xs=urn:btpk:"), Err(ParseLinkError::NoMagnet));
        assert_eq!(of(""), Err(ParseLinkError::NoMagnet));
        assert_eq!(of("magnet:?xt=urn:btih:00"), Err(ParseLinkError::NoKey));
        assert_eq!(of(&format!("magnet:?xs=urn:btpk:{}", &KEY[1..])), Err(ParseLinkError::BadKey));
        for salt in ["6", "6g", &"00".repeat(65), "é"] {
            assert_eq!(of(&format!("magnet:?xs=urn:btpk:{KEY}&s={salt}")), Err(ParseLinkError::BadSalt));
        }
        assert!(of(&format!("magnet:?xs=urn:btpk:{KEY}&s={}", "00".repeat(64))).is_ok());
    }

    #[test]
    fn b46_01_the_infohash_is_found_among_other_keys() {
        let value = b"d1:ai1e2:ih20:abcdefghij01234567894:listli1eee";
        let pointer = TorrentPointer::from_value(value).unwrap();
        assert_eq!(pointer.infohash().as_bytes(), b"abcdefghij0123456789");
    }

    #[test]
    fn b46_04_what_has_no_infohash_is_no_pointer() {
        for value in [
            &b""[..],
            b"de",
            b"i1e",
            b"d2:ih19:abcdefghij012345678e",
            b"d2:ihi1ee",
            b"d2:ih20:abcdefghij0123456789",
            b"d2:ih20:abcdefghij0123456789e1:x",
            b"l2:ih20:abcdefghij0123456789e",
        ] {
            assert_eq!(TorrentPointer::from_value(value), None, "{}", value.escape_ascii());
        }
    }
}
