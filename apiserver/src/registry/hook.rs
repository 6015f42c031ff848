//! Work that a write needs done outside its object, and undone when the write fails: IP and port allocation.

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

/// What a hook reserved. Dropped without [`Reservation::commit`], it is given back.
#[must_use]
#[derive(Default)]
pub struct Reservation {
    on_commit: Option<Box<dyn FnOnce() + Send>>,
    on_rollback: Option<Box<dyn FnOnce() + Send>>,
}

impl Reservation {
    /// A reservation with what to do when the write succeeded or failed.
    pub fn new(on_commit: impl FnOnce() + Send + 'static, on_rollback: impl FnOnce() + Send + 'static) -> Self {
        Self { on_commit: Some(Box::new(on_commit)), on_rollback: Some(Box::new(on_rollback)) }
    }

    /// The write succeeded.
    pub fn commit(mut self) {
        self.on_rollback = None;
        if let Some(run) = self.on_commit.take() {
            run();
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(run) = self.on_rollback.take() {
            run();
        }
    }
}
