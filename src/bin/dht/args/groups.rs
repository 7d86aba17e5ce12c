//! Options that several commands have, each where it does something.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dht_proto::NodeId;

use crate::values::{parse_bind, parse_id, parse_secs};

const NODE: &str = "Node options";

/// The options of every command that prints results.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Format {
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// The end of a command.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Limit {
    /// End after this long, whatever is under way [default: 60]
    #[arg(long, value_name = "SECS", value_parser = parse_secs)]
    pub(crate) timeout: Option<Duration>,
}

/// The node itself, whether it looks something up or stays.
#[derive(Debug, Args)]
pub(crate) struct Own {
    /// Bind this address (port 0 or none: a free one) instead of all of both families; at most one
    /// of each family
    #[arg(long, value_name = "ADDR", value_parser = parse_bind, help_heading = NODE)]
    pub(crate) bind: Vec<SocketAddr>,
    /// Contact private and loopback addresses too, and count each port as a host of its own
    #[arg(long, help_heading = NODE)]
    pub(crate) allow_private: bool,
    /// The id of this node, 40 hexadecimal digits; drawn at random otherwise
    #[arg(long, value_name = "HEX", value_parser = parse_id, help_heading = NODE)]
    pub(crate) id: Option<NodeId>,
    /// Report on stderr what happens; twice: every node that comes and goes; three times: every lookup
    /// and every datagram
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// The nodes to join the DHT through.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Start from this node as well, and know it as a node like any other; may be repeated
    #[arg(long, value_name = "HOST:PORT", help_heading = NODE)]
    pub(crate) bootstrap: Vec<String>,
    /// Do not start from the usual public nodes
    #[arg(long, help_heading = NODE)]
    pub(crate) no_default_bootstrap: bool,
    /// Keep the id and the known nodes in this file from one run to the next
    #[arg(long, value_name = "FILE", help_heading = NODE)]
    pub(crate) state: Option<PathBuf>,
}

/// Whether others may ask.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Role {
    /// Answer the queries of others too: other nodes then remember this one
    #[arg(long, help_heading = NODE)]
    pub(crate) serve: bool,
    /// Ask but do not answer (BEP 43)
    #[arg(long, conflicts_with = "serve", hide = true, help_heading = NODE)]
    pub(crate) read_only: bool,
}

impl Role {
    /// A command that does not stay asks only: whoever remembered it would remember a dead node.
    pub(crate) fn is_read_only(self, stays: bool) -> bool {
        self.read_only || !(self.serve || stays)
    }
}

/// The options of commands that ask a single node.
#[derive(Debug, Args)]
pub(crate) struct AskOptions {
    #[command(flatten)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) limit: Limit,
    #[command(flatten)]
    pub(crate) own: Own,
    #[command(flatten)]
    pub(crate) role: Role,
    /// There is nobody it would start from; for scripts that give all commands the same options
    #[arg(long, hide = true)]
    pub(crate) no_default_bootstrap: bool,
}

/// The options of commands that join the DHT to look something up.
#[derive(Debug, Args)]
pub(crate) struct LookupOptions {
    #[command(flatten)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) limit: Limit,
    #[command(flatten)]
    pub(crate) own: Own,
    #[command(flatten)]
    pub(crate) start: Start,
    /// Join for this long before looking up, instead of until the node has found its place
    #[arg(long, value_name = "SECS", value_parser = parse_secs, help_heading = NODE)]
    pub(crate) settle: Option<Duration>,
    #[command(flatten)]
    pub(crate) role: Role,
}
