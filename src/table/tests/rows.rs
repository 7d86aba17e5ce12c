//! The rules of the table, one by one.

use super::*;

#[test]
fn an_entry_takes_at_most_64_bytes_and_a_head_at_most_480() {
    assert_eq!(size_of::<Entry>(), 60);
    assert!(size_of::<Table>() <= 480, "{}", size_of::<Table>());
}

#[test]
fn r_01_r_02_the_memory_is_dealt_to_the_buckets_nearest_first() {
    let capacities = |entries| {
        let World { table, buckets, .. } = World::new(entries, 0);
        table.buckets(&buckets).map(|(_, capacity)| capacity).collect::<Vec<_>>()
    };
    assert_eq!(capacities(400), [&[128, 64, 32, 16][..], &[8; 20]].concat());
    assert_eq!(capacities(192), [8; 24]);
    assert_eq!(capacities(100), [&[12][..], &[8; 11]].concat());
    assert_eq!(capacities(16), [8, 8]);
    assert_eq!(capacities(5), [5]);
    assert_eq!(capacities(0), []);
    assert!(capacities(100_000).iter().sum::<usize>() <= 65_535);
}

#[test]
fn r_02_nodes_nearer_to_us_find_a_place_where_far_buckets_are_full() {
    let mut world = World::new(192, 192);
    for bucket in 0..24 {
        world.fill(bucket);
    }
    assert_eq!(world.table.len(), 192);
    world.check();
}

#[test]
fn r_03_a_node_is_good_for_15_minutes_after_it_was_heard() {
    let (mut world, node) = World::with_node();
    world.pass(14 * MINUTE);
    assert_eq!(world.good(node.id), [node]);
    assert_eq!(world.query(node), InsertKind::Refreshed);
    world.pass(14 * MINUTE);
    assert_eq!(world.good(node.id), [node], "it once answered and queried us since");
    world.pass(MINUTE);
    assert_eq!(world.good(node.id), []);
    assert_eq!(world.table.closest::<8>(world.memory(), &node.id, Filter::Live, world.now).len(), 1);
    world.reply(node);
    assert_eq!(world.good(node.id), [node]);
}

#[test]
fn the_occupancy_counts_nodes_by_their_state() {
    let mut world = World::new(192, 192);
    let nodes = world.fill(3);
    let newcomer = world.node(3);
    assert_eq!(world.query(newcomer), InsertKind::Cached);
    world.fail(nodes[0]);
    (0..2).for_each(|_| assert_eq!(world.fail(nodes[1]), None));
    let occupancy = |world: &World| world.table.occupancy(world.memory(), world.now).collect::<Vec<_>>();
    let expected = BucketInfo { good: 6, questionable: 1, bad: 1, replacements: 1, capacity: 8 };
    assert_eq!((occupancy(&world).len(), occupancy(&world)[3]), (24, expected));
    assert_eq!(occupancy(&world)[2], BucketInfo { capacity: 8, ..BucketInfo::default() });
    world.pass(15 * MINUTE);
    assert_eq!(occupancy(&world)[3], BucketInfo { good: 0, questionable: 7, ..expected });
}

#[test]
fn r_04_a_node_is_bad_after_two_failures_and_goes_after_three() {
    let (mut world, node) = World::with_node();
    world.fail_twice(node);
    assert!(world.table.closest::<8>(world.memory(), &node.id, Filter::Live, world.now).is_empty());
    assert_eq!(world.fail(node), Some(Removal { removed: node, promoted: None }));
    assert!(world.table.is_empty());
    assert_eq!(world.fail(node), None);
}

#[test]
fn r_05_only_good_nodes_are_handed_out() {
    let (mut world, nodes) = World::with_full_bucket();
    let (failed, unverified) = (nodes[0], world.node(1));
    assert_eq!(world.query(unverified), InsertKind::Cached);
    world.fail(failed);
    let good = world.good(failed.id);
    assert_eq!(good.len(), 7);
    assert!(!good.contains(&failed) && !good.contains(&unverified));
    world.reply(failed);
    assert_eq!(world.good(failed.id)[0], failed);
}

#[test]
fn r_06_a_newcomer_to_a_bucket_of_good_nodes_waits_as_a_replacement() {
    let (mut world, nodes) = World::with_full_bucket();
    let newcomer = world.node(0);
    assert_eq!(world.reply(newcomer), InsertResult::of(InsertKind::Cached));
    assert!(!world.table.contains(world.memory(), newcomer));
    assert!(nodes.iter().all(|&node| world.table.contains(world.memory(), node)));
    world.check();
}

#[test]
fn r_06_without_memory_for_replacements_a_newcomer_is_discarded() {
    let mut world = World::new(192, 0);
    world.fill(0);
    let (newcomer, stranger) = (world.node(0), world.node(1));
    assert_eq!(world.reply(newcomer), InsertResult::of(InsertKind::Ignored));
    assert_eq!(world.query(stranger), InsertKind::Ignored);
    world.check();
}

#[test]
fn r_07_a_bad_node_in_a_full_bucket_is_replaced() {
    let (mut world, nodes) = World::with_full_bucket();
    let newcomer = world.node(0);
    assert_eq!(world.fail(nodes[3]), None);
    assert_eq!(world.fail(nodes[3]), None, "nobody could take its place");
    assert_eq!(world.reply(newcomer), added_for(nodes[3]));
    assert_eq!(world.buckets[0].replacements, 0, "and forgotten");
    world.check();
}

#[test]
fn r_07_a_node_that_turns_bad_makes_room_for_the_fastest_verified_replacement() {
    let (mut world, nodes) = World::with_full_bucket();
    let (slow, fast, unproven) = (world.node(0), world.node(0), world.node(0));
    world.reply_after(slow, RTT * 3);
    world.reply_after(fast, RTT);
    world.query(unproven);
    assert_eq!(world.fail(nodes[3]), None, "one failure evicts nobody");
    assert_eq!(world.fail(nodes[3]), Some(Removal { removed: nodes[3], promoted: Some(fast) }));
    world.check();
}

#[test]
fn r_07_an_unproven_replacement_evicts_nobody_before_it_has_answered() {
    let (mut world, nodes) = World::with_full_bucket();
    let stranger = world.node(0);
    assert_eq!(world.query(stranger), InsertKind::Cached);
    assert_eq!(world.next_ping(), None, "no replacement is needed yet");
    world.fail_twice(nodes[3]);
    assert_eq!(world.next_ping(), Some(stranger), "now one is");
    assert_eq!(world.reply(stranger), added_for(nodes[3]));
    world.check();
}

#[test]
fn r_08_questionable_nodes_are_pinged_oldest_first() {
    let (mut world, mut nodes) = World::with_full_bucket();
    world.pass(20 * MINUTE);
    for &node in nodes.iter().rev() {
        world.query(node);
        world.pass(10 * MINUTE);
    }
    world.pass(20 * MINUTE);
    nodes.reverse();
    assert_eq!(world.answer_pings(), nodes);
    assert_eq!(world.good(nodes[0].id).len(), 8);
}

#[test]
fn r_08_a_failed_ping_is_retried_once_before_eviction() {
    let (mut world, _) = World::with_full_bucket();
    let newcomer = world.answering_node(0);
    world.pass(16 * MINUTE);
    let dead = world.next_ping().unwrap();
    assert_eq!(world.fail(dead), None);
    let mut others = 0;
    while let Some(contact) = world.next_ping() {
        assert_ne!(contact, dead, "not at once");
        world.reply(contact);
        others += 1;
    }
    assert_eq!(others, 7);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.next_ping(), Some(dead));
    assert_eq!(world.fail(dead), Some(Removal { removed: dead, promoted: Some(newcomer) }));
    assert_eq!(world.answer_pings(), [newcomer], "it was verified long ago");
    world.check();
}

#[test]
fn r_08_a_waiting_newcomer_hastens_the_retry() {
    let (mut world, nodes) = World::with_full_bucket();
    world.fail(nodes[0]);
    assert_eq!(world.next_ping(), None);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.next_ping(), None);
    world.answering_node(0);
    assert_eq!(world.next_ping(), Some(nodes[0]));
}

#[test]
fn r_09_a_flood_of_newcomers_causes_one_ping_in_flight_per_bucket() {
    let (mut world, nodes) = World::with_full_bucket();
    world.pass(16 * MINUTE);
    let mut pings = 0;
    for _ in 0..10_000 {
        let newcomer = world.node(0);
        world.query(newcomer);
        pings += usize::from(world.next_ping().is_some());
    }
    assert_eq!(pings, 1);
    assert!(nodes.iter().all(|&node| world.table.contains(world.memory(), node)));
    for _ in 0..10_000 {
        let newcomer = world.node(1);
        world.query(newcomer);
        pings += usize::from(world.next_ping().is_some());
    }
    assert_eq!(pings, 2, "neither in a bucket with room");
    world.check();
}

#[test]
fn r_21_while_few_nodes_are_known_querying_nodes_are_pinged_newest_first_and_each_once_before_any_twice() {
    let mut world = World::new(192, 192);
    let strangers: Vec<_> = (0..8).map(|_| world.node(0)).collect();
    for &stranger in &strangers {
        world.query(stranger);
        world.pass(Duration::from_secs(1));
    }
    let (table, mut slots, now) = world.slots();
    assert_eq!(table.next_ping(&mut slots, true, now), None, "they wait where the caller has to");
    assert!(table.ping_due().unwrap() <= now);
    let newest: Vec<_> = strangers.iter().rev().copied().collect();
    let pinged: Vec<_> = core::iter::from_fn(|| world.next_ping()).take(20).collect();
    assert_eq!(pinged, newest);
    // All places are taken by nodes that were pinged and have not responded.
    let reachable = world.node(0);
    assert_eq!(world.query(reachable), InsertKind::Cached);
    assert_eq!(world.next_ping(), Some(reachable));
    strangers.iter().for_each(|&stranger| assert_eq!(world.fail(stranger), None));
    world.pass(2 * MINUTE);
    let late = world.node(0);
    world.query(late);
    assert_eq!(world.next_ping(), Some(late), "before the others' second turn");
    world.reply(reachable);
    assert_eq!(world.nodes(), [reachable]);
    world.check();
}

#[test]
fn r_10_a_bucket_is_fresh_after_a_response_an_entry_or_a_replacement() {
    let (mut world, nodes) = World::with_full_bucket();
    world.answering_node(0);
    let changed = |world: &World| world.now.secs().since(world.buckets[0].changed);
    world.pass(MINUTE);
    world.query(nodes[0]);
    assert_eq!(changed(&world), 60, "a query proves nothing");
    world.reply(nodes[0]);
    assert_eq!(changed(&world), 0);
    world.pass(MINUTE);
    world.fail(nodes[1]);
    assert_eq!(changed(&world), 60);
    world.fail(nodes[1]);
    assert_eq!(changed(&world), 0);
}

#[test]
fn r_11_a_stale_bucket_is_refreshed_by_a_target_in_its_own_range() {
    for entries in [8, 64, 192, 400] {
        let mut world = World::new(entries, 192);
        let depth = world.table.depth();
        let deepest = depth.min(5) - 1;
        for bucket in [0, deepest as u32] {
            world.answering_node(bucket);
        }
        assert_eq!(world.next_refresh(), None, "all is fresh");
        let due = world.table.refresh_due().unwrap();
        assert!(due > world.now && due <= world.now + 15 * MINUTE);
        for _ in 0..10 {
            world.pass(15 * MINUTE);
            assert!(world.table.refresh_due().unwrap() <= world.now);
            let targets: Vec<_> = core::iter::from_fn(|| world.next_refresh()).collect();
            let buckets: Vec<_> = targets.iter().map(|id| world.table.bucket_of(id)).collect();
            let expected: Vec<_> = (0..(deepest + 2).min(depth)).collect();
            assert_eq!(buckets, expected, "each once, down to one behind the deepest");
            assert!(world.table.refresh_due().unwrap() > world.now);
        }
    }
}

#[test]
fn r_11_refreshes_of_the_last_bucket_reach_its_whole_range() {
    let mut world = World::new(8, 0);
    world.answering_node(3);
    let mut halves = [0; 2];
    for _ in 0..100 {
        world.pass(15 * MINUTE);
        let target = world.next_refresh().unwrap();
        halves[usize::from(world.own.common_prefix_len(&target) > 0)] += 1;
    }
    assert!(halves.iter().all(|&count| count > 30), "{halves:?}");
}

#[test]
fn r_13_restored_nodes_are_not_listed_until_they_respond() {
    let (mut world, _) = World::with_full_bucket();
    let exported = world.nodes();
    assert_eq!(exported.len(), 8);
    let now = world.now;
    world.table.clear(&mut world.buckets, now);
    assert!(world.table.is_empty() && world.next_ping().is_none());
    for &contact in &exported {
        assert_eq!(world.query(contact), InsertKind::Cached);
    }
    assert_eq!(world.good(exported[0].id), []);
    assert_eq!(world.answer_pings().len(), 8);
    assert_eq!(world.nodes(), exported);
}

#[test]
fn r_14_q_20_our_own_id_and_the_zero_id_are_never_stored() {
    let mut world = World::new(192, 192);
    for id in [world.own, NodeId::ZERO] {
        let contact = world.host(id);
        assert_eq!(world.reply(contact), InsertResult::of(InsertKind::Ignored));
        assert_eq!(world.query(contact), InsertKind::Ignored);
    }
    world.check();
}

#[test]
fn b32_01_a_table_takes_nodes_of_its_own_family_only() {
    let mut world = World::new(192, 192);
    let id = world.node(0).id;
    let contact = Contact { id, endpoint: Endpoint::v6([0x20; 16], 6881) };
    assert_eq!(world.reply(contact), InsertResult::of(InsertKind::Ignored));
    assert_eq!(world.query(contact), InsertKind::Ignored);
}

#[test]
fn r_15_an_address_holds_one_entry_and_the_older_stays() {
    let (mut world, node) = World::with_node();
    let other_port = Contact { id: world.node(1).id, endpoint: with_port(node.endpoint, 7000) };
    assert_eq!(world.reply(other_port), InsertResult::of(InsertKind::Ignored));
    assert_eq!(world.query(other_port), InsertKind::Ignored);
    assert_eq!(world.nodes(), [node]);
    world.fail_twice(node);
    let removal = Some(Removal { removed: node, promoted: None });
    assert_eq!(
        world.reply(other_port),
        InsertResult { kind: InsertKind::Ignored, removal },
        "a bad one yields"
    );
    assert_eq!(world.reply(other_port), InsertResult::of(InsertKind::Added));
    world.check();
}

#[test]
fn r_15_a_subnet_gets_two_places_of_a_bucket_and_four_of_a_small_table() {
    let mut world = World::new(192, 192);
    let mut kinds = Vec::new();
    for host in 0..15 {
        let id = world.node(u32::from(host) / 3).id;
        let contact = Contact { id, endpoint: Endpoint::v4([9, 9, 9, host], 6881) };
        kinds.push(if host % 2 == 0 { world.reply(contact).kind } else { world.query(contact) });
    }
    assert_eq!(kinds.iter().filter(|&&kind| kind == InsertKind::Ignored).count(), 15 - 4);
    assert_eq!(kinds[2], InsertKind::Ignored);
    assert_eq!(kinds[5..], [InsertKind::Ignored; 10]);
    world.check();
}

#[test]
fn r_15_a_subnet_gets_a_tenth_of_the_table_and_eight_places_at_most() {
    let mut world = World::new(400, 0);
    let places = |world: &mut World| {
        for host in 0..=255 {
            let id = world.node(u32::from(host) % 12).id;
            world.reply(Contact { id, endpoint: Endpoint::v4([9, 9, 9, host], 6881) });
        }
        let nodes = world.table.iter(world.memory());
        nodes.filter(|entry| entry.endpoint.as_v4().is_some_and(|ip| ip[0] == 9)).count()
    };
    (0..45).for_each(|at| _ = world.answering_node(at % 3));
    assert_eq!(places(&mut world), 5);
    (0..45).for_each(|at| _ = world.answering_node(at % 3));
    assert_eq!(places(&mut world), 8);
    world.check();
}

#[test]
fn h_31_the_first_nodes_of_a_subnet_are_evicted_once_others_are_known() {
    let mut world = World::new(192, 192);
    for host in 0..10 {
        let id = world.node(u32::from(host) % 10).id;
        world.reply(Contact { id, endpoint: Endpoint::v4([9, 9, 9, host], 6881) });
    }
    let is_theirs = |entry: &&Entry| entry.endpoint.as_v4().is_some_and(|ip| ip[0] == 9);
    let count = |world: &World| world.table.iter(world.memory()).filter(is_theirs).count();
    assert_eq!(count(&world), 4, "as long as nobody else is known");
    let mut removed = 0;
    for at in 0..9 {
        let contact = world.node(at);
        let outcome = world.reply(contact);
        assert!(outcome.kind == InsertKind::Added);
        removed += usize::from(outcome.removal.is_some());
        world.check();
    }
    assert_eq!((count(&world), removed), (1, 3), "a tenth of the table");
}

#[test]
fn h_31_surplus_nodes_of_a_subnet_are_evicted_as_others_respond_again() {
    let mut world = World::new(192, 192);
    for host in 0..4 {
        let id = world.node(u32::from(host)).id;
        world.reply(Contact { id, endpoint: Endpoint::v4([9, 9, 9, host], 6881) });
    }
    let others: Vec<Contact> = (0..4).map(|at| world.node(at)).collect();
    let removed = |world: &mut World, contact| usize::from(world.reply(contact).removal.is_some());
    let at_first: usize = others.iter().map(|other| removed(&mut world, *other)).sum();
    let later: usize = others.iter().map(|other| removed(&mut world, *other)).sum();
    assert_eq!((at_first, later), (1, 2));
    world.check();
}

#[test]
fn h_33_a_small_table_crowded_by_one_subnet_explores_three_times_a_minute() {
    let mut world = World::new(400, 192);
    world.answering_node(0);
    let swamp = |world: &mut World, host| {
        let id = world.node(u32::from(host) % 20).id;
        world.reply(Contact { id, endpoint: Endpoint::v4([9, 9, 9, host], 6881) }).kind
    };
    (0..4).for_each(|host| assert_eq!(swamp(&mut world, host), InsertKind::Added));
    assert_eq!(world.next_refresh(), None, "nobody was refused");
    assert_eq!(swamp(&mut world, 4), InsertKind::Ignored);
    let mut targets = Vec::new();
    for _ in 0..300 {
        world.pass(Duration::from_secs(1));
        for node in world.nodes() {
            world.reply(node);
        }
        assert_eq!(swamp(&mut world, 4), InsertKind::Ignored);
        targets.extend(core::iter::from_fn(|| world.next_refresh()));
        assert!(world.table.refresh_due().is_some_and(|due| due > world.now));
    }
    assert_eq!(targets.len(), 15);
    let far = targets.iter().filter(|target| world.own.common_prefix_len(target) == 0).count();
    assert!((1..15).contains(&far), "anywhere: {far} of 15 in the farthest bucket");

    // The share of a subnet in a larger table causes no exploration.
    (0..40).for_each(|at| _ = world.answering_node(at % 3));
    let kinds: Vec<_> = (5..20).map(|host| swamp(&mut world, host)).collect();
    assert!(kinds.contains(&InsertKind::Ignored));
    world.pass(MINUTE);
    assert_eq!(world.next_refresh(), None);
    world.check();
}

#[test]
fn h_32_hosts_of_a_private_network_are_not_limited() {
    let mut world = World::new(400, 192);
    for host in 0..40 {
        let id = world.node(u32::from(host) % 20).id;
        let outcome = world.reply(Contact { id, endpoint: Endpoint::v4([192, 168, 1, host], 6881) });
        assert_eq!(outcome.kind, InsertKind::Added);
    }
    world.check();
}

#[test]
fn r_15_h_30_an_ipv6_48_gets_a_twentieth_of_the_table_and_a_56_of_it_eight_places() {
    for (wide, most) in [(true, 20), (false, 8)] {
        let mut world = World::new(400, 192);
        let own = world.own;
        let (table, mut slots, now) = world.slots();
        *table = Table::new(Family::V6, own, &mut slots, true, now);
        let reply = |world: &mut World, bucket: u8, subnet: [u8; 8]| {
            let id = world.node(u32::from(bucket % 20)).id;
            let mut ip = [1; 16];
            ip[..8].copy_from_slice(&subnet);
            world.reply(Contact { id, endpoint: Endpoint::v6(ip, 6881) }).kind
        };
        (0..100).for_each(|at| _ = reply(&mut world, at, [0x26, at, 0, 0, 0, 0, 0, 7]));
        let mut places = 0;
        for at in 0..=255 {
            let subnet = if wide { [0x2a, 1, 2, 3, 4, 5, at, at] } else { [0x2a, 1, 2, 3, 4, 5, 6, at] };
            places += usize::from(reply(&mut world, at, subnet) == InsertKind::Added);
        }
        assert_eq!(places, most);
        world.check();
    }
}

#[test]
fn r_15_without_source_limits_one_host_may_run_many_nodes() {
    let mut world = World::new(400, 192);
    let own = world.own;
    let (table, mut slots, now) = world.slots();
    *table = Table::new(Family::V4, own, &mut slots, false, now);
    for port in 1..=100 {
        let contact = Contact { id: world.node(0).id, endpoint: Endpoint::v4([127, 0, 0, 1], port) };
        assert_eq!(world.reply(contact), InsertResult::of(InsertKind::Added));
    }
    let moved = Contact { id: world.node(0).id, endpoint: Endpoint::v4([127, 0, 0, 1], 5) };
    assert_eq!(world.reply(moved).kind, InsertKind::IdChanged, "an endpoint still holds one entry");
}

#[test]
fn r_15_an_unproven_node_does_not_keep_the_true_holder_of_its_id_or_address_out() {
    let mut world = World::new(192, 192);
    let (first, second) = (world.node(0), world.node(0));
    world.query(Contact { id: first.id, endpoint: second.endpoint });
    assert_eq!(world.reply(first), InsertResult::of(InsertKind::Added));
    let id = world.node(1).id;
    world.query(Contact { id, endpoint: with_port(second.endpoint, 9) });
    assert_eq!(world.reply(second), InsertResult::of(InsertKind::Added));
    world.check();
}

#[test]
fn r_16_an_address_that_responds_with_another_id_loses_its_entry_and_makes_its_bucket_suspect() {
    let (mut world, nodes) = World::with_full_bucket();
    world.pass(6 * MINUTE);
    world.reply(nodes[1]);
    world.query(nodes[2]);
    assert_eq!(world.next_ping(), None);
    let changed = Contact { id: world.node(3).id, endpoint: nodes[0].endpoint };
    let removal = Some(Removal { removed: nodes[0], promoted: None });
    assert_eq!(world.reply(changed), InsertResult { kind: InsertKind::IdChanged, removal });
    assert_eq!(world.table.len(), 7);
    let mut doubted = world.answer_pings();
    doubted.sort();
    let mut expected = nodes[2..].to_vec();
    expected.sort();
    assert_eq!(doubted, expected, "all but the one that answered a moment ago, even who asks");
    world.pass(2 * MINUTE);
    assert_eq!(world.next_ping(), None, "they are cleared of it");
    assert_eq!(world.reply(changed), InsertResult::of(InsertKind::Added));
    world.check();
}

#[test]
fn r_16_an_address_that_responds_with_our_own_id_loses_its_entry() {
    let (mut world, node) = World::with_node();
    let kind = world.reply(Contact { id: world.own, endpoint: node.endpoint }).kind;
    assert_eq!((kind, world.table.len()), (InsertKind::IdChanged, 0));
}

#[test]
fn r_17_a_query_adds_no_node_to_a_bucket() {
    let mut world = World::new(192, 192);
    for bucket in 0..20 {
        let node = world.node(bucket);
        assert_eq!(world.query(node), InsertKind::Cached);
        assert_eq!(world.query(node), InsertKind::Refreshed);
    }
    assert!(world.table.is_empty());
    assert_eq!(world.answer_pings().len(), 20);
    assert_eq!(world.table.len(), 20);
    world.check();
}

#[test]
fn r_18_neither_a_query_nor_a_response_moves_a_known_id_to_a_new_address() {
    let (mut world, node) = World::with_node();
    world.pass(10 * MINUTE);
    let moved = Contact { endpoint: world.node(0).endpoint, ..node };
    assert_eq!(world.query(moved), InsertKind::Ignored);
    assert_eq!(world.reply(moved), InsertResult::of(InsertKind::Ignored));
    assert_eq!(world.query(Contact { endpoint: with_port(node.endpoint, 1), ..node }), InsertKind::Ignored);
    world.pass(10 * MINUTE);
    assert_eq!(world.nodes(), [node]);
    assert_eq!(world.good(node.id), [], "and none of it counts as hearing from the node");
}

#[test]
fn r_20_a_lost_ping_is_no_failure_and_is_not_repeated_at_once() {
    let (mut world, node) = World::with_node();
    world.pass(15 * MINUTE);
    for _ in 0..10 {
        assert_eq!(world.next_ping(), Some(node));
        world.lose_ping(node);
        assert_eq!(world.next_ping(), None);
        world.pass(MINUTE);
    }
    assert!(world.table.contains(world.memory(), node));
    assert_eq!(world.next_ping(), Some(node));
    world.pass(MINUTE);
    assert_eq!(world.next_ping(), Some(node), "a caller that forgets one does not block the bucket");
    world.check();
}

#[test]
fn r_21_an_unknown_querier_is_pinged_at_once_while_few_nodes_are_known_else_after_200_seconds() {
    let mut world = World::new(192, 192);
    for bucket in 0..3 {
        world.fill(bucket);
    }
    let early = world.node(10);
    world.query(early);
    assert_eq!(world.next_ping(), Some(early));
    world.reply(early);
    world.fill(3);
    let late = world.node(11);
    world.query(late);
    assert_eq!(world.next_ping(), None);
    assert!(world.table.ping_due().unwrap() <= world.now + Duration::from_secs(200));
    world.pass(Duration::from_secs(199));
    world.query(late);
    assert_eq!(world.next_ping(), None);
    world.pass(Duration::from_secs(199));
    assert_eq!(world.next_ping(), None, "the way it came by may be open still");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.next_ping(), Some(late));
}

#[test]
fn r_21_a_node_whose_queries_may_let_ours_in_is_pinged_once_they_do_so_no_more() {
    let (mut world, nodes) = World::with_full_bucket();
    let ask_every_five_minutes = |world: &mut World, times| {
        for _ in 0..times {
            world.pass(5 * MINUTE);
            world.query(nodes[0]);
            assert!(world.answer_pings().iter().all(|node| *node != nodes[0]));
        }
    };
    // Without a ping, a node that keeps querying would count as heard from forever.
    ask_every_five_minutes(&mut world, 4);
    world.pass(Duration::from_secs(199));
    assert_eq!(world.next_ping(), None);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.answer_pings(), [nodes[0]]);
    // One ping is enough.
    ask_every_five_minutes(&mut world, 12);
    world.check();
}

#[test]
fn r_22_failing_nodes_are_pinged_at_doubling_intervals() {
    let (mut world, node) = World::with_pinged_node();
    world.fail(node);
    for minutes in [2, 4] {
        assert_eq!(world.next_ping(), None);
        assert!(world.table.ping_due().unwrap() > world.now);
        world.pass(minutes * MINUTE - Duration::from_secs(1));
        assert_eq!(world.next_ping(), None);
        world.pass(Duration::from_secs(1));
        assert_eq!(world.next_ping(), Some(node));
        world.fail(node);
    }
    world.pass(100 * MINUTE);
    assert_eq!(world.next_ping(), None, "it was given up");
    assert_eq!(world.table.ping_due(), None);
    world.check();
}

#[test]
fn the_failures_of_a_wave_of_queries_count_no_ping_twice() {
    let (mut world, node) = World::with_pinged_node();
    world.fail(node);
    assert_eq!(world.table.iter(world.memory()).next().unwrap().failures, 1);
    world.fail(Contact { endpoint: with_port(node.endpoint, 9), ..node });
    assert_eq!(world.table.iter(world.memory()).next().unwrap().failures, 1, "another endpoint's failure");
}

#[test]
fn a_full_bucket_prefers_nodes_spread_over_its_range_and_fast_ones() {
    let mut world = World::new(192, 192);
    let crowd: Vec<_> = (0..8).map(|_| world.node_in_part(0, 2)).collect();
    for (&node, factor) in crowd.iter().zip(1..) {
        world.reply_after(node, RTT * factor);
    }
    let elsewhere = world.node_in_part(0, 5);
    assert_eq!(world.reply_after(elsewhere, RTT * 9), added_for(crowd[7]));
    assert_eq!(world.buckets[0].replacements, 1, "a good node that gave way is a replacement");

    let hardly_faster = world.node_in_part(0, 2);
    assert_eq!(world.reply_after(hardly_faster, RTT * 4).kind, InsertKind::Cached);
    let much_faster = world.node_in_part(0, 2);
    assert_eq!(world.reply_after(much_faster, RTT * 3), added_for(crowd[6]));
    world.check();
}

#[test]
fn a_node_known_for_an_hour_is_not_pushed_out_by_a_faster_newcomer() {
    let (mut world, nodes) = World::with_full_bucket();
    for _ in 0..7 {
        world.pass(10 * MINUTE);
        for &node in &nodes {
            world.reply(node);
        }
    }
    for part in 0..8 {
        let newcomer = world.node_in_part(0, part);
        assert_eq!(world.reply_after(newcomer, Duration::ZERO), InsertResult::of(InsertKind::Cached));
    }
    world.check();
}

#[test]
fn nodes_that_came_together_are_pinged_one_by_one_before_they_are_questionable() {
    let mut world = World::new(400, 192);
    let nodes: Vec<_> = (0..100).map(|_| world.node(0)).collect();
    for &node in &nodes {
        world.reply(node);
    }
    let mut most = 0;
    for _ in 0..900 {
        world.pass(Duration::from_secs(1));
        most = most.max(world.answer_pings().len());
        assert_eq!(world.good(nodes[0].id).len(), 8);
    }
    assert!(most < 10, "{most} at once");
    assert!(world.table.iter(world.memory()).all(|entry| entry.is_good(world.now)));
}

#[test]
fn round_trip_times_are_smoothed() {
    let mut world = World::new(192, 192);
    let node = world.node(0);
    world.reply_after(node, RTT);
    world.pass(MINUTE);
    world.reply_after(node, RTT * 5);
    world.pass(MINUTE);
    let entry = world.table.iter(world.memory()).next().unwrap();
    assert_eq!((entry.id(), entry.endpoint()), (node.id, node.endpoint));
}

#[test]
fn a_removed_node_is_gone_and_a_replacement_steps_in() {
    let (mut world, nodes) = World::with_full_bucket();
    let replacement = world.answering_node(0);
    let (table, mut slots, now) = world.slots();
    let removal = table.remove(&mut slots, nodes[0], now);
    assert_eq!(removal, Some(Removal { removed: nodes[0], promoted: Some(replacement) }));
    assert_eq!(table.remove(&mut slots, nodes[0], now), None);
    world.check();
}

#[test]
fn ids_that_differ_only_at_the_end_are_distinguished() {
    let mut world = World::new(400, 192);
    for last in 1..=100 {
        let mut bytes = *world.own.as_bytes();
        bytes[0] ^= 0x80;
        bytes[19] = last;
        let contact = world.host(NodeId::from_bytes(bytes));
        world.reply(contact);
    }
    assert_eq!(world.table.len(), 100);
    for node in world.nodes() {
        let found: Vec<_> = world.good(node.id).iter().map(|contact| contact.id).collect();
        assert_eq!(found, world.closest_by_force(node.id, Filter::Good, 8));
    }
}
