//! Groups of options that several commands share: each command takes those that have an effect there.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dht_proto::NodeId;

use super::values::{parse_bind, parse_id, parse_secs};

pub(crate) const NODE_OPTIONS: &str = "Node options";

/// The format of results. [`Invocation`](super::Invocation) reads it for every command.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct FormatArgs {
    /// Print one JSON object per line
    #[arg(long)]
    pub(super) json: bool,
}

/// The time limit of a command.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct LimitArgs {
    /// Stop after this many seconds, even if unfinished [default: 60]
    #[arg(long, value_name = "SECS", value_parser = parse_secs)]
    pub(crate) timeout: Option<Duration>,
}

/// Options of the node itself, for lookups and for commands that stay.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// Bind this address (no port or port 0: any free port) instead of all addresses of both families;
    /// at most one per family
    #[arg(long, value_name = "ADDR", value_parser = parse_bind, help_heading = NODE_OPTIONS)]
    pub(crate) bind: Vec<SocketAddr>,
    /// Join a private network: contact private and loopback addresses too, treat every port as a host of its
    /// own, limit no rates, and keep the id
    #[arg(long, help_heading = NODE_OPTIONS)]
    pub(crate) allow_private: bool,
    /// Use this node id, 40 hexadecimal digits, instead of a random one
    #[arg(long, value_name = "HEX", value_parser = parse_id, help_heading = NODE_OPTIONS)]
    pub(crate) id: Option<NodeId>,
    /// Report on stderr what the node does; twice: also every node added and removed; three times: every
    /// lookup and every datagram
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// The nodes through which a command joins the DHT.
#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// Bootstrap from this node too, and treat it as an ordinary node; may be repeated
    #[arg(long, value_name = "HOST:PORT", help_heading = NODE_OPTIONS)]
    pub(crate) bootstrap: Vec<String>,
    /// Do not bootstrap from the usual public nodes
    #[arg(long, help_heading = NODE_OPTIONS)]
    pub(crate) no_default_bootstrap: bool,
    /// Keep the node id and the known nodes in this file from one run to the next
    #[arg(long, value_name = "FILE", help_heading = NODE_OPTIONS)]
    pub(crate) state: Option<PathBuf>,
}

/// Whether the node answers queries.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct RoleArgs {
    /// Answer the queries of other nodes too, so that they add this node to their routing tables
    #[arg(long, help_heading = NODE_OPTIONS)]
    pub(crate) serve: bool,
    /// Send queries but answer none (BEP 43)
    #[arg(long, conflicts_with = "serve", hide = true, help_heading = NODE_OPTIONS)]
    pub(crate) read_only: bool,
}

impl RoleArgs {
    /// Whether the node is read-only. It is unless it stays or `--serve` is given: otherwise other nodes
    /// would keep it in their routing tables after it is gone.
    pub(crate) fn is_read_only(self, stays: bool) -> bool {
        self.read_only || !(self.serve || stays)
    }
}

/// The options of commands that query a single node.
#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    /// Host name or IP address (IPv6 in brackets), and port
    #[arg(value_name = "HOST:PORT")]
    pub(crate) host: String,
    #[command(flatten)]
    _format: FormatArgs,
    #[command(flatten)]
    pub(crate) limit: LimitArgs,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    #[command(flatten)]
    pub(crate) role: RoleArgs,
    /// No effect, as there is no bootstrap; for scripts that give all commands the same options
    #[arg(long, hide = true)]
    pub(crate) no_default_bootstrap: bool,
}

/// The options of commands that join the DHT to look something up.
#[derive(Debug, Args)]
pub(crate) struct LookupArgs {
    #[command(flatten)]
    _format: FormatArgs,
    #[command(flatten)]
    pub(crate) limit: LimitArgs,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    #[command(flatten)]
    pub(crate) join: JoinArgs,
    /// Start the lookup after this many seconds, instead of as soon as the node has joined
    #[arg(long, value_name = "SECS", value_parser = parse_secs, help_heading = NODE_OPTIONS)]
    pub(crate) settle: Option<Duration>,
    #[command(flatten)]
    pub(crate) role: RoleArgs,
}

/// Adapts the help of a command that stays with `--keep`, for `mut_args`.
pub(crate) fn with_keep(arg: clap::Arg) -> clap::Arg {
    match arg.get_id().as_str() {
        "timeout" => {
            arg.help("Stop after this many seconds, even if unfinished [default: 60; with --keep: never]")
        }
        "serve" => arg.help("Answer the queries of other nodes too; implied by --keep"),
        "read_only" => {
            arg.help("Send queries but answer none (BEP 43); the default without --keep").hide(false)
        }
        _ => arg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_do_not_stay_are_read_only() {
        for (serve, flag, stays, read_only) in [
            (false, false, false, true),
            (true, false, false, false),
            (false, true, false, true),
            (false, false, true, false),
            (false, true, true, true),
        ] {
            let role = RoleArgs { serve, read_only: flag };
            assert_eq!(role.is_read_only(stays), read_only, "{role:?} {stays}");
        }
    }
}
