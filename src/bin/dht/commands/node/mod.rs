//! `dht node`: runs a node that stays.
//!
//! - `status`: the status line on a terminal
//! - `exporter`: metrics for Prometheus, over HTTP

mod exporter;
mod status;

use std::net::SocketAddr;
use std::time::Instant;

use dht_proto::net::Metrics;

use crate::args::groups::{FormatArgs, JoinArgs, LimitArgs, NODE_OPTIONS, NodeArgs};
use crate::args::values::parse_bind;
use crate::output::{Event, Failure, Output};
use crate::session::{Deadline, QUIET, Session, Setup};
use exporter::Exporter;
use status::PERIOD;

/// Run a node that stays and answers queries
#[derive(Debug, clap::Args)]
#[command(mut_arg("timeout", |arg| arg.help("Stop after this many seconds [default: never]")))]
pub(crate) struct Args {
    /// Serve metrics for Prometheus at http://ADDR/metrics (no port or port 0: any free port)
    #[arg(long, value_name = "ADDR", value_parser = parse_bind)]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    _format: FormatArgs,
    #[command(flatten)]
    limit: LimitArgs,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    join: JoinArgs,
    /// Send queries but answer none (BEP 43)
    #[arg(long, help_heading = NODE_OPTIONS)]
    read_only: bool,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let exporter = args.metrics.map(Exporter::bind).transpose()?;
    let mut setup = Setup::new(&args.node, Deadline::new(args.limit.timeout, true));
    setup.join = Some(&args.join);
    setup.read_only = args.read_only;
    (setup.stays, setup.prints_addr) = (true, true);
    // A node that has served succeeds, whether or not stdout is read.
    output.set_found();
    let session = Session::start(&setup, output)?;
    if let Some(exporter) = exporter {
        output.print(&Event::Metrics { url: &exporter.url() })?;
        exporter.serve(session.dht.clone())?;
    }
    if output.is_live() {
        show_status(&session);
    } else if !session.sleep(QUIET.min(session.left())) {
        session.report_waiting();
        session.sleep(session.left());
    }
    Ok(())
}

/// Shows the status line until a signal or the deadline.
fn show_status(session: &Session<'_>) {
    let begun = Instant::now();
    let mut before: Option<(Metrics, Instant)> = None;
    while let Ok(metrics) = session.dht.metrics().wait() {
        let now = Instant::now();
        let (earlier, passed) =
            before.as_ref().map_or((&metrics, PERIOD), |(earlier, at)| (earlier, now - *at));
        session.output.progress(status::line(&metrics, earlier, passed));
        before = Some((metrics, now));
        if begun.elapsed() >= QUIET {
            session.report_waiting();
        }
        if session.deadline.is_over() || session.sleep(PERIOD.min(session.left())) {
            return;
        }
    }
}
