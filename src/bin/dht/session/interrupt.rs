//! Signals: Ctrl-C, SIGTERM and a closed terminal. The first ends the node, and with it the command; the
//! second ends the program at once.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use dht_proto::net::Dht;

#[cfg(unix)]
use super::start_thread;
use crate::output::Failure;

#[derive(Default)]
pub(super) struct Interrupt {
    state: Mutex<State>,
    changed: Condvar,
    /// The node, until it is shut down.
    owner: Mutex<Option<Dht>>,
}

#[derive(Default)]
struct State {
    interrupted: bool,
    /// Whether there is a node.
    started: bool,
}

impl Interrupt {
    #[cfg(unix)]
    pub(super) fn listen() -> Result<Arc<Self>, Failure> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

        let interrupt = Arc::new(Self::default());
        // A signal that was ignored when the program started stays ignored: nohup and shells that run it in
        // the background rely on that.
        let ignored = ignored::mask();
        let heeded = [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
        let mut signals = signal_hook::iterator::Signals::new(heeded)
            .map_err(|error| Failure::Start(format!("cannot listen for signals: {error}")))?;
        let listener = Arc::clone(&interrupt);
        start_thread("signals", move || {
            for signal in signals.forever() {
                if listener.interrupt() {
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
            }
        })?;
        Ok(interrupt)
    }

    /// Does nothing: on other systems a signal ends the program at once.
    #[cfg(not(unix))]
    pub(super) fn listen() -> Result<Arc<Self>, Failure> {
        Ok(Arc::default())
    }

    pub(super) fn guard(&self, owner: Dht) {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = Some(owner);
        self.lock().started = true;
    }

    /// Handles a signal, and returns whether it is not the first, or there is no node yet.
    #[cfg_attr(not(unix), expect(dead_code))]
    fn interrupt(self: &Arc<Self>) -> bool {
        let mut state = self.lock();
        let again = state.interrupted || !state.started;
        state.interrupted = true;
        drop(state);
        self.changed.notify_all();
        if !again {
            // Saving the state may take long, and the next signal must not wait for it. If no thread can be
            // started, the command ends the node.
            let this = Arc::clone(self);
            let _ = thread::Builder::new().spawn(move || this.end());
        }
        again
    }

    pub(super) fn end(&self) {
        // A second caller waits for the lock, and therefore until the node has ended.
        let mut owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = owner.take() {
            // The node ends in any case.
            let _ = owner.shutdown().wait();
        }
    }

    /// Whether a signal has come.
    pub(super) fn is_interrupted(&self) -> bool {
        self.lock().interrupted
    }

    /// Waits for a signal, and returns whether one has come.
    pub(super) fn wait(&self, duration: Duration) -> bool {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, duration, |state| !state.interrupted);
        waited.unwrap_or_else(PoisonError::into_inner).0.interrupted
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The signals that were ignored when the program was started, one bit each.
#[cfg(unix)]
mod ignored {
    /// Linux lists them in a file.
    #[cfg(target_os = "linux")]
    pub(super) fn mask() -> u64 {
        std::fs::read_to_string("/proc/self/status").map_or(0, |status| of_status(&status))
    }

    /// Elsewhere there is no safe way to find out. SIGHUP is left alone, so that nohup works.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn mask() -> u64 {
        1 << (signal_hook::consts::SIGHUP - 1)
    }

    #[cfg(any(target_os = "linux", test))]
    fn of_status(status: &str) -> u64 {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_mask_of_ignored_signals_is_read_from_the_status_file() {
            let status = "Name:\tdht\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\n";
            assert_eq!(of_status(status), 0x1001);
            assert_eq!([of_status(""), of_status("SigIgn:\t?\n")], [0, 0]);
        }
    }
}
