//! Invariants of every world at any time.

use core::fmt;
use core::net::SocketAddr;

use thiserror::Error;

use super::core::World;
use crate::base::addr::{Endpoint, Family};
use crate::base::id::K;
use crate::node::Node;
use crate::sim::hosts::{HostId, Presence};

/// A violated invariant, found by [`World::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{fault} at {addr}")]
#[non_exhaustive]
pub struct Violation {
    /// The kind of violation.
    pub fault: Fault,
    /// The address of the host.
    pub addr: SocketAddr,
}

/// A kind of violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A node sent a datagram to an address that its policy refuses.
    SentTo(SocketAddr),
    /// A lookup ended twice.
    EndedTwice,
    /// A drained node asks to be woken in the past.
    AsksForThePast,
    /// A node holds more of something than its limits allow.
    OverLimit(&'static str),
    /// A routing table holds an address that the policy refuses.
    Lists(SocketAddr),
    /// A routing table holds its own node.
    ListsItself,
    /// A routing table holds an IP address twice, though its sources are limited.
    ListsTwice(SocketAddr),
    /// The closest nodes that a node knows are not in order.
    Disorder,
    /// Slots of this kind are lost or counted twice.
    Imbalance(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SentTo(to) => write!(f, "a datagram to {to}"),
            Self::EndedTwice => write!(f, "a lookup that ended twice"),
            Self::AsksForThePast => write!(f, "a deadline in the past"),
            Self::OverLimit(what) => write!(f, "too many {what}"),
            Self::Lists(addr) => write!(f, "{addr} in the routing table"),
            Self::ListsItself => write!(f, "itself in the routing table"),
            Self::ListsTwice(addr) => write!(f, "{addr} in the routing table beside the same IP address"),
            Self::Disorder => write!(f, "disorder among the closest nodes"),
            Self::Imbalance(what) => write!(f, "{what} that do not add up"),
        }
    }
}

impl World {
    /// Checks the invariants of all nodes and of all that was sent so far.
    ///
    /// This is slow: it visits every entry of every table.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        if let Some((from, to)) = self.transport.stray {
            return Err(Violation { fault: Fault::SentTo(to), addr: from });
        }
        if let Some((host, _)) = self.records.ended_twice {
            return Err(Violation { fault: Fault::EndedTwice, addr: self.addr(host) });
        }
        self.nodes().try_for_each(|(host, _)| self.check_host(host))
    }

    /// Checks the invariants of one host's node, if it runs one.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check_host(&self, host: HostId) -> Result<(), Violation> {
        let fault = self.node(host).and_then(|node| self.fault_of(host, node));
        fault.map_or(Ok(()), |fault| Err(Violation { fault, addr: self.addr(host) }))
    }

    fn fault_of(&self, id: HostId, node: &Node) -> Option<Fault> {
        let host = &self.hosts[id.index()];
        let profile = host.profile.as_ref()?;
        let (limits, config) = (&profile.limits, &profile.config);
        let is_late = node.poll_timeout().is_some_and(|due| host.global(due) < self.now);
        if is_late && host.presence != Presence::Asleep {
            return Some(Fault::AsksForThePast);
        }
        let counts = [
            ("IPv4 nodes", node.node_count(Family::V4), limits.nodes_v4),
            ("IPv6 nodes", node.node_count(Family::V6), limits.nodes_v6),
            ("queries", node.query_count(), limits.inflight),
            ("lookups", node.lookup_count(), limits.traversals),
            ("torrents", node.infohash_count(), limits.swarms),
            ("IPv4 peers", node.peer_count(Family::V4), limits.peers_v4.next_multiple_of(4)),
            ("IPv6 peers", node.peer_count(Family::V6), limits.peers_v6.next_multiple_of(4)),
        ];
        if let Some((what, ..)) = counts.into_iter().find(|(_, count, limit)| count > limit) {
            return Some(Fault::OverLimit(what));
        }
        if let Some(what) = node.violated_invariant() {
            return Some(Fault::Imbalance(what));
        }
        for family in Family::ALL {
            let own = self.addr_in(id, family);
            for (at, info) in node.nodes(family).enumerate() {
                if !config.address_policy.allows(Endpoint::from(info.addr)) {
                    return Some(Fault::Lists(info.addr));
                }
                if Some(info.addr) == own && host.link.device == 0 || info.id == node.id(family) {
                    return Some(Fault::ListsItself);
                }
                let is_twice = |other: SocketAddr| {
                    other == info.addr || config.source_limits && other.ip() == info.addr.ip()
                };
                if node.nodes(family).take(at).any(|other| is_twice(other.addr)) {
                    return Some(Fault::ListsTwice(info.addr));
                }
            }
            let target = node.id(family);
            let mut distances = node.closest_nodes(target, family).map(|info| info.id.distance(&target));
            if !distances.by_ref().take(K).is_sorted() || distances.next().is_some() {
                return Some(Fault::Disorder);
            }
        }
        None
    }
}
