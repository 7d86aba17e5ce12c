//! Torrents as they are named on the command line.

use dht_proto::ids::{InfoHashes, ParseInfoHashesError};
use dht_proto::items::{ParseLinkError, PublicKey, Salt, UpdatableTorrent};

/// The start of a lookup of peers: infohashes, or a key that leads to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Torrent {
    Fixed(InfoHashes),
    Updatable(UpdatableTorrent),
}

/// Parses infohashes, or a magnet link with a public key (BEP 46). A link with both counts as infohashes,
/// which need no further lookup.
pub(crate) fn parse_torrent(text: &str) -> Result<Torrent, String> {
    parse_infohashes(text).map(Torrent::Fixed).or_else(|not_infohashes| {
        let link = text.trim().parse().map_err(|error| match error {
            ParseLinkError::NoMagnet | ParseLinkError::NoKey => not_infohashes.to_string(),
            error => error.to_string(),
        });
        link.map(Torrent::Updatable)
    })
}

pub(crate) fn parse_infohashes(text: &str) -> Result<InfoHashes, ParseInfoHashesError> {
    text.trim().parse()
}

/// Parses a public key, or a magnet link with one. A bare key is a link without a salt.
pub(crate) fn parse_key(text: &str) -> Result<UpdatableTorrent, String> {
    let text = text.trim();
    match text.parse::<PublicKey>() {
        Ok(key) => Ok(UpdatableTorrent { key, salt: Salt::NONE }),
        Err(_) if text.contains(':') => text.parse().map_err(|error: ParseLinkError| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401";

    fn infohashes() -> InfoHashes {
        HEX.parse().unwrap()
    }

    #[test]
    fn white_space_around_a_torrent_is_ignored() {
        for text in [format!(" {HEX}\r\n"), format!("\tmagnet:?xt=urn:btih:{HEX}\n")] {
            assert_eq!(parse_infohashes(&text), Ok(infohashes()), "{text}");
        }
    }

    #[test]
    fn b46_links_with_a_key_lead_to_torrents_that_change() {
        let key = "ab".repeat(32);
        let link = format!("magnet:?xs=urn:btpk:{key}&s=6e");
        assert_eq!(parse_torrent(&link), Ok(Torrent::Updatable(link.parse().unwrap())));
        let both = format!("{link}&xt=urn:btih:{HEX}");
        assert_eq!(parse_torrent(&both), Ok(Torrent::Fixed(infohashes())));
        assert!(parse_torrent("magnet:?xs=urn:btpk:ab").unwrap_err().contains("64"));
        assert!(parse_torrent("ab").unwrap_err().contains("magnet"));
    }
}
