//! A node of the `librqbit-dht` crate, which rqbit is built on.

use std::collections::BTreeSet;
use std::error::Error;
use std::future::pending;
use std::net::SocketAddr;
use std::str::FromStr as _;
use std::time::Duration;

use futures_lite::{StreamExt as _, future};
use librqbit_dht::{Dht, DhtBuilder, DhtConfig, Id20};
use tokio::time::sleep;

use crate::drive::{self, Answer};
use crate::{Command, Options, listening};

/// The time of a lookup, which would never end by itself: it is repeated every minute.
const LOOKUP: Duration = Duration::from_secs(3);

pub(crate) async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let node = DhtBuilder::with_config(DhtConfig {
        listen_addr: Some(options.bind.into()),
        bootstrap_addrs: Some(options.bootstrap.iter().map(SocketAddr::to_string).collect()),
        ..DhtConfig::default()
    })
    .await?;
    listening(node.listen_addr(), ""); // its id is not public
    match options.command {
        Command::Node => pending().await,
        Command::Drive => drive::serve(async |words| answer(&node, words).await).await,
        _ => return Err("a node of librqbit is driven by lines".into()),
    }
    Ok(())
}

async fn answer(node: &Dht, words: &[&str]) -> Option<Answer> {
    Some(match words {
        ["get-peers", infohash] => look_up(node, infohash, None).await,
        ["announce", infohash, port] => match port.parse() {
            Ok(port) => look_up(node, infohash, Some(port)).await,
            Err(error) => Err(error.into()),
        },
        _ => return None,
    })
}

/// Looks up, and announces if there is a port, to nodes that share 16 bits with the infohash.
async fn look_up(node: &Dht, infohash: &str, port: Option<u16>) -> Answer {
    let mut answers = node.get_peers(Id20::from_str(infohash)?, port);
    let mut found = BTreeSet::new();
    let collect = async {
        while let Some(peer) = answers.next().await {
            found.insert(peer);
        }
    };
    future::or(collect, sleep(LOOKUP)).await;
    Ok(drive::peers(found))
}
