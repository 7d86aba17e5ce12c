//! When the state is saved: at intervals, on demand and at the end, on a thread beside the loop, because a disk may
//! take seconds.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use core::task::Waker;
use core::time::Duration;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

use super::file::{StateFile, StateFileError};
use super::lock::StateLock;
use crate::Instant;
use crate::net::engine::events::NetEvent;
use crate::net::engine::feed::Reply;

/// The shortest interval, to spare the disk.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The most calls that wait for the disk: a caller may give up and call again without end.
const MAX_WAITING: usize = 256;

/// Makes the state to save; `None` if there is nothing worth saving.
pub(crate) type Snapshot<'a> = &'a dyn Fn() -> Option<Vec<u8>>;

pub(crate) struct Saver {
    file: StateFile,
    /// Held as long as there is something to save.
    _lock: Option<StateLock>,
    interval: Duration,
    next: Instant,
    /// Wakes the loop when a task is done.
    waker: Waker,
    waiting: VecDeque<Task>,
    under_way: Option<UnderWay>,
    is_ending: bool,
}

/// A task for the disk. They are done one after the other, so that no older state is written last.
enum Task {
    /// Without a reply at an interval or the end; then the subscribers are notified.
    Save(Option<Reply<bool>>),
    Clear(Reply<()>),
}

struct UnderWay {
    task: Task,
    done: Receiver<Result<(), StateFileError>>,
}

impl Saver {
    pub(crate) fn new(
        file: StateFile,
        lock: Option<StateLock>,
        interval: Duration,
        now: Instant,
        waker: Waker,
    ) -> Self {
        let interval = interval.max(MIN_INTERVAL);
        let next = now + interval;
        let waiting = VecDeque::new();
        Self { file, _lock: lock, interval, next, waker, waiting, under_way: None, is_ending: false }
    }

    /// Returns when to call [`Self::poll`] next, if the waker is not called before.
    pub(crate) const fn due(&self) -> Instant {
        self.next
    }

    /// Handles the end of a task, and begins the next one.
    pub(crate) fn poll(&mut self, snapshot: Snapshot<'_>, now: Instant) -> Option<NetEvent> {
        let notice = self.take_done();
        if now >= self.next && !self.is_ending {
            self.next = now + self.interval;
            if !self.is_busy() {
                self.waiting.push_back(Task::Save(None));
            }
        }
        self.begin_next(snapshot);
        notice
    }

    /// Saves the state, and replies whether there was anything to save.
    pub(crate) fn save(&mut self, snapshot: Snapshot<'_>, reply: Reply<bool>) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(Task::Save(Some(reply)));
            self.begin_next(snapshot);
        } else {
            reply.end(Err(self.file.failed("save", io::ErrorKind::ResourceBusy.into()).into()));
        }
    }

    pub(crate) fn clear(&mut self, snapshot: Snapshot<'_>, reply: Reply<()>) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(Task::Clear(reply));
            self.begin_next(snapshot);
        } else {
            reply.end(Err(self.file.failed("remove", io::ErrorKind::ResourceBusy.into()).into()));
        }
    }

    /// Begins to save for the last time, which is done once nothing is [under way](Self::is_busy).
    pub(crate) fn end(&mut self, snapshot: Snapshot<'_>) {
        if !self.is_ending {
            self.is_ending = true;
            self.waiting.push_back(Task::Save(None));
            self.begin_next(snapshot);
        }
    }

    /// Whether a task is under way or waits.
    pub(crate) fn is_busy(&self) -> bool {
        self.under_way.is_some() || !self.waiting.is_empty()
    }

    /// Blocks until the task under way is done, and continues as [`Self::poll`] does.
    pub(crate) fn wait(&mut self, snapshot: Snapshot<'_>) -> Option<NetEvent> {
        let under_way = self.under_way.take();
        let notice = under_way.and_then(|UnderWay { task, done }| self.finish(task, done.recv().ok()));
        self.begin_next(snapshot);
        notice
    }

    fn take_done(&mut self) -> Option<NetEvent> {
        let result = match self.under_way.as_ref()?.done.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => return None,
        };
        let UnderWay { task, .. } = self.under_way.take()?;
        self.finish(task, result)
    }

    /// Reports the end of a task. There is no result if its thread did not start or panicked.
    fn finish(&self, task: Task, result: Option<Result<(), StateFileError>>) -> Option<NetEvent> {
        let no_thread = |action| self.file.failed(action, io::Error::other("there was no thread for it"));
        match task {
            Task::Save(reply) => {
                let result = result.unwrap_or_else(|| Err(no_thread("save")));
                match reply {
                    Some(reply) => reply.end(result.map(|()| true).map_err(Into::into)),
                    None => return Some(notice(result)),
                }
            }
            Task::Clear(reply) => {
                reply.end(result.unwrap_or_else(|| Err(no_thread("remove"))).map_err(Into::into));
            }
        }
        None
    }

    fn begin_next(&mut self, snapshot: Snapshot<'_>) {
        while self.under_way.is_none()
            && let Some(task) = self.waiting.pop_front()
        {
            let file = self.file.clone();
            let work: Box<dyn FnOnce() -> _ + Send> = match &task {
                Task::Clear(_) => Box::new(move || file.clear()),
                Task::Save(_) => match snapshot() {
                    Some(snapshot) => Box::new(move || file.save(&snapshot)),
                    None => {
                        if let Task::Save(Some(reply)) = task {
                            reply.end(Ok(false));
                        }
                        continue;
                    }
                },
            };
            self.under_way = Some(UnderWay { task, done: self.spawn(work) });
        }
    }

    /// Starts a thread. If that fails the loop is woken as well, and receives nothing.
    fn spawn(
        &self,
        work: impl FnOnce() -> Result<(), StateFileError> + Send + 'static,
    ) -> Receiver<Result<(), StateFileError>> {
        let (sender, done) = sync_channel(1);
        let reporter = Reporter { sender: Some(sender), waker: self.waker.clone() };
        let thread = thread::Builder::new().name("dht-save".to_owned());
        let _ = thread.spawn(move || reporter.report(work()));
        done
    }
}

/// Reports the result of a task to the loop, or when it is dropped that there is none.
struct Reporter {
    sender: Option<SyncSender<Result<(), StateFileError>>>,
    waker: Waker,
}

impl Reporter {
    fn report(self, result: Result<(), StateFileError>) {
        // The channel has room for one.
        let _ = self.sender.as_ref().map(|sender| sender.send(result));
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        // Before the loop receives.
        self.sender = None;
        self.waker.wake_by_ref();
    }
}

fn notice(result: Result<(), StateFileError>) -> NetEvent {
    match result {
        Ok(()) => NetEvent::StateSaved,
        Err(error) => NetEvent::StateUnsaved { error: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::sync::Arc;
    use alloc::task::Wake;
    use std::path::PathBuf;
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::net::engine::feed::{Feed, FeedReader, feed};
    use crate::net::engine::tests::answers_of;
    use crate::{Config, Limits, Node};

    const INTERVAL: Duration = Duration::from_secs(300);

    struct Bell(Sender<()>);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("dht-proto-{name}-{}.state", std::process::id()))
    }

    /// A node that knows another.
    fn node(now: Instant) -> Node {
        let mut node = Node::new(Config::default(), &Limits::default(), [7; 32], now);
        for (from, answer) in answers_of(&mut node, now, 1) {
            node.handle_datagram(now, from, &answer);
        }
        node
    }

    #[test]
    fn the_end_of_a_task_is_reported_as_soon_as_it_is_done() {
        let path = path("saver-reported");
        let (sender, woken) = channel();
        let (start, waker) = (Instant::ZERO, Arc::new(Bell(sender)).into());
        let node = node(start);
        let snapshot = || StateFile::snapshot(&node);
        let mut saver = Saver::new(StateFile::new(&path), None, INTERVAL, start, waker);
        assert_eq!(saver.poll(&snapshot, start), None);
        assert!(!saver.is_busy());
        let due = saver.due();
        assert_eq!(due, start + INTERVAL);
        assert_eq!(saver.poll(&snapshot, due), None);
        woken.recv_timeout(Duration::from_secs(30)).expect("the loop is woken");
        assert_eq!(saver.poll(&snapshot, due), Some(NetEvent::StateSaved));
        assert!(!saver.is_busy());
        assert_eq!(saver.due(), due + INTERVAL);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_waits_for_the_disk_is_bounded_and_done_in_order() {
        let path = path("saver-order");
        let node = node(Instant::ZERO);
        let snapshot = || StateFile::snapshot(&node);
        let waker = Waker::noop().clone();
        let mut saver = Saver::new(StateFile::new(&path), None, INTERVAL, Instant::ZERO, waker);
        // The end of the one under way is not handled.
        let replies: Vec<FeedReader<(), ()>> = (0..MAX_WAITING + 2)
            .map(|_| {
                let (reply, result) = feed();
                saver.clear(&snapshot, reply);
                result
            })
            .collect();
        let done = |result: &FeedReader<(), ()>| result.with(Feed::take_end).map(|result| result.is_ok());
        let known: Vec<_> =
            replies.iter().enumerate().filter_map(|(at, result)| Some((at, done(result)?))).collect();
        assert_eq!(known, [(MAX_WAITING + 1, false)]);
        saver.end(&snapshot);
        let mut notices = Vec::new();
        while saver.is_busy() {
            notices.extend(saver.wait(&snapshot));
        }
        assert!(replies[..=MAX_WAITING].iter().all(|result| done(result) == Some(true)));
        assert_eq!(notices, [NetEvent::StateSaved]);
        assert!(path.exists(), "the last comes last");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn an_interval_of_nothing_is_a_second() {
        let snapshot = || None;
        let waker = Waker::noop().clone();
        let mut saver =
            Saver::new(StateFile::new(path("saver-second")), None, Duration::ZERO, Instant::ZERO, waker);
        for at in 1..4 {
            assert_eq!(saver.due(), Instant::ZERO + Duration::from_secs(at));
            saver.poll(&snapshot, saver.due());
        }
    }
}
