//! One network that tries to fill the routing table, or to decide the external address.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use dht_proto::sim::actors::{Contact, Honest, Sybil, SybilStrategy};
use dht_proto::sim::{Network, Profile, SimRng, World};
use dht_proto::{BootstrapKind, Event, Family, Limits};

use crate::target::{Target, id_of, in_delegation, in_network};

pub(crate) fn print() {
    println!("\nplaces of one network in the routing table, and votes");
    for (name, bits) in [("/48", 16), ("/56", 8)] {
        let mut target = Target::new(0, &Limits::default(), |_| ());
        let ours = Ipv6Addr::new(0x2a01, 0x100, 1, 0, 0, 0, 0, 0);
        for at in 0..50_u64 {
            target.verify(in_delegation(Ipv6Addr::new(0x2600, at as u16, 7, 0, 0, 0, 0, 0), 0));
        }
        for at in 0..5000_u64 {
            // Several hosts in each subnet if there are fewer subnets than hosts.
            let SocketAddr::V6(host) = in_delegation(ours, at % (1 << bits)) else { continue };
            let ip = Ipv6Addr::from_bits(host.ip().to_bits() + u128::from(at >> bits));
            target.verify((ip, 6881).into());
        }
        let is_theirs = |addr: SocketAddr| matches!(addr, SocketAddr::V6(addr) if addr.ip().segments()[..2] == [0x2a01, 0x100]);
        let theirs = target.node.nodes(Family::V6).filter(|info| is_theirs(info.addr)).count();
        let all = target.node.node_count(Family::V6);
        println!(
            "{:<54}{theirs:>9} of {all}",
            format!("5,000 hosts of one IPv6 {name}, after 50 honest ones")
        );
    }

    let mut target = Target::new(0, &Limits::default(), |config| config.secure_ids = false);
    for at in 0..60 * 25_u64 {
        let claim = Ipv6Addr::new(0x2001, 0x470, (at / 40) as u16, 0, 0, 0, 0, 1);
        let host = in_delegation(Ipv6Addr::new(0x2a01, 0x100, 1, 0, 0, 0, 0, 0), at % 256 * 256);
        target.verify_as(host, Some((claim, 6881).into()));
    }
    let changes = target.events.iter().filter(|event| matches!(event, Event::ExternalAddr { .. })).count();
    println!("{:<54}{changes:>9}", "changes of our address in a minute, by one IPv6 /48");

    let (theirs, all) = (1..=5).map(fresh_node).fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
    println!("{:<54}{theirs:>9} of {all}", "5 fresh nodes among 1,000 of one /24, 50 honest, 2 h");
}

/// The number of entries of one /24, and of all, in the table of a node that joined among them.
fn fresh_node(seed: u64) -> (usize, usize) {
    let mut rng = SimRng::new(seed);
    let mut world = World::new(seed, Network::perfect());
    let at = |index: u32| in_network(Ipv4Addr::new(99, 1, 2, 0), 24, index);
    let attackers: Rc<[Contact]> = (0..1000).map(|index| (id_of(at(index)), at(index))).collect();
    let honest: Vec<Contact> = (0..50).map(|_| (rng.id(), world.next_address())).collect();
    let known: Rc<[Contact]> = honest.iter().chain(attackers.iter()).copied().collect();
    for (id, addr) in &honest {
        world.add_actor_at(*addr, Honest::new(*id, Rc::clone(&known)));
    }
    for (id, addr) in attackers.iter() {
        let accomplices = Rc::clone(&attackers);
        world.add_actor_at(*addr, Sybil { id: *id, accomplices, strategy: SybilStrategy::Mutual });
    }
    let node = world.add_alone(Profile::default());
    world
        .with_node(node, |node, now| node.add_bootstrap(now, honest[0].1, BootstrapKind::Node))
        .expect("there is room");
    world.run_for(Duration::from_secs(2 * 60 * 60));
    let table = world.node(node).expect("it stays").nodes(Family::V4);
    let table: Vec<_> = table.map(|info| info.addr).collect();
    let is_theirs =
        |addr: &&SocketAddr| matches!(addr, SocketAddr::V4(addr) if addr.ip().octets()[..3] == [99, 1, 2]);
    (table.iter().filter(is_theirs).count(), table.len())
}
