//! Overhead of the adapters: latency of a command, the cost of idling, and that of an answer under load.
//!
//! ```text
//! cargo bench --all-features --bench adapters -- latency [COMMANDS]
//! cargo bench --all-features --bench adapters -- idle [SECONDS [NODES]]
//! cargo bench --features tokio --bench adapters -- load [ROUNDS [QUERIES]]
//! ```
//!
//! - `latency`: the time from a call of `ping` on an idle node until a socket receives the query.
//!   Beside it, the time of a datagram from one plain socket to another.
//! - `idle`: unused nodes on loopback that know one another: wake-ups in an hour, datagrams sent, and
//!   processor time of each. Only maintenance wakes them, their own and that of the others. Beside
//!   them, a node that knows no other.
//! - `load` (Linux): processor time of the serving thread for an answer, with more queries waiting than it can
//!   answer. Beside it, echo servers that send as many bytes.

#[path = "../common/args.rs"]
mod args;
#[cfg(target_os = "linux")]
mod load;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use args::args;
use dht_proto::net::{Dht, LoopStats};
use dht_proto::wire::{Body, Message, Response};
use dht_proto::{AddressPolicy, Config, Family, NodeId, RateLimit};
use tokio::runtime::{Builder, Runtime};

/// Long enough for the loop to sleep again.
const BETWEEN: Duration = Duration::from_millis(3);

fn main() {
    let (args, is_test) = args();
    let name = args.iter().find(|arg| ["latency", "idle", "load"].contains(&arg.as_str()));
    let numbers: Vec<u32> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
    let number = |at: usize, default, tiny| {
        numbers.get(at).copied().filter(|_| name.is_some()).unwrap_or(if is_test { tiny } else { default })
    };
    let runs = |this: &str| name.is_none_or(|name| name == this);
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    if runs("latency") {
        latency(&runtime, number(0, 2000, 10));
    }
    if runs("idle") {
        let (time, nodes) = (Duration::from_secs(number(0, 300, 1).into()), number(1, 20, 3));
        idle(&runtime, time, nodes);
    }
    #[cfg(target_os = "linux")]
    if runs("load") {
        load::load(number(0, 25, 1), number(1, 20_000, 500));
    }
}

fn latency(runtime: &Runtime, commands: u32) {
    println!(
        "\nfrom the call of `ping` on an idle node to the query's arrival; microseconds, {commands} calls"
    );
    println!("{:<26}{:>8}{:>8}{:>8}", "", "median", "95 %", "99 %");
    let (target, arrivals) = pinged();
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    measure("two bare sockets", &arrivals, commands, || {
        sender.send_to(&[0; 64], target).expect("loopback");
    });
    let dht = blocking_node(None);
    measure("a thread (`net`)", &arrivals, commands, || {
        dht.ping(target).wait().expect("it answers");
    });
    let node = runtime.block_on(async { task_node(None) });
    measure("a task (`tokio`)", &arrivals, commands, || {
        runtime.block_on(node.ping(target)).expect("it answers");
    });
}

/// Times each arrival that a call of `call` causes.
fn measure(name: &str, arrivals: &Receiver<Instant>, calls: u32, mut call: impl FnMut()) {
    let mut times: Vec<f64> = (0..calls)
        .map(|_| {
            thread::sleep(BETWEEN);
            // The node asks on its own account as well, once it knows somebody.
            while arrivals.try_recv().is_ok() {}
            let called = Instant::now();
            call();
            (arrivals.recv().expect("it arrives") - called).as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let [median, p95, p99] = [50, 95, 99].map(|percent| times[(times.len() - 1) * percent / 100]);
    println!("{name:<26}{median:>8.0}{p95:>8.0}{p99:>8.0}");
}

/// The arrival times at a socket, which responds to queries.
fn pinged() -> (SocketAddr, Receiver<Instant>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    let addr = socket.local_addr().expect("it is bound");
    let (sender, arrivals) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let arrived = Instant::now();
            if let Ok(query) = Message::parse(&buffer[..len]) {
                let response = Response::new(NodeId::from_bytes([9; 20]));
                let pong = Message::new(query.transaction, Body::Response(response));
                let mut bytes = vec![0; pong.encoded_len()];
                pong.emit(&mut bytes).expect("it was measured");
                let _ = socket.send_to(&bytes, from);
            }
            if sender.send(arrived).is_err() {
                return;
            }
        }
    });
    (addr, arrivals)
}

fn idle(runtime: &Runtime, time: Duration, nodes: u32) {
    println!("\nidle for {} s; each of {nodes} nodes that know one another, and a lone one", time.as_secs());
    println!("{:<26}{:>15}{:>15}{:>15}", "", "wake-ups/hour", "datagrams/hour", "CPU ms/hour");
    {
        let dhts = Vec::from_iter(start(nodes, |known| {
            let dht = blocking_node(known);
            assert!(known.is_none() || dht.ready().wait_timeout(Duration::from_secs(20)).is_ok());
            let addr = dht.local_addr(Family::V4).expect("it is bound");
            (addr, dht)
        }));
        rest("threads", time, nodes, || {
            dhts.iter()
                .map(|dht| (dht.loop_stats(), dht.stats().wait().expect("it runs").datagrams_out))
                .collect()
        });
    }
    {
        let owners = Vec::from_iter(start(nodes, |known| {
            runtime.block_on(async {
                let node = task_node(known);
                if known.is_some() {
                    assert_eq!(node.ready().await, Ok(()));
                }
                (node.local_addr(Family::V4).expect("it is bound"), node)
            })
        }));
        rest("tasks", time, nodes, || {
            let sent = |node: &Dht| node.stats().wait().expect("it runs").datagrams_out;
            owners.iter().map(|node| (node.loop_stats(), sent(node))).collect()
        });
    }
    let lone = blocking_node(None);
    rest("a lone thread", time, 1, || {
        vec![(lone.loop_stats(), lone.stats().wait().expect("it runs").datagrams_out)]
    });
}

/// Starts one node after the other, each from the first one.
fn start<N>(count: u32, mut node: impl FnMut(Option<SocketAddr>) -> (SocketAddr, N)) -> Vec<N> {
    let (first, node_of_first) = node(None);
    let mut nodes = vec![node_of_first];
    nodes.extend((1..count).map(|_| node(Some(first)).1));
    nodes
}

/// Measures the nodes while they idle for so long.
fn rest(name: &str, time: Duration, nodes: u32, read: impl Fn() -> Vec<(LoopStats, u64)>) {
    let sum = |readings: Vec<(LoopStats, u64)>| {
        readings
            .iter()
            .fold((0, 0), |(wakeups, sent), (stats, datagrams)| (wakeups + stats.wakeups, sent + datagrams))
    };
    let before = sum(read());
    let (cpu, begun) = (cpu_time(), Instant::now());
    thread::sleep(time);
    let (cpu, hours) = (cpu_time() - cpu, begun.elapsed().as_secs_f64() / 3600.0);
    let mut after = sum(read());
    after.0 -= u64::from(nodes); // the call that read the datagrams before
    let each = |counted: f64| counted / f64::from(nodes) / hours;
    println!(
        "{name:<26}{:>15.0}{:>15.0}{:>15.1}",
        each((after.0 - before.0) as f64),
        each((after.1 - before.1) as f64),
        each(cpu.as_secs_f64() * 1e3),
    );
}

/// Processor time of this process; zero where it cannot be read.
fn cpu_time() -> Duration {
    // In nanoseconds, the first number, for the whole process only in its threads' files.
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let spent = tasks.filter_map(|task| {
        let times = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        times.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}

fn blocking_node(known: Option<SocketAddr>) -> Dht {
    let builder = Dht::builder().config(config()).bind((Ipv4Addr::LOCALHOST, 0).into());
    builder.bootstrap(known.map(|addr| addr.to_string())).spawn().expect("it starts")
}

fn task_node(known: Option<SocketAddr>) -> Dht {
    let builder = Dht::builder().config(config()).bind((Ipv4Addr::LOCALHOST, 0).into());
    builder.bootstrap(known.map(|addr| addr.to_string())).spawn_tokio().expect("it starts")
}

/// The configuration of many nodes on one host.
fn config() -> Config {
    let mut config = Config::default();
    (config.address_policy, config.source_limits) = (AddressPolicy::Any, false);
    // One host asks another over and over.
    config.queries_per_node = RateLimit::new(100_000, 100_000);
    config.queries_per_source = RateLimit::new(100_000, 100_000);
    config
}
