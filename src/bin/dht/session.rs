//! A running node, and the time there is for what it is to do.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dht_proto::net::{BOOTSTRAP_HOSTS, CallError, Dht, DhtHandle};
use dht_proto::{AddressPolicy, Config, Family, Limits};

use crate::deadline::{Deadline, TIMEOUT};
use crate::interrupt::Interrupt;
use crate::output::{Failure, Output, TICK};
use crate::reporter::{Names, Reporter};
use crate::shared::{LookupOptions, Own, Start};

/// A node that has heard of nobody after this long says what it waits for.
pub(crate) const QUIET: Duration = Duration::from_secs(5);

/// What a session is started from.
pub(crate) struct Setup<'a> {
    pub(crate) own: &'a Own,
    /// `None` for a node that contacts nobody by itself.
    pub(crate) start: Option<&'a Start>,
    pub(crate) settle: Option<Duration>,
    pub(crate) read_only: bool,
    /// It waits for others, who may come later.
    pub(crate) stays: bool,
    /// Where it listens is told as text too.
    pub(crate) tells_addr: bool,
    /// Endpoints a second that it contacts anew, if it is more than usual.
    pub(crate) new_endpoints: u32,
    /// Peers that a lookup is to find, if it is more than usual.
    pub(crate) peers: u16,
    pub(crate) deadline: Deadline,
}

impl<'a> Setup<'a> {
    pub(crate) fn new(own: &'a Own, deadline: Deadline) -> Self {
        Self {
            own,
            start: None,
            settle: None,
            read_only: true,
            stays: false,
            tells_addr: false,
            new_endpoints: 0,
            peers: 0,
            deadline,
        }
    }

    /// The setup of a command that looks something up and may stay.
    pub(crate) fn of(options: &'a LookupOptions, stays: bool, deadline: Deadline) -> Self {
        Self {
            start: Some(&options.start),
            settle: options.settle,
            read_only: options.role.is_read_only(stays),
            stays,
            ..Self::new(&options.own, deadline)
        }
    }

    fn config(&self) -> Config {
        let mut config = Config::default();
        config.id = self.own.id;
        config.id_v6 = self.own.id;
        // An id that was asked for stays.
        config.secure_ids = self.own.id.is_none();
        config.read_only = self.read_only;
        config.new_endpoints = config.new_endpoints.max(self.new_endpoints);
        if self.own.allow_private {
            config.address_policy = AddressPolicy::Any;
            config.source_limits = false;
        }
        config
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.found = limits.found.max(self.peers.into());
        limits
    }

    fn hosts(&self) -> Vec<String> {
        let Some(start) = self.start else { return Vec::new() };
        let usual = if start.no_default_bootstrap { &[][..] } else { &BOOTSTRAP_HOSTS };
        let own = start.bootstrap.iter().map(|host| host.trim().to_owned());
        own.chain(usual.iter().copied().map(str::to_owned)).collect()
    }
}

/// A running node and the time that is left.
pub(crate) struct Session<'a> {
    pub(crate) dht: DhtHandle,
    pub(crate) output: &'a Output,
    pub(crate) deadline: Deadline,
    settle: Option<Duration>,
    /// Names of the hosts to start from.
    names: Names,
    knows_somebody: bool,
    /// Whoever waits has been told for what.
    told: Cell<bool>,
    interrupt: Arc<Interrupt>,
    reporter: Option<JoinHandle<()>>,
}

impl<'a> Session<'a> {
    pub(crate) fn start(setup: &Setup<'_>, output: &'a Output) -> Result<Self, Failure> {
        let interrupt = Interrupt::listen()?;
        // It tells all that the reporter tells, and more.
        let traces = setup.own.verbose > 2;
        if traces {
            output.trace();
        }
        let hosts = setup.hosts();
        let (names, host_count) = (Names::new(&hosts), hosts.len());
        let mut builder = Dht::builder().config(setup.config()).limits(setup.limits()).bootstrap(hosts);
        if let Some(state) = setup.start.and_then(|start| start.state.as_deref()) {
            builder = builder.state(state);
        }
        for addr in &setup.own.bind {
            builder = builder.bind(*addr);
        }
        let mut notices = builder.subscribe();
        let owner = builder.spawn()?;
        let dht = owner.handle();
        interrupt.guard(owner);
        let log = output.logger();
        let verbose = if traces { 0 } else { setup.own.verbose };
        let mut reporter = Reporter::new(verbose, setup.own.allow_private, names.clone());
        // In this order: those that have answered by now stand in the table.
        let restored = Family::ALL.iter().any(|family| {
            let is_some = |count: Result<usize, _>| count.is_ok_and(|count| count > 0);
            let family = *family;
            is_some(dht.with(move |node, _| node.restored_count(family)).wait())
                || is_some(dht.node_count(family).wait())
        });
        // The node has answered, so it has told which hosts it may never ask.
        let told = reporter.describe_waiting(&mut notices);
        if host_count > 0 && reporter.refused() == host_count && !restored {
            interrupt.end();
            return Err(nobody_to_ask(told, output));
        }
        told.iter().for_each(|line| output.complain(line));
        let reporter = Some(start_thread("reporter", move || reporter.report(notices, log))?);
        let session = Session {
            dht,
            output,
            deadline: setup.deadline,
            settle: setup.settle,
            names,
            knows_somebody: host_count > 0 || restored,
            told: Cell::new(false),
            interrupt,
            reporter,
        };
        for family in Family::ALL {
            if let (Some(addr), Ok(id)) = (session.dht.local_addr(family), session.dht.id(family).wait()) {
                output.listening(addr, id, setup.tells_addr)?;
            }
        }
        let waits = setup.stays || setup.settle.is_some() || !setup.read_only;
        if setup.start.is_some() && !session.knows_somebody && !waits {
            return Err(Failure::Start(
                "there is no node to start from: name one with --bootstrap HOST:PORT, or a file of known \
                 nodes with --state FILE"
                    .to_owned(),
            ));
        }
        Ok(session)
    }

    pub(crate) fn left(&self) -> Duration {
        self.deadline.left()
    }

    /// Waits until lookups are likely to succeed: for the time asked for, or until the node has
    /// found its place, but then no longer than half of the time there is.
    pub(crate) fn settle(&self) {
        let patience = match self.settle {
            Some(settle) => settle.min(self.left()),
            None if self.knows_somebody => self.left().min(TIMEOUT) / 2,
            None => return,
        };
        let (begun, quiet) = (Instant::now(), QUIET.min(patience));
        loop {
            let passed = begun.elapsed();
            let left = patience.saturating_sub(passed);
            let nodes: usize =
                Family::ALL.iter().filter_map(|family| self.dht.node_count(*family).wait().ok()).sum();
            self.output.progress(format!("joining, {}", crate::text::count(nodes as u64, "node")));
            let until_told = if self.told.get() { left } else { quiet.saturating_sub(passed) };
            let pause = if self.output.is_live() { left.min(TICK) } else { left.min(until_told) };
            let over = match self.settle {
                Some(_) => self.interrupt.wait(pause),
                None => self.dht.ready().wait_timeout(pause) != Err(CallError::TimedOut),
            };
            if over || left.is_zero() {
                return;
            }
            if begun.elapsed() >= quiet {
                self.tell_waiting();
            }
        }
    }

    /// Whether any node has ever answered.
    pub(crate) fn has_joined(&self) -> bool {
        self.dht.stats().wait().is_ok_and(|stats| stats.responses_in.total() > 0)
    }

    /// Tells once, unless there is none, what the node waits for.
    pub(crate) fn tell_waiting(&self) {
        if self.knows_somebody && !self.has_joined() && !self.is_interrupted() && !self.told.replace(true) {
            self.output
                .complain(&format!("waiting for the network: no node has answered yet{}", self.trouble()));
        }
    }

    /// Why nothing came of it, at the end of the time.
    pub(crate) fn unanswered(&self) -> Failure {
        if self.has_joined() {
            return Failure::Nothing(format!(
                "no node answered any more within {}{}",
                self.deadline,
                self.trouble()
            ));
        }
        Failure::Start(format!(
            "could not join the DHT within {}: no bootstrap host answered{}; check the network and the \
             firewall, or name a node that is up with --bootstrap HOST:PORT",
            self.deadline,
            self.trouble(),
        ))
    }

    /// Why a search did not get to its end.
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

    /// Ends the node, unless a signal has, and returns when it has ended.
    pub(crate) fn end(&self) {
        self.interrupt.end();
    }

    /// Sleeps, and returns whether that was cut short by a signal.
    pub(crate) fn sleep(&self, duration: Duration) -> bool {
        self.interrupt.wait(duration)
    }

    /// The port of our socket.
    pub(crate) fn port(&self) -> u16 {
        Family::ALL
            .iter()
            .find_map(|family| self.dht.local_addr(*family))
            .as_ref()
            .map_or(0, SocketAddr::port)
    }

    /// What went wrong on this host, in brackets.
    fn trouble(&self) -> String {
        let sending = self.dht.last_send_error().map(|error| format!("the last local error: {error}"));
        let troubles: Vec<String> = self.names.trouble().into_iter().chain(sending).collect();
        if troubles.is_empty() { String::new() } else { format!(" ({})", troubles.join("; ")) }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.end();
        // What it says last, of saving the state, is not to be cut off. It ends with the node.
        self.reporter.take().map(JoinHandle::join);
    }
}

/// All bootstrap hosts are refused: says why, and where there is more than one, what follows.
fn nobody_to_ask(mut told: Vec<String>, output: &Output) -> Failure {
    let last = told.pop().unwrap_or_default();
    if told.is_empty() {
        return Failure::Start(last);
    }
    told.iter().chain([&last]).for_each(|line| output.complain(line));
    Failure::Start("no bootstrap host is left to ask".to_owned())
}

/// A system has its limit of threads.
pub(crate) fn start_thread(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Failure> {
    let failed = |error| Failure::Start(format!("cannot start a thread: {error}"));
    thread::Builder::new().name(name.to_owned()).spawn(run).map_err(failed)
}
