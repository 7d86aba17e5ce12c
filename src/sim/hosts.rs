//! Hosts: their profile, their state, and what they run.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use super::actors::Actor;
use super::hosted::Hosted;
use super::transport::{Link, Nat};
use crate::base::time::Instant;
use crate::node::Node;
use crate::node::api::config::Config;
#[cfg(feature = "items")]
use crate::node::api::limits::ItemLimits;
use crate::node::api::limits::Limits;

/// Identifies a host of a world; hosts are numbered in the order in which they are added.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub(super) u32);

impl HostId {
    /// The number of the host, from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostId({})", self.0)
    }
}

/// Settings of a host that runs a node. Many hosts may share one.
///
/// ```
/// use dht_proto::sim::{Nat, NatKind, Profile};
///
/// let mut profile = Profile::default();
/// profile.nat = Some(Nat::new(NatKind::PortRestricted));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Profile {
    /// Configuration of the node. Default: that of [`Config`], with IPv4 only and a random, fixed id.
    ///
    /// [`Config::secure_ids`](field@Config::secure_ids) is off because the addresses of a world are too similar for
    /// ids derived from them to be spread evenly.
    pub config: Config,
    /// Whether the node has yet to learn its address. Default: no.
    ///
    /// It matters with [`Config::secure_ids`](field@Config::secure_ids) on: a new node starts with a random id that
    /// does not fit its address, another one with an id that does.
    pub is_new: bool,
    /// Limits of the node. Default: [`roomy_limits`].
    pub limits: Limits,
    /// The NAT before the host, for IPv4. Default: none.
    pub nat: Option<Nat>,
    /// Sessions and absences. Default: the host never leaves.
    pub churn: Option<Churn>,
    /// Bootstrap hosts that the node knows when it joins, 0..=[`Limits::bootstraps`](field@Limits::bootstraps).
    /// Default: 3.
    ///
    /// They are drawn from the nodes that are up and not behind a NAT.
    pub bootstraps: usize,
}

impl Default for Profile {
    fn default() -> Self {
        let config = Config { ipv6: false, secure_ids: false, ..Config::default() };
        Self { config, is_new: false, limits: roomy_limits(), nat: None, churn: None, bootstraps: 3 }
    }
}

impl Profile {
    /// A small profile for a world of this number of nodes.
    ///
    /// It has the [`limits`] for that number, and lookups that end once the two closest nodes have
    /// responded. Such a node maintains its table and responds as any other does, at half of the
    /// messages.
    pub fn of_world(nodes: usize) -> Self {
        let mut profile = Self { limits: limits(nodes), ..Self::default() };
        (profile.config.lookup.alpha, profile.config.lookup.k) = (2, 2);
        profile
    }
}

/// Sessions and absences of a host, exponentially distributed (memoryless).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Churn {
    /// Median length of a session.
    pub session: Duration,
    /// Median length of an absence.
    pub absence: Duration,
    /// The identity with which it returns.
    pub returns: Returns,
}

/// The identity with which a host returns; its node keeps no other state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// The host does not return.
    Never,
    /// The old id and address.
    Same,
    /// A new id and address.
    Renewed,
}

/// The smallest limits with which a world of this number of nodes forms a working DHT.
///
/// A node takes 13 KB in a world of a hundred thousand and 15 KB in one of a million, its share of the
/// world included. It can run one lookup at a time, maintenance included; nodes under test need more.
pub fn limits(world: usize) -> Limits {
    // As many buckets as it takes until the last one holds only the nearest neighbours.
    let depth = (world.max(1).ilog2() as usize).saturating_sub(3).clamp(4, 24);
    Limits {
        nodes_v4: 8 * depth,
        replacements: depth,
        inflight: 4,
        candidates_per_lookup: 8,
        tokens_per_lookup: 8,
        peers_per_lookup: 4,
        swarms: 2,
        peers_v4: 4,
        sources: 4,
        reputations: 8,
        replies: 1,
        events: 2,
        bootstraps: 3,
        publications: 0,
        voters: 16,
        ..Limits::CLIENT
    }
}

/// Generous limits for worlds of some hundred nodes: 400 KB for each.
pub fn roomy_limits() -> Limits {
    Limits {
        swarms: 64,
        peers_v4: 1024,
        peers_v6: 256,
        traversals: 16,
        sources: 256,
        reputations: 512,
        nodes_v6: 64,
        events: 256,
        publications: 64,
        #[cfg(feature = "items")]
        items: ItemLimits { stored: 64, chunks: 512, own: 32, own_chunks: 256 },
        ..Limits::default()
    }
}

pub(super) struct Host {
    pub(super) occupant: Occupant,
    pub(super) link: Link,
    pub(super) profile: Option<Arc<Profile>>,
    pub(super) presence: Presence,
    /// Offset of its clock from the world's, in microseconds.
    pub(super) clock: i64,
    /// The earliest wake-up that is scheduled.
    pub(super) wake_at: Instant,
    /// When its session ends.
    pub(super) leave_at: Instant,
    /// When its outage, sleep or absence ends.
    pub(super) return_at: Instant,
    /// When its last outage or sleep began.
    pub(super) asleep_since: Instant,
    /// Whether its events are recorded.
    pub(super) is_watched: bool,
}

impl Host {
    pub(super) const fn new(occupant: Occupant, link: Link, profile: Option<Arc<Profile>>) -> Self {
        Self {
            occupant,
            link,
            profile,
            presence: Presence::Up,
            clock: 0,
            wake_at: Instant::NEVER,
            leave_at: Instant::NEVER,
            return_at: Instant::NEVER,
            asleep_since: Instant::NEVER,
            is_watched: false,
        }
    }

    /// Converts a time of the world to one of the host's clock.
    pub(super) const fn local(&self, now: Instant) -> Instant {
        Instant::from_micros(now.as_micros().saturating_add_signed(self.clock))
    }

    /// Converts a time of the host's clock to one of the world.
    pub(super) const fn global(&self, local: Instant) -> Instant {
        Instant::from_micros(local.as_micros().saturating_add_signed(-self.clock))
    }
}

/// What a host runs.
pub(super) enum Occupant {
    Node(Box<dyn Hosted>),
    Actor(Box<dyn Actor>),
    /// The node has left.
    Vacant,
}

/// Creates what a host runs from a new node, a time of the host's clock, and its addresses inside of any NAT, by
/// family.
pub(super) type HostedFactory = Box<dyn FnMut(Node, Instant, [Option<SocketAddr>; 2]) -> Box<dyn Hosted>>;

/// The availability of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The host is connected.
    Up,
    /// The link is down, which the host cannot notice directly.
    Offline,
    /// The host is suspended: nothing arrives, and its clock stands still.
    Asleep,
    /// The host has left.
    Gone,
}
