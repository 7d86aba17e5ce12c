//! The commands of the tool, run as programs.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common;
use crate::common::tool::{HASH, LOCAL, Node, code, command, events, find, heeding, run, signal, stderr};

const BASE32: &str = "L67374IMLVVE5SFIRZGGVNGCROK65ZAB";

/// Returns the address of a node's metrics, which it prints after the address at which it listens.
fn metrics_addr(node: &mut Node) -> String {
    let mut line = String::new();
    node.stdout.read_line(&mut line).unwrap();
    let metrics: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(metrics["event"], "metrics");
    let url = metrics["url"].as_str().unwrap();
    url.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap().to_owned()
}

/// Sends an HTTP request, and returns head and body of the response.
fn http(addr: &str, request: &str) -> io::Result<(String, String)> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: {addr}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Ok((head.to_owned(), body.to_owned()))
}

/// Returns the value in one line of metrics.
fn value(page: &str, name: &str) -> f64 {
    let line = page.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{name} in {page}"))
}

#[test]
fn usage_errors_end_with_2() {
    for words in [
        "",
        "nonsense",
        "get-peers",
        "get-peers 1234",
        "get-peers magnet:?dn=x",
        "announce 5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401",
        "find-node 1234",
        "node --bind 127.0.0.1:0 --bind 127.0.0.2:0",
        "node --id 12",
        "node --bootstrap nowhere --bind 127.0.0.1:0",
    ] {
        let output = run(words);
        assert_eq!(code(&output), 2, "{words}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{words}: {output:?}");
    }
}

#[test]
fn a_bad_infohash_is_one_line() {
    let output = run("get-peers 1234");
    assert_eq!(stderr(&output).lines().count(), 1, "{output:?}");
}

#[test]
fn help_and_version_end_with_0() {
    assert_eq!(code(&run("--help")), 0);
    let version = run("--version");
    assert_eq!(code(&version), 0);
    assert_eq!(version.stdout, format!("dht {}\n", env!("CARGO_PKG_VERSION")).into_bytes());
}

#[test]
fn an_address_in_use_ends_with_2_and_one_line() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let output = run(&format!("get-peers {HASH} --no-default-bootstrap --bind {addr}"));
    assert_eq!(code(&output), 2);
    let stderr = stderr(&output);
    assert!(stderr.lines().count() == 1 && stderr.contains(&addr.to_string()), "{stderr}");
}

#[test]
fn a_ping_host_that_does_not_resolve_ends_with_2_and_one_line() {
    let output = run("ping name.invalid:6881");
    assert_eq!(code(&output), 2);
    let stderr = stderr(&output);
    assert!(stderr.lines().count() == 1 && stderr.contains("name.invalid"), "{stderr}");
}

#[test]
fn a_refused_ping_of_a_private_address_names_the_option_that_allows_it() {
    let output = run("ping 127.0.0.1:9");
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("--allow-private"));
}

#[test]
fn a_ping_reaches_a_node_and_times_out_where_nothing_answers() {
    let node = Node::start(LOCAL);
    let output = run(&format!("ping {} --json {LOCAL}", node.addr));
    assert_eq!(code(&output), 0, "{output:?}");
    let events = events(&output);
    let pong = find(&events, "pong")[0];
    assert_eq!(pong["id"], Value::from(node.id.as_str()));
    assert!(pong["rtt_ms"].as_f64().unwrap() >= 0.0);

    let hole = UdpSocket::bind("127.0.0.1:0").unwrap();
    let output = run(&format!("ping {} --timeout 0.3 {LOCAL}", hole.local_addr().unwrap()));
    assert_eq!(code(&output), 1, "{output:?}");
    assert!(output.stdout.is_empty());
}

#[test]
fn metrics_are_served_to_many_and_to_slow_clients() {
    let mut node = Node::start(&format!("{LOCAL} --metrics 127.0.0.1"));
    let addr = metrics_addr(&mut node);
    let (head, page) = http(&addr, "GET /metrics").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/openmetrics-text"), "{head}");
    assert!(page.ends_with("# EOF\n"));
    assert_eq!(value(&page, "dht_queries_in_total{method=\"ping\"}"), 0.0);
    assert_eq!(value(&page, "dht_bucket_capacity{family=\"ipv4\",bucket=\"0\"}"), 128.0);

    // Clients that send no request occupy only their own connections.
    let idle: Vec<_> = (0..7).map(|_| TcpStream::connect(&addr).unwrap()).collect();
    assert_eq!(code(&run(&format!("ping {} {LOCAL}", node.addr))), 0);
    let start = Instant::now();
    let page = loop {
        let (_, page) = http(&addr, "GET /metrics").unwrap();
        if value(&page, "dht_queries_in_total{method=\"ping\"}") > 0.0 {
            break page;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "a page is generated again");
    };
    assert_eq!(value(&page, "dht_responses_out_total{method=\"ping\"}"), 1.0);
    assert!(value(&page, "dht_bytes_out_total") > 50.0);
    assert_eq!(value(&page, "dht_dropped_total{reason=\"malformed\"}"), 0.0);
    drop(idle);

    assert!(http(&addr, "GET /").unwrap().0.starts_with("HTTP/1.1 404"));
    assert!(http(&addr, "POST /metrics").unwrap().0.starts_with("HTTP/1.1 405"));
    let long = format!("GET /metrics?{}", "x".repeat(20_000));
    // The connection is closed, perhaps before the response arrives.
    assert!(!http(&addr, &long).is_ok_and(|(head, _)| head.starts_with("HTTP/1.1 200")));
}

#[test]
fn silent_clients_do_not_block_scrapes_of_metrics_and_are_disconnected() {
    let mut node = Node::start(&format!("{LOCAL} --metrics 127.0.0.1"));
    let addr = metrics_addr(&mut node);
    let mut idle: Vec<_> = (0..100).map(|_| TcpStream::connect(&addr).unwrap()).collect();
    // Some have begun to send a request.
    idle.iter_mut()
        .step_by(2)
        .for_each(|stream| stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").unwrap());
    for _ in 0..3 {
        assert!(http(&addr, "GET /metrics").unwrap().0.starts_with("HTTP/1.1 200"));
    }
    for stream in &mut idle {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        match stream.read_to_end(&mut Vec::new()) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "it is closed"),
        }
    }
}

#[test]
fn refused_bootstrap_hosts_are_reported_and_end_a_command_if_none_remains() {
    let words = |hosts: &[&str]| {
        let hosts: String = hosts.iter().map(|host| format!(" --bootstrap {host}")).collect();
        format!("get-peers {HASH} --no-default-bootstrap --bind 127.0.0.1:0 --timeout 60{hosts}")
    };
    for (host, reason) in [
        ("127.0.0.1:1", "127.0.0.1:1 is not a public address; see --allow-private"),
        ("localhost:1", "localhost:1 is not a public address; see --allow-private"),
        ("[2001:4860::1]:1", "[2001:4860::1]:1 has no address in a bound address family; see --bind"),
    ] {
        let output = run(&words(&[host]));
        assert_eq!(code(&output), 2, "{output:?}");
        assert_eq!(stderr(&output), format!("dht: {reason}\n"));
    }
    let output = run(&words(&["10.0.0.1:1", "[2001:4860::1]:1"]));
    assert_eq!(code(&output), 2, "{output:?}");
    assert_eq!(stderr(&output).lines().count(), 3, "{output:?}");
    assert!(
        stderr(&output).ends_with("no bootstrap host can be used; name another with --bootstrap HOST:PORT\n"),
        "{output:?}"
    );

    // One host that does not answer remains.
    let output = run(&words(&["10.0.0.1:1", "45.66.77.88:1"]).replace("--timeout 60", "--timeout 0.5"));
    let told = stderr(&output);
    assert!(told.contains("10.0.0.1:1 is not a public address") && !told.contains("is left"), "{told}");
}

#[test]
fn a_metrics_address_in_use_ends_with_2_and_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let output = run(&format!("node {LOCAL} --metrics {addr}"));
    assert_eq!(code(&output), 2, "{output:?}");
    assert!(output.stdout.is_empty());
    let stderr = stderr(&output);
    assert!(stderr.lines().count() == 1 && stderr.contains(&addr.to_string()), "{stderr}");
}

#[test]
fn three_times_verbose_traces_every_lookup_and_datagram() {
    let node = Node::start(LOCAL);
    let output = run(&format!("find-node {HASH} -vvv {LOCAL} --bootstrap {}", node.addr));
    assert_eq!(code(&output), 0, "{output:?}");
    let stderr = stderr(&output);
    for what in ["INFO dht{v4=127.0.0.1:", ": started", "ready family=V4", "lookup started", "lookup ended"] {
        assert!(stderr.contains(what), "{what} in {stderr}");
    }
    let to = format!("sent to={}", node.addr);
    assert!(stderr.contains(&to) && stderr.contains(&format!("received from={}", node.addr)), "{stderr}");
    // The core logs through the `log` crate.
    assert!(stderr.contains("DEBUG") && stderr.contains("dht_proto::node::core: NodeAdded"), "{stderr}");
}

#[test]
fn saving_the_state_is_traced_within_the_span_of_the_node() {
    let folder = std::env::temp_dir().join(format!("dht-proto-cli-span-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("dht.state");
    std::fs::write(&file, "d9:dht-protod").unwrap();
    let first = Node::start(LOCAL);
    // Bootstrap hosts are not saved.
    let _other = Node::start(&format!("{LOCAL} --bootstrap {}", first.addr));
    let start = format!("-vvv {LOCAL} --bootstrap {} --state {}", first.addr, file.display());
    // The first run moves the file aside and saves another, which the second one reads.
    for told in ["state refused", "restored"] {
        let output = run(&format!("find-node {HASH} {start}"));
        assert_eq!(code(&output), 0, "{output:?}");
        let stderr = stderr(&output);
        let line = stderr.lines().find(|line| line.contains(told)).unwrap_or_else(|| panic!("{stderr}"));
        assert!(line.contains(" dht{v4=127.0.0.1:"), "{line}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_announced_torrent_is_found_by_hash_base32_and_magnet() {
    let nodes: Vec<_> = {
        let first = Node::start(LOCAL);
        let words = format!("{LOCAL} --bootstrap {}", first.addr);
        let mut nodes = vec![first];
        nodes.extend((0..3).map(|_| Node::start(&words)));
        nodes
    };
    let start = format!("{LOCAL} --bootstrap {} --timeout 30", nodes[0].addr);
    let output = run(&format!("announce {HASH} --port 4321 --json {start}"));
    assert_eq!(code(&output), 0, "{output:?}");
    let announced = events(&output);
    let announced = find(&announced, "announced")[0];
    assert!(announced["nodes"].as_u64().unwrap() >= 1);
    assert!(announced["tried"].as_u64() >= announced["nodes"].as_u64());

    for target in [HASH, BASE32, &format!("magnet:?xt=urn:btih:{BASE32}&dn=x")] {
        let output = run(&format!("get-peers {target} --json {start}"));
        assert_eq!(code(&output), 0, "{output:?}");
        let events = events(&output);
        let peers: Vec<_> = find(&events, "peer").iter().map(|peer| peer["addr"].clone()).collect();
        assert_eq!(peers, ["127.0.0.1:4321"]);
        let done = events.last().unwrap();
        assert_eq!(done["event"], "done");
        assert_eq!(done["peers"], 1);
        assert!(done["queried"].as_u64().unwrap() >= 1 && done["elapsed_ms"].is_u64());
    }

    let output = run(&format!("get-peers {HASH} {start}"));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "127.0.0.1:4321\n");

    let output = run(&format!("find-node {HASH} --json {start}"));
    assert_eq!(code(&output), 0, "{output:?}");
    let found = events(&output);
    let ids: Vec<_> =
        find(&found, "node").iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect();
    assert!(nodes.iter().all(|node| ids.contains(&node.id)), "{ids:?}");
}

#[test]
fn a_lookup_that_found_more_peers_than_its_limit_says_so() {
    let node = Node::start(LOCAL);
    let start = format!("{LOCAL} --read-only --bootstrap {} --timeout 30", node.addr);
    for port in 4321..4324 {
        assert_eq!(code(&run(&format!("announce {HASH} --port {port} {start}"))), 0);
    }
    let output = run(&format!("get-peers {HASH} --max-peers 2 {start}"));
    assert_eq!(String::from_utf8(output.stdout.clone()).unwrap().lines().count(), 2, "{output:?}");
    let told = "2 peers (more were found than the limit of 2; see --max-peers) from 1 node in ";
    assert!(stderr(&output).contains(told), "{output:?}");
    let output = run(&format!("get-peers {HASH} --max-peers 2 --json {start}"));
    assert_eq!(events(&output).last().unwrap()["more"], true);
    let output = run(&format!("get-peers {HASH} --max-peers 3 --json {start}"));
    let done = events(&output).last().unwrap().clone();
    assert_eq!((&done["peers"], done.get("more")), (&Value::from(3), None));
}

#[test]
fn a_lookup_without_results_ends_with_1() {
    let node = Node::start(LOCAL);
    let output = run(&format!("get-peers {HASH} --json {LOCAL} --bootstrap {} --timeout 20", node.addr));
    assert_eq!(code(&output), 1, "{output:?}");
    let events = events(&output);
    assert_eq!(events.last().unwrap()["event"], "done");
    assert_eq!(events.last().unwrap()["peers"], 0);
}

#[test]
fn names_that_do_not_resolve_are_reported_and_tried_again() {
    let output =
        run(&format!("get-peers {HASH} {LOCAL} --bootstrap name.invalid:1 --settle 0.5 --timeout 2"));
    assert_eq!(code(&output), 2, "{output:?}");
    let stderr = stderr(&output);
    assert!(
        stderr.contains("cannot resolve name.invalid:1") && stderr.contains("trying again in"),
        "{stderr}"
    );
}

#[test]
fn the_id_option_sets_the_id() {
    let node = Node::start(&format!("{LOCAL} --id {HASH}"));
    assert_eq!(node.id, HASH);
}

#[cfg(unix)]
#[test]
fn r_13_a_state_file_keeps_id_and_nodes_from_run_to_run() {
    let first = Node::start(LOCAL);
    let start = format!("{LOCAL} --bootstrap {}", first.addr);
    let others: Vec<_> = (0..3).map(|_| Node::start(&start)).collect();
    let folder = std::env::temp_dir().join(format!("dht-proto-cli-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("dht.state");
    let words = |start: &str| format!("{start} --state {} --timeout 30", file.display());

    let output = run(&format!("announce {HASH} --port 4321 --json {}", words(&start)));
    assert_eq!(code(&output), 0, "{output:?}");
    let id = find(&events(&output), "listening")[0]["id"].clone();
    assert!(file.exists());
    // From now on without a bootstrap host.
    let output = run(&format!("get-peers {HASH} --json -v {}", words(LOCAL)));
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(
        stderr(&output)
            .contains("loaded 4 nodes, 0 announces and 0 items from the state file; skipped 0 entries"),
        "{output:?}"
    );
    assert_eq!(find(&events(&output), "listening")[0]["id"], id);
    let mut node = Node::start(&words(LOCAL));
    assert_eq!(id, node.id.as_str());
    signal(&node.child, "-TERM");
    assert_eq!(node.child.wait().unwrap().code(), Some(0));

    let node = Node::start(&words(LOCAL));
    let output = run(&format!("get-peers {HASH} {}", words(&start)));
    assert_eq!(code(&output), 2, "{output:?}");
    let told = stderr(&output);
    assert!(told.contains("another process uses it") && told.lines().count() == 1, "{told}");
    drop(node);

    std::fs::write(&file, "d9:dht-protod").unwrap();
    let output = run(&format!("get-peers {HASH} --json {}", words(&start)));
    assert!(stderr(&output).contains("dht.state.bad, starting afresh"), "{output:?}");
    assert_ne!(find(&events(&output), "listening")[0]["id"], id);
    let output = run(&format!("get-peers {HASH} {LOCAL} --state {}", folder.join("no/such").display()));
    assert_eq!(code(&output), 2, "{output:?}");
    assert!(stderr(&output).lines().count() == 1 && stderr(&output).contains("no/such"), "{output:?}");
    drop(others);
    std::fs::remove_dir_all(folder).unwrap();
}

#[cfg(unix)]
#[test]
fn c_17_signals_end_a_node_cleanly() {
    for name in ["-INT", "-TERM", "-HUP"] {
        let mut node = Node::spawn(&mut heeding(&format!("node --json {LOCAL}")));
        signal(&node.child, name);
        assert_eq!(node.child.wait().unwrap().code(), Some(0), "{name}");
        let mut rest = String::new();
        node.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_second_signal_ends_a_node_whose_disk_does_not_answer() {
    use std::os::unix::process::ExitStatusExt as _;

    use common::disk::stick;

    let first = Node::start(LOCAL);
    let start = format!("{LOCAL} --bootstrap {}", first.addr);
    // A bootstrap host is not saved, another node is.
    let other = Node::start(&start);
    let folder = std::env::temp_dir().join(format!("dht-proto-cli-signals-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let state = folder.join("dht.state");
    let words = format!("node --json -vv {start} --state {}", state.display());
    let mut program = command(&words);
    std::fs::write(stick(&mut program, &folder), b"").unwrap();
    let mut child = program.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("dht: + ") && line.ends_with(&other.addr)), "it knows it");
    let end = Instant::now() + Duration::from_secs(30);
    let status = loop {
        // Two signals that arrive together may count as one.
        signal(&child, "-TERM");
        std::thread::sleep(Duration::from_millis(100));
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
    };
    std::fs::remove_dir_all(folder).unwrap();
    assert_eq!(status.and_then(|status| status.signal()), Some(15), "{status:?}");
}

#[cfg(unix)]
#[test]
fn c_11_an_announcement_is_republished_until_a_signal() {
    let node = Node::start(LOCAL);
    let words = format!("announce {HASH} --implied-port --keep --json {LOCAL} --bootstrap {}", node.addr);
    let mut child = command(&words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let announced = lines.map(Result::unwrap).find(|line| line.contains("announced")).unwrap();
    let expected = format!(r#"{{"event":"announced","infohash":"{HASH}","nodes":1,"tried":1}}"#);
    assert_eq!(announced, expected);
    assert_eq!(child.try_wait().unwrap(), None);
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn an_announcement_is_saved_when_its_time_limit_is_over() {
    let first = Node::start(LOCAL);
    let start = format!("{LOCAL} --bootstrap {}", first.addr);
    // A state is saved only if it contains a node, and a bootstrap host does not count as one.
    let _second = Node::start(&start);
    let state = std::env::temp_dir().join(format!("dht-tool-kept-{}.state", std::process::id()));
    run(&format!("announce {HASH} --implied-port --keep --timeout 5 --state {} {start}", state.display()));
    let saved = std::fs::read(&state).unwrap();
    std::fs::remove_file(state).unwrap();
    assert_eq!(dht_proto::state::State::parse(&saved).unwrap().announces().count(), 1);
}

#[test]
fn a_closed_stdout_ends_a_command_cleanly() {
    let node = Node::start(LOCAL);
    let mut child =
        command(&format!("find-node {HASH} --json {LOCAL} --bootstrap {} --settle 0.5", node.addr))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
    // The line about listening comes first; what follows is not read.
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(!stderr(&output).contains("panic"), "{output:?}");
}

#[test]
fn the_demo_finds_its_peer() {
    let output = run("demo --nodes 30 --json");
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(find(&events(&output), "step").len() >= 5);
    assert!(output.stderr.is_empty(), "{output:?}");
}
