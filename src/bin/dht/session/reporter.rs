//! Reports on stderr about what the node does on its own: joining, saving, failures to resolve or send.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dht_proto::net::{BOOTSTRAP_HOSTS, BootstrapRefusal, NetEvent, NetEvents};
use dht_proto::{Event, Family};

use crate::output::count;

/// The names of bootstrap hosts that have not resolved, to explain why a command could not join.
#[derive(Clone, Default)]
pub(super) struct Names(Arc<Mutex<Unresolved>>);

#[derive(Default)]
struct Unresolved {
    /// Neither resolved nor failed yet.
    pending: BTreeSet<String>,
    /// The message about the last name, if it failed.
    failed: Option<String>,
}

impl Names {
    pub(super) fn new(hosts: &[String]) -> Self {
        let names = hosts.iter().filter(|host| host.parse::<SocketAddr>().is_err());
        let unresolved = Unresolved { pending: names.cloned().collect(), failed: None };
        Self(Arc::new(Mutex::new(unresolved)))
    }

    /// The reason why there may be no node to query.
    pub(super) fn trouble(&self) -> Option<String> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = names.pending.first();
        names.failed.clone().or_else(|| first.map(|host| format!("{host} has not resolved yet")))
    }

    fn note(&self, host: &str, failed: Option<String>) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.pending.remove(host);
        names.failed = failed;
    }
}

pub(super) struct Reporter {
    verbose: u8,
    /// Whether private addresses may be contacted.
    private: bool,
    /// The number of bootstrap hosts that will never be contacted.
    refused: usize,
    names: Names,
    /// The hosts that were reported as not resolving, so that each is reported once.
    reported: BTreeSet<String>,
}

impl Reporter {
    pub(super) fn new(verbose: u8, private: bool, names: Names) -> Self {
        Self { verbose, private, refused: 0, names, reported: BTreeSet::new() }
    }

    /// The number of bootstrap hosts that will never be contacted, as far as is known.
    pub(super) const fn refused(&self) -> usize {
        self.refused
    }

    /// The lines about what has happened already.
    pub(super) fn describe_pending(&mut self, events: &mut NetEvents) -> Vec<String> {
        let pending = std::iter::from_fn(|| events.recv_timeout(Duration::ZERO).ok());
        pending.filter_map(|event| self.describe(event)).collect()
    }

    pub(super) fn report(mut self, events: NetEvents, log: impl Fn(&str)) {
        for event in events {
            if let Some(line) = self.describe(event) {
                log(&format!("dht: {line}"));
            }
        }
    }

    fn describe(&mut self, event: NetEvent) -> Option<String> {
        let verbose = self.verbose;
        match event {
            NetEvent::Unresolved { host, error, retry_in } => {
                let line = format!("cannot resolve {host}: {error}");
                self.names.note(&host, Some(line.clone()));
                let is_new = self.is_new(host);
                (is_new || verbose > 0).then(|| format!("{line}; trying again in {} s", retry_in.as_secs()))
            }
            NetEvent::Resolved { host, addrs } => {
                self.names.note(&host, None);
                let again = self.reported.remove(&host);
                let addrs: Vec<_> = addrs.iter().map(SocketAddr::to_string).collect();
                (again || verbose > 0).then(|| format!("{host} resolved to {}", addrs.join(" ")))
            }
            NetEvent::BootstrapRefused { host, addr, reason, retry_in } => {
                self.refused += usize::from(retry_in.is_none());
                let host = if retry_in.is_some() { format!("{host} ({addr})") } else { host };
                Some(match reason {
                    BootstrapRefusal::Family => {
                        format!("{host} has no address in a bound address family; see --bind")
                    }
                    _ if self.private => format!("{host} is not the address of a single host"),
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
                Some(format!("the socket at {addr} failed: {error}; reopening it in {retry_in:?}"))
            }
            NetEvent::Rebound { addr } => Some(format!("reopened the socket at {addr}")),
            NetEvent::Restored { nodes, announces, items, skipped } if verbose > 0 => Some(format!(
                "loaded {}, {} and {} from the state file; skipped {}",
                count(nodes as u64, "node"),
                count(announces as u64, "announce"),
                count(items as u64, "item"),
                count(skipped as u64, "entry"),
            )),
            NetEvent::StateSaved if verbose > 1 => Some("saved the state".to_owned()),
            NetEvent::Node(Event::Ready { family }) if verbose > 0 => {
                Some(format!("joined the {} DHT", name(family)))
            }
            NetEvent::Node(Event::ExternalAddr { addr }) if verbose > 0 => {
                Some(format!("other nodes see this node at {addr}"))
            }
            NetEvent::Node(Event::IdChanged { family, new, .. }) if verbose > 0 => {
                Some(format!("changed the {} id to {new}, to match that address (BEP 42)", name(family)))
            }
            NetEvent::Node(Event::PeerStored { infohash, peer, .. }) if verbose > 0 => {
                Some(format!("stored peer {peer} of {infohash}"))
            }
            NetEvent::Node(Event::ItemStored { target, node, .. }) if verbose > 0 => {
                Some(format!("stored an item from {node} at {target}"))
            }
            NetEvent::Node(Event::NodeAdded { id, addr }) if verbose > 1 => Some(format!("+ {id} {addr}")),
            NetEvent::Node(Event::NodeRemoved { id, addr }) if verbose > 1 => Some(format!("- {id} {addr}")),
            _ => None,
        }
    }

    /// Whether a host that does not resolve is to be reported. Only the first of the public hosts is: without
    /// a network none of them resolves.
    fn is_new(&mut self, host: String) -> bool {
        let is_public = |host: &str| BOOTSTRAP_HOSTS.contains(&host);
        let is_more = is_public(&host) && self.reported.iter().any(|host| is_public(host));
        !is_more && self.reported.insert(host)
    }
}

const fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
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
    fn each_own_host_and_the_first_public_host_that_does_not_resolve_is_reported_once() {
        let mut reporter = Reporter::new(0, false, Names::default());
        let hosts =
            ["own.example:1", BOOTSTRAP_HOSTS[0], BOOTSTRAP_HOSTS[1], "own.example:1", "other.example:1"];
        let reported = hosts.map(|host| reporter.describe(unresolved(host)).is_some());
        assert_eq!(reported, [true, true, false, false, true]);
        let mut reporter = Reporter::new(1, false, Names::default());
        assert!(hosts.iter().all(|host| reporter.describe(unresolved(host)).is_some()), "all are reported");
    }

    #[test]
    fn the_trouble_with_names_ends_when_they_resolve() {
        let names = Names::new(&["192.0.2.1:1".to_owned(), "a.example:1".to_owned()]);
        let mut reporter = Reporter::new(0, false, names.clone());
        assert_eq!(names.trouble().unwrap(), "a.example:1 has not resolved yet");
        reporter.describe(unresolved("a.example:1"));
        assert_eq!(names.trouble().unwrap(), "cannot resolve a.example:1: no such name");
        let addrs = vec!["192.0.2.2:1".parse().unwrap()];
        reporter.describe(NetEvent::Resolved { host: "a.example:1".to_owned(), addrs });
        assert_eq!(names.trouble(), None);
        assert_eq!(Names::new(&["192.0.2.1:1".to_owned()]).trouble(), None);
    }
}
