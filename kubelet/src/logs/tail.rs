//! Finding the end of a log file without reading all of it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::parse;

/// Bytes read at a time when walking backwards.
const BLOCK: u64 = 4096;

/// Offset at which the last `lines` lines of `file` begin. Partial records count as lines, as upstream has it. A last
/// line without line end counts too.
pub(crate) fn tail_offset(file: &mut File, lines: usize) -> std::io::Result<u64> {
    let end = file.metadata()?.len();
    if lines == 0 {
        return Ok(end);
    }
    let mut found = 0;
    let mut position = end;
    let mut block = vec![0; BLOCK as usize];
    while position > 0 {
        let start = position.saturating_sub(BLOCK);
        // At most BLOCK, so it fits.
        let length = (position - start) as usize;
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block[..length])?;
        for index in (0..length).rev() {
            let offset = start + index as u64;
            // The line end of the last line does not begin another one.
            if block[index] == b'\n' && offset + 1 != end {
                found += 1;
                if found == lines {
                    return Ok(offset + 1);
                }
            }
        }
        position = start;
    }
    Ok(0)
}

/// What a container printed last: at most `lines` lines and `bytes` bytes. Empty if the log cannot be read.
pub(crate) fn last_output(path: &Path, lines: usize, bytes: usize) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let offset = tail_offset(&mut file, lines)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut text = Vec::new();
        // A record holds at most 16 KiB in every known runtime; the factor bounds memory for any other.
        file.take((lines as u64 + 1) * 64 * 1024).read_to_end(&mut text)?;
        Ok(text)
    };
    let Ok(text) = read() else {
        return String::new();
    };
    let mut output = Vec::new();
    for record in text.split_inclusive(|byte| *byte == b'\n').filter_map(parse) {
        output.extend_from_slice(record.content);
        if !record.partial {
            output.push(b'\n');
        }
    }
    let cut = output.len().saturating_sub(bytes);
    String::from_utf8_lossy(&output[cut..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn offset(text: &str, lines: usize) -> u64 {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        tail_offset(&mut file, lines).expect("an offset")
    }

    #[test]
    fn the_last_lines_are_found() {
        assert_eq!(offset("a\nb\nc\n", 0), 6);
        assert_eq!(offset("a\nb\nc\n", 1), 4);
        assert_eq!(offset("a\nb\nc\n", 2), 2);
        assert_eq!(offset("a\nb\nc\n", 9), 0);
        assert_eq!(offset("a\nb\nc", 1), 4);
        assert_eq!(offset("", 3), 0);
        let long = format!("{}\nlast\n", "x".repeat(10_000));
        assert_eq!(offset(&long, 1), 10_001);
        assert_eq!(offset(&long, 2), 0);
    }

    #[test]
    fn the_last_output_is_bounded() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("0.log");
        let lines: String = (0..100).map(|n| format!("t stdout F line{n}\n")).collect();
        std::fs::write(&path, lines).expect("a log");
        assert_eq!(last_output(&path, 2, 100), "line98\nline99\n");
        assert_eq!(last_output(&path, 2, 7), "line99\n");
        assert_eq!(last_output(&dir.path().join("missing"), 2, 7), "");
    }
}
