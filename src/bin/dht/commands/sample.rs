//! `dht sample`: asks a node for some of the infohashes that it stores peers of (BEP 51).

use dht_proto::Family;

use super::host::query;
use crate::args::groups::HostArgs;
use crate::output::{Event, Failure, Output};

/// Print a sample of the infohashes that one node stores peers of
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    host: HostArgs,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let sampled = query(&args.host, output, |dht, addr| {
        // Any target will do: only the infohashes are used.
        dht.sample_infohashes(addr, dht.id(Family::of(&addr)).wait()?).wait()
    })?;
    let Some((addr, sampled)) = sampled else { return Ok(()) };
    output.sample(addr, &sampled.sample)?;
    let mut infohashes = sampled.infohashes.iter();
    infohashes.try_for_each(|infohash| output.result(&Event::Infohash { infohash: *infohash, node: addr }))
}
