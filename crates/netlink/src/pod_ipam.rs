//! Addresses of the pods of one node, each held by a file so that they survive restarts.
//!
//! `DIR/ADDRESS` holds the sandbox id. Creating the file is the claim, so two claims never meet; the next address tried
//! is the one after the last given out, so that an address rests before it is used again.

use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use parking_lot::Mutex;

use crate::{Error, Result};

/// The allocator.
#[derive(Debug)]
pub struct PodIpam {
    dir: PathBuf,
    /// Offset in the range of the address given out last.
    last: Mutex<u32>,
}

impl PodIpam {
    /// An allocator that keeps its claims in `dir`.
    pub fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
        Ok(Self { dir: dir.to_owned(), last: Mutex::new(1) })
    }

    /// The address that pods of `range` use as their gateway: the first one.
    pub fn gateway(range: Ipv4Net) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(range.network()) + 1)
    }

    /// The address held by a sandbox; claims one from `range` if it has none.
    pub fn claim(&self, range: Ipv4Net, sandbox_id: &str) -> Result<Ipv4Addr> {
        let mut last = self.last.lock();
        if let Some(address) = self.held_by(sandbox_id)? {
            return Ok(address);
        }
        let size = 1u64 << (32 - range.prefix_len());
        // Offsets 0 (network), 1 (gateway) and size - 1 (broadcast) are not for pods.
        let usable = size.saturating_sub(3) as u32;
        for step in 0..usable {
            let offset = 2 + (last.wrapping_sub(1).wrapping_add(step)) % usable;
            let address = Ipv4Addr::from(u32::from(range.network()) + offset);
            let path = self.dir.join(address.to_string());
            match File::options().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    file.write_all(sandbox_id.as_bytes()).map_err(Error::file("write", &path))?;
                    *last = offset;
                    return Ok(address);
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::file("create", &path)(error)),
            }
        }
        Err(Error::NoAddress { range, used: usable as usize })
    }

    /// Frees what a sandbox holds; nothing held is fine.
    pub fn release(&self, sandbox_id: &str) -> Result<()> {
        let _guard = self.last.lock();
        if let Some(address) = self.held_by(sandbox_id)? {
            let path = self.dir.join(address.to_string());
            fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        }
        Ok(())
    }

    /// Every claim: address and sandbox id.
    pub fn claims(&self) -> Result<Vec<(Ipv4Addr, String)>> {
        let mut claims = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(Error::file("read", &self.dir))? {
            let path = entry.map_err(Error::file("read", &self.dir))?.path();
            let Some(address) = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse().ok()) else {
                continue;
            };
            let holder = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
            claims.push((address, holder));
        }
        Ok(claims)
    }

    fn held_by(&self, sandbox_id: &str) -> Result<Option<Ipv4Addr>> {
        Ok(self.claims()?.into_iter().find(|(_, holder)| holder == sandbox_id).map(|(address, _)| address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_unique_stable_and_survive_reopening() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let range: Ipv4Net = "10.244.3.0/29".parse().expect("range");
        let ipam = PodIpam::open(dir.path()).expect("open");
        let addresses: Vec<_> = (0..5).map(|i| ipam.claim(range, &format!("s{i}")).expect("claim")).collect();
        assert_eq!(addresses.iter().map(|a| a.octets()[3]).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
        assert!(matches!(ipam.claim(range, "s5"), Err(Error::NoAddress { .. })));

        let reopened = PodIpam::open(dir.path()).expect("open");
        assert_eq!(reopened.claim(range, "s3").expect("claim"), addresses[3]);
        reopened.release("s1").expect("release");
        reopened.release("s1").expect("release twice");
        assert_eq!(reopened.claim(range, "new").expect("claim"), addresses[1]);
    }
}
