//! A channel from the engine to one caller: items, and a result at the end.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::task::{Context, Poll};
use std::time::Instant as StdInstant;

use super::watch::Watch;
use crate::net::error::CallError;

/// The items that have not been taken, and the result once it is known.
#[derive(Debug)]
pub(crate) struct Feed<T, E> {
    items: VecDeque<T>,
    end: Option<Result<E, CallError>>,
}

/// The one result of a call.
pub(crate) type Reply<T> = FeedWriter<(), T>;

/// Creates a feed, and returns both sides.
pub(crate) fn feed<T, E>() -> (FeedWriter<T, E>, FeedReader<T, E>) {
    let feed = Arc::new(Watch::default());
    (FeedWriter(Arc::clone(&feed)), FeedReader { feed, place: None })
}

impl<T, E> Default for Feed<T, E> {
    fn default() -> Self {
        Self { items: VecDeque::new(), end: None }
    }
}

impl<T, E> Feed<T, E> {
    /// Takes the next item; `None` at the end, or the error that ended the feed.
    pub(crate) fn next(&mut self) -> Option<Result<Option<T>, CallError>> {
        match (self.items.pop_front(), &self.end) {
            (Some(item), _) => Some(Ok(Some(item))),
            (None, Some(Ok(_))) => Some(Ok(None)),
            (None, Some(Err(error))) => Some(Err(error.clone())),
            (None, None) => None,
        }
    }

    /// Takes the next item of a feed that only an error ends.
    pub(crate) fn next_item(&mut self) -> Option<Result<T, CallError>> {
        self.next().map(|next| next.and_then(|item| item.ok_or(CallError::Closed)))
    }

    /// Takes the result. A second call returns [`CallError::Closed`].
    pub(crate) fn take_end(&mut self) -> Option<Result<E, CallError>> {
        let end = self.end.take()?;
        self.end = Some(Err(CallError::Closed));
        Some(end)
    }

    pub(crate) fn end(&mut self) -> Option<Result<E, CallError>>
    where
        E: Clone,
    {
        self.end.clone()
    }
}

/// The engine's side of a feed. Dropping it closes the feed, as happens when the node ends.
#[derive(Debug)]
pub(crate) struct FeedWriter<T, E>(Arc<Watch<Feed<T, E>>>);

impl<T, E> FeedWriter<T, E> {
    pub(crate) fn push(&self, item: T) {
        self.0.update(|feed| feed.items.push_back(item));
    }

    pub(crate) fn extend(&self, items: impl IntoIterator<Item = T>) {
        self.0.update(|feed| feed.items.extend(items));
    }

    /// Replaces the items that have not been taken by a newer one.
    pub(crate) fn replace(&self, item: T) {
        self.0.update(|feed| {
            feed.items.clear();
            feed.items.push_back(item);
        });
    }

    /// Pushes an item if fewer than `most` wait, and returns whether it did.
    pub(crate) fn push_within(&self, most: usize, item: T) -> bool {
        self.0.update(|feed| {
            let has_room = feed.items.len() < most;
            if has_room {
                feed.items.push_back(item);
            }
            has_room
        })
    }

    /// The number of items that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.0.with(|feed| feed.items.len())
    }

    /// Whether the reader has been dropped.
    pub(crate) fn is_gone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    pub(crate) fn end(self, end: Result<E, CallError>) {
        end_with(&self.0, end);
    }
}

impl<T, E> Drop for FeedWriter<T, E> {
    fn drop(&mut self) {
        end_with(&self.0, Err(CallError::Closed));
    }
}

/// Sets the result, unless there is one.
fn end_with<T, E>(feed: &Watch<Feed<T, E>>, end: Result<E, CallError>) {
    if feed.with(|feed| feed.end.is_none()) {
        feed.update(|feed| {
            feed.end.get_or_insert(end);
        });
    }
}

/// The caller's side of a feed.
#[derive(Debug)]
pub(crate) struct FeedReader<T, E> {
    feed: Arc<Watch<Feed<T, E>>>,
    /// The place of the reader among the waiting tasks.
    place: Option<u64>,
}

impl<T, E> FeedReader<T, E> {
    /// Creates a feed that has ended.
    pub(crate) fn ended(end: Result<E, CallError>) -> Self {
        let (writer, reader) = feed();
        writer.end(end);
        reader
    }

    /// Ends the feed of a command that the engine did not receive.
    pub(crate) fn refuse(&self, error: CallError) {
        end_with(&self.feed, Err(error));
    }

    /// Blocks until `take` finds something or `deadline` has passed; without a deadline for as long as it takes.
    pub(crate) fn wait<R>(
        &self,
        deadline: Option<StdInstant>,
        take: impl FnMut(&mut Feed<T, E>) -> Option<Result<R, CallError>>,
    ) -> Result<R, CallError> {
        self.feed.wait(deadline, take).unwrap_or(Err(CallError::TimedOut))
    }

    /// Polls for what `take` finds.
    pub(crate) fn poll<R>(
        &mut self,
        cx: &Context<'_>,
        take: impl FnOnce(&mut Feed<T, E>) -> Option<R>,
    ) -> Poll<R> {
        self.feed.poll(&mut self.place, cx, take)
    }

    /// Accesses the feed without waiting.
    pub(crate) fn with<R>(&self, access: impl FnOnce(&mut Feed<T, E>) -> R) -> R {
        self.feed.with(access)
    }

    /// The number of items that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.with(|feed| feed.items.len())
    }

    /// Shares the feed with the engine.
    pub(crate) fn share(&self) -> Arc<Watch<Feed<T, E>>> {
        Arc::clone(&self.feed)
    }
}

impl<T, E> Drop for FeedReader<T, E> {
    fn drop(&mut self) {
        self.feed.forget(self.place);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn items_come_before_the_end_and_the_first_end_counts() {
        let (writer, reader) = feed::<u32, u32>();
        writer.extend([1, 2]);
        assert!(writer.push_within(3, 3) && !writer.push_within(3, 4));
        reader.refuse(CallError::Busy);
        writer.end(Ok(9));
        let taken = core::iter::from_fn(|| reader.with(Feed::next)?.ok()?);
        assert_eq!(taken.collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(reader.wait(None, Feed::next), Err(CallError::Busy));
        assert_eq!(reader.wait(None, Feed::end), Err(CallError::Busy));
    }

    #[test]
    fn a_writer_that_is_dropped_closes_and_a_reader_that_is_dropped_is_known() {
        let (writer, reader) = feed::<u32, u32>();
        writer.replace(1);
        writer.replace(2);
        assert_eq!((writer.waiting(), writer.is_gone()), (1, false));
        drop(writer);
        assert_eq!(reader.wait(None, Feed::next), Ok(Some(2)));
        assert_eq!(reader.wait(None, Feed::next), Err(CallError::Closed));
        let (writer, reader) = feed::<u32, u32>();
        drop(reader);
        assert!(writer.is_gone());
    }

    #[test]
    fn an_end_is_taken_once() {
        let reader = FeedReader::<(), u32>::ended(Ok(7));
        assert_eq!(reader.wait(None, Feed::take_end), Ok(7));
        assert_eq!(reader.wait(None, Feed::take_end), Err(CallError::Closed));
    }
}
