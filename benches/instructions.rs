//! Counts the instructions of the hot paths, which no noise of the machine reaches, and compares them with those of
//! `benches/instructions.txt`. Needs `valgrind`.
//!
//! ```text
//! cargo bench --bench instructions                   # a table; a change of more than 5 % is marked
//! cargo bench --bench instructions -- --write        # accepts the numbers of this build
//! ```
//!
//! The numbers depend on the compiler, a little on the machine. Each case runs in a process of its own, under
//! `callgrind`, which counts only what happens inside `measured`. To see where they go:
//!
//! ```text
//! valgrind --tool=callgrind --toggle-collect='instructions::measured*' \
//!     target/release/deps/instructions-* --case find_node
//! callgrind_annotate callgrind.out.*
//! ```

#[path = "common/args.rs"]
mod args;
#[path = "common/datagrams.rs"]
mod datagrams;
#[path = "common/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use args::args;
use datagrams::{encode, host, query};
use dht_proto::wire::{Body, Message, Method, NodeWriter, PeerWriter, Response, Want};
use dht_proto::{Family, InfoHash, NodeId};
use server::{Bench, Network, Rng, TORRENTS, find_node, get_peers, sample_infohashes};

/// The change in percent from which on a number is marked.
const NOTABLE: f64 = 5.0;

/// Prepares a case, and returns how often it was measured.
type Case = fn() -> usize;

const CASES: [(&str, Case); 13] = [
    ("parse find_node query", || parse(&query(NodeId::ZERO, find_node(NodeId::ZERO)))),
    ("parse get_peers response, 8 nodes", || parse(&response(0))),
    ("parse get_peers response, 8 nodes, 50 values", || parse(&response(50))),
    ("emit get_peers response, 8 nodes, 50 values", || emit(&response(50))),
    ("ping", || answer(|_| Method::Ping)),
    ("find_node", || answer(|bench| find_node(bench.rng.id()))),
    ("get_peers, no peers", || answer(|bench| get_peers(bench.rng.id().into()))),
    ("get_peers, 50 peers", || answer(|bench| get_peers(bench.torrents[bench.rng.below(TORRENTS)]))),
    ("announce_peer", announce),
    ("sample_infohashes", || answer(|bench| sample_infohashes(bench.rng.id()))),
    ("scrape of 500 peers", scrape),
    ("malformed datagram", malformed),
    ("whole get_peers lookup", lookup),
];

fn main() {
    let (args, is_test) = args();
    if let Some(at) = args.iter().position(|arg| arg == "--case") {
        let name = args.get(at + 1).expect("the name of a case");
        let (_, case) = CASES.iter().find(|(case, _)| case == name).expect("a case");
        println!("{}", case());
        return;
    }
    if is_test {
        CASES.iter().for_each(|(_, case)| assert!(case() > 0));
        return;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("skipped: there is no valgrind");
        return;
    }
    let counts = CASES.map(|(name, _)| (name, count(name)));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.txt");
    print_changes(&counts, &read_table(&path));
    if args.iter().any(|arg| arg == "--write") {
        let lines = counts.iter().map(|(name, count)| format!("{count:>9} {name}\n"));
        fs::write(&path, lines.collect::<String>()).expect("the table can be written");
    }
}

/// Whatever is done in here is counted.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
}

/// Returns the instructions of one execution of a case.
fn count(name: &str) -> u64 {
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--toggle-collect=instructions::measured*",
        ])
        .arg(env::current_exe().expect("this program"))
        .args(["--case", name])
        .output()
        .expect("valgrind runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let collected = stderr.lines().find_map(|line| line.split("Collected :").nth(1));
    let collected: u64 = collected.and_then(|number| number.trim().parse().ok()).expect("valgrind's count");
    let times: u64 = stdout.trim().parse().expect("the number of executions");
    collected / times
}

fn read_table(path: &PathBuf) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let rows = text.lines().filter_map(|line| line.trim_start().split_once(' '));
    rows.filter_map(|(count, name)| Some((name.to_owned(), count.parse().ok()?))).collect()
}

fn print_changes(counts: &[(&str, u64)], table: &BTreeMap<String, u64>) {
    println!("instructions  change");
    for (name, count) in counts {
        let change = table.get(*name).map(|before| (*count as f64 / *before as f64 - 1.0) * 100.0);
        let text = change.map_or_else(|| "new".to_owned(), |change| format!("{change:+.1} %"));
        let is_notable = change.is_none_or(|change| change.abs() > NOTABLE);
        println!("{count:>12}  {text:>8}  {name}{}", if is_notable { "  <-- CHANGED" } else { "" });
    }
}

/// The response to a `get_peers` query, with so many values.
fn response(values: u8) -> Vec<u8> {
    let (mut nodes, mut peers) = ([0; 8 * 26], [0; 50 * 6]);
    let mut nodes = NodeWriter::new(Family::V4, &mut nodes);
    let mut peers = PeerWriter::new(Family::V4, &mut peers);
    (1..=8).for_each(|n| assert!(nodes.push(&NodeId::from_bytes([n; 20]), host(n.into()))));
    (1..=values).for_each(|n| assert!(peers.push(host(n.into()))));
    let response = Response {
        nodes: Some(nodes.finish()),
        token: Some(b"aoeusnth"),
        values: (values > 0).then(|| peers.finish()),
        ..Response::new(NodeId::ZERO)
    };
    encode(&Message::new(b"abcd", Body::Response(response)))
}

const TIMES: usize = 1000;

fn parse(datagram: &[u8]) -> usize {
    measured(&mut || {
        for _ in 0..TIMES {
            black_box(Message::parse(black_box(datagram))).expect("it parses");
        }
    });
    TIMES
}

fn emit(datagram: &[u8]) -> usize {
    let message = Message::parse(datagram).expect("it parses");
    let mut buf = [0; 1472];
    measured(&mut || {
        for _ in 0..TIMES {
            black_box(black_box(&message).emit(&mut buf)).expect("it fits");
        }
    });
    TIMES
}

fn answer(method: impl FnMut(&mut Bench) -> Method<'static>) -> usize {
    let mut bench = Bench::new();
    let queries = bench.queries(method);
    let (first, rest) = queries.split_at(TIMES);
    // What happens only once has happened then.
    first.iter().for_each(|(from, datagram)| assert!(bench.serve(*from, datagram) > 0));
    measured(&mut || {
        for (from, datagram) in rest {
            black_box(bench.serve(*from, datagram));
        }
    });
    rest.len()
}

/// Half of the announces store a peer, the others refresh one.
fn announce() -> usize {
    let mut bench = Bench::new();
    let mut announces = Vec::new();
    for at in 0..TIMES {
        let infohash = bench.torrents[at % TORRENTS];
        let (id, addr) = bench.askers[at / 2 % bench.askers.len()];
        announces.push((addr, bench.announce_query(infohash, (id, addr))));
    }
    measured(&mut || {
        for (from, datagram) in &announces {
            black_box(bench.serve(*from, datagram));
        }
    });
    announces.len()
}

fn scrape() -> usize {
    let mut bench = Bench::new();
    let infohash: InfoHash = bench.rng.id().into();
    for peer in 0..500 {
        let id = bench.rng.id();
        bench.announce(infohash, (id, host(10_000 + peer)));
    }
    let (id, from) = bench.askers[0];
    let datagram = query(id, Method::GetPeers { infohash, want: Want::NONE, noseed: false, scrape: true });
    let times = TIMES / 10;
    measured(&mut || {
        for _ in 0..times {
            black_box(bench.serve(from, &datagram));
        }
    });
    times
}

/// A flood of what is no message must cost little.
fn malformed() -> usize {
    let mut bench = Bench::new();
    let (id, from) = bench.askers[0];
    let mut datagram = query(id, find_node(NodeId::ZERO));
    datagram.pop();
    measured(&mut || {
        for _ in 0..TIMES {
            black_box(bench.serve(from, &datagram));
        }
    });
    TIMES
}

fn lookup() -> usize {
    let mut rng = Rng(2);
    let mut bench = Bench::new();
    let mut network = Network::around(&bench, 2000, &mut rng);
    let targets: Vec<InfoHash> = (0..16).map(|_| rng.id().into()).collect();
    // The network has its responses ready then.
    for target in &targets {
        black_box(network.lookup(&mut bench, *target));
    }
    measured(&mut || {
        for target in &targets {
            black_box(network.lookup(&mut bench, *target));
        }
    });
    targets.len()
}
