//! Samples of infohashes (BEP 51) that a node requests: what it reports of the answers.

use std::time::Duration;

use dht_proto::errors::{ContactError, Limit};
use dht_proto::report::Sample;
use dht_proto::wire::ErrorCode;
use dht_proto::{Event, InfoHash, NodeId, QueryError, QueryId};

use crate::common;
use crate::common::addr;
use crate::common::raw::{Lone, TARGET, config, join, node_list, spread};
use crate::stage::secs;

/// Queries one node, which answers with these fields after its id, and returns the report.
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
fn b51_01_a_query_for_a_sample_reports_every_field_of_the_answer() {
    let mut lone = Lone::new(config());
    let nodes =
        node_list(&[(spread(7), addr(7)), (spread(8), addr(8)), (spread(9), "10.0.0.1:7".parse().unwrap())]);
    let infohashes = [[1; 20], [2; 20]];
    let fields = join(&[b"8:intervali600e", &nodes, b"3:numi77e7:samples40:", infohashes.as_flattened()]);
    let (query, result) = ask_one(&mut lone, b"", &fields);
    let sample = result.unwrap();
    assert_eq!((sample.id, sample.is_supported), (NodeId::from_bytes(spread(1)), true));
    assert_eq!((sample.count, sample.stored, sample.interval), (2, 77, secs(600)));
    assert!(lone.node.samples(query).eq(infohashes.map(InfoHash::from_bytes)));
    let nodes: Vec<_> = lone.node.sample_nodes(query).map(|node| node.addr).collect();
    assert_eq!((nodes, lone.stats().contacts_refused), (vec![addr(7), addr(8)], 1), "no private address");
    assert!(!lone.node.cancel_query(query));
}

#[test]
fn b51_03_an_interval_or_a_number_out_of_range_is_clamped() {
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
fn b51_07_b51_11_an_answer_without_samples_is_distinguished_and_its_nodes_are_used() {
    let mut lone = Lone::new(config());
    let nodes = node_list(&[(spread(7), addr(7))]);
    let (query, result) = ask_one(&mut lone, b"", &nodes);
    let sample = result.unwrap();
    assert!(!sample.is_supported && sample.count == 0);
    assert_eq!(lone.node.sample_nodes(query).count(), 1);
    let (_, result) = ask_one(&mut lone, b"", b"7:samples0:");
    assert!(result.unwrap().is_supported, "an empty sample is a sample too");
    // A node that reports the method as unknown.
    let query = lone.node.sample_infohashes(lone.now, addr(1), NodeId::ZERO).unwrap();
    let error = lone.query().error(b"li204e14:Method Unknowne");
    lone.ignored(addr(1), &error);
    assert_eq!(done(&mut lone, query), Err(QueryError::Refused(ErrorCode::METHOD_UNKNOWN)));
    assert_eq!(lone.node.samples(query).count(), 0);
}

#[test]
fn b51_08_samples_of_an_invalid_length_are_dropped_and_the_nodes_used() {
    let mut lone = Lone::new(config());
    let nodes = node_list(&[(spread(7), addr(7))]);
    let fields = join(&[b"8:intervali60e", &nodes, b"3:numi2e7:samples41:x", &[5; 40]]);
    let (query, result) = ask_one(&mut lone, b"", &fields);
    let sample = result.unwrap();
    assert!(!sample.is_supported && sample.count == 0);
    assert_eq!((lone.node.samples(query).count(), lone.node.sample_nodes(query).count()), (0, 1));
}

#[test]
fn queries_for_samples_have_their_own_limit_and_each_ends_once() {
    let mut limits = common::raw::limits();
    limits.samplings = 2;
    let mut lone = Lone::with_limits(config(), &limits);
    let ask = |lone: &mut Lone| lone.node.sample_infohashes(lone.now, addr(1), NodeId::ZERO);
    let (first, second) = (ask(&mut lone).unwrap(), ask(&mut lone).unwrap());
    assert_eq!(ask(&mut lone), Err(ContactError::Full { limit: Limit::Samplings, size: 2 }));
    assert!(lone.node.ping(lone.now, addr(2)).is_ok(), "pings are not affected");
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
        // At the sustained rate of queries to one node.
        lone.now = lone.now + Duration::from_millis(500);
        assert!(ask_one(&mut lone, b"", b"7:samples0:").1.is_ok());
    }
    let private = lone.node.sample_infohashes(lone.now, "10.0.0.1:5".parse().unwrap(), NodeId::ZERO);
    assert_eq!(private, Err(ContactError::AddressRefused));
}
