//! `skiff logs`: the server's log.

use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::Settings;
use crate::layout::Layout;
use crate::terminal::bytes;

/// How often a followed log is looked at.
const POLL: Duration = Duration::from_millis(200);
/// Bytes that are copied at once.
const CHUNK: usize = 64 << 10;

/// Flags of `skiff logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    settings: Settings,
    /// Go on with new lines until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// Print only this many bytes of the end.
    #[arg(long, default_value_t = 256 << 10)]
    tail_bytes: u64,
}

impl Logs {
    /// Prints the log.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let path = Layout::new(&self.settings).server_log();
        let failed = || format!("cannot read {}", path.display());
        let open = || std::fs::File::open(&path).with_context(failed);
        let mut file = open()?;
        let size = file.metadata().with_context(failed)?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(self.tail_bytes))).with_context(failed)?;
        let mut chunk = vec![0; CHUNK];
        loop {
            match file.read(&mut chunk).with_context(failed)? {
                0 if !self.follow => return Ok(()),
                0 => {
                    // Put aside: the lines go on in a new file.
                    if std::fs::metadata(&path).is_ok_and(|now| file.metadata().is_ok_and(|old| old.ino() != now.ino()))
                    {
                        file = open()?;
                        continue;
                    }
                    tokio::time::sleep(POLL).await;
                }
                read => match bytes(&chunk[..read]) {
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                    printed => printed?,
                },
            }
        }
    }
}
