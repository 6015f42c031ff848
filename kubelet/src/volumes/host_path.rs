//! `hostPath` volumes: checking that the path is what the pod says, and making it if asked
//! (upstream: `pkg/volume/hostpath`).

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Checks or makes the path. The error is upstream's message.
pub(crate) fn prepare(path: &Path, type_: &str) -> Result<(), String> {
    let shown = path.display();
    let failed = |error: io::Error| format!("hostPath {shown}: {error}");
    match type_ {
        "DirectoryOrCreate" => {
            if !path.exists() {
                fs::create_dir_all(path).map_err(failed)?;
                let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o755));
            }
        }
        "FileOrCreate" => {
            if !path.exists() {
                let mut options = fs::OpenOptions::new();
                options.write(true).create(true).truncate(false).mode(0o644).open(path).map_err(failed)?;
            }
        }
        _ => {}
    }
    let file_type = fs::metadata(path).map(|metadata| metadata.file_type());
    let expected = match type_ {
        "" => return Ok(()),
        "Directory" | "DirectoryOrCreate" => ("a directory", file_type.is_ok_and(|t| t.is_dir())),
        "File" | "FileOrCreate" => ("a file", file_type.is_ok_and(|t| t.is_file())),
        "Socket" => ("a socket file", file_type.is_ok_and(|t| t.is_socket())),
        "CharDevice" => ("a character device", file_type.is_ok_and(|t| t.is_char_device())),
        "BlockDevice" => ("a block device", file_type.is_ok_and(|t| t.is_block_device())),
        other => return Err(format!("{other} is an invalid volume type")),
    };
    match expected {
        (_, true) => Ok(()),
        (what, false) => Err(format!("hostPath type check failed: {shown} is not {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("file");
        fs::write(&file, "").expect("a file");
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).expect("a socket");
        let check = |path: &Path, type_: &str| prepare(path, type_).is_ok();
        assert!(check(dir.path(), "Directory") && check(dir.path(), "") && check(&dir.path().join("none"), ""));
        assert!(check(&file, "File") && !check(&file, "Directory") && !check(dir.path(), "File"));
        assert!(check(&dir.path().join("socket"), "Socket") && !check(&file, "Socket"));
        assert!(check(Path::new("/dev/null"), "CharDevice") && !check(&file, "BlockDevice"));
        assert!(!check(&file, "Nonsense"));
        let error = prepare(&dir.path().join("none"), "Directory").expect_err("missing");
        assert!(error.ends_with("none is not a directory"), "{error}");
    }

    #[test]
    fn missing_paths_are_made_on_request() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a/b");
        prepare(&path, "DirectoryOrCreate").expect("made");
        assert!(path.is_dir());
        prepare(&path.join("file"), "FileOrCreate").expect("made");
        assert!(path.join("file").is_file());
        assert!(prepare(&path.join("no/file"), "FileOrCreate").is_err());
    }
}
