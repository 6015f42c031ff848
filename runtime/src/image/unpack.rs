//! Unpacking one layer into a folder for overlayfs.
//!
//! Layers come from strangers. Nothing here follows a link out of the layer's folder, writes through a link, or trusts
//! a size: every path is resolved by the kernel within the folder, and entries are made new.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown,
    fsetxattr, futimens, linkat, makedev, mkdirat, mknodat, openat, statat, symlinkat, unlinkat, utimensat,
};
use tar::{Archive, Entry, EntryType};

use super::ImageError;
use super::digest::{Hashing, mismatch};
use crate::oci::rootfs::{open_in, open_root};

/// Largest unpacked layer, in bytes.
const MAX_UNPACKED: u64 = 64 << 30;
/// Most entries of one layer.
const MAX_ENTRIES: u64 = 4_000_000;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const OPAQUE_ATTRIBUTE: &str = "trusted.overlay.opaque";

/// Unpacks a layer, compressed or not, into the empty folder `target`. `lower` are the folders of the layers below,
/// nearest first. Fails unless the uncompressed content has the digest `diff_id`.
pub(super) fn unpack(layer: File, diff_id: &str, target: &Path, lower: &[PathBuf]) -> Result<(), ImageError> {
    let content = Hashing::new(decompressed(layer)?, MAX_UNPACKED);
    let mut archive = Archive::new(content);
    let mut unpacker = Unpacker {
        root: open_root(target)?,
        lower: lower.iter().map(|path| open_root(path)).collect::<io::Result<_>>()?,
        folders: Vec::new(),
    };
    let mut count = 0_u64;
    for entry in archive.entries().map_err(damaged)? {
        count += 1;
        if count > MAX_ENTRIES {
            return Err(ImageError::Invalid(format!("the layer has more than {MAX_ENTRIES} entries")));
        }
        unpacker.entry(&mut entry.map_err(damaged)?)?;
    }
    unpacker.finish()?;
    let actual = archive.into_inner().finish().map_err(damaged)?;
    if actual == diff_id { Ok(()) } else { Err(mismatch("a layer", diff_id, &actual)) }
}

fn damaged(error: io::Error) -> ImageError {
    match error.kind() {
        io::ErrorKind::StorageFull => ImageError::Io(error),
        _ => ImageError::Invalid(format!("a layer is damaged: {error}")),
    }
}

/// The content behind gzip or zstd, told by its first bytes: media types are often wrong.
pub(super) fn decompressed(file: File) -> Result<Box<dyn Read + Send>, ImageError> {
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let start = io::BufRead::fill_buf(&mut reader)?;
    if start.starts_with(&GZIP_MAGIC) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader)));
    }
    if start.starts_with(&ZSTD_MAGIC) {
        return Ok(Box::new(zstd::stream::read::Decoder::with_buffer(reader)?));
    }
    Ok(Box::new(reader))
}

struct Unpacker {
    root: OwnedFd,
    lower: Vec<OwnedFd>,
    /// Times of folders, set at the end because filling a folder changes them.
    folders: Vec<(PathBuf, Timespec)>,
}

/// What an entry says about its file.
struct Attributes {
    uid: u32,
    gid: u32,
    mode: Mode,
    modified: Timespec,
    extended: Vec<(String, Vec<u8>)>,
}

// === impl Unpacker ===

impl Unpacker {
    fn entry(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<(), ImageError> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader | EntryType::GNULongName) {
            return Ok(());
        }
        let path = clean(&entry.path_bytes())?;
        let attributes = Attributes::read(entry)?;
        let Some(name) = path.file_name().map(PathBuf::from) else {
            self.folders.push((PathBuf::new(), attributes.modified));
            return Ok(attributes.apply_to(&open_in(&self.root, Path::new("."), OFlags::RDONLY)?)?);
        };
        let parent = self.folder(path.parent().unwrap_or(Path::new("")))?;
        let bytes = name.as_os_str().as_bytes();
        if bytes.starts_with(WHITEOUT) {
            return Ok(whiteout(parent.as_fd(), bytes)?);
        }
        let hidden_below = self.make_room(parent.as_fd(), &name, kind)?;
        self.create(entry, kind, parent.as_fd(), &path, &name, &attributes).map_err(|error| match error {
            ImageError::Io(error) => {
                ImageError::Io(io::Error::new(error.kind(), format!("{}: {error}", path.display())))
            }
            other => other,
        })?;
        if hidden_below && kind == EntryType::Directory {
            set_opaque(open_in(&parent, &name, OFlags::RDONLY | OFlags::NOFOLLOW)?.as_fd())?;
        }
        Ok(())
    }

    fn create(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        kind: EntryType,
        parent: BorrowedFd<'_>,
        path: &Path,
        name: &Path,
        attributes: &Attributes,
    ) -> Result<(), ImageError> {
        match kind {
            EntryType::Directory => {
                match mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(io::Error::from(error).into()),
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let folder = openat(parent, name, flags, Mode::empty()).map_err(io::Error::from)?;
                attributes.apply_to(&folder)?;
                self.folders.push((path.to_owned(), attributes.modified));
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mut file = new_file(parent, name)?;
                io::copy(entry, &mut file).map_err(damaged)?;
                attributes.apply_to(&file.into())?;
            }
            EntryType::Symlink => {
                let target = link_target(entry)?;
                symlinkat(target.as_path(), parent, name).map_err(io::Error::from)?;
                attributes.apply_at(parent, name)?;
            }
            EntryType::Link => {
                let target = clean(link_target(entry)?.as_os_str().as_bytes())?;
                self.hard_link(&target, parent, name)?;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let device = match kind {
                    EntryType::Fifo => 0,
                    _ => device_of(entry)?,
                };
                let kind = match kind {
                    EntryType::Char => FileType::CharacterDevice,
                    EntryType::Block => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device).map_err(io::Error::from)?;
                attributes.apply_at(parent, name)?;
                chmodat(parent, name, attributes.mode, AtFlags::empty()).map_err(io::Error::from)?;
            }
            other => {
                return Err(ImageError::Invalid(format!("{}: unknown entry type {other:?}", path.display())));
            }
        }
        Ok(())
    }

    /// Removes what an earlier entry of this layer left at `name`, unless a folder meets a folder. True if it was a
    /// whiteout, so that a new folder must go on hiding what is below it.
    fn make_room(&self, parent: BorrowedFd<'_>, name: &Path, kind: EntryType) -> io::Result<bool> {
        let found = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => return Ok(false),
            other => other?,
        };
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory if kind == EntryType::Directory => return Ok(false),
            FileType::Directory => remove_folder(parent, name)?,
            _ => unlinkat(parent, name, AtFlags::empty())?,
        }
        let whiteout =
            FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == makedev(0, 0);
        Ok(whiteout)
    }

    /// The folder at `path`; missing ones are made like those of the layers below, which they will cover.
    fn folder(&self, path: &Path) -> Result<OwnedFd, ImageError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match open_in(&self.root, path, flags) {
            Ok(found) => return Ok(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(ImageError::Invalid(format!("{}: {error}", path.display()))),
        }
        let parent = self.folder(path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().unwrap_or_default();
        match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let made = open_in(&self.root, path, flags)?;
        if let Some(below) = self.lower.iter().find_map(|root| open_in(root, path, flags).ok()) {
            let stat = rustix::fs::fstat(&below).map_err(io::Error::from)?;
            fchown(&made, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
                .map_err(io::Error::from)?;
            fchmod(&made, Mode::from_raw_mode(stat.st_mode & 0o7777)).map_err(io::Error::from)?;
        }
        Ok(made)
    }

    /// Links to a file of this layer, or copies one of a layer below.
    fn hard_link(&self, target: &Path, parent: BorrowedFd<'_>, name: &Path) -> Result<(), ImageError> {
        let missing = || ImageError::Invalid(format!("a hard link to {}, which does not exist", target.display()));
        let target_name = target.file_name().ok_or_else(missing)?;
        let folder = target.parent().unwrap_or(Path::new(""));
        if let Ok(folder) = open_in(&self.root, folder, OFlags::PATH | OFlags::DIRECTORY)
            && linkat(&folder, target_name, parent, name, AtFlags::empty()).is_ok()
        {
            return Ok(());
        }
        for root in &self.lower {
            let Ok(file) = open_in(root, target, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK) else {
                continue;
            };
            let stat = rustix::fs::fstat(&file).map_err(io::Error::from)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(missing());
            }
            let mut copy = new_file(parent, name)?;
            io::copy(&mut File::from(file), &mut copy)?;
            fchown(&copy, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
                .map_err(io::Error::from)?;
            fchmod(&copy, Mode::from_raw_mode(stat.st_mode & 0o7777)).map_err(io::Error::from)?;
            return Ok(());
        }
        Err(missing())
    }

    fn finish(&self) -> io::Result<()> {
        for (path, modified) in self.folders.iter().rev() {
            // An entry after the folder may have replaced it.
            if let Ok(folder) = open_in(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW) {
                futimens(&folder, &times(*modified))?;
            }
        }
        Ok(())
    }
}

// === impl Attributes ===

impl Attributes {
    fn read(entry: &mut Entry<'_, impl Read>) -> Result<Self, ImageError> {
        let header = entry.header();
        let mut attributes = Self {
            uid: number(field(header, 108..116, header.uid()))?,
            gid: number(field(header, 116..124, header.gid()))?,
            mode: Mode::from_raw_mode(number(field(header, 100..108, header.mode().map(u64::from)))? & 0o7777),
            modified: seconds(field(header, 136..148, header.mtime()).map_err(damaged)?),
            extended: Vec::new(),
        };
        for extension in entry.pax_extensions().map_err(damaged)?.into_iter().flatten() {
            let extension = extension.map_err(damaged)?;
            let (Ok(key), value) = (extension.key(), extension.value_bytes()) else {
                continue;
            };
            let text = extension.value().unwrap_or_default();
            match key {
                "uid" => attributes.uid = number(text.parse().map_err(io::Error::other))?,
                "gid" => attributes.gid = number(text.parse().map_err(io::Error::other))?,
                "mtime" => {
                    let whole = text.split('.').next().unwrap_or_default();
                    attributes.modified = seconds(whole.parse().unwrap_or(0));
                }
                _ => {
                    if let Some(name) = key.strip_prefix("SCHILY.xattr.").filter(|name| allowed_attribute(name)) {
                        attributes.extended.push((name.to_owned(), value.to_vec()));
                    }
                }
            }
        }
        Ok(attributes)
    }

    /// Owner first: changing it takes set-id bits and file capabilities away.
    fn apply_to(&self, file: &OwnedFd) -> io::Result<()> {
        fchown(file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        fchmod(file, self.mode)?;
        for (name, value) in &self.extended {
            fsetxattr(file, name.as_str(), value, XattrFlags::empty())?;
        }
        Ok(futimens(file, &times(self.modified))?)
    }

    /// For links and devices, which are not opened.
    fn apply_at(&self, parent: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(utimensat(parent, name, &times(self.modified), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// Attributes of overlayfs itself, or of security modules, must not come from an image.
fn allowed_attribute(name: &str) -> bool {
    name.starts_with("user.") || name == "security.capability" || name.starts_with("system.posix_acl_")
}

/// A numeric field of a header; an empty one counts as 0, as some programs leave fields out.
fn field(header: &tar::Header, bytes: std::ops::Range<usize>, value: io::Result<u64>) -> io::Result<u64> {
    let empty = header.as_bytes()[bytes].iter().all(|byte| matches!(byte, 0 | b' '));
    if empty { Ok(0) } else { value }
}

fn number(value: io::Result<u64>) -> Result<u32, ImageError> {
    let value = value.map_err(damaged)?;
    u32::try_from(value).map_err(|_| ImageError::Invalid(format!("the owner {value} is out of range")))
}

fn seconds(value: u64) -> Timespec {
    Timespec { tv_sec: i64::try_from(value).unwrap_or(0), tv_nsec: 0 }
}

fn times(modified: Timespec) -> Timestamps {
    Timestamps { last_access: modified, last_modification: modified }
}

fn new_file(parent: BorrowedFd<'_>, name: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(openat(parent, name, flags, Mode::from_raw_mode(0o600))?))
}

fn device_of(entry: &Entry<'_, impl Read>) -> Result<u64, ImageError> {
    let header = entry.header();
    let major = header.device_major().map_err(damaged)?.unwrap_or(0);
    let minor = header.device_minor().map_err(damaged)?.unwrap_or(0);
    Ok(makedev(major, minor))
}

fn link_target(entry: &Entry<'_, impl Read>) -> Result<PathBuf, ImageError> {
    let target = entry.link_name().map_err(damaged)?;
    target.map(|path| path.into_owned()).ok_or_else(|| ImageError::Invalid("a link without a target".to_owned()))
}

/// A path relative to the root, without `.`; one with `..` is refused.
fn clean(bytes: &[u8]) -> Result<PathBuf, ImageError> {
    let path = Path::new(std::ffi::OsStr::from_bytes(bytes));
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(ImageError::Invalid(format!("a layer entry leaves the root: {}", path.display())));
            }
        }
    }
    Ok(clean)
}

/// Records that something is gone, in overlayfs' way.
fn whiteout(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    if name == OPAQUE {
        return set_opaque(parent);
    }
    let hidden = &name[WHITEOUT.len()..];
    // Other `.wh..wh.` names are bookkeeping of aufs.
    if hidden.is_empty() || hidden.starts_with(WHITEOUT) {
        return Ok(());
    }
    match mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), makedev(0, 0)) {
        // The same layer has something new there, which hides what is below anyway.
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn set_opaque(folder: BorrowedFd<'_>) -> io::Result<()> {
    Ok(fsetxattr(folder, OPAQUE_ATTRIBUTE, b"y", XattrFlags::empty())?)
}

fn remove_folder(parent: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
    // The path through the descriptor cannot be redirected; remove_dir_all does not follow links below.
    use std::os::fd::AsRawFd;
    let path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name);
    std::fs::remove_dir_all(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    use super::*;
    use crate::image::digest;

    /// One entry of a test layer.
    enum Make {
        File(&'static str, &'static str),
        Dir(&'static str, u32),
        Symlink(&'static str, &'static str),
        Hard(&'static str, &'static str),
    }
    use Make::{Dir, Hard, Symlink};

    fn layer(entries: &[Make]) -> (Vec<u8>, String) {
        let mut builder = tar::Builder::new(Vec::new());
        for entry in entries {
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o644);
            header.set_mtime(1_000_000);
            let (path, content, link): (_, &[u8], _) = match entry {
                Make::File(path, content) => (*path, content.as_bytes(), None),
                Dir(path, mode) => {
                    header.set_mode(*mode);
                    header.set_entry_type(EntryType::Directory);
                    (*path, &[], None)
                }
                Symlink(path, target) => {
                    header.set_entry_type(EntryType::Symlink);
                    (*path, &[], Some(target))
                }
                Hard(path, target) => {
                    header.set_entry_type(EntryType::Link);
                    (*path, &[], Some(target))
                }
            };
            header.set_size(content.len() as u64);
            if let Some(target) = link {
                header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
            }
            // Written raw: the crate itself refuses some of the paths tested here.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            builder.append(&header, content).expect("append");
        }
        let bytes = builder.into_inner().expect("tar");
        let diff_id = digest::of(&bytes);
        (bytes, diff_id)
    }

    fn try_unpack(bytes: &[u8], diff_id: &str, lower: &[PathBuf]) -> Result<tempfile::TempDir, ImageError> {
        let target = tempfile::tempdir()?;
        let mut file = tempfile::tempfile()?;
        io::Write::write_all(&mut file, bytes)?;
        io::Seek::rewind(&mut file)?;
        unpack(file, diff_id, target.path(), lower)?;
        Ok(target)
    }

    fn unpacked(entries: &[Make], lower: &[PathBuf]) -> tempfile::TempDir {
        let (bytes, diff_id) = layer(entries);
        try_unpack(&bytes, &diff_id, lower).expect("a good layer")
    }

    #[test]
    fn files_folders_links() {
        let root = unpacked(
            &[Dir("./", 0o755), Dir("a", 0o1777), Make::File("a/f", "text"), Symlink("s", "/a/f"), Hard("h", "a/f")],
            &[],
        );
        let path = |name: &str| root.path().join(name);
        assert_eq!(std::fs::read_to_string(path("a/f")).expect("read"), "text");
        assert_eq!(path("a").metadata().expect("stat").mode() & 0o7777, 0o1777);
        assert_eq!(path("a").metadata().expect("stat").mtime(), 1_000_000);
        assert_eq!(path("a/f").metadata().expect("stat").ino(), path("h").metadata().expect("stat").ino());
        assert_eq!(std::fs::read_link(path("s")).expect("link"), PathBuf::from("/a/f"));
    }

    #[test]
    fn whiteouts_become_devices_and_attributes() {
        let root =
            unpacked(&[Make::File("d/.wh.gone", ""), Make::File("o/.wh..wh..opq", ""), Make::File("o/new", "")], &[]);
        let gone = root.path().join("d/gone").symlink_metadata().expect("stat");
        assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
        let folder = File::open(root.path().join("o")).expect("open");
        let mut value = [0; 4];
        assert_eq!(rustix::fs::fgetxattr(&folder, OPAQUE_ATTRIBUTE, &mut value).expect("attribute"), 1);
        assert_eq!(&value[..1], b"y");
    }

    #[test]
    fn a_folder_over_a_whiteout_is_opaque() {
        let root = unpacked(&[Make::File(".wh.d", ""), Dir("d", 0o755), Make::File("d/x", "1")], &[]);
        let folder = File::open(root.path().join("d")).expect("open");
        assert!(rustix::fs::fgetxattr(&folder, OPAQUE_ATTRIBUTE, &mut [0; 4]).is_ok());
    }

    #[test]
    fn layers_below_give_attributes_and_link_targets() {
        let below = unpacked(&[Dir("home", 0o700), Make::File("home/old", "old")], &[]);
        let root = unpacked(&[Make::File("home/new", ""), Hard("copy", "home/old")], &[below.path().to_owned()]);
        assert_eq!(root.path().join("home").metadata().expect("stat").mode() & 0o7777, 0o700);
        assert_eq!(std::fs::read_to_string(root.path().join("copy")).expect("read"), "old");
    }

    #[test]
    fn nothing_escapes() {
        let outside = tempfile::tempdir().expect("temp dir");
        let refused = |entries: &[Make], expected: &str| {
            let (bytes, diff_id) = layer(entries);
            let error = try_unpack(&bytes, &diff_id, &[]).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        };
        refused(&[Make::File("../evil", "x")], "leaves the root");
        refused(&[Make::File("a/../../evil", "x")], "leaves the root");
        refused(&[Hard("h", "../../../etc/passwd")], "leaves the root");
        refused(&[Hard("h", "etc/passwd")], "does not exist");
        // A link to an absolute folder stays inside: the file lands in the layer's own /tmp.
        let link = outside.path().to_str().expect("utf-8").to_owned().leak();
        let (bytes, diff_id) = layer(&[Symlink("d", link), Make::File("d/evil", "x")]);
        let _ = try_unpack(&bytes, &diff_id, &[]);
        assert_eq!(std::fs::read_dir(outside.path()).expect("list").count(), 0);
        // A file replaces a link instead of writing through it.
        let target = outside.path().join("file");
        std::fs::write(&target, "kept").expect("write");
        let target: &str = target.to_str().expect("utf-8").to_owned().leak();
        unpacked(&[Symlink("f", target), Make::File("f", "new")], &[]);
        assert_eq!(std::fs::read_to_string(target).expect("read"), "kept");
    }

    #[test]
    fn damage_is_found() {
        let (bytes, diff_id) = layer(&[Make::File("f", "text")]);
        let wrong = try_unpack(&bytes, &digest::of(b"other"), &[]).expect_err("wrong digest").to_string();
        assert!(wrong.contains("is damaged: expected sha256:"), "{wrong}");
        let cut = try_unpack(&bytes[..700], &diff_id, &[]).expect_err("cut off").to_string();
        assert!(cut.contains("damaged"), "{cut}");
        assert!(try_unpack(&[0x1f, 0x8b, 1, 2, 3], &diff_id, &[]).is_err());
        assert!(try_unpack(b"no tar at all", &diff_id, &[]).is_err());
    }
}
