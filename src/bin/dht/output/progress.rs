//! Output on stderr: spinner, gauge, notes, messages and the trace.

use std::io::{self, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Output;
use super::words::fit;

/// How often the spinner turns.
pub(crate) const TICK: Duration = Duration::from_millis(120);

/// The columns of the spinner and the time beside it.
const SPINNER_COLUMNS: usize = 8;

/// The columns of a terminal of unknown width.
const DEFAULT_COLUMNS: u16 = 80;

/// How long work takes before a bar is shown.
const PATIENCE: Duration = Duration::from_secs(1);

impl Output {
    /// Whether progress is visible.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// Shows the state of the work, on a terminal only.
    pub(crate) fn progress(&self, text: String) {
        if self.live {
            if self.spinner.is_hidden() {
                self.spinner.set_draw_target(ProgressDrawTarget::stderr());
            }
            let (_, columns) = console::Term::stderr().size_checked().unwrap_or((0, DEFAULT_COLUMNS));
            let columns = usize::from(columns).saturating_sub(SPINNER_COLUMNS);
            self.spinner.set_message(fit(&text, columns).to_owned());
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

    /// Returns a function that writes lines to stderr from any thread.
    pub(crate) fn logger(&self) -> impl Fn(&str) + Send + 'static {
        let spinner = self.spinner.clone();
        move |text| log(&spinner, text)
    }

    /// Prints the trace of the node and its adapter on stderr, from now on.
    pub(crate) fn trace(&self) {
        let spinner = self.spinner.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(self.live)
            .with_writer(move || TraceWriter(spinner.clone()));
        // There is no other subscriber.
        let _ = subscriber.try_init();
    }

    /// Prints a note about a result on stderr, unless the results are JSON, which contains the same.
    pub(crate) fn note(&self, text: &str) {
        if !self.json {
            log(&self.spinner, text);
        }
    }

    /// Prints an error or a warning on stderr, with the prefix of all messages.
    pub(crate) fn message(&self, text: &str) {
        log(&self.spinner, &format!("dht: {text}"));
    }

    /// Removes the spinner.
    pub(crate) fn finish(&self) {
        self.spinner.finish_and_clear();
    }
}

/// A bar that shows how much work is done. Any thread may add to it; dropping it removes it.
pub(crate) struct Gauge {
    /// Hidden until the work has taken a while.
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

impl Drop for Gauge {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A spinner, hidden until there is progress to show.
pub(super) fn spinner() -> ProgressBar {
    let spinner = ProgressBar::hidden();
    // The template is a constant; if it were wrong, the default would do.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
        spinner.set_style(style);
    }
    spinner
}

/// Writes to stderr without disturbing the spinner.
struct TraceWriter(ProgressBar);

impl io::Write for TraceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log(spinner: &ProgressBar, text: &str) {
    // If stderr is closed, there is nowhere left to report it.
    spinner.suspend(|| drop(writeln!(io::stderr().lock(), "{text}")));
}
