//! A blocking iterator over what a handle yields.

use alloc::boxed::Box;
use core::fmt;

/// A blocking iterator over what a handle yields.
///
/// [`next`](Iterator::next) blocks until there is something. It returns `None` at the end or on an error, which the
/// handle still returns.
///
/// Not for asynchronous code, where it would delay other tasks: within a tokio runtime it panics in debug builds.
pub struct Iter<'a, T>(Box<dyn FnMut() -> Option<T> + Send + 'a>);

impl<'a, T> Iter<'a, T> {
    pub(super) fn new(next: impl FnMut() -> Option<T> + Send + 'a) -> Self {
        Self(Box::new(next))
    }
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        (self.0)()
    }
}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}
