//! The table in the kernel: set up once, then changed by transactions.

use skiff_netlink::link::Links;
use skiff_netlink::pod_network::table;
use skiff_netlink::{Result, nft, sysctl};

use crate::config::Config;
use crate::rules;
use crate::ruleset::{self, Ruleset};

/// The table of one cluster.
pub struct Kernel {
    table: String,
    base: String,
    /// What the kernel has; `None` until the first write, or after one that failed half known.
    current: Option<Ruleset>,
}

impl Kernel {
    /// Prepares the network namespace of this process.
    pub async fn new(config: &Config) -> Result<Self> {
        // NodePorts answer on 127.0.0.1 too: such packets leave by another link after translation.
        sysctl::set("net/ipv4/conf/all/route_localnet", "1")?;
        sysctl::set("net/ipv4/ip_forward", "1")?;
        let links = Links::open()?;
        // Without any route, connecting to a cluster IP fails before translation is even tried.
        if !links.has_default_route().await? {
            links.add_route("lo", config.service_range.network(), config.service_range.prefix_len(), None).await?;
        }
        Ok(Self { table: table(&config.cluster, "proxy"), base: rules::base(config), current: None })
    }

    /// Makes the kernel's table equal to `wanted`, in one transaction. Returns whether anything was sent.
    pub async fn apply(&mut self, wanted: Ruleset) -> Result<bool> {
        let transaction = match &self.current {
            None => Some(ruleset::replace(&self.table, &self.base, &wanted)),
            Some(current) => ruleset::change(&self.table, current, &wanted),
        };
        let Some(transaction) = transaction else { return Ok(false) };
        // When the kernel refuses, somebody else changed the table: build it anew next time.
        let previous = self.current.take();
        if let Err(error) = nft::apply(&transaction).await {
            drop(previous);
            return Err(error);
        }
        self.current = Some(wanted);
        Ok(true)
    }
}

/// Removes what a cluster's proxy made.
pub async fn cleanup(cluster: &str, service_range: ipnet::Ipv4Net) -> Result<()> {
    nft::delete_table(&table(cluster, "proxy")).await?;
    Links::open()?.delete_route("lo", service_range.network(), service_range.prefix_len()).await
}
