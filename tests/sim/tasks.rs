//! Tasks that use their node by a handle, in virtual time.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use dht_proto::crawl::CrawlOptions;
use dht_proto::net::{CallError, DhtHandle};
use dht_proto::sim::{Churn, Nat, NatKind, Network, Presence, Profile, Returns, SimClock, World};
use dht_proto::{Announce, Event, Family, Instant, Lookup, LookupOptions, StartError};

use crate::lab::{infohash, secs, world};

const PATIENCE: Duration = Duration::from_secs(120);

fn behind_nat() -> Profile {
    let mut profile = Profile::default();
    profile.nat = Some(Nat::new(NatKind::PortRestricted));
    profile
}

fn restless() -> Profile {
    let mut profile = behind_nat();
    profile.churn = Some(Churn { session: secs(900), absence: secs(60), returns: Returns::Renewed });
    profile
}

/// Announces a torrent every ten minutes, counts its peers in between, and writes down when and how many.
async fn peer(dht: DhtHandle, clock: SimClock, log: Rc<RefCell<Vec<(Instant, usize)>>>) {
    dht.ready().await.unwrap();
    let _announcement = dht.start_announcing(infohash(1), Announce::port(6881));
    loop {
        clock.sleep(secs(600)).await;
        let (mut lookup, mut found) = (dht.get_peers(infohash(1)), 0);
        while lookup.recv().await.unwrap().is_some() {
            found += 1;
        }
        log.borrow_mut().push((clock.now(), found));
    }
}

#[test]
fn the_seed_decides_what_tasks_do_as_well() {
    let run = |seed| {
        let (mut world, _) = world(seed, Network::internet(), 30);
        let (profile, log) = (Arc::new(restless()), Rc::new(RefCell::new(Vec::new())));
        for _ in 0..4 {
            let log = Rc::clone(&log);
            world.add_task(Arc::clone(&profile), move |dht, clock| peer(dht, clock, Rc::clone(&log)));
        }
        world.run_for(secs(3 * 3600));
        world.check().unwrap();
        let log = log.borrow().clone();
        assert!(log.len() > 20 && log.iter().any(|(_, found)| *found >= 3), "{log:?}");
        (world.transcript(), *world.counters(), log)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn what_a_task_behind_a_nat_announces_a_handle_from_outside_finds() {
    let (mut world, _) = world(3, Network::internet(), 30);
    let announcer = world.add_task(behind_nat(), |dht, _| async move {
        dht.ready().await.unwrap();
        let announced = dht.announce(infohash(1), Announce::port(7777)).await.unwrap();
        assert!(announced.acknowledged.len() >= 8);
        assert!(matches!(dht.local_addr(Family::V4), Some(addr) if addr.port() == 6881));
    });
    let seeker = world.add_dht(Profile::default());
    world.run_for(secs(30));
    let dht = world.dht(seeker).unwrap();
    let found = world.block_on(async { dht.get_peers(infohash(1)).recv().await }, PATIENCE);
    assert_eq!(found, Some(Ok(Some(SocketAddr::new(world.addr(announcer).ip(), 7777)))));
    assert!(world.dht(announcer).is_some(), "its node goes on though the task has ended");
    assert!(world.dht(world.hosts().next().unwrap()).is_none());
}

#[test]
fn a_call_from_outside_wakes_its_node_without_the_passing_of_time() {
    let mut world = World::new(1, Network::perfect());
    let host = world.add_dht(Profile::default());
    world.run_for(secs(1));
    let (dht, before) = (world.dht(host).unwrap(), world.now());
    assert_eq!(world.block_on(dht.node_count(Family::V4), Duration::ZERO), Some(Ok(0)));
    let time = world.block_on(dht.with(|_, now| now), Duration::ZERO);
    assert_eq!(time, Some(Ok(before)));
    assert_eq!(world.now(), before);
    assert_eq!(world.block_on(dht.ready(), secs(5)), None, "there is nobody to join");
    assert_eq!(world.now(), before + secs(5));
    let refused = dht.announce(infohash(1), Announce::port(0));
    let refused = world.block_on(refused, Duration::ZERO).unwrap();
    assert_eq!(refused, Err(CallError::Start(StartError::PortZero)));
}

#[test]
fn churn_starts_a_task_anew_with_another_handle() {
    let (mut world, _) = world(4, Network::internet(), 20);
    let handles = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&handles);
    let host = world.add_task(restless(), move |dht, clock| {
        kept.borrow_mut().push(dht.clone());
        async move {
            loop {
                clock.sleep(secs(30)).await;
                // Its own node is there as long as it is.
                dht.node_count(Family::V4).await.unwrap();
            }
        }
    });
    world.run_for(secs(4 * 3600));
    world.set_churn(host, None);
    if world.node(host).is_none() {
        world.restart(host);
    }
    let handles = handles.borrow();
    assert!((4..40).contains(&handles.len()), "{}", handles.len());
    let (last, ended) = handles.split_last().unwrap();
    for dht in ended {
        assert_eq!(world.block_on(dht.stats(), Duration::ZERO), Some(Err(CallError::Closed)));
    }
    assert!(world.block_on(last.stats(), Duration::ZERO).unwrap().is_ok());
}

#[test]
fn what_is_dropped_is_cancelled() {
    let (mut world, hosts) = world(5, Network::internet(), 20);
    let hole = world.addr(hosts[0]);
    world.kill(hosts[0]);
    let asking = move || {
        let mut options = LookupOptions::default();
        (options.only, options.timeout) = (Some(hole), PATIENCE);
        options
    };
    let host = world.add_task(Profile::default(), move |dht, clock| async move {
        dht.ready().await.unwrap();
        loop {
            let held = (dht.lookup(Lookup::GetPeers(infohash(7)), asking()), dht.ping(hole));
            clock.sleep(secs(2)).await;
            drop(held);
            clock.sleep(secs(2)).await;
        }
    });
    let is_busy = |world: &World| {
        let (lookups, queries) =
            world.node(host).map(|node| (node.lookup_count(), node.query_count())).unwrap();
        lookups > 0 && queries > 0
    };
    assert!(world.run_until(is_busy, PATIENCE));
    let is_idle = |world: &World| world.node(host).is_some_and(|node| node.lookup_count() == 0);
    assert!(world.run_until(is_idle, secs(3)));
    // The node leaves with what its task holds: nothing is in the way.
    assert!(world.run_until(is_busy, PATIENCE));
    world.kill(host);
    world.run_for(secs(60));
}

#[test]
fn c_17_the_end_of_a_node_is_an_error_for_whoever_waits_and_never_a_hang() {
    let (mut world, hosts) = world(6, Network::internet(), 20);
    let hole = world.addr(hosts[0]);
    world.kill(hosts[0]);
    let host = world.add_dht(Profile::default());
    world.run_for(secs(30));
    let dht = world.dht(host).unwrap();
    let mut options = LookupOptions::default();
    (options.only, options.timeout) = (Some(hole), PATIENCE);
    let (mut lookup, ping) = (dht.lookup(Lookup::GetPeers(infohash(1)), options), dht.ping(hole));
    let mut announcement = dht.start_announcing(infohash(1), Announce::port(1));
    let (mut crawl, mut events) = (dht.crawl(CrawlOptions::default()), dht.subscribe());
    world.run_for(secs(1));
    let unheard = dht.stats();
    world.kill(host);
    assert_eq!(world.presence(host), Presence::Gone);
    let ended = async {
        assert_eq!(ping.await, Err(CallError::Closed));
        assert_eq!(unheard.await, Err(CallError::Closed));
        assert_eq!(dht.stats().await, Err(CallError::Closed));
        assert_eq!(lookup.recv().await, Err(CallError::Closed));
        while announcement.recv().await.is_ok() {}
        while crawl.recv().await.is_ok() {}
        while events.recv().await.is_ok() {}
        assert_eq!(dht.get_peers(infohash(2)).await, Err(CallError::Closed));
    };
    assert_eq!(world.block_on(ended, Duration::ZERO), Some(()));
    assert!(world.dht(host).is_none());
    world.restart(host);
    let dht = world.dht(host).unwrap();
    assert_eq!(world.block_on(dht.ready(), PATIENCE), Some(Ok(())));
}

/// The end of a world is that of its nodes.
#[test]
fn handles_outlive_their_world_and_say_so() {
    let mut world = World::new(1, Network::perfect());
    let host = world.add_dht(Profile::default());
    let dht = world.dht(host).unwrap();
    let call = dht.stats();
    drop(world);
    assert_eq!(call.wait(), Err(CallError::Closed));
    assert_eq!(dht.stats().wait(), Err(CallError::Closed));
}

#[test]
fn a_task_and_its_clock_stand_still_while_the_host_sleeps() {
    let mut world = World::new(1, Network::perfect());
    let ticks = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&ticks);
    let start = world.now();
    let host = world.add_task(Profile::default(), move |dht, clock| {
        let log = Rc::clone(&log);
        async move {
            loop {
                clock.sleep(secs(60)).await;
                log.borrow_mut().push((clock.now() - start).as_secs());
                assert_eq!(dht.with(|_, now| now).await.unwrap(), clock.now());
            }
        }
    });
    world.run_for(secs(90));
    world.sleep(host, secs(3600));
    let call = world.dht(host).unwrap().stats();
    world.run_for(secs(1800));
    assert_eq!(*ticks.borrow(), [60]);
    // Whoever calls it waits until it is awake.
    assert!(world.block_on(call, secs(1900)).unwrap().is_ok());
    assert!(world.now() - start >= secs(3690));
    world.run_for(secs(60));
    assert_eq!(*ticks.borrow(), [60, 120]);
    world.set_clock_ahead(host, secs(600));
    world.run_for(secs(1));
    assert_eq!(ticks.borrow().len(), 3);
    assert_eq!(
        world.block_on(world.dht(host).unwrap().stats(), Duration::ZERO).unwrap().unwrap().interrupted,
        0
    );
}

#[test]
fn a_task_calls_the_node_of_another_host() {
    let (mut world, _) = world(7, Network::internet(), 20);
    let storing = world.add_dht(Profile::default());
    let other = world.dht(storing).unwrap();
    let (start, told) = (world.now(), Rc::new(Cell::new(None)));
    let log = Rc::clone(&told);
    world.add_task(Profile::default(), move |dht, clock| {
        let (other, log) = (other.clone(), Rc::clone(&log));
        async move {
            clock.sleep(secs(5)).await;
            let peer = "24.1.2.3:5".parse().unwrap();
            other.store_peer(infohash(5), peer, false).await.unwrap();
            // A call takes no time, a query does.
            log.set(Some(clock.now()));
            let pong = dht.ping(other.local_addr(Family::V4).unwrap()).await.unwrap();
            assert!(pong.rtt > Duration::ZERO);
            assert_eq!(clock.timeout(secs(1), core::future::pending::<()>()).await, None);
        }
    });
    world.run_for(secs(30));
    assert_eq!(told.get(), Some(start + secs(5)));
    let peers = world.node(storing).unwrap().stored_peers(infohash(5)).count();
    assert_eq!(peers, 1);
}

/// What a world does with nodes, it does with those as well.
#[test]
fn a_node_behind_a_handle_is_a_node_of_the_world() {
    let (mut world, hosts) = world(9, Network::internet(), 20);
    let host = world.add_dht(Profile::default());
    world.watch(host);
    world.run_for(secs(30));
    world.lookup(hosts[3], Lookup::Announce(infohash(1), Announce::port(1)));
    let record = world.lookup(host, Lookup::GetPeers(infohash(1)));
    assert_eq!((record.peers.len(), record.report().unwrap().peers), (1, 1));
    assert!(world.events(host).iter().any(|(_, event)| matches!(event, Event::Ready { .. })));
    assert!(world.node(host).unwrap().node_count(Family::V4) > 8);
    world.crawl(host, CrawlOptions::default());
    world.run_for(secs(60));
    assert_eq!(world.crawled(host).len(), 1);
    world.check().unwrap();
}

#[test]
fn c_17_a_node_behind_a_handle_is_switched_off_and_on() {
    let (mut world, hosts) = world(8, Network::internet(), 20);
    let host = world.add_dht(Profile::default());
    let (dht, addr) = (world.dht(host).unwrap(), world.addr(host));
    assert_eq!(world.block_on(dht.ready(), PATIENCE), Some(Ok(())));
    assert_eq!(dht.local_addr(Family::V4), Some(addr));
    let off = async {
        dht.set_enabled(false).await.unwrap();
        assert_eq!((dht.is_enabled(), dht.local_addr(Family::V4)), (false, None));
        assert_eq!(dht.get_peers(infohash(1)).await, Err(CallError::Start(StartError::Disabled)));
        assert!(matches!(dht.rebind(Some(addr)).await, Err(CallError::Io(_))));
        dht.set_enabled(true).await.unwrap();
        assert_eq!((dht.is_enabled(), dht.local_addr(Family::V4)), (true, Some(addr)));
        dht.rebind(None).await.unwrap();
        dht.ready().await.unwrap();
        dht.announce(infohash(1), Announce::port(1)).await.unwrap()
    };
    assert!(!world.block_on(off, PATIENCE).unwrap().acknowledged.is_empty());
    assert_eq!(world.lookup(hosts[3], Lookup::GetPeers(infohash(1))).peers.len(), 1);
    world.check().unwrap();
}

#[test]
#[should_panic(expected = "inside of a simulated world")]
fn a_task_that_blocks_is_caught_with_a_message_that_helps() {
    let mut world = World::new(1, Network::perfect());
    world.add_task(Profile::default(), |dht, _| async move { drop(dht.stats().wait()) });
    world.run_for(secs(1));
}

#[test]
#[should_panic(expected = "inside of a simulated world")]
fn a_future_from_outside_that_blocks_is_caught_too() {
    let mut world = World::new(1, Network::perfect());
    let host = world.add_dht(Profile::default());
    let dht = world.dht(host).unwrap();
    world.block_on(async { dht.stats().wait() }, secs(1));
}

#[test]
#[should_panic(expected = "livelock at")]
fn a_task_that_never_waits_is_told() {
    let mut world = World::new(1, Network::perfect());
    world.add_task(Profile::default(), |dht, _| async move {
        loop {
            dht.stats().await.unwrap();
        }
    });
}
