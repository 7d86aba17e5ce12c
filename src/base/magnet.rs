//! Magnet links, as far as a DHT uses them, and the infohashes of a torrent in every common form.

use core::str::FromStr;

use thiserror::Error;

use crate::base::id::{ID_LEN, InfoHash, parse_hex};

/// A magnet link to a torrent (BEP 9) or to the key of an updatable one (BEP 46).
///
/// The parameter `xt` contains the infohash of a torrent, and `xs` the key.
///
/// ```
/// use dht_proto::ids::MagnetLink;
///
/// let text = "magnet:?dn=a%20name&xt=urn:btih:5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401";
/// let link = MagnetLink::new(text).expect("a magnet link");
/// let infohashes = link.infohashes().expect("a torrent");
/// assert_eq!(infohashes.iter().count(), 1, "the torrent is not a hybrid");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MagnetLink<'a> {
    query: &'a str,
}

impl<'a> MagnetLink<'a> {
    /// Wraps a text that begins with `magnet:?`, in letters of either case; `None` for any other.
    ///
    /// The parameters are not checked. A fragment, from `#` on, is not part of them.
    pub fn new(text: &'a str) -> Option<Self> {
        let query = strip_prefix(text, "magnet:?")?;
        Some(Self { query: query.split_once('#').map_or(query, |(query, _)| query) })
    }

    /// Returns the values of a parameter, in the order of the link and not percent-decoded.
    ///
    /// The name may be in letters of either case, and numbered, as with several topics: `xt.1`, `xt.2`. Parameters
    /// may also be separated by `&amp;`, because links are copied from HTML.
    pub fn values(self, name: &str) -> impl Iterator<Item = &'a str> {
        let parameters = self.query.split('&').map(|parameter| parameter.trim_start_matches("amp;"));
        let pairs = parameters.filter_map(|parameter| parameter.split_once('='));
        pairs.filter(move |(key, _)| is_name(key, name)).map(|(_, value)| value)
    }

    /// Returns the infohashes under `xt`; `None` if there are none.
    ///
    /// They are the first valid `urn:btih:` (BEP 9, hexadecimal or base32) and the first valid `urn:btmh:` (BEP 52).
    pub fn infohashes(self) -> Option<InfoHashes> {
        let find = |namespace, parse: fn(&str) -> Option<InfoHash>| {
            self.values("xt").find_map(|topic| parse_topic(topic, namespace, parse))
        };
        InfoHashes::new(find("urn:btih:", parse_hash), find("urn:btmh:", parse_multihash))
    }
}

/// The infohashes of one torrent, each with a swarm of its own.
///
/// A hybrid torrent has one of version 1 and one of version 2 (BEP 52), any other torrent has one.
///
/// ```
/// use dht_proto::ids::InfoHashes;
///
/// let hex: InfoHashes = "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401".parse()?;
/// let base32: InfoHashes = "L67374IMLVVE5SFIRZGGVNGCROK65ZAB".parse()?;
/// let magnet: InfoHashes = "magnet:?xt=urn:btih:L67374IMLVVE5SFIRZGGVNGCROK65ZAB".parse()?;
/// assert!(hex == base32 && hex == magnet);
/// # Ok::<(), dht_proto::ids::ParseInfoHashesError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InfoHashes {
    first: InfoHash,
    second: Option<InfoHash>,
}

impl InfoHashes {
    /// Iterates over the infohashes, version 1 first.
    pub fn iter(self) -> impl Iterator<Item = InfoHash> {
        [self.first].into_iter().chain(self.second)
    }

    fn new(v1: Option<InfoHash>, v2: Option<InfoHash>) -> Option<Self> {
        Some(Self { first: v1.or(v2)?, second: v2.filter(|_| v1.is_some() && v1 != v2) })
    }
}

impl From<InfoHash> for InfoHashes {
    fn from(infohash: InfoHash) -> Self {
        Self { first: infohash, second: None }
    }
}

/// Parses 40 hexadecimal or 32 base32 digits (version 1), 64 hexadecimal digits or a multihash
/// (version 2, cut to 20 bytes), or a magnet link with any of these.
impl FromStr for InfoHashes {
    type Err = ParseInfoHashesError;

    fn from_str(text: &str) -> Result<Self, ParseInfoHashesError> {
        match MagnetLink::new(text) {
            Some(link) => link.infohashes(),
            None => parse_hash(text).or_else(|| parse_multihash(text)).map(Self::from),
        }
        .ok_or(ParseInfoHashesError)
    }
}

/// The error returned when a text contains no infohash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected 40 or 64 hexadecimal digits, 32 base32 digits, or a magnet link with one of these")]
pub struct ParseInfoHashesError;

/// Length of a SHA-256 hash, in bytes.
const SHA256_LEN: usize = 32;

/// The multihash prefix of a SHA-256 hash: its code and its length.
const SHA256_PREFIX: [u8; 2] = [0x12, SHA256_LEN as u8];

/// Length of the longest topic with an infohash: the namespace and the digits of a multihash.
const MAX_TOPIC_LEN: usize = "urn:btmh:".len() + 2 * (SHA256_PREFIX.len() + SHA256_LEN);

/// Parses the hash in a percent-encoded URN of this namespace, in letters of either case.
fn parse_topic(topic: &str, namespace: &str, parse: fn(&str) -> Option<InfoHash>) -> Option<InfoHash> {
    let mut buffer = [0; MAX_TOPIC_LEN];
    parse(strip_prefix(percent_decode(topic, &mut buffer)?, namespace)?)
}

/// Decodes a percent-encoded text.
///
/// `None` if the text is not ASCII, has a `%` without two hexadecimal digits, or decodes to something that is too
/// long or not UTF-8.
fn percent_decode<'a>(text: &str, buffer: &'a mut [u8]) -> Option<&'a str> {
    let mut len = 0;
    let mut rest = text;
    while let Some(&(mut byte)) = rest.as_bytes().first() {
        let mut taken = 1;
        if byte == b'%' {
            taken = 3;
            let mut decoded = [0];
            parse_hex(rest.get(1..taken)?, &mut decoded)?;
            [byte] = decoded;
        }
        *buffer.get_mut(len)? = byte;
        len += 1;
        rest = rest.get(taken..)?;
    }
    core::str::from_utf8(buffer.get(..len)?).ok()
}

/// Parses a hash of version 1 or 2, which differ in length.
fn parse_hash(text: &str) -> Option<InfoHash> {
    text.parse().ok().or_else(|| parse_base32(text)).or_else(|| parse_sha256(text))
}

fn parse_multihash(text: &str) -> Option<InfoHash> {
    let (prefix, hash) = text.split_at_checked(2 * SHA256_PREFIX.len())?;
    let mut bytes = [0; SHA256_PREFIX.len()];
    parse_hex(prefix, &mut bytes)?;
    if bytes == SHA256_PREFIX { parse_sha256(hash) } else { None }
}

/// Parses 64 hexadecimal digits, cut to the length of an infohash.
fn parse_sha256(text: &str) -> Option<InfoHash> {
    let mut bytes = [0; SHA256_LEN];
    parse_hex(text, &mut bytes)?;
    InfoHash::from_slice(&bytes[..ID_LEN])
}

/// Parses 32 base32 digits of either case (RFC 4648): five bits each, so that eight digits are five bytes.
fn parse_base32(text: &str) -> Option<InfoHash> {
    if text.len() != ID_LEN * 8 / 5 {
        return None;
    }
    let mut bytes = [0; ID_LEN];
    for (five, digits) in bytes.chunks_exact_mut(5).zip(text.as_bytes().chunks_exact(8)) {
        let mut bits = 0_u64;
        for digit in digits {
            let value = match digit.to_ascii_uppercase() {
                letter @ b'A'..=b'Z' => letter - b'A',
                figure @ b'2'..=b'7' => figure - b'2' + 26,
                _ => return None,
            };
            bits = bits << 5 | u64::from(value);
        }
        five.copy_from_slice(&bits.to_be_bytes()[3..]);
    }
    Some(InfoHash::from_bytes(bytes))
}

/// Removes a prefix, whose letters may be of either case, as those of schemes and URNs may.
fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Removes `urn:` and a namespace from a URN, whose colons may be percent-encoded.
#[cfg(feature = "items")]
pub(crate) fn strip_urn<'a>(urn: &'a str, namespace: &str) -> Option<&'a str> {
    ["urn", namespace].into_iter().try_fold(urn, |rest, word| {
        let rest = strip_prefix(rest, word)?;
        rest.strip_prefix(':').or_else(|| strip_prefix(rest, "%3A"))
    })
}

/// Whether a key is this name, perhaps numbered.
fn is_name(key: &str, name: &str) -> bool {
    let number = strip_prefix(key, name).map(|rest| rest.strip_prefix('.').unwrap_or(rest));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;
    use std::{format, vec};

    use super::*;

    #[test]
    fn values_are_found_in_their_order_under_names_of_either_case_and_numbered() {
        let link = MagnetLink::new("MAGNET:?xt=a&x.pe=b&xt.2=c=%20d&XT.1=&xt&xt.x=e&xtc=f&=g").unwrap();
        assert_eq!(link.values("xt").collect::<Vec<_>>(), ["a", "c=%20d", ""]);
        assert_eq!(link.values("x.PE").collect::<Vec<_>>(), ["b"]);
        assert_eq!(link.values("x").count(), 0);
    }

    #[test]
    fn links_copied_from_html_and_links_with_a_fragment_are_read() {
        let link = MagnetLink::new("magnet:?dn=a&amp;xt=b&amp;amp;xt.2=c&amp=d&xt=e#f&xt=g").unwrap();
        assert_eq!(link.values("xt").collect::<Vec<_>>(), ["b", "c", "e"]);
        assert_eq!(link.values("dn").collect::<Vec<_>>(), ["a"]);
        assert_eq!(MagnetLink::new("magnet:?#xt=a").unwrap().values("xt").count(), 0);
    }

    #[test]
    fn other_links_are_none() {
        for text in ["", "magnet:", "magnet", "http://a/?xt=b", " magnet:?xt=a", "magné:?xt=a"] {
            assert_eq!(MagnetLink::new(text), None, "{text}");
        }
        assert_eq!(MagnetLink::new("magnet:?").unwrap().values("xt").count(), 0);
    }

    const HEX: &str = "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401";
    const BASE: &str = "L67374IMLVVE5SFIRZGGVNGCROK65ZAB";

    fn hash() -> InfoHash {
        HEX.parse().unwrap()
    }

    fn parse(text: &str) -> Result<Vec<InfoHash>, ParseInfoHashesError> {
        text.parse().map(|infohashes: InfoHashes| infohashes.iter().collect())
    }

    #[test]
    fn bare_hashes_are_hexadecimal_or_base32_in_either_case() {
        for text in [HEX, &HEX.to_uppercase(), BASE, &BASE.to_lowercase()] {
            assert_eq!(parse(text), Ok(vec![hash()]), "{text}");
        }
    }

    #[test]
    fn w_08_a_bare_hash_of_version_2_is_cut() {
        let long = format!("{HEX}{}", "aB".repeat(12));
        for text in [&long, &format!("1220{long}")] {
            assert_eq!(parse(text), Ok(vec![hash()]), "{text}");
        }
        for text in [&long[1..], &format!("{long}0"), &format!("1114{long}"), &"g".repeat(64)] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn w_07_magnet_links() {
        for link in [
            format!("magnet:?xt=urn:btih:{HEX}"),
            format!("magnet:?dn=a&xt=urn:btih:{BASE}&tr=udp%3A%2F%2Fa%3A1"),
            format!("MAGNET:?XT=URN:BTIH:{HEX}"),
            format!("magnet:?xt=urn%3Abtih%3A{HEX}"),
            format!("magnet:?xt.1=urn:sha1:x&xt.2=urn:btih:{HEX}"),
            format!("magnet:?dn=100%&xt=urn:btih:{HEX}"),
            format!("magnet:?dn=a&amp;xt=urn:btih:{HEX}&amp;tr=x"),
            format!("magnet:?xt=urn:btih:{HEX}#fragment"),
            format!("magnet:?xt=%75%52%4e:btih:{HEX}"),
            format!("magnet:?xt=urn:btih:{BASE}&xt=urn:btih:{}", "0".repeat(40)),
        ] {
            assert_eq!(parse(&link), Ok(vec![hash()]), "{link}");
        }
    }

    #[test]
    fn w_08_version_2_hashes_are_cut_and_of_a_hybrid_torrent_both_count() {
        let long = format!("1220{HEX}{}", "ab".repeat(12));
        assert_eq!(parse(&format!("magnet:?xt=urn:btmh:{long}")), Ok(vec![hash()]));
        let other = "00".repeat(20);
        let hybrid = format!("magnet:?xt=urn:btmh:{long}&xt=urn:btih:{other}");
        assert_eq!(parse(&hybrid), Ok(vec![InfoHash::ZERO, hash()]));
        assert_eq!(parse(&format!("magnet:?xt=urn:btmh:{long}&xt=urn:btih:{HEX}")), Ok(vec![hash()]));
        assert!(parse(&format!("magnet:?xt=urn:btmh:1220{HEX}")).is_err());
        assert!(parse(&format!("magnet:?xt=urn:btmh:1114{HEX}")).is_err());
    }

    #[test]
    fn other_texts_name_no_torrent() {
        for text in [
            "",
            "magnet:",
            "magnet:?",
            "magnet:?xt",
            "magnet:?xt=urn:btih:",
            "magnet:?xt=urn:btih:%5",
            "magnet:?xt=urn:btih:%zz",
            "magnet:?xt=urn:btih:%é",
            "magnet:?xt=%ff",
            &format!("magnet:?xt=urn:btih:{HEX}%00"),
            &format!("magnet:?xt=urn:btmh:1220{}{}", HEX, "ab".repeat(40)),
            "magnet:?dn=urn:btih:5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401",
            &HEX[1..],
            &BASE[1..],
            "aébfbff10c5d6a4ec8a88e4c6ab4c28b95eee40",
            "L67374IMLVVE5SFIRZGGVNGCROK65ZA1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
