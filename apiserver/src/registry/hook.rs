//! Work that a write needs done outside its object, and undone when the write fails: IP and port allocation.

use futures::FutureExt;
use futures::future::BoxFuture;
use skiff_apimachinery::status::Status;
use skiff_apimachinery::value::Value;

/// Called around every write of a kind (`BeginCreate`, `BeginUpdate` and `AfterDelete` of upstream's store).
#[async_trait::async_trait]
pub trait Hook: Send + Sync + 'static {
    /// Before validation of a new (`old` is `None`) or changed object; may fill in what it reserves. With `dry_run`
    /// nothing may stay reserved.
    async fn begin(&self, new: &mut Value, old: Option<&Value>, dry_run: bool) -> Result<Reservation, Status>;

    /// After the object is gone.
    async fn after_delete(&self, old: &Value);
}

/// What remains to be done.
type Rest = BoxFuture<'static, ()>;

/// What a hook reserved. Dropped without [`Reservation::finish`], it is given back in the background.
#[must_use]
#[derive(Default)]
pub struct Reservation {
    rests: Option<(Rest, Rest)>,
}

impl Reservation {
    /// A reservation with what to do when the write succeeded or failed.
    pub fn new(
        on_commit: impl Future<Output = ()> + Send + 'static,
        on_rollback: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self { rests: Some((on_commit.boxed(), on_rollback.boxed())) }
    }

    /// The write succeeded or failed. What it no longer needs is free when this returns.
    pub async fn finish(mut self, succeeded: bool) {
        if let Some((on_commit, on_rollback)) = self.rests.take() {
            if succeeded { on_commit.await } else { on_rollback.await }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // The request was given up.
        if let (Some((_, on_rollback)), Ok(runtime)) = (self.rests.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(on_rollback);
        }
    }
}
