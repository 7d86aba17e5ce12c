//! Forged queries and floods: amplification, and service to honest nodes.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use dht_proto::items::{Item, Salt, SecretKey};
use dht_proto::wire::{Body, Message, Method, PutItem, Want};
use dht_proto::{InfoHash, Limits};

use crate::datagrams::host;
use crate::target::{Crowd, Target, in_delegation, in_network, query, spread, token_in};

/// Prints the amplification of forged queries.
pub(crate) fn print_bytes() {
    println!("\nbytes out for bytes in, to sources that have proved nothing");
    let (mut target, infohash, item) = stocked();
    let mut worst: BTreeMap<&str, f64> = BTreeMap::new();
    for (index, (name, method)) in methods(infohash, &item).into_iter().enumerate() {
        let datagram = query(method);
        let answer = target.ask(host(3000 + index), &datagram).map_or(0, |answer| answer.len());
        worst.insert(name, answer as f64 / datagram.len() as f64);
    }
    for (name, ratio) in worst {
        println!("{:<54}{:>9.1}", format!("the first reply to a network: {name}"), ratio);
    }

    let (mut target, infohash, item) = stocked();
    let forged: Vec<Vec<u8>> =
        methods(infohash, &item).into_iter().map(|(_, method)| query(method)).collect();
    target.forget();
    for at in 0..50 * 360 {
        let bits = target.rng.bits();
        let from = in_network(Ipv4Addr::from_bits(0x1e00_0000 + (bits as u32 >> 3)), 24, 0);
        target.ask(from, &forged[at % forged.len()]);
        target.pass(Duration::from_millis(20));
    }
    let ratio = target.bytes_out as f64 / target.bytes_in as f64;
    println!("{:<54}{ratio:>9.1}", "forged from random /24s, 50 a second, 6 minutes");

    for (index, (name, _)) in methods(infohash, &item).into_iter().enumerate() {
        let (mut target, ..) = stocked();
        target.forget();
        for _ in 0..50 * 360 {
            let bits = target.rng.bits();
            let from = in_network(Ipv4Addr::from_bits(0x1e00_0000 + (bits as u32 >> 3)), 24, 0);
            target.ask(from, &forged[index]);
            target.pass(Duration::from_millis(20));
        }
        let ratio = target.bytes_out as f64 / target.bytes_in as f64;
        println!("{:<54}{ratio:>9.1}", format!("the same, of one kind: {name}"));
    }

    let (mut target, infohash, item) = stocked();
    let forged: Vec<Vec<u8>> =
        methods(infohash, &item).into_iter().map(|(_, method)| query(method)).collect();
    (0..600).for_each(|at| target.verify(host(2_000_000 + at)));
    target.forget();
    for at in 0..600 * 5 * 60 {
        target.ask(host(2_000_000 + at % 600), &forged[at % forged.len()]);
        target.pass(Duration::from_secs(1) / 3000);
    }
    let rate = target.bytes_out as f64 / 60.0 / 1024.0;
    println!("{:<54}{rate:>9.1} KiB/s", "forged from 600 verified addresses, 5 a second each");
}

/// Prints the service to honest unverified hosts during a flood of forged queries, and after it.
pub(crate) fn print_strangers() {
    println!(
        "\n200 strangers who ask for a torrent, half of them during a forged flood of 30 kB/s: who gets what"
    );
    let (mut target, infohash, _) = stocked();
    let method = || Method::GetPeers { infohash, want: Want::NONE, noseed: false, scrape: false };
    let ask = query(method());
    let [mut tokens, mut nodes, mut peers] = [0; 3];
    let between = Duration::from_secs_f64(ask.len() as f64 / 30_000.0);
    for stranger in 0..200 {
        let begun = target.now;
        while target.now - begun < Duration::from_secs(2) {
            if stranger < 100 {
                let from =
                    in_network(Ipv4Addr::from_bits(0x1e00_0000 + (target.rng.bits() as u32 >> 3)), 24, 0);
                target.ask(from, &ask);
            }
            target.pass(between);
        }
        let Some(answer) = target.ask(host(5000 + stranger), &ask) else { continue };
        let Ok(Message { body: Body::Response(response), .. }) = Message::parse(&answer) else { continue };
        tokens += usize::from(response.token.is_some());
        nodes += usize::from(response.nodes.is_some_and(|nodes| nodes.iter().next().is_some()));
        peers += usize::from(response.values.is_some_and(|values| values.iter().next().is_some()));
    }
    println!("{:<54}{tokens:>9}{nodes:>9}{peers:>9}", "a token, nodes, peers");
}

/// Prints how many false signatures are checked, and how many honest puts are stored beside them.
pub(crate) fn print_signatures() {
    println!("\nsignatures");
    let mut target = Target::new(50, &Limits::default(), |_| ());
    let item = signed(1, 1);
    let from = host(1);
    let token = item_token(&mut target, from, &item).expect("a token");
    for _ in 0..60 * 100 {
        put(&mut target, from, &item, &token, Some([9; 64]));
        target.pass(Duration::from_millis(10));
    }
    let checked = target.node.stats().items.checked;
    println!("{:<54}{checked:>9}", "wrong ones from one address, checked in a minute");

    let networks: [Crowd; 2] = [
        ("60 IPv4 addresses", |at| in_network(Ipv4Addr::new(97, 1, at as u8, 0), 24, 1)),
        ("one IPv6 /56", |at| {
            in_delegation(Ipv6Addr::new(0x2a01, 0x100, 1, 0x100, 0, 0, 0, 0), (at % 256).into())
        }),
    ];
    for (name, attacker) in networks {
        for is_good in [true, false] {
            let mut target = Target::new(50, &Limits::default(), |_| ());
            let tokens: Vec<Option<Vec<u8>>> =
                (0..60).map(|at| item_token(&mut target, attacker(at), &signed(100 + at as u8, 1))).collect();
            let mut stored = 0;
            for honest in 0..60_u8 {
                for at in 0..1000_u32 {
                    let (from, token) = (attacker(at % 60), &tokens[at as usize % 60]);
                    let item = signed(100 + (at % 60) as u8, i64::from(honest) * 100 + i64::from(at / 60));
                    if let Some(token) = token {
                        put(&mut target, from, &item, token, (!is_good).then_some([9; 64]));
                    }
                    target.pass(Duration::from_millis(1));
                }
                let item = signed(honest, 1);
                let from = host(7000 + usize::from(honest));
                if let Some(token) = item_token(&mut target, from, &item) {
                    put(&mut target, from, &item, &token, None);
                }
                stored += usize::from(target.node.stored_item(item.target()).is_some());
            }
            let kind = if is_good { "good" } else { "wrong" };
            println!("{:<54}{stored:>9} of 60", format!("{name}, {kind} signatures: honest puts stored"));
        }
    }
}

/// A node that stores a swarm and an item.
fn stocked() -> (Target, InfoHash, Item) {
    let mut target = Target::new(200, &Limits::default(), |_| ());
    let infohash = InfoHash::from(target.rng.id());
    for at in 0..100 {
        target.announce(spread(at), infohash, 7000);
        target.pass(Duration::from_millis(500));
    }
    let value = [&b"996:"[..], &[b'x'; 996]].concat();
    let item = Item::immutable(&value).expect("it is sound");
    let token = item_token(&mut target, host(500), &item).expect("a token");
    put(&mut target, host(500), &item, &token, None);
    assert_eq!(target.node.item_count(), 1);
    target.pass(Duration::from_secs(120));
    (target, infohash, item)
}

fn methods(infohash: InfoHash, item: &Item) -> [(&'static str, Method<'static>); 6] {
    let (want, target) = (Want::NONE, item.target());
    [
        ("ping", Method::Ping),
        ("find_node", Method::FindNode { target: infohash.into(), want: Want::BOTH }),
        ("get_peers", Method::GetPeers { infohash, want, noseed: false, scrape: false }),
        ("get_peers, scrape", Method::GetPeers { infohash, want, noseed: false, scrape: true }),
        ("get", Method::Get { target, seq: None, want }),
        ("sample_infohashes", Method::SampleInfohashes { target, want }),
    ]
}

fn signed(key: u8, seq: i64) -> Item {
    Item::sign(&SecretKey::from_bytes(&[key; 32]), Salt::NONE, seq, b"4:text").expect("it is sound")
}

fn item_token(target: &mut Target, from: SocketAddr, item: &Item) -> Option<Vec<u8>> {
    let get = query(Method::Get { target: item.target(), seq: None, want: Want::NONE });
    target.ask(from, &get).and_then(|answer| token_in(&answer))
}

fn put(target: &mut Target, from: SocketAddr, item: &Item, token: &[u8], signature: Option<[u8; 64]>) {
    let (value, salt) = (item.value(), item.salt());
    let key = item.key().map(|key| *key.as_bytes());
    let item = match &key {
        None => PutItem::Immutable { value, seq: None },
        Some(key) => PutItem::Mutable {
            value,
            key,
            seq: item.seq().expect("it is mutable"),
            signature: signature.as_ref().or_else(|| item.signature()).expect("it is mutable"),
            salt: salt.as_bytes(),
            cas: None,
        },
    };
    target.ask(from, &query(Method::Put { token, target: None, item }));
}
