//! A Sybil attack on a torrent: attackers next to an infohash try to hide its peers.
//!
//! Honest hosts, each in a /24 of its own, have tables as Kademlia fills them: eight of the others
//! in each bucket, and every attacker. The eight honest hosts closest to the infohash store a peer.
//! The attackers are closer than any honest host, so every honest response for the infohash lists
//! eight of them. A node with a table of honest hosts then looks for the peer and announces itself.
//!
//! The bench `attacks` prints the figures over many seeds.
//!
//! ```
//! use dht_proto::sim::sybil::SybilAttack;
//!
//! let outcome = SybilAttack { honest: 300, ..SybilAttack::default() }.run(1);
//! assert!(outcome.found && outcome.honest_announces >= 8);
//! ```

use alloc::collections::BTreeSet;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

use super::actors::{Contact, Honest, Sybil, SybilStrategy, near};
use super::hosts::{HostId, Profile};
use super::rng::SimRng;
use super::transport::{Direction, Network};
use super::world::World;
use crate::base::id::{InfoHash, K, NodeId};
use crate::lookup::{Announce, Lookup};
use crate::node::api::config::Config;
use crate::node::api::limits::Limits;

/// Settings of the attack; [`run`](Self::run) carries it out.
#[derive(Clone, Debug)]
pub struct SybilAttack {
    /// Number of honest hosts, each in a /24 of its own. Default: 3000.
    pub honest: usize,
    /// Number of attackers next to the infohash. Default: none.
    pub attackers: usize,
    /// Which nodes the attackers list. Default: each other.
    pub strategy: SybilStrategy,
    /// Whether all attackers are in one /24. Default: each in a /24 of its own.
    pub is_one_subnet: bool,
    /// Makes the attackers avoid detection. Default: `None`, all are next to the infohash.
    ///
    /// Their number, and their distance from the infohash, are such that the eight closest of all hosts are
    /// within a distance where this many honest hosts are expected. By chance eight are within 7.7 or
    /// less in half of all cases, within 2.9 in one of a hundred.
    pub cautious: Option<f64>,
    /// Network between the hosts. Default: [`Network::perfect`], round trips of 80 ms.
    pub network: Network,
    /// Configuration of the client. Default: IPv4 only.
    ///
    /// With [`Config::enforce_secure_ids`](field@Config::enforce_secure_ids) all hosts have ids that fit their
    /// addresses (BEP 42), and the attackers choose their addresses accordingly.
    pub config: Config,
}

impl Default for SybilAttack {
    fn default() -> Self {
        Self {
            honest: 3000,
            attackers: 0,
            strategy: SybilStrategy::Mutual,
            is_one_subnet: false,
            cautious: None,
            network: Network::perfect(),
            config: Config { ipv6: false, ..Config::default() },
        }
    }
}

/// The result of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Whether the lookup found the peer.
    pub found: bool,
    /// Number of honest hosts that store the announce.
    pub honest_announces: usize,
    /// Datagrams that the client sent for the lookup and the announce.
    pub datagrams: usize,
    /// Datagrams sent to the address of [the victim](SybilStrategy::Victim), and to its /24.
    pub to_victim: [usize; 2],
}

/// The victim that attackers list.
const VICTIM: Ipv4Addr = Ipv4Addr::new(150, 7, 7, 7);

/// Least number of bits that attackers share with the infohash.
///
/// No honest host of some thousands is as close, and BEP 42 leaves its owner no more choice of an id.
const CLOSENESS: u32 = 20;

/// Longer than a lookup and an announce take, repetitions included.
const TIME_LIMIT: Duration = Duration::from_secs(120);

impl SybilAttack {
    /// A strategy that lists a victim: many ports of one address, or many addresses of its /24.
    pub fn victim(is_subnet: bool) -> SybilStrategy {
        SybilStrategy::Victim { ip: VICTIM, is_subnet }
    }

    /// Builds the hosts, fills the client's table, looks up the peer and announces.
    ///
    /// # Panics
    ///
    /// If the lookup or the announce does not end within two minutes.
    pub fn run(&self, seed: u64) -> Outcome {
        let mut stage = self.build(seed);
        let (world, client) = (&mut stage.world, stage.client);
        world.capture(client);
        let search = world.lookup(client, Lookup::GetPeers(stage.infohash));
        let found = search.peers.iter().any(|(_, peer)| *peer == stage.peer);
        let announce = world.start(client, Lookup::Announce(stage.infohash, Announce::port(999)));
        let announce = announce.expect("it starts");
        assert!(world.settle(TIME_LIMIT), "the announce ends");
        world.take_record(announce);
        world.run_for(Duration::from_secs(30));
        let holds = |host: &&HostId| world.actor::<Honest>(**host).is_some_and(|it| !it.stored.is_empty());
        let honest_announces = stage.honest.iter().filter(holds).count();
        let sent = || world.captured(client).iter().filter(|it| it.direction == Direction::Sent);
        let v4 = |addr: SocketAddr| if let IpAddr::V4(ip) = addr.ip() { ip.to_bits() } else { 0 };
        let within = |mask: u32| sent().filter(|it| (v4(it.remote) ^ VICTIM.to_bits()) & mask == 0).count();
        Outcome { found, honest_announces, datagrams: sent().count(), to_victim: [within(!0), within(!0xff)] }
    }

    /// Builds the hosts and fills the client's table, without a lookup.
    pub fn build(&self, seed: u64) -> Stage {
        let mut rng = SimRng::new(seed);
        let mut world = World::new(rng.bits(), self.network.clone());
        let infohash = InfoHash::from(rng.id());
        let target = NodeId::from(infohash);
        let is_secure = self.config.enforce_secure_ids;

        let mut subnets = BTreeSet::from([subnet_of(VICTIM)]);
        let mut honest: Vec<Contact> = (0..self.honest)
            .map(|_| {
                let ip = fresh_address(&mut rng, &mut subnets);
                let id = rng.id();
                let id = if is_secure { NodeId::secure_for(ip.into(), *id.as_bytes()) } else { id };
                (id, SocketAddr::new(ip.into(), 6881))
            })
            .collect();
        honest.sort_by_key(|(id, _)| *id);
        let base = fresh_address(&mut rng, &mut subnets);
        let head = |id: &NodeId| id.distance(&target).head();
        let cautious = self.cautious.map(|reach| {
            // In units of the first 64 bits of the distance.
            let edge = (reach / self.honest as f64 * (1_u128 << 64) as f64) as u64;
            (edge, K.saturating_sub(honest.iter().filter(|(id, _)| head(id) < edge).count()))
        });
        let attackers: Rc<[Contact]> = (0..cautious.map_or(self.attackers, |(_, count)| count))
            .map(|at| {
                let in_one = || Ipv4Addr::from_bits(subnet_of(base) << 8 | (1 + at as u32 % 254));
                let (id, ip) = if let Some((edge, _)) = cautious {
                    // One at the edge, the others anywhere within.
                    let head = if at == 0 { edge } else { (edge as f64 * rng.unit()) as u64 };
                    (at_distance(target, head), fresh_address(&mut rng, &mut subnets))
                } else if is_secure {
                    secure_neighbour(&mut rng, target, &mut subnets)
                } else if self.is_one_subnet {
                    (near(target, rng.id(), CLOSENESS + rng.below(8) as u32), in_one())
                } else {
                    let ip = fresh_address(&mut rng, &mut subnets);
                    (near(target, rng.id(), CLOSENESS + rng.below(8) as u32), ip)
                };
                (id, SocketAddr::new(ip.into(), 6881 + (at / 254) as u16))
            })
            .collect();

        let mut order: Vec<usize> = (0..honest.len()).collect();
        order.sort_by_key(|&at| honest[at].0.distance(&target));
        order.truncate(K);
        let peer = SocketAddr::new(fresh_address(&mut rng, &mut subnets).into(), 999);
        let hosts: Vec<HostId> = (0..honest.len())
            .map(|at| {
                let mut contacts = table_of(&honest, at, &mut rng);
                contacts.extend(attackers.iter());
                let mut actor = Honest::new(honest[at].0, contacts);
                if order.contains(&at) {
                    actor.peers.push(peer);
                }
                world.add_actor_at(honest[at].1, actor)
            })
            .collect();
        if self.strategy != SybilStrategy::Silent {
            for &(id, addr) in attackers.iter() {
                let accomplices = Rc::clone(&attackers);
                world.add_actor_at(addr, Sybil { id, accomplices, strategy: self.strategy });
            }
        }

        let mut profile = Profile { config: self.config.clone(), ..Profile::default() };
        profile.limits = Limits::default();
        let client = world.add_alone(profile);
        // A table like that of a long-running node, with nodes from all over the network.
        for _ in 0..300.min(honest.len()) {
            let (_, addr) = honest[rng.below(honest.len())];
            let _ = world.with_node(client, |node, now| node.add_node(now, addr));
            world.run_for(Duration::from_millis(50));
        }
        world.run_for(Duration::from_secs(60));
        Stage { world, client, honest: hosts, infohash, peer }
    }
}

/// A [`SybilAttack`] that is prepared.
#[non_exhaustive]
pub struct Stage {
    /// The world.
    pub world: World,
    /// The node that looks up the peer.
    pub client: HostId,
    /// The honest hosts, all of them [`Honest`].
    pub honest: Vec<HostId>,
    /// The infohash to look up.
    pub infohash: InfoHash,
    /// The peer that the closest honest hosts store.
    pub peer: SocketAddr,
}

/// Eight others of each bucket, drawn from `honest`, which is sorted by id.
fn table_of(honest: &[Contact], at: usize, rng: &mut SimRng) -> Vec<Contact> {
    let own = honest[at].0;
    let mut table = Vec::new();
    let (mut start, mut end) = (0, honest.len());
    // Each step keeps the hosts that share one bit more.
    for bits in 0..160 {
        let run = &honest[start..end];
        if run.len() <= 1 {
            break;
        }
        let shares = |(id, _): &Contact| id.common_prefix_len(&own) > bits;
        let first = run.iter().position(shares).unwrap_or(run.len());
        let last = run.iter().rposition(shares).map_or(first, |last| last + 1);
        let bucket: Vec<Contact> = run[..first].iter().chain(&run[last..]).copied().collect();
        if bucket.len() <= K {
            table.extend(bucket);
        } else {
            let mut drawn = BTreeSet::new();
            while drawn.len() < K {
                drawn.insert(rng.below(bucket.len()));
            }
            table.extend(drawn.into_iter().map(|at| bucket[at]));
        }
        (start, end) = (start + first, start + last);
    }
    table
}

/// The id at the distance with these first 64 bits.
fn at_distance(target: NodeId, head: u64) -> NodeId {
    let mut bytes = *target.as_bytes();
    bytes.iter_mut().zip(head.to_be_bytes()).for_each(|(byte, of)| *byte ^= of);
    NodeId::from_bytes(bytes)
}

/// Draws an address in an unused /24.
fn fresh_address(rng: &mut SimRng, subnets: &mut BTreeSet<u32>) -> Ipv4Addr {
    loop {
        let ip = public_address(rng);
        if subnets.insert(subnet_of(ip)) {
            return ip;
        }
    }
}

fn public_address(rng: &mut SimRng) -> Ipv4Addr {
    // No reserved range starts with these bytes.
    let first = 20 + rng.below(70) as u8;
    let [b, c, d, ..] = rng.bits().to_le_bytes();
    Ipv4Addr::new(first, b, c, 1 + d % 254)
}

const fn subnet_of(ip: Ipv4Addr) -> u32 {
    ip.to_bits() >> 8
}

/// Draws an address whose id under BEP 42 can be next to the target, and that id.
///
/// An attacker has enough addresses to choose from.
fn secure_neighbour(rng: &mut SimRng, target: NodeId, subnets: &mut BTreeSet<u32>) -> (NodeId, Ipv4Addr) {
    loop {
        let ip = public_address(rng);
        // Bits that BEP 42 leaves free are those of the target.
        let filler = near(target, rng.id(), 60);
        let id = NodeId::secure_for(ip.into(), *filler.as_bytes());
        if id.common_prefix_len(&target) >= 15 && subnets.insert(subnet_of(ip)) {
            return (id, ip);
        }
    }
}
