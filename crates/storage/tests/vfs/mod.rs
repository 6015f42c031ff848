//! A file layer between SQLite and the disk that writes down everything that happens to the files of a store, and fails
//! on demand. From the record every state that a crash or a power loss could leave can be made ([`Recording::crash`]).
#![allow(unsafe_code, reason = "an SQLite VFS is a table of C functions")]

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock};

use rand::{Rng, RngExt};
use rusqlite::ffi;

/// The name to open a store with.
pub(crate) const VFS: &str = "recorder";

/// Disks write sectors whole.
const SECTOR_BYTES: usize = 512;

/// What happened to a file.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Write {
        file: String,
        offset: usize,
        data: Vec<u8>,
    },
    Truncate {
        file: String,
        len: usize,
    },
    Sync {
        file: String,
    },
    Delete {
        file: String,
    },
    /// The test was told that something is durable.
    Ack(usize),
}

/// An error that the file layer gives from now on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Writes find no space.
    Full,
    /// Writes find a read-only file system.
    ReadOnly,
    /// Syncs fail.
    Sync,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) ops: Vec<Op>,
    pub(crate) fault: Option<Fault>,
}

/// The record of one folder.
#[derive(Clone, Default)]
pub(crate) struct Recording(Arc<Mutex<State>>);

/// What a power loss leaves of what was written after the last sync of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unsynced {
    Nothing,
    Everything,
    /// Each sector with this probability.
    Some(f64),
}

impl Recording {
    /// Records the folder from now on.
    pub(crate) fn of(folder: &Path) -> Self {
        register();
        let recording = Recording::default();
        recordings().insert(folder.to_owned(), recording.clone());
        recording
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Notes that the test was told something.
    pub(crate) fn ack(&self, what: usize) {
        self.lock().ops.push(Op::Ack(what));
    }

    pub(crate) fn fail(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    /// Number of syncs so far.
    pub(crate) fn syncs(&self) -> usize {
        self.lock().ops.iter().filter(|op| matches!(op, Op::Sync { .. })).count()
    }

    /// The files after a power loss when `ops` had happened.
    pub(crate) fn crash(ops: &[Op], unsynced: Unsynced, rng: &mut impl Rng) -> BTreeMap<String, Vec<u8>> {
        let mut last_sync: HashMap<&str, usize> = HashMap::new();
        for (at, op) in ops.iter().enumerate() {
            if let Op::Sync { file } = op {
                last_sync.insert(file, at);
            }
        }
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (at, op) in ops.iter().enumerate() {
            let synced = |file: &str| last_sync.get(file).is_some_and(|sync| at < *sync);
            let mut kept = |file: &str| match unsynced {
                _ if synced(file) => true,
                Unsynced::Nothing => false,
                Unsynced::Everything => true,
                Unsynced::Some(probability) => rng.random_bool(probability),
            };
            match op {
                Op::Write { file, offset, data } => {
                    // Sectors at the place where they are on the disk.
                    let mut start = 0;
                    while start < data.len() {
                        let sector_end = (offset + start) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES;
                        let end = data.len().min(sector_end - offset);
                        if kept(file) {
                            let content = files.entry(file.clone()).or_default();
                            if content.len() < offset + end {
                                content.resize(offset + end, 0);
                            }
                            content[offset + start..offset + end].copy_from_slice(&data[start..end]);
                        }
                        start = end;
                    }
                }
                Op::Truncate { file, len } => {
                    if kept(file) {
                        files.entry(file.clone()).or_default().truncate(*len);
                    }
                }
                // SQLite asks for the folder to be synced where it matters; the file system keeps its order.
                Op::Delete { file } => {
                    if !matches!(unsynced, Unsynced::Nothing) || at + 1 < ops.len() {
                        files.remove(file);
                    }
                }
                Op::Sync { .. } | Op::Ack(_) => {}
            }
        }
        files
    }
}

fn recordings() -> MutexGuard<'static, HashMap<PathBuf, Recording>> {
    static ALL: OnceLock<Mutex<HashMap<PathBuf, Recording>>> = OnceLock::new();
    ALL.get_or_init(Mutex::default).lock().unwrap()
}

/// The recording and the file's name, for a path in a recorded folder.
fn recorded(path: *const c_char) -> Option<(Recording, String)> {
    if path.is_null() {
        return None;
    }
    // SAFETY: SQLite passes a terminated string.
    let path = Path::new(unsafe { CStr::from_ptr(path) }.to_str().ok()?);
    let recording = recordings().get(path.parent()?)?.clone();
    Some((recording, path.file_name()?.to_str()?.to_owned()))
}

/// An open file: SQLite's view of it first, the real file behind.
#[repr(C)]
struct File {
    methods: *const ffi::sqlite3_io_methods,
    recorded: *mut (Recording, String),
    real: *mut ffi::sqlite3_file,
}

fn real_vfs() -> *mut ffi::sqlite3_vfs {
    // SAFETY: a null name asks for the default VFS, which is always there.
    unsafe { ffi::sqlite3_vfs_find(c"unix".as_ptr()) }
}

fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the copy keeps all functions of the real VFS but two, and lives for ever.
        unsafe {
            ffi::sqlite3_initialize();
            let mut vfs = *real_vfs();
            vfs.zName = c"recorder".as_ptr();
            vfs.pNext = std::ptr::null_mut();
            vfs.szOsFile = size_of::<File>() as c_int;
            vfs.xOpen = Some(open);
            vfs.xDelete = Some(delete);
            ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 0);
        }
    });
}

unsafe extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives `szOsFile` bytes at `file`; the real file lives in memory of its own, aligned by u64.
    unsafe {
        let real_size = (*real_vfs()).szOsFile as usize;
        let real = Box::leak(vec![0u64; real_size.div_ceil(8)].into_boxed_slice()).as_mut_ptr().cast();
        let file = file.cast::<File>();
        (*file).methods = std::ptr::null();
        let code = (*real_vfs()).xOpen.unwrap()(real_vfs(), name, real, flags, out_flags);
        if code == ffi::SQLITE_OK {
            let recorded = recorded(name).map_or(std::ptr::null_mut(), |recorded| Box::into_raw(Box::new(recorded)));
            *file = File { methods: &METHODS, recorded, real };
        }
        code
    }
}

unsafe extern "C" fn delete(_vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    if let Some((recording, file)) = recorded(name) {
        recording.lock().ops.push(Op::Delete { file });
    }
    // SAFETY: passed on as it came.
    unsafe { (*real_vfs()).xDelete.unwrap()(real_vfs(), name, sync) }
}

/// Notes an operation unless a fault is due; then its code.
fn note(file: *mut ffi::sqlite3_file, op: impl FnOnce(String) -> Op) -> c_int {
    // SAFETY: SQLite passes files that `open` made.
    let Some((recording, name)) = (unsafe { (*file.cast::<File>()).recorded.as_ref() }) else {
        return ffi::SQLITE_OK;
    };
    let mut state = recording.lock();
    let op = op(name.clone());
    match (state.fault, &op) {
        (Some(Fault::Full), Op::Write { .. }) => return ffi::SQLITE_FULL,
        (Some(Fault::ReadOnly), Op::Write { .. }) => return ffi::SQLITE_READONLY,
        (Some(Fault::Sync), Op::Sync { .. }) => return ffi::SQLITE_IOERR_FSYNC,
        _ => {}
    }
    state.ops.push(op);
    ffi::SQLITE_OK
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    data: *const c_void,
    len: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite passes `len` bytes.
    let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len as usize) };
    match note(file, |file| Op::Write { file, offset: offset as usize, data: bytes.to_vec() }) {
        // SAFETY: passed on as it came.
        ffi::SQLITE_OK => unsafe { real(file).1.xWrite.unwrap()(real(file).0, data, len, offset) },
        error => error,
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: ffi::sqlite3_int64) -> c_int {
    match note(file, |file| Op::Truncate { file, len: len as usize }) {
        // SAFETY: passed on as it came.
        ffi::SQLITE_OK => unsafe { real(file).1.xTruncate.unwrap()(real(file).0, len) },
        error => error,
    }
}

/// The record is the disk of these tests: nothing is gained by waiting for the real one.
unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    note(file, |file| Op::Sync { file })
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once; `open` leaked both.
    unsafe {
        let code = real(file).1.xClose.unwrap()(real(file).0);
        let file = &mut *file.cast::<File>();
        let real_size = (*real_vfs()).szOsFile as usize;
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(file.real.cast::<u64>(), real_size.div_ceil(8))));
        if !file.recorded.is_null() {
            drop(Box::from_raw(file.recorded));
        }
        code
    }
}

/// The real file and its functions.
///
/// # Safety
/// `file` was opened by [`open`].
unsafe fn real(file: *mut ffi::sqlite3_file) -> (*mut ffi::sqlite3_file, &'static ffi::sqlite3_io_methods) {
    // SAFETY: an open file has its methods, which are static.
    unsafe {
        let real = (*file.cast::<File>()).real;
        (real, &*(*real).pMethods)
    }
}

/// Functions that are passed on as they come.
macro_rules! passed_on {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty = $method:ident;)*) => {
        $(
            unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $arg: $type)*) -> $result {
                // SAFETY: the arguments are SQLite's own.
                unsafe { real(file).1.$method.unwrap()(real(file).0 $(, $arg)*) }
            }
        )*
    };
}

passed_on! {
    read(data: *mut c_void, len: c_int, offset: ffi::sqlite3_int64) -> c_int = xRead;
    file_size(size: *mut ffi::sqlite3_int64) -> c_int = xFileSize;
    lock(level: c_int) -> c_int = xLock;
    unlock(level: c_int) -> c_int = xUnlock;
    check_reserved_lock(out: *mut c_int) -> c_int = xCheckReservedLock;
    file_control(op: c_int, arg: *mut c_void) -> c_int = xFileControl;
    sector_size() -> c_int = xSectorSize;
    device_characteristics() -> c_int = xDeviceCharacteristics;
    shm_map(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void) -> c_int = xShmMap;
    shm_lock(offset: c_int, n: c_int, flags: c_int) -> c_int = xShmLock;
    shm_barrier() -> () = xShmBarrier;
    shm_unmap(delete: c_int) -> c_int = xShmUnmap;
}

/// Version 2: without memory maps of the database, which would be read past the record.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
