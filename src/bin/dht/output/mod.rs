//! Output of the tool: events on stdout, as text or JSON lines; progress and messages on stderr.
//!
//! - `event`: the events that are printed on stdout
//! - `text`, `json`: the two formats of an event
//! - `results`: events that come with notes or messages
//! - `reasons`: reasons why an announce or a put was not stored
//! - `progress`: spinner, gauge and lines on stderr
//! - `words`: numbers with their nouns, lines that fit a terminal

mod event;
mod json;
mod progress;
mod reasons;
mod results;
mod text;
mod words;

use std::cell::Cell;
use std::io::{self, IsTerminal as _, Write as _};

use dht_proto::net::SpawnError;
use indicatif::ProgressBar;

pub(crate) use event::{Done, Event};
pub(crate) use progress::{Gauge, TICK};
pub(crate) use words::{count, rough};

/// The reason why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command cannot start or join the DHT, for this reason.
    Start(String),
    /// The command had no result, for this reason.
    Nothing(String),
    /// Stdout can no longer be written to.
    Stdout(io::Error),
}

impl From<SpawnError> for Failure {
    fn from(error: SpawnError) -> Self {
        Self::Start(error.to_string())
    }
}

/// The output streams of the tool.
pub(crate) struct Output {
    json: bool,
    /// Whether stderr is a terminal, so that progress is visible.
    live: bool,
    /// Whether stdout is a terminal, which may be closed.
    on_terminal: bool,
    /// Hidden until there is progress to show.
    spinner: ProgressBar,
    found: Cell<bool>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let (live, on_terminal) = (io::stderr().is_terminal(), io::stdout().is_terminal());
        Self { json, live, on_terminal, spinner: progress::spinner(), found: Cell::new(false) }
    }

    /// Whether there was a result.
    pub(crate) fn has_found(&self) -> bool {
        self.found.get()
    }

    pub(crate) fn set_found(&self) {
        self.found.set(true);
    }

    /// Prints an event that makes the command a success.
    pub(crate) fn result(&self, event: &Event<'_>) -> Result<(), Failure> {
        self.set_found();
        self.print(event)
    }

    /// Prints an event, as text or JSON. Some have no text.
    pub(crate) fn print(&self, event: &Event<'_>) -> Result<(), Failure> {
        let line = if self.json { Some(json::object(event).to_string()) } else { text::line(event) };
        let Some(line) = line else { return Ok(()) };
        let write = || writeln!(io::stdout().lock(), "{line}");
        self.spinner.suspend(write).map_err(|error| self.unwritten(error))
    }

    /// Writes bytes to stdout as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.set_found();
        let write = || {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes).and_then(|()| stdout.flush())
        };
        self.spinner.suspend(write).map_err(|error| self.unwritten(error))
    }

    /// Treats a closed terminal like a closed pipe; its signal may come a moment later.
    fn unwritten(&self, error: io::Error) -> Failure {
        let is_gone = self.on_terminal && error.kind() != io::ErrorKind::WouldBlock;
        Failure::Stdout(if is_gone { io::ErrorKind::BrokenPipe.into() } else { error })
    }
}
