//! Processor time of one answer under saturation, beside bare echo servers.
//!
//! The servers take turns within a round, and rounds are repeated, so that a noisy machine disturbs all of them
//! alike. What counts is the processor time of the serving thread, as a ratio to that of the plain echo in the
//! same round.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use dht_proto::net::{Builder, Dht};
use dht_proto::wire::{Body, Message, Method, Query, Response, Want};
use dht_proto::{Family, InfoHash, Instant, Limits, MAX_DATAGRAM, Node, NodeId, RateLimit};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

/// Datagrams that one system call takes or sends at most.
const BATCH: usize = 32;

/// Queries that wait for their answers at a time.
const WINDOW: usize = 256;

/// Different queries, so that neither caches nor branch predictors learn them.
const QUERIES: usize = 4096;

/// Torrents with stored peers, and the peers of each.
const TORRENTS: usize = 256;
const PEERS: usize = 32;

const OWN: NodeId = NodeId::from_bytes(*b"the node we measure.");

/// Compares the servers for each kind of query.
pub(crate) fn load(rounds: u32, queries: u32) {
    println!(
        "\nCPU of the serving thread for each answer, {rounds} rounds of {queries} queries each; medians"
    );
    println!("{:<36}{:>10}{:>10}{:>10}", "", "µs", "ratio", "bytes");
    for (name, method) in [
        ("find_node", find_node as fn(&mut Rng) -> Method<'static>),
        ("get_peers, 32 values", get_peers as fn(&mut Rng) -> Method<'static>),
    ] {
        compare(name, method, rounds, queries as usize);
    }
}

fn find_node(rng: &mut Rng) -> Method<'static> {
    Method::FindNode { target: rng.id(), want: Want::NONE }
}

fn get_peers(rng: &mut Rng) -> Method<'static> {
    let infohash = torrent(rng.roll() as usize % TORRENTS);
    Method::GetPeers { infohash, want: Want::NONE, noseed: false, scrape: false }
}

fn torrent(number: usize) -> InfoHash {
    Rng(number as u64).id().into()
}

fn compare(name: &str, method: fn(&mut Rng) -> Method<'static>, rounds: u32, count: usize) {
    let mut rng = Rng(1);
    let queries: Vec<Vec<u8>> =
        (0..QUERIES).map(|_| query(NodeId::from_bytes(*b"whoever asks us here"), method(&mut rng))).collect();
    let mut asker = Asker::new(queries);
    let mut nodes = vec![
        thread_node("node in a thread", Ipv4Addr::LOCALHOST),
        thread_node("  bound to all addresses", Ipv4Addr::UNSPECIFIED),
        task_node(),
    ];
    let sizes = nodes.iter().map(|node| asker.answer_size(node.addr));
    let size = sizes.max().expect("there are nodes");
    let mut servers = vec![echo(size), echo_batches(size)];
    servers.append(&mut nodes);
    let mut times = vec![Vec::new(); servers.len()];
    for round in 0..=rounds {
        for (server, times) in servers.iter_mut().zip(&mut times) {
            server.prepare();
            let before = server.cpu_time();
            asker.ask(server.addr, count, size);
            let spent = server.cpu_time() - before;
            // The first round only warms up.
            if round > 0 {
                times.push(spent.as_secs_f64() * 1e6 / count as f64);
            }
        }
    }
    let single = times[0].clone();
    println!("{name}");
    for (server, times) in servers.iter().zip(&times) {
        let ratios = times.iter().zip(&single).map(|(time, single)| time / single).collect();
        println!("  {:<34}{:>10.2}{:>10.3}{:>10}", server.name, median(times.clone()), median(ratios), size);
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// What serves, in a thread of its own.
struct Server {
    name: &'static str,
    addr: SocketAddr,
    /// The folder of its thread below `/proc`.
    thread: PathBuf,
    role: Role,
}

enum Role {
    /// The echo server, and the flag that ends it.
    Echo(Arc<AtomicBool>),
    Node(Dht),
}

impl Server {
    fn cpu_time(&self) -> Duration {
        // It counts what has been done once the thread has gone to sleep.
        thread::sleep(Duration::from_millis(3));
        let times = std::fs::read_to_string(self.thread.join("schedstat")).expect("the kernel counts it");
        let spent = times.split(' ').next().and_then(|spent| spent.parse().ok());
        Duration::from_nanos(spent.expect("a number"))
    }

    /// Replaces the nodes of the table that have not answered since.
    fn prepare(&self) {
        if let Role::Node(dht) = &self.role {
            dht.with(fill).wait().expect("it runs");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Role::Echo(is_over) = &self.role {
            is_over.store(true, Ordering::Relaxed);
            let _ =
                UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.send_to(&[], self.addr));
        }
    }
}

fn this_thread() -> PathBuf {
    PathBuf::from("/proc").join(std::fs::read_link("/proc/thread-self").expect("it is Linux"))
}

/// Starts an echo server, whose loop is `serve`.
fn start(name: &'static str, serve: impl FnOnce(&UdpSocket, &AtomicBool) + Send + 'static) -> Server {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    let addr = socket.local_addr().expect("it is bound");
    let (sender, receiver) = channel();
    let is_over = Arc::new(AtomicBool::new(false));
    let ending = Arc::clone(&is_over);
    thread::spawn(move || {
        sender.send(this_thread()).expect("it is waited for");
        serve(&socket, &ending);
    });
    Server { name, addr, thread: receiver.recv().expect("it starts"), role: Role::Echo(is_over) }
}

/// Answers each datagram by itself, without looking at it.
fn echo(size: usize) -> Server {
    start("echo, single calls", move |socket, is_over| {
        let (mut buffer, answer) = ([0; 2048], vec![b'x'; size]);
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            socket.send_to(&answer, from).expect("loopback");
        }
    })
}

/// Answers what has arrived together, without looking at it.
fn echo_batches(size: usize) -> Server {
    start("echo, recvmmsg and sendmmsg", move |socket, is_over| {
        let answer = vec![b'x'; size];
        let answers = [[IoSlice::new(&answer)]; BATCH];
        let mut buffers = vec![[0; 2048]; BATCH];
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let mut sending = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let fd = socket.as_raw_fd();
        while !is_over.load(Ordering::Relaxed) {
            let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
            let received = recvmmsg(fd, &mut headers, &mut slices, MsgFlags::MSG_WAITFORONE, None);
            let from: Vec<_> = received.expect("loopback").map(|message| message.address).collect();
            sendmmsg(fd, &mut sending, &answers, &from, [], MsgFlags::empty()).expect("loopback");
        }
    })
}

fn builder(at: Ipv4Addr) -> Builder {
    let mut config = super::config();
    (config.id, config.secure_ids) = (Some(OWN), false);
    config.new_endpoints = RateLimit::new(1_000_000, u32::MAX);
    config.queries_per_node = RateLimit::new(u32::MAX, u32::MAX);
    (config.unverified_bytes, config.answer_bytes) = (u32::MAX, u32::MAX);
    let mut limits = Limits::default();
    (limits.peers_v4, limits.swarms) = (2 * TORRENTS * PEERS, 2 * TORRENTS);
    let builder = Dht::builder().config(config).limits(limits).bind((at, 0).into());
    builder.bootstrap::<String>([])
}

fn thread_node(name: &'static str, at: Ipv4Addr) -> Server {
    serving(name, builder(at).spawn().expect("it starts"))
}

fn task_node() -> Server {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let dht = builder(Ipv4Addr::LOCALHOST).spawn_tokio().expect("it starts");
            let handle = dht.handle();
            sender.send(dht).expect("it is waited for");
            // Until it is dropped.
            while handle.with(|_, _| ()).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(3600)).await;
            }
        });
    });
    serving("node in a task (tokio)", receiver.recv().expect("it starts"))
}

fn serving(name: &'static str, dht: Dht) -> Server {
    let port = dht.local_addr(Family::V4).expect("it is bound").port();
    let addr = (Ipv4Addr::LOCALHOST, port).into();
    let thread = dht.with(|node, now| {
        fill(node, now);
        for number in 0..TORRENTS {
            for peer in 0..PEERS {
                let peer = ([127, 2, number as u8, peer as u8], 6881).into();
                node.store_peer(now, torrent(number), peer, false).expect("there is room");
            }
        }
        this_thread()
    });
    Server { name, addr, thread: thread.wait().expect("it runs"), role: Role::Node(dht) }
}

/// Fills the table with nodes that have responded.
fn fill(node: &mut Node, now: Instant) {
    let mut rng = Rng(9);
    let mut buffer = [0; MAX_DATAGRAM];
    for index in 0..800_u32 {
        let [.., a, b] = index.to_be_bytes();
        let addr = SocketAddr::from(([127, 1, a, b], 6881));
        let id = rng.id();
        if node.add_node(now, addr).is_err() {
            continue;
        }
        while let Some(transmit) = node.poll_transmit(now, &mut buffer) {
            let Ok(Message { transaction, body: Body::Query(_), .. }) =
                Message::parse(&buffer[..transmit.size])
            else {
                continue;
            };
            let pong = encode(&Message::new(transaction, Body::Response(Response::new(id))));
            node.handle_datagram(now, transmit.destination, &pong);
        }
        while node.poll_event().is_some() {}
    }
}

fn query(id: NodeId, method: Method<'_>) -> Vec<u8> {
    let body = Body::Query(Query { id, method });
    encode(&Message { version: Some(b"LT\x02\x01"), ..Message::new(b"abcd", body) })
}

fn encode(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = vec![0; message.encoded_len()];
    message.emit(&mut bytes).expect("it was measured");
    bytes
}

/// Sends queries, as many at a time as the window has room for, and receives the answers.
struct Asker {
    queries: Vec<Vec<u8>>,
    next: usize,
}

impl Asker {
    fn new(queries: Vec<Vec<u8>>) -> Self {
        Self { queries, next: 0 }
    }

    /// Asks once, and returns the size of the answer.
    fn answer_size(&self, server: SocketAddr) -> usize {
        let socket = connected(server);
        socket.send(&self.queries[0]).expect("loopback");
        let mut buffer = [0; 2048];
        loop {
            let len = socket.recv(&mut buffer).expect("it answers");
            if is_answer(&buffer[..len]) {
                return len;
            }
        }
    }

    /// Asks so often, and checks that the answers are of this size at least.
    fn ask(&mut self, server: SocketAddr, count: usize, size: usize) {
        let socket = connected(server);
        let fd = socket.as_raw_fd();
        let mut buffers = vec![[0; 2048]; BATCH];
        let mut sending = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let nobody = [None::<SockaddrIn>; BATCH];
        let (mut sent, mut received) = (0, 0);
        while received < count {
            while sent < count && sent - received + BATCH <= WINDOW {
                let batch = &self.queries[self.next..][..BATCH.min(count - sent)];
                let slices: Vec<_> = batch.iter().map(|query| [IoSlice::new(query)]).collect();
                let done =
                    sendmmsg(fd, &mut sending, &slices, &nobody[..slices.len()], [], MsgFlags::empty());
                sent += done.expect("loopback").count();
                self.next = (self.next + BATCH) % QUERIES;
            }
            let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
            match recvmmsg(fd, &mut headers, &mut slices, MsgFlags::MSG_WAITFORONE, None) {
                Ok(messages) => {
                    let sizes: Vec<_> = messages.map(|message| message.bytes).collect();
                    // The rest are queries of the node's own.
                    received += sizes.into_iter().filter(|&bytes| bytes + 16 >= size).count();
                }
                // Lost, by a machine that is too busy.
                Err(Errno::EAGAIN) => received = sent,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn is_answer(datagram: &[u8]) -> bool {
    matches!(Message::parse(datagram), Ok(Message { body: Body::Response(_), .. }))
}

/// A socket that sends to `server`, and gives up after a while.
fn connected(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    socket.connect(server).expect("loopback");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("it is not zero");
    socket
}

/// A random number generator whose stream is the same in every run.
struct Rng(u64);

impl Rng {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn id(&mut self) -> NodeId {
        let [a, b, c] = [self.roll(), self.roll(), self.roll()].map(u64::to_le_bytes);
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&a);
        bytes[8..16].copy_from_slice(&b);
        bytes[16..].copy_from_slice(&c[..4]);
        NodeId::from_bytes(bytes)
    }
}
