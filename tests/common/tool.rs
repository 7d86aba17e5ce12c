//! Runs the command line tool as a program.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use dht_proto::net::Testnet;
use serde_json::Value;

pub const HASH: &str = "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401";
pub const LOCAL: &str = "--no-default-bootstrap --allow-private --bind 127.0.0.1:0";

pub fn command(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dht"));
    command.args(words.split_whitespace());
    command
}

/// Returns the command of the tool, with signals enabled even if the program that runs the tests ignores them
/// (`nohup`).
pub fn heeding(words: &str) -> Command {
    if cfg!(not(target_os = "linux")) {
        return command(words);
    }
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,TERM", env!("CARGO_BIN_EXE_dht")]);
    command.args(words.split_whitespace());
    command
}

pub fn run(words: &str) -> Output {
    command(words).output().unwrap()
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn events(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn find<'a>(events: &'a [Value], event: &str) -> Vec<&'a Value> {
    events.iter().filter(|object| object["event"] == event).collect()
}

/// Returns the lines of a program's stderr as they are written.
pub fn stderr_lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap)
}

/// Sends a signal to a program, such as `-TERM`.
pub fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success(), "{signal}");
}

/// Nodes that the tool may join, and the words that have it join them.
pub fn testnet(nodes: usize) -> (Testnet, String) {
    let testnet = Testnet::new(nodes).unwrap();
    let start =
        testnet.bootstrap().into_iter().fold(LOCAL.to_owned(), |words, host| words + " --bootstrap " + &host);
    (testnet, start)
}

/// A `dht node` that other commands join through; it is ended when dropped.
pub struct Node {
    pub child: Child,
    pub stdout: BufReader<ChildStdout>,
    pub addr: String,
    pub id: String,
}

impl Node {
    pub fn start(words: &str) -> Self {
        Self::spawn(&mut command(&format!("node --json {words}")))
    }

    /// Starts a node with a command that runs it with `--json`.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let listening: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(listening["event"], "listening");
        let text = |key: &str| listening[key].as_str().unwrap().to_owned();
        Self { addr: text("addr"), id: text("id"), child, stdout }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
