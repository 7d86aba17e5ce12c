//! Figures of a large world in virtual time: memory of a node, speed, time to join, lookups.
//!
//! A million nodes take 15 GB.
//!
//! ```text
//! cargo run --release --features sim --example big_world -- [NODES [SEED]]
//! ```

#[path = "common/memory.rs"]
mod memory;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dht_proto::sim::{Growth, Network, Profile, Quantiles, World};
use dht_proto::{Announce, Family, InfoHash, Lookup};
use memory::memory;

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse().expect("a number"));
    let nodes = args.next().unwrap_or(10_000);
    let seed = args.next().unwrap_or(1);

    let before = memory("VmRSS");
    let mut world = World::new(seed, Network::internet());
    // Most have the smallest limits; up to a hundred are large enough for lookups.
    let (small, large) = (Arc::new(Profile::of_world(nodes as usize)), Arc::new(Profile::default()));
    let is_large = |index: usize| index.is_multiple_of(500) && index < 50_000;
    let (start, begun) = (Instant::now(), world.now());
    let mut hosts = Vec::new();
    while hosts.len() < nodes as usize {
        let more = (nodes as usize - hosts.len()).min(hosts.len().max(1000));
        let first = hosts.len();
        hosts.extend(world.grow(more, &Growth::default(), |index, _| {
            Arc::clone(if is_large(first + index) { &large } else { &small })
        }));
        report(&world, hosts.len(), start, before);
    }
    world.run_for(Duration::from_secs(300));
    report(&world, hosts.len(), start, before);
    println!(
        "all are known after {:.0?} of virtual time, in {:.1?}; {:.1} datagrams sent by each",
        world.now() - begun,
        start.elapsed(),
        world.counters().sent as f64 / hosts.len() as f64,
    );
    let known: usize = world.nodes().map(|(_, node)| node.node_count(Family::V4)).sum();
    println!("{:.1} nodes in each table", known as f64 / hosts.len() as f64);

    let (events, quiet) = (world.counters().events, Instant::now());
    let seekers: Vec<_> = hosts.iter().copied().filter(|host| is_large(host.index())).collect();
    let lookups = 200;
    let (mut firsts, mut stores, mut queries) = (Vec::new(), Vec::new(), 0);
    for _ in 0..lookups {
        let infohash = InfoHash::from_bytes(*world.rng().id().as_bytes());
        let [announcer, seeker] = [(); 2].map(|()| seekers[world.rng().below(seekers.len())]);
        let announce = world.lookup(announcer, Lookup::Announce(infohash, Announce::port(1)));
        stores.push(announce.stored_at(8));
        let record = world.lookup(seeker, Lookup::GetPeers(infohash));
        firsts.push(record.first_peer());
        queries += record.report().map_or(0, |report| report.queried);
    }
    let [firsts, stores] = [firsts, stores].map(Quantiles::of);
    println!(
        "{} of {lookups} lookups found the peer: the first after {:.0?} (median), {:.1} queries each; \
         {} announces were stored by 8 nodes, after {:.0?} (median)",
        firsts.values().len(),
        firsts.quantile(0.5),
        f64::from(queries) / f64::from(lookups),
        stores.values().len(),
        stores.quantile(0.5),
    );
    let rate = (world.counters().events - events) as f64 / quiet.elapsed().as_secs_f64();
    println!("{rate:.0} events a second; {:?}", world.counters());
    let peak = memory("VmHWM");
    println!("{:.2} GB at most, {:.0} bytes for each node", peak as f64 / 1e9, peak as f64 / nodes as f64);
    println!("transcript {:016x}", world.transcript());
}

fn report(world: &World, nodes: usize, start: Instant, before: u64) {
    let counters = world.counters();
    println!(
        "{nodes:>8} nodes at {:>4.0?}: {:>6.0} bytes each, {:>8.0} events a second, {:>6} datagrams in flight, {:.1?}",
        world.now() - dht_proto::Instant::ZERO,
        (memory("VmRSS") - before) as f64 / nodes as f64,
        counters.events as f64 / start.elapsed().as_secs_f64(),
        world.datagrams_in_flight(),
        start.elapsed(),
    );
}
