//! Getting pods' packets past a firewall that forwards nothing by default.
//!
//! Docker and many firewalls set the policy of iptables' chain FORWARD to drop, and no table of ours can overrule that:
//! a packet must be accepted in that very chain. Our rules in it carry a comment with the cluster's name. iptables is
//! seen here as nftables' table `ip filter`, as on every distribution of the last years; the older kernel interface
//! (`iptables-legacy`) is not.

use ipnet::Ipv4Net;
use serde_json::Value;

use crate::{Error, Result, nft};

/// Table and chain of iptables.
const TABLE: &str = "filter";
const CHAIN: &str = "FORWARD";

/// Lets what comes from and goes to `range` through, if the chain drops by default. Returns whether rules were added.
pub async fn allow(cluster: &str, range: Ipv4Net) -> Result<bool> {
    let Some(listing) = nft::list_chain(TABLE, CHAIN).await? else { return Ok(false) };
    if !drops_by_default(&listing) || !handles(&listing, &comment(cluster)).is_empty() {
        return Ok(false);
    }
    let comment = comment(cluster);
    let rule = |direction: &str| {
        format!("insert rule ip {TABLE} {CHAIN} ip {direction} {range} accept comment \"{comment}\"\n")
    };
    match nft::apply(&(rule("saddr") + &rule("daddr"))).await {
        Ok(()) => Ok(true),
        // The chain may go at the same moment, and then nothing drops.
        Err(Error::Nft { message }) if message.contains("No such file or directory") => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a cluster's rules from the chain.
pub async fn disallow(cluster: &str) -> Result<()> {
    let Some(listing) = nft::list_chain(TABLE, CHAIN).await? else { return Ok(()) };
    for handle in handles(&listing, &comment(cluster)) {
        nft::apply(&format!("delete rule ip {TABLE} {CHAIN} handle {handle}\n")).await?;
    }
    Ok(())
}

fn comment(cluster: &str) -> String {
    format!("skiff/{cluster}")
}

fn drops_by_default(listing: &[Value]) -> bool {
    listing.iter().any(|object| object["chain"]["hook"] == "forward" && object["chain"]["policy"] == "drop")
}

fn handles(listing: &[Value], comment: &str) -> Vec<u64> {
    let ours = listing.iter().map(|object| &object["rule"]).filter(|rule| rule["comment"] == comment);
    ours.filter_map(|rule| rule["handle"].as_u64()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_our_own_rules_are_found() {
        let listing = [
            json!({"chain": {"name": "FORWARD", "hook": "forward", "policy": "drop"}}),
            json!({"rule": {"chain": "FORWARD", "handle": 4, "comment": "skiff/a"}}),
            json!({"rule": {"chain": "FORWARD", "handle": 5}}),
            json!({"rule": {"chain": "FORWARD", "handle": 6, "comment": "skiff/ab"}}),
        ];
        assert!(drops_by_default(&listing) && !drops_by_default(&listing[1..]));
        assert_eq!(handles(&listing, "skiff/a"), [4]);
    }
}
