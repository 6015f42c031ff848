//! Loading nftables rulesets: text in, one atomic transaction each.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::{Error, Result};

/// Longest that one transaction may take; 30 000 services load in under 2 s.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Applies a ruleset with `nft -f -`: all of it or nothing.
pub async fn apply(ruleset: &str) -> Result<()> {
    run(&["-f", "-"], Some(ruleset)).await.map(drop)
}

/// Deletes a table of family `ip`, if it is there.
pub async fn delete_table(name: &str) -> Result<()> {
    // Declaring the table first makes the deletion succeed when it is not there.
    apply(&format!("add table ip {name}\ndelete table ip {name}\n")).await
}

/// What `nft list table ip NAME` prints; `None` when there is no such table.
pub async fn list_table(name: &str) -> Result<Option<String>> {
    match run(&["list", "table", "ip", name], None).await {
        Ok(text) => Ok(Some(text)),
        Err(Error::Nft { message }) if message.contains("No such file or directory") => Ok(None),
        Err(error) => Err(error),
    }
}

async fn run(arguments: &[&str], input: Option<&str>) -> Result<String> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(Error::NftMissing)?;
    let work = async {
        if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
            // A refused ruleset closes the pipe early; the exit status tells why.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(TRANSACTION_TIMEOUT, work).await {
        Ok(output) => output.map_err(Error::NftMissing)?,
        Err(_) => return Err(Error::Nft { message: format!("no answer within {TRANSACTION_TIMEOUT:?}") }),
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Nft { message: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}
