//! A node that starts with a saved state.

use crate::common::items;
use crate::stage;
use crate::stage::{Stage, What, addr, find_node, id, infohash, secs};

#[cfg(feature = "items")]
use std::time::Duration;

use dht_proto::state::State;
use dht_proto::wire::{Body, Message};
use dht_proto::{Announce, BootstrapKind, Event, Family, InfoHash, Limits, LookupKind, Node, NodeId};

/// Creates a node with the state of another one, and its id, among `count` hosts.
fn restored(bytes: &[u8], limits: &Limits, count: usize, elapsed: Duration) -> Stage {
    let state = State::parse(bytes).unwrap();
    let mut config = stage::config();
    (config.id, config.id_v6) = (state.id(Family::V4), state.id(Family::V6));
    let now = dht_proto::Instant::from_micros(5_000_000);
    // Another seed, so that no id is drawn twice.
    let mut stage = Stage::on(Node::new(config, limits, [8; 32], now), now);
    (1..=count).for_each(|index| stage.host(index));
    // Nothing is sent before the bootstrap hosts are added, too.
    stage.node.restore(now, &state, elapsed);
    stage
}

fn saved(count: usize) -> (Vec<u8>, NodeId, Vec<std::net::SocketAddr>) {
    let stage = Stage::joined(count);
    let nodes = stage.node.nodes(Family::V4).map(|node| node.addr).collect();
    (stage.node.snapshot(0), stage.node.id(Family::V4), nodes)
}

fn knows(stage: &Stage, addr: std::net::SocketAddr) -> bool {
    stage.node.nodes(Family::V4).any(|node| node.addr == addr)
}

#[test]
fn r_13_id_and_table_survive_a_restart() {
    let (bytes, own, nodes) = saved(200);
    let mut stage = restored(&bytes, &stage::limits(), 200, secs(3600));
    assert_eq!(stage.node.id(Family::V4), own);
    assert_eq!(stage.node.restored_count(Family::V4), nodes.len());
    assert_eq!(stage.node.node_count(Family::V4), 0, "no node has answered yet");
    stage.run(secs(20));
    assert!(stage.node.is_ready(Family::V4));
    assert_eq!(stage.node.restored_count(Family::V4), 0);
    let kept = nodes.iter().filter(|addr| knows(&stage, **addr)).count();
    assert!(kept >= nodes.len() * 9 / 10, "{kept} of {}: only closer ones replaced others", nodes.len());
}

#[test]
fn r_13_restored_nodes_are_not_listed_before_they_answer() {
    let (bytes, own, _) = saved(40);
    let mut stage = restored(&bytes, &stage::limits(), 40, Duration::ZERO);
    let mut listed = || {
        let answer = stage.ask(addr(99), id(99), find_node(NodeId::ZERO)).unwrap();
        let Body::Response(response) = Message::parse(&answer).unwrap().body else { panic!() };
        assert_eq!(response.id, own);
        let count = response.nodes.map_or(0, |nodes| nodes.len());
        stage.run(secs(10));
        count
    };
    assert_eq!((listed(), listed()), (0, 8));
}

#[test]
fn r_13_bootstrap_hosts_are_not_queried_when_restored_nodes_answer() {
    let (bytes, _, nodes) = saved(60);
    let mut stage = restored(&bytes, &stage::limits(), 60, secs(60));
    for index in [901, 902] {
        stage.host(index);
        stage.at(index).is_listed = false;
        stage.act(|node, now| node.add_bootstrap(now, addr(index), BootstrapKind::Router).unwrap());
    }
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    assert!(stage.finish(lookup).answered >= 8, "a lookup starts from restored nodes at once");
    stage.run(secs(3600));
    assert!(stage.node.is_ready(Family::V4) && stage.node.node_count(Family::V4) >= nodes.len());
    assert!(!stage.sent.iter().any(|sent| [addr(901), addr(902)].contains(&sent.to)));
}

#[test]
fn r_13_bootstrap_hosts_are_queried_when_no_restored_node_answers() {
    let (bytes, _, nodes) = saved(60);
    let mut stage = restored(&bytes, &stage::limits(), 60, secs(60));
    for addr in &nodes {
        let host = stage.hosts.get_mut(addr).unwrap();
        (host.is_dead, host.is_listed) = (true, false);
    }
    (901..=940).for_each(|index| stage.host(index));
    stage.act(|node, now| node.add_bootstrap(now, addr(901), BootstrapKind::Router).unwrap());
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    assert!(stage.finish(lookup).answered >= 8, "nor does a lookup of the user end without results");
    let first = stage.sent.iter().position(|sent| sent.to == addr(901)).unwrap();
    assert!(stage.sent[..first].iter().any(|sent| nodes.contains(&sent.to)), "saved nodes come first");
    stage.run(secs(300));
    assert!(stage.node.is_ready(Family::V4) && stage.node.node_count(Family::V4) >= 20);
    assert_eq!(stage.node.restored_count(Family::V4), 0, "two failures are enough");
}

#[test]
fn restored_nodes_are_pinged_within_half_of_the_allowance() {
    let bytes: Vec<u8> = {
        let mut bytes = b"d5:nodes1800:".to_vec();
        (1..=300_u16).for_each(|index| {
            let [high, low] = index.to_be_bytes();
            bytes.extend([60, high, low, 1, 0x1a, 0xe1]);
        });
        bytes.extend(b"e");
        bytes
    };
    // No host exists.
    let mut stage = restored(&bytes, &stage::limits(), 0, Duration::ZERO);
    assert_eq!(stage.node.restored_count(Family::V4), 300);
    let begun = stage.now;
    stage.drain();
    assert!(stage.count(begun, stage::Sent::is_ping) <= 50);
    stage.run(secs(4));
    let pinged = stage.count(begun, stage::Sent::is_ping);
    assert!((100..=150).contains(&pinged), "{pinged}: 25 a second");
    stage.run(secs(40));
    assert_eq!(stage.node.restored_count(Family::V4), 300, "our own link may be down");
    (1..=300).for_each(|index| stage.host(index));
    stage.run(secs(300));
    assert!(stage.node.node_count(Family::V4) >= 150, "{}", stage.node.node_count(Family::V4));
}

#[test]
fn a_restored_node_is_kept_after_one_lost_ping() {
    let (bytes, _, nodes) = saved(40);
    let mut stage = restored(&bytes, &stage::limits(), 40, Duration::ZERO);
    stage.hosts.values_mut().step_by(3).for_each(|host| host.loses = 1);
    stage.run(secs(150));
    assert!(nodes.iter().all(|addr| knows(&stage, *addr)));
}

#[test]
fn a_restored_node_that_has_another_id_now_is_dropped() {
    let (bytes, ..) = saved(20);
    let mut stage = restored(&bytes, &stage::limits(), 20, Duration::ZERO);
    let host = stage.at(5);
    (host.calls_itself, host.is_listed) = (Some(id(777)), false);
    stage.run(secs(200));
    assert!(!knows(&stage, addr(5)));
    assert_eq!(stage.node.restored_count(Family::V4), 0);
}

#[test]
fn a_state_larger_than_the_table_fills_it_and_no_more() {
    let (bytes, own, _) = saved(300);
    let mut limits = stage::limits();
    limits.nodes_v4 = 32;
    let mut stage = restored(&bytes, &limits, 300, Duration::ZERO);
    assert_eq!((stage.node.id(Family::V4), stage.node.restored_count(Family::V4)), (own, 32));
    stage.run(secs(60));
    assert!((8..=32).contains(&stage.node.node_count(Family::V4)));
    limits.nodes_v4 = 0;
    let mut stage = restored(&bytes, &limits, 300, Duration::ZERO);
    assert_eq!(stage.node.restored_count(Family::V4), 0);
    stage.run(secs(60));
}

#[test]
fn what_was_restored_is_saved_again_though_the_network_was_down() {
    let (bytes, _, mut nodes) = saved(60);
    let mut stage = restored(&bytes, &stage::limits(), 60, secs(100));
    stage.is_offline = true;
    stage.run(secs(600));
    let again = stage.node.snapshot(0);
    let state = State::parse(&again).unwrap();
    let mut saved: Vec<_> = state.nodes().map(|node| node.addr).collect();
    nodes.sort();
    saved.sort();
    assert_eq!(saved, nodes);
    assert!(state.nodes().all(|node| node.silent >= secs(700)), "and grows older");
    stage.is_offline = false;
    stage.run(secs(600));
    assert!(stage.node.is_ready(Family::V4) && stage.node.node_count(Family::V4) >= nodes.len());
}

#[test]
fn clearing_forgets_restored_nodes_as_well() {
    let (bytes, ..) = saved(40);
    let mut stage = restored(&bytes, &stage::limits(), 0, Duration::ZERO);
    stage.act(Node::clear_nodes);
    assert_eq!(stage.node.restored_count(Family::V4), 0);
    let begun = stage.now;
    stage.run(secs(3600));
    assert!(stage.count(begun + Duration::from_micros(1), |_| true) == 0);
}

#[test]
fn a_restored_node_looks_up_its_neighbours_once() {
    let (bytes, own, _) = saved(60);
    let mut stage = restored(&bytes, &stage::limits(), 60, Duration::ZERO);
    stage.run(secs(300));
    assert!(stage.sent.iter().any(|sent| sent.what == What::FindNode(own)));
    let is_bootstrap = |event: &&Event| matches!(event, Event::LookupDone { report, .. } if report.kind == LookupKind::Bootstrap);
    assert_eq!(stage.events.iter().filter(is_bootstrap).count(), 1);
}

#[test]
fn ages_of_any_size_are_accepted() {
    let (bytes, ..) = saved(20);
    let mut stage = restored(&bytes, &stage::limits(), 20, Duration::MAX);
    stage.run(secs(60));
    assert!(stage.node.node_count(Family::V4) >= 8);
}

/// Returns a state with `count` announcements, made one every five seconds.
fn saved_announces(count: u8) -> Vec<u8> {
    let mut stage = Stage::joined(100);
    for byte in 1..=count {
        stage.act(|node, now| node.start_announcing(now, infohash(byte), Announce::port(4242)).unwrap());
        stage.run(secs(5));
    }
    stage.node.snapshot(0)
}

/// Returns when the torrent was first looked up, in seconds from the beginning.
fn first_round(stage: &Stage, begun: dht_proto::Instant, infohash: InfoHash) -> Option<u64> {
    let first = stage.sent.iter().find(|sent| sent.what == What::GetPeers(infohash))?;
    Some((first.at - begun).as_secs())
}

#[test]
fn l_10_an_announcement_continues_after_a_restart_when_it_is_due() {
    let bytes = saved_announces(1);
    for (elapsed, expected) in [(0, 805..=1000), (300, 505..=700), (900, 0..=100), (5000, 0..=15)] {
        let mut stage = restored(&bytes, &stage::limits(), 100, secs(elapsed));
        let begun = stage.now;
        assert_eq!(stage.node.publication_count(), 1);
        stage.run(secs(1000));
        let first = first_round(&stage, begun, infohash(1)).unwrap();
        assert!(expected.contains(&first), "{first} s after {elapsed} s");
    }
}

#[test]
fn what_was_not_announced_before_a_restart_is_announced_soon() {
    let mut stage = Stage::joined(100);
    stage.hosts.values_mut().for_each(|host| host.refuses_announces = Some(202));
    stage.act(|node, now| node.start_announcing(now, infohash(1), Announce::port(4242)).unwrap());
    stage.run(secs(300));
    stage.act(|node, now| node.start_announcing(now, infohash(2), Announce::port(4242)).unwrap());
    let mut stage = restored(&stage.node.snapshot(0), &stage::limits(), 100, secs(20));
    let begun = stage.now;
    stage.run(secs(60));
    assert!([1, 2].iter().all(|byte| first_round(&stage, begun, infohash(*byte)) <= Some(5)));
    assert!([1, 2].iter().all(|byte| first_round(&stage, begun, infohash(*byte)).is_some()));
}

#[test]
fn a_restart_announces_neither_everything_at_once_nor_anything_too_late() {
    let bytes = saved_announces(60);
    let mut stage = restored(&bytes, &stage::limits(), 100, secs(60));
    let begun = stage.now;
    stage.run(secs(60));
    let early = (1..=60).filter(|byte| first_round(&stage, begun, infohash(*byte)).is_some()).count();
    assert!((2..=6).contains(&early), "{early} in the first minute, one each 15 s");
    stage.run(secs(940));
    for byte in 1..=60 {
        // They were announced 5 seconds apart, the first of them 360 seconds ago.
        let ago = 360 - u64::from(byte - 1) * 5;
        let first = first_round(&stage, begun, infohash(byte)).unwrap();
        assert!(first + ago <= 1000, "torrent {byte}: {first} s");
    }
}

#[test]
fn restored_announcements_can_be_listed_and_stopped() {
    let bytes = saved_announces(3);
    let mut stage = restored(&bytes, &stage::limits(), 100, secs(5000));
    let again = stage.act(|node, now| node.start_announcing(now, infohash(2), Announce::port(4242)).unwrap());
    let unwanted: Vec<_> =
        stage.node.announcements().map(|kept| kept.id).filter(|kept| *kept != again).collect();
    assert_eq!(unwanted.len(), 2);
    for kept in unwanted {
        assert!(stage.act(|node, _| node.stop_announcing(kept)));
    }
    let begun = stage.now;
    stage.run(secs(2000));
    assert!(first_round(&stage, begun, infohash(2)).is_some());
    assert!([1, 3].iter().all(|byte| first_round(&stage, begun, infohash(*byte)).is_none()));
}

#[test]
fn announcements_can_be_restored_one_by_one() {
    let bytes = saved_announces(3);
    let state = State::parse(&bytes).unwrap();
    let mut stage = Stage::joined(100);
    let restored = stage.act(|node, now| node.restore(now, &state.without_announces(), Duration::ZERO));
    assert_eq!((restored.announces, stage.node.publication_count()), (0, 0));
    let wanted = state.announces().find(|saved| saved.infohash == infohash(2)).unwrap();
    let kept = stage.act(|node, now| node.restore_announce(now, &wanted, secs(300)).unwrap());
    let due = stage.node.announcements().find(|other| other.id == kept).unwrap().due.unwrap();
    assert!((secs(670)..=secs(690)).contains(&(due - stage.now)), "{:?}", due - stage.now);
}

#[test]
fn restarts_in_quick_succession_do_not_delay_announcements() {
    let mut bytes = saved_announces(1);
    let mut announced = 0;
    for _ in 0..12 {
        let mut stage = restored(&bytes, &stage::limits(), 100, secs(20));
        let begun = stage.now;
        stage.run(secs(100));
        announced += usize::from(first_round(&stage, begun, infohash(1)).is_some());
        bytes = stage.node.snapshot(0);
    }
    assert_eq!(announced, 1, "once in 24 minutes");
}

#[cfg(feature = "items")]
#[test]
fn b44_31_a_publication_continues_after_a_restart_when_it_is_due() {
    use items::{VALUE, signed};

    let mut stage = Stage::joined(100);
    for item in [signed(5, VALUE), dht_proto::items::Item::immutable(VALUE).unwrap()] {
        stage.act(|node, now| node.start_publishing(now, &item).unwrap());
        stage.run(secs(5));
    }
    let bytes = stage.node.snapshot(0);
    for (elapsed, expected) in [(0, 1500..=3800), (3000, 0..=800), (20_000, 0..=15)] {
        let mut stage = restored(&bytes, &stage::limits(), 100, secs(elapsed));
        let begun = stage.now;
        assert_eq!(stage.node.publications().count(), 2);
        stage.run(secs(4000));
        for target in [signed(5, VALUE).target(), dht_proto::items::Item::immutable(VALUE).unwrap().target()]
        {
            let puts =
                || stage.sent.iter().filter(|sent| sent.put().is_some_and(|put| put.target == Some(target)));
            let first = (puts().next().unwrap().at - begun).as_secs();
            assert!(expected.contains(&first), "{first} s after {elapsed} s");
            assert!(puts().count() >= 8);
        }
        // The item that was put is the one that was signed.
        let signature = signed(5, VALUE).signature().copied();
        let held = stage.hosts.values().filter_map(|host| host.item.as_ref()?.signed);
        assert!(
            held.clone().count() >= 8 && held.map(|(_, _, held)| Some(held)).all(|held| held == signature)
        );
    }
}

#[cfg(feature = "items")]
#[test]
fn a_restored_item_that_was_replaced_meanwhile_is_not_put() {
    use items::{VALUE, signed};

    let mut stage = Stage::joined(100);
    stage.act(|node, now| node.start_publishing(now, &signed(5, VALUE)).unwrap());
    stage.run(secs(5));
    let mut stage = restored(&stage.node.snapshot(0), &stage::limits(), 100, secs(20_000));
    let newer = signed(6, b"3:new");
    let signed = (*newer.key().unwrap().as_bytes(), 6, *newer.signature().unwrap());
    let newer = stage::Copied { value: newer.value().to_vec(), signed: Some(signed) };
    stage.hosts.values_mut().for_each(|host| host.item = Some(newer.clone()));
    stage.run(secs(600));
    let kept = stage.node.publications().next().unwrap();
    assert_eq!((kept.newest, kept.is_spared), (Some(6), true));
    assert!(stage.sent.iter().all(|sent| sent.put().is_none()));
}
