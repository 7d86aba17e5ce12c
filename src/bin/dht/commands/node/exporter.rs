//! Serves the metrics of a node to Prometheus: over HTTP, in the OpenMetrics text format.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, io};

use dht_proto::Family;
use dht_proto::net::{DhtHandle, FamilyMetrics, Metrics};
use dht_proto::stats::Metric;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::output::Failure;

const PATH: &str = "/metrics";

/// The most connections at a time. One more replaces the oldest that has sent no request yet, or else the
/// oldest.
const CLIENTS: usize = 32;

/// How long a client may take to send its request.
const REQUEST_TIME: Duration = Duration::from_secs(3);

/// How long a connection may last.
const CONNECTION_TIME: Duration = Duration::from_secs(5);

/// The longest request, in bytes.
const MAX_REQUEST: usize = 16 * 1024;

/// How long a page is reused, so that many clients do not query the node more often.
const FRESH: Duration = Duration::from_millis(200);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A bound socket, before the node has started.
pub(super) struct Exporter {
    listener: std::net::TcpListener,
    addr: SocketAddr,
}

impl Exporter {
    pub(super) fn bind(addr: SocketAddr) -> Result<Self, Failure> {
        let bind = || {
            let listener = std::net::TcpListener::bind(addr)?;
            listener.set_nonblocking(true)?;
            let addr = listener.local_addr()?;
            Ok(Self { listener, addr })
        };
        bind().map_err(|error: io::Error| Failure::Start(format!("cannot serve metrics on {addr}: {error}")))
    }

    /// The address of the metrics.
    pub(super) fn url(&self) -> String {
        format!("http://{}{PATH}", self.addr)
    }

    /// Serves the metrics of a node on a thread of its own until the program ends.
    pub(super) fn serve(self, dht: DhtHandle) -> Result<(), Failure> {
        let failed = |error| Failure::Start(format!("cannot serve metrics: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(self.listener).map_err(failed)?
        };
        let page = Arc::new(Page { dht, made: Mutex::default() });
        let serve = move || runtime.block_on(serve(listener, page));
        thread::Builder::new().name("metrics".to_owned()).spawn(serve).map(drop).map_err(failed)
    }
}

async fn serve(listener: TcpListener, page: Arc<Page>) {
    let mut clients = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely out of file descriptors: do not spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        make_room(&mut clients);
        let (page, has_requested) = (Arc::clone(&page), Arc::new(AtomicBool::new(false)));
        let requested = Arc::clone(&has_requested);
        let task = tokio::spawn(async move {
            let service = service_fn(|request| {
                requested.store(true, Ordering::Relaxed);
                let response = respond(request, Arc::clone(&page));
                async { Ok::<_, Infallible>(response.await) }
            });
            // One request per connection, so that none is idle after its response.
            let connection = http1::Builder::new()
                .keep_alive(false)
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST_TIME)
                .max_buf_size(MAX_REQUEST)
                .serve_connection(TokioIo::new(stream), service);
            // Errors and timeouts affect only the client.
            let _ = tokio::time::timeout(CONNECTION_TIME, connection).await;
        });
        clients.push_back(Client { has_requested, task });
    }
}

struct Client {
    has_requested: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// Removes the clients that are done, and aborts one if all places are still taken.
fn make_room(clients: &mut VecDeque<Client>) {
    clients.retain(|client| !client.task.is_finished());
    if clients.len() >= CLIENTS {
        let idle = clients.iter().position(|client| !client.has_requested.load(Ordering::Relaxed));
        if let Some(client) = clients.remove(idle.unwrap_or(0)) {
            client.task.abort();
        }
    }
}

async fn respond(request: Request<Incoming>, page: Arc<Page>) -> Response<Full<Bytes>> {
    let (status, header, body) = match (request.uri().path(), request.method()) {
        (PATH, &Method::GET | &Method::HEAD) => match page.text().await {
            Some(text) => (StatusCode::OK, (CONTENT_TYPE, OPEN_METRICS), text),
            None => (
                StatusCode::SERVICE_UNAVAILABLE,
                (CONTENT_TYPE, "text/plain"),
                "the node has stopped\n".into(),
            ),
        },
        (PATH, _) => (StatusCode::METHOD_NOT_ALLOWED, (ALLOW, "GET, HEAD"), Bytes::new()),
        _ => (StatusCode::NOT_FOUND, (CONTENT_TYPE, "text/plain"), "see /metrics\n".into()),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header.0, HeaderValue::from_static(header.1));
    response
}

/// The text of all metrics, updated on request once it is too old.
struct Page {
    dht: DhtHandle,
    made: Mutex<Option<(Instant, Bytes)>>,
}

impl Page {
    /// Returns the text, or `None` once the node has stopped.
    async fn text(&self) -> Option<Bytes> {
        let made = || self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = made().as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Some(text.clone());
        }
        let text = Bytes::from(page(&self.dht.metrics().await.ok()?));
        *made() = Some((Instant::now(), text.clone()));
        Some(text)
    }
}

fn page(metrics: &Metrics) -> String {
    let mut registry = Registry::with_prefix("dht");
    registry.register_collector(Box::new(Families::of(metrics)));
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

/// Metrics by name: OpenMetrics requires all values of one name together.
#[derive(Debug, Default)]
struct Families(BTreeMap<String, Samples>);

#[derive(Debug)]
struct Samples {
    help: &'static str,
    kind: MetricType,
    values: Vec<(Labels, Value)>,
}

type Labels = Vec<(&'static str, String)>;

#[derive(Clone, Copy, Debug)]
enum Value {
    Count(u64),
    Level(u64),
    Seconds(f64),
}

impl Families {
    /// Collects all metrics, each named after its field, with the prefix `bucket_` for those of a bucket and
    /// `loop_` for those of the loop around the node.
    fn of(metrics: &Metrics) -> Self {
        let mut families = Self::default();
        for metric in metrics.stats.metrics() {
            families.add("", metric, Value::Count, &[]);
        }
        for metric in metrics.loop_stats.metrics() {
            families.add("loop_", metric, Value::Count, &[]);
        }
        for metric in metrics.levels.metrics() {
            families.add("", metric, Value::Level, &[]);
        }
        for FamilyMetrics { family, levels, buckets, .. } in &metrics.families {
            let family = ("family", name(*family).to_owned());
            for metric in levels.metrics() {
                families.add("", metric, Value::Level, std::slice::from_ref(&family));
            }
            for (index, bucket) in buckets.iter().enumerate() {
                let labels = [family.clone(), ("bucket", index.to_string())];
                for metric in bucket.metrics() {
                    families.add("bucket_", metric, Value::Level, &labels);
                }
            }
        }
        let help = "Round-trip time within which this share of responses arrived.";
        for (share, rtt) in metrics.rtt {
            let labels = vec![("quantile", share.to_string())];
            families.push("rtt_seconds".to_owned(), help, labels, Value::Seconds(rtt.as_secs_f64()));
        }
        families
    }

    fn add(
        &mut self,
        prefix: &str,
        metric: Metric,
        value: fn(u64) -> Value,
        labels: &[(&'static str, String)],
    ) {
        let mut labels = labels.to_vec();
        labels.extend(metric.label.map(|(key, value)| (key, value.to_owned())));
        self.push(format!("{prefix}{}", metric.name), metric.help, labels, value(metric.value));
    }

    fn push(&mut self, name: String, help: &'static str, labels: Labels, value: Value) {
        let kind = match value {
            Value::Count(_) => MetricType::Counter,
            Value::Level(_) | Value::Seconds(_) => MetricType::Gauge,
        };
        let samples = self.0.entry(name).or_insert(Samples { help, kind, values: Vec::new() });
        samples.values.push((labels, value));
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, Samples { help, kind, values }) in &self.0 {
            let mut all = encoder.encode_descriptor(name, help, None, *kind)?;
            for (labels, value) in values {
                if labels.is_empty() {
                    value.encode(&mut all)?;
                } else {
                    value.encode(&mut all.encode_family(labels)?)?;
                }
            }
        }
        Ok(())
    }
}

impl Value {
    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => encoder.encode_counter::<Labels, _, f64>(count, None),
            Self::Level(level) => encoder.encode_gauge(level),
            Self::Seconds(seconds) => encoder.encode_gauge(seconds),
        }
    }
}

const fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_one_name_one_kind_and_distinct_labels() {
        let dht = dht_proto::net::Dht::builder()
            .bind("127.0.0.1:0".parse().unwrap())
            .bootstrap::<String>([])
            .spawn()
            .unwrap();
        let metrics = dht.metrics().wait().unwrap();
        let Families(families) = Families::of(&metrics);
        for (name, Samples { help, values, .. }) in &families {
            assert!(name.bytes().all(|letter| letter.is_ascii_lowercase() || letter == b'_'), "{name}");
            assert!(!help.is_empty(), "{name}");
            let labels: std::collections::BTreeSet<_> = values.iter().map(|(labels, _)| labels).collect();
            assert_eq!(labels.len(), values.len(), "{name}");
            let keys = |labels: &Labels| labels.iter().map(|(key, _)| *key).collect::<Vec<_>>();
            assert!(values.iter().all(|(labels, _)| keys(labels) == keys(&values[0].0)), "{name}");
        }
        let counters = metrics.stats.metrics().count() + metrics.loop_stats.metrics().count();
        let is_counter = |samples: &&Samples| matches!(samples.values[0].1, Value::Count(_));
        assert_eq!(
            families.values().filter(is_counter).map(|samples| samples.values.len()).sum::<usize>(),
            counters
        );
    }
}
