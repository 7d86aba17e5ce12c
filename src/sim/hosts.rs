//! Hosts: what they run, where they are, and whether they are there at all.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

use super::actors::Actor;
use super::transport::{Link, Nat};
use crate::config::{Config, Limits};
use crate::node::Node;
use crate::time::Instant;

/// A host of a world; they are numbered in the order in which they came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub(super) u32);

impl HostId {
    /// How many hosts came before it.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostId({})", self.0)
    }
}

/// What a host with a node is like. Many hosts may share one.
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
    /// How its node behaves. The default is that of [`Config`], in IPv4 only, and with an id at random
    /// that stays ([`Config::secure_ids`] is off): the addresses of a world are too much alike for
    /// ids that follow from them to be spread evenly over a large one.
    pub config: Config,
    /// With [`Config::secure_ids`] on: it has never been there, so its id is drawn at random and does
    /// not fit its address yet, which it has to learn. Default: no; it starts with one that fits.
    pub is_new: bool,
    /// How much its node holds. Default: [`roomy_limits`].
    pub limits: Limits,
    /// The address translator before it, for IPv4. Default: none.
    pub nat: Option<Nat>,
    /// How it comes and goes. Default: it stays for ever.
    pub churn: Option<Churn>,
    /// How many hosts it knows when it joins, as bootstrap hosts: 0..=[`Limits::bootstraps`].
    /// Default: 3. They are drawn from the nodes that are there and not behind a translator.
    pub bootstraps: usize,
}

impl Default for Profile {
    fn default() -> Self {
        let config = Config { ipv6: false, secure_ids: false, ..Config::default() };
        Self { config, is_new: false, limits: roomy_limits(), nat: None, churn: None, bootstraps: 3 }
    }
}

impl Profile {
    /// One of so many: [`limits`] for as many, and lookups that end once the two closest nodes have
    /// answered. Such a node keeps its table and answers as any other does, at half of the messages.
    pub fn of_world(nodes: usize) -> Self {
        let mut profile = Self { limits: limits(nodes), ..Self::default() };
        (profile.config.lookup.alpha, profile.config.lookup.k) = (2, 2);
        profile
    }
}

/// How a host comes and goes: exponentially distributed times, so that the past tells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Churn {
    /// Half of the sessions are shorter than this.
    pub session: Duration,
    /// Half of the absences are shorter than this.
    pub absence: Duration,
    /// As whom it comes back.
    pub returns: Returns,
}

/// As whom a host comes back. Its node has forgotten everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// It stays away.
    Never,
    /// With its id and its address.
    Same,
    /// With another id at another address.
    Renewed,
}

/// The least with which nodes make a working DHT of about so many: 13 KB for each of a hundred
/// thousand, 15 KB for each of a million, all of the world included. A node has room for one lookup at
/// a time, those of its upkeep included; nodes under test need more.
pub fn limits(world: usize) -> Limits {
    // As many buckets as it takes until the last one holds the nearest neighbours and no others.
    let depth = (world.max(1).ilog2() as usize).saturating_sub(3).clamp(4, 24);
    Limits {
        nodes_v4: 8 * depth,
        replacements: depth,
        inflight: 4,
        candidates: 8,
        tokens: 8,
        found: 4,
        swarms: 2,
        peers_v4: 4,
        sources: 4,
        contacts: 8,
        events: 2,
        bootstraps: 3,
        kept: 0,
        voters: 16,
        ..Limits::CLIENT
    }
}

/// Limits for nodes by the hundred, which leave nothing to be desired: 400 KB for each.
pub fn roomy_limits() -> Limits {
    Limits {
        swarms: 64,
        peers_v4: 1024,
        peers_v6: 256,
        lookups: 16,
        sources: 256,
        contacts: 512,
        nodes_v6: 64,
        events: 256,
        kept: 64,
        #[cfg(feature = "items")]
        items: 64,
        #[cfg(feature = "items")]
        item_chunks: 512,
        #[cfg(feature = "items")]
        own_items: 32,
        #[cfg(feature = "items")]
        own_chunks: 256,
        ..Limits::default()
    }
}

pub(super) struct Host {
    pub(super) occupant: Occupant,
    pub(super) link: Link,
    pub(super) profile: Option<Arc<Profile>>,
    pub(super) presence: Presence,
    /// How far its clock is ahead of the world's, in microseconds.
    pub(super) clock: i64,
    /// The earliest wake-up that waits in the queue.
    pub(super) wake_at: Instant,
    /// When its session ends.
    pub(super) leave_at: Instant,
    /// When its outage, sleep or absence ends.
    pub(super) return_at: Instant,
    /// When its last outage or sleep began.
    pub(super) asleep_since: Instant,
    /// Its events are kept.
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

    /// What its own clock shows.
    pub(super) const fn local(&self, now: Instant) -> Instant {
        Instant::from_micros(now.as_micros().saturating_add_signed(self.clock))
    }

    /// When the world's clock shows what its own shows at `local`.
    pub(super) const fn global(&self, local: Instant) -> Instant {
        Instant::from_micros(local.as_micros().saturating_add_signed(-self.clock))
    }
}

/// What a host runs.
pub(super) enum Occupant {
    Node(Box<Node>),
    Actor(Box<dyn Actor>),
    /// Its node is gone.
    Vacant,
}

/// Whether a host is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It takes part.
    Up,
    /// Its link is down; it does not know.
    Offline,
    /// It is suspended: nothing arrives, and its clock stands still.
    Asleep,
    /// It has left.
    Gone,
}
