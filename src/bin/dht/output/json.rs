//! Events as JSON, for programs.

use data_encoding::HEXLOWER;
use dht_proto::LookupReport;
use dht_proto::items::{Item, TorrentPointer};
use dht_proto::report::{NodeInfo, SwarmSize};
use serde_json::{Value, json};

use super::event::{Done, Event, millis};
use super::words::plural;

/// Converts an event to an object, with its kind under `event`.
pub(super) fn object(event: &Event<'_>) -> Value {
    match *event {
        Event::Listening { addr, id, .. } => {
            json!({"event": "listening", "addr": addr.to_string(), "id": id.to_string()})
        }
        Event::Metrics { url } => json!({"event": "metrics", "url": url}),
        Event::Peer { addr } => json!({"event": "peer", "addr": addr.to_string()}),
        Event::OtherPeer { addr, infohash } => {
            json!({"event": "peer", "addr": addr.to_string(), "infohash": infohash.to_string()})
        }
        Event::Node(&NodeInfo { id, addr, .. }) => {
            json!({"event": "node", "id": id.to_string(), "addr": addr.to_string()})
        }
        Event::Pong(pong) => json!({"event": "pong", "id": pong.id.to_string(), "rtt_ms": millis(pong.rtt)}),
        Event::Announced { infohash, report, .. } => json!({
            "event": "announced",
            "infohash": infohash.to_string(),
            "nodes": report.acknowledged,
            "tried": report.sent,
        }),
        Event::Item(item) => found(item),
        Event::Stored { item, report, .. } => stored(item, report),
        Event::Key { key, file } => {
            json!({"event": "key", "key": key.to_string(), "file": file.display().to_string()})
        }
        Event::Estimate { infohash, size, .. } => {
            let SwarmSize { seeds, downloaders, sources, refused, .. } = size;
            json!({
                "event": "estimate",
                "infohash": infohash.to_string(),
                "seeds": seeds,
                "downloaders": downloaders,
                "peers": seeds.saturating_add(downloaders),
                "sources": sources,
                "refused": refused,
            })
        }
        Event::Sample { addr, sample } => json!({
            "event": "sample",
            "addr": addr.to_string(),
            "id": sample.id.to_string(),
            "rtt_ms": millis(sample.rtt),
            "supported": sample.is_supported,
            "count": sample.count,
            "stored": sample.stored,
            "interval": sample.interval.as_secs(),
        }),
        Event::Infohash { infohash, node } => {
            json!({"event": "infohash", "infohash": infohash.to_string(), "node": node.to_string()})
        }
        Event::Done(done) => ended(done),
        Event::Step { elapsed, text } => {
            json!({"event": "step", "elapsed_ms": elapsed.as_millis() as u64, "text": text})
        }
        Event::Figures { object, .. } => object.clone(),
    }
}

fn found(item: &Item) -> Value {
    let mut object = json!({"event": "item", "target": item.target().to_string()});
    if let (Some(key), Some(seq)) = (item.key(), item.seq()) {
        object["seq"] = json!(seq);
        object["key"] = json!(key.to_string());
        object["salt_hex"] = json!(HEXLOWER.encode(item.salt().as_bytes()));
    }
    object["value_hex"] = json!(HEXLOWER.encode(item.value()));
    if let Some(pointer) = TorrentPointer::from_value(item.value()) {
        object["infohash"] = json!(pointer.infohash().to_string());
    }
    object
}

fn stored(item: &Item, report: &LookupReport) -> Value {
    let refused = report.refused;
    json!({
        "event": "stored",
        "target": item.target().to_string(),
        "nodes": report.acknowledged,
        "tried": report.sent,
        "copies": report.item.copies,
        "refused": {
            "total": refused.total,
            "cas_mismatch": refused.cas_mismatch,
            "seq_too_low": refused.seq_too_low,
            "last": refused.last.map(|code| code.0),
        },
        "seq": item.seq(),
        "found_seq": report.item.seq,
    })
}

fn ended(done: &Done) -> Value {
    let plural = plural(done.what);
    let mut object = json!({"event": "done"});
    object[&plural] = json!(done.found);
    object["queried"] = json!(done.queried);
    object["elapsed_ms"] = json!(done.elapsed.as_millis() as u64);
    if done.has_rate {
        object[format!("{plural}_per_s")] = json!(done.rate());
    }
    object["complete"] = json!(done.cut_short.is_none());
    if done.limit.is_some() {
        object["more"] = json!(true);
    }
    object
}
