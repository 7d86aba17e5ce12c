//! A node of the `mainline` crate.

use std::error::Error;
use std::future::pending;

use futures_lite::StreamExt as _;
use mainline::async_dht::AsyncDht;
use mainline::{Dht, MutableItem, SigningKey};
use serde_json::json;

use crate::drive::{self, Answer};
use crate::{Command, ItemCommand, Options, announced, item, listening, peer, stored};

pub(crate) async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let mut builder = Dht::builder();
    builder.bind_address(*options.bind.ip()).port(options.bind.port()).bootstrap(&options.bootstrap);
    if matches!(options.command, Command::Node | Command::Drive) {
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
        Command::Drive => drive::serve(async |words| answer(&node, words).await).await,
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
        Command::Item(command) => run_item(&node, command).await?,
    }
    Ok(())
}

async fn answer(node: &AsyncDht, words: &[&str]) -> Option<Answer> {
    Some(match words {
        ["get-peers", infohash] => get_peers(node, infohash).await,
        ["announce", infohash, port] => announce(node, infohash, port).await,
        _ => return None,
    })
}

async fn get_peers(node: &AsyncDht, infohash: &str) -> Answer {
    let found: Vec<_> = node.get_peers(infohash.parse()?).collect().await;
    Ok(drive::peers(found.into_iter().flatten()))
}

async fn announce(node: &AsyncDht, infohash: &str, port: &str) -> Answer {
    node.announce_peer(infohash.parse()?, Some(port.parse()?)).await?;
    Ok(json!({"event": "announced"}))
}

async fn run_item(node: &AsyncDht, command: ItemCommand) -> Result<(), Box<dyn Error>> {
    match command {
        ItemCommand::Get { target } => {
            if let Some(value) = node.get_immutable(target.parse()?).await {
                item(&value, None);
            }
        }
        ItemCommand::Put { value } => stored(node.put_immutable(value.as_bytes()).await?),
        ItemCommand::GetMutable { key, salt } => {
            let key = unhex(&key)?;
            let salt = salt.as_deref().map(str::as_bytes);
            if let Some(found) = node.get_mutable_most_recent(&key, salt).await {
                item(found.value(), Some(found.seq()));
            }
        }
        ItemCommand::PutMutable { secret, seq, value, salt, cas } => {
            let signer = SigningKey::from_bytes(&unhex(&secret)?);
            let salt = salt.as_deref().map(str::as_bytes);
            let new = MutableItem::new(signer, value.as_bytes(), seq, salt);
            let target = *new.target();
            node.put_mutable(new, cas).await?;
            stored(target);
        }
    }
    Ok(())
}

fn unhex(text: &str) -> Result<[u8; 32], Box<dyn Error>> {
    let mut bytes = [0; 32];
    data_encoding::HEXLOWER_PERMISSIVE
        .decode_mut(text.as_bytes(), &mut bytes)
        .map_err(|error| error.error)?;
    Ok(bytes)
}
