//! Nodes whose ids match their addresses (BEP 42) and nodes whose ids do not, in one bucket.

use super::*;

/// Creates a node in bucket 0 and the given part of it, whose id matches its address.
fn fitting(world: &mut World, part: u64) -> Contact {
    loop {
        let mut node = world.host(NodeId::ZERO);
        node.id = NodeId::secure_for(node.endpoint.ip(), *world.rng.id().as_bytes());
        let is_wanted = world.own.common_prefix_len(&node.id) == 0 && (node.id.head() << 1) >> 61 == part;
        if is_wanted {
            return node;
        }
        world.hosts %= 1 << 22;
    }
}

#[test]
fn b42_15_an_id_that_matches_its_address_counts_before_speed() {
    let mut world = World::new(192, 192);
    let misfits = world.fill(0);
    let slow = fitting(&mut world, 3);
    let removal = Some(Removal { removed: misfits[3], promoted: None });
    assert_eq!(world.reply_after(slow, RTT * 5), InsertResult { kind: InsertKind::Added, removal });
    // It is not evicted for a node whose id does not match, however fast.
    let fast = world.node_in_part(0, 3);
    assert_eq!(world.reply_after(fast, Duration::ZERO), InsertResult::of(InsertKind::Cached));
    // Among nodes whose ids match speed decides, as it does among the others.
    let same = fitting(&mut world, 3);
    assert_eq!(world.reply_after(same, RTT * 4), InsertResult::of(InsertKind::Cached));
    let faster = fitting(&mut world, 3);
    let removal = Some(Removal { removed: slow, promoted: None });
    assert_eq!(world.reply_after(faster, RTT), InsertResult { kind: InsertKind::Added, removal });
    world.check();
}

#[test]
fn b42_15_a_matching_id_evicts_no_node_known_for_long_and_none_before_it_has_responded() {
    let mut world = World::new(192, 192);
    let misfits = world.fill(0);
    for part in 0..8 {
        let stranger = fitting(&mut world, part);
        world.query(stranger);
    }
    assert_eq!(world.nodes().len(), 8);
    assert!(misfits.iter().all(|node| world.table.contains(world.memory(), *node)));
    for _ in 0..7 {
        world.pass(10 * MINUTE);
        for &node in &misfits {
            world.reply(node);
        }
    }
    for part in 0..8 {
        let newcomer = fitting(&mut world, part);
        assert_ne!(world.reply(newcomer).kind, InsertKind::Added);
    }
    assert!(misfits.iter().all(|node| world.table.contains(world.memory(), *node)));
    world.check();
}

#[test]
fn b42_15_of_equally_good_replacements_one_with_a_matching_id_is_promoted_first() {
    let mut world = World::new(192, 192);
    let nodes = world.fill(0);
    // All are known for long, so that newcomers become replacements.
    for _ in 0..7 {
        world.pass(10 * MINUTE);
        for &node in &nodes {
            world.reply(node);
        }
    }
    let (fast, fits) = (world.node(0), fitting(&mut world, 1));
    world.reply_after(fast, RTT / 4);
    world.reply_after(fits, RTT);
    world.fail(nodes[5]);
    assert_eq!(world.fail(nodes[5]), Some(Removal { removed: nodes[5], promoted: Some(fits) }));
    // But one that has been silent for too long is not promoted before one that has not.
    let silent = fitting(&mut world, 1);
    world.reply(silent);
    world.pass(16 * MINUTE);
    let misfit = world.node(0);
    world.reply(misfit);
    world.fail(nodes[6]);
    assert_eq!(world.fail(nodes[6]).and_then(|removal| removal.promoted), Some(misfit));
}
