//! A node that continues from a checkpoint behaves as if it had never been stopped.

use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::{env, fs};

use dht_proto::report::AnnouncementInfo;
use dht_proto::sim::{Growth, HostId, Network, Profile, World};
use dht_proto::state::CheckpointError;
use dht_proto::wire::{Body, Message, Response};
use dht_proto::{AddressPolicy, Announce, Config, Event, Fixed, Instant, Limits, MAX_DATAGRAM, Node, NodeId};

use crate::continued::{Continued, continue_node};
use crate::corpus;
use crate::scenario;
use crate::scenario::node::Chip;
use crate::stage;
use crate::stage::{Stage, addr, infohash, ms, secs};
use crate::world;

/// Random numbers, the same in every run.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn in_any_scenario_a_checkpoint_at_every_step_changes_nothing() {
    let random = (0..200).map(|round| corpus::random(round, 8 * round as usize));
    for bytes in random.chain(corpus::read("node")) {
        assert_eq!(scenario::node::run_with(&bytes, &Continued), scenario::node::run(&bytes));
    }
}

#[test]
fn in_any_world_checkpoints_of_its_nodes_in_turn_change_nothing() {
    let random = (0..40).map(|seed| corpus::random(seed, 300));
    for bytes in random.chain(corpus::read("world")) {
        assert_eq!(world::run_with(&bytes, continue_node), world::run(&bytes));
    }
}

/// Runs a world in which nodes look up, announce and republish all the time, and some of them are
/// stopped and continued at random moments if `interlude` does so. Returns its transcript, and how often
/// queries, lookups and republishes were running at such a moment.
fn busy_world(seed: u64, interlude: fn(&mut Node)) -> (u64, [usize; 3]) {
    let mut network = Network::internet();
    (network.loss, network.duplication, network.reordering) = (0.03, 0.01, 0.02);
    let mut world = World::new(seed, network);
    let profile = Arc::new(Profile::default());
    let hosts = world.grow(60, &Growth::default(), |_, _| Arc::clone(&profile));
    let (mut rng, mut busy) = (Lcg(seed), [0; 3]);
    for _ in 0..100 {
        let at = |rng: &mut Lcg| -> HostId { hosts[rng.below(60) as usize] };
        let (host, what) = (at(&mut rng), infohash(rng.below(6) as u8));
        let kind = rng.below(4);
        world.with_node(host, |node, now| {
            // Without a free slot nothing happens.
            let _ = match kind {
                0 => node.get_peers(now, what).is_ok(),
                1 => node.announce(now, what, Announce::port(7)).is_ok(),
                2 => node.start_announcing(now, what, Announce::port(8)).is_ok(),
                _ => node.find_node(now, what.into()).is_ok(),
            };
        });
        for moment in [rng.below(30), rng.below(300), rng.below(3000)] {
            world.run_for(ms(moment));
            world.with_node(host, |node, _| {
                let rounds = node.announcements().filter(|kept| kept.round.is_some()).count();
                let under_way = [node.query_count(), node.lookup_count(), rounds];
                busy.iter_mut().zip(under_way).for_each(|(busy, count)| *busy += usize::from(count > 0));
                interlude(node);
            });
        }
    }
    world.run_for(secs(1200));
    world.check().unwrap();
    (world.transcript(), busy)
}

#[test]
fn a_world_whose_nodes_are_checkpointed_and_continued_has_the_same_transcript() {
    for seed in 0..4 {
        let (transcript, busy) = busy_world(seed, continue_node);
        assert_eq!(busy_world(seed, |_| ()).0, transcript, "seed {seed}");
        assert!(busy.iter().all(|count| *count >= 10), "{busy:?}");
    }
    // An interlude that does change something is detected.
    assert_ne!(busy_world(0, Node::clear_peers).0, busy_world(0, |_| ()).0);
}

/// Creates a client in fixed memory that knows a few of the hosts around it.
fn chip_among_hosts() -> Stage<Fixed> {
    let mut config = stage::config();
    config.read_only = true;
    let now = Instant::from_micros(1_000_000);
    let mut stage = Stage::on(Node::with_storage(config, <Fixed>::new(), [7; 32], now), now);
    (1..=60).for_each(|index| stage.host(index));
    (1..=4).for_each(|index| stage.node.add_node(stage.now, addr(index)).unwrap());
    stage
}

/// Runs a client in fixed memory that looks up, announces and republishes, while hosts refuse and the link
/// fails.
fn chip(is_stopped: bool) -> Vec<u8> {
    let mut stage = chip_among_hosts();
    let mut rng = Lcg(3);
    for round in 0..2000 {
        stage.run(ms([20, 200, 2000, 20_000][rng.below(4) as usize]));
        let target = infohash(rng.below(8) as u8);
        let _ = match rng.below(40) {
            0 => stage.act(|node, now| node.get_peers(now, target)).is_ok(),
            1 => stage.act(|node, now| node.announce(now, target, Announce::port(5))).is_ok(),
            2 | 3 => stage.act(|node, now| node.start_announcing(now, target, Announce::port(6))).is_ok(),
            4 => stage.act(|node, now| node.ping(now, addr(7))).is_ok(),
            5 => {
                let kept = stage.node.announcements().find(|kept| kept.infohash == target);
                let is_stopped = |kept: AnnouncementInfo| stage.act(|node, _| node.stop_announcing(kept.id));
                assert!(kept.is_none_or(is_stopped));
                true
            }
            _ => true,
        };
        let refuses = (round / 100 % 2 == 1).then_some(202);
        stage.hosts.values_mut().for_each(|host| host.refuses_announces = refuses);
        stage.is_offline = round % 500 > 450;
        if is_stopped {
            let bytes = stage.node.checkpoint();
            stage.node = Node::from_checkpoint_in(<Fixed>::new(), &bytes).unwrap();
        }
    }
    stage.run(secs(3600));
    format!("{:?}", stage.events).into_bytes().into_iter().chain(stage.transcript).collect()
}

#[test]
fn a_node_in_fixed_memory_continues_as_well() {
    let never_stopped = chip(false);
    assert!(never_stopped.len() > 100_000);
    assert!(chip(true) == never_stopped, "one byte differs, or more");
}

/// Creates a small node with a running lookup, an announce and queries in flight.
fn busy_chip() -> Stage<Fixed> {
    let mut stage = chip_among_hosts();
    stage.run(secs(60));
    stage.act(|node, now| node.start_announcing(now, infohash(1), Announce::port(6)).unwrap());
    stage.run(ms(100));
    assert!(stage.node.query_count() > 0 && stage.node.lookup_count() > 0);
    stage
}

fn refused(bytes: &[u8]) -> CheckpointError {
    Node::from_checkpoint_in(<Fixed>::new(), bytes).err().expect("it is refused")
}

/// Gives changed bytes a valid checksum.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - 20);
    let checksum = sha1_smol::Sha1::from(&bytes).digest().bytes();
    bytes.extend(checksum);
    bytes
}

#[test]
fn every_truncation_and_flipped_bits_are_refused() {
    let whole = busy_chip().node.checkpoint();
    for len in 0..whole.len() {
        let expected = if len < 20 { CheckpointError::NoCheckpoint } else { CheckpointError::Damaged };
        assert_eq!(refused(&whole[..len]), expected, "{len} bytes");
    }
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        let expected = if at < 20 { CheckpointError::NoCheckpoint } else { CheckpointError::Damaged };
        assert_eq!(refused(&flipped), expected, "byte {at}");
    }
    assert_eq!(refused(&[&whole[..], b"\0"].concat()), CheckpointError::Damaged);
    let mut snapshot = [0; 2000];
    let len = busy_chip().node.snapshot_into(0, &mut snapshot).unwrap();
    assert_eq!(refused(&snapshot[..len]), CheckpointError::NoCheckpoint);
}

/// Whoever writes a checkpoint controls the node, but not the program that restores it.
#[test]
fn changed_content_under_a_valid_checksum_is_refused_or_restored_without_a_panic() {
    let mut stage = Stage::with_limits(stage::config(), &stage::limits());
    stage.join(60);
    for index in 0..20 {
        let (from, infohash) = (addr(500 + index), infohash(index as u8));
        stage.act(|node, now| node.store_peer(now, infohash, from, index % 2 == 0).unwrap());
    }
    stage.act(|node, now| node.start_announcing(now, infohash(1), Announce::port(6)).unwrap());
    #[cfg(feature = "items")]
    for index in 0..5 {
        let item = dht_proto::items::Item::string(&[index; 300]).unwrap();
        stage.act(|node, now| node.store_item(now, &item, addr(600)).unwrap());
        stage.act(|node, now| node.start_publishing(now, &item).unwrap());
    }
    stage.act(|node, now| node.scrape(now, infohash(2)).unwrap());
    stage.run(ms(100));
    let whole = stage.node.checkpoint();
    const ROUNDS: u32 = 600;
    let (mut rng, mut restored) = (Lcg(7), 0);
    for round in 0..ROUNDS {
        let mut changed = whole.clone();
        for _ in 0..1 + round % 4 {
            // Behind the version, and before the checksum.
            let at = 60 + rng.below(whole.len() as u64 - 80) as usize;
            changed[at] = rng.below(256) as u8;
        }
        restored += u32::from(Node::from_checkpoint(&sealed(changed)).is_ok());
    }
    assert!((1..ROUNDS).contains(&restored), "{restored}");
}

#[test]
fn checkpoints_of_others_are_refused() {
    let whole = busy_chip().node.checkpoint();
    assert!(Node::from_checkpoint_in(<Fixed>::new(), &sealed(whole.clone())).is_ok());
    for at in [20, 21, 25, 26, 33] {
        let mut other = whole.clone();
        other[at] ^= 1;
        assert_eq!(refused(&sealed(other)), CheckpointError::Version, "byte {at}");
    }
    let mut longer = whole.clone();
    longer.insert(whole.len() - 20, 0);
    assert_eq!(refused(&sealed(longer)), CheckpointError::Inconsistent);
    let mut shorter = whole.clone();
    shorter.remove(whole.len() - 21);
    assert_eq!(refused(&sealed(shorter)), CheckpointError::Inconsistent);
    let smaller = Node::from_checkpoint_in(Chip::new(), &whole).err();
    assert_eq!(smaller, Some(CheckpointError::Storage));
    // A length of more slots than there are bytes reserves nothing.
    let mut vast = whole[..34].to_vec();
    vast.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0x7f].repeat(40));
    vast.extend([0; 100]);
    assert_eq!(Node::from_checkpoint(&sealed(vast)).err(), Some(CheckpointError::Inconsistent));
}

#[test]
fn a_checkpoint_needs_no_allocator_and_fits_either_storage() {
    let stage = busy_chip();
    let whole = stage.node.checkpoint();
    let needed = stage.node.checkpoint_into(&mut []).unwrap_err().needed;
    let mut buf = vec![0; needed + 7];
    assert!(stage.node.checkpoint_into(&mut buf[..needed - 1]).is_err());
    assert_eq!(stage.node.checkpoint_into(&mut buf), Ok(needed));
    assert!(buf[..needed] == whole);
    // From fixed memory to the heap and back.
    let node = Node::from_checkpoint(&whole).unwrap();
    assert!(node.checkpoint() == whole);
    let node = Node::from_checkpoint_in(<Fixed>::new(), &node.checkpoint()).unwrap();
    assert!(node.checkpoint() == whole);
    println!("{needed} bytes for {} of memory", size_of::<Fixed>());
}

#[test]
fn limits_come_with_the_checkpoint() {
    let mut limits = stage::limits();
    limits.publications = 1;
    let now = Instant::ZERO;
    let node = Node::new(Config::default(), &limits, [7; 32], now);
    let bytes = node.checkpoint();
    let mut node = Node::from_checkpoint(&bytes).unwrap();
    assert!(node.start_announcing(now, infohash(1), Announce::port(1)).is_ok());
    assert!(node.start_announcing(now, infohash(2), Announce::port(1)).is_err());
    let bytes = Node::new(Config::default(), &Limits::default(), [7; 32], now).checkpoint();
    println!("{} bytes for a new node of the default limits", bytes.len());
}

#[test]
fn a_checkpoint_continues_under_a_clock_that_restarted() {
    let mut stage = busy_chip();
    stage.act(|node, now| node.handle_resume(now, secs(100)));
    let bytes = stage.node.checkpoint();
    let mut node = Node::from_checkpoint_in(<Fixed>::new(), &bytes).unwrap();
    assert_eq!(node.now(), stage.now, "sleep does not affect the caller's clock");
    let due = node.poll_timeout();
    node.handle_timeout(Instant::ZERO);
    assert_eq!((node.now(), node.poll_timeout()), (stage.now, due), "time does not go back");
}

/// The environment variable that names the checkpoint and the node's address to the child process of the test
/// below.
const CHILD: [&str; 2] = ["DHT_PROTO_CHECKPOINT", "DHT_PROTO_ADDRESS"];

#[test]
#[ignore = "no test of its own, but the child of the next one"]
fn continues_in_another_process() {
    let (Some(path), Ok(own)) = (env::var_os(CHILD[0]), env::var(CHILD[1])) else { return };
    let mut node = Node::from_checkpoint(&fs::read(path).unwrap()).unwrap();
    let socket = UdpSocket::bind(own).unwrap();
    socket.set_read_timeout(Some(secs(30))).unwrap();
    println!("listening");
    let mut buf = [0; MAX_DATAGRAM];
    let (len, from) = socket.recv_from(&mut buf).unwrap();
    node.handle_datagram(node.now() + ms(5), from, &buf[..len]);
    while let Some(event) = node.poll_event() {
        if let Event::QueryDone { addr, result: Ok(_), .. } = event {
            println!("answered by {addr}");
        }
    }
}

#[test]
fn another_process_receives_the_answer_to_a_query_sent_before_the_checkpoint() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let [own, other] = [&socket, &peer].map(|socket| socket.local_addr().unwrap());
    let mut config = Config::default();
    (config.address_policy, config.ipv6) = (AddressPolicy::Any, false);
    let now = Instant::from_micros(3_000_000);
    let mut node = Node::new(config, &stage::limits(), [7; 32], now);
    node.ping(now, other).unwrap();
    let mut buf = [0; MAX_DATAGRAM];
    let transmit = node.poll_transmit(now, &mut buf).unwrap();
    socket.send_to(&buf[..transmit.size], transmit.destination).unwrap();
    let path = env::temp_dir().join(format!("dht-proto-checkpoint-{}", std::process::id()));
    fs::write(&path, node.checkpoint()).unwrap();
    drop((node, socket));

    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "persist::checkpoint::continues_in_another_process", "--ignored", "--nocapture"])
        .env(CHILD[0], &path)
        .env(CHILD[1], own.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.ends_with("listening")));
    peer.set_read_timeout(Some(secs(30))).unwrap();
    let (len, from) = peer.recv_from(&mut buf).unwrap();
    assert_eq!(from, own);
    peer.send_to(&answer(&buf[..len]), from).unwrap();
    assert!(lines.any(|line| line == format!("answered by {other}")));
    assert!(child.wait().unwrap().success());
    fs::remove_file(path).unwrap();
}

/// The answer to a ping.
fn answer(query: &[u8]) -> Vec<u8> {
    let transaction = Message::parse(query).unwrap().transaction;
    let response = Response::new(NodeId::from_bytes([5; 20]));
    let mut buf = [0; MAX_DATAGRAM];
    let len = Message::new(transaction, Body::Response(response)).emit(&mut buf).unwrap();
    buf[..len].to_vec()
}

/// Checks that every field of a node is in its checkpoint, or is explicitly left out.
#[test]
fn no_field_is_left_out() {
    fn look(folder: &Path) -> usize {
        let mut count = 0;
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                count += look(&entry);
            } else {
                let text = fs::read_to_string(&entry).unwrap();
                assert!(
                    !["skip", "default"].iter().any(|word| text.contains(&format!("serde({word}"))),
                    "{entry:?}"
                );
                count += text.matches("feature = \"checkpoint\", derive(").count();
            }
        }
        count
    }
    let count = look(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(count > 50, "{count} types are derived");
}
