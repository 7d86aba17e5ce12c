//! Ten thousand lookups among real nodes, dropped at random moments, leak nothing.

use std::thread;
use std::time::Duration;

use crate::common::net::blocking::{addr, builder, network, under_way, wait_for};
use crate::common::net::tasks::at_work;
use crate::common::net::{PATIENCE, limits};
use dht_proto::sim::SimRng;
use dht_proto::{Announce, InfoHash, Limits, Lookup, LookupOptions};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

const USERS: u64 = 4;
const LOOKUPS_EACH: usize = 2500;

/// The most lookups of one user; those of all users fill the node.
const HELD: usize = 5;

/// Limits with fewer slots than the users need: the other lookups wait.
fn few() -> Limits {
    let mut few = limits();
    few.traversals = 12;
    few
}

#[test]
fn ten_thousand_lookups_from_threads_leak_nothing() {
    let nodes = network(6);
    let dht = builder().limits(few()).bootstrap([addr(&nodes[0]).to_string()]);
    let dht = dht.spawn().unwrap();
    assert_eq!(dht.ready().wait_timeout(PATIENCE), Ok(()));
    thread::scope(|scope| {
        for user in 0..USERS {
            let dht = &dht;
            scope.spawn(move || {
                let mut rng = SimRng::new(user);
                let (mut held, mut started) = (Vec::new(), 0);
                while started < LOOKUPS_EACH {
                    held.push(dht.lookup(any_lookup(&mut rng), LookupOptions::default()));
                    started += 1;
                    thread::sleep(any_moment(&mut rng));
                    if rng.below(HELD) == 0 || held.len() == HELD {
                        held.clear();
                    }
                }
            });
        }
    });
    wait_for("lookups and queries end", || dht.with(|node, _| under_way(node)).wait() == Ok((0, 0)));
}

/// Lookups are dropped faster than the node starts them.
#[test]
fn ten_thousand_lookups_that_are_dropped_at_once_leak_nothing() {
    let nodes = network(3);
    let dht = builder().limits(few()).bootstrap([addr(&nodes[0]).to_string()]).spawn().unwrap();
    assert_eq!(dht.ready().wait_timeout(PATIENCE), Ok(()));
    let mut rng = SimRng::new(1);
    for _ in 0..10_000 {
        drop(dht.lookup(any_lookup(&mut rng), LookupOptions::default()));
    }
    wait_for("lookups and queries end", || dht.with(|node, _| under_way(node)).wait() == Ok((0, 0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_lookups_from_tasks_leak_nothing() {
    let nodes = tokio::task::block_in_place(|| network(6));
    let start = addr(&nodes[0]).to_string();
    let owner = builder().limits(few()).bootstrap([start]).spawn_tokio().unwrap();
    assert_eq!(timeout(PATIENCE, owner.ready()).await, Ok(Ok(())));
    let users = (0..USERS).map(|user| {
        let dht = owner.handle();
        tokio::spawn(async move {
            let mut rng = SimRng::new(user);
            let (mut held, mut started) = (Vec::new(), 0);
            while started < LOOKUPS_EACH {
                held.push(dht.lookup(any_lookup(&mut rng), LookupOptions::default()));
                started += 1;
                if let Some(lookup) = held.last_mut() {
                    let _ = timeout(any_moment(&mut rng) * 4, lookup.recv()).await;
                }
                if rng.below(HELD) == 0 || held.len() == HELD {
                    held.clear();
                }
            }
        })
    });
    for user in Vec::from_iter(users) {
        user.await.unwrap();
    }
    soon("lookups and queries end", async || at_work(&owner).await == Ok((0, 0))).await;
    // A task that has ended is counted for a moment longer.
    let tasks = || Handle::current().metrics().num_alive_tasks();
    soon("no task but the node's own is left", async || tasks() == 1).await;
    owner.shutdown().await.unwrap();
    soon("no task is left", async || tasks() == 0).await;
}

async fn soon(what: &str, done: impl AsyncFn() -> bool) {
    let wait = async {
        while !done().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect(what);
}

fn any_lookup(rng: &mut SimRng) -> Lookup {
    let mut hash = [0; 20];
    hash[0] = rng.below(100) as u8;
    match rng.below(4) {
        0 => Lookup::FindNode(hash.into()),
        1 => Lookup::GetPeers(hash.into()),
        #[cfg(feature = "items")]
        2 => Lookup::GetImmutable(hash.into()),
        _ => Lookup::Announce(InfoHash::from(hash), Announce::port(4242)),
    }
}

/// Returns a time from before the first answer to after the last.
fn any_moment(rng: &mut SimRng) -> Duration {
    let most = rng.up_to(Duration::from_millis(2));
    rng.up_to(most)
}
