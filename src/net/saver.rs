//! When the DHT thread saves the node's state: at intervals on a thread beside it, because a disk may
//! take seconds, and at the end.

use alloc::borrow::ToOwned as _;
use alloc::string::ToString as _;
use core::time::Duration;
use std::thread::{self, JoinHandle};

use super::events::Notice;
use super::state::{StateFile, StateFileError};
use crate::{Instant, Node};

pub(super) struct Saver {
    file: StateFile,
    interval: Duration,
    next: Instant,
    saving: Option<JoinHandle<Result<(), StateFileError>>>,
}

impl Saver {
    pub(super) fn new(file: StateFile, interval: Duration, now: Instant) -> Self {
        Self { file, interval, next: now + interval, saving: None }
    }

    /// When to call [`Self::tend`] next.
    pub(super) const fn due(&self) -> Instant {
        self.next
    }

    /// Begins to save if it is time, and tells what became of the last time.
    pub(super) fn tend(&mut self, node: &Node, now: Instant) -> Option<Notice> {
        if now < self.next {
            return None;
        }
        self.next = now + self.interval;
        if self.saving.as_ref().is_some_and(|saving| !saving.is_finished()) {
            return None;
        }
        let notice = self.wait();
        if let Some(snapshot) = StateFile::snapshot(node) {
            let file = self.file.clone();
            let save = move || file.save(&snapshot);
            // Without a thread it is tried again the next time.
            self.saving = thread::Builder::new().name("dht-save".to_owned()).spawn(save).ok();
        }
        notice
    }

    /// Saves at once, and returns whether there was anything to save.
    pub(super) fn save(&mut self, node: &Node) -> Result<bool, StateFileError> {
        // What is being written is older, and must not come last.
        self.wait();
        StateFile::snapshot(node).map_or(Ok(false), |snapshot| self.file.save(&snapshot).map(|()| true))
    }

    pub(super) fn clear(&mut self) -> Result<(), StateFileError> {
        self.wait();
        self.file.clear()
    }

    fn wait(&mut self) -> Option<Notice> {
        // An error of the thread is a panic, which has been printed.
        self.saving.take()?.join().ok().map(notice)
    }
}

fn notice(result: Result<(), StateFileError>) -> Notice {
    match result {
        Ok(()) => Notice::StateSaved,
        Err(error) => Notice::StateUnsaved { error: error.to_string() },
    }
}
