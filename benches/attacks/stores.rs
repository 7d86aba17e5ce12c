//! Floods of announces and puts: how much remains of what honest hosts stored.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use dht_proto::items::Item;
use dht_proto::sim::actors::near;
use dht_proto::wire::{Body, Message, Method, PutItem, Want};
use dht_proto::{InfoHash, Limits, NodeId};

use crate::datagrams::host;
use crate::target::{Crowd, Target, in_network, query, spread, token_in};

/// Prints how many honest peers remain in a swarm that attackers announce to.
pub(crate) fn print_swarm() {
    const HONEST: usize = 100;
    println!("\n10,000 false peers in a swarm of {HONEST}: honest among those named, and kept");
    let networks: [Crowd; 3] = [
        ("of one /24", |at| in_network(Ipv4Addr::new(99, 1, 2, 0), 24, at)),
        ("of one /20", |at| in_network(Ipv4Addr::new(99, 1, 0, 0), 20, at)),
        ("of 1,000 /24s", |at| {
            let [_, _, b, c] = (at % 1000).to_be_bytes();
            in_network(Ipv4Addr::new(98, b, c, 0), 24, at / 1000)
        }),
    ];
    for (name, attacker) in networks {
        let mut target = Target::new(50, &Limits::default(), |_| ());
        let infohash = InfoHash::from(target.rng.id());
        for at in 0..HONEST {
            target.announce(spread(at), infohash, 7000);
            target.pass(Duration::from_millis(200));
        }
        for at in 0..10_000 {
            target.announce(attacker(at), infohash, 6666);
            target.pass(Duration::from_millis(20));
        }
        let (mut named, mut honest) = (0, 0);
        for asker in 0..200 {
            target.pass(Duration::from_millis(200));
            let method = Method::GetPeers { infohash, want: Want::NONE, noseed: false, scrape: false };
            let Some(answer) = target.ask(host(2000 + asker), &query(method)) else { continue };
            let Ok(Message { body: Body::Response(response), .. }) = Message::parse(&answer) else {
                continue;
            };
            for peer in response.values.into_iter().flatten() {
                named += 1;
                honest += usize::from(peer.port() == 7000);
            }
        }
        let kept = target.node.stored_peers(infohash).filter(|peer| peer.port() == 7000).count();
        println!("{name:<54}{:>8.0} %{kept:>8}", 100.0 * honest as f64 / f64::max(1.0, named as f64));
    }
}

/// Prints how many swarms remain after announces to other torrents.
pub(crate) fn print_swarms() {
    println!("\nswarms that are left after announces to random infohashes");
    let mut target = Target::new(50, &Limits::default(), |_| ());
    let honest: Vec<InfoHash> = (0..500).map(|_| InfoHash::from(target.rng.id())).collect();
    for (at, infohash) in honest.iter().enumerate() {
        target.announce(host(at), *infohash, 7000);
        target.pass(Duration::from_millis(20));
    }
    for _ in 0..60 * 5 {
        for attacker in 0..32 {
            let from = in_network(Ipv4Addr::new(99, 1, attacker as u8 / 4, 0), 24, 1 + attacker % 4);
            let infohash = InfoHash::from(target.rng.id());
            target.announce(from, infohash, 6666);
        }
        target.pass(Duration::from_millis(400));
    }
    let kept = honest.iter().filter(|it| target.node.stored_peers(**it).next().is_some()).count();
    println!("{:<54}{:>8}", "32 addresses of 8 /24s, two minutes: of 500 single", kept);

    let mut target = Target::new(50, &Limits::default(), |_| ());
    let own = target.node.id(dht_proto::Family::V4);
    let swarms: Vec<(InfoHash, usize)> = (0..1000)
        .map(|at| {
            let shared = (target.rng.bits().leading_zeros()).min(12);
            (InfoHash::from(near(own, target.rng.id(), shared)), [2, 5][at % 2])
        })
        .collect();
    let mut next = 0;
    for (infohash, peers) in &swarms {
        for _ in 0..*peers {
            next += 1;
            target.announce(host(next), *infohash, 7000);
            target.pass(Duration::from_millis(20));
        }
    }
    for peer in 0..8 {
        for attacker in 0..1000_u32 {
            let [_, _, b, c] = attacker.to_be_bytes();
            let infohash = InfoHash::from(target.rng.id());
            target.announce(in_network(Ipv4Addr::new(98, b, c, 0), 24, 1), infohash, 6666 + peer);
            target.pass(Duration::from_millis(5));
        }
    }
    for (name, peers) in [("of 2", 2), ("of 5", 5)] {
        let near = || {
            let near = swarms.iter().filter(|(it, _)| NodeId::from(*it).common_prefix_len(&own) >= 3);
            near.filter(move |(_, count)| *count == peers)
        };
        let kept = near().filter(|(it, _)| target.node.stored_peers(*it).next().is_some()).count();
        let share = 100.0 * kept as f64 / near().count() as f64;
        println!("{:<54}{share:>6.0} %", format!("1,000 addresses with 8 peers each: swarms {name} near us"));
    }
}

/// Prints how many honest items remain after puts of items next to the node's id.
pub(crate) fn print_items() {
    println!("\n400 honest items, and those of attackers next to the node's id: honest ones kept");
    for networks in [1_u8, 4, 5] {
        let mut target = Target::new(50, &Limits::default(), |_| ());
        let own = target.node.id(dht_proto::Family::V4);
        let mut honest = Vec::new();
        for at in 0..400 {
            let item = text(&mut target, 100);
            put(&mut target, host(at), &item);
            honest.push(item.target());
            target.pass(Duration::from_millis(300));
        }
        let begin = target.node.item_count();
        // Mined: those of many values whose target is near.
        for at in 0..3000_u32 {
            let item = core::iter::repeat_with(|| text(&mut target, 500))
                .find(|item| item.target().common_prefix_len(&own) >= 6)
                .expect("one of 64 is");
            let network = at as u8 % networks;
            put(
                &mut target,
                in_network(Ipv4Addr::new(99, 7, network, 0), 24, at / u32::from(networks)),
                &item,
            );
            target.pass(Duration::from_millis(50));
        }
        let kept = honest.iter().filter(|it| target.node.stored_item(**it).is_some()).count();
        println!("{:<54}{kept:>8} of {begin}", format!("mined from {networks} /24s"));
    }
}

fn text(target: &mut Target, len: usize) -> Item {
    let bytes: String = (0..len / 16).map(|_| format!("{:016x}", target.rng.bits())).collect();
    Item::immutable(format!("{}:{bytes}", bytes.len()).as_bytes()).expect("it is sound")
}

fn put(target: &mut Target, from: SocketAddr, item: &Item) {
    let get = query(Method::Get { target: item.target(), seq: None, want: Want::NONE });
    let Some(token) = target.ask(from, &get).and_then(|answer| token_in(&answer)) else { return };
    let put = PutItem::Immutable { value: item.value(), seq: None };
    target.ask(from, &query(Method::Put { token: &token, target: None, item: put }));
}
