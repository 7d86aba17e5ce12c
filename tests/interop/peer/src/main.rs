//! Nodes that the interoperability checks run beside the `dht` tool: our own in a tokio task, one of the
//! `mainline` crate and one of `librqbit-dht`. All print the tool's JSON lines.

use std::error::Error;
use std::net::{SocketAddr, SocketAddrV4};

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::{Value, json};

mod drive;
mod mainline_node;
mod rqbit_node;
mod tokio_node;

#[derive(Debug, Parser)]
struct Options {
    implementation: Implementation,
    #[command(subcommand)]
    command: Command,
    /// Bind this address
    #[arg(long, global = true, default_value = "127.0.0.1:0")]
    bind: SocketAddrV4,
    /// Start from this node; may be repeated
    #[arg(long, global = true)]
    bootstrap: Vec<SocketAddr>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Implementation {
    Tokio,
    Mainline,
    /// Knows the commands `node` and `drive` only
    Rqbit,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve as a node until ended
    Node,
    /// Serve as a node and run the commands on stdin until it ends
    Drive,
    /// Print the peers of a torrent
    GetPeers { infohash: String },
    /// Add this host to the peers of a torrent
    Announce { infohash: String, port: u16 },
    #[command(flatten)]
    Item(ItemCommand),
}

/// Values are byte strings; `mainline` supports no others.
#[derive(Debug, Subcommand)]
enum ItemCommand {
    /// Print the value at a target
    Get { target: String },
    /// Store a value under its hash
    Put { value: String },
    /// Print the newest value under a public key
    GetMutable {
        key: String,
        #[arg(long)]
        salt: Option<String>,
    },
    /// Store a value under the key of this secret
    PutMutable {
        secret: String,
        seq: i64,
        value: String,
        #[arg(long)]
        salt: Option<String>,
        #[arg(long)]
        cas: Option<i64>,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    match options.implementation {
        Implementation::Tokio => tokio_node::run(options).await,
        Implementation::Mainline => mainline_node::run(options).await,
        Implementation::Rqbit => rqbit_node::run(options).await,
    }
}

fn listening(addr: impl ToString, id: impl ToString) {
    print(&json!({"event": "listening", "addr": addr.to_string(), "id": id.to_string()}));
}

fn peer(addr: impl ToString) {
    print(&json!({"event": "peer", "addr": addr.to_string()}));
}

/// `nodes` is the number of nodes that stored it, as far as is known.
fn announced(nodes: u32) {
    print(&json!({"event": "announced", "nodes": nodes}));
}

fn item(value: &[u8], seq: Option<i64>) {
    print(&json!({"event": "item", "value": String::from_utf8_lossy(value), "seq": seq}));
}

fn stored(target: impl ToString) {
    print(&json!({"event": "stored", "target": target.to_string()}));
}

fn print(event: &Value) {
    println!("{event}");
}
