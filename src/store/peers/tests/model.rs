//! Random operations on the store, compared with a model.

use proptest::prelude::*;

use super::*;

/// One step of the model test.
#[derive(Clone, Debug)]
enum Step {
    Announce { hash: u32, peer: u8, v6: bool, port: u16, seed: bool },
    Wait(u64),
    Sweep,
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let announce = (0..6_u32, 0..40_u8, any::<bool>(), 0..4_u16, any::<bool>()).prop_map(
        |(hash, peer, v6, port, seed)| Step::Announce { hash: hash * hash / 5, peer, v6, port, seed },
    );
    let step = prop_oneof![
        60 => announce,
        4 => (0..TTL / 2).prop_map(Step::Wait),
        4 => Just(Step::Sweep),
        1 => Just(Step::Clear),
    ];
    proptest::collection::vec(step, 0..200)
}

/// Port, seed flag and time, by infohash and address.
type Model = BTreeMap<(u32, core::net::IpAddr), (u16, bool, u64)>;

fn run(world: &mut World, steps: Vec<Step>, exact: bool) -> Result<(), TestCaseError> {
    let (mut model, mut now) = (Model::new(), 5);
    for step in steps {
        match step {
            Step::Announce { hash, peer, v6, port, seed } => {
                let ip = if v6 { host6(peer.into()) } else { host(peer.into()) }.ip();
                let result = world.announce_as(hash, core::net::SocketAddr::new(ip, port).into(), seed, now);
                if port == 0 {
                    prop_assert_eq!(result, Err(Refusal::Port));
                } else {
                    let old = model.insert((hash, ip), (port, seed, now));
                    if exact {
                        let is_live = |(_, _, time)| now - time < TTL;
                        // An expired peer may or may not be removed already.
                        if old.is_none_or(is_live) {
                            let is_new = old.is_none();
                            let expected = if is_new { Announced::Stored } else { Announced::Refreshed };
                            prop_assert_eq!(result, Ok(expected));
                        }
                    }
                    prop_assert!(result.is_ok());
                }
            }
            Step::Wait(time) => now += time,
            Step::Sweep => world.sweep(now),
            Step::Clear => {
                world.clear();
                model.clear();
            }
        }
        world.check();
        for hash in 0..=5 {
            let expected: Vec<_> = model
                .iter()
                .filter(|((of, _), (_, _, time))| *of == hash && now - time < TTL)
                .map(|((_, ip), (port, seed, _))| {
                    (Endpoint::from(core::net::SocketAddr::new(*ip, *port)), *seed)
                })
                .collect();
            let mut found: Vec<_> = world
                .store
                .peers_of(world.shared(), &infohash(hash), secs(now))
                .map(|peer| (peer.endpoint, peer.seed))
                .collect();
            found.sort_unstable();
            prop_assert_eq!(world.values(hash, now), found.iter().map(|(peer, _)| *peer).collect());
            prop_assert_eq!(world.has(hash, now), !found.is_empty());
            if exact {
                let mut expected = expected;
                expected.sort_unstable();
                prop_assert_eq!(found, expected);
            } else {
                prop_assert!(found.iter().all(|peer| expected.contains(peer)));
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_store_with_room_holds_what_its_model_holds(steps in steps()) {
        run(&mut World::roomy(), steps, true)?;
    }

    /// With too little memory something is missing, but nothing is wrong, duplicated or leaked.
    #[test]
    fn a_store_without_room_holds_nothing_that_its_model_does_not(steps in steps()) {
        let rules = PeerRules { per_swarm: 13, ..PeerRules::default() };
        let mut world = World::new(rules, 3, 24, 12);
        world.counters = vec![0; 64].into();
        run(&mut world, steps, false)?;
    }
}
