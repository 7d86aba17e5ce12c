//! A node of the `mainline` crate.

use std::error::Error;
use std::future::pending;

use futures_lite::StreamExt as _;
use mainline::Dht;

use crate::{Command, Options, announced, listening, peer};

pub(crate) async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let mut builder = Dht::builder();
    builder.bind_address(*options.bind.ip()).port(options.bind.port()).bootstrap(&options.bootstrap);
    if matches!(options.command, Command::Node) {
        builder.server_mode();
    }
    let node = builder.build()?.as_async();
    let info = node.info().await;
    listening(info.local_addr(), info.id());
    if !options.bootstrap.is_empty() && !node.bootstrapped().await {
        return Err("it did not find the DHT".into());
    }
    match options.command {
        Command::Node => pending().await,
        Command::GetPeers { infohash } => {
            let mut answers = node.get_peers(infohash.parse()?);
            while let Some(peers) = answers.next().await {
                peers.into_iter().for_each(peer);
            }
        }
        Command::Announce { infohash, port } => {
            node.announce_peer(infohash.parse()?, Some(port)).await?;
            announced(1); // at least, or it would have been an error
        }
    }
    Ok(())
}
