//! Tests of a table whose local id changes (BEP 42).

use proptest::prelude::*;

use super::*;
use crate::base::rng::Rng;

/// Creates a table with nodes everywhere, some of them failing or silent, replacements and restored nodes.
fn filled(seed: [u8; 32], entries: usize, replacements: usize, nodes: usize) -> World {
    let mut world = World::new(entries, replacements);
    world.rng = Rng::new(seed);
    for index in 0..nodes {
        let bucket = world.rng.u32().trailing_zeros().min(20);
        let node = world.node(bucket);
        if index % 4 == 3 {
            _ = world.query(node)
        } else {
            _ = world.reply(node)
        }
        if world.rng.below(6) == 0 {
            world.fail(node);
        }
    }
    for _ in 0..nodes / 4 {
        let bucket = world.rng.below(8) as u32;
        let node = world.node(bucket);
        let (table, mut slots, now) = world.slots();
        table.restore(&mut slots, node, None, Ages::default(), now);
    }
    world.check();
    world
}

fn restored(world: &World) -> BTreeSet<Endpoint> {
    world.table.all_restored(world.memory()).map(Entry::endpoint).collect()
}

proptest! {
    #[test]
    fn b42_10_nodes_that_fit_keep_their_place_and_quality(
        seed in any::<[u8; 32]>(), entries in 1_usize..450, replacements in 0_usize..200, nodes in 0_usize..500, shared in 0_u32..30,
    ) {
        let mut world = filled(seed, entries, replacements, nodes);
        let quality = |world: &World| -> Vec<_> {
            let nodes = world.table.iter(world.memory());
            let mut all: Vec<_> = nodes.map(|entry| (entry.contact(), entry.rtt, entry.failures, entry.added, entry.heard)).collect();
            all.sort_by_key(|(contact, ..)| *contact);
            all
        };
        let (before, restored_before) = (quality(&world), restored(&world));
        let own = world.own.sibling(shared, &world.rng.id());
        let moves = world.rehome(own);
        world.check();
        let after = quality(&world);

        let out: Vec<_> = moves.iter().filter_map(|change| if let Move::Out(contact) = change { Some(*contact) } else { None }).collect();
        let mut expected: Vec<_> = before.iter().filter(|(contact, ..)| !out.contains(contact)).copied().collect();
        let incoming: Vec<_> = moves.iter().filter_map(|change| if let Move::In(contact) = change { Some(*contact) } else { None }).collect();
        expected.extend(after.iter().filter(|(contact, ..)| incoming.contains(contact)));
        expected.sort_by_key(|(contact, ..)| *contact);
        prop_assert_eq!(&expected, &after, "nobody is lost without a word, or changed");
        prop_assert_eq!(out.len() + incoming.len(), moves.len());
        // A promoted replacement may need the place of a restored node.
        let still = restored(&world);
        prop_assert!(still.is_subset(&restored_before) && still.len() + incoming.len() >= restored_before.len());
        // Every host is in a subnet of its own here, so a node only leaves because its bucket is full.
        for contact in out {
            let bucket = world.table.bucket_of(&contact.id);
            prop_assert!(world.buckets[bucket].is_full(), "{} left a bucket with room", contact.id);
        }
        // Moving again finds a consistent table.
        world.rehome(own.sibling(3, &own));
        world.check();
    }

    /// A bucket never gets too many nodes of a subnet, whichever buckets they came from.
    #[test]
    fn subnets_do_not_gather_in_a_bucket(seed in any::<[u8; 32]>(), shared in 0_u32..10) {
        let mut world = World::new(400, 192);
        world.rng = Rng::new(seed);
        for host in 0..120_u8 {
            let (id, now) = (world.rng.id(), host);
            let contact = Contact { id, endpoint: Endpoint::v4([77, now / 8, 1, now], 6881) };
            if host % 3 == 0 { _ = world.query(contact) } else { _ = world.reply(contact) }
        }
        world.check();
        let own = world.own.sibling(shared, &world.rng.id());
        world.rehome(own);
        world.check();
    }
}

#[test]
fn the_range_of_a_full_bucket_stays_covered() {
    let mut world = World::new(400, 0);
    // All nodes are in the near half, which is to become the far bucket, more of them the nearer it is.
    for _ in 0..1000 {
        let bucket = 1 + world.rng.u32().trailing_zeros().min(10);
        let node = world.node(bucket);
        world.reply(node);
    }
    let parts = |world: &World, nodes: &[Contact], own: NodeId| {
        let far = nodes.iter().filter(|node| node.id.common_prefix_len(&own) == 0);
        far.map(|node| world.table.part(&world.buckets, 0, &node.id)).collect::<BTreeSet<_>>().len()
    };
    let filler = world.rng.id();
    let own = world.own.sibling(0, &filler);
    let (all, capacity) = (world.nodes(), usize::from(world.buckets[0].capacity));
    world.rehome(own);
    assert_eq!(usize::from(world.buckets[0].len), capacity, "of {}", all.len());
    assert_eq!(
        parts(&world, &world.nodes(), own),
        parts(&world, &all, own),
        "no part has lost its last node"
    );
}
