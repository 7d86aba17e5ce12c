//! A simulated network, and all lookups of one algorithm in it.

use std::sync::Arc;
use std::time::Duration;

use dht_proto::sim::reference::{self, Client};
use dht_proto::sim::{
    Captured, Churn, Growth, HostId, Latency, Nat, NatKind, Network, Profile, RecordId, Returns, SimRng,
    Trail, World,
};
use dht_proto::{Announce, InfoHash, Instant, Lookup};

use super::options::SimOptions;
use crate::output::Gauge;

/// The number of nodes that store an announce.
const K: usize = 8;

/// The port that is announced; nobody connects to it.
const PORT: u16 = 6881;

/// The number of peers of each torrent: as many clients announce it, and as many look it up.
pub(super) const PEERS: usize = 5;

/// The time that the last nodes have to join.
const SETTLING: Duration = Duration::from_secs(60);

/// The time between two announces, on average.
const PACE: Duration = Duration::from_millis(500);

/// The time from the start of an announce to the start of its lookup: most of the slowest have ended by then.
const PAUSE: Duration = Duration::from_secs(180);

/// The longest time of a lookup or an announce; one that takes longer has failed.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// The time in which the datagrams that are still in flight arrive.
const TAIL: Duration = Duration::from_secs(5);

/// The longest time of churn before the measurement, which makes the routing tables realistic.
const MAX_WARM_UP: Duration = Duration::from_secs(30 * 60);

/// The median time until a node that has left is replaced.
const ABSENCE: Duration = Duration::from_secs(60);

/// The measurements of one algorithm.
pub(super) struct Run {
    pub(super) name: &'static str,
    pub(super) conditions: Conditions,
    pub(super) announces: Vec<Outcome>,
    pub(super) lookups: Vec<Outcome>,
}

/// The network before the first announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conditions {
    pub(super) dead: usize,
    pub(super) behind_nat: usize,
    /// The virtual time until all nodes had joined.
    pub(super) joined: Duration,
    /// A hash over every datagram so far.
    pub(super) transcript: u64,
}

/// The measurements of one announce or lookup. Times count from its start.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) first_peer: Option<Duration>,
    /// When all peers of the torrent were found.
    pub(super) all_peers: Option<Duration>,
    /// When eight nodes had stored the announce.
    pub(super) stands_at_8: Option<Duration>,
    pub(super) acknowledged_at_8: Option<Duration>,
    /// When the algorithm ended.
    pub(super) done: Option<Duration>,
    pub(super) queries: u64,
    /// The hops to the node that returned the first peer.
    pub(super) hops: Option<u32>,
}

impl Run {
    /// Whether anything was found or acknowledged.
    pub(super) fn has_found(&self) -> bool {
        let is_result = |it: &Outcome| it.first_peer.is_some() || it.acknowledged_at_8.is_some();
        self.announces.iter().chain(&self.lookups).any(is_result)
    }
}

/// The work of a run, in the unit of the gauge.
pub(super) fn work(options: &SimOptions) -> u64 {
    u64::from(options.nodes) + 4 * u64::from(options.lookups)
}

/// Builds the network and measures an algorithm in it: by default that of this crate.
pub(super) fn run(options: &SimOptions, algorithm: Option<Client>, gauge: &Gauge) -> Run {
    let (mut world, clients, conditions) = build(options, gauge);
    let name = algorithm.map_or("this crate", Client::name);
    let plan = plan(options, &clients);
    let begun = world.now();
    let mut running = Vec::with_capacity(plan.len());
    for task in &plan {
        world.run_for((begun + task.at) - world.now());
        running.push(start(&mut world, task, algorithm));
        gauge.add(1);
    }
    let end = world.now() + TIME_LIMIT;
    while world.now() < end && running.iter().any(|it| it.done(&world).is_none()) {
        world.run_for(Duration::from_secs(1));
    }
    world.run_for(TAIL);
    let of = |announces: bool| {
        let both = plan.iter().zip(&running).filter(|(task, _)| task.announces == announces);
        both.map(|(task, it)| it.measure(&world, task)).collect()
    };
    Run { name, conditions, announces: of(true), lookups: of(false) }
}

/// Builds a network: all nodes join, then as many clients as are needed, and then some nodes leave. Each
/// client announces or looks up once, so that none benefits from an earlier lookup. Clients answer no
/// queries, so that no routing table has them and they change nothing for the others.
fn build(options: &SimOptions, gauge: &Gauge) -> (World, Vec<HostId>, Conditions) {
    let mut network = Network::internet();
    network.latency = Latency::LogNormal { median: options.rtt_median, sigma: 0.6 };
    network.loss = options.loss;
    let mut world = World::new(options.seed, network);
    let begun = world.now();

    let (profiles, mut behind_nat) = (Profiles::new(options), 0);
    let mut nodes = grow(&mut world, options.nodes as usize, gauge, |index, rng| {
        // Others join through the first nodes, so these must be reachable.
        let nat = if index < Growth::default().initial_nodes { 0.0 } else { options.nat };
        let profile = profiles.draw(nat, rng);
        behind_nat += usize::from(profile.nat.is_some());
        profile
    });
    let joined = world.now() - begun;
    if let Some(session) = options.churn {
        let churn = Churn { session, absence: ABSENCE, returns: Returns::Renewed };
        nodes.iter().for_each(|node| world.set_churn(*node, Some(churn)));
        world.run_for(session.min(MAX_WARM_UP));
    }
    let clients = grow(&mut world, 2 * options.lookups as usize, gauge, |_, _| &profiles.client);
    let dead = (options.dead * nodes.len() as f64).round() as usize;
    for at in 0..dead {
        let drawn = at + world.rng().below(nodes.len() - at);
        nodes.swap(at, drawn);
        world.kill(nodes[at]);
    }
    let transcript = world.transcript();
    (world, clients, Conditions { dead, behind_nat, joined, transcript })
}

/// Adds hosts in portions, with progress on the gauge, and lets them settle.
fn grow<'a>(
    world: &mut World,
    count: usize,
    gauge: &Gauge,
    mut profile: impl FnMut(usize, &mut SimRng) -> &'a Arc<Profile>,
) -> Vec<HostId> {
    let mut hosts = Vec::with_capacity(count);
    while hosts.len() < count {
        let first = hosts.len();
        let more = (count - first).min(count / 50 + 1);
        let portion =
            world.grow(more, &Growth::default(), |index, rng| Arc::clone(profile(first + index, rng)));
        hosts.extend(portion);
        gauge.add(more as u64);
    }
    world.run_for(SETTLING);
    hosts
}

/// The profiles of the hosts.
struct Profiles {
    client: Arc<Profile>,
    open: Arc<Profile>,
    full_cone: Arc<Profile>,
    port_restricted: Arc<Profile>,
    symmetric: Arc<Profile>,
}

impl Profiles {
    fn new(options: &SimOptions) -> Self {
        let nodes = options.nodes as usize;
        let mut open = Profile::of_world(nodes);
        // Room for four times as much as the average node has to store, so that nothing is evicted.
        let torrents = (options.lookups as usize).div_ceil(PEERS);
        open.limits.swarms = 8 + 4 * (torrents * K).div_ceil(nodes);
        open.limits.peers_v4 = 8 * open.limits.swarms;
        let behind = |kind| {
            let mut profile = open.clone();
            profile.nat = Some(Nat::new(kind));
            Arc::new(profile)
        };
        Self {
            client: Arc::new(client()),
            full_cone: behind(NatKind::FullCone),
            port_restricted: behind(NatKind::PortRestricted),
            symmetric: behind(NatKind::Symmetric),
            open: Arc::new(open),
        }
    }

    fn draw(&self, nat: f64, rng: &mut SimRng) -> &Arc<Profile> {
        if !rng.chance(nat) {
            return &self.open;
        }
        match rng.below(10) {
            0..4 => &self.full_cone,
            4..8 => &self.port_restricted,
            _ => &self.symmetric,
        }
    }
}

/// The profile of a read-only node, which stores nothing. Its routing table is as large as that of a node.
fn client() -> Profile {
    let mut profile = Profile::default();
    profile.config.read_only = true;
    let limits = &mut profile.limits;
    (limits.nodes_v6, limits.swarms, limits.peers_v4, limits.peers_v6) = (0, 0, 0, 0);
    (limits.sources, limits.replies, limits.traversals) = (0, 1, 4);
    limits.peers_per_lookup = 64;
    profile
}

/// One announce or lookup.
struct Task {
    /// The start, counted from that of the first task.
    at: Duration,
    host: HostId,
    infohash: InfoHash,
    announces: bool,
    /// The number of peers that announce the torrent.
    peers: usize,
}

/// Plans all tasks in order of time, from the seed alone: they are the same for every algorithm.
fn plan(options: &SimOptions, clients: &[HostId]) -> Vec<Task> {
    let mut rng = SimRng::new(!options.seed);
    let count = options.lookups as usize;
    let (mut tasks, mut at, mut infohash) = (Vec::with_capacity(2 * count), Duration::ZERO, InfoHash::ZERO);
    for (pair, hosts) in clients.chunks_exact(2).enumerate() {
        if pair % PEERS == 0 {
            infohash = rng.id().into();
        }
        at += rng.up_to(2 * PACE);
        let peers = (count - (pair - pair % PEERS)).min(PEERS);
        tasks.push(Task { at, host: hosts[0], infohash, announces: true, peers });
        tasks.push(Task { at: at + PAUSE, host: hosts[1], infohash, announces: false, peers });
    }
    tasks.sort_by_key(|task| task.at);
    tasks
}

/// An announce or lookup that has started.
struct Running {
    started: Instant,
    /// The host whose datagrams are measured.
    host: HostId,
    /// Its record in the simulation.
    record: RecordId,
    is_ours: bool,
}

fn start(world: &mut World, task: &Task, algorithm: Option<Client>) -> Running {
    let Task { infohash, announces, .. } = *task;
    let lookup =
        if announces { Lookup::Announce(infohash, Announce::port(PORT)) } else { Lookup::GetPeers(infohash) };
    let started = world.now();
    let (host, record) = match algorithm {
        None => {
            world.capture(task.host);
            (task.host, world.start(task.host, lookup).expect("a client looks up one thing"))
        }
        // Another host takes the place of the client, with the same routing table.
        Some(client) => {
            let table = reference::table(world, task.host);
            world.kill(task.host);
            let host = reference::launch(world, client, table, infohash, announces);
            (host, world.track(host, lookup))
        }
    };
    Running { started, host, record, is_ours: algorithm.is_none() }
}

impl Running {
    fn done(&self, world: &World) -> Option<Duration> {
        if self.is_ours {
            world.record(self.record)?.done.map(|(done, _)| done)
        } else {
            reference::finished_at(world, self.host).map(|at| at - self.started)
        }
    }

    /// Measures by the datagrams, which every algorithm has.
    fn measure(&self, world: &World, task: &Task) -> Outcome {
        let done = self.done(world);
        let end = self.started + done.unwrap_or(TIME_LIMIT) + TAIL;
        let trail = Trail::of(between(world.captured(self.host), self.started, end), task.infohash);
        let since = |at: Instant| at - self.started;
        Outcome {
            first_peer: trail.peers.first().map(|it| since(it.at)),
            all_peers: trail.peers.get(task.peers - 1).map(|it| since(it.at)),
            stands_at_8: world.record(self.record).and_then(|record| record.stored_at(K)),
            acknowledged_at_8: trail.acknowledged.get(K - 1).map(|(at, _)| since(*at)),
            done,
            queries: trail.queries,
            hops: trail.peers.first().map(|it| it.hops),
        }
    }
}

fn between(captured: &[Captured], start: Instant, end: Instant) -> &[Captured] {
    let at = |time: Instant| captured.partition_point(|it| it.at < time);
    &captured[at(start)..at(end)]
}
