//! The commands of the tool about items, and those that survey torrents, run as programs.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Output, Stdio};

use dht_proto::Family;
use dht_proto::net::Testnet;
use serde_json::Value;

use crate::common::tool::{HASH, LOCAL, code, command, events, find, run, signal, stderr, testnet};

/// Nodes that store items, a folder for files, and the options that name both.
struct Stage {
    testnet: Testnet,
    folder: PathBuf,
    start: String,
}

impl Stage {
    fn new(name: &str) -> Self {
        let (testnet, start) = testnet(4);
        let folder = std::env::temp_dir().join(format!("dht-proto-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self { testnet, folder, start: format!("{start} --timeout 30") }
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    fn run(&self, words: &str) -> Output {
        run(&format!("{words} {}", self.start))
    }

    fn found(&self, words: &str) -> Output {
        let output = self.run(words);
        assert_eq!(code(&output), 0, "{words}: {output:?}");
        output
    }

    /// Returns the only event of this kind.
    fn event(&self, words: &str, event: &str) -> Value {
        find(&events(&self.found(&format!("{words} --json"))), event)[0].clone()
    }

    /// Makes a key and returns its file and its public part.
    fn key(&self) -> (String, String) {
        let file = self.path("key");
        let output = run(&format!("keygen {file}"));
        assert_eq!(code(&output), 0, "{output:?}");
        (file, line(&output))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns the only line of stdout.
fn line(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.strip_suffix('\n').filter(|line| !line.contains('\n')).unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[test]
fn a_file_that_is_put_is_returned_unchanged() {
    let stage = Stage::new("put");
    let content = b"any\0bytes\xff\n";
    let file = stage.file("file", content);
    let target = line(&stage.found(&format!("put {file}")));
    assert_eq!(stage.found(&format!("get {target}")).stdout, content);
    assert_eq!(stage.found(&format!("get {target} --bencoded")).stdout, [b"11:", &content[..]].concat());
    let item = stage.event(&format!("get {target}"), "item");
    assert_eq!(
        (&item["target"], &item["value_hex"]),
        (&target.into(), &"31313a616e79006279746573ff0a".into())
    );
    assert_eq!(item["seq"], Value::Null);

    let nothing = stage.run(&format!("get {HASH}"));
    assert_eq!((code(&nothing), nothing.stdout.len()), (1, 0), "{nothing:?}");
    let nothing = events(&stage.run(&format!("get {HASH} --json")));
    assert_eq!(nothing.last().unwrap()["items"], 0);
}

#[test]
fn a_bencoded_value_is_put_unchanged_from_a_file_or_stdin() {
    let stage = Stage::new("bencoded");
    let put = |content: &[u8]| {
        let mut child = command(&format!("put - --bencoded --json {}", stage.start))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(content).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = put(b"d1:ai1ee");
    assert_eq!(code(&output), 0, "{output:?}");
    let stored = find(&events(&output), "stored")[0].clone();
    assert!(stored["nodes"].as_u64() >= Some(1) && stored["seq"].is_null(), "{stored}");
    let output = stage.found(&format!("get {}", stored["target"].as_str().unwrap()));
    assert_eq!(output.stdout, b"d1:ai1ee");
    assert!(stderr(&output).contains("not a byte string"), "{output:?}");

    let output = put(b"d1:ai1e");
    assert_eq!(code(&output), 2, "{output:?}");
    assert!(output.stdout.is_empty() && stderr(&output).contains("canonical"), "{output:?}");
}

#[test]
fn an_invalid_put_ends_with_2_and_one_line() {
    let stage = Stage::new("refused");
    let long = stage.file("long", &[b'x'; 997]);
    let key = stage.file("no-key", b"00");
    let other = stage.file("file", b"content");
    let missing = stage.path("missing");
    for (words, complaint) in [
        (format!("put {long}"), "longer than 1000 bytes"),
        (format!("put {missing}"), "cannot read"),
        (format!("put-mutable {other} --key {missing}"), "cannot read"),
    ] {
        let output = run(&format!("{words} {LOCAL}"));
        assert_eq!(code(&output), 2, "{words}: {output:?}");
        let stderr = stderr(&output);
        assert!(stderr.lines().count() == 1 && stderr.contains(complaint), "{words}: {stderr}");
    }
    let output = run(&format!("keygen {missing}/key"));
    assert_eq!(code(&output), 2, "{output:?}");
    assert!(stderr(&output).lines().count() == 1 && stderr(&output).contains("cannot create"), "{output:?}");
    let output = run(&format!("put-mutable {other} --key {key} {LOCAL}"));
    assert_eq!(code(&output), 2, "{output:?}");
    assert!(stderr(&output).contains("64 hexadecimal digits"), "{output:?}");
}

#[test]
fn each_version_that_is_put_follows_the_one_before() {
    let stage = Stage::new("mutable");
    let ((key, public), file) = (stage.key(), stage.file("file", b"one"));
    let put = |more: &str| stage.event(&format!("put-mutable {file} --key {key} {more}"), "stored");
    let first = put("");
    assert_eq!(first["seq"], 1);
    assert_eq!(stage.found(&format!("get-mutable {public}")).stdout, b"one");
    fs::write(&file, "two").unwrap();
    let second = put("");
    assert_eq!((&second["seq"], &second["target"]), (&2.into(), &first["target"]));
    assert_eq!(stage.found(&format!("get-mutable {public}")).stdout, b"two");

    // Another salt is another item.
    let salted = put("--salt n --seq 7");
    assert_eq!(salted["seq"], 7);
    assert_ne!(salted["target"], first["target"]);
    for words in [format!("{public} --salt n"), format!("magnet:?xs=urn:btpk:{public}&s=6e")] {
        let item = stage.event(&format!("get-mutable {words}"), "item");
        assert_eq!((&item["seq"], &item["salt_hex"]), (&7.into(), &"6e".into()));
        assert_eq!((&item["key"], &item["value_hex"]), (&public.as_str().into(), &"333a74776f".into()));
    }

    fs::write(&file, "three").unwrap();
    let output = stage.run(&format!("put-mutable {file} --key {key} --seq 3 --cas 1 --json"));
    assert_eq!(code(&output), 1, "{output:?}");
    let refused = find(&events(&output), "stored")[0].clone();
    assert!(refused["nodes"] == 0 && refused["refused"]["cas_mismatch"].as_u64() >= Some(1), "{refused}");
    assert!(stderr(&output).contains("nodes hold version 2, not 1"), "{output:?}");
    for (seq, reason) in [(2, "nodes hold another value as version 2"), (1, "nodes hold a newer version, 2")]
    {
        let output = stage.run(&format!("put-mutable {file} --key {key} --seq {seq}"));
        assert_eq!((code(&output), output.stdout.len()), (1, 0), "{output:?}");
        assert!(stderr(&output).contains(reason), "{reason}: {output:?}");
    }
    let output = stage.found(&format!("put-mutable {file} --key {key} --seq 3 --cas 2"));
    assert!(stderr(&output).contains("stored version 3 at "), "{output:?}");
    assert_eq!(stage.found(&format!("get-mutable {public}")).stdout, b"three");
}

#[test]
fn b46_a_link_with_a_key_resolves_to_the_peers_of_the_current_torrent() {
    let stage = Stage::new("link");
    let (key, public) = stage.key();
    let mut pointer = b"d2:ih20:".to_vec();
    pointer.extend((0..20).map(|at| u8::from_str_radix(&HASH[2 * at..2 * at + 2], 16).unwrap()));
    pointer.push(b'e');
    let file = stage.file("pointer", &pointer);
    stage.found(&format!("announce {HASH} --port 4321"));
    let link = format!("magnet:?xs=urn:btpk:{public}");
    let output = stage.run(&format!("get-peers {link}"));
    assert_eq!(code(&output), 1, "{output:?}");
    stage.found(&format!("put-mutable {file} --bencoded --key {key}"));
    assert_eq!(line(&stage.found(&format!("get-peers {link}"))), "127.0.0.1:4321");
    assert_eq!(stage.event(&format!("get-mutable {link}"), "item")["infohash"], HASH);
}

#[cfg(unix)]
#[test]
fn a_secret_key_is_readable_by_its_owner_only_and_never_printed() {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    let stage = Stage::new("keys");
    let (file, public) = stage.key();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = fs::read_to_string(&file).unwrap();
    assert_eq!((secret.trim().len(), public.len()), (64, 64));
    let again = run(&format!("keygen {file}"));
    assert_eq!(code(&again), 2, "{again:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), secret, "it is not overwritten");

    let value = stage.file("file", b"value");
    let words = format!("put-mutable {value} --key {file} --json -vvv");
    let quiet = stage.found(&words);
    assert!(!stderr(&quiet).contains("others can read"), "{quiet:?}");
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    let warned = stage.found(&words);
    assert!(stderr(&warned).contains("others can read"), "{warned:?}");
    for output in [quiet, warned, again] {
        for text in [output.stdout, output.stderr] {
            assert!(!String::from_utf8(text).unwrap().contains(secret.trim()));
        }
    }
}

#[cfg(unix)]
#[test]
fn an_item_is_republished_until_a_signal() {
    let stage = Stage::new("keep");
    let (key, file) = (stage.key().0, stage.file("file", b"kept"));
    for words in [format!("put {file} --keep"), format!("put-mutable {file} --key {key} --keep")] {
        let words = format!("{words} --json {}", stage.start);
        let mut child = command(&words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let stored = lines.map(Result::unwrap).find(|line| line.contains("stored")).unwrap();
        let stored: Value = serde_json::from_str(&stored).unwrap();
        assert!(stored["nodes"].as_u64() >= Some(1), "{stored}");
        assert_eq!(child.try_wait().unwrap(), None);
        signal(&child, "-TERM");
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn announced_torrents_are_scraped_sampled_and_crawled() {
    let stage = Stage::new("torrents");
    stage.found(&format!("announce {HASH} --port 4321"));
    let estimate = stage.event(&format!("scrape {HASH}"), "estimate");
    assert_eq!((&estimate["infohash"], &estimate["peers"]), (&HASH.into(), &1.into()), "{estimate}");
    assert_eq!(estimate["seeds"], 0);
    let nobody = stage.run(&format!("scrape {}", "00".repeat(20)));
    assert_eq!(code(&nobody), 1, "{nobody:?}");

    let holder = stage.testnet.nodes.iter().find_map(|node| {
        let (addr, id) = (node.local_addr(Family::V4).unwrap(), node.id(Family::V4).wait().unwrap());
        let output = run(&format!("sample {addr} --json {LOCAL}"));
        let events = events(&output);
        let sample = find(&events, "sample")[0].clone();
        assert_eq!((&sample["id"], &sample["supported"]), (&id.to_string().into(), &true.into()));
        let told = find(&events, "infohash").first().map(|event| (*event).clone());
        assert_eq!(code(&output), i32::from(told.is_none()));
        told
    });
    assert_eq!(holder.unwrap()["infohash"], HASH);

    let output = stage.found("crawl --for 5 --json");
    let events = events(&output);
    assert_eq!(find(&events, "infohash")[0]["infohash"], HASH);
    let done = events.last().unwrap();
    assert_eq!((&done["event"], &done["infohashes"]), (&"done".into(), &1.into()), "{done}");
    let rate = 1000.0 / done["elapsed_ms"].as_f64().unwrap();
    assert!((done["infohashes_per_s"].as_f64().unwrap() - rate).abs() <= 0.06, "{done}");
    let output = stage.found("crawl --for 5 --every 0.2");
    assert_eq!(line(&output), HASH);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.lines().last().unwrap().ends_with(" infohashes/s"), "{errors}");
}
