//! `dht find-node`: finds the nodes closest to an id.

use dht_proto::NodeId;
use dht_proto::net::DhtHandle;

use crate::args::groups::LookupArgs;
use crate::args::values::parse_id;
use crate::output::{Event, Failure, Output};
use crate::session::lookups::look_up;
use crate::session::{Deadline, Session, Setup};

/// Print the nodes closest to an id
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// 40 hexadecimal digits
    #[arg(value_parser = parse_id)]
    target: NodeId,
    #[command(flatten)]
    lookup: LookupArgs,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let deadline = Deadline::new(args.lookup.limit.timeout, false);
    let session = Session::start(&Setup::for_lookup(&args.lookup, false, deadline), output)?;
    session.settle();
    let start = |dht: &DhtHandle| vec![dht.find_node(args.target)];
    let lookups = look_up(&session, "peer", start, |_, _| Ok(()))?;
    let nodes: Vec<_> = lookups.outcomes().flat_map(|outcome| outcome.nodes).collect();
    nodes.iter().try_for_each(|node| output.result(&Event::Node(node)))?;
    output.done(&lookups.done("node", nodes.len()))
}
