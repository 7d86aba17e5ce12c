//! The nodes that an announce is sent to, and when.

use super::*;

#[test]
fn l_02_announces_go_to_the_k_closest_as_soon_as_all_closer_ones_have_settled() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 3, 1..=5);
    assert_eq!(rig.announce_all(), []);
    rig.answer(1);
    assert_eq!(rig.announce_all(), [1], "nobody is closer");
    rig.answer(3);
    assert_eq!(rig.announce_all(), [], "2 may still be alive");
    rig.stall(2);
    assert_eq!(rig.announce_all(), [3]);
    rig.answer(4);
    assert_eq!(rig.announce_all(), [4]);
    (0..2).for_each(|_| rig.stall(2));
    for host in [1, 3, 4] {
        assert!(rig.store(host));
    }
    assert_eq!(rig.next(), Step::Finish);
    assert_eq!((rig.traversal.announced, rig.traversal.acknowledged), (3, 3));
}

#[test]
fn l_02_a_late_closer_response_adds_one_announce() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 2, 1..=3);
    rig.ask_all();
    rig.stall(1);
    rig.announce_all();
    rig.answer(2);
    rig.answer(3);
    assert_eq!(rig.announce_all(), [2, 3]);
    rig.answer(1);
    assert_eq!(rig.announce_all(), [1]);
    assert_eq!(rig.traversal.announced, 3);
}

#[test]
fn t_10_a_node_without_a_token_serves_the_traversal_but_is_not_announced_to() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 2, 1..=4);
    rig.ask_all();
    assert_eq!(rig.answer_as(1, id(1), None), Verdict::Accepted);
    rig.answer_as(2, id(2), Some(b""));
    rig.answer_as(3, id(3), Some(&[7; 129]));
    assert_eq!(rig.announce_all(), [], "no token, an empty one, and one that is too long");
    rig.answer(4);
    assert_eq!(rig.announce_all(), [4]);
    rig.store(4);
    assert_eq!((rig.next(), rig.closest()), (Step::Finish, std::vec![1, 2]));
}

#[test]
fn a_refused_announce_goes_to_the_next_node() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 2, 1..=6);
    rig.ask_all();
    rig.answer(1);
    rig.answer(2);
    assert_eq!(rig.announce_all(), [1, 2]);
    rig.refuse(1);
    assert_eq!(rig.announce_all(), [], "the next has to be asked for its token first");
    rig.answer(3);
    assert_eq!(rig.announce_all(), [3]);
    rig.store(2);
    rig.store(3);
    assert_eq!((rig.next(), rig.traversal.acknowledged), (Step::Finish, 2));
}

#[test]
fn refused_announces_go_to_a_bounded_number_of_nodes() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 2, 1..=30);
    let mut announced = 0;
    loop {
        match rig.next() {
            Step::Query(position) => {
                rig.traversal.on_queried(&mut rig.candidates, position);
                let host = host(rig.candidates[position].endpoint);
                rig.answer(host);
            }
            Step::Announce(position) => {
                announced += 1;
                rig.traversal.on_announced(&mut rig.candidates, position);
                let host = host(rig.candidates[position].endpoint);
                rig.refuse(host);
            }
            Step::Probe(..) | Step::Wait | Step::Finish => break,
        }
    }
    assert_eq!((rig.next(), announced), (Step::Finish, 4), "2 K nodes are tried");
}

#[test]
fn a_lost_announce_is_sent_once_more_and_then_goes_to_the_next() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 1, [1, 2]);
    rig.ask_all();
    rig.answer(1);
    assert_eq!(rig.announce_all(), [1]);
    rig.lose_announce(1);
    assert_eq!(rig.announce_all(), [1]);
    rig.lose_announce(1);
    rig.announce_all();
    rig.answer(2);
    assert_eq!(rig.announce_all(), [2]);
    assert!(rig.store(1), "a late confirmation counts");
    assert!(!rig.store(1), "once");
    rig.store(2);
    assert_eq!((rig.traversal.announced, rig.traversal.acknowledged), (2, 2));
}

#[test]
fn nodes_beyond_the_horizon_are_probed_for_if_dead_ones_hide_live_ones() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 8, [3, 5]);
    rig.ask_all();
    rig.answer_listing(3, &[1, 2, 5, 6, 7, 8, 9, 10]);
    rig.answer(5);
    assert_eq!(rig.ask_all(), [1, 2, 6, 7, 8, 9, 10]);
    assert!(rig.list(300), "somebody far away");
    rig.stall(6);
    [1, 2].into_iter().for_each(|host| _ = rig.answer(host));
    let mut looks = Vec::new();
    loop {
        match rig.next() {
            Step::Announce(position) => rig.traversal.on_announced(&mut rig.candidates, position),
            Step::Query(position) => rig.traversal.on_queried(&mut rig.candidates, position),
            Step::Probe(position, window) => {
                rig.traversal.on_probed(&mut rig.candidates, position, window);
                looks.push((host(rig.candidates[position].endpoint), rig.traversal.probe_target(window)));
            }
            Step::Wait | Step::Finish => break,
        }
    }
    assert_eq!(looks, [(1, id(12)), (2, id(16))], "each at another node, for the next 8 from 10 on");
    // The quarter before is listed completely, so nothing more is left to query for.
    rig.respond_to_probe(Window::Rest, [3, 8, 9, 10, 12, 13, 14, 15].into_iter());
    rig.respond_to_probe(Window::Next, 16..24);
    [7, 8, 9, 10].into_iter().for_each(|host| (0..2).for_each(|_| rig.stall(host)));
    rig.stall(6);
    assert!(rig.ask_all().starts_with(&[12, 13, 14, 15]), "closer than the one far away");
}

#[test]
fn there_is_no_probe_if_the_neighbours_are_alive() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 8, 1..=8);
    rig.ask_all();
    (1..=8).for_each(|host| rig.answer_listing(host, &[1, 2, 3, 4, 5, 6, 7, 8]));
    rig.list(300);
    assert_eq!(rig.announce_all(), (1..=8).collect::<Vec<_>>());
    assert_eq!(rig.traversal.horizon.tries(), 0);
    let mut rig = Rig::knowing(Goal::GetPeers, 16, 8, 1..=8);
    rig.ask_all();
    rig.answer_listing(1, &[1, 2, 3, 4, 5, 6, 7, 8]);
    rig.list(300);
    rig.ask_all();
    assert_eq!(rig.next(), Step::Wait, "and only announces look there");
}

#[test]
fn a_reported_announce_still_goes_to_closer_nodes_that_respond_or_are_listed_late() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 2, 2..=4);
    rig.ask_all();
    (0..2).for_each(|_| rig.stall(2));
    rig.announce_all();
    [3, 4].into_iter().for_each(|host| _ = rig.answer(host));
    assert_eq!(rig.announce_all(), [3, 4]);
    [3, 4].into_iter().for_each(|host| _ = rig.store(host));
    rig.announce_all();
    rig.stall(2);
    assert_eq!(rig.next(), Step::Finish);
    rig.traversal.phase = Phase::Remembered;
    for _ in TRIES..SILENT_SUBNET_TRIES {
        assert_eq!(rig.ask_all(), [2], "it is asked a few times more");
        rig.stall(2);
    }
    assert_eq!(rig.next(), Step::Finish);
    rig.list(1);
    assert_eq!(rig.ask_all(), [1]);
    rig.answer(2);
    rig.answer(1);
    assert_eq!(rig.announce_all(), [1, 2]);
    rig.lose_announce(2);
    assert_eq!(rig.announce_all(), [2]);
    rig.store(1);
    rig.store(2);
    assert_eq!(rig.next(), Step::Finish);
    rig.list(9);
    assert_eq!(rig.next(), Step::Finish, "who is farther away is of no interest");
}

#[test]
fn a_node_that_failed_recently_is_queried_only_after_the_report() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 1, [2]);
    assert!(rig.traversal.add(&mut rig.candidates, Some(id(1)), endpoint(1), true));
    assert_eq!(rig.ask_all(), [2]);
    rig.answer(2);
    assert_eq!(rig.announce_all(), [2], "it holds up nothing");
    rig.store(2);
    assert_eq!(rig.next(), Step::Finish);
    rig.traversal.phase = Phase::Remembered;
    for _ in TRIES..SILENT_SUBNET_TRIES {
        assert_eq!(rig.ask_all(), [1]);
        rig.stall(1);
    }
    assert_eq!(rig.next(), Step::Finish, "what it was asked before counts");
    rig.answer(1);
    assert_eq!(rig.announce_all(), [1]);
}

#[test]
fn tokens_of_the_closest_are_stored_in_place_of_the_farthest() {
    let mut rig = Rig::knowing(ANNOUNCE, 64, 16, 11..=30);
    (11..=30).rev().for_each(|host| {
        rig.ask_all();
        rig.traversal.on_queried(&mut rig.candidates, usize::from(host) - 11);
        rig.answer(host);
    });
    assert_eq!(rig.token_holders(), (11..=26).collect::<Vec<_>>());
    rig.list(40);
    rig.traversal.on_queried(&mut rig.candidates, 20);
    rig.answer(40);
    assert!(!rig.token_holders().contains(&40), "a farther one takes no place");
    rig.list(1);
    rig.traversal.on_queried(&mut rig.candidates, 0);
    rig.answer_as(1, id(1), Some(b"new"));
    assert!(rig.token_holders().contains(&1) && !rig.token_holders().contains(&26));
    let token = |host| rig.traversal.token_of(&rig.candidates, &rig.tokens, endpoint(host)).unwrap();
    assert_eq!((token(1).bytes(), token(11).bytes()), (&b"new"[..], &b"token"[..]));
    assert!(rig.traversal.token_of(&rig.candidates, &rig.tokens, endpoint(40)).is_none());
}

#[test]
fn an_announce_goes_to_no_more_nodes_than_tokens_are_stored() {
    for tokens in [0, 2] {
        let mut rig = Rig::knowing(ANNOUNCE, 16, 4, 1..=9);
        rig.tokens.truncate(tokens);
        while let asked = rig.ask_all()
            && !asked.is_empty()
        {
            asked.into_iter().rev().for_each(|host| assert_eq!(rig.answer(host), Verdict::Accepted));
        }
        assert_eq!(rig.announce_all(), [1, 2][..tokens]);
        [1, 2][..tokens].iter().for_each(|&host| assert!(rig.store(host)));
        assert_eq!((rig.next(), usize::from(rig.traversal.acknowledged)), (Step::Finish, tokens));
    }
}

#[test]
fn the_token_of_a_host_is_found_whatever_else_is_listed_there() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 8, [9]);
    rig.list_as(9, Some(id(1)));
    rig.ask_all();
    assert_eq!(rig.answer(9), Verdict::Accepted);
    let token = rig.traversal.token_of(&rig.candidates, &rig.tokens, endpoint(9));
    assert_eq!(token.unwrap().bytes(), b"token");
}

#[test]
fn a_query_to_a_single_node_queries_no_other() {
    let options = LookupOptions { only: Some(([1, 1, 1, 1], 1).into()), ..LookupOptions::default() };
    let mut rig = Rig::new(ANNOUNCE, 16, 8);
    rig.traversal = Traversal::new(ANNOUNCE, TARGET, Family::V4, &options, true, Instant::ZERO);
    rig.list_as(7, None);
    assert_eq!(rig.ask_all(), [7]);
    rig.answer(7);
    rig.list(1);
    assert_eq!(rig.announce_all(), [7]);
    rig.store(7);
    assert_eq!((rig.next(), rig.closest()), (Step::Finish, std::vec![1]), "what it listed");
}

#[test]
fn a_confirmation_from_before_the_traversal_began_anew_counts_as_announced() {
    let mut rig = Rig::knowing(ANNOUNCE, 16, 1, [1]);
    rig.ask_all();
    rig.answer(1);
    assert_eq!(rig.announce_all(), [1]);
    rig.traversal.restart(Instant::ZERO);
    rig.list(1);
    rig.ask_all();
    rig.answer(1);
    assert!(rig.store(1));
    assert_eq!((rig.traversal.announced, rig.traversal.acknowledged), (1, 1));
    assert_eq!(rig.next(), Step::Finish);
}
