//! Removing images that nobody uses when their disk is nearly full, and those unused for very long
//! (upstream: `pkg/kubelet/images/image_gc_manager.go`).
//!
//! What the runtime calls pinned stays. Ages count from when this kubelet first saw an image, so nothing is removed
//! right after a start.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use skiff_client::EventType;
use skiff_cri::v1;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::events::Events;
use crate::node::machine::FileSystem;
use crate::runtime::{Runtime, RuntimeError};

/// Time between rounds.
const PERIOD: Duration = Duration::from_secs(5 * 60);

/// When images are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageGcPolicy {
    /// Use of the disk, in percent, from which on images are removed; 100 turns this off.
    pub high_threshold_percent: u8,
    /// Use of the disk, in percent, down to which they are.
    pub low_threshold_percent: u8,
    /// An image that was seen for a shorter time stays.
    pub minimum_age: Duration,
    /// An image that was not used for a longer time goes, however much room there is. Zero turns this off.
    pub maximum_age: Duration,
    /// A larger disk counts as having this size, in bytes.
    pub counted_size: u64,
}

/// Of a large disk that is used for other things, too, a fifth is much more than images need (kind turns the collection
/// off for that reason). Thresholds that are set hold for disks of any size.
const COUNTED_SIZE: u64 = 64 << 30;

impl Default for ImageGcPolicy {
    fn default() -> Self {
        Self {
            high_threshold_percent: 85,
            low_threshold_percent: 80,
            minimum_age: Duration::from_secs(2 * 60),
            maximum_age: Duration::ZERO,
            counted_size: COUNTED_SIZE,
        }
    }
}

impl ImageGcPolicy {
    /// Refuses what cannot work.
    pub(crate) fn validate(&self) -> anyhow::Result<()> {
        let (high, low) = (self.high_threshold_percent, self.low_threshold_percent);
        anyhow::ensure!(high <= 100, "image_gc.high_threshold_percent must be at most 100, not {high}");
        anyhow::ensure!(low < high, "image_gc.low_threshold_percent ({low}) must be lower than the high one ({high})");
        let (least, most) = (self.minimum_age, self.maximum_age);
        anyhow::ensure!(most.is_zero() || least <= most, "image_gc.maximum_age must be at least the minimum age");
        Ok(())
    }

    /// Bytes to free on a disk; `None` if there is enough room.
    fn room_to_make(&self, disk: FileSystem) -> Option<u64> {
        let size = u128::from(disk.size.min(self.counted_size).max(1));
        let free = u128::from(disk.free);
        let full =
            free * 100 / size <= u128::from(100 - self.high_threshold_percent) && self.high_threshold_percent < 100;
        let wanted = size * u128::from(100 - self.low_threshold_percent) / 100;
        full.then(|| u64::try_from(wanted.saturating_sub(free)).unwrap_or(u64::MAX))
    }
}

/// What is remembered of an image.
#[derive(Clone, Copy, Debug)]
struct Seen {
    first: Instant,
    last_used: Instant,
    size: u64,
    pinned: bool,
}

/// Removes images. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ImageGc {
    runtime: Runtime,
    events: Events,
    node_name: String,
    policy: ImageGcPolicy,
    started: Instant,
    seen: Arc<Mutex<HashMap<String, Seen>>>,
}

/// What one round has done.
#[derive(Debug, Default, PartialEq, Eq)]
struct Freed {
    bytes: u64,
    errors: Vec<String>,
}

impl ImageGc {
    pub(crate) fn new(runtime: Runtime, events: Events, node_name: String, policy: ImageGcPolicy) -> Self {
        Self { runtime, events, node_name, policy, started: Instant::now(), seen: Arc::default() }
    }

    /// Removes images by the policy until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut failed_before = false;
        loop {
            let collected = self.collect().await;
            if let Err(message) = &collected {
                tracing::warn!(%message, "cannot make room by removing images");
                // The first round may fail because the runtime has no statistics yet.
                if std::mem::replace(&mut failed_before, true) {
                    self.warn("ImageGCFailed", message.clone());
                }
            } else {
                failed_before = false;
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    fn warn(&self, reason: &str, message: String) {
        self.events.node(&self.node_name, EventType::Warning, reason, message);
    }

    /// One round. The error is a message for users.
    async fn collect(&self) -> Result<(), String> {
        let unused = self.look(Instant::now()).await.map_err(|error| error.to_string())?;
        let now = Instant::now();
        let (old, rest): (Vec<_>, Vec<_>) = unused.into_iter().partition(|(_, seen)| self.is_too_old(seen, now));
        let aged = self.remove(old, u64::MAX).await;
        if !aged.errors.is_empty() {
            return Err(aged.errors.join(", "));
        }
        let disk = self.disk().await?;
        if disk.size == 0 {
            let message = "invalid capacity 0 on image filesystem";
            self.warn("InvalidDiskCapacity", message.to_owned());
            return Err(message.to_owned());
        }
        let Some(bytes) = self.policy.room_to_make(disk) else { return Ok(()) };
        let freed = self.remove(self.removable(rest, now), bytes).await;
        if !freed.errors.is_empty() {
            return Err(freed.errors.join(", "));
        }
        if freed.bytes < bytes {
            let message = insufficient(disk, freed.bytes);
            self.warn("FreeDiskSpaceFailed", message.clone());
            return Err(message);
        }
        Ok(())
    }

    /// Removes everything that is not in use, for a disk that is full. The error is a message for users.
    pub(crate) async fn remove_unused(&self) -> Result<(), String> {
        let unused = self.look(Instant::now()).await.map_err(|error| error.to_string())?;
        let freed = self.remove(self.removable(unused, Instant::now()), u64::MAX).await;
        if freed.errors.is_empty() { Ok(()) } else { Err(freed.errors.join(", ")) }
    }

    /// The file system that images are on.
    pub(crate) async fn disk(&self) -> Result<FileSystem, String> {
        let info = self.runtime.image_fs_info().await.map_err(|error| error.to_string())?;
        let mount = info.image_filesystems.first().and_then(|usage| usage.fs_id.as_ref());
        let path = mount.map(|id| id.mountpoint.clone()).ok_or("the runtime does not say where images are")?;
        FileSystem::read(Path::new(&path)).map_err(|error| format!("cannot look at {path}: {error}"))
    }

    /// Takes note of all images; answers those that are not in use and not pinned, the longest unused first.
    async fn look(&self, now: Instant) -> Result<Vec<(String, Seen)>, RuntimeError> {
        let (images, used) = tokio::try_join!(self.runtime.list_images(), self.used())?;
        let mut seen = self.seen.lock();
        seen.retain(|id, _| images.iter().any(|image| image.id == *id));
        for image in &images {
            let new = Seen { first: now, last_used: self.started, size: image.size, pinned: image.pinned };
            let record = seen.entry(image.id.clone()).or_insert(new);
            (record.size, record.pinned) = (image.size, image.pinned);
            if is_used(image, &used) {
                record.last_used = now;
            }
        }
        let unused = images.iter().filter(|image| !image.pinned && !is_used(image, &used));
        let mut list: Vec<(String, Seen)> =
            unused.filter_map(|image| Some((image.id.clone(), *seen.get(&image.id)?))).collect();
        list.sort_by_key(|(_, seen)| (seen.last_used, seen.first));
        Ok(list)
    }

    /// Ids and names of the images that containers were made from or have mounted.
    async fn used(&self) -> Result<HashSet<String>, RuntimeError> {
        let mut used = HashSet::new();
        for container in self.runtime.list_containers().await? {
            used.extend([container.image_id, container.image_ref]);
            used.extend(container.image.map(|image| image.image));
            match self.runtime.container_status(&container.id).await {
                Ok(status) => used.extend(status.mounts.into_iter().filter_map(|mount| Some(mount.image?.image))),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(used)
    }

    fn is_too_old(&self, seen: &Seen, now: Instant) -> bool {
        let limit = self.policy.maximum_age;
        // Before that time nobody knows how long an image was not used.
        !limit.is_zero() && now - self.started > limit && now.saturating_duration_since(seen.last_used) > limit
    }

    /// Those that were seen long enough ago: a new one may be about to be used.
    fn removable(&self, images: Vec<(String, Seen)>, now: Instant) -> Vec<(String, Seen)> {
        let old_enough =
            |(_, seen): &(String, Seen)| now.saturating_duration_since(seen.first) >= self.policy.minimum_age;
        images.into_iter().filter(old_enough).collect()
    }

    /// Removes images until so many bytes are free.
    async fn remove(&self, images: Vec<(String, Seen)>, bytes: u64) -> Freed {
        let mut freed = Freed::default();
        for (id, seen) in images {
            tracing::info!(image = %id, bytes = seen.size, "removing an image that nobody uses");
            match self.runtime.remove_image(&id).await {
                Ok(()) => {
                    self.seen.lock().remove(&id);
                    freed.bytes += seen.size;
                }
                Err(error) => freed.errors.push(error.to_string()),
            }
            if freed.bytes >= bytes {
                break;
            }
        }
        freed
    }
}

fn is_used(image: &v1::Image, used: &HashSet<String>) -> bool {
    used.contains(&image.id) || image.repo_tags.iter().chain(&image.repo_digests).any(|name| used.contains(name))
}

fn insufficient(disk: FileSystem, freed: u64) -> String {
    let used = 100 - u128::from(disk.free.min(disk.size)) * 100 / u128::from(disk.size.max(1));
    format!(
        "Insufficient free disk space on the node's image filesystem ({used}% of {} used). Failed to free sufficient space by deleting unused images (freed {freed} bytes). Investigate disk usage, as it could be used by active images, logs, volumes, or other data.",
        size(disk.size)
    )
}

/// Bytes for people.
#[allow(clippy::cast_precision_loss, reason = "shown with one digit")]
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10).min(4);
    format!("{:.1} {}", bytes as f64 / (1u64 << (10 * power)) as f64, UNITS[power as usize - 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::testing::Recorded;
    use skiff_cri::fake::FakeRuntime;

    fn disk(size: u64, free: u64) -> FileSystem {
        FileSystem { size, free, ..FileSystem::default() }
    }

    #[test]
    fn room_is_made_between_two_thresholds() {
        let policy = ImageGcPolicy::default();
        assert_eq!(policy.room_to_make(disk(1000, 160)), None);
        assert_eq!(policy.room_to_make(disk(1000, 150)), Some(50));
        assert_eq!(policy.room_to_make(disk(1000, 0)), Some(200));
        assert_eq!(policy.room_to_make(disk(1 << 40, 11 << 30)), None, "a hundredth of a large disk");
        assert_eq!(policy.room_to_make(disk(1 << 40, 9 << 30)), Some((64 << 30) / 5 - (9 << 30)));
        let exact = ImageGcPolicy { counted_size: u64::MAX, ..policy };
        assert!(exact.room_to_make(disk(1 << 40, 10 << 30)).is_some());
        let off = ImageGcPolicy { high_threshold_percent: 100, ..policy };
        assert_eq!(off.room_to_make(disk(1000, 0)), None);
        off.validate().expect("fine");
        ImageGcPolicy { low_threshold_percent: 90, ..policy }.validate().expect_err("the wrong way round");
        ImageGcPolicy { maximum_age: Duration::from_secs(1), ..policy }.validate().expect_err("too young");
    }

    #[test]
    fn sizes_are_for_people() {
        assert_eq!([0, 1023, 1536, 5 << 30].map(size), ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
        assert!(
            insufficient(disk(100, 5), 7)
                .starts_with("Insufficient free disk space on the node's image filesystem (95% of 100 B used). Failed")
        );
    }

    struct Fixture {
        fake: FakeRuntime,
        gc: ImageGc,
    }

    impl Fixture {
        /// A runtime with an image in use, and two that are not.
        async fn new(policy: ImageGcPolicy) -> Self {
            let fake = FakeRuntime::new();
            let runtime = Runtime::new(fake.connect().await.expect("a client"));
            let (events, _) = Recorded::events();
            let gc = ImageGc::new(runtime.clone(), events, "node".into(), policy);
            for name in ["used", "old", "new"] {
                fake.add_image(name);
            }
            let sandbox = v1::PodSandboxConfig::default();
            let id = runtime.run_sandbox(sandbox.clone(), "").await.expect("a sandbox");
            let config = v1::ContainerConfig {
                metadata: Some(v1::ContainerMetadata { name: "c".into(), attempt: 0 }),
                image: Some(v1::ImageSpec { image: "used".into(), ..Default::default() }),
                ..Default::default()
            };
            runtime.create_container(&id, config, sandbox).await.expect("a container");
            Self { fake, gc }
        }

        fn names(&self, images: &[v1::Image]) -> Vec<String> {
            let mut names: Vec<String> = images.iter().flat_map(|image| image.repo_tags.clone()).collect();
            names.sort();
            names
        }

        async fn left(&self) -> Vec<String> {
            self.names(&self.gc.runtime.list_images().await.expect("a list"))
        }
    }

    #[tokio::test]
    async fn images_in_use_and_new_ones_stay() {
        let fixture = Fixture::new(ImageGcPolicy::default()).await;
        fixture.gc.remove_unused().await.expect("done");
        assert_eq!(fixture.left().await, ["new", "old", "used"], "all of them were just seen");
        let long_ago = Instant::now().checked_sub(Duration::from_secs(600)).expect("a time");
        let old = fixture.fake.add_image("old");
        fixture.gc.seen.lock().get_mut(&old).expect("seen").first = long_ago;
        fixture.gc.remove_unused().await.expect("done");
        assert_eq!(fixture.left().await, ["new", "used"]);
    }

    #[tokio::test]
    async fn the_longest_unused_goes_first_and_only_as_many_as_needed() {
        let fixture = Fixture::new(ImageGcPolicy { minimum_age: Duration::ZERO, ..ImageGcPolicy::default() }).await;
        let now = Instant::now();
        fixture.gc.look(now).await.expect("a list");
        let new = fixture.fake.add_image("new");
        fixture.gc.seen.lock().get_mut(&new).expect("seen").last_used = now;
        let unused = fixture.gc.look(now).await.expect("a list");
        let freed = fixture.gc.remove(unused, 1).await;
        assert_eq!(freed, Freed { bytes: 1_000_000, errors: Vec::new() });
        assert_eq!(fixture.left().await, ["new", "used"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_used_for_too_long_goes_whatever_room_there_is() {
        let policy = ImageGcPolicy { maximum_age: Duration::from_secs(3600), ..ImageGcPolicy::default() };
        let gc = Fixture::new(policy).await.gc;
        let seen = Seen { first: gc.started, last_used: gc.started, size: 1, pinned: false };
        assert!(!gc.is_too_old(&seen, gc.started + Duration::from_secs(3600)));
        assert!(gc.is_too_old(&seen, gc.started + Duration::from_secs(3601)));
        let used = Seen { last_used: gc.started + Duration::from_secs(10), ..seen };
        assert!(!gc.is_too_old(&used, gc.started + Duration::from_secs(3601)));
    }
}
