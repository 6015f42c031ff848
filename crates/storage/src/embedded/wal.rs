//! Is the write-ahead log what a crash could have left?
//!
//! SQLite replays the log up to the first frame whose checksum does not fit and ignores the rest. That is right after a
//! crash in the middle of a commit, but when an earlier frame went bad it would silently drop commits that were
//! answered. A crash can only leave *one* commit unfinished, because the writer syncs each before the next begins: so
//! frames of this log behind the end of the first unfinished commit mean damage.
//!
//! Format: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::error::{damaged, unavailable};
use crate::StorageError;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const MAGIC_LITTLE: u32 = 0x377f_0682;
const MAGIC_BIG: u32 = 0x377f_0683;

/// Where the log of a database is.
pub(super) fn of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    PathBuf::from(path)
}

/// Checks the log beside a database, if there is one.
pub(super) fn check(database: &Path) -> Result<(), StorageError> {
    let path = of(database);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unavailable(format!("cannot read {}: {error}", path.display()))),
    };
    let empty = |file: &Path| std::fs::metadata(file).map_or(true, |meta| meta.len() == 0);
    if empty(database) && !empty(&path) {
        // SQLite would delete the log.
        return Err(damaged(database, format!("it is missing, but {} is there", path.display())));
    }
    match scan(&mut BufReader::with_capacity(1 << 20, file)) {
        Ok(Verdict::Sound) => Ok(()),
        Ok(Verdict::Damaged { frame }) => Err(damaged(
            database,
            format!("frame {frame} of {} is broken, but later commits follow it", path.display()),
        )),
        Err(error) => Err(unavailable(format!("cannot read {}: {error}", path.display()))),
    }
}

#[derive(Debug, PartialEq)]
enum Verdict {
    /// All frames fit, or what does not is one unfinished commit at the end.
    Sound,
    /// This frame (0: the header) does not fit although frames of later commits follow it.
    Damaged { frame: usize },
}

/// SQLite's running checksum over pairs of words.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Checksum {
    big_endian: bool,
    sums: (u32, u32),
}

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        let (mut s1, mut s2) = self.sums;
        for pair in bytes.chunks_exact(8) {
            let word = |at: usize| {
                let bytes = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
                if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
            };
            s1 = s1.wrapping_add(word(0)).wrapping_add(s2);
            s2 = s2.wrapping_add(word(4)).wrapping_add(s1);
        }
        self.sums = (s1, s2);
    }
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn scan(file: &mut impl Read) -> std::io::Result<Verdict> {
    let mut header = [0; HEADER_BYTES];
    if read_full(file, &mut header)? < HEADER_BYTES {
        return Ok(Verdict::Sound);
    }
    let Some(mut checksum) = header_checksum(&header) else {
        // The header is synced before the first frame is written, and is too small to be torn.
        return Ok(match read_full(file, &mut [0; FRAME_HEADER_BYTES])? {
            FRAME_HEADER_BYTES => Verdict::Damaged { frame: 0 },
            _ => Verdict::Sound,
        });
    };
    let salts = &header[16..24];
    let mut frame = vec![0; FRAME_HEADER_BYTES + be32(&header, 8) as usize];
    let mut number = 0;
    // The first frame that does not fit, and whether the commit it belongs to has ended.
    let mut broken: Option<(usize, bool)> = None;
    while read_full(file, &mut frame)? == frame.len() {
        number += 1;
        if frame[8..16] != *salts {
            // From before the log started over, or never written.
            if broken.is_none() {
                broken = Some((number, false));
            }
            continue;
        }
        let ends_commit = be32(&frame, 4) != 0;
        if let Some((first, ended)) = &mut broken {
            if *ended {
                return Ok(Verdict::Damaged { frame: *first });
            }
            *ended = ends_commit;
            continue;
        }
        checksum.add(&frame[..8]);
        checksum.add(&frame[FRAME_HEADER_BYTES..]);
        if checksum.sums != (be32(&frame, 16), be32(&frame, 20)) {
            broken = Some((number, ends_commit));
        }
    }
    Ok(Verdict::Sound)
}

/// The running checksum after a good header.
fn header_checksum(header: &[u8; HEADER_BYTES]) -> Option<Checksum> {
    let big_endian = match be32(header, 0) {
        MAGIC_LITTLE => false,
        MAGIC_BIG => true,
        _ => return None,
    };
    let mut checksum = Checksum { big_endian, sums: (0, 0) };
    checksum.add(&header[..24]);
    (checksum.sums == (be32(header, 24), be32(header, 28))).then_some(checksum)
}

fn read_full(file: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
