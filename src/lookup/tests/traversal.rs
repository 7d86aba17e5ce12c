//! Which nodes are queried, which are queried again, and when a traversal ends.

use super::*;

#[test]
fn nodes_that_failed_recently_are_the_last_resort() {
    let mut rig = Rig::knowing(Goal::GetPeers, 2, 1, [3]);
    for host in [1, 2] {
        assert!(rig.traversal.add(&mut rig.candidates, Some(id(host)), endpoint(host), true));
    }
    assert_eq!(rig.ask_all(), [3], "while somebody else is left, they are spared");
    rig.stall(3);
    assert_eq!(rig.ask_all(), [3], "the other is asked again first");
    assert_eq!(rig.ask_all(), []);
    rig.stall(3);
    assert_eq!(rig.ask_all(), [1, 2], "as many at once as any");
    rig.answer(2);
    rig.stall(1);
    assert_eq!(rig.next(), Step::Finish);
}

/// Otherwise the traversal could end right after the query: the closer listing is dropped with it.
#[test]
fn of_several_listings_of_one_host_the_closest_is_queried() {
    let mut rig = Rig::new(Goal::GetPeers, 1, 1);
    rig.traversal.add_known(&mut rig.candidates, id(3), endpoint(1), Duration::from_millis(9));
    assert!(rig.list_as(1, Some(id(2))));
    assert_eq!(rig.next(), Step::Query(0));
    rig.ask_all();
    assert_eq!(rig.next(), Step::Wait);
}

#[test]
fn suspects_are_evicted_first_from_full_memory() {
    let mut rig = Rig::with_memory(Goal::GetPeers, 2, 1, 3);
    for host in [1, 2] {
        assert!(rig.traversal.add(&mut rig.candidates, Some(id(host)), endpoint(host), true));
    }
    (3..=5).for_each(|host| assert!(rig.list(host), "{host}"));
    assert!(!rig.traversal.add(&mut rig.candidates, Some(id(1)), endpoint(1), true));
    assert!(!rig.list(6), "the farthest");
    assert_eq!(rig.ask_all(), [3, 4]);
}

/// A node that does not support the query for an item is queried for its neighbours in between, and then for the
/// item once more.
#[cfg(feature = "items")]
#[test]
fn a_node_that_does_not_respond_to_get_may_lead_to_others() {
    let mut rig = Rig::knowing(Goal::Get(Ix::new(0)), 1, 1, [1]);
    let is_for_neighbours = |rig: &Rig| rig.traversal.queries_neighbours(&rig.candidates, endpoint(1));
    let sign = |rig: &mut Rig, weight| {
        rig.traversal.on_response(&mut rig.candidates, &mut rig.tokens, endpoint(1), id(1), None, weight)
    };
    assert_eq!(rig.ask_all(), [1]);
    assert!(!is_for_neighbours(&rig));
    rig.stall(1);
    assert_eq!(rig.ask_all(), [1]);
    assert!(is_for_neighbours(&rig));
    assert_eq!(sign(&mut rig, Weight::Alive), Verdict::Accepted);
    assert_eq!(sign(&mut rig, Weight::Alive), Verdict::Rejected);
    assert_eq!(rig.ask_all(), [1]);
    assert!(!is_for_neighbours(&rig));
    rig.stall(1);
    assert_eq!((rig.ask_all(), rig.next()), (std::vec![], Step::Finish), "it is not asked a third time");
    assert_eq!(rig.traversal.closest(&rig.candidates).count(), 0, "nor is it one of the closest");
    assert_eq!((rig.traversal.answered, rig.traversal.failed), (1, 0));
    assert_eq!(sign(&mut rig, Weight::Full), Verdict::Accepted, "late");
    assert_eq!((rig.traversal.answered, rig.traversal.closest(&rig.candidates).count()), (1, 1));
}

#[test]
fn l_01_the_closest_are_queried_first_and_listed_ones_are_merged() {
    let mut rig = Rig::knowing(Goal::FindNode, 2, 8, [50, 10, 30, 20]);
    assert_eq!(rig.ask_all(), [10, 20]);
    rig.answer(10);
    assert!(rig.list(5));
    assert_eq!(rig.ask_all(), [5], "a closer one goes ahead of those known before");
    rig.answer(20);
    rig.answer(5);
    assert_eq!(rig.ask_all(), [30, 50]);
    rig.answer(30);
    assert_eq!(rig.next(), Step::Wait);
    rig.answer(50);
    assert_eq!(rig.next(), Step::Finish);
    assert_eq!(rig.closest(), [5, 10, 20, 30, 50]);
}

#[test]
fn l_03_no_more_than_alpha_queries_are_open() {
    let mut rig = Rig::knowing(Goal::GetPeers, 3, 8, 1..=20);
    assert_eq!(rig.ask_all(), [1, 2, 3]);
    rig.answer(2);
    assert_eq!(rig.ask_all(), [4], "an answer frees one slot");
    rig.traversal.on_failure(&mut rig.candidates, endpoint(1));
    assert_eq!(rig.ask_all(), [5], "so does a failure");
}

#[test]
fn l_03_alpha_of_one_queries_one_after_the_other() {
    let mut rig = Rig::knowing(Goal::GetPeers, 1, 3, 1..=5);
    for host in 1..=3 {
        assert_eq!(rig.ask_all(), [host]);
        rig.answer(host);
    }
    assert_eq!(rig.next(), Step::Finish);
}

#[test]
fn l_03_k_of_one_looks_for_a_single_node() {
    let mut rig = Rig::knowing(Goal::GetPeers, 4, 1, [3, 5, 7]);
    assert_eq!(rig.ask_all(), [3, 5], "one, and one more in case the first is dead");
    rig.answer(3);
    assert_eq!(rig.next(), Step::Finish);
    rig.list(1);
    assert_eq!(rig.ask_all(), [1], "but a closer one does");
    rig.answer(1);
    assert_eq!((rig.next(), rig.closest()), (Step::Finish, std::vec![1]));
}

#[test]
fn l_04_the_traversal_ends_when_the_k_closest_live_nodes_have_responded() {
    let mut rig = Rig::knowing(Goal::GetPeers, 16, 4, 1..=10);
    assert_eq!(rig.ask_all(), [1, 2, 3, 4, 5, 6, 7, 8], "no more than twice K are asked at once");
    for host in [1, 3, 4] {
        rig.answer(host);
    }
    rig.stall(2);
    rig.time_out(2);
    assert_eq!(rig.next(), Step::Wait, "a dead node is no answer");
    rig.answer(5);
    assert_eq!(rig.next(), Step::Finish);
    assert_eq!(rig.closest(), [1, 3, 4, 5]);
    assert_eq!((rig.traversal.queried, rig.traversal.answered, rig.traversal.failed), (8, 4, 1));
}

#[test]
fn l_04_a_traversal_without_any_response_ends_with_the_last_failure() {
    let mut rig = Rig::knowing(Goal::GetPeers, 16, 8, 1..=3);
    rig.ask_all();
    (1..=3).for_each(|host| rig.stall(host));
    assert_eq!(rig.ask_all(), [1, 2, 3], "each is asked once more");
    (1..=3).for_each(|host| rig.stall(host));
    assert_eq!(rig.next(), Step::Wait, "a late answer is better than none");
    (1..=3).for_each(|host| rig.time_out(host));
    assert_eq!(rig.next(), Step::Finish);
    assert_eq!((rig.traversal.queried, rig.traversal.failed), (3, 3));
}

#[test]
fn l_05_an_address_is_queried_once_whatever_its_ids() {
    let mut rig = Rig::knowing(Goal::GetPeers, 16, 8, [1]);
    assert!(!rig.list(1), "listed again");
    assert!(rig.list_as(1, Some(id(77))), "the same host under another id");
    assert_eq!(rig.ask_all(), [1]);
    assert!(rig.list_as(1, Some(id(99))));
    assert_eq!(rig.ask_all(), []);
    rig.answer(1);
    assert_eq!(rig.ask_all(), []);
    assert!(!rig.list_as(1, Some(id(55))), "it is known who it is");
    assert_eq!((rig.next(), rig.traversal.queried, rig.closest()), (Step::Finish, 1, std::vec![1]));
}

#[test]
fn l_05_an_id_and_an_ip_address_are_accepted_once() {
    let mut rig = Rig::knowing(Goal::GetPeers, 16, 8, [1, 2]);
    rig.list_as(3, Some(id(1)));
    let other_port = endpoint(2).with_port(1);
    assert!(rig.traversal.add(&mut rig.candidates, Some(id(4)), other_port, false));
    rig.ask_all();
    assert_eq!(rig.answer(1), Verdict::Accepted);
    assert_eq!(rig.answer_as(3, id(1), None), Verdict::Rejected, "a second node with the id");
    assert_eq!(rig.answer(2), Verdict::Accepted);
    assert_eq!(rig.answer(2), Verdict::Rejected, "the answer to a query sent twice");
    let second = rig.traversal.on_response(
        &mut rig.candidates,
        &mut rig.tokens,
        other_port,
        id(4),
        None,
        Weight::Full,
    );
    assert_eq!(second, Verdict::Rejected, "a second node on the host");
    assert_eq!(rig.closest(), [1, 2]);
}

#[test]
fn l_06_unknown_ids_come_after_all_known_ones() {
    let mut rig = Rig::new(Goal::FindNode, 1, 8);
    assert!(rig.list_as(90, None) && rig.list_as(91, None) && rig.list(60_000));
    assert!(!rig.list_as(90, None), "known already");
    assert!(!rig.list_as(60_000, None), "known better");
    assert_eq!(rig.ask_all(), [60_000]);
    rig.answer(60_000);
    assert_eq!(rig.ask_all(), [90], "and keep their order");
    rig.answer_as(90, id(3), None);
    assert_eq!(rig.closest(), [90, 60_000], "its answer puts it in its place");
}

#[test]
fn l_07_a_response_with_another_id_counts_as_a_failure() {
    let mut rig = Rig::knowing(Goal::GetPeers, 16, 8, [1, 2]);
    rig.ask_all();
    assert_eq!(rig.answer_as(1, id(2), Some(b"token")), Verdict::Rejected);
    assert_eq!(rig.answer(2), Verdict::Accepted, "the id is not taken by the liar");
    assert_eq!((rig.closest(), rig.token_holders()), (std::vec![2], std::vec![2]));
    assert_eq!((rig.traversal.answered, rig.traversal.failed), (1, 1));
}

#[test]
fn l_07_a_false_listing_does_not_shadow_the_host_behind_it() {
    // A malicious node lists host 9 under an id next to the target; then an honest node lists it correctly.
    let mut rig = Rig::new(Goal::GetPeers, 16, 8);
    rig.list_as(9, Some(id(1)));
    assert_eq!(rig.ask_all(), [9]);
    assert!(rig.list(9));
    assert_eq!(rig.ask_all(), [], "it is asked already");
    assert_eq!(rig.answer(9), Verdict::Accepted);
    assert_eq!(rig.closest(), [9]);
    assert_eq!((rig.traversal.queried, rig.traversal.failed), (1, 0));
    // The host responds to the false listing before any node lists it correctly.
    let mut rig = Rig::new(Goal::GetPeers, 16, 8);
    rig.list_as(9, Some(id(1)));
    rig.ask_all();
    assert_eq!(rig.answer(9), Verdict::Rejected);
    assert_eq!((rig.next(), rig.traversal.failed), (Step::Finish, 1));
    rig.list_as(9, Some(id(2)));
    assert_eq!(rig.ask_all(), [], "not under a third name");
    assert!(rig.list(9));
    assert_eq!(rig.ask_all(), [9]);
    assert_eq!(rig.answer_as(9, id(3), None), Verdict::Rejected);
    rig.list_as(9, Some(id(3)));
    assert_eq!(rig.ask_all(), [], "whoever changes his name is not asked a third time");
    // Likewise, with the correct listing first.
    let mut rig = Rig::knowing(Goal::GetPeers, 16, 8, [9]);
    rig.list_as(9, Some(id(1)));
    assert_eq!(rig.ask_all(), [9]);
    assert_eq!(rig.answer(9), Verdict::Accepted);
}

#[test]
fn l_07_a_second_response_with_another_id_counts_no_more_than_the_first() {
    // With one listing, and with a second one that the same query covers.
    for listings in [1, 2] {
        let mut rig = Rig::new(Goal::GetPeers, 16, 8);
        (0..listings).for_each(|nth| assert!(rig.list_as(5, Some(id(5 + nth)))));
        assert_eq!(rig.ask_all(), [5]);
        rig.stall(5);
        assert_eq!(rig.ask_all(), [5], "it is near the target and sent once more");
        for _ in 0..2 {
            assert_eq!(rig.answer_as(5, id(1), Some(b"token")), Verdict::Rejected);
        }
        assert_eq!((rig.traversal.queried, rig.traversal.answered, rig.traversal.failed), (1, 0, 1));
        assert!(rig.closest().is_empty() && rig.token_holders().is_empty());
    }
}

#[test]
fn l_08_a_stall_frees_the_slot_and_a_late_response_still_counts() {
    let mut rig = Rig::knowing(Goal::GetPeers, 2, 2, 1..=9);
    assert_eq!(rig.ask_all(), [1, 2]);
    rig.stall(1);
    assert_eq!(rig.ask_all(), [3]);
    rig.stall(2);
    assert_eq!(rig.ask_all(), [4]);
    assert_eq!(rig.answer(1), Verdict::Accepted);
    rig.answer(3);
    assert_eq!(rig.closest(), [1, 3]);
}

#[test]
fn l_08_a_lost_query_near_the_target_is_sent_once_more() {
    let mut rig = Rig::knowing(Goal::GetPeers, 4, 2, [1, 2, 3]);
    assert_eq!(rig.ask_all(), [1, 2, 3]);
    rig.stall(1);
    assert_eq!(rig.ask_all(), [1]);
    rig.answer(2);
    rig.answer(3);
    assert_eq!(rig.next(), Step::Wait, "for the second try");
    rig.stall(1);
    assert_eq!(rig.next(), Step::Finish, "and for no third");
    assert_eq!(rig.traversal.queried, 3, "nodes, not datagrams");
}

#[test]
fn once_peers_are_found_nothing_is_sent_again_for_more() {
    let mut rig = Rig::knowing(Goal::GetPeers, 4, 2, [1, 2, 3]);
    rig.ask_all();
    rig.traversal.found = 1;
    [1, 2, 3].into_iter().for_each(|host| rig.stall(host));
    assert_eq!(rig.next(), Step::Wait, "while nobody has answered");
    rig.answer(2);
    assert_eq!(rig.next(), Step::Finish);
}

#[test]
fn of_equally_close_nodes_the_fastest_is_queried_first() {
    let mut rig = Rig::new(Goal::GetPeers, 3, 8);
    assert!(rig.list(0b101));
    for (host, ms) in [(0b1000, 90), (0b1001, 20), (0b1010, 40), (0b10000, 1)] {
        rig.traversal.add_known(&mut rig.candidates, id(host), endpoint(host), Duration::from_millis(ms));
    }
    assert!(rig.list(0b1011));
    assert_eq!(rig.ask_all(), [0b101, 0b1001, 0b1010], "the closest, and of four at the next distance two");
    rig.answer(0b101);
    rig.answer(0b1001);
    assert_eq!(rig.ask_all(), [0b1000, 0b1011], "whose speed is unknown goes last");
}

#[test]
fn l_08_the_timeout_of_the_first_try_does_not_end_the_second() {
    let mut rig = Rig::knowing(Goal::GetPeers, 4, 2, [1, 2]);
    rig.ask_all();
    rig.stall(1);
    assert_eq!(rig.ask_all(), [1]);
    rig.time_out(1);
    assert_eq!(rig.answer(1), Verdict::Accepted);
    assert_eq!((rig.traversal.answered, rig.traversal.failed), (1, 0));
}

#[test]
fn a_silent_node_behind_the_k_closest_is_not_queried_again() {
    let mut rig = Rig::knowing(Goal::GetPeers, 4, 2, [5, 9]);
    rig.ask_all();
    rig.list(1);
    rig.ask_all();
    rig.answer(5);
    rig.answer(1);
    rig.stall(9);
    assert_eq!(rig.next(), Step::Finish);
}

#[test]
fn full_memory_keeps_the_closest_candidates() {
    let mut rig = Rig::with_memory(Goal::GetPeers, 16, 8, 4);
    assert!([50, 40, 30, 20].into_iter().all(|host| rig.list(host)));
    assert!(!rig.list(60), "farther than all");
    assert!(rig.list(10));
    assert!(!rig.list_as(70, None), "an unknown id does not displace a known one");
    assert_eq!((rig.ask_all(), rig.traversal.len()), (std::vec![10, 20, 30, 40], 4));
    let mut rig = Rig::with_memory(Goal::GetPeers, 16, 8, 0);
    assert!(!rig.list(1));
    assert_eq!(rig.next(), Step::Finish);
}

#[test]
fn one_response_with_fictitious_nodes_does_not_end_a_traversal() {
    let mut rig = Rig::knowing(Goal::GetPeers, 16, 8, 101..=108);
    rig.ask_all();
    rig.answer(101);
    (1..=32).for_each(|fake| assert!(rig.list(fake)));
    for host in 102..=108 {
        rig.answer(host);
    }
    for _ in 0..8 {
        rig.ask_all().into_iter().filter(|&host| host <= 32).for_each(|fake| rig.stall(fake));
    }
    assert_eq!(rig.next(), Step::Finish);
    assert_eq!(rig.closest(), (101..=108).collect::<Vec<_>>());
}
