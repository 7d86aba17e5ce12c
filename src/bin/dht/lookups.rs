//! What all commands that look something up have in common.

use std::time::Duration;

use dht_proto::LookupReport;
use dht_proto::net::{CallError, DhtHandle, LookupHandle, Outcome};

use crate::output::{Done, Failure, TICK};
use crate::session::Session;
use crate::text::count;

/// The pause before a lookup that nobody answered is repeated.
const RETRY: Duration = Duration::from_secs(1);

/// Searches that ran side by side, and whether they got to their end.
pub(crate) struct Sought<T> {
    searches: Vec<LookupHandle<T>>,
    /// Why not.
    pub(crate) cut_short: Option<String>,
}

impl<T: Send + 'static> Sought<T> {
    /// How each of them went so far; none once a signal has ended the node.
    pub(crate) fn reports(&self) -> Vec<LookupReport> {
        self.searches.iter().filter_map(|search| search.report().wait().ok()).collect()
    }

    pub(crate) fn outcomes(&self) -> impl Iterator<Item = Outcome> {
        self.searches.iter().filter_map(|search| search.outcome()?.ok())
    }

    /// The last line about them.
    pub(crate) fn done(&self, what: &'static str, found: usize) -> Done {
        let reports = self.reports();
        Done {
            what,
            found,
            queried: reports.iter().map(|report| u64::from(report.queried)).sum(),
            elapsed: reports.iter().map(|report| report.duration).max().unwrap_or_default(),
            cut_short: self.cut_short.clone(),
            has_rate: false,
            limit: None,
        }
    }
}

/// Starts searches and hands on what they find, with the place of the search among them, until they end,
/// the time is over or a signal comes. Searches that nobody answers are repeated: the network may come.
///
/// `None` if a signal ended the node before.
///
/// # Errors
///
/// [`Session::unanswered`] if nobody answered in time.
pub(crate) fn seek<T: Send + 'static>(
    session: &Session<'_>,
    what: &'static str,
    start: impl Fn(&DhtHandle) -> Vec<LookupHandle<T>>,
    mut hand_on: impl FnMut(usize, T) -> Result<(), Failure>,
) -> Result<Option<Sought<T>>, Failure> {
    loop {
        let mut sought = Sought { searches: start(&session.dht), cut_short: None };
        let ended = follow(session, &mut sought.searches, what, &mut hand_on)?;
        sought.cut_short = (!ended).then(|| session.cut_short());
        if session.is_interrupted() || sought.reports().iter().any(was_heard) {
            return Ok(Some(sought));
        }
        if session.deadline.is_over() {
            return Err(session.unanswered());
        }
        session.tell_waiting();
        session.output.progress("waiting for the network".to_owned());
        session.sleep(RETRY.min(session.left()));
    }
}

/// Whether any node has answered. A store may ask nobody, and use what a lookup before it has found.
pub(crate) const fn was_heard(report: &LookupReport) -> bool {
    report.answered > 0 || report.acknowledged > 0 || report.refused.total > 0 || report.copies > 0
}

/// Returns whether all have ended.
fn follow<T: Send + 'static>(
    session: &Session<'_>,
    searches: &mut [LookupHandle<T>],
    what: &'static str,
    hand_on: &mut impl FnMut(usize, T) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    let is_one = searches.len() == 1;
    let mut open: Vec<usize> = (0..searches.len()).collect();
    let mut found = 0_u32;
    while !open.is_empty() {
        let left = session.left();
        // Several take turns.
        let pause = if is_one && !session.output.is_live() { left } else { left.min(TICK) };
        for at in std::mem::take(&mut open) {
            match searches[at].recv_timeout(pause) {
                Ok(Some(one)) => {
                    found += 1;
                    hand_on(at, one)?;
                    open.push(at);
                }
                Ok(None) => {}
                Err(CallError::TimedOut) if !left.is_zero() => open.push(at),
                Err(error) if is_refusal(&error) => return Err(Failure::Start(error.to_string())),
                Err(_) => return Ok(false),
            }
        }
        if session.output.is_live() {
            let asked: u32 =
                searches.iter().filter_map(|it| it.report().wait().ok()).map(|it| it.queried).sum();
            session.output.progress(format!("asked {}, {}", count(asked, "node"), count(found, what)));
        }
    }
    Ok(true)
}

/// Whether an error says that it could not start, rather than that the time is over or a signal has closed the DHT.
pub(crate) const fn is_refusal(error: &CallError) -> bool {
    !matches!(error, CallError::TimedOut | CallError::Closed)
}
