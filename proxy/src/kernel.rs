//! The table in the kernel: set up once, then changed by transactions.

use ipnet::Ipv4Net;
use skiff_netlink::link::Links;
use skiff_netlink::pod_network::table;
use skiff_netlink::{Error, Result, forwarding, nft, sysctl};
use tracing::{debug, info, warn};

use crate::config::Config;
use crate::rules;
use crate::ruleset::{self, Base, Ruleset};
use crate::table::{Change, Table};

/// The table of one cluster.
pub struct Kernel {
    table: String,
    base: Base,
    links: Links,
    config: Config,
    /// Whether the kernel's table is known to be what was last written.
    in_step: bool,
}

impl Kernel {
    /// Prepares the network namespace of this process. The table stays as it is until the first [`Kernel::apply`].
    pub async fn new(config: &Config) -> Result<Self> {
        // NodePorts answer on 127.0.0.1 too: such packets leave by another link after translation.
        sysctl::set("net/ipv4/conf/all/route_localnet", "1")?;
        sysctl::set("net/ipv4/ip_forward", "1")?;
        raise_conntrack_limit(config.conntrack_min);
        let links = Links::open()?;
        // In a namespace that someone has just made, not even loopback is up.
        links.set_up("lo").await?;
        let (table, base) = (table(&config.cluster, "proxy"), rules::base(config));
        let kernel = Self { table, base, links, config: config.clone(), in_step: false };
        kernel.open_ways().await?;
        Ok(kernel)
    }

    /// What must be true beside the table, and what others may undo at any time.
    async fn open_ways(&self) -> Result<()> {
        self.add_route().await?;
        if forwarding::allow(&self.config.cluster, self.config.pod_range).await? {
            info!(range = %self.config.pod_range, "the firewall drops what is forwarded; pods are let through");
        }
        Ok(())
    }

    /// Routes the cluster IPs to this node. Without any route, connecting to one fails before translation is even tried;
    /// and a default route may go at any time, as when a laptop leaves its network. What is not translated stays on
    /// loopback and is refused there, instead of leaving for the default route's gateway.
    async fn add_route(&self) -> Result<()> {
        self.links.add_range("lo", self.config.service_range).await
    }

    /// Writes a change of `table`, or all of it when the kernel's state is not known, in one transaction. Returns
    /// whether anything was sent. After a failure everything is written next time.
    pub async fn apply(&mut self, table: &Table, change: &Change) -> Result<bool> {
        if std::mem::replace(&mut self.in_step, false) {
            if let Some(transaction) = ruleset::change(&self.table, &change.old, &change.new) {
                nft::apply(&transaction).await?;
                self.in_step = true;
                return Ok(true);
            }
            self.in_step = true;
            return Ok(false);
        }
        self.write_whole(&table.whole()).await?;
        self.in_step = true;
        Ok(true)
    }

    /// Takes over the table that an earlier process left, so that no packet is missed; builds it anew if it is not of
    /// our making.
    async fn write_whole(&self, whole: &Ruleset) -> Result<()> {
        if let Some(existing) = nft::table_names(&self.table).await? {
            match nft::apply(&ruleset::adopt(&self.table, &self.base, &existing, whole)).await {
                Ok(()) => return Ok(()),
                Err(Error::Nft { message }) => debug!(message, "the table is of another version, replacing it"),
                Err(error) => return Err(error),
            }
        }
        nft::apply(&ruleset::replace(&self.table, &self.base, whole)).await
    }

    /// Whether the table is still there. If not, the next [`Kernel::apply`] writes everything. What is needed
    /// beside it is put back by the way.
    pub async fn check(&mut self) -> Result<bool> {
        self.open_ways().await?;
        self.in_step = self.in_step && nft::has_rules(&self.table, rules::ENTRY_CHAIN).await?;
        Ok(self.in_step)
    }
}

/// Raises the limit of tracked connections. It belongs to the machine, so a cluster in a namespace cannot set it.
fn raise_conntrack_limit(least: u32) {
    const LIMIT: &str = "net/netfilter/nf_conntrack_max";
    match sysctl::get(LIMIT).map(|text| text.parse::<u32>()) {
        Ok(Ok(current)) if current < least => {
            if let Err(error) = sysctl::set(LIMIT, &least.to_string()) {
                debug!(%error, current, "cannot raise the number of tracked connections");
            }
        }
        Ok(_) => {}
        Err(error) => warn!(%error, "cannot read how many connections are tracked"),
    }
}

/// Removes what a cluster's proxy made in this network namespace.
pub async fn cleanup(cluster: &str, service_range: Ipv4Net) -> Result<()> {
    nft::delete_table(&table(cluster, "proxy")).await?;
    forwarding::disallow(cluster).await?;
    Links::open()?.delete_range("lo", service_range).await
}
