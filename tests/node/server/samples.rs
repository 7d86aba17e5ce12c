//! Samples of infohashes (BEP 51): served as raw datagrams, and asked of scripted nodes. Tests are named
//! after the rows of the requirements they check.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::{
    CrawlOptions, Crawler, Event, Family, InfoHash, Limit, NodeId, QueryError, QueryId, Sample, StartError,
};

use crate::common;
use crate::common::raw::{
    ID, Lone, MAX_SIZE, Packet, TARGET, addr6, config, crowd, join, node_list, query, query_by, spread,
    stingy, unhurried,
};
use crate::common::{addr, stranger};
use crate::stage;
use crate::stage::{Stage, secs};

fn torrent(index: usize) -> [u8; 20] {
    let mut infohash = [0x77; 20];
    infohash[..2].copy_from_slice(&(index as u16).to_be_bytes());
    infohash
}

fn sample_query(target: &[u8; 20], more: &[u8]) -> Vec<u8> {
    query("sample_infohashes", &join(&[b"6:target20:", target, more]))
}

/// A node that stores peers of so many torrents, and knows 30 nodes of each family.
fn storing(torrents: usize) -> Lone {
    let mut limits = common::raw::limits();
    (limits.swarms, limits.peers_v4) = (1000, 4000);
    let mut lone = Lone::with_limits(unhurried(), &limits);
    Family::ALL.into_iter().for_each(|family| lone.meet(crowd(family, 30)));
    (0..torrents).for_each(|index| lone.store(stranger(index), &torrent(index)));
    lone
}

/// The infohashes in an answer, none of which stands there twice.
fn samples(reply: &Packet) -> Vec<[u8; 20]> {
    let (samples, rest) = reply.string("r.samples").expect("always there").as_chunks();
    assert!(rest.is_empty());
    assert_eq!(samples.iter().collect::<BTreeSet<_>>().len(), samples.len());
    samples.to_vec()
}

fn ask(lone: &mut Lone) -> (Vec<[u8; 20]>, i64, i64) {
    let reply = lone.accepted(stranger(999), &sample_query(&TARGET, b""));
    (samples(&reply), reply.int("r.num").unwrap(), reply.int("r.interval").unwrap())
}

/// Asks one node, which answers with these fields behind its id, and returns what is told of it.
fn ask_one(lone: &mut Lone, before: &[u8], after: &[u8]) -> (QueryId, Result<Sample, QueryError>) {
    let target = NodeId::from_bytes(TARGET);
    let query = lone.node.sample_infohashes(lone.now, addr(1), target).unwrap();
    let sent = lone.query();
    assert_eq!((sent.method(), sent.string("a.target")), ("sample_infohashes", Some(&TARGET[..])));
    let transaction = sent.string("t").unwrap();
    let answer = join(&[b"d1:rd2:id20:", &spread(1), before, after, b"e1:t4:", transaction, b"1:y1:re"]);
    lone.ignored(addr(1), &answer);
    (query, done(lone, query))
}

fn done(lone: &mut Lone, query: QueryId) -> Result<Sample, QueryError> {
    let result = lone.events.iter().find_map(|event| match *event {
        Event::SampleDone { query: done, result, .. } if done == query => Some(result),
        _ => None,
    });
    lone.events.clear();
    result.expect("it has ended")
}

#[test]
fn b51_01_b51_02_the_answer_has_all_fields_even_where_nothing_is_stored() {
    let mut lone = storing(0);
    let reply = lone.accepted(stranger(1), &sample_query(&TARGET, b""));
    assert_eq!(reply.string("r.samples"), Some(&b""[..]));
    assert_eq!((reply.int("r.num"), reply.int("r.interval")), (Some(0), Some(300)));
    assert_eq!((reply.nodes().len(), reply.at("r.nodes6"), reply.at("r.token")), (8, None, None));
    let reply = lone.accepted(addr6(500), &sample_query(&TARGET, b""));
    assert_eq!((reply.at("r.nodes"), reply.nodes6().len()), (None, 8));
    let reply = lone.accepted(stranger(1), &sample_query(&TARGET, b"4:wantl2:n42:n6e"));
    assert_eq!((reply.nodes().len(), reply.nodes6().len()), (8, 8));
}

#[test]
fn b51_05_b51_10_while_all_fit_every_torrent_with_peers_is_told_as_it_is_now() {
    let mut lone = storing(10);
    let (told, num, interval) = ask(&mut lone);
    assert_eq!(BTreeSet::from_iter(told), (0..10).map(torrent).collect());
    assert_eq!((num, interval), (10, 300));
    lone.store(stranger(10), &torrent(10));
    let (told, num, _) = ask(&mut lone);
    assert_eq!((told.len(), num), (11, 11), "one more at once");
    // What was looked up is not stored, and what has expired is not told.
    lone.token(stranger(1), &torrent(500));
    lone.wait(secs(46 * 60));
    let (told, num, _) = ask(&mut lone);
    assert_eq!((told.len(), num), (0, 0));
}

#[test]
fn b51_03_b51_04_of_more_a_random_subset_is_told_that_stays_the_same_for_the_interval() {
    let mut lone = storing(200);
    let (first, num, interval) = ask(&mut lone);
    assert!(first.len() >= 25 && first.iter().all(|told| (0..200).any(|index| torrent(index) == *told)));
    assert_eq!((num, interval), (200, 300));
    lone.store(stranger(300), &torrent(300));
    for passed in [1, 100, 198] {
        lone.wait(secs(passed));
        let (again, ..) = ask(&mut lone);
        assert_eq!(again, first, "asking again brings nothing new");
    }
    let (_, num, left) = ask(&mut lone);
    assert_eq!((num, left), (201, 1), "it says when it will");
    lone.wait(secs(1));
    let (second, _, interval) = ask(&mut lone);
    assert_ne!(second, first);
    assert_eq!(interval, 300);

    // In time each has its turn, about equally often.
    let mut told = std::collections::BTreeMap::new();
    for _ in 0..60 {
        lone.wait(secs(300));
        (0..200).for_each(|index| {
            let token = lone.token(stranger(index), &torrent(index));
            lone.accepted(stranger(index), &common::raw::announce(&torrent(index), 6881, &token));
        });
        for infohash in ask(&mut lone).0 {
            *told.entry(infohash).or_insert(0) += 1;
        }
    }
    let expected = 60 * first.len() / 201;
    assert!(told.len() >= 199, "{}", told.len());
    assert!(told.values().all(|&times| times < 3 * expected), "{told:?}");
}

#[test]
fn b51_04_no_interval_is_so_long_that_most_of_the_subset_expires_in_it() {
    let mut config = unhurried();
    (config.sample_interval, config.peer_ttl) = (secs(6 * 3600), secs(1200));
    let mut limits = common::raw::limits();
    (limits.swarms, limits.peers_v4) = (1000, 4000);
    let mut lone = Lone::with_limits(config, &limits);
    // One every six seconds, each announced once.
    let mut told = Vec::new();
    for index in 0..600 {
        lone.store(stranger(index), &torrent(index));
        lone.wait(secs(6));
        if index % 10 == 9 && index >= 200 {
            let (samples, num, left) = ask(&mut lone);
            assert!((1..=600).contains(&left) && num >= 200, "{num} {left}");
            told.push(samples.len());
        }
    }
    let most = *told.iter().max().unwrap();
    assert!(most >= 40 && told.iter().all(|&told| 3 * told >= most), "{told:?}");
}

#[test]
fn b51_09_the_target_steers_the_nodes_and_never_the_sample() {
    let mut lone = storing(200);
    let answers = [TARGET, [0; 20], [0xff; 20]].map(|target| {
        let reply = lone.accepted(stranger(999), &sample_query(&target, b""));
        (samples(&reply), reply.nodes())
    });
    assert!(answers.iter().all(|(told, _)| *told == answers[0].0));
    assert!(answers[0].1 != answers[1].1 && answers[1].1 != answers[2].1);
}

#[test]
fn b51_04_an_answer_fits_its_datagram_and_fills_it() {
    let mut lone = storing(200);
    let mut lens = Vec::new();
    for (from, want) in [
        (stranger(999), &b""[..]),
        (stranger(999), b"4:wantl2:n42:n6e"),
        (addr6(999), b""),
        (addr6(999), b"4:wantl2:n42:n6e"),
    ] {
        for t in [&b"a"[..], &[7; 32]] {
            let arguments = join(&[b"6:target20:", &TARGET, want]);
            let reply = lone.accepted(from, &query_by(&ID, t, "sample_infohashes", &arguments));
            assert!((MAX_SIZE - 32..=MAX_SIZE).contains(&reply.bytes.len()), "{}", reply.bytes.len());
            lens.push(samples(&reply));
        }
    }
    let longest = lens.iter().max_by_key(|told| told.len()).unwrap();
    assert!(lens.iter().all(|told| longest.starts_with(told)), "less room, less of the same");
    assert!((25..=45).contains(&longest.len()) && lens.iter().all(|told| told.len() >= 10));
}

#[test]
fn b51_02_an_unknown_address_gets_no_more_than_three_times_its_query_but_always_a_sample() {
    let mut lone = Lone::new(stingy());
    lone.meet(crowd(Family::V4, 30));
    (0..40).for_each(|index| lone.store(stranger(index), &torrent(index)));
    let asked = sample_query(&TARGET, b"");
    let reply = lone.accepted(stranger(999), &asked);
    assert!(reply.bytes.len() <= 3 * asked.len());
    assert!(reply.at("r.samples").is_some() && !reply.nodes().is_empty());
}

#[test]
fn b51_01_a_query_of_ours_tells_all_that_came_back() {
    let mut lone = Lone::new(config());
    let nodes =
        node_list(&[(spread(7), addr(7)), (spread(8), addr(8)), (spread(9), "10.0.0.1:7".parse().unwrap())]);
    let told = [torrent(1), torrent(2)];
    let fields = join(&[b"8:intervali600e", &nodes, b"3:numi77e7:samples40:", told.as_flattened()]);
    let (query, result) = ask_one(&mut lone, b"", &fields);
    let sample = result.unwrap();
    assert_eq!((sample.id, sample.is_supported), (NodeId::from_bytes(spread(1)), true));
    assert_eq!((sample.count, sample.stored, sample.interval), (2, 77, secs(600)));
    assert!(lone.node.samples(query).eq(told.map(InfoHash::from_bytes)));
    let nodes: Vec<_> = lone.node.sample_nodes(query).map(|node| node.addr).collect();
    assert_eq!((nodes, lone.stats().contacts_refused), (vec![addr(7), addr(8)], 1), "no private address");
    assert!(!lone.node.cancel_query(query));
}

#[test]
fn b51_03_an_interval_or_a_number_out_of_range_is_held_to_it() {
    let mut lone = Lone::new(config());
    for (interval, num, expected) in
        [("21601", "5", (21_600, 5)), ("-5", "-5", (0, 0)), ("9999999999", "9999999999", (21_600, u32::MAX))]
    {
        let fields = format!("8:intervali{interval}e3:numi{num}e7:samples0:");
        let sample = ask_one(&mut lone, b"", fields.as_bytes()).1.unwrap();
        assert_eq!((sample.interval.as_secs(), sample.stored), expected);
    }
}

#[test]
fn b51_07_an_answer_without_samples_is_told_apart_and_its_nodes_are_kept() {
    let mut lone = Lone::new(config());
    let nodes = node_list(&[(spread(7), addr(7))]);
    let (query, result) = ask_one(&mut lone, b"", &nodes);
    let sample = result.unwrap();
    assert!(!sample.is_supported && sample.count == 0);
    assert_eq!(lone.node.sample_nodes(query).count(), 1);
    let (_, result) = ask_one(&mut lone, b"", b"7:samples0:");
    assert!(result.unwrap().is_supported, "none is a sample too");
    // One that says that it does not know the query.
    let query = lone.node.sample_infohashes(lone.now, addr(1), NodeId::ZERO).unwrap();
    let error = lone.query().error(b"li204e14:Method Unknowne");
    lone.ignored(addr(1), &error);
    assert_eq!(done(&mut lone, query), Err(QueryError::Refused(204)));
    assert_eq!(lone.node.samples(query).count(), 0);
}

#[test]
fn b51_08_samples_of_a_broken_length_are_dropped_and_the_nodes_kept() {
    let mut lone = Lone::new(config());
    let nodes = node_list(&[(spread(7), addr(7))]);
    let fields = join(&[b"8:intervali60e", &nodes, b"3:numi2e7:samples41:x", &[5; 40]]);
    let (query, result) = ask_one(&mut lone, b"", &fields);
    let sample = result.unwrap();
    assert!(!sample.is_supported && sample.count == 0);
    assert_eq!((lone.node.samples(query).count(), lone.node.sample_nodes(query).count()), (0, 1));
}

#[test]
fn queries_for_samples_have_their_own_room_and_end_each_once() {
    let mut limits = common::raw::limits();
    limits.samplings = 2;
    let mut lone = Lone::with_limits(config(), &limits);
    let ask = |lone: &mut Lone| lone.node.sample_infohashes(lone.now, addr(1), NodeId::ZERO);
    let (first, second) = (ask(&mut lone).unwrap(), ask(&mut lone).unwrap());
    assert_eq!(ask(&mut lone), Err(StartError::Full { limit: Limit::Samplings, size: 2 }));
    assert!(lone.node.ping(lone.now, addr(2)).is_ok(), "pings are not concerned");
    assert!(lone.node.cancel_query(first) && !lone.node.cancel_query(first));
    let third = ask(&mut lone).unwrap();
    lone.wait(secs(20));
    let ended: Vec<_> = lone
        .events
        .iter()
        .filter_map(|event| match event {
            Event::SampleDone { query, result, .. } => Some((*query, *result)),
            _ => None,
        })
        .collect();
    assert_eq!(ended, [second, third].map(|query| (query, Err(QueryError::TimedOut))));
    lone.queries.clear();
    for _ in 0..10 {
        // As fast as one node is asked for long.
        lone.now = lone.now + Duration::from_millis(500);
        assert!(ask_one(&mut lone, b"", b"7:samples0:").1.is_ok());
    }
    let private = lone.node.sample_infohashes(lone.now, "10.0.0.1:5".parse().unwrap(), NodeId::ZERO);
    assert_eq!(private, Err(StartError::AddressRefused));
}

/// A crawl over scripted hosts.
struct Crawl {
    stage: Stage,
    crawler: Crawler,
    found: Vec<InfoHash>,
}

impl Crawl {
    fn new(stage: Stage, options: CrawlOptions) -> Self {
        Self { stage, crawler: Crawler::new(options), found: Vec::new() }
    }

    fn run(&mut self, time: Duration) {
        let end = self.stage.now + time;
        while self.stage.now < end {
            let now = self.stage.now;
            if self.crawler.poll_timeout().is_some_and(|at| at <= now) {
                self.crawler.poll(now, &mut self.stage.node);
            }
            self.hear(|stage| stage.run(Duration::from_millis(10)));
            self.found.extend(std::iter::from_fn(|| self.crawler.next_found()).map(|found| found.infohash));
        }
    }

    /// Tells the crawl what happens meanwhile.
    fn hear(&mut self, act: impl FnOnce(&mut Stage)) {
        let before = self.stage.events.len();
        act(&mut self.stage);
        for event in &self.stage.events[before..] {
            self.crawler.handle_event(self.stage.now, &self.stage.node, event);
        }
    }

    /// When each host was asked for a sample.
    fn asked(&self, host: SocketAddr) -> Vec<u64> {
        let to_host = self.stage.sent.iter().filter(|sent| sent.to == host);
        let asked = to_host.filter(|sent| matches!(sent.what, stage::What::Sample(_)));
        asked.map(|sent| sent.at.as_micros() / 1_000_000).collect()
    }
}

#[test]
fn b51_06_a_crawl_asks_no_node_before_its_interval_is_over() {
    let mut stage = Stage::joined(60);
    for (index, host) in stage.hosts.values_mut().enumerate() {
        host.sample = Some(([0, 200, 1000, 21_600][index % 4], 3, vec![torrent(index), torrent(index + 1)]));
    }
    let mut crawl = Crawl::new(stage, CrawlOptions::default());
    crawl.run(secs(900));
    assert_eq!(crawl.found.len(), 61, "each is told once");
    let hosts: Vec<_> = crawl.stage.hosts.keys().copied().collect();
    for (index, host) in hosts.into_iter().enumerate() {
        let asked = crawl.asked(host);
        let least = [60, 200, 1000, 21_600][index % 4];
        assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= least), "{index}: {asked:?}");
        assert!(!asked.is_empty() && (index % 4 > 1 || asked.len() >= 4), "{index}: {asked:?}");
    }
    let report = crawl.crawler.report();
    assert_eq!((report.found, report.nodes, report.failed), (61, 60, 0));
    assert!(report.repeated > 100);
}

#[test]
fn a_crawl_leaves_alone_who_is_silent_or_does_not_know_the_query() {
    let mut stage = Stage::joined(60);
    let hosts: Vec<_> = stage.hosts.keys().copied().collect();
    for (index, host) in stage.hosts.values_mut().enumerate() {
        match index % 3 {
            0 => host.is_dead = true,
            1 => host.sample = Some((0, 1, vec![torrent(index)])),
            _ => host.refuses = (index % 2 == 0).then_some(204),
        }
    }
    let mut crawl = Crawl::new(stage, CrawlOptions::default());
    crawl.run(secs(2400));
    for (index, host) in hosts.into_iter().enumerate() {
        let asked = crawl.asked(host);
        match index % 3 {
            // Now, after 15 minutes, and not yet after 30 more.
            0 => assert!((1..=2).contains(&asked.len()), "{asked:?}"),
            1 => assert!(asked.len() >= 20, "{asked:?}"),
            _ => assert_eq!(asked.len(), 1),
        }
    }
    let report = crawl.crawler.report();
    assert_eq!((report.found, report.unsupported), (20, 20));
    assert!(report.failed >= 20 && report.asked == report.answered + report.failed);
}

#[test]
fn a_crawl_keeps_its_pace_and_waits_for_its_reader() {
    let mut stage = Stage::joined(60);
    for (index, host) in stage.hosts.values_mut().enumerate() {
        host.sample = Some((0, 40, (0..40).map(|at| torrent(40 * index + at)).collect()));
    }
    let mut options = CrawlOptions::default();
    (options.spacing, options.untaken) = (secs(2), 100);
    let mut crawl = Crawl::new(stage, options);
    crawl.run(secs(60));
    assert!((29..=31).contains(&crawl.crawler.report().asked), "{:?}", crawl.crawler.report());

    // Nobody takes what is found.
    let mut idle = Crawl::new(crawl.stage, options);
    for _ in 0..100 {
        let now = idle.stage.now;
        idle.crawler.poll(now, &mut idle.stage.node);
        let events = idle.stage.events.len();
        idle.stage.run(secs(2));
        for event in &idle.stage.events[events..] {
            idle.crawler.handle_event(idle.stage.now, &idle.stage.node, event);
        }
    }
    assert!(idle.crawler.report().asked <= 4 && idle.crawler.poll_timeout().is_none());
    while idle.crawler.next_found().is_some() {}
    assert!(idle.crawler.poll_timeout().is_some());
}

#[test]
fn a_crawl_goes_on_with_the_nodes_it_had_once_a_disabled_family_is_enabled() {
    let mut stage = Stage::joined(60);
    stage.hosts.values_mut().for_each(|host| host.sample = Some((21_600, 0, Vec::new())));
    let mut crawl = Crawl::new(stage, CrawlOptions::default());
    crawl.run(Duration::from_millis(1450));
    let before = crawl.crawler.report();
    assert!((10..30).contains(&before.asked) && before.due >= 20, "{before:?}");
    crawl.hear(|stage| stage.act(|node, now| node.set_enabled(now, Family::V4, false)));
    let ask = |crawl: &mut Crawl| crawl.stage.node.sample_infohashes(crawl.stage.now, addr(1), NodeId::ZERO);
    assert_eq!(ask(&mut crawl), Err(StartError::Disabled));
    crawl.run(secs(60));
    let disabled = crawl.crawler.report();
    assert_eq!((disabled.asked, disabled.nodes), (before.asked, before.nodes), "{disabled:?}");
    crawl.hear(|stage| stage.act(|node, now| node.set_enabled(now, Family::V4, true)));
    crawl.run(secs(10));
    let report = crawl.crawler.report();
    assert_eq!((report.nodes, report.due), (60, 0), "whose query was cut short is asked again: {report:?}");
}

#[test]
fn a_crawl_that_is_stopped_leaves_nothing_under_way() {
    let mut stage = Stage::joined(60);
    stage.hosts.values_mut().for_each(|host| host.is_dead = true);
    let mut options = CrawlOptions::default();
    options.spacing = Duration::ZERO;
    let mut crawl = Crawl::new(stage, options);
    crawl.run(Duration::from_millis(20));
    assert_eq!(crawl.crawler.report().asked, 8);
    crawl.crawler.stop(&mut crawl.stage.node);
    crawl.stage.events.clear();
    crawl.stage.run(secs(30));
    assert!(crawl.stage.events.iter().all(|event| !matches!(event, Event::SampleDone { .. })));
}
