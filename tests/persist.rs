//! The state file of a node on real sockets, and what becomes of it when things go wrong.
#![cfg(feature = "net")]
#![allow(clippy::std_instead_of_core, clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::net::blocking::{addr, builder, network, wait_for};
use common::net::{LOOPBACK, PATIENCE};
use dht_proto::net::{CallError, Events, Loaded, Notice, Owner, SpawnError, StateFile};
use dht_proto::{Announce, Config, Family, InfoHash, Limits, Node, StartError, State, StateError};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dht-proto-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn state(&self) -> PathBuf {
        self.0.join("dht.state")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn first(events: &mut Events, is_wanted: impl Fn(&Notice) -> bool) -> Notice {
    events.find(is_wanted).expect("it is told")
}

/// A state of nodes that nobody ever was, as long as a full table's, and of two announces.
fn snapshot(seed: u8, count: u16) -> Vec<u8> {
    let mut text = format!("d5:nodes{}:", usize::from(count) * 6).into_bytes();
    for index in 0..count {
        let [high, low] = index.to_be_bytes();
        text.extend([60, high, low, 1, 0x1a, 0xe1]);
    }
    text.extend(b"e");
    let now = dht_proto::Instant::ZERO;
    let mut node = Node::new(Config::default(), &Limits::default(), [seed; 32], now);
    node.restore(now, &State::parse(&text).unwrap(), Duration::ZERO);
    for byte in 1..=2 {
        node.keep_announced(now, [byte; 20].into(), Announce::port(4242)).unwrap();
    }
    node.snapshot(1_700_000_000)
}

fn bytes_in(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

#[test]
fn r_13_a_node_keeps_id_and_nodes_over_a_restart() {
    let folder = Folder::new("restart");
    let nodes = network(14);
    // Node 0 is its bootstrap host, and kept and saved like the others.
    let start = addr(&nodes[0]).to_string();
    let dht = builder().bootstrap([&start]).state(folder.state()).spawn().unwrap();
    wait_for("it knows the others", || dht.node_count(Family::V4).unwrap() >= 10);
    let id = dht.id(Family::V4).unwrap();
    dht.shutdown();
    assert_eq!(folder.names(), ["dht.state"], "nothing else is left");
    let saved = State::parse(&bytes_in(&folder.state())).unwrap().nodes().count();
    assert!((10..=14).contains(&saved), "{saved}");

    let silent = std::net::UdpSocket::bind(LOOPBACK).unwrap();
    silent.set_nonblocking(true).unwrap();
    let host = silent.local_addr().unwrap().to_string();
    let mut builder = builder().bootstrap([host]).state(folder.state());
    let mut events = builder.subscribe();
    let dht = builder.spawn().unwrap();
    assert_eq!(dht.id(Family::V4), Ok(id));
    assert_eq!(events.next(), Some(Notice::Restored { nodes: saved, announces: 0, skipped: 0 }));
    wait_for("all have answered", || dht.node_count(Family::V4).unwrap() >= saved);
    assert_eq!(dht.wait_ready(PATIENCE), Ok(true));
    assert_eq!(dht.restored_count(Family::V4), Ok(0));
    assert!(silent.recv(&mut [0; 2000]).is_err(), "the bootstrap host was not asked");
}

#[test]
fn an_announce_goes_on_from_where_it_was_once_it_is_wanted_again() {
    let folder = Folder::new("announces");
    let nodes = network(6);
    let start = addr(&nodes[0]).to_string();
    let [wanted, unwanted] = [InfoHash::from([1; 20]), InfoHash::from([2; 20])];
    let dht = builder().bootstrap([&start]).state(folder.state()).spawn().unwrap();
    let mut rounds =
        [wanted, unwanted].map(|infohash| dht.keep_announced(infohash, Announce::port(4242)).unwrap());
    rounds.iter_mut().for_each(|rounds| assert!(rounds.next().unwrap().report.acknowledged > 0));
    wait_for("it knows somebody to save", || dht.node_count(Family::V4).unwrap() >= 3);
    dht.shutdown();
    drop(rounds);
    assert_eq!(State::parse(&bytes_in(&folder.state())).unwrap().announces().count(), 2);

    let mut builder = builder().bootstrap([&start]).state(folder.state());
    let mut events = builder.subscribe();
    let dht = builder.spawn().unwrap();
    assert!(matches!(events.next(), Some(Notice::Restored { announces: 2, skipped: 0, .. })));
    assert_eq!(dht.kept_announces(), Ok(vec![]), "none before somebody wants it");
    let rounds = dht.keep_announced(wanted, Announce::port(4242)).unwrap();
    let mut changed = dht.keep_announced(unwanted, Announce::port(4343)).unwrap();
    assert!(changed.next().unwrap().report.acknowledged > 0, "another port is announced at once");
    let kept = dht.kept_announces().unwrap();
    let kept = kept.iter().find(|kept| kept.infohash == wanted).unwrap();
    assert!(kept.last.is_some_and(|last| last.acknowledged > 0), "{kept:?}");
    assert!(kept.due.is_some_and(|due| due > dht_proto::Instant::from_micros(600_000_000)), "{kept:?}");
    drop((rounds, changed));
    wait_for("they are given up", || dht.kept_announces().unwrap().is_empty());
    dht.shutdown();
    assert_eq!(State::parse(&bytes_in(&folder.state())).unwrap().announces().count(), 0);
}

#[test]
fn a_refused_announce_leaves_the_saved_one_for_later() {
    let folder = Folder::new("refused");
    let nodes = network(4);
    let start = addr(&nodes[0]).to_string();
    let infohash = InfoHash::from([1; 20]);
    let dht = builder().bootstrap([&start]).state(folder.state()).spawn().unwrap();
    let mut rounds = dht.keep_announced(infohash, Announce::port(4242)).unwrap();
    assert!(rounds.next().unwrap().report.acknowledged > 0);
    wait_for("it knows somebody to save", || dht.node_count(Family::V4).unwrap() >= 2);
    dht.shutdown();

    let dht = builder().bootstrap([&start]).state(folder.state()).spawn().unwrap();
    let refused = dht.keep_announced(infohash, Announce::port(0)).unwrap_err();
    assert_eq!(refused, CallError::Start(StartError::PortZero));
    assert_eq!(dht.kept_announces(), Ok(vec![]), "nobody holds it");
    let _rounds = dht.keep_announced(infohash, Announce::port(4242)).unwrap();
    let kept = dht.kept_announces().unwrap();
    assert!(kept[0].last.is_some_and(|last| last.acknowledged > 0), "it goes on: {kept:?}");
}

#[test]
fn the_state_is_saved_at_intervals_and_on_demand() {
    let folder = Folder::new("interval");
    let nodes = network(3);
    let start = addr(&nodes[0]).to_string();
    let mut builder =
        builder().bootstrap([&start]).state(folder.state()).save_every(Duration::from_millis(50));
    let mut events = builder.subscribe();
    let dht = builder.spawn().unwrap();
    first(&mut events, |notice| *notice == Notice::StateSaved);
    assert!(State::parse(&bytes_in(&folder.state())).is_ok());
    fs::remove_file(folder.state()).unwrap();
    wait_for("it is saved again", || folder.state().exists());
    assert!(dht.save_state().unwrap());
    assert!(!nodes[0].save_state().unwrap(), "without a file");
    let borrowed = dht.dht();
    dht.shutdown();
    assert!(borrowed.save_state().is_err());
}

#[test]
fn a_node_that_knows_nobody_leaves_the_file_alone() {
    let folder = Folder::new("alone");
    let old = snapshot(1, 50);
    fs::write(folder.state(), &old).unwrap();
    // Its address policy refuses nobody, but 60.x.x.x does not answer from loopback.
    let dht = builder().state(folder.state()).save_every(Duration::from_millis(1)).spawn().unwrap();
    assert!(!dht.save_state().unwrap());
    thread::sleep(Duration::from_millis(50));
    dht.shutdown();
    assert_eq!(bytes_in(&folder.state()), old);

    let folder = Folder::new("nothing");
    let dht = builder().state(folder.state()).spawn().unwrap();
    dht.shutdown();
    assert!(folder.names().is_empty());
}

#[test]
fn clearing_forgets_the_nodes_and_removes_the_file() {
    let folder = Folder::new("clear");
    let nodes = network(3);
    let dht = builder().state(folder.state()).spawn().unwrap();
    dht.add_node(addr(&nodes[1])).unwrap();
    wait_for("it knows somebody", || dht.node_count(Family::V4).unwrap() > 0);
    assert!(dht.save_state().unwrap() && folder.state().exists());
    // Nobody is left whom it could hear of again.
    nodes.into_iter().for_each(Owner::shutdown);
    dht.clear_state().unwrap();
    dht.clear_state().unwrap();
    assert_eq!(dht.node_count(Family::V4), Ok(0));
    dht.shutdown();
    assert!(folder.names().is_empty());

    let file = StateFile::new(folder.state());
    file.save(&snapshot(1, 1)).unwrap();
    file.clear().unwrap();
    assert_eq!(file.load().unwrap(), Loaded::Nothing);
    file.clear().unwrap();
}

#[test]
fn a_bad_file_is_set_aside_and_the_node_starts_afresh() {
    let folder = Folder::new("bad");
    let mut bad = snapshot(1, 50);
    bad[700] ^= 1;
    fs::write(folder.state(), &bad).unwrap();
    let mut builder = builder().state(folder.state());
    let mut events = builder.subscribe();
    let dht = builder.spawn().unwrap();
    let kept_as = folder.0.join("dht.state.bad");
    let refused = Notice::StateRefused { error: StateError::Checksum, kept_as: kept_as.clone() };
    assert_eq!(events.next(), Some(refused));
    assert_eq!(dht.restored_count(Family::V4), Ok(0));
    dht.shutdown();
    assert_eq!(bytes_in(&kept_as), bad);

    let file = StateFile::new(folder.state());
    for at in 1..3 {
        fs::write(folder.state(), b"something else").unwrap();
        let kept_as = folder.0.join(format!("dht.state.bad.{at}"));
        assert_eq!(file.load().unwrap(), Loaded::Refused { error: StateError::Malformed, kept_as });
    }
    assert_eq!(folder.names(), ["dht.state.bad", "dht.state.bad.1", "dht.state.bad.2"]);
    assert_eq!(bytes_in(&kept_as), bad, "none is overwritten");
}

#[test]
fn every_damaged_file_is_refused_and_kept() {
    let folder = Folder::new("damage");
    let whole = snapshot(1, 2);
    let file = StateFile::new(folder.state());
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        for bad in [&whole[..at], &flipped] {
            fs::write(folder.state(), bad).unwrap();
            match file.load().unwrap() {
                Loaded::Refused { kept_as, .. } => {
                    assert_eq!(bytes_in(&kept_as), bad);
                    fs::remove_file(kept_as).unwrap();
                }
                other => panic!("{at}: {other:?}"),
            }
        }
    }
    assert!(folder.names().is_empty());
}

#[test]
fn a_partly_invalid_state_is_used_and_counted() {
    let folder = Folder::new("partly");
    let nodes = network(2);
    let [a, b] = [&nodes[0], &nodes[1]].map(|node| addr(node).port().to_be_bytes());
    let text = [
        &b"d2:id20:abcdefghij01234567895:nodes25:\x7f\0\0\x01"[..],
        &a,
        b"\xe0\0\0\x01\0\x01\x7f\0\0\x01",
        &b,
    ];
    let text = [&text.concat()[..], b"\x7f\0\0\x01\0\0?e"].concat();
    fs::write(folder.state(), &text).unwrap();
    let mut builder = builder().state(folder.state());
    let mut events = builder.subscribe();
    let dht = builder.spawn().unwrap();
    assert_eq!(dht.id(Family::V4).unwrap().as_bytes(), b"abcdefghij0123456789");
    assert_eq!(events.next(), Some(Notice::Restored { nodes: 2, announces: 0, skipped: 3 }));
    wait_for("both have answered", || dht.node_count(Family::V4) == Ok(2));
    dht.shutdown();
    assert_eq!(folder.names(), ["dht.state", "dht.state.foreign"]);
    assert_eq!(bytes_in(&folder.0.join("dht.state.foreign")), text, "it is not lost");
    assert!(State::parse(&bytes_in(&folder.state())).unwrap().saved_at().is_some());
}

#[test]
fn a_state_of_another_client_is_copied_once_however_often_the_node_starts() {
    let folder = Folder::new("foreign");
    let old = b"d2:id20:abcdefghij01234567895:nodes6:\x3c\x01\x02\x03\x1a\xe1e";
    fs::write(folder.state(), old).unwrap();
    // The address does not answer from loopback, so there is nothing to save.
    for _ in 0..3 {
        builder().state(folder.state()).spawn().unwrap().shutdown();
    }
    assert_eq!(folder.names(), ["dht.state", "dht.state.foreign"]);
    let other = b"d2:id20:abcdefghij98765432105:nodes6:\x3c\x01\x02\x03\x1a\xe1e";
    for state in [other, old, other] {
        fs::write(folder.state(), state).unwrap();
        assert!(matches!(StateFile::new(folder.state()).load().unwrap(), Loaded::State(_)));
    }
    assert_eq!(folder.names(), ["dht.state", "dht.state.foreign", "dht.state.foreign.1"]);
    assert_eq!(bytes_in(&folder.0.join("dht.state.foreign")), old);
    assert_eq!(bytes_in(&folder.0.join("dht.state.foreign.1")), other);

    // A node that cannot have its socket touches no file.
    fs::write(folder.state(), b"something else").unwrap();
    let taken = std::net::UdpSocket::bind(LOOPBACK).unwrap();
    let error = builder().bind(taken.local_addr().unwrap()).state(folder.state()).spawn().unwrap_err();
    assert!(matches!(error, SpawnError::Bind { .. }), "{error}");
    assert_eq!(bytes_in(&folder.state()), b"something else");
}

#[test]
fn a_chosen_id_goes_before_the_saved_one() {
    let folder = Folder::new("chosen");
    fs::write(folder.state(), snapshot(1, 3)).unwrap();
    let mut config = Config::default();
    (config.id, config.ipv6) = (Some([9; 20].into()), false);
    let dht = builder().config(config).state(folder.state()).spawn().unwrap();
    assert_eq!(dht.id(Family::V4), Ok([9; 20].into()));
}

#[test]
fn a_file_that_cannot_be_read_or_written_is_told() {
    let folder = Folder::new("errors");
    fs::create_dir(folder.state()).unwrap();
    let error = builder().state(folder.state()).spawn().unwrap_err();
    assert!(matches!(error, SpawnError::State(_)), "{error}");
    assert!(error.to_string().contains("dht.state"), "{error}");

    let nodes = network(3);
    let start = addr(&nodes[0]).to_string();
    let missing = folder.0.join("missing");
    assert!(builder().state(missing.join("state")).spawn().is_err());
    fs::create_dir(&missing).unwrap();
    let mut builder =
        builder().bootstrap([&start]).state(missing.join("state")).save_every(Duration::from_millis(20));
    let mut events = builder.subscribe();
    let dht = builder.spawn().unwrap();
    fs::remove_dir_all(missing).unwrap();
    first(&mut events, |notice| matches!(notice, Notice::StateUnsaved { .. }));
    assert!(dht.save_state().is_err());
}

#[test]
fn what_a_killed_program_left_is_removed_once_it_is_old() {
    let folder = Folder::new("left");
    let file = StateFile::new(folder.state());
    file.save(&snapshot(1, 3)).unwrap();
    let old = fs::File::create(folder.0.join("dht.state.123.new")).unwrap();
    old.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600)).unwrap();
    fs::write(folder.0.join("dht.state.124.new"), b"being written").unwrap();
    let other = fs::File::create(folder.0.join("dht.state.x.new")).unwrap();
    other.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600)).unwrap();
    assert!(matches!(file.load().unwrap(), Loaded::State(_)));
    assert_eq!(folder.names(), ["dht.state", "dht.state.124.new", "dht.state.x.new"]);
}

/// Tells a child of the test below which file to save to.
const CHILD: &str = "DHT_PROTO_SAVES_TO";

#[test]
#[ignore = "no test of its own, but the child of the next one"]
fn saves_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let file = StateFile::new(path);
    let states = [snapshot(1, 10), snapshot(2, 400)];
    println!("saving");
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        states.iter().for_each(|state| file.save(state).unwrap());
    }
}

#[test]
fn a_kill_at_any_moment_of_saving_leaves_the_old_state_or_the_new() {
    let folder = Folder::new("kill");
    let states = [snapshot(1, 10), snapshot(2, 400)];
    let file = StateFile::new(folder.state());
    file.save(&states[0]).unwrap();
    let (mut random, mut seen, mut left) = (0x2545_f491_4f6c_dd1d_u64, [0; 2], 0);
    for round in 0..200 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "saves_until_it_is_killed", "--ignored", "--nocapture"])
            .env(CHILD, folder.state())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.map(Result::unwrap).any(|line| line.contains("saving")));
        // Xorshift: anywhere in the first few saves.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        thread::sleep(Duration::from_micros(random % 15_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let bytes = bytes_in(&folder.state());
        let which = states.iter().position(|state| *state == bytes);
        seen[which.unwrap_or_else(|| panic!("round {round}: {} bytes", bytes.len()))] += 1;
        assert!(matches!(file.load().unwrap(), Loaded::State(_)));
        for name in folder.names().iter().filter(|name| name.ends_with(".new")) {
            left += 1;
            fs::remove_file(folder.0.join(name)).unwrap();
        }
    }
    println!("states found {seen:?}, saves cut short {left}");
    assert_eq!(folder.names(), ["dht.state"]);
}
