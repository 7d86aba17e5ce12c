//! The choice of stored peers for a response.

use super::*;

#[test]
fn q_26_every_peer_has_an_equal_chance_to_be_in_a_reply() {
    let mut world = World::roomy();
    // 103 peers leave the last chunk unfilled.
    for number in 0..103 {
        world.announce(1, host(number), 0).unwrap();
    }
    let mut seen = BTreeMap::<Endpoint, u32>::new();
    for _ in 0..10_300 {
        let values = world.sample(1, Family::V4, false, 50, 0);
        assert_eq!(values.iter().collect::<BTreeSet<_>>().len(), 50);
        values.into_iter().for_each(|peer| *seen.entry(peer).or_default() += 1);
    }
    // 5000 expected, standard deviation 51.
    assert_eq!(seen.len(), 103);
    assert!(seen.values().all(|count| (4700..5300).contains(count)), "{seen:?}");
}

/// A run of consecutive members is a uniform sample only if they did not announce together.
#[test]
fn q_26_peers_that_announce_together_are_not_returned_together() {
    for seed in 0..200 {
        let mut world = World::roomy();
        world.rng = Rng::new([seed; 32]);
        for number in 0..40 {
            world.announce(1, host(number), 0).unwrap();
        }
        let values: BTreeSet<_> = world.sample(1, Family::V4, false, 20, 0).into_iter().collect();
        let together = (0..20).filter(|&number| values.contains(&host(number))).count();
        // 10 of the first 20 expected, standard deviation 1.6.
        assert!((3..=17).contains(&together), "{together} with seed {seed}");
    }
}

#[test]
fn q_25_a_reply_takes_no_more_values_than_it_has_room_for() {
    let mut world = World::roomy();
    for number in 0..10 {
        world.announce(1, host(number), 0).unwrap();
    }
    for room in 0..12 {
        assert_eq!(world.sample(1, Family::V4, false, room, 0).len(), room.min(10));
    }
    let slots = PeerSlots { swarms: &world.swarms, v4: &world.v4, v6: &world.v6 };
    let mut out = [0; 17];
    let query = PeerQuery { infohash: &infohash(1), family: Family::V4, noseed: false };
    let written = world.store.sample(slots, query, secs(0), &mut world.rng, &mut out);
    assert_eq!((written, &out[12..]), (2, &[0; 5][..]));
}

#[test]
fn b33_07_noseed_leaves_seeds_out_and_fills_up_with_the_others() {
    let mut world = World::roomy();
    for number in 0..100 {
        world.announce_as(1, host(number), number % 10 != 0, 0).unwrap();
    }
    for _ in 0..20 {
        let values = world.sample(1, Family::V4, true, 50, 0);
        assert_eq!(values.into_iter().collect::<BTreeSet<_>>(), (0..10).map(|n| host(n * 10)).collect());
    }
    assert_eq!(world.sample(1, Family::V4, true, 4, 0).len(), 4);
    assert_eq!(world.sample(1, Family::V4, false, 50, 0).len(), 50);
}
