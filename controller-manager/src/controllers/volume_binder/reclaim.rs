//! Deleting what a volume held.

use std::path::{Component, Path};

/// Whether a folder may be deleted with its volume: only below `/tmp`, so that no volume of the policy `Delete` takes a
/// node's own files along.
pub(super) fn may_be_deleted(path: &str) -> bool {
    let path = Path::new(path);
    let mut parts = path.components();
    let in_tmp = parts.next() == Some(Component::RootDir) && parts.next() == Some(Component::Normal("tmp".as_ref()));
    let rest: Vec<Component<'_>> = parts.collect();
    in_tmp && !rest.is_empty() && rest.iter().all(|part| matches!(part, Component::Normal(_)))
}

/// Deletes a folder; one that is not there is deleted.
pub(super) async fn delete_folder(path: &str) -> std::io::Result<()> {
    match tokio::fs::remove_dir_all(path).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::may_be_deleted;

    #[test]
    fn only_folders_below_tmp() {
        let cases = [
            ("/tmp/data", true),
            ("/tmp/a/b/", true),
            ("/tmp", false),
            ("/tmp/", false),
            ("/tmp/../etc", false),
            ("/var/tmp/x", false),
            ("tmp/x", false),
        ];
        for (path, expected) in cases {
            assert_eq!(may_be_deleted(path), expected, "{path}");
        }
    }
}
