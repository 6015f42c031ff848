//! Loading nftables rulesets: text in, one atomic transaction each.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
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

/// What a table consists of, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableNames {
    /// Chains.
    pub chains: BTreeSet<String>,
    /// Sets (not maps).
    pub sets: BTreeSet<String>,
}

/// The names in a table of family `ip`; `None` when there is no such table. Rules and elements are not read.
pub async fn table_names(name: &str) -> Result<Option<TableNames>> {
    let chains = run(&["-j", "list", "chains", "ip"], None).await?;
    let sets = run(&["-j", "-t", "list", "sets", "ip"], None).await?;
    let chains = names_of("chain", name, &chains)?;
    // A table of ours always has chains.
    Ok(if chains.is_empty() { None } else { Some(TableNames { chains, sets: names_of("set", name, &sets)? }) })
}

/// Whether a chain of a table of family `ip` is there and has rules.
pub async fn has_rules(table: &str, chain: &str) -> Result<bool> {
    let listing = list_chain(table, chain).await?.unwrap_or_default();
    Ok(listing.iter().any(|object| object.get("rule").is_some()))
}

/// A chain of a table of family `ip` and its rules, as JSON objects; `None` when there is no such chain.
pub async fn list_chain(table: &str, chain: &str) -> Result<Option<Vec<Value>>> {
    match run(&["-j", "list", "chain", "ip", table, chain], None).await {
        Ok(text) => Ok(Some(objects(&text)?)),
        Err(Error::Nft { message }) if message.contains("No such file or directory") => Ok(None),
        Err(error) => Err(error),
    }
}

fn names_of(kind: &str, table: &str, listing: &str) -> Result<BTreeSet<String>> {
    let of_table = |object: &Value| {
        let object = object.get(kind)?;
        (object.get("table")? == table).then(|| object.get("name")?.as_str().map(str::to_owned))?
    };
    Ok(objects(listing)?.iter().filter_map(of_table).collect())
}

/// The objects of a listing in JSON.
fn objects(listing: &str) -> Result<Vec<Value>> {
    let unreadable = |error| Error::Nft { message: format!("unreadable listing: {error}") };
    let mut listing: Value = serde_json::from_str(listing).map_err(unreadable)?;
    match listing.get_mut("nftables").map(Value::take) {
        Some(Value::Array(objects)) => Ok(objects),
        _ => Ok(Vec::new()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_table() {
        let listing = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"chain": {"family": "ip", "table": "a", "name": "one", "handle": 1}},
            {"chain": {"family": "ip", "table": "b", "name": "two", "handle": 2}}, {"set": {"table": "a", "name": "s"}}]}"#;
        assert_eq!(names_of("chain", "a", listing).expect("readable"), BTreeSet::from(["one".to_owned()]));
        assert_eq!(names_of("set", "b", listing).expect("readable"), BTreeSet::new());
        assert!(names_of("set", "b", "oops").is_err());
    }
}
