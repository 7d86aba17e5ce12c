//! Events that come with notes or messages on stderr.

use std::net::SocketAddr;

use dht_proto::items::Item;
use dht_proto::report::Sample;
use dht_proto::{InfoHash, LookupReport};

use super::words::{count, plural, share};
use super::{Done, Event, Failure, Output, reasons, text};

impl Output {
    /// Prints the end of an announce. If it is one of several, it is `named` by its infohash.
    pub(crate) fn announced(
        &self,
        infohash: InfoHash,
        report: &LookupReport,
        named: bool,
    ) -> Result<(), Failure> {
        if report.acknowledged > 0 {
            self.set_found();
        }
        if let Some(reason) = reasons::unannounced(report) {
            self.message(&format!("{}{reason}", text::prefix(infohash, named)));
        }
        self.print(&Event::Announced { infohash, report, named })
    }

    /// Prints an item. Its text is the bytes of its value, exactly as they were put.
    pub(crate) fn item(&self, item: &Item, bencoded: bool) -> Result<(), Failure> {
        if self.json {
            return self.result(&Event::Item(item));
        }
        let content = item.as_string().filter(|_| !bencoded);
        if content.is_none() && !bencoded {
            self.message("the value is not a byte string; it is written bencoded");
        }
        self.raw(content.unwrap_or_else(|| item.value()))
    }

    /// Prints the target on stdout, once, and the end of the put on stderr. `cas` is the sequence number of
    /// the version that was to be replaced.
    pub(crate) fn stored(&self, item: &Item, cas: Option<i64>, report: &LookupReport) -> Result<(), Failure> {
        let LookupReport { acknowledged: nodes, sent: tried, .. } = *report;
        let copies = report.item.copies;
        let is_first = nodes > 0 && !self.has_found();
        if nodes > 0 {
            self.set_found();
        }
        // Nothing was sent because enough nodes hold the item.
        if report.item.is_spared {
            let what = item.seq().map_or_else(|| "the item".to_owned(), |seq| format!("version {seq}"));
            let hold = if copies == 1 { "holds" } else { "hold" };
            self.note(&format!("{} already {hold} {what}", count(copies, "node")));
        } else if nodes == 0 {
            self.note("nothing was stored");
        } else {
            let version = item.seq().map_or_else(String::new, |seq| format!(" version {seq}"));
            self.note(&format!("stored{version} at {}", share(nodes, tried, "node")));
        }
        for reason in reasons::unstored(cas, report) {
            self.message(&reason);
        }
        self.print(&Event::Stored { item, report, is_first })
    }

    /// Prints the counts and the interval that came with a sample.
    pub(crate) fn sample(&self, addr: SocketAddr, sample: &Sample) -> Result<(), Failure> {
        if sample.is_supported {
            let (part, interval) =
                (share(sample.count, sample.stored, "infohash"), sample.interval.as_secs());
            self.note(&format!("{part}; the sample stays the same for {interval} s"));
        } else {
            self.message(&format!("{addr} does not support samples (BEP 51)"));
        }
        self.print(&Event::Sample { addr, sample })
    }

    /// Prints the end of a lookup.
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
        self.print(&Event::Done(done))
    }
}
