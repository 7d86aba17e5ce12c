//! The table under random operations.

use proptest::prelude::*;

use super::*;
use crate::base::rng::Rng;
use crate::table::entry::QUESTIONABLE;

/// One call of the table, with small numbers so that ids and addresses collide often.
#[derive(Clone, Debug)]
struct Step {
    kind: u8,
    bucket: u32,
    id: u8,
    host: u8,
    millis: u16,
    known: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..17_u8, 0..6_u32, 0..40_u8, 0..60_u8, 0..2000_u16, any::<bool>());
    let step = step.prop_map(|(kind, bucket, id, host, millis, known)| Step {
        kind,
        bucket,
        id,
        host,
        millis,
        known,
    });
    proptest::collection::vec(step, 0..250)
}

proptest! {
    #[test]
    fn r_01_b42_10_a_table_keeps_its_promises_whatever_happens(steps in steps(), entries in 0_usize..120, replacements in 0_usize..60) {
        let mut world = World::new(entries, replacements);
        let mut in_flight = Vec::new();
        for Step { kind, bucket, id, host, millis, known } in steps {
            let filler = NodeId::from_bytes([id.wrapping_mul(67); 20]);
            let ip = Ipv4Addr::new(5, 5, host / 4, host % 4).octets();
            let mut contact = Contact { id: world.own.sibling(bucket, &filler), endpoint: Endpoint::v4(ip, 1 + u16::from(id % 2)) };
            let nodes = world.nodes();
            if known && !nodes.is_empty() {
                contact = nodes[usize::from(id) % nodes.len()];
            }
            let before = nodes.len();
            let changes = match kind {
                0..=3 => {
                    let InsertResult { kind, removal } = world.reply_after(contact, Duration::from_millis(millis.into()));
                    usize::from(kind == InsertKind::Added) as i64 - removal.map_or(0, |removal| 1 - i64::from(removal.promoted.is_some()))
                }
                4 | 5 => { world.query(contact); 0 }
                6 | 7 => world.fail(contact).map_or(0, |removal| i64::from(removal.promoted.is_some()) - 1),
                8 => { world.pass(Duration::from_millis(u64::from(millis) * 500)); 0 }
                9 => {
                    let (table, mut slots, now) = world.slots();
                    table.remove(&mut slots, contact, now).map_or(0, |removal| i64::from(removal.promoted.is_some()) - 1)
                }
                10 => { in_flight.extend(world.next_ping()); 0 }
                11 => {
                    let (table, mut slots, now) = world.slots();
                    table.restore(&mut slots, contact, None, Ages::default(), now);
                    0
                }
                12 => {
                    let (table, mut slots, now) = world.slots();
                    table.next_restored(&mut slots, now);
                    table.restored_failed(&mut slots, contact.endpoint);
                    0
                }
                13 => {
                    let own = world.own.sibling(bucket, &filler);
                    let moves = world.rehome(own);
                    moves.iter().map(|change| if matches!(change, Move::In(_)) { 1 } else { -1 }).sum()
                }
                _ => match in_flight.pop() {
                    Some(contact) if known => { world.lose_ping(contact); 0 }
                    Some(contact) => world.fail(contact).map_or(0, |removal| i64::from(removal.promoted.is_some()) - 1),
                    None => 0,
                },
            };
            world.check();
            prop_assert_eq!(world.table.len() as i64, before as i64 + changes, "events add up");
            let found: Vec<_> = world.table.closest::<8>(world.memory(), &filler, Filter::Good, world.now).iter().map(|entry| entry.id).collect();
            prop_assert_eq!(found, world.closest_by_force(filler, Filter::Good, 8));
        }
        in_flight.extend(core::iter::from_fn(|| world.next_ping()).take(30));
        prop_assert!(world.table.ping_due().is_none_or(|due| due > world.now));
        while world.next_refresh().is_some() {}
        prop_assert!(world.table.refresh_due().is_none_or(|due| due > world.now));
        prop_assert_eq!(world.table.refresh_due().is_none(), world.table.is_empty());
    }

    /// Whatever has happened, each bucket in which nothing changed for 15 minutes is refreshed exactly once.
    ///
    /// Buckets are refreshed down to the one after the deepest that holds a node.
    #[test]
    fn r_11_refreshes_aim_at_the_buckets_that_are_stale(
        steps in steps(), entries in 1_usize..200, pauses in proptest::collection::vec(0_u64..1000, 1..6),
    ) {
        let mut world = World::new(entries, 40);
        let mut steps = steps.into_iter();
        for pause in pauses {
            for Step { kind, bucket, id, host, .. } in steps.by_ref().take(50) {
                let filler = NodeId::from_bytes([id.wrapping_mul(67); 20]);
                let contact = Contact { id: world.own.sibling(bucket, &filler), endpoint: Endpoint::v4([6, host, id, 1], 1) };
                match kind {
                    0..=6 => _ = world.reply(contact),
                    7 | 8 => _ = world.query(contact),
                    _ => _ = world.fail(contact),
                }
            }
            world.pass(Duration::from_secs(pause));
            let deepest = world.nodes().iter().map(|node| world.table.bucket_of(&node.id)).max();
            let relevant = deepest.map_or(0, |deepest| (deepest + 2).min(world.table.depth()));
            let age = |bucket: &Bucket| world.now.secs().since(bucket.changed);
            let stale: Vec<_> = (0..relevant).filter(|&at| age(&world.buckets[at]) >= QUESTIONABLE).collect();
            let last = world.table.depth() - 1;
            let targets: Vec<_> = core::iter::from_fn(|| world.next_refresh()).collect();
            let aims: Vec<_> =
                targets.iter().map(|target| (world.own.common_prefix_len(target) as usize).min(last)).collect();
            prop_assert_eq!(aims, stale);
        }
    }

    /// There is work at the due times announced, and only then, however long nothing else happens.
    #[test]
    fn due_times_are_neither_late_nor_idle(steps in steps()) {
        let mut world = World::new(64, 64);
        for Step { kind, bucket, id, host, .. } in steps.into_iter().take(60) {
            let filler = NodeId::from_bytes([id.wrapping_mul(67); 20]);
            let contact = Contact { id: world.own.sibling(bucket, &filler), endpoint: Endpoint::v4([6, host, id, 1], 1) };
            if kind < 6 { world.reply(contact); } else { world.query(contact); }
        }
        let mut idle = 0;
        for round in 0..300 {
            while world.next_refresh().is_some() {}
            let pings = core::iter::from_fn(|| world.next_ping()).take(100).collect::<Vec<_>>();
            idle += usize::from(pings.is_empty());
            for contact in pings {
                if round % 3 == 0 { world.fail(contact); } else { world.reply(contact); }
            }
            while let Some(contact) = world.next_ping() { world.reply(contact); }
            let Some(due) = world.table.ping_due() else { break };
            prop_assert!(due > world.now);
            world.now = due;
        }
        prop_assert!(idle < 150, "{} wake-ups for nothing", idle);
        world.check();
    }

    #[test]
    fn r_01_closest_is_exact(
        seed in any::<[u8; 32]>(), entries in 1_usize..450, nodes in 0_usize..400, clusters in 1_u32..24,
        twin_bits in 20_u32..150,
    ) {
        let mut world = World::new(entries, 0);
        world.rng = Rng::new(seed);
        for index in 0..nodes {
            let bucket = (world.rng.u32() | 1 << (clusters - 1)).trailing_zeros();
            let mut node = world.node(bucket);
            if index % 5 == 0 && let Some(twin) = world.nodes().first() {
                node.id = twin.id.sibling(twin_bits + index as u32 % 3, &node.id);
            }
            world.reply(node);
            match world.rng.below(8) {
                0 => _ = world.fail(node),
                1 => (0..2).for_each(|_| _ = world.fail(node)),
                2 => world.pass(Duration::from_secs(3)),
                _ => {}
            }
        }
        world.check();
        for round in 0..30 {
            let nodes = world.nodes();
            let mut target = world.rng.id();
            if round % 2 == 0 && !nodes.is_empty() {
                let bits = world.rng.below(161) as u32;
                target = nodes[world.rng.below(nodes.len())].id.sibling(bits, &target);
            } else if round == 1 {
                target = world.own;
            }
            let good = world.table.closest::<8>(world.memory(), &target, Filter::Good, world.now);
            let live = world.table.closest::<16>(world.memory(), &target, Filter::Live, world.now);
            let ids = |found: &[&Entry]| found.iter().map(|entry| entry.id).collect::<Vec<_>>();
            prop_assert_eq!(ids(&good), world.closest_by_force(target, Filter::Good, 8));
            prop_assert_eq!(ids(&live), world.closest_by_force(target, Filter::Live, 16));
        }
    }
}
