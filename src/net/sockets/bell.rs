//! What wakes a loop that is a task.

use alloc::sync::Arc;
use alloc::task::Wake;

use crate::net::engine::watch::Watch;

/// Wakes the task of a loop: rung once or more, it is heard once.
#[derive(Debug, Default)]
pub(crate) struct Bell(Watch<bool>);

impl Bell {
    /// Waits until it is rung, or returns at once if it has been.
    pub(crate) async fn rung(&self) {
        self.0.until(|rung| core::mem::take(rung).then_some(())).await;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.update(|rung| *rung = true);
    }
}
