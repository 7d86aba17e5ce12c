//! Lookups of the newest version of an item, and of the torrent it points to (BEP 46).

use dht_proto::InfoHash;
use dht_proto::items::{Item, TorrentPointer, UpdatableTorrent};
use dht_proto::net::{DhtHandle, LookupHandle};

use crate::output::Failure;
use crate::session::Session;
use crate::session::lookups::{Lookups, look_up};

/// The newest version that was found in time, and the lookup that found it.
type Newest = (Option<Item>, Lookups<Item>);

/// Looks up an item, and writes its newest version to stdout.
pub(super) fn print_item(
    session: &Session<'_>,
    start: impl Fn(&DhtHandle) -> Vec<LookupHandle<Item>>,
    bencoded: bool,
) -> Result<(), Failure> {
    let (item, lookups) = fetch(session, start)?;
    if let Some(item) = &item {
        session.output.item(item, bencoded)?;
    }
    session.output.done(&lookups.done("item", item.iter().len()))
}

/// Resolves a link to the torrent that it points to at present (BEP 46).
pub(in crate::commands) fn resolve_pointer(
    session: &Session<'_>,
    link: UpdatableTorrent,
) -> Result<Option<InfoHash>, Failure> {
    let (item, lookups) = fetch(session, |dht| vec![dht.get_mutable(link.key, link.salt)])?;
    let pointer = item.as_ref().and_then(|item| TorrentPointer::from_value(item.value()));
    if pointer.is_none() {
        let message = item.map_or(
            "no item was found for the key in the link",
            |_| "the item found for the key in the link does not point to a torrent",
        );
        let cut = lookups.cut_short.map_or_else(String::new, |reason| format!("; the lookup was {reason}"));
        session.output.message(&format!("{message}{cut}"));
    }
    Ok(pointer.map(|pointer| pointer.infohash()))
}

/// Looks up the newest version of an item.
pub(super) fn fetch(
    session: &Session<'_>,
    start: impl Fn(&DhtHandle) -> Vec<LookupHandle<Item>>,
) -> Result<Newest, Failure> {
    let mut item = None;
    let lookups = look_up(session, "version", start, |_, version| {
        item = Some(version);
        Ok(())
    })?;
    Ok((item, lookups))
}
