//! Programs that use the node of their host.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use dht_proto::sim::{Churn, HostId, Nat, NatKind, Network, Profile, Program, Returns, World};
use dht_proto::{Announce, Event, InfoHash, Instant, Lookup, LookupId, LookupOptions, LookupReport, Node};

use crate::lab::{infohash, secs, village, world};

/// Announces a torrent every ten minutes, and looks for whatever else it is told to.
#[derive(Default)]
struct Peer {
    next: Instant,
    wanted: Vec<InfoHash>,
    lookups: Vec<LookupId>,
    reports: Vec<LookupReport>,
}

impl Program for Peer {
    fn poll(&mut self, now: Instant, node: &mut Node) {
        if self.next <= now {
            self.next = now + secs(600);
            self.start(now, node, Lookup::Announce(infohash(1), Announce::port(6881)));
        }
        for wanted in std::mem::take(&mut self.wanted) {
            self.start(now, node, Lookup::GetPeers(wanted));
        }
    }

    fn handle_event(&mut self, _: Instant, _: &mut Node, event: &Event) {
        if let Event::LookupDone { lookup, report } = event
            && self.lookups.contains(lookup)
        {
            self.reports.push(*report);
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        Some(if self.wanted.is_empty() { self.next } else { Instant::ZERO })
    }
}

impl Peer {
    fn start(&mut self, now: Instant, node: &mut Node, lookup: Lookup) {
        self.lookups.extend(node.lookup(now, lookup, &LookupOptions::default()));
    }
}

fn restless() -> Profile {
    let mut profile = Profile::default();
    profile.churn = Some(Churn { session: secs(900), absence: secs(60), returns: Returns::Renewed });
    profile.nat = Some(Nat::new(NatKind::PortRestricted));
    profile
}

fn reports(world: &World, host: HostId) -> Vec<LookupReport> {
    world.program::<Peer>(host).unwrap().reports.clone()
}

#[test]
fn the_seed_decides_what_programs_do_as_well() {
    let run = |seed| {
        let (mut world, _) = world(seed, Network::internet(), 30);
        let profile = Arc::new(restless());
        let hosts = [(); 4].map(|()| world.add_program(Arc::clone(&profile), Peer::default));
        world.run_for(secs(3600));
        world.check().unwrap();
        (world.transcript(), *world.counters(), hosts.map(|host| reports(&world, host)))
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn a_program_behind_a_nat_announces_and_is_found() {
    let (mut world, hosts) = world(3, Network::internet(), 30);
    let mut profile = Profile::default();
    profile.nat = Some(Nat::new(NatKind::Symmetric));
    let host = world.add_program(profile, Peer::default);
    world.run_for(secs(60));
    assert!(reports(&world, host)[0].acknowledged >= 8, "{:?}", reports(&world, host));
    let found = world.lookup(hosts[9], Lookup::GetPeers(infohash(1)));
    assert!(found.peers.iter().any(|(_, peer)| peer.ip() == world.addr(host).ip()));
}

#[test]
fn a_program_starts_anew_with_its_host_and_ends_with_it() {
    let (mut world, _) = world(4, Network::internet(), 20);
    let starts = Rc::new(Cell::new(0));
    let counted = Rc::clone(&starts);
    let host = world.add_program(restless(), move || {
        counted.set(counted.get() + 1);
        Peer::default()
    });
    assert_eq!(starts.get(), 1);
    world.run_for(secs(4 * 3600));
    assert!((4..40).contains(&starts.get()), "{}", starts.get());
    world.set_churn(host, None);
    if world.node(host).is_none() {
        world.restart(host);
    }
    world.run_for(secs(601));
    assert!(!reports(&world, host).is_empty());
    let before = starts.get();
    world.kill(host);
    let reported = reports(&world, host).len();
    world.run_for(secs(3600));
    assert_eq!((starts.get(), reports(&world, host).len()), (before, reported), "it has left for good");
    world.restart(host);
    assert_eq!((starts.get(), reports(&world, host).len()), (before + 1, 0));
}

#[test]
fn a_command_from_outside_wakes_a_program() {
    let (mut world, hosts) = village(5, 20);
    world.run_for(secs(60));
    world.lookup(hosts[3], Lookup::Announce(infohash(9), Announce::port(1)));
    world.run_program(hosts[7], Peer { next: Instant::from_micros(u64::MAX), ..Peer::default() });
    world.run_for(secs(5));
    assert!(reports(&world, hosts[7]).is_empty());
    world.with_program(hosts[7], |peer: &mut Peer, _, _| peer.wanted.push(infohash(9)));
    assert!(world.run_until(|world| !reports(world, hosts[7]).is_empty(), secs(10)));
    assert_eq!(reports(&world, hosts[7])[0].peers, 1);
    assert!(world.program::<Idle>(hosts[7]).is_none() && world.program::<Peer>(hosts[8]).is_none());
}

struct Idle;

impl Program for Idle {
    fn poll(&mut self, _: Instant, _: &mut Node) {}

    fn next_wake(&self) -> Option<Instant> {
        Some(Instant::ZERO)
    }
}

#[test]
#[should_panic(expected = "livelock at")]
fn a_program_that_never_waits_is_told() {
    let mut world = World::new(1, Network::perfect());
    world.add_program(Profile::default(), || Idle);
}

#[test]
#[should_panic(expected = "no such program at")]
fn a_program_of_another_type_is_not_called() {
    let (mut world, hosts) = village(5, 2);
    world.with_program(hosts[0], |_: &mut Peer, _, _| ());
}

#[cfg(feature = "items")]
#[test]
fn a_finished_lookup_gives_up_its_item() {
    use dht_proto::items::{Item, Salt, SecretKey};

    let (mut world, hosts) = world(6, Network::internet(), 30);
    let secret = SecretKey::from_bytes(&[7; 32]);
    let (fixed, signed) =
        (Item::immutable(b"5:value").unwrap(), Item::sign(&secret, Salt::NONE, 3, b"1:x").unwrap());
    for item in [&fixed, &signed] {
        world.with_node(hosts[3], |node, now| node.put(now, item, None)).unwrap();
    }
    world.run_for(secs(30));
    let found = world.lookup(hosts[9], Lookup::GetImmutable(fixed.target()));
    assert_eq!(found.item, Some(fixed));
    let found = world.lookup(hosts[9], Lookup::GetMutable(secret.public(), Salt::NONE));
    assert_eq!(found.item, Some(signed));
    let found =
        world.lookup(hosts[9], Lookup::GetMutable(SecretKey::from_bytes(&[8; 32]).public(), Salt::NONE));
    assert_eq!((found.report().unwrap().item.copies, found.item), (0, None));
}

/// What a program does, it does by the clock of its host.
#[test]
fn a_program_sleeps_with_its_host() {
    let (mut world, hosts) = village(8, 5);
    world.run_program(hosts[2], Peer::default());
    world.run_for(secs(20));
    world.sleep(hosts[2], secs(3600));
    world.run_for(secs(3601));
    assert_eq!(reports(&world, hosts[2]).len(), 1);
    world.run_for(secs(600));
    assert_eq!(reports(&world, hosts[2]).len(), 2);
}
