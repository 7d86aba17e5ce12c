use alloc::format;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use super::*;
use crate::net::events::{Events, subscription};
use crate::net::resolve::Resolver;
use crate::wire::Message;
use crate::{Config, Limits, LookupOptions, MAX_DATAGRAM, SavedAnnounce};

/// A desk in no loop, and what it tells.
fn desk() -> (Desk, Events) {
    let clock = Clock::new();
    let node = Node::new(Config::default(), &Limits::default(), [7; 32], clock.now());
    let waker = core::task::Waker::noop().clone();
    let board = Arc::new(Board::new(waker, [None; 2], LookupOptions::default()));
    let (subscriber, events) = subscription();
    let mut subscribers = Subscribers::default();
    subscribers.add(subscriber);
    let hosts = Hosts::new(Vec::new(), [true; 2], Resolver::default(), core::task::Waker::noop().clone());
    (Desk::new(node, clock, board, hosts, subscribers), events)
}

/// Tells a node of others, and returns from where and how they answer its pings.
pub(in crate::net) fn answers_of(node: &mut Node, now: Instant, count: u8) -> Vec<(SocketAddr, Vec<u8>)> {
    for at in 1..=count {
        node.add_node(now, SocketAddr::from((Ipv4Addr::new(60, at, 1, 1), 6881))).unwrap();
    }
    let (mut answers, mut buffer) = (Vec::new(), [0; MAX_DATAGRAM]);
    while let Some(transmit) = node.poll_transmit(now, &mut buffer) {
        let SocketAddr::V4(to) = transmit.destination else { continue };
        let ping = Message::parse(&buffer[..transmit.size]).unwrap();
        // Ids as far apart as can be, for a table with room for all.
        let mut id = [to.ip().octets()[1].reverse_bits(); 20];
        id[1] = to.ip().octets()[1];
        let answer = [b"d1:rd2:id20:", &id[..], b"e1:t4:", ping.transaction, b"1:y1:re"];
        answers.push((transmit.destination, answer.concat()));
    }
    assert_eq!(answers.len(), usize::from(count));
    answers
}

#[test]
fn no_event_is_lost_in_a_burst_of_datagrams() {
    let (mut desk, mut events) = desk();
    let now = desk.clock.now();
    let answers = answers_of(&mut desk.node, now, 80);
    for (from, answer) in &answers {
        desk.handle_datagram(now, *from, answer);
    }
    let known = desk.node.node_count(Family::V4);
    assert!(known > Limits::default().events, "{known}");
    assert_eq!(desk.node.stats().events_lost, 0);
    drop(desk);
    let added = events.by_ref().filter(|notice| matches!(notice, Notice::Node(Event::NodeAdded { .. })));
    assert_eq!(added.count(), known);
}

#[test]
fn a_sleep_of_the_host_interrupts_queries_and_ages_what_was_saved() {
    for (slept, interrupted) in [(0, 0), (3600, 1)] {
        let (mut desk, _events) = desk();
        let now = desk.clock.now();
        let infohash = InfoHash::from([1; 20]);
        let announce = Announce::port(4242);
        let saved = SavedAnnounce { infohash, announce, acknowledged: 8, age: Duration::ZERO };
        desk.keep_saved(Saved::new([saved].into_iter(), Duration::ZERO, now, 9));
        answers_of(&mut desk.node, now, 1);
        desk.watch = SleepWatch::after(Duration::from_secs(slept));
        desk.begin();
        assert_eq!(desk.node.stats().interrupted, interrupted);
        let now = desk.clock.now();
        let _kept = desk.keep_announced(now, infohash, announce).unwrap();
        let kept = desk.node.kept_announces().next().unwrap();
        let is_due = kept.due.is_none_or(|due| due <= now);
        assert_eq!(is_due, slept > 0, "{kept:?} at {now:?}");
    }
}

#[test]
fn a_desk_that_ends_in_the_middle_saves_all_the_same() {
    let path = std::env::temp_dir().join(format!("dht-proto-desk-{}.state", std::process::id()));
    let file = StateFile::new(&path);
    let (mut desk, _events) = desk();
    let now = desk.clock.now();
    for (from, answer) in answers_of(&mut desk.node, now, 1) {
        desk.handle_datagram(now, from, &answer);
    }
    let waker = core::task::Waker::noop().clone();
    desk.keep_state(Some(Saver::new(file, None, Duration::from_secs(300), now, waker)), None);
    drop(desk);
    assert!(path.exists());
    std::fs::remove_file(path).unwrap();
}
