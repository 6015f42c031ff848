//! Kernel parameters under `/proc/sys/net`, of the calling thread's network namespace.

use std::fs;
use std::path::Path;

use crate::{Error, Result};

/// Sets a parameter, e.g. `net/ipv4/ip_forward` to `1`, unless it has that value.
pub fn set(name: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(name);
    let current = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    if current.trim() == value {
        return Ok(());
    }
    fs::write(&path, value).map_err(Error::file("write", &path))
}

/// Reads a parameter, without the end of line.
pub fn get(name: &str) -> Result<String> {
    let path = Path::new("/proc/sys").join(name);
    let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    Ok(text.trim_end().to_owned())
}
