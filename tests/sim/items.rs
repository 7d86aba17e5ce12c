//! Stored items in worlds with packet loss and churn.

use std::sync::Arc;
use std::time::Duration;

use dht_proto::items::{Item, Salt, SecretKey};
use dht_proto::sim::{Churn, Growth, HostId, Network, Profile, Returns, SimRng, World};
use dht_proto::{Event, Limits, Lookup, PutError};

/// The median session, so that most nodes that stored an item are gone when
/// its lifetime of two hours is over.
const SESSION: Duration = Duration::from_secs(100 * 60);

const ABSENCE: Duration = Duration::from_secs(60);

/// The longest time of a lookup.
const PATIENCE: Duration = Duration::from_secs(60);

const NODES: usize = 150;

const ITEMS: u8 = 10;

const HOURS: u32 = 12;

const LOOKUPS_AN_HOUR: u32 = 60;

#[test]
fn b44_31_a_publication_stays_findable_under_churn() {
    let (mut world, seeder) = world();
    let items: Vec<Item> = (0..ITEMS).map(item).collect();
    for item in &items {
        world.with_node(seeder, |node, now| node.start_publishing(now, item)).unwrap();
    }
    world.run_for(Duration::from_secs(15 * 60));
    let mut missed = Vec::new();
    for lookup in 0..HOURS * LOOKUPS_AN_HOUR {
        world.run_for(Duration::from_secs(3600) / LOOKUPS_AN_HOUR);
        let index = world.rng().below(items.len());
        if !is_found(&mut world, &items[index]) {
            missed.push((lookup, index));
        }
    }
    world.check().unwrap();
    let most = (HOURS * LOOKUPS_AN_HOUR / 100) as usize;
    assert!(missed.len() <= most, "{} lookups found nothing, at most {most} may: {missed:?}", missed.len());

    // The opposite: an item that is not republished is gone with the nodes that stored it, or expires.
    for item in &items {
        let kept = world.with_node(seeder, |node, _| node.publications().next()).unwrap();
        assert!(world.with_node(seeder, |node, _| node.stop_publishing(kept.id)), "{:?}", item.target());
    }
    world.run_for(Duration::from_secs(130 * 60));
    assert!(items.iter().all(|item| !is_found(&mut world, item)));
}

#[test]
fn b44_17_a_stale_or_conflicting_put_reaches_no_node() {
    let mut world = World::new(11, Network::internet());
    let mut profile = Profile::default();
    profile.limits = limits();
    let profile = Arc::new(profile);
    world.grow(30, &Growth::default(), move |_, _: &mut SimRng| Arc::clone(&profile));
    world.run_for(Duration::from_secs(120));
    let hosts: Vec<HostId> = world.hosts().collect();
    let version =
        |seq, value: &[u8]| Item::sign(&SecretKey::from_bytes(&[7; 32]), Salt::NONE, seq, value).unwrap();
    let mut put = |host: HostId, item: &Item| {
        world.watch(host);
        let put = world.with_node(host, |node, now| node.put(now, item, None)).unwrap();
        world.run_for(PATIENCE);
        let mut events = world.events(host).iter();
        let report = events.find_map(|(_, event)| match event {
            Event::LookupDone { lookup, report } if *lookup == put => Some(*report),
            _ => None,
        });
        let stored = |host: &HostId| world.node(*host).unwrap().stored_item(item.target());
        let holders = hosts.iter().filter(|host| stored(host).as_ref() == Some(item)).count();
        let report = report.unwrap();
        assert_eq!(holders == 0, report.stored().is_err(), "{report:?}");
        (holders >= 8, report.stored().map(drop))
    };
    let (first, stands) = (version(5, b"1:A"), (true, Ok(())));
    assert_eq!(put(hosts[3], &first), stands);
    // By the same host, and by another one.
    for host in [hosts[3], hosts[20]] {
        let conflict = Err(PutError::Conflict { seq: 5 });
        assert_eq!(put(host, &version(5, b"1:B")), (false, conflict));
        assert_eq!(put(host, &version(4, b"1:A")), (false, Err(PutError::Superseded { newest: 5 })));
    }
    assert_eq!(put(hosts[20], &first), stands);
    assert_eq!(put(hosts[20], &version(6, b"1:B")), stands);
}

/// Limits with tables of the default size. (With the smallest tables of such a world
/// an item is stored at five nodes on average instead of nine, and one lookup in a hundred misses it.)
fn limits() -> Limits {
    let (tables, mut limits) = (Limits::default(), dht_proto::sim::limits(NODES));
    (limits.nodes_v4, limits.replacements) = (tables.nodes_v4, tables.replacements);
    (limits.candidates_per_lookup, limits.tokens_per_lookup) =
        (tables.candidates_per_lookup, tables.tokens_per_lookup);
    (limits.traversals, limits.inflight, limits.reputations) = (3, 64, 512);
    (limits.items.stored, limits.items.chunks) = (32, 64);
    (limits.items.own, limits.items.own_chunks, limits.publications) = (32, 64, 32);
    limits
}

/// Creates a world whose nodes stay for an hour or two, on a network that loses a tenth of all datagrams, and
/// a host that stays.
fn world() -> (World, HostId) {
    let mut network = Network::internet();
    network.loss = 0.1;
    let mut world = World::new(7, network);
    let mut mortal = Profile::default();
    mortal.limits = limits();
    let mut seeder = mortal.clone();
    mortal.churn = Some(Churn { session: SESSION, absence: ABSENCE, returns: Returns::Renewed });
    let mortal = Arc::new(mortal);
    world.grow(NODES, &Growth::default(), move |_, _: &mut SimRng| Arc::clone(&mortal));
    seeder.churn = None;
    let seeder = world.add(seeder);
    world.run_for(Duration::from_secs(120));
    (world, seeder)
}

/// Returns immutable and mutable items in turn.
fn item(index: u8) -> Item {
    let value = [b"9:manifest".as_slice(), &[index]].concat();
    if index.is_multiple_of(2) {
        return Item::immutable(&value).unwrap();
    }
    Item::sign(&SecretKey::from_bytes(&[index; 32]), Salt::new(b"salt").unwrap(), i64::from(index), &value)
        .unwrap()
}

/// Whether a random live node that does not store the item finds the version that was
/// put last.
fn is_found(world: &mut World, item: &Item) -> bool {
    let stores = |world: &World, host| world.node(host).unwrap().stored_item(item.target()).is_some();
    let mut host = draw(world);
    while stores(world, host) {
        host = draw(world);
    }
    let lookup = match item.key() {
        Some(key) => Lookup::GetMutable(key, item.salt()),
        None => Lookup::GetImmutable(item.target()),
    };
    let record = world.start(host, lookup).unwrap();
    world.settle(PATIENCE);
    // A node that leaves meanwhile reports nothing.
    let report = world.take_record(record).unwrap().report();
    report.is_none_or(|report| report.item.copies > 0 && report.item.seq == item.seq())
}

/// Draws a live node.
fn draw(world: &mut World) -> HostId {
    loop {
        let count = world.hosts().len();
        let at = world.rng().below(count);
        let host = world.hosts().nth(at).unwrap();
        if world.node(host).is_some() {
            return host;
        }
    }
}
