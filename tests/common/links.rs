//! Checks that whatever names a torrent or an id is unchanged after being printed and parsed again.
//!
//! The fuzz target `magnet` and ordinary tests share this file.
#![allow(dead_code, unreachable_pub, reason = "every user takes a part of it")]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use dht_proto::ids::{InfoHashes, MagnetLink};
#[cfg(feature = "items")]
use dht_proto::items::{PublicKey, UpdatableTorrent};
use dht_proto::{InfoHash, NodeId};

/// Beginnings of texts that name something.
const BEGINNINGS: [&str; 7] = [
    "",
    "magnet:?xt=urn:btih:",
    "magnet:?xt=urn:btmh:1220",
    "magnet:?xt=urn%3Abtih%3A",
    "magnet:?xs=urn:btpk:",
    "magnet:?s=",
    "1220",
];

/// Parses bytes as every kind of text there is, alone and after a beginning.
///
/// # Panics
///
/// If what was parsed is another when it is printed and parsed again, which is a bug of this crate.
pub fn texts(bytes: &[u8]) {
    if let Some(id) = bytes.first_chunk() {
        let (id, infohash) = (NodeId::from_bytes(*id), InfoHash::from_bytes(*id));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(infohash.to_string().parse(), Ok(infohash));
        assert_eq!(infohash.to_string().parse(), Ok(InfoHashes::from(infohash)));
    }
    let text = String::from_utf8_lossy(bytes);
    for beginning in BEGINNINGS {
        self::text(&format!("{beginning}{text}"));
    }
    // A whole key in front, as few salts are reached otherwise.
    self::text(&format!("magnet:?xs=urn:btpk:{}&s={text}", "5f".repeat(32)));
}

fn text(text: &str) {
    printed::<NodeId>(text);
    printed::<InfoHash>(text);
    infohashes(text);
    link(text);
    #[cfg(feature = "items")]
    {
        printed::<PublicKey>(text);
        updatable(text);
    }
}

/// Whatever is hexadecimal is printed in small letters, and as long as it was.
fn printed<T: FromStr + Display + Debug + PartialEq>(text: &str) {
    if let Ok(parsed) = text.parse::<T>() {
        assert_eq!(parsed.to_string(), text.to_ascii_lowercase());
    }
}

fn infohashes(text: &str) {
    let Ok(parsed) = text.parse::<InfoHashes>() else { return };
    let all: Vec<InfoHash> = parsed.iter().collect();
    let [first, ref others @ ..] = all[..] else { panic!("no infohash in {text:?}") };
    let mut printed = format!("magnet:?xt=urn:btih:{first}");
    match others {
        [] => {}
        // The digits that are cut are arbitrary.
        [second] => printed += &format!("&xt=urn:btmh:1220{second}{}", "0a".repeat(12)),
        _ => panic!("{all:?} in {text:?}"),
    }
    assert!(others.iter().all(|other| *other != first), "{all:?} in {text:?}");
    assert_eq!(printed.parse(), Ok(parsed));
    // It does not matter what surrounds the parameters.
    let surrounded =
        printed.replace("magnet:?", "MAGNET:?dn=a%20name&amp;tr=udp://a:1&amp;") + "&x.pe=1#xt=0";
    assert_eq!(surrounded.parse(), Ok(parsed));
}

fn link(text: &str) {
    let Some(link) = MagnetLink::new(text) else { return };
    for name in ["xt", "xs", "s", "dn", "x.pe", ""] {
        let values: Vec<&str> = link.values(name).collect();
        assert!(values.iter().all(|value| !value.contains(['&', '#']) && text.contains(value)));
        // As copied from HTML.
        let copied = text.replace('&', "&amp;");
        // A fragment may not begin earlier, and a colon in a name is none.
        let copied = MagnetLink::new(&copied).expect("its beginning is the same");
        assert!(copied.values(name).eq(values.iter().copied()), "{name} of {text:?}");
    }
    let of_text = text.parse().ok();
    assert_eq!(link.infohashes(), of_text, "{text:?}");
}

#[cfg(feature = "items")]
fn updatable(text: &str) {
    let Ok(parsed) = text.parse::<UpdatableTorrent>() else { return };
    let printed = parsed.to_string();
    assert_eq!(printed.parse(), Ok(parsed), "{text:?}");
    assert_eq!(printed.parse::<UpdatableTorrent>().map(|again| again.target()), Ok(parsed.target()));
    assert!(printed.is_ascii() && printed.len() <= 20 + 64 + 3 + 128, "{printed}");
}
