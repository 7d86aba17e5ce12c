//! An error of the system that can be stored and compared.

use alloc::sync::Arc;
use core::ops::Deref;
use std::io;

use thiserror::Error;

/// An [`io::Error`] that can be cloned, and compared by its kind and code.
#[derive(Clone, Debug, Error)]
#[error(transparent)]
pub struct IoError(Arc<io::Error>);

impl Deref for IoError {
    type Target = io::Error;

    fn deref(&self) -> &io::Error {
        &self.0
    }
}

impl From<io::Error> for IoError {
    fn from(error: io::Error) -> Self {
        Self(Arc::new(error))
    }
}

impl PartialEq for IoError {
    fn eq(&self, other: &Self) -> bool {
        (self.kind(), self.raw_os_error()) == (other.kind(), other.raw_os_error())
    }
}

impl Eq for IoError {}
