//! Announcements: when they are repeated, how many at a time, and when they are not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use dht_proto::errors::{Limit, PublishError};
use dht_proto::{
    Announce, Event, Fixed, InfoHash, Instant, Limits, LookupReport, Node, NodeId, PublicationId, RateLimit,
    StartError, Storage,
};

use crate::stage::{Stage, What, addr, config, id, infohash, limits, ms, secs};

const HOUR: Duration = secs(3600);

fn keep<S: Storage>(stage: &mut Stage<S>, infohash: InfoHash, port: u16) -> PublicationId {
    stage.act(|node, now| node.start_announcing(now, infohash, Announce::port(port)).unwrap())
}

fn keep_many<S: Storage>(stage: &mut Stage<S>, indices: Range<usize>) {
    for index in indices {
        stage.node.start_announcing(stage.now, hash(index), Announce::port(4242)).unwrap();
    }
}

/// Returns the reports of republishes, of one announcement or all.
fn rounds<S: Storage>(stage: &Stage<S>, of: Option<PublicationId>) -> Vec<LookupReport> {
    let done = stage.events.iter().filter_map(|event| match event {
        Event::LookupDone { report, .. } if report.publication.is_some() => Some(*report),
        _ => None,
    });
    done.filter(|report| of.is_none() || report.publication == of).collect()
}

/// Returns the times of the first `get_peers` of each republish.
fn starts<S: Storage>(stage: &Stage<S>, infohash: InfoHash) -> Vec<Instant> {
    let asked = stage.sent.iter().filter(|sent| sent.what == What::GetPeers(infohash)).map(|sent| sent.at);
    asked.fold(Vec::new(), |mut starts, at| {
        if starts.last().is_none_or(|&last| at - last > secs(30)) {
            starts.push(at);
        }
        starts
    })
}

fn hash(index: usize) -> InfoHash {
    InfoHash::from(id(1_000_000 + index))
}

#[test]
fn l_10_an_announcement_is_repeated_every_15_minutes_until_it_is_stopped() {
    let mut stage = Stage::joined(100);
    for host in stage.hosts.values_mut() {
        host.peers = vec![SocketAddr::from(([70, 1, 2, 3], 7000))];
    }
    let kept = keep(&mut stage, infohash(1), 4242);
    stage.run(4 * HOUR);
    let reports = rounds(&stage, Some(kept));
    assert!((15..=18).contains(&reports.len()), "{}", reports.len());
    for report in &reports {
        assert_eq!((report.sent, report.acknowledged, report.peers), (8, 8, 1));
        assert_eq!(report.target, NodeId::from_bytes([1; 20]));
    }
    let starts = starts(&stage, infohash(1));
    let pauses: Vec<Duration> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.iter().all(|pause| (secs(810)..secs(1000)).contains(pause)), "{pauses:?}");
    assert!(pauses.iter().any(|pause| pause.abs_diff(pauses[0]) > secs(10)), "they vary: {pauses:?}");
    let acknowledged = stage.events.iter().filter(|event| matches!(event, Event::Acknowledged { .. }));
    assert_eq!(acknowledged.count(), 8 * reports.len());
    let holders = stage.hosts.iter().filter(|(_, host)| host.stored == [4242]).map(|(addr, _)| *addr);
    let closest = stage.closest_hosts(NodeId::from_bytes([1; 20]), addr(0));
    assert_eq!(holders.collect::<BTreeSet<_>>(), closest.into_iter().map(|(_, addr)| addr).collect());

    let state = stage.node.announcements().next().unwrap();
    assert_eq!((state.id, state.infohash, state.announce), (kept, infohash(1), Announce::port(4242)));
    assert_eq!((state.round, state.last.unwrap().acknowledged), (None, 8));
    assert!(state.due.unwrap() > stage.now && state.last.unwrap().ended < stage.now);

    assert!(stage.act(|node, _| node.stop_announcing(kept)));
    assert!(!stage.act(|node, _| node.stop_announcing(kept)), "an id is not reused");
    let stopped = stage.now;
    stage.run(2 * HOUR);
    assert_eq!(stage.count(stopped, |sent| sent.is_get_peers() || sent.is_announce()), 0);
    assert_eq!(stage.node.publication_count(), 0);
}

#[test]
fn a_republish_names_its_announcement_and_ends_silently_with_it() {
    let mut stage = Stage::joined(100);
    let kept = keep(&mut stage, infohash(1), 4242);
    stage.run(ms(200));
    let lookup = stage.node.announcements().next().unwrap().round.expect("it is running");
    assert_eq!(stage.node.lookup_report(lookup).unwrap().publication, Some(kept));
    let (events, stopped) = (stage.events.len(), stage.now);
    assert!(stage.act(|node, _| node.stop_announcing(kept)));
    stage.run(HOUR);
    assert_eq!(stage.node.lookup_report(lookup), None);
    assert!(!stage.events[events..].iter().any(|event| {
        matches!(event, Event::Acknowledged { .. } | Event::Peer { .. } | Event::LookupDone { .. })
    }));
    assert_eq!(stage.count(stopped, |sent| sent.is_get_peers() || sent.is_announce()), 0);

    // A lookup of the user is not a republish; cancelling one republish does not stop the next.
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    assert_eq!(stage.finish(lookup).publication, None);
    stage.run(secs(10));
    let kept = keep(&mut stage, infohash(2), 4242);
    stage.run(ms(100));
    let lookup = stage.node.announcements().next().unwrap().round.unwrap();
    assert!(stage.act(|node, _| node.cancel(lookup)));
    stage.run(secs(800));
    assert_eq!(rounds(&stage, Some(kept)).len(), 0);
    stage.run(secs(300));
    assert_eq!(rounds(&stage, Some(kept)).len(), 1);
}

#[test]
fn c_11_a_torrent_has_one_announcement_and_limits_are_reported() {
    let mut short = limits();
    short.publications = 2;
    let mut stage = Stage::with_limits(config(), &short);
    stage.join(60);
    let first = keep(&mut stage, infohash(1), 4242);
    keep(&mut stage, infohash(2), 4242);
    let refused = |stage: &mut Stage, byte, port| {
        stage.act(|node, now| node.start_announcing(now, infohash(byte), Announce::port(port)).unwrap_err())
    };
    assert_eq!(refused(&mut stage, 3, 4242), PublishError::Full { limit: Limit::Publications, size: 2 });
    assert_eq!(refused(&mut stage, 1, 0), PublishError::PortZero);
    stage.run(secs(60));
    assert_eq!(rounds(&stage, None).len(), 2);
    assert_eq!(keep(&mut stage, infohash(1), 4242), first, "the same again");
    stage.run(secs(60));
    assert_eq!(rounds(&stage, None).len(), 2, "changes nothing");
    assert_eq!(keep(&mut stage, infohash(1), 4343), first);
    stage.run(secs(60));
    assert_eq!(rounds(&stage, Some(first)).len(), 2, "another port is announced at once");
    assert_eq!(stage.hosts.values().filter(|host| host.stored.contains(&4343)).count(), 8);
    assert!(stage.act(|node, _| node.stop_announcing(first)));
    keep(&mut stage, infohash(3), 4242);

    let mut none = limits();
    none.publications = 0;
    let mut stage = Stage::with_limits(config(), &none);
    assert_eq!(refused(&mut stage, 1, 1), PublishError::TooSmall { limit: Limit::Publications, size: 0 });
}

#[test]
fn c_11_a_thousand_announcements_are_spread_evenly_over_time() {
    const COUNT: usize = 1000;
    let mut stage = Stage::new(config());
    stage.join(400);
    let begun = stage.now;
    keep_many(&mut stage, 0..COUNT);
    stage.run(secs(50 * 60));
    let mut per_second = BTreeMap::<u64, usize>::new();
    for sent in stage.sent.iter().filter(|sent| sent.at > begun) {
        *per_second.entry(sent.at.as_micros() / 1_000_000).or_default() += 1;
    }
    let total: usize = per_second.values().sum();
    let most = per_second.values().max().unwrap();
    let mut last = BTreeMap::<InfoHash, Instant>::new();
    let mut pauses = Vec::new();
    for sent in stage.sent.iter().filter(|sent| sent.at >= begun) {
        let What::GetPeers(infohash) = sent.what else { continue };
        let before = last.insert(infohash, sent.at).unwrap_or(begun);
        if sent.at - before > secs(30) {
            pauses.push(sent.at - before);
        }
    }
    println!(
        "{total} datagrams, {:.1} a second, {most} at most, {} rounds, pauses up to {:?}",
        total as f64 / 3000.0,
        rounds(&stage, None).len(),
        pauses.iter().max()
    );
    assert!(*most <= 100, "{most} datagrams in one second");
    assert!(total / 3000 <= 40);
    assert_eq!(last.len(), COUNT, "all of them were announced");
    // 1000 of them take 1280 s; new and overdue ones share the beginning.
    assert!(pauses.iter().all(|pause| *pause < secs(2000)), "{:?}", pauses.iter().max());
    assert!(rounds(&stage, None).iter().all(|report| report.acknowledged == 8));
    // The newest came first.
    let first = stage.sent.iter().find(|sent| sent.at >= begun && sent.is_get_peers()).unwrap();
    assert_eq!(first.what, What::GetPeers(hash(COUNT - 1)));
}

#[test]
fn c_11_fifty_announcements_are_first_announced_within_seconds() {
    let mut stage = Stage::with_limits(config(), &Limits::default());
    stage.join(300);
    let begun = stage.now;
    keep_many(&mut stage, 0..50);
    stage.run(ms(50));
    let started = stage.sent.iter().filter_map(|sent| match sent.what {
        What::GetPeers(infohash) if sent.at >= begun => Some(infohash),
        _ => None,
    });
    let started = started.collect::<BTreeSet<_>>().len();
    assert!((28..=32).contains(&started), "{started} in half of the 64 lookups, except for other traversals");
    let begun = stage.now;
    while rounds(&stage, None).len() < 50 && stage.now < begun + HOUR {
        stage.run(ms(100));
    }
    println!("the last has ended after {:?}", stage.now - begun + ms(50));
    assert!(stage.now - begun < secs(10), "{:?}", stage.now - begun);
    let targets: BTreeSet<NodeId> = rounds(&stage, None).iter().map(|report| report.target).collect();
    assert_eq!(targets.len(), 50);
    assert!(rounds(&stage, None).iter().all(|report| report.acknowledged == 8));
}

/// A user who always has another lookup to start occupies every slot as soon as it is free.
#[test]
fn c_11_one_slot_is_left_to_republishes_when_user_lookups_take_all_others() {
    const COUNT: usize = 40;
    let mut stage = Stage::joined(300);
    let mut lookups = 0_usize;
    let mut fill = |stage: &mut Stage| {
        while stage.act(|node, now| node.get_peers(now, hash(5000 + lookups))).is_ok() {
            lookups += 1;
        }
        lookups
    };
    fill(&mut stage);
    keep_many(&mut stage, 0..COUNT);
    let end = stage.now + secs(120);
    while stage.now < end {
        fill(&mut stage);
        stage.run(ms(20));
    }
    let targets: BTreeSet<NodeId> = rounds(&stage, None).iter().map(|report| report.target).collect();
    println!("{} announces beside {} lookups in two minutes", targets.len(), fill(&mut stage));
    assert_eq!(targets.len(), COUNT, "each has been announced once");
    assert!(fill(&mut stage) > 1000, "and lookups continued");
}

#[test]
fn c_11_user_lookups_start_at_once_beside_a_thousand_announcements() {
    let mut stage = Stage::new(config());
    stage.join(400);
    keep_many(&mut stage, 0..1000);
    let mut slowest = Duration::ZERO;
    for index in 0..20 {
        stage.run(secs(30));
        let begun = stage.now;
        let lookup = stage.act(|node, now| node.get_peers(now, hash(2000 + index)).unwrap());
        assert!(stage.finish(lookup).answered >= 8);
        slowest = slowest.max(stage.now - begun);
    }
    println!("the slowest of 20 lookups took {slowest:?}");
    assert!(slowest < secs(2), "{slowest:?}");
}

/// A user who looks up all the time leaves no budget of new endpoints for republishes.
#[test]
fn c_11_continuous_user_lookups_do_not_starve_republishes() {
    let mut config = config();
    config.new_endpoints = RateLimit::new(2, 20);
    let mut stage = Stage::new(config);
    stage.join(400);
    keep_many(&mut stage, 0..100);
    let (before, begun) = (rounds(&stage, None).len(), stage.now);
    let mut lookups = 0;
    while stage.now < begun + secs(600) {
        while stage.node.lookup_count() < 12 {
            lookups += 1;
            stage.act(|node, now| node.get_peers(now, hash(3000 + lookups)).unwrap());
        }
        stage.run(ms(500));
    }
    let count = rounds(&stage, None).len() - before;
    println!("{count} republishes in ten minutes beside {lookups} lookups");
    // The budget allows one in 16 s; ten more start because they have waited too long.
    assert!((15..=30).contains(&count), "{count}");
}

#[test]
fn c_11_republishes_wait_while_the_link_is_down_and_continue_afterwards() {
    let mut stage = Stage::joined(100);
    keep_many(&mut stage, 0..20);
    stage.run(secs(600));
    assert!(rounds(&stage, None).len() >= 20);
    stage.is_offline = true;
    let cut = stage.now;
    stage.run(HOUR);
    let in_vain = stage.count(cut + secs(300), |sent| sent.is_get_peers());
    assert_eq!(in_vain, 0, "no lookup is started in vain for an hour");
    stage.is_offline = false;
    let (back, events) = (stage.now, stage.events.len());
    stage.run(secs(120));
    let again: BTreeSet<NodeId> = stage.events[events..]
        .iter()
        .filter_map(|event| match event {
            Event::LookupDone { report, .. } if report.acknowledged == 8 => {
                report.publication.map(|_| report.target)
            }
            _ => None,
        })
        .collect();
    assert_eq!(again.len(), 20, "all are announced again within two minutes");
    let within = |from: Instant| stage.count(from, |sent| sent.is_get_peers() && sent.at < from + secs(1));
    let most = (0..120).map(|second| within(back + secs(second))).max().unwrap();
    assert!(most <= 100, "{most} queries in one second");
}

#[test]
fn c_11_republishes_continue_after_sleep() {
    let mut stage = Stage::joined(60);
    let kept = keep(&mut stage, infohash(1), 4242);
    stage.run(secs(60));
    assert_eq!(rounds(&stage, Some(kept)).len(), 1);
    stage.act(|node, now| node.handle_resume(now, 2 * HOUR));
    stage.run(secs(60));
    assert_eq!(rounds(&stage, Some(kept)).len(), 2);
    let state = stage.node.announcements().next().unwrap();
    let due = state.due.unwrap();
    assert!(due > stage.now + secs(900) && due < stage.now + secs(1000), "on the clock of the caller");
}

#[test]
fn c_11_an_unacknowledged_republish_is_repeated_after_growing_pauses() {
    let mut stage = Stage::joined(60);
    stage.hosts.values_mut().for_each(|host| host.refuses_announces = Some(202));
    let kept = keep(&mut stage, infohash(1), 4242);
    stage.run(secs(60 + 120 + 240 + 60));
    let failed = rounds(&stage, Some(kept));
    assert!(failed.iter().all(|report| report.acknowledged == 0));
    assert_eq!(failed.len(), 4, "at once, after one minute, two, and four");
    assert_eq!(stage.node.announcements().next().unwrap().last.unwrap().acknowledged, 0);
    stage.hosts.values_mut().for_each(|host| host.refuses_announces = None);
    stage.run(secs(480));
    assert_eq!(rounds(&stage, Some(kept))[4].acknowledged, 8);
    stage.run(secs(800));
    assert_eq!(rounds(&stage, Some(kept)).len(), 5, "then it returns to its interval");
}

#[test]
fn nothing_is_announced_before_the_dht_is_joined() {
    let mut stage = Stage::new(config());
    let kept = keep(&mut stage, infohash(1), 4242);
    stage.run(HOUR);
    assert_eq!(stage.sent.len(), 0);
    stage.join(60);
    assert_eq!(rounds(&stage, Some(kept)).len(), 1);
}

#[test]
fn c_11_user_lookups_preempt_a_republish() {
    let mut few = limits();
    few.traversals = 1;
    let mut stage = Stage::with_limits(config(), &few);
    stage.join(60);
    stage.run(secs(600));
    let kept = keep(&mut stage, infohash(1), 4242);
    stage.run(ms(100));
    assert!(stage.node.announcements().next().unwrap().round.is_some());
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(2)).unwrap());
    let refused = stage.act(|node, now| node.get_peers(now, infohash(3)));
    let full = StartError::Full { limit: Limit::Traversals, size: 1 };
    assert_eq!(refused, Err(full), "one republish used one slot");
    assert_eq!(stage.node.announcements().next().unwrap().round, None);
    assert!(stage.finish(lookup).answered >= 8);
    assert_eq!(rounds(&stage, Some(kept)).len(), 0);
    stage.run(secs(30));
    assert_eq!(rounds(&stage, Some(kept)).len(), 1, "the republish is delayed");
}

#[test]
fn c_11_a_read_only_node_in_fixed_memory_republishes_announcements() {
    let mut config = config();
    config.read_only = true;
    let now = Instant::from_micros(1_000_000);
    let mut memory = <Fixed>::new();
    let mut stage = Stage::on(Node::with_storage(config, &mut memory, [7; 32], now), now);
    stage.join(60);
    keep_many(&mut stage, 0..8);
    let refused = stage.act(|node, now| node.start_announcing(now, hash(8), Announce::port(1)));
    assert_eq!(refused, Err(PublishError::Full { limit: Limit::Publications, size: 8 }));
    stage.run(2 * HOUR);
    let count = rounds(&stage, None).len();
    assert!((60..=80).contains(&count), "{count}");
    assert!(stage.sent.iter().all(|sent| sent.read_only));
}

#[test]
fn the_same_seed_republishes_at_the_same_times() {
    let transcript = |count| {
        let mut stage = Stage::with_limits(config(), &Limits::default());
        stage.join(60);
        keep_many(&mut stage, 0..count);
        stage.run(HOUR);
        stage.transcript
    };
    assert_eq!(transcript(5), transcript(5));
    assert_ne!(transcript(5), transcript(6));
}
