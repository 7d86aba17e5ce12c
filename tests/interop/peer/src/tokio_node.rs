//! Our node in a tokio task.

use std::error::Error;
use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::net::tokio::Dht;
use dht_proto::{AddressPolicy, Announce, Config, Family, InfoHash};
use futures_lite::StreamExt as _;

use crate::{Command, Options, announced, listening, peer};

pub(crate) async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let mut config = Config::default();
    // All nodes are on one host here.
    (config.address_policy, config.source_limits) = (AddressPolicy::Any, false);
    let node = Dht::builder()
        .config(config)
        .bind(options.bind.into())
        .bootstrap(options.bootstrap.iter().map(SocketAddr::to_string))
        .spawn()?;
    let addr = node.local_addr(Family::V4).ok_or("no socket")?;
    listening(addr, node.id(Family::V4).await?);
    if !options.bootstrap.is_empty() {
        // Whoever started it gives up before.
        node.wait_ready(Duration::MAX).await?;
    }
    match options.command {
        Command::Node => pending().await,
        Command::GetPeers { infohash } => {
            let mut search = node.get_peers(infohash.parse::<InfoHash>()?).await?;
            while let Some(found) = search.next().await {
                peer(found);
            }
        }
        Command::Announce { infohash, port } => {
            let mut search = node.announce(infohash.parse()?, Announce::port(port)).await?;
            let report = search.wait().await?.report;
            if report.announced == 0 {
                return Err(format!("no node took the announce: {report:?}").into());
            }
            announced(report.announced);
        }
        Command::Item(_) => return Err("items of our own are put and got by the tool".into()),
    }
    node.shutdown().await;
    Ok(())
}
