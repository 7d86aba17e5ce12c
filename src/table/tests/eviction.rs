//! Ids that fit the address of their node (BEP 42) and those that do not, in one bucket.

use super::*;

/// A node of bucket 0 and this part of it, whose id fits its address.
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
fn b42_15_an_id_that_fits_its_address_counts_before_speed() {
    let mut world = World::new(192, 192);
    let misfits = world.fill(0);
    let slow = fitting(&mut world, 3);
    let removal = Some(Removal { removed: misfits[3], promoted: None });
    assert_eq!(world.reply_after(slow, RTT * 5), InsertResult { kind: InsertKind::Added, removal });
    // Whatever comes without an id that fits, it makes no room.
    let fast = world.node_in_part(0, 3);
    assert_eq!(world.reply_after(fast, Duration::ZERO), InsertResult::of(InsertKind::Cached));
    // Between those that fit speed decides, as it does between the others.
    let same = fitting(&mut world, 3);
    assert_eq!(world.reply_after(same, RTT * 4), InsertResult::of(InsertKind::Cached));
    let faster = fitting(&mut world, 3);
    let removal = Some(Removal { removed: slow, promoted: None });
    assert_eq!(world.reply_after(faster, RTT), InsertResult { kind: InsertKind::Added, removal });
    world.check();
}

#[test]
fn b42_15_an_id_that_fits_displaces_nobody_who_is_known_for_long_nor_before_it_has_answered() {
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
fn b42_15_of_equally_good_replacements_one_that_fits_moves_up_first() {
    let mut world = World::new(192, 192);
    let nodes = world.fill(0);
    // All known for long, so that newcomers wait.
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
    // But none that has been silent for too long before one that has not.
    let silent = fitting(&mut world, 1);
    world.reply(silent);
    world.pass(16 * MINUTE);
    let misfit = world.node(0);
    world.reply(misfit);
    world.fail(nodes[6]);
    assert_eq!(world.fail(nodes[6]).and_then(|removal| removal.promoted), Some(misfit));
}
