//! What the tool prints: results on stdout, as text or JSON lines; the rest on stderr.

use std::cell::Cell;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use data_encoding::HEXLOWER;
use dht_proto::net::SpawnError;
use dht_proto::{
    InfoHash, Item, LookupReport, NodeId, NodeInfo, Pong, PublicKey, Sample, SwarmSize, TorrentPointer,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::reasons;
use crate::text::{count, fit, plural, share};

/// How often the spinner turns.
pub(crate) const TICK: Duration = Duration::from_millis(120);

/// Columns of the spinner and the time beside it, and of a terminal of unknown width.
const BESIDE: usize = 8;
const COLUMNS: u16 = 80;

/// Work that takes less needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It cannot start, or cannot join the DHT, for this reason.
    Start(String),
    /// It had no result, for this reason.
    Nothing(String),
    /// stdout takes no more.
    Stdout(io::Error),
}

impl From<SpawnError> for Failure {
    fn from(error: SpawnError) -> Self {
        Self::Start(error.to_string())
    }
}

/// Both streams of the tool.
pub(crate) struct Output {
    json: bool,
    /// stderr is a terminal, so somebody may see the progress.
    live: bool,
    /// stdout is a terminal, which may be closed.
    on_terminal: bool,
    /// Invisible until there is progress to show.
    spinner: ProgressBar,
    found: Cell<bool>,
}

/// How much of some work is done; any thread may add to it. It goes when dropped.
pub(crate) struct Gauge {
    /// Invisible until the work has taken a while.
    bar: ProgressBar,
    live: bool,
}

impl Gauge {
    pub(crate) fn add(&self, work: u64) {
        self.bar.inc(work);
        if self.live && self.bar.is_hidden() && self.bar.elapsed() > PATIENCE {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

/// stderr, past the progress.
struct TraceWriter(ProgressBar);

impl io::Write for TraceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The last line of a lookup.
pub(crate) struct Done {
    /// What was looked for: `peer`, `node`, `item` or `infohash`.
    pub(crate) what: &'static str,
    pub(crate) found: usize,
    pub(crate) queried: u64,
    pub(crate) elapsed: Duration,
    /// Why it did not get to its end.
    pub(crate) cut_short: Option<String>,
    /// Whether to tell how many were found in a second: of what goes on for as long as one likes.
    pub(crate) has_rate: bool,
    /// The limit past which more were found.
    pub(crate) limit: Option<u16>,
}

impl Done {
    /// What was found in a second, to a tenth.
    pub(crate) fn rate(&self) -> f64 {
        (10.0 * self.found as f64 / self.elapsed.as_secs_f64().max(0.001)).round() / 10.0
    }
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let spinner = ProgressBar::hidden();
        // The template is a constant; if it were wrong, the default would do.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
            spinner.set_style(style);
        }
        let (live, on_terminal) = (io::stderr().is_terminal(), io::stdout().is_terminal());
        Self { json, live, on_terminal, spinner, found: Cell::new(false) }
    }

    /// Whether anybody sees the progress.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// Shows how things stand, on a terminal only.
    pub(crate) fn progress(&self, text: String) {
        if self.live {
            if self.spinner.is_hidden() {
                self.spinner.set_draw_target(ProgressDrawTarget::stderr());
            }
            let (_, columns) = console::Term::stderr().size_checked().unwrap_or((0, COLUMNS));
            self.spinner.set_message(fit(&text, usize::from(columns).saturating_sub(BESIDE)).to_owned());
            self.spinner.tick();
        }
    }

    /// Shows how much of the work is done, on a terminal only.
    pub(crate) fn gauge(&self, work: u64) -> Gauge {
        let bar = ProgressBar::with_draw_target(Some(work), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{elapsed} [{bar:40}] {percent} %") {
            bar.set_style(style.progress_chars("=> "));
        }
        Gauge { bar, live: self.live }
    }

    /// A line for stderr from any thread.
    pub(crate) fn logger(&self) -> impl Fn(&str) + Send + 'static {
        let spinner = self.spinner.clone();
        move |text| log(&spinner, text)
    }

    /// Tells on stderr, from now on, what the node and its adapter trace.
    pub(crate) fn trace(&self) {
        let spinner = self.spinner.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(self.live)
            .with_writer(move || TraceWriter(spinner.clone()));
        // There is no other one.
        let _ = subscriber.try_init();
    }

    /// What of a result is for people only, on stderr beside it.
    pub(crate) fn note(&self, text: &str) {
        if !self.json {
            log(&self.spinner, text);
        }
    }

    pub(crate) fn complain(&self, text: &str) {
        log(&self.spinner, &format!("dht: {text}"));
    }

    pub(crate) fn finish(&self) {
        self.spinner.finish_and_clear();
    }

    /// Whether there was a result.
    pub(crate) fn has_found(&self) -> bool {
        self.found.get()
    }

    pub(crate) fn set_found(&self) {
        self.found.set(true);
    }

    /// As text only where it `matters`: to a node that serves, not before a lookup.
    pub(crate) fn listening(&self, addr: SocketAddr, id: NodeId, matters: bool) -> Result<(), Failure> {
        let object = json!({"event": "listening", "addr": addr.to_string(), "id": id.to_string()});
        self.print(matters.then(|| format!("listening on {addr} as {id}")), object)
    }

    pub(crate) fn metrics(&self, url: &str) -> Result<(), Failure> {
        self.print(Some(format_args!("metrics at {url}")), json!({"event": "metrics", "url": url}))
    }

    pub(crate) fn peer(&self, peer: SocketAddr) -> Result<(), Failure> {
        self.set_found();
        self.print(Some(peer), json!({"event": "peer", "addr": peer.to_string()}))
    }

    /// A peer that an announce met by the way: for programs, and no result of its own.
    pub(crate) fn met(&self, infohash: InfoHash, peer: SocketAddr) -> Result<(), Failure> {
        let object = json!({"event": "peer", "addr": peer.to_string(), "infohash": infohash.to_string()});
        self.print(None::<&str>, object)
    }

    pub(crate) fn node(&self, node: &NodeInfo) -> Result<(), Failure> {
        self.set_found();
        let NodeInfo { id, addr, .. } = node;
        let object = json!({"event": "node", "id": id.to_string(), "addr": addr.to_string()});
        self.print(Some(format_args!("{id} {addr}")), object)
    }

    pub(crate) fn pong(&self, pong: &Pong) -> Result<(), Failure> {
        self.set_found();
        let (id, rtt) = (pong.id, millis(pong.rtt));
        let object = json!({"event": "pong", "id": id.to_string(), "rtt_ms": rtt});
        self.print(Some(format_args!("{id} {rtt} ms")), object)
    }

    /// `named`: as text with the infohash, because there are several.
    pub(crate) fn announced(
        &self,
        infohash: InfoHash,
        report: &LookupReport,
        named: bool,
    ) -> Result<(), Failure> {
        let LookupReport { acknowledged: nodes, announced: tried, .. } = *report;
        if nodes > 0 {
            self.set_found();
        }
        let name = name(infohash, named);
        if let Some(reason) = reasons::unannounced(report) {
            self.complain(&format!("{name}{reason}"));
        }
        let object = json!({
            "event": "announced", "infohash": infohash.to_string(), "nodes": nodes, "tried": tried,
        });
        self.print(Some(format_args!("{name}announced to {}", share(nodes, tried, "node"))), object)
    }

    /// The bytes of the item alone, so that they are what was put.
    pub(crate) fn item(&self, item: &Item, bencoded: bool) -> Result<(), Failure> {
        self.set_found();
        if self.json {
            let mut object = json!({"event": "item", "target": item.target().to_string()});
            if let (Some(key), Some(seq)) = (item.key(), item.seq()) {
                object["seq"] = json!(seq);
                object["key"] = json!(key.to_string());
                object["salt_hex"] = json!(HEXLOWER.encode(item.salt()));
            }
            object["value_hex"] = json!(HEXLOWER.encode(item.value()));
            if let Some(pointer) = TorrentPointer::from_value(item.value()) {
                object["infohash"] = json!(pointer.infohash().to_string());
            }
            return self.print(None::<&str>, object);
        }
        let content = item.as_string().filter(|_| !bencoded);
        if content.is_none() && !bencoded {
            self.complain("the value is no byte string; it is written bencoded");
        }
        self.raw(content.unwrap_or_else(|| item.value()))
    }

    /// Bytes for stdout as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.set_found();
        let write = || {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes).and_then(|()| stdout.flush())
        };
        self.spinner.suspend(write).map_err(|error| self.unwritten(error))
    }

    /// The target alone on stdout, once; how it went on stderr. With `cas` only the version of that
    /// number was to be replaced.
    pub(crate) fn stored(&self, item: &Item, cas: Option<i64>, report: &LookupReport) -> Result<(), Failure> {
        let LookupReport { acknowledged: nodes, announced: tried, copies, refused, .. } = *report;
        let is_first = nodes > 0 && !self.has_found();
        if nodes > 0 {
            self.set_found();
        }
        let version = item.seq().map_or_else(String::new, |seq| format!(" version {seq}"));
        // A round that is spared because so many hold the item.
        if tried == 0 && copies > 0 && report.seq == item.seq() && report.obstacle.is_none() {
            let hold = if copies == 1 { "holds" } else { "hold" };
            self.note(&format!("{} {hold}{version} already", count(copies, "node")));
        } else if nodes == 0 {
            self.note("nothing was stored");
        } else {
            self.note(&format!("stored{version} at {}", share(nodes, tried, "node")));
        }
        for reason in reasons::unstored(item, cas, report) {
            self.complain(&reason);
        }
        let mut object = json!({"event": "stored", "target": item.target().to_string()});
        object["nodes"] = json!(nodes);
        object["tried"] = json!(tried);
        object["copies"] = json!(copies);
        object["refused"] = json!({
            "total": refused.total,
            "cas_mismatch": refused.cas_mismatch,
            "seq_too_low": refused.seq_too_low,
            "last": refused.last.map(|code| code.0),
        });
        object["seq"] = json!(item.seq());
        object["found_seq"] = json!(report.seq);
        self.print(is_first.then(|| item.target()), object)
    }

    pub(crate) fn key(&self, key: PublicKey, file: &Path) -> Result<(), Failure> {
        self.set_found();
        let object = json!({"event": "key", "key": key.to_string(), "file": file.display().to_string()});
        self.print(Some(key), object)
    }

    /// `named`: as text with the infohash, because there are several.
    pub(crate) fn estimate(&self, infohash: InfoHash, size: SwarmSize, named: bool) -> Result<(), Failure> {
        let SwarmSize { seeds, downloaders, sources, refused, .. } = size;
        let peers = seeds.saturating_add(downloaders);
        if peers > 0 {
            self.set_found();
        }
        let object = json!({
            "event": "estimate", "infohash": infohash.to_string(), "seeds": seeds, "downloaders": downloaders,
            "peers": peers, "sources": sources, "refused": refused,
        });
        let name = name(infohash, named);
        let text = format!("{name}{} among {}", count(seeds, "seed"), count(peers, "peer"));
        self.print(Some(text), object)
    }

    pub(crate) fn sample(&self, addr: SocketAddr, sample: &Sample) -> Result<(), Failure> {
        let Sample { id, rtt, is_supported, count: told, stored, interval, .. } = sample;
        let (rtt, interval) = (millis(*rtt), interval.as_secs());
        if !is_supported {
            self.complain(&format!("{addr} does not support samples (BEP 51)"));
        } else {
            self.note(&format!("{}; the same for {interval} s", share(*told, *stored, "infohash")));
        }
        let object = json!({
            "event": "sample", "addr": addr.to_string(), "id": id.to_string(), "rtt_ms": rtt,
            "supported": is_supported, "count": told, "stored": stored, "interval": interval,
        });
        self.print(None::<&str>, object)
    }

    pub(crate) fn infohash(&self, infohash: InfoHash, node: SocketAddr) -> Result<(), Failure> {
        self.set_found();
        let object = json!({"event": "infohash", "infohash": infohash.to_string(), "node": node.to_string()});
        self.print(Some(infohash), object)
    }

    pub(crate) fn done(&self, done: &Done) -> Result<(), Failure> {
        let Done { what, found, queried, elapsed, cut_short, has_rate, limit } = done;
        let plural = plural(what);
        let rate = if *has_rate { format!(", {:.1} {plural}/s", done.rate()) } else { String::new() };
        let cut = cut_short.as_ref().map_or_else(String::new, |reason| format!("; {reason}"));
        let more = limit.map_or_else(String::new, |limit| {
            format!(" (more were found than the limit of {limit}; see --max-{plural})")
        });
        self.note(&format!(
            "{}{more} from {} in {} ms{rate}{cut}",
            count(*found as u64, what),
            count(*queried, "node"),
            elapsed.as_millis(),
        ));
        let mut object = json!({"event": "done"});
        object[&plural] = json!(found);
        object["queried"] = json!(queried);
        object["elapsed_ms"] = json!(elapsed.as_millis() as u64);
        if *has_rate {
            object[format!("{plural}_per_s")] = json!(done.rate());
        }
        object["complete"] = json!(cut_short.is_none());
        if limit.is_some() {
            object["more"] = json!(true);
        }
        self.print(None::<&str>, object)
    }

    pub(crate) fn step(&self, elapsed: Duration, text: &str) -> Result<(), Failure> {
        let object = json!({"event": "step", "elapsed_ms": elapsed.as_millis() as u64, "text": text});
        self.print(Some(format_args!("{:>7.3} s  {text}", elapsed.as_secs_f64())), object)
    }

    pub(crate) fn figures(&self, table: &str, object: Value) -> Result<(), Failure> {
        self.print(Some(table), object)
    }

    fn print(&self, text: Option<impl Display>, object: Value) -> Result<(), Failure> {
        let line = match text {
            _ if self.json => object.to_string(),
            Some(text) => text.to_string(),
            None => return Ok(()),
        };
        let write = || writeln!(io::stdout().lock(), "{line}");
        self.spinner.suspend(write).map_err(|error| self.unwritten(error))
    }

    /// A terminal that has been closed is a reader that has left; the signal may come a moment later.
    fn unwritten(&self, error: io::Error) -> Failure {
        let is_gone = self.on_terminal && error.kind() != io::ErrorKind::WouldBlock;
        Failure::Stdout(if is_gone { io::ErrorKind::BrokenPipe.into() } else { error })
    }
}

/// What stands before a line about one infohash of several.
fn name(infohash: InfoHash, named: bool) -> String {
    if named { format!("{infohash}: ") } else { String::new() }
}

/// Milliseconds to a tenth.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

fn log(spinner: &ProgressBar, text: &str) {
    // Nobody is left to hear that stderr is closed.
    spinner.suspend(|| drop(writeln!(io::stderr().lock(), "{text}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_are_given_to_a_tenth_of_a_millisecond() {
        assert_eq!(millis(Duration::from_micros(12_345)), 12.3);
        assert_eq!(millis(Duration::from_micros(60)), 0.1);
    }
}
