//! Torrents as people pass them on: bare or in a magnet link (BEP 9, BEP 46), hexadecimal or base32.

use data_encoding::{BASE32, HEXLOWER_PERMISSIVE};
use dht_proto::{ID_LEN, InfoHash, MagnetLink, ParseLinkError, UpdatableTorrent};

/// The multihash prefix of a SHA-256 hash: its code and its length.
const SHA256: [u8; 2] = [0x12, 32];

/// What a lookup of peers starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Torrent {
    Fixed(Swarms),
    Updatable(UpdatableTorrent),
}

/// The infohashes whose peers share one torrent: two of a hybrid one, of version 1 and of version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Swarms {
    first: InfoHash,
    second: Option<InfoHash>,
}

impl Swarms {
    pub(crate) fn iter(self) -> impl Iterator<Item = InfoHash> {
        [self.first].into_iter().chain(self.second)
    }
}

impl From<InfoHash> for Swarms {
    fn from(infohash: InfoHash) -> Self {
        Self { first: infohash, second: None }
    }
}

/// Takes what [`parse_swarms`] does, or a magnet link with a public key. Of a link with both the
/// infohashes count, which need no lookup.
pub(crate) fn parse_torrent(text: &str) -> Result<Torrent, String> {
    parse_swarms(text).map(Torrent::Fixed).or_else(|complaint| {
        let link = text.trim().parse().map_err(|error| match error {
            ParseLinkError::NoMagnet | ParseLinkError::NoKey => complaint,
            error => error.to_string(),
        });
        link.map(Torrent::Updatable)
    })
}

/// Takes 40 or 64 hexadecimal digits, 32 base32 digits or a magnet link. Of a link that names several
/// hashes the first of each version counts; one of version 2 is cut to its first 20 bytes (BEP 52).
pub(crate) fn parse_swarms(text: &str) -> Result<Swarms, String> {
    let complaint =
        "expected 40 or 64 hexadecimal digits, 32 base32 digits or a magnet link with one of these";
    let text = text.trim();
    match MagnetLink::new(text) {
        Some(link) => parse_magnet(link),
        None => parse_hash(text).or_else(|| parse_multihash(text)).map(Swarms::from),
    }
    .ok_or_else(|| complaint.to_owned())
}

fn parse_magnet(link: MagnetLink<'_>) -> Option<Swarms> {
    let topics = link.values("xt").filter_map(percent_decode);
    // Neither URNs nor the hashes in them care for the case of letters.
    let topics: Vec<String> = topics.map(|topic| topic.to_ascii_lowercase()).collect();
    let find = |scheme, parse: fn(&str) -> Option<InfoHash>| {
        topics.iter().filter_map(|topic| topic.strip_prefix(scheme)).find_map(parse)
    };
    let (one, two) = (find("urn:btih:", parse_hash), find("urn:btmh:", parse_multihash));
    Some(Swarms { first: one.or(two)?, second: two.filter(|_| one.is_some() && one != two) })
}

/// A hash of version 2 is told from one of version 1 by its length.
fn parse_hash(text: &str) -> Option<InfoHash> {
    if text.len() == 64 {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?;
        return InfoHash::from_slice(&bytes[..ID_LEN]);
    }
    text.parse().ok().or_else(|| {
        let bytes = BASE32.decode(text.to_ascii_uppercase().as_bytes()).ok()?;
        InfoHash::from_slice(&bytes)
    })
}

fn parse_multihash(text: &str) -> Option<InfoHash> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?;
    let hash = bytes.strip_prefix(&SHA256)?;
    (hash.len() == 32).then(|| InfoHash::from_slice(&hash[..ID_LEN]))?
}

/// `None` where a `%` is not followed by two hexadecimal digits, or the result is not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let (digits, tail) = rest.split_at_checked(2)?;
            bytes.extend(HEXLOWER_PERMISSIVE.decode(digits).ok()?);
            rest = tail;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401";
    const BASE: &str = "L67374IMLVVE5SFIRZGGVNGCROK65ZAB";

    fn hash() -> InfoHash {
        HEX.parse().unwrap()
    }

    fn parse(text: &str) -> Result<Vec<InfoHash>, String> {
        parse_swarms(text).map(|swarms| swarms.iter().collect())
    }

    #[test]
    fn bare_hashes_of_both_kinds_any_case_and_with_space_around_them() {
        let lines = format!(" {HEX}\r\n");
        for text in [HEX, &HEX.to_uppercase(), BASE, &BASE.to_lowercase(), &lines] {
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
            format!("\tmagnet:?xt=urn:btih:{HEX}\n"),
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
    fn b46_links_with_a_key_lead_to_torrents_that_change() {
        let key = "ab".repeat(32);
        let link = format!("magnet:?xs=urn:btpk:{key}&s=6e");
        assert_eq!(parse_torrent(&link), Ok(Torrent::Updatable(link.parse().unwrap())));
        let both = format!("{link}&xt=urn:btih:{HEX}");
        assert_eq!(parse_torrent(&both), Ok(Torrent::Fixed(hash().into())));
        assert!(parse_torrent("magnet:?xs=urn:btpk:ab").unwrap_err().contains("64"));
        assert!(parse_torrent("ab").unwrap_err().contains("magnet"));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "magnet:",
            "magnet:?",
            "magnet:?xt",
            "magnet:?xt=urn:btih:",
            "magnet:?xt=urn:btih:%5",
            "magnet:?xt=urn:btih:%zz",
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
