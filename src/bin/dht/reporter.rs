//! What a node does on its own account, as the tool tells it on stderr.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dht_proto::Event;
use dht_proto::net::{BOOTSTRAP_HOSTS, BootstrapRefusal, NetEvent, NetEvents};

/// What became of the names of bootstrap hosts, for whoever could not join.
#[derive(Clone, Default)]
pub(crate) struct Names(Arc<Mutex<Looked>>);

#[derive(Default)]
struct Looked {
    /// Not answered yet, well or badly.
    pending: BTreeSet<String>,
    /// Name of the last that failed, and the reason.
    failed: Option<String>,
}

impl Names {
    pub(crate) fn new(hosts: &[String]) -> Self {
        let names = hosts.iter().filter(|host| host.parse::<SocketAddr>().is_err());
        let looked = Looked { pending: names.cloned().collect(), failed: None };
        Self(Arc::new(Mutex::new(looked)))
    }

    /// Why there may be nobody to ask.
    pub(crate) fn trouble(&self) -> Option<String> {
        let looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = looked.pending.first();
        looked.failed.clone().or_else(|| first.map(|host| format!("no address of {host} is known yet")))
    }

    fn note(&self, host: &str, failed: Option<String>) {
        let mut looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looked.pending.remove(host);
        looked.failed = failed;
    }
}

pub(crate) struct Reporter {
    verbose: u8,
    /// Private addresses may be asked.
    private: bool,
    /// Bootstrap hosts that will never be asked.
    refused: usize,
    names: Names,
    /// Hosts that were reported as not resolving: once is enough.
    told: BTreeSet<String>,
}

impl Reporter {
    pub(crate) fn new(verbose: u8, private: bool, names: Names) -> Self {
        Self { verbose, private, refused: 0, names, told: BTreeSet::new() }
    }

    /// Bootstrap hosts that will never be asked, as far as was told.
    pub(crate) const fn refused(&self) -> usize {
        self.refused
    }

    /// What has been told already.
    pub(crate) fn describe_waiting(&mut self, notices: &mut NetEvents) -> Vec<String> {
        let waiting = std::iter::from_fn(|| notices.recv_timeout(Duration::ZERO).ok());
        waiting.filter_map(|notice| self.describe(notice)).collect()
    }

    pub(crate) fn report(mut self, notices: NetEvents, log: impl Fn(&str)) {
        for notice in notices {
            if let Some(line) = self.describe(notice) {
                log(&format!("dht: {line}"));
            }
        }
    }

    fn describe(&mut self, notice: NetEvent) -> Option<String> {
        let verbose = self.verbose;
        match notice {
            NetEvent::Unresolved { host, error, retry_in } => {
                let line = format!("cannot resolve {host}: {error}");
                self.names.note(&host, Some(line.clone()));
                let is_new = self.is_new(host);
                (is_new || verbose > 0).then(|| format!("{line}; again in {} s", retry_in.as_secs()))
            }
            NetEvent::Resolved { host, addrs } => {
                self.names.note(&host, None);
                let again = self.told.remove(&host);
                let addrs: Vec<_> = addrs.iter().map(SocketAddr::to_string).collect();
                (again || verbose > 0).then(|| format!("{host} is {}", addrs.join(" ")))
            }
            NetEvent::BootstrapRefused { host, addr, reason, retry_in } => {
                self.refused += usize::from(retry_in.is_none());
                let host = if retry_in.is_some() { format!("{host} is {addr}, which") } else { host };
                Some(match reason {
                    BootstrapRefusal::Family => format!("{host} has no address of a family that is bound"),
                    _ if self.private => format!("{host} is the address of no single host"),
                    _ => format!("{host} is not a public address; see --allow-private"),
                })
            }
            NetEvent::Unsent { destination, error } if verbose > 0 => {
                Some(format!("cannot send to {destination}: {error}; trying again"))
            }
            NetEvent::StateRefused { error, kept_as } => {
                Some(format!("the state file is {error}; moved to {}, starting afresh", kept_as.display()))
            }
            NetEvent::StateUnsaved { error } => Some(error),
            NetEvent::SocketLost { addr, error, retry_in } => {
                Some(format!("lost the socket at {addr}: {error}; opening it again in {retry_in:?}"))
            }
            NetEvent::Rebound { addr } => Some(format!("opened the socket at {addr}")),
            NetEvent::Restored { nodes, announces, items, skipped } if verbose > 0 => Some(format!(
                "trying {nodes} saved nodes; {announces} announces and {items} items saved, {skipped} entries \
                 left out"
            )),
            NetEvent::StateSaved if verbose > 1 => Some("saved the state".to_owned()),
            NetEvent::Node(Event::Ready { family }) if verbose > 0 => {
                Some(format!("joined the {family:?} DHT"))
            }
            NetEvent::Node(Event::ExternalAddr { addr }) if verbose > 0 => {
                Some(format!("others see this node at {addr}"))
            }
            NetEvent::Node(Event::IdChanged { family, new, .. }) if verbose > 0 => {
                Some(format!("the {family:?} id is {new} now, to fit that address"))
            }
            NetEvent::Node(Event::PeerStored { infohash, peer, .. }) if verbose > 0 => {
                Some(format!("stored {peer} for {infohash}"))
            }
            NetEvent::Node(Event::ItemStored { target, node, .. }) if verbose > 0 => {
                Some(format!("stored an item of {node} at {target}"))
            }
            NetEvent::Node(Event::NodeAdded { id, addr }) if verbose > 1 => Some(format!("+ {id} {addr}")),
            NetEvent::Node(Event::NodeRemoved { id, addr }) if verbose > 1 => Some(format!("- {id} {addr}")),
            _ => None,
        }
    }

    /// Whether a host that does not resolve is news; the first of the usual ones stands for all of them,
    /// since without a network none resolves.
    fn is_new(&mut self, host: String) -> bool {
        let is_usual = |host: &str| BOOTSTRAP_HOSTS.contains(&host);
        let is_more = is_usual(&host) && self.told.iter().any(|told| is_usual(told));
        !is_more && self.told.insert(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unresolved(host: &str) -> NetEvent {
        let error = "no such name".to_owned();
        NetEvent::Unresolved { host: host.to_owned(), error, retry_in: Duration::from_secs(1) }
    }

    #[test]
    fn names_that_do_not_resolve_are_told_once_and_of_the_usual_ones_the_first() {
        let mut reporter = Reporter::new(0, false, Names::default());
        let hosts =
            ["own.example:1", BOOTSTRAP_HOSTS[0], BOOTSTRAP_HOSTS[1], "own.example:1", "other.example:1"];
        let told = hosts.map(|host| reporter.describe(unresolved(host)).is_some());
        assert_eq!(told, [true, true, false, false, true]);
        let mut reporter = Reporter::new(1, false, Names::default());
        assert!(hosts.iter().all(|host| reporter.describe(unresolved(host)).is_some()), "verbose tells all");
    }

    #[test]
    fn what_became_of_the_names_is_known_afterwards() {
        let names = Names::new(&["192.0.2.1:1".to_owned(), "a.example:1".to_owned()]);
        let mut reporter = Reporter::new(0, false, names.clone());
        assert_eq!(names.trouble().unwrap(), "no address of a.example:1 is known yet");
        reporter.describe(unresolved("a.example:1"));
        assert_eq!(names.trouble().unwrap(), "cannot resolve a.example:1: no such name");
        let addrs = vec!["192.0.2.2:1".parse().unwrap()];
        reporter.describe(NetEvent::Resolved { host: "a.example:1".to_owned(), addrs });
        assert_eq!(names.trouble(), None);
        assert_eq!(Names::new(&["192.0.2.1:1".to_owned()]).trouble(), None);
    }
}
