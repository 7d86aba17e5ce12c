//! Several addresses in one process (BEP 45): a node for each.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::errors::StoreError;
use dht_proto::{Announce, Config, Event, Family, InfoHash, MAX_DATAGRAM, NodeId};

use crate::common;
use crate::common::raw::{Lone, Packet, TARGET, announce, announce_with, compact, get_peers, limits, socket};
use crate::common::{addr, config};

const BASE: NodeId = NodeId::from_bytes([0x5a; 20]);

/// Creates two nodes of one process that share what they store.
fn two_that_share() -> [Lone; 2] {
    [0, 1].map(|index| {
        let mut config = common::raw::unhurried();
        (config.id, config.secure_ids) = (Some(BASE.derived(index)), false);
        Lone::new(config)
    })
}

/// Shares what each node has stored until nothing is left to share, and returns how much that was.
fn share(lones: &mut [Lone; 2]) -> usize {
    let mut handed = 0;
    loop {
        let before = handed;
        for (origin, other) in [(0, 1), (1, 0)] {
            lones[origin].drain();
            for event in std::mem::take(&mut lones[origin].events) {
                let now = lones[other].now;
                let stored = match event {
                    Event::PeerStored { infohash, peer, seed } => {
                        lones[other].node.store_peer(now, infohash, peer, seed)
                    }
                    #[cfg(feature = "items")]
                    Event::ItemStored { target, node, .. } => {
                        let item = lones[origin].node.stored_item(target).unwrap();
                        lones[other].node.store_item(now, &item, node)
                    }
                    _ => continue,
                };
                assert_eq!(stored, Ok(()));
                handed += 1;
                assert!(handed < 100, "it is passed back and forth");
            }
        }
        if handed == before {
            return handed;
        }
    }
}

#[test]
fn b45_11_a_peer_announced_at_one_address_is_returned_at_the_others_while_it_is_renewed() {
    let mut lones = two_that_share();
    let (leech, seed) = (socket("99.0.0.1:6881"), socket("99.0.1.1:6881"));
    for _ in 0..3 {
        lones[0].store(leech, &TARGET);
        let token = lones[1].token(seed, &TARGET);
        lones[1].accepted(seed, &announce_with(b"", &TARGET, b"4:porti6881e4:seedi1e", &token));
        assert_eq!(share(&mut lones), 2, "once each, and not back");
        lones.iter_mut().for_each(|lone| lone.wait(Duration::from_secs(30 * 60)));
        for lone in &mut lones {
            let returned = lone.accepted(addr(900), &get_peers(&TARGET, b"")).values();
            assert_eq!(BTreeSet::from_iter(returned), BTreeSet::from([compact(leech), compact(seed)]));
            let returned = lone.accepted(addr(900), &get_peers(&TARGET, b"6:noseedi1e")).values();
            assert_eq!(returned, [compact(leech)], "a seed is shared as a seed");
        }
    }
    lones.iter_mut().for_each(|lone| lone.wait(Duration::from_secs(30 * 60)));
    assert_eq!(lones.each_ref().map(|lone| lone.stored(&TARGET).len()), [0, 0]);
}

#[test]
fn b45_11_a_shared_peer_is_subject_to_the_same_limits_as_an_announced_one() {
    let infohash = InfoHash::from_bytes(TARGET);
    let mut config = common::raw::config();
    config.ipv6 = false;
    let mut lone = Lone::new(config.clone());
    let mut store = |peer: &str| {
        let now = lone.now;
        lone.node.store_peer(now, infohash, socket(peer), false)
    };
    assert_eq!(store("99.0.0.1:0"), Err(StoreError::AddressRefused));
    assert_eq!(store("10.0.0.1:6881"), Err(StoreError::AddressRefused));
    assert_eq!(store("[2a00::1]:6881"), Err(StoreError::AddressRefused), "no family of this node");
    assert_eq!(store("99.0.0.1:1"), Ok(()));
    assert_eq!(store("99.0.0.1:2"), Ok(()));
    assert_eq!(lone.stored(&TARGET), [socket("99.0.0.1:2")], "one for each address");
    let mut limits = limits();
    (limits.swarms, limits.peers_v4) = (4096, 4096);
    let mut lone = Lone::with_limits(config, &limits);
    let now = lone.now;
    let stored = (0..=255).map(|byte| {
        lone.node.store_peer(now, InfoHash::from_bytes([byte; 20]), socket("99.0.0.2:6881"), false)
    });
    let stored: Vec<_> = stored.collect();
    assert!(stored[..100].iter().all(Result::is_ok));
    assert!(stored[128..].iter().all(|stored| *stored == Err(StoreError::NoRoom)), "a share each");
    assert!(lone.events.is_empty());
}

#[cfg(feature = "items")]
mod items {
    use dht_proto::items::{Item, Salt, SecretKey};
    use dht_proto::wire::{Body, Message, Method, PutItem, Query, Want};

    use super::*;

    fn signed(seq: i64, value: &[u8]) -> Item {
        Item::sign(&SecretKey::from_bytes(&[7; 32]), Salt::new(b"salt").unwrap(), seq, value).unwrap()
    }

    fn bytes(method: Method<'_>) -> Vec<u8> {
        let query = Query { id: NodeId::from_bytes(common::raw::ID), method };
        let mut buf = [0; 2000];
        let size = Message::new(b"aa", Body::Query(query)).emit(&mut buf).unwrap();
        buf[..size].to_vec()
    }

    fn get(lone: &mut Lone, from: SocketAddr, target: NodeId) -> Packet {
        lone.accepted(from, &bytes(Method::Get { target, seq: None, want: Want::NONE }))
    }

    fn put(lone: &mut Lone, from: SocketAddr, item: &Item) {
        let answer = get(lone, from, item.target());
        let (value, key, salt) = (item.value(), item.key().map(|key| *key.as_bytes()), item.salt());
        let put = match &key {
            None => PutItem::Immutable { value, seq: None },
            Some(key) => {
                let (seq, salt) = (item.seq().unwrap(), salt.as_bytes());
                PutItem::Mutable { value, key, seq, signature: item.signature().unwrap(), salt, cas: None }
            }
        };
        let token = answer.string("r.token").unwrap();
        lone.accepted(from, &bytes(Method::Put { token, target: None, item: put }));
    }

    #[test]
    fn b45_11_an_item_put_at_one_address_is_returned_at_the_others_while_it_is_renewed() {
        let mut lones = two_that_share();
        let (first, second) = (signed(1, b"3:one"), signed(2, b"3:two"));
        let fixed = Item::immutable(b"5:fixed").unwrap();
        put(&mut lones[0], addr(900), &first);
        assert_eq!(share(&mut lones), 1);
        for _ in 0..3 {
            put(&mut lones[1], addr(901), &second);
            put(&mut lones[0], addr(902), &fixed);
            assert_eq!(share(&mut lones), 2, "once each, and not back");
            lones.iter_mut().for_each(|lone| lone.wait(Duration::from_secs(90 * 60)));
            for lone in &mut lones {
                let found = get(lone, addr(903), second.target());
                assert_eq!((found.int("r.seq"), found.string("r.v")), (Some(2), Some(&b"two"[..])));
                assert_eq!(get(lone, addr(903), fixed.target()).string("r.v"), Some(&b"fixed"[..]));
            }
        }
        lones.iter_mut().for_each(|lone| lone.wait(Duration::from_secs(31 * 60)));
        assert_eq!(lones.each_ref().map(|lone| lone.node.stored_items().count()), [0, 0]);
    }

    #[test]
    fn b45_11_a_shared_item_never_replaces_a_newer_one() {
        let mut lone = Lone::new(common::raw::unhurried());
        let now = lone.now;
        let mut store = |item: &Item| lone.node.store_item(now, item, addr(900));
        assert_eq!(store(&signed(3, b"3:new")), Ok(()));
        assert_eq!(store(&signed(3, b"3:new")), Ok(()), "renewed");
        assert_eq!(store(&signed(2, b"3:old")), Err(StoreError::Stale));
        assert_eq!(store(&signed(3, b"5:other")), Err(StoreError::Stale));
        assert_eq!(lone.node.stored_item(signed(3, b"0:").target()), Some(signed(3, b"3:new")));
        assert_eq!(lone.node.store_item(now, &signed(4, b"5:newer"), addr(900)), Ok(()));
        let counts = lone.stats().items;
        assert_eq!((counts.stored, counts.refreshed, counts.checked), (2, 1, 0));
        lone.drain();
        assert!(lone.events.is_empty(), "{:?}", lone.events);
        let mut limits = limits();
        limits.items.stored = 0;
        let mut full = Lone::with_limits(config(), &limits);
        assert_eq!(full.node.store_item(now, &signed(1, b"0:"), addr(900)), Err(StoreError::NoRoom));
    }

    #[test]
    fn b45_11_a_source_that_fills_the_store_at_one_address_is_evicted_first_at_the_others_too() {
        let mut limits = limits();
        (limits.items.stored, limits.items.chunks) = (8, 64);
        let mut lone = Lone::with_limits(common::raw::unhurried(), &limits);
        let now = lone.now;
        // Values are searched so that the items of one subnet are closest to the node.
        let own = lone.node.id(Family::V4);
        let mut all: Vec<Item> =
            (0..64).map(|index| Item::immutable(format!("i{index}e").as_bytes()).unwrap()).collect();
        all.sort_by_key(|item| own.distance(&item.target()));
        let (close, far) = (&all[..6], &all[62..]);
        far.iter().zip(900..).for_each(|(item, from)| {
            lone.node.store_item(now, item, addr(from)).unwrap();
        });
        close.iter().for_each(|item| lone.node.store_item(now, item, addr(910)).unwrap());
        lone.node.store_item(now, &all[30], addr(920)).unwrap();
        let is_stored = |item: &&Item| lone.node.stored_item(item.target()).is_some();
        assert_eq!(far.iter().filter(is_stored).count(), 2);
        assert_eq!(close.iter().filter(is_stored).count(), 5);
    }
}

/// Starts two nodes in threads, one at each of two addresses of this host; `None` if the host lacks
/// the second.
#[cfg(feature = "net")]
fn two_adapters() -> Option<[dht_proto::net::Dht; 2]> {
    let spawn = |index, home: &str| {
        let mut config = Config::private();
        config.id = Some(BASE.derived(index));
        common::net::blocking::builder().config(config).bind(home.parse().unwrap()).spawn()
    };
    match (spawn(0, "127.0.0.1:0"), spawn(1, "127.0.0.2:0")) {
        (Ok(first), Ok(second)) => Some([first, second]),
        _ => {
            eprintln!("skipped: a host without 127.0.0.2");
            None
        }
    }
}

#[cfg(feature = "net")]
#[test]
fn b45_03_b45_05_two_adapters_answer_each_from_its_own_socket_with_its_own_id_and_tokens() {
    let Some(dhts) = two_adapters() else { return };
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_read_timeout(Some(common::net::PATIENCE)).unwrap();
    let own = stranger.local_addr().unwrap();
    let homes = dhts.each_ref().map(|dht| common::net::blocking::addr(dht));
    // Nodes query the new one, too.
    let ask = |home: SocketAddr, query: &[u8]| {
        stranger.send_to(query, home).unwrap();
        let mut buf = [0; MAX_DATAGRAM];
        loop {
            let (size, from) = stranger.recv_from(&mut buf).unwrap();
            let packet = Packet::checked(own, &buf[..size]);
            if packet.kind() != b'q' {
                assert_eq!(from, home);
                return packet;
            }
        }
    };
    let tokens = [0, 1].map(|at: usize| {
        let answer = ask(homes[at], &get_peers(&TARGET, b""));
        assert_eq!(answer.string("r.id"), Some(&BASE.derived(at as u32).as_bytes()[..]));
        answer.string("r.token").unwrap().to_vec()
    });
    assert_eq!(ask(homes[1], &announce(&TARGET, 1, &tokens[0])).int("e.0"), Some(203));
    assert_eq!(ask(homes[0], &announce(&TARGET, 1, &tokens[1])).int("e.0"), Some(203));
    assert_eq!(ask(homes[1], &announce(&TARGET, 1, &tokens[1])).kind(), b'r');
    let stored = dhts.each_ref().map(|dht| dht.stored_peers(TARGET.into()).wait().unwrap().len());
    assert_eq!(stored, [0, 1]);
}

#[cfg(feature = "net")]
#[test]
fn b45_11_a_program_shares_what_one_adapter_stored_with_another() {
    use dht_proto::net::{CallError, NetEvent};

    let Some([origin, other]) = two_adapters() else { return };
    let mut events = origin.subscribe();
    let asker = common::net::blocking::builder().spawn().unwrap();
    asker.add_node(common::net::blocking::addr(&origin)).wait().unwrap();
    common::net::blocking::wait_for("it is in the table", || asker.node_count(Family::V4).wait() == Ok(1));
    let mut seeding = Announce::port(4242);
    seeding.seed = true;
    let mut announcing = asker.announce(TARGET.into(), seeding);
    assert_eq!(announcing.wait_timeout(common::net::PATIENCE).unwrap().report.acknowledged, 1);
    let handed = loop {
        let event = events.recv_timeout(common::net::PATIENCE).unwrap();
        if let NetEvent::Node(Event::PeerStored { infohash, peer, seed }) = event {
            break (infohash, peer, seed);
        }
    };
    assert_eq!(handed, (TARGET.into(), socket("127.0.0.1:4242"), true));
    other.store_peer(handed.0, handed.1, handed.2).wait().unwrap();
    assert_eq!(other.stored_peers(TARGET.into()).wait().unwrap(), [handed.1]);
    let refused = other.store_peer(handed.0, socket("127.0.0.1:0"), false).wait();
    assert_eq!(refused, Err(CallError::Store(StoreError::AddressRefused)));
    #[cfg(feature = "items")]
    {
        let item = dht_proto::items::Item::immutable(b"5:value").unwrap();
        other.store_item(&item, handed.1).wait().unwrap();
        assert_eq!(other.stored_item(item.target()).wait().unwrap(), Some(item));
    }
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn b45_11_a_task_shares_what_another_adapter_stored() {
    use dht_proto::net::Dht;

    let builder = Dht::builder().config(Config::private()).limits(common::net::limits());
    let other = builder.bind(common::net::LOOPBACK).bootstrap::<String>([]).spawn_tokio().unwrap();
    let peer = socket("127.0.0.1:4242");
    other.store_peer(TARGET.into(), peer, true).await.unwrap();
    assert_eq!(other.stored_peers(TARGET.into()).await.unwrap(), [peer]);
    #[cfg(feature = "items")]
    {
        let item = dht_proto::items::Item::immutable(b"5:value").unwrap();
        other.store_item(&item, peer).await.unwrap();
        assert_eq!(other.stored_item(item.target()).await.unwrap(), Some(item));
    }
    other.shutdown().await.unwrap();
}
