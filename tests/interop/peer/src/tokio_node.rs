//! Our node in a tokio task.

use std::error::Error;
use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::crawl::CrawlOptions;
use dht_proto::net::{Dht, DhtHandle, LookupHandle};
use dht_proto::{AddressPolicy, Announce, Config, Family, InfoHash, NodeId};
use futures_lite::StreamExt as _;
use serde_json::json;
use tokio::time::timeout;

use crate::drive::{self, Answer};
use crate::{Command, Options, announced, listening, peer};

/// How long a crawl waits for a new node to query.
const CRAWL_PAUSE: Duration = Duration::from_secs(2);

pub(crate) async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let mut config = Config::default();
    // All nodes are on one host.
    (config.address_policy, config.source_limits) = (AddressPolicy::Any, false);
    let node = Dht::builder()
        .config(config)
        .bind(options.bind.into())
        .bootstrap(options.bootstrap.iter().map(SocketAddr::to_string))
        .spawn_tokio()?;
    let addr = node.local_addr(Family::V4).ok_or("no socket")?;
    listening(addr, node.id(Family::V4).await?);
    if !options.bootstrap.is_empty() {
        // The caller has a shorter timeout.
        node.ready().await?;
    }
    match options.command {
        Command::Node => pending().await,
        Command::Drive => drive::serve(async |words| answer(&node, words).await).await,
        Command::GetPeers { infohash } => {
            let mut lookup = node.get_peers(infohash.parse::<InfoHash>()?);
            while let Some(found) = lookup.next().await {
                peer(found);
            }
        }
        Command::Announce { infohash, port } => {
            let report = node.announce(infohash.parse()?, Announce::port(port)).await?.report;
            if report.sent == 0 {
                return Err(format!("no node took the announce: {report:?}").into());
            }
            announced(report.sent);
        }
        Command::Item(_) => return Err("items of our own are put and got by the tool".into()),
    }
    node.shutdown().await?;
    Ok(())
}

async fn answer(node: &DhtHandle, words: &[&str]) -> Option<Answer> {
    Some(match words {
        ["nodes"] => nodes(node).await,
        ["add-node", addr] => add_node(node, addr).await,
        ["ping", addr] => ping(node, addr).await,
        ["get-peers", infohash] => get_peers(node, infohash).await,
        ["announce", infohash, port] => announce(node, infohash, port).await,
        ["put", value] => put(node, value).await,
        ["get", target] => get(node, target).await,
        ["crawl"] => crawl(node).await,
        _ => return None,
    })
}

/// Returns the nodes of the table.
async fn nodes(node: &DhtHandle) -> Answer {
    let nodes = node.nodes(Family::V4).await?;
    let nodes = nodes.iter().map(|node| (node.id.to_string(), json!(node.addr.to_string())));
    Ok(json!({"event": "nodes", "nodes": serde_json::Map::from_iter(nodes)}))
}

async fn add_node(node: &DhtHandle, addr: &str) -> Answer {
    node.add_node(addr.parse()?).await?;
    Ok(json!({"event": "added"}))
}

async fn ping(node: &DhtHandle, addr: &str) -> Answer {
    let pong = node.ping(addr.parse()?).await?;
    Ok(json!({"event": "pong", "id": pong.id.to_string()}))
}

async fn get_peers(node: &DhtHandle, infohash: &str) -> Answer {
    let search = node.get_peers(infohash.parse::<InfoHash>()?);
    let found: Vec<_> = search.collect().await;
    Ok(drive::peers(found))
}

async fn announce(node: &DhtHandle, infohash: &str, port: &str) -> Answer {
    let announce = Announce::port(port.parse()?);
    acknowledged("announced", node.announce(infohash.parse()?, announce)).await
}

async fn put(node: &DhtHandle, value: &str) -> Answer {
    let value = format!("{}:{value}", value.len());
    acknowledged("stored", node.put_immutable(value.as_bytes())).await
}

async fn acknowledged(event: &str, lookup: LookupHandle) -> Answer {
    let outcome = lookup.await?;
    let report = outcome.report;
    Ok(json!({
        "event": event,
        "target": report.target.to_string(),
        "nodes": outcome.acknowledged.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "queried": report.queried,
        "failed": report.failed,
    }))
}

async fn get(node: &DhtHandle, target: &str) -> Answer {
    let outcome = node.get_immutable(target.parse::<NodeId>()?).await?;
    let value = outcome.item.as_ref().and_then(|item| item.as_string());
    let value = value.map(String::from_utf8_lossy);
    Ok(json!({"event": "item", "value": value, "queried": outcome.report.queried}))
}

/// Queries node after node for samples until no new node is left.
async fn crawl(node: &DhtHandle) -> Answer {
    let mut crawl = node.crawl(CrawlOptions::default());
    let mut infohashes = Vec::new();
    let mut asked = u64::MAX;
    while asked != crawl.report().asked {
        asked = crawl.report().asked;
        while let Ok(Ok(found)) = timeout(CRAWL_PAUSE, crawl.recv()).await {
            infohashes.push(found.infohash.to_string());
        }
    }
    Ok(json!({"event": "crawled", "infohashes": infohashes, "asked": asked}))
}
