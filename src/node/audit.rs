//! What must be true inside of a node at any time, for the laboratory to look at, and before a
//! checkpoint is continued.

use super::{Node, serve};
use crate::storage::Storage;

impl<S: Storage> Node<S> {
    /// What does not add up: slots that are neither free nor in use, or counts that are not those
    /// of what they count.
    pub(crate) fn imbalance(&self) -> Option<&'static str> {
        let (core, view) = (&self.core, self.storage.view());
        let parts = [
            ("queries", core.inflight.is_consistent(view.queries)),
            ("lookups", core.searches.is_consistent(view.walks)),
            ("kept announces", core.keeper.is_consistent(view.kept)),
            ("peers", core.peers.is_consistent(serve::peer_view(view))),
        ];
        parts.into_iter().find(|(_, is_consistent)| !is_consistent).map(|(name, _)| name)
    }
}
