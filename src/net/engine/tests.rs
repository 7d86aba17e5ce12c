use alloc::format;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use std::net::UdpSocket;
use std::time::Instant as StdInstant;

use super::feed::{Feed, FeedReader, feed};
use super::mailbox::Command;
use super::*;
use crate::net::resolve::Resolver;
use crate::state::SavedAnnounce;
use crate::wire::Message;
use crate::{Announce, Config, Event, InfoHash, Limits, LookupOptions, MAX_DATAGRAM};

/// An engine in no loop, and what subscribers get of it.
fn engine() -> (Engine, FeedReader<NetEvent, ()>) {
    let clock = Clock::new();
    let node = Node::new(Config::default(), &Limits::default(), [7; 32], clock.now());
    let (subscriber, events) = feed();
    let mut subscribers = Subscribers::default();
    subscribers.add(subscriber);
    (Engine::new(node, clock, shared(), no_hosts(), subscribers), events)
}

fn shared() -> Arc<Shared> {
    let waker = core::task::Waker::noop().clone();
    Arc::new(Shared::new(waker, [None; 2], LookupOptions::default()))
}

fn no_hosts() -> Hosts {
    Hosts::new(Default::default(), [true; 2], Resolver::default(), core::task::Waker::noop().clone())
}

/// Introduces others to a node, and returns from where and how they answer its pings.
pub(crate) fn answers_of(node: &mut Node, now: Instant, count: u8) -> Vec<(SocketAddr, Vec<u8>)> {
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

std::thread_local! {
    /// What the clock of [`engine_by_hand`] shows.
    static TIME: Cell<(StdInstant, Duration)> = Cell::new((StdInstant::now(), Duration::ZERO));
}

/// Lets time pass on the clock of [`engine_by_hand`].
pub(crate) fn wait(time: Duration) {
    let (start, passed) = TIME.get();
    TIME.set((start, passed + time));
}

/// An engine for loopback, in no loop, whose time passes on demand only.
pub(crate) fn engine_by_hand() -> Engine {
    let clock = Clock::reading(|| {
        let (start, passed) = TIME.get();
        start + passed
    });
    let node = Node::new(Config::private(), &Limits::default(), [7; 32], clock.now());
    Engine::new(node, clock, shared(), no_hosts(), Subscribers::default())
}

/// A ping, and where its result comes.
pub(crate) fn ping(addr: SocketAddr) -> (Command, FeedReader<(), Pong>) {
    let (reply, result) = feed();
    (Command::Ping { number: 1, addr, reply }, result)
}

/// What is there to be taken.
fn taken(events: &FeedReader<NetEvent, ()>) -> Vec<NetEvent> {
    core::iter::from_fn(|| events.with(Feed::next_item)?.ok()).collect()
}

/// Another node, which responds as the test sets.
pub(crate) fn other() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

/// Answers the ping that has come to `other`, behind a crowd of datagrams that are nothing.
pub(crate) fn answer_ping(other: &UdpSocket) {
    let mut buffer = [0; MAX_DATAGRAM];
    let (len, from) = other.recv_from(&mut buffer).unwrap();
    let ping = Message::parse(&buffer[..len]).unwrap();
    (0..100).for_each(|_| assert!(other.send_to(b"nothing", from).is_ok()));
    let answer = [b"d1:rd2:id20:", &[9; 20][..], b"e1:t4:", ping.transaction, b"1:y1:re"].concat();
    other.send_to(&answer, from).unwrap();
}

#[test]
fn a_node_with_something_to_lose_looks_for_a_sleep_every_quarter_of_a_minute() {
    let mut engine = engine_by_hand();
    assert_eq!(engine.next_turn(engine.clock.now()), engine.node.poll_timeout());
    let now = engine.clock.now();
    for (from, answer) in answers_of(&mut engine.node, now, 8) {
        engine.handle_datagram(now, from, None, &answer);
    }
    for _ in 0..100 {
        let now = engine.clock.now();
        engine.begin();
        engine.tick();
        engine.transmit(|datagrams| Ok(datagrams.len()));
        engine.take_events();
        engine.begin();
        let next = engine.next_turn(now).unwrap();
        assert!(next > now && next - now <= Duration::from_secs(15));
        wait(next - now);
    }
}

#[test]
fn what_the_system_does_not_send_is_told_once_a_minute_and_blamed_on_nobody() {
    let (mut engine, events) = engine();
    let now = engine.clock.now();
    (1..=8).for_each(|at| engine.node.add_node(now, ([60, at, 1, 1], 6881).into()).unwrap());
    engine.transmit(|_| Err(io::ErrorKind::NetworkUnreachable.into()));
    assert_eq!((engine.node.stats().unsent, engine.node.stats().unreachable), (8, 0));
    let counted = engine.shared.counters.read();
    assert_eq!((counted.sends_lost, counted.sends_unreachable), (8, 0));
    drop(engine);
    let reported = taken(&events).into_iter().filter(|event| matches!(event, NetEvent::Unsent { .. }));
    assert_eq!(reported.count(), 1);
}

/// A full socket leaves some datagrams over, and more follow than one turn sends.
#[test]
fn what_a_turn_has_left_unsent_leaves_in_the_next_one() {
    let clock = Clock::new();
    let limits = Limits { inflight: 2048, ..Limits::default() };
    let node = Node::new(Config::private(), &limits, [7; 32], clock.now());
    let mut engine = Engine::new(node, clock, shared(), no_hosts(), Subscribers::default());
    let (now, before_full) = (engine.clock.now(), 27);
    // Nine batches, of which eight and a part have left in the end.
    (0..9 * 32).for_each(|at: u16| {
        let addr = SocketAddr::from((Ipv4Addr::new(60, (at >> 8) as u8, at as u8, 1), 6881));
        engine.node.add_node(now, addr).unwrap();
    });
    let mut sent = 0;
    let destination = engine.transmit(|_| {
        sent += 1;
        if sent > before_full { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(1) }
    });
    assert!(destination.is_some() && engine.is_blocked());
    engine.unblock();
    assert_eq!(engine.transmit(|_| Ok(1)), None);
    assert!(!engine.send_batch.is_empty());
    let now = engine.clock.now();
    assert!(engine.deadline() > Some(now), "the node has nothing left to send");
    assert_eq!(engine.next_turn(now), Some(now));
}

#[test]
fn no_event_is_lost_in_a_burst_of_datagrams() {
    let (mut engine, events) = engine();
    let now = engine.clock.now();
    let answers = answers_of(&mut engine.node, now, 80);
    for (from, answer) in &answers {
        engine.handle_datagram(now, *from, None, answer);
    }
    let known = engine.node.node_count(Family::V4);
    assert!(known > Limits::default().events, "{known}");
    assert_eq!(engine.node.stats().events_lost, 0);
    drop(engine);
    let is_added = |event: &NetEvent| matches!(event, NetEvent::Node(Event::NodeAdded { .. }));
    let added = taken(&events).into_iter().filter(is_added);
    assert_eq!(added.count(), known);
}

#[test]
fn a_sleep_of_the_host_interrupts_queries_and_ages_what_was_saved() {
    for (slept, interrupted) in [(0, 0), (3600, 1)] {
        let (mut engine, _events) = engine();
        let now = engine.clock.now();
        let infohash = InfoHash::from([1; 20]);
        let announce = Announce::port(4242);
        let saved = SavedAnnounce { infohash, announce, acknowledged: 8, age: Duration::ZERO };
        engine.set_saved(Saved::new([saved].into_iter(), Duration::ZERO, now, 9));
        answers_of(&mut engine.node, now, 1);
        engine.watch = Some(SleepWatch::after(Duration::from_secs(slept)));
        if let Some(slept) = engine.begin() {
            engine.resume(slept);
        }
        assert_eq!(engine.node.stats().interrupted, interrupted);
        let (republishes, _held) = feed();
        drop(engine.execute(Command::Announce { number: 1, infohash, announce, republishes }));
        let now = engine.clock.now();
        let kept = engine.node.announcements().next().unwrap();
        let is_due = kept.due.is_none_or(|due| due <= now);
        assert_eq!(is_due, slept > 0, "{kept:?} at {now:?}");
    }
}

#[test]
fn an_engine_that_ends_in_the_middle_saves_all_the_same() {
    let path = std::env::temp_dir().join(format!("dht-proto-engine-{}.state", std::process::id()));
    let file = StateFile::new(&path);
    let (mut engine, _events) = engine();
    let now = engine.clock.now();
    for (from, answer) in answers_of(&mut engine.node, now, 1) {
        engine.handle_datagram(now, from, None, &answer);
    }
    let waker = core::task::Waker::noop().clone();
    engine.set_saver(Some(Saver::new(file, None, Duration::from_secs(300), now, waker)), None);
    drop(engine);
    assert!(path.exists());
    std::fs::remove_file(path).unwrap();
}
