//! Events as text, for people.

use dht_proto::InfoHash;
use dht_proto::report::NodeInfo;

use super::event::{Event, millis};
use super::words::{count, share};

/// Formats an event as a line; `None` for events that are printed only as JSON.
pub(super) fn line(event: &Event<'_>) -> Option<String> {
    match *event {
        Event::Listening { addr, id, as_text } => as_text.then(|| format!("listening on {addr} as {id}")),
        Event::Metrics { url } => Some(format!("metrics at {url}")),
        Event::Peer { addr } => Some(addr.to_string()),
        Event::Node(&NodeInfo { id, addr, .. }) => Some(format!("{id} {addr}")),
        Event::Pong(pong) => Some(format!("{} {} ms", pong.id, millis(pong.rtt))),
        Event::Announced { infohash, report, named } => {
            let nodes = share(report.acknowledged, report.sent, "node");
            Some(format!("{}announced to {nodes}", prefix(infohash, named)))
        }
        Event::Stored { item, is_first, .. } => is_first.then(|| item.target().to_string()),
        Event::Key { key, .. } => Some(key.to_string()),
        Event::Estimate { infohash, size, named } => {
            let peers = size.seeds.saturating_add(size.downloaders);
            let (seeds, peers) = (count(size.seeds, "seed"), count(peers, "peer"));
            Some(format!("{}{seeds} among {peers}", prefix(infohash, named)))
        }
        Event::Infohash { infohash, .. } => Some(infohash.to_string()),
        Event::Step { elapsed, text } => Some(format!("{:>7.3} s  {text}", elapsed.as_secs_f64())),
        Event::Figures { table, .. } => Some(table.to_owned()),
        Event::OtherPeer { .. } | Event::Item(_) | Event::Sample { .. } | Event::Done(_) => None,
    }
}

/// The start of a line about one infohash of several.
pub(super) fn prefix(infohash: InfoHash, named: bool) -> String {
    if named { format!("{infohash}: ") } else { String::new() }
}
