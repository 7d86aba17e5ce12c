//! A running node, with its time limit and the signals that end it.
//!
//! - `setup`: the settings of a session
//! - `deadline`: the time limit of a command
//! - `interrupt`: the signals that end a session
//! - `reporter`: reports on stderr about what the node does on its own
//! - `lookups`: lookups that are repeated until a node answers

mod deadline;
mod interrupt;
pub(crate) mod lookups;
mod reporter;
mod setup;

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dht_proto::Family;
use dht_proto::net::{CallError, Dht, DhtHandle};

use crate::output::{Event, Failure, Output, TICK, count};
use deadline::TIMEOUT;
pub(crate) use deadline::{Deadline, read_in_time};
use interrupt::Interrupt;
use reporter::{Names, Reporter};
pub(crate) use setup::Setup;

/// The time without any answer after which a command reports that it is waiting.
pub(crate) const QUIET: Duration = Duration::from_secs(5);

/// A running node, and the deadline of its command.
pub(crate) struct Session<'a> {
    pub(crate) dht: DhtHandle,
    pub(crate) output: &'a Output,
    pub(crate) deadline: Deadline,
    settle: Option<Duration>,
    /// The names of the bootstrap hosts.
    names: Names,
    /// Whether there is any node to join through.
    knows_nodes: bool,
    /// Whether it has been reported that the command is waiting.
    has_reported: Cell<bool>,
    interrupt: Arc<Interrupt>,
    reporter: Option<JoinHandle<()>>,
}

impl<'a> Session<'a> {
    pub(crate) fn start(setup: &Setup<'_>, output: &'a Output) -> Result<Self, Failure> {
        let interrupt = Interrupt::listen()?;
        // The trace contains everything that the reporter reports.
        let traces = setup.node.verbose > 2;
        if traces {
            output.trace();
        }
        let hosts = setup.hosts();
        let (names, host_count) = (Names::new(&hosts), hosts.len());
        let mut builder = Dht::builder().config(setup.config()).limits(setup.limits()).bootstrap(hosts);
        if let Some(state) = setup.join.and_then(|join| join.state.as_deref()) {
            builder = builder.state(state);
        }
        for addr in &setup.node.bind {
            builder = builder.bind(*addr);
        }
        let mut events = builder.subscribe();
        let owner = builder.spawn()?;
        let dht = owner.handle();
        interrupt.guard(owner);
        let log = output.logger();
        let verbose = if traces { 0 } else { setup.node.verbose };
        let mut reporter = Reporter::new(verbose, setup.node.allow_private, names.clone());
        // Restored nodes first: those that answer in between are counted in the table.
        let restored = Family::ALL.iter().any(|&family| {
            let is_some = |count: Result<usize, _>| count.is_ok_and(|count| count > 0);
            let restored = dht.with(move |node, _| node.restored_count(family)).wait();
            is_some(restored) || is_some(dht.node_count(family).wait())
        });
        // The node has answered these calls, so it has already reported the hosts that it may never contact.
        let lines = reporter.describe_pending(&mut events);
        if host_count > 0 && reporter.refused() == host_count && !restored {
            interrupt.end();
            return Err(no_host_left(lines, output));
        }
        lines.iter().for_each(|line| output.message(line));
        let reporter = Some(start_thread("reporter", move || reporter.report(events, log))?);
        let session = Session {
            dht,
            output,
            deadline: setup.deadline,
            settle: setup.settle,
            names,
            knows_nodes: host_count > 0 || restored,
            has_reported: Cell::new(false),
            interrupt,
            reporter,
        };
        for family in Family::ALL {
            if let (Some(addr), Ok(id)) = (session.dht.local_addr(family), session.dht.id(family).wait()) {
                output.print(&Event::Listening { addr, id, as_text: setup.prints_addr })?;
            }
        }
        let waits = setup.stays || setup.settle.is_some() || !setup.read_only;
        if setup.join.is_some() && !session.knows_nodes && !waits {
            return Err(Failure::Start(
                "there is no node to join the DHT through; name one with --bootstrap HOST:PORT, or a file of \
                 known nodes with --state FILE"
                    .to_owned(),
            ));
        }
        Ok(session)
    }

    pub(crate) fn left(&self) -> Duration {
        self.deadline.left()
    }

    /// Waits until lookups are likely to succeed: for the time given by `--settle`, or else until the node
    /// has joined, but at most for half of the time left.
    pub(crate) fn settle(&self) {
        let patience = match self.settle {
            Some(settle) => settle.min(self.left()),
            None if self.knows_nodes => self.left().min(TIMEOUT) / 2,
            None => return,
        };
        let (begun, quiet) = (Instant::now(), QUIET.min(patience));
        loop {
            let passed = begun.elapsed();
            let left = patience.saturating_sub(passed);
            let nodes: usize =
                Family::ALL.iter().filter_map(|family| self.dht.node_count(*family).wait().ok()).sum();
            self.output.progress(format!("joining, {}", count(nodes as u64, "node")));
            let until_report = if self.has_reported.get() { left } else { quiet.saturating_sub(passed) };
            let pause = if self.output.is_live() { left.min(TICK) } else { left.min(until_report) };
            let over = match self.settle {
                Some(_) => self.interrupt.wait(pause),
                None => self.dht.ready().wait_timeout(pause) != Err(CallError::TimedOut),
            };
            if over || left.is_zero() {
                return;
            }
            if begun.elapsed() >= quiet {
                self.report_waiting();
            }
        }
    }

    /// Whether any node has ever answered.
    pub(crate) fn has_joined(&self) -> bool {
        self.dht.stats().wait().is_ok_and(|stats| stats.responses_in.total() > 0)
    }

    /// Reports that the command is waiting for an answer, once, and only if there has been none yet.
    pub(crate) fn report_waiting(&self) {
        let waits = self.knows_nodes && !self.has_joined() && !self.is_interrupted();
        if waits && !self.has_reported.replace(true) {
            self.output
                .message(&format!("waiting for the network: no node has answered yet{}", self.trouble()));
        }
    }

    /// The failure of a command that received no answer before its deadline.
    pub(crate) fn unanswered(&self) -> Failure {
        if self.has_joined() {
            return Failure::Nothing(format!(
                "no node answered within {}, though some did while joining{}",
                self.deadline,
                self.trouble()
            ));
        }
        Failure::Start(format!(
            "could not join the DHT within {}: no bootstrap host answered{}; check the network and the \
             firewall, or name another node with --bootstrap HOST:PORT",
            self.deadline,
            self.trouble(),
        ))
    }

    /// Why a lookup did not end by itself.
    pub(crate) fn cut_short(&self) -> String {
        if self.is_interrupted() {
            "cut short by a signal".to_owned()
        } else {
            format!("cut short by the time limit of {} (--timeout)", self.deadline)
        }
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.is_interrupted()
    }

    /// Ends the node, unless a signal has done so, and returns when it has ended.
    pub(crate) fn end(&self) {
        self.interrupt.end();
    }

    /// Sleeps, and returns whether a signal has come.
    pub(crate) fn sleep(&self, duration: Duration) -> bool {
        self.interrupt.wait(duration)
    }

    /// The port of the socket.
    pub(crate) fn port(&self) -> u16 {
        Family::ALL
            .iter()
            .find_map(|family| self.dht.local_addr(*family))
            .as_ref()
            .map_or(0, SocketAddr::port)
    }

    /// The errors of this host, in brackets.
    fn trouble(&self) -> String {
        let sending = self.dht.last_send_error().map(|error| format!("the last local error: {error}"));
        let troubles: Vec<String> = self.names.trouble().into_iter().chain(sending).collect();
        if troubles.is_empty() { String::new() } else { format!(" ({})", troubles.join("; ")) }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.end();
        // Wait for the last lines of the reporter, about saving the state. It ends with the node.
        self.reporter.take().map(JoinHandle::join);
    }
}

/// The failure if all bootstrap hosts are refused: with one host its reason; with several a summary, after
/// the reason for each.
fn no_host_left(mut lines: Vec<String>, output: &Output) -> Failure {
    let last = lines.pop().unwrap_or_default();
    if lines.is_empty() {
        return Failure::Start(last);
    }
    lines.iter().chain([&last]).for_each(|line| output.message(line));
    Failure::Start("no bootstrap host can be used; name another with --bootstrap HOST:PORT".to_owned())
}

/// Starts a thread; this fails at the limit of the system.
fn start_thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Failure> {
    let failed = |error| Failure::Start(format!("cannot start a thread: {error}"));
    thread::Builder::new().name(name.to_owned()).spawn(run).map_err(failed)
}
