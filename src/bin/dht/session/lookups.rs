//! Runs lookups in parallel, for all commands that look something up.

use std::time::Duration;

use dht_proto::LookupReport;
use dht_proto::net::{CallError, DhtHandle, LookupHandle, Outcome};

use super::Session;
use crate::output::{Done, Failure, TICK, count};

/// The pause before a lookup without any answer is repeated.
const RETRY: Duration = Duration::from_secs(1);

/// Lookups that ran side by side.
pub(crate) struct Lookups<T> {
    handles: Vec<LookupHandle<T>>,
    /// Why they did not end by themselves; `None` if they did.
    pub(crate) cut_short: Option<String>,
}

impl<T: Send + 'static> Lookups<T> {
    /// The reports so far; none once a signal has ended the node.
    pub(crate) fn reports(&self) -> Vec<LookupReport> {
        self.handles.iter().filter_map(|handle| handle.report().wait().ok()).collect()
    }

    pub(crate) fn outcomes(&self) -> impl Iterator<Item = Outcome> {
        self.handles.iter().filter_map(|handle| handle.outcome()?.ok())
    }

    /// The event that ends the output.
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

/// Starts lookups and passes on what they find, with the index of the lookup, until they end, or a signal or
/// the deadline cuts them short. Lookups without any answer are repeated, as the network may not be up yet.
///
/// # Errors
///
/// [`Session::unanswered`] if no node answered in time, or the reason why a lookup could not start.
pub(crate) fn look_up<T: Send + 'static>(
    session: &Session<'_>,
    what: &'static str,
    start: impl Fn(&DhtHandle) -> Vec<LookupHandle<T>>,
    mut pass_on: impl FnMut(usize, T) -> Result<(), Failure>,
) -> Result<Lookups<T>, Failure> {
    loop {
        let mut lookups = Lookups { handles: start(&session.dht), cut_short: None };
        let ended = follow(session, &mut lookups.handles, what, &mut pass_on)?;
        lookups.cut_short = (!ended).then(|| session.cut_short());
        if session.is_interrupted() || lookups.reports().iter().any(has_answer) {
            return Ok(lookups);
        }
        if session.deadline.is_over() {
            return Err(session.unanswered());
        }
        session.report_waiting();
        session.output.progress("waiting for the network".to_owned());
        session.sleep(RETRY.min(session.left()));
    }
}

/// Whether any node has answered. A store may send no query, and use what an earlier lookup has found.
pub(crate) const fn has_answer(report: &LookupReport) -> bool {
    report.answered > 0 || report.acknowledged > 0 || report.refused.total > 0 || report.item.copies > 0
}

/// Whether a call could not start, as opposed to a timeout or a signal that has ended the node.
pub(crate) const fn is_refusal(error: &CallError) -> bool {
    !matches!(error, CallError::TimedOut | CallError::Closed)
}

/// Follows lookups, and returns whether all of them have ended by themselves.
fn follow<T: Send + 'static>(
    session: &Session<'_>,
    handles: &mut [LookupHandle<T>],
    what: &'static str,
    pass_on: &mut impl FnMut(usize, T) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    let is_one = handles.len() == 1;
    let mut open: Vec<usize> = (0..handles.len()).collect();
    let mut found = 0_u32;
    while !open.is_empty() {
        let left = session.left();
        // Several take turns.
        let pause = if is_one && !session.output.is_live() { left } else { left.min(TICK) };
        for at in std::mem::take(&mut open) {
            match handles[at].recv_timeout(pause) {
                Ok(Some(one)) => {
                    found += 1;
                    pass_on(at, one)?;
                    open.push(at);
                }
                Ok(None) => {}
                Err(CallError::TimedOut) if !left.is_zero() => open.push(at),
                Err(error) if is_refusal(&error) => return Err(Failure::Start(error.to_string())),
                Err(_) => return Ok(false),
            }
        }
        if session.output.is_live() {
            let queried: u32 =
                handles.iter().filter_map(|it| it.report().wait().ok()).map(|it| it.queried).sum();
            session.output.progress(format!(
                "queried {}, found {}",
                count(queried, "node"),
                count(found, what)
            ));
        }
    }
    Ok(true)
}
