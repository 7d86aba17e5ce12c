//! Small versions of the worlds that the bench `worlds` measures: the results there must
//! hold here as well, within margins for their size. All times are virtual.

use std::sync::Arc;
use std::time::Duration;

use dht_proto::sim::{Growth, HostId, Network, Presence, Profile, Quantiles, World, limits};
use dht_proto::{Announce, Family, InfoHash, Lookup};

use crate::day::Day;
use crate::hosts;
use crate::internet::{Finding, Setting};
use crate::lab::secs;

fn found(findings: &[Finding]) -> usize {
    findings.iter().filter(|finding| finding.first_peer.is_some()).count()
}

/// Returns when this share of lookups had found the peer, in milliseconds.
fn quantile(findings: &[Finding], share: f64) -> u128 {
    let times = Quantiles::of(findings.iter().map(|it| it.first_peer));
    times.quantile(share).map_or(u128::MAX, |time| time.as_millis())
}

fn queries(findings: &[Finding]) -> f64 {
    findings.iter().map(|finding| finding.queries).sum::<u64>() as f64 / findings.len() as f64
}

#[test]
fn lookups_succeed_among_nats_and_the_dead() {
    let setting = Setting::internet(400, 60);
    let mut stage = setting.prepare(1);
    let [contacts, dead, closed] = stage.contacts();
    assert!(contacts > 40.0, "{contacts}");
    assert!((0.25..0.35).contains(&dead), "the dead are still listed: {dead}");
    assert!(closed < 0.03, "those that unknown hosts cannot reach are not: {closed}");
    let (ours, theirs) = (stage.ours(), setting.prepare(1).libtorrent());
    assert!(found(&ours) == 60 && found(&theirs) >= 57, "{} {}", found(&ours), found(&theirs));
    assert!(quantile(&ours, 0.5) <= 250 && quantile(&ours, 0.98) <= 1500, "{ours:?}");
    assert!(quantile(&ours, 0.98) <= quantile(&theirs, 0.98) * 2, "{ours:?} {theirs:?}");
    let (ours, theirs) = (queries(&ours), queries(&theirs));
    assert!(ours < 40.0 && ours < theirs * 1.7, "{ours} {theirs}");
}

#[test]
fn lookups_succeed_with_a_third_of_all_datagrams_lost() {
    let findings = Setting::lossy(300, 60).prepare(2).ours();
    assert!(found(&findings) >= 59, "{findings:?}");
    assert!(queries(&findings) < 45.0, "{findings:?}");
}

/// Under churn the tables must not fill with dead nodes, and keeping these out must not cost much.
#[test]
fn routing_tables_stay_accurate_under_churn() {
    for (limits, datagrams) in [(hosts::limits(), 45.0), (limits(200), 20.0)] {
        let mut day = Day::begin(5, 200, limits);
        let mut found = 0;
        for _ in 0..8 {
            let sample = day.sample(secs(1800), 5);
            assert!((185..=200).contains(&sample.nodes) && sample.contacts > 25.0, "{sample:?}");
            assert!(sample.live > 0.8 && sample.found >= 3, "{sample:?}");
            found += sample.found;
            assert!(sample.datagrams < datagrams, "{sample:?}");
            assert!(sample.pings + sample.find_nodes < sample.datagrams, "{sample:?}");
        }
        assert!(found >= 36, "{found} of 40");
    }
}

#[test]
fn r_20_nodes_look_up_and_are_found_at_once_after_ten_minutes_without_a_link() {
    let mut world = World::new(4, Network::internet());
    let profile = Arc::new(Profile::default());
    let hosts = world.grow(200, &Growth::default(), |_, _| Arc::clone(&profile));
    world.run_for(secs(1200));
    let (cut, up): (Vec<HostId>, Vec<HostId>) = hosts.iter().partition(|host| host.index() % 8 == 3);
    let table = |world: &World, host: HostId| -> Vec<_> {
        world.node(host).expect("it is there").nodes(Family::V4).map(|info| info.addr).collect()
    };
    let infohash = |at: usize| InfoHash::from_bytes([at as u8; 20]);
    for (at, host) in cut.iter().enumerate() {
        world.lookup(up[at], Lookup::Announce(infohash(at), Announce::port(7)));
        world.lookup(*host, Lookup::Announce(infohash(at + 100), Announce::port(8)));
    }
    let before: Vec<_> = cut.iter().map(|host| table(&world, *host)).collect();
    cut.iter().for_each(|host| world.cut(*host, secs(600)));
    world.run_for(secs(600) - Duration::from_millis(1));
    assert!(cut.iter().all(|host| world.presence(*host) == Presence::Offline));
    for (host, before) in cut.iter().zip(&before) {
        let kept = table(&world, *host);
        let lost = before.iter().filter(|addr| !kept.contains(addr)).count();
        assert_eq!(lost, 0, "of {} at {host:?}", before.len());
    }
    world.run_for(Duration::from_millis(2));
    let start =
        |world: &mut World, host, at| world.start(host, Lookup::GetPeers(infohash(at))).expect("it starts");
    let finds: Vec<_> = (0..cut.len()).map(|at| start(&mut world, cut[at], at)).collect();
    let founds: Vec<_> = (0..cut.len()).map(|at| start(&mut world, up[at + 30], at + 100)).collect();
    world.settle(secs(60));
    for record in finds.into_iter().chain(founds) {
        let lookup = world.take_record(record).expect("it is followed");
        assert!(lookup.first_peer().is_some_and(|at| at < secs(5)), "{lookup:?}");
    }
    world.check().unwrap();
}
