//! A scenario of handles, encoded in bytes: these determine what callers ask their nodes, when they come for it, what
//! they drop, and what happens to the hosts meanwhile. In the end every call must have ended, and nothing is left of it.
//!
//! The fuzz target `handle` and an ordinary test share this file. A program that includes it needs `scenario` beside it,
//! in the root of its crate.
#![allow(dead_code, unreachable_pub, reason = "every user takes a part of it")]

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use dht_proto::crawl::CrawlOptions;
#[cfg(feature = "items")]
use dht_proto::items::{Item, Salt, SecretKey};
use dht_proto::net::{CallError, DhtHandle};
use dht_proto::sim::{HostId, Network, Presence, Profile, SimClock, World};
use dht_proto::{Announce, Family, Limits, Lookup, LookupOptions, NodeId};

use crate::scenario::script::{Script, infohash};

/// The most actions.
const MAX_ACTIONS: usize = 60;

/// The most calls that are held at a time.
const MAX_HELD: usize = 40;

/// The most virtual time in a scenario, to keep it short.
const MAX_TIME: Duration = Duration::from_secs(1800);

/// The longest time of any call that ends by itself.
const LONGEST: Duration = Duration::from_secs(900);

/// Runs the scenario in `bytes`.
///
/// # Panics
///
/// If a call never ends, or anything is left of it, which is a bug of this crate.
pub fn run(bytes: &[u8]) -> u64 {
    let mut script = Script(bytes);
    let mut scenario = Scenario::begin(&mut script);
    for _ in 0..MAX_ACTIONS {
        if script.is_over() {
            break;
        }
        let action = script.byte();
        scenario.act(action, &mut script);
    }
    scenario.end()
}

/// A call that is under way.
struct Held {
    host: HostId,
    /// Whether it ends by itself.
    ends: bool,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

struct Scenario {
    world: World,
    /// Hosts with nodes only, and hosts with handles.
    others: Vec<HostId>,
    hosts: Vec<HostId>,
    held: Vec<Held>,
    time: Duration,
    /// Held by all that a call leaves in a node.
    token: Arc<()>,
}

impl Scenario {
    fn begin(script: &mut Script<'_>) -> Self {
        let network = if script.flag() { Network::internet() } else { Network::perfect() };
        let mut world = World::new(script.byte().into(), network);
        let others = (0..5).map(|_| world.add(profile(3))).collect();
        let (size, token) = (script.byte(), Arc::new(()));
        let mut hosts: Vec<HostId> = (0..2).map(|at| world.add_dht(profile(size >> at & 3))).collect();
        let period = Duration::from_secs(1 + u64::from(script.byte()));
        hosts.push(world.add_task(profile(2), move |dht, clock| visitor(dht, clock, period)));
        let time = Duration::ZERO;
        let mut scenario = Self { world, others, hosts, held: Vec::new(), time, token };
        scenario.pass(Duration::from_secs(u64::from(script.byte()) / 8));
        scenario
    }

    fn act(&mut self, action: u8, script: &mut Script<'_>) {
        match action % 32 {
            0 | 1 => self.pass(Duration::from_millis(script.u16().into())),
            2 => self.pass(Duration::from_secs(script.byte().into())),
            3..8 => self.poll(script),
            8..11 => {
                let at = usize::from(script.byte()) % self.held.len().max(1);
                if at < self.held.len() {
                    drop(self.held.swap_remove(at));
                }
            }
            11 => self.fail(script),
            12 => {
                let kind = script.byte() % 4;
                let mut network = if kind < 3 { Network::internet() } else { Network::perfect() };
                if kind < 2 {
                    (network.loss, network.corruption) = [(0.3, 0.0), (0.0, 0.2)][usize::from(kind)];
                }
                self.world.set_network(network);
            }
            _ => self.call(script),
        }
    }

    /// Awaits a call for a while.
    fn poll(&mut self, script: &mut Script<'_>) {
        let (at, limit) = (script.byte(), Duration::from_millis(u64::from(script.byte()) * 16));
        let at = usize::from(at) % self.held.len().max(1);
        if at < self.held.len() {
            let before = self.world.now();
            if self.world.block_on(&mut self.held[at].future, limit).is_some() {
                drop(self.held.swap_remove(at));
            }
            self.time += self.world.now() - before;
        }
    }

    /// Something happens to a host.
    fn fail(&mut self, script: &mut Script<'_>) {
        let at = script.below(self.hosts.len() + self.others.len());
        let host = *self.hosts.iter().chain(&self.others).nth(at).expect("it is below");
        let time = Duration::from_secs(script.byte().into());
        match script.byte() % 6 {
            0 => self.world.kill(host),
            1 => self.world.restart(host),
            2 if self.world.presence(host) == Presence::Up => self.world.sleep(host, time),
            3 if self.world.presence(host) == Presence::Up => self.world.cut(host, time),
            4 if self.world.presence(host) == Presence::Up => self.world.set_clock_ahead(host, time),
            _ => {}
        }
    }

    fn pass(&mut self, time: Duration) {
        let time = time.min(MAX_TIME.saturating_sub(self.time));
        self.time += time;
        self.world.run_for(time);
    }

    /// Makes a call, which is awaited later or never.
    fn call(&mut self, script: &mut Script<'_>) {
        let host = self.hosts[script.below(self.hosts.len())];
        let Some(dht) = self.world.dht(host).filter(|_| self.held.len() < MAX_HELD) else { return };
        let (kind, value, is_read) = (script.byte(), script.byte(), script.flag());
        let (addr, infohash) = (self.addr(value), infohash(value % 3));
        let announce = if value & 4 == 0 { Announce::port(value.into()) } else { Announce::implied(1) };
        let token = Arc::clone(&self.token);
        let mut ends = true;
        let lookup = |lookup| looked_up(lookup, is_read);
        let future: Pin<Box<dyn Future<Output = ()>>> = match kind % 40 {
            0..3 => lookup(dht.get_peers(infohash)),
            3 => lookup(dht.scrape(infohash)),
            4..6 => lookup(dht.announce(infohash, announce)),
            6 => lookup(dht.find_node(NodeId::from_bytes([value; 20]))),
            7 => lookup(dht.bootstrap()),
            8 | 9 => {
                let mut options = LookupOptions::default();
                match value % 4 {
                    0 => options.only = Some(addr),
                    1 => options.timeout = Duration::from_millis(value.into()),
                    2 => options.stall = Some(Duration::from_millis(value.into())),
                    _ => (options.alpha, options.k) = (value, value / 2),
                }
                lookup(dht.lookup(Lookup::GetPeers(infohash), options))
            }
            10 | 11 => ended(dht.ping(addr)),
            12 => ended(dht.sample_infohashes(addr, NodeId::ZERO)),
            13 => {
                let mut options = CrawlOptions::default();
                (options.nodes, options.remembered, options.untaken) = (50, 50, 3);
                let mut crawl = dht.crawl(options);
                ends = false;
                Box::pin(async move {
                    while crawl.recv().await.is_ok() {
                        let _ = crawl.report();
                    }
                })
            }
            14 => ended(dht.add_node(addr)),
            15 | 16 => ended(dht.with(move |node, now| {
                drop(token);
                (node.lookup_count(), now)
            })),
            17 => {
                ends = false;
                ended(dht.ready())
            }
            18 => ended(dht.set_enabled(value & 3 != 0)),
            19 => ended(dht.set_read_only(value & 3 == 0)),
            20 => ended(dht.rebind((value & 1 != 0).then_some(addr))),
            21 => ended(dht.external_addr(Family::V4)),
            22 => ended(dht.id(Family::V4)),
            23 => ended(dht.nodes(Family::V4)),
            24 => ended(dht.save_state()),
            25 => ended(dht.clear_state()),
            26 => ended(dht.store_peer(infohash, addr, is_read)),
            27 => ended(dht.stored_peers(infohash)),
            28 => ended(dht.metrics()),
            29..31 => {
                let mut announcement = dht.start_announcing(infohash, announce);
                ends = false;
                Box::pin(async move { while announcement.recv().await.is_ok() {} })
            }
            31 => {
                let mut events = dht.subscribe();
                ends = false;
                Box::pin(async move { while events.recv().await.is_ok() {} })
            }
            32 => {
                let _ = (dht.is_ready(Family::V4), dht.is_enabled(), dht.local_addr(Family::V4));
                let _ = (dht.loop_stats(), dht.last_send_error());
                ended(dht.stats())
            }
            #[cfg(feature = "items")]
            kind => {
                let secret = SecretKey::from_bytes(&[1 + value % 2; 32]);
                let value = Item::string(&[value; 7]).expect("it is short");
                match kind {
                    33 => looked_up_item(dht.get_immutable(value.target()), is_read),
                    34 => looked_up_item(dht.get_mutable(secret.public(), Salt::NONE), is_read),
                    35 => lookup(dht.put(&value, None)),
                    36 => lookup(dht.put_mutable(&secret, Salt::NONE, value.value())),
                    37 => {
                        let mut publication = dht.start_publishing(&value);
                        ends = false;
                        Box::pin(async move { while publication.recv().await.is_ok() {} })
                    }
                    38 => ended(dht.store_item(&value, addr)),
                    _ => ended(dht.stored_item(value.target())),
                }
            }
            #[cfg(not(feature = "items"))]
            _ => ended(dht.stats()),
        };
        self.held.push(Held { host, ends, future });
    }

    /// A host of the world, or one that does not exist.
    fn addr(&self, value: u8) -> SocketAddr {
        let all: Vec<HostId> = self.world.hosts().collect();
        match all.get(usize::from(value) % (all.len() + 2)) {
            Some(host) => self.world.addr(*host),
            None => SocketAddr::from(([60, value, 7, 1], value.into())),
        }
    }

    /// Checks that what ends does, and that nothing is left.
    fn end(mut self) -> u64 {
        self.world.set_network(Network::perfect());
        for mut held in std::mem::take(&mut self.held) {
            if held.ends {
                let ended = self.world.block_on(&mut held.future, LONGEST);
                assert!(ended.is_some(), "a call at {} never ends", self.world.addr(held.host));
            } else if self.world.presence(held.host) == Presence::Gone {
                let ended = self.world.block_on(&mut held.future, Duration::ZERO);
                assert!(ended.is_some(), "a call at {}, which is gone", self.world.addr(held.host));
            }
        }
        self.world.run_for(Duration::from_secs(300));
        self.world.check().unwrap();
        for host in self.hosts.clone().into_iter().take(2) {
            let Some(dht) = self.world.dht(host) else { continue };
            let counts = dht.with(|node, _| node.publication_count());
            assert_eq!(self.world.block_on(counts, LONGEST), Some(Ok(0)), "publications are left");
            let is_idle = |world: &World| {
                world.node(host).is_none_or(|node| node.lookup_count() == 0 && node.query_count() == 0)
            };
            assert!(self.world.run_until(is_idle, LONGEST), "lookups are left");
            // Whoever comes later is told.
            self.world.kill(host);
            assert_eq!(self.world.block_on(dht.stats(), Duration::ZERO), Some(Err(CallError::Closed)));
        }
        let transcript = self.world.transcript();
        drop(self.world);
        assert_eq!(Arc::strong_count(&self.token), 1, "what a call was given is left");
        transcript
    }
}

/// Looks for peers all the time, and leaves half of the lookups before they end.
async fn visitor(dht: DhtHandle, clock: SimClock, period: Duration) {
    let mut count = 0;
    let _ = clock.timeout(period, dht.ready()).await;
    loop {
        count += 1;
        clock.sleep(period).await;
        let mut lookup = dht.get_peers(infohash(count % 3));
        let limit = if count.is_multiple_of(2) { Duration::from_millis(40) } else { Duration::from_secs(60) };
        while let Some(Ok(Some(_))) = clock.timeout(limit, lookup.recv()).await {}
        let announcement = dht.start_announcing(infohash(count % 3), Announce::port(1));
        clock.sleep(period).await;
        drop(announcement);
    }
}

/// Awaits a lookup: what it finds, or only how it went.
fn looked_up(mut lookup: dht_proto::net::LookupHandle, is_read: bool) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        if is_read {
            while let Ok(Some(_)) = lookup.recv().await {}
            assert!(lookup.outcome().is_some());
        } else {
            drop(lookup.await);
        }
    })
}

#[cfg(feature = "items")]
fn looked_up_item(
    mut lookup: dht_proto::net::LookupHandle<Item>,
    is_read: bool,
) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        if is_read {
            while let Ok(Some(_)) = lookup.recv().await {}
            assert!(lookup.outcome().is_some());
        } else {
            drop(lookup.await);
        }
    })
}

fn ended<T: 'static>(call: dht_proto::net::Call<T>) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move { drop(call.await) })
}

fn profile(size: u8) -> Profile {
    let scale = [4, 2, 4, 8][usize::from(size)];
    let mut profile = Profile::default();
    let mut limits = Limits::default();
    (limits.nodes_v4, limits.nodes_v6, limits.replacements) = (16 * scale, 0, 4 * scale);
    (limits.inflight, limits.traversals) = (4 * scale, scale);
    (limits.candidates_per_lookup, limits.tokens_per_lookup, limits.peers_per_lookup) = (16, 8, 4 * scale);
    (limits.swarms, limits.peers_v4, limits.peers_v6) = (scale, 4 * scale, 0);
    (limits.sources, limits.reputations) = (12, 8);
    (limits.replies, limits.events, limits.bootstraps) = (8, 4 * scale, 3);
    (limits.publications, limits.samples, limits.scrapes, limits.samplings) =
        (scale, 9, 1, scale.div_ceil(2));
    #[cfg(feature = "items")]
    {
        (limits.items.stored, limits.items.chunks) = (scale, 4 * scale);
        (limits.items.own, limits.items.own_chunks) = (scale, 9 * scale);
    }
    profile.limits = limits;
    profile
}
