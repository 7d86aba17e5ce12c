//! The laboratory itself: what its worlds do to nodes, and that they do it the same way twice.

use std::time::Duration;

use dht_proto::sim::{Growth, Network, Profile, World, roomy_limits};
use dht_proto::{Announce, InfoHash, Lookup};
use std::sync::Arc;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn small() {
    let mut world = World::new(1, Network::internet());
    let mut profile = Profile::default();
    profile.limits = roomy_limits();
    let profile = Arc::new(profile);
    let hosts = world.grow(300, &Growth::default(), |_, _| Arc::clone(&profile));
    world.run_for(secs(60));
    world.check().unwrap();
    let infohash = InfoHash::from_bytes([7; 20]);
    let announce = world.lookup(hosts[10], Lookup::Announce(infohash, Announce::port(999)));
    println!("{announce:?}");
    let search = world.lookup(hosts[200], Lookup::GetPeers(infohash));
    println!("{search:?}");
    println!("{:?}", world.counters());
}
