//! The ends of the tool's commands: in time, with the right exit code, and with the reason.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use crate::common::tool::{
    HASH, LOCAL, Node, code, command, events, find, heeding, run, signal, stderr, stderr_lines, testnet,
};

/// A socket that sends nothing.
fn hole() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

/// A folder that is removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dht-ends-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Starts a node that stores nothing: it answers `put` and `announce_peer` with an error, lists the given
/// nodes, and answers all other queries. It runs until the test ends.
fn refuser(socket: UdpSocket, id: u8, nodes: Vec<u8>, error: &'static str) {
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((size, from)) = socket.recv_from(&mut buffer) {
            let query = &buffer[..size];
            let behind = |key: &[u8]| {
                query.windows(key.len()).position(|window| window == key).map(|at| &query[at + key.len()..])
            };
            let Some(transaction) = behind(b"1:t4:").map(|rest| &rest[..4]) else { continue };
            let is_store = behind(b"1:q3:put").or_else(|| behind(b"1:q13:announce_peer")).is_some();
            let answer = if is_store {
                [&b"d1:el"[..], error.as_bytes(), b"e1:t4:", transaction, b"1:y1:ee"].concat()
            } else {
                let nodes = [format!("5:nodes{}:", nodes.len()).as_bytes(), &nodes].concat();
                let head = [&b"d1:rd2:id20:"[..], &[id; 20], &nodes, b"5:token4:abcd"].concat();
                [&head[..], b"e1:t4:", transaction, b"1:y1:re"].concat()
            };
            socket.send_to(&answer, from).unwrap();
        }
    });
}

/// Starts eight such nodes that know one another, and returns the address of one.
fn refusers(error: &'static str) -> SocketAddr {
    let sockets: Vec<_> = (1..=8).map(|id| (id, hole())).collect();
    let nodes: Vec<u8> = sockets.iter().flat_map(|(id, (_, addr))| compact(*id, *addr)).collect();
    let first = sockets[0].1.1;
    sockets.into_iter().for_each(|(id, (socket, _))| refuser(socket, id, nodes.clone(), error));
    first
}

fn compact(id: u8, addr: SocketAddr) -> Vec<u8> {
    [&[id; 20][..], &[127, 0, 0, 1], &addr.port().to_be_bytes()].concat()
}

#[test]
fn a_command_that_cannot_join_ends_with_2_and_the_reason() {
    let (_hole, addr) = hole();
    let folder = Folder::new("join");
    let file = folder.file("file", "content");
    for words in [
        &format!("get-peers {HASH}"),
        &format!("find-node {HASH}"),
        &format!("announce {HASH} --port 1"),
        &format!("announce {HASH} --port 1 --keep"),
        &format!("scrape {HASH}"),
        &format!("get {HASH}"),
        &format!("put {file}"),
        &format!("put {file} --keep"),
        "crawl",
    ] {
        let output = run(&format!("{words} {LOCAL} --bootstrap {addr} --timeout 1"));
        assert_eq!(code(&output), 2, "{words}: {output:?}");
        assert!(output.stdout.is_empty(), "{words}: {output:?}");
        let stderr = stderr(&output);
        let last = stderr.lines().last().unwrap();
        let start = "dht: could not join the DHT within 1 s: no bootstrap host answered";
        assert!(last.starts_with(start) && last.contains("--bootstrap HOST:PORT"), "{words}: {stderr}");
        let waiting = stderr.lines().filter(|line| line.contains("waiting for the network")).count();
        assert!(waiting <= 1, "{words}: {stderr}");
    }
    let output = run(&format!("crawl --for 1 {LOCAL} --bootstrap {addr}"));
    assert_eq!(code(&output), 2, "{output:?}");
}

#[test]
fn without_a_node_to_join_through_a_command_ends_at_once_with_2_and_one_line() {
    for words in [format!("get-peers {HASH}"), format!("announce {HASH} --port 1"), "crawl".to_owned()] {
        let output = run(&format!("{words} {LOCAL}"));
        assert_eq!(code(&output), 2, "{words}: {output:?}");
        let stderr = stderr(&output);
        assert!(
            stderr.lines().count() == 1 && stderr.contains("no node to join the DHT through"),
            "{words}: {stderr}"
        );
    }
}

#[test]
fn a_lookup_waits_for_the_network_and_continues_when_it_is_up() {
    let (hole, addr) = hole();
    let words = format!("find-node {HASH} {LOCAL} --json --bootstrap {addr} --timeout 120 --settle 0");
    let mut child = command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let waits = stderr_lines(&mut child).find(|line| line.contains("waiting for the network"));
    assert!(waits.is_some());
    drop(hole);
    let node = Node::start(&format!("--no-default-bootstrap --allow-private --bind {addr}"));
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(find(&events(&output), "node")[0]["id"], node.id.as_str());
}

#[test]
fn commands_that_do_not_stay_are_read_only_without_the_serve_option() {
    let folder = Folder::new("role");
    let file = folder.file("file", "content");
    for (words, is_read_only) in [
        (&format!("find-node {HASH}"), true),
        (&format!("find-node {HASH} --serve"), false),
        (&format!("announce {HASH} --port 1"), true),
        (&format!("announce {HASH} --port 1 --keep"), false),
        (&format!("announce {HASH} --port 1 --keep --read-only"), true),
        (&format!("put {file}"), true),
        (&format!("put {file} --keep"), false),
        (&"crawl".to_owned(), true),
        (&"node".to_owned(), false),
        (&"node --read-only".to_owned(), true),
    ] {
        let (socket, addr) = hole();
        let words = format!("{words} {LOCAL} --bootstrap {addr}");
        let mut child = command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut query = [0; 2048];
        let (size, _) = socket.recv_from(&mut query).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let marks = query[..size].windows(7).any(|window| window == b"2:roi1e");
        assert_eq!(marks, is_read_only, "{words}");
    }
}

#[test]
fn a_put_that_all_nodes_refuse_reports_their_code() {
    let folder = Folder::new("refused");
    let file = folder.file("file", "content");
    let addr = refusers("i205e7:too big");
    let start = format!("{LOCAL} --bootstrap {addr} --timeout 60");
    let output = run(&format!("put {file} {start}"));
    assert_eq!((code(&output), output.stdout.len()), (1, 0), "{output:?}");
    assert!(stderr(&output).contains("dht: refused by all 8: 205 value too big\n"), "{output:?}");
    let output = run(&format!("put {file} --json {start}"));
    assert_eq!(find(&events(&output), "stored")[0]["refused"]["last"], 205, "{output:?}");

    let addr = refusers("i203e9:bad token");
    let output = run(&format!("announce {HASH} --port 1 {LOCAL} --bootstrap {addr} --timeout 60"));
    assert_eq!(code(&output), 1, "{output:?}");
    assert!(stderr(&output).contains("dht: refused by all 8: 203 protocol error"), "{output:?}");
    assert_eq!(output.stdout, b"announced to 0 of 8 nodes\n");
}

#[cfg(unix)]
#[test]
fn a_lookup_that_is_cut_short_says_so() {
    let (silent, silent_addr) = hole();
    let (socket, addr) = hole();
    refuser(socket, 1, compact(2, silent_addr), "i201e1:x");
    let words = format!("get-peers {HASH} --json {LOCAL} --bootstrap {addr} --settle 0");
    let mut child = command(&words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // Maintenance of the node may send a query before.
    let mut asked = [0; 2048];
    while !asked.windows(9).any(|bytes| bytes == b"get_peers") {
        silent.recv_from(&mut asked).unwrap();
    }
    signal(&child, "-TERM");
    let mut output = Vec::new();
    std::io::Read::read_to_end(&mut child.stdout.take().unwrap(), &mut output).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let last = String::from_utf8(output).unwrap().lines().last().unwrap().to_owned();
    assert!(last.contains(r#""event":"done""#) && last.contains(r#""complete":false"#), "{last}");
}

#[cfg(unix)]
#[test]
fn reading_a_pipe_without_a_writer_ends_at_the_deadline() {
    let folder = Folder::new("pipe");
    let (pipe, file) = (folder.0.join("pipe"), folder.file("file", "content"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for words in [format!("put {}", pipe.display()), format!("put-mutable {file} --key {}", pipe.display())] {
        let output = run(&format!("{words} {LOCAL} --timeout 0.5"));
        assert_eq!(code(&output), 2, "{words}: {output:?}");
        let stderr = stderr(&output);
        let complaint = format!("cannot read {}: its end did not come within 0.5 s", pipe.display());
        assert!(stderr.lines().count() == 1 && stderr.contains(&complaint), "{words}: {stderr}");
    }
}

#[cfg(unix)]
#[test]
fn a_closed_terminal_ends_a_node_whose_state_is_saved() {
    let first = Node::start(LOCAL);
    let start = format!("{LOCAL} --bootstrap {}", first.addr);
    // A state is saved only with a node in it, and of the host to start from none is made.
    let other = Node::start(&start);
    let folder = Folder::new("hangup");
    let state = folder.0.join("dht.state");
    let words = format!("node -vv {start} --state {}", state.display());
    let mut child = heeding(&words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = stderr_lines(&mut child);
    assert!(lines.any(|line| line.starts_with("dht: + ") && line.ends_with(&other.addr)), "it knows it");
    signal(&child, "-HUP");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(state.exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    for (name, ignored) in [("-HUP", "HUP"), ("-INT", "INT")] {
        let mut shell = Command::new("sh");
        let script = format!("trap '' {ignored}; exec \"$0\" node --json {LOCAL}");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_dht")]);
        let mut node = Node::spawn(&mut shell);
        signal(&node.child, name);
        let output = run(&format!("ping {} {LOCAL}", node.addr));
        assert_eq!(code(&output), 0, "{name}: {output:?}");
        assert_eq!(node.child.try_wait().unwrap(), None, "{name}");
        signal(&node.child, "-TERM");
        assert_eq!(node.child.wait().unwrap().code(), Some(0), "{name}");
    }
}

#[test]
fn invalid_values_are_refused_with_one_line_and_the_reason() {
    for (words, reason) in [
        (&["get-peers", "12\n34\n"][..], "expected 40 or 64 hexadecimal digits"),
        (&["node", "--bind", "224.0.0.1"], "not the address of a single host"),
        (&["node", "--bind", "[fe80::1%no-such]:1"], "there is no network interface"),
        (&["sim", "--plot", "picture.png"], ".svg"),
        (&["ping", "224.0.0.1:1", "--allow-private"], "224.0.0.1:1 cannot be the address of a node"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_dht")).args(words).output().unwrap();
        assert_eq!(code(&output), 2, "{words:?}: {output:?}");
        let stderr = stderr(&output);
        assert!(stderr.starts_with("dht: ") && stderr.contains(reason), "{words:?}: {stderr}");
    }
}

#[test]
fn an_ipv4_mapped_ipv6_address_is_bound_as_an_ipv4_address() {
    let node = Node::start("--no-default-bootstrap --bind [::ffff:127.0.0.1]:0");
    assert!(node.addr.starts_with("127.0.0.1:"), "{}", node.addr);
}

#[test]
fn an_announce_with_json_prints_the_other_peers_it_finds() {
    let node = Node::start(LOCAL);
    let start = format!("{LOCAL} --bootstrap {}", node.addr);
    assert_eq!(code(&run(&format!("announce {HASH} --port 4321 {start}"))), 0);
    let output = run(&format!("announce {HASH} --port 4322 --json {start}"));
    assert_eq!(code(&output), 0, "{output:?}");
    let met = events(&output);
    let met: Vec<_> = find(&met, "peer").iter().map(|event| event["addr"].clone()).collect();
    assert_eq!(met, ["127.0.0.1:4321"]);
    let output = run(&format!("announce {HASH} --port 4322 {start}"));
    assert_eq!(output.stdout, b"announced to 1 of 1 node\n", "people want to know who stores it");
}

#[test]
fn both_infohashes_of_a_hybrid_torrent_are_announced_and_looked_up() {
    let node = Node::start(LOCAL);
    let start = format!("{LOCAL} --bootstrap {}", node.addr);
    let second = "ab".repeat(32);
    let link = format!("magnet:?xt=urn:btih:{HASH}&amp;xt=urn:btmh:1220{second}#top");
    let output = run(&format!("announce {link} --port 4321 --json {start}"));
    assert_eq!(code(&output), 0, "{output:?}");
    let announced = events(&output);
    let swarms: Vec<_> =
        find(&announced, "announced").iter().map(|event| event["infohash"].clone()).collect();
    assert_eq!(swarms, [HASH, &second[..40]]);
    for torrent in [HASH, &second, &link] {
        let output = run(&format!("get-peers {torrent} {start}"));
        assert_eq!(output.stdout, b"127.0.0.1:4321\n", "{torrent}: {output:?}");
        assert!(stderr(&output).starts_with("1 peer from "), "{torrent}: {output:?}");
    }
    let output = run(&format!("get-peers {HASH} --json {start}"));
    assert_eq!(events(&output).last().unwrap()["complete"], true, "{output:?}");
}

#[test]
fn completions_and_manual_pages_are_written() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&format!("completions {shell}"));
        assert_eq!(code(&output), 0, "{output:?}");
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("get-peers") && script.contains("no-default-bootstrap"), "{shell}");
    }
    let page = run("man");
    assert_eq!(code(&page), 0, "{page:?}");
    assert!(page.stdout.windows(7).any(|window| window == b".TH dht"));
    let folder = Folder::new("man");
    assert_eq!(code(&run(&format!("man {}", folder.0.display()))), 0);
    let page = fs::read_to_string(folder.0.join("dht-announce.1")).unwrap();
    assert!(page.contains("implied"), "{page}");
    assert!(folder.0.join("dht.1").exists());
    let output = run(&format!("man {}/none", folder.0.display()));
    assert_eq!(code(&output), 2, "{output:?}");
}

#[test]
fn a_crawl_keeps_to_its_spacing() {
    let (_testnet, start) = testnet(4);
    let output = run(&format!("crawl --for 4 --every 1.5 --json {start}"));
    let done = events(&output).last().unwrap().clone();
    let (asked, elapsed) = (done["queried"].as_u64().unwrap(), done["elapsed_ms"].as_u64().unwrap());
    assert!((1..=1 + elapsed / 1500).contains(&asked), "{done}");
}
