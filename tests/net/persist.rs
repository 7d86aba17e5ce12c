//! The state file of a node on real sockets, also when things go wrong.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use dht_proto::errors::PublishError;
use dht_proto::net::{CallError, Loaded, NetEvent, NetEvents, SpawnError, StateFile};
use dht_proto::state::{State, StateError};
use dht_proto::{Announce, Config, Family, InfoHash, Limits, Node};

use crate::common;
#[cfg(feature = "items")]
use crate::common::net::blocking::items;
use crate::common::net::blocking::{addr, announces, builder, network, wait_for};
use crate::common::net::{LOOPBACK, PATIENCE, start};

/// A folder that is removed when dropped.
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

fn first(events: &mut NetEvents, is_wanted: impl Fn(&NetEvent) -> bool) -> NetEvent {
    events.iter().find(is_wanted).expect("it is reported")
}

/// Returns a state of invented nodes, as long as that of a full table, and of two announces.
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
        node.start_announcing(now, [byte; 20].into(), Announce::port(4242)).unwrap();
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
    // Node 0 is the bootstrap host, and is kept and saved like the others.
    let start = addr(&nodes[0]).to_string();
    let dht = builder().bootstrap([&start]).state(folder.state()).spawn().unwrap();
    wait_for("the others are in the table", || dht.node_count(Family::V4).wait().unwrap() >= 10);
    let id = dht.id(Family::V4).wait().unwrap();
    dht.shutdown().wait().unwrap();
    assert_eq!(folder.names(), ["dht.state"], "nothing else is left");
    let saved = State::parse(&bytes_in(&folder.state())).unwrap().nodes().count();
    assert!((10..=14).contains(&saved), "{saved}");

    // It joins without its bootstrap host. (That this is not even queried is a matter of time, and tested
    // in virtual time.)
    let silent = std::net::UdpSocket::bind(LOOPBACK).unwrap();
    let host = silent.local_addr().unwrap().to_string();
    let mut builder = builder().bootstrap([host]).state(folder.state());
    let mut events = builder.subscribe();
    let dht = builder.spawn().unwrap();
    assert_eq!(dht.id(Family::V4).wait(), Ok(id));
    assert_eq!(
        events.recv_timeout(PATIENCE),
        Ok(NetEvent::Restored { nodes: saved, announces: 0, items: 0, skipped: 0 })
    );
    wait_for("all have answered", || dht.node_count(Family::V4).wait().unwrap() >= saved);
    assert_eq!(dht.ready().wait_timeout(PATIENCE), Ok(()));
    assert_eq!(dht.with(|node, _| node.restored_count(Family::V4)).wait(), Ok(0));
}

#[test]
fn a_saved_announcement_continues_on_time_when_it_is_started_again() {
    let folder = Folder::new("announces");
    let nodes = network(6);
    let start = addr(&nodes[0]).to_string();
    let [wanted, unwanted] = [InfoHash::from([1; 20]), InfoHash::from([2; 20])];
    let dht = builder().bootstrap([&start]).state(folder.state()).spawn().unwrap();
    let mut handles = [wanted, unwanted].map(|infohash| dht.start_announcing(infohash, Announce::port(4242)));
    handles
        .iter_mut()
        .for_each(|handle| assert!(handle.recv_timeout(PATIENCE).unwrap().report.acknowledged > 0));
    wait_for("there is a node to save", || dht.node_count(Family::V4).wait().unwrap() >= 3);
    dht.shutdown().wait().unwrap();
    drop(handles);
    assert_eq!(State::parse(&bytes_in(&folder.state())).unwrap().announces().count(), 2);

    let mut builder = builder().bootstrap([&start]).state(folder.state());
    let mut events = builder.subscribe();
    let dht = builder.spawn().unwrap();
    assert!(matches!(events.recv_timeout(PATIENCE), Ok(NetEvent::Restored { announces: 2, skipped: 0, .. })));
    assert!(announces(&dht).is_empty(), "there is none before it is started");
    let announcement = dht.start_announcing(wanted, Announce::port(4242));
    let mut changed = dht.start_announcing(unwanted, Announce::port(4343));
    assert!(
        changed.recv_timeout(PATIENCE).unwrap().report.acknowledged > 0,
        "another port is announced at once"
    );
    let kept = announces(&dht);
    let kept = kept.iter().find(|kept| kept.infohash == wanted).unwrap();
    assert!(kept.last.is_some_and(|last| last.acknowledged > 0), "{kept:?}");
    assert!(kept.due.is_some_and(|due| due > dht_proto::Instant::from_micros(600_000_000)), "{kept:?}");
    drop((announcement, changed));
    wait_for("they are stopped", || announces(&dht).is_empty());
    dht.shutdown().wait().unwrap();
    assert_eq!(State::parse(&bytes_in(&folder.state())).unwrap().announces().count(), 0);
}

#[cfg(feature = "items")]
#[test]
fn b44_31_a_saved_publication_continues_on_time_when_it_is_started_again() {
    use common::items::{VALUE, signed};
    use dht_proto::items::Item;

    let folder = Folder::new("items");
    let nodes = network(6);
    let start = addr(&nodes[0]).to_string();
    let [wanted, unwanted] = [signed(3, VALUE), Item::immutable(VALUE).unwrap()];
    let dht = builder().bootstrap([&start]).state(folder.state()).spawn().unwrap();
    let mut handles = [&wanted, &unwanted].map(|item| dht.start_publishing(item));
    handles
        .iter_mut()
        .for_each(|handle| assert!(handle.recv_timeout(PATIENCE).unwrap().report.acknowledged > 0));
    wait_for("there is a node to save", || dht.node_count(Family::V4).wait().unwrap() >= 3);
    assert_eq!(dht.saved_items().wait(), Ok(vec![]));
    dht.shutdown().wait().unwrap();
    drop(handles);

    let mut builder = builder().bootstrap([&start]).state(folder.state());
    let mut events = builder.subscribe();
    let dht = builder.spawn().unwrap();
    assert!(matches!(events.recv_timeout(PATIENCE), Ok(NetEvent::Restored { items: 2, skipped: 0, .. })));
    assert!(items(&dht).is_empty(), "there is none before it is started");
    let saved = dht.saved_items().wait().unwrap();
    assert!(saved.len() == 2 && saved.contains(&wanted) && saved.contains(&unwanted));
    let _rounds = dht.start_publishing(&wanted);
    let kept = &items(&dht)[0];
    assert!(kept.last.is_some_and(|last| last.acknowledged > 0), "{kept:?}");
    assert!(kept.due.is_some_and(|due| due > dht_proto::Instant::from_micros(3_000_000_000)), "{kept:?}");
    assert_eq!(dht.saved_items().wait(), Ok(vec![unwanted]));
}

#[test]
fn a_refused_announce_does_not_remove_the_saved_one() {
    let folder = Folder::new("refused");
    let nodes = network(4);
    let start = addr(&nodes[0]).to_string();
    let infohash = InfoHash::from([1; 20]);
    let dht = builder().bootstrap([&start]).state(folder.state()).spawn().unwrap();
    let mut announcement = dht.start_announcing(infohash, Announce::port(4242));
    assert!(announcement.recv_timeout(PATIENCE).unwrap().report.acknowledged > 0);
    wait_for("there is a node to save", || dht.node_count(Family::V4).wait().unwrap() >= 2);
    dht.shutdown().wait().unwrap();

    let dht = builder().bootstrap([&start]).state(folder.state()).spawn().unwrap();
    let refused = dht.start_announcing(infohash, Announce::port(0)).recv_timeout(PATIENCE).unwrap_err();
    assert_eq!(refused, CallError::Publish(PublishError::PortZero));
    assert!(announces(&dht).is_empty(), "it has no handle");
    let _rounds = dht.start_announcing(infohash, Announce::port(4242));
    let kept = announces(&dht);
    assert!(kept[0].last.is_some_and(|last| last.acknowledged > 0), "it continues: {kept:?}");
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
    first(&mut events, |event| *event == NetEvent::StateSaved);
    assert!(State::parse(&bytes_in(&folder.state())).is_ok());
    fs::remove_file(folder.state()).unwrap();
    wait_for("it is saved again", || folder.state().exists());
    assert!(dht.save_state().wait().unwrap());
    assert!(!nodes[0].save_state().wait().unwrap(), "without a file");
    let borrowed = dht.handle();
    dht.shutdown().wait().unwrap();
    assert!(borrowed.save_state().wait().is_err());
}

#[test]
fn a_node_without_contacts_does_not_overwrite_the_state_file() {
    let folder = Folder::new("alone");
    let old = snapshot(1, 50);
    fs::write(folder.state(), &old).unwrap();
    // The address policy allows all addresses, but 60.x.x.x does not answer on loopback.
    let dht = builder().state(folder.state()).save_every(Duration::from_millis(1)).spawn().unwrap();
    assert!(!dht.save_state().wait().unwrap());
    thread::sleep(Duration::from_millis(50));
    dht.shutdown().wait().unwrap();
    assert_eq!(bytes_in(&folder.state()), old);

    let folder = Folder::new("nothing");
    let dht = builder().state(folder.state()).spawn().unwrap();
    dht.shutdown().wait().unwrap();
    assert!(folder.names().is_empty());
}

#[test]
fn c_14_clearing_forgets_the_nodes_and_removes_the_file() {
    let folder = Folder::new("clear");
    let nodes = network(3);
    let dht = builder().state(folder.state()).spawn().unwrap();
    dht.add_node(addr(&nodes[1])).wait().unwrap();
    wait_for("there is a node in the table", || dht.node_count(Family::V4).wait().unwrap() > 0);
    assert!(dht.save_state().wait().unwrap() && folder.state().exists());
    // No node is left from which it could learn of others.
    nodes.into_iter().for_each(|node| node.shutdown().wait().unwrap());
    dht.clear_state().wait().unwrap();
    dht.clear_state().wait().unwrap();
    assert_eq!(dht.node_count(Family::V4).wait(), Ok(0));
    dht.shutdown().wait().unwrap();
    assert!(folder.names().is_empty());

    let file = StateFile::new(folder.state());
    file.save(&snapshot(1, 1)).unwrap();
    file.clear().unwrap();
    assert_eq!(file.load().unwrap(), Loaded::Nothing);
    file.clear().unwrap();
}

#[test]
fn c_14_a_damaged_state_file_is_moved_aside_and_the_node_starts_without_it() {
    let folder = Folder::new("bad");
    let mut bad = snapshot(1, 50);
    bad[700] ^= 1;
    fs::write(folder.state(), &bad).unwrap();
    let mut builder = builder().state(folder.state());
    let mut events = builder.subscribe();
    let dht = builder.spawn().unwrap();
    let kept_as = folder.0.join("dht.state.bad");
    let refused = NetEvent::StateRefused { error: StateError::Checksum, kept_as: kept_as.clone() };
    assert_eq!(events.recv_timeout(PATIENCE), Ok(refused));
    assert_eq!(dht.with(|node, _| node.restored_count(Family::V4)).wait(), Ok(0));
    dht.shutdown().wait().unwrap();
    assert_eq!(bytes_in(&kept_as), bad);

    let file = StateFile::new(folder.state());
    for at in 1..15 {
        bad[700] ^= (2 * at) ^ (2 * (at - 1));
        fs::write(folder.state(), &bad).unwrap();
        let Loaded::Refused { error, kept_as } = file.load().unwrap() else { panic!("{at}") };
        assert_eq!(error, StateError::Checksum);
        assert_eq!(bytes_in(&kept_as), bad);
        fs::write(folder.state(), &bad).unwrap();
        assert_eq!(file.load().unwrap(), Loaded::Refused { error, kept_as }, "one copy is enough");
        let number = usize::from(at).min(9);
        assert_eq!(folder.names().len(), number + 1, "as many as there may be: {:?}", folder.names());
    }
    assert!(folder.names().iter().all(|name| name.starts_with("dht.state.bad")));
}

#[test]
fn c_14_a_file_that_is_not_a_state_is_refused_and_left_unchanged() {
    let folder = Folder::new("other");
    let torrent =
        b"d8:announce19:udp://192.0.2.1:69/4:infod6:lengthi1e4:name1:a6:pieces0:e5:nodesl12:192.0.2.1:69ee";
    let long = vec![b'd'; (16 << 20) + 1];
    for other in [&b"dear diary,\n"[..], b"127.0.0.1 localhost", b"d3:fooi1ee", torrent, &long] {
        fs::write(folder.state(), other).unwrap();
        let error = builder().state(folder.state()).spawn().unwrap_err().to_string();
        assert!(error.contains("dht.state: ") && error.lines().count() == 1, "{error}");
        assert_eq!(folder.names(), ["dht.state"]);
        assert!(bytes_in(&folder.state()) == other);
    }
}

#[test]
fn an_empty_file_counts_as_no_state() {
    let folder = Folder::new("empty");
    fs::write(folder.state(), b"").unwrap();
    assert_eq!(StateFile::new(folder.state()).load().unwrap(), Loaded::Nothing);
    let nodes = network(3);
    let start = addr(&nodes[0]).to_string();
    let dht = builder().bootstrap([&start]).state(folder.state()).spawn().unwrap();
    wait_for("there is a node to save", || dht.save_state().wait().unwrap());
    dht.shutdown().wait().unwrap();
    assert_eq!(folder.names(), ["dht.state"]);
    assert!(State::parse(&bytes_in(&folder.state())).is_ok());
}

#[test]
fn a_state_whose_overwriting_in_place_was_interrupted_is_read_from_its_copy() {
    let folder = Folder::new("rescue");
    let (old, new, file) = (snapshot(1, 3), snapshot(2, 50), StateFile::new(folder.state()));
    fs::write(folder.0.join("dht.state.rescue"), &new).unwrap();
    for at in [0, 40, old.len(), new.len() - 1] {
        let mut torn = new[..at].to_vec();
        torn.extend(old.get(at..).unwrap_or_default());
        fs::write(folder.state(), &torn).unwrap();
        let Loaded::State(saved) = file.load().unwrap() else { panic!("{at}") };
        let expected = if at == 0 { &old } else { &new };
        assert!(saved.state() == State::parse(expected).unwrap(), "{at}");
    }
    fs::write(folder.state(), b"").unwrap();
    assert!(matches!(file.load().unwrap(), Loaded::State(_)));
    #[cfg(unix)]
    if std::os::unix::fs::chown(folder.0.join("dht.state.rescue"), Some(1), None).is_ok() {
        assert_eq!(file.load().unwrap(), Loaded::Nothing, "it was planted by another user");
    }
    fs::write(folder.state(), b"dear diary,\n").unwrap();
    assert!(file.load().is_err(), "that is another file");
    assert_eq!(folder.names(), ["dht.state", "dht.state.rescue"]);
    fs::remove_file(folder.state()).unwrap();
    file.clear().unwrap();
    assert!(folder.names().is_empty());
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_to_the_state_file_is_followed() {
    use std::os::unix::fs::symlink;

    let folder = Folder::new("link");
    let (inner, states) = (folder.0.join("inner"), [snapshot(1, 3), snapshot(2, 3), snapshot(3, 3)]);
    fs::create_dir(&inner).unwrap();
    symlink("second", folder.state()).unwrap();
    symlink("inner/state", folder.0.join("second")).unwrap();
    let (file, target) = (StateFile::new(folder.state()), inner.join("state"));
    assert_eq!(file.load().unwrap(), Loaded::Nothing, "it leads to nothing yet");
    for state in &states {
        let lock = file.lock().unwrap();
        assert!(StateFile::new(&target).lock().is_err(), "it is one file");
        file.save(state).unwrap();
        drop(lock);
        assert_eq!(&bytes_in(&target), state);
        assert!(matches!(file.load().unwrap(), Loaded::State(_)));
    }
    let mut bad = states[0].clone();
    bad[100] ^= 1;
    fs::write(&target, bad).unwrap();
    assert!(matches!(file.load().unwrap(), Loaded::Refused { .. }));
    assert!(inner.join("state.bad").exists());
    file.save(&states[0]).unwrap();
    file.clear().unwrap();
    assert!(!target.exists() && folder.state().is_symlink(), "the link is the user's");

    symlink("round", folder.0.join("round")).unwrap();
    assert!(StateFile::new(folder.0.join("round")).load().is_err());
}

#[cfg(unix)]
#[test]
fn a_pipe_a_device_and_a_folder_are_refused_and_never_opened_or_moved() {
    let folder = Folder::new("devices");
    // A device like /dev/null.
    for (what, program, rest) in
        [("pipe", "mkfifo", &[][..]), ("folder", "mkdir", &[]), ("device", "mknod", &["c", "1", "3"])]
    {
        let made =
            start(Command::new(program).arg(folder.state()).args(rest)).and_then(|mut child| child.wait());
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no {what} can be made here");
            continue;
        }
        let file = StateFile::new(folder.state());
        let kind = fs::symlink_metadata(folder.state()).unwrap().file_type();
        let save = || file.save(&snapshot(1, 3)).map(|()| Loaded::Nothing);
        for done in [file.load(), save(), file.clear().map(|()| Loaded::Nothing)] {
            let error = done.unwrap_err().to_string();
            assert!(error.contains(what) && error.lines().count() == 1, "{error}");
        }
        let error = builder().state(folder.state()).spawn().unwrap_err();
        assert!(matches!(error, SpawnError::State(_)), "{error}");
        assert_eq!(fs::symlink_metadata(folder.state()).unwrap().file_type(), kind);
        assert_eq!(folder.names(), ["dht.state"]);
        fs::remove_file(folder.state()).or_else(|_| fs::remove_dir(folder.state())).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn nothing_is_written_through_a_planted_symbolic_link() {
    use std::os::unix::fs::symlink;

    let folder = Folder::new("planted");
    let victim = folder.0.join("victim");
    fs::write(&victim, b"of great value").unwrap();
    let names = [format!("dht.state.{}.new", std::process::id()), "dht.state.lock".to_owned()];
    let others = ["dht.state.bad", "dht.state.foreign", "dht.state.rescue", "dht.state.new"];
    for name in names.iter().map(String::as_str).chain(others) {
        symlink(&victim, folder.0.join(name)).unwrap();
    }
    let file = StateFile::new(folder.state());
    let lock = file.lock().unwrap();
    file.save(&snapshot(1, 3)).unwrap();
    let mut bad = snapshot(1, 3);
    bad[100] ^= 1;
    fs::write(folder.state(), bad).unwrap();
    assert!(matches!(file.load().unwrap(), Loaded::Refused { .. }));
    fs::write(folder.state(), b"d2:id20:abcdefghij01234567895:nodes6:\x3c\x01\x02\x03\x1a\xe1e").unwrap();
    assert!(matches!(file.load().unwrap(), Loaded::State(_)));
    drop(lock);
    assert_eq!(bytes_in(&victim), b"of great value");
    let names = folder.names();
    assert!(names.iter().any(|name| name == "dht.state.bad.1"), "{names:?}");
    assert!(names.iter().any(|name| name == "dht.state.foreign.1"), "{names:?}");
}

#[test]
fn a_state_is_used_by_one_node_at_a_time() {
    let folder = Folder::new("shared");
    let first = builder().state(folder.state()).spawn().unwrap();
    let error = builder().state(folder.state()).spawn().unwrap_err().to_string();
    assert!(error.contains("dht.state: another process uses it") && error.lines().count() == 1, "{error}");
    first.shutdown().wait().unwrap();
    builder().state(folder.state()).spawn().unwrap().shutdown().wait().unwrap();
    assert!(folder.names().is_empty(), "{:?}", folder.names());
}

#[test]
#[ignore = "no test of its own, but the child of the next one"]
fn locks_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let _lock = StateFile::new(path).lock().unwrap();
    println!("locked");
    thread::sleep(PATIENCE);
}

#[test]
fn a_lock_ends_with_the_process_however_that_ends() {
    let folder = Folder::new("lock");
    let file = StateFile::new(folder.state());
    for _ in 0..3 {
        let mut child = child("persist::locks_until_it_is_killed", &folder.state());
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.map(Result::unwrap).any(|line| line.contains("locked")));
        assert!(file.lock().is_err());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(folder.names(), ["dht.state.lock"], "it could not tidy up");
        drop(file.lock().unwrap());
        assert!(!cfg!(unix) || folder.names().is_empty());
    }
}

#[test]
fn announcements_that_are_not_started_again_stay_saved_with_their_age() {
    let folder = Folder::new("unclaimed");
    let nodes = network(6);
    let start = addr(&nodes[0]).to_string();
    let infohashes = [1, 2].map(|byte| InfoHash::from([byte; 20]));
    let spawn = || builder().bootstrap([&start]).state(folder.state()).spawn().unwrap();
    let dht = spawn();
    let mut handles = infohashes.map(|infohash| dht.start_announcing(infohash, Announce::port(4242)));
    handles
        .iter_mut()
        .for_each(|handle| assert!(handle.recv_timeout(PATIENCE).unwrap().report.acknowledged > 0));
    wait_for("there is a node to save", || dht.node_count(Family::V4).wait().unwrap() >= 3);
    dht.shutdown().wait().unwrap();
    drop(handles);

    // One run that starts none of them, and another that starts only the first.
    let dht = spawn();
    wait_for("there is a node to save", || dht.save_state().wait().unwrap());
    dht.shutdown().wait().unwrap();
    let dht = spawn();
    let announcement = dht.start_announcing(infohashes[0], Announce::port(4242));
    wait_for("there is a node to save", || dht.save_state().wait().unwrap());
    let saved = |infohash| {
        let bytes = bytes_in(&folder.state());
        let state = State::parse(&bytes).unwrap();
        assert_eq!(state.skipped(), 0);
        state.announces().find(|saved| saved.infohash == infohash)
    };
    assert!(infohashes.iter().all(|infohash| saved(*infohash).unwrap().acknowledged > 0));
    drop(announcement);
    wait_for("it is stopped", || announces(&dht).is_empty());
    dht.shutdown().wait().unwrap();
    assert_eq!(saved(infohashes[0]), None, "a stopped announcement is not saved");
    assert_eq!(saved(infohashes[1]).unwrap().announce, Announce::port(4242));

    let dht = spawn();
    wait_for("there is a node in the table", || dht.node_count(Family::V4).wait().unwrap() > 0);
    dht.clear_state().wait().unwrap();
    wait_for("there is a node in the table again", || dht.save_state().wait().unwrap());
    assert_eq!(saved(infohashes[1]), None, "a state that was cleared does not come back");
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
                Loaded::Nothing if bad.is_empty() => fs::remove_file(folder.state()).unwrap(),
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
fn c_14_a_partly_invalid_state_is_used_and_counted() {
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
    assert_eq!(dht.id(Family::V4).wait().unwrap().as_bytes(), b"abcdefghij0123456789");
    assert_eq!(
        events.recv_timeout(PATIENCE),
        Ok(NetEvent::Restored { nodes: 2, announces: 0, items: 0, skipped: 3 })
    );
    wait_for("both have answered", || dht.node_count(Family::V4).wait() == Ok(2));
    dht.shutdown().wait().unwrap();
    assert_eq!(folder.names(), ["dht.state", "dht.state.foreign"]);
    assert_eq!(bytes_in(&folder.0.join("dht.state.foreign")), text, "it is not lost");
    assert!(State::parse(&bytes_in(&folder.state())).unwrap().saved_at().is_some());
}

#[test]
fn a_state_of_another_client_is_copied_once_however_often_the_node_starts() {
    let folder = Folder::new("foreign");
    let old = b"d2:id20:abcdefghij01234567895:nodes6:\x3c\x01\x02\x03\x1a\xe1e";
    fs::write(folder.state(), old).unwrap();
    // The address does not answer on loopback, so there is nothing to save.
    for _ in 0..3 {
        builder().state(folder.state()).spawn().unwrap().shutdown().wait().unwrap();
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

    // A node that cannot bind its socket touches no file.
    fs::write(folder.state(), b"something else").unwrap();
    let taken = std::net::UdpSocket::bind(LOOPBACK).unwrap();
    let error = builder().bind(taken.local_addr().unwrap()).state(folder.state()).spawn().unwrap_err();
    assert!(matches!(error, SpawnError::Bind { .. }), "{error}");
    assert_eq!(bytes_in(&folder.state()), b"something else");
}

#[test]
fn a_configured_id_overrides_the_saved_one() {
    let folder = Folder::new("chosen");
    fs::write(folder.state(), snapshot(1, 3)).unwrap();
    let mut config = Config::default();
    (config.id, config.ipv6) = (Some([9; 20].into()), false);
    let dht = builder().config(config).state(folder.state()).spawn().unwrap();
    assert_eq!(dht.id(Family::V4).wait(), Ok([9; 20].into()));
}

#[test]
fn a_state_file_that_cannot_be_read_or_written_is_reported() {
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
    first(&mut events, |event| matches!(event, NetEvent::StateUnsaved { .. }));
    assert!(dht.save_state().wait().is_err());
}

#[test]
fn temporary_files_of_a_killed_program_are_removed_when_they_are_old() {
    let folder = Folder::new("left");
    let file = StateFile::new(folder.state());
    file.save(&snapshot(1, 3)).unwrap();
    for name in ["123", "0123456789abcdef", "x", "abcdef"] {
        let old = fs::File::create(folder.0.join(format!("dht.state.{name}.new"))).unwrap();
        old.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600)).unwrap();
    }
    fs::write(folder.0.join("dht.state.124.new"), b"being written").unwrap();
    assert!(matches!(file.load().unwrap(), Loaded::State(_)));
    let left = ["dht.state", "dht.state.124.new", "dht.state.abcdef.new", "dht.state.x.new"];
    assert_eq!(folder.names(), left);
}

/// The environment variable that names the file of a test to its child process.
const CHILD: &str = "DHT_PROTO_STATE";

/// Runs a test of this program in a process of its own.
fn child(test: &str, state: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).env(CHILD, state);
    start(command.stdout(Stdio::piped()).stderr(Stdio::null())).unwrap()
}

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
fn c_14_a_kill_at_any_moment_of_saving_leaves_the_old_state_or_the_new() {
    let folder = Folder::new("kill");
    let states = [snapshot(1, 10), snapshot(2, 400)];
    let file = StateFile::new(folder.state());
    file.save(&states[0]).unwrap();
    let (mut random, mut seen, mut left) = (0x2545_f491_4f6c_dd1d_u64, [0; 2], 0);
    for round in 0..200 {
        let mut child = child("persist::saves_until_it_is_killed", &folder.state());
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.map(Result::unwrap).any(|line| line.contains("saving")));
        // A random moment (xorshift) in the first few saves.
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
