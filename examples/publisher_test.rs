//! A test of a program in virtual time: a publisher of a mutable item and a resolver, written against the handle,
//! among nodes that come and go, on a network that loses 30 % of all datagrams. Six hours take seconds.
//!
//! ```text
//! cargo run --release --features sim --example publisher_test -- [SEED]
//! ```

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use dht_proto::items::{Item, PublicKey, Salt, SecretKey};
use dht_proto::net::DhtHandle;
use dht_proto::sim::{Churn, Growth, Nat, NatKind, Network, Profile, Returns, World};

/// How often the resolver looks, every ten minutes.
const LOOKUPS: usize = 36;

const MINUTE: Duration = Duration::from_secs(60);

/// The program under test. It publishes edition after edition, each in the place of the one before, and has the last
/// one republished; an edition that no node has stored is tried again. `sleep` is `tokio::time::sleep` in production.
async fn publish(
    dht: DhtHandle,
    secret: SecretKey,
    next: impl Fn() -> u64,
    published: impl Fn(u64),
    sleep: impl AsyncFn(Duration),
) {
    let mut publication = None;
    loop {
        let edition = next();
        let value = format!("i{edition}e");
        match dht.put_mutable(&secret, Salt::NONE, value.as_bytes()).await {
            Ok(outcome) if outcome.stored().is_ok() => {
                published(edition);
                publication = outcome.item.map(|item| dht.start_publishing(&item));
                sleep(30 * MINUTE).await;
            }
            _ => sleep(MINUTE).await,
        }
        // A newer edition takes its place, whether it is held or not.
        drop(publication.take());
    }
}

/// The other half: the newest edition that can be found. On such a network one lookup in some hundreds misses all nodes
/// that store it, so there are two.
async fn resolve(dht: &DhtHandle, key: PublicKey) -> Option<u64> {
    let mut newest = None;
    for _ in 0..2 {
        let outcome = dht.get_mutable(key, Salt::NONE).await.ok()?;
        newest = newest.max(outcome.item.as_ref().and_then(edition_of));
    }
    newest
}

fn edition_of(item: &Item) -> Option<u64> {
    str::from_utf8(item.value()).ok()?.strip_prefix('i')?.strip_suffix('e')?.parse().ok()
}

fn main() {
    let seed = std::env::args().nth(1).map_or(1, |seed| seed.parse().expect("a seed is a number"));
    let started = std::time::Instant::now();
    let mut network = Network::internet();
    network.loss = 0.3;
    let mut world = World::new(seed, network);

    // Half of the nodes leave within an hour and a half. They come back as others.
    let mut mortal = Profile::default();
    mortal.churn = Some(Churn { session: 90 * MINUTE, absence: 5 * MINUTE, returns: Returns::Renewed });
    let others = Arc::new(mortal.clone());
    world.grow(40, &Growth::default(), |_, _| Arc::clone(&others));

    // The publisher is behind a NAT, and is killed now and then. What it keeps on its disk is here.
    mortal.nat = Some(Nat::new(NatKind::PortRestricted));
    let secret = || SecretKey::from_bytes(&[9; 32]);
    let (edition, newest, starts) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (last, noted, counted) = (Rc::clone(&edition), Rc::clone(&newest), Rc::clone(&starts));
    world.add_task(mortal, move |dht, clock| {
        counted.set(counted.get() + 1);
        let (last, noted) = (Rc::clone(&last), Rc::clone(&noted));
        let next = move || last.replace(last.get() + 1) + 1;
        publish(
            dht,
            secret(),
            next,
            move |edition| noted.set(edition),
            async move |time| clock.sleep(time).await,
        )
    });

    let resolver = world.add_dht(Profile::default());
    let dht = world.dht(resolver).expect("it does not leave");
    world.run_for(10 * MINUTE);
    for _ in 0..LOOKUPS {
        let published = newest.get();
        let found = world.block_on(resolve(&dht, secret().public()), 5 * MINUTE).expect("a lookup ends");
        // What is being published meanwhile may be found already.
        assert!(found >= Some(published), "{found:?} is found, {published} is published");
        world.run_for(10 * MINUTE);
    }
    world.check().expect("no invariant is violated");
    println!(
        "{LOOKUPS} times in six hours the resolver found the newest of {} editions, from a publisher that started {} times; \
         {} datagrams were sent and {} lost, in {:.1} s",
        newest.get(),
        starts.get(),
        world.counters().sent,
        world.counters().lost,
        started.elapsed().as_secs_f64()
    );
}
