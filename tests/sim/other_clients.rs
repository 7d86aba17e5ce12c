//! The models of other clients show the known traits of these clients, so that
//! the comparison with them is credible.

use std::time::Duration;

use dht_proto::sim::Quantiles;
use dht_proto::sim::actors::Honest;
use dht_proto::sim::reference::{Client, run, run_from};
use dht_proto::sim::scripted::{Outcome, ScriptedNetwork};

fn alive() -> ScriptedNetwork {
    ScriptedNetwork::default()
}

fn partly_dead() -> ScriptedNetwork {
    ScriptedNetwork { dead: 0.4, ..ScriptedNetwork::default() }
}

fn outcomes(look_up: impl Fn(u64) -> Outcome) -> Vec<Outcome> {
    (1..=15).map(look_up).collect()
}

/// Returns the median in milliseconds; what never happened counts as very long.
fn median(outcomes: &[Outcome], figure: fn(&Outcome) -> Option<Duration>) -> u128 {
    Quantiles::of(outcomes.iter().map(figure)).quantile(0.5).map_or(u128::MAX, |time| time.as_millis())
}

#[test]
fn libtorrent_is_quick_if_all_nodes_are_alive() {
    let all = outcomes(|seed| run(&alive(), seed, Client::Libtorrent));
    assert!(median(&all, |it| it.first_peer) <= 240, "{all:#?}");
    assert!((160..=500).contains(&median(&all, |it| it.done)), "{all:#?}");
    for outcome in &all {
        assert_eq!(outcome.missed, 0);
        // libtorrent does not wait for the answers to its announces.
        let confirmed = outcome.acknowledged_at_8.zip(outcome.done).map(|(all, done)| all - done);
        assert_eq!(confirmed, Some(Duration::from_millis(80)), "{outcome:?}");
        assert!(outcome.datagrams <= 40, "{outcome:?}");
    }
}

/// libtorrent waits for the full timeout of a dead node among the closest.
#[test]
fn libtorrent_is_done_after_15_seconds_if_some_nodes_are_dead() {
    let all = outcomes(|seed| run(&partly_dead(), seed, Client::Libtorrent));
    assert!(median(&all, |it| it.first_peer) <= 400, "{all:#?}");
    assert!((15_000..=18_000).contains(&median(&all, |it| it.done)), "{all:#?}");
    assert!((15_000..=18_000).contains(&median(&all, |it| it.stored_at_8)), "{all:#?}");
}

/// jech/dht has found the 8 closest long before, but checks its list only every 10 to 19 s.
#[test]
fn jech_announces_in_its_second_step() {
    let all = outcomes(|seed| run(&alive(), seed, Client::Jech));
    assert!(median(&all, |it| it.first_peer) <= 1000, "{all:#?}");
    for outcome in &all {
        let announced = outcome.stored_at_8.expect("all live").as_millis();
        assert!((9000..=20_500).contains(&announced), "{outcome:#?}");
        let done = outcome.done.expect("it ends").as_millis();
        assert!((18_000..=40_500).contains(&done), "{outcome:#?}");
    }
}

/// jech/dht queries each dead candidate three times, a step apart: 42 to 90 s until the announce, and 57 to
/// 109 s until the end, from a table with live nodes near the target.
#[test]
fn jech_takes_most_of_a_minute_if_some_nodes_are_dead() {
    let all = outcomes(|seed| {
        let stage = partly_dead().build(seed);
        let hosts = stage.hosts.iter().zip(&stage.is_dead).filter(|(_, is_dead)| !**is_dead);
        let table = hosts.filter_map(|(host, _)| {
            let actor = stage.world.actor::<Honest>(*host)?;
            Some((actor.id, stage.world.addr(*host)))
        });
        let table = table.collect();
        run_from(stage, table, Client::Jech)
    });
    assert_eq!(median(&all, |it| it.first_peer), 80);
    assert!((30_000..=90_000).contains(&median(&all, |it| it.stored_at_8)), "{all:#?}");
    assert!((50_000..=110_000).contains(&median(&all, |it| it.done)), "{all:#?}");
    // From further away it takes longer.
    let all = outcomes(|seed| run(&partly_dead(), seed, Client::Jech));
    assert!((60_000..=150_000).contains(&median(&all, |it| it.done)), "{all:#?}");
}

/// Nearly every step has a dead node among its three, and costs 5 s.
#[test]
fn the_lock_step_waits_for_dead_nodes() {
    let all = outcomes(|seed| run(&alive(), seed, Client::LockStep));
    // Steps of 80 ms, the announce among them.
    assert!(all.iter().all(|it| it.done.is_some_and(|time| time.as_millis() % 80 == 0)), "{all:#?}");
    assert!((320..=1200).contains(&median(&all, |it| it.done)), "{all:#?}");
    let all = outcomes(|seed| run(&partly_dead(), seed, Client::LockStep));
    assert!((15_000..=60_000).contains(&median(&all, |it| it.done)), "{all:#?}");
    assert!(all.iter().all(|it| it.done.is_some_and(|time| time.as_millis() > 5000)), "{all:#?}");
}

#[test]
fn this_crate_is_done_before_any_of_them_announces() {
    let ours = outcomes(|seed| partly_dead().run(seed));
    assert!(median(&ours, |it| it.done) <= 2000, "{ours:#?}");
    let others = [
        outcomes(|seed| run(&partly_dead(), seed, Client::LockStep)),
        outcomes(|seed| run(&partly_dead(), seed, Client::Libtorrent)),
        outcomes(|seed| run(&partly_dead(), seed, Client::Jech)),
    ];
    for other in &others {
        assert!(median(other, |it| it.stored_at_8) > 4 * median(&ours, |it| it.done), "{other:#?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_measurements() {
    let [one, two] = [(); 2].map(|()| run(&ScriptedNetwork::hard(), 5, Client::Jech));
    assert_eq!(format!("{one:?}"), format!("{two:?}"));
}
