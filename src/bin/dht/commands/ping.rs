//! `dht ping`: checks whether a node responds.

use super::host::query;
use crate::args::groups::HostArgs;
use crate::output::{Event, Failure, Output};

/// Ping one node, and print its id and the round-trip time
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    host: HostArgs,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let pong = query(&args.host, output, |dht, addr| dht.ping(addr).wait())?;
    pong.map_or(Ok(()), |(_, pong)| output.result(&Event::Pong(&pong)))
}
