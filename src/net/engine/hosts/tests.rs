use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::task::Wake;
use alloc::vec;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::{Config, Limits, MAX_DATAGRAM};

struct Bell(Sender<()>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
    }
}

/// The hosts of a node in no loop, in virtual time; the look-ups are done by threads.
struct Stage {
    node: Node,
    hosts: Hosts,
    now: Instant,
    notices: Vec<NetEvent>,
    woken: Receiver<()>,
}

impl Stage {
    fn new(
        hosts: &[&str],
        places: usize,
        look_up: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        let limits = Limits { bootstraps: places, ..Limits::default() };
        let config = Config { ipv6: false, ..Config::default() };
        let node = Node::new(config, &limits, [7; 32], Instant::ZERO);
        let hosts = hosts.iter().copied().map(String::from).collect();
        let (sender, woken) = channel();
        let waker = Arc::new(Bell(sender)).into();
        let hosts = Hosts::new((hosts, Vec::new()), [true, false], Resolver::new(look_up), waker);
        let mut stage = Self { node, hosts, now: Instant::ZERO, notices: Vec::new(), woken };
        let Self { node, hosts, now, notices, .. } = &mut stage;
        hosts.start(node, *now, |notice| notices.push(notice));
        stage
    }

    fn poll(&mut self) {
        let Self { node, hosts, now, notices, .. } = self;
        hosts.poll(node, *now, |notice| notices.push(notice));
    }

    /// Lets so many threads end.
    fn answers(&mut self, count: usize) {
        for _ in 0..count {
            self.woken.recv_timeout(Duration::from_secs(30)).expect("a look-up ends");
        }
        self.poll();
    }

    /// Goes to the time at which something is due, and returns how long that was.
    fn pass(&mut self) -> Duration {
        let due = self.hosts.due(self.now).expect("something is due");
        let passed = due - self.now;
        self.now = due;
        self.poll();
        passed
    }

    /// Advances to a time, and returns the addresses queried until then; none of them answers.
    fn run(&mut self, until: Instant) -> Vec<SocketAddr> {
        let (mut queried, mut buffer) = (Vec::new(), [0; MAX_DATAGRAM]);
        loop {
            while let Some(transmit) = self.node.poll_transmit(self.now, &mut buffer) {
                queried.push(transmit.destination);
            }
            while self.node.poll_event().is_some() {}
            let due = [self.node.poll_timeout(), self.hosts.due(self.now)].into_iter().flatten().min();
            let Some(due) = due.filter(|due| *due <= until) else { break };
            self.now = self.now.max(due);
            self.node.handle_timeout(self.now);
            self.poll();
        }
        queried
    }

    fn under_way(&self) -> Vec<&str> {
        let hosts = self.hosts.hosts.iter();
        let is_under_way = |host: &&Host| host.look_up.as_ref().is_some_and(|it| it.since.is_some());
        hosts.filter(is_under_way).map(|host| host.host.as_str()).collect()
    }

    fn placed(&self) -> Vec<SocketAddr> {
        self.hosts.placed.iter().copied().collect()
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Answers from a list, one after the other; the last one repeatedly.
fn script(
    answers: Vec<Result<&'static str, ()>>,
) -> impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync {
    let answers = Mutex::new(VecDeque::from(answers));
    move |_: &str| {
        let mut answers = lock(&answers);
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().copied() };
        match answer {
            Some(Ok(text)) => Ok(vec![addr(text)]),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

#[test]
fn l_13_a_name_that_is_lied_about_is_looked_up_until_the_dht_is_joined() {
    let (lie, truth) = ("60.0.0.1:1", "60.0.0.2:1");
    let mut stage = Stage::new(&["a:1"], 4, script(vec![Ok(lie), Ok("10.0.0.1:1"), Ok(lie), Ok(truth)]));
    stage.answers(1);
    assert_eq!(stage.placed(), [addr(lie)]);
    assert_eq!(stage.pass(), secs(10));
    stage.answers(1);
    assert_eq!(stage.placed(), [], "refused by the address policy");
    assert_eq!(stage.pass(), secs(20));
    stage.answers(1);
    assert_eq!(stage.pass(), secs(40));
    stage.answers(1);
    assert_eq!(stage.placed(), [addr(truth)], "and not what was found before");
    assert_eq!(stage.pass(), secs(60));
    stage.answers(1);
    assert_eq!(stage.pass(), secs(60), "and no more seldom");
    let reported = |wanted: &str| {
        let is_reported = |notice: &&NetEvent| matches!(notice, NetEvent::Resolved { addrs, .. } if *addrs == [addr(wanted)]);
        stage.notices.iter().filter(is_reported).count()
    };
    assert_eq!(
        [reported(lie), reported(truth)],
        [2, 1],
        "an unchanged result is not reported: {:?}",
        stage.notices
    );
}

#[test]
fn a_name_that_fails_is_looked_up_every_few_seconds() {
    let mut stage = Stage::new(&["a:1"], 4, script(vec![Err(()); 7]));
    let mut passed = Vec::new();
    for _ in 0..6 {
        stage.answers(1);
        passed.push(stage.pass().as_secs());
    }
    assert_eq!(passed, [1, 2, 4, 8, 15, 15]);
    let reported = |notice: &NetEvent| match notice {
        NetEvent::Unresolved { retry_in, .. } => retry_in.as_secs(),
        other => panic!("{other:?}"),
    };
    assert_eq!(Vec::from_iter(stage.notices.iter().map(reported)), passed);
}

#[test]
fn once_the_dht_is_joined_names_are_looked_up_only_on_another_network() {
    let mut stage = Stage::new(&["a:1"], 4, script(vec![Ok("60.0.0.1:1")]));
    stage.answers(1);
    stage.hosts.joined = true;
    assert_eq!(stage.hosts.due(stage.now), None);
    stage.hosts.resolve_again(stage.now);
    assert_eq!(stage.hosts.due(stage.now), Some(stage.now));
    // The node is not joined, as it turns out: that is as good as another network.
    stage.hosts.joined = true;
    stage.now = stage.now + secs(1);
    stage.poll();
    assert_eq!(stage.under_way(), ["a:1"]);
    stage.answers(1);
    assert_eq!(stage.pass(), secs(10), "with the first pause again");
}

#[test]
fn a_look_up_that_hangs_holds_up_nobody() {
    let (_hold, held) = channel::<()>();
    let held = Mutex::new(held);
    let names: Vec<_> = (0..20).map(|at| format!("hangs-{at}:1")).collect();
    let mut hosts: Vec<_> = vec![BOOTSTRAP_HOSTS[0]];
    hosts.extend(names.iter().map(String::as_str));
    hosts.push("good:1");
    let mut stage = Stage::new(&hosts, 4, move |host| {
        if host.starts_with("hangs") {
            let _ = lock(&held).recv();
        }
        Ok(vec![addr("60.0.0.1:1")])
    });
    assert_eq!(stage.under_way(), hosts[1..9], "the user's come first");
    assert_eq!(stage.pass(), SLOW);
    assert_eq!(stage.under_way(), hosts[1..17]);
    assert_eq!(stage.pass(), SLOW);
    assert_eq!(stage.under_way().len(), hosts.len());
    stage.answers(2);
    assert_eq!(stage.placed(), [addr("60.0.0.1:1")]);
    assert_eq!(stage.pass(), secs(10), "those that hang are not started again");
}

#[test]
fn look_ups_that_hang_are_bounded_and_go_on_when_they_end() {
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let names: Vec<_> = (0..40).map(|at| format!("hangs-{at}:1")).collect();
    let hosts: Vec<_> = names.iter().map(String::as_str).collect();
    let mut stage = Stage::new(&hosts, 4, move |_| {
        let _ = lock(&held).recv();
        Ok(vec![addr("60.0.0.1:1")])
    });
    for _ in 0..3 {
        assert_eq!(stage.pass(), SLOW);
    }
    assert_eq!(stage.under_way().len(), THREADS);
    assert_eq!(stage.hosts.due(stage.now), None, "until one ends");
    release.send(()).unwrap();
    stage.answers(1);
    assert_eq!(stage.pass(), SLOW);
    let under_way = stage.under_way();
    assert_eq!(under_way.len(), THREADS);
    assert!(under_way.contains(&"hangs-32:1"), "the next one: {under_way:?}");
}

#[test]
fn a_resolver_that_panics_has_failed() {
    let mut stage = Stage::new(&["a:1"], 4, |_| panic!("as the test requires"));
    stage.answers(1);
    assert!(matches!(&stage.notices[..], [NetEvent::Unresolved { host, .. }] if host == "a:1"));
    assert_eq!(stage.pass(), secs(1));
}

#[test]
fn l_13_all_addresses_of_a_name_are_used_and_a_flood_is_cut_short() {
    let mut stage = Stage::new(&["a:1"], 100, |_| {
        Ok((0..=255).map(|at| SocketAddr::from(([60, 0, 0, at], 1))).rev().collect())
    });
    stage.answers(1);
    assert_eq!(stage.placed().len(), ADDRS);
}

#[test]
fn more_addresses_than_places_take_turns() {
    let names: Vec<_> = (1..=10).map(|at| format!("60.0.0.{at}:1")).collect();
    let hosts: Vec<_> = names.iter().map(String::as_str).collect();
    let mut stage = Stage::new(&hosts, 4, script(vec![Err(())]));
    let mut seen: BTreeMap<_, usize> = BTreeMap::new();
    for _ in 0..5 {
        assert_eq!(stage.placed().len(), 4);
        stage.placed().into_iter().for_each(|addr| *seen.entry(addr).or_default() += 1);
        assert_eq!(stage.pass(), TURN);
    }
    assert_eq!(seen.len(), 10, "{seen:?}");
    assert!(seen.values().all(|count| *count == 2), "{seen:?}");
    assert_eq!(stage.notices, [], "none is refused");
    stage.hosts.joined = true;
    assert_eq!(stage.hosts.due(stage.now), None);
}

#[test]
fn each_of_many_addresses_is_asked_before_long() {
    let names: Vec<_> = (1..=100).map(|at| format!("60.{at}.0.1:1")).collect();
    let hosts: Vec<_> = names.iter().map(String::as_str).collect();
    let mut stage = Stage::new(&hosts, 32, script(vec![Err(())]));
    let queried: BTreeSet<_> = stage.run(Instant::ZERO + secs(120)).into_iter().collect();
    assert_eq!(queried.len(), 100);
}

#[test]
fn what_may_not_be_asked_is_told_once() {
    use BootstrapRefusal::{Family as Off, Policy};

    let answers = vec![Ok("10.0.0.1:1"), Ok("10.0.0.1:1"), Ok("60.0.0.1:1"), Ok("10.0.0.1:1")];
    let hosts = ["10.0.0.9:1", "[2001:db8::1]:1", "localhost:1", "60.0.0.9:1", "a:1"];
    let mut stage = Stage::new(&hosts, 4, script(answers));
    for _ in 0..3 {
        stage.answers(1);
        stage.pass();
    }
    stage.answers(1);
    let refused = |notice: &NetEvent| match notice {
        NetEvent::BootstrapRefused { host, addr, reason, retry_in } => {
            Some((host.clone(), addr.to_string(), *reason, retry_in.map(|retry_in| retry_in.as_secs())))
        }
        _ => None,
    };
    let reported: Vec<_> = stage.notices.iter().filter_map(refused).collect();
    let expected = [
        ("10.0.0.9:1", "10.0.0.9:1", Policy, None),
        ("[2001:db8::1]:1", "[2001:db8::1]:1", Off, None),
        // The other one is of a family that is off, but that is not all.
        ("localhost:1", "127.0.0.1:1", Policy, None),
        ("a:1", "10.0.0.1:1", Policy, Some(10)),
        ("a:1", "10.0.0.1:1", Policy, Some(60)),
    ];
    assert_eq!(
        reported,
        expected.map(|(host, addr, why, secs)| (host.to_string(), addr.to_string(), why, secs))
    );
    assert_eq!(stage.placed(), [addr("60.0.0.9:1")]);
}
