//! Private files: read, written atomically, never readable by others.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::PkiError;

/// Largest file that is read: a certificate is 2 KB.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> PkiError {
    let path = path.to_owned();
    move |source| PkiError::Io { action, path, source }
}

/// Makes a directory with its parents, for the owner alone.
pub(super) fn create_private_dir(dir: &Path) -> Result<(), PkiError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io("create", dir))?;
    std::fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(io("protect", dir))
}

/// Keeps other processes from changing the directory until the file is dropped.
pub(super) fn lock(dir: &Path) -> Result<File, PkiError> {
    let path = dir.join(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(io("open", &path))?;
    file.lock().map_err(|_| PkiError::Busy(dir.to_owned()))?;
    Ok(file)
}

/// The text of a file; `None` when there is none. Takes away what others may do with it.
pub(super) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("read", path)(error)),
    };
    let mode = file.metadata().map_err(io("read", path))?.permissions().mode();
    if mode & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600)).map_err(io("protect", path))?;
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(io("read", path))?;
    // What is not text is found not to be PEM by whoever asked.
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Replaces a file as a whole; after return the content survives a power cut.
pub(super) fn write(path: &Path, text: &str) -> Result<(), PkiError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = Path::new(&temporary);
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(temporary)
        .map_err(io("create", temporary))?;
    // The mode above holds only for a file that is new.
    file.set_permissions(Permissions::from_mode(0o600)).map_err(io("protect", temporary))?;
    file.write_all(text.as_bytes()).map_err(io("write", temporary))?;
    file.sync_all().map_err(io("write", temporary))?;
    std::fs::rename(temporary, path).map_err(io("replace", path))?;
    if let Some(dir) = path.parent() {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("write", dir))?;
    }
    Ok(())
}
