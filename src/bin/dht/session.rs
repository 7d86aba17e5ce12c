//! A node made from the common options, what it says on stderr, and how it is interrupted.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dht_proto::net::{BOOTSTRAP_HOSTS, Dht, Events, Notice, Owner};
use dht_proto::{AddressPolicy, Config, Event, Family};

use crate::options::Common;
use crate::output::{Failure, Output, TICK};

const TIMEOUT: Duration = Duration::from_secs(60);

/// A running node and the time that is left.
pub(crate) struct Session<'a> {
    pub(crate) dht: Dht,
    pub(crate) output: &'a Output,
    pub(crate) deadline: Instant,
    common: &'a Common,
    knows_somebody: bool,
    interrupt: Arc<Interrupt>,
    reporter: Option<JoinHandle<()>>,
}

impl<'a> Session<'a> {
    /// Starts a node that serves or looks up.
    pub(crate) fn start(common: &'a Common, output: &'a Output, serves: bool) -> Result<Self, Failure> {
        let usual = if common.no_default_bootstrap { &[][..] } else { &BOOTSTRAP_HOSTS };
        let hosts =
            usual.iter().copied().map(str::to_owned).chain(common.bootstrap.iter().cloned()).collect();
        Self::start_from(hosts, common, output, serves, common.state.as_deref())
    }

    /// Starts a node that contacts nobody by itself.
    pub(crate) fn start_alone(common: &'a Common, output: &'a Output) -> Result<Self, Failure> {
        Self::start_from(Vec::new(), common, output, false, None)
    }

    fn start_from(
        hosts: Vec<String>,
        common: &'a Common,
        output: &'a Output,
        serves: bool,
        state: Option<&Path>,
    ) -> Result<Self, Failure> {
        let interrupt = Interrupt::listen()?;
        // It tells all that the reporter tells, and more.
        let traces = common.verbose > 2;
        if traces {
            output.trace();
        }
        let has_hosts = !hosts.is_empty();
        let mut builder = Dht::builder().config(config(common)).bootstrap(hosts);
        if let Some(state) = state {
            builder = builder.state(state);
        }
        for addr in &common.bind {
            builder = builder.bind(*addr);
        }
        let notices = builder.subscribe();
        let owner = builder.spawn()?;
        let dht = owner.dht();
        interrupt.guard(owner);
        let (log, verbose) = (output.logger(), if traces { 0 } else { common.verbose });
        let reporter = Reporter { verbose, told: BTreeSet::new() };
        let reporter = Some(thread::spawn(move || reporter.report(notices, log)));
        let restored =
            Family::ALL.iter().any(|family| dht.restored_count(*family).is_ok_and(|count| count > 0));
        let knows_somebody = has_hosts || restored;
        for family in Family::ALL {
            if let (Some(addr), Ok(id)) = (dht.local_addr(family), dht.id(family)) {
                output.listening(addr, id, serves)?;
            }
        }
        let deadline = deadline(common);
        Ok(Self { dht, output, deadline, common, knows_somebody, interrupt, reporter })
    }

    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Waits until lookups are likely to succeed: for the time asked for, or until the node has
    /// found its place, but then no longer than half of the time there is.
    pub(crate) fn settle(&self) {
        let patience = match self.common.settle {
            Some(settle) => settle.min(self.left()),
            None if self.knows_somebody => self.left() / 2,
            None => return,
        };
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let nodes: usize =
                Family::ALL.iter().filter_map(|family| self.dht.node_count(*family).ok()).sum();
            self.output.progress(format!("joining, {nodes} nodes"));
            let pause = if self.output.is_live() { left.min(TICK) } else { left };
            let over = match self.common.settle {
                Some(_) => self.interrupt.wait(pause),
                None => self.dht.wait_ready(pause) != Ok(false),
            };
            if over || left.is_zero() {
                return;
            }
        }
    }

    /// Ends the node, unless a signal has, and returns when it has ended.
    pub(crate) fn end(&self) {
        self.interrupt.end();
    }

    /// Sleeps, and returns whether that was cut short by a signal.
    pub(crate) fn sleep(&self, duration: Duration) -> bool {
        self.interrupt.wait(duration)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.end();
        // What it says last, of saving the state, is not to be cut off. It ends with the node.
        self.reporter.take().map(JoinHandle::join);
    }
}

pub(crate) fn deadline(common: &Common) -> Instant {
    Instant::now() + common.timeout.unwrap_or(TIMEOUT)
}

fn config(common: &Common) -> Config {
    let mut config = Config::default();
    config.id = common.id;
    config.id_v6 = common.id;
    // An id that was asked for stays.
    config.secure_ids = common.id.is_none();
    config.read_only = common.read_only;
    if common.allow_private {
        config.address_policy = AddressPolicy::Any;
        config.source_limits = false;
    }
    config
}

/// Tells on stderr what a node does on its own account.
struct Reporter {
    verbose: u8,
    /// Hosts that were reported as not resolving: once is enough.
    told: BTreeSet<String>,
}

impl Reporter {
    fn report(mut self, notices: Events, log: impl Fn(&str)) {
        for notice in notices {
            if let Some(line) = self.describe(notice) {
                log(&format!("dht: {line}"));
            }
        }
    }

    fn describe(&mut self, notice: Notice) -> Option<String> {
        let verbose = self.verbose;
        match notice {
            Notice::Unresolved { host, error, retry_in } => {
                let line = format!("cannot resolve {host}: {error}; again in {} s", retry_in.as_secs());
                (self.told.insert(host) || verbose > 0).then_some(line)
            }
            Notice::Resolved { host, addrs } => {
                let again = self.told.remove(&host);
                let addrs: Vec<_> = addrs.iter().map(SocketAddr::to_string).collect();
                (again || verbose > 0).then(|| format!("{host} is {}", addrs.join(" ")))
            }
            Notice::StateRefused { error, kept_as } => {
                Some(format!("the state file is {error}; moved to {}, starting afresh", kept_as.display()))
            }
            Notice::StateUnsaved { error } => Some(error),
            Notice::SocketLost { addr, error, retry_in } => {
                Some(format!("lost the socket at {addr}: {error}; opening it again in {retry_in:?}"))
            }
            Notice::Rebound { addr } => Some(format!("opened the socket at {addr}")),
            Notice::Restored { nodes, announces, items, skipped } if verbose > 0 => Some(format!(
                "trying {nodes} saved nodes; {announces} announces and {items} items saved, {skipped} entries \
                 left out"
            )),
            Notice::StateSaved if verbose > 1 => Some("saved the state".to_owned()),
            Notice::Node(Event::Ready { family }) if verbose > 0 => {
                Some(format!("joined the {family:?} DHT"))
            }
            Notice::Node(Event::ExternalAddr { addr }) if verbose > 0 => {
                Some(format!("others see this node at {addr}"))
            }
            Notice::Node(Event::IdChanged { family, new, .. }) if verbose > 0 => {
                Some(format!("the {family:?} id is {new} now, to fit that address"))
            }
            Notice::Node(Event::PeerStored { infohash, peer, .. }) if verbose > 0 => {
                Some(format!("stored {peer} for {infohash}"))
            }
            Notice::Node(Event::ItemStored { target, node, .. }) if verbose > 0 => {
                Some(format!("stored an item of {node} at {target}"))
            }
            Notice::Node(Event::NodeAdded { id, addr }) if verbose > 1 => Some(format!("+ {id} {addr}")),
            Notice::Node(Event::NodeRemoved { id, addr }) if verbose > 1 => Some(format!("- {id} {addr}")),
            _ => None,
        }
    }
}

/// Ctrl-C and SIGTERM. The first ends what is under way, and with it the command; the second ends
/// the program on the spot.
#[derive(Default)]
struct Interrupt {
    state: Mutex<State>,
    changed: Condvar,
    /// The node, until it is to end.
    owner: Mutex<Option<Owner>>,
}

#[derive(Default)]
struct State {
    interrupted: bool,
    /// There is a node.
    started: bool,
}

impl Interrupt {
    #[cfg(unix)]
    fn listen() -> Result<Arc<Self>, Failure> {
        use signal_hook::consts::{SIGINT, SIGTERM};

        let interrupt = Arc::new(Self::default());
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
            .map_err(|error| Failure::Start(format!("cannot listen to signals: {error}")))?;
        let listener = Arc::clone(&interrupt);
        thread::spawn(move || {
            for signal in signals.forever() {
                if listener.interrupt() {
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
            }
        });
        Ok(interrupt)
    }

    /// Elsewhere the system ends the program.
    #[cfg(not(unix))]
    fn listen() -> Result<Arc<Self>, Failure> {
        Ok(Arc::default())
    }

    fn guard(&self, owner: Owner) {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = Some(owner);
        self.lock().started = true;
    }

    /// Returns whether it is not the first time, or there is nothing to end yet.
    #[cfg_attr(not(unix), expect(dead_code))]
    fn interrupt(self: &Arc<Self>) -> bool {
        let mut state = self.lock();
        let again = state.interrupted || !state.started;
        state.interrupted = true;
        drop(state);
        self.changed.notify_all();
        if !again {
            // The disk may take its time, and the next signal is not to wait for it. Without a thread
            // the command ends the node.
            let this = Arc::clone(self);
            let _ = thread::Builder::new().spawn(move || this.end());
        }
        again
    }

    fn end(&self) {
        // Whoever comes second waits for the lock, and so for the end as well.
        let mut owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = owner.take() {
            owner.shutdown();
        }
    }

    fn wait(&self, duration: Duration) -> bool {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, duration, |state| !state.interrupted);
        waited.unwrap_or_else(PoisonError::into_inner).0.interrupted
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
